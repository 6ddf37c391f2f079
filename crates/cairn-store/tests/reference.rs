//! The store against the plainest one there is: the same random operations, the same answers.
//!
//! Ids, revisions and times are each store's own and are compared by what they stand for: the n-th version that was made, the n-th upload.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cairn_store::api::{
    AccessKey, Bucket, CompleteUpload, CopyObject, CopyPart, CreateBucket, CreateUpload, DeleteTarget, Digests, GetObject,
    ListEntry, ListObjects, ListParts, ListPosition, ListUploads, ListVersions, ObjectParts, ObjectStore, Part, PutObject,
    SecretAccessKey, SourceVersion, StoreError, StoreResult, TagObject, Tags, UploadName, UploadPart, UploadPosition,
    VersionPosition, Versioning, WriteCondition,
};
use cairn_testkit::memory_store::MemoryStore;
use cairn_testkit::sim_environment::{SimClock, SimRandom, simulate};
use cairn_types::{AccountId, ETag, ObjectMetadata, TenantId, UploadId, VersionId};
use common::{Body, KIB, World, key, md5, read, sample};
use proptest::prelude::*;

const NAMES: [&str; 6] = ["a", "a/", "a/b", "a/b/c", "b", "\u{1f600}/ü"];

#[derive(Debug, Clone)]
enum Step {
    Put { name: usize, length: usize, seed: u64, condition: Condition },
    Get { name: usize, version: Option<usize>, part: Option<u32> },
    Delete { name: usize, version: Option<usize>, condition: Condition },
    Copy { from: usize, to: usize },
    Tag { name: usize, version: Option<usize>, count: usize },
    Versioning(bool),
    Begin { name: usize },
    PutPart { upload: usize, number: u32, length: usize, seed: u64 },
    CopyPart { upload: usize, number: u32, from: usize, share: (f64, f64) },
    Complete { upload: usize, keep: u8 },
    Abort { upload: usize },
    List { prefix: usize, delimiter: bool, limit: u32 },
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    None,
    Absent,
    Present,
    Matches(bool),
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        6 => Just(Condition::None),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => any::<bool>().prop_map(Condition::Matches),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let length = || prop_oneof![Just(0), 1..100_usize, 15 * KIB..70 * KIB];
    let version = || prop::option::of(0..6_usize);
    prop_oneof![
        4 => (name(), length(), 0..4_u64, condition()).prop_map(|(name, length, seed, condition)| Step::Put { name, length, seed, condition }),
        3 => (name(), version(), prop::option::weighted(0.3, 1..4_u32)).prop_map(|(name, version, part)| Step::Get { name, version, part }),
        2 => (name(), version(), condition()).prop_map(|(name, version, condition)| Step::Delete { name, version, condition }),
        2 => (name(), name()).prop_map(|(from, to)| Step::Copy { from, to }),
        2 => (name(), version(), 0..3_usize).prop_map(|(name, version, count)| Step::Tag { name, version, count }),
        1 => any::<bool>().prop_map(Step::Versioning),
        2 => name().prop_map(|name| Step::Begin { name }),
        3 => (0..3_usize, 1..5_u32, length(), 0..4_u64).prop_map(|(upload, number, length, seed)| Step::PutPart { upload, number, length, seed }),
        1 => (0..3_usize, 1..5_u32, name(), (0.0..1.0, 0.0..1.0)).prop_map(|(upload, number, from, share)| Step::CopyPart { upload, number, from, share }),
        2 => (0..3_usize, 1..16_u8).prop_map(|(upload, keep)| Step::Complete { upload, keep }),
        1 => (0..3_usize).prop_map(|upload| Step::Abort { upload }),
        3 => (0..NAMES.len() + 1, any::<bool>(), 1..5_u32).prop_map(|(prefix, delimiter, limit)| Step::List { prefix, delimiter, limit }),
    ]
}

/// So many tags.
fn tags(count: usize) -> Tags {
    (0..count).map(|number| (format!("tag {number}"), format!("{count}"))).collect()
}

/// One of the stores, with names for what it has made.
struct Side {
    store: Arc<dyn ObjectStore>,
    bucket: Arc<Bucket>,
    account: AccountId,
    versions: Vec<VersionId>,
    uploads: Vec<UploadName>,
    parts: BTreeMap<(usize, u32), Part>,
    /// Uploads that were completed. Repeating that is for `upload_for_completion` to answer; this store also bears it itself.
    completed: BTreeSet<usize>,
}

/// Long enough to hold every entry of a listing.
const ALL: u32 = 1_000;

impl Side {
    /// What this version is called in both stores.
    fn called(&self, version: VersionId) -> String {
        match self.versions.iter().position(|known| *known == version) {
            _ if version == VersionId::Null => "null".to_owned(),
            Some(place) => format!("version {place}"),
            None => "unknown".to_owned(),
        }
    }

    fn made(&mut self, version: VersionId) -> String {
        if version != VersionId::Null && !self.versions.contains(&version) {
            self.versions.push(version);
        }
        self.called(version)
    }

    fn version(&self, place: Option<usize>) -> Option<VersionId> {
        place.map(|place| {
            if place == 0 { None } else { self.versions.iter().rev().nth(place - 1).copied() }.unwrap_or(VersionId::Null)
        })
    }

    fn error(&self, error: &StoreError) -> String {
        match error {
            StoreError::IsDeleteMarker { version_id, .. } => format!("is delete marker {}", self.called(*version_id)),
            other => format!("{other:?}"),
        }
    }

    fn told<T>(&self, answer: StoreResult<T>, tell: impl FnOnce(T) -> String) -> String {
        match answer {
            Ok(answer) => tell(answer),
            Err(error) => self.error(&error),
        }
    }

    async fn condition(&self, name: usize, condition: Condition) -> WriteCondition {
        match condition {
            Condition::None => WriteCondition::None,
            Condition::Absent => WriteCondition::Absent,
            Condition::Present => WriteCondition::Present,
            Condition::Matches(right) => {
                let request = GetObject { bucket: self.bucket.id, key: key(NAMES[name]), version_id: None, part_number: None };
                let present = self.store.head_object(request).await.ok().filter(|_| right);
                WriteCondition::Matches(vec![present.map_or(ETag::of_bytes([9; 16]), |head| head.etag)])
            }
        }
    }

    async fn source(&self, name: usize) -> StoreResult<(SourceVersion, u64)> {
        let request = GetObject { bucket: self.bucket.id, key: key(NAMES[name]), version_id: None, part_number: None };
        let head = self.store.head_object(request).await?;
        let (version_id, revision) = (head.version_id, head.revision);
        Ok((SourceVersion { bucket: self.bucket.id, key: key(NAMES[name]), version_id, revision }, head.length))
    }

    fn upload(&self, upload: usize) -> Option<(usize, UploadName)> {
        let place = self.uploads.len().checked_sub(upload + 1)?;
        Some((place, self.uploads[place].clone()))
    }

    async fn take(&mut self, step: &Step) -> String {
        let bucket = self.bucket.id;
        match step {
            Step::Put { name, length, seed, condition } => {
                let condition = self.condition(*name, *condition).await;
                let metadata = ObjectMetadata { content_type: Some(Bytes::from(format!("{seed}"))), ..ObjectMetadata::default() };
                let request = PutObject { bucket, key: key(NAMES[*name]), metadata, tags: tags(length % 3), condition };
                match self.store.put_object(request, &mut Body::new(&sample(*length, *seed))).await {
                    Ok(written) => format!("{} {} {:?}", self.made(written.version_id), written.etag, written.versioning),
                    Err(error) => self.error(&error),
                }
            }
            Step::Get { name, version, part } => {
                let version_id = self.version(*version);
                let request = GetObject { bucket, key: key(NAMES[*name]), version_id, part_number: *part };
                match self.store.get_object(request).await {
                    Ok(opened) => {
                        let head = opened.head;
                        let range = head.part.as_ref().map_or(0..head.length, |part| part.range.clone());
                        let part = head.part.as_ref().map(|part| (part.range.clone(), part.part_count));
                        let bytes = read(opened.content, range).await.unwrap();
                        let called = self.called(head.version_id);
                        let parts = ObjectParts {
                            bucket,
                            key: key(NAMES[*name]),
                            version_id,
                            after: part.as_ref().map_or(0, |_| 1),
                            limit: 2,
                        };
                        let parts = self.store.object_parts(parts).await.unwrap();
                        let parts = (parts.head.etag, parts.part_count, parts.page);
                        let (etag, tags) = (head.etag, head.tags);
                        format!("{called} {} {etag} {part:?} {tags:?} {:?} {} {parts:?}", head.length, head.metadata, md5(&bytes))
                    }
                    Err(error) => self.error(&error),
                }
            }
            Step::Delete { name, version, condition } => {
                // Deletions are not asked for `Absent`.
                let condition = if matches!(condition, Condition::Absent) { Condition::None } else { *condition };
                let condition = self.condition(*name, condition).await;
                let target = DeleteTarget { key: key(NAMES[*name]), version_id: self.version(*version), condition };
                let answers = self.store.delete_objects(bucket, vec![target]).await;
                let answer = answers.map(|mut answers| answers.remove(0)).and_then(|answer| answer);
                match answer {
                    Ok(deleted) => {
                        let version = deleted.version_id.map(|version| self.made(version));
                        format!("{version:?} {}", deleted.is_delete_marker)
                    }
                    Err(error) => self.error(&error),
                }
            }
            Step::Copy { from, to } => {
                let source = match self.source(*from).await {
                    Ok((source, _)) => source,
                    Err(error) => return self.error(&error),
                };
                let metadata = ObjectMetadata::default();
                let (tags, checksum, condition) = (tags(from % 2), None, WriteCondition::None);
                let request = CopyObject { source, bucket, key: key(NAMES[*to]), metadata, tags, checksum, condition };
                match self.store.copy_object(request).await {
                    Ok(written) => format!("{} {}", self.made(written.version_id), written.etag),
                    Err(error) => self.error(&error),
                }
            }
            Step::Tag { name, version, count } => {
                let version_id = self.version(*version);
                let request = TagObject { bucket, key: key(NAMES[*name]), version_id, tags: tags(*count) };
                match self.store.tag_object(request).await {
                    Ok(tagged) => format!("{} {:?}", self.called(tagged.version_id), tagged.versioning),
                    Err(error) => self.error(&error),
                }
            }
            Step::Versioning(enabled) => {
                let versioning = if *enabled { Versioning::Enabled } else { Versioning::Suspended };
                format!("{:?}", self.store.set_versioning(bucket, versioning).await)
            }
            Step::Begin { name } => {
                let (metadata, checksum, initiator) = (ObjectMetadata::default(), None, self.account);
                let tags = tags(name % 3);
                let request = CreateUpload { bucket, key: key(NAMES[*name]), metadata, tags, checksum, initiator };
                let upload_id: UploadId = self.store.create_upload(request).await.unwrap();
                self.uploads.push(UploadName { bucket, key: key(NAMES[*name]), upload_id });
                "begun".to_owned()
            }
            Step::PutPart { upload, number, length, seed } => {
                let Some((place, upload)) = self.upload(*upload) else { return "none".to_owned() };
                let request = UploadPart { upload, part_number: *number };
                let answer = self.store.upload_part(request, &mut Body::new(&sample(*length, *seed))).await;
                self.keep_part(place, answer)
            }
            Step::CopyPart { upload, number, from, share } => {
                let Some((place, upload)) = self.upload(*upload) else { return "none".to_owned() };
                let (source, length) = match self.source(*from).await {
                    Ok(found) => found,
                    Err(error) => return self.error(&error),
                };
                #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "any place will do")]
                let place_of = |share: f64| (length as f64 * share) as u64;
                let range = place_of(share.0.min(share.1))..place_of(share.0.max(share.1));
                let digests = Digests { etag: md5(&range.start.to_be_bytes()), checksum: None };
                let request = CopyPart { upload, part_number: *number, source, range, digests };
                let answer = self.store.copy_part(request).await;
                self.keep_part(place, answer)
            }
            Step::Complete { upload, keep } => {
                let Some((place, upload)) = self.upload(*upload) else { return "none".to_owned() };
                let parts: Vec<(u32, u64)> = (1..5)
                    .filter(|number| keep & (1 << (number - 1)) != 0)
                    .filter_map(|number| Some((number, self.parts.get(&(place, number))?.revision)))
                    .collect();
                if parts.is_empty() || self.completed.contains(&place) {
                    return "no parts".to_owned();
                }
                let etag = ETag { part_count: u32::try_from(parts.len()).unwrap(), ..md5(b"parts") };
                let digests = Digests { etag, checksum: None };
                let request = CompleteUpload { upload, parts, digests, condition: WriteCondition::None };
                match self.store.complete_upload(request).await {
                    Ok(written) => {
                        self.completed.insert(place);
                        format!("{} {}", self.made(written.version_id), written.etag)
                    }
                    Err(error) => self.error(&error),
                }
            }
            Step::Abort { upload } => {
                let Some((_, upload)) = self.upload(*upload) else { return "none".to_owned() };
                self.told(self.store.abort_upload(upload).await, |()| "aborted".to_owned())
            }
            Step::List { prefix, delimiter, limit } => {
                let first = NAMES.get(*prefix).and_then(|name| name.chars().next());
                let prefix = first.map(String::from).unwrap_or_default();
                self.list(&prefix, delimiter.then(|| "/".to_owned()), *limit).await
            }
        }
    }

    fn keep_part(&mut self, place: usize, answer: StoreResult<Part>) -> String {
        match answer {
            Ok(part) => {
                let told = format!("part {} {} {}", part.part_number, part.length, part.etag);
                self.parts.insert((place, part.part_number), part);
                told
            }
            Err(error) => self.error(&error),
        }
    }

    /// All listings, page by page.
    async fn list(&self, prefix: &str, delimiter: Option<String>, limit: u32) -> String {
        let (bucket, prefix) = (self.bucket.id, prefix.to_owned());
        let mut told: Vec<String> = Vec::new();
        let mut after = None;
        for _ in 0..ALL {
            let (prefix, delimiter) = (prefix.clone(), delimiter.clone());
            let page = self.store.list_objects(ListObjects { bucket, prefix, delimiter, after, limit }).await.unwrap();
            for entry in &page.entries {
                told.push(match entry {
                    ListEntry::Item(object) => format!("{} {} {}; ", object.key, object.length, object.etag),
                    ListEntry::Prefix(prefix) => format!("{prefix} …; "),
                });
            }
            after = page.entries.last().map(|entry| match entry {
                ListEntry::Item(object) => ListPosition::Key(object.key.to_string()),
                ListEntry::Prefix(prefix) => ListPosition::Prefix(prefix.clone()),
            });
            if !page.is_truncated {
                break;
            }
            told.push("| ".to_owned());
        }
        let mut after = None;
        for _ in 0..ALL {
            let (prefix, delimiter) = (prefix.clone(), delimiter.clone());
            let page = self.store.list_versions(ListVersions { bucket, prefix, delimiter, after, limit }).await.unwrap();
            for entry in &page.entries {
                told.push(match entry {
                    ListEntry::Item(version) => {
                        let object = version.object.as_ref().map(|object| (object.length, object.etag));
                        format!("{} {} {} {object:?}; ", version.key, self.called(version.version_id), version.is_latest)
                    }
                    ListEntry::Prefix(prefix) => format!("{prefix} …; "),
                });
            }
            after = page.entries.last().map(|entry| match entry {
                ListEntry::Item(version) => VersionPosition::Version(version.key.clone(), version.version_id),
                ListEntry::Prefix(prefix) => VersionPosition::Name(ListPosition::Prefix(prefix.clone())),
            });
            if !page.is_truncated {
                break;
            }
            told.push("| ".to_owned());
        }
        let mut after = None;
        for _ in 0..ALL {
            let (prefix, delimiter) = (prefix.clone(), delimiter.clone());
            let page = self.store.list_uploads(ListUploads { bucket, prefix, delimiter, after, limit }).await.unwrap();
            for entry in &page.entries {
                told.push(match entry {
                    ListEntry::Item(upload) => {
                        format!("{} {:?}; ", upload.name.key, self.uploads.iter().position(|known| *known == upload.name))
                    }
                    ListEntry::Prefix(prefix) => format!("{prefix} …; "),
                });
            }
            after = page.entries.last().map(|entry| match entry {
                ListEntry::Item(upload) => UploadPosition::Upload(upload.name.key.clone(), upload.name.upload_id),
                ListEntry::Prefix(prefix) => UploadPosition::Name(ListPosition::Prefix(prefix.clone())),
            });
            if !page.is_truncated {
                break;
            }
            told.push("| ".to_owned());
        }
        for upload in &self.uploads {
            let parts = self.store.list_parts(ListParts { upload: upload.clone(), after: 0, limit: ALL }).await;
            told.push(self.told(parts, |parts| {
                let parts = parts.entries.into_iter();
                parts.map(|part| format!("{} {} {}", part.part_number, part.length, part.etag)).collect::<Vec<_>>().join(", ")
            }));
        }
        told.concat()
    }
}

async fn sides() -> (World, [Side; 2]) {
    let world = World::new().await;
    let memory = Arc::new(MemoryStore::new(Arc::new(SimClock::new()), Arc::new(SimRandom::new(5))));
    memory.add_key(AccessKey {
        access_key_id: "root".into(),
        secret: SecretAccessKey::new("a secret of root"),
        tenant: TenantId::DEFAULT,
        account: world.account,
        account_name: "root".into(),
        grants: Vec::new(),
    });
    let request =
        CreateBucket { tenant: TenantId::DEFAULT, name: "bucket".parse().unwrap(), owner: world.account, tags: Vec::new() };
    let bucket = memory.create_bucket(request).await.unwrap();
    let side = |store: Arc<dyn ObjectStore>, bucket: &Arc<Bucket>| Side {
        store,
        bucket: Arc::clone(bucket),
        account: world.account,
        versions: Vec::new(),
        uploads: Vec::new(),
        parts: BTreeMap::new(),
        completed: BTreeSet::new(),
    };
    let sides = [side(world.store.clone(), &world.bucket), side(memory, &bucket)];
    (world, sides)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_give_the_same_answers(steps in prop::collection::vec(step(), 1..60)) {
        simulate(async {
            let (world, [mut store, mut reference]) = sides().await;
            for (place, step) in steps.iter().enumerate() {
                let (one, other) = (store.take(step).await, reference.take(step).await);
                assert_eq!(one, other, "step {place}: {step:?} of {steps:#?}");
                // Ids of uploads are random, and order listings of one key by their beginning.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            drop(world);
        });
    }
}
