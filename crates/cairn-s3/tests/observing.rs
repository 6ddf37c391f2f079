//! What is counted and logged of requests: each once, whatever becomes of it, and no secret anywhere.

mod common;

use std::sync::Arc;
use std::time::Duration;

use cairn_s3::observe::{AccessLog, AccessLogConfig, Form, OperationCounts, Which};
use cairn_s3::{Config, Limits};
use cairn_testkit::s3_client::{BodyMode, Checksum, S3Request, encode, path};
use common::{Fixture, ROOT, bucket, object, small_limits};
use parking_lot::Mutex;
use serde_json::Value;

type Lines = Arc<Mutex<Vec<String>>>;

async fn logged(config: AccessLogConfig) -> (Fixture, Lines) {
    let fixture = Fixture::start().await;
    let lines = Lines::default();
    let taken = lines.clone();
    fixture.service.set_access_log(AccessLog::new(config, Box::new(move |line| taken.lock().push(line))));
    (fixture, lines)
}

fn all(form: Form) -> AccessLogConfig {
    AccessLogConfig { which: Which::All, form, ..AccessLogConfig::default() }
}

/// Waits until something holds: an answer is read by its client somewhat before its end is told.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "not within 30 s: {what}");
}

fn counts<T>(fixture: &Fixture, operation: &str, look: impl Fn(&OperationCounts) -> T) -> T {
    let metrics = fixture.service.metrics();
    let found = metrics.operations().find(|(name, _)| *name == operation).map(|(_, counts)| look(counts));
    found.unwrap()
}

fn outcomes(fixture: &Fixture, operation: &str) -> Vec<u64> {
    counts(fixture, operation, |counts| counts.outcomes.each().map(|(_, count)| count).collect())
}

#[tokio::test]
async fn every_request_is_counted_once_with_its_bytes() {
    let fixture = Fixture::start().await;
    fixture.put("k", vec![7; 5_000]).await;
    assert_eq!(fixture.get("k").await.body.len(), 5_000);
    assert_eq!(fixture.send(&object("GET", "k").header("range", "bytes=0-9")).await.status, 206);
    assert_eq!(fixture.get("none").await.status, 404);
    let etag = fixture.get("k").await.header("etag").unwrap().to_owned();
    assert_eq!(fixture.send(&object("GET", "k").header("if-none-match", etag)).await.status, 304);
    assert_eq!(fixture.send(&object("HEAD", "k")).await.status, 200);
    assert_eq!(fixture.client.with_key("NOBODY", "x").send(&object("GET", "k")).await.unwrap().status, 403);
    assert_eq!(fixture.send(&bucket("GET").query("acl", "")).await.status, 200);
    assert_eq!(fixture.send(&object("POST", "k").query("restore", "")).await.status, 501);

    eventually("all are counted", || fixture.service.running() == 0 && outcomes(&fixture, "NotImplemented")[3] == 1).await;
    assert_eq!(outcomes(&fixture, "GetObject"), [3, 1, 1, 0, 0]);
    assert_eq!(outcomes(&fixture, "PutObject"), [1, 0, 0, 0, 0]);
    assert_eq!(outcomes(&fixture, "HeadObject"), [1, 0, 0, 0, 0]);
    assert_eq!(outcomes(&fixture, "Unknown"), [0, 0, 1, 0, 0], "who is not known has asked for nothing");
    assert_eq!(counts(&fixture, "PutObject", |put| (put.received_bytes.get(), put.sent_bytes.get())), (5_000, 0));
    let sent = counts(&fixture, "GetObject", |get| get.sent_bytes.get());
    let error = fixture.get("none").await.body.len() as u64;
    assert_eq!(sent, 5_000 + 10 + 5_000 + error);
    assert_eq!(counts(&fixture, "HeadObject", |head| head.sent_bytes.get()), 0);
    assert_eq!(fixture.service.metrics().broken_off.get(), 0);

    // The bucket's numbers are those of its requests, and of nobody's who may not use it.
    let buckets: Vec<_> = fixture.service.metrics().buckets.each().collect();
    let [(_, name, of_bucket)] = buckets.as_slice() else { panic!("{} buckets", buckets.len()) };
    assert_eq!(name.as_str(), "bucket");
    eventually("the last is counted", || of_bucket.outcomes.each().nth(2) == Some(("4xx", 2))).await;
    assert_eq!(of_bucket.outcomes.each().map(|(_, count)| count).collect::<Vec<_>>(), [6, 1, 2, 1, 0]);
    assert_eq!(of_bucket.received_bytes.get(), 5_000);
}

#[tokio::test]
async fn buckets_beyond_the_bound_share_their_numbers() {
    let limits = Limits { counted_buckets_max: 2, ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    for name in ["one", "two", "three", "four"] {
        assert_eq!(fixture.send(&S3Request::new("PUT", path(name, ""))).await.status, 200);
        assert_eq!(fixture.send(&S3Request::new("GET", path(name, ""))).await.status, 200);
        assert_eq!(fixture.send(&S3Request::new("GET", path(&format!("{name}-missing"), ""))).await.status, 404);
    }
    let table = &fixture.service.metrics().buckets;
    let names: Vec<_> = table.each().map(|(_, name, _)| name.to_string()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"one".to_owned()) && names.contains(&"two".to_owned()), "{names:?}");
    eventually("the others are counted together", || table.other().outcomes.each().next() == Some(("2xx", 2))).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted_and_told() {
    let (fixture, lines) = logged(all(Form::Json)).await;
    let whole = fixture.client.signed(&object("PUT", "k").body(vec![0; 50_000]));
    fixture.send_all_but(&whole, 10_000).await;
    eventually("its end is told", || !lines.lock().is_empty()).await;
    let line: Value = serde_json::from_str(&lines.lock()[0]).unwrap();
    // Depending on what is seen first: the body that ends early, or the connection that is gone.
    assert!(matches!(line["status"].as_u64(), Some(400 | 499)), "{line}");
    assert_eq!((&line["operation"], &line["key"]), (&"PutObject".into(), &"k".into()));
    let counted = outcomes(&fixture, "PutObject");
    assert_eq!(counted.iter().sum::<u64>(), 1, "{counted:?}");
    assert_eq!(counted[2] + counted[4], 1, "{counted:?}");
    eventually("nothing runs", || fixture.service.running() == 0).await;
}

#[tokio::test]
async fn a_line_says_what_the_client_sees() {
    let (fixture, lines) = logged(all(Form::Json)).await;
    let answer = fixture.send(&object("PUT", "photos/a b.jpg").body("hello").header("user-agent", "test/1 \"x\"")).await;
    let missing = fixture.send(&object("GET", "none")).await;
    let nobody = fixture.client.with_key("NOBODY", "x").send(&object("GET", "k")).await.unwrap();
    eventually("three lines", || lines.lock().len() == 3).await;
    let lines: Vec<Value> = lines.lock().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [put, get, refused] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(put["request_id"], answer.header("x-amz-request-id").unwrap());
    for (name, value) in [
        ("operation", "PutObject"),
        ("method", "PUT"),
        ("bucket", "bucket"),
        ("key", "photos/a b.jpg"),
        ("access_key_id", ROOT),
        ("user_agent", "test/1 \"x\""),
        ("outcome", "answered"),
        ("log", "access"),
    ] {
        assert_eq!(put[name], value, "{name}: {put}");
    }
    assert_eq!((&put["status"], &put["received_bytes"], &put["sent_bytes"]), (&200.into(), &5.into(), &0.into()));
    assert!(put["duration_ms"].as_f64().unwrap() > 0.0 && put["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{put}");
    assert!(put.get("error").is_none() && put.get("slow").is_none(), "{put}");
    assert_eq!((&get["status"], &get["error"]), (&404.into(), &"NoSuchKey".into()));
    assert_eq!(get["request_id"], missing.element("RequestId").unwrap().as_str());
    assert_eq!(get["sent_bytes"], missing.body.len());
    assert_eq!((&refused["status"], &refused["error"]), (&403.into(), &"InvalidAccessKeyId".into()));
    assert_eq!(refused["access_key_id"], "NOBODY", "who claims to be whom");
    assert_eq!(refused["request_id"], nobody.header("x-amz-request-id").unwrap());
}

#[tokio::test]
async fn hostile_names_stay_in_their_field() {
    let hostile = "x\" status=200\r\n{\"status\":200}\nlevel=info\t\u{1b}[2J\u{2028}\u{202e}end\u{0}";
    for form in [Form::Json, Form::Logfmt] {
        let (fixture, lines) = logged(all(form)).await;
        fixture.put(hostile, "x").await;
        assert_eq!(fixture.send(&S3Request::new("GET", path(&encode(hostile, false), "k"))).await.status, 400);
        // Longer than a line shows.
        fixture.put(&"\u{202e}".repeat(300), "x").await;
        eventually("three lines", || lines.lock().len() == 3).await;
        for line in lines.lock().iter() {
            assert!(line.ends_with('\n') && line.len() < 4_000, "{line}");
            let hidden = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{202e}');
            assert!(!line.trim_end_matches('\n').contains(hidden), "{line:?}");
        }
        if form == Form::Json {
            let line: Value = serde_json::from_str(&lines.lock()[0]).unwrap();
            assert_eq!(line["key"], hostile);
            assert_eq!(line["status"], 200);
        } else {
            let line = lines.lock()[0].clone();
            assert_eq!(line.matches(" status=").count(), 2, "its own, and one inside quotes: {line}");
            assert!(line.contains("key=\"x\\\" status=200\\r\\n"), "{line}");
        }
    }
}

#[tokio::test]
async fn no_secret_and_no_signature_is_in_a_line() {
    let (fixture, lines) = logged(all(Form::Logfmt)).await;
    let client = &fixture.client;
    let signature = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let after = text.split("Signature=").nth(1).unwrap();
        after.chars().take_while(char::is_ascii_hexdigit).collect::<String>()
    };
    let chunked = object("PUT", "chunked").body(vec![1; 9_000]).mode(BodyMode::ChunkedSignedTrailer(8_192, Checksum::Crc32));
    let mut secrets = vec![client.secret_access_key.clone()];
    for request in
        [client.signed(&object("PUT", "k").body("x")), client.signed(&chunked), client.presigned_request(&object("GET", "k"), 60)]
    {
        secrets.push(signature(&request));
        client.send_raw(&request, false).await.unwrap();
    }
    // Refused ones, too: a signature that does not match may be the right one for something else.
    let forged = client.with_key(ROOT, "another");
    for request in [forged.signed(&object("GET", "k")), forged.presigned_request(&object("GET", "k"), 60)] {
        secrets.push(signature(&request));
        let answer = client.send_raw(&request, false).await.unwrap();
        assert_eq!(answer.code(), "SignatureDoesNotMatch");
    }
    eventually("five lines", || lines.lock().len() == 5).await;
    assert!(secrets.iter().skip(1).all(|secret| secret.len() == 64), "{secrets:?}");
    for line in lines.lock().iter() {
        for secret in &secrets {
            assert!(!line.contains(secret.as_str()), "{line}");
        }
        assert!(!line.to_ascii_lowercase().contains("signature=") && !line.contains('?'), "{line}");
    }
}

#[tokio::test]
async fn what_is_left_out_is_what_was_said() {
    let send = async |fixture: &Fixture| {
        for key in ["a", "b", "c", "d"] {
            fixture.put(key, "x").await;
            assert_eq!(fixture.get(key).await.status, 200);
            assert_eq!(fixture.get("none").await.status, 404);
        }
        eventually("all are counted", || outcomes(fixture, "GetObject") == [4, 0, 4, 0, 0] && fixture.service.running() == 0)
            .await;
    };
    let base = AccessLogConfig::default;
    for (config, expected) in [
        (base(), 0),
        (AccessLogConfig { which: Which::Errors, ..base() }, 4),
        (AccessLogConfig { which: Which::Changes, ..base() }, 8),
        (AccessLogConfig { which: Which::All, ..base() }, 12),
        // Errors are never left out.
        (AccessLogConfig { which: Which::All, one_in: 4, ..base() }, 2 + 4),
        // Slow ones are told whatever else is.
        (AccessLogConfig { slow_after: Duration::ZERO, ..base() }, 12),
        (AccessLogConfig { which: Which::All, one_in: 4, slow_after: Duration::ZERO, ..base() }, 12),
    ] {
        let (fixture, lines) = logged(config.clone()).await;
        send(&fixture).await;
        let lines = lines.lock();
        assert_eq!(lines.len(), expected, "{config:?}: {lines:#?}");
        let slow = config.slow_after.is_zero();
        assert!(lines.iter().all(|line| line.contains(" slow=true") == slow), "{lines:#?}");
    }
}
