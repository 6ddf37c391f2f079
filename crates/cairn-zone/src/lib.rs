//! A zone: one datacentre's independent place for chunks.
//!
//! A [`Zone`] stores immutable runs of bytes under a [`ChunkId`] and answers with a [`Locator`] that only it can read. It knows
//! nothing of objects, nothing of other zones, and does not look into the bytes: the replica layer cuts, verifies and repairs
//! (rule B1). Every engine passes the conformance suite in `cairn-testkit`; what an engine cannot do is named in [`Capabilities`].

pub mod embedded;
pub mod memory;
pub mod seaweedfs;

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId};
use futures::future::BoxFuture;

/// What an engine can and cannot do, so that nothing is skipped in silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The engine's name in logs and status, for example `embedded`.
    pub engine: &'static str,
    /// The longest chunk it takes, stored bytes.
    pub chunk_bytes_max: usize,
    /// Whether [`Zone::read`] of a range reads no more than that range from its disk.
    pub ranged_read: bool,
    /// Whether what `write` confirmed survives power loss of the whole zone.
    pub durable: bool,
}

/// A confirmed write: where the chunk is, and in which life of the zone (B2, B3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub locator: Locator,
    /// In which incarnation of the zone; a locator of a retired incarnation counts as absent.
    pub incarnation: Incarnation,
}

/// A chunk that [`Zone::enumerate`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The session of whoever wrote this copy (S1): only a commit under it can ever name it, so once it is closed and no blob names the
    /// copy, the copy is garbage. A repair's copy has the repairer's session, not the one in the chunk's id.
    pub session: SessionId,
    /// Which chunk.
    pub id: ChunkId,
    /// Where.
    pub locator: Locator,
    /// Stored bytes.
    pub length: u64,
}

/// One page of [`Zone::enumerate`].
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The chunks of this page, in the engine's own order.
    pub found: Vec<Found>,
    /// Where the next page starts; `None` when this was the last.
    pub next: Option<Bytes>,
}

/// How full a zone is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live chunks.
    pub chunks: u64,
    /// Stored bytes of live chunks.
    pub bytes: u64,
    /// Bytes that can still be written; `None` where the engine cannot tell.
    pub free_bytes: Option<u64>,
}

/// Why a zone did not do what was asked. Whoever asked decides whether another zone can stand in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ZoneError {
    /// The zone does not answer now: away, hung, its directory gone, not yet formed.
    #[error("the zone is away: {0}")]
    Away(String),
    /// The zone is there, and the place where it keeps this chunk is not now: one of its servers, one of its disks. It says nothing of other chunks, and
    /// nothing of whether this one is there. A write that finds a place away goes to another, so only reads and deletions meet it.
    #[error("the place of the chunk is away, and the zone is not: {0}")]
    PlaceAway(String),
    /// No space: nothing was kept of this write; reads and deletes go on.
    #[error("the zone is full: {0}")]
    Full(String),
    /// The locator names nothing: deleted already, or never written.
    #[error("no such chunk")]
    NotFound,
    /// The locator names another chunk than the one asked for (B7): nothing was read or deleted.
    #[error("the locator names another chunk: {0}")]
    Mismatch(String),
    /// The zone's own records of this chunk are damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The caller asked for something that no zone does, such as a chunk over the limit.
    #[error("refused: {0}")]
    Refused(String),
}

/// One datacentre's place for chunks.
///
/// Futures are cancel safe: a dropped write may or may not have stored its chunk, and the collector finds it (S2).
pub trait Zone: Send + Sync + 'static {
    /// What the engine can and cannot do.
    fn capabilities(&self) -> Capabilities;

    /// The zone's present life; `None` while it is away or has no memory. Cheap: no I/O.
    fn incarnation(&self) -> Option<Incarnation>;

    /// Stores a chunk, given in pieces, and returns once it is durable. `session` is the open session of whoever writes (S1), under which
    /// the copy will be named, and is kept beside it. The same id may be written twice (a retry, a repair); each write has its own locator,
    /// which is never given out again, not after a deletion, not over a restart, and not in another life of the zone.
    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>>;

    /// [`Zone::write`] for a chunk that the zone holds already and that stands in the way of space ([`Zone::sparse`]): an engine that keeps some space
    /// free may use a part of it, since more comes back. What it is used for otherwise is lost to it.
    fn rewrite(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        self.write(session, id, pieces)
    }

    /// Reads `length` stored bytes from `offset` on; [`ZoneError::Refused`] when the range passes the chunk's end. Does not verify
    /// frames (the replica layer does, B1), but does check that the locator names this chunk.
    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>>;

    /// Deletes chunks, durably on return, one answer for each in order. A locator that names nothing any more is `Ok`, one that
    /// names another chunk is refused (B7). A locator of another life of the zone names nothing, even where the same chunk is stored
    /// again.
    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>>;

    /// Lists what was stored under session `since` or a later one (0: everything), from the start or from a page's `next`. A chunk that is
    /// there for the whole of a walk is listed exactly once per locator; one that comes or goes meanwhile may be (S3). A page may hold
    /// fewer chunks than asked for, even none: the walk ends where `next` is `None`. A cursor that is not the engine's own is
    /// [`ZoneError::Refused`].
    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>>;

    /// Lists chunks that stand in the way of space: the live ones of places that hold little else. Writing them again and then deleting these
    /// gives back their space and more. By pages, with cursors of its own, as [`Zone::enumerate`] does; the walk is for whoever knows what
    /// names them. An engine whose space comes back by itself has none.
    fn sparse(&self, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        let _ = (from, count_max);
        Box::pin(async { Ok(Page::default()) })
    }

    /// How full the zone is. Cheap: at most a system call.
    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>>;

    /// Places, by the engine's own numbers, that are known to have forgotten something of what was durable in them (L7), though their zone lives on: a volume that was put back
    /// to an earlier state. They are read and deleted from, and not written to. What each copy in them is worth only a look at every chunk tells that a locator names there. Cheap:
    /// no I/O. An engine that has no such places has none.
    fn suspects(&self) -> BTreeSet<u32> {
        BTreeSet::new()
    }

    /// The suspect place that a chunk of this locator would be in, if it is one. Cheap: no I/O.
    fn suspect_of(&self, locator: &Locator) -> Option<u32> {
        let _ = locator;
        None
    }
}
