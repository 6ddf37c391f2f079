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
use crate::keys::{self, Keys};
use crate::listing;
use crate::signature::{self, Signer};

/// After so many failed requests a connection gives up: the service is not there, or not well.
const FAILURES_MAX: u64 = 20;

/// Keys on a page of a listing, as services give them where they are not asked for fewer.
const PAGE_KEYS: u64 = 1000;

/// What connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Create the bucket.
    CreateBucket,
    /// Store objects, each under a new key.
    Put,
    /// Store objects, each under a new key among those of a filled bucket.
    PutBetween,
    /// Delete what `put` has stored, but for every object whose number is a multiple of the stride.
    Delete,
    /// Read objects that `put` has stored, in no order, and compare every byte.
    Get,
    /// List the objects that `put` has stored, page by page, and compare every key.
    List,
    /// Ask for the heads of objects, in no order.
    Head,
    /// List a page of objects behind a key, in no order of keys, and compare every key.
    ListAt,
    /// List a page of versions behind a key, in no order of keys, and compare every key.
    ListVersionsAt,
    /// List the bucket by folders, and compare their number.
    ListFolders,
}

/// What is asked for.
pub struct Load {
    /// What connections do.
    pub operation: Operation,
    /// The bucket.
    pub bucket: String,
    /// Which key an object has.
    pub keys: Keys,
    /// Of the objects, those that are stored and read: the numbers that are multiples of this.
    pub stride: u64,
    /// The first number of those that are stored.
    pub first: u64,
    /// What the numbers of objects that are read at random come from.
    pub seed: u64,
    /// How many versions each object has that is listed with its versions.
    pub versions: u64,
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
        Operation::Get => Bodies::new(load.bytes, false),
        Operation::Put | Operation::PutBetween => Bodies::new(load.bytes, load.signed),
        _ => Bodies::new(0, false),
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
                    random: keys::mixed(load.seed).wrapping_add(place as u64 + 1),
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
                self.expect(200, b"")?;
                Ok(ControlFlow::Continue(0))
            }
            Operation::Put => self.put(Keys::of),
            Operation::PutBetween => self.put(Keys::between),
            Operation::Delete => self.delete(),
            Operation::Get => self.get(),
            Operation::List => self.list(),
            Operation::Head => self.head(),
            Operation::ListAt => self.list_at(),
            Operation::ListVersionsAt => self.list_versions_at(),
            Operation::ListFolders => self.list_folders(),
        }
    }

    /// The next object's number, while there is one.
    fn next(&self) -> Option<u64> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|next| *next < self.load.objects)
    }

    fn put(&mut self, key: impl Fn(&Keys, u64) -> String) -> anyhow::Result<ControlFlow<(), u64>> {
        let Some(next) = self.next() else { return Ok(ControlFlow::Break(())) };
        let number = self.load.first + next * self.load.stride;
        let (body, payload) = self.bodies.of(number);
        let path = format!("/{}/{}", self.load.bucket, key(&self.load.keys, number));
        self.signer.head(&mut self.head, "PUT", &path, "", payload, Some(body.len() as u64));
        self.expect(200, body)?;
        Ok(ControlFlow::Continue(body.len() as u64))
    }

    fn delete(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        let number = loop {
            match self.next() {
                None => return Ok(ControlFlow::Break(())),
                Some(number) if !number.is_multiple_of(self.load.stride) => break number,
                Some(_) => {}
            }
        };
        let path = format!("/{}/{}", self.load.bucket, self.load.keys.of(number));
        self.signer.head(&mut self.head, "DELETE", &path, "", signature::EMPTY, None);
        self.expect(204, b"")?;
        Ok(ControlFlow::Continue(0))
    }

    fn expect(&mut self, expected: u16, body: &[u8]) -> anyhow::Result<()> {
        let mut said = Vec::new();
        let status = self.connection.exchange(&self.head, body, |_, piece| {
            said.extend_from_slice(piece);
            Ok(())
        })?;
        ensure!(status == expected, "the service answered {status}: {}", String::from_utf8_lossy(&said));
        Ok(())
    }

    /// Some number below a bound.
    fn any_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        keys::mixed(self.random) % bound.max(1)
    }

    /// The number of some object that was stored.
    fn any(&mut self) -> u64 {
        self.any_below(self.load.objects) * self.load.stride
    }

    fn head(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        let number = self.any();
        let path = format!("/{}/{}", self.load.bucket, self.load.keys.of(number));
        self.signer.head(&mut self.head, "HEAD", &path, "", signature::EMPTY, None);
        let status = self.connection.exchange(&self.head, b"", |_, _| Ok(()))?;
        ensure!(status == 200, "{path}: status {status}");
        Ok(ControlFlow::Continue(0))
    }

    /// The text of a listing.
    fn listing(&mut self, query: &str) -> anyhow::Result<String> {
        let path = format!("/{}", self.load.bucket);
        self.signer.head(&mut self.head, "GET", &path, query, signature::EMPTY, None);
        let mut text = Vec::new();
        let status = self.connection.exchange(&self.head, b"", |_, piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        let text = String::from_utf8(text)?;
        ensure!(status == 200, "the service answered {status}: {text}");
        Ok(text)
    }

    fn list_at(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        // A whole page follows wherever it begins, however few there are: else small folders would seem to be faster.
        let after = self.any_below(self.load.objects.saturating_sub(PAGE_KEYS));
        let prefix = signature::encode(&self.load.keys.prefix);
        let start = signature::encode(&self.load.keys.of(after));
        let text = self.listing(&format!("list-type=2&prefix={prefix}&start-after={start}"))?;
        let page = listing::page(&text)?;
        let expected = (after + 1..self.load.objects).map(|number| self.load.keys.of(number)).take(PAGE_KEYS as usize);
        ensure!(page.keys.iter().copied().eq(expected), "behind {start} other keys are listed than there are");
        Ok(ControlFlow::Continue(0))
    }

    fn list_versions_at(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        let versions = usize::try_from(self.load.versions)?;
        let after = self.any_below(self.load.objects.saturating_sub(PAGE_KEYS.div_ceil(self.load.versions)));
        let prefix = signature::encode(&self.load.keys.prefix);
        let start = signature::encode(&self.load.keys.of(after));
        let text = self.listing(&format!("key-marker={start}&prefix={prefix}&versions="))?;
        let listed = listing::keys(&text, "ListVersionsResult")?;
        let keys = (after + 1..self.load.objects).map(|number| self.load.keys.of(number));
        let expected = keys.flat_map(|key| std::iter::repeat_n(key, versions)).take(PAGE_KEYS as usize);
        ensure!(listed.iter().copied().eq(expected), "behind {start} other versions are listed than there are");
        Ok(ControlFlow::Continue(0))
    }

    fn list_folders(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        let text = self.listing("delimiter=%2F&list-type=2&prefix=")?;
        let folders = text.matches("<CommonPrefixes>").count() as u64;
        ensure!(folders == self.load.objects, "{folders} folders of {} are listed", self.load.objects);
        Ok(ControlFlow::Continue(0))
    }

    fn get(&mut self) -> anyhow::Result<ControlFlow<(), u64>> {
        let number = self.any();
        let key = self.load.keys.of(number);
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
        let prefix = signature::encode(&self.load.keys.prefix);
        let query = match &self.continuation {
            Some(token) => format!("continuation-token={}&list-type=2&prefix={prefix}", signature::encode(token)),
            None => format!("list-type=2&prefix={prefix}"),
        };
        let text = self.listing(&query)?;
        let page = listing::page(&text)?;
        let expected = (self.listed..).map(|number| self.load.keys.of(number));
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
