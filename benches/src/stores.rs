//! Storage in process: a `Store` against a bare RocksDB with the same settings and the same bytes.
//!
//! Both do each piece of work in turns, the one that begins changing from round to round. A ratio is the
//! median of the rounds' ratios of operations per second, so what disturbs a round disturbs both sides of it.
//! The layers of a `Store` are in it: checks of every write, reconciliation, limits, answers as they go over
//! the wire. One thread works on either side.

use anyhow::{Result, ensure};
use model::schema::Table;
use model::{Mutation, NodeId, TableId};
use node::storage::Storage;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::compare::{self, BareDatabase, Measured, Shape};
use storage::{Store, StoreOptions};

/// A table of partitions of one row, and one of partitions of many.
const NARROW: TableId = TableId(1);
const WIDE: TableId = TableId(2);
const WIDE_ROWS: u64 = 200;
/// Writes that a group commit gathers on a busy node.
const GROUP: usize = 32;
const SLICE_ROWS: u32 = 100;
/// Rounds that a median is of, at least.
const ROUNDS_MIN: usize = 3;
/// Unmerged changes of one key that a read may meet once memtables are flushed.
const OPERANDS_MAX: u64 = 16;
/// What each ratio must reach.
const GATES: [(&str, f64); 3] = [("write_batch32", 0.75), ("point_read", 0.75), ("slice100", 0.55)];

/// Rows of one size, with a block cache that holds them all or an eighth of them.
struct Case {
    suffix: &'static str,
    rows: u64,
    columns: u32,
    value_bytes: usize,
    cached: bool,
}

/// Rows of five columns of 34 bytes, as cassandra-stress writes by default, and of 1 kB as YCSB's.
const CASES: [Case; 4] = [
    Case { suffix: "", rows: 100_000, columns: 5, value_bytes: 34, cached: true },
    Case { suffix: "_uncached", rows: 100_000, columns: 5, value_bytes: 34, cached: false },
    Case { suffix: "_1kb", rows: 30_000, columns: 10, value_bytes: 100, cached: true },
    Case { suffix: "_1kb_uncached", rows: 30_000, columns: 10, value_bytes: 100, cached: false },
];

/// One kind of work in every round: by the store, and by the bare database.
#[derive(Default)]
struct Pairs(Vec<(Measured, Measured)>);

impl Pairs {
    /// Does both, the bare database first in odd rounds.
    fn take(
        &mut self,
        mut store: impl FnMut() -> Result<Measured>,
        mut bare: impl FnMut() -> Result<Measured>,
    ) -> Result<()> {
        let pair = if self.0.len().is_multiple_of(2) {
            let store = store()?;
            (store, bare()?)
        } else {
            let bare = bare()?;
            (store()?, bare)
        };
        self.0.push(pair);
        Ok(())
    }

    fn median(&self, figure: impl Fn(&(Measured, Measured)) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.0.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }

    /// Puts medians into `figures`; the ratio.
    fn report(&self, name: &str, figures: &mut Map<String, Value>) -> f64 {
        let ratio = self.median(|(store, bare)| store.per_second() / bare.per_second());
        figures.insert(format!("{name}_ratio"), json!(ratio));
        for (figure, value) in [
            ("per_second", self.median(|(store, _)| store.per_second())),
            ("rocksdb_per_second", self.median(|(_, bare)| bare.per_second())),
            ("cpu_micros", self.median(|(store, _)| store.cpu_micros())),
            ("rocksdb_cpu_micros", self.median(|(_, bare)| bare.cpu_micros())),
        ] {
            figures.insert(format!("{name}_{figure}"), json!(value));
        }
        ratio
    }
}

/// Measures every case for about `seconds`, puts operations per second, CPU and ratios into `figures`, and
/// names the ratios that miss their gate in `gates_missed`.
///
/// # Errors
/// When a store fails, or a read meets more unmerged changes than it may.
pub(crate) fn measure(seconds: u64, figures: &mut Map<String, Value>) -> Result<()> {
    let mut missed = Vec::new();
    for case in CASES {
        eprintln!("storage: {} rows of {} x {} bytes{}", case.rows, case.columns, case.value_bytes, case.suffix);
        let ratios = Bench::open(&case)?.run(Duration::from_secs(seconds), figures)?;
        for (name, ratio) in ratios {
            eprintln!("  {name}: {ratio:.2}");
            let gate = GATES.iter().find(|(gated, _)| *gated == name);
            if let Some((_, least)) = gate.filter(|(_, least)| ratio < *least) {
                missed.push(format!("{name}{}: {ratio:.2} is below {least:.2}", case.suffix));
            }
        }
    }
    crate::note_missed(figures, missed);
    Ok(())
}

/// A store and a bare database for one case, and the rows of their tables.
struct Bench<'a> {
    case: &'a Case,
    narrow: Shape,
    wide: Shape,
    rows: Vec<Arc<Mutation>>,
    store: Store,
    bare: BareDatabase,
    _folder: tempfile::TempDir,
}

impl Bench<'_> {
    /// Opens both and fills the wide tables.
    fn open(case: &Case) -> Result<Bench<'_>> {
        let folder = tempfile::tempdir()?;
        let mut options = StoreOptions::new(folder.path().join("store"), NodeId(1));
        if !case.cached {
            let row_bytes = u64::from(case.columns) * (case.value_bytes as u64 + 4) + 30;
            options.block_cache_bytes = (case.rows * row_bytes / 8) as usize;
        }
        let store = Store::open(options.clone())?;
        store.set_tables(&[NARROW, WIDE].map(|table| Arc::new(Table::plain(table))))?;
        std::fs::create_dir_all(folder.path().join("raw"))?;
        let raw = StoreOptions { data_dir: folder.path().join("raw"), ..options };
        let bare = BareDatabase::open(&raw, &[NARROW, WIDE])?;
        let Case { rows, columns, value_bytes, .. } = *case;
        let narrow = Shape { rows, rows_per_partition: 1, columns, value_bytes };
        let wide = Shape { rows_per_partition: WIDE_ROWS, ..narrow };
        let wide_rows = compare::rows(WIDE, wide, 0, 6);
        compare::store_writes(&store, &wide_rows, GROUP, false)?;
        bare.writes(&wide_rows, GROUP, false)?;
        let rows = compare::rows(NARROW, narrow, 0, 7);
        Ok(Bench { case, narrow, wide, rows, store, bare, _folder: folder })
    }

    fn compact(&self) -> Result<()> {
        self.store.compact()?;
        Ok(self.bare.compact(&[NARROW, WIDE])?)
    }

    fn run(&self, time: Duration, figures: &mut Map<String, Value>) -> Result<Vec<(&'static str, f64)>> {
        let Bench { rows, store, bare, .. } = self;
        let points = compare::point_reads(&rows[..rows.len() / 4], 8);
        let slices = compare::slice_reads(WIDE, self.wide, SLICE_ROWS, rows.len() / 60, 9);
        // Disks differ more than what is measured here: enough for a figure, not for a gate.
        let few = &rows[..rows.len() / 50];
        let (mut write, mut synced, mut point, mut slice, mut merge) =
            (Pairs::default(), Pairs::default(), Pairs::default(), Pairs::default(), Pairs::default());
        let until = Instant::now() + time;
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || Instant::now() < until {
            let writes = |rows, sync| Ok(compare::store_writes(store, rows, GROUP, sync)?);
            let bare_writes = |rows, sync| Ok(bare.writes(rows, GROUP, sync)?);
            write.take(|| writes(rows, false), || bare_writes(rows, false))?;
            synced.take(|| writes(few, true), || bare_writes(few, true))?;
            self.compact()?;
            for _ in 0..3 {
                point.take(|| Ok(compare::store_reads(store, &points)?), || Ok(bare.reads(&points)?))?;
                slice.take(|| Ok(compare::store_decoded_reads(store, &slices)?), || Ok(bare.slices(&slices)?))?;
            }
            let changes = compare::updates(rows, self.narrow, rows.len() / 2, rounds as u64, false);
            merge.take(|| writes(&changes, false), || bare_writes(&changes, false))?;
            self.compact()?;
            rounds += 1;
        }
        let all = [
            ("write_batch32", write),
            ("synced_write_batch32", synced),
            ("point_read", point),
            ("slice100", slice),
            ("merge", merge),
        ];
        let report = |(name, pairs): (&'static str, Pairs)| {
            (name, pairs.report(&format!("{name}{}", self.case.suffix), figures))
        };
        let ratios = all.into_iter().map(report).collect();
        let most = self.operands_most(rounds as u64)?;
        figures.insert(format!("merge_operands_most{}", self.case.suffix), json!(most));
        Ok(ratios)
    }

    /// Changes rows again and again, few of them far more often than the others, flushes every time, and
    /// finds the most unmerged changes that a read of one of the most changed rows meets.
    fn operands_most(&self, rounds: u64) -> Result<u64> {
        let points = compare::point_reads(&self.rows[..4_000], 8);
        let mut most = 0;
        for round in rounds..rounds + 3 {
            let changes = compare::updates(&self.rows, self.narrow, self.rows.len(), round, true);
            compare::store_writes(&self.store, &changes, GROUP, false)?;
            self.store.flush()?;
            most = most.max(compare::operands_most(&self.store, &points)?);
        }
        ensure!(most <= OPERANDS_MAX, "a read after a flush met {most} unmerged changes of one row");
        Ok(most)
    }
}
