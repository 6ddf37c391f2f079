//! Two of three zones gone: nothing is written, nothing is given up, and all goes on when they are back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cairn_testkit::s3_client::{Answer, S3Client, S3Request, path};
use parking_lot::Mutex;
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::LENGTHS;
use super::scene::{Scene, contents, zone};
use crate::connection::Connection;
use crate::seed;
use crate::service::{Home, Service};

/// Clients that write and read at once.
const CLIENTS: u64 = 6;
/// Their bodies: in the log, and in chunks.
const LOAD_LENGTHS: [usize; 4] = [10, 5_000, 100_000, 300_000];
/// Between a client's requests: it is not the disk that is on trial.
const LOAD_PAUSE: Duration = Duration::from_millis(40);
/// Longer than a zone may be without memory before it is given up, where the other two vote.
const LONGER_THAN_ANY_GRACE: Duration = Duration::from_secs(5);

/// A write that a client has asked for.
struct Put {
    key: String,
    number: u64,
    length: usize,
    sent: Instant,
    answered: Instant,
    /// 0: the connection broke.
    status: u16,
    text: String,
}

/// Clients that ask without pause, until told to stop.
struct Load {
    seed: u64,
    puts: Arc<Mutex<Vec<Put>>>,
    wrong: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    running: JoinSet<()>,
}

impl Load {
    async fn start(seed: u64, root: &S3Client) -> Self {
        let made = Connection::new(root.clone()).send(&S3Request::new("PUT", path("load", ""))).await.unwrap();
        assert_eq!(made.status, 200, "{}", made.text());
        let puts = Arc::<Mutex<Vec<Put>>>::default();
        let wrong = Arc::<Mutex<Vec<String>>>::default();
        let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1 << 32)));
        let running = (0..CLIENTS).map(|client| {
            let (puts, wrong, over, next) = (puts.clone(), wrong.clone(), over.clone(), next.clone());
            let (mut connection, mut random) = (Connection::new(root.clone()), seed::random(seed, 100 + client));
            async move {
                while !over.load(Ordering::SeqCst) {
                    tokio::time::sleep(LOAD_PAUSE).await;
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let (key, length) = (number.to_string(), LOAD_LENGTHS[random.random_range(0..LOAD_LENGTHS.len())]);
                    let request = S3Request::new("PUT", path("load", &key)).body(seed::body(seed, number, length));
                    let sent = Instant::now();
                    let answer = connection.send(&request).await;
                    let (status, text) =
                        answer.map_or_else(|error| (0, error.to_string()), |answer| (answer.status, answer.text()));
                    puts.lock().push(Put { key, number, length, sent, answered: Instant::now(), status, text });
                    let read = {
                        let puts = puts.lock();
                        let put = &puts[random.random_range(0..puts.len())];
                        (put.status == 200).then(|| (put.key.clone(), put.number, put.length))
                    };
                    let Some((key, number, length)) = read else { continue };
                    // Right bytes, an error, or a body that ends early: never other bytes, and never "not there".
                    if let Ok(answer) = connection.send(&S3Request::new("GET", path("load", &key))).await {
                        let is_right = answer.status == 200 && answer.body == seed::body(seed, number, length);
                        if !is_right && !(500..=503).contains(&answer.status) {
                            wrong.lock().push(format!("{key}: {} with {} bytes", answer.status, answer.body.len()));
                        }
                    }
                }
            }
        });
        let running = running.collect();
        Self { seed, puts, wrong, over, running }
    }

    /// Waits until so many writes were acknowledged since then.
    async fn until_acknowledged(&self, since: Instant, count: usize) {
        let end = Instant::now() + Duration::from_secs(120);
        while self.puts.lock().iter().filter(|put| put.status == 200 && put.sent >= since).count() < count {
            assert!(Instant::now() < end, "{count} writes were not acknowledged within two minutes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(mut self) -> (u64, Vec<Put>) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        assert_eq!(*self.wrong.lock(), Vec::<String>::new());
        (self.seed, std::mem::take(&mut *self.puts.lock()))
    }
}

/// What was acknowledged is there; what was refused is not; what is not known is one or the other.
async fn judge(service: &Service, seed: u64, puts: &[Put]) {
    let mut connection = Connection::new(service.root.clone());
    for put in puts {
        let answer = connection.send(&S3Request::new("GET", path("load", &put.key))).await.unwrap();
        let Put { key, number, length, status, text, .. } = put;
        match (*status, answer.status) {
            (503, 200) => panic!("{key} was refused ({text}), and is there"),
            (_, 200) => assert!(answer.body == seed::body(seed, *number, *length), "{key}: {status}, and other bytes"),
            (200, other) => panic!("{key} was acknowledged and is lost: {other}: {}", answer.text()),
            (_, other) => assert_eq!(other, 404, "{key}"),
        }
    }
}

fn two_gone(home: &Home) -> [(PathBuf, PathBuf); 2] {
    ["geneva", "gland"].map(|name| (home.zone(zone(name)), home.beside(&format!("gone-{name}"))))
}

fn take_away(gone: &[(PathBuf, PathBuf)]) {
    for (place, aside) in gone {
        std::fs::rename(place, aside).unwrap();
    }
}

fn put_back(gone: &[(PathBuf, PathBuf)]) {
    for (place, aside) in gone {
        std::fs::rename(aside, place).unwrap();
    }
}

/// A start on one zone says so, and changes nothing.
async fn is_refused(scene: &Scene) {
    let before = contents(&scene.home.data());
    for _ in 0..2 {
        let said = Service::try_start(&scene.home).await.err().unwrap();
        for words in [
            "The store needs two zones that can vote, and 1 can. Nothing was changed.",
            "geneva: empty",
            "gland: empty",
            "lucerne: has a log up to batch ",
        ] {
            assert!(said.contains(words), "{words:?} is missing in:\n{said}");
        }
        assert!(contents(&scene.home.data()) == before, "a refused start has changed something");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_zones_are_gone_while_nothing_runs() {
    let (mut scene, service) = Scene::new("two-gone").await;
    service.stop().await;
    let gone = two_gone(&scene.home);
    take_away(&gone);
    is_refused(&scene).await;
    put_back(&gone);
    let service = Service::start(&scene.home).await;
    scene.write(&service, "later", &LENGTHS).await;
    scene.whole_in_three(service, zone("geneva")).await;
}

/// Refused, in words that say what happened: an inline body, one in chunks, and a deletion.
async fn writes_are_refused(service: &Service, moment: &str) {
    let request = |method: &str, key: &str| S3Request::new(method, path("drill", key));
    let requests = [
        request("PUT", &format!("refused/{moment}/small")).body("small"),
        request("PUT", &format!("refused/{moment}/large")).body(vec![7; 300_000]),
        request("DELETE", "first/10"),
    ];
    let sending = requests.map(|request| {
        let mut connection = Connection::new(service.root.clone());
        tokio::spawn(async move { connection.send(&request).await.unwrap() })
    });
    for sent in sending {
        let answer: Answer = sent.await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (503, "ServiceUnavailable"), "{}", answer.text());
        let said = answer.text();
        assert!(said.contains("of the three zones can be written, and two are needed"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_zones_go_while_it_serves_and_come_back() {
    let (scene, service) = Scene::new("two-gone-running").await;
    let gone = two_gone(&scene.home);
    let load = Load::start(seed::of_run("two-gone load"), &service.root).await;
    load.until_acknowledged(Instant::now(), 20).await;
    take_away(&gone);
    let went = Instant::now();
    let status = scene
        .until_status("Writes are NOT taken: 1 of three zones take writes, two are needed: geneva is away, gland is away.")
        .await;
    assert!(status.contains("lucerne  voting  incarnation 1"), "{status}");
    let known = Instant::now();
    writes_are_refused(&service, "soon").await;
    // What stands in the third zone is read: all that was whole before.
    scene.read(&service).await;
    tokio::time::sleep(LONGER_THAN_ANY_GRACE.saturating_sub(went.elapsed())).await;
    writes_are_refused(&service, "late").await;
    let status = scene.home.admin("zone status");
    assert!(status.contains("geneva   away") && status.contains("gland    away"), "{status}");
    assert!(!status.contains("nothing to repair.") && !status.contains("rebuil"), "{status}");
    assert!(gone.iter().all(|(place, _)| !place.exists()), "a zone was made anew although only one was left");
    let back = Instant::now();
    put_back(&gone);
    load.until_acknowledged(back, 20).await;
    // The same lives: nothing was lost, and nothing was given up.
    service.until_whole(scene.lives).await;
    let status = service.status().await;
    assert!((0..3).all(|zone| status["zones"][zone]["incarnation"] == 1), "{status:#}");
    let (seed, puts) = load.stop().await;
    for put in &puts {
        let Put { key, sent, answered, status, text, .. } = put;
        let while_gone = *sent > went && *answered < back;
        assert!(!while_gone || *status != 200, "{key} was acknowledged with one zone");
        assert!(!(while_gone && *sent > known) || *status == 503, "{key}: {status}: {text}");
    }
    judge(&service, seed, &puts).await;
    // What was refused has left garbage in the one zone that took it, for the collector: the counts of chunks differ.
    scene.read(&service).await;
    scene.stands_alone(service, zone("gland")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_zones_go_while_it_serves_and_it_is_killed() {
    let (mut scene, service) = Scene::new("two-gone-killed").await;
    let gone = two_gone(&scene.home);
    let load = Load::start(seed::of_run("two-gone load"), &service.root).await;
    load.until_acknowledged(Instant::now(), 20).await;
    take_away(&gone);
    scene.until_status("geneva is away, gland is away").await;
    tokio::time::sleep(LONGER_THAN_ANY_GRACE).await;
    load.over.store(true, Ordering::SeqCst);
    service.kill();
    let (seed, puts) = load.stop().await;
    is_refused(&scene).await;
    put_back(&gone);
    let service = Service::start(&scene.home).await;
    judge(&service, seed, &puts).await;
    scene.write(&service, "later", &LENGTHS).await;
    service.until_whole(scene.lives).await;
    let status = service.status().await;
    assert!((0..3).all(|zone| status["zones"][zone]["incarnation"] == 1), "{status:#}");
    scene.stands_alone(service, zone("geneva")).await;
}
