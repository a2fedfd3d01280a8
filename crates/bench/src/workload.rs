//! What the load consists of: which key and which value the n-th operation has. Pure.

use crate::LoadOptions;
use bytes::Bytes;
use model::Rng;
use std::time::Duration;

/// The share of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Reads in a hundred operations.
    pub read_percent: u8,
}

/// When the load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this many operations, warm-up included.
    Operations(u64),
    /// After this time, warm-up not included.
    Elapsed(Duration),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Workload {
    /// As the command line has them.
    pub options: LoadOptions,
    /// Reads and writes.
    pub mix: Mix,
    /// When it ends.
    pub until: Until,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read { key: u64 },
    Write { key: u64, value_seed: u64 },
}

impl Workload {
    /// The n-th operation of the load; the same for equal options.
    pub(crate) fn operation(&self, number: u64) -> Operation {
        // A generator for each operation: workers need not share one, and any operation can be repeated.
        let mut rng = Rng::new(self.options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key = rng.below(self.options.keys);
        if rng.below(100) < u64::from(self.mix.read_percent) {
            Operation::Read { key }
        } else {
            Operation::Write { key, value_seed: rng.next_u64() }
        }
    }

    /// A value of the load's size: bytes that do not compress.
    pub(crate) fn value(&self, value_seed: u64) -> Bytes {
        let length = self.options.value_bytes as usize;
        let mut rng = Rng::new(value_seed);
        let mut value = Vec::with_capacity(length + 8);
        while value.len() < length {
            value.extend_from_slice(&rng.next_u64().to_le_bytes());
        }
        value.truncate(length);
        Bytes::from(value)
    }

    /// The table that the load works on.
    pub(crate) fn schema(&self) -> [String; 2] {
        let (keyspace, factor) = (&self.options.keyspace, self.options.replication_factor);
        [
            format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'SimpleStrategy', \
                 'replication_factor': {factor}}}"
            ),
            format!("CREATE TABLE IF NOT EXISTS {keyspace}.load (key bigint PRIMARY KEY, value blob)"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        task: crate::Task,
    }

    fn workload(arguments: &[&str]) -> Workload {
        Line::parse_from([&["bench"], arguments].concat()).task.workload()
    }

    #[test]
    fn the_same_options_send_the_same_operations() {
        let (a, b) = (workload(&["mixed", "--keys", "50"]), workload(&["mixed", "--keys", "50"]));
        let other = workload(&["mixed", "--keys", "50", "--seed", "2"]);
        let all = |workload: &Workload| (0..1_000).map(|n| workload.operation(n)).collect::<Vec<_>>();
        assert_eq!(all(&a), all(&b));
        assert_ne!(all(&a), all(&other));
        let reads = all(&a).iter().filter(|operation| matches!(operation, Operation::Read { .. })).count();
        assert!((400..600).contains(&reads), "{reads} reads of 1000 at 50 %");
        assert!(all(&a).iter().all(|operation| match operation {
            Operation::Read { key } | Operation::Write { key, .. } => *key < 50,
        }));
    }

    #[test]
    fn values_have_the_size_asked_for() {
        for bytes in ["0", "1", "7", "8", "1000"] {
            let workload = workload(&["write", "--value-bytes", bytes]);
            assert_eq!(workload.value(3).len().to_string(), bytes);
            assert_eq!(workload.value(3), workload.value(3));
        }
    }
}
