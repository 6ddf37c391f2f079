//! The records that the catalog keeps: canonical, so that two replicas that hold the same hold the same bytes.

use bytes::Bytes;
use cairn_types::codec::Record;
use cairn_types::records::{
    AbandonedRecord, AccessKeyRecord, AccountRecord, BlobRecord, BucketRecord, BucketTagsRecord, CompletedRecord, CorsRecord,
    LeaseRecord, ManifestRecord, PartRecord, SessionRecord, TenantRecord, UploadRecord, UsageRecord, VersionRecord, VersionRow,
    ZoneRecord,
};

use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "records", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[Part { name: "records", run, seeds, memory: Memory::PerByte(256) }];

/// Every record of format 1, one a line: name and bytes.
const FORMAT_1: &str = include_str!("../../../cairn-types/fixtures/records/format-1.txt");

/// What must hold for the bytes of a record.
type Check = fn(&Bytes);

/// A record's name in the fixture, without what stands behind a `-` there, and what must hold for its bytes.
const KINDS: &[(&str, Check)] = &[
    ("version", version),
    ("marker", version),
    ("blob", canonical::<BlobRecord>),
    ("zone", canonical::<ZoneRecord>),
    ("session", canonical::<SessionRecord>),
    ("lease", canonical::<LeaseRecord>),
    ("upload", canonical::<UploadRecord>),
    ("part", canonical::<PartRecord>),
    ("manifest", manifest),
    ("completed", canonical::<CompletedRecord>),
    ("abandoned", canonical::<AbandonedRecord>),
    ("tenant", canonical::<TenantRecord>),
    ("account", canonical::<AccountRecord>),
    ("access", canonical::<AccessKeyRecord>),
    ("bucket", canonical::<BucketRecord>),
    ("usage", canonical::<UsageRecord>),
    ("tags", canonical::<BucketTagsRecord>),
    ("cors", canonical::<CorsRecord>),
];

/// What decodes is encoded to the same bytes, and those decode to the same record.
fn canonical<R: Record + PartialEq + std::fmt::Debug>(bytes: &Bytes) {
    if let Ok(record) = R::decode(bytes) {
        let again = record.encode();
        assert_eq!(again, bytes, "a {} has two encodings", R::NAME);
        assert_eq!(R::decode(&again).as_ref(), Ok(&record), "a {} is not what it was", R::NAME);
    }
}

/// A listing reads only the first half of a version, and must see there what a request sees that reads all of it.
fn version(bytes: &Bytes) {
    canonical::<VersionRow<VersionRecord>>(bytes);
    if let Ok(row) = VersionRow::<VersionRecord>::decode(bytes) {
        let summary = match row {
            VersionRow::Version(version) => VersionRow::Version(version.summary),
            VersionRow::Marker(marker) => VersionRow::Marker(marker),
        };
        assert_eq!(VersionRow::decode_summary(bytes), Ok(summary));
    }
    let _ = VersionRow::decode_summary(bytes);
}

/// Whatever the runs say, computing places in them ends, and comes in order.
fn manifest(bytes: &Bytes) {
    canonical::<ManifestRecord>(bytes);
    if let Ok(record) = ManifestRecord::decode(bytes) {
        let (count, length) = (record.part_count(), record.length());
        for offset in [0, length / 2, length.saturating_sub(1), u64::MAX] {
            let spans: Vec<_> = record.spans_from(offset).take(100).collect();
            assert!(spans.is_sorted_by_key(|span| (span.ordinal, span.offset)) && spans.iter().all(|span| span.ordinal <= count));
        }
        assert!(record.spans_from_ordinal(count / 2).take(100).all(|span| span.ordinal >= count / 2));
    }
}

/// The first byte says which record the others are.
fn run(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    if let Some((_, check)) = KINDS.get(usize::from(*kind) % KINDS.len()) {
        check(&Bytes::copy_from_slice(bytes));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let lines = FORMAT_1.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| seed(line.split_once(' ')?)).collect()
}

fn seed((name, digits): (&str, &str)) -> Option<Vec<u8>> {
    let kind = KINDS.iter().position(|(kind, _)| name.split('-').next() == Some(*kind))?;
    let bytes = digits.as_bytes().chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some(std::iter::once(kind as u8).chain(bytes).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_record_of_the_fixture_is_a_seed() {
        let lines = super::FORMAT_1.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(super::seeds().len(), lines);
    }
}
