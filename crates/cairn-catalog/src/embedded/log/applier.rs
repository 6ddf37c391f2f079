//! The worker that brings one zone's key-value store up to what is committed, from the zone's own log, and checkpoints it.
//!
//! Only committed batches reach the store (L4). Where reads come from this zone, the sequencer applies each batch itself, before
//! it is acknowledged (R1), and this worker only checkpoints; other zones follow in larger batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::events::Ended;
use super::rules::{Rule, holds};
use super::worker::LogWorker;
use super::writes;
use crate::embedded::keyvalue::{Applied, KeyValue, KeyValueError, Write};

/// What is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// The last committed batch.
    pub index: u64,
    /// Bytes appended to the log by this process so far.
    pub appended_bytes: u64,
}

/// How often, and after how much, a zone's store is made durable so that its log can be trimmed.
#[derive(Debug, Clone, Copy)]
pub struct ApplierSettings {
    /// A zone that reads do not come from lets batches gather for so long.
    pub gather: Duration,
    /// Bytes of log after which the store is persisted.
    pub checkpoint_bytes: u64,
    /// Most bytes of log that are applied at once.
    pub apply_bytes: u64,
}

impl Default for ApplierSettings {
    fn default() -> Self {
        Self { gather: Duration::from_millis(300), checkpoint_bytes: 64 << 20, apply_bytes: 1 << 20 }
    }
}

enum Request {
    /// Everything up to this index is to be applied, and then no more; the number names the request.
    TakeOver(u64, u64),
    Follow,
}

/// The newest of something, for one that waits for it. (A `watch` wakes those who wait in random order, and a simulation must not.)
#[derive(Default)]
pub(super) struct Latest<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Latest<T> {
    pub(super) fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_one();
    }

    pub(super) fn get(&self) -> T {
        *self.value.lock()
    }
}

/// A way to a zone's applier. It ends when the last one is dropped.
#[derive(Clone)]
pub struct Applier {
    requests: mpsc::UnboundedSender<Request>,
    committed: Arc<Latest<Committed>>,
    progress: Arc<AtomicU64>,
}

/// What an applier tells.
pub(super) enum Told {
    /// The store holds everything up to this index, and from now on the sequencer applies; answers the request of this number.
    TakenOver {
        /// The request.
        request: u64,
        /// The last batch applied.
        applied: u64,
    },
    /// The store or the log failed; the applier has ended.
    Failed(Ended),
}

/// What an applier works on.
pub(super) struct Parts {
    pub state: Arc<dyn KeyValue>,
    pub log: LogWorker,
    pub trim_floor: Arc<AtomicU64>,
    /// Rise with every piece that is applied: of all zones, and of this one.
    pub applying: Arc<AtomicU64>,
    pub progress: Arc<AtomicU64>,
    pub settings: ApplierSettings,
}

impl Applier {
    /// Makes the applier and the future that runs it.
    pub(super) fn new(parts: Parts, told: impl Fn(Told) + Send + Sync + 'static) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let committed = Arc::new(Latest::default());
        let news = committed.clone();
        let progress = parts.progress.clone();
        let running = async move {
            if let Err(reason) = run(parts, receiver, &news, &told).await {
                told(Told::Failed(reason));
            }
        };
        (Self { requests, committed, progress }, running)
    }

    /// Tells what is committed.
    pub fn committed(&self, committed: Committed) {
        self.committed.set(committed);
    }

    /// Rises while what is committed is applied.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Asks for everything up to `index`; from then on the sequencer applies.
    pub fn take_over(&self, index: u64, request: u64) {
        // Where the applier has ended, it has told so.
        let _ = self.requests.send(Request::TakeOver(index, request));
    }

    /// From now on the applier applies again.
    pub fn follow(&self) {
        let _ = self.requests.send(Request::Follow);
        self.committed.changed.notify_one();
    }
}

async fn run(
    parts: Parts,
    mut requests: mpsc::UnboundedReceiver<Request>,
    news: &Latest<Committed>,
    told: &(impl Fn(Told) + Send + Sync),
) -> Result<(), Ended> {
    let mut is_primary = false;
    let mut persisted_at_bytes = None;
    loop {
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(request) => is_primary = answer(&parts, request, &requests, told).await?,
                None => break,
            },
            () = news.changed.notified() => {
                let committed = news.get();
                if !is_primary {
                    apply_up_to(&parts, committed.index).await?;
                }
                let persisted_at = persisted_at_bytes.get_or_insert(committed.appended_bytes);
                if committed.appended_bytes - *persisted_at >= parts.settings.checkpoint_bytes {
                    *persisted_at = committed.appended_bytes;
                    checkpoint(&parts)?;
                }
                if !is_primary {
                    // Batches gather; a take-over interrupts that.
                    tokio::select! {
                        biased;
                        request = requests.recv() => match request {
                            Some(request) => is_primary = answer(&parts, request, &requests, told).await?,
                            None => break,
                        },
                        () = tokio::time::sleep(parts.settings.gather) => {}
                    }
                }
            }
        }
    }
    // Closed in order or after a failure of the log: what is applied need not be applied again.
    parts.state.persist().map(|_| ()).map_err(|error| Ended::by(&error))
}

/// Does what is asked; tells whether the sequencer applies from now on.
async fn answer(
    parts: &Parts,
    request: Request,
    requests: &mpsc::UnboundedReceiver<Request>,
    told: &(impl Fn(Told) + Send + Sync),
) -> Result<bool, Ended> {
    let Request::TakeOver(index, request) = request else { return Ok(false) };
    if requests.is_empty() {
        take_over(parts, index, requests).await?;
        told(Told::TakenOver { request, applied: applied_index(parts) });
    }
    Ok(true)
}

fn applied_index(parts: &Parts) -> u64 {
    parts.state.applied().map_or(0, |applied| applied.index)
}

/// Makes the store durable and gives up the log that it replaces.
fn checkpoint(parts: &Parts) -> Result<(), Ended> {
    let persisted = parts.state.persist().map_err(|error| Ended::by(&error))?;
    let index = persisted.map_or(0, |applied| applied.index).min(parts.trim_floor.load(Ordering::Acquire));
    parts.log.trim(index).map_err(|error| Ended::Away(error.to_string()))
}

/// Waits until the zone's log has what is committed, and applies it; stops early when something else is asked.
async fn take_over(parts: &Parts, index: u64, requests: &mpsc::UnboundedReceiver<Request>) -> Result<(), Ended> {
    const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
    while !apply_up_to(parts, index).await? {
        if requests.is_closed() {
            return Err(Ended::Away("the zone was let go while its state caught up".to_owned()));
        }
        if !requests.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
    Ok(())
}

/// Applies batches from the zone's own log, up to a committed index, as far as the log reaches; tells whether that was all.
async fn apply_up_to(parts: &Parts, index: u64) -> Result<bool, Ended> {
    let away = |error: &dyn std::fmt::Display| Ended::Away(error.to_string());
    loop {
        let applied = applied_index(parts);
        if applied >= index {
            return Ok(true);
        }
        let batches = parts.log.read(applied + 1, parts.settings.apply_bytes).await.map_err(|error| away(&error))?;
        let mut gathered: Vec<Write> = Vec::new();
        let mut last = None;
        for batch in batches.iter().filter(|batch| batch.position.index <= index || !holds(Rule::L4)) {
            gathered.extend(writes::decode(batch.payload()).map_err(|error| away(&error))?);
            last = Some(batch.position);
        }
        let Some(position) = last else { return Ok(false) };
        let next = Applied { index: position.index, epoch: position.epoch, checksum: position.checksum };
        match parts.state.apply(&gathered, next) {
            // A call of the sequencer that was late has applied them meanwhile.
            Err(KeyValueError::OutOfOrder { .. }) if applied_index(parts) > applied => {}
            applied => applied.map_err(|error| Ended::by(&error))?,
        }
        parts.applying.fetch_add(1, Ordering::Relaxed);
        parts.progress.fetch_add(1, Ordering::Relaxed);
    }
}
