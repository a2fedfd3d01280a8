//! CQL: from text to a bound plan.
//!
//! ```text
//! text --parse--> syntax tree --bind to schema--> Prepared --bind values--> Bound
//!                                                                |- BoundWrite --at a time--> Mutation
//!                                                                |- ConditionalWrite --rows--> BoundWrite, or refusal
//!                                                                |- BoundRead  --at a time--> ReadCommand, rows
//!                                                                |- SchemaRequest, USE
//! ```
//! [`prepare`] goes the first half of the way; [`Prepared::bind`] the second, which looks nothing up.
//!
//! Invariants:
//! * Pure: no clock, randomness, IO or threads. The time of a write or read comes in as an argument.
//! * No input panics: neither any text, nor any schema and values.
//! * What is accepted works; every other feature of CQL is refused with an error that names it.
//! * Errors are in Cassandra's words where it has some, since tools match on them, followed by the
//!   line and column of what is wrong; a column counts characters, from 1.
//! * Placement, encoding of keys and values, reconciliation: none of it is here, all of it is in
//!   `model`.
//!
//! Map: `lexer`, `parser` and `ast` read text, `source` says where in it an error is. `binder` looks names up, with
//! `term` (values), `restriction` and `slices` (WHERE), `selection` and `select` (SELECT), `modification` and
//! `condition` (INSERT, UPDATE, DELETE, BATCH; IF), `constraint` (CHECK), `definition` (CREATE, ALTER,
//! DROP) and `type_name`. `function`
//! has the native functions, `operand` evaluates terms, `filter` conditions, in an `evaluation` context; `json` reads
//! JSON.
//! `prepared`, `write`, `conditional`, `change` and `read` are the plans, `result` makes pages of rows. `describe`
//! and `name` write CQL, `description` is the statement DESCRIBE, `explain` says what a statement does, `split`
//! separates statements, [`system`] has the tables that each node answers by itself.

#[allow(dead_code, reason = "what nothing looks at yet is refused by name")]
mod ast;
mod binder;
#[cfg(test)]
mod canonical;
mod change;
mod condition;
mod conditional;
mod constraint;
mod definition;
mod describe;
mod description;
mod evaluation;
mod explain;
mod filter;
#[cfg(test)]
mod fixture;
mod function;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod generator;
mod json;
mod lexer;
#[cfg(test)]
mod memory;
mod modification;
mod operand;
mod parser;
mod prepared;
mod read;
mod restriction;
mod result;
mod role;
mod select;
mod selection;
mod slices;
mod source;
mod split;
pub mod system;
mod table_options;
mod term;
mod type_name;
mod write;

pub use ast::BatchKind;
pub use conditional::{ConditionalResult, ConditionalWrite, Decision};
pub use definition::SchemaRequest;
pub use describe::{
    describe_index, describe_keyspace, describe_schema, describe_table, describe_type, describe_whole_keyspace,
    describe_whole_table, index_target, partition_literal,
};
pub use description::{ClusterDescription, Description};
pub use evaluation::EvaluationContext;
pub use explain::{BoundExplain, Measured, Stage};
pub use model::name::quote_name;
pub use operand::{BoundValue, ColumnSpec};
pub use prepared::{Bound, Prepared, PreparedKind};
pub use read::{BoundRead, CommandLimits, ReadSource, TIMEOUT_MAX};
pub use result::{PageLimits, Progress, ReadPosition, ResultBuilder, ResultPage};
pub use role::{Password, RoleOptions, RoleRequest, RoleStatement};
pub use split::{StatementText, split_statements};
pub use table_options::{OptionValue, option_values};
pub use write::{BatchLimits, BoundWrite};

use model::RequestError;
use model::limits::STATEMENT_BYTES_MAX;
use model::schema::Schema;

/// Reads one statement and binds it to `schema`. `keyspace` is the one chosen by USE, in which tables
/// that are named without a keyspace are looked up.
///
/// # Errors
/// * `Syntax` when the text is not CQL.
/// * `NotFound` when a keyspace or table does not exist.
/// * `Invalid` when the statement cannot be executed, is longer than `STATEMENT_BYTES_MAX`, or uses
///   something that is not supported yet.
pub fn prepare(text: &str, schema: &Schema, keyspace: Option<&str>) -> Result<Prepared, RequestError> {
    if text.len() > STATEMENT_BYTES_MAX {
        let length = text.len();
        let message = format!("A statement of {length} bytes exceeds the maximum of {STATEMENT_BYTES_MAX} bytes");
        return Err(RequestError::Invalid(message));
    }
    binder::bind(text, parser::parse(text)?, schema, keyspace)
}
