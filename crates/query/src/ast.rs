//! The syntax tree: what a statement says, before any of its names is looked up. Every item knows
//! where in the text it stands.
//!
//! Map: `term` is what stands where a value is expected, `data` reads and writes, `schema` definitions.
//!
//! Invariant of every tree that the parser makes: no term, type or relation is nested deeper than
//! `model::limits::NESTING_MAX`, so that whoever walks it may recurse.

mod data;
mod schema;
mod term;

pub use data::BatchKind;
pub(crate) use data::{
    Assignment, Batch, Comparand, Condition, Delete, DeletedColumn, IndexHints, Insert, InsertedValues, Modification,
    Operation, Operator, Ordering, Relation, Select, Selector, Subject, Update, Using,
};
pub(crate) use schema::{
    AlterKeyspace, AlterTable, AlterType, CheckDefinition, CheckKind, ColumnDefinition, CreateIndex, CreateKeyspace,
    CreateTable, CreateType, Describe, Described, FieldDefinition, IndexTarget, IndexTargetKind, PrimaryKey, Property,
    PropertyValue, TableAlteration, TypeAlteration,
};
pub(crate) use term::{ArithmeticOperator, FunctionName, Literal, LiteralKind, Term, TermKind, TypeName, TypeNameKind};

use crate::role::RoleRequest;
use crate::source::Position;

/// A name of a keyspace, table, column or marker: folded to lower case unless it was quoted.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) at: Position,
}

/// A name of something that is in a keyspace: a table, an index, a type, with the keyspace if the statement
/// names it.
#[derive(Clone, Debug)]
pub(crate) struct QualifiedName {
    pub(crate) keyspace: Option<Name>,
    pub(crate) name: Name,
}

impl QualifiedName {
    /// Where it begins.
    pub(crate) fn at(&self) -> Position {
        self.keyspace.as_ref().unwrap_or(&self.name).at
    }
}

/// What no schema has.
#[derive(Clone, Debug)]
pub(crate) enum AbsentKind {
    /// With the options that it is altered to; without, it is dropped.
    MaterializedView(Option<Vec<Property>>),
    /// Of this table.
    Trigger(QualifiedName),
}

/// One statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    CreateKeyspace(CreateKeyspace),
    AlterKeyspace(AlterKeyspace),
    DropKeyspace {
        name: Name,
        if_exists: bool,
    },
    CreateTable(CreateTable),
    AlterTable(AlterTable),
    DropTable {
        name: QualifiedName,
        if_exists: bool,
    },
    CreateType(CreateType),
    AlterType(AlterType),
    DropType {
        name: QualifiedName,
        if_exists: bool,
    },
    CreateIndex(CreateIndex),
    DropIndex {
        name: QualifiedName,
        if_exists: bool,
    },
    /// ALTER or DROP of a materialized view or a trigger: there are none.
    Absent {
        what: AbsentKind,
        name: QualifiedName,
        if_exists: bool,
    },
    Truncate(QualifiedName),
    Use(Name),
    Modification(Modification),
    Batch(Batch),
    Select(Select),
    Describe(Describe),
    Role(RoleRequest),
    /// `EXPLAIN [ANALYZE]` of a SELECT, a modification or a batch.
    Explain {
        analyze: bool,
        statement: Box<Statement>,
        at: Position,
    },
}
