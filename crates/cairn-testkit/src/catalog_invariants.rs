//! What must hold between the rows of the embedded catalog, whatever commands made them.
//!
//! Reads the tables by their keys and records alone, with none of the code that wrote them: whoever counts wrong there is found out here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use cairn_catalog::embedded::keyvalue::Snapshot;
use cairn_catalog::embedded::state::tables;
use cairn_types::codec::Record;
use cairn_types::records::{
    AbandonedRecord, BlobRecord, Body, BucketRecord, CompletedRecord, Extent, InlineId, ManifestId, ManifestRecord, PartRecord,
    UploadRecord, UsageRecord, VersionRecord, VersionRow, Versioning, ZoneRecord, ZoneSet,
};
use cairn_types::{BlobId, BucketId, Incarnation, VersionId, ZoneIndex};

/// Everything that is wrong, in words; empty when nothing is.
///
/// # Panics
/// When rows cannot be read at all.
pub fn violations(snapshot: &dyn Snapshot) -> Vec<String> {
    let mut checker = Checker::read(snapshot);
    checker.check_versions();
    checker.check_uploads();
    checker.check_manifests();
    checker.check_inline();
    checker.check_blobs();
    checker.check_usage();
    checker.check_directory(snapshot);
    checker.wrong
}

/// A key's rows: current, others by sequence, the pointer to a `null` version.
#[derive(Default)]
struct KeyRows {
    current: Option<VersionRow>,
    noncurrent: BTreeMap<u64, VersionRow>,
    null: Option<u64>,
}

#[derive(Default)]
struct Checker {
    wrong: Vec<String>,
    buckets: BTreeMap<BucketId, BucketRecord>,
    usage: BTreeMap<BucketId, UsageRecord>,
    keys: BTreeMap<(BucketId, Vec<u8>), KeyRows>,
    uploads: BTreeMap<ManifestId, (BucketId, UploadRecord)>,
    parts: BTreeMap<ManifestId, BTreeMap<u32, PartRecord>>,
    manifests: BTreeMap<ManifestId, ManifestRecord>,
    abandoned: BTreeMap<ManifestId, Option<BucketId>>,
    blobs: BTreeMap<BlobId, BlobRecord>,
    incomplete: BTreeSet<Bytes>,
    condemned: BTreeSet<Bytes>,
    inline: BTreeMap<InlineId, u64>,
    zones: [ZoneRecord; 3],
    sequence: u64,
    /// What was found to be there, counted anew.
    counted: BTreeMap<BucketId, UsageRecord>,
    named_blobs: BTreeMap<BlobId, u64>,
    named_inline: BTreeMap<InlineId, u64>,
    named_manifests: BTreeMap<ManifestId, u64>,
}

fn rows(snapshot: &dyn Snapshot, table: cairn_catalog::embedded::keyvalue::Table) -> Vec<(Bytes, Bytes)> {
    snapshot.range(table, Bound::Unbounded, Bound::Unbounded).map(|row| row.expect("a row")).collect()
}

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().expect("a number"))
}

impl Checker {
    fn read(snapshot: &dyn Snapshot) -> Self {
        let mut checker = Self::default();
        for (key, value) in rows(snapshot, tables::BUCKETS) {
            checker.buckets.insert(BucketId(number(&key)), BucketRecord::decode(&value).expect("a bucket"));
        }
        for (key, value) in rows(snapshot, tables::USAGE) {
            checker.usage.insert(BucketId(number(&key)), UsageRecord::decode(&value).expect("usage"));
        }
        for (key, value) in rows(snapshot, tables::CURRENT) {
            let (bucket, name) = tables::read_current_key(&key).expect("a key");
            let row = VersionRow::decode(&value).expect("a version");
            checker.keys.entry((bucket, name.to_vec())).or_default().current = Some(row);
        }
        for (key, value) in rows(snapshot, tables::NONCURRENT) {
            let (bucket, name, sequence) = tables::read_noncurrent_key(&key).expect("a key");
            let row = VersionRow::decode(&value).expect("a version");
            checker.keys.entry((bucket, name)).or_default().noncurrent.insert(sequence, row);
        }
        for (key, value) in rows(snapshot, tables::NULL_VERSIONS) {
            let (bucket, name) = tables::read_current_key(&key).expect("a key");
            checker.keys.entry((bucket, name.to_vec())).or_default().null = Some(number(&value));
        }
        for (key, value) in rows(snapshot, tables::UPLOADS) {
            let (bucket, _, upload) = tables::read_upload_key(&key).expect("a key");
            checker.uploads.insert(ManifestId(upload), (bucket, UploadRecord::decode(&value).expect("an upload")));
        }
        for (key, value) in rows(snapshot, tables::PARTS) {
            let (owner, part_number) = tables::read_part_key(&key).expect("a key");
            let part = PartRecord::decode(&value).expect("a part");
            checker.parts.entry(owner).or_default().insert(part_number, part);
        }
        for (key, value) in rows(snapshot, tables::MANIFESTS) {
            let manifest = ManifestRecord::decode(&value).expect("a manifest");
            checker.manifests.insert(tables::read_owner_key(&key).expect("a key"), manifest);
        }
        for (key, value) in rows(snapshot, tables::ABANDONED) {
            let (_, owner) = tables::read_due_key(&key).expect("a key");
            let abandoned = AbandonedRecord::decode(&value).expect("abandoned parts");
            if checker.abandoned.insert(owner, abandoned.bucket).is_some() {
                checker.wrong.push(format!("{owner:?} is abandoned twice"));
            }
        }
        for (key, value) in rows(snapshot, tables::BLOBS) {
            checker.blobs.insert(tables::read_blob_key(&key).expect("a key"), BlobRecord::decode(&value).expect("a blob"));
        }
        checker.incomplete = rows(snapshot, tables::INCOMPLETE).into_iter().map(|(key, _)| key).collect();
        checker.condemned = rows(snapshot, tables::CONDEMNED).into_iter().map(|(key, _)| key).collect();
        for (key, value) in rows(snapshot, tables::INLINE) {
            checker.inline.insert(InlineId(number(&key)), value.len() as u64);
        }
        for (key, value) in rows(snapshot, tables::ZONES) {
            checker.zones[usize::from(key[0])] = ZoneRecord::decode(&value).expect("a zone");
        }
        if let Some(row) = snapshot.get(tables::META, tables::META_SEQUENCE).expect("a row") {
            checker.sequence = number(&row);
        }
        checker
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    fn count_extents(&mut self, extents: &[Extent]) {
        for extent in extents {
            match extent {
                Extent::Inline { id, length } => {
                    *self.named_inline.entry(*id).or_default() += 1;
                    let there = self.inline.get(id).copied();
                    self.expect(there == Some(*length), || format!("{id:?} of {length} bytes is named, {there:?} is there"));
                }
                Extent::Blob { id, offset, length } => {
                    *self.named_blobs.entry(*id).or_default() += 1;
                    let blob = self.blobs.get(id).map(|blob| blob.content.length());
                    let within = blob.is_some_and(|blob| offset + length <= blob && *length > 0);
                    self.expect(within, || format!("{length} bytes from {offset} of {id:?} are named, {blob:?} are there"));
                }
            }
        }
    }

    fn count_version(&mut self, version: &VersionRecord) {
        let length = version.summary.length;
        match &version.details.body {
            Body::Empty => self.expect(length == 0, || format!("{version:?} is not empty")),
            Body::Inline(id) => self.count_extents(&[Extent::Inline { id: *id, length }]),
            Body::Extents(extents) => {
                let sum: u64 = extents.iter().map(Extent::length).sum();
                self.expect(sum == length, || format!("{version:?} has {sum} bytes"));
                self.count_extents(extents);
            }
            Body::Manifest { id, part_count } => {
                *self.named_manifests.entry(*id).or_default() += 1;
                let manifest = self.manifests.get(id).map(|manifest| (manifest.part_count(), manifest.length()));
                self.expect(manifest == Some((*part_count, length)), || format!("{version:?} has the manifest {manifest:?}"));
            }
        }
    }

    fn check_versions(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        for ((bucket, name), rows) in &keys {
            let words = || format!("{bucket:?} {:?}", String::from_utf8_lossy(name));
            let versioning = self.buckets.get(bucket).map(|bucket| bucket.versioning);
            self.expect(versioning.is_some(), || format!("{} is in no bucket", words()));
            if versioning == Some(Versioning::Unversioned) {
                self.expect(rows.noncurrent.is_empty() && rows.null.is_none(), || format!("{} has other versions", words()));
            }
            let mut counted = self.counted.get(bucket).copied().unwrap_or_default();
            let newest_other = rows.noncurrent.last_key_value();
            match &rows.current {
                Some(VersionRow::Version(version)) => {
                    let newest = newest_other.is_none_or(|(sequence, _)| *sequence < version.summary.sequence);
                    self.expect(newest, || format!("{}'s current version is not the newest", words()));
                    self.expect(version.summary.sequence <= self.sequence, || format!("{} is from the future", words()));
                    counted.objects += 1;
                    counted.object_bytes += version.summary.length;
                    self.count_version(version);
                }
                Some(VersionRow::Marker(_)) => self.wrong.push(format!("{}'s current version is a delete marker", words())),
                None => self.expect(matches!(newest_other, Some((_, VersionRow::Marker(_)))), || {
                    format!("{} has no current version, and its newest is no delete marker", words())
                }),
            }
            let mut nulls = Vec::new();
            for (sequence, row) in &rows.noncurrent {
                let (own, id) = match row {
                    VersionRow::Version(version) => {
                        counted.noncurrent_versions += 1;
                        counted.noncurrent_bytes += version.summary.length;
                        self.count_version(version);
                        (version.summary.sequence, version.summary.id)
                    }
                    VersionRow::Marker(marker) => {
                        counted.delete_markers += 1;
                        (marker.sequence, marker.id)
                    }
                };
                self.expect(own == *sequence, || format!("{} has {own} under {sequence}", words()));
                if id == VersionId::Null {
                    nulls.push(*sequence);
                }
            }
            self.expect(nulls.as_slice() == rows.null.as_slice(), || {
                format!("{} has the null versions {nulls:?}, and a pointer to {:?}", words(), rows.null)
            });
            let current_is_null =
                matches!(&rows.current, Some(VersionRow::Version(version)) if version.summary.id == VersionId::Null);
            self.expect(!(current_is_null && rows.null.is_some()), || format!("{} has two null versions", words()));
            self.counted.insert(*bucket, counted);
        }
    }

    fn check_uploads(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        for (owner, (bucket, _)) in &self.uploads {
            self.counted.entry(*bucket).or_default().uploads += 1;
            if !self.buckets.contains_key(bucket) {
                self.wrong.push(format!("the upload {owner:?} is in no bucket"));
            }
            if self.abandoned.contains_key(owner) || self.manifests.contains_key(owner) {
                self.wrong.push(format!("{owner:?} is open, and something else too"));
            }
        }
        for (owner, owned) in &parts {
            for part in owned.values() {
                let sum: u64 = part.extents.iter().map(Extent::length).sum();
                // One that is being taken apart has lost some already.
                let whole = sum == part.length || self.abandoned.contains_key(owner);
                self.expect(whole, || format!("{part:?} of {owner:?} has {sum} bytes"));
                self.count_extents(&part.extents);
            }
            let upload = self.uploads.get(owner).map(|(bucket, _)| *bucket);
            let bucket = upload.or_else(|| self.abandoned.get(owner).copied().flatten());
            let known = upload.is_some() || self.abandoned.contains_key(owner) || self.manifests.contains_key(owner);
            self.expect(known, || format!("the parts of {owner:?} are nobody's"));
            if let Some(bucket) = bucket.filter(|bucket| self.buckets.contains_key(bucket)) {
                let counted = self.counted.entry(bucket).or_default();
                counted.parts += owned.len() as u64;
                counted.part_bytes += owned.values().map(|part| part.length).sum::<u64>();
            }
        }
        self.parts = parts;
    }

    fn check_manifests(&mut self) {
        for (id, manifest) in &self.manifests {
            let named = self.named_manifests.get(id).copied().unwrap_or(0);
            if manifest.references != named {
                self.wrong.push(format!("{id:?} has {} references and is named {named} times", manifest.references));
            }
            if (named == 0) != self.abandoned.contains_key(id) {
                self.wrong.push(format!("{id:?} is named {named} times, abandoned: {}", self.abandoned.contains_key(id)));
            }
            // The parts of one that is being taken apart go one by one.
            if named > 0 {
                let listed: Vec<_> = manifest.spans_from_ordinal(0).map(|span| (span.number, span.length)).collect();
                let there: Vec<_> =
                    self.parts.get(id).into_iter().flatten().map(|(number, part)| (*number, part.length)).collect();
                if listed != there {
                    self.wrong.push(format!("{id:?} lists {listed:?}, {there:?} are there"));
                }
            }
        }
    }

    fn check_inline(&mut self) {
        for (id, count) in &self.named_inline {
            if *count != 1 {
                self.wrong.push(format!("{id:?} is named {count} times"));
            }
        }
        for id in self.inline.keys() {
            if !self.named_inline.contains_key(id) {
                self.wrong.push(format!("{id:?} is nobody's"));
            }
            if id.0 > self.sequence {
                self.wrong.push(format!("{id:?} is from the future"));
            }
        }
    }

    fn check_blobs(&mut self) {
        let incarnations: [Incarnation; 3] = [0, 1, 2].map(|zone: usize| self.zones[zone].incarnation);
        let mut incomplete = BTreeSet::new();
        let mut condemned = BTreeSet::new();
        for (id, blob) in &self.blobs {
            let named = self.named_blobs.get(id).copied().unwrap_or(0);
            if blob.references != named || blob.condemned.is_some() != (named == 0) {
                self.wrong.push(format!("{id:?} is named {named} times: {blob:?}"));
            }
            let missing = blob.content.missing(&incarnations);
            if let Some(state) = blob.condemned {
                let position = cairn_catalog::CondemnedPosition { remaining: state.remaining, due: state.due, blob: *id };
                condemned.insert(tables::condemned_key(position));
                if state.remaining.is_empty() {
                    self.wrong.push(format!("{id:?} waits for nobody"));
                }
                continue;
            }
            // What a zone lost with its memory is written down once the walk has passed (B2).
            let ahead: ZoneSet = ZoneIndex::ALL
                .into_iter()
                .filter(|zone| self.zones[zone.get()].rebuild.as_ref().is_some_and(|cursor| cursor.next <= *id))
                .collect();
            if blob.indexed_missing.difference(ahead) != missing.difference(ahead) {
                self.wrong.push(format!("{id:?} lacks {missing:?}, {:?} is written down", blob.indexed_missing));
            }
            if !blob.indexed_missing.is_empty() {
                let position = cairn_catalog::IncompletePosition { missing: blob.indexed_missing, blob: *id };
                incomplete.insert(tables::incomplete_key(position));
            }
        }
        for id in self.named_blobs.keys() {
            if !self.blobs.contains_key(id) {
                self.wrong.push(format!("{id:?} is named and not there"));
            }
        }
        if incomplete != self.incomplete {
            self.wrong.push(format!("the index of incomplete blobs is {:?}, not {incomplete:?}", self.incomplete));
        }
        if condemned != self.condemned {
            self.wrong.push(format!("the queue of condemned blobs is {:?}, not {condemned:?}", self.condemned));
        }
    }

    fn check_usage(&mut self) {
        for bucket in self.buckets.keys() {
            let usage = self.usage.get(bucket).copied().unwrap_or_default();
            let counted = self.counted.get(bucket).copied().unwrap_or_default();
            if usage != counted {
                self.wrong.push(format!("{bucket:?} has {counted:?}, written down is {usage:?}"));
            }
        }
        for bucket in self.usage.keys() {
            if !self.buckets.contains_key(bucket) {
                self.wrong.push(format!("the usage of {bucket:?} is nobody's"));
            }
        }
    }

    fn check_directory(&mut self, snapshot: &dyn Snapshot) {
        let names: BTreeMap<_, _> = self
            .buckets
            .iter()
            .map(|(id, bucket)| (tables::bucket_name_key(bucket.tenant, bucket.name.as_str().as_bytes()), id.0))
            .collect();
        let there: BTreeMap<_, _> =
            rows(snapshot, tables::BUCKET_NAMES).into_iter().map(|(key, value)| (key, number(&value))).collect();
        for table in [tables::BUCKET_TAGS, tables::BUCKET_CORS] {
            for (key, _) in rows(snapshot, table) {
                let bucket = BucketId(number(&key));
                let is_there = self.buckets.contains_key(&bucket);
                self.expect(is_there, || format!("a setting of {bucket:?} is nobody's"));
            }
        }
        self.expect(names == there, || format!("the buckets' names are {there:?}, not {names:?}"));
        let completed: BTreeSet<_> = rows(snapshot, tables::COMPLETED)
            .into_iter()
            .map(|(key, value)| {
                CompletedRecord::decode(&value).expect("a completed upload");
                tables::read_owner_key(&key).expect("a key")
            })
            .collect();
        let due: BTreeSet<_> = rows(snapshot, tables::COMPLETED_DUE)
            .into_iter()
            .map(|(key, _)| tables::read_due_key(&key).expect("a key").1)
            .collect();
        self.expect(completed == due, || format!("{completed:?} are completed, {due:?} will be forgotten"));
    }
}
