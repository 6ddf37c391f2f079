//! Any sequence of operations, compared with [`ReferenceBucket`] after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use cairn_catalog::{
    CatalogError, CatalogResult, ConfirmDeletions, CopyPart, CopyVersion, DeleteTarget, DeleteVersion, DeleteVersions, Deleted,
    ListBlobs, ListCondemned, ListEntry, ListObjects, ListPosition, ListScope, ListUploads, ListVersions, ListedRow, NamedPart,
    NewContent, PutPart, SetVersioning, SourceVersion, UploadName, UploadPosition, VersionPosition, WriteCondition,
};
use cairn_types::records::{Versioning, ZoneSet};
use cairn_types::{BlobId, VersionId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::reference::{Content, Line, Object, Piece, ReferenceBucket, Upload};
use super::uploads::{completion, create};
use super::{World, attributes, etag, key};

/// Keys that are awkward together: one the beginning of another, delimiters everywhere, bytes below and above `/`, zeros, several bytes to a
/// character.
const KEYS: [&str; 14] =
    ["a", "a/", "a/b", "a/b/c", "a//", "a!", "a0", "ab", "a\u{0}", "a\u{0}\u{1}b", "b/a", "é", "é/é", "\u{10ffff}"];
const PREFIXES: [&str; 9] = ["", "a", "a/", "a/b", "a\u{0}", "b", "é", "x", "a/b/c/d"];
const DELIMITERS: [Option<&str>; 6] = [None, Some("/"), Some("b"), Some("//"), Some("/b"), Some("é")];
const POSITIONS: [&str; 8] = ["", "a", "a/", "a/a", "a/b/", "a\u{0}", "b", "z"];

/// Something to do or to ask. Numbers choose among what there is, whatever that is at the time.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each number chooses what it is called after")]
pub enum Operation {
    /// Write a version.
    Put { key: u8, size: u8, condition: u8 },
    /// Copy a version.
    Copy { from: u8, version: u8, to: u8, condition: u8 },
    /// Delete a key or one of its versions.
    Delete { key: u8, version: u8, condition: u8 },
    /// Delete several.
    DeleteMany(Vec<(u8, u8)>),
    /// Enable or suspend versioning.
    Versioning(bool),
    /// Open an upload.
    CreateUpload { key: u8 },
    /// Write a part.
    PutPart { upload: u8, number: u8, size: u8 },
    /// Write a part by reference.
    CopyPart { upload: u8, number: u8, from: u8, version: u8, range: (u8, u8) },
    /// Complete an upload with some of its parts.
    Complete { upload: u8, parts: u8, condition: u8 },
    /// Abort an upload.
    Abort { upload: u8 },
    /// Take apart what nothing refers to.
    Reap,
    /// Let the grace pass.
    Pass,
    /// List everything in one of three ways.
    List { what: u8, prefix: u8, delimiter: u8, limit: u8, position: u8, number: u8 },
}

/// Sequences of operations.
pub fn operations(length: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Operation>> {
    // Few keys are used most of the time, so that things happen to the same ones.
    let key = || prop_oneof![3 => 0_u8..3, 1 => 0_u8..KEYS.len() as u8];
    let any_number = any::<u8>;
    let condition = || prop_oneof![3 => Just(0_u8), 1 => any::<u8>()];
    let operation = prop_oneof![
        6 => (key(), 0_u8..5, condition()).prop_map(|(key, size, condition)| Operation::Put { key, size, condition }),
        2 => (key(), any_number(), key(), condition())
            .prop_map(|(from, version, to, condition)| Operation::Copy { from, version, to, condition }),
        4 => (key(), any_number(), condition())
            .prop_map(|(key, version, condition)| Operation::Delete { key, version, condition }),
        1 => prop::collection::vec((key(), any_number()), 0..6).prop_map(Operation::DeleteMany),
        1 => any::<bool>().prop_map(Operation::Versioning),
        1 => key().prop_map(|key| Operation::CreateUpload { key }),
        3 => (any_number(), 1_u8..6, 0_u8..5)
            .prop_map(|(upload, number, size)| Operation::PutPart { upload, number, size }),
        2 => (any_number(), 1_u8..6, key(), any_number(), any::<(u8, u8)>())
            .prop_map(|(upload, number, from, version, range)| Operation::CopyPart { upload, number, from, version, range }),
        2 => (any_number(), any_number(), condition())
            .prop_map(|(upload, parts, condition)| Operation::Complete { upload, parts, condition }),
        1 => any_number().prop_map(|upload| Operation::Abort { upload }),
        1 => Just(Operation::Reap),
        1 => Just(Operation::Pass),
        6 => (0_u8..3, any_number(), any_number(), 0_u8..6, any_number(), any_number()).prop_map(
            |(what, prefix, delimiter, limit, position, number)| Operation::List {
                what, prefix, delimiter, limit, position, number
            }
        ),
    ];
    prop::collection::vec(operation, length)
}

/// The sequence of this seed.
///
/// # Panics
/// Never: the strategy always gives a value.
#[must_use]
pub fn operations_of(seed: u64, length: usize) -> Vec<Operation> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let generator = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), generator);
    operations(length).new_tree(&mut runner).expect("a sequence").current()
}

/// Does it all to a bucket of its own and to a reference, and compares them at every step.
///
/// # Panics
/// With words when they differ.
pub async fn agrees_with_the_reference(world: &World<'_>, operations: &[Operation]) {
    let bucket = world.make_bucket("random", Versioning::Unversioned).await;
    let mut run = Run {
        world: world.in_bucket(bucket),
        model: ReferenceBucket::default(),
        sequences: BTreeMap::new(),
        parts: BTreeMap::new(),
        blobs: BTreeSet::new(),
        number: 0,
    };
    for (step, operation) in operations.iter().enumerate() {
        run.number = step as u64 + 1;
        run.step(operation).await;
        run.compare_versions().await;
    }
    run.compare_everything().await;
}

struct Run<'a> {
    world: World<'a>,
    model: ReferenceBucket,
    /// The catalog's sequence of each version, by key and id.
    sequences: BTreeMap<(String, VersionId), u64>,
    /// The catalog's sequence of each part, by upload and number.
    parts: BTreeMap<([u8; 16], u32), u64>,
    /// Every blob that was ever committed.
    blobs: BTreeSet<BlobId>,
    number: u64,
}

fn choose<T>(from: &[T], number: u8) -> Option<&T> {
    from.get(usize::from(number) % from.len().max(1))
}

fn name(number: u8) -> &'static str {
    KEYS[usize::from(number) % KEYS.len()]
}

impl Run<'_> {
    fn condition(&self, name: &str, number: u8) -> WriteCondition {
        match number % 6 {
            0 | 1 => WriteCondition::None,
            2 => WriteCondition::Absent,
            3 => WriteCondition::Present,
            4 => WriteCondition::Matches(vec![etag(0)]),
            _ => WriteCondition::Matches(self.model.current(name).map(|object| object.etag).into_iter().collect()),
        }
    }

    /// An existing version of the key, or one that is not there.
    fn version(&self, name: &str, number: u8) -> VersionId {
        let versions = self.model.versions(name);
        match number % 8 {
            0 => VersionId::Null,
            1 => {
                self.model.made.keys().nth(usize::from(number) % self.model.made.len().max(1)).copied().unwrap_or(VersionId::Null)
            }
            _ => choose(versions, number / 8).map_or(VersionId::Id([3; 16]), |version| version.id),
        }
    }

    /// A new body: nothing, a few bytes, or blobs.
    fn content(&mut self, size: u8) -> (NewContent, Content) {
        match size {
            0 => (NewContent::Inline(Bytes::new()), Content::default()),
            1 | 2 => {
                let text = format!("text {}", self.number);
                (NewContent::Inline(Bytes::from(text.clone())), Content::of_bytes(text.as_bytes()))
            }
            _ => {
                let mut content = Content::default();
                let mut blobs = Vec::new();
                for count in 3..=size {
                    let zones: &[u8] = if count == 3 { &[0, 1, 2] } else { &[0, 2] };
                    let blob = self.world.blob(&[u32::from(size), 7], zones);
                    content.push(Piece::Blob { id: blob.id, offset: 0, length: u64::from(size) + 7 });
                    self.blobs.insert(blob.id);
                    blobs.push(blob);
                }
                (NewContent::Blobs(blobs), content)
            }
        }
    }

    /// Content that was refused was not committed.
    fn forget(&mut self, content: &Content) {
        for blob in content.blobs() {
            self.blobs.remove(&blob);
        }
    }

    fn object(&self, content: Content) -> Object {
        let given = attributes(self.number);
        Object { etag: given.etag, content, content_type: given.metadata.content_type, completion: None }
    }

    fn source(&self, name: &str, id: VersionId) -> SourceVersion {
        let sequence = self.sequences.get(&(name.to_owned(), id)).copied().unwrap_or(0);
        SourceVersion { bucket: self.world.bucket, key: key(name), version_id: id, sequence }
    }

    fn source_object(&self, name: &str, id: VersionId) -> Option<Object> {
        self.model.find(name, id)?.object.clone()
    }

    fn wrote(&mut self, name: &str, result: CatalogResult<cairn_catalog::Written>, expected: CatalogResult<Object>) {
        match (result, expected) {
            (Ok(written), Ok(object)) => {
                assert_eq!((written.length, written.versioning), (object.content.length(), self.model.versioning));
                self.sequences.insert((name.to_owned(), written.version_id), written.sequence);
                self.model.put(name, written.version_id, object);
            }
            (Err(error), Err(expected)) => assert_eq!(error, expected),
            (result, expected) => panic!("{result:?} where {expected:?} was expected"),
        }
    }

    async fn step(&mut self, operation: &Operation) {
        match operation {
            Operation::Put { key, size, condition } => self.put(name(*key), *size, *condition).await,
            Operation::Copy { from, version, to, condition } => {
                self.copy(name(*from), *version, name(*to), *condition).await;
            }
            Operation::Delete { key, version, condition } => self.delete(name(*key), *version, *condition).await,
            Operation::DeleteMany(targets) => self.delete_many(targets).await,
            Operation::Versioning(enabled) => {
                let versioning = if *enabled { Versioning::Enabled } else { Versioning::Suspended };
                let request = SetVersioning { bucket: self.world.bucket, versioning };
                assert_eq!(self.world.catalog.set_versioning(request).await.unwrap().versioning, versioning);
                self.model.versioning = versioning;
            }
            Operation::CreateUpload { key } => {
                let upload = create(&self.world, name(*key)).await;
                let parts = BTreeMap::new();
                self.model.uploads.push(Upload { key: name(*key).to_owned(), id: upload.upload_id, parts });
            }
            Operation::PutPart { upload, number, size } => self.put_part(*upload, u32::from(*number), *size).await,
            Operation::CopyPart { upload, number, from, version, range } => {
                self.copy_part(*upload, u32::from(*number), name(*from), *version, *range).await;
            }
            Operation::Complete { upload, parts, condition } => self.complete(*upload, *parts, *condition).await,
            Operation::Abort { upload } => {
                if let Some(upload) = choose(&self.model.uploads, *upload).cloned() {
                    self.world.catalog.abort_upload(self.upload_name(&upload)).await.unwrap();
                    self.model.uploads.retain(|other| other.id != upload.id);
                }
            }
            Operation::Reap => self.world.reap().await,
            Operation::Pass => self.world.subject.pass(self.world.catalog.limits().garbage_grace).await,
            Operation::List { what, prefix, delimiter, limit, position, number } => {
                let scope = ListScope {
                    bucket: self.world.bucket,
                    prefix: PREFIXES[usize::from(*prefix) % PREFIXES.len()].to_owned(),
                    delimiter: DELIMITERS[usize::from(*delimiter) % DELIMITERS.len()].map(str::to_owned),
                    limit: u32::from(*limit),
                };
                match what {
                    0 => self.list_objects(scope, *position).await,
                    1 => self.list_versions(scope, *position, *number).await,
                    _ => self.list_uploads(scope, *position, *number).await,
                }
            }
        }
    }

    async fn put(&mut self, name: &str, size: u8, condition: u8) {
        let (new, content) = self.content(size);
        let mut request = self.world.put_request(name, self.number, new);
        request.condition = self.condition(name, condition);
        let expected = self.model.check(name, &request.condition).map(|()| self.object(content.clone()));
        if expected.is_err() {
            self.forget(&content);
        }
        let result = self.world.catalog.put_version(request).await;
        self.wrote(name, result, expected);
    }

    async fn copy(&mut self, from: &str, version: u8, to: &str, condition: u8) {
        let id = self.version(from, version);
        let condition = self.condition(to, condition);
        let expected = match self.source_object(from, id) {
            None => Err(CatalogError::SourceChanged),
            Some(source) => {
                self.model.check(to, &condition).map(|()| Object { completion: source.completion, ..self.object(source.content) })
            }
        };
        let request = CopyVersion {
            session: self.world.session,
            source: self.source(from, id),
            bucket: self.world.bucket,
            key: key(to),
            attributes: attributes(self.number),
            condition,
        };
        let result = self.world.catalog.copy_version(request).await;
        self.wrote(to, result, expected);
    }

    /// What to delete, and what the answer must be.
    fn target(&self, name: &str, version: u8, condition: u8) -> (DeleteTarget, CatalogResult<bool>) {
        let version_id = (version % 2 == 1).then(|| self.version(name, version / 2));
        let condition = self.condition(name, condition);
        let expected = self.model.check(name, &condition).map(|()| match version_id {
            Some(id) => self.model.find(name, id).is_some(),
            None => self.model.versioning != Versioning::Unversioned || self.model.current(name).is_some(),
        });
        (DeleteTarget { key: key(name), version_id, condition }, expected)
    }

    fn deleted(&mut self, target: &DeleteTarget, result: CatalogResult<Deleted>, expected: CatalogResult<bool>) {
        let name = target.key.as_str();
        match (result, expected) {
            (Ok(deleted), Ok(changed)) => {
                assert_eq!(deleted.changed, changed, "{target:?}");
                if let Some(id) = target.version_id {
                    let removed = self.model.delete_version(name, id);
                    let was_marker = removed.is_some_and(|version| version.object.is_none());
                    assert_eq!((deleted.version_id, deleted.is_delete_marker), (Some(id), was_marker));
                } else {
                    assert_eq!(deleted.is_delete_marker, self.model.versioning != Versioning::Unversioned);
                    self.model.delete(name, deleted.version_id);
                }
            }
            (Err(error), Err(expected)) => assert_eq!(error, expected),
            (result, expected) => panic!("{result:?} where {expected:?} was expected"),
        }
    }

    async fn delete(&mut self, name: &str, version: u8, condition: u8) {
        let (target, expected) = self.target(name, version, condition);
        let request = DeleteVersion { bucket: self.world.bucket, target: target.clone() };
        let result = self.world.catalog.delete_version(request).await;
        self.deleted(&target, result, expected);
    }

    async fn delete_many(&mut self, targets: &[(u8, u8)]) {
        let targets: Vec<_> = targets.iter().map(|(key, version)| self.target(name(*key), *version, *version).0).collect();
        let request = DeleteVersions { bucket: self.world.bucket, targets: targets.clone() };
        let results = self.world.catalog.delete_versions(request).await.unwrap();
        assert_eq!(results.len(), targets.len());
        for (target, result) in targets.iter().zip(results) {
            let name = target.key.as_str();
            let expected = self.model.check(name, &target.condition).map(|()| match target.version_id {
                Some(id) => self.model.find(name, id).is_some(),
                None => self.model.versioning != Versioning::Unversioned || self.model.current(name).is_some(),
            });
            self.deleted(target, result, expected);
        }
    }

    fn upload_name(&self, upload: &Upload) -> UploadName {
        UploadName { bucket: self.world.bucket, key: key(&upload.key), upload_id: upload.id }
    }

    fn put_part_in_model(&mut self, upload: &Upload, number: u32, part: &cairn_catalog::FoundUploadPart, object: Object) {
        assert_eq!((part.part_number, part.length, part.etag), (number, object.content.length(), object.etag));
        self.parts.insert((upload.id.0, number), part.sequence);
        if let Some(there) = self.model.uploads.iter_mut().find(|there| there.id == upload.id) {
            there.parts.insert(number, object);
        }
    }

    async fn put_part(&mut self, upload: u8, part_number: u32, size: u8) {
        let Some(upload) = choose(&self.model.uploads, upload).cloned() else { return };
        let (new, content) = self.content(size);
        let object = self.object(content);
        let request = PutPart {
            session: self.world.session,
            upload: self.upload_name(&upload),
            part_number,
            content: new,
            etag: object.etag,
            checksum: None,
        };
        let part = self.world.catalog.put_part(request).await.unwrap();
        self.put_part_in_model(&upload, part_number, &part, object);
    }

    async fn copy_part(&mut self, upload: u8, part_number: u32, from: &str, version: u8, range: (u8, u8)) {
        let Some(upload) = choose(&self.model.uploads, upload).cloned() else { return };
        let id = self.version(from, version);
        let content = self.source_object(from, id).map(|object| object.content);
        let length = content.as_ref().map_or(0, Content::length);
        let (one, other) = (u64::from(range.0) % (length + 1), u64::from(range.1) % (length + 1));
        let range: Range<u64> = one.min(other)..one.max(other);
        let request = CopyPart {
            session: self.world.session,
            upload: self.upload_name(&upload),
            part_number,
            source: self.source(from, id),
            range: range.clone(),
            etag: etag(self.number),
            checksum: None,
        };
        match (self.world.catalog.copy_part(request).await, content) {
            (Ok(part), Some(content)) => {
                let object = self.object(content.range(range));
                self.put_part_in_model(&upload, part_number, &part, object);
            }
            (Err(CatalogError::SourceChanged), None) => {}
            (result, expected) => panic!("{result:?} where {expected:?} was expected"),
        }
    }

    async fn complete(&mut self, upload: u8, parts: u8, condition: u8) {
        let Some(upload) = choose(&self.model.uploads, upload).cloned() else { return };
        let chosen: Vec<_> = upload.parts.iter().filter(|(number, _)| parts & (1 << (**number % 8)) != 0).collect();
        let named: Vec<NamedPart> = chosen
            .iter()
            .map(|(number, _)| NamedPart { part_number: **number, sequence: self.parts[&(upload.id.0, **number)] })
            .collect();
        let mut request = completion(&self.upload_name(&upload), &named, self.number);
        request.etag = etag(self.number);
        request.condition = self.condition(&upload.key, condition);
        let check = self.model.check(&upload.key, &request.condition);
        let result = self.world.catalog.complete_upload(request.clone()).await;
        if named.is_empty() {
            assert!(matches!(result, Err(CatalogError::Refused(_))), "{result:?}");
            return;
        }
        let mut content = Content::default();
        for (_, part) in chosen {
            content.append(part.content.clone());
        }
        let content_type = Some(Bytes::from_static(b"test/upload"));
        let object = Object { content_type, completion: Some(upload.id), ..self.object(content) };
        if check.is_ok() {
            self.model.uploads.retain(|other| other.id != upload.id);
            // Again, at once: the same answer, nothing done.
            assert_eq!(self.world.catalog.complete_upload(request).await, result);
        }
        self.wrote(&upload.key, result, check.map(|()| object));
    }

    // -- comparisons --------------------------------------------------------------------------------------------------------------

    fn position(number: u8) -> ListPosition {
        let text = POSITIONS[usize::from(number) % POSITIONS.len()].to_owned();
        if number & 0x80 == 0 { ListPosition::Key(text) } else { ListPosition::Prefix(text) }
    }

    /// Whether an entry is what the line says. Lines of items are judged by `is_item`.
    fn compare<T: std::fmt::Debug>(
        entries: &[ListEntry<T>],
        is_truncated: bool,
        (lines, more): (Vec<Line>, bool),
        is_item: impl Fn(&T, &str, usize) -> bool,
    ) {
        let same = entries.len() == lines.len()
            && entries.iter().zip(&lines).all(|(entry, line)| match (entry, line) {
                (ListEntry::Prefix(shown), Line::Prefix(expected)) => shown == expected,
                (ListEntry::Item(item), Line::Item(name, row)) => is_item(item, name, *row),
                _ => false,
            });
        assert!(same && is_truncated == more, "{entries:?}\nmore: {is_truncated}\nwhere {lines:?}\nmore: {more}\nwas expected");
    }

    async fn list_objects(&self, scope: ListScope, position: u8) {
        let after = (!position.is_multiple_of(3)).then(|| Self::position(position));
        let expected = self.model.list_objects(&scope, after.as_ref());
        let page = self.world.catalog.list_objects(ListObjects { scope, after }).await.unwrap();
        Self::compare(&page.entries, page.is_truncated, expected, |object, name, _| {
            object.key.as_str() == name && self.model.current(name).is_some_and(|there| there.etag == object.version.etag)
        });
    }

    async fn list_versions(&self, scope: ListScope, position: u8, number: u8) {
        let after = match position % 4 {
            0 => None,
            1 => Some(VersionPosition::Name(Self::position(position))),
            _ => Some(VersionPosition::Version(key(name(number)), self.version(name(number), position / 4))),
        };
        let expected = self.model.list_versions(&scope, after.as_ref());
        let page = self.world.catalog.list_versions(ListVersions { scope, after }).await.unwrap();
        Self::compare(&page.entries, page.is_truncated, expected, |listed, name, row| {
            let version = self.model.versions(name).iter().rev().nth(row);
            listed.key.as_str() == name
                && listed.is_latest == (row == 0)
                && version.is_some_and(|version| {
                    listed.row.version_id() == version.id
                        && match (&listed.row, &version.object) {
                            (ListedRow::Version(summary), Some(object)) => summary.etag == object.etag,
                            (ListedRow::Marker(_), None) => true,
                            _ => false,
                        }
                })
        });
    }

    async fn list_uploads(&self, scope: ListScope, position: u8, number: u8) {
        let after = match position % 3 {
            0 => None,
            1 => Some(UploadPosition::Name(Self::position(position))),
            _ => choose(&self.model.uploads, number).map(|upload| UploadPosition::Upload(key(&upload.key), upload.id)),
        };
        let expected = self.model.list_uploads(&scope, after.as_ref());
        let page = self.world.catalog.list_uploads(ListUploads { scope, after }).await.unwrap();
        Self::compare(&page.entries, page.is_truncated, expected, |listed, name, row| {
            listed.name.key.as_str() == name
                && self.model.uploads_of(name).nth(row).is_some_and(|upload| upload.id == listed.name.upload_id)
        });
    }

    async fn compare_versions(&self) {
        let scope = self.world.scope("", None, 10_000);
        self.list_versions(scope.clone(), 0, 0).await;
        self.list_objects(scope.clone(), 0).await;
        self.list_uploads(scope, 0, 0).await;
    }

    async fn compare_everything(&mut self) {
        let grace = self.world.catalog.limits().garbage_grace;
        self.world.subject.pass(grace).await;
        self.world.reap().await;
        for (name, versions) in &self.model.keys {
            for version in versions {
                match (&version.object, self.world.get(name, Some(version.id)).await) {
                    (None, Err(CatalogError::IsDeleteMarker { version_id, .. })) => assert_eq!(version_id, version.id),
                    (Some(object), Ok(found)) => {
                        assert_eq!(found.version.summary.etag, object.etag);
                        assert_eq!(found.version.details.metadata.content_type, object.content_type);
                        assert_eq!(self.world.content_of(found).await, Ok(object.content.clone()));
                    }
                    (expected, result) => panic!("{result:?} where {expected:?} was expected"),
                }
            }
            let current = self.world.get(name, None).await;
            let newest = versions.last().expect("no list is empty");
            match current {
                Ok(found) => assert_eq!(found.version.summary.id, newest.id),
                Err(CatalogError::IsDeleteMarker { version_id, .. }) => assert_eq!(version_id, newest.id),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(self.world.catalog.usage(self.world.bucket).await, Ok(self.model.usage()));
        self.compare_blobs().await;
    }

    /// Every blob is counted exactly; those that nobody names are on their way out, and nothing else is.
    async fn compare_blobs(&self) {
        let mut references: BTreeMap<BlobId, u64> = BTreeMap::new();
        for blob in self.model.blobs() {
            *references.entry(blob).or_default() += 1;
        }
        for blob in &self.blobs {
            assert_eq!(self.world.references(*blob).await, references.get(blob).copied(), "references to {blob:?}");
        }
        self.world.subject.pass(self.world.catalog.limits().garbage_grace).await;
        loop {
            let request = ListCondemned { zones: ZoneSet::ALL, from: None, limit: 3 };
            let page = self.world.catalog.condemned_blobs(request).await.unwrap();
            let confirmed = page.blobs.iter().map(|(id, _)| (*id, ZoneSet::ALL)).collect();
            self.world.catalog.confirm_deletions(ConfirmDeletions { confirmed }).await.unwrap();
            if page.next.is_none() {
                break;
            }
        }
        let left = self.world.catalog.blob_page(ListBlobs { after: None, limit: 10_000 }).await.unwrap().blobs;
        assert_eq!(left.iter().map(|(id, _)| *id).collect::<Vec<_>>(), references.into_keys().collect::<Vec<_>>());
    }
}
