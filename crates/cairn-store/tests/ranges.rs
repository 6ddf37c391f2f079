//! Ranges of every kind of object, against a model.

mod common;

use bytes::Bytes;
use cairn_store::api::{CopyPart, Digests, ObjectStore};
use cairn_testkit::sim_environment::simulate;
use common::{KIB, MIB, World, md5, read, sample};
use proptest::prelude::*;

/// How an object comes to be.
#[derive(Debug, Clone)]
enum Making {
    Put(usize),
    /// Lengths of parts.
    Parts(Vec<usize>),
    /// Parts by reference to ranges of an object of one piece, as fractions of it.
    Copies(usize, Vec<(f64, f64)>),
    /// The same of an object that is itself in parts.
    CopiesOfParts(Vec<usize>, Vec<(f64, f64)>),
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0..3_usize, 16 * KIB - 2..16 * KIB + 3, 64 * KIB - 2..64 * KIB + 3, 0..3 * MIB, 8_388_094..8_388_099_usize]
}

fn cuts() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec((0.0..1.0, 0.0..1.0), 1..6)
}

fn making() -> impl Strategy<Value = Making> {
    prop_oneof![
        length().prop_map(Making::Put),
        prop::collection::vec(prop_oneof![0..40 * KIB, 0..MIB], 1..40).prop_map(Making::Parts),
        (length(), cuts()).prop_map(|(length, cuts)| Making::Copies(length, cuts)),
        (prop::collection::vec(0..40 * KIB, 1..8), cuts()).prop_map(|(parts, cuts)| Making::CopiesOfParts(parts, cuts)),
    ]
}

fn cut(length: usize, (one, other): (f64, f64)) -> std::ops::Range<usize> {
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "any place will do")]
    let place = |fraction: f64| (length as f64 * fraction) as usize;
    place(one).min(place(other))..place(one).max(place(other))
}

async fn make(world: &World, name: &str, making: &Making) -> Bytes {
    match making {
        Making::Put(length) => {
            let bytes = sample(*length, 1);
            world.put(name, &bytes).await.unwrap();
            bytes
        }
        Making::Parts(lengths) => {
            let upload = world.begin(name).await;
            let (mut all, mut parts) = (Vec::new(), Vec::new());
            for (number, length) in (1..).step_by(3).zip(lengths) {
                let bytes = sample(*length, u64::from(number));
                parts.push(world.part(&upload, number, &bytes).await.unwrap());
                all.extend_from_slice(&bytes);
            }
            world.complete(&upload, &parts).await.unwrap();
            all.into()
        }
        Making::Copies(length, cuts) => {
            let source = Box::pin(make(world, "source", &Making::Put(*length))).await;
            copy_cuts(world, name, &source, cuts).await
        }
        Making::CopiesOfParts(lengths, cuts) => {
            let source = Box::pin(make(world, "source", &Making::Parts(lengths.clone()))).await;
            copy_cuts(world, name, &source, cuts).await
        }
    }
}

async fn copy_cuts(world: &World, name: &str, bytes: &Bytes, cuts: &[(f64, f64)]) -> Bytes {
    let source = world.source("source").await.unwrap();
    let upload = world.begin(name).await;
    let (mut all, mut parts) = (Vec::new(), Vec::new());
    for (part_number, places) in (1..).zip(cuts) {
        let range = cut(bytes.len(), *places);
        let digests = Digests { etag: md5(&bytes[range.clone()]), checksum: None };
        all.extend_from_slice(&bytes[range.clone()]);
        let range = range.start as u64..range.end as u64;
        let request = CopyPart { upload: upload.clone(), part_number, source: source.clone(), range, digests };
        parts.push(world.store.copy_part(request).await.unwrap());
    }
    world.complete(&upload, &parts).await.unwrap();
    // The source may go: its bytes stay for whoever refers to them (B5).
    world.delete("source", None).await;
    all.into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_what_the_model_says(making in making(), cuts in prop::collection::vec((0.0..1.0, 0.0..1.0), 1..12)) {
        simulate(async {
            let world = World::new().await;
            let model = make(&world, "key", &making).await;
            assert!(world.get("key").await.unwrap() == model);
            for places in cuts {
                let range = cut(model.len(), places);
                let content = world.open("key").await.unwrap().content;
                let back = read(content, range.start as u64..range.end as u64).await.unwrap();
                assert!(back == model[range.clone()], "{range:?} of {}", model.len());
            }
            // Past the end there is nothing, and no panic.
            let length = model.len() as u64;
            if let content @ cairn_store::api::ObjectContent::Chunks(_) = world.open("key").await.unwrap().content {
                assert!(read(content, length..length + 1).await.is_err());
            }
        });
    }
}
