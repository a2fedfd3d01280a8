//! Micro-benchmarks of the pure hot paths: what every request pays. Run with
//! `cargo bench --profile release --package benches`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark program; criterion's macros make public items")]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use model::codec::{Decode, Encode};
use model::key::{decode_clustering, encode_clustering};
use model::row::{Cell, Liveness, Row};
use model::schema::{ClusteringOrder, Column, ColumnKind, Table};
use model::types::CqlType;
use model::{ColumnId, Mutation, PartitionKey, Record, TableId, Token};
use std::hint::black_box;

fn row(columns: u32, timestamp: i64) -> Row {
    let cells = (0..columns).map(|id| (ColumnId(id), Cell::live(timestamp, Bytes::from(vec![id as u8; 34]))));
    Row::new(Some(Liveness { timestamp, expiry: None }), None, cells.collect())
}

/// A table clustered by a text ascending and a timestamp descending.
fn clustered() -> Table {
    let column = |id, name: &str, kind, cql_type| Column { id: ColumnId(id), name: name.to_owned(), kind, cql_type };
    let columns = vec![
        column(0, "k", ColumnKind::PartitionKey(0), CqlType::Int),
        column(1, "name", ColumnKind::Clustering(0, ClusteringOrder::Ascending), CqlType::Text),
        column(2, "at", ColumnKind::Clustering(1, ClusteringOrder::Descending), CqlType::Timestamp),
    ];
    let (keyspace, name) = ("ks".to_owned(), "t".to_owned());
    Table { keyspace, name, columns, ..Table::plain(TableId(1)) }
}

fn clustering_keys(criterion: &mut Criterion) {
    let table = clustered();
    let values =
        [Bytes::from_static(b"a name of 20 bytes--"), Bytes::copy_from_slice(&1_700_000_000_000i64.to_be_bytes())];
    let encoded = encode_clustering(&table, &values).unwrap();
    criterion.bench_function("encode a clustering key of text and timestamp", |b| {
        b.iter(|| encode_clustering(&table, black_box(&values)).unwrap());
    });
    criterion.bench_function("decode a clustering key of text and timestamp", |b| {
        b.iter(|| decode_clustering(&table, black_box(&encoded)).unwrap());
    });
}

fn hot_paths(criterion: &mut Criterion) {
    let key = PartitionKey::new(Bytes::from_static(b"a-key-of-20-bytes---"));
    let (full, delta) = (row(5, 1_000).to_bytes(), row(1, 2_000).to_bytes());
    let records = vec![Record::row(Bytes::from_static(&[0x38]), &row(5, 1_000))];
    let mutation = Mutation { table: TableId(1), partition: key.clone(), records };
    let encoded = mutation.to_bytes();
    criterion.bench_function("token of 20 bytes", |b| b.iter(|| Token::of(black_box(&key.bytes))));
    criterion.bench_function("encode a row of 5 x 34 bytes", |b| {
        let row = row(5, 1_000);
        b.iter(|| black_box(&row).to_bytes());
    });
    criterion.bench_function("decode a row of 5 x 34 bytes", |b| b.iter(|| Row::from_bytes(black_box(&full)).unwrap()));
    criterion.bench_function("merge 5 columns with 1", |b| {
        b.iter(|| model::mutation::merge_values(false, black_box(&full), black_box(&delta)).unwrap());
    });
    criterion.bench_function("encode a mutation", |b| b.iter(|| black_box(&mutation).to_bytes()));
    criterion.bench_function("decode and validate a mutation", |b| {
        b.iter(|| Mutation::from_bytes(black_box(&encoded)).unwrap().validate().unwrap());
    });
}

criterion_group!(benches, hot_paths, clustering_keys);
criterion_main!(benches);
