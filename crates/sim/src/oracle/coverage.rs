//! Which replicas took part in a request at least, by its level, and which requests must have one in common: the
//! arithmetic of consistency levels, written anew so that a defect of the product's own does not hide itself.

use model::Consistency;

/// The replicas of every partition, by data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas(pub Vec<usize>);

/// At least so many replicas of each data centre, and at least so many in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    each: Vec<usize>,
    /// In all.
    pub total: usize,
}

impl Replicas {
    /// In all data centres.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// Who takes part in a request at `level` that a node of `data_center` coordinates.
    ///
    /// # Panics
    /// For the levels of Paxos, which are judged by other oracles.
    #[must_use]
    pub fn coverage(&self, level: Consistency, data_center: usize) -> Coverage {
        let all = |total| Coverage { each: vec![0; self.0.len()], total };
        let local = |required| {
            let mut each = vec![0; self.0.len()];
            each[data_center] = required;
            Coverage { each, total: required }
        };
        match level {
            // A hint is no replica.
            Consistency::Any => all(0),
            Consistency::One => all(1),
            Consistency::Two => all(2),
            Consistency::Three => all(3),
            Consistency::Quorum => all(self.total() / 2 + 1),
            Consistency::All => all(self.total()),
            Consistency::LocalOne => local(1),
            Consistency::LocalQuorum => local(self.0[data_center] / 2 + 1),
            Consistency::EachQuorum => {
                let each: Vec<usize> =
                    self.0.iter().map(|replicas| if *replicas == 0 { 0 } else { replicas / 2 + 1 }).collect();
                let total = each.iter().sum();
                Coverage { each, total }
            }
            Consistency::Serial | Consistency::LocalSerial => unreachable!("no level of plain reads and writes"),
        }
    }

    /// True when two requests have a replica in common, whichever took part: else there is room for both sets beside
    /// each other, in each data centre and in all.
    #[must_use]
    pub fn must_meet(&self, a: &Coverage, b: &Coverage) -> bool {
        let mut room = 0;
        for ((replicas, a), b) in self.0.iter().zip(&a.each).zip(&b.each) {
            if a + b > *replicas {
                return true;
            }
            room += replicas - a - b;
        }
        let anywhere = |coverage: &Coverage| coverage.total - coverage.each.iter().sum::<usize>();
        anywhere(a) + anywhere(b) > room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All sets of replicas that a coverage allows, as bits; the replicas of the first data centre come first.
    fn allowed(replicas: &Replicas, coverage: &Coverage) -> Vec<u32> {
        let all = 0..1u32 << replicas.total();
        let fits = |set: &u32| {
            let mut rest = *set;
            let each = replicas.0.iter().zip(&coverage.each).all(|(size, least)| {
                let here = rest & ((1 << size) - 1);
                rest >>= size;
                here.count_ones() as usize >= *least
            });
            each && set.count_ones() as usize >= coverage.total
        };
        all.filter(fits).collect()
    }

    #[test]
    fn requests_must_meet_exactly_when_no_two_of_their_sets_are_disjoint() {
        const LEVELS: [Consistency; 8] = [
            Consistency::One,
            Consistency::Two,
            Consistency::Three,
            Consistency::Quorum,
            Consistency::All,
            Consistency::LocalOne,
            Consistency::LocalQuorum,
            Consistency::EachQuorum,
        ];
        let places =
            |count: usize| LEVELS.into_iter().flat_map(move |level| (0..count).map(move |place| (level, place)));
        for replicas in [vec![3], vec![1], vec![3, 3], vec![3, 2], vec![2, 1], vec![1, 1], vec![2, 2, 1]] {
            let replicas = Replicas(replicas);
            for (a, b) in places(replicas.0.len()).flat_map(|a| places(replicas.0.len()).map(move |b| (a, b))) {
                let (first, second) = (replicas.coverage(a.0, a.1), replicas.coverage(b.0, b.1));
                let (one, two) = (allowed(&replicas, &first), allowed(&replicas, &second));
                let disjoint = one.iter().any(|one| two.iter().any(|two| one & two == 0));
                // Of a level that there are too few replicas for, no request ever succeeds.
                if !one.is_empty() && !two.is_empty() {
                    assert_eq!(replicas.must_meet(&first, &second), !disjoint, "{a:?} and {b:?} of {replicas:?}");
                }
            }
        }
    }
}
