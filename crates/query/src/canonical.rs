//! A syntax tree as text in one canonical form of CQL: equal texts are equal statements but for positions.

use crate::ast::*;
use crate::role::{Password, RoleOptions, RoleRequest};
use model::name::quote_text;

/// The statement in its canonical form.
pub(crate) fn print(statement: &Statement) -> String {
    let exists = |if_exists: &bool| if *if_exists { "IF EXISTS " } else { "" };
    match statement {
        Statement::CreateKeyspace(CreateKeyspace { name, if_not_exists, properties }) => {
            let properties = with(properties, Vec::new());
            format!("CREATE KEYSPACE {}{}{properties}", not_exists(*if_not_exists), quoted(name))
        }
        Statement::AlterKeyspace(AlterKeyspace { name, if_exists, properties }) => {
            format!("ALTER KEYSPACE {}{}{}", exists(if_exists), quoted(name), with(properties, Vec::new()))
        }
        Statement::DropKeyspace { name, if_exists } => format!("DROP KEYSPACE {}{}", exists(if_exists), quoted(name)),
        Statement::CreateTable(create) => create_table(create),
        Statement::AlterTable(AlterTable { name, if_exists, alteration }) => {
            format!("ALTER TABLE {}{}{}", exists(if_exists), qualified(name), table_alteration(alteration))
        }
        Statement::DropTable { name, if_exists } => format!("DROP TABLE {}{}", exists(if_exists), qualified(name)),
        Statement::CreateType(CreateType { name, if_not_exists, fields }) => {
            let fields = list(fields, field);
            format!("CREATE TYPE {}{} ({fields})", not_exists(*if_not_exists), qualified(name))
        }
        Statement::AlterType(AlterType { name, if_exists, alteration }) => {
            let alteration = match alteration {
                TypeAlteration::Add { if_not_exists, field: added } => {
                    format!("ADD {}{}", not_exists(*if_not_exists), field(added))
                }
                TypeAlteration::Rename { if_exists, renames: all } => renames(*if_exists, all),
            };
            format!("ALTER TYPE {}{} {alteration}", exists(if_exists), qualified(name))
        }
        Statement::DropType { name, if_exists } => format!("DROP TYPE {}{}", exists(if_exists), qualified(name)),
        Statement::CreateIndex(index) => create_index(index),
        Statement::DropIndex { name, if_exists } => format!("DROP INDEX {}{}", exists(if_exists), qualified(name)),
        Statement::Absent { what, name, if_exists } => {
            let if_exists = exists(if_exists);
            match what {
                AbsentKind::MaterializedView(None) => format!("DROP MATERIALIZED VIEW {if_exists}{}", qualified(name)),
                AbsentKind::MaterializedView(Some(options)) => {
                    let options = with(options, Vec::new());
                    format!("ALTER MATERIALIZED VIEW {if_exists}{}{options}", qualified(name))
                }
                AbsentKind::Trigger(table) => {
                    format!("DROP TRIGGER {if_exists}{} ON {}", qualified(name), qualified(table))
                }
            }
        }
        Statement::Truncate(name) => format!("TRUNCATE {}", qualified(name)),
        Statement::Use(name) => format!("USE {}", quoted(name)),
        Statement::Modification(statement) => modification(statement),
        Statement::Batch(Batch { kind, using: times, statements, .. }) => {
            let kind = match kind {
                BatchKind::Logged => "",
                BatchKind::Unlogged => "UNLOGGED ",
                BatchKind::Counter => "COUNTER ",
            };
            let statements: String =
                statements.iter().map(|statement| format!(" {};", modification(statement))).collect();
            format!("BEGIN {kind}BATCH{}{statements} APPLY BATCH", using(times))
        }
        Statement::Select(statement) => select(statement),
        Statement::Describe(Describe { described, internals, .. }) => {
            format!("DESCRIBE {}{}", self::described(described), if *internals { " WITH INTERNALS" } else { "" })
        }
        Statement::Role(request) => role(request),
        Statement::Explain { analyze, statement, .. } => {
            format!("EXPLAIN {}{}", if *analyze { "ANALYZE " } else { "" }, print(statement))
        }
    }
}

fn role(request: &RoleRequest) -> String {
    let name = quote_text;
    let options = |options: &RoleOptions| {
        let mut all = Vec::new();
        match &options.password {
            Some(Password::Plain(password)) => all.push(format!("PASSWORD = {}", quote_text(password))),
            Some(Password::Hashed(hash)) => all.push(format!("HASHED PASSWORD = {}", quote_text(hash))),
            None => {}
        }
        all.extend(options.login.map(|login| format!("LOGIN = {login}")));
        all.extend(options.superuser.map(|superuser| format!("SUPERUSER = {superuser}")));
        if all.is_empty() { String::new() } else { format!(" WITH {}", all.join(" AND ")) }
    };
    let if_exists = |exists: bool| if exists { "IF EXISTS " } else { "" };
    match request {
        RoleRequest::Create { name: role, options: all, if_not_exists } => {
            format!("CREATE ROLE {}{}{}", not_exists(*if_not_exists), name(role), options(all))
        }
        RoleRequest::Alter { name: role, options: all, if_exists: exists } => {
            format!("ALTER ROLE {}{}{}", if_exists(*exists), name(role), options(all))
        }
        RoleRequest::Drop { name: role, if_exists: exists } => {
            format!("DROP ROLE {}{}", if_exists(*exists), name(role))
        }
        RoleRequest::ListRoles { of: None } => "LIST ROLES".to_owned(),
        RoleRequest::ListRoles { of: Some(role) } => format!("LIST ROLES OF {}", name(role)),
        RoleRequest::ListUsers => "LIST USERS".to_owned(),
    }
}

/// The term in its canonical form: what an operator is applied to is in parentheses when it has one too.
pub(crate) fn term(term: &Term) -> String {
    let boxed = |inner: &Term| self::term(inner);
    match &term.kind {
        TermKind::Literal(constant) => literal(constant),
        TermKind::Null => "null".to_owned(),
        TermKind::Marker { name: None, .. } => "?".to_owned(),
        TermKind::Marker { name: Some(name), .. } => format!(":\"{}\"", name.replace('"', "\"\"")),
        TermKind::Call { function, arguments } => {
            let keyspace = function.keyspace.as_ref().map(|keyspace| format!("{}.", quoted(keyspace)));
            let arguments = list(arguments, boxed);
            format!("{}{}({arguments})", keyspace.unwrap_or_default(), quoted(&function.name))
        }
        TermKind::Cast { value, target } => format!("CAST({} AS {})", boxed(value), type_name(target)),
        TermKind::Hint { target, value } => format!("({}) {}", type_name(target), boxed(value)),
        TermKind::Negation(value) => format!("- {}", operand(value)),
        TermKind::Arithmetic { operator, left, right } => {
            format!("{} {} {}", operand(left), operator.symbol(), operand(right))
        }
        TermKind::List(terms) => format!("[{}]", list(terms, boxed)),
        TermKind::Set(terms) => format!("{{{}}}", list(terms, boxed)),
        TermKind::Map(entries) => {
            format!("{{{}}}", list(entries, |(key, value)| format!("{}: {}", boxed(key), boxed(value))))
        }
        TermKind::UserType(fields) => {
            format!("{{{}}}", list(fields, |(name, value)| format!("{}: {}", quoted(name), boxed(value))))
        }
        TermKind::Tuple(terms) => format!("({})", list(terms, boxed)),
        TermKind::Column(name) => quoted(name),
        TermKind::Element { collection, key } => format!("{}[{}]", boxed(collection), boxed(key)),
        TermKind::Slice { collection, from, to } => {
            let end = |end: &Option<Box<Term>>| end.as_deref().map(boxed).unwrap_or_default();
            format!("{}[{} .. {}]", boxed(collection), end(from), end(to))
        }
        TermKind::Field { value, field } => format!("{}.{}", boxed(value), quoted(field)),
        TermKind::CountRows => "count(*)".to_owned(),
    }
}

fn operand(operand: &Term) -> String {
    match operand.kind {
        TermKind::Negation(_) | TermKind::Arithmetic { .. } => format!("({})", term(operand)),
        _ => term(operand),
    }
}

fn list<T>(items: &[T], print: impl FnMut(&T) -> String) -> String {
    items.iter().map(print).collect::<Vec<_>>().join(", ")
}

fn quoted(name: &Name) -> String {
    format!("\"{}\"", name.text.replace('"', "\"\""))
}

fn qualified(QualifiedName { keyspace, name }: &QualifiedName) -> String {
    match keyspace {
        Some(keyspace) => format!("{}.{}", quoted(keyspace), quoted(name)),
        None => quoted(name),
    }
}

fn not_exists(condition: bool) -> &'static str {
    if condition { "IF NOT EXISTS " } else { "" }
}

fn literal(Literal { kind, text }: &Literal) -> String {
    match kind {
        LiteralKind::String => format!("'{}'", text.replace('\'', "''")),
        LiteralKind::Boolean => text.to_lowercase(),
        _ => text.clone(),
    }
}

fn type_name(name: &TypeName) -> String {
    match &name.kind {
        TypeNameKind::Native(native) => native.to_string(),
        TypeNameKind::List(element) => format!("list<{}>", type_name(element)),
        TypeNameKind::Set(element) => format!("set<{}>", type_name(element)),
        TypeNameKind::Map(entry) => format!("map<{}, {}>", type_name(&entry.0), type_name(&entry.1)),
        TypeNameKind::Tuple(types) => format!("tuple<{}>", list(types, type_name)),
        TypeNameKind::Vector { element, dimensions } => format!("vector<{}, {dimensions}>", type_name(element)),
        TypeNameKind::Frozen(inner) => format!("frozen<{}>", type_name(inner)),
        TypeNameKind::UserDefined { keyspace, name } => {
            qualified(&QualifiedName { keyspace: keyspace.clone(), name: name.clone() })
        }
        TypeNameKind::Custom(class) => format!("'{}'", class.replace('\'', "''")),
    }
}

fn select(select: &Select) -> String {
    let mut text = "SELECT ".to_owned();
    if select.json.is_some() {
        text.push_str("JSON ");
    }
    if select.distinct.is_some() {
        text.push_str("DISTINCT ");
    }
    let selector = |selector: &Selector| {
        let alias = selector.alias.as_ref().map(|alias| format!(" AS {}", quoted(alias)));
        format!("{}{}", term(&selector.term), alias.unwrap_or_default())
    };
    let selectors = if select.selectors.is_empty() { "*".to_owned() } else { list(&select.selectors, selector) };
    text.push_str(&format!("{selectors} FROM {}{}", qualified(&select.table), where_clause(&select.relations)));
    if !select.group_by.is_empty() {
        text.push_str(&format!(" GROUP BY {}", list(&select.group_by, term)));
    }
    let ordering = |Ordering { column, nearest_to, descending }: &Ordering| {
        let nearest_to = nearest_to.as_ref().map(|to| format!(" ANN OF {}", term(to))).unwrap_or_default();
        format!("{}{nearest_to} {}", quoted(column), direction(*descending))
    };
    if !select.order.is_empty() {
        text.push_str(&format!(" ORDER BY {}", list(&select.order, ordering)));
    }
    if let Some(limit) = &select.per_partition_limit {
        text.push_str(&format!(" PER PARTITION LIMIT {}", term(limit)));
    }
    if let Some(limit) = &select.limit {
        text.push_str(&format!(" LIMIT {}", term(limit)));
    }
    if select.allow_filtering {
        text.push_str(" ALLOW FILTERING");
    }
    if select.bypass_cache.is_some() {
        text.push_str(" BYPASS CACHE");
    }
    if let Some(timeout) = &select.timeout {
        text.push_str(&format!(" USING TIMEOUT {}", term(timeout)));
    }
    let IndexHints { included, excluded } = &select.hints;
    let hints: Vec<String> = [("included", included), ("excluded", excluded)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}_indexes = {{{}}}", list(names, qualified)))
        .collect();
    if !hints.is_empty() {
        text.push_str(&format!(" WITH {}", hints.join(" AND ")));
    }
    text
}

fn direction(descending: bool) -> &'static str {
    if descending { "DESC" } else { "ASC" }
}

fn where_clause(relations: &[Relation]) -> String {
    if relations.is_empty() { String::new() } else { format!(" WHERE {}", conjunction(relations)) }
}

fn conjunction(relations: &[Relation]) -> String {
    relations.iter().map(relation).collect::<Vec<_>>().join(" AND ")
}

fn relation(Relation { subject, operator, comparand, .. }: &Relation) -> String {
    let subject = match subject {
        Subject::Column(name) => quoted(name),
        Subject::Element { column, key } => format!("{}[{}]", quoted(column), term(key)),
        Subject::Field { column, field } => format!("{}.{}", quoted(column), quoted(field)),
        Subject::Columns(names) => format!("({})", list(names, quoted)),
        Subject::Token(names) => format!("TOKEN({})", list(names, quoted)),
    };
    let comparand = match comparand {
        Comparand::One(value) => format!(" {}", term(value)),
        Comparand::Many(values) if *operator == Operator::Between => {
            format!(" {}", values.iter().map(term).collect::<Vec<_>>().join(" AND "))
        }
        Comparand::Many(values) => format!(" ({})", list(values, term)),
        Comparand::Nothing => String::new(),
    };
    format!("{subject} {}{comparand}", operator.symbol())
}

fn using(using: &Using) -> String {
    let ttl = using.time_to_live.iter().map(|ttl| format!("TTL {}", term(ttl)));
    let timestamp = using.timestamp.iter().map(|timestamp| format!("TIMESTAMP {}", term(timestamp)));
    let all: Vec<String> = ttl.chain(timestamp).collect();
    if all.is_empty() { String::new() } else { format!(" USING {}", all.join(" AND ")) }
}

fn modification(statement: &Modification) -> String {
    match statement {
        Modification::Insert(Insert { table, values, if_not_exists, using: times }) => {
            let values = match values {
                InsertedValues::Columns { columns, values } => {
                    format!("({}) VALUES ({})", list(columns, quoted), list(values, term))
                }
                InsertedValues::Json { value, default_unset } => {
                    format!("JSON {} DEFAULT {}", term(value), if *default_unset { "UNSET" } else { "NULL" })
                }
            };
            let condition = if if_not_exists.is_some() { " IF NOT EXISTS" } else { "" };
            format!("INSERT INTO {} {values}{condition}{}", qualified(table), using(times))
        }
        Modification::Update(Update { table, using: times, assignments, relations, condition: when }) => {
            let (set, relations, when) = (list(assignments, assignment), where_clause(relations), condition(when));
            format!("UPDATE {}{} SET {set}{relations}{when}", qualified(table), using(times))
        }
        Modification::Delete(Delete { columns, table, timestamp, relations, condition: when }) => {
            let times = using(&Using { time_to_live: None, timestamp: timestamp.clone() });
            let deleted = |column: &DeletedColumn| match column {
                DeletedColumn::Column(column) => quoted(column),
                DeletedColumn::Element { column, key } => format!("{}[{}]", quoted(column), term(key)),
                DeletedColumn::Field { column, field } => format!("{}.{}", quoted(column), quoted(field)),
            };
            let (columns, relations, when) = (list(columns, deleted), where_clause(relations), condition(when));
            format!("DELETE {columns} FROM {}{times}{relations}{when}", qualified(table))
        }
    }
}

fn assignment(Assignment { column, operation }: &Assignment) -> String {
    let column = quoted(column);
    match operation {
        Operation::Set(value) => format!("{column} = {}", term(value)),
        Operation::Add(value) => format!("{column} += {}", term(value)),
        Operation::Subtract(value) => format!("{column} -= {}", term(value)),
        Operation::Prepend(value) => format!("{column} = {} + {column}", term(value)),
        Operation::SetElement { key, value } => format!("{column}[{}] = {}", term(key), term(value)),
        Operation::SetField { field, value } => format!("{column}.{} = {}", quoted(field), term(value)),
    }
}

fn condition(condition: &Option<(Condition, crate::source::Position)>) -> String {
    match condition {
        None => String::new(),
        Some((Condition::Exists, _)) => " IF EXISTS".to_owned(),
        Some((Condition::Relations(relations), _)) => format!(" IF {}", conjunction(relations)),
    }
}

fn with(properties: &[Property], mut all: Vec<String>) -> String {
    for Property { name, value, .. } in properties {
        let value = match value {
            PropertyValue::Literal(constant) => literal(constant),
            PropertyValue::Map(entries) => {
                format!("{{{}}}", list(entries, |(key, value)| format!("{}: {}", literal(key), literal(value))))
            }
        };
        all.push(format!("{} = {value}", quoted(name)));
    }
    if all.is_empty() { String::new() } else { format!(" WITH {}", all.join(" AND ")) }
}

fn column(ColumnDefinition { name, type_name: named, is_static, checks: all }: &ColumnDefinition) -> String {
    let is_static = if is_static.is_some() { " STATIC" } else { "" };
    format!("{} {}{is_static}{}", quoted(name), type_name(named), checks(all))
}

fn checks(checks: &[CheckDefinition]) -> String {
    let one = |CheckDefinition { kind, .. }: &CheckDefinition| match kind {
        CheckKind::NotNull => "NOT NULL".to_owned(),
        CheckKind::Value { column, operator, bound } => {
            format!("{} {} {}", quoted(column), operator.symbol(), literal(bound))
        }
        CheckKind::Function { name, column, operator, bound } => {
            let column = column.as_ref().map(quoted).unwrap_or_default();
            format!("{}({column}) {} {}", quoted(name), operator.symbol(), literal(bound))
        }
        CheckKind::Predicate { name, column: Some(column) } => format!("{}({})", quoted(name), quoted(column)),
        CheckKind::Predicate { name, column: None } => quoted(name),
    };
    let all: Vec<String> = checks.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(" CHECK {}", all.join(" AND ")) }
}

fn field(FieldDefinition { name, type_name: named }: &FieldDefinition) -> String {
    format!("{} {}", quoted(name), type_name(named))
}

fn create_table(create: &CreateTable) -> String {
    let mut items: Vec<String> = create.columns.iter().map(column).collect();
    for key in &create.primary_keys {
        let clustering = list(&key.clustering, quoted);
        let comma = if clustering.is_empty() { "" } else { ", " };
        items.push(format!("PRIMARY KEY (({}){comma}{clustering})", list(&key.partition, quoted)));
    }
    let mut properties = Vec::new();
    if !create.clustering_order.is_empty() {
        let order =
            list(&create.clustering_order, |(name, descending)| format!("{} {}", quoted(name), direction(*descending)));
        properties.push(format!("CLUSTERING ORDER BY ({order})"));
    }
    if create.like_indexes {
        properties.push("INDEXES".to_owned());
    }
    let properties = with(&create.properties, properties);
    let (condition, name) = (not_exists(create.if_not_exists), qualified(&create.name));
    if let Some(like) = &create.like {
        return format!("CREATE TABLE {condition}{name} LIKE {}{properties}", qualified(like));
    }
    format!("CREATE TABLE {condition}{name} ({}){properties}", items.join(", "))
}

fn renames(if_exists: bool, renames: &[(Name, Name)]) -> String {
    let one = |(from, to): &(Name, Name)| format!("{} TO {}", quoted(from), quoted(to));
    let all = renames.iter().map(one).collect::<Vec<_>>().join(" AND ");
    format!("RENAME {}{all}", if if_exists { "IF EXISTS " } else { "" })
}

fn table_alteration(alteration: &TableAlteration) -> String {
    match alteration {
        TableAlteration::Add { if_not_exists, columns } => {
            format!(" ADD {}({})", not_exists(*if_not_exists), list(columns, column))
        }
        TableAlteration::Drop { if_exists, columns, timestamp } => {
            let exists = if *if_exists { "IF EXISTS " } else { "" };
            let timestamp = timestamp.as_ref().map(|(timestamp, _)| format!(" USING TIMESTAMP {}", literal(timestamp)));
            format!(" DROP {exists}({}){}", list(columns, quoted), timestamp.unwrap_or_default())
        }
        TableAlteration::Rename { if_exists, renames: all } => format!(" {}", renames(*if_exists, all)),
        TableAlteration::With(properties) => with(properties, Vec::new()),
        TableAlteration::Check { if_exists, column, checks: all } => {
            let checks = if all.is_empty() { " DROP CHECK".to_owned() } else { checks(all) };
            format!(" ALTER {}{}{checks}", if *if_exists { "IF EXISTS " } else { "" }, quoted(column))
        }
    }
}

fn create_index(index: &CreateIndex) -> String {
    let custom = if index.is_custom { "CUSTOM " } else { "" };
    let name = index.name.as_ref().map(|name| format!("{} ", quoted(name))).unwrap_or_default();
    let target = |IndexTarget { kind, column }: &IndexTarget| match kind {
        IndexTargetKind::Plain => quoted(column),
        IndexTargetKind::Values => format!("values({})", quoted(column)),
        IndexTargetKind::Keys => format!("keys({})", quoted(column)),
        IndexTargetKind::Entries => format!("entries({})", quoted(column)),
        IndexTargetKind::Full => format!("full({})", quoted(column)),
    };
    let class = index.class.as_ref().map(|(class, _)| format!(" USING '{}'", class.replace('\'', "''")));
    format!(
        "CREATE {custom}INDEX {}{name}ON {} ({}){}{}",
        not_exists(index.if_not_exists),
        qualified(&index.table),
        list(&index.targets, target),
        class.unwrap_or_default(),
        with(&index.properties, Vec::new()),
    )
}

fn described(described: &Described) -> String {
    match described {
        Described::Cluster => "CLUSTER".to_owned(),
        Described::Schema { full } => format!("{}SCHEMA", if *full { "FULL " } else { "" }),
        Described::Keyspaces => "KEYSPACES".to_owned(),
        Described::Keyspace { name, only } => {
            let name = name.as_ref().map(|name| format!(" {}", quoted(name)));
            format!("{}KEYSPACE{}", if *only { "ONLY " } else { "" }, name.unwrap_or_default())
        }
        Described::Tables => "TABLES".to_owned(),
        Described::Table(name) => format!("TABLE {}", qualified(name)),
        Described::Index(name) => format!("INDEX {}", qualified(name)),
        Described::MaterializedView(name) => format!("MATERIALIZED VIEW {}", qualified(name)),
        Described::Types => "TYPES".to_owned(),
        Described::Type(name) => format!("TYPE {}", qualified(name)),
        Described::Functions => "FUNCTIONS".to_owned(),
        Described::Function(name) => format!("FUNCTION {}", qualified(name)),
        Described::Aggregates => "AGGREGATES".to_owned(),
        Described::Aggregate(name) => format!("AGGREGATE {}", qualified(name)),
        Described::Any(name) => qualified(name),
    }
}
