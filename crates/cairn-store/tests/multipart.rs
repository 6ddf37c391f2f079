//! Uploads in parts, copies by reference, and what becomes of their bytes.

mod common;

use std::time::Duration;

use cairn_store::api::{
    CopyPart, Digests, ListParts, ListUploads, ObjectStore, StoreError, UploadState, Versioning, WriteCondition,
};
use common::{KIB, MIB, World, md5, read, sample};

#[tokio::test(start_paused = true)]
async fn many_parts_become_one_object() {
    let world = World::new().await;
    let upload = world.begin("key").await;
    let (mut all, mut parts) = (Vec::new(), Vec::new());
    for number in 1..=1_000_u32 {
        let bytes = sample(1_000 + number as usize * 37, u64::from(number));
        all.extend_from_slice(&bytes);
        parts.push(world.part(&upload, number, &bytes).await.unwrap());
    }
    let listed = world.store.list_parts(ListParts { upload: upload.clone(), after: 990, limit: 5 }).await.unwrap();
    assert_eq!((listed.entries.as_slice(), listed.is_truncated), (&parts[990..995], true));
    let Ok(UploadState::Open(_, found)) = world.store.upload_for_completion(upload.clone()).await else { panic!("not open") };
    assert_eq!(found, parts);
    let written = world.complete(&upload, &parts).await.unwrap();
    assert_eq!(world.complete(&upload, &parts).await.unwrap(), written, "a repeated completion gets the same answer");
    assert!(
        matches!(world.store.upload_for_completion(upload.clone()).await, Ok(UploadState::Completed(again)) if again == written)
    );
    assert!(world.get("key").await.unwrap() == all);
    let mut request = world.get_request("key");
    request.part_number = Some(500);
    let part = world.store.head_object(request).await.unwrap().part.unwrap();
    assert_eq!((part.part_count, part.range.end - part.range.start), (1_000, 1_000 + 500 * 37));
    let content = world.open("key").await.unwrap().content;
    assert!(read(content, part.range).await.unwrap() == sample(1_000 + 500 * 37, 500));
    world.settled(Duration::from_secs(60)).await;
    world.delete("key", None).await;
    // Its manifest is taken apart after the grace, and its blobs are condemned then.
    tokio::time::sleep(Duration::from_secs(700)).await;
    world.settled(Duration::from_secs(7_200)).await;
    assert!(world.stored(1).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn replaced_left_out_and_aborted_parts_leave_the_zones() {
    let world = World::new().await;
    let upload = world.begin("key").await;
    world.part(&upload, 1, &sample(MIB, 1)).await.unwrap();
    let old = world.part(&upload, 2, &sample(MIB, 2)).await.unwrap();
    let new = world.part(&upload, 2, &sample(MIB, 3)).await.unwrap();
    assert_eq!(world.complete(&upload, &[old]).await.unwrap_err(), StoreError::PartsChanged);
    world.complete(&upload, &[new]).await.unwrap();
    assert!(world.get("key").await.unwrap() == sample(MIB, 3));
    let other = world.begin("other").await;
    world.part(&other, 7, &sample(9 * MIB, 4)).await.unwrap();
    let uploads = ListUploads { bucket: world.bucket.id, prefix: String::new(), delimiter: None, after: None, limit: 10 };
    assert_eq!(world.store.list_uploads(uploads.clone()).await.unwrap().entries.len(), 1);
    world.store.abort_upload(other.clone()).await.unwrap();
    assert_eq!(world.store.abort_upload(other.clone()).await.unwrap_err(), StoreError::NoSuchUpload);
    assert!(world.store.list_uploads(uploads).await.unwrap().entries.is_empty());
    let late = world.part(&other, 8, &sample(MIB, 5)).await.unwrap_err();
    assert_eq!(late, StoreError::NoSuchUpload);
    world.settled(Duration::from_secs(7_200)).await;
    assert_eq!(world.stored(0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_shares_bytes_and_outlives_its_source() {
    let world = World::new().await;
    for length in [100, 20 * KIB, 9 * MIB] {
        let bytes = sample(length, length as u64);
        world.put("source", &bytes).await.unwrap();
        let written = world.copy(world.source("source").await.unwrap(), "copy").await.unwrap();
        assert_eq!(written.etag, md5(&bytes));
        assert!(world.get("copy").await.unwrap() == bytes);
        world.delete("source", None).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(world.get("copy").await.unwrap() == bytes);
        // Onto itself, as rename in place of metadata is.
        world.copy(world.source("copy").await.unwrap(), "copy").await.unwrap();
        assert!(world.get("copy").await.unwrap() == bytes);
        let gone = world.source("copy").await.unwrap();
        world.delete("copy", None).await;
        assert_eq!(world.copy(gone, "copy").await.unwrap_err(), StoreError::SourceChanged);
    }
    world.settled(Duration::from_secs(7_200)).await;
    assert!(world.stored(0).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_of_parts_is_copied_by_reference() {
    let world = World::new().await;
    let upload = world.begin("source").await;
    let mut parts = Vec::new();
    for number in 1..=20 {
        parts.push(world.part(&upload, number, &sample(300 * KIB, u64::from(number))).await.unwrap());
    }
    world.complete(&upload, &parts).await.unwrap();
    let bytes = world.get("source").await.unwrap();
    let stored = world.stored(0).await.len();
    world.copy(world.source("source").await.unwrap(), "copy").await.unwrap();
    assert_eq!(world.stored(0).await.len(), stored);
    world.delete("source", None).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    assert!(world.get("copy").await.unwrap() == bytes);
    world.settled(Duration::from_secs(7_200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_in_too_many_pieces_is_copied_by_its_bytes() {
    let mut limits = common::limits();
    limits.extents_max = 4;
    let world = World::with(common::quick(), limits).await;
    let upload = world.begin("source").await;
    let mut parts = Vec::new();
    for number in 1..=10 {
        parts.push(world.part(&upload, number, &sample(30 * KIB, u64::from(number))).await.unwrap());
    }
    world.complete(&upload, &parts).await.unwrap();
    let bytes = world.get("source").await.unwrap();
    let target = world.begin("target").await;
    let source = world.source("source").await.unwrap();
    let mut copied = Vec::new();
    for (part_number, range) in [(1, 10_000..290_000_usize), (2, 5..20), (3, 0..bytes.len())] {
        let digests = Digests { etag: md5(&bytes[range.clone()]), checksum: None };
        let range = range.start as u64..range.end as u64;
        let request = CopyPart { upload: target.clone(), part_number, source: source.clone(), range, digests };
        copied.push(world.store.copy_part(request).await.unwrap());
    }
    world.complete(&target, &copied).await.unwrap();
    let expected = [&bytes[10_000..290_000], &bytes[5..20], &bytes[..]].concat();
    assert!(world.get("target").await.unwrap() == expected);
    world.settled(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn copies_race_deletes_and_every_answer_is_true() {
    let world = World::new().await;
    let mut copied = 0;
    for round in 0..100_u64 {
        let bytes = sample(40 * KIB, round);
        world.put("source", &bytes).await.unwrap();
        let source = world.source("source").await.unwrap();
        let name = format!("copy {round}");
        let copy = world.copy(source, &name);
        let (written, ()) = if round % 2 == 0 {
            tokio::join!(copy, world.delete("source", None))
        } else {
            let (deleted, written) = tokio::join!(world.delete("source", None), copy);
            (written, deleted)
        };
        match written {
            Ok(_) => copied += 1,
            Err(error) => {
                assert_eq!(error, StoreError::SourceChanged);
                assert!(common::is_missing(&world.get(&name).await));
            }
        }
    }
    assert!((1..100).contains(&copied), "{copied} of 100 were copied");
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    for round in 0..100 {
        if let Ok(back) = world.get(&format!("copy {round}")).await {
            assert!(back == sample(40 * KIB, round));
        }
    }
    world.settled(Duration::from_secs(7_200)).await;
    assert_eq!(world.stored(0).await.len(), copied);
}

#[tokio::test(start_paused = true)]
async fn a_long_read_ends_when_its_version_is_deleted() {
    use futures::StreamExt;
    let world = World::new().await;
    let bytes = sample(40 * MIB, 1);
    for in_parts in [false, true] {
        if in_parts {
            let upload = world.begin("key").await;
            let mut parts = Vec::new();
            for (number, part) in (1..).zip(bytes.chunks(MIB)) {
                parts.push(world.part(&upload, number, &bytes::Bytes::copy_from_slice(part)).await.unwrap());
            }
            world.complete(&upload, &parts).await.unwrap();
        } else {
            world.put("key", &bytes).await.unwrap();
        }
        for deleted in [false, true] {
            let opened = world.open("key").await.unwrap();
            let cairn_store::api::ObjectContent::Chunks(reader) = opened.content else { panic!("not in chunks") };
            let mut stream = reader.read(0..bytes.len() as u64);
            let mut back = stream.next().await.unwrap().unwrap().to_vec();
            if deleted {
                world.delete("key", None).await;
            }
            let began = tokio::time::Instant::now();
            // More than half of the grace of 600 s (S4), then one piece at a time until the grace is long over.
            tokio::time::sleep(Duration::from_secs(301)).await;
            let mut ended = None;
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => back.extend_from_slice(&piece),
                    Err(error) => {
                        // Before the bytes may go, not because they went.
                        assert!(began.elapsed() < Duration::from_secs(500), "{:?}", began.elapsed());
                        ended = Some(error);
                    }
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            assert!(bytes.starts_with(&back), "damage");
            assert_eq!(ended, deleted.then_some(StoreError::NoSuchVersion));
            assert_eq!(back.len() == bytes.len(), !deleted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn completion_makes_a_version_and_obeys_conditions() {
    let world = World::new().await;
    world.store.set_versioning(world.bucket.id, Versioning::Enabled).await.unwrap();
    let first = world.put("key", &sample(10, 1)).await.unwrap();
    let upload = world.begin("key").await;
    let part = world.part(&upload, 1, &sample(MIB, 2)).await.unwrap();
    let mut request = cairn_store::api::CompleteUpload {
        upload: upload.clone(),
        parts: vec![(1, part.revision)],
        digests: Digests { etag: md5(b""), checksum: None },
        condition: WriteCondition::Absent,
    };
    assert_eq!(world.store.complete_upload(request.clone()).await.unwrap_err(), StoreError::PreconditionFailed);
    request.condition = WriteCondition::Matches(vec![first.etag]);
    let written = world.store.complete_upload(request).await.unwrap();
    assert_ne!(written.version_id, first.version_id);
    let mut old = world.get_request("key");
    old.version_id = Some(first.version_id);
    let opened = world.store.get_object(old).await.unwrap();
    assert_eq!(read(opened.content, 0..10).await.unwrap(), sample(10, 1));
}
