//! Metrics of the real binary: well-formed, complete, true, and without a secret.

#![allow(clippy::float_cmp, reason = "counts are whole")]

use std::collections::BTreeSet;

use cairn_testkit::s3_client::{S3Request, path};

use crate::service::{Service, eventually, status};

const PAGE: &str = include_str!("../../../../docs/observing.md");

#[tokio::test]
async fn what_is_told_is_true() {
    let service = Service::start();
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("photos", ""))).await, 200);
    let body = vec![7; 100_000];
    assert_eq!(status(&service.root, &S3Request::new("PUT", path("photos", "hidden-name")).body(body)).await, 200);
    for _ in 0..3 {
        assert_eq!(status(&service.root, &S3Request::new("GET", path("photos", "hidden-name"))).await, 200);
    }
    assert_eq!(status(&service.root, &S3Request::new("GET", path("photos", "none"))).await, 404);
    assert_eq!(status(&service.root, &S3Request::new("GET", path("no-such-bucket-name", "none"))).await, 404);

    // The third copy may be somewhat later than the answer (B3).
    let (text, exposed) = eventually("three copies and all requests are told", async || {
        let (text, exposed) = service.metrics().await;
        let copies: f64 = exposed.find("cairn_zone_chunks", &[]).iter().map(|sample| sample.value).sum();
        let found = exposed.find("cairn_s3_requests_total", &[("operation", "GetObject"), ("status", "4xx")]);
        (copies >= 3.0 && found.iter().any(|sample| sample.value >= 2.0)).then_some((text, exposed))
    })
    .await;
    let requests = |operation, status| exposed.value("cairn_s3_requests_total", &[("operation", operation), ("status", status)]);
    assert_eq!((requests("PutObject", "2xx"), requests("GetObject", "2xx"), requests("GetObject", "4xx")), (1.0, 3.0, 2.0));
    assert_eq!(exposed.value("cairn_s3_received_bytes_total", &[("operation", "PutObject")]), 100_000.0);
    assert_eq!(exposed.value("cairn_s3_request_duration_seconds_count", &[("operation", "GetObject")]), 5.0);
    let photos = [("tenant", "default"), ("bucket", "photos")];
    assert_eq!(exposed.value("cairn_bucket_received_bytes_total", &photos), 100_000.0);
    assert_eq!(exposed.value("cairn_bucket_requests_total", &[photos[0], photos[1], ("status", "2xx")]), 4.0);
    assert_eq!(exposed.find("cairn_bucket_sent_bytes_total", &[]).len(), 2, "photos and _other: {text}");
    for zone in ["geneva", "gland", "lucerne"] {
        let value = |name: &str| exposed.value(name, &[("zone", zone)]);
        assert_eq!(exposed.value("cairn_zone_state", &[("zone", zone), ("state", "voting")]), 1.0);
        assert_eq!((value("cairn_zone_incarnation"), value("cairn_zone_takes_writes")), (1.0, 1.0));
        assert!(value("cairn_zone_stored_bytes") >= 100_000.0 && value("cairn_zone_free_bytes") > 0.0);
        let written = exposed.value("cairn_zone_operation_bytes_total", &[("zone", zone), ("operation", "write")]);
        assert!(written >= 100_000.0, "{written}");
        assert!(value("cairn_zone_catalog_sync_seconds_count") >= 1.0);
    }
    let read: f64 =
        exposed.find("cairn_zone_operation_bytes_total", &[("operation", "read")]).iter().map(|found| found.value).sum();
    assert!(read >= 300_000.0, "{read}");
    assert_eq!(exposed.value("cairn_ready", &[]), 1.0);
    assert_eq!(exposed.value("cairn_repair_known", &[]), 1.0);
    assert!(exposed.value("cairn_catalog_batch_commands_count", &[]) >= 2.0);
    assert!(exposed.value("process_open_fds", &[]) > 10.0);

    // All that the page promises, and nothing else.
    let told: BTreeSet<&str> = exposed.families.iter().map(|(name, _)| name.as_str()).collect();
    let table = PAGE.split("<!-- metrics: begin -->").nth(1).and_then(|rest| rest.split("<!-- metrics: end -->").next()).unwrap();
    let promised: BTreeSet<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, promised);

    for secret in [service.root.secret_access_key.as_str(), &service.root.access_key_id, "hidden-name", "no-such-bucket-name"] {
        assert!(!text.contains(secret), "{secret} is told");
    }
    assert!(!text.contains(service.data.to_str().unwrap()), "a path is told");
}
