//! Sets of slices of encoded clustering keys: what ranges of values of clustering columns, of any declared order,
//! select.

use crate::ast::Operator;
use bytes::Bytes;
use model::RequestError;
use model::key::{BoundSide, encode_bound};
use model::read::Slice;
use model::schema::{ClusteringOrder, ColumnKind, Table};

/// Slices: ascending, disjoint, none empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceSet(Vec<Slice>);

impl SliceSet {
    /// The rows whose first clustering columns are `prefix` and whose next ones are within all of `bounds`: an
    /// operator, and values for one column or, of a tuple, several.
    pub(crate) fn of(
        table: &Table,
        prefix: &[Bytes],
        bounds: &[(Operator, Vec<Bytes>)],
    ) -> Result<SliceSet, RequestError> {
        let start = encode_bound(table, prefix, BoundSide::Before)?;
        let end = encode_bound(table, prefix, BoundSide::After)?;
        let mut selected = SliceSet(vec![Slice { start, end }]);
        for (operator, values) in bounds {
            selected = selected.intersect(&SliceSet::of_bound(table, prefix, *operator, values)?);
        }
        Ok(selected)
    }

    /// `(a, b) > (x, y)` is `a > x`, or `a = x` and `b > y`: each is a slice, whatever the order of its column.
    fn of_bound(
        table: &Table,
        prefix: &[Bytes],
        operator: Operator,
        values: &[Bytes],
    ) -> Result<SliceSet, RequestError> {
        let greater = matches!(operator, Operator::Greater | Operator::GreaterOrEqual);
        let inclusive = matches!(operator, Operator::GreaterOrEqual | Operator::LessOrEqual);
        let mut all = Vec::with_capacity(values.len());
        let mut known = prefix.to_vec();
        let columns = table.clustering().skip(prefix.len());
        for ((index, value), column) in values.iter().enumerate().zip(columns) {
            let descending = matches!(column.kind, ColumnKind::Clustering(_, ClusteringOrder::Descending));
            let inclusive = inclusive && index + 1 == values.len();
            let whole = |side| encode_bound(table, &known, side);
            let mut upto = known.clone();
            upto.push(value.clone());
            // What is greater comes behind, unless the column is descending.
            let slice = if greater != descending {
                let side = if inclusive { BoundSide::Before } else { BoundSide::After };
                Slice { start: encode_bound(table, &upto, side)?, end: whole(BoundSide::After)? }
            } else {
                let side = if inclusive { BoundSide::After } else { BoundSide::Before };
                Slice { start: whole(BoundSide::Before)?, end: encode_bound(table, &upto, side)? }
            };
            all.push(slice);
            known = upto;
        }
        Ok(SliceSet::union(all))
    }

    fn intersect(&self, other: &SliceSet) -> SliceSet {
        // Each has at most as many slices as a bound has columns.
        let pairs = self.0.iter().flat_map(|a| other.0.iter().map(move |b| (a, b)));
        SliceSet::union(
            pairs.map(|(a, b)| Slice {
                start: a.start.clone().max(b.start.clone()),
                end: a.end.clone().min(b.end.clone()),
            }),
        )
    }

    /// These slices, in any order; those that overlap or touch become one.
    pub(crate) fn union(slices: impl IntoIterator<Item = Slice>) -> SliceSet {
        let mut slices: Vec<Slice> = slices.into_iter().filter(|slice| slice.start < slice.end).collect();
        slices.sort_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Slice> = Vec::with_capacity(slices.len());
        for slice in slices {
            match merged.last_mut() {
                Some(last) if slice.start <= last.end => last.end = last.end.clone().max(slice.end),
                _ => merged.push(slice),
            }
        }
        SliceSet(merged)
    }

    pub(crate) fn into_slices(self) -> Vec<Slice> {
        self.0
    }
}
