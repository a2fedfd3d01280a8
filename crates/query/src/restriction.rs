//! WHERE: from relations on key columns to the rows that they select.
//!
//! A statement selects rows of one partition: the partition key is given whole; clustering columns
//! are given by equality from the first one on, and the one after them may be given by a range. That
//! is one contiguous slice in the space of encoded clustering keys, whatever the declared order of
//! the columns: in a descending column the larger value comes first, so that `>` bounds the end of
//! the slice and `<` its start.

use crate::ast::{Operator, Relation};
use crate::binder::Binder;
use crate::operand::{Arguments, Operand};
use crate::source::{Position, Source};
use bytes::Bytes;
use model::key::{BoundSide, encode_bound, encode_clustering};
use model::read::Slice;
use model::schema::{ClusteringOrder, Column, ColumnKind, Table};
use model::{PartitionKey, RequestError};
use std::fmt;

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

/// One end of a range.
#[derive(Clone, Debug)]
struct RangeEnd {
    operand: Operand,
    inclusive: bool,
}

/// What is said of one column.
#[derive(Clone, Debug, Default)]
struct Restriction {
    equal: Option<Operand>,
    /// From `>` or `>=`.
    lower: Option<RangeEnd>,
    /// From `<` or `<=`.
    upper: Option<RangeEnd>,
    at: Position,
}

impl Restriction {
    fn is_range(&self) -> bool {
        self.lower.is_some() || self.upper.is_some()
    }

    fn is_none(&self) -> bool {
        self.equal.is_none() && !self.is_range()
    }
}

/// What a WHERE clause says of each key column.
#[derive(Debug)]
pub(crate) struct Restrictions<'t> {
    table: &'t Table,
    kind: StatementKind,
    partition: Vec<Restriction>,
    clustering: Vec<Restriction>,
}

impl<'t> Restrictions<'t> {
    /// Nothing said yet.
    pub(crate) fn new(table: &'t Table, kind: StatementKind) -> Restrictions<'t> {
        let partition = vec![Restriction::default(); table.partition_key().count()];
        let clustering = vec![Restriction::default(); table.clustering().count()];
        Restrictions { table, kind, partition, clustering }
    }

    /// What `relations` say.
    pub(crate) fn of(
        binder: &mut Binder<'_>,
        table: &'t Table,
        kind: StatementKind,
        relations: &[Relation],
    ) -> Result<Restrictions<'t>, RequestError> {
        let mut restrictions = Restrictions::new(table, kind);
        for relation in relations {
            let column = binder.column(table, &relation.column)?;
            let operand = binder.operand(table, &relation.term, &column.name, &column.cql_type)?;
            let at = relation.column.at;
            let source = binder.source;
            match relation.operator {
                Operator::Equal => restrictions.equal(source, column, at, operand)?,
                Operator::Greater => restrictions.range(source, column, at, operand, (false, false))?,
                Operator::GreaterOrEqual => restrictions.range(source, column, at, operand, (false, true))?,
                Operator::Less => restrictions.range(source, column, at, operand, (true, false))?,
                Operator::LessOrEqual => restrictions.range(source, column, at, operand, (true, true))?,
            }
        }
        Ok(restrictions)
    }

    /// Adds `column = operand`.
    pub(crate) fn equal(
        &mut self,
        source: Source<'_>,
        column: &Column,
        at: Position,
        operand: Operand,
    ) -> Result<(), RequestError> {
        let restriction = self.of_column(source, column, at)?;
        if !restriction.is_none() {
            let name = &column.name;
            let message = format!("{name} cannot be restricted by more than one relation if it includes an Equal");
            return Err(source.invalid(at, message));
        }
        *restriction = Restriction { equal: Some(operand), at, ..Restriction::default() };
        Ok(())
    }

    /// Adds `column operator operand` for an inequality.
    fn range(
        &mut self,
        source: Source<'_>,
        column: &Column,
        at: Position,
        operand: Operand,
        (upper, inclusive): (bool, bool),
    ) -> Result<(), RequestError> {
        let (kind, name) = (self.kind, &column.name);
        match column.kind {
            ColumnKind::PartitionKey(_) => {
                let suffix =
                    if kind == StatementKind::Select { String::new() } else { format!(" for {kind} statements") };
                let message = format!(
                    "Only EQ and IN relation are supported on the partition key (unless you use the token() \
                     function){suffix}"
                );
                return Err(source.invalid(at, message));
            }
            ColumnKind::Clustering(..) if kind == StatementKind::Update => {
                let message = "Slice restrictions are not supported on the clustering columns in UPDATE statements";
                return Err(source.invalid(at, message));
            }
            _ => {}
        }
        let restriction = self.of_column(source, column, at)?;
        if restriction.equal.is_some() {
            let message = format!("{name} cannot be restricted by more than one relation if it includes an Equal");
            return Err(source.invalid(at, message));
        }
        let (slot, side) = if upper { (&mut restriction.upper, "end") } else { (&mut restriction.lower, "start") };
        if slot.is_some() {
            let message = format!("More than one restriction was found for the {side} bound on {name}");
            return Err(source.invalid(at, message));
        }
        *slot = Some(RangeEnd { operand, inclusive });
        restriction.at = at;
        Ok(())
    }

    fn of_column(
        &mut self,
        source: Source<'_>,
        column: &Column,
        at: Position,
    ) -> Result<&mut Restriction, RequestError> {
        match column.kind {
            ColumnKind::PartitionKey(position) => Ok(&mut self.partition[position as usize]),
            ColumnKind::Clustering(position, _) => Ok(&mut self.clustering[position as usize]),
            ColumnKind::Regular | ColumnKind::Static if self.kind == StatementKind::Select => {
                let message =
                    format!("Filtering is not supported yet: column {} is not part of the PRIMARY KEY", column.name);
                Err(source.invalid(at, message))
            }
            ColumnKind::Regular | ColumnKind::Static => {
                let message = format!("Non PRIMARY KEY columns found in where clause: {}", column.name);
                Err(source.invalid(at, message))
            }
        }
    }

    /// The partition key, which must be whole.
    fn partition_key(&self) -> Result<Vec<Operand>, RequestError> {
        let restricted = self.table.partition_key().zip(&self.partition);
        let missing: Vec<&str> =
            restricted.filter(|(_, said)| said.is_none()).map(|(column, _)| column.name.as_str()).collect();
        if missing.is_empty() {
            return Ok(self.partition.iter().filter_map(|restriction| restriction.equal.clone()).collect());
        }
        let missing = missing.join(", ");
        Err(RequestError::Invalid(if self.kind == StatementKind::Select {
            format!("SELECT without the whole partition key is not supported yet: restrict column(s) {missing}")
        } else {
            format!("Some partition key parts are missing: {missing}")
        }))
    }

    /// The key of one row: INSERT and UPDATE.
    pub(crate) fn whole_key(&self, source: Source<'_>) -> Result<KeyPlan, RequestError> {
        let partition = self.partition_key()?;
        let restricted = self.table.clustering().zip(&self.clustering);
        let missing: Vec<&str> =
            restricted.filter(|(_, said)| said.is_none()).map(|(column, _)| column.name.as_str()).collect();
        if !missing.is_empty() {
            let message = format!("Some clustering keys are missing: {}", missing.join(", "));
            return Err(RequestError::Invalid(message));
        }
        let clustering = self.clustering(source)?;
        Ok(KeyPlan { partition, clustering })
    }

    /// The key of a slice of a partition: SELECT and DELETE.
    pub(crate) fn rows_of_partition(&self, source: Source<'_>) -> Result<KeyPlan, RequestError> {
        let everything = self.kind == StatementKind::Select
            && self.partition.iter().chain(&self.clustering).all(Restriction::is_none);
        let partition = if everything { Vec::new() } else { self.partition_key()? };
        Ok(KeyPlan { partition, clustering: self.clustering(source)? })
    }

    fn clustering(&self, source: Source<'_>) -> Result<ClusteringPlan, RequestError> {
        let mut plan = ClusteringPlan { equal: Vec::new(), lower: None, upper: None };
        // The first column that is not restricted by equality: what comes after it cannot be restricted.
        let mut last: Option<(&Column, bool)> = None;
        for (column, restriction) in self.table.clustering().zip(&self.clustering) {
            match last {
                Some((previous, true)) if !restriction.is_none() => {
                    let message = format!(
                        "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a \
                         non-EQ relation)",
                        column.name, previous.name
                    );
                    return Err(source.invalid(restriction.at, message));
                }
                Some((previous, false)) if !restriction.is_none() => {
                    let message = format!(
                        "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                        column.name, previous.name
                    );
                    return Err(source.invalid(restriction.at, message));
                }
                Some(_) => {}
                None => match &restriction.equal {
                    Some(operand) => plan.equal.push(operand.clone()),
                    None => {
                        plan.lower = restriction.lower.clone();
                        plan.upper = restriction.upper.clone();
                        last = Some((column, restriction.is_range()));
                    }
                },
            }
        }
        Ok(plan)
    }
}

/// The rows of one partition that a statement is about, before values are bound.
#[derive(Debug)]
pub(crate) struct KeyPlan {
    /// The partition key's components.
    partition: Vec<Operand>,
    clustering: ClusteringPlan,
}

#[derive(Debug)]
struct ClusteringPlan {
    /// The values of the first clustering columns.
    equal: Vec<Operand>,
    /// Bounds of the column after them.
    lower: Option<RangeEnd>,
    upper: Option<RangeEnd>,
}

/// The rows of one partition that a bound statement is about.
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

impl KeyPlan {
    /// True when all clustering columns are given by equality.
    pub(crate) fn is_one_row(&self, table: &Table) -> bool {
        self.clustering.equal.len() == table.clustering().count()
    }

    /// True when no partition is named: all are meant.
    pub(crate) fn is_range(&self) -> bool {
        self.partition.is_empty()
    }

    /// How many clustering columns are given by equality.
    pub(crate) fn equal_clustering_columns(&self) -> usize {
        self.clustering.equal.len()
    }

    /// The parameters that make up the partition key, in its order; empty unless all of it is
    /// parameters.
    pub(crate) fn partition_parameters(&self) -> Vec<u16> {
        let parameter = |operand: &Operand| match operand {
            Operand::Parameter(index) => Some(*index),
            Operand::Constant(_) => None,
        };
        let parameters: Option<Vec<u16>> = self.partition.iter().map(parameter).collect();
        parameters.unwrap_or_default()
    }

    /// The values of the partition key's columns.
    pub(crate) fn partition_values<'a>(
        &'a self,
        table: &Table,
        arguments: Arguments<'a>,
    ) -> Result<Vec<Bytes>, RequestError> {
        let columns = table.partition_key().zip(&self.partition);
        columns.map(|(column, operand)| arguments.key_value(operand, &column.name)).collect()
    }

    /// The partition.
    pub(crate) fn partition<'a>(
        &'a self,
        table: &Table,
        arguments: Arguments<'a>,
    ) -> Result<PartitionKey, RequestError> {
        // The one component of most keys needs no vector.
        if let ([operand], Some(column)) = (self.partition.as_slice(), table.columns.first()) {
            let value = arguments.key_value(operand, &column.name)?;
            return PartitionKey::from_components(std::slice::from_ref(&value));
        }
        PartitionKey::from_components(&self.partition_values(table, arguments)?)
    }

    /// The rows of the partition.
    pub(crate) fn rows<'a>(&'a self, table: &Table, arguments: Arguments<'a>) -> Result<Rows, RequestError> {
        let plan = &self.clustering;
        let mut columns = table.clustering();
        let mut prefix = Vec::with_capacity(plan.equal.len() + 1);
        for (operand, column) in plan.equal.iter().zip(&mut columns) {
            prefix.push(arguments.key_value(operand, &column.name)?);
        }
        let Some(column) = columns.next() else {
            return Ok(Rows::One(encode_clustering(table, &prefix)?));
        };
        if prefix.is_empty() && plan.lower.is_none() && plan.upper.is_none() {
            return Ok(Rows::All);
        }
        let end = |end: &'a Option<RangeEnd>| -> Result<Option<(Bytes, bool)>, RequestError> {
            let Some(RangeEnd { operand, inclusive }) = end else { return Ok(None) };
            Ok(Some((arguments.key_value(operand, &column.name)?, *inclusive)))
        };
        let (mut first, mut last) = (end(&plan.lower)?, end(&plan.upper)?);
        if matches!(column.kind, ColumnKind::Clustering(_, ClusteringOrder::Descending)) {
            std::mem::swap(&mut first, &mut last);
        }
        let mut bound = |value: Option<(Bytes, bool)>, side: BoundSide, opposite: BoundSide| match value {
            None => encode_bound(table, &prefix, side),
            Some((value, inclusive)) => {
                prefix.push(value);
                let encoded = encode_bound(table, &prefix, if inclusive { side } else { opposite });
                prefix.pop();
                encoded
            }
        };
        let start = bound(first, BoundSide::Before, BoundSide::After)?;
        let end = bound(last, BoundSide::After, BoundSide::Before)?;
        Ok(if start < end { Rows::Slice(Slice { start, end }) } else { Rows::Nothing })
    }
}
