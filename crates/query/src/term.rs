//! Terms: from the syntax tree to operands of the types that are wanted, and of selections also to those of columns.
//!
//! A term is prepared for a receiver: the column or parameter that its value goes to. Whether it can go there is
//! asked first, as Cassandra asks it, since the functions of a call are chosen by the answer.

use crate::ast::{FunctionName, Literal, LiteralKind, Name, Term, TermKind, TypeName, TypeNameKind};
use crate::binder::Binder;
use crate::function::{
    Argument, Assignment, Call, Function, Kind, cast_name, resolve, resolve_arithmetic, resolve_cast, resolve_negation,
    same_type,
};
use crate::operand::{BoundValue, ColumnSpec, Operand, constant, is_assignable};
use crate::selection::Selection;
use crate::type_name::Types;
use model::name::quote_text;
use model::schema::Table;
use model::types::UserType;
use model::{CqlType, RequestError, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What a value goes to.
#[derive(Clone, Copy)]
pub(crate) struct Receiver<'a> {
    /// As messages and parameters name it.
    pub(crate) name: &'a str,
    pub(crate) cql_type: &'a CqlType,
}

/// The functions that calls were found to mean, by the address of the call and the type of its receiver: which one
/// a call means is asked for every signature of the call that it is an argument of.
type Resolved = RefCell<BTreeMap<(usize, Option<CqlType>), Result<Option<Function>, String>>>;

/// A term as an argument, before its function is known.
struct TermArgument<'a> {
    term: &'a Term,
    types: Types<'a>,
    table: &'a Table,
    /// True in a selection, where a call has the type of its function whatever it is an argument of; elsewhere
    /// what receives its result decides too.
    selecting: bool,
    resolved: Rc<Resolved>,
}

impl Argument for TermArgument<'_> {
    fn assignment(&self, parameter: &CqlType) -> Assignment {
        self.to(parameter)
    }

    fn own_type(&self) -> Option<CqlType> {
        self.type_of(false)
    }

    fn is_marker(&self) -> bool {
        matches!(self.term.kind, TermKind::Marker { .. })
    }

    fn elements(&self) -> Option<usize> {
        match &self.term.kind {
            TermKind::List(terms) => Some(terms.len()),
            _ => None,
        }
    }

    fn text(&self) -> String {
        if self.selecting { selected_text(self.term, &self.table.keyspace) } else { text(self.term) }
    }
}

impl<'a> TermArgument<'a> {
    fn of(&self, term: &'a Term) -> TermArgument<'a> {
        TermArgument { term, resolved: Rc::clone(&self.resolved), ..*self }
    }

    fn resolve_type(&self, name: &TypeName) -> Option<CqlType> {
        self.types.resolve(name).ok()
    }

    /// The function that the term is a call of; `None` when there is none of its name, or it is no call.
    fn function(&self, receiver: Option<&CqlType>) -> Result<Option<Function>, String> {
        let key = (std::ptr::from_ref(self.term).addr(), receiver.cloned());
        if let Some(known) = self.resolved.borrow().get(&key) {
            return known.clone();
        }
        let found = self.find_function(receiver);
        self.resolved.borrow_mut().insert(key, found.clone());
        found
    }

    fn find_function(&self, receiver: Option<&CqlType>) -> Result<Option<Function>, String> {
        match &self.term.kind {
            TermKind::Call { function, arguments } => {
                let arguments: Vec<TermArgument<'_>> = arguments.iter().map(|argument| self.of(argument)).collect();
                resolve(&Call {
                    keyspace: function.keyspace.as_ref().map(|keyspace| keyspace.text.as_str()),
                    name: &function.name.text,
                    arguments: arguments.iter().map(|argument| argument as &dyn Argument).collect(),
                    receiver,
                    table: self.table,
                })
            }
            TermKind::Negation(value) => resolve_negation(&self.of(value), receiver).map(Some),
            TermKind::Arithmetic { operator, left, right } => {
                resolve_arithmetic(*operator, &self.of(left), &self.of(right), receiver).map(Some)
            }
            TermKind::Cast { value, target } => match self.resolve_type(target) {
                Some(target) => resolve_cast(&self.of(value), &target, receiver, self.table),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// Whether every column in the term exists and every call in it means a function, as Cassandra asks it: what is
    /// inside comes first.
    fn check(&self, binder: &Binder<'_>) -> Result<(), RequestError> {
        match &self.term.kind {
            TermKind::Column(name) => binder.column(self.table, name).map(|_| ()),
            TermKind::Call { function, arguments } => {
                for argument in arguments {
                    self.of(argument).check(binder)?;
                }
                if time_of_cells(function).is_some() { Ok(()) } else { self.check_function(binder) }
            }
            TermKind::Negation(value) => {
                self.of(value).check(binder)?;
                self.check_function(binder)
            }
            TermKind::Arithmetic { left, right, .. } => {
                self.of(left).check(binder)?;
                self.of(right).check(binder)?;
                self.check_function(binder)
            }
            TermKind::Tuple(terms) | TermKind::List(terms) | TermKind::Set(terms) => {
                terms.iter().try_for_each(|term| self.of(term).check(binder))
            }
            TermKind::Cast { value, .. }
            | TermKind::Element { collection: value, .. }
            | TermKind::Slice { collection: value, .. }
            | TermKind::Field { value, .. } => self.of(value).check(binder),
            _ => Ok(()),
        }
    }

    fn check_function(&self, binder: &Binder<'_>) -> Result<(), RequestError> {
        match (self.function(None), &self.term.kind) {
            (Err(message), _) => Err(binder.source.invalid(self.term.at, message)),
            (Ok(None), TermKind::Call { function, .. }) => Err(binder.unknown_function(self.term, function, true)),
            _ => Ok(()),
        }
    }

    /// The type of the term if it can be said without a receiver. `exact` when it must be the only one that the term
    /// has: a constant has several.
    fn type_of(&self, exact: bool) -> Option<CqlType> {
        let first = |terms: &'a [Term]| terms.iter().find_map(|term| self.of(term).type_of(exact));
        match &self.term.kind {
            TermKind::Literal(literal) if !exact => preferred_type(literal),
            TermKind::Literal(_) | TermKind::Null | TermKind::Marker { .. } | TermKind::UserType(_) => None,
            TermKind::Call { function, arguments } if time_of_cells(function).is_some() => {
                let many = arguments.first().and_then(|argument| self.of(argument).type_of(true));
                time_of_cells(function).map(|kind| kind.returns(many.as_ref()))
            }
            TermKind::Call { .. } | TermKind::Negation(_) | TermKind::Arithmetic { .. } => {
                self.function(None).ok().flatten().map(|function| function.returns)
            }
            TermKind::Cast { target, .. } | TermKind::Hint { target, .. } => self.resolve_type(target),
            TermKind::List(terms) => {
                first(terms).map(|element| CqlType::List { element: Arc::new(element.freeze()), frozen: true })
            }
            TermKind::Set(terms) => {
                first(terms).map(|element| CqlType::Set { element: Arc::new(element.freeze()), frozen: true })
            }
            TermKind::Map(entries) => {
                // Of constants Cassandra infers no map.
                let key = entries.iter().find_map(|(key, _)| self.of(key).type_of(true))?;
                let value = entries.iter().find_map(|(_, value)| self.of(value).type_of(true))?;
                Some(CqlType::Map { entry: Arc::new((key.freeze(), value.freeze())), frozen: true })
            }
            TermKind::Tuple(terms) => match terms.as_slice() {
                [only] => self.of(only).type_of(exact),
                terms => {
                    let types = terms.iter().map(|term| self.of(term).type_of(exact).map(|found| found.freeze()));
                    types.collect::<Option<Vec<_>>>().map(|types| CqlType::Tuple(Arc::new(types)))
                }
            },
            TermKind::Column(name) => self.table.column(&name.text).map(|column| column.cql_type.clone()),
            TermKind::CountRows => Some(CqlType::BigInt),
            TermKind::Element { collection, .. } => match self.of(collection).type_of(true)? {
                CqlType::Map { entry, .. } => Some(entry.1.clone()),
                CqlType::Set { element, .. } | CqlType::List { element, .. } => Some(element.as_ref().clone()),
                _ => None,
            },
            TermKind::Slice { collection, .. } => self.of(collection).type_of(true),
            TermKind::Field { value, field } => match self.of(value).type_of(true)? {
                CqlType::UserDefined { definition, .. } => {
                    let found = definition.fields.iter().find(|(name, _)| *name == field.text);
                    found.map(|(_, cql_type)| cql_type.clone())
                }
                _ => None,
            },
        }
    }

    /// Whether the value of the term can go to something of type `to`.
    fn to(&self, to: &CqlType) -> Assignment {
        let all = |terms: &'a [Term], element: &CqlType| match terms {
            [] => Assignment::Weak,
            terms => terms.iter().fold(Assignment::Exact, |all, term| all.and(self.of(term).to(element))),
        };
        match &self.term.kind {
            TermKind::Literal(literal) => match preferred_type(literal) {
                Some(preferred) if same_type(&preferred, to) => Assignment::Exact,
                _ if is_assignable(literal.kind, to) => Assignment::Weak,
                _ => Assignment::No,
            },
            TermKind::Null if *to == CqlType::Counter => Assignment::No,
            TermKind::Null | TermKind::Marker { .. } => Assignment::Weak,
            TermKind::List(terms) => match to {
                CqlType::List { element, .. } => all(terms, element),
                CqlType::Vector { element, dimensions } if terms.len() == *dimensions as usize => all(terms, element),
                _ => Assignment::No,
            },
            TermKind::Set(terms) => match to {
                CqlType::Set { element, .. } => all(terms, element),
                CqlType::Map { .. } if terms.is_empty() => Assignment::Weak,
                _ => Assignment::No,
            },
            TermKind::Map(entries) => match to {
                CqlType::Map { entry, .. } => entries.iter().fold(Assignment::Exact, |all, (key, value)| {
                    all.and(self.of(key).to(&entry.0)).and(self.of(value).to(&entry.1))
                }),
                _ => Assignment::No,
            },
            TermKind::UserType(fields) => match to {
                CqlType::UserDefined { definition, .. } => self.to_user_type(fields, definition),
                // In a selection names before colons may be columns.
                CqlType::Map { entry, .. } if self.selecting => {
                    fields.iter().fold(Assignment::Exact, |all, (key, value)| {
                        let column = self.table.column(&key.text);
                        let key = column.map_or(Assignment::No, |key| Assignment::of_types(&key.cql_type, &entry.0));
                        all.and(key).and(self.of(value).to(&entry.1))
                    })
                }
                _ => Assignment::No,
            },
            TermKind::Tuple(terms) => match (to, terms.as_slice()) {
                (CqlType::Tuple(types), terms) if terms.len() <= types.len() => {
                    let pairs = terms.iter().zip(types.iter());
                    pairs.fold(Assignment::Exact, |all, (term, field)| all.and(self.of(term).to(field)))
                }
                (CqlType::UserDefined { definition, .. }, terms) if terms.len() <= definition.fields.len() => {
                    let pairs = terms.iter().zip(definition.types());
                    pairs.fold(Assignment::Exact, |all, (term, field)| all.and(self.of(term).to(field)))
                }
                (_, [only]) => self.of(only).to(to),
                _ => Assignment::No,
            },
            TermKind::Call { .. } | TermKind::Negation(_) | TermKind::Arithmetic { .. } | TermKind::Cast { .. }
                if !self.selecting =>
            {
                self.result_to(to)
            }
            _ => match self.type_of(true) {
                Some(from) => Assignment::of_types(&from, to),
                None => Assignment::No,
            },
        }
    }

    /// Whether the result of the call that the term is can go to something of type `to`, which may choose the
    /// function.
    fn result_to(&self, to: &CqlType) -> Assignment {
        match self.function(Some(to)) {
            Ok(Some(function)) => Assignment::of_types(&function.returns, to),
            // What is wrong with the call is said better when it is prepared.
            _ => Assignment::Weak,
        }
    }

    fn to_user_type(&self, fields: &'a [(Name, Term)], definition: &UserType) -> Assignment {
        fields.iter().fold(Assignment::Weak, |all, (name, term)| {
            let found = definition.fields.iter().find(|(field, _)| *field == name.text);
            found.map_or(Assignment::No, |(_, cql_type)| all.and(self.of(term).to(cql_type)))
        })
    }
}

/// What a selection asks of the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeOfCells {
    Writetime,
    MaxWritetime,
    MinWritetime,
    TimeToLive,
}

impl TimeOfCells {
    pub(crate) fn name(self) -> &'static str {
        match self {
            TimeOfCells::Writetime => "writetime",
            TimeOfCells::MaxWritetime => "maxwritetime",
            TimeOfCells::MinWritetime => "minwritetime",
            TimeOfCells::TimeToLive => "ttl",
        }
    }

    /// The type of the answer for something of type `of`: of many cells a list, unless it is one of all of them.
    pub(crate) fn returns(self, of: Option<&CqlType>) -> CqlType {
        let one = if self == TimeOfCells::TimeToLive { CqlType::Int } else { CqlType::BigInt };
        let each = matches!(self, TimeOfCells::Writetime | TimeOfCells::TimeToLive);
        match of {
            Some(of) if each && of.is_multi_cell() => CqlType::List { element: Arc::new(one), frozen: false },
            _ => one,
        }
    }
}

/// What a function asks of the cells of its argument, if that is what it does.
pub(crate) fn time_of_cells(function: &FunctionName) -> Option<TimeOfCells> {
    let kinds = [TimeOfCells::Writetime, TimeOfCells::MaxWritetime, TimeOfCells::MinWritetime, TimeOfCells::TimeToLive];
    kinds.into_iter().find(|kind| function.keyspace.is_none() && function.name.text == kind.name())
}

/// The smallest type that a constant is a value of: the one that it suits best.
fn preferred_type(literal: &Literal) -> Option<CqlType> {
    let text = &literal.text;
    Some(match literal.kind {
        LiteralKind::String if text.is_ascii() => CqlType::Ascii,
        LiteralKind::String => CqlType::Text,
        LiteralKind::Integer if text.parse::<i32>().is_ok() => CqlType::Int,
        LiteralKind::Integer if text.parse::<i64>().is_ok() => CqlType::BigInt,
        LiteralKind::Integer => CqlType::VarInt,
        LiteralKind::Float => preferred_float(text),
        LiteralKind::Boolean => CqlType::Boolean,
        LiteralKind::Hex => CqlType::Blob,
        LiteralKind::Uuid if Value::parse(&CqlType::TimeUuid, text).is_ok() => CqlType::TimeUuid,
        LiteralKind::Uuid => CqlType::Uuid,
        LiteralKind::Duration => CqlType::Duration,
    })
}

/// A double, if that says the number without loss.
fn preferred_float(text: &str) -> CqlType {
    let double = Value::parse(&CqlType::Double, text).map(|value| value.to_json());
    let decimal = |text: &str| Value::parse(&CqlType::Decimal, text).map(|value| value.to_wire());
    match (decimal(text), double) {
        (Ok(exact), Ok(double)) => {
            let same =
                decimal(&double).is_ok_and(|double| model::value::compare(&CqlType::Decimal, &double, &exact).is_eq());
            if same { CqlType::Double } else { CqlType::Decimal }
        }
        _ => CqlType::Double,
    }
}

/// A term as messages, and the names of results, repeat it.
pub(crate) fn text(term: &Term) -> String {
    let list = |terms: &[Term]| terms.iter().map(text).collect::<Vec<_>>().join(", ");
    match &term.kind {
        // As in Cassandra quotes inside are not doubled.
        TermKind::Literal(Literal { kind: LiteralKind::String, text }) => format!("'{text}'"),
        TermKind::Literal(literal) => literal.text.clone(),
        TermKind::Null => "NULL".to_owned(),
        TermKind::Marker { name: None, .. } => "?".to_owned(),
        TermKind::Marker { name: Some(name), .. } => format!(":{name}"),
        TermKind::Call { function, arguments } => {
            let keyspace = function.keyspace.as_ref().map(|keyspace| format!("{}.", keyspace.text)).unwrap_or_default();
            format!("{keyspace}{}({})", function.name.text, list(arguments))
        }
        TermKind::Cast { value, target } => format!("cast({} as {})", text(value), type_text(target)),
        TermKind::Hint { target, value } => format!("({}){}", type_text(target), text(value)),
        TermKind::Negation(value) => format!("-{}", text(value)),
        TermKind::Arithmetic { operator, left, right } => {
            format!("{} {} {}", text(left), operator.symbol(), text(right))
        }
        TermKind::List(terms) => format!("[{}]", list(terms)),
        TermKind::Set(terms) => format!("{{{}}}", list(terms)),
        TermKind::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", text(key), text(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        TermKind::UserType(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", name.text, text(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        TermKind::Tuple(terms) => format!("({})", list(terms)),
        TermKind::Column(name) => name.text.clone(),
        TermKind::Element { collection, key } => format!("{}[{}]", text(collection), text(key)),
        TermKind::Slice { collection, from, to } => {
            let end = |end: &Option<Box<Term>>| end.as_deref().map(text).unwrap_or_default();
            format!("{}[{}..{}]", text(collection), end(from), end(to))
        }
        TermKind::Field { value, field } => format!("{}.{}", text(value), field.text),
        TermKind::CountRows => "count(*)".to_owned(),
    }
}

/// A term of a selection from a table of `keyspace`, as messages repeat it and as Cassandra names its column of a
/// result: functions with their keyspace, by their own names.
pub(crate) fn selected_text(term: &Term, keyspace: &str) -> String {
    let part = |term: &Term| selected_text(term, keyspace);
    let list = |terms: &[Term]| terms.iter().map(part).collect::<Vec<_>>().join(", ");
    match &term.kind {
        TermKind::CountRows => "count".to_owned(),
        TermKind::Call { function, .. } if time_of_cells(function).is_some() => text(term),
        TermKind::Call { function, arguments } => {
            let name = match function.name.text.as_str() {
                "tojson" => "to_json",
                name => name,
            };
            format!("system.{name}({})", list(arguments))
        }
        TermKind::Cast { value, target } => format!("cast({} as {})", part(value), type_text(target)),
        TermKind::Hint { target, value } => match &target.kind {
            TypeNameKind::UserDefined { name, .. } => format!("({keyspace}.{}){}", name.text, part(value)),
            _ => format!("({}){}", type_text(target), part(value)),
        },
        TermKind::Tuple(terms) => format!("({})", list(terms)),
        TermKind::Arithmetic { operator, left, right } => {
            format!("{} {} {}", part(left), operator.symbol(), part(right))
        }
        TermKind::Negation(value) => format!("-{}", part(value)),
        _ => text(term),
    }
}

/// The name of a type, as it is written.
pub(crate) fn type_text(name: &TypeName) -> String {
    use TypeNameKind as Kind;
    match &name.kind {
        Kind::Native(native) => native.to_string(),
        Kind::List(element) => format!("list<{}>", type_text(element)),
        Kind::Set(element) => format!("set<{}>", type_text(element)),
        Kind::Map(entry) => format!("map<{}, {}>", type_text(&entry.0), type_text(&entry.1)),
        Kind::Tuple(types) => format!("tuple<{}>", types.iter().map(type_text).collect::<Vec<_>>().join(", ")),
        Kind::Vector { element, dimensions } => format!("vector<{}, {dimensions}>", type_text(element)),
        Kind::Frozen(inner) => format!("frozen<{}>", type_text(inner)),
        Kind::UserDefined { name, .. } => name.text.clone(),
        Kind::Custom(class) => quote_text(class),
    }
}

impl Binder<'_> {
    /// The types that terms of a statement about `table` can name.
    pub(crate) fn types<'s>(&'s self, table: &'s Table) -> Types<'s> {
        Types { source: self.source, schema: self.schema(), keyspace: &table.keyspace }
    }

    fn argument<'t>(&'t self, table: &'t Table, term: &'t Term, selecting: bool) -> TermArgument<'t> {
        TermArgument { term, types: self.types(table), table, selecting, resolved: Rc::default() }
    }

    /// Whether every column in a term of a selection exists, and every call in it means a function.
    pub(crate) fn check_selected(&self, table: &Table, term: &Term) -> Result<(), RequestError> {
        self.argument(table, term, true).check(self)
    }

    fn unknown_function(&self, term: &Term, function: &FunctionName, selecting: bool) -> RequestError {
        let keyspace = function.keyspace.as_ref().map(|keyspace| format!("{}.", keyspace.text)).unwrap_or_default();
        let name = crate::source::shortened(&format!("{keyspace}{}", function.name.text));
        let message =
            if selecting { format!("Unknown function '{name}'") } else { format!("Unknown function {name} called") };
        self.source.invalid(term.at, message)
    }

    /// The operand for a term whose value goes to `receiver`, a column or something in brackets.
    pub(crate) fn operand(
        &mut self,
        table: &Table,
        term: &Term,
        receiver: &str,
        cql_type: &CqlType,
    ) -> Result<Operand, RequestError> {
        self.prepare(table, term, Receiver { name: receiver, cql_type }, None)
    }

    /// The operand for a term whose value goes to `receiver`; in a selection the term may be of columns.
    pub(crate) fn prepare(
        &mut self,
        table: &Table,
        term: &Term,
        receiver: Receiver<'_>,
        mut selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let Receiver { name, cql_type } = receiver;
        match &term.kind {
            TermKind::Null => Ok(Operand::Constant(BoundValue::Null)),
            TermKind::Literal(literal) => {
                let value = constant(literal, name, cql_type);
                let value = value.map(|wire| Operand::Constant(BoundValue::Value(wire)));
                value.map_err(|message| self.source.invalid(term.at, message))
            }
            TermKind::Marker { index, name: own } => {
                self.set_parameter(
                    *index,
                    ColumnSpec {
                        keyspace: table.keyspace.clone(),
                        table: table.name.clone(),
                        name: own.clone().unwrap_or_else(|| name.to_owned()),
                        cql_type: cql_type.clone(),
                    },
                );
                Ok(Operand::Parameter(*index))
            }
            TermKind::Tuple(terms) if terms.len() == 1 && !matches!(cql_type, CqlType::Tuple(_)) => {
                self.prepare(table, &terms[0], receiver, selection)
            }
            TermKind::List(_) | TermKind::Set(_) | TermKind::Map(_) | TermKind::UserType(_) | TermKind::Tuple(_) => {
                self.composed(table, term, receiver, selection)
            }
            TermKind::Hint { target, value } => self.hinted(table, term, target, value, receiver, selection),
            TermKind::Cast { value, target } => {
                let target = self.types(table).resolve(target)?;
                let operand = self.cast(table, term, value, &target, Some(receiver), selection)?;
                self.check_assignable(term, &target, receiver)?;
                Ok(operand)
            }
            TermKind::Call { .. } | TermKind::Negation(_) | TermKind::Arithmetic { .. } | TermKind::CountRows => {
                let (operand, returns) = self.call(table, term, Some(receiver), selection.as_deref_mut())?;
                if Assignment::of_types(&returns, cql_type) == Assignment::No {
                    let what = match &term.kind {
                        TermKind::Arithmetic { operator, .. } => format!("operation {}", operator.symbol()),
                        TermKind::Negation(_) => "function system._negate".to_owned(),
                        TermKind::Call { function, .. } => format!("function system.{}", function.name.text),
                        _ => "function system.count".to_owned(),
                    };
                    let message = format!(
                        "Type error: cannot assign result of {what} (type {returns}) to {name} (type {cql_type})"
                    );
                    return Err(self.source.invalid(term.at, message));
                }
                Ok(operand)
            }
            TermKind::Column(_) | TermKind::Element { .. } | TermKind::Slice { .. } | TermKind::Field { .. } => {
                let Some(selection) = selection else {
                    let message = format!("{} is not a value: columns cannot be used here", text(term));
                    return Err(self.source.invalid(term.at, message));
                };
                let (operand, found) = self.selected(table, term, selection)?;
                if Assignment::of_types(&found, cql_type) == Assignment::No {
                    let message = format!("{} is not of the expected type: {cql_type}", text(term));
                    return Err(self.source.invalid(term.at, message));
                }
                Ok(operand)
            }
        }
    }

    /// `(target) value`.
    fn hinted(
        &mut self,
        table: &Table,
        term: &Term,
        target: &TypeName,
        value: &Term,
        receiver: Receiver<'_>,
        selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let target = self.types(table).resolve(target)?;
        if self.argument(table, value, selection.is_some()).to(&target) == Assignment::No {
            let message = format!("Cannot cast value {} to type {target}", text(value));
            return Err(self.source.invalid(term.at, message));
        }
        self.check_assignable(term, &target, receiver)?;
        // As in Cassandra the hint says that the value can go there, and it goes there as if it were not hinted.
        self.prepare(table, value, receiver, selection)
    }

    fn check_assignable(&self, term: &Term, from: &CqlType, receiver: Receiver<'_>) -> Result<(), RequestError> {
        if Assignment::of_types(from, receiver.cql_type) == Assignment::No {
            let (shown, name, cql_type) = (text(term), receiver.name, receiver.cql_type);
            let message = format!("Cannot assign value {shown} to {name} of type {cql_type}");
            return Err(self.source.invalid(term.at, message));
        }
        Ok(())
    }

    /// The type of a term without a receiver, if it has exactly one.
    pub(crate) fn exact_type(&self, table: &Table, term: &Term) -> Option<CqlType> {
        self.argument(table, term, true).type_of(true)
    }

    /// `CAST(value AS target)`.
    pub(crate) fn cast(
        &mut self,
        table: &Table,
        term: &Term,
        value: &Term,
        target: &CqlType,
        receiver: Option<Receiver<'_>>,
        selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let argument = self.argument(table, value, selection.is_some());
        let receiver = receiver.map(|receiver| receiver.cql_type).filter(|_| selection.is_none());
        let function = match resolve_cast(&argument, target, receiver, table) {
            Ok(Some(function)) => function,
            Ok(None) if selection.is_none() => {
                let message = format!("Unknown function {} called", cast_name(target));
                return Err(self.source.invalid(term.at, message));
            }
            Ok(None) => {
                let (shown, of) = (argument.text(), argument.type_of(true));
                let of = of.map_or_else(String::new, |of| format!(" of type {of}"));
                // As in Cassandra it is the first column of the selection that is named.
                let first = selection.and_then(|selection| selection.columns_read().next());
                let first = first.map_or(shown.as_str(), |index| table.columns[index].name.as_str());
                let message = format!("{first} cannot be cast to {target}: there is no cast of {shown}{of} to it");
                return Err(self.source.invalid(term.at, message));
            }
            Err(message) => return Err(self.source.invalid(term.at, message)),
        };
        let from = function.parameters.first().unwrap_or(target).clone();
        let name = format!("arg0(system.{})", function.name);
        let operand = self.prepare(table, value, Receiver { name: &name, cql_type: &from }, selection)?;
        Ok(Operand::Call { function: Arc::new(function), arguments: vec![operand] })
    }

    /// A call of a function, an operator, or an aggregate; with the type of its result.
    pub(crate) fn call(
        &mut self,
        table: &Table,
        term: &Term,
        receiver: Option<Receiver<'_>>,
        mut selection: Option<&mut Selection>,
    ) -> Result<(Operand, CqlType), RequestError> {
        let function = match &term.kind {
            TermKind::CountRows => {
                Some(Function::aggregate(vec![], CqlType::BigInt, crate::function::Aggregate::CountRows))
            }
            TermKind::Call { function, .. } if time_of_cells(function).is_some() => {
                let Some(selection) = selection else {
                    let message = format!("function {} can only be used in the SELECT clause", function.name.text);
                    return Err(self.source.invalid(term.at, message));
                };
                return self.selected(table, term, selection);
            }
            _ => {
                let argument = self.argument(table, term, selection.is_some());
                // In a selection what receives the result chooses no function.
                let receiver = receiver.map(|receiver| receiver.cql_type).filter(|_| selection.is_none());
                argument.function(receiver).map_err(|message| self.source.invalid(term.at, message))?
            }
        };
        let operands: Vec<&Term> = match &term.kind {
            TermKind::Call { arguments, .. } => arguments.iter().collect(),
            TermKind::Negation(value) => vec![value],
            TermKind::Arithmetic { left, right, .. } => vec![left, right],
            _ => Vec::new(),
        };
        let Some(function) = function else {
            let TermKind::Call { function, .. } = &term.kind else {
                return Err(RequestError::Server(format!("{} is not a call", text(term))));
            };
            return Err(self.unknown_function(term, function, selection.is_some()));
        };
        if function.is_aggregate() && selection.is_none() {
            return Err(self.source.invalid(term.at, "aggregation function are not supported in the where clause"));
        }
        if let (Kind::Aggregate(_), Some(selection)) = (&function.kind, selection.as_deref_mut()) {
            selection.enter_aggregate().map_err(|message| self.source.invalid(term.at, message))?;
        }
        let mut arguments = Vec::with_capacity(operands.len());
        for (index, (operand, parameter)) in operands.into_iter().zip(&function.parameters).enumerate() {
            let name = format!("arg{index}(system.{})", function.name);
            let receiver = Receiver { name: &name, cql_type: parameter };
            arguments.push(self.prepare(table, operand, receiver, selection.as_deref_mut())?);
        }
        let returns = function.returns.clone();
        let operand = match (&function.kind, selection) {
            (Kind::Aggregate(_), Some(selection)) => selection.leave_aggregate(function, arguments),
            _ => Operand::Call { function: Arc::new(function), arguments },
        };
        Ok((operand, returns))
    }

    /// A literal of a type that has parts.
    fn composed(
        &mut self,
        table: &Table,
        term: &Term,
        receiver: Receiver<'_>,
        mut selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let Receiver { name, cql_type } = receiver;
        match (&term.kind, cql_type) {
            (TermKind::Map(entries), CqlType::Map { .. }) => return self.map(table, entries, receiver, selection),
            (TermKind::UserType(fields), CqlType::UserDefined { definition, .. }) => {
                return self.user_type(table, fields, receiver, definition, selection);
            }
            (TermKind::UserType(fields), CqlType::Map { .. }) if selection.is_some() => {
                let key = |name: &Name| Term { kind: TermKind::Column(name.clone()), at: name.at };
                let entries: Vec<(Term, Term)> =
                    fields.iter().map(|(name, value)| (key(name), value.clone())).collect();
                return self.map(table, &entries, receiver, selection);
            }
            _ => {}
        }
        let parts = parts_of(term, name, cql_type).map_err(|message| self.source.invalid(term.at, message))?;
        let mut operands = Vec::with_capacity(parts.len());
        for Part { name, term, cql_type, refused } in parts {
            let receiver = Receiver { name: &name, cql_type };
            operands.push(self.part(table, term, receiver, &refused, selection.as_deref_mut())?);
        }
        Ok(composed_operand(cql_type, operands))
    }

    /// A part of a literal, which must be of its type; `refused` is what the message begins with.
    fn part(
        &mut self,
        table: &Table,
        term: &Term,
        receiver: Receiver<'_>,
        refused: &str,
        selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let argument = self.argument(table, term, selection.is_some());
        if argument.to(receiver.cql_type) == Assignment::No {
            let cql_type = receiver.cql_type;
            let shown = if refused.ends_with("value") || refused.ends_with("key") {
                format!("{refused} {} is not of type {cql_type}", text(term))
            } else {
                format!("{refused} is not of type {cql_type}")
            };
            return Err(self.source.invalid(term.at, shown));
        }
        self.prepare(table, term, receiver, selection)
    }

    fn map(
        &mut self,
        table: &Table,
        entries: &[(Term, Term)],
        receiver: Receiver<'_>,
        mut selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let Receiver { name, cql_type } = receiver;
        let CqlType::Map { entry, .. } = cql_type else { return Ok(Operand::Constant(BoundValue::Null)) };
        let mut operands = Vec::with_capacity(2 * entries.len());
        for (key, value) in entries {
            for (term, part, cql_type) in [(key, "key", &entry.0), (value, "value", &entry.1)] {
                let part_name = format!("{part}({name})");
                let refused = format!("Invalid map literal for {name}: {part}");
                let receiver = Receiver { name: &part_name, cql_type };
                operands.push(self.part(table, term, receiver, &refused, selection.as_deref_mut())?);
            }
        }
        Ok(composed_operand(cql_type, operands))
    }

    fn user_type(
        &mut self,
        table: &Table,
        fields: &[(Name, Term)],
        receiver: Receiver<'_>,
        definition: &UserType,
        mut selection: Option<&mut Selection>,
    ) -> Result<Operand, RequestError> {
        let Receiver { name, cql_type } = receiver;
        let mut operands = vec![Operand::Constant(BoundValue::Null); definition.fields.len()];
        for (field, term) in fields {
            let Some(index) = definition.fields.iter().position(|(known, _)| *known == field.text) else {
                let message =
                    format!("Unknown field '{}' in value of user defined type {}", field.text, definition.name);
                return Err(self.source.invalid(field.at, message));
            };
            let part_name = format!("{name}.{}", field.text);
            let refused = format!("Invalid user type literal for {name}: field {}", field.text);
            let receiver = Receiver { name: &part_name, cql_type: &definition.fields[index].1 };
            operands[index] = self.part(table, term, receiver, &refused, selection.as_deref_mut())?;
        }
        Ok(composed_operand(cql_type, operands))
    }
}

/// A part of a literal: what its name is as a receiver, and how a message begins that it is of another type.
struct Part<'a> {
    name: String,
    term: &'a Term,
    cql_type: &'a CqlType,
    refused: String,
}

/// The parts of a literal of a list, set, vector or tuple.
fn parts_of<'a>(term: &'a Term, name: &str, cql_type: &'a CqlType) -> Result<Vec<Part<'a>>, String> {
    let (kind, terms) = match &term.kind {
        TermKind::List(terms) if matches!(cql_type, CqlType::Vector { .. }) => ("vector", terms.as_slice()),
        TermKind::List(terms) => ("list", terms.as_slice()),
        TermKind::Set(terms) => ("set", terms.as_slice()),
        TermKind::Tuple(terms) => ("tuple", terms.as_slice()),
        TermKind::Map(_) => ("map", &[][..]),
        _ => ("user type", &[][..]),
    };
    let element = |(term, cql_type): (&'a Term, &'a CqlType)| Part {
        name: format!("value({name})"),
        term,
        cql_type,
        refused: format!("Invalid {kind} literal for {name}: value"),
    };
    let given = terms.len();
    match (&term.kind, cql_type) {
        (TermKind::List(_), CqlType::Vector { dimensions, .. }) if given != *dimensions as usize => Err(format!(
            "Invalid vector literal for {name} of type {cql_type}; expected {dimensions} elements, but given {given}"
        )),
        (TermKind::List(_), CqlType::List { element: own, .. } | CqlType::Vector { element: own, .. })
        | (TermKind::Set(_), CqlType::Set { element: own, .. }) => {
            Ok(terms.iter().map(|term| element((term, own))).collect())
        }
        (TermKind::Set(_), CqlType::Map { .. }) if given == 0 => Ok(Vec::new()),
        // A user-defined type is a tuple whose fields have names.
        (TermKind::Tuple(_), CqlType::Tuple(_) | CqlType::UserDefined { .. }) => {
            let types: Vec<&CqlType> = match cql_type {
                CqlType::UserDefined { definition, .. } => definition.types().collect(),
                CqlType::Tuple(types) => types.iter().collect(),
                _ => Vec::new(),
            };
            let most = types.len();
            if given > most {
                return Err(format!(
                    "Invalid tuple literal for {name}: too many elements. Type {cql_type} expects {most} but got \
                     {given}"
                ));
            }
            // Of one that is not frozen the fields are set by their names.
            if matches!(cql_type, CqlType::UserDefined { frozen: false, .. }) {
                return Err(format!("Invalid tuple type literal for {name} of type {cql_type}"));
            }
            let field = |(index, (term, cql_type)): (usize, (&'a Term, &'a CqlType))| Part {
                name: format!("{name}[{index}]"),
                term,
                cql_type,
                refused: format!("Invalid tuple literal for {name}: component {index}"),
            };
            Ok(terms.iter().zip(types).enumerate().map(field).collect())
        }
        (TermKind::List(_), _) => {
            Err(format!("Unexpected receiver type '{cql_type}'; only list and vector are expected"))
        }
        (TermKind::Tuple(_), _) => Err(format!("Invalid tuple type literal for {name} of type {cql_type}")),
        _ => Err(format!("Invalid {kind} literal for {name} of type {cql_type}")),
    }
}

/// The value of so many parts. A collection without elements stays a value here: who stores it knows that it is null
/// there, unless it is frozen.
fn composed_operand(cql_type: &CqlType, parts: Vec<Operand>) -> Operand {
    Operand::Compose { cql_type: cql_type.clone(), parts }
}
