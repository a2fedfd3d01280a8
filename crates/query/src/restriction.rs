//! WHERE: from relations to the partitions and rows that they select, and the conditions that rows are filtered by.
//!
//! A partition key that is given whole, each column by a value or by IN, selects partitions; tokens select ranges of
//! them. Clustering columns that are given from the first one on, by values and at the end by a range, select slices in
//! the space of encoded clustering keys, whatever the declared order of the columns: in a descending column the larger
//! value comes first, so that `>` bounds the end of a slice and `<` its start. All else is a condition that every row
//! must be read for, which SELECT does only when it says ALLOW FILTERING.
//!
//! Errors, and which of several is said, are Cassandra's.

use crate::ast::{self, Comparand, IndexHints, Name, Operator, QualifiedName, Relation, Select, Term, TermKind};
use crate::binder::Binder;
use crate::filter::{FilterPlan, Test};
use crate::operand::{Arguments, BoundValue, Operand};
use crate::slices::SliceSet;
use crate::source::{Position, Source};
use crate::term::{Receiver, text};
use bytes::Bytes;
use model::key::encode_clustering;
use model::limits::COLUMNS_MAX;
use model::read::Slice;
use model::schema::{Column, ColumnKind, Index, IndexedPart, Table};
use model::value::{compare, parts};
use model::{CqlType, IndexTarget, PartitionKey, RequestError, Token, TokenRange};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Most partitions, or most combinations of clustering values, that the values of IN may select.
pub(crate) const COMBINATIONS_MAX: usize = 10_000;

const FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have unpredictable \
                         performance. If you want to execute this query despite the performance unpredictability, use \
                         ALLOW FILTERING";

/// Which statement a WHERE clause belongs to: what it may say depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatementKind {
    Select,
    Insert,
    Update,
    Delete,
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StatementKind::Select => "SELECT",
            StatementKind::Insert => "INSERT",
            StatementKind::Update => "UPDATE",
            StatementKind::Delete => "DELETE",
        })
    }
}

/// What a column, or several, is compared with. Of several columns each value is a tuple.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    One(Operand),
    /// `IN (a, b)`.
    Many(Vec<Operand>),
    /// `IN ?`: a list of values.
    List(Operand),
}

/// What a restriction is about, as indexes into the columns of the table.
#[derive(Clone, Debug)]
enum Subject {
    Column(usize),
    /// Clustering columns that follow each other.
    Columns(Vec<usize>),
    /// The entry of a map at a key.
    Entry(usize, Operand),
    Token,
}

/// `subject operator values`.
#[derive(Clone, Debug)]
struct Restriction {
    subject: Subject,
    operator: Operator,
    values: Values,
    at: Position,
}

impl Restriction {
    fn columns(&self) -> &[usize] {
        match &self.subject {
            Subject::Column(column) | Subject::Entry(column, _) => std::slice::from_ref(column),
            Subject::Columns(columns) => columns,
            Subject::Token => &[],
        }
    }

    fn first(&self) -> usize {
        self.columns().first().copied().unwrap_or(0)
    }

    fn is_slice(&self) -> bool {
        self.is_lower() || self.is_upper()
    }

    fn is_lower(&self) -> bool {
        matches!(self.operator, Operator::Greater | Operator::GreaterOrEqual)
    }

    fn is_upper(&self) -> bool {
        matches!(self.operator, Operator::Less | Operator::LessOrEqual)
    }

    fn is_contains(&self) -> bool {
        matches!(
            self.operator,
            Operator::Contains | Operator::ContainsKey | Operator::NotContains | Operator::NotContainsKey
        ) || matches!(self.subject, Subject::Entry(..))
    }

    /// True for what keys can be looked up by.
    fn selects_keys(&self) -> bool {
        matches!(self.operator, Operator::Equal | Operator::In) && !matches!(self.subject, Subject::Entry(..))
    }
}

/// A restriction that an index serves.
#[derive(Clone, Copy, Debug)]
struct Served<'r> {
    restriction: &'r Restriction,
    /// What the index is on.
    target: IndexTarget,
    /// Its name.
    index: &'r str,
    /// The smaller, the fewer rows are likely to be named; first come those that the statement wants.
    rank: (bool, bool, u8),
    /// True for an index that serves ranges, and as many restrictions as there are.
    attached: bool,
}

impl<'r> Served<'r> {
    /// Puts what is looked up, if this is the index to read by, before all other conditions.
    fn put_first(&self, all: &[Served<'r>], filtered: &mut Vec<&'r Restriction>) -> IndexPlan {
        // Both ends of a range are looked up together.
        let together = |own: &&Served<'r>| {
            own.target == self.target && own.restriction.is_slice() && self.restriction.is_slice()
                || std::ptr::eq(own.restriction, self.restriction)
        };
        let looked_up: Vec<&'r Restriction> = all.iter().filter(together).map(|own| own.restriction).collect();
        // An entry may be stale: whatever else selects the row, it must have the value.
        filtered.retain(|other| !looked_up.iter().any(|own| std::ptr::eq(*other, *own)));
        let plan = IndexPlan { filters: looked_up.len(), target: self.target };
        filtered.splice(0..0, looked_up);
        plan
    }
}

/// What a WHERE clause says.
#[derive(Debug)]
pub(crate) struct Restrictions<'t> {
    table: &'t Table,
    kind: StatementKind,
    /// True when SELECT says ALLOW FILTERING.
    allow_filtering: bool,
    /// The indexes that SELECT wants to be used, and those that it does not.
    included: Vec<&'t str>,
    /// Where the first of them is named.
    included_at: Option<Position>,
    excluded: Vec<&'t str>,
    all: Vec<Restriction>,
}

impl<'t> Restrictions<'t> {
    /// Nothing said yet.
    pub(crate) fn new(table: &'t Table, kind: StatementKind) -> Restrictions<'t> {
        let (included, excluded) = (Vec::new(), Vec::new());
        Restrictions { table, kind, allow_filtering: false, included, included_at: None, excluded, all: Vec::new() }
    }

    /// What `relations` say in a statement that writes.
    pub(crate) fn of(
        binder: &mut Binder<'_>,
        table: &'t Table,
        kind: StatementKind,
        relations: &[Relation],
    ) -> Result<Restrictions<'t>, RequestError> {
        Restrictions::new(table, kind).with(binder, relations)
    }

    /// What `relations` say in a SELECT.
    pub(crate) fn of_select(
        binder: &mut Binder<'_>,
        table: &'t Table,
        select: &Select,
    ) -> Result<Restrictions<'t>, RequestError> {
        let Select { relations, allow_filtering, hints: IndexHints { included, excluded }, .. } = select;
        let (included, excluded) = (hinted(binder, table, included)?, hinted(binder, table, excluded)?);
        let both: Vec<&str> = included.iter().copied().filter(|name| excluded.contains(name)).collect();
        if let Some(first) = select.hints.included.first().filter(|_| !both.is_empty()) {
            let message = format!("Indexes cannot be both included and excluded: {}", both.join(", "));
            return Err(binder.source.invalid(first.at(), message));
        }
        let included_at = select.hints.included.first().map(QualifiedName::at);
        let nothing = Restrictions::new(table, StatementKind::Select);
        let wanted = Restrictions { allow_filtering: *allow_filtering, included, included_at, excluded, ..nothing };
        wanted.with(binder, relations)
    }

    fn with(mut self, binder: &mut Binder<'_>, relations: &[Relation]) -> Result<Restrictions<'t>, RequestError> {
        if let Some(extra) = relations.get(COLUMNS_MAX) {
            let message = format!("A WHERE clause can have {COLUMNS_MAX} relations at most");
            return Err(binder.source.invalid(extra.at, message));
        }
        for relation in relations {
            self.check_operator(binder.source, relation)?;
            let restrictions = self.bind(binder, relation)?;
            self.check_like(binder.source, relation)?;
            for restriction in restrictions {
                self.add(binder.source, restriction)?;
            }
        }
        Ok(self)
    }

    /// Refuses operators that the kind of the statement does not have.
    fn check_operator(&self, source: Source<'_>, relation: &Relation) -> Result<(), RequestError> {
        let at = relation.subject.at();
        match relation.operator {
            Operator::Contains | Operator::ContainsKey | Operator::NotContains | Operator::NotContainsKey
                if self.kind != StatementKind::Select =>
            {
                let message = format!("Cannot use {} with {}", self.kind, relation.operator.symbol());
                Err(source.invalid(at, message))
            }
            Operator::IsNull | Operator::IsNotNull if !self.allow_filtering => {
                let filtering = if self.kind == StatementKind::Select { " but with ALLOW FILTERING" } else { "" };
                let message = format!("Unsupported restriction: {}{filtering}", relation_text(relation));
                Err(source.invalid(at, message))
            }
            Operator::NotEqual | Operator::NotIn if self.kind != StatementKind::Select => {
                let symbol = relation.operator.symbol();
                let message = format!("Unsupported \"{symbol}\" relation: {}", relation_text(relation));
                Err(source.invalid(at, message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses LIKE of what is no text, and without ALLOW FILTERING.
    fn check_like(&self, source: Source<'_>, relation: &Relation) -> Result<(), RequestError> {
        let column = match &relation.subject {
            ast::Subject::Column(name) => self.table.column(&name.text),
            _ => None,
        };
        let is_text = column.is_some_and(|column| column.cql_type.is_text());
        if relation.operator != Operator::Like || (self.allow_filtering && is_text) {
            return Ok(());
        }
        let shown = relation_text(relation);
        let message = format!("LIKE restriction is only supported on properly indexed columns. {shown} is not valid.");
        Err(source.invalid(relation.subject.at(), message))
    }

    /// The restrictions that a relation is: BETWEEN is two.
    fn bind(&self, binder: &mut Binder<'_>, relation: &Relation) -> Result<Vec<Restriction>, RequestError> {
        let table = self.table;
        let at = relation.subject.at();
        let restriction =
            |subject: Subject, operator: Operator, values: Values| Restriction { subject, operator, values, at };
        let (subject, name, cql_type) = self.bind_subject(binder, relation)?;
        let receiver = Receiver { name: &name, cql_type: &cql_type };
        let several = if let Subject::Columns(columns) = &subject { Some(columns.clone()) } else { None };
        let several = several.as_deref();
        Ok(match (&relation.comparand, relation.operator) {
            (Comparand::Many(ends), Operator::Between) => {
                let mut both = Vec::with_capacity(2);
                for (end, operator) in ends.iter().zip([Operator::GreaterOrEqual, Operator::LessOrEqual]) {
                    let operand = tuple_of(binder, table, end, receiver, several)?;
                    both.push(restriction(subject.clone(), operator, Values::One(operand)));
                }
                both
            }
            (Comparand::One(term), operator @ (Operator::In | Operator::NotIn)) => {
                let list = CqlType::List { element: Arc::new(cql_type.freeze()), frozen: true };
                let operand =
                    binder.prepare(table, term, Receiver { name: &format!("in({name})"), cql_type: &list }, None)?;
                vec![restriction(subject, operator, Values::List(operand))]
            }
            (Comparand::Many(terms), operator) => {
                let mut operands = Vec::with_capacity(terms.len());
                for term in terms {
                    operands.push(tuple_of(binder, table, term, receiver, several)?);
                }
                // As in Cassandra IN with one value is an equality.
                match (operator, <[Operand; 1]>::try_from(operands)) {
                    (Operator::In, Ok([only])) => vec![restriction(subject, Operator::Equal, Values::One(only))],
                    (_, Ok([only])) => vec![restriction(subject, operator, Values::Many(vec![only]))],
                    (_, Err(operands)) => vec![restriction(subject, operator, Values::Many(operands))],
                }
            }
            (Comparand::One(term), operator) => {
                let operand = tuple_of(binder, table, term, receiver, several)?;
                vec![restriction(subject, operator, Values::One(operand))]
            }
            (Comparand::Nothing, operator) if matches!(subject, Subject::Column(_)) => {
                vec![restriction(subject, operator, Values::Many(Vec::new()))]
            }
            (Comparand::Nothing, operator) => {
                return Err(binder.source.unsupported(at, &format!("{} restrictions are", operator.symbol())));
            }
        })
    }

    /// The subject of a relation, and the name and type of what it is compared with.
    fn bind_subject(
        &self,
        binder: &mut Binder<'_>,
        relation: &Relation,
    ) -> Result<(Subject, String, CqlType), RequestError> {
        let table = self.table;
        match &relation.subject {
            ast::Subject::Column(name) => {
                let column = binder.column(table, name)?;
                let (name, cql_type) = compared(binder.source, column, relation)?;
                Ok((Subject::Column(self.index(column)), name, cql_type))
            }
            ast::Subject::Element { column: name, key } => {
                let column = binder.column(table, name)?;
                let entry = entry_of(binder.source, column, relation)?;
                let key_name = format!("key({})", column.name);
                let key = binder.prepare(table, key, Receiver { name: &key_name, cql_type: &entry.0 }, None)?;
                Ok((Subject::Entry(self.index(column), key), format!("value({})", column.name), entry.1))
            }
            ast::Subject::Field { column, .. } => {
                Err(binder.source.unsupported(column.at, "restrictions on fields of user-defined types are"))
            }
            ast::Subject::Columns(names) => {
                let columns = self.tuple_columns(binder, names, relation)?;
                if let [only] = columns.as_slice() {
                    // A tuple of one is what is in it.
                    let column = self.column(*only);
                    return Ok((Subject::Column(*only), column.name.clone(), column.cql_type.clone()));
                }
                let types = columns.iter().map(|index| self.table.columns[*index].cql_type.clone()).collect();
                let shown: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
                Ok((Subject::Columns(columns), format!("({})", shown.join(",")), CqlType::Tuple(Arc::new(types))))
            }
            ast::Subject::Token(names) => {
                self.check_token(binder, names)?;
                Ok((Subject::Token, "partition key token".to_owned(), CqlType::BigInt))
            }
        }
    }

    fn index(&self, column: &Column) -> usize {
        self.table.columns.iter().position(|own| own.id == column.id).unwrap_or(0)
    }

    fn column(&self, index: usize) -> &'t Column {
        &self.table.columns[index]
    }

    fn check_token(&self, binder: &Binder<'_>, names: &[Name]) -> Result<(), RequestError> {
        let at = names.first().map(|name| name.at).unwrap_or_default();
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            columns.push(binder.column(self.table, name)?);
        }
        let key: Vec<&Column> = self.table.partition_key().collect();
        let named = || key.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        if columns == key {
            return Ok(());
        }
        let appears_twice = |(index, column): (usize, &&Column)| columns[..index].contains(column);
        let message = if key.iter().any(|column| !columns.contains(column)) {
            "The token() function must be applied to all partition key components or none of them".to_owned()
        } else if columns.iter().enumerate().any(appears_twice) {
            "The token() function contains duplicate partition key components".to_owned()
        } else if columns.len() > key.len() {
            "The token() function must contains only partition key components".to_owned()
        } else {
            format!("The token function arguments must be in the partition key order: {}", named())
        };
        Err(binder.source.invalid(at, message))
    }

    /// The columns of a tuple: clustering columns that follow each other.
    fn tuple_columns(
        &self,
        binder: &Binder<'_>,
        names: &[Name],
        relation: &Relation,
    ) -> Result<Vec<usize>, RequestError> {
        let mut columns: Vec<usize> = Vec::with_capacity(names.len());
        for name in names {
            let column = binder.column(self.table, name)?;
            let index = self.index(column);
            if !matches!(column.kind, ColumnKind::Clustering(..)) {
                let message = format!(
                    "Multi-column relations can only be applied to clustering columns but was applied to: {}",
                    column.name
                );
                return Err(binder.source.invalid(name.at, message));
            }
            if columns.contains(&index) {
                let shown = relation_text(relation);
                let message = format!("Column \"{}\" appeared twice in a relation: {shown}", column.name);
                return Err(binder.source.invalid(name.at, message));
            }
            if columns.last().is_some_and(|last| last + 1 != index) {
                let shown = relation_text(relation);
                let message = format!(
                    "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: {shown}"
                );
                return Err(binder.source.invalid(name.at, message));
            }
            columns.push(index);
        }
        Ok(columns)
    }

    /// Adds `column = operand`.
    pub(crate) fn equal(
        &mut self,
        source: Source<'_>,
        column: &Column,
        at: Position,
        operand: Operand,
    ) -> Result<(), RequestError> {
        let subject = Subject::Column(self.index(column));
        self.add(source, Restriction { subject, operator: Operator::Equal, values: Values::One(operand), at })
    }

    fn add(&mut self, source: Source<'_>, restriction: Restriction) -> Result<(), RequestError> {
        let shares = |other: &&Restriction| match (&restriction.subject, &other.subject) {
            (Subject::Token, Subject::Token) => true,
            _ => other.columns().iter().any(|column| restriction.columns().contains(column)),
        };
        for other in self.all.iter().filter(shares) {
            self.check_together(other, &restriction).map_err(|message| source.invalid(restriction.at, message))?;
        }
        self.check_order(&restriction).map_err(|message| source.invalid(restriction.at, message))?;
        self.all.push(restriction);
        Ok(())
    }

    /// Whether two restrictions that share a column may stand together.
    fn check_together(&self, first: &Restriction, second: &Restriction) -> Result<(), String> {
        let named = |restriction: &Restriction, separator: &str| {
            let names: Vec<&str> = match restriction.subject {
                Subject::Token => self.table.partition_key().map(|column| column.name.as_str()).collect(),
                _ => restriction.columns().iter().map(|index| self.column(*index).name.as_str()).collect(),
            };
            names.join(separator)
        };
        let name = |restriction: &Restriction| named(restriction, ", ");
        if first.is_contains() || second.is_contains() {
            if first.is_contains() == second.is_contains() {
                return Ok(());
            }
            return Err(format!(
                "Collection column {} can only be restricted by CONTAINS, CONTAINS KEY, or map-entry equality if it \
                 already restricted by one of those",
                name(first)
            ));
        }
        if let (true, Subject::Columns(columns)) = (first.is_slice() && !second.is_slice(), &first.subject) {
            let shared = columns.iter().filter(|index| second.columns().contains(index));
            let shared: Vec<&str> = shared.map(|index| self.column(*index).name.as_str()).collect();
            return Err(format!(
                "Column \"{}\" cannot be restricted by both an equality and an inequality relation",
                shared.join(" ,")
            ));
        }
        for restriction in [first, second] {
            let included = match restriction.operator {
                Operator::Equal => "an Equal",
                Operator::In => "a IN",
                _ => continue,
            };
            let shown = name(restriction);
            return Err(format!("{shown} cannot be restricted by more than one relation if it includes {included}"));
        }
        if !first.is_slice() || !second.is_slice() {
            return Ok(());
        }
        if first.first() != second.first() {
            let later = self.column(first.first().max(second.first()));
            return Err(format!(
                "Column \"{}\" cannot be restricted by two inequalities not starting with the same column",
                later.name
            ));
        }
        let narrower = if first.columns().len() < second.columns().len() { first } else { second };
        for (both, side) in
            [(first.is_lower() && second.is_lower(), "start"), (first.is_upper() && second.is_upper(), "end")]
        {
            if both {
                // Cassandra separates clustering columns in its own way here.
                let separator = if matches!(narrower.subject, Subject::Columns(_)) { " ," } else { ", " };
                let shown = named(narrower, separator);
                return Err(format!("More than one restriction was found for the {side} bound on {shown}"));
            }
        }
        Ok(())
    }

    /// Whether a restriction of a clustering column may stand with those of others, in the order of the statement.
    fn check_order(&self, restriction: &Restriction) -> Result<(), String> {
        if self.allow_filtering || !self.is_clustering(restriction) {
            return Ok(());
        }
        let others = self.all.iter().filter(|other| self.is_clustering(other));
        let Some(last) = others.max_by_key(|other| other.first()) else { return Ok(()) };
        let (first, last_first) = (restriction.first(), last.first());
        if last.is_slice() && first > last_first {
            return Err(format!(
                "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ \
                 relation)",
                self.column(first).name,
                self.column(last_first).name
            ));
        }
        if first < last_first && restriction.is_slice() {
            let next = self.all.iter().filter(|other| self.is_clustering(other) && other.first() > first);
            let next = next.map(Restriction::first).min().unwrap_or(last_first);
            return Err(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ \
                 relation)",
                self.column(next).name,
                self.column(first).name
            ));
        }
        Ok(())
    }

    fn is_clustering(&self, restriction: &Restriction) -> bool {
        restriction
            .columns()
            .first()
            .is_some_and(|index| matches!(self.column(*index).kind, ColumnKind::Clustering(..)))
    }

    fn of_partition_key(&self) -> impl Iterator<Item = &Restriction> {
        self.all.iter().filter(|restriction| {
            let first = restriction.columns().first();
            first.is_some_and(|index| matches!(self.column(*index).kind, ColumnKind::PartitionKey(_)))
        })
    }

    /// Those of clustering columns, by their first columns.
    fn of_clustering(&self) -> Vec<&Restriction> {
        let mut found: Vec<&Restriction> =
            self.all.iter().filter(|restriction| self.is_clustering(restriction)).collect();
        found.sort_by_key(|restriction| restriction.first());
        found
    }

    fn of_others(&self) -> impl Iterator<Item = &Restriction> {
        self.all.iter().filter(|restriction| {
            let first = restriction.columns().first();
            first.is_some_and(|index| matches!(self.column(*index).kind, ColumnKind::Regular | ColumnKind::Static))
        })
    }

    fn tokens(&self) -> impl Iterator<Item = &Restriction> {
        self.all.iter().filter(|restriction| matches!(restriction.subject, Subject::Token))
    }

    /// True when `column` is given by one value.
    pub(crate) fn is_equal(&self, column: &Column) -> bool {
        let index = self.index(column);
        let gives = |restriction: &Restriction| {
            restriction.operator == Operator::Equal
                && restriction.columns().contains(&index)
                && !matches!(restriction.subject, Subject::Entry(..))
        };
        self.all.iter().any(gives)
    }

    /// True when a clustering column is restricted.
    pub(crate) fn has_clustering(&self) -> bool {
        self.all.iter().any(|restriction| self.is_clustering(restriction))
    }

    /// Names of columns of the partition key that are not restricted.
    fn missing_of_partition_key(&self) -> Vec<&str> {
        let missing = |(index, column): (usize, &'t Column)| {
            let restricted = self.of_partition_key().any(|restriction| restriction.columns().contains(&index));
            (!restricted).then_some(column.name.as_str())
        };
        self.table.partition_key().enumerate().filter_map(missing).collect()
    }

    /// The values of each column of the partition key, which must be given whole.
    fn partition_key(&self) -> Result<Vec<Values>, RequestError> {
        let missing = self.missing_of_partition_key();
        if !missing.is_empty() {
            return Err(invalid(format!("Some partition key parts are missing: {}", missing.join(", "))));
        }
        let mut values = Vec::new();
        for index in 0..self.table.partition_key().count() {
            let found = self.of_partition_key().find(|restriction| restriction.columns().contains(&index));
            let Some(restriction) = found.filter(|restriction| restriction.selects_keys()) else {
                return Err(invalid(format!(
                    "Only EQ and IN relation are supported on the partition key (unless you use the token() function) \
                     for {} statements",
                    self.kind
                )));
            };
            values.push(restriction.values.clone());
        }
        Ok(values)
    }

    fn check_write(&self, source: Source<'_>) -> Result<(), RequestError> {
        if let Some(token) = self.tokens().next() {
            let message = format!("The token function cannot be used in WHERE clauses for {} statements", self.kind);
            return Err(source.invalid(token.at, message));
        }
        Ok(())
    }

    fn check_primary_key_only(&self, source: Source<'_>) -> Result<(), RequestError> {
        let Some(first) = self.of_others().next() else { return Ok(()) };
        let mut names: Vec<&str> = self.of_others().map(|other| self.column(other.first()).name.as_str()).collect();
        names.dedup();
        let message = format!("Non PRIMARY KEY columns found in where clause: {} ", names.join(", "));
        Err(source.invalid(first.at, message.trim_end()))
    }

    /// The key of rows that are given whole: INSERT and UPDATE.
    pub(crate) fn whole_key(&self, source: Source<'_>) -> Result<KeyPlan, RequestError> {
        self.check_write(source)?;
        let partition = self.partition_key()?;
        if let Some(slice) = self.of_clustering().into_iter().find(|restriction| restriction.is_slice()) {
            let kind = self.kind;
            let message =
                format!("Slice restrictions are not supported on the clustering columns in {kind} statements");
            return Err(source.invalid(slice.at, message));
        }
        let restricted = |index: usize| self.all.iter().any(|restriction| restriction.columns().contains(&index));
        let first = self.table.partition_key().count();
        let columns = self.table.clustering().zip(first..);
        let missing: Vec<&str> =
            columns.filter(|(_, index)| !restricted(*index)).map(|(column, _)| column.name.as_str()).collect();
        if !missing.is_empty() {
            return Err(invalid(format!("Some clustering keys are missing: {}", missing.join(", "))));
        }
        self.check_primary_key_only(source)?;
        Ok(KeyPlan { partition, clustering: self.clustering().0 })
    }

    /// The key of slices of partitions: DELETE.
    pub(crate) fn rows_of_partition(&self, source: Source<'_>) -> Result<KeyPlan, RequestError> {
        self.check_write(source)?;
        let partition = self.partition_key()?;
        let (clustering, filtered) = self.clustering();
        self.check_prefix(source, &filtered)?;
        self.check_primary_key_only(source)?;
        Ok(KeyPlan { partition, clustering })
    }

    /// The clustering columns that select slices, and the restrictions that do not.
    fn clustering(&self) -> (ClusteringPlan, Vec<&Restriction>) {
        let first = self.table.partition_key().count();
        let (mut steps, mut filtered): (Vec<Step>, Vec<&Restriction>) = (Vec::new(), Vec::new());
        let mut position = first;
        for restriction in self.of_clustering() {
            let width = restriction.columns().len();
            if restriction.first() != position || !(restriction.selects_keys() || restriction.is_slice()) {
                filtered.push(restriction);
            } else if restriction.is_slice() {
                let range = (restriction.operator, restriction.values.clone(), width);
                match steps.last_mut() {
                    Some(Step::Ranges(ranges)) => ranges.push(range),
                    _ => steps.push(Step::Ranges(vec![range])),
                }
            } else {
                steps.push(Step::Values(restriction.values.clone(), width));
                position += width;
            }
        }
        (ClusteringPlan { steps }, filtered)
    }

    /// Refuses clustering columns that are restricted behind one that is not.
    fn check_prefix(&self, source: Source<'_>, filtered: &[&Restriction]) -> Result<(), RequestError> {
        let Some(first_filtered) = filtered.first() else { return Ok(()) };
        let mut restricted: Vec<usize> =
            self.of_clustering().iter().flat_map(|restriction| restriction.columns().to_vec()).collect();
        restricted.sort_unstable();
        restricted.dedup();
        let first = self.table.partition_key().count();
        for (index, column) in restricted.iter().zip(first..) {
            if *index != column {
                let message = format!(
                    "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                    self.column(*index).name,
                    self.column(column).name
                );
                let at = self.all.iter().find(|other| other.columns().contains(index));
                return Err(source.invalid(at.map_or(first_filtered.at, |other| other.at), message));
            }
        }
        Ok(())
    }

    /// What SELECT reads. `only_static` when it selects nothing but static columns.
    pub(crate) fn select(&self, source: Source<'_>, only_static: bool) -> Result<WherePlan, RequestError> {
        let refuse = |restriction: Option<&Restriction>| match restriction {
            Some(restriction) => source.invalid(restriction.at, FILTERING),
            None => invalid(FILTERING.to_owned()),
        };
        let missing = !self.missing_of_partition_key().is_empty();
        let given = self.of_partition_key().next();
        let looked_up = !missing && self.of_partition_key().all(Restriction::selects_keys);
        let filters_keys = given.is_some() && !looked_up;
        let (clustering, filters_clustering) = self.clustering();
        let indexed = self.indexed();
        if filters_keys && !self.allow_filtering && indexed.is_empty() {
            return Err(refuse(given));
        }
        if only_static && let Some(first) = self.of_clustering().first() {
            let message = "Cannot restrict clustering columns when selecting only static columns";
            return Err(source.invalid(first.at, message));
        }
        let mut uses_index = false;
        if !indexed.is_empty() {
            uses_index = self.check_with_indexes(source, &indexed, filters_keys, &filters_clustering)?;
        } else if !self.allow_filtering {
            let contains = self.of_clustering().into_iter().find(|restriction| restriction.is_contains());
            if let Some(contains) = contains {
                let message =
                    "Clustering columns can only be restricted with CONTAINS with a secondary index or filtering";
                return Err(source.invalid(contains.at, message));
            }
            self.check_prefix(source, &filters_clustering)?;
            let refused = filters_clustering.first().copied().or(self.of_others().next());
            let scans = given.is_none() && self.has_clustering();
            if refused.is_some() || scans {
                return Err(refuse(refused.or(self.of_clustering().first().copied())));
            }
        }
        // One row of one partition is read as fast without one; but what is asked for is done.
        let one_row = looked_up && clustering.is_one_row(self.table) && self.included.is_empty();
        let index = indexed.iter().filter(|_| uses_index && !one_row).min_by_key(|served| served.rank);
        let chosen = index.map(|served| served.index);
        let unused = self.included.iter().find(|name| chosen != Some(**name));
        if let Some((name, at)) = unused.zip(self.included_at) {
            let message =
                format!("It's not possible to use all the specified included indexes with this query: {name}");
            return Err(source.invalid(at, message));
        }
        let mut filtered: Vec<&Restriction> = if filters_keys { self.of_partition_key().collect() } else { Vec::new() };
        filtered.extend(filters_clustering);
        filtered.extend(self.of_others());
        let mut filters = Vec::new();
        let index_plan = index.map(|chosen| chosen.put_first(&indexed, &mut filtered));
        for restriction in filtered {
            let served = indexed.iter().find(|own| std::ptr::eq(own.restriction, restriction));
            let folding = served.and_then(|own| match own.target.part {
                IndexedPart::Folded(folding) => Some(folding),
                _ => None,
            });
            match (folding, &restriction.subject) {
                // Whatever else selects the row, it is what the index says that counts.
                (Some(folding), Subject::Column(column)) => {
                    let values = restriction.values.clone();
                    filters.push(FilterPlan { column: *column, test: Test::Same { folding, values } });
                }
                _ => self.filters(source, restriction, &mut filters)?,
            }
        }
        let partition = if looked_up { Some(self.partition_key()?) } else { None };
        let tokens = self.tokens().map(|token| (token.operator, token.values.clone())).collect();
        let regular = self.of_others().any(|other| self.column(other.first()).kind == ColumnKind::Regular);
        Ok(WherePlan {
            is_in: self.of_partition_key().any(|restriction| restriction.operator == Operator::In),
            names_partitions: given.is_some() || self.tokens().next().is_some(),
            whole_partitions: !self.has_clustering() && !regular,
            partition,
            tokens,
            clustering,
            filters,
            index: index_plan,
            uses_index,
        })
    }

    /// The restrictions that an index of the table serves.
    fn indexed(&self) -> Vec<Served<'_>> {
        let mut found = Vec::new();
        for restriction in &self.all {
            let (column, part) = match (&restriction.subject, restriction.operator) {
                (Subject::Entry(column, _), Operator::Equal) => (*column, IndexedPart::Entries),
                (Subject::Column(column), Operator::Contains) => (*column, IndexedPart::Values),
                (Subject::Column(column), Operator::ContainsKey) => (*column, IndexedPart::Keys),
                (Subject::Column(column), _) if restriction.is_slice() => (*column, IndexedPart::Value),
                (Subject::Column(column), Operator::Equal) => {
                    let is_collection = self.column(*column).cql_type.is_collection();
                    (*column, if is_collection { IndexedPart::Full } else { IndexedPart::Value })
                }
                _ => continue,
            };
            let column = self.column(column);
            let rank = match column.kind {
                ColumnKind::Regular => 0,
                ColumnKind::Clustering(..) => 1,
                ColumnKind::Static => 2,
                ColumnKind::PartitionKey(_) => 3,
            };
            let is_equal = restriction.operator == Operator::Equal;
            let serves = |index: &&Index| {
                let folded = matches!(index.part, IndexedPart::Folded(_)) && part == IndexedPart::Value && is_equal;
                let is_asked = index.column == column.id && (index.part == part || folded);
                is_asked && !self.excluded.contains(&index.name.as_str())
            };
            let is_included = |index: &&&Index| self.included.contains(&index.name.as_str());
            let is_exact = |index: &&&Index| index.part == part;
            let own: Vec<&Index> = self.table.indexes.iter().filter(serves).collect();
            let attached = own.iter().any(|index| index.is_storage_attached());
            let index = own.iter().find(is_included).or(own.iter().find(is_exact)).or(own.first());
            if let Some(index) = index.filter(|_| attached || !restriction.is_slice()) {
                let rank = (!is_included(&index), restriction.is_slice(), rank);
                let target = IndexTarget::of(index);
                found.push(Served { restriction, target, index: &index.name, rank, attached });
            }
        }
        found
    }

    /// Whether a SELECT of which an index serves some restriction uses an index, by Cassandra's rules, and not only the
    /// primary key; refuses what it answers with ALLOW FILTERING only, and IN beside an index.
    fn check_with_indexes(
        &self,
        source: Source<'_>,
        indexed: &[Served<'_>],
        filters_keys: bool,
        filters_clustering: &[&Restriction],
    ) -> Result<bool, RequestError> {
        let names_partitions = self.of_partition_key().next().is_some();
        let ranges = !names_partitions || filters_keys;
        let mut uses_index = filters_keys || !names_partitions && self.tokens().next().is_none();
        let mut rest: Vec<&Restriction> = Vec::new();
        if uses_index {
            rest.extend(self.of_partition_key());
        }
        uses_index |= !filters_clustering.is_empty();
        uses_index |= ranges && indexed.iter().any(|served| self.is_clustering(served.restriction));
        if uses_index {
            rest.extend(self.of_clustering());
        }
        uses_index |= self.of_others().next().is_some();
        rest.extend(self.of_others());
        let is_in = |restriction: &&Restriction| restriction.operator == Operator::In;
        if let Some(several) = self.of_partition_key().find(is_in).filter(|_| uses_index) {
            let message = "Select on indexed columns and with IN clause for the PRIMARY KEY are not supported";
            return Err(source.invalid(several.at, message));
        }
        // One restriction that the index serves needs no filtering, or any number of storage-attached ones; nor do the
        // parts of the primary key that select.
        let of = |restriction: &Restriction| indexed.iter().find(|own| std::ptr::eq(own.restriction, restriction));
        let served = |restriction: &Restriction| of(restriction).is_some();
        let needs_filtering = match rest.as_slice() {
            [] => self.has_clustering(),
            [only] => !served(only),
            several => !several.iter().all(|restriction| of(restriction).is_some_and(|own| own.attached)),
        };
        if needs_filtering && !self.allow_filtering && (ranges || uses_index) {
            let at = rest.iter().find(|restriction| !served(restriction)).or(rest.last());
            let at = at.map_or_else(Position::default, |restriction| restriction.at);
            return Err(source.invalid(at, FILTERING));
        }
        Ok(uses_index)
    }

    /// The conditions that a restriction is, column by column.
    fn filters(
        &self,
        source: Source<'_>,
        restriction: &Restriction,
        filters: &mut Vec<FilterPlan>,
    ) -> Result<(), RequestError> {
        let Restriction { operator, values, at, .. } = restriction;
        let filter = |column: usize, test: Test| FilterPlan { column, test };
        match &restriction.subject {
            Subject::Token => {}
            Subject::Entry(column, key) => {
                let Values::One(value) = values else { return Ok(()) };
                filters.push(filter(*column, Test::Entry { key: key.clone(), value: value.clone() }));
            }
            Subject::Column(column) => {
                filters.push(filter(*column, Test::Compare { operator: *operator, values: values.clone() }));
            }
            Subject::Columns(_) if restriction.is_slice() => {
                let message = "Multi-column slice restrictions cannot be used for filtering.";
                return Err(source.invalid(*at, message));
            }
            Subject::Columns(columns) => {
                let Values::One(tuple) = values else {
                    return Err(source.invalid(*at, "Multicolumn IN filters are not supported"));
                };
                let types = columns.iter().map(|index| self.column(*index).cql_type.clone()).collect();
                let cql_type = CqlType::Tuple(Arc::new(types));
                for (index, column) in columns.iter().enumerate() {
                    let (cql_type, value) = (cql_type.clone(), Box::new(tuple.clone()));
                    let values = Values::One(Operand::Field { cql_type, value, index });
                    filters.push(filter(*column, Test::Compare { operator: Operator::Equal, values }));
                }
            }
        }
        Ok(())
    }
}

fn invalid(message: String) -> RequestError {
    RequestError::Invalid(message)
}

/// The names of the indexes of `table` that a hint names.
fn hinted<'t>(binder: &Binder<'_>, table: &'t Table, names: &[QualifiedName]) -> Result<Vec<&'t str>, RequestError> {
    let mut found: Vec<&str> = Vec::with_capacity(names.len());
    for name in names {
        let (shown, at) = (&name.name.text, name.at());
        if let Some(other) = name.keyspace.as_ref().filter(|keyspace| keyspace.text != table.keyspace) {
            let message = format!("Index {}.{shown} is not in the same keyspace as the queried table", other.text);
            return Err(binder.source.invalid(at, message));
        }
        let Some(index) = table.indexes.iter().find(|index| index.name == *shown) else {
            let message = format!("Table {} doesn't have an index named {shown}", table.name);
            return Err(binder.source.invalid(at, message));
        };
        if !found.contains(&index.name.as_str()) {
            found.push(&index.name);
        }
    }
    Ok(found)
}

/// The value of a relation; of a tuple of columns one with as many elements.
fn tuple_of(
    binder: &mut Binder<'_>,
    table: &Table,
    term: &Term,
    receiver: Receiver<'_>,
    columns: Option<&[usize]>,
) -> Result<Operand, RequestError> {
    let (Some(columns), TermKind::Tuple(terms), CqlType::Tuple(types)) = (columns, &term.kind, receiver.cql_type)
    else {
        return binder.prepare(table, term, receiver, None);
    };
    let width = columns.len();
    if terms.len() != width {
        let message = format!("Expected {width} elements in value tuple, but got {}: {}", terms.len(), text(term));
        return Err(binder.source.invalid(term.at, message));
    }
    // Each element goes to its column.
    let mut parts = Vec::with_capacity(width);
    for ((term, column), cql_type) in terms.iter().zip(columns).zip(types.iter()) {
        let receiver = Receiver { name: &table.columns[*column].name, cql_type };
        parts.push(binder.prepare(table, term, receiver, None)?);
    }
    Ok(Operand::Compose { cql_type: receiver.cql_type.clone(), parts })
}

/// The name and type of what a column is compared with.
fn compared(source: Source<'_>, column: &Column, relation: &Relation) -> Result<(String, CqlType), RequestError> {
    let (name, cql_type, operator) = (&column.name, &column.cql_type, relation.operator);
    let refused = |message: String| Err(source.invalid(relation.subject.at(), message));
    let element = match cql_type {
        CqlType::List { element, .. } | CqlType::Set { element, .. } => Some(element.as_ref()),
        CqlType::Map { entry, .. } => Some(&entry.1),
        _ => None,
    };
    match operator {
        Operator::ContainsKey | Operator::NotContainsKey => {
            return match cql_type {
                CqlType::Map { entry, .. } => Ok((format!("key({name})"), entry.0.clone())),
                _ => refused(format!("Cannot use {} on non-map column {name}", operator.symbol())),
            };
        }
        Operator::Contains | Operator::NotContains => {
            return match element {
                Some(element) => Ok((format!("value({name})"), element.clone())),
                None => refused(format!("Cannot use {} on non-collection column {name}", operator.symbol())),
            };
        }
        Operator::IsNull | Operator::IsNotNull => return Ok((name.clone(), cql_type.clone())),
        _ => {}
    }
    if cql_type.is_multi_cell() {
        if element.is_none() {
            return refused(format!(
                "Non-frozen UDT column '{name}' ({cql_type}) cannot be restricted by any relation"
            ));
        }
        let symbol = operator.symbol();
        return refused(format!(
            "Collection column '{name}' ({cql_type}) cannot be restricted by a '{symbol}' relation"
        ));
    }
    let is_slice = matches!(
        operator,
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual | Operator::Between
    );
    if is_slice && !cql_type.is_ordered() && *cql_type != CqlType::Counter {
        let message = match cql_type {
            CqlType::List { .. } | CqlType::Set { .. } | CqlType::Map { .. } => "collections containing durations",
            CqlType::Tuple(_) => "tuples containing durations",
            CqlType::UserDefined { .. } => "UDTs containing durations",
            _ => "duration columns",
        };
        return refused(format!("Slice restrictions are not supported on {message}"));
    }
    let compared = if *cql_type == CqlType::Counter { CqlType::BigInt } else { cql_type.clone() };
    Ok((name.clone(), compared))
}

/// The types of the entries of a map whose entries can be restricted.
fn entry_of(source: Source<'_>, column: &Column, relation: &Relation) -> Result<(CqlType, CqlType), RequestError> {
    let name = &column.name;
    let message = match &column.cql_type {
        CqlType::List { .. } => {
            format!("Indexes on list entries ({name}[index] = value) are not currently supported.")
        }
        CqlType::Map { frozen: true, .. } => {
            format!("Map-entry equality predicates on frozen map column {name} are not supported")
        }
        CqlType::Map { entry, .. } if relation.operator == Operator::Equal => return Ok(entry.as_ref().clone()),
        CqlType::Map { .. } => "Only EQ relations are supported on map entries".to_owned(),
        _ => format!("Column {name} cannot be used as a map"),
    };
    Err(source.invalid(relation.subject.at(), message))
}

/// A relation as messages repeat it.
fn relation_text(relation: &Relation) -> String {
    let names = |names: &[Name]| names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(", ");
    let subject = match &relation.subject {
        ast::Subject::Column(name) => name.text.clone(),
        ast::Subject::Element { column, key } => format!("{}[{}]", column.text, text(key)),
        ast::Subject::Field { column, field } => format!("{}.{}", column.text, field.text),
        ast::Subject::Columns(columns) => format!("({})", names(columns)),
        ast::Subject::Token(columns) => format!("token({})", names(columns)),
    };
    let operator = relation.operator.symbol();
    match &relation.comparand {
        Comparand::One(term) => format!("{subject} {operator} {}", text(term)),
        Comparand::Many(terms) if relation.operator == Operator::Between => {
            let ends: Vec<String> = terms.iter().map(text).collect();
            format!("{subject} {operator} {}", ends.join(" AND "))
        }
        Comparand::Many(terms) => {
            format!("{subject} {operator} ({})", terms.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        Comparand::Nothing => format!("{subject} {operator}"),
    }
}

/// The index by which rows are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexPlan {
    /// How many of the first filters say what is looked up: of a range up to two.
    pub(crate) filters: usize,
    pub(crate) target: IndexTarget,
}

/// What SELECT reads, before values are bound.
#[derive(Debug)]
pub(crate) struct WherePlan {
    /// The values of the partition key's columns; `None` to read partitions by their tokens.
    partition: Option<Vec<Values>>,
    tokens: Vec<(Operator, Values)>,
    clustering: ClusteringPlan,
    pub(crate) filters: Vec<FilterPlan>,
    /// By what rows are found, if not by the primary key.
    pub(crate) index: Option<IndexPlan>,
    /// True when the rules of reads by an index hold, though there may be a faster way.
    pub(crate) uses_index: bool,
    /// True when a column of the partition key is restricted.
    pub(crate) names_partitions: bool,
    /// True when a column of the partition key is restricted by IN.
    pub(crate) is_in: bool,
    /// True when all rows of the partitions are read, so that one without rows counts by its static columns.
    pub(crate) whole_partitions: bool,
}

impl WherePlan {
    /// True when partitions are found by their tokens.
    pub(crate) fn is_range(&self) -> bool {
        self.partition.is_none()
    }

    /// The indexes of the parameters that make up the partition key, in the order of the key; empty when a part of
    /// the key is not a parameter.
    pub(crate) fn partition_parameters(&self) -> Vec<u16> {
        self.partition.as_deref().map(parameters_of).unwrap_or_default()
    }

    /// The partitions by their keys, in the order of their values; `None` for all in the range of tokens.
    pub(crate) fn partitions<'a>(
        &'a self,
        table: &Table,
        arguments: Arguments<'a>,
    ) -> Result<(Option<Vec<PartitionKey>>, Option<TokenRange>), RequestError> {
        let range = self.token_range(arguments)?;
        let Some(values) = &self.partition else { return Ok((None, range)) };
        let mut keys = partition_keys(values, table, arguments)?;
        keys.retain(|key| range.is_some_and(|range| range.contains(key.token)));
        Ok((Some(keys), range))
    }

    /// The tokens selected; `None` for none.
    fn token_range<'a>(&'a self, arguments: Arguments<'a>) -> Result<Option<TokenRange>, RequestError> {
        // Tokens, and true for those that are included.
        let mut lower: Option<(i64, bool)> = None;
        let mut upper: Option<(i64, bool)> = None;
        for (operator, values) in &self.tokens {
            let Values::One(operand) = values else { continue };
            let token = match arguments.bigint(Some(operand))? {
                Some(Some(token)) => token,
                Some(None) => return Err(invalid("Invalid null token value".to_owned())),
                None => return Err(invalid("Invalid unset value for partition key token".to_owned())),
            };
            match operator {
                Operator::Greater => lower = Some((token, false)),
                Operator::GreaterOrEqual => lower = Some((token, true)),
                Operator::Less => upper = Some((token, false)),
                Operator::LessOrEqual => upper = Some((token, true)),
                _ => (lower, upper) = (Some((token, true)), Some((token, true))),
            }
        }
        // The least token is no key's: as an end it is that of the ring, so that ranges that drivers split come out
        // right.
        let upper = upper.filter(|(token, _)| *token != i64::MIN);
        let start = match lower {
            Some((token, inclusive)) if inclusive => token.saturating_sub(1),
            Some((token, _)) => token,
            None => i64::MIN,
        };
        let end = match upper {
            Some((token, inclusive)) if !inclusive => token - 1,
            Some((token, _)) => token,
            None => i64::MAX,
        };
        Ok((start < end).then_some(TokenRange { start: Token(start), end: Token(end) }))
    }

    /// The rows wanted of each partition: ascending and disjoint; perhaps none.
    pub(crate) fn slices<'a>(&'a self, table: &Table, arguments: Arguments<'a>) -> Result<Vec<Slice>, RequestError> {
        let rows = self.clustering.rows(table, arguments)?;
        Ok(rows.into_iter().filter_map(Rows::into_slice).collect())
    }
}

/// The rows of partitions that a statement that writes is about, before values are bound.
#[derive(Debug)]
pub(crate) struct KeyPlan {
    /// The values of the partition key's columns.
    partition: Vec<Values>,
    clustering: ClusteringPlan,
}

/// What is said of the first clustering columns.
#[derive(Debug)]
struct ClusteringPlan {
    steps: Vec<Step>,
}

/// What is said of the next clustering columns, one or, of a tuple, several.
#[derive(Debug)]
enum Step {
    /// Values, of so many columns each.
    Values(Values, usize),
    /// Ranges that all hold, each of so many columns; they are the last step.
    Ranges(Vec<(Operator, Values, usize)>),
}

/// Rows of one partition that a bound statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// The row at this encoded clustering key.
    One(Bytes),
    /// The rows of a slice that is not the whole partition.
    Slice(Slice),
    /// The whole partition.
    All,
    /// None: the range is empty.
    Nothing,
}

impl Rows {
    /// The slice that holds these rows and no other position.
    fn into_slice(self) -> Option<Slice> {
        match self {
            Rows::One(clustering) => Some(Slice::of_row(&clustering)),
            Rows::Slice(slice) => Some(slice),
            Rows::All => Some(Slice::all()),
            Rows::Nothing => None,
        }
    }
}

impl ClusteringPlan {
    /// As [`KeyPlan::is_one_row`].
    fn is_one_row(&self, table: &Table) -> bool {
        let mut covered = 0;
        for step in &self.steps {
            match step {
                Step::Values(_, width) => covered += width,
                Step::Ranges(_) => return false,
            }
        }
        covered == table.clustering().count()
    }

    /// The rows selected of each partition, ascending and disjoint; none at all is no rows.
    fn rows<'a>(&'a self, table: &Table, arguments: Arguments<'a>) -> Result<Vec<Rows>, RequestError> {
        let columns: Vec<&Column> = table.clustering().collect();
        let mut prefixes: Vec<Vec<Bytes>> = vec![Vec::new()];
        let mut ranges: &[(Operator, Values, usize)] = &[];
        let mut position = 0;
        for step in &self.steps {
            match step {
                Step::Values(values, width) => {
                    let values = values_of(values, &columns[position..position + width], arguments, "")?;
                    prefixes = product(prefixes, &values)?;
                    position += width;
                }
                Step::Ranges(step) => ranges = step,
            }
        }
        if position == columns.len() {
            let mut keys =
                prefixes.iter().map(|values| encode_clustering(table, values)).collect::<Result<Vec<_>, _>>()?;
            keys.sort_unstable();
            keys.dedup();
            return Ok(keys.into_iter().map(Rows::One).collect());
        }
        if position == 0 && ranges.is_empty() {
            return Ok(vec![Rows::All]);
        }
        let mut bounds = Vec::with_capacity(ranges.len());
        for (operator, values, width) in ranges {
            let found = values_of(values, &columns[position..position + width], arguments, " in condition")?;
            bounds.extend(found.into_iter().map(|values| (*operator, values)));
        }
        let mut slices = Vec::new();
        for prefix in &prefixes {
            slices.extend(SliceSet::of(table, prefix, &bounds)?.into_slices());
        }
        Ok(SliceSet::union(slices).into_slices().into_iter().map(Rows::Slice).collect())
    }
}

impl KeyPlan {
    /// True when it selects one row of each partition exactly, or the one that a table without clustering columns
    /// has, whatever the values.
    pub(crate) fn is_one_row(&self, table: &Table) -> bool {
        self.clustering.is_one_row(table)
    }

    /// The indexes of the parameters that make up the partition key, in the order of the key; empty when a part of
    /// the key is not a parameter.
    pub(crate) fn partition_parameters(&self) -> Vec<u16> {
        parameters_of(&self.partition)
    }

    /// The partitions, each once.
    pub(crate) fn partitions<'a>(
        &'a self,
        table: &Table,
        arguments: Arguments<'a>,
    ) -> Result<Vec<PartitionKey>, RequestError> {
        partition_keys(&self.partition, table, arguments)
    }

    /// The rows of each partition, ascending and disjoint; none at all is no rows.
    pub(crate) fn all_rows<'a>(&'a self, table: &Table, arguments: Arguments<'a>) -> Result<Vec<Rows>, RequestError> {
        self.clustering.rows(table, arguments)
    }
}

fn parameters_of(partition: &[Values]) -> Vec<u16> {
    let parameter = |values: &Values| match values {
        Values::One(Operand::Parameter(index)) => Some(*index),
        _ => None,
    };
    let parameters: Option<Vec<u16>> = partition.iter().map(parameter).collect();
    parameters.unwrap_or_default()
}

/// The values of a restriction of `columns`: of each one for each column. `null_where` is what a message says of
/// where a null in a tuple is.
fn values_of<'a>(
    values: &'a Values,
    columns: &[&Column],
    arguments: Arguments<'a>,
    null_where: &str,
) -> Result<Vec<Vec<Bytes>>, RequestError> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let name = names.join(", ");
    let value = |operand: &'a Operand| match (columns, arguments.value(operand)?.as_ref()) {
        ([_, _, ..], BoundValue::Unset) => Err(invalid(format!("Invalid unset value for tuple ({})", names.join(",")))),
        _ => arguments.key_value(operand, &name),
    };
    let wires = operands_of(values, &name, arguments, value)?;
    match columns {
        [_] => Ok(wires.into_iter().map(|wire| vec![wire]).collect()),
        columns => wires.iter().map(|wire| elements_of(wire, columns, null_where)).collect(),
    }
}

/// The values of a restriction in wire form.
pub(crate) fn operands_of<'a>(
    values: &'a Values,
    name: &str,
    arguments: Arguments<'a>,
    value: impl Fn(&'a Operand) -> Result<Bytes, RequestError>,
) -> Result<Vec<Bytes>, RequestError> {
    match values {
        Values::One(operand) => Ok(vec![value(operand)?]),
        Values::Many(operands) => operands.iter().map(value).collect(),
        Values::List(operand) => {
            if *arguments.raw(operand)? == BoundValue::Null {
                return Err(invalid(format!("Invalid null value for column {name}")));
            }
            if arguments.has_null_element(operand)? {
                return Err(invalid(format!("Invalid null value in condition for column {name}")));
            }
            let list = arguments.key_value(operand, name)?;
            // The elements of a list lie in it one after the other, whatever their type.
            let cql_type = CqlType::List { element: Arc::new(CqlType::Blob), frozen: true };
            let elements = parts(&cql_type, &list).map_err(|error| invalid(error.0))?;
            Ok(elements.into_iter().flatten().map(Bytes::copy_from_slice).collect())
        }
    }
}

fn elements_of(wire: &Bytes, columns: &[&Column], null_where: &str) -> Result<Vec<Bytes>, RequestError> {
    let types = columns.iter().map(|column| column.cql_type.clone()).collect();
    let cql_type = CqlType::Tuple(Arc::new(types));
    let elements = parts(&cql_type, wire).map_err(|error| invalid(error.0))?;
    let element = |(index, column): (usize, &&Column)| {
        let found = elements.get(index).copied().flatten().map(Bytes::copy_from_slice);
        found.ok_or_else(|| invalid(format!("Invalid null value{null_where} for column {}", column.name)))
    };
    columns.iter().enumerate().map(element).collect()
}

/// Every prefix with every value behind it.
fn product(prefixes: Vec<Vec<Bytes>>, values: &[Vec<Bytes>]) -> Result<Vec<Vec<Bytes>>, RequestError> {
    if prefixes.len().saturating_mul(values.len()) > COMBINATIONS_MAX {
        return Err(invalid(format!(
            "The values of IN restrictions make more than {COMBINATIONS_MAX} combinations: select fewer at once"
        )));
    }
    let pairs = prefixes.iter().flat_map(|prefix| values.iter().map(move |value| [prefix.as_slice(), value].concat()));
    Ok(pairs.collect())
}

/// The partitions of these values, each once, in the order of the values.
fn partition_keys<'a>(
    values: &'a [Values],
    table: &Table,
    arguments: Arguments<'a>,
) -> Result<Vec<PartitionKey>, RequestError> {
    // The one component of most keys needs no product.
    if let ([Values::One(operand)], Some(column)) = (values, table.columns.first()) {
        let value = arguments.key_value(operand, &column.name)?;
        return Ok(vec![PartitionKey::from_components(std::slice::from_ref(&value))?]);
    }
    let columns: Vec<&Column> = table.partition_key().collect();
    let mut keys: Vec<Vec<Bytes>> = vec![Vec::new()];
    for (values, column) in values.iter().zip(&columns) {
        keys = product(keys, &values_of(values, std::slice::from_ref(column), arguments, "")?)?;
    }
    let order = |a: &Vec<Bytes>, b: &Vec<Bytes>| {
        let pairs = columns.iter().zip(a.iter().zip(b));
        let orders = pairs.map(|(column, (a, b))| compare(&column.cql_type, a, b));
        orders.fold(Ordering::Equal, Ordering::then)
    };
    keys.sort_by(order);
    keys.dedup();
    keys.iter().map(|components| PartitionKey::from_components(components)).collect()
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod index_tests;
