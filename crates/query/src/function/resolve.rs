//! From the name and arguments of a call to the function that it means.

use super::number::{Mathematics, TYPES as NUMBERS, common_type};
use super::scalar::{Scalar, Similarity};
use super::text::Mask;
use super::{Aggregate, Argument, Assignment, Function};
use crate::ast::ArithmeticOperator;
use model::CqlType;
use model::schema::Table;
use std::sync::LazyLock;

/// A call whose function is to be found.
pub(crate) struct Call<'a> {
    /// The keyspace before the name, if the call says one.
    pub(crate) keyspace: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) arguments: Vec<&'a dyn Argument>,
    /// The type of what receives the result, if there is one.
    pub(crate) receiver: Option<&'a CqlType>,
    /// The table that the statement is about.
    pub(crate) table: &'a Table,
}

impl Call<'_> {
    /// The name as messages repeat it.
    fn shown(&self) -> String {
        self.keyspace.map_or_else(|| self.name.to_owned(), |keyspace| format!("{keyspace}.{}", self.name))
    }
}

/// The functions that a call may mean.
enum Candidates {
    /// All signatures that the name has.
    Fixed(Vec<Function>),
    /// The one made for the types of the arguments.
    Made(Function),
}

/// The function that `call` means; `None` when there is none of its name.
///
/// # Errors
/// In Cassandra's words, when none fits the arguments, or more than one does.
pub(crate) fn resolve(call: &Call<'_>) -> Result<Option<Function>, String> {
    if call.keyspace.is_some_and(|keyspace| keyspace != "system") {
        return Ok(None);
    }
    match candidates(call)? {
        None => Ok(None),
        Some(Candidates::Made(function)) => check_only(call, function).map(Some),
        Some(Candidates::Fixed(functions)) => match <[Function; 1]>::try_from(functions) {
            Ok([only]) => check_only(call, only).map(Some),
            Err(functions) => best_of(call, functions, &call.shown()).map(Some),
        },
    }
}

/// The function of `left operator right`.
///
/// # Errors
/// In Cassandra's words.
pub(crate) fn resolve_arithmetic(
    operator: ArithmeticOperator,
    left: &dyn Argument,
    right: &dyn Argument,
    receiver: Option<&CqlType>,
) -> Result<Function, String> {
    let arguments = [left, right];
    let compatible = match matching(operations(operator), &arguments, receiver) {
        Matching::Exact(function) => return Ok(function),
        Matching::Weak(compatible) => compatible,
    };
    if compatible.is_empty() {
        let (left, right) = (left.text(), right.text());
        return Err(format!("the '{}' operation is not supported between {left} and {right}", operator.symbol()));
    }
    if compatible.len() > 1 {
        if let (Some(receiver), false) = (receiver, left.is_marker() || right.is_marker()) {
            let of_receiver = |function: &&Function| function.parameters.iter().all(|parameter| parameter == receiver);
            if let Some(function) = compatible.iter().find(of_receiver) {
                return Ok(function.clone());
            }
        }
        return Err(format!(
            "Ambiguous '{}' operation with args {} and {}: use type hint to disambiguate, example '(int) ?'",
            operator.symbol(),
            left.text(),
            right.text()
        ));
    }
    Ok(compatible.into_iter().next().unwrap_or_else(|| unreachable!("one is left")))
}

/// The function of `-value`.
///
/// # Errors
/// In Cassandra's words.
pub(crate) fn resolve_negation(value: &dyn Argument, receiver: Option<&CqlType>) -> Result<Function, String> {
    let negation =
        |cql_type: &CqlType| Function::scalar("_negate", vec![cql_type.clone()], cql_type.clone(), Scalar::Negate);
    let functions: Vec<Function> = NUMBERS.iter().map(negation).collect();
    match matching(&functions, &[value], receiver) {
        Matching::Exact(function) => Ok(function),
        Matching::Weak(compatible) => match <[Function; 1]>::try_from(compatible) {
            Ok([only]) => Ok(only),
            Err(several) if several.is_empty() => Err(none_matches("system._negate", &functions)),
            Err(_) => Err("Ambiguous negation: use type casts to disambiguate".to_owned()),
        },
    }
}

/// The name of the functions that cast to `target`.
pub(crate) fn cast_name(target: &CqlType) -> String {
    format!("cast_as_{target}")
}

/// The function of `CAST(value AS target)`; `None` when nothing can be cast to that type.
///
/// # Errors
/// In Cassandra's words, when the value cannot, or in more than one way.
pub(crate) fn resolve_cast(
    value: &dyn Argument,
    target: &CqlType,
    receiver: Option<&CqlType>,
    table: &Table,
) -> Result<Option<Function>, String> {
    let name = cast_name(target);
    let cast = |from: &CqlType| Function::scalar(&name, vec![from.clone()], target.clone(), Scalar::Cast);
    let functions: Vec<Function> =
        NUMBERS.iter().chain(&CAST_TOO).filter(|from| can_cast(from, target)).map(cast).collect();
    if functions.is_empty() {
        return Ok(None);
    }
    let call = Call { keyspace: Some("system"), name: &name, arguments: vec![value], receiver, table };
    best_of(&call, functions, &call.shown()).map(Some)
}

/// The types that something can be cast from, besides numbers.
const CAST_TOO: [CqlType; 8] = [
    CqlType::Ascii,
    CqlType::Boolean,
    CqlType::Inet,
    CqlType::Uuid,
    CqlType::TimeUuid,
    CqlType::Timestamp,
    CqlType::Date,
    CqlType::Time,
];

fn can_cast(from: &CqlType, to: &CqlType) -> bool {
    let is_text = to.is_text();
    match from {
        number if NUMBERS.contains(number) => {
            is_text || (NUMBERS.contains(to) && *to != CqlType::Counter && number != to)
        }
        CqlType::Ascii => *to == CqlType::Text,
        CqlType::Boolean | CqlType::Inet | CqlType::Time | CqlType::Uuid => is_text,
        CqlType::TimeUuid => is_text || matches!(to, CqlType::Date | CqlType::Timestamp),
        CqlType::Timestamp => is_text || *to == CqlType::Date,
        CqlType::Date => is_text || *to == CqlType::Timestamp,
        _ => false,
    }
}

enum Matching {
    Exact(Function),
    Weak(Vec<Function>),
}

fn matching(functions: &[Function], arguments: &[&dyn Argument], receiver: Option<&CqlType>) -> Matching {
    let (mut exact, mut compatible) = (Vec::new(), Vec::new());
    for function in functions {
        let returns = receiver.map_or(Assignment::Exact, |receiver| Assignment::of_types(&function.returns, receiver));
        if returns == Assignment::No || function.parameters.len() != arguments.len() {
            continue;
        }
        let pairs = function.parameters.iter().zip(arguments);
        match pairs.fold(Assignment::Exact, |all, (parameter, argument)| all.and(argument.assignment(parameter))) {
            Assignment::Exact => exact.push(function),
            Assignment::Weak => compatible.push(function.clone()),
            Assignment::No => {}
        }
    }
    // An operator in an operator may match more than one exactly: that of the receiver's type loses nothing.
    let of_receiver = |function: &&&Function| function.parameters.iter().all(|own| Some(own) == receiver);
    match exact.iter().find(of_receiver).or(exact.first()) {
        Some(function) => Matching::Exact(Function::clone(function)),
        None => Matching::Weak(compatible),
    }
}

fn listed(functions: &[Function]) -> String {
    functions.iter().map(Function::to_string).collect::<Vec<_>>().join(", ")
}

fn none_matches(name: &str, functions: &[Function]) -> String {
    let listed = listed(functions);
    format!("Invalid call to function {name}, none of its type signatures match (known type signatures: {listed})")
}

fn best_of(call: &Call<'_>, functions: Vec<Function>, name: &str) -> Result<Function, String> {
    match matching(&functions, &call.arguments, call.receiver) {
        Matching::Exact(function) => Ok(function),
        Matching::Weak(compatible) => match <[Function; 1]>::try_from(compatible) {
            Ok([only]) => Ok(only),
            Err(several) if several.is_empty() => Err(none_matches(name, &functions)),
            Err(several) => Err(format!(
                "Ambiguous call to function {name} (can be matched by following signatures: {}): use type casts to \
                 disambiguate",
                listed(&several)
            )),
        },
    }
}

/// Checks the arguments of the only function of its name.
fn check_only(call: &Call<'_>, function: Function) -> Result<Function, String> {
    let (required, provided) = (function.parameters.len(), call.arguments.len());
    if required != provided {
        return Err(format!(
            "Invalid number of arguments in call to function system.{}: {required} required but {provided} provided",
            function.name
        ));
    }
    for (index, (argument, parameter)) in call.arguments.iter().zip(&function.parameters).enumerate() {
        if argument.assignment(parameter) == Assignment::No {
            return Err(format!(
                "Type error: {} cannot be passed as argument {index} of function system.{} of type {parameter}",
                argument.text(),
                function.name
            ));
        }
    }
    Ok(function)
}

/// The functions of an operator: of all pairs of numbers, of times with durations, of texts.
fn operations(operator: ArithmeticOperator) -> &'static [Function] {
    static ADDITIONS: LazyLock<Vec<Function>> = LazyLock::new(|| make_operations(ArithmeticOperator::Add));
    static SUBTRACTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| make_operations(ArithmeticOperator::Subtract));
    static MULTIPLICATIONS: LazyLock<Vec<Function>> = LazyLock::new(|| make_operations(ArithmeticOperator::Multiply));
    static DIVISIONS: LazyLock<Vec<Function>> = LazyLock::new(|| make_operations(ArithmeticOperator::Divide));
    static REMAINDERS: LazyLock<Vec<Function>> = LazyLock::new(|| make_operations(ArithmeticOperator::Remainder));
    match operator {
        ArithmeticOperator::Add => &ADDITIONS,
        ArithmeticOperator::Subtract => &SUBTRACTIONS,
        ArithmeticOperator::Multiply => &MULTIPLICATIONS,
        ArithmeticOperator::Divide => &DIVISIONS,
        ArithmeticOperator::Remainder => &REMAINDERS,
    }
}

fn make_operations(operator: ArithmeticOperator) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut add = |left: &CqlType, right: &CqlType, returns: CqlType, scalar: Scalar| {
        let parameters = vec![left.clone(), right.clone()];
        functions.push(Function::scalar(operator.function_name(), parameters, returns, scalar));
    };
    for left in &NUMBERS {
        for right in &NUMBERS {
            add(left, right, common_type(left, right), Scalar::Arithmetic(operator));
        }
    }
    if matches!(operator, ArithmeticOperator::Add | ArithmeticOperator::Subtract) {
        for time in [CqlType::Timestamp, CqlType::Date] {
            add(&time, &CqlType::Duration, time.clone(), Scalar::Shift(operator));
        }
    }
    if operator == ArithmeticOperator::Add {
        for (left, right) in [
            (CqlType::Text, CqlType::Text),
            (CqlType::Ascii, CqlType::Ascii),
            (CqlType::Ascii, CqlType::Text),
            (CqlType::Text, CqlType::Ascii),
        ] {
            let ascii = left == CqlType::Ascii && right == CqlType::Ascii;
            let returns = if ascii { CqlType::Ascii } else { CqlType::Text };
            add(&left, &right, returns, Scalar::Concatenate);
        }
    }
    functions
}

fn candidates(call: &Call<'_>) -> Result<Option<Candidates>, String> {
    let name = call.name;
    let one = |parameters: Vec<CqlType>, returns: CqlType, scalar: Scalar| {
        Candidates::Fixed(vec![Function::scalar(name, parameters, returns, scalar)])
    };
    let each = |from: &[CqlType], returns: &dyn Fn(&CqlType) -> CqlType, scalar: Scalar| {
        let function =
            |cql_type: &CqlType| Function::scalar(name, vec![cql_type.clone()], returns(cql_type), scalar.clone());
        Candidates::Fixed(from.iter().map(function).collect())
    };
    use CqlType::{BigInt, Blob, Date, Time, TimeUuid, Timestamp, Uuid};
    Ok(Some(match name {
        "token" => {
            let key = call.table.partition_key().map(|column| column.cql_type.clone()).collect();
            one(key, BigInt, Scalar::Token)
        }
        "uuid" => one(vec![], Uuid, Scalar::Uuid),
        "now" | "current_timeuuid" | "currenttimeuuid" => one(vec![], TimeUuid, Scalar::Now),
        "current_timestamp" | "currenttimestamp" => one(vec![], Timestamp, Scalar::Current),
        "current_date" | "currentdate" => one(vec![], Date, Scalar::Current),
        "current_time" | "currenttime" => one(vec![], Time, Scalar::Current),
        "min_timeuuid" | "mintimeuuid" => one(vec![Timestamp], TimeUuid, Scalar::BoundOfTimeUuids { greatest: false }),
        "max_timeuuid" | "maxtimeuuid" => one(vec![Timestamp], TimeUuid, Scalar::BoundOfTimeUuids { greatest: true }),
        // Of Cassandra 4.
        "dateof" => one(vec![TimeUuid], Timestamp, Scalar::ToMoment),
        "unixtimestampof" => one(vec![TimeUuid], BigInt, Scalar::ToMilliseconds),
        "to_date" | "todate" => each(&[TimeUuid, Timestamp], &|_| Date, Scalar::ToMoment),
        "to_timestamp" | "totimestamp" => each(&[TimeUuid, Date], &|_| Timestamp, Scalar::ToMoment),
        "to_unix_timestamp" | "tounixtimestamp" => {
            each(&[TimeUuid, Timestamp, Date], &|_| BigInt, Scalar::ToMilliseconds)
        }
        "floor" => Candidates::Fixed(floors()),
        "abs" => each(&NUMBERS, &Clone::clone, Scalar::Mathematics(Mathematics::Absolute)),
        "exp" => each(&NUMBERS, &Clone::clone, Scalar::Mathematics(Mathematics::Exponential)),
        "log" => each(&NUMBERS, &Clone::clone, Scalar::Mathematics(Mathematics::NaturalLogarithm)),
        "log10" => each(&NUMBERS, &Clone::clone, Scalar::Mathematics(Mathematics::DecimalLogarithm)),
        "round" => each(&NUMBERS, &Clone::clone, Scalar::Mathematics(Mathematics::Round)),
        "sum" => Candidates::Fixed(of_numbers(Aggregate::Sum)),
        "avg" => Candidates::Fixed(of_numbers(Aggregate::Average)),
        // A parameter of type blob takes values of all types.
        "count" => Candidates::Fixed(vec![Function::aggregate(vec![Blob], BigInt, Aggregate::Count)]),
        "countrows" => Candidates::Fixed(vec![Function::aggregate(vec![], BigInt, Aggregate::CountRows)]),
        "length" => Candidates::Made(made(call, &[Parameter::Texts], |types| (types, CqlType::Int, Scalar::Length))?),
        "octet_length" => {
            Candidates::Made(made(call, &[Parameter::Any], |types| (types, CqlType::Int, Scalar::OctetLength))?)
        }
        _ => match conversion_of_blobs(name) {
            Some((from, Blob)) => one(vec![from], Blob, Scalar::ToBlob),
            Some((from, to)) => one(vec![from], to, Scalar::FromBlob),
            None => return made_for_types(call).map(|made| made.map(Candidates::Made)),
        },
    }))
}

fn floors() -> Vec<Function> {
    use CqlType::{Date, Duration, Time, TimeUuid, Timestamp};
    let floor =
        |parameters: Vec<CqlType>, returns: CqlType| Function::scalar("floor", parameters, returns, Scalar::Floor);
    vec![
        floor(vec![TimeUuid, Duration], Timestamp),
        floor(vec![TimeUuid, Duration, Timestamp], Timestamp),
        floor(vec![Timestamp, Duration], Timestamp),
        floor(vec![Timestamp, Duration, Timestamp], Timestamp),
        floor(vec![Date, Duration], Date),
        floor(vec![Date, Duration, Date], Date),
        floor(vec![Time, Duration], Time),
    ]
}

fn of_numbers(aggregate: Aggregate) -> Vec<Function> {
    NUMBERS.iter().map(|number| Function::aggregate(vec![number.clone()], number.clone(), aggregate)).collect()
}

/// The types of a conversion such as `int_as_blob`, `intasblob`, `blob_as_int` and `blobasint`.
fn conversion_of_blobs(name: &str) -> Option<(CqlType, CqlType)> {
    let scalar = |word: &str| {
        let counter = (word == "counter").then_some(CqlType::Counter);
        CqlType::scalar(word).or(counter).filter(|cql_type| *cql_type != CqlType::Blob)
    };
    let to_blob = name.strip_suffix("_as_blob").or_else(|| name.strip_suffix("asblob"));
    if let Some(from) = to_blob.and_then(scalar) {
        return Some((from, CqlType::Blob));
    }
    let from_blob = name.strip_prefix("blob_as_").or_else(|| name.strip_prefix("blobas"));
    from_blob.and_then(scalar).map(|to| (CqlType::Blob, to))
}

/// What a parameter of a function accepts that is made for the types of its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Any,
    /// Any type; that of the receiver when the argument has none of its own.
    AnyOrReceiver,
    SameAsFirst,
    Texts,
    Text,
    Collection,
    SetOrList,
    NumericSetOrList,
    Map,
    Int,
    OptionalText,
    Amount,
    FloatVector,
}

impl Parameter {
    fn is_optional(self) -> bool {
        self == Parameter::OptionalText
    }

    /// As messages name it.
    fn name(self) -> &'static str {
        match self {
            Parameter::Any | Parameter::AnyOrReceiver => "any",
            Parameter::SameAsFirst => "same",
            Parameter::Texts => "[text|varchar|ascii]",
            Parameter::Text => "text",
            Parameter::Collection => "collection",
            Parameter::SetOrList | Parameter::NumericSetOrList => "numeric_set_or_list",
            Parameter::Map => "map",
            Parameter::Int => "int",
            Parameter::OptionalText => "[text]",
            Parameter::Amount => "[int|tinyint|smallint|bigint|varint|ascii|text]",
            Parameter::FloatVector => "vector<float, n>",
        }
    }

    fn infer(self, argument: &dyn Argument, first: Option<&CqlType>, receiver: Option<&CqlType>) -> Option<CqlType> {
        let own = argument.own_type();
        match self {
            Parameter::SameAsFirst => first.cloned().or(own),
            Parameter::AnyOrReceiver => own.or_else(|| receiver.cloned()),
            Parameter::Texts | Parameter::Text | Parameter::OptionalText => own.or(Some(CqlType::Text)),
            Parameter::Int | Parameter::Amount => own.or(Some(CqlType::Int)),
            Parameter::FloatVector => argument
                .elements()
                .map_or(own, |elements| {
                    let dimensions = u32::try_from(elements).ok()?;
                    Some(CqlType::Vector { element: std::sync::Arc::new(CqlType::Float), dimensions })
                })
                .or_else(|| first.cloned()),
            _ => own,
        }
    }

    fn check(self, function: &str, argument: &dyn Argument, cql_type: &CqlType) -> Result<(), String> {
        use CqlType as T;
        let element = match cql_type {
            T::List { element, .. } | T::Set { element, .. } => Some(element.as_ref()),
            _ => None,
        };
        let fixed = |types: &[T]| types.iter().any(|to| Assignment::of_types(cql_type, to) != Assignment::No);
        let (accepted, wanted) = match self {
            Parameter::Any | Parameter::AnyOrReceiver | Parameter::SameAsFirst => (true, String::new()),
            Parameter::Collection => {
                (element.is_some() || matches!(cql_type, T::Map { .. }), "a collection argument".to_owned())
            }
            Parameter::SetOrList => (element.is_some(), "a set or list argument".to_owned()),
            Parameter::NumericSetOrList => {
                (element.is_some_and(|element| NUMBERS.contains(element)), "a numeric set/list argument".to_owned())
            }
            Parameter::Map => (matches!(cql_type, T::Map { .. }), "a map argument".to_owned()),
            Parameter::Texts => (fixed(&[T::Text, T::Ascii]), format!("an argument of type {}", self.name())),
            Parameter::Text | Parameter::OptionalText => (fixed(&[T::Text]), "an argument of type text".to_owned()),
            Parameter::FloatVector => {
                let is_float = matches!(cql_type, T::Vector { element, .. } if **element == T::Float);
                (is_float, "a float vector argument".to_owned())
            }
            Parameter::Int => (fixed(&[T::Int]), format!("an argument of type {}", self.name())),
            Parameter::Amount => (
                fixed(&[T::Int, T::TinyInt, T::SmallInt, T::BigInt, T::VarInt, T::Ascii, T::Text]),
                format!("an argument of type {}", self.name()),
            ),
        };
        if accepted {
            return Ok(());
        }
        let shown = argument.text();
        Err(format!("Function system.{function} requires {wanted}, but found argument {shown} of type {cql_type}"))
    }
}

/// The function that `make` makes for the types of the arguments.
fn made(
    call: &Call<'_>,
    parameters: &[Parameter],
    make: impl FnOnce(Vec<CqlType>) -> (Vec<CqlType>, CqlType, Scalar),
) -> Result<Function, String> {
    let types = infer(call, parameters)?;
    let (parameters, returns, scalar) = make(types);
    Ok(Function::scalar(call.name, parameters, returns, scalar))
}

fn infer(call: &Call<'_>, parameters: &[Parameter]) -> Result<Vec<CqlType>, String> {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name()).collect();
    let shown = || format!("system.{}({})", call.name, names.join(", "));
    let mandatory = parameters.iter().filter(|parameter| !parameter.is_optional()).count();
    if !(mandatory..=parameters.len()).contains(&call.arguments.len()) {
        return Err(format!("Invalid number of arguments for function {}", shown()));
    }
    let first = parameters.first().zip(call.arguments.first());
    let first = first.and_then(|(parameter, argument)| parameter.infer(*argument, None, call.receiver));
    // Like one of another type when the first argument has none.
    let second = call.arguments.get(1).and_then(|argument| argument.own_type());
    let first = first.or_else(|| second.filter(|_| parameters.get(1) == Some(&Parameter::SameAsFirst)));
    let mut types = Vec::with_capacity(call.arguments.len());
    for (index, (parameter, argument)) in parameters.iter().zip(&call.arguments).enumerate() {
        let inferred = match index {
            0 => first.clone(),
            _ => parameter.infer(*argument, first.as_ref(), call.receiver),
        };
        let Some(cql_type) = inferred else {
            return Err(format!(
                "Cannot infer type of argument {} in call to function {}: use type casts to disambiguate",
                argument.text(),
                shown()
            ));
        };
        parameter.check(call.name, *argument, &cql_type)?;
        types.push(cql_type);
    }
    Ok(types)
}

/// The element of a set or list.
pub(super) fn element_of(cql_type: &CqlType) -> CqlType {
    match cql_type {
        CqlType::List { element, .. } | CqlType::Set { element, .. } => element.as_ref().clone(),
        other => other.clone(),
    }
}

fn made_for_types(call: &Call<'_>) -> Result<Option<Function>, String> {
    let aggregate = |aggregate: Aggregate, parameter: Parameter| -> Result<Function, String> {
        let types = infer(call, &[parameter])?;
        let returns = types.first().cloned().unwrap_or(CqlType::BigInt);
        Ok(Function::aggregate(types, returns, aggregate))
    };
    let of_elements = |aggregate: Aggregate, parameter: Parameter| {
        made(call, &[parameter], |types| {
            let returns = types.first().map_or(CqlType::Int, element_of);
            (types, returns, Scalar::AggregateElements(aggregate))
        })
    };
    let similarity = |kind: Similarity| -> Result<Function, String> {
        let types = infer(call, &[Parameter::FloatVector, Parameter::FloatVector])?;
        if types.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err("All arguments must have the same vector dimensions".to_owned());
        }
        Ok(Function::scalar(call.name, types, CqlType::Float, Scalar::Similarity(kind)))
    };
    let function = match call.name {
        "min" => aggregate(Aggregate::Min, Parameter::AnyOrReceiver)?,
        "max" => aggregate(Aggregate::Max, Parameter::AnyOrReceiver)?,
        "map_keys" => made(call, &[Parameter::Map], |types| {
            let returns = set_of(types.first());
            (types, returns, Scalar::MapKeys)
        })?,
        "map_values" => made(call, &[Parameter::Map], |types| {
            let returns = list_of(types.first());
            (types, returns, Scalar::MapValues)
        })?,
        "collection_count" => {
            made(call, &[Parameter::Collection], |types| (types, CqlType::Int, Scalar::CountElements))?
        }
        "collection_min" => of_elements(Aggregate::Min, Parameter::SetOrList)?,
        "collection_max" => of_elements(Aggregate::Max, Parameter::SetOrList)?,
        "collection_sum" => of_elements(Aggregate::Sum, Parameter::NumericSetOrList)?,
        "collection_avg" => of_elements(Aggregate::Average, Parameter::NumericSetOrList)?,
        "to_json" | "tojson" => {
            let function = made(call, &[Parameter::Any], |types| (types, CqlType::Text, Scalar::ToJson))?;
            Function { name: "to_json".to_owned(), ..function }
        }
        "from_json" | "fromjson" => {
            let Some(receiver) = call.receiver else {
                return Err(format!("{}() cannot be used in the selection clause of a SELECT statement", call.name));
            };
            infer(call, &[Parameter::Text])?;
            Function::scalar("from_json", vec![CqlType::Text], receiver.clone(), Scalar::FromJson)
        }
        "similarity_cosine" => similarity(Similarity::Cosine)?,
        "similarity_euclidean" => similarity(Similarity::Euclidean)?,
        "similarity_dot_product" => similarity(Similarity::DotProduct)?,
        "format_bytes" | "format_time" => {
            let parameters = [Parameter::Amount, Parameter::OptionalText, Parameter::OptionalText];
            let scalar = if call.name == "format_bytes" { Scalar::FormatBytes } else { Scalar::FormatTime };
            made(call, &parameters, |types| (types, CqlType::Text, scalar))?
        }
        _ => return masks(call),
    };
    Ok(Some(function))
}

fn masks(call: &Call<'_>) -> Result<Option<Function>, String> {
    let (mask, parameters): (Mask, &[Parameter]) = match call.name {
        "mask_null" => (Mask::Null, &[Parameter::AnyOrReceiver]),
        "mask_default" => (Mask::Default, &[Parameter::AnyOrReceiver]),
        "mask_replace" => (Mask::Replace, &[Parameter::AnyOrReceiver, Parameter::SameAsFirst]),
        "mask_inner" => (Mask::Inner, &[Parameter::Texts, Parameter::Int, Parameter::Int, Parameter::OptionalText]),
        "mask_outer" => (Mask::Outer, &[Parameter::Texts, Parameter::Int, Parameter::Int, Parameter::OptionalText]),
        "mask_hash" => (Mask::Hash, &[Parameter::Any, Parameter::OptionalText]),
        _ => return Ok(None),
    };
    made(call, parameters, |mut types| {
        let returns = match mask {
            Mask::Hash => CqlType::Blob,
            _ => types.first().cloned().unwrap_or(CqlType::Text),
        };
        if matches!(mask, Mask::Inner | Mask::Outer) {
            types[1..].iter_mut().zip([CqlType::Int, CqlType::Int, CqlType::Text]).for_each(|(own, to)| *own = to);
        }
        (types, returns, Scalar::Mask(mask))
    })
    .map(Some)
}

fn set_of(map: Option<&CqlType>) -> CqlType {
    match map {
        Some(CqlType::Map { entry, .. }) => {
            CqlType::Set { element: std::sync::Arc::new(entry.0.freeze()), frozen: false }
        }
        _ => CqlType::Blob,
    }
}

fn list_of(map: Option<&CqlType>) -> CqlType {
    match map {
        Some(CqlType::Map { entry, .. }) => {
            CqlType::List { element: std::sync::Arc::new(entry.1.freeze()), frozen: false }
        }
        _ => CqlType::Blob,
    }
}
