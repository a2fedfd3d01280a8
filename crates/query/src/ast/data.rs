//! SELECT, INSERT, UPDATE, DELETE and BATCH.

use super::{Name, QualifiedName, Term};
use crate::source::Position;

/// A comparison in WHERE or in IF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Contains,
    ContainsKey,
    NotContains,
    NotContainsKey,
    Like,
    Between,
    IsNull,
    IsNotNull,
}

impl Operator {
    /// As CQL writes it.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "IN",
            Operator::NotIn => "NOT IN",
            Operator::Contains => "CONTAINS",
            Operator::ContainsKey => "CONTAINS KEY",
            Operator::NotContains => "NOT CONTAINS",
            Operator::NotContainsKey => "NOT CONTAINS KEY",
            Operator::Like => "LIKE",
            Operator::Between => "BETWEEN",
            Operator::IsNull => "IS NULL",
            Operator::IsNotNull => "IS NOT NULL",
        }
    }
}

/// What a relation is about.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// `column`.
    Column(Name),
    /// `column[key]`.
    Element { column: Name, key: Term },
    /// `column.field`.
    Field { column: Name, field: Name },
    /// `(column, ...)`.
    Columns(Vec<Name>),
    /// `TOKEN(column, ...)`.
    Token(Vec<Name>),
}

impl Subject {
    /// Where it begins; the columns of a tuple are one at least.
    pub(crate) fn at(&self) -> Position {
        match self {
            Subject::Column(name) | Subject::Element { column: name, .. } | Subject::Field { column: name, .. } => {
                name.at
            }
            Subject::Columns(names) | Subject::Token(names) => names.first().map(|name| name.at).unwrap_or_default(),
        }
    }
}

/// What the subject of a relation is compared with.
#[derive(Clone, Debug)]
pub(crate) enum Comparand {
    /// A term. With IN it is a bind marker for all values at once.
    One(Term),
    /// The values of IN in parentheses, none perhaps; the two ends of BETWEEN.
    Many(Vec<Term>),
    /// IS NULL and IS NOT NULL compare with nothing.
    Nothing,
}

/// `subject operator comparand`.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) subject: Subject,
    pub(crate) operator: Operator,
    pub(crate) comparand: Comparand,
    /// Where the operator stands.
    pub(crate) at: Position,
}

/// `USING TTL ... AND TIMESTAMP ...`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Using {
    pub(crate) time_to_live: Option<Term>,
    pub(crate) timestamp: Option<Term>,
}

/// What follows IF in UPDATE and DELETE.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// `IF EXISTS`.
    Exists,
    /// `IF column = value AND ...`: about columns, elements and fields.
    Relations(Vec<Relation>),
}

/// What INSERT writes.
#[derive(Clone, Debug)]
pub(crate) enum InsertedValues {
    /// `(column, ...) VALUES (term, ...)`.
    Columns { columns: Vec<Name>, values: Vec<Term> },
    /// `JSON value [DEFAULT NULL | UNSET]`.
    Json {
        /// A string or a bind marker.
        value: Term,
        /// True for DEFAULT UNSET: columns that the JSON does not name are left alone.
        default_unset: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Insert {
    pub(crate) table: QualifiedName,
    pub(crate) values: InsertedValues,
    /// Where `IF NOT EXISTS` stands.
    pub(crate) if_not_exists: Option<Position>,
    pub(crate) using: Using,
}

/// What an assignment does to its column.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// `c = value`.
    Set(Term),
    /// `c = c + value`, `c += value`.
    Add(Term),
    /// `c = c - value`, `c -= value`.
    Subtract(Term),
    /// `c = value + c`.
    Prepend(Term),
    /// `c[key] = value`.
    SetElement { key: Term, value: Term },
    /// `c.field = value`.
    SetField { field: Name, value: Term },
}

/// An item of SET.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) column: Name,
    pub(crate) operation: Operation,
}

#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) table: QualifiedName,
    pub(crate) using: Using,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) relations: Vec<Relation>,
    /// With where IF stands.
    pub(crate) condition: Option<(Condition, Position)>,
}

/// What DELETE names between DELETE and FROM.
#[derive(Clone, Debug)]
pub(crate) enum DeletedColumn {
    /// `column`.
    Column(Name),
    /// `column[key]`.
    Element { column: Name, key: Term },
    /// `column.field`.
    Field { column: Name, field: Name },
}

#[derive(Clone, Debug)]
pub(crate) struct Delete {
    /// Empty to delete rows.
    pub(crate) columns: Vec<DeletedColumn>,
    pub(crate) table: QualifiedName,
    pub(crate) timestamp: Option<Term>,
    pub(crate) relations: Vec<Relation>,
    /// With where IF stands.
    pub(crate) condition: Option<(Condition, Position)>,
}

/// A statement that writes, alone or in a batch.
#[derive(Clone, Debug)]
pub(crate) enum Modification {
    Insert(Insert),
    Update(Update),
    Delete(Delete),
}

/// What a batch promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// All of it happens, or nothing.
    Logged,
    /// Each partition's part on its own.
    Unlogged,
    /// Of counters.
    Counter,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) kind: BatchKind,
    pub(crate) using: Using,
    pub(crate) statements: Vec<Modification>,
    pub(crate) at: Position,
}

/// `term [AS alias]`.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) term: Term,
    pub(crate) alias: Option<Name>,
}

/// An item of ORDER BY.
#[derive(Clone, Debug)]
pub(crate) struct Ordering {
    pub(crate) column: Name,
    /// `ANN OF` this vector.
    pub(crate) nearest_to: Option<Term>,
    pub(crate) descending: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Select {
    /// Where JSON stands.
    pub(crate) json: Option<Position>,
    /// Where DISTINCT stands.
    pub(crate) distinct: Option<Position>,
    /// Empty for `*`.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) table: QualifiedName,
    pub(crate) relations: Vec<Relation>,
    pub(crate) group_by: Vec<Term>,
    pub(crate) order: Vec<Ordering>,
    pub(crate) per_partition_limit: Option<Term>,
    pub(crate) limit: Option<Term>,
    pub(crate) allow_filtering: bool,
    /// Where BYPASS CACHE stands.
    pub(crate) bypass_cache: Option<Position>,
    /// `USING TIMEOUT`.
    pub(crate) timeout: Option<Term>,
    pub(crate) hints: IndexHints,
}

/// `WITH included_indexes = {...} AND excluded_indexes = {...}`.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexHints {
    /// The indexes that are to be used.
    pub(crate) included: Vec<QualifiedName>,
    /// Those that are not.
    pub(crate) excluded: Vec<QualifiedName>,
}
