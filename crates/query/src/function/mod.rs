//! The native functions: which there are, which of them a call means, and what they give.
//!
//! A call is resolved as Cassandra resolves it: of the functions of a name the one whose signature matches the
//! arguments exactly, else the only one to whose types they can be assigned; what is left is ambiguous and is refused.
//! Some functions have no fixed signatures: they are made for the types of their arguments.
//!
//! Map: `resolve` finds functions, `scalar` evaluates them, `aggregate` those of many rows; `number`, `decimal`,
//! `temporal`, `text` are what they calculate with.

mod aggregate;
mod decimal;
mod number;
mod resolve;
mod scalar;
mod temporal;
mod text;

pub(crate) use aggregate::{Accumulator, Aggregate};
use resolve::element_of as resolve_element;
pub(crate) use resolve::{Call, cast_name, resolve, resolve_arithmetic, resolve_cast, resolve_negation};
pub(crate) use scalar::Scalar;

use model::CqlType;
use std::fmt;

/// Whether a value can be given to something of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// Its type is that type.
    Exact,
    /// It is a value of that type too.
    Weak,
    /// It is not.
    No,
}

impl Assignment {
    /// The worse of both.
    pub(crate) fn and(self, other: Assignment) -> Assignment {
        match (self, other) {
            (Assignment::No, _) | (_, Assignment::No) => Assignment::No,
            (Assignment::Exact, Assignment::Exact) => Assignment::Exact,
            _ => Assignment::Weak,
        }
    }

    /// Of a value of type `from` to something of type `to`. Whether they are frozen makes no difference.
    pub(crate) fn of_types(from: &CqlType, to: &CqlType) -> Assignment {
        if same_type(from, to) {
            Assignment::Exact
        } else if holds_values_of(to, from) {
            Assignment::Weak
        } else {
            Assignment::No
        }
    }
}

/// True for the same type, frozen or not.
pub(crate) fn same_type(a: &CqlType, b: &CqlType) -> bool {
    a == b || a.freeze() == b.freeze()
}

/// True when every serialized value of `from` is one of `to` too, of the same meaning.
fn holds_values_of(to: &CqlType, from: &CqlType) -> bool {
    match (to, from) {
        (CqlType::Blob, _) => true,
        (CqlType::Text, CqlType::Ascii)
        | (CqlType::VarInt, CqlType::Int | CqlType::BigInt | CqlType::Timestamp)
        | (CqlType::Uuid, CqlType::TimeUuid)
        | (CqlType::BigInt, CqlType::Timestamp)
        | (CqlType::Timestamp, CqlType::BigInt)
        | (CqlType::Date, CqlType::Int)
        | (CqlType::Time, CqlType::BigInt) => true,
        (CqlType::List { element: to, .. }, CqlType::List { element: from, .. })
        | (CqlType::Set { element: to, .. }, CqlType::Set { element: from, .. }) => {
            same_type(to, from) || holds_values_of(to, from)
        }
        (CqlType::Map { entry: to, .. }, CqlType::Map { entry: from, .. }) => {
            same_type(&to.0, &from.0) && (same_type(&to.1, &from.1) || holds_values_of(&to.1, &from.1))
        }
        (CqlType::Tuple(to), CqlType::Tuple(from)) => {
            let pairs = to.iter().zip(from.iter());
            to.len() >= from.len()
                && pairs.into_iter().all(|(to, from)| same_type(to, from) || holds_values_of(to, from))
        }
        _ => false,
    }
}

/// An argument of a call, before its function is known.
pub(crate) trait Argument {
    /// Whether it can be given to a parameter of this type.
    fn assignment(&self, parameter: &CqlType) -> Assignment;

    /// The type that it has, or that suits it best, if it can be said without a parameter.
    fn own_type(&self) -> Option<CqlType>;

    /// True for a bind marker.
    fn is_marker(&self) -> bool;

    /// How many elements a list that is written out has.
    fn elements(&self) -> Option<usize>;

    /// As messages repeat it.
    fn text(&self) -> String;
}

/// What a function does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Aggregate(Aggregate),
}

/// A function with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// As messages and results name it: without the keyspace, which is `system` for all.
    pub(crate) name: String,
    pub(crate) parameters: Vec<CqlType>,
    pub(crate) returns: CqlType,
    pub(crate) kind: Kind,
}

impl Function {
    pub(crate) fn scalar(name: &str, parameters: Vec<CqlType>, returns: CqlType, scalar: Scalar) -> Function {
        Function { name: name.to_owned(), parameters, returns, kind: Kind::Scalar(scalar) }
    }

    pub(crate) fn aggregate(parameters: Vec<CqlType>, returns: CqlType, aggregate: Aggregate) -> Function {
        Function { name: aggregate.name().to_owned(), parameters, returns, kind: Kind::Aggregate(aggregate) }
    }

    pub(crate) fn is_aggregate(&self) -> bool {
        matches!(self.kind, Kind::Aggregate(_))
    }
}

/// The signature, as Cassandra prints it.
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<String> = self.parameters.iter().map(CqlType::to_string).collect();
        // Names that begin with an underscore are no identifiers.
        let quote = if self.name.starts_with('_') { "\"" } else { "" };
        write!(f, "system.{quote}{}{quote} : ({}) -> {}", self.name, parameters.join(", "), self.returns)
    }
}

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
