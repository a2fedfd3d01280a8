//! Statements drawn at random from the grammar, as syntax trees.

use crate::ast::*;
use crate::role::{Password, RoleOptions, RoleRequest};
use crate::source::Position;
use model::CqlType;
use proptest::prelude::*;

const AT: Position = Position(0);

pub(crate) fn name() -> impl Strategy<Value = Name> {
    prop_oneof!["[a-z][a-z0-9_]{0,5}", "[ -~ä]{1,6}"].prop_map(|text| Name { text, at: AT })
}

fn qualified_name() -> impl Strategy<Value = QualifiedName> {
    (prop::option::of(name()), name()).prop_map(|(keyspace, name)| QualifiedName { keyspace, name })
}

fn literal() -> impl Strategy<Value = Literal> {
    use LiteralKind as K;
    let of = |kind| move |text: String| Literal { kind, text };
    prop_oneof![
        ".{0,10}".prop_map(of(K::String)),
        "-?[0-9]{1,20}".prop_map(of(K::Integer)),
        "-?[0-9]{1,5}\\.[0-9]{0,5}(e[+-]?[0-9]{1,3})?".prop_map(of(K::Float)),
        "(NaN|Infinity|-Infinity)".prop_map(of(K::Float)),
        "(true|false)".prop_map(of(K::Boolean)),
        "0x[0-9a-fA-F]{0,8}".prop_map(of(K::Hex)),
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}".prop_map(of(K::Uuid)),
        "-?([0-9]{1,2}(y|mo|w|d|h|m|s|ms|us|µs|ns)){1,4}".prop_map(of(K::Duration)),
        "-?(P[0-9]{1,3}Y[0-9]M(T[0-9]H[0-9]S)?|PT[0-9]M|P[0-9]W|P0001-02-03T04:05:06)".prop_map(of(K::Duration)),
    ]
}

fn marker() -> impl Strategy<Value = TermKind> {
    let named = name().prop_map(|name| TermKind::Marker { index: 0, name: Some(name.text) });
    prop_oneof![Just(TermKind::Marker { index: 0, name: None }), named]
}

fn at(kind: TermKind) -> Term {
    Term { kind, at: AT }
}

/// The operand of an operator: in parentheses, so that it reads back as it is printed.
fn operand(term: Term) -> Box<Term> {
    Box::new(at(TermKind::Tuple(vec![term])))
}

fn function_name() -> impl Strategy<Value = FunctionName> {
    // CAST and count have a syntax of their own.
    let name = name().prop_filter("a function", |name| !["cast", "count"].contains(&name.text.as_str()));
    (prop::option::of(self::name()), name).prop_map(|(keyspace, name)| FunctionName { keyspace, name })
}

fn arithmetic_operator() -> impl Strategy<Value = ArithmeticOperator> {
    use ArithmeticOperator as O;
    prop::sample::select(vec![O::Add, O::Subtract, O::Multiply, O::Divide, O::Remainder])
}

/// The terms that are made of others, which `inner` draws.
fn composed(inner: BoxedStrategy<Term>) -> BoxedStrategy<TermKind> {
    let terms = prop::collection::vec(inner.clone(), 0..3);
    let some_terms = prop::collection::vec(inner.clone(), 1..3);
    // A column is a field's name, and a column in parentheses before the colon a type hint.
    let key = (inner.clone(), literal()).prop_map(|(inner, literal)| match inner.kind {
        TermKind::Literal(_) | TermKind::Marker { .. } | TermKind::List(_) | TermKind::Call { .. } => inner,
        _ => at(TermKind::Literal(literal)),
    });
    let entry = (key, inner.clone());
    prop_oneof![
        (function_name(), terms.clone()).prop_map(|(function, arguments)| TermKind::Call { function, arguments }),
        (inner.clone(), native_type()).prop_map(|(value, target)| TermKind::Cast { value: Box::new(value), target }),
        (type_name(), terms.clone())
            .prop_map(|(target, terms)| { TermKind::Hint { target, value: Box::new(at(TermKind::List(terms))) } }),
        inner.clone().prop_map(|value| TermKind::Negation(operand(value))),
        (arithmetic_operator(), inner.clone(), inner.clone()).prop_map(|(operator, left, right)| {
            TermKind::Arithmetic { operator, left: operand(left), right: operand(right) }
        }),
        terms.clone().prop_map(TermKind::List),
        terms.prop_map(TermKind::Set),
        prop::collection::vec(entry, 1..3).prop_map(TermKind::Map),
        prop::collection::vec((name(), inner), 1..3).prop_map(TermKind::UserType),
        some_terms.prop_map(TermKind::Tuple),
    ]
    .boxed()
}

/// A term that names no column.
pub(crate) fn term() -> BoxedStrategy<Term> {
    let leaf = prop_oneof![4 => literal().prop_map(TermKind::Literal), 1 => Just(TermKind::Null), 2 => marker()];
    leaf.prop_map(at).prop_recursive(3, 12, 3, |inner| composed(inner).prop_map(at)).boxed()
}

/// A term of the SELECT clause.
fn selection() -> BoxedStrategy<Term> {
    let leaf = prop_oneof![
        4 => name().prop_map(TermKind::Column),
        1 => literal().prop_map(TermKind::Literal),
        1 => marker(),
        1 => Just(TermKind::CountRows),
    ];
    let column = || name().prop_map(TermKind::Column).prop_map(at).prop_map(Box::new);
    let end = || prop::option::of(term().prop_map(Box::new));
    let part = prop_oneof![
        (column(), name()).prop_map(|(value, field)| TermKind::Field { value, field }),
        (column(), term()).prop_map(|(collection, key)| TermKind::Element { collection, key: Box::new(key) }),
        (column(), end(), end())
            .prop_filter("an end", |(_, from, to)| from.is_some() || to.is_some())
            .prop_map(|(collection, from, to)| TermKind::Slice { collection, from, to }),
    ];
    let leaf = prop_oneof![3 => leaf, 1 => part];
    leaf.prop_map(at).prop_recursive(3, 12, 3, |inner| composed(inner).prop_map(at)).boxed()
}

fn native_type() -> impl Strategy<Value = TypeName> {
    let mut natives = CqlType::SCALARS.to_vec();
    natives.push(CqlType::Counter);
    prop::sample::select(natives).prop_map(|native| TypeName { kind: TypeNameKind::Native(native), at: AT })
}

fn type_name() -> BoxedStrategy<TypeName> {
    let mut natives = CqlType::SCALARS.to_vec();
    natives.push(CqlType::Counter);
    let user_defined = qualified_name()
        .prop_filter("a user-defined type", |name| {
            CqlType::scalar(&name.name.text).is_none() && name.name.text != "counter"
        })
        .prop_map(|QualifiedName { keyspace, name }| TypeNameKind::UserDefined { keyspace, name });
    let leaf = prop_oneof![
        4 => prop::sample::select(natives).prop_map(TypeNameKind::Native),
        1 => user_defined,
        1 => ".{0,5}".prop_map(TypeNameKind::Custom),
    ];
    let of = |kind| TypeName { kind, at: AT };
    let nested = move |inner: BoxedStrategy<TypeName>| {
        let boxed = inner.clone().prop_map(Box::new);
        let kind = prop_oneof![
            boxed.clone().prop_map(TypeNameKind::List),
            boxed.clone().prop_map(TypeNameKind::Set),
            boxed.clone().prop_map(TypeNameKind::Frozen),
            (inner.clone(), inner.clone()).prop_map(|entry| TypeNameKind::Map(Box::new(entry))),
            prop::collection::vec(inner, 1..3).prop_map(TypeNameKind::Tuple),
            (boxed, any::<u32>()).prop_map(|(element, dimensions)| TypeNameKind::Vector { element, dimensions }),
        ];
        kind.prop_map(of)
    };
    leaf.prop_map(of).prop_recursive(3, 8, 2, nested).boxed()
}

fn integer_term() -> impl Strategy<Value = Term> {
    let literal = "-?[0-9]{1,20}".prop_map(|text| TermKind::Literal(Literal { kind: LiteralKind::Integer, text }));
    prop_oneof![literal, marker()].prop_map(at)
}

fn comparison() -> impl Strategy<Value = (Operator, Comparand)> {
    use Operator as O;
    let single = vec![
        O::Equal,
        O::NotEqual,
        O::Less,
        O::LessOrEqual,
        O::Greater,
        O::GreaterOrEqual,
        O::Contains,
        O::ContainsKey,
        O::NotContains,
        O::NotContainsKey,
        O::Like,
    ];
    let many = (prop::sample::select(vec![O::In, O::NotIn]), prop::collection::vec(term(), 0..3));
    let marked = (prop::sample::select(vec![O::In, O::NotIn]), marker());
    prop_oneof![
        6 => (prop::sample::select(single), term()).prop_map(|(operator, term)| (operator, Comparand::One(term))),
        2 => many.prop_map(|(operator, terms)| (operator, Comparand::Many(terms))),
        1 => marked.prop_map(|(operator, marker)| (operator, Comparand::One(at(marker)))),
        1 => (term(), term()).prop_map(|(from, to)| (O::Between, Comparand::Many(vec![from, to]))),
        1 => prop::sample::select(vec![O::IsNull, O::IsNotNull]).prop_map(|operator| (operator, Comparand::Nothing)),
    ]
}

fn relation(subject: BoxedStrategy<Subject>) -> impl Strategy<Value = Relation> {
    (subject, comparison()).prop_map(|(subject, (operator, comparand))| Relation {
        subject,
        operator,
        comparand,
        at: AT,
    })
}

/// A column, or a part of one.
fn part() -> BoxedStrategy<Subject> {
    prop_oneof![
        4 => name().prop_map(Subject::Column),
        1 => (name(), term()).prop_map(|(column, key)| Subject::Element { column, key }),
        1 => (name(), name()).prop_map(|(column, field)| Subject::Field { column, field }),
    ]
    .boxed()
}

fn relations() -> impl Strategy<Value = Vec<Relation>> {
    let is_field = |subject: &Subject| matches!(subject, Subject::Field { .. });
    let part = part().prop_filter("fields are no subjects of WHERE", move |subject| !is_field(subject)).boxed();
    let order = prop::sample::select(vec![Operator::Equal, Operator::Less, Operator::GreaterOrEqual]);
    let tuple = || prop::collection::vec(term(), 1..3).prop_map(|terms| at(TermKind::Tuple(terms)));
    let tuples = (names(1), order.clone(), tuple()).prop_map(|(columns, operator, tuple)| Relation {
        subject: Subject::Columns(columns),
        operator,
        comparand: Comparand::One(tuple),
        at: AT,
    });
    let in_tuples = (names(1), prop::collection::vec(tuple(), 0..3)).prop_map(|(columns, tuples)| Relation {
        subject: Subject::Columns(columns),
        operator: Operator::In,
        comparand: Comparand::Many(tuples),
        at: AT,
    });
    let tokens = (names(1), order, term()).prop_map(|(columns, operator, value)| Relation {
        subject: Subject::Token(columns),
        operator,
        comparand: Comparand::One(value),
        at: AT,
    });
    prop::collection::vec(prop_oneof![6 => relation(part), 1 => tuples, 1 => in_tuples, 1 => tokens], 1..4)
}

fn condition() -> impl Strategy<Value = Option<(Condition, Position)>> {
    let relations = prop::collection::vec(relation(part()), 1..3).prop_map(Condition::Relations);
    prop::option::of(prop_oneof![Just(Condition::Exists), relations].prop_map(|condition| (condition, AT)))
}

fn using() -> impl Strategy<Value = Using> {
    (prop::option::of(integer_term()), prop::option::of(integer_term()))
        .prop_map(|(time_to_live, timestamp)| Using { time_to_live, timestamp })
}

fn names(least: usize) -> impl Strategy<Value = Vec<Name>> {
    prop::collection::vec(name(), least..4)
}

fn place() -> impl Strategy<Value = Option<Position>> {
    any::<bool>().prop_map(|present| present.then_some(AT))
}

fn properties(least: usize) -> impl Strategy<Value = Vec<Property>> {
    let value = prop_oneof![
        literal().prop_map(PropertyValue::Literal),
        prop::collection::vec((literal(), literal()), 0..3).prop_map(PropertyValue::Map),
    ];
    let property = (name(), value).prop_map(|(name, value)| Property { name, value, at: AT });
    prop::collection::vec(property, least..3)
}

fn columns() -> impl Strategy<Value = Vec<ColumnDefinition>> {
    let column = (name(), type_name(), place(), checks());
    let column =
        column.prop_map(|(name, type_name, is_static, checks)| ColumnDefinition { name, type_name, is_static, checks });
    prop::collection::vec(column, 1..4)
}

fn checks() -> impl Strategy<Value = Vec<CheckDefinition>> {
    use Operator as O;
    let operators = vec![O::Equal, O::NotEqual, O::Less, O::LessOrEqual, O::Greater, O::GreaterOrEqual];
    let operator = prop::sample::select(operators);
    let column = || prop::option::of(name());
    let kind = prop_oneof![
        (name(), operator.clone(), literal()).prop_map(|(column, operator, bound)| CheckKind::Value {
            column,
            operator,
            bound
        }),
        (name(), column(), operator, literal()).prop_map(|(name, column, operator, bound)| CheckKind::Function {
            name,
            column,
            operator,
            bound
        }),
        (name(), column()).prop_map(|(name, column)| CheckKind::Predicate { name, column }),
        Just(CheckKind::NotNull),
    ];
    prop::collection::vec(kind.prop_map(|kind| CheckDefinition { kind, at: AT }), 0..3)
}

fn create_table() -> impl Strategy<Value = Statement> {
    let key = (names(1), names(0)).prop_map(|(partition, clustering)| PrimaryKey { partition, clustering, at: AT });
    let order = prop::collection::vec((name(), any::<bool>()), 0..3);
    let lists = (columns(), prop::collection::vec(key, 0..3), order, properties(0));
    let like = prop::option::weighted(0.1, qualified_name());
    let like = (like, any::<bool>());
    (qualified_name(), any::<bool>(), like, lists).prop_map(|(name, if_not_exists, (like, indexes), lists)| {
        let like_indexes = indexes && like.is_some();
        let (mut columns, mut primary_keys, mut clustering_order, properties) = lists;
        if like.is_some() {
            (columns, primary_keys, clustering_order) = Default::default();
        }
        Statement::CreateTable(CreateTable {
            name,
            if_not_exists,
            like,
            like_indexes,
            columns,
            primary_keys,
            clustering_order,
            properties,
        })
    })
}

fn renames() -> impl Strategy<Value = Vec<(Name, Name)>> {
    prop::collection::vec((name(), name()), 1..3)
}

fn alter_table() -> impl Strategy<Value = Statement> {
    let timestamp = "-?[0-9]{1,20}".prop_map(|text| (Literal { kind: LiteralKind::Integer, text }, AT));
    let alteration = prop_oneof![
        (any::<bool>(), columns()).prop_map(|(if_not_exists, columns)| TableAlteration::Add { if_not_exists, columns }),
        (any::<bool>(), names(1), prop::option::of(timestamp))
            .prop_map(|(if_exists, columns, timestamp)| { TableAlteration::Drop { if_exists, columns, timestamp } }),
        (any::<bool>(), renames()).prop_map(|(if_exists, renames)| TableAlteration::Rename { if_exists, renames }),
        properties(1).prop_map(TableAlteration::With),
        (any::<bool>(), name(), checks()).prop_map(|(if_exists, column, checks)| TableAlteration::Check {
            if_exists,
            column,
            checks
        }),
    ];
    (qualified_name(), any::<bool>(), alteration)
        .prop_map(|(name, if_exists, alteration)| Statement::AlterTable(AlterTable { name, if_exists, alteration }))
}

fn type_statement() -> impl Strategy<Value = Statement> {
    let field = || (name(), type_name()).prop_map(|(name, type_name)| FieldDefinition { name, type_name });
    let fields = prop::collection::vec(field(), 1..4);
    let alteration = prop_oneof![
        (any::<bool>(), field()).prop_map(|(if_not_exists, field)| TypeAlteration::Add { if_not_exists, field }),
        (any::<bool>(), renames()).prop_map(|(if_exists, renames)| TypeAlteration::Rename { if_exists, renames }),
    ];
    prop_oneof![
        (qualified_name(), any::<bool>(), fields).prop_map(|(name, if_not_exists, fields)| {
            Statement::CreateType(CreateType { name, if_not_exists, fields })
        }),
        (qualified_name(), any::<bool>(), alteration)
            .prop_map(|(name, if_exists, alteration)| Statement::AlterType(AlterType { name, if_exists, alteration })),
        (qualified_name(), any::<bool>()).prop_map(|(name, if_exists)| Statement::DropType { name, if_exists }),
    ]
}

fn index_statement() -> impl Strategy<Value = Statement> {
    use IndexTargetKind as K;
    let kind = prop::sample::select(vec![K::Plain, K::Values, K::Keys, K::Entries, K::Full]);
    let target = (kind, name()).prop_map(|(kind, column)| IndexTarget { kind, column });
    let class = prop::option::of(".{0,5}".prop_map(|class| (class, AT)));
    let flags = (any::<bool>(), any::<bool>(), prop::option::of(name()));
    let lists = (prop::collection::vec(target, 0..3), class, properties(0));
    let create = (flags, qualified_name(), lists).prop_map(|(flags, table, (targets, class, properties))| {
        let (is_custom, if_not_exists, name) = flags;
        let index = CreateIndex { is_custom, if_not_exists, name, table, targets, class, properties, at: AT };
        Statement::CreateIndex(index)
    });
    let drop = (qualified_name(), any::<bool>());
    prop_oneof![create, drop.prop_map(|(name, if_exists)| Statement::DropIndex { name, if_exists })]
}

fn select() -> impl Strategy<Value = Statement> {
    let selector = (selection(), prop::option::of(name())).prop_map(|(term, alias)| Selector { term, alias });
    let ordering = (name(), prop::option::weighted(0.2, term()), any::<bool>())
        .prop_map(|(column, nearest_to, descending)| Ordering { column, nearest_to, descending });
    let order = prop::collection::vec(ordering, 0..3);
    let maybe_relations = prop_oneof![relations(), Just(Vec::new())];
    let limit = || prop::option::of(integer_term());
    let lists =
        (prop::collection::vec(selector, 0..4), maybe_relations, prop::collection::vec(selection(), 0..2), order);
    let indexes = || prop::collection::vec(qualified_name(), 0..2);
    let hints = (indexes(), indexes()).prop_map(|(included, excluded)| IndexHints { included, excluded });
    let extensions = (place(), prop::option::weighted(0.2, term()), hints);
    let rest = (place(), place(), limit(), limit(), any::<bool>(), extensions);
    (qualified_name(), lists, rest).prop_map(|(table, (selectors, relations, group_by, order), rest)| {
        let (json, distinct, per_partition_limit, limit, allow_filtering, extensions) = rest;
        let (bypass_cache, timeout, hints) = extensions;
        Statement::Select(Select {
            json,
            distinct,
            selectors,
            table,
            relations,
            group_by,
            order,
            per_partition_limit,
            limit,
            allow_filtering,
            bypass_cache,
            timeout,
            hints,
        })
    })
}

fn insert() -> impl Strategy<Value = Modification> {
    let columns = (names(1), prop::collection::vec(term(), 1..4))
        .prop_map(|(columns, values)| InsertedValues::Columns { columns, values });
    let text = ".{0,10}".prop_map(|text| TermKind::Literal(Literal { kind: LiteralKind::String, text }));
    let json = (prop_oneof![text, marker()].prop_map(at), any::<bool>())
        .prop_map(|(value, default_unset)| InsertedValues::Json { value, default_unset });
    (qualified_name(), prop_oneof![3 => columns, 1 => json], place(), using()).prop_map(
        |(table, values, if_not_exists, using)| Modification::Insert(Insert { table, values, if_not_exists, using }),
    )
}

fn assignment() -> impl Strategy<Value = Assignment> {
    let operation = prop_oneof![
        3 => term().prop_map(Operation::Set),
        1 => term().prop_map(Operation::Add),
        1 => term().prop_map(Operation::Subtract),
        1 => term().prop_map(Operation::Prepend),
        1 => (term(), term()).prop_map(|(key, value)| Operation::SetElement { key, value }),
        1 => (name(), term()).prop_map(|(field, value)| Operation::SetField { field, value }),
    ];
    (name(), operation).prop_map(|(column, operation)| Assignment { column, operation })
}

fn modification() -> impl Strategy<Value = Modification> {
    let assignments = prop::collection::vec(assignment(), 1..4);
    let update = (qualified_name(), using(), assignments, relations(), condition()).prop_map(
        |(table, using, assignments, relations, condition)| {
            Modification::Update(Update { table, using, assignments, relations, condition })
        },
    );
    let deleted = part().prop_map(|part| match part {
        Subject::Element { column, key } => DeletedColumn::Element { column, key },
        Subject::Field { column, field } => DeletedColumn::Field { column, field },
        Subject::Column(column) => DeletedColumn::Column(column),
        Subject::Columns(_) | Subject::Token(_) => unreachable!("parts of one column"),
    });
    let columns = prop::collection::vec(deleted, 0..3);
    let delete = (columns, qualified_name(), prop::option::of(integer_term()), relations(), condition()).prop_map(
        |(columns, table, timestamp, relations, condition)| {
            Modification::Delete(Delete { columns, table, timestamp, relations, condition })
        },
    );
    prop_oneof![insert(), update, delete]
}

fn describe() -> impl Strategy<Value = Statement> {
    let described = prop_oneof![
        Just(Described::Cluster),
        any::<bool>().prop_map(|full| Described::Schema { full }),
        Just(Described::Keyspaces),
        (prop::option::of(name()), any::<bool>()).prop_map(|(name, only)| Described::Keyspace { name, only }),
        Just(Described::Tables),
        qualified_name().prop_map(Described::Table),
        qualified_name().prop_map(Described::Index),
        qualified_name().prop_map(Described::MaterializedView),
        Just(Described::Types),
        qualified_name().prop_map(Described::Type),
        Just(Described::Functions),
        qualified_name().prop_map(Described::Function),
        Just(Described::Aggregates),
        qualified_name().prop_map(Described::Aggregate),
        qualified_name().prop_map(Described::Any),
    ];
    (described, any::<bool>())
        .prop_map(|(described, internals)| Statement::Describe(Describe { described, internals, at: AT }))
}

fn role_statement() -> impl Strategy<Value = Statement> {
    let password = prop::option::of(
        ("[a-z']{0,5}", any::<bool>())
            .prop_map(|(text, is_hashed)| if is_hashed { Password::Hashed(text) } else { Password::Plain(text) }),
    );
    let options = (password, prop::option::of(any::<bool>()), prop::option::of(any::<bool>()))
        .prop_map(|(password, login, superuser)| RoleOptions { password, login, superuser });
    let role = || "[a-zA-Z' ]{1,6}";
    let request = prop_oneof![
        (role(), options.clone(), any::<bool>()).prop_map(|(name, options, if_not_exists)| RoleRequest::Create {
            name,
            options,
            if_not_exists
        }),
        (role(), options, any::<bool>()).prop_map(|(name, options, if_exists)| RoleRequest::Alter {
            name,
            options,
            if_exists
        }),
        (role(), any::<bool>()).prop_map(|(name, if_exists)| RoleRequest::Drop { name, if_exists }),
        prop::option::of(role()).prop_map(|of| RoleRequest::ListRoles { of }),
        Just(RoleRequest::ListUsers),
    ];
    request.prop_map(Statement::Role)
}

/// A statement that reads or writes.
fn data_statement() -> BoxedStrategy<Statement> {
    let kind = prop::sample::select(vec![BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter]);
    let batch = (kind, using(), prop::collection::vec(modification(), 0..4))
        .prop_map(|(kind, using, statements)| Statement::Batch(Batch { kind, using, statements, at: AT }));
    prop_oneof![3 => select(), 6 => modification().prop_map(Statement::Modification), 2 => batch].boxed()
}

/// Any statement.
pub(crate) fn statement() -> impl Strategy<Value = Statement> {
    let explain = (any::<bool>(), data_statement()).prop_map(|(analyze, statement)| Statement::Explain {
        analyze,
        statement: Box::new(statement),
        at: AT,
    });
    prop_oneof![
        9 => data_statement(),
        2 => create_table(),
        2 => alter_table(),
        2 => type_statement(),
        2 => index_statement(),
        1 => (name(), any::<bool>(), properties(1)).prop_map(|(name, if_not_exists, properties)| {
            Statement::CreateKeyspace(CreateKeyspace { name, if_not_exists, properties })
        }),
        1 => (name(), any::<bool>(), properties(1)).prop_map(|(name, if_exists, properties)| {
            Statement::AlterKeyspace(AlterKeyspace { name, if_exists, properties })
        }),
        1 => (name(), any::<bool>()).prop_map(|(name, if_exists)| Statement::DropKeyspace { name, if_exists }),
        1 => (qualified_name(), any::<bool>()).prop_map(|(name, if_exists)| Statement::DropTable { name, if_exists }),
        1 => qualified_name().prop_map(Statement::Truncate),
        1 => name().prop_map(Statement::Use),
        1 => describe(),
        1 => role_statement(),
        1 => explain,
    ]
}
