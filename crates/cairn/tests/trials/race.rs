//! Many write under one condition at once, and one wins.
//!
//! AWS, "Prevent object overwrites with conditional writes": of concurrent `If-None-Match: *` writes to one key the first to finish
//! succeeds, the others get 412, or 409 where the outcome of another decided while they ran.

use std::sync::Arc;

use cairn_testkit::s3_client::{Answer, S3Client, S3Request, path};
use rand::Rng;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::seed;
use crate::service::{Home, Service};

/// Clients that race.
const RACERS: usize = 64;
/// Races of every kind, at full size and in the gate.
const ROUNDS: u64 = 1000;
/// Races of uploads, each of which costs three requests a racer, in the gate.
const UPLOAD_ROUNDS_GATE: u64 = 50;
/// Races over who comes next, in the gate.
const CHAIN_ROUNDS_GATE: u64 = 20;
/// Overwrites that each racer tries in one round of these.
const CHAIN_TRIES: usize = 8;

/// The racers' connections, kept from round to round.
struct Field {
    connections: Vec<Connection>,
}

impl Field {
    async fn new(client: &S3Client) -> Self {
        let mut connections: Vec<_> = (0..RACERS).map(|_| Connection::new(client.clone())).collect();
        for connection in &mut connections {
            connection.open().await.unwrap();
        }
        Self { connections }
    }

    /// All send their request at once; the answers, in the racers' order.
    async fn send(&mut self, request: impl Fn(usize) -> S3Request) -> Vec<Answer> {
        let requests = (0..RACERS).map(request).collect::<Vec<_>>();
        self.each(requests, |mut connection, request| async move {
            let answer = connection.send(&request).await.unwrap();
            (connection, answer)
        })
        .await
    }

    /// All do something with what is theirs, at once.
    async fn each<G, T, F>(&mut self, given: Vec<G>, act: impl Fn(Connection, G) -> F) -> Vec<T>
    where
        F: Future<Output = (Connection, T)> + Send + 'static,
        T: Send + 'static,
    {
        let barrier = Arc::new(Barrier::new(RACERS));
        let mut running = JoinSet::new();
        for (number, (connection, given)) in self.connections.drain(..).zip(given).enumerate() {
            let (barrier, acting) = (barrier.clone(), act(connection, given));
            running.spawn(async move {
                barrier.wait().await;
                (number, acting.await)
            });
        }
        let mut all = running.join_all().await;
        all.sort_by_key(|(number, _)| *number);
        let (connections, results) = all.into_iter().map(|(_, result)| result).unzip();
        self.connections = connections;
        results
    }
}

fn lengths(random: &mut seed::Random) -> usize {
    // Mostly bodies inside the catalog's log; few in chunks of their own, for those of 63 losers are garbage that fills the disk.
    if random.random_ratio(1, 40) { random.random_range(70_000..200_000) } else { random.random_range(0..2000) }
}

async fn expect(connection: &mut Connection, request: S3Request, status: u16) -> Answer {
    let answer = connection.send(&request).await.unwrap();
    assert_eq!(answer.status, status, "{} {:?}: {}", request.path, request.query, answer.text());
    answer
}

/// The winner's number. All others must have lost in the way that AWS documents.
fn winner(round: u64, answers: &[Answer]) -> usize {
    let won: Vec<usize> = (0..RACERS).filter(|racer| answers[*racer].status == 200).collect();
    assert_eq!(
        won.len(),
        1,
        "round {round}: {won:?} won, of {:?}",
        answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
    );
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        let lost = (answer.status, answer.code());
        let documented = [(412, "PreconditionFailed".to_owned()), (409, "ConditionalRequestConflict".to_owned())];
        assert!(documented.contains(&lost), "round {round}: {lost:?}: {}", answer.text());
    }
    won[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_first_writes_one_wins() {
    let seed = seed::of_run("race");
    let mut random = seed::random(seed, 1);
    let home = Home::new("race-put");
    let service = Service::start(&home).await;
    let mut one = Connection::new(service.root.clone());
    expect(&mut one, S3Request::new("PUT", path("race", "")), 200).await;
    let mut field = Field::new(&service.root).await;
    let start = tokio::time::Instant::now();
    for round in 0..ROUNDS {
        let key = format!("key-{}", round % 8);
        let length = lengths(&mut random);
        let body = |racer: usize| seed::body(seed, round << 8 | racer as u64, length);
        let put = |racer| S3Request::new("PUT", path("race", &key)).header("if-none-match", "*").body(body(racer));
        let answers = field.send(put).await;
        let winner = winner(round, &answers);
        let got = expect(&mut one, S3Request::new("GET", path("race", &key)), 200).await;
        assert!(got.body == body(winner), "round {round}: not the body of the winner, {winner}");
        assert_eq!(got.header("etag"), answers[winner].header("etag"));
        expect(&mut one, S3Request::new("DELETE", path("race", &key)), 204).await;
    }
    println!("race: {ROUNDS} rounds of {RACERS} in {:.1} s, one winner in each", start.elapsed().as_secs_f64());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_first_completions_one_wins() {
    let seed = seed::of_run("race of uploads");
    let home = Home::new("race-upload");
    let service = Service::start(&home).await;
    let mut one = Connection::new(service.root.clone());
    expect(&mut one, S3Request::new("PUT", path("race", "")), 200).await;
    let mut field = Field::new(&service.root).await;
    let rounds = if seed::is_long() { ROUNDS } else { UPLOAD_ROUNDS_GATE };
    let start = tokio::time::Instant::now();
    for round in 0..rounds {
        let key = format!("key-{}", round % 8);
        let target = path("race", &key);
        let body = |racer: usize| seed::body(seed, round << 8 | racer as u64, 1000);
        let created = field.send(|_| S3Request::new("POST", target.clone()).query("uploads", "")).await;
        let ids: Vec<String> = created.iter().map(|answer| answer.element("UploadId").unwrap()).collect();
        let part = |racer: usize| {
            S3Request::new("PUT", target.clone()).query("partNumber", "1").query("uploadId", &ids[racer]).body(body(racer))
        };
        let parts = field.send(part).await;
        let complete = |racer: usize| {
            let etag = parts[racer].header("etag").unwrap();
            let document = format!(
                "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
            );
            S3Request::new("POST", target.clone()).query("uploadId", &ids[racer]).header("if-none-match", "*").body(document)
        };
        let answers = field.send(complete).await;
        let winner = winner(round, &answers);
        let got = expect(&mut one, S3Request::new("GET", target.clone()), 200).await;
        assert!(got.body == body(winner), "round {round}: not the body of the winner, {winner}");
        // The losers' uploads are there still, with their parts; the winner's is not.
        let listed = field.send(|racer| S3Request::new("GET", target.clone()).query("uploadId", &ids[racer])).await;
        for (racer, answer) in listed.iter().enumerate() {
            assert_eq!(answer.status, if racer == winner { 404 } else { 200 }, "round {round}, {racer}: {}", answer.text());
            assert_eq!(answer.elements("PartNumber").len(), usize::from(racer != winner));
        }
        let abort = |racer: usize| S3Request::new("DELETE", target.clone()).query("uploadId", &ids[racer]);
        field.send(abort).await;
        expect(&mut one, S3Request::new("DELETE", target.clone()), 204).await;
    }
    println!("race: {rounds} rounds of {RACERS} uploads in {:.1} s, one winner in each", start.elapsed().as_secs_f64());
    service.stop().await;
}

/// Everybody overwrites what they have last seen, if it is still there. Each success names its predecessor: together they are one chain
/// from the first state to the last, without a fork or a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_overwrites_form_one_chain() {
    let seed = seed::of_run("race of overwrites");
    let home = Home::new("race-chain");
    let service = Service::start(&home).await;
    let mut one = Connection::new(service.root.clone());
    expect(&mut one, S3Request::new("PUT", path("race", "")), 200).await;
    let mut field = Field::new(&service.root).await;
    let rounds = if seed::is_long() { ROUNDS / 10 } else { CHAIN_ROUNDS_GATE };
    let start = tokio::time::Instant::now();
    let mut links = 0;
    for round in 0..rounds {
        let target = path("race", &format!("key-{round}"));
        let first = expect(&mut one, S3Request::new("PUT", target.clone()).body(format!("first of {seed}")), 200).await;
        let first = first.header("etag").unwrap().to_owned();
        let given: Vec<_> = (0..RACERS).map(|racer| (racer, target.clone())).collect();
        let succeeded = field.each(given, move |mut connection, (racer, target)| async move {
            let mut succeeded = Vec::new();
            for number in 0..CHAIN_TRIES {
                let head = expect(&mut connection, S3Request::new("HEAD", target.clone()), 200).await;
                let seen = head.header("etag").unwrap().to_owned();
                let body = seed::body(seed, round << 16 | (racer as u64) << 8 | number as u64, 500);
                let put = S3Request::new("PUT", target.clone()).header("if-match", &seen).body(body);
                let answer = connection.send(&put).await.unwrap();
                match (answer.status, answer.code().as_str()) {
                    (200, _) => succeeded.push((seen, answer.header("etag").unwrap().to_owned())),
                    (412, "PreconditionFailed") | (409, "ConditionalRequestConflict") => {}
                    other => panic!("{other:?}: {}", answer.text()),
                }
            }
            (connection, succeeded)
        });
        let mut next = std::collections::BTreeMap::new();
        for (seen, made) in succeeded.await.into_iter().flatten() {
            assert_eq!(next.insert(seen.clone(), made), None, "round {round}: two have overwritten {seen}");
        }
        let (mut at, length) = (first, next.len());
        while let Some(after) = next.remove(&at) {
            at = after;
        }
        assert!(next.is_empty(), "round {round}: overwrites of what was never there: {next:?}");
        assert!(length > 0, "round {round}: nobody has won");
        let head = expect(&mut one, S3Request::new("HEAD", target), 200).await;
        assert_eq!(head.header("etag"), Some(at.as_str()), "round {round}: the last overwrite is lost");
        links += length;
    }
    println!("race: {rounds} chains of together {links} overwrites in {:.1} s", start.elapsed().as_secs_f64());
    service.stop().await;
}
