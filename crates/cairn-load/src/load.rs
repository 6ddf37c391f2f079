//! The load: connections that each keep one request under way, until the time or the objects run out. Every answer is judged: the status,
//! every byte of every object read, the number and the order of the keys listed.

use std::ops::ControlFlow;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::bodies::Bodies;
use crate::clock;
use crate::connection::Connection;
use crate::listing;
use crate::signature::{self, Signer};

/// After so many failed requests a connection gives up: the service is not there, or not well.
const FAILURES_MAX: u64 = 20;

/// What connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Create the bucket.
    CreateBucket,
    /// Store objects, each under a new key.
    Put,
    /// Read objects that `put` has stored, in no order, and compare every byte.
    Get,
    /// List the objects that `put` has stored, page by page, and compare every key.
    List,
}

/// What is asked for.
pub struct Load {
    /// What connections do.
    pub operation: Operation,
    /// The bucket.
    pub bucket: String,
    /// What keys begin with; a number follows. Unreserved characters and `/` only.
    pub prefix: String,
    /// How many objects there are, or are to be stored at most.
    pub objects: u64,
    /// How many bytes each object holds.
    pub bytes: usize,
    /// Connections.
    pub connections: usize,
    /// When connections stop beginning requests.
    pub duration: Duration,
    /// Whether bodies are signed.
    pub signed: bool,
}

/// What was measured.
#[derive(Default)]
pub struct Measured {
    /// Requests that were answered as they should be.
    pub requests: u64,
    /// Requests that were not.
    pub failed: u64,
    /// What went wrong first.
    pub first_failure: Option<String>,
    /// Bytes of objects that were moved.
    pub bytes: u64,
    /// From the start of the first request to the end of the last answer.
    pub elapsed: Duration,
    /// The latencies of the requests that succeeded, µs, ascending.
    pub latencies_us: Vec<u32>,
    /// Processor time of this process in that time.
    pub own_cpu: Duration,
}

impl Measured {
    /// The latency that this share of the requests does not exceed, µs.
    pub fn percentile_us(&self, percent: usize) -> u32 {
        let rank = (self.latencies_us.len() * percent).div_ceil(100).max(1);
        self.latencies_us.get(rank - 1).copied().unwrap_or(0)
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.bytes += other.bytes;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.latencies_us.extend(other.latencies_us);
    }
}

/// Does it.
pub fn run(load: &Load, address: &str, signer: impl Fn() -> Signer + Sync) -> Measured {
    let bodies = match load.operation {
        Operation::Put | Operation::Get => Bodies::new(load.bytes, load.signed && load.operation == Operation::Put),
        Operation::CreateBucket | Operation::List => Bodies::new(0, false),
    };
    let next = AtomicU64::new(0);
    let barrier = Barrier::new(load.connections + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..load.connections)
            .map(|place| {
                let worker = Worker {
                    load,
                    bodies: &bodies,
                    next: &next,
                    signer: signer(),
                    connection: Connection::new(address),
                    head: String::with_capacity(2048),
                    random: place as u64 + 1,
                    continuation: None,
                    listed: 0,
                };
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    worker.run(clock::now() + load.duration)
                })
            })
            .collect();
        barrier.wait();
        let (started, cpu) = (clock::now(), clock::own_cpu());
        let mut measured = Measured::default();
        for worker in workers {
            match worker.join() {
                Ok(of_worker) => measured.add(of_worker),
                Err(_) => measured.failed += 1,
            }
        }
        measured.elapsed = started.elapsed();
        measured.own_cpu = clock::own_cpu().saturating_sub(cpu);
        measured.latencies_us.sort_unstable();
        measured
    })
}

struct Worker<'load> {
    load: &'load Load,
    bodies: &'load Bodies,
    next: &'load AtomicU64,
    signer: Signer,
    connection: Connection,
    head: String,
    random: u64,
    continuation: Option<String>,
    listed: u64,
}

impl Worker<'_> {
    fn run(mut self, deadline: Instant) -> Measured {
        let mut measured = Measured::default();
        let mut begun = clock::now();
        while begun < deadline && measured.failed < FAILURES_MAX {
            let result = self.request();
            let ended = clock::now();
            match result {
                Ok(ControlFlow::Continue(bytes)) => {
                    measured.requests += 1;
                    measured.bytes += bytes;
                    measured.latencies_us.push(u32::try_from((ended - begun).as_micros()).unwrap_or(u32::MAX));
                }
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    measured.failed += 1;
                    measured.first_failure.get_or_insert_with(|| format!("{error:#}"));
                    (self.continuation, self.listed) = (None, 0);
                }
            }
            begun = ended;
            if self.load.operation == Operation::CreateBucket {
                break;
            }
        }
        measured
    }

    /// One request; gives the bytes of objects that it moved, or that there is nothing left to do.
    fn request(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        self.signer.renew(clock::wall_seconds());
        match self.load.operation {
            Operation::CreateBucket => {
                let path = format!("/{}", self.load.bucket);
                self.signer.head(&mut self.head, "PUT", &path, "", signature::EMPTY, Some(0));
                self.expect_ok(b"")?;
                Ok(ControlFlow::Continue(0))
            }
            Operation::Put => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                if number >= self.load.objects {
                    return Ok(ControlFlow::Break(()));
                }
                let (body, payload) = self.bodies.of(number);
                let path = format!("/{}/{}", self.load.bucket, key(&self.load.prefix, number));
                self.signer.head(&mut self.head, "PUT", &path, "", payload, Some(body.len() as u64));
                self.expect_ok(body)?;
                Ok(ControlFlow::Continue(body.len() as u64))
            }
            Operation::Get => self.get(),
            Operation::List => self.list(),
        }
    }

    fn expect_ok(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let mut said = Vec::new();
        let status = self.connection.exchange(&self.head, body, |_, piece| {
            said.extend_from_slice(piece);
            Ok(())
        })?;
        ensure!(status == 200, "the service answered {status}: {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    fn get(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        // splitmix64.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let number = (mixed ^ (mixed >> 31)) % self.load.objects.max(1);
        let key = key(&self.load.prefix, number);
        let path = format!("/{}/{key}", self.load.bucket);
        self.signer.head(&mut self.head, "GET", &path, "", signature::EMPTY, None);
        let (expected, _) = self.bodies.of(number);
        let mut place = 0;
        let status = self.connection.exchange(&self.head, b"", |status, piece| {
            if status != 200 {
                bail!("the service answered {status}: {}", String::from_utf8_lossy(piece));
            }
            ensure!(
                expected.get(place..place + piece.len()) == Some(piece),
                "{key} differs from what was stored, at byte {place} or after"
            );
            place += piece.len();
            Ok(())
        })?;
        ensure!(status == 200 && place == expected.len(), "{key}: status {status}, {place} of {} bytes", expected.len());
        Ok(ControlFlow::Continue(place as u64))
    }

    fn list(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        let prefix = signature::encode(&self.load.prefix);
        let query = match &self.continuation {
            Some(token) => format!("continuation-token={}&list-type=2&prefix={prefix}", signature::encode(token)),
            None => format!("list-type=2&prefix={prefix}"),
        };
        let path = format!("/{}", self.load.bucket);
        self.signer.head(&mut self.head, "GET", &path, &query, signature::EMPTY, None);
        let mut text = Vec::new();
        let status = self.connection.exchange(&self.head, b"", |_, piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        let text = String::from_utf8(text)?;
        ensure!(status == 200, "the service answered {status}: {text}");
        let page = listing::page(&text)?;
        let expected = (self.listed..).map(|number| key(&self.load.prefix, number));
        ensure!(
            page.keys.iter().copied().eq(expected.take(page.keys.len())),
            "keys are listed that should not be, or not in their order"
        );
        self.listed += page.keys.len() as u64;
        self.continuation = page.continuation.map(str::to_owned);
        if self.continuation.is_none() {
            ensure!(self.listed == self.load.objects, "{} keys of {} were listed", self.listed, self.load.objects);
            self.listed = 0;
        }
        Ok(ControlFlow::Continue(0))
    }
}

/// The key of an object: keys sort as their numbers do.
fn key(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:08}")
}
