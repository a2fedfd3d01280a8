//! CREATE, ALTER, DROP and DESCRIBE.

use super::{Literal, Name, Operator, QualifiedName, TypeName};
use crate::source::Position;

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

#[derive(Clone, Debug)]
pub(crate) struct AlterKeyspace {
    pub(crate) name: Name,
    pub(crate) if_exists: bool,
    pub(crate) properties: Vec<Property>,
}

/// A condition behind CHECK.
#[derive(Clone, Debug)]
pub(crate) struct CheckDefinition {
    pub(crate) kind: CheckKind,
    pub(crate) at: Position,
}

/// The forms of a condition behind CHECK.
#[derive(Clone, Debug)]
pub(crate) enum CheckKind {
    /// `column operator number`.
    Value { column: Name, operator: Operator, bound: Literal },
    /// `FUNCTION([column]) operator constant`.
    Function { name: Name, column: Option<Name>, operator: Operator, bound: Literal },
    /// `JSON`, `NOT_NULL`, perhaps with the column in parentheses.
    Predicate { name: Name, column: Option<Name> },
    /// `NOT NULL`.
    NotNull,
}

/// `name type [STATIC] [CHECK condition AND ...]`.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDefinition {
    pub(crate) name: Name,
    pub(crate) type_name: TypeName,
    /// Where STATIC stands.
    pub(crate) is_static: Option<Position>,
    pub(crate) checks: Vec<CheckDefinition>,
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
    pub(crate) name: QualifiedName,
    pub(crate) if_not_exists: bool,
    /// `LIKE`: the table whose columns it has, in place of definitions.
    pub(crate) like: Option<QualifiedName>,
    /// `LIKE ... WITH INDEXES`: it has such indexes too.
    pub(crate) like_indexes: bool,
    pub(crate) columns: Vec<ColumnDefinition>,
    /// Each PRIMARY KEY found: exactly one is right.
    pub(crate) primary_keys: Vec<PrimaryKey>,
    /// `CLUSTERING ORDER BY`: column, and true for DESC.
    pub(crate) clustering_order: Vec<(Name, bool)>,
    pub(crate) properties: Vec<Property>,
}

/// What ALTER TABLE does.
#[derive(Clone, Debug)]
pub(crate) enum TableAlteration {
    /// `ADD [IF NOT EXISTS] column type, ...`.
    Add { if_not_exists: bool, columns: Vec<ColumnDefinition> },
    /// `DROP [IF EXISTS] column, ... [USING TIMESTAMP t]`.
    Drop { if_exists: bool, columns: Vec<Name>, timestamp: Option<(Literal, Position)> },
    /// `RENAME [IF EXISTS] a TO b AND ...`.
    Rename { if_exists: bool, renames: Vec<(Name, Name)> },
    /// `WITH ...`.
    With(Vec<Property>),
    /// `ALTER [IF EXISTS] column CHECK condition AND ...`, or DROP CHECK: then there are none.
    Check { if_exists: bool, column: Name, checks: Vec<CheckDefinition> },
}

#[derive(Clone, Debug)]
pub(crate) struct AlterTable {
    pub(crate) name: QualifiedName,
    pub(crate) if_exists: bool,
    pub(crate) alteration: TableAlteration,
}

/// `name type` of a user-defined type.
#[derive(Clone, Debug)]
pub(crate) struct FieldDefinition {
    pub(crate) name: Name,
    pub(crate) type_name: TypeName,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateType {
    pub(crate) name: QualifiedName,
    pub(crate) if_not_exists: bool,
    pub(crate) fields: Vec<FieldDefinition>,
}

/// What ALTER TYPE does.
#[derive(Clone, Debug)]
pub(crate) enum TypeAlteration {
    /// `ADD [IF NOT EXISTS] field type`.
    Add { if_not_exists: bool, field: FieldDefinition },
    /// `RENAME [IF EXISTS] a TO b AND ...`.
    Rename { if_exists: bool, renames: Vec<(Name, Name)> },
}

#[derive(Clone, Debug)]
pub(crate) struct AlterType {
    pub(crate) name: QualifiedName,
    pub(crate) if_exists: bool,
    pub(crate) alteration: TypeAlteration,
}

/// Which part of a column an index is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexTargetKind {
    /// `column`: its values.
    Plain,
    /// `values(column)`.
    Values,
    /// `keys(column)`.
    Keys,
    /// `entries(column)`.
    Entries,
    /// `full(column)`.
    Full,
}

#[derive(Clone, Debug)]
pub(crate) struct IndexTarget {
    pub(crate) kind: IndexTargetKind,
    pub(crate) column: Name,
}

#[derive(Clone, Debug)]
pub(crate) struct CreateIndex {
    pub(crate) is_custom: bool,
    pub(crate) if_not_exists: bool,
    pub(crate) name: Option<Name>,
    pub(crate) table: QualifiedName,
    pub(crate) targets: Vec<IndexTarget>,
    /// `USING 'class'`, and where it stands.
    pub(crate) class: Option<(String, Position)>,
    pub(crate) properties: Vec<Property>,
    pub(crate) at: Position,
}

/// What DESCRIBE describes.
#[derive(Clone, Debug)]
pub(crate) enum Described {
    Cluster,
    /// With the keyspaces of the system if `full`.
    Schema {
        full: bool,
    },
    Keyspaces,
    /// That of USE when none is named; without what is in it if `only`.
    Keyspace {
        name: Option<Name>,
        only: bool,
    },
    Tables,
    Table(QualifiedName),
    Index(QualifiedName),
    MaterializedView(QualifiedName),
    Types,
    Type(QualifiedName),
    Functions,
    Function(QualifiedName),
    Aggregates,
    Aggregate(QualifiedName),
    /// A name alone: whatever has it.
    Any(QualifiedName),
}

#[derive(Clone, Debug)]
pub(crate) struct Describe {
    pub(crate) described: Described,
    /// `WITH INTERNALS`.
    pub(crate) internals: bool,
    pub(crate) at: Position,
}
