//! A crowd: 2,000 connections of which half are slow or silent, and bursts of ten times what the service takes at once. Judged by what was
//! answered, not by how fast.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_testkit::exposition;
use cairn_testkit::s3_client::{Answer, S3Client, S3Request, exchange, path, read_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::connection::{Connection, Halves};
use crate::seed;
use crate::service::{Home, Service};

/// Connections that keep up, and as many that do not.
const HALF: usize = 1000;
/// What each of those that keep up asks.
const REQUESTS_EACH: usize = 5;
/// The object whose readers do not read: more than the kernel takes by itself.
const LARGE_BYTES: usize = 16 << 20;
/// How long anything may take that has to happen at some time.
const AT_LAST: Duration = Duration::from_secs(300);

/// Lets this process open as many files as it may: each connection is one.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    assert!(limit.maximum.is_none_or(|most| most > 3 * HALF as u64), "this machine allows too few open files: {limit:?}");
}

async fn expect(connection: &mut Connection, request: S3Request, status: u16) -> Answer {
    let answer = connection.send(&request).await.unwrap();
    assert_eq!(answer.status, status, "{} {}: {}", request.method, request.path, answer.text());
    answer
}

async fn get(address: SocketAddr, target: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    exchange(address, request.as_bytes(), false).await.unwrap()
}

/// What the metrics say of one thing.
async fn metric(service: &Service, name: &str, labels: &[(&str, &str)]) -> u64 {
    let answer = get(service.told("Metrics are at"), "/metrics").await;
    assert_eq!(answer.status, 200);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a count")]
    let value = exposition::parse(&answer.text()).unwrap().value(name, labels) as u64;
    value
}

async fn at_last(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + AT_LAST;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "{what}: not within {AT_LAST:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Those that are answered besides S3 go on answering.
async fn others_answer(service: &Service) {
    assert_eq!(get(service.told("Health is at"), "/healthz").await.text(), "alive\n");
    assert_eq!(get(service.told("Health is at"), "/readyz").await.text(), "ready\n");
    assert_eq!(service.status().await["zones"].as_array().unwrap().len(), 3);
    assert!(metric(service, "cairn_ready", &[]).await == 1);
}

/// A connection that is a burden, each in its own way, until the service closes it.
async fn burden(client: S3Client, number: usize, all_there: Arc<Barrier>) {
    let Halves { mut reader, mut writer } = Halves::open(client.address).await.unwrap();
    let put = client.signed(&S3Request::new("PUT", path("crowd", "never")).body(vec![7; 100_000]));
    let read_large = client.signed(&S3Request::new("GET", path("crowd", "large")));
    let head = put.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let begin: &[u8] = match number % 5 {
        0 => &[],
        1 => &put[..30],
        2 => &put[..head + 1000],
        3 => &put[..head],
        _ => &read_large,
    };
    writer.write_all(begin).await.unwrap();
    all_there.wait().await;
    match number % 5 {
        // A byte now and then: of a head, and of a body.
        kind @ (1 | 3) => {
            for byte in put[if kind == 1 { 30 } else { head }..].chunks(1) {
                tokio::time::sleep(Duration::from_millis(900)).await;
                if writer.write_all(byte).await.is_err() {
                    return;
                }
            }
        }
        // Nobody reads until the service has given up: its socket is then closed as well.
        4 => {
            while let Ok(()) = writer.write_all(b"G").await {
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
        }
        _ => {
            let mut rest = Vec::new();
            let _ = reader.read_to_end(&mut rest).await;
        }
    }
}

fn burdens(client: &S3Client, all_there: &Arc<Barrier>) -> JoinSet<()> {
    (0..HALF).map(|number| burden(client.clone(), number, all_there.clone())).collect()
}

/// Somebody who asks and is answered; how often.
async fn customer(client: S3Client, seed: u64, number: usize, all_there: Arc<Barrier>) -> usize {
    let mut connection = Connection::new(client);
    connection.open().await.unwrap();
    all_there.wait().await;
    let target = path("crowd", &format!("customer-{number}"));
    let body = seed::body(seed, number as u64, if number.is_multiple_of(20) { 100_000 } else { 4096 });
    for round in 0..REQUESTS_EACH {
        if round % 2 == 0 {
            expect(&mut connection, S3Request::new("PUT", target.clone()).body(body.clone()), 200).await;
        } else {
            assert!(expect(&mut connection, S3Request::new("GET", target.clone()), 200).await.body == body);
        }
    }
    REQUESTS_EACH
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_are_slow_or_silent_do_not_stop_a_thousand_others() {
    let seed = seed::of_run("crowd");
    raise_open_files();
    let home = Home::new("crowd");
    let listen = ["--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    // Nobody is given up meanwhile: the burden lasts.
    let patient = ["--header-timeout-ms", "3600000", "--body-timeout-ms", "3600000", "--idle-timeout-ms", "3600000"];
    let service = Service::start_with(&home, &[&listen[..], &patient[..]].concat()).await;
    let mut one = Connection::new(service.root.clone());
    expect(&mut one, S3Request::new("PUT", path("crowd", "")), 200).await;
    expect(&mut one, S3Request::new("PUT", path("crowd", "large")).body(vec![7; LARGE_BYTES]), 200).await;

    let all_there = Arc::new(Barrier::new(2 * HALF + 1));
    let mut burdens_now = burdens(&service.root, &all_there);
    let customers: JoinSet<usize> =
        (0..HALF).map(|number| customer(service.root.clone(), seed, number, all_there.clone())).collect();
    let start = tokio::time::Instant::now();
    all_there.wait().await;
    others_answer(&service).await;
    let answered: usize = tokio::time::timeout(AT_LAST, customers.join_all()).await.unwrap().iter().sum();
    assert_eq!(answered, HALF * REQUESTS_EACH);
    println!(
        "crowd: {answered} requests on {HALF} connections in {:.1} s beside {HALF} slow ones",
        start.elapsed().as_secs_f64()
    );
    assert!(burdens_now.try_join_next().is_none(), "a burden was not there to the end");
    at_last("only the burdens are there", async || metric(&service, "cairn_s3_connections", &[]).await <= HALF as u64 + 1).await;
    let run = async || metric(&service, "cairn_s3_requests_running", &[]).await == 3 * HALF as u64 / 5;
    at_last("only the burdens run", run).await;
    assert_eq!(metric(&service, "cairn_s3_requests_slowed_down_total", &[]).await, 0);
    burdens_now.abort_all();
    drop(one);
    at_last("all have gone", async || metric(&service, "cairn_s3_requests_running", &[]).await == 0).await;
    service.stop().await;

    // As it is by default, only sooner: they are given up, all of them.
    let strict =
        ["--header-timeout-ms", "2000", "--body-timeout-ms", "3000", "--idle-timeout-ms", "2000", "--min-body-rate", "1000"];
    let service = Service::start_with(&home, &[&listen[..], &strict[..]].concat()).await;
    let all_there = Arc::new(Barrier::new(HALF));
    let given_up = tokio::time::timeout(AT_LAST, burdens(&service.root, &all_there).join_all()).await;
    assert!(given_up.is_ok(), "some are still there");
    at_last("none is open", async || metric(&service, "cairn_s3_connections", &[]).await == 0).await;
    for (waited_for, kinds) in [("head", 2), ("body", 2), ("reader", 1)] {
        // On a machine that stands still for long, a connection may be given up before its kind shows.
        let count = metric(&service, "cairn_s3_timeouts_total", &[("waited_for", waited_for)]).await;
        assert!(count > 0 && count <= (HALF * kinds / 5 * 2) as u64, "{waited_for}: {count}");
        println!("crowd: {count} were given up: {waited_for}");
    }
    let mut one = Connection::new(service.root.clone());
    expect(&mut one, S3Request::new("GET", path("crowd", "customer-1")), 200).await;
    service.stop().await;
}

/// What the service takes at once in the burst: it runs so many, and lets as many wait.
const RUNNING: usize = 16;
/// Ten times that.
const BURST: usize = 10 * 2 * RUNNING;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_ten_times_the_capacity_is_told_to_slow_down() {
    let seed = seed::of_run("burst");
    raise_open_files();
    let home = Home::new("burst");
    let running = RUNNING.to_string();
    let service = Service::start_with(
        &home,
        &[
            ["--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"],
            ["--max-requests", &running, "--max-waiting-requests", &running],
            ["--max-request-wait-ms", "300", "--body-timeout-ms", "3600000"],
        ]
        .concat(),
    )
    .await;
    let mut one = Connection::new(service.root.clone());
    expect(&mut one, S3Request::new("PUT", path("burst", "")), 200).await;
    let put = |number: usize| {
        S3Request::new("PUT", path("burst", &format!("key-{number}"))).body(seed::body(seed, number as u64, 20_000))
    };

    // Every place is taken, by bodies that do not end: everybody else is told to come again, and nobody else notices.
    let mut held = Vec::new();
    for number in 0..RUNNING {
        let bytes = service.root.signed(&put(number));
        let mut halves = Halves::open(service.root.address).await.unwrap();
        halves.writer.write_all(&bytes[..bytes.len() - 1]).await.unwrap();
        held.push((halves, bytes));
    }
    at_last("all run", async || metric(&service, "cairn_s3_requests_running", &[]).await == RUNNING as u64).await;
    let mut answers = BTreeMap::<String, usize>::new();
    for answer in burst(&service, put).await {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
        *answers.entry(answer.code()).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([("SlowDown".to_owned(), BURST)]));
    others_answer(&service).await;
    let slowed_down = async || metric(&service, "cairn_s3_requests_slowed_down_total", &[]).await == BURST as u64;
    at_last("all are counted", slowed_down).await;
    let warnings = home.log().matches("told to slow down").count();
    assert!((1..BURST / 10).contains(&warnings), "the log has {warnings} lines on it");
    for (mut halves, bytes) in held {
        halves.writer.write_all(&bytes[bytes.len() - 1..]).await.unwrap();
        assert_eq!(read_answer(&mut halves.reader, false).await.unwrap().status, 200);
    }

    // Nobody holds anything: as much is done as can be, the others are told, and who comes again is served in the end.
    let (mut done, mut told) = (0, 0);
    for _ in 0..5 {
        let answers = burst(&service, put).await;
        let well = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(well >= RUNNING, "{well} of {BURST}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!((answer.status, answer.code().as_str(), answer.header("retry-after")), (503, "SlowDown", Some("1")));
        }
        done += well;
        told += BURST - well;
        others_answer(&service).await;
    }
    println!("burst: of {} requests {done} were done, {told} told to slow down", 5 * BURST);
    let mut clients: JoinSet<()> = (0..BURST)
        .map(|number| {
            let (mut connection, request) = (Connection::new(service.root.clone()), put(number));
            async move {
                while connection.send(&request).await.unwrap().status != 200 {
                    tokio::time::sleep(Duration::from_millis(100 + number as u64)).await;
                }
            }
        })
        .collect();
    let all = async {
        while let Some(one) = clients.join_next().await {
            one.unwrap();
        }
    };
    tokio::time::timeout(AT_LAST, all).await.unwrap();
    for number in (0..BURST).step_by(7) {
        let got = expect(&mut one, S3Request::new("GET", path("burst", &format!("key-{number}"))), 200).await;
        assert!(got.body == seed::body(seed, number as u64, 20_000), "{number}");
    }
    at_last("nothing is held", async || metric(&service, "cairn_s3_body_memory_bytes", &[]).await == 0).await;
    service.stop().await;
}

/// Sends all at once, each on a connection of its own.
async fn burst(service: &Service, put: impl Fn(usize) -> S3Request) -> Vec<Answer> {
    let all_there = Arc::new(Barrier::new(BURST));
    let senders: JoinSet<Answer> = (0..BURST)
        .map(|number| {
            let (mut connection, request) = (Connection::new(service.root.clone()), put(number));
            let all_there = all_there.clone();
            async move {
                connection.open().await.unwrap();
                all_there.wait().await;
                connection.send(&request).await.unwrap()
            }
        })
        .collect();
    senders.join_all().await
}
