//! `cairn admin usage` of the real binary: one number, whatever a bucket holds.

use cairn_testkit::s3_client::{S3Request, path};
use serde_json::{Value, json};

use crate::operations::Scene;
use crate::service::{Service, status};

#[tokio::test]
async fn usage_counts_versions_and_open_uploads() {
    let service = Service::start();
    // `one`, `two`, a deleted `gone`, and an open upload with the part `part`.
    Scene::make(&service.root, "photos").await;
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("films", ""))).await, 200);
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("films", "f")).body(vec![1; 1000])).await, 200);
    service.text("tenant create acme");

    let report: Value = serde_json::from_str(&service.text("usage --json")).unwrap();
    assert_eq!(report["usage"]["totalBytes"], 1000 + 3 + 3 + 4 + 4);
    let tenants = report["tenants"].as_array().unwrap();
    let of = |name: &str| tenants.iter().find(|tenant| tenant["tenant"] == name).unwrap();
    assert_eq!(of("acme")["buckets"], json!([]));
    let photos = of("default")["buckets"].as_array().unwrap().iter().find(|bucket| bucket["name"] == "photos").unwrap();
    let expected = json!({
        "objects": 1, "objectBytes": 3, "noncurrentVersions": 2, "noncurrentBytes": 7, "deleteMarkers": 1,
        "uploads": 1, "partBytes": 4, "totalBytes": 14,
    });
    assert_eq!(photos["usage"], expected);

    let text = service.text("usage --tenant default");
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().split("  ").map(str::trim).collect::<String>();
    assert!(line("photos").ends_with("14 B") && line("(2 buckets)").ends_with("1014 B"), "{text}");
    assert!(!text.contains("acme") && text.contains("1014 B in all"), "{text}");
    assert_ne!(service.run("usage --tenant nobody").code, 0);
}
