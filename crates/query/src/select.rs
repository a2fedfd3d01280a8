//! SELECT: from the syntax tree to a plan of a read.

use crate::ast::{Ordering, Select, Term, TermKind};
use crate::binder::Binder;
use crate::function::{Kind, Scalar};
use crate::operand::{ColumnSpec, Operand};
use crate::read::{Grouping, ReadPlan};
use crate::restriction::{Restrictions, WherePlan};
use crate::selection::Selection;
use model::schema::{ClusteringOrder, Column, ColumnKind, Table};
use model::{CqlType, RequestError};

impl Binder<'_> {
    pub(crate) fn select(&mut self, select: &Select) -> Result<ReadPlan, RequestError> {
        let table = self.table(&select.table)?;
        let mut selection = self.selection(&table, &select.selectors)?;
        let restrictions = Restrictions::of_select(self, &table, select)?;
        let only_static = selects_only_static(&table, &selection);
        let read = restrictions.select(self.source, only_static)?;
        if let Some(at) = select.bypass_cache.filter(|_| !read.is_range() || read.index.is_some()) {
            let what = "BYPASS CACHE of a read that is not a scan of partitions is";
            return Err(self.source.unsupported(at, what));
        }
        let grouping = self.grouping(&table, select, &restrictions, &mut selection)?;
        self.check_distinct(&table, select, &restrictions, &read, &selection)?;
        let (reversed, sorting) = self.ordering(&table, &restrictions, &read, &select.order)?;
        let per_partition_limit = select.per_partition_limit.as_ref();
        let per_partition_limit = per_partition_limit
            .map(|term| self.operand(&table, term, "[per_partition_limit]", &CqlType::Int))
            .transpose()?;
        if let (Some(term), Grouping::All) = (&select.per_partition_limit, &grouping) {
            let message = "PER PARTITION LIMIT is not allowed with aggregate queries.";
            return Err(self.source.invalid(term.at, message));
        }
        let limit = select.limit.as_ref();
        let limit = limit.map(|term| self.operand(&table, term, "[limit]", &CqlType::Int)).transpose()?;
        let timeout = select.timeout.as_ref();
        let timeout = timeout.map(|term| self.operand(&table, term, "[timeout]", &CqlType::Duration)).transpose()?;
        let json = select.json.is_some();
        let columns = if json { json_column(&table) } else { selection.columns.clone() };
        let has_static = table.columns.iter().any(|column| column.kind == ColumnKind::Static);
        Ok(ReadPlan {
            counts_static: has_static && read.whole_partitions,
            restrictions: read,
            selection,
            grouping,
            distinct: select.distinct.is_some(),
            json,
            reversed,
            sorting,
            limit,
            per_partition_limit,
            timeout,
            bypasses_cache: select.bypass_cache.is_some(),
            columns,
            table,
        })
    }

    /// What GROUP BY, or aggregates without it, make of the rows.
    fn grouping(
        &mut self,
        table: &Table,
        select: &Select,
        restrictions: &Restrictions<'_>,
        selection: &mut Selection,
    ) -> Result<Grouping, RequestError> {
        const ORDER: &str =
            "Group by currently only support groups of columns following their declared order in the PRIMARY KEY";
        if select.group_by.is_empty() {
            return Ok(if selection.aggregates.is_empty() { Grouping::None } else { Grouping::All });
        }
        let key: Vec<&Column> = table.partition_key().chain(table.clustering()).collect();
        let partition_columns = table.partition_key().count();
        let (mut next, mut last) = (0, None);
        for term in &select.group_by {
            if last.is_some() {
                let message = "Functions are only supported on the last element of the GROUP BY clause";
                return Err(self.source.invalid(term.at, message));
            }
            let column = match &term.kind {
                TermKind::Column(name) => {
                    let column = self.column(table, name)?;
                    if !key.contains(&column) {
                        let message = format!(
                            "Group by is currently only supported on the columns of the PRIMARY KEY, got {}",
                            column.name
                        );
                        return Err(self.source.invalid(term.at, message));
                    }
                    column
                }
                _ => {
                    let (column, operand) = self.grouping_function(table, term, selection)?;
                    last = Some(operand);
                    column
                }
            };
            loop {
                let Some(candidate) = key.get(next) else { return Err(self.source.invalid(term.at, ORDER)) };
                next += 1;
                if candidate.id == column.id {
                    break;
                }
                if !restrictions.is_equal(candidate) {
                    return Err(self.source.invalid(term.at, ORDER));
                }
            }
        }
        if next < partition_columns {
            let message = "Group by is not supported on only a part of the partition key";
            return Err(self.source.invalid(select.group_by[0].at, message));
        }
        if next > partition_columns && select.distinct.is_some() {
            let message = "Grouping on clustering columns is not allowed for SELECT DISTINCT queries";
            return Err(self.source.invalid(select.group_by[0].at, message));
        }
        Ok(Grouping::Rows { columns: next - partition_columns, last })
    }

    /// A function of a clustering column that rows are grouped by.
    fn grouping_function<'t>(
        &mut self,
        table: &'t Table,
        term: &Term,
        selection: &mut Selection,
    ) -> Result<(&'t Column, Operand), RequestError> {
        let refuse = |binder: &Self, message: String| Err(binder.source.invalid(term.at, message));
        let shown = crate::term::text(term);
        self.check_selected(table, term)?;
        // What it reads is noted apart first, to see which columns these are.
        let mut own = Selection::default();
        self.selected(table, term, &mut own)?;
        if let Some(aggregation) = own.aggregates.first() {
            let name = &aggregation.function.name;
            let message = "Aggregate functions are not supported within the GROUP BY clause, got: system.";
            return refuse(self, format!("{message}{name}"));
        }
        let mut columns: Vec<&Column> = own.columns_read().map(|index| &table.columns[index]).collect();
        columns.dedup_by_key(|column| column.id);
        let column = match columns.as_slice() {
            [] => {
                return refuse(self, "GROUP BY functions must have one clustering column name as parameter".to_owned());
            }
            [only] => *only,
            several => {
                let names: Vec<&str> = several.iter().map(|column| column.name.as_str()).collect();
                let names = names.join(",");
                let message =
                    format!("GROUP BY functions accept only one clustering column as parameter, got: {names}");
                return refuse(self, message);
            }
        };
        if !matches!(column.kind, ColumnKind::Clustering(..)) {
            let message = format!("Group by functions are only supported on clustering columns, got {}", column.name);
            return refuse(self, message);
        }
        let (operand, _) = self.selected(table, term, selection)?;
        match &operand {
            Operand::Call { function, .. } if matches!(function.kind, Kind::Scalar(Scalar::Floor)) => {
                Ok((column, operand))
            }
            _ => refuse(self, format!("Only monotonic functions are supported in the GROUP BY clause. Got: {shown}")),
        }
    }

    fn check_distinct(
        &self,
        table: &Table,
        select: &Select,
        restrictions: &Restrictions<'_>,
        read: &WherePlan,
        selection: &Selection,
    ) -> Result<(), RequestError> {
        let Some(at) = select.distinct else { return Ok(()) };
        let refuse = |message: String| Err(self.source.invalid(at, message));
        if select.per_partition_limit.is_some() {
            return refuse("PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries".to_owned());
        }
        let of_partition = |column: &Column| matches!(column.kind, ColumnKind::PartitionKey(_) | ColumnKind::Static);
        let by_rows = read.filters.iter().any(|filter| !of_partition(&table.columns[filter.column]));
        if restrictions.has_clustering() || by_rows {
            let message =
                "SELECT DISTINCT with WHERE clause only supports restriction by partition key and/or static columns.";
            return refuse(message.to_owned());
        }
        let read_columns: Vec<&Column> = selection.columns_read().map(|index| &table.columns[index]).collect();
        if let Some(other) = read_columns.iter().find(|column| !of_partition(column)) {
            return refuse(format!(
                "SELECT DISTINCT queries must only request partition key columns and/or static columns (not {})",
                other.name
            ));
        }
        if read.is_range()
            && let Some(missing) = table.partition_key().find(|column| !read_columns.contains(column))
        {
            return refuse(format!(
                "SELECT DISTINCT queries must request all the partition key columns (missing {})",
                missing.name
            ));
        }
        Ok(())
    }

    /// Whether ORDER BY asks for the rows from the last to the first; and, of several partitions, by which clustering
    /// columns, by position, and true for DESC, their rows are sorted.
    fn ordering(
        &self,
        table: &Table,
        restrictions: &Restrictions<'_>,
        read: &WherePlan,
        order: &[Ordering],
    ) -> Result<(bool, Vec<(usize, bool)>), RequestError> {
        let mut reversed = None;
        let mut sorting = Vec::new();
        let clustering: Vec<&Column> = table.clustering().collect();
        let mut next = 0;
        let mut seen: Vec<&str> = Vec::new();
        for (index, Ordering { column: name, nearest_to, .. }) in order.iter().enumerate() {
            if let Some(term) = nearest_to {
                let message = "ANN ordering by vector requires the column to be indexed, which it cannot be yet";
                return Err(self.source.invalid(term.at, message));
            }
            // Of a column that is named twice the last direction counts, at its first place.
            if seen.contains(&name.text.as_str()) {
                continue;
            }
            seen.push(&name.text);
            let same = order[index..].iter().rev().find(|other| other.column.text == name.text);
            let descending = same.is_some_and(|last| last.descending);
            let column = self.column(table, name)?;
            if read.uses_index {
                let message = "ORDER BY with 2ndary indexes is not supported, except for ANN queries.";
                return Err(self.source.invalid(name.at, message));
            }
            if read.is_range() {
                let message = "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.";
                return Err(self.source.invalid(name.at, message));
            }
            let ColumnKind::Clustering(position, declared) = column.kind else {
                let message = format!(
                    "Order by is currently only supported on the clustered columns of the PRIMARY KEY, got {}",
                    column.name
                );
                return Err(self.source.invalid(name.at, message));
            };
            let position = position as usize;
            // Only columns that have one value anyway may be left out.
            let skips_freely = clustering.iter().take(position).skip(next).all(|column| restrictions.is_equal(column));
            if position < next || !skips_freely {
                let message = "Order by currently only supports the ordering of columns following their declared \
                               order in the PRIMARY KEY";
                return Err(self.source.invalid(name.at, message));
            }
            next = position + 1;
            let against = descending != (declared == ClusteringOrder::Descending);
            if *reversed.get_or_insert(against) != against {
                return Err(self.source.invalid(name.at, "Unsupported order by relation"));
            }
            sorting.push((position, descending));
        }
        if !read.is_in {
            sorting.clear();
        }
        Ok((reversed.unwrap_or(false), sorting))
    }
}

/// The one column of SELECT JSON.
fn json_column(table: &Table) -> Vec<ColumnSpec> {
    vec![ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name: "[json]".to_owned(),
        cql_type: CqlType::Text,
    }]
}

/// True when a selection reads static columns, perhaps with the partition key, and nothing of rows.
fn selects_only_static(table: &Table, selection: &Selection) -> bool {
    let kinds: Vec<ColumnKind> = selection.columns_read().map(|index| table.columns[index].kind).collect();
    let of_rows = |kind: &ColumnKind| matches!(kind, ColumnKind::Clustering(..) | ColumnKind::Regular);
    kinds.contains(&ColumnKind::Static) && !kinds.iter().any(of_rows)
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
