//! The S3 front as a whole, over a store in memory: requests as a client that has a key writes them, bytes as anybody sends them, and what
//! monitoring and the log make of it.

use std::sync::Arc;
use std::time::Duration;

use cairn_metrics::{Exposition, Family, Kind};
use cairn_s3::observe::{AccessLog, AccessLogConfig, Form, Which};
use cairn_s3::{Config, GrantAuthorizer, Limits, S3Service, serve_connection, serve_http2_connection};
use cairn_store::api::{Access, AccessKey, Grant, GrantScope, SecretAccessKey};
use cairn_testkit::exposition;
use cairn_testkit::memory_store::MemoryStore;
use cairn_testkit::s3_client::http2;
use cairn_testkit::s3_client::{Answer, BodyMode, Checksum, S3Client, S3Request, read_answer};
use cairn_testkit::sim_environment::{SimClock, SimRandom, simulate};
use cairn_types::{AccountId, TenantId};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::reader::Reader;
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "service", parts: PARTS, cost: 60 };

const PARTS: &[Part] = &[
    Part { name: "signed_requests", run: signed, seeds: signed_seeds, memory: Memory::AtMost(64 << 20) },
    Part { name: "raw_connection", run: raw, seeds: raw_seeds, memory: Memory::AtMost(64 << 20) },
    Part { name: "raw_http2_connection", run: raw_http2, seeds: raw_http2_seeds, memory: Memory::AtMost(64 << 20) },
    Part { name: "exposition", run: metrics, seeds: metrics_seeds, memory: Memory::PerByte(1024) },
];

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// Longer than any request may take.
const HANGS_AFTER: Duration = Duration::from_secs(600);
/// Longer than the service waits for anything.
const ANSWERED_AFTER: Duration = Duration::from_secs(200);

type Lines = Arc<Mutex<Vec<String>>>;

/// A service with a bucket and an object in it.
struct World {
    service: S3Service,
    client: S3Client,
    lines: Lines,
    form: Form,
    /// An upload in parts that was begun.
    upload: String,
}

impl World {
    async fn new(form: Form) -> Self {
        let clock = Arc::new(SimClock::new());
        let store = Arc::new(MemoryStore::new(clock.clone(), Arc::new(SimRandom::new(1))));
        store.add_key(AccessKey {
            access_key_id: KEY.into(),
            secret: SecretAccessKey::new(SECRET),
            tenant: TenantId::DEFAULT,
            account: AccountId([0x11; 32]),
            account_name: "tester".into(),
            grants: vec![Grant { scope: GrantScope::Tenant, access: Access::Administer }],
        });
        let limits = Limits { part_bytes_min: 1, object_bytes_max: 1 << 20, put_bytes_max: 1 << 20, ..Limits::default() };
        let config = Config { domains: vec!["s3.test".to_owned()], limits, ..Config::default() };
        let service = S3Service::new(store, Arc::new(GrantAuthorizer), config, clock.clone(), &SimRandom::new(2));
        let lines = Lines::default();
        let sink = lines.clone();
        let log = AccessLogConfig { which: Which::All, form, ..AccessLogConfig::default() };
        service.set_access_log(AccessLog::new(log, Box::new(move |line| sink.lock().push(line))));
        let client = S3Client {
            address: ([127, 0, 0, 1], 80).into(),
            host: "s3.test".to_owned(),
            access_key_id: KEY.to_owned(),
            secret_access_key: SECRET.to_owned(),
            region: "us-east-1".to_owned(),
            clock,
        };
        let mut world = Self { service, client, lines, form, upload: String::new() };
        let tag = "t=1";
        for request in [
            S3Request::new("PUT", "/bucket"),
            S3Request::new("PUT", "/bucket/a").header("x-amz-meta-m", "v").header("x-amz-tagging", tag).body("hello, world"),
            S3Request::new("PUT", "/bucket").query("cors", "").body(
                "<CORSConfiguration><CORSRule><AllowedOrigin>https://*.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
                 <AllowedHeader>x-*</AllowedHeader></CORSRule></CORSConfiguration>",
            ),
            S3Request::new("POST", "/bucket/h").query("uploads", ""),
        ] {
            let answers = world.exchange(&world.client.signed(&request)).await;
            assert_eq!(answers.first().map(|answer| answer.status), Some(200));
            world.upload = answers.first().and_then(|answer| answer.element("UploadId")).unwrap_or_default();
        }
        world.lines.lock().clear();
        world
    }

    /// Sends bytes on a connection of their own, and reads all that comes back.
    async fn exchange(&self, bytes: &[u8]) -> Vec<Answer> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve_connection(far, Some(([192, 0, 2, 1], 4).into()), self.service.clone(), stopped));
        let (mut reader, mut writer) = tokio::io::split(near);
        let sending = async {
            // A service that has refused closes before it has read all.
            let _ = writer.write_all(bytes).await;
            // The end of what is sent would be taken for a client that is gone: first everything is answered.
            tokio::time::sleep(ANSWERED_AFTER).await;
            let _ = stop.send(true);
            let _ = writer.shutdown().await;
        };
        let mut received = Vec::new();
        let both = async { tokio::join!(sending, reader.read_to_end(&mut received)) };
        let ended = tokio::time::timeout(HANGS_AFTER, both).await;
        assert!(ended.is_ok(), "the connection hangs");
        serving.await.unwrap_or_else(|error| panic!("{error}"));
        let heads = heads_asked(bytes);
        let (mut rest, mut answers) = (&received[..], Vec::new());
        while !rest.is_empty() {
            let is_head = heads.get(answers.len()).copied().unwrap_or(false);
            match read_answer(&mut rest, is_head).await {
                Ok(answer) => answers.push(answer),
                // Where requests follow each other, which of them asked for a head alone is not known to this client.
                Err(error) => {
                    assert!(heads.len() != 1 || answers.is_empty() && is_cut(&received), "an answer that is none: {error}");
                    break;
                }
            }
        }
        answers
    }

    /// Sends a request, written as HTTP/1.1, by HTTP/2; nothing where it cannot be sent so.
    async fn exchange_http2(&self, bytes: &[u8]) -> Vec<Answer> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve_http2_connection(far, None, self.service.clone(), stopped));
        let exchange = async { http2::Connection::over(near).await?.send(bytes).await };
        let answer = tokio::time::timeout(HANGS_AFTER, exchange).await.unwrap_or_else(|_| panic!("the connection hangs"));
        let _ = stop.send(true);
        let ended = tokio::time::timeout(HANGS_AFTER, serving).await.unwrap_or_else(|_| panic!("the connection does not end"));
        ended.unwrap_or_else(|error| panic!("{error}"));
        answer.into_iter().collect()
    }

    /// Sends bytes on a connection of HTTP/2, and waits for its end.
    async fn send_http2(&self, bytes: &[u8]) -> Vec<u8> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(serve_http2_connection(far, None, self.service.clone(), stopped));
        let (mut reader, mut writer) = tokio::io::split(near);
        let sending = async {
            let _ = writer.write_all(bytes).await;
            tokio::time::sleep(ANSWERED_AFTER).await;
            let _ = stop.send(true);
            let _ = writer.shutdown().await;
        };
        let mut received = Vec::new();
        let both = async { tokio::join!(sending, reader.read_to_end(&mut received)) };
        assert!(tokio::time::timeout(HANGS_AFTER, both).await.is_ok(), "the connection hangs");
        let ended = tokio::time::timeout(HANGS_AFTER, serving).await.unwrap_or_else(|_| panic!("the connection does not end"));
        ended.unwrap_or_else(|error| panic!("{error}"));
        received
    }

    fn check(&self, answers: &[Answer]) {
        for answer in answers {
            assert!((200..=599).contains(&answer.status) && answer.status != 500, "{}: {}", answer.status, answer.text());
            let is_told = answer.status < 400 || answer.body.is_empty() || !answer.code().is_empty();
            assert!(is_told, "an error says nothing: {} {}", answer.status, answer.text());
            assert!(answer.code() != "InternalError", "{}", answer.text());
        }
        for line in self.lines.lock().iter() {
            assert!(line.ends_with('\n') && line.lines().count() == 1, "a line of the log is several: {line:?}");
            assert!(!line.trim_end().chars().any(char::is_control), "a line of the log moves the cursor: {line:?}");
            if self.form == Form::Json {
                let fields: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
                let known = ["time", "log", "request_id", "remote", "operation", "method", "status", "error", "bucket", "key"];
                let also = ["access_key_id", "user_agent", "received_bytes", "sent_bytes", "duration_ms", "outcome", "slow"];
                assert!(fields.keys().all(|name| known.contains(&name.as_str()) || also.contains(&name.as_str())), "{line:?}");
                assert!(fields.get("status").is_some_and(serde_json::Value::is_u64), "{line:?}");
            } else {
                let statuses = outside_quotes(line).matches(" status=").count();
                assert_eq!(statuses, 1, "a field of the log pretends to be another: {line:?}");
            }
        }
    }
}

/// What stands outside of quotes.
fn outside_quotes(line: &str) -> String {
    let (mut text, mut is_quoted, mut is_escaped) = (String::new(), false, false);
    for character in line.chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            other if !is_quoted => text.push(other),
            _ => {}
        }
    }
    text
}

/// Whether each request on the connection asks for a head alone, as far as a client can tell that sends one.
fn heads_asked(bytes: &[u8]) -> Vec<bool> {
    vec![bytes.starts_with(b"HEAD ")]
}

/// hyper's own refusals have neither body nor length.
fn is_cut(received: &[u8]) -> bool {
    received.starts_with(b"HTTP/1.1 4")
}

/// A byte for the way in which the body is sent, one for the form of the log, then `METHOD path?query`, headers, an empty line, the body; signed by a key that may do
/// everything. It is answered, never with 500; and the log has one line for it, whatever names are in it.
fn signed(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (mode, form) = (reader.u8(), if reader.u8().is_multiple_of(2) { Form::Json } else { Form::Logfmt });
    let (head, body) = split(reader.rest(), b"\n\n");
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = S3Request::new(method, path).body(body);
    for (name, value) in query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, ""))) {
        request = request.query(name, value);
    }
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        request = request.header(name, value.trim());
    }
    let checksum = [Checksum::Crc32, Checksum::Crc32c, Checksum::Crc64Nvme, Checksum::Sha256][usize::from(mode / 8 % 4)];
    if mode & 64 != 0 {
        request = request.header(checksum.header(), checksum.value(body));
    }
    // AWS takes no shorter one before the last.
    let chunk = if mode & 32 == 0 { 8192 } else { 3 };
    request.mode = match mode % 8 {
        1 => BodyMode::Unsigned,
        2 => BodyMode::ChunkedSigned(chunk),
        3 => BodyMode::ChunkedSignedTrailer(chunk, checksum),
        4 => BodyMode::ChunkedUnsignedTrailer(chunk, checksum),
        _ => BodyMode::Signed,
    };
    simulate(async {
        let world = World::new(form).await;
        for (_, value) in request.query.iter_mut().filter(|(_, value)| value == "$U") {
            value.clone_from(&world.upload);
        }
        let bytes = if mode % 8 == 5 { world.client.anonymous(&request) } else { world.client.signed(&request) };
        let answers = if mode & 128 == 0 { world.exchange(&bytes).await } else { world.exchange_http2(&bytes).await };
        world.check(&answers);
        // Whatever it was, the service goes on.
        let answers = world.exchange(&world.client.signed(&S3Request::new("GET", "/"))).await;
        assert_eq!(answers.first().map(|answer| answer.status), Some(200), "the service is not what it was");
    });
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(by.len()).position(|window| window == by) {
        Some(at) => (&bytes[..at], &bytes[at + by.len()..]),
        None => (bytes, &[]),
    }
}

/// A connection's bytes. Nothing but refusals comes back, for nobody signed; the service goes on.
fn raw(input: &[u8]) {
    simulate(async {
        let world = World::new(Form::Json).await;
        let answers = world.exchange(input).await;
        world.check(&answers);
        let is_refused = |answer: &Answer| answer.status >= 400 || input.windows(7).any(|window| window == b"OPTIONS");
        assert!(answers.iter().all(is_refused), "somebody without a key was served: {answers:?}");
        let answers = world.exchange(&world.client.signed(&S3Request::new("GET", "/bucket/a"))).await;
        assert_eq!(answers.first().map(Answer::text).as_deref(), Some("hello, world"), "the service is not what it was");
    });
}

/// The frames of a connection of HTTP/2 behind the client's preface. The service ends it, holds no more than it is sent allows, and goes on.
fn raw_http2(input: &[u8]) {
    simulate(async {
        let world = World::new(Form::Json).await;
        let received = world.send_http2(&[HTTP2_PREFACE, input].concat()).await;
        assert!(received.len() < 256 << 10, "{} bytes come back for {}", received.len(), input.len());
        world.check(&[]);
        let answers = world.exchange(&world.client.signed(&S3Request::new("GET", "/bucket/a"))).await;
        assert_eq!(answers.first().map(Answer::text).as_deref(), Some("hello, world"), "the service is not what it was");
    });
}

/// The preface, and settings that change nothing (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn raw_http2_seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream][..], payload].concat()
    };
    // By the static table: GET or POST, http, /; then the authority as a literal (RFC 7541, appendix A).
    let get = [&[0x82, 0x86, 0x84, 0x41, 7][..], b"s3.test"].concat();
    let put = [&[0x83, 0x86, 0x44, 9][..], b"/bucket/b", &[0x41, 7], b"s3.test", &[0x5c, 1], b"5"].concat();
    let unusual = [&[0x82, 0x86, 0x84, 0x40, 1][..], b"x", &[3], b"a\"\n", &[0x3f, 0xe1, 0x1f]].concat();
    vec![
        frame(1, 5, 1, &get),
        [frame(1, 4, 1, &put), frame(0, 1, 1, b"hello")].concat(),
        [frame(1, 0, 1, &get[..3]), frame(9, 4, 1, &get[3..]), frame(0, 1, 1, b"")].concat(),
        [frame(4, 0, 0, &[0, 4, 0, 0, 0, 1]), frame(1, 5, 1, &get), frame(8, 0, 1, &[0, 0, 0, 9]), frame(3, 0, 1, &[0, 0, 0, 8])]
            .concat(),
        [frame(6, 0, 0, &[1; 8]), frame(4, 1, 0, &[]), frame(7, 0, 0, &[0; 8])].concat(),
        [frame(1, 0x2d, 1, &[&[2, 0, 0, 0, 0, 16][..], &get, &[0, 0]].concat()), frame(1, 5, 3, &unusual)].concat(),
    ]
}

/// A label's value, whatever it is, is read again by who reads the format strictly, and makes no other sample.
fn metrics(input: &[u8]) {
    static FAMILY: Family =
        Family { name: "requests_total", kind: Kind::Counter, labels: &["bucket", "zone"], help: "Requests." };
    let text = String::from_utf8_lossy(input);
    let (one, other) = text.split_once('\u{1}').unwrap_or((&text, ""));
    let mut exposed = Exposition::new();
    exposed.family(&FAMILY).sample(&[one, other], 7);
    let read = exposition::parse(&exposed.finish()).unwrap_or_else(|error| panic!("{error}"));
    let [sample] = read.samples.as_slice() else { panic!("a label makes {} samples", read.samples.len()) };
    let labels = [("bucket".to_owned(), one.to_owned()), ("zone".to_owned(), other.to_owned())];
    assert_eq!(sample.labels, labels, "a label is not what it was");
}

fn metrics_seeds() -> Vec<Vec<u8>> {
    ["bucket\u{1}geneva", "a\"b\\c\nd\u{1}\u{e9}", "} 1\n# TYPE x gauge\nx 2\u{1}"].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// One of every operation, in every way that a body is sent.
fn signed_seeds() -> Vec<Vec<u8>> {
    const FORM: &str = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nf\r\n--x\r\nContent-Disposition: form-data; \
                        name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--x--\r\n";
    let form = format!("POST /bucket\ncontent-type: multipart/form-data; boundary=x\n\n{FORM}");
    let requests: &[(u8, &str)] = &[
        (0, "GET /"),
        (
            0,
            "PUT /bucket2\n\n<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>",
        ),
        (0, "HEAD /bucket"),
        (0, "DELETE /bucket"),
        (
            0,
            "PUT /bucket3\n\n<CreateBucketConfiguration><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>",
        ),
        (0, "DELETE /bucket?publicAccessBlock"),
        (0, "GET /bucket?publicAccessBlock"),
        (
            0,
            "PUT /bucket?publicAccessBlock\n\n<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls>\
             </PublicAccessBlockConfiguration>",
        ),
        (0, "DELETE /bucket?ownershipControls"),
        (0, "GET /bucket?ownershipControls"),
        (
            0,
            "PUT /bucket?ownershipControls\n\n<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>\
             </OwnershipControls>",
        ),
        (0, "GET /bucket?cors"),
        (0, "DELETE /bucket?cors"),
        (0, "PUT /bucket?tagging\n\n<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
        (0, "GET /bucket?tagging"),
        (0, "GET /bucket?location"),
        (0, "PUT /bucket?versioning\n\n<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
        (0, "GET /bucket?versioning"),
        (0, "GET /bucket?list-type=2&prefix=a&delimiter=/&max-keys=2&encoding-type=url&start-after=A&fetch-owner=true"),
        (1, "GET /bucket?marker=a&max-keys=0"),
        (0, "GET /bucket?versions&key-marker=a&version-id-marker=null"),
        (0, "GET /bucket?uploads&key-marker=a&max-uploads=3"),
        (
            64,
            "POST /bucket?delete\n\n<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><VersionId>null</VersionId></Object></Delete>",
        ),
        (
            0,
            "GET /bucket/a\nrange: bytes=1-3\nif-range: \"x\"\nif-modified-since: Sat, 29 Oct 1994 19:43:31 GMT\norigin: https://a.example",
        ),
        (
            0,
            "GET /bucket/a?partNumber=1&response-content-type=text/html&response-expires=x&versionId=null\nx-amz-checksum-mode: ENABLED",
        ),
        (0, "HEAD /bucket/a\nif-none-match: \"x\"\nif-unmodified-since: Sat, 29 Oct 1994 19:43:31 GMT"),
        (
            0,
            "GET /bucket/a?attributes\nx-amz-object-attributes: ETag,Checksum,ObjectParts,StorageClass,ObjectSize\nx-amz-max-parts: 2\nx-amz-part-number-marker: 0",
        ),
        (0, "GET /bucket/a?tagging"),
        (0, "PUT /bucket/a?tagging\n\n<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"),
        (0, "DELETE /bucket/a?tagging"),
        (0, "DELETE /bucket/a?versionId=null"),
        (
            0,
            "PUT /bucket/b\ncontent-md5: XUFAKrxLKna5cZ2REBfFkg==\nx-amz-meta-a: b\ncontent-type: text/plain\ncache-control: no-store\nexpires: x\n\nhello",
        ),
        (
            1,
            "PUT /bucket/c\nx-amz-checksum-crc32c: mnG7TA==\nx-amz-sdk-checksum-algorithm: CRC32C\nif-none-match: *\nx-amz-tagging: a=b&c=d\n\nhello",
        ),
        (2, "PUT /bucket/d\n\nhello"),
        (3, "PUT /bucket/e\nexpect: 100-continue\n\nhello"),
        (4 + 16, "PUT /bucket/f\nuser-agent: a b\\\"c\n\nhello"),
        (
            0,
            "PUT /bucket/g\nx-amz-copy-source: /bucket/a?versionId=null\nx-amz-metadata-directive: REPLACE\nx-amz-tagging-directive: COPY\nx-amz-copy-source-if-none-match: \"x\"",
        ),
        (0, "POST /bucket/h?uploads\nx-amz-checksum-algorithm: SHA256\nx-amz-checksum-type: COMPOSITE"),
        (0, "PUT /bucket/h?partNumber=1&uploadId=$U\n\nhello"),
        (0, "PUT /bucket/h?partNumber=1&uploadId=$U\nx-amz-copy-source: bucket/a\nx-amz-copy-source-range: bytes=0-4"),
        (
            0,
            "POST /bucket/h?uploadId=$U\n\n<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"d41d8cd98f00b204e9800998ecf8427e\"</ETag></Part></CompleteMultipartUpload>",
        ),
        (0, "GET /bucket/h?uploadId=$U&max-parts=1&part-number-marker=1"),
        (0, "DELETE /bucket/h?uploadId=$U"),
        (0, "GET /bucket?lifecycle"),
        (0, "PUT /bucket?acl\nx-amz-acl: private"),
        (0, "GET /bucket/a?torrent"),
        (0, "POST /bucket/h?uploadId=$U\n\n<CompleteMultipartUpload></CompleteMultipartUpload>"),
        (
            5,
            "OPTIONS /bucket/a\norigin: https://a.example\naccess-control-request-method: GET\naccess-control-request-headers: x-a, x-b",
        ),
        (
            5,
            "GET /bucket/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a/20260101/us-east-1/s3/aws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=0",
        ),
    ];
    let own = requests.iter().copied().chain([(5, form.as_str()), (5 + 128, form.as_str())]);
    let by_http2 = requests.iter().filter(|(_, text)| text.starts_with("GET") || text.starts_with("PUT /bucket/"));
    let own = own.chain(by_http2.map(|(mode, text)| (mode | 128, *text)));
    own.enumerate().map(|(number, (mode, text))| [&[mode, number as u8][..], text.as_bytes()].concat()).collect()
}

fn raw_seeds() -> Vec<Vec<u8>> {
    [
        "GET / HTTP/1.1\r\nHost: s3.test\r\n\r\n",
        "GET /bucket/a HTTP/1.1\r\nHost: bucket.s3.test\r\nConnection: close\r\n\r\n",
        "PUT /bucket/b HTTP/1.1\r\nHost: s3.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "PUT /bucket/b HTTP/1.1\r\nHost: s3.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        "POST http://s3.test/bucket?delete HTTP/1.0\r\nContent-Length: 3\r\n\r\n<a>",
        "OPTIONS * HTTP/1.1\r\nHost: s3.test\r\n\r\n",
        "GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a HTTP/1.1\r\nAuthorization: AWS a:b\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
