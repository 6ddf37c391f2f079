//! HTTP/2: everything that is asked by HTTP/1.1 elsewhere, and what is its own.

#![allow(clippy::duplicate_mod, reason = "each program brings what it shares with the others")]

mod common;

use std::time::Duration;

use cairn_s3::{Config, Http2Limits, Limits};
use cairn_testkit::s3_client::http2::{Connection, head_of, next_piece, read_answer, request, send_all};
use cairn_testkit::s3_client::{BodyMode, S3Request};
use common::{Fixture, IS_HTTP2, object, small_limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

#[path = "configuration.rs"]
mod configuration;
#[path = "cors.rs"]
mod cors;
#[path = "forms.rs"]
mod forms;
#[path = "listings.rs"]
mod listings;
#[path = "multipart.rs"]
mod multipart;
#[path = "objects.rs"]
mod objects;
#[path = "observing.rs"]
mod observing;
#[path = "tagging.rs"]
mod tagging;
#[path = "unconfigured.rs"]
mod unconfigured;

/// How long anything may take that has to happen.
const SOON: Duration = Duration::from_secs(30);

async fn open(fixture: &Fixture) -> Connection {
    const { assert!(IS_HTTP2) };
    Connection::open(fixture.client.address).await.unwrap()
}

fn signed(fixture: &Fixture, request: &S3Request) -> Vec<u8> {
    fixture.client.signed(request)
}

#[tokio::test]
async fn requests_share_a_connection_and_a_slow_one_stops_none() {
    let fixture = Fixture::start().await;
    let mut connection = open(&fixture).await;
    // A body that never comes whole.
    let (head, body) = request(&signed(&fixture, &object("PUT", "slow").body("hello"))).unwrap();
    let (slow, mut sending) = connection.begin(head, true).await.unwrap();
    sending.send_data(body.slice(..4), false).unwrap();
    // And an answer that nobody reads.
    fixture.put("large", vec![7; 1 << 20]).await;
    let (head, _) = request(&signed(&fixture, &object("GET", "large"))).unwrap();
    let (unread, _) = connection.begin(head, false).await.unwrap();
    let unread = unread.await.unwrap();
    for number in 0..50 {
        let key = format!("k{number}");
        let put = signed(&fixture, &object("PUT", &key).body(key.clone()));
        assert_eq!(connection.send(&put).await.unwrap().status, 200);
    }
    let many = (0..50).map(|number| {
        let (mut connection, get) = (connection.clone(), signed(&fixture, &object("GET", &format!("k{number}"))));
        async move { connection.send(&get).await.unwrap().text() }
    });
    let texts = futures::future::join_all(many).await;
    assert_eq!(texts, (0..50).map(|number| format!("k{number}")).collect::<Vec<_>>());
    // The slow one is told, and its connection goes on.
    let answer = read_answer(slow).await.unwrap();
    assert_eq!((answer.status, answer.code()), (400, "RequestTimeout".to_owned()));
    assert_eq!(connection.send(&signed(&fixture, &object("GET", "slow"))).await.unwrap().status, 404);
    // So does that of the reader who takes nothing.
    let mut body = unread.into_body();
    let mut read = 0;
    let broken = tokio::time::timeout(SOON, async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        loop {
            match next_piece(&mut body).await {
                Ok(Some(piece)) => read += piece.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        }
    });
    assert!(broken.await.unwrap() && read < 1 << 20, "{read} bytes");
    assert_eq!(connection.send(&signed(&fixture, &object("GET", "k1"))).await.unwrap().text(), "k1");
}

#[tokio::test]
async fn the_client_is_told_to_go_on_only_when_it_may() {
    let fixture = Fixture::start().await;
    fixture.add_key("READER", Vec::new());
    let mut connection = open(&fixture).await;
    let put = object("PUT", "k").body("hello").header("expect", "100-continue");
    let (head, body) = request(&signed(&fixture, &put)).unwrap();
    let (mut answering, mut sending) = connection.begin(head, true).await.unwrap();
    let told = std::future::poll_fn(|context| answering.poll_informational(context));
    let told = tokio::time::timeout(SOON, told).await.unwrap().unwrap().unwrap();
    assert_eq!(told.status(), 100);
    send_all(&mut sending, body).await.unwrap();
    assert_eq!(read_answer(answering).await.unwrap().status, 200);

    for client in [fixture.client.with_key("NOBODY", "x"), fixture.client_of("READER")] {
        let (head, _) = request(&client.signed(&put)).unwrap();
        let (mut answering, _sending) = connection.begin(head, true).await.unwrap();
        let mut is_told = false;
        let answer = std::future::poll_fn(|context| {
            is_told |= matches!(answering.poll_informational(context), std::task::Poll::Ready(Some(Ok(_))));
            std::pin::Pin::new(&mut answering).poll(context)
        });
        let answer = tokio::time::timeout(SOON, answer).await.unwrap().unwrap();
        assert_eq!((answer.status().as_u16(), is_told), (403, false));
    }
}

#[tokio::test]
async fn a_refused_body_is_not_read_and_costs_no_connection() {
    let fixture = Fixture::start().await;
    let mut connection = open(&fixture).await;
    let refused =
        fixture.client.with_key("NOBODY", "x").signed(&object("PUT", "k").body(vec![0; 1 << 20]).mode(BodyMode::Unsigned));
    let (head, body) = request(&refused).unwrap();
    for _ in 0..20 {
        let (answering, mut sending) = connection.begin(head.clone(), true).await.unwrap();
        sending.send_data(body.slice(..1000), false).unwrap();
        // The answer comes although the body does not, and then the client is told to stop, without an error.
        assert_eq!(read_answer(answering).await.unwrap().code(), "InvalidAccessKeyId");
        let reset = std::future::poll_fn(|context| sending.poll_reset(context));
        assert_eq!(tokio::time::timeout(SOON, reset).await.unwrap().unwrap(), h2::Reason::NO_ERROR);
    }
    // All of what was sent has been given back to the connection's window: a body that needs all of it arrives.
    let whole = signed(&fixture, &object("PUT", "k").body(vec![1; 1 << 20]));
    assert_eq!(tokio::time::timeout(SOON, connection.send(&whole)).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn heads_are_bounded() {
    let fixture = Fixture::start().await;
    let status = |bytes: Vec<u8>| {
        let address = fixture.client.address;
        async move { Connection::open(address).await.unwrap().send(&bytes).await.map(|answer| answer.status) }
    };
    let many: String = (0..200).fold(String::new(), |text, number| format!("{text}x-{number}: 1\r\n"));
    assert_eq!(status(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n").into_bytes()).await.unwrap(), 431);
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert!(matches!(status(long.into_bytes()).await, Ok(431) | Err(_)));
    // RFC 9113, section 8.3.1: the authority and the host are the same.
    let mut connection = open(&fixture).await;
    let (mut head, _) = request(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    head.headers_mut().insert("host", "b".parse().unwrap());
    let (answering, _) = connection.begin(head, false).await.unwrap();
    assert_eq!(read_answer(answering).await.unwrap().status, 400);
    // A length that is not that of the body.
    let (head, _) = request(&signed(&fixture, &object("PUT", "k").body("hello"))).unwrap();
    let (answering, mut sending) = connection.begin(head, true).await.unwrap();
    sending.send_data("hello, and more".into(), true).unwrap();
    let outcome = read_answer(answering).await;
    assert!(outcome.as_ref().map_or(true, |answer| answer.status == 400), "{outcome:?}");
    assert_eq!(fixture.get("k").await.status, 404);
}

#[tokio::test]
async fn too_many_requests_are_told_to_slow_down_and_the_connection_goes_on() {
    let limits = Limits {
        requests_max: 1,
        requests_waiting_max: 1,
        request_wait_max: Duration::from_millis(200),
        body_idle_timeout: SOON,
        ..small_limits()
    };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    let mut connection = open(&fixture).await;
    let (head, body) = request(&signed(&fixture, &object("PUT", "k").body("hello"))).unwrap();
    let (slow, mut sending) = connection.begin(head, true).await.unwrap();
    while fixture.service.running() == 0 {
        tokio::task::yield_now().await;
    }
    let get = signed(&fixture, &object("GET", "k"));
    // The first to come waits in vain, the others are refused at once; all are told when to come again.
    let many = (0..10).map(|_| {
        let (mut connection, get) = (connection.clone(), get.clone());
        async move { connection.send(&get).await.unwrap() }
    });
    for answer in futures::future::join_all(many).await {
        assert_eq!((answer.status, answer.code(), answer.header("retry-after")), (503, "SlowDown".into(), Some("1")));
    }
    send_all(&mut sending, body).await.unwrap();
    assert_eq!(read_answer(slow).await.unwrap().status, 200);
    assert_eq!(connection.send(&get).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn streams_are_bounded_and_the_bound_is_told() {
    let http2 = Http2Limits { streams_max: 3, ..Http2Limits::default() };
    let fixture = Fixture::with(Config { limits: Limits { http2, ..small_limits() }, ..Config::default() }).await;
    let (sender, driving) = connect(&fixture).await;
    let mut sender = sender.ready().await.unwrap();
    let (head, _) = request(&signed(&fixture, &object("GET", "k"))).unwrap();
    let (answering, _) = sender.send_request(head, true).unwrap();
    answering.await.unwrap();
    assert_eq!(sender.current_max_send_streams(), 3);
    drop(sender);
    driving.abort();
}

/// A client whose connection tells how it ended.
async fn connect(fixture: &Fixture) -> (h2::client::SendRequest<bytes::Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(fixture.client.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    (sender, tokio::spawn(connection))
}

/// The last words are lost where the client was still writing when the connection was closed.
async fn is_calmed(driving: JoinHandle<Result<(), h2::Error>>) -> bool {
    let end = tokio::time::timeout(SOON, driving).await.unwrap().unwrap();
    end.is_err_and(|error| error.reason().is_none_or(|reason| reason == h2::Reason::ENHANCE_YOUR_CALM))
}

/// "Rapid reset" (CVE-2023-44487): requests that are taken back right after their head, before they are begun.
#[tokio::test]
async fn who_takes_back_many_requests_at_once_loses_the_connection_and_others_do_not_notice() {
    let fixture = Fixture::start().await;
    let mut other = open(&fixture).await;
    let (sender, driving) = connect(&fixture).await;
    let (head, _) = request(&signed(&fixture, &object("PUT", "k").body("hello"))).unwrap();
    let mut sent = 0;
    for _ in 0..100_000 {
        let Ok(mut ready) = sender.clone().ready().await else { break };
        let Ok((_, mut stream)) = ready.send_request(head.clone(), false) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        sent += 1;
        tokio::task::yield_now().await;
    }
    assert!(is_calmed(driving).await && sent < 100_000, "{sent}");
    assert_eq!(fixture.service.running(), 0, "what was taken back does not run");
    assert_eq!(other.send(&signed(&fixture, &object("GET", "k"))).await.unwrap().status, 404);
}

/// The same once they run, which is what `h2` does not count.
#[tokio::test]
async fn who_takes_back_many_requests_that_run_loses_the_connection() {
    let http2 = Http2Limits { resets_max: 20, ..Http2Limits::default() };
    let fixture = Fixture::with(Config { limits: Limits { http2, ..small_limits() }, ..Config::default() }).await;
    let (sender, driving) = connect(&fixture).await;
    let (head, _) = request(&signed(&fixture, &object("PUT", "k").body("hello"))).unwrap();
    let mut taken_back = 0;
    while taken_back < 2000 && !driving.is_finished() {
        let Ok(mut ready) = sender.clone().ready().await else { break };
        let Ok((_, mut stream)) = ready.send_request(head.clone(), false) else { break };
        while fixture.service.running() == 0 && !driving.is_finished() {
            tokio::task::yield_now().await;
        }
        stream.send_reset(h2::Reason::CANCEL);
        while fixture.service.running() > 0 {
            tokio::task::yield_now().await;
        }
        taken_back += 1;
    }
    assert!((20..2000).contains(&taken_back), "{taken_back}");
    assert!(is_calmed(driving).await);
}

/// Frames by hand: what no client would send.
struct Frames(TcpStream);

impl Frames {
    async fn open(fixture: &Fixture) -> Self {
        let mut stream = TcpStream::connect(fixture.client.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut frames = Self(stream);
        frames.write(4, 0, 0, &[]).await.unwrap();
        frames
    }

    /// Writes a frame (RFC 9113, section 4.1).
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await
    }

    /// Writes the same frame until the server has enough; how many.
    async fn flood(mut self, count_max: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> usize {
        for count in 0..count_max {
            let mut got = [0; 4096];
            let is_gone = matches!(self.0.try_read(&mut got), Ok(0));
            if is_gone || self.write(kind, flags, stream, payload).await.is_err() {
                return count;
            }
            tokio::task::yield_now().await;
        }
        count_max
    }

    /// Reads a frame: its kind, its flags, its stream and its payload.
    async fn read(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        tokio::time::timeout(SOON, self.0.read_exact(&mut head)).await.unwrap().unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        tokio::time::timeout(SOON, self.0.read_exact(&mut payload)).await.unwrap().unwrap();
        (head[3], head[4], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload)
    }

    /// Whether the server closes before long.
    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        tokio::time::timeout(SOON, self.0.read_to_end(&mut rest)).await.is_ok()
    }
}

/// "CONTINUATION flood" (CVE-2024-27316): a head that never ends, in pieces that say nothing.
#[tokio::test]
async fn a_head_in_endless_pieces_ends_the_connection() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    let fixture = Fixture::start().await;
    // `:method: GET` of the static table, and then a header that is never in the table.
    for piece in [&[][..], &b"\x00\x01x\x01y"[..]] {
        let mut frames = Frames::open(&fixture).await;
        frames.write(HEADERS, 0, 1, b"\x82").await.unwrap();
        let count = frames.flood(1_000_000, CONTINUATION, 0, 1, piece).await;
        assert!(count < 100_000, "{count} pieces of {} bytes", piece.len());
    }
    assert_eq!(fixture.put("k", "x").await.status, 200);
}

/// Clients send on until they have heard that they need not: what comes after a refusal is no fault, however often that happens, and the
/// connection's window gets it back.
#[tokio::test]
async fn bodies_that_come_after_their_refusal_cost_no_connection() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const WINDOW_UPDATE: u8 = 8;
    const REFUSED: u32 = 200;
    let fixture = Fixture::start().await;
    let mut frames = Frames::open(&fixture).await;
    // `:method: PUT`, `:scheme: http`, `:path: /bucket/k`, `:authority: a`, `content-length: 8192` (RFC 7541, section 6.2.2).
    let head = b"\x02\x03PUT\x86\x04\x09/bucket/k\x01\x01a\x0f\x0d\x048192";
    let mut window = 65_535;
    let given_back = |payload: &[u8]| i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
    for stream in (1..).step_by(2).take(REFUSED as usize) {
        frames.write(HEADERS, 4, stream, head).await.unwrap();
        loop {
            match frames.read().await {
                (RST_STREAM, _, of, reason) if of == stream => {
                    assert_eq!(reason, [0; 4], "no error");
                    break;
                }
                (WINDOW_UPDATE, _, 0, payload) => window += given_back(&payload),
                (kind, ..) => assert!(kind != GOAWAY && kind != RST_STREAM),
            }
        }
    }
    let body = [7; 8192];
    for stream in (1..).step_by(2).take(REFUSED as usize) {
        while window < 8192 {
            if let (WINDOW_UPDATE, _, 0, payload) = frames.read().await {
                window += given_back(&payload);
            }
        }
        window -= 8192;
        frames.write(DATA, 1, stream, &body).await.unwrap();
    }
    frames.write(PING, 0, 0, b"still on").await.unwrap();
    loop {
        match frames.read().await {
            (PING, 1, ..) => break,
            (kind, _, stream, payload) => assert!(kind != GOAWAY && kind != RST_STREAM, "{kind} {stream} {payload:?}"),
        }
    }
}

/// A client may open large windows and read nothing: what is held for it is bounded, over all its requests.
#[tokio::test]
async fn answers_that_nobody_reads_are_not_piled_up() {
    let limits = Limits { body_idle_timeout: SOON * 100, ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    fixture.put("k", vec![7; 200_000]).await;
    let (head, _) = request(&signed(&fixture, &object("GET", "k"))).unwrap();
    let stream = TcpStream::connect(fixture.client.address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 24).initial_connection_window_size(1 << 30);
    let (mut sender, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let mut connection = std::pin::pin!(connection);
    let (first, _) = sender.send_request(head.clone(), true).unwrap();
    let answers: Vec<_> = (1..120).map(|_| sender.send_request(head.clone(), true).unwrap()).collect();
    tokio::select! {
        ended = connection.as_mut() => panic!("{ended:?}"),
        answer = first => assert_eq!(answer.unwrap().status(), 200),
    }
    // From here on nothing is read. 24 MB are more than the kernel takes by itself: some of the requests go on running.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(fixture.service.running() > 0);
    // And once it is read, all of it comes.
    let read = futures::future::join_all(answers.into_iter().map(|(answering, _)| read_answer(answering)));
    let answers = tokio::select! {
        ended = connection => panic!("{ended:?}"),
        answers = tokio::time::timeout(SOON, read) => answers.unwrap(),
    };
    assert!(answers.into_iter().all(|answer| answer.unwrap().body.len() == 200_000));
}

/// What was given to a stream that is taken back is held no more.
#[tokio::test]
async fn answers_that_are_taken_back_keep_no_others_from_being_sent() {
    let fixture = Fixture::start().await;
    fixture.put("large", vec![7; 1 << 20]).await;
    let mut connection = open(&fixture).await;
    let get = signed(&fixture, &object("GET", "large"));
    let (head, _) = request(&get).unwrap();
    for _ in 0..50 {
        let (answering, _) = connection.begin(head.clone(), false).await.unwrap();
        let mut body = answering.await.unwrap().into_body();
        assert!(next_piece(&mut body).await.unwrap().is_some());
        // Dropped, it is taken back.
    }
    let whole = tokio::time::timeout(SOON, connection.send(&get)).await.unwrap().unwrap();
    assert_eq!(whole.body.len(), 1 << 20);
}

#[tokio::test]
async fn silence_ends_in_a_close() {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..small_limits() };
    let fixture = Fixture::with(Config { limits, ..Config::default() }).await;
    // Nothing at all; half a preface; no request; half a head.
    let mut silent = Frames(TcpStream::connect(fixture.client.address).await.unwrap());
    let mut half = Frames(TcpStream::connect(fixture.client.address).await.unwrap());
    half.0.write_all(b"PRI * HT").await.unwrap();
    let mut idle = Frames::open(&fixture).await;
    let mut begun = Frames::open(&fixture).await;
    begun.write(1, 0, 1, b"\x82").await.unwrap();
    for connection in [&mut silent, &mut half, &mut idle, &mut begun] {
        assert!(connection.is_closed().await);
    }
}

/// Fields of a head that stand in no table (RFC 7541, section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        // Section 5.1, with a prefix of seven bits.
        let mut length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push(u8::try_from(length % 128 + 128).unwrap());
                length /= 128;
            }
            bytes.push(u8::try_from(length).unwrap());
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// A client that reads slowly, and goes on opening its windows meanwhile, gets all of its answer also where the service stops.
#[tokio::test]
async fn an_answer_that_is_still_being_read_at_a_stop_is_not_cut_off() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const LENGTH: usize = 65_535 + (256 << 10);
    let fixture = Fixture::start().await;
    fixture.put("k", vec![7; LENGTH]).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // So that most of it has to wait in the server's kernel.
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let mut frames = Frames(socket.connect(fixture.client.address).await.unwrap());
    frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    frames.write(4, 0, 0, &[]).await.unwrap();
    let (head, _) = request(&signed(&fixture, &object("GET", "k"))).unwrap();
    let mut fields = b"\x82\x86".to_vec();
    fields.extend(literal(":path", "/bucket/k"));
    fields.extend(literal(":authority", &fixture.client.host));
    for (name, value) in head.headers() {
        fields.extend(literal(name.as_str(), value.to_str().unwrap()));
    }
    frames.write(HEADERS, 5, 1, &fields).await.unwrap();
    // As far as the window goes.
    let mut read = 0;
    while read < 65_535 {
        if let (DATA, _, 1, payload) = frames.read().await {
            read += payload.len();
        }
    }
    fixture.stop.send(true).unwrap();
    loop {
        if let (PING, 0, _, payload) = frames.read().await {
            frames.write(PING, 1, 0, &payload).await.unwrap();
            break;
        }
    }
    // All of the rest may be sent now, and nothing is left to do then but to read it.
    for stream in [0, 1] {
        frames.write(WINDOW_UPDATE, 0, stream, &(1u32 << 20).to_be_bytes()).await.unwrap();
    }
    while fixture.service.running() > 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = frames.write(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).await;
    }
    let mut is_ended = false;
    while !is_ended {
        if let (DATA, flags, 1, payload) = frames.read().await {
            read += payload.len();
            is_ended = flags & 1 == 1;
        }
    }
    assert_eq!(read, LENGTH);
    drop(frames);
    tokio::time::timeout(SOON, fixture.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_lets_requests_end() {
    let fixture = Fixture::start().await;
    let mut connection = open(&fixture).await;
    let (head, body) = request(&signed(&fixture, &object("PUT", "k").body("hello"))).unwrap();
    let (answering, mut sending) = connection.begin(head.clone(), true).await.unwrap();
    while fixture.service.running() == 0 {
        tokio::task::yield_now().await;
    }
    fixture.stop.send(true).unwrap();
    send_all(&mut sending, body).await.unwrap();
    let (head_of_answer, _) = answering.await.unwrap().into_parts();
    assert_eq!(head_of(&http::Response::from_parts(head_of_answer, ())).status, 200);
    drop((connection, sending));
    tokio::time::timeout(SOON, fixture.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(fixture.client.address).await.is_err());
}
