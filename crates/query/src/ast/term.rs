//! Terms: what stands where a value is expected, and the names of types that they and definitions use.

use super::Name;
use crate::source::Position;
use model::CqlType;

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

/// The name of a function: folded to lower case unless it was quoted, like every name.
#[derive(Clone, Debug)]
pub(crate) struct FunctionName {
    pub(crate) keyspace: Option<Name>,
    pub(crate) name: Name,
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

    /// The name that Cassandra's function has for it, as parameters and messages show it.
    pub(crate) fn function_name(self) -> &'static str {
        match self {
            ArithmeticOperator::Add => "_add",
            ArithmeticOperator::Subtract => "_substract",
            ArithmeticOperator::Multiply => "_multiply",
            ArithmeticOperator::Divide => "_divide",
            ArithmeticOperator::Remainder => "_modulo",
        }
    }
}

/// What stands where a value is expected. The kinds from `Column` on stand in selections only (the SELECT
/// clause and GROUP BY); everywhere else a column is no value and the parser refuses it.
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
    /// `name(argument, ...)`: functions and aggregates, also `writetime`, `ttl`, `token`.
    Call { function: FunctionName, arguments: Vec<Term> },
    /// `CAST(value AS type)`.
    Cast { value: Box<Term>, target: TypeName },
    /// `(type) value`.
    Hint { target: TypeName, value: Box<Term> },
    /// `-value`; the sign of a number is part of its constant.
    Negation(Box<Term>),
    /// `left operator right`; `at` of the term is where `left` begins.
    Arithmetic { operator: ArithmeticOperator, left: Box<Term>, right: Box<Term> },
    /// `[a, b]`: a list or a vector.
    List(Vec<Term>),
    /// `{a, b}`: a set; `{}` is an empty map too.
    Set(Vec<Term>),
    /// `{a: b}`: a map.
    Map(Vec<(Term, Term)>),
    /// `{name: value}`: a user-defined type; in a selection perhaps a map whose keys are columns.
    UserType(Vec<(Name, Term)>),
    /// `(a, b)`: a tuple; `(a)` is the term a in parentheses, unless a tuple is wanted.
    Tuple(Vec<Term>),
    /// A column.
    Column(Name),
    /// `collection[key]`.
    Element { collection: Box<Term>, key: Box<Term> },
    /// `collection[from..to]`; at least one end is given.
    Slice { collection: Box<Term>, from: Option<Box<Term>>, to: Option<Box<Term>> },
    /// `value.field`.
    Field { value: Box<Term>, field: Name },
    /// `count(*)`.
    CountRows,
}

/// A term and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) kind: TermKind,
    pub(crate) at: Position,
}

/// The name of a type, in which user-defined types are not looked up yet.
#[derive(Clone, Debug)]
pub(crate) struct TypeName {
    pub(crate) kind: TypeNameKind,
    pub(crate) at: Position,
}

/// The forms that the name of a type can have.
#[derive(Clone, Debug)]
pub(crate) enum TypeNameKind {
    /// A type with a word of its own: a scalar or `counter`.
    Native(CqlType),
    /// `list<element>`.
    List(Box<TypeName>),
    /// `set<element>`.
    Set(Box<TypeName>),
    /// `map<key, value>`.
    Map(Box<(TypeName, TypeName)>),
    /// `tuple<a, b>`.
    Tuple(Vec<TypeName>),
    /// `vector<element, dimensions>`.
    Vector { element: Box<TypeName>, dimensions: u32 },
    /// `frozen<type>`.
    Frozen(Box<TypeName>),
    /// A user-defined type.
    UserDefined { keyspace: Option<Name>, name: Name },
    /// `'a.class.name'`.
    Custom(String),
}
