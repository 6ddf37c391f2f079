//! Multipart uploads.

use bytes::Bytes;
use cairn_catalog::{
    CatalogError, CatalogResult, CompleteUpload, CopyPart, CopyVersion, CreateUpload, DeleteBucket, FoundContent,
    FoundUploadPart, GetVersion, ListParts, ListPosition, ListUploads, ManifestParts, ManifestPosition, NamedPart, NewContent,
    PutPart, UploadName, UploadPosition, UploadState, WriteCondition, Written,
};
use cairn_types::records::{StorageClass, UploadAttributes, UsageRecord, Versioning};
use cairn_types::{ETag, ObjectMetadata, UploadId};

use super::reference::{Content, Piece};
use super::{World, attributes, etag, expect_error, expect_refused, key};

/// Opens an upload in the first bucket.
pub async fn create(world: &World<'_>, name: &str) -> UploadName {
    let request = CreateUpload {
        bucket: world.bucket,
        key: key(name),
        initiator: world.account,
        nonce: world.blob_id().counter.to_be_bytes(),
        attributes: UploadAttributes {
            metadata: ObjectMetadata { content_type: Some(Bytes::from_static(b"test/upload")), ..ObjectMetadata::default() },
            tags: vec![("a".to_owned(), "b".to_owned())],
            storage_class: StorageClass::Standard,
            checksum: None,
        },
    };
    let upload_id = world.catalog.create_upload(request).await.expect("an upload");
    UploadName { bucket: world.bucket, key: key(name), upload_id }
}

/// Writes a part.
pub async fn put_part(
    world: &World<'_>,
    upload: &UploadName,
    part_number: u32,
    content: NewContent,
) -> CatalogResult<FoundUploadPart> {
    let request = PutPart {
        session: world.session,
        upload: upload.clone(),
        part_number,
        content,
        etag: etag(u64::from(part_number)),
        checksum: None,
    };
    world.catalog.put_part(request).await
}

async fn put_text(world: &World<'_>, upload: &UploadName, part_number: u32, text: &'static str) -> NamedPart {
    let part = put_part(world, upload, part_number, NewContent::Inline(Bytes::from_static(text.as_bytes()))).await.unwrap();
    NamedPart { part_number, sequence: part.sequence }
}

/// A completion of these parts without a bound on their length.
#[must_use]
pub fn completion(upload: &UploadName, parts: &[NamedPart], number: u64) -> CompleteUpload {
    CompleteUpload {
        upload: upload.clone(),
        parts: parts.to_vec(),
        part_length_min: 0,
        object_length_max: u64::MAX,
        etag: ETag { part_count: parts.len() as u32, ..etag(number) },
        checksum: None,
        condition: WriteCondition::None,
    }
}

async fn complete(world: &World<'_>, upload: &UploadName, parts: &[NamedPart], number: u64) -> CatalogResult<Written> {
    world.catalog.complete_upload(completion(upload, parts, number)).await
}

/// Parts become an object in the order of their numbers, with gaps and whatever their order of arrival.
pub async fn turns_parts_into_an_object(world: &World<'_>) {
    let upload = create(world, "a").await;
    let blob = world.blob(&[100, 20], &[0, 2]);
    let id = blob.id;
    let last = put_text(world, &upload, 9, "end").await;
    let middle = put_part(world, &upload, 4, NewContent::Blobs(vec![blob])).await.unwrap();
    let first = put_text(world, &upload, 2, "start").await;
    // Nothing is seen of it yet.
    expect_error(world.get("a", None).await, &CatalogError::NoSuchKey);
    assert_eq!(world.object_names("", None).await, Vec::<String>::new());
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!((usage.uploads, usage.parts, usage.part_bytes, usage.objects), (1, 3, 128, 0));
    let parts = [first, NamedPart { part_number: 4, sequence: middle.sequence }, last];
    let written = complete(world, &upload, &parts, 7).await.unwrap();
    assert_eq!(written.length, 128);
    let mut expected = Content::of_bytes(b"start");
    expected.push(Piece::Blob { id, offset: 0, length: 120 });
    expected.push(Piece::Bytes(b"end".to_vec()));
    assert_eq!(world.read("a", None).await, Ok(expected));
    let found = world.get("a", None).await.unwrap().version;
    assert_eq!(found.details.metadata.content_type, Some(Bytes::from_static(b"test/upload")));
    assert_eq!(found.details.tags, [("a".to_owned(), "b".to_owned())]);
    assert_eq!(found.summary.etag.part_count, 3);
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!(usage, UsageRecord { objects: 1, object_bytes: 128, ..UsageRecord::default() });
    // Parts are counted from 1 without gaps once they are an object's.
    for (number, offset, length) in [(1, 0, 5), (2, 5, 120), (3, 125, 3)] {
        let request =
            GetVersion { bucket: world.bucket, key: key("a"), version_id: None, part_number: Some(number), with_content: false };
        let part = world.catalog.get_version(request).await.unwrap().part.unwrap();
        assert_eq!((part.part_count, part.span.offset, part.span.length), (3, offset, length));
    }
    let request = GetVersion { bucket: world.bucket, key: key("a"), version_id: None, part_number: Some(4), with_content: false };
    expect_error(world.catalog.get_version(request).await, &CatalogError::NoSuchPart);
    // A reader can begin at any byte.
    let FoundContent::Manifest(manifest) = world.get("a", None).await.unwrap().content.unwrap() else { panic!("a manifest") };
    for (offset, number) in [(0, 2), (4, 2), (5, 4), (124, 4), (125, 9), (127, 9)] {
        let from = ManifestPosition::Offset(offset);
        let page = world.catalog.manifest_parts(ManifestParts { manifest, from, limit: 1, with_content: true }).await.unwrap();
        assert_eq!(page.parts[0].span.number, number, "byte {offset}");
        assert_eq!(page.is_truncated, number != 9);
    }
}

/// A completion that is not right changes nothing.
pub async fn refuses_wrong_completions(world: &World<'_>) {
    let upload = create(world, "a").await;
    let one = put_text(world, &upload, 1, "12345").await;
    let two = put_text(world, &upload, 2, "123").await;
    let three = put_text(world, &upload, 3, "1").await;
    let missing = NamedPart { part_number: 7, sequence: 1 };
    expect_error(complete(world, &upload, &[two, one], 1).await, &CatalogError::InvalidPartOrder);
    expect_error(complete(world, &upload, &[one, one], 1).await, &CatalogError::InvalidPartOrder);
    expect_error(complete(world, &upload, &[one, missing], 1).await, &CatalogError::InvalidPart(7));
    expect_refused(complete(world, &upload, &[], 1).await);
    let changed = put_text(world, &upload, 2, "456").await;
    expect_error(complete(world, &upload, &[one, two], 1).await, &CatalogError::PartsChanged(2));
    let mut short = completion(&upload, &[one, changed, three], 1);
    short.part_length_min = 4;
    let too_small = CatalogError::EntityTooSmall { part_number: 2, length: 3 };
    expect_error(world.catalog.complete_upload(short).await, &too_small);
    let mut long = completion(&upload, &[one, changed], 1);
    long.object_length_max = 7;
    expect_error(world.catalog.complete_upload(long.clone()).await, &CatalogError::EntityTooLarge { length: 8 });
    world.put("a", 9, "there").await;
    let mut conditional = completion(&upload, &[one, changed], 1);
    conditional.condition = WriteCondition::Absent;
    expect_error(world.catalog.complete_upload(conditional).await, &CatalogError::PreconditionFailed);
    // Another bucket's or key's upload of that name does not exist.
    let strangers = [
        UploadName { key: key("b"), ..upload.clone() },
        UploadName { upload_id: UploadId([1; 16]), ..upload.clone() },
        UploadName { bucket: world.make_bucket("second", Versioning::Enabled).await, ..upload.clone() },
    ];
    for stranger in &strangers {
        expect_error(complete(world, stranger, &[one], 1).await, &CatalogError::NoSuchUpload);
        expect_error(world.catalog.abort_upload(stranger.clone()).await, &CatalogError::NoSuchUpload);
        let content = NewContent::Inline(Bytes::from_static(b"x"));
        expect_error(put_part(world, stranger, 1, content).await, &CatalogError::NoSuchUpload);
    }
    expect_refused(put_part(world, &upload, 0, NewContent::Inline(Bytes::new())).await);
    expect_refused(put_part(world, &upload, 10_001, NewContent::Inline(Bytes::new())).await);
    // It is all still there.
    long.object_length_max = 8;
    world.catalog.complete_upload(long).await.unwrap();
    assert_eq!(world.read("a", None).await, Ok(Content::of_bytes(b"12345456")));
}

/// A completion whose answer was lost can be asked for again, and does nothing again.
pub async fn repeats_a_completion(world: &World<'_>) {
    world.set_versioning(Versioning::Enabled).await;
    let upload = create(world, "a").await;
    let parts = [put_text(world, &upload, 1, "one").await, put_text(world, &upload, 2, "two").await];
    let written = complete(world, &upload, &parts, 1).await.unwrap();
    world.put("a", 2, "later").await;
    assert_eq!(complete(world, &upload, &parts, 1).await, Ok(written.clone()));
    assert_eq!(world.catalog.upload_for_completion(upload.clone()).await, Ok(UploadState::Completed(written)));
    assert_eq!(world.version_names().await, ["a 2*", "a 1"]);
    // Not with other parts, and the upload is closed for everything else.
    expect_error(complete(world, &upload, &parts[..1], 1).await, &CatalogError::NoSuchUpload);
    expect_error(world.catalog.abort_upload(upload.clone()).await, &CatalogError::NoSuchUpload);
    expect_error(put_part(world, &upload, 3, NewContent::Inline(Bytes::new())).await, &CatalogError::NoSuchUpload);
    expect_error(world.catalog.upload(upload.clone()).await, &CatalogError::NoSuchUpload);
    world.subject.pass(world.catalog.limits().completion_memory).await;
    world.reap().await;
    expect_error(complete(world, &upload, &parts, 1).await, &CatalogError::NoSuchUpload);
    assert_eq!(world.version_names().await, ["a 2*", "a 1"]);
}

/// A part written again replaces the one before; parts that a completion does not name are let go of.
pub async fn replaces_and_drops_parts(world: &World<'_>) {
    let upload = create(world, "a").await;
    let (replaced, kept, unnamed) = (world.blob(&[10], &[0, 1, 2]), world.blob(&[20], &[0, 1, 2]), world.blob(&[30], &[0, 1, 2]));
    let ids = [replaced.id, kept.id, unnamed.id];
    put_part(world, &upload, 1, NewContent::Blobs(vec![replaced])).await.unwrap();
    let part = put_part(world, &upload, 1, NewContent::Blobs(vec![kept])).await.unwrap();
    put_part(world, &upload, 2, NewContent::Blobs(vec![unnamed])).await.unwrap();
    assert_eq!(world.references(ids[0]).await, None);
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!((usage.parts, usage.part_bytes), (2, 50));
    complete(world, &upload, &[NamedPart { part_number: 1, sequence: part.sequence }], 1).await.unwrap();
    world.reap().await;
    assert_eq!(world.references(ids[1]).await, Some(1));
    assert_eq!(world.references(ids[2]).await, None);
    let usage = world.catalog.usage(world.bucket).await.unwrap();
    assert_eq!(usage, UsageRecord { objects: 1, object_bytes: 20, ..UsageRecord::default() });
    assert_eq!(world.read("a", None).await.unwrap().length(), 20);
}

/// An aborted upload is gone at once, and what it held is let go of.
pub async fn aborts(world: &World<'_>) {
    let upload = create(world, "a").await;
    let blob = world.blob(&[10], &[0, 1, 2]);
    let id = blob.id;
    put_part(world, &upload, 1, NewContent::Blobs(vec![blob])).await.unwrap();
    put_text(world, &upload, 2, "inline").await;
    world.catalog.abort_upload(upload.clone()).await.unwrap();
    expect_error(world.catalog.abort_upload(upload.clone()).await, &CatalogError::NoSuchUpload);
    expect_error(put_part(world, &upload, 3, NewContent::Inline(Bytes::new())).await, &CatalogError::NoSuchUpload);
    let list = ListParts { upload: upload.clone(), after: 0, limit: 10 };
    expect_error(world.catalog.list_parts(list).await, &CatalogError::NoSuchUpload);
    world.reap().await;
    assert_eq!(world.references(id).await, None);
    assert_eq!(world.catalog.usage(world.bucket).await, Ok(UsageRecord::default()));
    // A bucket with open uploads goes only when that is asked for, and takes them along.
    let blob = world.blob(&[10], &[0, 1, 2]);
    let id = blob.id;
    let upload = create(world, "b").await;
    put_part(world, &upload, 1, NewContent::Blobs(vec![blob])).await.unwrap();
    let delete = |abort_uploads| world.catalog.delete_bucket(DeleteBucket { bucket: world.bucket, abort_uploads });
    expect_error(delete(false).await, &CatalogError::BucketNotEmpty);
    delete(true).await.unwrap();
    world.reap().await;
    assert_eq!(world.references(id).await, None);
    expect_error(put_part(world, &upload, 2, NewContent::Inline(Bytes::new())).await, &CatalogError::NoSuchBucket);
}

/// A part can refer to a range of a version's bytes, whatever that version consists of (B5).
pub async fn copies_parts(world: &World<'_>) {
    let (simple, blob) = world.put_blobs("simple", 1, &[100, 50]).await;
    let inline = world.put("inline", 2, "0123456789").await;
    let upload = create(world, "parts").await;
    let own = world.blob(&[40], &[1, 2]);
    let own_id = own.id;
    let parts = [
        put_text(world, &upload, 1, "abcde").await,
        {
            let part = put_part(world, &upload, 2, NewContent::Blobs(vec![own])).await.unwrap();
            NamedPart { part_number: 2, sequence: part.sequence }
        },
        put_text(world, &upload, 3, "vwxyz").await,
    ];
    let whole = complete(world, &upload, &parts, 3).await.unwrap();
    let target = create(world, "target").await;
    let copy = async |part_number, source, range: std::ops::Range<u64>| {
        let request = CopyPart {
            session: world.session,
            upload: target.clone(),
            part_number,
            source,
            range,
            etag: etag(u64::from(part_number)),
            checksum: None,
        };
        world.catalog.copy_part(request).await.map(|part| NamedPart { part_number, sequence: part.sequence })
    };
    let named = [
        copy(1, world.source("simple", &simple), 90..110).await.unwrap(),
        copy(2, world.source("inline", &inline), 3..6).await.unwrap(),
        copy(3, world.source("parts", &whole), 3..47).await.unwrap(),
        copy(4, world.source("simple", &simple), 5..5).await.unwrap(),
    ];
    expect_refused(copy(5, world.source("simple", &simple), 100..151).await);
    let missing = cairn_catalog::SourceVersion { sequence: 1, ..world.source("simple", &simple) };
    expect_error(copy(5, missing, 0..1).await, &CatalogError::SourceChanged);
    for name in ["simple", "inline", "parts"] {
        world.delete(name, None).await.unwrap();
    }
    complete(world, &target, &named, 4).await.unwrap();
    let mut expected = Content::default();
    expected.push(Piece::Blob { id: blob, offset: 90, length: 20 });
    expected.push(Piece::Bytes(b"345de".to_vec()));
    expected.push(Piece::Blob { id: own_id, offset: 0, length: 40 });
    expected.push(Piece::Bytes(b"vw".to_vec()));
    assert_eq!(world.read("target", None).await, Ok(expected));
    world.subject.pass(world.catalog.limits().garbage_grace).await;
    world.reap().await;
    assert_eq!((world.references(blob).await, world.references(own_id).await), (Some(1), Some(1)));
    world.delete("target", None).await.unwrap();
    world.subject.pass(world.catalog.limits().garbage_grace).await;
    world.reap().await;
    assert_eq!((world.references(blob).await, world.references(own_id).await), (None, None));
}

/// Copies of an object in parts share them; the last one to go takes them along.
pub async fn shares_parts_between_copies(world: &World<'_>) {
    let upload = create(world, "a").await;
    let blob = world.blob(&[10], &[0, 1, 2]);
    let id = blob.id;
    let part = put_part(world, &upload, 1, NewContent::Blobs(vec![blob])).await.unwrap();
    let parts = [NamedPart { part_number: 1, sequence: part.sequence }, put_text(world, &upload, 2, "text").await];
    let written = complete(world, &upload, &parts, 1).await.unwrap();
    let request = CopyVersion {
        session: world.session,
        source: world.source("a", &written),
        bucket: world.bucket,
        key: key("b"),
        attributes: attributes(2),
        condition: WriteCondition::None,
    };
    world.catalog.copy_version(request).await.unwrap();
    let content = world.read("a", None).await.unwrap();
    let grace = world.catalog.limits().garbage_grace;
    world.delete("a", None).await.unwrap();
    world.subject.pass(grace).await;
    world.reap().await;
    assert_eq!(world.references(id).await, Some(1));
    assert_eq!(world.read("b", None).await, Ok(content));
    world.delete("b", None).await.unwrap();
    world.subject.pass(grace).await;
    world.reap().await;
    assert_eq!(world.references(id).await, None);
}

/// Who reads an object in parts while it is deleted can go on for the grace (S4).
pub async fn keeps_parts_for_readers(world: &World<'_>) {
    let upload = create(world, "a").await;
    let parts = [put_text(world, &upload, 1, "one").await, put_text(world, &upload, 2, "two").await];
    complete(world, &upload, &parts, 1).await.unwrap();
    let found = world.get("a", None).await.unwrap();
    world.delete("a", None).await.unwrap();
    world.reap().await;
    assert_eq!(world.content_of(found.clone()).await, Ok(Content::of_bytes(b"onetwo")));
    world.subject.pass(world.catalog.limits().garbage_grace).await;
    world.reap().await;
    expect_error(world.content_of(found).await, &CatalogError::NoSuchVersion);
}

/// Uploads in the order of keys and of their beginning, parts in the order of their numbers.
pub async fn lists_uploads_and_parts(world: &World<'_>) {
    let mut uploads = Vec::new();
    for name in ["b", "a", "dir/x", "b", "b", "dir/y"] {
        uploads.push(create(world, name).await);
    }
    let list = async |prefix: &str, delimiter, after, limit| {
        let request = ListUploads { scope: world.scope(prefix, delimiter, limit), after };
        let page = world.catalog.list_uploads(request).await.unwrap();
        let place = |upload: &cairn_catalog::FoundUpload| {
            uploads.iter().position(|name| *name == upload.name).map(|place| place.to_string()).unwrap_or_default()
        };
        (super::names(&page.entries, place).join(" "), page.is_truncated)
    };
    assert_eq!(list("", None, None, 10).await, ("1 0 3 4 2 5".to_owned(), false));
    assert_eq!(list("", Some("/"), None, 10).await, ("1 0 3 4 dir/...".to_owned(), false));
    assert_eq!(list("", Some("/"), None, 4).await, ("1 0 3 4".to_owned(), true));
    let behind = |place: usize| Some(UploadPosition::Upload(uploads[place].key.clone(), uploads[place].upload_id));
    assert_eq!(list("", None, behind(0), 1).await, ("3".to_owned(), true));
    assert_eq!(list("", Some("/"), behind(4), 9).await, ("dir/...".to_owned(), false));
    assert_eq!(list("", Some("/"), behind(2), 9).await, (String::new(), false));
    let name = |text: &str| Some(UploadPosition::Name(ListPosition::Key(text.to_owned())));
    assert_eq!(list("", None, name("b"), 9).await, ("2 5".to_owned(), false));
    assert_eq!(list("dir/", None, name("dir/x"), 9).await, ("5".to_owned(), false));
    // One that has ended still marks a place.
    world.catalog.abort_upload(uploads[0].clone()).await.unwrap();
    assert_eq!(list("", None, behind(0), 9).await, ("3 4 2 5".to_owned(), false));

    let upload = &uploads[3];
    for number in [5, 1, 9] {
        put_text(world, upload, number, "x").await;
    }
    let parts = async |after, limit| {
        let page = world.catalog.list_parts(ListParts { upload: upload.clone(), after, limit }).await.unwrap();
        (page.entries.iter().map(|part| part.part_number).collect::<Vec<_>>(), page.is_truncated)
    };
    assert_eq!(parts(0, 10).await, (vec![1, 5, 9], false));
    assert_eq!(parts(0, 2).await, (vec![1, 5], true));
    assert_eq!(parts(1, 2).await, (vec![5, 9], false));
    assert_eq!(parts(9, 2).await, (vec![], false));
    let UploadState::Open(found, all) = world.catalog.upload_for_completion(upload.clone()).await.unwrap() else {
        panic!("an open upload")
    };
    assert_eq!((found.name, found.initiator, all.len()), (upload.clone(), world.account, 3));
}
