//! CREATE, ALTER, DROP and DESCRIBE.

use super::Parser;
use crate::ast::{
    AbsentKind, AlterKeyspace, AlterTable, AlterType, CheckDefinition, CheckKind, ColumnDefinition, CreateIndex,
    CreateKeyspace, CreateTable, CreateType, Describe, Described, FieldDefinition, IndexTarget, IndexTargetKind,
    Literal, LiteralKind, Name, PrimaryKey, Property, PropertyValue, QualifiedName, Statement, TableAlteration,
    TypeAlteration,
};
use crate::lexer::TokenKind;
use crate::source::Position;
use model::RequestError;
use model::limits::COLUMNS_MAX;

/// Most conditions of one column.
const CHECKS_MAX: usize = 32;

impl Parser<'_> {
    /// What follows CREATE, at `at`.
    pub(super) fn create(&mut self, at: Position) -> Result<Statement, RequestError> {
        if self.eat_word("KEYSPACE") || self.eat_word("SCHEMA") {
            self.create_keyspace()
        } else if self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY") {
            self.create_table()
        } else if self.eat_word("TYPE") {
            self.create_type()
        } else if self.eat_word("INDEX") {
            self.create_index(at, false)
        } else if self.eat_word("CUSTOM") {
            self.expect_word("INDEX")?;
            self.create_index(at, true)
        } else {
            Err(self.unexpected())
        }
    }

    /// ALTER or DROP of a materialized view or a trigger, if one begins here.
    pub(super) fn absent(&mut self) -> Result<Option<Statement>, RequestError> {
        let alters = self.looking_at(&["ALTER", "MATERIALIZED", "VIEW"]);
        if alters || self.looking_at(&["DROP", "MATERIALIZED", "VIEW"]) {
            for _ in 0..3 {
                self.advance();
            }
            let if_exists = self.if_exists()?;
            let name = self.qualified_name("a view name")?;
            let mut options = None;
            if alters {
                self.expect_word("WITH")?;
                options = Some(self.properties()?);
            }
            let what = AbsentKind::MaterializedView(options);
            return Ok(Some(Statement::Absent { what, name, if_exists }));
        }
        if self.looking_at(&["DROP", "TRIGGER"]) {
            for _ in 0..2 {
                self.advance();
            }
            let if_exists = self.if_exists()?;
            let name = QualifiedName { keyspace: None, name: self.name("a trigger name")? };
            self.expect_word("ON")?;
            let what = AbsentKind::Trigger(self.table_name()?);
            return Ok(Some(Statement::Absent { what, name, if_exists }));
        }
        Ok(None)
    }

    /// What follows ALTER.
    pub(super) fn alter(&mut self) -> Result<Statement, RequestError> {
        if self.eat_word("KEYSPACE") || self.eat_word("SCHEMA") {
            let if_exists = self.if_exists()?;
            let name = self.name("a keyspace name")?;
            self.expect_word("WITH")?;
            let properties = self.properties()?;
            Ok(Statement::AlterKeyspace(AlterKeyspace { name, if_exists, properties }))
        } else if self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY") {
            let if_exists = self.if_exists()?;
            let name = self.table_name()?;
            Ok(Statement::AlterTable(AlterTable { name, if_exists, alteration: self.table_alteration()? }))
        } else if self.eat_word("TYPE") {
            let if_exists = self.if_exists()?;
            let name = self.qualified_name("a type name")?;
            Ok(Statement::AlterType(AlterType { name, if_exists, alteration: self.type_alteration()? }))
        } else {
            Err(self.unexpected())
        }
    }

    /// What follows DROP.
    pub(super) fn drop(&mut self) -> Result<Statement, RequestError> {
        if self.eat_word("KEYSPACE") || self.eat_word("SCHEMA") {
            let if_exists = self.if_exists()?;
            Ok(Statement::DropKeyspace { name: self.name("a keyspace name")?, if_exists })
        } else if self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY") {
            let if_exists = self.if_exists()?;
            Ok(Statement::DropTable { name: self.table_name()?, if_exists })
        } else if self.eat_word("TYPE") {
            let if_exists = self.if_exists()?;
            Ok(Statement::DropType { name: self.qualified_name("a type name")?, if_exists })
        } else if self.eat_word("INDEX") {
            let if_exists = self.if_exists()?;
            Ok(Statement::DropIndex { name: self.qualified_name("an index name")?, if_exists })
        } else {
            Err(self.unexpected())
        }
    }

    fn create_keyspace(&mut self) -> Result<Statement, RequestError> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name("a keyspace name")?;
        self.expect_word("WITH")?;
        let properties = self.properties()?;
        Ok(Statement::CreateKeyspace(CreateKeyspace { name, if_not_exists, properties }))
    }

    fn create_table(&mut self) -> Result<Statement, RequestError> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.table_name()?;
        let like = if self.eat_word("LIKE") { Some(self.table_name()?) } else { None };
        let mut table = CreateTable {
            name,
            if_not_exists,
            like,
            like_indexes: false,
            columns: Vec::new(),
            primary_keys: Vec::new(),
            clustering_order: Vec::new(),
            properties: Vec::new(),
        };
        if table.like.is_none() {
            self.expect_symbol("(")?;
            self.table_item(&mut table)?;
            while self.eat_symbol(",") {
                // Cassandra's grammar allows items to be left out behind a comma.
                if !matches!(self.symbol(), Some("," | ")")) {
                    self.table_item(&mut table)?;
                }
            }
            self.expect_symbol(")")?;
        }
        if self.eat_word("WITH") {
            self.table_property(&mut table)?;
            while self.eat_word("AND") {
                self.table_property(&mut table)?;
            }
        }
        Ok(Statement::CreateTable(table))
    }

    /// A column or the primary key.
    fn table_item(&mut self, table: &mut CreateTable) -> Result<(), RequestError> {
        let at = self.here();
        if self.eat_word("PRIMARY") {
            self.expect_word("KEY")?;
            table.primary_keys.push(self.primary_key()?);
            return Ok(());
        }
        if table.columns.len() == COLUMNS_MAX {
            return Err(self.source.invalid(at, format!("A table can have {COLUMNS_MAX} columns at most")));
        }
        let column = self.column_definition()?;
        let at = self.here();
        if self.eat_word("PRIMARY") {
            self.expect_word("KEY")?;
            table.primary_keys.push(PrimaryKey { partition: vec![column.name.clone()], clustering: Vec::new(), at });
        }
        table.columns.push(column);
        Ok(())
    }

    fn column_definition(&mut self) -> Result<ColumnDefinition, RequestError> {
        let name = self.name("a column name")?;
        let type_name = self.type_name()?;
        let at = self.here();
        let is_static = self.eat_word("STATIC").then_some(at);
        if self.looking_at(&["MASKED"]) {
            return Err(self.unsupported("data masking is"));
        }
        if self.looking_at(&["TTL"]) {
            return Err(self.not_in_grammar("a column that says when its row expires (type TTL) is"));
        }
        let checks = if self.looking_at(&["NOT", "NULL"]) { vec![self.check()?] } else { self.checks()? };
        Ok(ColumnDefinition { name, type_name, is_static, checks })
    }

    /// `CHECK condition AND ...`, if it stands here.
    fn checks(&mut self) -> Result<Vec<CheckDefinition>, RequestError> {
        let mut checks = Vec::new();
        if self.eat_word("CHECK") {
            checks.push(self.check()?);
            while self.eat_word("AND") {
                if checks.len() == CHECKS_MAX {
                    let message = format!("A column can have {CHECKS_MAX} constraints at most");
                    return Err(self.source.invalid(self.here(), message));
                }
                checks.push(self.check()?);
            }
        }
        Ok(checks)
    }

    /// One condition of CHECK.
    fn check(&mut self) -> Result<CheckDefinition, RequestError> {
        let at = self.here();
        if self.eat_word("NOT") {
            self.expect_word("NULL")?;
            return Ok(CheckDefinition { kind: CheckKind::NotNull, at });
        }
        let name = self.name("a condition")?;
        let is_function = self.eat_symbol("(");
        let mut column = None;
        if is_function && !self.eat_symbol(")") {
            column = Some(self.name("a column name")?);
            self.expect_symbol(")")?;
        }
        let compares = matches!(self.symbol(), Some("=" | "!=" | "<" | "<=" | ">" | ">="));
        if !compares {
            return Ok(CheckDefinition { kind: CheckKind::Predicate { name, column }, at });
        }
        let operator = self.operator()?;
        let Some(bound) = self.literal()? else {
            self.expected.push("a constant");
            return Err(self.unexpected());
        };
        let kind = match is_function {
            true => CheckKind::Function { name, column, operator, bound },
            false => CheckKind::Value { column: name, operator, bound },
        };
        Ok(CheckDefinition { kind, at })
    }

    /// What follows PRIMARY KEY as an item of its own.
    fn primary_key(&mut self) -> Result<PrimaryKey, RequestError> {
        let at = self.here();
        self.expect_symbol("(")?;
        let partition = if self.at_symbol("(") {
            self.names_in_parentheses("a column name")?
        } else {
            vec![self.name("a column name")?]
        };
        let mut clustering = Vec::new();
        while self.eat_symbol(",") {
            clustering.push(self.name("a column name")?);
        }
        self.expect_symbol(")")?;
        Ok(PrimaryKey { partition, clustering, at })
    }

    fn table_property(&mut self, table: &mut CreateTable) -> Result<(), RequestError> {
        if self.looking_at(&["COMPACT", "STORAGE"]) {
            return Err(self.unsupported("COMPACT STORAGE is"));
        }
        // A table that is like another has its order too; of what Cassandra 6 allows to be copied besides there are
        // indexes.
        if table.like.is_some() {
            if self.eat_word("INDEXES") {
                table.like_indexes = true;
                return Ok(());
            }
            for copied in ["TRIGGERS", "COMMENTS", "SECURITY"] {
                if self.looking_at(&[copied]) {
                    return Err(self.not_in_grammar(&format!("CREATE TABLE ... LIKE ... WITH {copied} is")));
                }
            }
        }
        if table.like.is_some() || !self.looking_at(&["CLUSTERING", "ORDER"]) {
            table.properties.push(self.property()?);
            return Ok(());
        }
        self.expect_word("CLUSTERING")?;
        self.expect_word("ORDER")?;
        self.expect_word("BY")?;
        self.expect_symbol("(")?;
        loop {
            let column = self.name("a column name")?;
            let Some(descending) = self.direction() else { return Err(self.unexpected()) };
            table.clustering_order.push((column, descending));
            if !self.eat_symbol(",") {
                return self.expect_symbol(")");
            }
        }
    }

    fn table_alteration(&mut self) -> Result<TableAlteration, RequestError> {
        if self.eat_word("ADD") {
            let if_not_exists = self.if_not_exists()?;
            let columns = match self.at_symbol("(") {
                true => self.one_or_more(Parser::column_definition)?,
                false => vec![self.column_definition()?],
            };
            return Ok(TableAlteration::Add { if_not_exists, columns });
        }
        if self.looking_at(&["DROP", "COMPACT", "STORAGE"]) {
            return Err(self.unsupported("COMPACT STORAGE is"));
        }
        if self.eat_word("DROP") {
            let if_exists = self.if_exists()?;
            let columns = self.one_or_more(|parser| parser.name("a column name"))?;
            let mut timestamp = None;
            if self.eat_word("USING") {
                self.expect_word("TIMESTAMP")?;
                timestamp = Some(self.integer()?);
            }
            return Ok(TableAlteration::Drop { if_exists, columns, timestamp });
        }
        if self.eat_word("RENAME") {
            let if_exists = self.if_exists()?;
            return Ok(TableAlteration::Rename { if_exists, renames: self.renames("a column name")? });
        }
        if self.eat_word("WITH") {
            return Ok(TableAlteration::With(self.properties()?));
        }
        if self.at_word("ALTER") {
            return self.column_alteration();
        }
        Err(self.unexpected())
    }

    /// `ALTER [IF EXISTS] column CHECK ...` or `DROP CHECK`; other alterations of columns are refused by name.
    fn column_alteration(&mut self) -> Result<TableAlteration, RequestError> {
        let at = self.here();
        self.advance();
        let if_exists = self.if_exists()?;
        let column = self.name("a column name")?;
        if self.looking_at(&["DROP", "CHECK"]) {
            self.advance();
            self.advance();
            return Ok(TableAlteration::Check { if_exists, column, checks: Vec::new() });
        }
        let checks = self.checks()?;
        if !checks.is_empty() {
            return Ok(TableAlteration::Check { if_exists, column, checks });
        }
        Err(self.refused_alteration(at, "column types"))
    }

    fn type_alteration(&mut self) -> Result<TypeAlteration, RequestError> {
        if self.eat_word("ADD") {
            let if_not_exists = self.if_not_exists()?;
            return Ok(TypeAlteration::Add { if_not_exists, field: self.field_definition()? });
        }
        if self.eat_word("RENAME") {
            let if_exists = self.if_exists()?;
            return Ok(TypeAlteration::Rename { if_exists, renames: self.renames("the name of a field")? });
        }
        if self.at_word("ALTER") {
            let at = self.here();
            self.advance();
            self.if_exists()?;
            self.name("the name of a field")?;
            return Err(self.refused_alteration(at, "field types"));
        }
        Err(self.unexpected())
    }

    /// The refusal of `TYPE type`, which Cassandra's grammar knows, behind the ALTER at `at` and a name; or a syntax
    /// error.
    fn refused_alteration(&mut self, at: Position, what: &str) -> RequestError {
        if self.looking_at(&["MASKED"]) || self.looking_at(&["DROP", "MASKED"]) {
            return self.unsupported("data masking is");
        }
        if !self.at_word("TYPE") {
            return self.unexpected();
        }
        self.source.invalid(at, format!("Altering {what} is no longer supported"))
    }

    /// Items separated by commas, in parentheses or not.
    fn one_or_more<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, RequestError>,
    ) -> Result<Vec<T>, RequestError> {
        let closes = self.eat_symbol("(");
        let mut items = vec![item(self)?];
        while self.eat_symbol(",") {
            if items.len() == COLUMNS_MAX {
                return Err(self
                    .source
                    .invalid(self.here(), format!("A table can have {COLUMNS_MAX} columns at most")));
            }
            items.push(item(self)?);
        }
        if closes {
            self.expect_symbol(")")?;
        }
        Ok(items)
    }

    fn renames(&mut self, what: &'static str) -> Result<Vec<(Name, Name)>, RequestError> {
        let mut renames = Vec::new();
        loop {
            let from = self.name(what)?;
            self.expect_word("TO")?;
            renames.push((from, self.name(what)?));
            if !self.eat_word("AND") {
                return Ok(renames);
            }
        }
    }

    /// An integer, with its sign, and where it stands.
    fn integer(&mut self) -> Result<(Literal, Position), RequestError> {
        let at = self.here();
        if let Some(literal) = self.literal()?
            && literal.kind == LiteralKind::Integer
        {
            return Ok((literal, at));
        }
        self.expected.push("an integer");
        Err(self.unexpected())
    }

    fn create_type(&mut self) -> Result<Statement, RequestError> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.qualified_name("a type name")?;
        self.expect_symbol("(")?;
        let mut fields = vec![self.field_definition()?];
        while self.eat_symbol(",") {
            if fields.len() == COLUMNS_MAX {
                return Err(self.source.invalid(self.here(), format!("A type can have {COLUMNS_MAX} fields at most")));
            }
            if !matches!(self.symbol(), Some("," | ")")) {
                fields.push(self.field_definition()?);
            }
        }
        self.expect_symbol(")")?;
        Ok(Statement::CreateType(CreateType { name, if_not_exists, fields }))
    }

    fn field_definition(&mut self) -> Result<FieldDefinition, RequestError> {
        let name = self.name("the name of a field")?;
        Ok(FieldDefinition { name, type_name: self.type_name()? })
    }

    fn create_index(&mut self, at: Position, is_custom: bool) -> Result<Statement, RequestError> {
        let if_not_exists = self.if_not_exists()?;
        let name = if self.at_word("ON") { None } else { Some(self.name("an index name")?) };
        self.expect_word("ON")?;
        let table = self.table_name()?;
        self.expect_symbol("(")?;
        if self.symbol() == Some("(") {
            return Err(self.not_in_grammar("an index within partitions, ((key), column), is"));
        }
        let mut targets = Vec::new();
        if !self.eat_symbol(")") {
            targets.push(self.index_target()?);
            while self.eat_symbol(",") {
                targets.push(self.index_target()?);
            }
            self.expect_symbol(")")?;
        }
        if self.looking_at(&["INCLUDE"]) {
            return Err(self.not_in_grammar("INCLUDE, of columns that an index covers, is"));
        }
        let mut class = None;
        if self.eat_word("USING") {
            let at = self.here();
            if self.token.kind != TokenKind::String {
                self.expected.push("the name of a class");
                return Err(self.unexpected());
            }
            class = Some((self.string(), at));
        }
        let properties = if self.eat_word("WITH") { self.properties()? } else { Vec::new() };
        let index = CreateIndex { is_custom, if_not_exists, name, table, targets, class, properties, at };
        Ok(Statement::CreateIndex(index))
    }

    fn index_target(&mut self) -> Result<IndexTarget, RequestError> {
        let kinds = [
            ("VALUES", IndexTargetKind::Values),
            ("KEYS", IndexTargetKind::Keys),
            ("ENTRIES", IndexTargetKind::Entries),
            ("FULL", IndexTargetKind::Full),
        ];
        let named = kinds.into_iter().find(|(word, _)| self.looking_at(&[word]) && self.is_followed_by("("));
        let Some((_, kind)) = named else {
            return Ok(IndexTarget { kind: IndexTargetKind::Plain, column: self.name("a column name")? });
        };
        self.advance();
        self.expect_symbol("(")?;
        let column = self.name("a column name")?;
        self.expect_symbol(")")?;
        Ok(IndexTarget { kind, column })
    }

    /// What follows DESCRIBE, at `at`.
    pub(super) fn describe(&mut self, at: Position) -> Result<Describe, RequestError> {
        let described = self.described()?;
        let internals = self.eat_word("WITH");
        if internals {
            self.expect_word("INTERNALS")?;
        }
        Ok(Describe { described, internals, at })
    }

    fn described(&mut self) -> Result<Described, RequestError> {
        if self.eat_word("CLUSTER") {
            return Ok(Described::Cluster);
        }
        if self.looking_at(&["FULL", "SCHEMA"]) {
            self.advance();
            self.advance();
            return Ok(Described::Schema { full: true });
        }
        if self.eat_word("SCHEMA") {
            return Ok(Described::Schema { full: false });
        }
        let plurals = [
            ("KEYSPACES", Described::Keyspaces),
            ("TABLES", Described::Tables),
            ("TYPES", Described::Types),
            ("FUNCTIONS", Described::Functions),
            ("AGGREGATES", Described::Aggregates),
        ];
        for (word, described) in plurals {
            if self.eat_word(word) {
                return Ok(described);
            }
        }
        let only = self.looking_at(&["ONLY", "KEYSPACE"]);
        if only {
            self.advance();
        }
        if self.eat_word("KEYSPACE") {
            let ends = matches!(self.token.kind, TokenKind::End | TokenKind::Symbol(";")) || self.at_word("WITH");
            let name = if ends { None } else { Some(self.name("a keyspace name")?) };
            return Ok(Described::Keyspace { name, only });
        }
        if self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY") {
            return Ok(Described::Table(self.table_name()?));
        }
        if self.eat_word("INDEX") {
            return Ok(Described::Index(self.qualified_name("an index name")?));
        }
        if self.eat_word("MATERIALIZED") {
            self.expect_word("VIEW")?;
            return Ok(Described::MaterializedView(self.qualified_name("a view name")?));
        }
        // These words may be names, of a keyspace before a dot.
        let names = !self.is_followed_by(".");
        if names && self.eat_word("TYPE") {
            return Ok(Described::Type(self.qualified_name("a type name")?));
        }
        if names && self.eat_word("FUNCTION") {
            return Ok(Described::Function(self.qualified_name("a function name")?));
        }
        if names && self.eat_word("AGGREGATE") {
            return Ok(Described::Aggregate(self.qualified_name("a function name")?));
        }
        Ok(Described::Any(self.qualified_name("a name")?))
    }

    /// `name = value AND ...`.
    fn properties(&mut self) -> Result<Vec<Property>, RequestError> {
        let mut properties = vec![self.property()?];
        while self.eat_word("AND") {
            properties.push(self.property()?);
        }
        Ok(properties)
    }

    fn property(&mut self) -> Result<Property, RequestError> {
        let name = self.name("the name of an option")?;
        self.expect_symbol("=")?;
        let at = self.here();
        let value = if self.eat_symbol("{") {
            PropertyValue::Map(self.property_map()?)
        } else {
            PropertyValue::Literal(self.property_literal()?)
        };
        Ok(Property { name, value, at })
    }

    /// The entries of a map, and the brace that closes it.
    fn property_map(&mut self) -> Result<Vec<(Literal, Literal)>, RequestError> {
        let mut entries = Vec::new();
        if self.eat_symbol("}") {
            return Ok(entries);
        }
        loop {
            let key = self.property_literal()?;
            self.expect_symbol(":")?;
            entries.push((key, self.property_literal()?));
            if !self.eat_symbol(",") {
                self.expect_symbol("}")?;
                return Ok(entries);
            }
        }
    }

    fn property_literal(&mut self) -> Result<Literal, RequestError> {
        if matches!(self.symbol(), Some("?" | ":")) {
            let message = format!("{}: a schema statement has no bind markers", self.no_viable_alternative());
            return Err(self.source.syntax(self.here(), message));
        }
        if let Some(literal) = self.literal()? {
            return Ok(literal);
        }
        self.expected.push("a constant");
        Err(self.unexpected())
    }
}
