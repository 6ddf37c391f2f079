//! Chunks in segment files: the store behind a zone directory's `segments/`.
//!
//! # What it guarantees
//!
//! - What `write` confirmed survives power loss; what it did not confirm is whole or absent. A deletion that was confirmed stays.
//! - An answer counts only if after the sync the zone's directory is still the one that a restart would find (L6). After a failed
//!   sync nothing is tried again: the zone is away, with the reason, until it is opened anew.
//! - Damage is told from a torn tail (L5): every record carries its file's generation and nonce and the position known durable when it
//!   was written. Damage costs the chunks that it hits, no more; see [`Damage`].
//! - A zone behind what the catalog recorded of it (L7), of another store, zone or incarnation, is refused and not touched.
//! - A locator opens its own chunk or nothing (B7), whatever became of the file since, and nothing in another life of the zone.
//! - Bytes on disk, however damaged, never make it panic.
//!
//! # How it works
//!
//! Records are appended to segment files, one chunk each, at multiples of 4,096 bytes; [`mod@format`] has the bytes and
//! `docs/adr/0005-segments.md` the reasons. One worker appends with group commit (`writer`), one deletes, seals and retires
//! (`maintenance`), one keeps prewritten files ready (`reserve`). Reads and listings run where they may block.
//!
//! # Memory
//!
//! About 200 bytes for each segment; 56 bytes for each record of the segment in use; two bounded caches (open files, verified headers).
//! Nothing for each chunk: the index of a sealed segment, 49 bytes a chunk, stays at the end of its file.
//!
//! # Space
//!
//! A chunk takes its payload and 128 bytes, rounded up to 4,096: half a block more on average, so 3 % for chunks of 64 KiB and next to
//! nothing for 8 MiB. A deletion gives back all of it but one block, at once; that block comes back when everything in its
//! segment is deleted. So that a few live chunks do not hold what is left of many dead ones, [`Zone::sparse`] lists the chunks of segments of
//! which a quarter or more is not live: written again and deleted where they were, they leave a segment that is used again. Where the
//! file system cannot punch holes, space comes back by whole segments, and so by that only.

mod cache;
pub mod format;
mod index_file;
mod inspect;
mod listing;
mod lookup;
mod maintenance;
mod open;
mod read;
mod reserve;
mod scan;
mod segment;
mod settings;
mod settle;
mod shared;
mod writer;

use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_disk::Environment;
use cairn_disk::zone_directory::ZoneDirectory;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex};
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::{Capabilities, Page, Placed, Usage, Zone, ZoneError};
use format::Place;
use maintenance::{Deletion, Maintenance, Task};
use open::Start;
use shared::Shared;
use writer::{Purpose, Request, Writer};

pub use settings::Settings;

/// Whether the zone's directory is still the one that a restart would find (L6).
pub trait Presence: Send + Sync + 'static {
    /// An error with words when it is not.
    fn check(&self) -> BoxFuture<'_, io::Result<()>>;
}

impl Presence for ZoneDirectory {
    fn check(&self) -> BoxFuture<'_, io::Result<()>> {
        self.check_present().boxed()
    }
}

/// What it takes to open a zone's segments.
pub struct Opening {
    /// Disk, randomness and threads.
    pub environment: Environment,
    /// The zone's `segments` directory; made when it is not there. Whoever opens holds the zone's lock (L10).
    pub directory: PathBuf,
    /// The store that the zone must belong to.
    pub store: StoreId,
    /// Which zone it must be.
    pub zone: ZoneIndex,
    /// Which life of the zone it must be.
    pub incarnation: Incarnation,
    /// The highest position that the catalog recorded for this incarnation (L7); 0 when none.
    pub recorded_position: u64,
    /// Asked after every sync (L6).
    pub presence: Arc<dyn Presence>,
    /// Limits.
    pub settings: Settings,
}

/// A zone's segments as they were found.
pub enum Opened {
    /// Ready to serve.
    Ready {
        /// The zone.
        zone: EmbeddedZone,
        /// What is damaged. The rest is served; chunks hit by it are to be repaired from other zones. Damage of records is
        /// reported again at each opening until the zone is rebuilt.
        damage: Vec<Damage>,
    },
    /// The zone has lost its memory (L7). Nothing was changed.
    Behind {
        /// The position found.
        position: u64,
        /// The position that was recorded.
        recorded: u64,
    },
}

/// A place in a segment where bytes are not what they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub segment: String,
    /// Where in the file, bytes.
    pub offset: u64,
    /// What is wrong, in words.
    pub what: String,
    /// The sequences of the records that cannot be read; a locator names its record's sequence ([`Place`]).
    pub missing: Option<RangeInclusive<u64>>,
    /// The chunk, where its header can be read.
    pub chunk: Option<ChunkId>,
}

/// Why a zone's segments could not be opened. Nothing of what counts was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("opening the zone's segments failed: {0}")]
    Io(#[from] io::Error),
    /// The files are somebody else's or of a newer version, or the settings cannot work.
    #[error("the zone's segments were refused: {0}")]
    Refused(String),
}

/// A zone on the files of this machine.
///
/// [`EmbeddedZone::close`] drains and seals. Dropping drains too, but in the background: the directory must not be opened again before the
/// workers have ended, which only `close` waits for.
pub struct EmbeddedZone {
    shared: Arc<Shared>,
    /// `None` once closed.
    senders: Mutex<Option<Senders>>,
    queue_room: Arc<Semaphore>,
    deletion_room: Arc<Semaphore>,
    workers: Mutex<Vec<oneshot::Receiver<()>>>,
}

#[derive(Clone)]
struct Senders {
    requests: mpsc::Sender<Request>,
    tasks: mpsc::UnboundedSender<Task>,
}

impl EmbeddedZone {
    /// Opens a zone's segments, or says why not. Blocks nowhere but on the executor's threads.
    pub async fn open(opening: Opening) -> Result<Opened, OpenError> {
        let recorded = opening.recorded_position;
        let environment = opening.environment.clone();
        let work = Box::pin(open::open(opening));
        let stopped = || OpenError::Io(io::Error::other("the runtime is shutting down"));
        Ok(match shared::run_blocking(&environment, work).await.unwrap_or_else(|| Err(stopped()))? {
            Ok(start) => {
                let damage = start.damage.clone();
                Opened::Ready { zone: Self::start(start), damage }
            }
            Err(behind) => Opened::Behind { position: behind.position, recorded },
        })
    }

    fn start(start: Start) -> Self {
        let Start { shared, generation_next, all_dead, unsealed, unpunched, .. } = start;
        let shared = Arc::new(shared);
        let (requests, requests_received) = mpsc::channel(shared.settings.batch_count_max);
        let (tasks, tasks_received) = mpsc::unbounded_channel();
        let writer = Writer::new(shared.clone(), requests_received, tasks.clone(), generation_next);
        let maintenance = Maintenance::new(shared.clone(), tasks_received, unsealed, all_dead, unpunched);
        let zone = Self {
            queue_room: Arc::new(Semaphore::new(shared.settings.queue_bytes_max)),
            deletion_room: Arc::new(Semaphore::new(shared.settings.delete_queue_max)),
            senders: Mutex::new(Some(Senders { requests, tasks })),
            workers: Mutex::default(),
            shared,
        };
        zone.spawn("seg-write", writer.run());
        zone.spawn("seg-maintain", maintenance.run());
        zone.spawn("seg-reserve", reserve::run(zone.shared.clone()));
        zone
    }

    fn spawn(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        let (ended, end) = oneshot::channel();
        self.workers.lock().push(end);
        let work = async move {
            work.await;
            let _ = ended.send(());
        };
        self.shared.environment.executor.spawn_worker(name, Box::pin(work));
    }

    /// Takes no more, does what waits, seals the segment in use, and returns when nothing touches the directory any more.
    pub async fn close(&self) {
        self.stop();
        let workers = std::mem::take(&mut *self.workers.lock());
        for worker in workers {
            // An error is a worker that the runtime dropped: it has ended too.
            let _ = worker.await;
        }
    }

    /// The durable position: the number of records that this life of the zone ever made durable (L7). It covers every write that was
    /// answered. Cheap.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.shared.position()
    }

    /// The durable position as it rises.
    #[must_use]
    pub fn watch_position(&self) -> watch::Receiver<u64> {
        self.shared.watch_position()
    }

    fn stop(&self) {
        self.shared.closing.store(true, Ordering::Release);
        *self.senders.lock() = None;
        self.shared.pool_changed.notify_one();
    }

    fn senders(&self) -> Result<Senders, ZoneError> {
        self.shared.check_away()?;
        self.senders.lock().clone().ok_or_else(closed)
    }

    async fn write_chunk(
        &self,
        session: SessionId,
        id: ChunkId,
        pieces: Vec<Bytes>,
        purpose: Purpose,
    ) -> Result<Placed, ZoneError> {
        let senders = self.senders()?;
        let longest = self.shared.settings.chunk_bytes_max;
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let (true, Ok(payload_length)) = (length <= longest, u32::try_from(length)) else {
            return Err(ZoneError::Refused(format!("a chunk of {length} bytes; the longest is {longest}")));
        };
        let room = self.queue_room.clone().acquire_many_owned(payload_length).await.map_err(|_| closed())?;
        let payload_crc = pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        let (answer, answered) = oneshot::channel();
        let request = Request { session, id, pieces, payload_length, payload_crc, purpose, answer, _room: room };
        senders.requests.send(request).await.map_err(|_| closed())?;
        drop(senders);
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn delete_chunks(&self, chunks: &[(Locator, ChunkId)]) -> Vec<Result<(), ZoneError>> {
        let places: Vec<Option<Place>> = chunks.iter().map(|(locator, _)| Place::decode(locator)).collect();
        let targets: Vec<(Place, ChunkId)> =
            places.iter().zip(chunks).filter_map(|(place, (_, id))| place.map(|place| (place, *id))).collect();
        let deleted = if targets.is_empty() { Ok(Vec::new()) } else { self.delete_places(targets).await };
        let mut deleted = match deleted {
            Ok(answers) => answers.into_iter(),
            Err(error) => return chunks.iter().map(|_| Err(error.clone())).collect(),
        };
        places
            .iter()
            .map(|place| match place {
                Some(_) => deleted.next().unwrap_or_else(|| Err(closed())),
                None => Err(foreign()),
            })
            .collect()
    }

    async fn delete_places(&self, targets: Vec<(Place, ChunkId)>) -> Result<Vec<Result<(), ZoneError>>, ZoneError> {
        let senders = self.senders()?;
        let room = self.deletion_room.clone().acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let deletion = Deletion { targets, answer, _room: room };
        senders.tasks.send(Task::Delete(deletion)).map_err(|_| closed())?;
        drop(senders);
        answered.await.map_err(|_| closed())
    }

    async fn read_range(&self, locator: &Locator, id: ChunkId, offset: u64, length: usize) -> Result<Bytes, ZoneError> {
        self.senders()?;
        let place = Place::decode(locator).ok_or_else(foreign)?;
        self.shared.blocking(read::read(self.shared.clone(), place, id, offset, length)).await?
    }
}

impl Drop for EmbeddedZone {
    fn drop(&mut self) {
        self.stop();
    }
}

fn closed() -> ZoneError {
    ZoneError::Away("the zone is closed".to_owned())
}

fn foreign() -> ZoneError {
    ZoneError::Refused("this is not a locator of the embedded engine".to_owned())
}

impl Zone for EmbeddedZone {
    fn capabilities(&self) -> Capabilities {
        let chunk_bytes_max = self.shared.settings.chunk_bytes_max;
        Capabilities { engine: "embedded", chunk_bytes_max, ranged_read: true, durable: true }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        let present = !self.shared.is_closing() && self.shared.check_away().is_ok();
        present.then_some(self.shared.owner.incarnation)
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        self.write_chunk(session, id, pieces, Purpose::Store).boxed()
    }

    fn rewrite(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        self.write_chunk(session, id, pieces, Purpose::MakeRoom).boxed()
    }

    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        self.read_range(locator, id, offset, length).boxed()
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        self.delete_chunks(chunks).boxed()
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        async move {
            self.senders()?;
            self.shared.blocking_listing(listing::enumerate(self.shared.clone(), since, from, count_max)).await?
        }
        .boxed()
    }

    fn sparse(&self, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        async move {
            self.senders()?;
            self.shared.blocking(listing::sparse(self.shared.clone(), from, count_max)).await?
        }
        .boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        async move {
            self.senders()?;
            let shared = self.shared.clone();
            let free = async move { shared.environment.disk.free_bytes(&shared.directory).await };
            let free_bytes = match self.shared.blocking(free).await? {
                Ok(free) => Some(free.saturating_sub(self.shared.settings.keep_free_bytes)),
                Err(error) => return Err(ZoneError::Away(format!("asking for free space failed: {error}"))),
            };
            Ok(Usage {
                chunks: self.shared.chunks.load(Ordering::Relaxed),
                bytes: self.shared.bytes.load(Ordering::Relaxed),
                free_bytes,
            })
        }
        .boxed()
    }
}
