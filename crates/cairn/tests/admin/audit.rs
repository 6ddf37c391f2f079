//! `cairn admin audit` of the real binary: what is whole, what is not, and what it says of either.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use cairn_testkit::s3_client::{S3Request, path};
use serde_json::{Value, json};

use crate::operations::Scene;
use crate::service::{Service, status};

/// Objects of one chunk each.
const OBJECTS: u64 = 3;

/// A body that stands nowhere else, and compresses to nothing.
fn body(object: u64) -> Vec<u8> {
    (0..20_000_u64).flat_map(|at| (object << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).collect()
}

/// Flips a bit of an object's bytes in this zone's segments.
fn damage(zone: &Path, object: u64) {
    let bytes = body(object);
    let needle = &bytes[1000..1100];
    for entry in std::fs::read_dir(zone.join("segments")).unwrap() {
        let segment = std::fs::File::options().read(true).write(true).open(entry.unwrap().path()).unwrap();
        let mut content = vec![0; usize::try_from(segment.metadata().unwrap().len()).unwrap()];
        segment.read_exact_at(&mut content, 0).unwrap();
        if let Some(at) = content.windows(needle.len()).position(|window| window == needle) {
            segment.write_all_at(&[needle[0] ^ 1], at as u64).unwrap();
            return;
        }
    }
    panic!("object {object} is in no segment of {}", zone.display());
}

async fn filled() -> Service {
    let service = Service::start();
    // `one`, `two`, a deleted `gone`, and an open upload: all of them in the catalog's log.
    Scene::make(&service.root, "photos").await;
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("films", ""))).await, 200);
    for object in 0..OBJECTS {
        let put = S3Request::new("PUT", path("films", &object.to_string())).body(body(object));
        assert_eq!(status(&service.root, &put).await, 200);
    }
    let copy = S3Request::new("PUT", path("films", "copy")).header("x-amz-copy-source", "/films/0");
    assert_eq!(status(&service.root, &copy).await, 200);
    service
}

/// Runs an audit that ends with this exit code; its document.
fn audit(service: &Service, code: i32) -> Value {
    let ran = service.run("audit --json --settle-seconds 1");
    assert_eq!(ran.code, code, "{ran:?}");
    serde_json::from_str(&ran.output).unwrap()
}

#[tokio::test]
async fn a_store_that_is_whole_is_found_so() {
    let service = filled().await;
    let none = service.run("audit --show");
    assert!(none.code == 1 && none.error.contains("there was no audit since the service started"), "{none:?}");
    let found = audit(&service, 0);
    assert_eq!(
        (&found["whole"], &found["state"], &found["chunks"]),
        (&json!(true), &json!("done"), &json!(OBJECTS)),
        "{found:#}"
    );
    // Of `photos` the object and the two versions behind it.
    let bytes = OBJECTS * 160_000 + 160_000 + 3 + 7;
    assert_eq!(found["objects"], json!({ "buckets": 2, "versions": OBJECTS + 1 + 3, "bytes": bytes, "broken": 0 }));
    for zone in found["zones"].as_array().unwrap() {
        assert_eq!(
            (&zone["good"], &zone["listed"], &zone["goodBytes"]),
            (&json!(OBJECTS), &json!(OBJECTS), &zone["listedBytes"])
        );
        assert_eq!([&zone["absent"], &zone["damaged"], &zone["unread"], &zone["waiting"], &zone["leftOver"]], [&json!(0); 5]);
    }
    let shown = service.text("audit --show");
    assert!(shown.starts_with("Whole: every object's bytes are there, and each of its chunks was read"), "{shown}");
    assert!(shown.contains("geneva   3, "), "{shown}");
    assert_eq!(found["findings"], json!([]));
}

#[tokio::test]
async fn damage_is_found_told_and_replaced_and_one_audit_runs_at_a_time() {
    let service = filled().await;
    damage(&service.data.join("gland"), 1);
    // So slow that it goes on for half a minute, would nobody stop it.
    let started = service.json("audit --no-wait --mebibytes-per-second 1 --settle-seconds 30");
    assert_ne!(started["state"], "done", "{started:#}");
    let again = service.run("audit --no-wait");
    assert!(again.code == 0 && again.error.contains("An audit runs already"), "{again:?}");
    assert_eq!(service.json("audit --stop")["state"], "stopped");
    assert!(service.log().contains("start an audit"), "it is logged who asked for it");

    // The first one may have found it; then repair has replaced it, as after any read.
    let found = audit(&service, 0);
    assert_eq!(found["whole"], true, "{found:#}");
    damage(&service.data.join("gland"), 2);
    let ran = service.run("audit --settle-seconds 20");
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = service.json("audit --show");
    assert_eq!((&found["zones"][1]["replaced"], &found["zones"][1]["good"]), (&json!(1), &json!(OBJECTS)), "{found:#}");
    assert!(ran.output.contains("0 (1 replaced)"), "{}", ran.output);
    assert_eq!(audit(&service, 0)["zones"][1]["replaced"], 0, "it was replaced for good");
}

#[tokio::test]
async fn what_is_not_whole_is_told_and_the_exit_code_says_so() {
    let service = filled().await;
    // In all three zones: nothing is left to replace it from.
    for zone in ["geneva", "gland", "lucerne"] {
        damage(&service.data.join(zone), 1);
    }
    let found = audit(&service, 1);
    assert_eq!(
        (&found["whole"], &found["state"], &found["chunksWithoutCopy"]),
        (&json!(false), &json!("done"), &json!(1)),
        "{found:#}"
    );
    for zone in found["zones"].as_array().unwrap() {
        assert_eq!((&zone["good"], &zone["damaged"]), (&json!(OBJECTS - 1), &json!(1)), "{found:#}");
    }
    let ran = service.run("audit --settle-seconds 1");
    assert!(ran.output.starts_with("NOT WHOLE.") && ran.output.contains("ATTENTION: 1 chunk has no good copy"), "{}", ran.output);
    assert!(ran.output.contains("NO GOOD COPY") && ran.error.contains("Not everything is whole"), "{ran:?}");
}
