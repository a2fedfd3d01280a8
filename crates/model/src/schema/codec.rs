//! The encodings of what a schema is made of and of its changes, as the metadata log and storage keep them.
//!
//! Invariants:
//! * Tags are never used again for something else, and what was written by any release is read by later ones:
//!   a form that changes gets another tag or format.
//! * Equal things have equal encodings.

use super::TableOptionsChange;
use super::change::{NewColumn, SchemaChange, TableAlteration, TypeAlteration};
use super::role::RoleChange;
use super::{ClusteringOrder, Column, ColumnKind, DroppedColumn, Index, IndexedPart, Replication, Table};
use crate::codec::{CodecError, Decode, Encode, Reader, put_bytes, put_option, put_pairs, put_sequence, put_varint};
use crate::id::Epoch;
use crate::id::{ColumnId, TableId};
use crate::table_options::{Compaction, Compression, Fraction, TableOptions};
use crate::types::{CqlType, UserType};
use std::collections::BTreeMap;

impl Encode for Replication {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Replication::Simple { factor } => {
                out.push(0);
                factor.encode(out);
            }
            Replication::NetworkTopology { factors } => {
                out.push(1);
                put_varint(out, factors.len() as u64);
                for (name, factor) in factors {
                    name.encode(out);
                    factor.encode(out);
                }
            }
        }
    }
}

impl Decode for Replication {
    fn decode(reader: &mut Reader) -> Result<Replication, CodecError> {
        match reader.u8()? {
            0 => Ok(Replication::Simple { factor: reader.varint_u32()? }),
            1 => {
                let count = reader.count()?;
                let factors = (0..count).map(|_| Ok((reader.text()?, reader.varint_u32()?)));
                Ok(Replication::NetworkTopology { factors: factors.collect::<Result<_, CodecError>>()? })
            }
            _ => Err(CodecError::Invalid("replication")),
        }
    }
}

impl Encode for Column {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.name.encode(out);
        match self.kind {
            ColumnKind::PartitionKey(position) => {
                out.push(0);
                position.encode(out);
            }
            ColumnKind::Clustering(position, order) => {
                out.push(if order == ClusteringOrder::Ascending { 1 } else { 2 });
                position.encode(out);
            }
            ColumnKind::Static => out.push(3),
            ColumnKind::Regular => out.push(4),
        }
        self.cql_type.encode(out);
    }
}

impl Decode for Column {
    fn decode(reader: &mut Reader) -> Result<Column, CodecError> {
        let (id, name) = (ColumnId::decode(reader)?, reader.text()?);
        let kind = match reader.u8()? {
            0 => ColumnKind::PartitionKey(reader.varint_u32()?),
            1 => ColumnKind::Clustering(reader.varint_u32()?, ClusteringOrder::Ascending),
            2 => ColumnKind::Clustering(reader.varint_u32()?, ClusteringOrder::Descending),
            3 => ColumnKind::Static,
            4 => ColumnKind::Regular,
            _ => return Err(CodecError::Invalid("column kind")),
        };
        Ok(Column { id, name, kind, cql_type: CqlType::decode(reader)? })
    }
}

/// Tables before they had indexes, as [`Table::decode_before_indexes`] reads them, have no format. The first format had
/// no options that have no effect. Tables without constraints are written in the form that they had before there were
/// any, so that a node of an earlier release reads them.
const TABLE_FORMAT: u8 = 4;
const TABLE_FORMAT_WITHOUT_CONSTRAINTS: u8 = 3;
const TABLE_FORMAT_WITHOUT_KEPT: u8 = 2;

impl Encode for Table {
    fn encode(&self, out: &mut Vec<u8>) {
        let has_constraints = !self.constraints.is_empty();
        out.push(if has_constraints { TABLE_FORMAT } else { TABLE_FORMAT_WITHOUT_CONSTRAINTS });
        self.id.encode(out);
        self.generation.encode(out);
        self.keyspace.encode(out);
        self.name.encode(out);
        put_sequence(out, &self.columns);
        self.options.encode(out);
        put_sequence(out, &self.dropped_columns);
        put_sequence(out, &self.indexes);
        if has_constraints {
            put_sequence(out, &self.constraints);
        }
    }
}

impl Decode for Table {
    fn decode(reader: &mut Reader) -> Result<Table, CodecError> {
        let format = reader.u8()?;
        let options = match format {
            TABLE_FORMAT | TABLE_FORMAT_WITHOUT_CONSTRAINTS => TableOptions::decode,
            TABLE_FORMAT_WITHOUT_KEPT => TableOptions::decode_without_kept,
            version => return Err(CodecError::Version(version)),
        };
        let mut table = Table {
            id: TableId::decode(reader)?,
            generation: reader.varint_u32()?,
            keyspace: reader.text()?,
            name: reader.text()?,
            columns: reader.sequence()?,
            options: options(reader)?,
            dropped_columns: reader.sequence()?,
            indexes: reader.sequence()?,
            constraints: Vec::new(),
        };
        if format == TABLE_FORMAT {
            table.constraints = reader.sequence()?;
            if table.constraints.is_empty() {
                return Err(CodecError::Invalid("constraints"));
            }
        }
        Ok(table)
    }
}

impl Table {
    /// Reads the form that tables had before there were indexes.
    ///
    /// # Errors
    /// When it is not in that form.
    pub fn decode_before_indexes(reader: &mut Reader) -> Result<Table, CodecError> {
        let dropped = |reader: &mut Reader| {
            let (id, name, cql_type) = (ColumnId::decode(reader)?, reader.text()?, CqlType::decode(reader)?);
            Ok(DroppedColumn { id, name, cql_type, is_static: false, dropped_at: reader.i64()? })
        };
        Ok(Table {
            id: TableId::decode(reader)?,
            generation: reader.varint_u32()?,
            keyspace: reader.text()?,
            name: reader.text()?,
            columns: reader.sequence()?,
            options: TableOptions::decode_without_kept(reader)?,
            dropped_columns: (0..reader.count()?).map(|_| dropped(reader)).collect::<Result<_, CodecError>>()?,
            indexes: Vec::new(),
            constraints: Vec::new(),
        })
    }
}

impl Encode for DroppedColumn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.name.encode(out);
        self.cql_type.encode(out);
        self.is_static.encode(out);
        self.dropped_at.encode(out);
    }
}

impl Decode for DroppedColumn {
    fn decode(reader: &mut Reader) -> Result<DroppedColumn, CodecError> {
        let (id, name, cql_type) = (ColumnId::decode(reader)?, reader.text()?, CqlType::decode(reader)?);
        Ok(DroppedColumn { id, name, cql_type, is_static: reader.bool()?, dropped_at: reader.i64()? })
    }
}

impl Encode for IndexedPart {
    fn encode(&self, out: &mut Vec<u8>) {
        let position = IndexedPart::ALL.iter().position(|part| part == self);
        out.push(position.expect("ALL lists every part") as u8);
    }
}

impl Decode for IndexedPart {
    fn decode(reader: &mut Reader) -> Result<IndexedPart, CodecError> {
        let part = IndexedPart::ALL.get(usize::from(reader.u8()?)).copied();
        part.ok_or(CodecError::Invalid("indexed part"))
    }
}

impl Encode for Index {
    fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.column.encode(out);
        self.part.encode(out);
        self.class.encode(out);
        put_pairs(out, self.options.iter());
    }
}

impl Decode for Index {
    fn decode(reader: &mut Reader) -> Result<Index, CodecError> {
        let (name, column) = (reader.text()?, ColumnId::decode(reader)?);
        let part = IndexedPart::decode(reader)?;
        Ok(Index { name, column, part, class: reader.text()?, options: reader.pairs()? })
    }
}

impl Encode for NewColumn {
    fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.cql_type.encode(out);
        self.is_static.encode(out);
    }
}

impl Decode for NewColumn {
    fn decode(reader: &mut Reader) -> Result<NewColumn, CodecError> {
        let (name, cql_type) = (reader.text()?, CqlType::decode(reader)?);
        Ok(NewColumn { name, cql_type, is_static: reader.bool()?, checks: Vec::new() })
    }
}

/// The parts of the options that a change can name, each with a tag of its own.
impl Encode for TableOptionsChange {
    fn encode(&self, out: &mut Vec<u8>) {
        let TableOptionsChange {
            comment,
            default_time_to_live,
            gc_grace_seconds,
            compaction,
            compression,
            bloom_filter_fp_chance,
            allow_auto_snapshot,
            kept,
        } = self;
        let mut parts: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut part = |tag: u8, value: Option<Vec<u8>>| parts.extend(value.map(|value| (tag, value)));
        part(1, comment.as_ref().map(encoded));
        part(2, default_time_to_live.as_ref().map(encoded));
        part(3, gc_grace_seconds.as_ref().map(encoded));
        part(4, compaction.as_ref().map(encoded));
        part(5, compression.as_ref().map(encoded));
        part(6, bloom_filter_fp_chance.as_ref().map(|chance| encoded(&chance.0)));
        part(7, allow_auto_snapshot.as_ref().map(encoded));
        part(8, (!kept.is_empty()).then(|| encoded_kept(kept)));
        put_varint(out, parts.len() as u64);
        for (tag, value) in parts {
            out.push(tag);
            out.extend_from_slice(&value);
        }
    }
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

fn encoded_kept(kept: &BTreeMap<String, Option<String>>) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, kept.len() as u64);
    for (name, value) in kept {
        name.encode(&mut out);
        put_option(&mut out, value.as_ref());
    }
    out
}

impl Decode for TableOptionsChange {
    fn decode(reader: &mut Reader) -> Result<TableOptionsChange, CodecError> {
        let mut change = TableOptionsChange::default();
        let mut last = 0;
        for _ in 0..reader.count()? {
            let tag = reader.u8()?;
            if tag <= last {
                return Err(CodecError::Invalid("table options"));
            }
            last = tag;
            match tag {
                1 => change.comment = Some(reader.text()?),
                2 => change.default_time_to_live = Some(reader.varint_u32()?),
                3 => change.gc_grace_seconds = Some(reader.varint_u32()?),
                4 => change.compaction = Some(Compaction::decode(reader)?),
                5 => change.compression = Some(Compression::decode(reader)?),
                6 => change.bloom_filter_fp_chance = Some(Fraction(reader.varint_u32()?)),
                7 => change.allow_auto_snapshot = Some(reader.bool()?),
                8 => {
                    for _ in 0..reader.count()? {
                        let (name, value) = (reader.text()?, reader.option()?);
                        if change.kept.last_key_value().is_some_and(|(last, _)| *last >= name) {
                            return Err(CodecError::Invalid("table options"));
                        }
                        change.kept.insert(name, value);
                    }
                }
                _ => return Err(CodecError::Invalid("table options")),
            }
        }
        Ok(change)
    }
}

impl Encode for TableAlteration {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            TableAlteration::Add { columns, if_not_exists } => {
                // Without constraints in the form from before there were any.
                let has_checks = columns.iter().any(|column| !column.checks.is_empty());
                out.push(if has_checks { 4 } else { 0 });
                put_sequence(out, columns);
                if_not_exists.encode(out);
                if has_checks {
                    columns.iter().for_each(|column| put_sequence(out, &column.checks));
                }
            }
            TableAlteration::Drop { columns, dropped_at, if_exists } => {
                out.push(1);
                put_varint(out, columns.len() as u64);
                columns.iter().for_each(|name| name.encode(out));
                dropped_at.encode(out);
                if_exists.encode(out);
            }
            TableAlteration::Rename { renames, if_exists } => {
                out.push(2);
                put_pairs(out, renames.iter().map(|(from, to)| (from, to)));
                if_exists.encode(out);
            }
            TableAlteration::With(change) => {
                out.push(3);
                change.encode(out);
            }
            TableAlteration::Check { column, checks, if_exists } => {
                out.push(5);
                column.encode(out);
                put_sequence(out, checks);
                if_exists.encode(out);
            }
        }
    }
}

impl Decode for TableAlteration {
    fn decode(reader: &mut Reader) -> Result<TableAlteration, CodecError> {
        Ok(match reader.u8()? {
            0 => TableAlteration::Add { columns: reader.sequence()?, if_not_exists: reader.bool()? },
            1 => {
                let count = reader.count()?;
                let columns = (0..count).map(|_| reader.text()).collect::<Result<_, CodecError>>()?;
                TableAlteration::Drop { columns, dropped_at: reader.i64()?, if_exists: reader.bool()? }
            }
            2 => TableAlteration::Rename { renames: reader.pairs()?, if_exists: reader.bool()? },
            3 => TableAlteration::With(TableOptionsChange::decode(reader)?),
            4 => {
                let (mut columns, if_not_exists): (Vec<NewColumn>, bool) = (reader.sequence()?, reader.bool()?);
                for column in &mut columns {
                    column.checks = reader.sequence()?;
                }
                if columns.iter().all(|column| column.checks.is_empty()) {
                    return Err(CodecError::Invalid("constraints"));
                }
                TableAlteration::Add { columns, if_not_exists }
            }
            5 => {
                TableAlteration::Check { column: reader.text()?, checks: reader.sequence()?, if_exists: reader.bool()? }
            }
            _ => return Err(CodecError::Invalid("alteration of a table")),
        })
    }
}

impl Encode for TypeAlteration {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            TypeAlteration::Add { field, cql_type, if_not_exists } => {
                out.push(0);
                field.encode(out);
                cql_type.encode(out);
                if_not_exists.encode(out);
            }
            TypeAlteration::Rename { renames, if_exists } => {
                out.push(1);
                put_pairs(out, renames.iter().map(|(from, to)| (from, to)));
                if_exists.encode(out);
            }
        }
    }
}

impl Decode for TypeAlteration {
    fn decode(reader: &mut Reader) -> Result<TypeAlteration, CodecError> {
        Ok(match reader.u8()? {
            0 => TypeAlteration::Add {
                field: reader.text()?,
                cql_type: CqlType::decode(reader)?,
                if_not_exists: reader.bool()?,
            },
            1 => TypeAlteration::Rename { renames: reader.pairs()?, if_exists: reader.bool()? },
            _ => return Err(CodecError::Invalid("alteration of a type")),
        })
    }
}

/// A keyspace's name, and that of something in it.
fn put_names(out: &mut Vec<u8>, keyspace: &str, name: &str) {
    put_bytes(out, keyspace.as_bytes());
    put_bytes(out, name.as_bytes());
}

impl Encode for SchemaChange {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            SchemaChange::CreateKeyspace { name, replication, if_not_exists } => {
                out.push(0);
                name.encode(out);
                replication.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropKeyspace { name, if_exists } => {
                out.push(1);
                name.encode(out);
                if_exists.encode(out);
            }
            SchemaChange::CreateTable { table, if_not_exists } => {
                out.push(7);
                table.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropTable { keyspace, name, if_exists } => {
                out.push(3);
                put_names(out, keyspace, name);
                if_exists.encode(out);
            }
            SchemaChange::TruncateTable { keyspace, name } => {
                out.push(4);
                put_names(out, keyspace, name);
            }
            SchemaChange::CreateType { definition, if_not_exists } => {
                out.push(5);
                definition.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropType { keyspace, name, if_exists } => {
                out.push(6);
                put_names(out, keyspace, name);
                if_exists.encode(out);
            }
            SchemaChange::AlterKeyspace { name, replication, if_exists } => {
                out.push(8);
                name.encode(out);
                put_option(out, replication.as_ref());
                if_exists.encode(out);
            }
            SchemaChange::AdvanceReplication { keyspace, since } => {
                out.push(14);
                keyspace.encode(out);
                since.encode(out);
            }
            SchemaChange::AlterTable { keyspace, name, alteration, if_exists } => {
                out.push(9);
                put_names(out, keyspace, name);
                alteration.encode(out);
                if_exists.encode(out);
            }
            SchemaChange::AlterType { keyspace, name, alteration, if_exists } => {
                out.push(10);
                put_names(out, keyspace, name);
                alteration.encode(out);
                if_exists.encode(out);
            }
            SchemaChange::CreateIndex { keyspace, table, index, if_not_exists } => {
                out.push(11);
                put_names(out, keyspace, table);
                index.encode(out);
                if_not_exists.encode(out);
            }
            SchemaChange::DropIndex { keyspace, name, if_exists } => {
                out.push(12);
                put_names(out, keyspace, name);
                if_exists.encode(out);
            }
            SchemaChange::Role(change) => {
                out.push(13);
                change.encode(out);
            }
        }
    }
}

impl Decode for SchemaChange {
    fn decode(reader: &mut Reader) -> Result<SchemaChange, CodecError> {
        Ok(match reader.u8()? {
            0 => SchemaChange::CreateKeyspace {
                name: reader.text()?,
                replication: Replication::decode(reader)?,
                if_not_exists: reader.bool()?,
            },
            1 => SchemaChange::DropKeyspace { name: reader.text()?, if_exists: reader.bool()? },
            // Written by releases without indexes.
            2 => {
                let table = Table::decode_before_indexes(reader)?;
                SchemaChange::CreateTable { table, if_not_exists: reader.bool()? }
            }
            3 => SchemaChange::DropTable { keyspace: reader.text()?, name: reader.text()?, if_exists: reader.bool()? },
            4 => SchemaChange::TruncateTable { keyspace: reader.text()?, name: reader.text()? },
            5 => SchemaChange::CreateType { definition: UserType::decode(reader)?, if_not_exists: reader.bool()? },
            6 => SchemaChange::DropType { keyspace: reader.text()?, name: reader.text()?, if_exists: reader.bool()? },
            7 => SchemaChange::CreateTable { table: Table::decode(reader)?, if_not_exists: reader.bool()? },
            8 => SchemaChange::AlterKeyspace {
                name: reader.text()?,
                replication: reader.option()?,
                if_exists: reader.bool()?,
            },
            9 => SchemaChange::AlterTable {
                keyspace: reader.text()?,
                name: reader.text()?,
                alteration: TableAlteration::decode(reader)?,
                if_exists: reader.bool()?,
            },
            10 => SchemaChange::AlterType {
                keyspace: reader.text()?,
                name: reader.text()?,
                alteration: TypeAlteration::decode(reader)?,
                if_exists: reader.bool()?,
            },
            11 => SchemaChange::CreateIndex {
                keyspace: reader.text()?,
                table: reader.text()?,
                index: Index::decode(reader)?,
                if_not_exists: reader.bool()?,
            },
            12 => SchemaChange::DropIndex { keyspace: reader.text()?, name: reader.text()?, if_exists: reader.bool()? },
            13 => SchemaChange::Role(RoleChange::decode(reader)?),
            14 => SchemaChange::AdvanceReplication { keyspace: reader.text()?, since: Epoch::decode(reader)? },
            _ => return Err(CodecError::Invalid("schema change")),
        })
    }
}
