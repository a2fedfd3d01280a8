//! The syntax tree: what a statement says, before any of its names is looked up. Every item knows
//! where in the text it stands.

use crate::source::Position;

/// A name of a keyspace, table, column or marker: folded to lower case unless it was quoted.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) at: Position,
}

/// A table's name, with the keyspace if the statement names it.
#[derive(Clone, Debug)]
pub(crate) struct TableName {
    pub(crate) keyspace: Option<Name>,
    pub(crate) table: Name,
}

/// The kinds of constants, by the names that Cassandra's messages give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiteralKind {
    /// Text in quotes.
    String,
    /// An integer, with its sign.
    Integer,
    /// A number with fraction or exponent, or `NaN`, `Infinity`, `-Infinity`.
    Float,
    /// `true` or `false`.
    Boolean,
    /// `0x...`.
    Hex,
    /// A UUID.
    Uuid,
    /// A duration, with its sign.
    Duration,
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) kind: LiteralKind,
    /// As written, except that a string is without its quotes.
    pub(crate) text: String,
}

/// What stands where a value is expected. Functions, casts and collections join it later.
#[derive(Clone, Debug)]
pub(crate) enum TermKind {
    /// A constant.
    Literal(Literal),
    /// `null`.
    Null,
    /// A bind marker: `?`, or `:name`.
    Marker {
        /// Its number in the statement, from 0.
        index: u16,
        /// Its name, if it has one.
        name: Option<String>,
    },
}

/// A term and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) kind: TermKind,
    pub(crate) at: Position,
}

/// A comparison in WHERE. IN, CONTAINS, LIKE and the rest join it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// `column operator term`.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) column: Name,
    pub(crate) operator: Operator,
    pub(crate) term: Term,
}

/// `USING TTL ... AND TIMESTAMP ...`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Using {
    pub(crate) time_to_live: Option<Term>,
    pub(crate) timestamp: Option<Term>,
}

/// A value of a property: a constant or a map of constants.
#[derive(Clone, Debug)]
pub(crate) enum PropertyValue {
    Literal(Literal),
    Map(Vec<(Literal, Literal)>),
}

/// `name = value` after WITH.
#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub(crate) name: Name,
    pub(crate) value: PropertyValue,
    /// Where the value stands.
    pub(crate) at: Position,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateKeyspace {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) properties: Vec<Property>,
}

/// `name type` in CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDefinition {
    pub(crate) name: Name,
    pub(crate) cql_type: model::CqlType,
}

/// The columns of a primary key.
#[derive(Clone, Debug)]
pub(crate) struct PrimaryKey {
    pub(crate) partition: Vec<Name>,
    pub(crate) clustering: Vec<Name>,
    pub(crate) at: Position,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: TableName,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDefinition>,
    /// Each PRIMARY KEY found: exactly one is right.
    pub(crate) primary_keys: Vec<PrimaryKey>,
    /// `CLUSTERING ORDER BY`: column, and true for DESC.
    pub(crate) clustering_order: Vec<(Name, bool)>,
    pub(crate) properties: Vec<Property>,
}

#[derive(Clone, Debug)]
pub(crate) struct Insert {
    pub(crate) table: TableName,
    pub(crate) columns: Vec<Name>,
    pub(crate) values: Vec<Term>,
    pub(crate) using: Using,
}

#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) table: TableName,
    pub(crate) using: Using,
    pub(crate) assignments: Vec<(Name, Term)>,
    pub(crate) relations: Vec<Relation>,
}

#[derive(Clone, Debug)]
pub(crate) struct Delete {
    /// Empty to delete rows.
    pub(crate) columns: Vec<Name>,
    pub(crate) table: TableName,
    pub(crate) timestamp: Option<Term>,
    pub(crate) relations: Vec<Relation>,
}

/// `column [AS alias]`. Functions and casts join it later.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) column: Name,
    pub(crate) alias: Option<Name>,
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    /// Empty for `*`.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) table: TableName,
    pub(crate) relations: Vec<Relation>,
    /// `ORDER BY`: column, and true for DESC.
    pub(crate) order: Vec<(Name, bool)>,
    pub(crate) limit: Option<Term>,
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    CreateKeyspace(CreateKeyspace),
    DropKeyspace { name: Name, if_exists: bool },
    CreateTable(CreateTable),
    DropTable { name: TableName, if_exists: bool },
    Truncate(TableName),
    Use(Name),
    Insert(Insert),
    Update(Update),
    Delete(Delete),
    Select(Select),
}

/// An operator between two terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArithmeticOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl ArithmeticOperator {
    /// As CQL writes it.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            ArithmeticOperator::Add => "+",
            ArithmeticOperator::Subtract => "-",
            ArithmeticOperator::Multiply => "*",
            ArithmeticOperator::Divide => "/",
            ArithmeticOperator::Remainder => "%",
        }
    }
}
