//! What the workers and the callers of one open zone share.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use cairn_disk::{Disk, Environment, File, OpenMode};
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::Presence;
use super::cache::Cache;
use super::format::{BLOCK_BYTES, Entry, Place, SegmentHeader, SegmentState};
use super::segment::{Segment, Table};
use super::settings::Settings;
use crate::ZoneError;

/// Whose segments these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) store: StoreId,
    pub(super) zone: ZoneIndex,
    pub(super) incarnation: Incarnation,
}

impl Owner {
    /// Whether a file with this header is one of theirs.
    pub(super) fn owns(&self, header: &SegmentHeader) -> bool {
        (header.store, header.zone, header.incarnation) == (self.store, self.zone, self.incarnation)
    }

    pub(super) fn header(&self, state: SegmentState, generation: u64, nonce: u64, base_position: u64) -> SegmentHeader {
        SegmentHeader {
            store: self.store,
            zone: self.zone,
            incarnation: self.incarnation,
            state,
            generation,
            nonce,
            base_position,
        }
    }
}

/// A record header that was verified, good for as long as its segment's epoch stays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verified {
    pub(super) epoch: u64,
    pub(super) id: cairn_types::ChunkId,
    pub(super) sequence: u64,
    pub(super) payload_length: u32,
}

/// Files that hold no generation.
#[derive(Default)]
pub(super) struct Pool {
    /// Prewritten, with their sizes.
    pub(super) ready: VecDeque<(u32, u64)>,
    /// Over, and durably marked so.
    pub(super) retired: VecDeque<u32>,
    /// Whether the zone has taken a write since it was opened: before, a reserve would only fill an idle disk.
    pub(super) wanted: bool,
}

/// See the module.
pub(super) struct Shared {
    pub(super) environment: Environment,
    pub(super) directory: PathBuf,
    pub(super) owner: Owner,
    pub(super) settings: Settings,
    presence: Arc<dyn Presence>,
    /// Device and inode of the directory that was opened.
    opened: (u64, u64),
    pub(super) table: RwLock<Table>,
    pub(super) pool: Mutex<Pool>,
    pub(super) pool_changed: Notify,
    pub(super) closing: AtomicBool,
    /// Generations whose index was found damaged; maintenance makes it again.
    pub(super) indexes_damaged: Mutex<BTreeSet<u64>>,
    pub(super) slot_next: AtomicU32,
    pub(super) chunks: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Whether the file system gives parts of files back; until it has refused, it is taken to.
    pub(super) gives_back: AtomicBool,
    pub(super) headers: Cache<(u64, u64), Verified>,
    files: Cache<u32, Arc<dyn File>>,
    position: watch::Sender<u64>,
    away: RwLock<Option<String>>,
    /// For what occupies threads that may block, and for listings among that.
    blocking_room: Arc<Semaphore>,
    listing_room: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(
        environment: Environment,
        directory: PathBuf,
        owner: Owner,
        settings: Settings,
        presence: Arc<dyn Presence>,
        opened: (u64, u64),
        position: u64,
    ) -> Self {
        Self {
            environment,
            directory,
            owner,
            presence,
            opened,
            table: RwLock::default(),
            pool: Mutex::default(),
            pool_changed: Notify::new(),
            closing: AtomicBool::new(false),
            indexes_damaged: Mutex::default(),
            slot_next: AtomicU32::new(0),
            chunks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            gives_back: AtomicBool::new(true),
            headers: Cache::new(settings.header_cache_max),
            files: Cache::new(settings.open_files_max),
            position: watch::Sender::new(position),
            away: RwLock::new(None),
            blocking_room: Arc::new(Semaphore::new(settings.blocking_max)),
            listing_room: Arc::new(Semaphore::new(settings.listings_max)),
            settings,
        }
    }

    /// The durable position.
    pub(super) fn position(&self) -> u64 {
        *self.position.borrow()
    }

    pub(super) fn set_position(&self, position: u64) {
        self.position.send_replace(position);
    }

    pub(super) fn watch_position(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// Takes the zone away until it is opened again: something happened after which nothing that it says could be trusted.
    pub(super) fn go_away(&self, reason: String) -> ZoneError {
        let mut away = self.away.write();
        if away.is_none() {
            tracing::error!(directory = %self.directory.display(), %reason, "the zone's segments are away until opened again");
        }
        ZoneError::Away(away.get_or_insert(reason).clone())
    }

    pub(super) fn check_away(&self) -> Result<(), ZoneError> {
        match &*self.away.read() {
            Some(reason) => Err(ZoneError::Away(reason.clone())),
            None => Ok(()),
        }
    }

    /// L6: whether the paths still lead to the zone and to the directory that were opened. The second does not follow from the first: only this
    /// directory may have been exchanged, for one with the same names.
    pub(super) async fn check_present(&self) -> io::Result<()> {
        self.presence.check().await?;
        let found = directory_id(&*self.environment.disk, &self.directory).await.map_err(|error| {
            io::Error::new(error.kind(), format!("the directory {} was removed, or is away: {error}", self.directory.display()))
        })?;
        if found != self.opened {
            return Err(io::Error::other(format!("the directory {} was replaced by another", self.directory.display())));
        }
        Ok(())
    }

    /// L6 for a file that was just made: whether a restart would find it by its name in the directory that was opened.
    pub(super) async fn check_named(&self, slot: u32, file: &dyn File) -> io::Result<()> {
        // The device is that of the directory.
        let (found, made) = (self.environment.disk.metadata(&self.path(slot)).await?, file.metadata().await?);
        if found.inode != made.inode {
            return Err(io::Error::other(format!("{} was made in another directory", file_name(slot))));
        }
        self.check_present().await
    }

    pub(super) fn path(&self, slot: u32) -> PathBuf {
        self.directory.join(file_name(slot))
    }

    /// The file of a segment, from the cache or opened.
    pub(super) async fn file(&self, segment: &Segment) -> io::Result<Arc<dyn File>> {
        let is_its = |header: &SegmentHeader| (header.generation, header.nonce) == (segment.generation, segment.nonce);
        self.file_if(segment.slot, is_its).await
    }

    /// The file of a slot, if its header says that it is what the caller takes it for. Names of files are alike in all zones: where
    /// directories were swapped under the process, and nobody has noticed yet, the name leads to a file of another zone or of another
    /// store, which must neither be believed nor, above all, be written to (L6, L9). A header that cannot be read says nothing; then the zone's
    /// directory has to be the one that was opened.
    pub(super) async fn file_if(&self, slot: u32, expected: impl Fn(&SegmentHeader) -> bool) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.files.get(&slot) {
            return Ok(file);
        }
        let file = self.environment.disk.open(&self.path(slot), OpenMode::Write).await?;
        let block = file.read_at(0, BLOCK_BYTES as usize).await?;
        match SegmentHeader::parse_block(&block) {
            Ok(header) if self.owner.owns(&header) && expected(&header) => {}
            Ok(header) => {
                return Err(io::Error::other(format!(
                    "{} was replaced: it is now of store {}, zone {}, incarnation {}, generation {}",
                    file_name(slot),
                    header.store,
                    header.zone,
                    header.incarnation,
                    header.generation
                )));
            }
            Err(_) => self.check_present().await?,
        }
        self.files.insert(slot, file.clone());
        Ok(file)
    }

    /// Removes a file of which nothing counts, if the name still leads to it.
    pub(super) async fn remove_file(&self, slot: u32) -> io::Result<()> {
        self.forget_file(slot);
        self.check_present().await?;
        self.environment.disk.remove_file(&self.path(slot)).await
    }

    pub(super) fn remember_file(&self, slot: u32, file: Arc<dyn File>) {
        self.files.insert(slot, file);
    }

    pub(super) fn forget_file(&self, slot: u32) {
        self.files.remove(&slot);
    }

    /// Syncs, and asks whether what was synced is still what a restart would find (L6). An error means that nothing is known of
    /// the file since its last good sync, and the sync is never tried again.
    pub(super) async fn sync(&self, file: &dyn File) -> io::Result<()> {
        file.sync_data().await?;
        self.check_present().await?;
        if file.metadata().await?.links == 0 {
            return Err(io::Error::other("the segment file was removed while it was in use"));
        }
        Ok(())
    }

    /// [`Shared::sync`] for a segment that writer and maintenance may both be changing. The kernel tells of pages that it could not
    /// write once, to whoever syncs first, and calls them clean: the other's sync would then succeed without its pages. So one
    /// failure fails all that follow, and nobody is answered between the two.
    pub(super) async fn sync_segment(&self, segment: &Segment, file: &dyn File) -> io::Result<()> {
        let mut failed = segment.sync_failed.lock().await;
        if *failed {
            return Err(io::Error::other("an earlier sync of this segment failed"));
        }
        // Also when it is dropped half way: then nobody knows.
        *failed = true;
        self.sync(file).await?;
        *failed = false;
        Ok(())
    }

    pub(super) fn segment(&self, generation: u64) -> Option<Arc<Segment>> {
        self.table.read().segments.get(&generation).cloned()
    }

    /// The name of a record.
    pub(super) fn place(&self, segment: &Segment, entry: &Entry) -> Place {
        Place {
            incarnation: self.owner.incarnation,
            tag: segment.tag(),
            generation: segment.generation,
            offset: entry.offset,
            sequence: entry.sequence,
        }
    }

    /// Whether a place may be one of this segment's. One of another life of the zone, or of a history that it has lost, is not, although
    /// numbers begin anew with each life (B2, B7).
    pub(super) fn may_be_in(&self, segment: &Segment, place: &Place) -> bool {
        place.incarnation == self.owner.incarnation && place.tag == segment.tag()
    }

    /// A generation that is not there: never was, is gone, or lies in a file that cannot be read.
    pub(super) fn missing(&self, generation: u64) -> ZoneError {
        let table = self.table.read();
        match table.unreadable.first() {
            Some(name) if generation <= table.unreadable_generation_max => {
                ZoneError::Damaged(format!("it may be in {name}, which cannot be read"))
            }
            _ => ZoneError::NotFound,
        }
    }

    /// Runs disk work where it may block, and waits for it. Work that hangs keeps its room: only so much of it can.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ZoneError> {
        let stopping = || ZoneError::Away("the runtime is shutting down".into());
        let room = self.blocking_room.clone().acquire_owned().await.map_err(|_| stopping())?;
        let work = async move {
            let done = work.await;
            drop(room);
            done
        };
        run_blocking(&self.environment, Box::pin(work)).await.ok_or_else(stopping)
    }

    /// [`Shared::blocking`] for a page of a listing.
    pub(super) async fn blocking_listing<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ZoneError> {
        let stopping = || ZoneError::Away("the runtime is shutting down".into());
        let room = self.listing_room.clone().acquire_owned().await.map_err(|_| stopping())?;
        let work = async move {
            let done = work.await;
            drop(room);
            done
        };
        self.blocking(work).await
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// What tells a directory from any other that its path may lead to: device and inode.
pub(super) async fn directory_id(disk: &dyn Disk, path: &Path) -> io::Result<(u64, u64)> {
    disk.metadata(path).await.map(|metadata| (metadata.device, metadata.inode))
}

/// Runs disk work where it may block; `None` when the runtime dropped it.
pub(super) async fn run_blocking<T: Send + 'static>(environment: &Environment, work: BoxFuture<'static, T>) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    environment.executor.spawn_blocking(Box::pin(async move {
        let _ = answer.send(work.await);
    }));
    answered.await.ok()
}

/// The name of a slot's file.
pub(super) fn file_name(slot: u32) -> String {
    format!("segment-{slot:08x}")
}

/// The inverse of [`file_name`]; `None` for any other name.
pub(super) fn slot_of(name: &str) -> Option<u32> {
    let slot = u32::from_str_radix(name.strip_prefix("segment-")?, 16).ok()?;
    (file_name(slot) == name).then_some(slot)
}

/// Zeros without a copy.
pub(super) fn zeros(length: usize) -> Bytes {
    static ZEROS: [u8; 4096] = [0; 4096];
    Bytes::from_static(ZEROS.get(..length).unwrap_or(&ZEROS))
}

/// Whether an error says that there is no space, so that writing may resume when there is.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
