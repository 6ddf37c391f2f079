//! The three zones, with what is known of how each is doing. All I/O of this crate goes through here: every operation has a deadline, is
//! counted while it runs, and tells its zone's gates and latencies how it went, also when it is dropped unanswered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_metrics::{Histogram, HistogramSnapshot};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId, ZoneIndex};
use cairn_zone::{Page, Placed, Zone, ZoneError};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::catalog_port::{PerZone, Replica};
use crate::gate::{Admission, Gate, GateConfig};
use crate::latency::Latency;

/// Deadlines and bounds of zone operations.
#[derive(Debug, Clone)]
pub struct ZonesConfig {
    /// When gates shut.
    pub gate: GateConfig,
    /// The longest a write may take before it is given up: the "longest write deadline" of S2.
    pub write_deadline: Duration,
    /// The longest a read may take.
    pub read_deadline: Duration,
    /// The longest a batch of deletes, or a page of an enumeration, may take.
    pub batch_deadline: Duration,
    /// Bytes of writes that one zone may have unanswered; beyond, it is spared.
    pub write_bytes_max: usize,
    /// Bytes of writes that one zone may have unanswered although their chunks are safe without it.
    pub straggler_bytes_max: usize,
}

impl Default for ZonesConfig {
    fn default() -> Self {
        Self {
            gate: GateConfig::default(),
            write_deadline: Duration::from_secs(30),
            read_deadline: Duration::from_secs(10),
            batch_deadline: Duration::from_secs(60),
            write_bytes_max: 128 * 1024 * 1024,
            straggler_bytes_max: 48 * 1024 * 1024,
        }
    }
}

/// Operations above this many bytes have latencies of their own.
const LARGE: usize = 256 * 1024;

/// The sort of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Write,
    Read,
}

/// What is known of one sort of operation in one zone.
#[derive(Debug)]
struct Lane {
    gate: Gate,
    small: Latency,
    large: Latency,
    unanswered: BTreeMap<u64, Duration>,
    next: u64,
    bytes: usize,
    /// How long operations took that did well.
    times: Histogram,
    bytes_done: u64,
    failed: u64,
    abandoned: u64,
    /// Whether the last answer was that there is no space.
    is_full: bool,
}

impl Lane {
    fn new(config: &GateConfig) -> Self {
        Self {
            gate: Gate::new(config.clone()),
            small: Latency::default(),
            large: Latency::default(),
            unanswered: BTreeMap::new(),
            next: 0,
            bytes: 0,
            times: Histogram::of_times(),
            bytes_done: 0,
            failed: 0,
            abandoned: 0,
            is_full: false,
        }
    }

    fn counts(&self) -> OperationCounts {
        let Self { bytes_done, failed, abandoned, .. } = *self;
        OperationCounts { times: self.times.snapshot(), bytes: bytes_done, failed, abandoned }
    }

    fn oldest(&self) -> Option<Duration> {
        self.unanswered.first_key_value().map(|(_, sent)| *sent)
    }

    fn latency(&self, bytes: usize) -> &Latency {
        if bytes > LARGE { &self.large } else { &self.small }
    }

    fn latency_mut(&mut self, bytes: usize) -> &mut Latency {
        if bytes > LARGE { &mut self.large } else { &mut self.small }
    }
}

#[derive(Debug)]
struct Lanes {
    write: Lane,
    read: Lane,
    straggler_bytes: usize,
}

impl Lanes {
    fn lane(&mut self, sort: Sort) -> &mut Lane {
        match sort {
            Sort::Write => &mut self.write,
            Sort::Read => &mut self.read,
        }
    }
}

struct Member {
    zone: Arc<dyn Zone>,
    lanes: Mutex<Lanes>,
}

/// Three zones.
pub struct Zones {
    members: PerZone<Member>,
    config: ZonesConfig,
    started: Instant,
}

/// How a zone is doing, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneHealth {
    /// Its present life by its own account; `None` while away.
    pub incarnation: Option<Incarnation>,
    /// Whether writes are sent to it as in good times.
    pub writes_pass: bool,
    /// Whether reads are.
    pub reads_pass: bool,
    /// The 95th percentile of recent small writes.
    pub write_latency: Option<Duration>,
    /// The 95th percentile of recent small reads.
    pub read_latency: Option<Duration>,
    /// Bytes of unanswered writes.
    pub write_bytes: usize,
}

/// What one sort of operation in one zone came to since the start, for monitoring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationCounts {
    /// How long those took that did well, microseconds.
    pub times: HistogramSnapshot,
    /// Their stored bytes.
    pub bytes: u64,
    /// Those that were answered with an error, or not in time.
    pub failed: u64,
    /// Those that were given up unanswered, because another zone had answered or nobody waited any more.
    pub abandoned: u64,
}

/// One running operation: tells the gate about its end.
struct Running<'a> {
    zones: &'a Zones,
    zone: ZoneIndex,
    sort: Sort,
    number: u64,
    bytes: usize,
    sent: Duration,
    ended: bool,
}

impl Running<'_> {
    fn end(mut self, error: Option<&ZoneError>) {
        self.ended = true;
        let now = self.zones.now();
        let mut lanes = self.zones.member(self.zone).lanes.lock();
        let lane = lanes.lane(self.sort);
        lane.failed += u64::from(error.is_some());
        lane.is_full = matches!(error, Some(ZoneError::Full(_)));
        match error {
            None => {
                let took = now.saturating_sub(self.sent);
                lane.gate.succeeded();
                lane.latency_mut(self.bytes).record(took);
                lane.times.observe_time(took);
                lane.bytes_done += self.bytes as u64;
            }
            // The zone does answer; the question was wrong, or one chunk is, or where that is kept.
            Some(
                ZoneError::NotFound
                | ZoneError::Mismatch(_)
                | ZoneError::Refused(_)
                | ZoneError::Damaged(_)
                | ZoneError::PlaceAway(_),
            ) => {
                lane.gate.succeeded();
            }
            Some(ZoneError::Away(_) | ZoneError::Full(_)) => lane.gate.failed(now),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let now = self.zones.now();
        let mut lanes = self.zones.member(self.zone).lanes.lock();
        let lane = lanes.lane(self.sort);
        lane.unanswered.remove(&self.number);
        lane.bytes = lane.bytes.saturating_sub(self.bytes);
        if !self.ended {
            lane.abandoned += 1;
            let waited = now.saturating_sub(self.sent);
            lane.gate.abandoned(now, waited);
            // It would have taken at least this long: leaving it out would make a slow zone look quick.
            lane.latency_mut(self.bytes).record(waited);
        }
    }
}

/// A share of a zone's allowance for stragglers.
pub(crate) struct StragglerShare {
    zones: Arc<Zones>,
    zone: ZoneIndex,
    bytes: usize,
}

impl Drop for StragglerShare {
    fn drop(&mut self) {
        let mut lanes = self.zones.member(self.zone).lanes.lock();
        lanes.straggler_bytes = lanes.straggler_bytes.saturating_sub(self.bytes);
    }
}

impl Zones {
    /// Three zones, in the order of their indices.
    #[must_use]
    pub fn new(zones: PerZone<Arc<dyn Zone>>, config: ZonesConfig) -> Arc<Self> {
        let members = zones.map(|zone| Member {
            zone,
            lanes: Mutex::new(Lanes { write: Lane::new(&config.gate), read: Lane::new(&config.gate), straggler_bytes: 0 }),
        });
        Arc::new(Self { members, config, started: Instant::now() })
    }

    fn member(&self, zone: ZoneIndex) -> &Member {
        // Indices come from records too: one outside the three must not panic.
        let [first, second, third] = &self.members;
        match zone.get() {
            0 => first,
            1 => second,
            _ => third,
        }
    }

    /// Time since this object was made: what gates and plans count in.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The moment that [`Zones::now`] calls `at`.
    #[must_use]
    pub fn instant(&self, at: Duration) -> Instant {
        self.started + at
    }

    /// Deadlines and bounds.
    #[must_use]
    pub fn config(&self) -> &ZonesConfig {
        &self.config
    }

    /// The longest chunk that all zones take, stored bytes.
    #[must_use]
    pub fn chunk_bytes_max(&self) -> usize {
        self.members.iter().map(|member| member.zone.capabilities().chunk_bytes_max).min().unwrap_or(0)
    }

    /// The zone's present life by its own account.
    #[must_use]
    pub fn incarnation(&self, zone: ZoneIndex) -> Option<Incarnation> {
        self.member(zone).zone.incarnation()
    }

    /// Whether to send a write of this many bytes to each zone.
    pub fn admit_writes(&self, bytes: usize) -> [Admission; ZONE_COUNT] {
        ZoneIndex::ALL.map(|zone| self.admit_write(zone, bytes))
    }

    /// Whether to send a write of this many bytes to this zone. A [`Admission::Probe`] must be followed by a write.
    pub fn admit_write(&self, zone: ZoneIndex, bytes: usize) -> Admission {
        let member = self.member(zone);
        if member.zone.incarnation().is_none() {
            return Admission::Skip;
        }
        let mut lanes = member.lanes.lock();
        if lanes.write.bytes > 0 && lanes.write.bytes + bytes > self.config.write_bytes_max {
            return Admission::Skip;
        }
        let oldest = lanes.write.oldest();
        lanes.write.gate.admit(self.now(), oldest)
    }

    /// Whether a write may be sent to this zone; unlike [`Zones::admit_write`] this does not promise to send one.
    #[must_use]
    pub fn takes_writes(&self, zone: ZoneIndex) -> bool {
        let member = self.member(zone);
        member.zone.incarnation().is_some() && member.lanes.lock().write.gate.would_admit(self.now())
    }

    /// Whether chunks may be moved within this zone: a zone that is full takes no writes, and moving is what it needs.
    #[must_use]
    pub fn takes_moves(&self, zone: ZoneIndex) -> bool {
        self.takes_writes(zone) || self.incarnation(zone).is_some() && self.member(zone).lanes.lock().write.is_full
    }

    /// Whether the zone is there and answers reads as in good times.
    #[must_use]
    pub fn answers_reads(&self, zone: ZoneIndex) -> bool {
        let member = self.member(zone);
        member.zone.incarnation().is_some() && member.lanes.lock().read.gate.is_open()
    }

    /// A zone that was asked earlier answered later than another: said by the reader that gives up on it. A zone that is overtaken time
    /// after time without a single answer hangs.
    pub fn overtaken(&self, zone: ZoneIndex) {
        let now = self.now();
        self.member(zone).lanes.lock().read.gate.failed(now);
    }

    /// Whether reads should go to this zone before others. A [`Admission::Probe`] must be followed by a read.
    pub fn admit_read(&self, zone: ZoneIndex) -> Admission {
        let member = self.member(zone);
        if member.zone.incarnation().is_none() {
            return Admission::Skip;
        }
        let mut lanes = member.lanes.lock();
        let oldest = lanes.read.oldest();
        lanes.read.gate.admit(self.now(), oldest)
    }

    /// Looks at recent latencies of writes of this size, and whether the zone's gate for writes is open.
    pub fn with_write_latency<T>(&self, zone: ZoneIndex, bytes: usize, look: impl FnOnce(bool, &Latency) -> T) -> T {
        let lanes = self.member(zone).lanes.lock();
        look(lanes.write.gate.is_open(), lanes.write.latency(bytes))
    }

    /// Looks at recent latencies of reads of this size.
    pub fn with_read_latency<T>(&self, zone: ZoneIndex, bytes: usize, look: impl FnOnce(&Latency) -> T) -> T {
        let lanes = self.member(zone).lanes.lock();
        look(lanes.read.latency(bytes))
    }

    /// How a zone is doing.
    #[must_use]
    pub fn health(&self, zone: ZoneIndex) -> ZoneHealth {
        let member = self.member(zone);
        let lanes = member.lanes.lock();
        ZoneHealth {
            incarnation: member.zone.incarnation(),
            writes_pass: lanes.write.gate.is_open(),
            reads_pass: lanes.read.gate.is_open(),
            write_latency: lanes.write.small.percentile(95),
            read_latency: lanes.read.small.percentile(95),
            write_bytes: lanes.write.bytes,
        }
    }

    /// What writes and reads in a zone came to since the start, in this order.
    #[must_use]
    pub fn operation_counts(&self, zone: ZoneIndex) -> [OperationCounts; 2] {
        let lanes = self.member(zone).lanes.lock();
        [lanes.write.counts(), lanes.read.counts()]
    }

    fn begin(&self, zone: ZoneIndex, sort: Sort, bytes: usize) -> Running<'_> {
        let sent = self.now();
        let mut lanes = self.member(zone).lanes.lock();
        let lane = lanes.lane(sort);
        let number = lane.next;
        lane.next += 1;
        lane.bytes += bytes;
        lane.unanswered.insert(number, sent);
        Running { zones: self, zone, sort, number, bytes, sent, ended: false }
    }

    /// Takes a share of the zone's allowance for stragglers; `None` when it is used up.
    pub(crate) fn straggle(self: &Arc<Self>, zone: ZoneIndex, bytes: usize) -> Option<StragglerShare> {
        let mut lanes = self.member(zone).lanes.lock();
        if lanes.straggler_bytes + bytes > self.config.straggler_bytes_max {
            return None;
        }
        lanes.straggler_bytes += bytes;
        Some(StragglerShare { zones: Arc::clone(self), zone, bytes })
    }

    /// Writes a chunk to one zone, under the session that it will be named under (S1, B4).
    pub async fn write(&self, zone: ZoneIndex, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> Result<Placed, ZoneError> {
        let bytes = pieces.iter().map(Bytes::len).sum();
        let running = self.begin(zone, Sort::Write, bytes);
        let result = deadline(self.config.write_deadline, self.member(zone).zone.write(session, id, pieces)).await;
        running.end(result.as_ref().err());
        result
    }

    /// [`Zones::write`] of a chunk that is moved within its zone, so that space comes back.
    pub async fn rewrite(
        &self,
        zone: ZoneIndex,
        session: SessionId,
        id: ChunkId,
        pieces: Vec<Bytes>,
    ) -> Result<Placed, ZoneError> {
        let bytes = pieces.iter().map(Bytes::len).sum();
        let running = self.begin(zone, Sort::Write, bytes);
        let result = deadline(self.config.write_deadline, self.member(zone).zone.rewrite(session, id, pieces)).await;
        running.end(result.as_ref().err());
        result
    }

    /// Reads stored bytes of a chunk from one zone. They are not verified here.
    pub async fn read(
        &self,
        zone: ZoneIndex,
        replica: &Replica,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, ZoneError> {
        let running = self.begin(zone, Sort::Read, length);
        let read = self.member(zone).zone.read(&replica.locator, id, offset, length);
        let result = deadline(self.config.read_deadline, read).await;
        running.end(result.as_ref().err());
        result
    }

    /// Deletes chunks in one zone: one answer for each.
    pub async fn delete(&self, zone: ZoneIndex, chunks: &[(Locator, ChunkId)]) -> Vec<Result<(), ZoneError>> {
        let answers = async { Ok(self.member(zone).zone.delete(chunks).await) };
        match deadline(self.config.batch_deadline, answers).await {
            Ok(mut answers) => {
                // An engine that answers too little has not confirmed the rest.
                answers.resize(chunks.len(), Err(ZoneError::Away("no answer for this chunk".into())));
                answers
            }
            Err(error) => vec![Err(error); chunks.len()],
        }
    }

    /// A page of what stands in the way of space in one zone.
    pub async fn sparse(&self, zone: ZoneIndex, from: Option<Bytes>, count_max: usize) -> Result<Page, ZoneError> {
        deadline(self.config.batch_deadline, self.member(zone).zone.sparse(from, count_max)).await
    }

    /// A page of what one zone stores of this session and later ones.
    pub async fn enumerate(
        &self,
        zone: ZoneIndex,
        since: SessionId,
        from: Option<Bytes>,
        count_max: usize,
    ) -> Result<Page, ZoneError> {
        deadline(self.config.batch_deadline, self.member(zone).zone.enumerate(since, from, count_max)).await
    }
}

async fn deadline<T>(limit: Duration, work: impl Future<Output = Result<T, ZoneError>>) -> Result<T, ZoneError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(ZoneError::Away(format!("no answer within {} ms", limit.as_millis()))),
    }
}

#[cfg(test)]
mod tests;
