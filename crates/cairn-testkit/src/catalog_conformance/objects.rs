//! Versions of keys.

use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::{
    CatalogError, CopyVersion, DeleteTarget, DeleteVersions, FoundContent, ListEntry, ListObjects, ListPosition, ListVersions,
    ListedRow, NewContent, TagVersion, VersionPosition, WriteCondition,
};
use cairn_types::records::{ObjectLock, StorageClass, UsageRecord, Versioning};
use cairn_types::{BucketId, Checksum, ChecksumAlgorithm, VersionId};

use super::reference::{Content, Piece};
use super::{World, attributes, etag, expect_error, expect_refused, key};

/// A bucket that never kept versions has one per key, called `null`.
pub async fn keeps_one_version_while_unversioned(world: &World<'_>) {
    expect_error(world.get("a", None).await, &CatalogError::NoSuchKey);
    let first = world.put("a", 1, "one").await;
    assert_eq!((first.version_id, first.versioning, first.length), (VersionId::Null, Versioning::Unversioned, 3));
    let second = world.put("a", 2, "two").await;
    assert!(second.sequence > first.sequence);
    assert_eq!(world.read("a", None).await, Ok(Content::of_bytes(b"two")));
    assert_eq!(world.read("a", Some(VersionId::Null)).await, Ok(Content::of_bytes(b"two")));
    expect_error(world.get("a", Some(VersionId::Id([1; 16]))).await, &CatalogError::NoSuchVersion);
    assert_eq!(world.version_names().await, ["a 2 null*"]);
    let deleted = world.delete("a", None).await.unwrap();
    assert_eq!((deleted.version_id, deleted.is_delete_marker, deleted.changed), (None, false, true));
    expect_error(world.get("a", None).await, &CatalogError::NoSuchKey);
    // Deleting what is not there is no error.
    assert!(!world.delete("a", None).await.unwrap().changed);
    assert!(!world.delete("a", Some(VersionId::Null)).await.unwrap().changed);
    assert_eq!(world.catalog.usage(world.bucket).await, Ok(UsageRecord::default()));
    assert_eq!(world.version_names().await, Vec::<String>::new());
}

/// Every write and deletion adds to what there is; deleting a version by its name is for good.
pub async fn keeps_every_version_while_enabled(world: &World<'_>) {
    world.put("a", 1, "null").await;
    world.set_versioning(Versioning::Enabled).await;
    let second = world.put("a", 2, "second").await;
    let third = world.put("a", 3, "third").await;
    assert_eq!(world.version_names().await, ["a 3*", "a 2", "a 1 null"]);
    assert_eq!(world.read("a", Some(second.version_id)).await, Ok(Content::of_bytes(b"second")));
    assert_eq!(world.read("a", Some(VersionId::Null)).await, Ok(Content::of_bytes(b"null")));
    let marker = world.delete("a", None).await.unwrap();
    assert!(marker.is_delete_marker && marker.changed);
    let marker = marker.version_id.unwrap();
    match world.get("a", None).await {
        Err(CatalogError::IsDeleteMarker { version_id, .. }) => assert_eq!(version_id, marker),
        other => panic!("a delete marker, not {other:?}"),
    }
    assert!(matches!(world.get("a", Some(marker)).await, Err(CatalogError::IsDeleteMarker { .. })));
    assert_eq!(world.read("a", Some(third.version_id)).await, Ok(Content::of_bytes(b"third")));
    assert_eq!(world.object_names("", None).await, Vec::<String>::new());
    // A key that never was gets a delete marker as well.
    world.delete("b", None).await.unwrap();
    assert_eq!(world.version_names().await, ["a marker*", "a 3", "a 2", "a 1 null", "b marker*"]);
    // An id of another key names nothing here.
    expect_error(world.get("b", Some(third.version_id)).await, &CatalogError::NoSuchVersion);
    assert!(!world.delete("b", Some(third.version_id)).await.unwrap().changed);
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!((usage.objects, usage.noncurrent_versions, usage.delete_markers), (0, 3, 2));
    assert_eq!(usage.total_bytes(), 4 + 6 + 5);
    // The marker goes: the version below is seen again.
    let deleted = world.delete("a", Some(marker)).await.unwrap();
    assert!(deleted.is_delete_marker && deleted.changed);
    assert_eq!(world.read("a", None).await, Ok(Content::of_bytes(b"third")));
    assert_eq!(world.version_names().await, ["a 3*", "a 2", "a 1 null", "b marker*"]);
}

/// While suspended there is one `null` version, wherever it stands, and those with ids stay.
pub async fn replaces_the_null_version_while_suspended(world: &World<'_>) {
    world.put("a", 1, "one").await;
    world.set_versioning(Versioning::Enabled).await;
    world.put("a", 2, "two").await;
    world.set_versioning(Versioning::Suspended).await;
    // The null version below the newest goes, the newest moves aside.
    let third = world.put("a", 3, "three").await;
    assert_eq!((third.version_id, third.versioning), (VersionId::Null, Versioning::Suspended));
    assert_eq!(world.version_names().await, ["a 3 null*", "a 2"]);
    world.put("a", 4, "four").await;
    assert_eq!(world.version_names().await, ["a 4 null*", "a 2"]);
    let marker = world.delete("a", None).await.unwrap();
    assert_eq!((marker.version_id, marker.is_delete_marker), (Some(VersionId::Null), true));
    assert_eq!(world.version_names().await, ["a marker null*", "a 2"]);
    world.delete("a", None).await.unwrap();
    assert_eq!(world.version_names().await, ["a marker null*", "a 2"]);
    world.put("a", 5, "five").await;
    assert_eq!(world.version_names().await, ["a 5 null*", "a 2"]);
    // Enabled again, the null version is one like others.
    world.set_versioning(Versioning::Enabled).await;
    world.put("a", 6, "six").await;
    assert_eq!(world.version_names().await, ["a 6*", "a 5 null", "a 2"]);
    world.set_versioning(Versioning::Suspended).await;
    world.delete("a", None).await.unwrap();
    assert_eq!(world.version_names().await, ["a marker null*", "a 6", "a 2"]);
    let deleted = world.delete("a", Some(VersionId::Null)).await.unwrap();
    assert!(deleted.is_delete_marker && deleted.changed);
    assert_eq!(world.version_names().await, ["a 6*", "a 2"]);
    expect_refused(
        world
            .catalog
            .set_versioning(cairn_catalog::SetVersioning { bucket: world.bucket, versioning: Versioning::Unversioned })
            .await,
    );
}

/// When the newest version goes, the next one is the current one, unless it is a delete marker.
pub async fn promotes_the_next_version(world: &World<'_>) {
    world.set_versioning(Versioning::Enabled).await;
    let first = world.put("a", 1, "one").await;
    let marker = world.delete("a", None).await.unwrap().version_id.unwrap();
    let second = world.put("a", 2, "two").await;
    let third = world.put("a", 3, "three").await;
    world.delete("a", Some(third.version_id)).await.unwrap();
    assert_eq!(world.version_names().await, ["a 2*", "a marker", "a 1"]);
    world.delete("a", Some(second.version_id)).await.unwrap();
    assert_eq!(world.version_names().await, ["a marker*", "a 1"]);
    assert_eq!(world.object_names("", None).await, Vec::<String>::new());
    // A version below a marker goes without a trace above.
    world.delete("a", Some(first.version_id)).await.unwrap();
    assert_eq!(world.version_names().await, ["a marker*"]);
    world.delete("a", Some(marker)).await.unwrap();
    assert_eq!(world.version_names().await, Vec::<String>::new());
    expect_error(world.get("a", None).await, &CatalogError::NoSuchKey);
    assert_eq!(world.catalog.usage(world.bucket).await, Ok(UsageRecord::default()));
}

/// Conditions look at the current version; a delete marker counts as absent.
pub async fn judges_conditions_in_the_commit(world: &World<'_>) {
    world.set_versioning(Versioning::Enabled).await;
    let put = async |number, condition| {
        let mut request = world.put_request("a", number, NewContent::Inline(Bytes::from_static(b"x")));
        request.condition = condition;
        world.catalog.put_version(request).await
    };
    expect_error(put(1, WriteCondition::Present).await, &CatalogError::NoSuchKey);
    expect_error(put(1, WriteCondition::Matches(vec![etag(1)])).await, &CatalogError::NoSuchKey);
    put(1, WriteCondition::Absent).await.unwrap();
    expect_error(put(2, WriteCondition::Absent).await, &CatalogError::PreconditionFailed);
    expect_error(put(2, WriteCondition::Matches(vec![etag(2)])).await, &CatalogError::PreconditionFailed);
    put(2, WriteCondition::Matches(vec![etag(7), etag(1)])).await.unwrap();
    put(3, WriteCondition::Present).await.unwrap();
    assert_eq!(world.version_names().await, ["a 3*", "a 2", "a 1"]);
    let delete = async |condition| {
        let target = DeleteTarget { key: key("a"), version_id: None, condition };
        world.catalog.delete_version(cairn_catalog::DeleteVersion { bucket: world.bucket, target }).await
    };
    expect_error(delete(WriteCondition::Matches(vec![etag(2)])).await, &CatalogError::PreconditionFailed);
    assert_eq!(world.version_names().await, ["a 3*", "a 2", "a 1"]);
    delete(WriteCondition::Matches(vec![etag(3)])).await.unwrap();
    expect_error(delete(WriteCondition::Present).await, &CatalogError::NoSuchKey);
    expect_error(put(4, WriteCondition::Present).await, &CatalogError::NoSuchKey);
    put(4, WriteCondition::Absent).await.unwrap();
    assert_eq!(world.version_names().await, ["a 4*", "a marker", "a 3", "a 2", "a 1"]);
}

/// Of racing writers that want the key absent exactly one wins (design, invariant 3).
pub async fn lets_one_of_many_racing_writers_win(world: &World<'_>) {
    for round in 0..20 {
        let name = format!("race-{round}");
        let writers = (0..32).map(|number| {
            let mut request = world.put_request(&name, number, NewContent::Inline(Bytes::from_static(b"mine")));
            request.condition = WriteCondition::Absent;
            world.catalog.put_version(request)
        });
        let results = futures::future::join_all(writers).await;
        let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "one of {name}'s writers wins");
        assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(CatalogError::PreconditionFailed))));
        assert_eq!(world.get(&name, None).await.unwrap().version.summary.etag, winners[0].etag);
    }
}

/// Each target of a deletion of many is judged by itself, in order, and the answers are in that order.
pub async fn deletes_many_each_by_itself(world: &World<'_>) {
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        world.put(name, number as u64, "x").await;
    }
    let target = |name, condition| DeleteTarget { key: key(name), version_id: None, condition };
    let targets = vec![
        target("a", WriteCondition::None),
        target("b", WriteCondition::Matches(vec![etag(9)])),
        target("missing", WriteCondition::None),
        target("a", WriteCondition::Present),
        target("c", WriteCondition::Matches(vec![etag(2)])),
    ];
    let results = world.catalog.delete_versions(DeleteVersions { bucket: world.bucket, targets }).await.unwrap();
    let changed: Vec<_> = results.iter().map(|result| result.as_ref().map(|deleted| deleted.changed)).collect();
    let (failed, missing) = (CatalogError::PreconditionFailed, CatalogError::NoSuchKey);
    assert_eq!(changed, [Ok(true), Err(&failed), Ok(false), Err(&missing), Ok(true)]);
    assert_eq!(world.object_names("", None).await, ["b"]);
    let limit = world.catalog.limits().delete_count_max;
    let too_many = vec![target("x", WriteCondition::None); limit + 1];
    expect_refused(world.catalog.delete_versions(DeleteVersions { bucket: world.bucket, targets: too_many }).await);
}

fn copy(world: &World<'_>, source: cairn_catalog::SourceVersion, name: &str, number: u64) -> CopyVersion {
    CopyVersion {
        session: world.session,
        source,
        bucket: world.bucket,
        key: key(name),
        attributes: attributes(number),
        condition: WriteCondition::None,
    }
}

/// A copy refers to the same blobs, which stay until the last version that names them is gone (B5).
pub async fn copies_by_reference(world: &World<'_>) {
    let (written, blob) = world.put_blobs("a", 1, &[100, 50]).await;
    let inline = world.put("small", 2, "text").await;
    assert_eq!(world.references(blob).await, Some(1));
    let copied = world.catalog.copy_version(copy(world, world.source("a", &written), "b", 3)).await.unwrap();
    assert_eq!((copied.length, copied.etag), (150, etag(3)));
    world.catalog.copy_version(copy(world, world.source("small", &inline), "small-too", 4)).await.unwrap();
    assert_eq!(world.references(blob).await, Some(2));
    let whole = {
        let mut content = Content::default();
        content.push(Piece::Blob { id: blob, offset: 0, length: 150 });
        content
    };
    world.delete("a", None).await.unwrap();
    world.delete("small", None).await.unwrap();
    assert_eq!(world.references(blob).await, Some(1));
    assert_eq!(world.read("b", None).await, Ok(whole));
    assert_eq!(world.read("small-too", None).await, Ok(Content::of_bytes(b"text")));
    world.delete("b", None).await.unwrap();
    assert_eq!(world.references(blob).await, None);
}

/// What is no longer what was read is not copied.
pub async fn refuses_a_copy_of_what_has_changed(world: &World<'_>) {
    let written = world.put("a", 1, "one").await;
    let source = world.source("a", &written);
    assert_eq!(world.catalog.version_exists(source.clone()).await, Ok(true));
    // The same key and version id, another content.
    world.put("a", 2, "two").await;
    expect_error(world.catalog.copy_version(copy(world, source.clone(), "b", 3)).await, &CatalogError::SourceChanged);
    assert_eq!(world.catalog.version_exists(source.clone()).await, Ok(false));
    world.delete("a", None).await.unwrap();
    expect_error(world.catalog.copy_version(copy(world, source, "b", 3)).await, &CatalogError::SourceChanged);
    expect_error(world.get("b", None).await, &CatalogError::NoSuchKey);
    // A version that is no longer current is still there.
    world.set_versioning(Versioning::Enabled).await;
    let old = world.put("a", 4, "four").await;
    world.put("a", 5, "five").await;
    world.catalog.copy_version(copy(world, world.source("a", &old), "b", 6)).await.unwrap();
    assert_eq!(world.read("b", None).await, Ok(Content::of_bytes(b"four")));
}

/// A key copied onto itself, to change its attributes, keeps its bytes.
pub async fn copies_a_key_onto_itself(world: &World<'_>) {
    let (written, blob) = world.put_blobs("a", 1, &[10]).await;
    let copied = world.catalog.copy_version(copy(world, world.source("a", &written), "a", 2)).await.unwrap();
    assert!(copied.sequence > written.sequence);
    assert_eq!(world.references(blob).await, Some(1));
    assert_eq!(world.read("a", None).await.unwrap().length(), 10);
    assert_eq!(world.get("a", None).await.unwrap().version.summary.etag, etag(2));
    let written = world.put("small", 3, "text").await;
    world.catalog.copy_version(copy(world, world.source("small", &written), "small", 4)).await.unwrap();
    assert_eq!(world.read("small", None).await, Ok(Content::of_bytes(b"text")));
}

/// What was given with a version is given back, and nothing else.
pub async fn keeps_attributes(world: &World<'_>) {
    let mut request = world.put_request("a", 1, NewContent::Inline(Bytes::new()));
    request.attributes.checksum = Checksum::full_object(ChecksumAlgorithm::Crc32c, &[1, 2, 3, 4]);
    request.attributes.metadata.expires = Some(Bytes::from_static(b"never"));
    request.attributes.metadata.user = vec![(Bytes::from_static(b"stone"), Bytes::from_static(&[0xc3, 0x28]))];
    request.attributes.tags = vec![("team".to_owned(), "alps".to_owned())];
    request.attributes.storage_class = StorageClass::Glacier;
    let expected = request.attributes.clone();
    let written = world.catalog.put_version(request).await.unwrap();
    let found = world.get("a", None).await.unwrap();
    let (summary, details) = (found.version.summary, found.version.details);
    assert_eq!(
        (summary.etag, summary.checksum, summary.storage_class),
        (expected.etag, expected.checksum, expected.storage_class)
    );
    assert_eq!((details.metadata, details.tags, details.lock), (expected.metadata, expected.tags, None::<ObjectLock>));
    assert_eq!((summary.length, summary.sequence, summary.last_modified), (0, written.sequence, written.last_modified));
    assert_eq!(found.content, Some(FoundContent::Inline(Bytes::new())));
    let request = ListObjects { scope: world.scope("", None, 10), after: None };
    let page = world.catalog.list_objects(request).await.unwrap();
    let [ListEntry::Item(listed)] = page.entries.as_slice() else { panic!("one object") };
    assert_eq!(listed.version, world.get("a", None).await.unwrap().version.summary);
    let limit = world.catalog.limits().inline_length_max;
    expect_refused(world.catalog.put_version(world.put_request("a", 1, NewContent::Inline(vec![0; limit + 1].into()))).await);
    expect_refused(world.catalog.put_version(world.put_request("a", 1, NewContent::Blobs(Vec::new()))).await);
}

/// Versions are in the order of their commits; catalog time never goes back (R2, T1).
pub async fn orders_versions_whatever_the_clock_says(world: &World<'_>) {
    world.set_versioning(Versioning::Enabled).await;
    let mut last = world.catalog.time().await.unwrap();
    for number in 0..5 {
        world.put("a", number, "x").await;
        let now = world.catalog.time().await.unwrap();
        assert!(now >= last);
        last = now;
        world.subject.pass(Duration::from_millis(1500)).await;
        assert!(world.catalog.time().await.unwrap() >= last.after(Duration::from_millis(1500)));
    }
    assert_eq!(world.version_names().await, ["a 4*", "a 3", "a 2", "a 1", "a 0"]);
}

/// Nothing in one bucket is seen in another, and a bucket that is gone says so.
pub async fn keeps_buckets_apart(world: &World<'_>) {
    let other = world.in_bucket(world.make_bucket("second", Versioning::Enabled).await);
    world.put("a", 1, "x").await;
    expect_error(other.get("a", None).await, &CatalogError::NoSuchKey);
    assert_eq!(other.object_names("", None).await, Vec::<String>::new());
    other.put("a", 2, "y").await;
    other.delete("a", None).await.unwrap();
    assert_eq!(world.version_names().await, ["a 1 null*"]);
    assert_eq!(world.catalog.usage(world.bucket).await.unwrap().delete_markers, 0);
    let other = world.in_bucket(BucketId(u64::MAX));
    expect_error(other.get("a", None).await, &CatalogError::NoSuchBucket);
    expect_error(other.delete("a", None).await, &CatalogError::NoSuchBucket);
    let request = other.put_request("a", 1, NewContent::Inline(Bytes::new()));
    expect_error(other.catalog.put_version(request).await, &CatalogError::NoSuchBucket);
    let request = ListObjects { scope: other.scope("", None, 1), after: None };
    expect_error(other.catalog.list_objects(request).await, &CatalogError::NoSuchBucket);
    expect_error(other.catalog.usage(other.bucket).await, &CatalogError::NoSuchBucket);
}

/// Folders, odd keys, positions inside and outside of folders.
pub async fn rolls_folders_up(world: &World<'_>) {
    let keys = ["a", "a/", "a/b", "a/b/c", "a//d", "a0", "ab", "é/x", "z\u{10ffff}", "\u{10ffff}/1", "\u{10ffff}/2"];
    for (number, name) in keys.iter().enumerate() {
        world.put(name, number as u64, "x").await;
    }
    assert_eq!(world.object_names("", Some("/")).await, ["a", "a/...", "a0", "ab", "z\u{10ffff}", "é/...", "\u{10ffff}/..."]);
    assert_eq!(world.object_names("a/", Some("/")).await, ["a/", "a//...", "a/b", "a/b/..."]);
    assert_eq!(world.object_names("a", Some("b")).await, ["a", "a/", "a//d", "a/b...", "a0", "ab..."]);
    assert_eq!(world.object_names("a/b/c", None).await, ["a/b/c"]);
    assert_eq!(world.object_names("nothing", Some("/")).await, Vec::<String>::new());
    assert_eq!(world.object_names("", Some("")).await.len(), keys.len());
    let list = async |after, limit| {
        let request = ListObjects { scope: world.scope("", Some("/"), limit), after: Some(after) };
        let page = world.catalog.list_objects(request).await.unwrap();
        (super::names(&page.entries, |object| object.key.to_string()), page.is_truncated)
    };
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(list(ListPosition::Key("a".to_owned()), 2).await, (strings(&["a/...", "a0"]), true));
    assert_eq!(list(ListPosition::Key("a/b".to_owned()), 1).await, (strings(&["a0"]), true));
    assert_eq!(list(ListPosition::Prefix("a/".to_owned()), 1).await, (strings(&["a0"]), true));
    assert_eq!(list(ListPosition::Prefix("z".to_owned()), 9).await, (strings(&["é/...", "\u{10ffff}/..."]), false));
    assert_eq!(list(ListPosition::Prefix("\u{10ffff}/".to_owned()), 9).await, (strings(&[]), false));
    // Exactly as many as were asked for is not more than were asked for.
    assert!(!list(ListPosition::Key("z".to_owned()), 3).await.1);
    assert!(list(ListPosition::Key("z".to_owned()), 2).await.1);
    assert_eq!(list(ListPosition::Key(String::new()), 0).await, (strings(&[]), false));
}

/// A walk that deletes what it was shown misses nothing, though what marks its place is gone.
pub async fn pages_through_versions_while_they_are_deleted(world: &World<'_>) {
    for name in ["a", "b", "b/c"] {
        world.put(name, 1, "null").await;
    }
    world.set_versioning(Versioning::Enabled).await;
    for number in 2..6 {
        for name in ["a", "b", "b/c"] {
            world.put(name, number, "x").await;
        }
        world.delete("b", None).await.unwrap();
    }
    for limit in 1..4 {
        let before = world.version_names().await;
        let mut after = None;
        let mut seen = 0;
        loop {
            let request = ListVersions { scope: world.scope("", None, limit), after: after.clone() };
            let page = world.catalog.list_versions(request).await.unwrap();
            for (place, entry) in page.entries.iter().enumerate() {
                let ListEntry::Item(version) = entry else { panic!("no folders here") };
                seen += 1;
                let id = version.row.version_id();
                after = Some(VersionPosition::Version(version.key.clone(), id));
                // On the last round everything goes as it is shown.
                if limit == 3 {
                    assert!(world.delete(version.key.as_str(), Some(id)).await.unwrap().changed);
                    // All that was newer than the first of a page has gone.
                    assert!(version.is_latest || place > 0, "{version:?}");
                } else {
                    assert!(matches!(version.row, ListedRow::Version(_) | ListedRow::Marker(_)));
                }
            }
            if !page.is_truncated {
                break;
            }
        }
        assert_eq!(seen, before.len());
    }
    assert_eq!(world.version_names().await, Vec::<String>::new());
    assert_eq!(world.catalog.usage(world.bucket).await, Ok(UsageRecord::default()));
}

/// Tags of a version change, current or not, and nothing else of it does; a delete marker has none.
pub async fn changes_tags_alone(world: &World<'_>) {
    let tags = |value: &str| vec![("a".to_owned(), value.to_owned()), ("b".to_owned(), String::new())];
    let tag = |name: &str, version_id, value: &str| {
        world.catalog.tag_version(TagVersion { bucket: world.bucket, key: key(name), version_id, tags: tags(value) })
    };
    expect_error(tag("a", None, "x").await, &CatalogError::NoSuchKey);
    world.put("a", 1, "null").await;
    assert_eq!(tag("a", None, "null").await.unwrap().version_id, VersionId::Null);
    world.set_versioning(Versioning::Enabled).await;
    let second = world.put("a", 2, "second").await;
    let before = world.get("a", None).await.unwrap();
    let tagged = tag("a", None, "second").await.unwrap();
    assert_eq!((tagged.version_id, tagged.versioning), (second.version_id, Versioning::Enabled));
    let mut expected = before.clone();
    expected.version.details.tags = tags("second");
    assert_eq!(world.get("a", None).await, Ok(expected), "all but the tags is as it was");
    assert_eq!(world.get("a", Some(VersionId::Null)).await.unwrap().version.details.tags, tags("null"));
    // One that is not current, by its name.
    tag("a", Some(VersionId::Null), "again").await.unwrap();
    assert_eq!(world.get("a", Some(VersionId::Null)).await.unwrap().version.details.tags, tags("again"));
    assert_eq!(world.version_names().await, ["a 2*", "a 1 null"]);
    expect_error(tag("a", Some(VersionId::Id([1; 16])), "x").await, &CatalogError::NoSuchVersion);
    let marker = world.delete("a", None).await.unwrap().version_id;
    for version in [None, marker] {
        assert!(matches!(tag("a", version, "x").await, Err(CatalogError::IsDeleteMarker { .. })));
    }
    assert_eq!(world.catalog.usage(world.bucket).await.unwrap().total_bytes(), 4 + 6);
}
