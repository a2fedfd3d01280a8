//! CREATE and DROP of keyspaces and tables.

use super::Parser;
use crate::ast::{
    ColumnDefinition, CreateKeyspace, CreateTable, Literal, PrimaryKey, Property, PropertyValue, Statement,
};
use crate::lexer::TokenKind;
use model::limits::COLUMNS_MAX;
use model::{CqlType, RequestError};

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement, RequestError> {
        if self.eat_word("KEYSPACE") || self.eat_word("SCHEMA") {
            self.create_keyspace()
        } else if self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY") {
            self.create_table()
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn drop(&mut self) -> Result<Statement, RequestError> {
        if self.eat_word("KEYSPACE") || self.eat_word("SCHEMA") {
            let if_exists = self.if_exists()?;
            Ok(Statement::DropKeyspace { name: self.name("a keyspace name")?, if_exists })
        } else if self.eat_word("TABLE") || self.eat_word("COLUMNFAMILY") {
            let if_exists = self.if_exists()?;
            Ok(Statement::DropTable { name: self.table_name()?, if_exists })
        } else {
            Err(self.unexpected())
        }
    }

    fn create_keyspace(&mut self) -> Result<Statement, RequestError> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name("a keyspace name")?;
        self.expect_word("WITH")?;
        let mut properties = vec![self.property()?];
        while self.eat_word("AND") {
            properties.push(self.property()?);
        }
        Ok(Statement::CreateKeyspace(CreateKeyspace { name, if_not_exists, properties }))
    }

    fn create_table(&mut self) -> Result<Statement, RequestError> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.table_name()?;
        if self.looking_at(&["LIKE"]) {
            return Err(self.unsupported("CREATE TABLE ... LIKE is"));
        }
        let mut table = CreateTable {
            name,
            if_not_exists,
            columns: Vec::new(),
            primary_keys: Vec::new(),
            clustering_order: Vec::new(),
            properties: Vec::new(),
        };
        self.expect_symbol("(")?;
        self.table_item(&mut table)?;
        while self.eat_symbol(",") {
            // Cassandra's grammar allows items to be left out behind a comma.
            if !matches!(self.symbol(), Some("," | ")")) {
                self.table_item(&mut table)?;
            }
        }
        self.expect_symbol(")")?;
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
        let name = self.name("a column name")?;
        let cql_type = self.cql_type()?;
        for (word, feature) in
            [("STATIC", "static columns are"), ("MASKED", "data masking is"), ("CHECK", "CHECK constraints are")]
        {
            if self.looking_at(&[word]) {
                return Err(self.unsupported(feature));
            }
        }
        let at = self.here();
        if self.eat_word("PRIMARY") {
            self.expect_word("KEY")?;
            table.primary_keys.push(PrimaryKey { partition: vec![name.clone()], clustering: Vec::new(), at });
        }
        table.columns.push(ColumnDefinition { name, cql_type });
        Ok(())
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

    fn cql_type(&mut self) -> Result<CqlType, RequestError> {
        match self.token.kind {
            TokenKind::Word => {
                let name = self.text().to_ascii_lowercase();
                if let Some(scalar) = CqlType::scalar(&name) {
                    self.advance();
                    return Ok(scalar);
                }
                Err(match name.as_str() {
                    "counter" | "list" | "set" | "map" | "tuple" | "frozen" | "vector" => {
                        self.unsupported(&format!("type {name} is"))
                    }
                    _ if model::name::is_reserved(&name) => {
                        self.expected.push("a type");
                        self.unexpected()
                    }
                    _ => {
                        let message = format!("Unknown type {name}: user-defined types are not supported yet");
                        self.source.invalid(self.here(), message)
                    }
                })
            }
            TokenKind::QuotedName => Err(self.unsupported(&format!("user-defined type {} is", self.text()))),
            TokenKind::String => Err(self.unsupported(&format!("custom type {} is", self.text()))),
            _ => {
                self.expected.push("a type");
                Err(self.unexpected())
            }
        }
    }

    fn table_property(&mut self, table: &mut CreateTable) -> Result<(), RequestError> {
        if self.looking_at(&["COMPACT", "STORAGE"]) {
            return Err(self.unsupported("COMPACT STORAGE is"));
        }
        if !self.looking_at(&["CLUSTERING", "ORDER"]) {
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
