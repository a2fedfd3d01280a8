//! Fuzz targets: one for each decoder of stored bytes, and for what faces clients.
//!
//! Every target promises the same of any input: no panic, no hang, memory in proportion to the input, and, where
//! something decodes, that it is encoded as the very bytes that it was read from (there is one encoding for each
//! value) and that the laws of merging hold. A target that does not keep a promise panics.
//!
//! `cargo xtask soak fuzz` builds them with coverage counters and runs them; the file `corpus/NAME` holds inputs that
//! were found to reach different code, each behind its length in two bytes, and a test runs every target over its own.

use bytes::Bytes;
use membership::{Change, Entry, Founder, Member, MemberConfig, MemberInfo, NodeAddresses};
use model::codec::{Decode, Encode};
use model::complex::ComplexColumn;
use model::deletion::{Deletion, PartitionDeletions};
use model::key::{decode_clustering, encode_clustering};
use model::local::prefix;
use model::row::Liveness;
use model::scan::ScanPosition;
use model::schema::{IndexedPart, Schema, SchemaChange, Table};
use model::{
    Cell, ColumnId, CqlType, IndexTarget, Instant, Mutation, NodeId, Now, PartitionKey, Record, RequestError, Row,
    TableId, Token, WallMicros,
};
use paxos::Acceptor;
use query::{Bound, BoundValue};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// A decoder and what is promised of it.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made by today's encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 20] = [
    Target { name: "row", run: row, seeds: row_seeds },
    Target { name: "row_merge", run: row_merge, seeds: || framed(&row_seeds()) },
    Target { name: "deletions", run: deletions, seeds: deletions_seeds },
    Target { name: "deletions_merge", run: deletions_merge, seeds: || framed(&deletions_seeds()) },
    Target { name: "mutation", run: mutation, seeds: mutation_seeds },
    Target { name: "record_key", run: record_key, seeds: record_key_seeds },
    Target { name: "clustering", run: clustering, seeds: clustering_seeds },
    Target { name: "schema_change", run: schema_change, seeds: schema_seeds },
    Target { name: "log_entry", run: log_entry, seeds: || pairs(&log_entry_seeds()) },
    Target { name: "local_records", run: local_records, seeds: || pairs(&log_entry_seeds()) },
    Target { name: "hint_segment", run: hint_segment, seeds: hint_seeds },
    Target { name: "identity", run: identity, seeds: identity_seeds },
    Target { name: "watermark", run: watermark, seeds: || vec![vec![0; 56], b"HELWMK02".to_vec()] },
    Target { name: "tables", run: tables, seeds: tables_seeds },
    Target { name: "index_progress", run: index_progress, seeds: index_progress_seeds },
    Target { name: "index_progress_key", run: index_progress_key, seeds: index_progress_key_seeds },
    Target { name: "indexed_row", run: indexed_row, seeds: indexed_row_seeds },
    Target { name: "statement", run: statement, seeds: statement_seeds },
    Target { name: "native", run: native_connection, seeds: native_seeds },
    Target { name: "delivered", run: delivered, seeds: || vec![b"delivered 12 0123456789abcdef\n".to_vec()] },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// What decodes is encoded as the bytes that it came from, and decodes from these to itself.
fn canonical<T: Decode + Encode + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let value = T::from_bytes(&Bytes::copy_from_slice(data)).ok()?;
    assert_eq!(value.to_bytes(), data, "two encodings of {value:?}");
    Some(value)
}

/// What decodes may have been written in the form of an earlier release. What is written for it now decodes to the
/// same value, and is the one way to write it now.
fn stable<T: Decode + Encode + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let value = T::from_bytes(&Bytes::copy_from_slice(data)).ok()?;
    let written = value.to_bytes();
    let again = T::from_bytes(&written).expect("what is written can be read");
    assert_eq!(again, value, "another value is written");
    assert_eq!(again.to_bytes(), written, "two encodings of {value:?}");
    Some(value)
}

#[allow(clippy::disallowed_methods, reason = "corpora are files of the repository")]
impl Target {
    /// The file with its corpus.
    #[must_use]
    pub fn corpus_path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }

    /// The inputs that are kept of it; none before something was found.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn corpus(&self) -> std::io::Result<Vec<Vec<u8>>> {
        match std::fs::read(self.corpus_path()) {
            Ok(packed) => Ok(pieces(&packed).into_iter().map(<[u8]>::to_vec).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Keeps these inputs, of less than 64 KiB each, and no others.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, mut inputs: Vec<Vec<u8>>) -> std::io::Result<()> {
        inputs.sort_unstable();
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let path = self.corpus_path();
        std::fs::create_dir_all(path.with_file_name(""))?;
        std::fs::write(path, frame(&inputs))
    }
}

/// Splits an input into pieces, each behind its length in two bytes.
fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<2>() {
        let (piece, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}

/// The input whose pieces are these.
fn frame(pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&(piece.len() as u16).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}

fn framed(seeds: &[Vec<u8>]) -> Vec<Vec<u8>> {
    seeds.windows(3).map(|three| frame(&[&three[0], &three[1], &three[2]])).collect()
}

/// Inputs of a kind byte and one piece for targets that take several.
fn pairs(seeds: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let one = |kind: u8, seed: &Vec<u8>| frame(&[&[&[kind][..], seed].concat()]);
    seeds.iter().flat_map(|seed| (0..4).map(move |kind| one(kind, seed))).collect()
}

/// The merge of encoded values is a join: whatever the order and the grouping, the same bytes.
fn check_join(deletions: bool, values: &[&[u8]]) {
    let merge = |values: &[&[u8]]| storage::decoders::merge(deletions, values).expect("each value decodes");
    let &[a, b, c] = values else { return };
    let all = merge(&[a, b, c]);
    assert_eq!(merge(&[a, b]), merge(&[b, a]), "not commutative");
    assert_eq!(merge(&[&merge(&[a, b]), c]), all, "not associative");
    assert_eq!(merge(&[a, &merge(&[b, c])]), all, "not associative");
    assert_eq!(merge(&[c, b, a]), all, "not commutative");
    assert_eq!(merge(&[a, a]), a, "not idempotent");
    assert_eq!(merge(&[&all, a, b, c]), all, "not idempotent");
}

fn row(data: &[u8]) {
    canonical::<Row>(data);
}

fn row_merge(data: &[u8]) {
    let rows: Vec<&[u8]> = pieces(data).into_iter().filter(|piece| canonical::<Row>(piece).is_some()).take(3).collect();
    check_join(false, &rows);
}

fn deletions(data: &[u8]) {
    canonical::<PartitionDeletions>(data);
}

fn deletions_merge(data: &[u8]) {
    let values = pieces(data).into_iter().filter(|piece| canonical::<PartitionDeletions>(piece).is_some());
    check_join(true, &values.take(3).collect::<Vec<_>>());
}

fn mutation(data: &[u8]) {
    if let Some(mutation) = canonical::<Mutation>(data) {
        // Whether it is valid is not promised, only that this can be told.
        let _ = mutation.validate();
    }
}

fn record_key(data: &[u8]) {
    if let Some(written) = storage::decoders::record_key(data) {
        assert_eq!(written, data, "two keys of one record");
    }
}

/// A table, then an encoded clustering key of it.
fn clustering(data: &[u8]) {
    let [table, key, ..] = pieces(data)[..] else { return };
    let Ok(table) = Table::from_bytes(&Bytes::copy_from_slice(table)) else { return };
    let Ok(values) = decode_clustering(&table, key) else { return };
    // A key that was decoded may be longer than one that may be written.
    if let Ok(written) = encode_clustering(&table, &values) {
        assert_eq!(written, key, "two encodings of the values {values:?}");
    }
}

fn schema_change(data: &[u8]) {
    if let Some(change) = stable::<SchemaChange>(data) {
        let _ = Schema::default().apply(&change);
    }
}

/// Changes of the schema, and entries of each kind.
fn log_entry_seeds() -> Vec<Vec<u8>> {
    let internode = SocketAddr::from(([10, 0, 0, 1], 7_000));
    let addresses = NodeAddresses { internode, client: internode, native: internode };
    let (data_center, rack, tokens) = ("dc1".to_owned(), "rack1".to_owned(), vec![Token(-5), Token(7)]);
    let member = MemberInfo { id: NodeId(1), addresses, data_center, rack, tokens };
    let changes = [
        Change::Genesis { cluster_id: 9, founders: vec![Founder { id: NodeId(1), internode }] },
        Change::Join { member: member.clone(), is_seed: true },
        Change::Update(member),
        Change::Voters(vec![NodeId(1), NodeId(2), NodeId(3)]),
        Change::Recover { cluster_id: 10, voter: NodeId(1) },
    ];
    let entry = |change| Entry { id: 3, change: Arc::new(change) }.to_bytes().to_vec();
    schema_seeds().into_iter().chain(changes.map(entry)).collect()
}

fn log_entry(data: &[u8]) {
    for piece in pieces(data) {
        match piece.split_first() {
            Some((0, entry)) => drop(stable::<Entry>(entry)),
            Some((_, register)) => drop(stable::<Acceptor<Entry>>(register)),
            None => {}
        }
    }
}

/// The node's own records as it finds them at its start: any may be damaged, none may take it down.
fn local_records(data: &[u8]) {
    let mut records = Vec::new();
    for (slot, piece) in (1u64..).zip(pieces(data)) {
        let Some((kind, value)) = piece.split_first() else { continue };
        let slot = slot.to_be_bytes();
        let key = match kind {
            0 => [prefix::MEMBERSHIP, b"generation"].concat(),
            1 => [prefix::MEMBERSHIP, b"log/", &slot].concat(),
            2 => [prefix::MEMBERSHIP, b"paxos/", &slot].concat(),
            3 => [prefix::NODE, b"0/timestamp_ceiling"].concat(),
            _ => [prefix::MEMBERSHIP, &value[..value.len().min(20)]].concat(),
        };
        records.push((Bytes::from(key), Bytes::copy_from_slice(value)));
    }
    let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
    let config = MemberConfig {
        id: NodeId(1),
        addresses: NodeAddresses { internode: address, client: address, native: address },
        data_center: "dc1".to_owned(),
        rack: "rack1".to_owned(),
        num_tokens: 4,
        seeds: vec![address],
        holds_data: true,
        expected_cluster: None,
        voter_patience: membership::VOTER_PATIENCE,
    };
    let now = Now { monotonic: Instant(0), wall: WallMicros(1_700_000_000_000_000) };
    let (node, membership): (Vec<_>, Vec<_>) = records.into_iter().partition(|(key, _)| key.starts_with(prefix::NODE));
    let _ = node::Recovered::from_local_records(&node, Vec::new());
    let _ = Member::recover(config, &membership, 1, now);
}

fn hint_segment(data: &[u8]) {
    let (written, mutations) = storage::decoders::hint_segment(data, 1);
    let again = storage::decoders::hint_segment(&written, 1);
    assert_eq!(again, (written, mutations), "what was read of a segment is not read again");
}

fn identity(data: &[u8]) {
    if let Some(written) = storage::decoders::identity(data) {
        assert_eq!(written, data, "two texts of one identity");
    }
}

fn watermark(data: &[u8]) {
    if let Some(written) = storage::decoders::watermark_slot(data) {
        assert_eq!(written, &data[..written.len()], "two slots of one watermark");
    }
}

/// The body of the file `TABLES`.
fn tables(data: &[u8]) {
    if let Some((written, tables)) = storage::decoders::tables(data) {
        let body = written.split_last_chunk::<8>().expect("its checksum ends it").0;
        let again = storage::decoders::tables(body).map(|(_, tables)| tables);
        assert_eq!(again, Some(tables), "what was read of the file is not read again");
    }
}

fn index_progress(data: &[u8]) {
    if let Some(written) = storage::decoders::index_progress(data) {
        assert_eq!(written, data, "two records of one progress");
    }
}

fn index_progress_key(data: &[u8]) {
    if let Some(written) = storage::decoders::index_progress_key(data) {
        assert_eq!(written, data, "two keys of one record");
    }
}

fn indexed_row(data: &[u8]) {
    if let Some(written) = storage::decoders::indexed_row(data) {
        assert_eq!(written, data, "two entries of one row");
    }
}

/// A statement, as a client sends it, against a schema with every type.
fn statement(data: &[u8]) {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        let changes = schema_changes().into_iter().take(3);
        changes.fold(Schema::default(), |schema, change| {
            schema.apply(&change).expect("the change can be applied").unwrap_or(schema)
        })
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(prepared) = query::prepare(text, &SCHEMA, Some("k")) {
        let values = vec![BoundValue::Null; prepared.parameters().len()];
        let _ = prepared.bind(&values, query::EvaluationContext::new(WallMicros(0), 0));
    }
}

/// A connection of the CQL native protocol after STARTUP: how it is carried, then its bytes. A version 4 body may hold
/// 255 times its bytes, which is within what a target may hold.
fn native_connection(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let version = native::Version::ALL[usize::from(how & 1)];
    let compression = match how >> 1 & 3 {
        0 => None,
        1 if version < native::Version::V5 => Some(native::Compression::Snappy),
        _ => Some(native::Compression::Lz4),
    };
    let mut inbound = native::Inbound::new(1 << 16);
    let mut ready = Vec::new();
    native::Answer::new(0, native::Response::Ready).encode(&mut ready, version).expect("it has no fields");
    inbound.buffer().extend_from_slice(&ready);
    assert!(inbound.next_envelope().is_ok_and(|envelope| envelope.is_some()), "an answer arrives");
    inbound.start(compression);
    inbound.buffer().extend_from_slice(bytes);
    while let Ok(Some(envelope)) = inbound.next_envelope() {
        let mut again = Vec::new();
        let decoded = (native::Message::decode(&envelope).ok(), native::Answer::decode(&envelope).ok());
        let written = match &decoded {
            (Some(message), _) => message.encode(&mut again, version),
            (_, Some(answer)) => answer.encode(&mut again, version),
            _ => continue,
        };
        written.expect("what was read can be written");
        let mut second = native::Inbound::new(1 << 20);
        second.buffer().extend_from_slice(&again);
        let envelope = second.next_envelope().expect("what was written is framed").expect("and whole");
        let read = (native::Message::decode(&envelope).ok(), native::Answer::decode(&envelope).ok());
        assert_eq!(read, decoded, "what was written is not what was read");
    }
}

fn native_seeds() -> Vec<Vec<u8>> {
    let startup =
        native::Request::Startup(native::Startup { options: [("CQL_VERSION".to_owned(), "3.0.0".to_owned())].into() });
    let parameters = native::QueryParameters::at(model::Consistency::One);
    let query = native::Request::Query(native::Query { text: "SELECT * FROM system.local".to_owned(), parameters });
    let messages = [startup, native::Request::Options, query].map(|request| native::Message {
        stream: 1,
        tracing: false,
        custom_payload: Default::default(),
        request,
    });
    let error = RequestError::Unprepared { id: "00ff".to_owned() };
    let error = native::ErrorResponse::of_request(&error, native::WriteType::Simple);
    let answer = native::Answer::new(1, native::Response::Error(error));
    let mut seeds = Vec::new();
    for (how, version, compression) in [
        (0, native::Version::V4, None),
        (2, native::Version::V4, Some(native::Compression::Snappy)),
        (1, native::Version::V5, None),
        (5, native::Version::V5, Some(native::Compression::Lz4)),
    ] {
        let mut outbound = native::Outbound::new(version);
        outbound.start(compression);
        messages.iter().for_each(|message| outbound.push_message(message).expect("it is short"));
        seeds.push([&[how][..], &outbound.take()].concat());
        outbound.push_answer(&answer).expect("it is short");
        seeds.push([&[how][..], &outbound.take()].concat());
    }
    seeds
}

fn tables_seeds() -> Vec<Vec<u8>> {
    let tables = schema_changes().into_iter().filter_map(|change| match change {
        SchemaChange::CreateTable { table, .. } => Some(table.to_bytes()),
        _ => None,
    });
    let one = |table: Bytes| [&b"HELTBL02"[..], &[1], &put(&table)].concat();
    [&b"HELTBL02\0"[..], b"HELTBL01\0"].map(<[u8]>::to_vec).into_iter().chain(tables.map(one)).collect()
}

/// Bytes behind their length.
fn put(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    model::codec::put_bytes(&mut out, bytes);
    out
}

fn index_progress_seeds() -> Vec<Vec<u8>> {
    let partition = PartitionKey::new(Bytes::from_static(b"key"));
    let position = ScanPosition { partition, within: None };
    vec![vec![1, 0], vec![0, 0], [&[0, 1][..], &position.to_bytes()].concat()]
}

fn index_progress_key_seeds() -> Vec<Vec<u8>> {
    let target = IndexTarget { column: ColumnId(3), part: IndexedPart::Value };
    vec![[&b"storage/indexes/t_01/"[..], &target.to_bytes()].concat()]
}

fn indexed_row_seeds() -> Vec<Vec<u8>> {
    let partition = PartitionKey::new(Bytes::from_static(b"key"));
    let start = [&partition.token.to_ordered_bytes()[..], &[3], b"key"].concat();
    vec![[&start[..], &[0x08]].concat(), [&start[..], &[0x40, 1, 0x38]].concat()]
}

fn statement_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "SELECT id, count(*) FROM t WHERE id IN (1, 2) AND (c_ascii, c_bigint) > ('a', 2) ORDER BY c_ascii LIMIT 3",
        "INSERT INTO k.u (id) VALUES (00000000-0000-0000-0000-000000000001) USING TTL 5 AND TIMESTAMP 6",
        "UPDATE t SET v = 0x00 WHERE id = ? AND c_ascii = :a IF v != 0x01",
        "BEGIN UNLOGGED BATCH DELETE FROM t WHERE id = 1; INSERT INTO u JSON '{\"id\": null}'; APPLY BATCH",
        "CREATE TABLE IF NOT EXISTS w (a frozen<map<text, list<int>>>, b tuple<int, text> static, c int, \
         PRIMARY KEY ((a, c), v)) WITH CLUSTERING ORDER BY (v DESC) AND compression = {'class': 'LZ4Compressor'}",
        "SELECT JSON writetime(v), cast(c_int AS text), $$a$$, 1 + -2 * 3 % 4 FROM t PER PARTITION LIMIT 1",
        "CREATE ROLE r WITH PASSWORD = 'p' AND LOGIN = true AND OPTIONS = {'a': {1, 2}}; /* ends */ -- here",
        "DESCRIBE FULL SCHEMA WITH INTERNALS",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn delivered(data: &[u8]) {
    if let Some(written) = storage::decoders::delivered(data) {
        assert_eq!(written, data, "two texts of one position");
    }
}

fn rows() -> Vec<Row> {
    let cell = |timestamp, value: &'static [u8]| Cell::live(timestamp, Bytes::from_static(value));
    let deletion = Deletion { timestamp: 5, local_seconds: 1_700_000_000 };
    let liveness = Some(Liveness { timestamp: 7, expiry: None });
    vec![
        Row::new(liveness, None, vec![(ColumnId(1), cell(7, b"a")), (ColumnId(200), cell(7, b""))]),
        Row::new(None, None, vec![(ColumnId(1), Cell::tombstone(7, 1_700_000_000))]),
        Row::deleted(deletion),
        Row::new(liveness, Some(deletion), vec![(ColumnId(1), cell(i64::MAX, b"b"))]),
        Row::new(None, None, vec![(ColumnId(1), cell(i64::MIN, &[0xff; 40]))]).with_complex([(
            ColumnId(9),
            ComplexColumn::new(Some(deletion), vec![(Bytes::from_static(b"e"), cell(8, b"c"))]),
        )]),
    ]
}

fn row_seeds() -> Vec<Vec<u8>> {
    rows().iter().map(|row| row.to_bytes().to_vec()).collect()
}

fn all_deletions() -> Vec<PartitionDeletions> {
    let deletion = |timestamp| Deletion { timestamp, local_seconds: 1 };
    let range = |start: &'static [u8], end: &'static [u8], timestamp| {
        PartitionDeletions::of_range(Bytes::from_static(start), Bytes::from_static(end), deletion(timestamp))
    };
    let (low, high) = (range(b"\x40\x01", b"\x40\x05", 3), range(b"\x40\x03", b"\x40\x09", 4));
    vec![PartitionDeletions::of_partition(deletion(2)), low.merge(&high), low, high]
}

fn deletions_seeds() -> Vec<Vec<u8>> {
    all_deletions().iter().map(|deletions| deletions.to_bytes().to_vec()).collect()
}

fn mutations() -> Vec<Mutation> {
    let partition = PartitionKey::new(Bytes::from_static(b"key"));
    let records = || {
        let rows = rows().into_iter().zip(0u8..);
        let of_rows = rows.map(|(row, number)| Record::row(Bytes::from(vec![0x40, number, 0x38]), &row));
        let mut records = vec![Record::deletions(&all_deletions().remove(1))];
        records.extend(of_rows);
        records
    };
    let mutation = |records| Mutation { table: TableId(7), partition: partition.clone(), records };
    vec![mutation(records()), mutation(records().split_off(3))]
}

fn mutation_seeds() -> Vec<Vec<u8>> {
    mutations().iter().map(|mutation| mutation.to_bytes().to_vec()).collect()
}

fn record_key_seeds() -> Vec<Vec<u8>> {
    let partition = PartitionKey::new(Bytes::from_static(b"key"));
    let start = |region| [&[region][..], &partition.token.to_ordered_bytes(), &[3], b"key"].concat();
    vec![start(0x10), [start(0x20), vec![0x08]].concat(), [start(0x20), vec![0x40, 1, 0x38]].concat()]
}

/// Changes of a schema with a table whose clustering key has every type that may be in one.
fn schema_changes() -> Vec<SchemaChange> {
    let ordered = CqlType::SCALARS.iter().filter(|scalar| scalar.is_key());
    let columns: Vec<String> = ordered.clone().map(|scalar| format!("c_{scalar} {scalar}")).collect();
    let names: Vec<String> = ordered.map(|scalar| format!("c_{scalar}")).collect();
    let order = names.iter().enumerate().map(|(n, name)| format!("{name} {}", if n % 2 == 0 { "ASC" } else { "DESC" }));
    let order = order.collect::<Vec<_>>().join(", ");
    let texts = [
        "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}".to_owned(),
        format!(
            "CREATE TABLE k.t (id int, v blob, {}, PRIMARY KEY (id, {})) \
             WITH CLUSTERING ORDER BY ({order})",
            columns.join(", "),
            names.join(", ")
        ),
        "CREATE TABLE IF NOT EXISTS k.u (id uuid PRIMARY KEY)".to_owned(),
        "TRUNCATE k.u".to_owned(),
        "DROP TABLE k.u".to_owned(),
        "DROP KEYSPACE IF EXISTS k".to_owned(),
    ];
    let (mut schema, mut changes) = (Schema::default(), Vec::new());
    for (text, number) in texts.iter().zip(1u128..) {
        let prepared = query::prepare(text, &schema, None).expect("the statement is right");
        let Ok(Bound::Schema(request)) = prepared.bind(&[], query::EvaluationContext::new(model::WallMicros(0), 0))
        else {
            unreachable!("it changes the schema")
        };
        let change = request.change(TableId(number), model::WallMicros(0));
        if let Some(next) = schema.apply(&change).expect("the change can be applied") {
            schema = next;
        }
        changes.push(change);
    }
    changes
}

fn schema_seeds() -> Vec<Vec<u8>> {
    schema_changes().iter().map(|change| change.to_bytes().to_vec()).collect()
}

fn clustering_seeds() -> Vec<Vec<u8>> {
    let tables = schema_changes().into_iter().filter_map(|change| match change {
        SchemaChange::CreateTable { table, .. } => Some(table),
        _ => None,
    });
    tables.map(|table| frame(&[&table.to_bytes(), &[0x38]])).collect()
}

fn hint_seeds() -> Vec<Vec<u8>> {
    let mutations: Vec<Bytes> = mutations().iter().map(Encode::to_bytes).collect();
    let mut out = b"HELHNT01".to_vec();
    // Checksums that are wrong: the fuzzer learns the rest of the form from it.
    for (mutation, position) in mutations.iter().zip(1u64..) {
        out.extend_from_slice(&(mutation.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&position.to_le_bytes());
        out.extend_from_slice(mutation);
    }
    vec![out]
}

fn identity_seeds() -> Vec<Vec<u8>> {
    let text = "helenus data directory\nformat 1\nnode 01234567-89ab-cdef-0011-223344556677\ncluster none\n\
                checksum 0123456789abcdef\n";
    vec![text.into()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests read the corpora")]
    use super::*;

    #[test]
    fn every_target_keeps_its_promises_on_its_seeds_and_corpus() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has inputs to begin with", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
            let corpus = target.corpus().unwrap();
            assert!(!corpus.is_empty(), "inputs of {} are kept", target.name);
            corpus.iter().for_each(|input| (target.run)(input));
        }
    }

    #[test]
    fn the_seeds_decode() {
        row_seeds().iter().for_each(|seed| assert!(canonical::<Row>(seed).is_some()));
        deletions_seeds().iter().for_each(|seed| assert!(canonical::<PartitionDeletions>(seed).is_some()));
        mutation_seeds().iter().for_each(|seed| assert!(canonical::<Mutation>(seed).is_some()));
        schema_seeds().iter().for_each(|seed| assert!(stable::<SchemaChange>(seed).is_some()));
        record_key_seeds().iter().for_each(|seed| assert!(storage::decoders::record_key(seed).is_some()));
        tables_seeds().iter().for_each(|seed| assert!(storage::decoders::tables(seed).is_some()));
        index_progress_seeds().iter().for_each(|seed| assert!(storage::decoders::index_progress(seed).is_some()));
        index_progress_key_seeds()
            .iter()
            .for_each(|seed| assert!(storage::decoders::index_progress_key(seed).is_some()));
        indexed_row_seeds().iter().for_each(|seed| assert!(storage::decoders::indexed_row(seed).is_some()));
        assert_eq!(pieces(&frame(&[b"a", b"", b"bc"])), [&b"a"[..], b"", b"bc"]);
    }
}
