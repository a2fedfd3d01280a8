//! The SELECT clause: what each column of a result is computed from.
//!
//! A selection has inputs, which are read from rows; aggregates, which take operands of inputs row by row; and for each
//! column of the result an operand of inputs and aggregates. With aggregates or groups a row of the result stands for
//! many rows: what is not in an aggregate is that of the first of them.

use crate::ast::{Selector, Term, TermKind};
use crate::binder::Binder;
use crate::function::{Aggregate, Function, Kind};
use crate::operand::{Arguments, BoundValue, ColumnSpec, Operand};
use crate::term::{Receiver, TimeOfCells, selected_text, text, time_of_cells};
use bytes::Bytes;
use model::limits::COLUMNS_MAX;
use model::row::{Row, Span};
use model::schema::{Column, ColumnKind, Table};
use model::types::UserType;
use model::value::join_parts;
use model::{Cell, CellState, ComplexColumn, CqlType, RequestError, RowView, element};

/// What is read from a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The value of the column at this index of the table.
    Column(usize),
    /// When the cells of the column at this index of the table were written, or when they expire.
    Times { column: usize, kind: TimeOfCells, cells: Cells },
}

/// Which cells of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    All,
    /// The element of a set or map.
    Element(Operand),
    /// The elements of a set or map from one key to another, both included.
    Slice(Option<Operand>, Option<Operand>),
    /// The field of a user-defined type.
    Field(usize),
}

/// An aggregate and what it is of.
#[derive(Clone, Debug)]
pub(crate) struct Aggregation {
    pub(crate) function: Function,
    /// `None` for rows themselves.
    pub(crate) argument: Option<Operand>,
}

impl Aggregation {
    pub(crate) fn aggregate(&self) -> Aggregate {
        match self.function.kind {
            Kind::Aggregate(aggregate) => aggregate,
            Kind::Scalar(_) => Aggregate::CountRows,
        }
    }

    /// The type of the values; for rows themselves any.
    pub(crate) fn value_type(&self) -> &CqlType {
        self.function.parameters.first().unwrap_or(&CqlType::Blob)
    }
}

/// The SELECT clause before values are bound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) inputs: Vec<Input>,
    /// For each input whether something outside of aggregates needs it.
    pub(crate) kept: Vec<bool>,
    pub(crate) aggregates: Vec<Aggregation>,
    /// For each column of the result.
    pub(crate) operands: Vec<Operand>,
    pub(crate) columns: Vec<ColumnSpec>,
    in_aggregate: bool,
}

impl Selection {
    /// The index of an input.
    pub(crate) fn input(&mut self, input: Input) -> usize {
        let index = self.inputs.iter().position(|own| *own == input).unwrap_or_else(|| {
            self.inputs.push(input);
            self.kept.push(false);
            self.inputs.len() - 1
        });
        self.kept[index] |= !self.in_aggregate;
        index
    }

    /// Begins the argument of an aggregate.
    pub(crate) fn enter_aggregate(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.in_aggregate, true) {
            return Err("aggregate functions cannot be used as arguments of aggregate functions".to_owned());
        }
        Ok(())
    }

    /// Ends it.
    pub(crate) fn leave_aggregate(&mut self, function: Function, arguments: Vec<Operand>) -> Operand {
        self.in_aggregate = false;
        self.aggregates.push(Aggregation { function, argument: arguments.into_iter().next() });
        Operand::Aggregate(self.aggregates.len() - 1)
    }

    /// The indexes of the columns that are read.
    pub(crate) fn columns_read(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().map(|input| match input {
            Input::Column(column) | Input::Times { column, .. } => *column,
        })
    }

    /// The same selection with the values of its parameters in their places.
    pub(crate) fn bind(&self, arguments: Arguments<'_>) -> Result<BoundSelection, RequestError> {
        let cells = |cells: &Cells| {
            let one = |operand: &Operand| -> Result<Operand, RequestError> {
                Ok(Operand::Constant(operand.evaluate(arguments, Default::default())?))
            };
            Ok::<Cells, RequestError>(match cells {
                Cells::All => Cells::All,
                Cells::Field(index) => Cells::Field(*index),
                Cells::Element(key) => Cells::Element(one(key)?),
                Cells::Slice(from, to) => {
                    Cells::Slice(from.as_ref().map(one).transpose()?, to.as_ref().map(one).transpose()?)
                }
            })
        };
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            inputs.push(match input {
                Input::Column(column) => Input::Column(*column),
                Input::Times { column, kind, cells: of } => {
                    Input::Times { column: *column, kind: *kind, cells: cells(of)? }
                }
            });
        }
        let mut operands = Vec::with_capacity(self.operands.len());
        for operand in &self.operands {
            operands.push(operand.bind(arguments)?);
        }
        let mut aggregated = Vec::with_capacity(self.aggregates.len());
        for aggregation in &self.aggregates {
            aggregated.push(aggregation.argument.as_ref().map(|operand| operand.bind(arguments)).transpose()?);
        }
        Ok(BoundSelection { inputs, operands, aggregated })
    }
}

/// The SELECT clause with its values.
#[derive(Clone, Debug)]
pub(crate) struct BoundSelection {
    pub(crate) inputs: Vec<Input>,
    pub(crate) operands: Vec<Operand>,
    /// What each aggregate is of.
    pub(crate) aggregated: Vec<Option<Operand>>,
}

/// A row, or the static part of a partition without rows, as inputs are read from it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The components of the partition key.
    pub(crate) partition: &'a [Bytes],
    /// The values of the clustering columns; empty for a partition without rows.
    pub(crate) clustering: &'a [Bytes],
    pub(crate) static_row: Option<&'a RowView>,
    pub(crate) row: Option<&'a RowView>,
    pub(crate) now_seconds: i64,
}

fn broken(error: impl std::fmt::Display) -> RequestError {
    RequestError::Server(format!("a stored element of a column cannot be read: {error}"))
}

impl Source<'_> {
    /// The value of a column.
    pub(crate) fn column(&self, column: &Column) -> Result<Option<Bytes>, RequestError> {
        let row = match column.kind {
            ColumnKind::PartitionKey(position) => return Ok(self.partition.get(position as usize).cloned()),
            ColumnKind::Clustering(position, _) => return Ok(self.clustering.get(position as usize).cloned()),
            ColumnKind::Static => self.static_row,
            ColumnKind::Regular => self.row,
        };
        let Some(row) = row else { return Ok(None) };
        if !column.cql_type.is_complex() {
            return Ok(row.value(column.id, self.now_seconds));
        }
        match row.row().complex_column(column.id) {
            None => Ok(None),
            Some(complex) => element::value(&column.cql_type, complex, self.now_seconds).map_err(broken),
        }
    }

    fn row_of(&self, column: &Column) -> Option<&RowView> {
        if column.kind == ColumnKind::Static { self.static_row } else { self.row }
    }

    /// The value of an input.
    pub(crate) fn input(&self, table: &Table, input: &Input) -> Result<Option<Bytes>, RequestError> {
        match input {
            Input::Column(index) => self.column(&table.columns[*index]),
            Input::Times { column, kind, cells } => {
                let column = &table.columns[*column];
                let Some(row) = self.row_of(column).map(RowView::row) else { return Ok(None) };
                if !column.cql_type.is_complex() {
                    return Ok(row
                        .cell(column.id)
                        .and_then(|cell| self.time(*kind, cell))
                        .map(|time| wire(*kind, time)));
                }
                self.times(column, row, *kind, cells)
            }
        }
    }

    /// What `kind` asks of a cell that is seen; `None` of others, and for a cell that does not expire.
    fn time<V>(&self, kind: TimeOfCells, cell: &Cell<V>) -> Option<i64> {
        cell.value(self.now_seconds)?;
        match (kind, &cell.state) {
            (TimeOfCells::TimeToLive, CellState::Expiring(expiry, _)) => {
                Some(i64::from(expiry.at_seconds) - self.now_seconds)
            }
            (TimeOfCells::TimeToLive, _) => None,
            _ => Some(cell.timestamp),
        }
    }

    fn times(
        &self,
        column: &Column,
        row: &Row<Span>,
        kind: TimeOfCells,
        cells: &Cells,
    ) -> Result<Option<Bytes>, RequestError> {
        let Some(complex) = row.complex_column(column.id) else { return Ok(None) };
        let chosen = chosen_cells(column, complex, cells)?;
        let seen = |cell: &&Cell| cell.value(self.now_seconds).is_some();
        let times: Vec<Option<i64>> = match (&column.cql_type, cells) {
            (CqlType::UserDefined { definition, .. }, Cells::All) => self.times_of_fields(complex, definition, kind),
            _ => chosen.iter().copied().filter(seen).map(|cell| self.time(kind, cell)).collect(),
        };
        let one = |time: Option<i64>| Ok(time.map(|time| wire(kind, time)));
        match kind {
            TimeOfCells::MaxWritetime => return one(times.into_iter().flatten().max()),
            TimeOfCells::MinWritetime => return one(times.into_iter().flatten().min()),
            _ => {}
        }
        let is_one = matches!(cells, Cells::Element(_) | Cells::Field(_)) || !column.cql_type.is_multi_cell();
        if is_one {
            return one(times.into_iter().flatten().max());
        }
        if times.is_empty() {
            return Ok(None);
        }
        let list = kind.returns(Some(&column.cql_type));
        let parts: Vec<Option<Bytes>> = times.into_iter().map(|time| time.map(|time| wire(kind, time))).collect();
        Ok(Some(join_parts(&list, &parts)))
    }

    /// That of each field, also of those without a value; none when no field has one.
    fn times_of_fields(&self, complex: &ComplexColumn, definition: &UserType, kind: TimeOfCells) -> Vec<Option<i64>> {
        let cell = |index: usize| complex.cell(&element::field_path(u16::try_from(index).ok()?));
        if !complex.is_live(self.now_seconds) {
            return Vec::new();
        }
        (0..definition.fields.len()).map(|index| cell(index).and_then(|cell| self.time(kind, cell))).collect()
    }
}

fn chosen_cells<'a>(column: &Column, complex: &'a ComplexColumn, cells: &Cells) -> Result<Vec<&'a Cell>, RequestError> {
    let keys = match &column.cql_type {
        CqlType::Set { element, .. } => element.as_ref(),
        CqlType::Map { entry, .. } => &entry.0,
        other => other,
    };
    let path = |operand: &Operand| match operand {
        Operand::Constant(BoundValue::Value(key)) => {
            element::key_path(keys, key).map(Some).map_err(|error| RequestError::Invalid(error.0))
        }
        _ => Ok(None),
    };
    Ok(match cells {
        Cells::All => complex.cells().iter().map(|(_, cell)| cell).collect(),
        Cells::Element(key) => match path(key)? {
            Some(path) => complex.cell(&path).into_iter().collect(),
            None => return Err(RequestError::Invalid("Invalid null value for element selection".to_owned())),
        },
        Cells::Field(index) => {
            let path = u16::try_from(*index).map(element::field_path).unwrap_or_default();
            complex.cell(&path).into_iter().collect()
        }
        Cells::Slice(from, to) => {
            let from = from.as_ref().map(path).transpose()?.flatten();
            let to = to.as_ref().map(path).transpose()?.flatten();
            let within =
                |own: &Bytes| from.as_ref().is_none_or(|from| own >= from) && to.as_ref().is_none_or(|to| own <= to);
            complex.cells().iter().filter(|(own, _)| within(own)).map(|(_, cell)| cell).collect()
        }
    })
}

fn wire(kind: TimeOfCells, time: i64) -> Bytes {
    match kind {
        TimeOfCells::TimeToLive => Bytes::copy_from_slice(&i32::try_from(time).unwrap_or(i32::MAX).to_be_bytes()),
        _ => Bytes::copy_from_slice(&time.to_be_bytes()),
    }
}

/// The columns in the order of `*`: the primary key, then static, then regular ones.
pub(crate) fn all_columns(table: &Table) -> Vec<usize> {
    let rank = |index: &usize| match table.columns[*index].kind {
        ColumnKind::PartitionKey(_) => 0,
        ColumnKind::Clustering(..) => 1,
        ColumnKind::Static => 2,
        ColumnKind::Regular => 3,
    };
    let mut columns: Vec<usize> = (0..table.columns.len()).collect();
    columns.sort_by_key(rank);
    columns
}

impl Binder<'_> {
    /// The SELECT clause; without selectors it is `*`.
    pub(crate) fn selection(&mut self, table: &Table, selectors: &[Selector]) -> Result<Selection, RequestError> {
        if let Some(extra) = selectors.get(COLUMNS_MAX) {
            let message = format!("A result can have {COLUMNS_MAX} columns at most");
            return Err(self.source.invalid(extra.term.at, message));
        }
        let mut selection = Selection::default();
        let spec = |name: String, cql_type: CqlType| ColumnSpec {
            keyspace: table.keyspace.clone(),
            table: table.name.clone(),
            name,
            cql_type,
        };
        if selectors.is_empty() {
            for index in all_columns(table) {
                let column = &table.columns[index];
                let input = selection.input(Input::Column(index));
                selection.operands.push(Operand::Input(input));
                selection.columns.push(spec(column.name.clone(), column.cql_type.clone()));
            }
        }
        for Selector { term, alias } in selectors {
            self.check_selected(table, term)?;
            let (operand, cql_type) = self.selected(table, term, &mut selection)?;
            let name = alias.as_ref().map_or_else(|| self.result_name(table, term), |alias| alias.text.clone());
            selection.operands.push(operand);
            selection.columns.push(spec(name, cql_type));
        }
        Ok(selection)
    }

    /// The name that Cassandra gives a column of a result: a cast of a value to its own type is the value itself.
    fn result_name(&self, table: &Table, term: &Term) -> String {
        match &term.kind {
            TermKind::Cast { value, target } => {
                let target = self.types(table).resolve(target).ok();
                let same = target.is_some() && self.exact_type(table, value) == target;
                if same { self.result_name(table, value) } else { selected_text(term, &table.keyspace) }
            }
            _ => selected_text(term, &table.keyspace),
        }
    }

    /// A term of a selection, and its type.
    pub(crate) fn selected(
        &mut self,
        table: &Table,
        term: &Term,
        selection: &mut Selection,
    ) -> Result<(Operand, CqlType), RequestError> {
        match &term.kind {
            TermKind::Column(name) => {
                let column = self.column(table, name)?;
                let index = table.columns.iter().position(|own| own.id == column.id).unwrap_or(0);
                Ok((Operand::Input(selection.input(Input::Column(index))), column.cql_type.clone()))
            }
            TermKind::Element { collection, key } => {
                let (operand, cql_type) = self.selected(table, collection, selection)?;
                let (keys, returns) = self.keys_of(term, collection, &cql_type, "Element")?;
                let key = self.key_operand(table, collection, key, &keys)?;
                Ok((Operand::Element { cql_type, collection: Box::new(operand), key: Box::new(key) }, returns))
            }
            TermKind::Slice { collection, from, to } => {
                let (operand, cql_type) = self.selected(table, collection, selection)?;
                let (keys, _) = self.keys_of(term, collection, &cql_type, "Slice")?;
                let mut end = |end: &Option<Box<Term>>| {
                    let operand = end.as_deref().map(|term| self.key_operand(table, collection, term, &keys));
                    operand.transpose().map(|operand| operand.map(Box::new))
                };
                let (from, to) = (end(from)?, end(to)?);
                let returns = cql_type.clone();
                Ok((Operand::Slice { cql_type, collection: Box::new(operand), from, to }, returns))
            }
            TermKind::Field { value, field } => {
                let (operand, cql_type) = self.selected(table, value, selection)?;
                let (index, returns) = self.field_of(term, value, &field.text, &cql_type)?;
                Ok((Operand::Field { cql_type, value: Box::new(operand), index }, returns))
            }
            TermKind::Call { function, arguments } if time_of_cells(function).is_some() => {
                let kind = time_of_cells(function).unwrap_or(TimeOfCells::Writetime);
                let [argument] = arguments.as_slice() else {
                    let message = format!("{} takes one column", kind.name());
                    return Err(self.source.invalid(term.at, message));
                };
                self.times(table, kind, argument, selection)
            }
            TermKind::Call { .. } | TermKind::Negation(_) | TermKind::Arithmetic { .. } | TermKind::CountRows => {
                self.call(table, term, None, Some(selection))
            }
            TermKind::Cast { value, target } => {
                let target = self.types(table).resolve(target)?;
                let Some(own) = self.exact_type(table, value) else { return Err(self.cannot_infer(value)) };
                if own == target {
                    return self.selected(table, value, selection);
                }
                Ok((self.cast(table, term, value, &target, None, Some(selection))?, target))
            }
            TermKind::Tuple(terms) if terms.len() == 1 => self.selected(table, &terms[0], selection),
            TermKind::Hint { target, .. } => {
                let target = self.types(table).resolve(target)?;
                let receiver = Receiver { name: "[selection]", cql_type: &target };
                Ok((self.prepare(table, term, receiver, Some(selection))?, target.clone()))
            }
            _ => {
                let Some(cql_type) = self.exact_type(table, term) else { return Err(self.cannot_infer(term)) };
                let receiver = Receiver { name: "[selection]", cql_type: &cql_type };
                Ok((self.prepare(table, term, receiver, Some(selection))?, cql_type.clone()))
            }
        }
    }

    fn cannot_infer(&self, term: &Term) -> RequestError {
        let shown = text(term);
        let message =
            format!("Cannot infer type for term {shown} in selection clause (try using a cast to force a type)");
        self.source.invalid(term.at, message)
    }

    /// The types of the keys and of the elements of a collection of which a part is selected.
    fn keys_of(
        &self,
        term: &Term,
        collection: &Term,
        cql_type: &CqlType,
        kind: &str,
    ) -> Result<(CqlType, CqlType), RequestError> {
        let message = match cql_type {
            CqlType::Map { entry, .. } => return Ok(entry.as_ref().clone()),
            CqlType::Set { element, .. } => return Ok((element.as_ref().clone(), element.as_ref().clone())),
            CqlType::List { .. } => {
                format!("{kind} selection is only allowed on sets and maps, but {} is a list", text(collection))
            }
            other => {
                let (kind, shown) = (kind.to_lowercase(), text(collection));
                format!("Invalid {kind} selection: {shown} is of type {other} is not a collection")
            }
        };
        Err(self.source.invalid(term.at, message))
    }

    fn key_operand(
        &mut self,
        table: &Table,
        collection: &Term,
        key: &Term,
        cql_type: &CqlType,
    ) -> Result<Operand, RequestError> {
        let name = format!("key({})", text(collection));
        self.prepare(table, key, Receiver { name: &name, cql_type }, None)
    }

    fn field_of(
        &self,
        term: &Term,
        value: &Term,
        field: &str,
        cql_type: &CqlType,
    ) -> Result<(usize, CqlType), RequestError> {
        let shown = text(value);
        let CqlType::UserDefined { definition, .. } = cql_type else {
            let message = format!("Invalid field selection: {shown} of type {cql_type} is not a user type");
            return Err(self.source.invalid(term.at, message));
        };
        let found = definition.fields.iter().enumerate().find(|(_, (name, _))| name == field);
        found
            .map(|(index, (_, cql_type))| (index, cql_type.clone()))
            .ok_or_else(|| self.source.invalid(term.at, format!("{shown} of type {cql_type} has no field {field}")))
    }

    /// `writetime(column)` and its like, of a column, an element, elements or a field.
    fn times(
        &mut self,
        table: &Table,
        kind: TimeOfCells,
        argument: &Term,
        selection: &mut Selection,
    ) -> Result<(Operand, CqlType), RequestError> {
        let whole = match &argument.kind {
            TermKind::Element { collection: whole, .. }
            | TermKind::Slice { collection: whole, .. }
            | TermKind::Field { value: whole, .. } => whole,
            _ => argument,
        };
        let TermKind::Column(name) = &whole.kind else {
            let message = format!("Cannot use selection function {} on {}", kind.name(), text(argument));
            return Err(self.source.invalid(argument.at, message));
        };
        let column = self.column(table, name)?;
        if matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Clustering(..)) {
            let message = format!("Cannot use selection function {} on PRIMARY KEY part {}", kind.name(), column.name);
            return Err(self.source.invalid(argument.at, message));
        }
        let index = table.columns.iter().position(|own| own.id == column.id).unwrap_or(0);
        let cql_type = column.cql_type.clone();
        // Of what is one cell every part has the time of the whole.
        let (cells, of) = match &argument.kind {
            TermKind::Element { key, .. } => {
                let (keys, _) = self.keys_of(argument, whole, &cql_type, "Element")?;
                (Cells::Element(self.key_operand(table, whole, key, &keys)?), None)
            }
            TermKind::Slice { from, to, .. } => {
                let (keys, _) = self.keys_of(argument, whole, &cql_type, "Slice")?;
                let mut end = |end: &Option<Box<Term>>| {
                    end.as_deref().map(|term| self.key_operand(table, whole, term, &keys)).transpose()
                };
                (Cells::Slice(end(from)?, end(to)?), Some(&cql_type))
            }
            TermKind::Field { field, .. } => {
                (Cells::Field(self.field_of(argument, whole, &field.text, &cql_type)?.0), None)
            }
            _ => (Cells::All, Some(&cql_type)),
        };
        let returns = kind.returns(of);
        let input = selection.input(Input::Times { column: index, kind, cells });
        Ok((Operand::Input(input), returns))
    }
}

/// True for a static column, by its index in the table.
pub(crate) fn is_static(table: &Table, column: usize) -> bool {
    table.columns.get(column).is_some_and(|column| column.kind == ColumnKind::Static)
}
