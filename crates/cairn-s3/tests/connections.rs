//! HTTP itself: limits, half-sent requests, connections that are used again, `100 Continue`, stopping.

mod common;

use std::time::Duration;

use cairn_s3::{Config, Limits};
use cairn_testkit::s3_client::{BodyMode, exchange, read_answer};
use common::{Fixture, object, refused, small_limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

struct Raw(BufReader<TcpStream>);

impl Raw {
    async fn connect(fixture: &Fixture) -> Self {
        Self(BufReader::new(TcpStream::connect(fixture.client.address).await.unwrap()))
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn answer(&mut self) -> cairn_testkit::s3_client::Answer {
        read_answer(&mut self.0, false).await.unwrap()
    }

    /// Whether the server closes, with nothing more to read.
    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        matches!(tokio::time::timeout(Duration::from_secs(10), self.0.read_to_end(&mut rest)).await, Ok(read) if rest.is_empty() || read.is_err())
    }
}

fn head_end(request: &[u8]) -> usize {
    request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4
}

#[tokio::test]
async fn every_answer_has_its_ids() {
    let fixture = Fixture::start().await;
    let mut seen = Vec::new();
    for request in
        [object("PUT", "k").body("x"), object("GET", "k"), object("GET", "none"), object("HEAD", "none"), object("DELETE", "k")]
    {
        let answer = fixture.send(&request).await;
        let id = answer.header("x-amz-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 16);
        assert!(answer.header("x-amz-id-2").is_some() && answer.header("date").is_some());
        assert_eq!(answer.header("server"), Some("Cairn"));
        if !answer.body.is_empty() && answer.status >= 400 {
            assert_eq!(answer.element("RequestId"), Some(id.clone()));
            assert_eq!(answer.element("Resource").as_deref(), Some("/bucket/none"));
        }
        assert!(!seen.contains(&id));
        seen.push(id);
    }
    let head = fixture.send(&object("HEAD", "none")).await;
    assert_eq!((head.status, head.body.len()), (404, 0));
}

#[tokio::test]
async fn a_connection_serves_on_after_an_error() {
    let fixture = Fixture::start().await;
    let mut raw = Raw::connect(&fixture).await;
    // The body of a refused request is read and dropped, so that it is not taken for the next request.
    let smuggled = fixture.client.signed(&object("PUT", "smuggled").body("x"));
    let refused_put = fixture.client.with_key("NOBODY", "x").signed(&object("PUT", "k").body(smuggled));
    for _ in 0..3 {
        raw.write(&refused_put).await;
        assert_eq!(raw.answer().await.code(), "InvalidAccessKeyId");
    }
    raw.write(&fixture.client.signed(&object("PUT", "k").body("x"))).await;
    assert_eq!(raw.answer().await.status, 200);
    // A body that comes only after its refusal.
    let late = fixture.client.with_key("NOBODY", "x").signed(&object("PUT", "k").body(vec![0; 40_000]));
    raw.write(&late[..head_end(&late)]).await;
    assert_eq!(raw.answer().await.code(), "InvalidAccessKeyId");
    raw.write(&late[head_end(&late)..]).await;
    // Two at once.
    let get = fixture.client.signed(&object("GET", "k"));
    raw.write(&[get.clone(), get].concat()).await;
    assert_eq!((raw.answer().await.text(), raw.answer().await.text()), ("x".into(), "x".into()));
    assert_eq!(fixture.outcome(&object("GET", "smuggled")).await, refused(404, "NoSuchKey"));
}

#[tokio::test]
async fn a_large_refused_body_is_not_read_for_ever() {
    let fixture = Fixture::start().await;
    let client = fixture.client.with_key("NOBODY", "x");
    let whole = client.signed(&object("PUT", "k").body(vec![0; 1 << 20]).mode(BodyMode::Unsigned));
    let mut raw = Raw::connect(&fixture).await;
    // The answer comes although the body does not.
    raw.write(&whole[..head_end(&whole) + 10]).await;
    assert_eq!(raw.answer().await.code(), "InvalidAccessKeyId");
    assert!(raw.is_closed().await);
}

#[tokio::test]
async fn the_client_is_told_to_go_on_only_when_it_may() {
    let fixture = Fixture::start().await;
    let request = |client: &cairn_testkit::s3_client::S3Client, body: &str| {
        client.signed(&object("PUT", "k").body(body).header("expect", "100-continue"))
    };
    let allowed = request(&fixture.client, "hello");
    let mut raw = Raw::connect(&fixture).await;
    raw.write(&allowed[..head_end(&allowed)]).await;
    let mut continued = [0; 25];
    raw.0.read_exact(&mut continued).await.unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n");
    raw.write(b"hello").await;
    let answer = raw.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));

    fixture.add_key("READER", Vec::new());
    for client in [fixture.client.with_key("NOBODY", "x"), fixture.client_of("READER")] {
        let denied = request(&client, "hello");
        let mut raw = Raw::connect(&fixture).await;
        raw.write(&denied[..head_end(&denied)]).await;
        let mut first = [0; 12];
        raw.0.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 403");
    }
    // Nothing to go on with: the connection is closed, as botocore needs it (it misreads the answer after).
    let answer = exchange(fixture.client.address, &request(&fixture.client, ""), false).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
}

#[tokio::test]
async fn silence_ends_in_an_answer_or_a_close() {
    let fixture = Fixture::start().await;
    fixture.put("k", "old").await;
    let whole = fixture.client.signed(&object("PUT", "k").body("hello"));
    // Half a head.
    let mut raw = Raw::connect(&fixture).await;
    raw.write(&whole[..40]).await;
    assert!(raw.is_closed().await || raw.0.buffer().starts_with(b"HTTP/1.1 408"));
    // Half a body: told, and closed.
    let mut raw = Raw::connect(&fixture).await;
    raw.write(&whole[..whole.len() - 1]).await;
    assert_eq!(raw.answer().await.code(), "RequestTimeout");
    // Half a body, and the client is gone.
    let mut raw = Raw::connect(&fixture).await;
    raw.write(&whole[..whole.len() - 1]).await;
    raw.0.get_mut().shutdown().await.unwrap();
    drop(raw);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.get("k").await.text(), "old");
}

#[tokio::test]
async fn heads_are_bounded() {
    let fixture = Fixture::start().await;
    let send = |request: String| {
        let address = fixture.client.address;
        async move { exchange(address, request.as_bytes(), false).await.map(|answer| answer.status) }
    };
    let many: String = (0..200).fold(String::new(), |text, number| format!("{text}x-{number}: 1\r\n"));
    assert_eq!(send(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await.unwrap(), 431);
    assert!(matches!(
        send(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(100_000))).await,
        Ok(431 | 400) | Err(_)
    ));
    assert!(matches!(
        send(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000))).await,
        Ok(414 | 431 | 400) | Err(_)
    ));
    for bad in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n", "GET /\u{1} HTTP/1.1\r\n\r\n"] {
        assert_eq!(send(bad.to_owned()).await.unwrap(), 400, "{bad}");
    }
    assert_eq!(
        send("PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx".to_owned()).await.unwrap(),
        400
    );
    assert_eq!(send("PATCH /bucket/k HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()).await.unwrap(), 405);
    let parameters = "a=b&".repeat(100);
    assert_eq!(send(format!("GET /?{parameters} HTTP/1.1\r\nhost: a\r\n\r\n")).await.unwrap(), 400);
    // Still there.
    assert_eq!(fixture.put("k", "x").await.status, 200);
}

#[tokio::test]
async fn lengths_must_be_said() {
    let fixture = Fixture::start().await;
    let chunked = object("PUT", "k").header("transfer-encoding", "chunked").mode(BodyMode::Unsigned);
    let mut request = fixture.client.signed(&chunked);
    request.extend_from_slice(b"5\r\nhello\r\n0\r\n\r\n");
    let answer = fixture.client.send_raw(&request, false).await.unwrap();
    assert_eq!((answer.status, answer.code()), refused(411, "MissingContentLength"));
    let large = object("PUT", "k").header("content-length", "1048577");
    assert_eq!(fixture.outcome(&large).await, refused(400, "EntityTooLarge"));
}

#[tokio::test]
async fn too_many_requests_are_told_to_slow_down() {
    let wait = Duration::from_millis(200);
    let limits = Limits { requests_max: 1, request_wait_max: wait, body_idle_timeout: Duration::from_secs(60), ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    let slow = fixture.client.signed(&object("PUT", "k").body("hello"));
    let mut raw = Raw::connect(&fixture).await;
    raw.write(&slow[..slow.len() - 1]).await;
    eventually("it runs", || fixture.service.running() == 1).await;
    let (start, answer) = (tokio::time::Instant::now(), fixture.get("k").await);
    assert_eq!((answer.status, answer.code(), answer.header("retry-after")), (503, "SlowDown".into(), Some("1")));
    assert!(start.elapsed() >= wait, "it was not waited for");
    // Who waits is served when there is room.
    let waiting = tokio::spawn({
        let (client, get) = (fixture.client.clone(), object("HEAD", "none"));
        async move { client.send(&get).await.unwrap().status }
    });
    eventually("it waits", || fixture.service.waiting() == 1 || waiting.is_finished()).await;
    raw.write(b"o").await;
    assert_eq!(raw.answer().await.status, 200);
    assert!(matches!(waiting.await.unwrap(), 404 | 503));
    assert_eq!(fixture.get("k").await.text(), "hello");
    assert_eq!((fixture.service.running(), fixture.service.waiting(), fixture.service.body_bytes()), (0, 0, 0));
}

/// Waits until something holds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn timeouts(fixture: &Fixture, waited_for: &str) -> u64 {
    fixture.service.metrics().timeouts().find(|(name, _)| *name == waited_for).unwrap().1
}

/// A byte now and then is not silence, and yet not enough: neither of a body, nor of an answer.
#[tokio::test]
async fn who_drips_is_given_up() {
    let limits = Limits { body_rate_min: 1 << 20, ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    fixture.put("large", vec![7; 1 << 20]).await;
    let put = fixture.client.signed(&object("PUT", "k").body(vec![7; 1 << 20]));
    let mut writer = Raw::connect(&fixture).await;
    writer.write(&put[..head_end(&put)]).await;
    let dripping = async {
        for byte in put[head_end(&put)..].chunks(1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if writer.0.get_mut().write_all(byte).await.is_err() || timeouts(&fixture, "body") > 0 {
                break;
            }
        }
        writer.answer().await.code()
    };
    let code = tokio::time::timeout(Duration::from_secs(60), dripping).await.unwrap();
    assert_eq!((code.as_str(), timeouts(&fixture, "body")), ("RequestTimeout", 1));

    // More than the kernel takes by itself, of which nothing is read.
    let get = fixture.client.signed(&object("GET", "large"));
    let mut reader = Raw::connect(&fixture).await;
    for _ in 0..64 {
        reader.write(&get).await;
    }
    eventually("the reader is given up", || timeouts(&fixture, "reader") == 1).await;
    eventually("nothing runs", || fixture.service.running() == 0).await;
}

#[tokio::test]
async fn a_connection_that_rests_is_closed_and_one_that_begins_a_head_has_its_time() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), header_timeout: Duration::from_secs(2), ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    let get = fixture.client.signed(&object("GET", "none"));
    let mut raw = Raw::connect(&fixture).await;
    for _ in 0..3 {
        raw.write(&get[..10]).await;
        // Longer than it may rest: it does not.
        tokio::time::sleep(Duration::from_millis(500)).await;
        raw.write(&get[10..]).await;
        assert_eq!(raw.answer().await.status, 404);
    }
    assert!(raw.is_closed().await);
    assert_eq!(timeouts(&fixture, "head"), 0, "resting is no fault");
    let mut raw = Raw::connect(&fixture).await;
    raw.write(&get).await;
    raw.answer().await;
    raw.write(&get[..10]).await;
    assert!(raw.is_closed().await);
    assert_eq!(timeouts(&fixture, "head"), 1);
}

#[tokio::test]
async fn a_source_has_as_many_connections_as_it_may() {
    let limits = Limits { connections_per_source_max: Some(2), ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    eventually("the fixture's own is closed", || fixture.service.metrics().connections() == 0).await;
    let get = fixture.client.signed(&object("GET", "none"));
    let mut first = Raw::connect(&fixture).await;
    let mut second = Raw::connect(&fixture).await;
    for raw in [&mut first, &mut second] {
        raw.write(&get).await;
        assert_eq!(raw.answer().await.status, 404);
    }
    assert!(Raw::connect(&fixture).await.is_closed().await);
    assert_eq!(fixture.service.metrics().connections_refused.get(), 1);
    drop(first);
    eventually("it is closed", || fixture.service.metrics().connections() == 1).await;
    assert_eq!(fixture.get("none").await.status, 404);
}

#[tokio::test]
async fn stopping_lets_requests_end() {
    let fixture = Fixture::start().await;
    let request = fixture.client.signed(&object("PUT", "k").body("hello"));
    let mut busy = Raw::connect(&fixture).await;
    busy.write(&request[..request.len() - 1]).await;
    let mut idle = Raw::connect(&fixture).await;
    idle.write(&fixture.client.signed(&object("GET", "none"))).await;
    idle.answer().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.stop.send(true).unwrap();
    assert!(idle.is_closed().await);
    busy.write(b"o").await;
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    tokio::time::timeout(Duration::from_secs(8), fixture.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(fixture.client.address).await.is_err());
}

#[tokio::test]
async fn one_of_many_racing_writers_wins() {
    let fixture = Fixture::start().await;
    for round in 0..10 {
        let key = format!("k{round}");
        let writers = (0..16).map(|writer| {
            let request = object("PUT", &key).header("if-none-match", "*").body(writer.to_string());
            let client = fixture.client.clone();
            tokio::spawn(async move { client.send(&request).await.unwrap().status })
        });
        let outcomes: Vec<u16> = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|status| **status == 200).count(), 1);
        assert_eq!(outcomes.iter().filter(|status| **status == 412).count(), 15);
    }
}
