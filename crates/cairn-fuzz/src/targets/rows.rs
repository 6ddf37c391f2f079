//! Keys of the catalog's rows, the payload of its batches, and the rows that its checkpoint keeps for itself.

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::{Applied, Table, Write};
use cairn_catalog::embedded::log::writes;
use cairn_catalog::embedded::state::tables;
use cairn_types::records::{InlineId, ManifestId, ZoneSet};
use cairn_types::{BlobId, BucketId, CatalogTime, SessionId};

use crate::reader::Reader;
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "rows", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[
    Part { name: "row_keys", run: keys, seeds: key_seeds, memory: Memory::PerByte(64) },
    Part { name: "row_keys_order", run: order, seeds: order_seeds, memory: Memory::PerByte(64) },
    Part { name: "batch_payload", run: payload, seeds: payload_seeds, memory: Memory::PerByte(256) },
    Part { name: "applied_position", run: applied, seeds: applied_seeds, memory: Memory::PerByte(8) },
];

/// The first byte says which table the others are a key of; a key that is read is written again as the same bytes.
fn keys(input: &[u8]) {
    let Some((table, row)) = input.split_first() else { return };
    let again = match table % 9 {
        0 => tables::read_current_key(row).map(|(bucket, key)| tables::current_key(bucket, key)),
        1 => tables::read_noncurrent_key(row).map(|(bucket, key, sequence)| tables::noncurrent_key(bucket, &key, sequence)),
        2 => tables::read_upload_key(row).map(|(bucket, key, upload)| tables::upload_key(bucket, &key, upload)),
        3 => tables::read_blob_key(row).map(tables::blob_key),
        4 => tables::read_incomplete_key(row).map(tables::incomplete_key),
        5 => tables::read_condemned_key(row).map(tables::condemned_key),
        6 => tables::read_owner_key(row).map(tables::owner_key),
        7 => tables::read_part_key(row).map(|(owner, number)| tables::part_key(owner, number)),
        _ => tables::read_due_key(row).map(|(due, owner)| tables::due_key(due, owner)),
    };
    if let Ok(again) = again {
        assert_eq!(again, row, "table {table}: two keys of one row");
    }
    if let Ok(number) = tables::read_number(row) {
        assert_eq!(tables::number_value(number), row);
    }
}

fn key_seeds() -> Vec<Vec<u8>> {
    let (bucket, blob) = (BucketId(7), BlobId { session: SessionId(3), counter: 9 });
    let (owner, due) = (ManifestId(77), CatalogTime(1_767_225_600_123));
    let position = cairn_catalog::CondemnedPosition { remaining: ZoneSet::ALL, due, blob };
    let rows = [
        tables::current_key(bucket, b"a/b"),
        tables::noncurrent_key(bucket, b"a\0b\0\0", 5),
        tables::upload_key(bucket, b"\0", u64::MAX),
        tables::blob_key(blob),
        tables::incomplete_key(cairn_catalog::IncompletePosition { missing: ZoneSet::ALL, blob }),
        tables::condemned_key(position),
        tables::owner_key(owner),
        tables::part_key(owner, 10_000),
        tables::due_key(due, owner),
        tables::inline_key(InlineId(1)),
    ];
    rows.iter().enumerate().map(|(table, row)| [&[table as u8][..], row].concat()).collect()
}

/// Two object keys with a byte 255 between them (no key has one): the rows of both stand in the order of the keys, none is the beginning
/// of another's, and the newest version comes first.
fn order(input: &[u8]) {
    let mut keys = input.split(|byte| *byte == 255);
    let (one, other) = (keys.next().unwrap_or_default(), keys.next().unwrap_or_default());
    let bucket = BucketId(1);
    let row = |key: &[u8], sequence| tables::noncurrent_key(bucket, key, sequence);
    assert!(row(one, 2) < row(one, 1));
    if one != other {
        assert_eq!(row(one, 1).cmp(&row(other, 9)), one.cmp(other), "rows are not in the order of keys");
        assert!(!row(other, 1).starts_with(&tables::rows_of_key(bucket, one)), "the rows of two keys mix");
    }
    if other.starts_with(one) {
        let behind = tables::behind_all(one);
        assert!(behind.is_none_or(|behind| other < behind.as_slice()), "a text is behind all that begin as it does");
    }
}

fn order_seeds() -> Vec<Vec<u8>> {
    [&b"a\xffa/b"[..], b"a/\xffa!", b"a\0\xffa", b"a\0\x01\xffa\0\0", b"\xff\0", b"caf\xc3\xa9\xffcafe"]
        .map(<[u8]>::to_vec)
        .to_vec()
}

/// What decodes is encoded to the same bytes.
fn payload(input: &[u8]) {
    if let Ok(decoded) = writes::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(writes::encode(&decoded), input, "a payload has two encodings");
        assert_eq!(decoded.iter().map(writes::encoded_length).sum::<usize>(), input.len());
    }
}

fn payload_seeds() -> Vec<Vec<u8>> {
    let (one, last) = (Table::new(3), Table::new(Table::MAXIMUM));
    let put = |table, key, value| Write::Put { table, key: Bytes::from_static(key), value: Bytes::from_static(value) };
    let delete = Write::Delete { table: last, key: Bytes::from_static(b"gone") };
    let written =
        [vec![put(one, b"key", b"value"), delete.clone(), put(last, b"", b"")], vec![put(one, b"k", b"")], vec![delete]];
    written.iter().map(|batch| writes::encode(batch).to_vec()).collect()
}

/// How far a checkpoint has been brought: the row that the key-value store keeps for itself.
fn applied(input: &[u8]) {
    if let Some(position) = Applied::decode(input) {
        assert_eq!(position.encode().as_ref(), input, "a position has two encodings");
    }
    let mut reader = Reader::new(input);
    let position = Applied { index: reader.u64(), epoch: reader.u64(), checksum: reader.u128() };
    assert_eq!(Applied::decode(position.encode().as_ref()), Some(position));
}

fn applied_seeds() -> Vec<Vec<u8>> {
    vec![Applied { index: 1, epoch: 2, checksum: 3 }.encode().to_vec()]
}
