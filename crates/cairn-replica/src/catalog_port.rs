//! What the replica layer asks of the catalog, and nothing else: it knows blobs, sessions and incarnations, no table and no object.
//!
//! Whoever implements [`BlobCatalog`] promises, beyond what each method says:
//!
//! - **Linearizable**: an answer reflects every commit that was acknowledged before the question. Where the catalog is several
//!   databases, an answer speaks for all of them, or is an error ("nothing is collected unless every database answers", S2).
//! - **An error says nothing**: the change may have happened. [`PortError`] is therefore never taken for a refusal, and nothing is
//!   deleted because of it.
//! - **A change is asked for once**: an implementation does not repeat a change of unknown outcome. `Refused` after a first attempt that
//!   was made after all would delete a copy that a record names; `Added` after one that was cleared since would name nothing.
//! - **A closed session commits nothing** (S2): neither a blob, nor a locator.
//! - **A commit of a blob counts only places of current incarnations** (B3), judged in the commit itself: it drops places of other
//!   incarnations from the record, and refuses the blob when fewer than its quorum are left for any chunk. The batch that retires an
//!   incarnation opens a rebuild cursor for the zone that covers every blob committed before it (B2).

use std::sync::Arc;

use bytes::Bytes;
use cairn_types::frame::{ChunkShape, FrameError, FrameKind};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{BlobId, ChunkId, Incarnation, SessionId, ZoneIndex};
use futures::future::BoxFuture;

pub use cairn_types::records::{BlobContent, ChunkRecord, Layout, Replica, ZoneSet};

/// The current incarnation of each zone, as the catalog records it; 0 where the zone has never been formed.
pub type Incarnations = [Incarnation; ZONE_COUNT];

/// Something per zone.
pub type PerZone<T> = [T; ZONE_COUNT];

/// The catalog did not answer, or its answer was lost: the change may or may not have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalog does not answer: {0}")]
pub struct PortError(pub String);

/// What the catalog answers.
pub type PortResult<T> = Result<T, PortError>;

/// A blob as the replica layer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub id: BlobId,
    /// Its chunks and where they are.
    pub content: BlobContent,
    /// Whether its last reference is gone (B5).
    pub condemned: bool,
}

impl Blob {
    /// The name of the chunk of this ordinal.
    #[must_use]
    pub fn chunk_id(&self, ordinal: u32) -> ChunkId {
        ChunkId { blob: self.id, ordinal }
    }

    /// What the frames of a chunk look like.
    pub fn shape(&self, chunk: &ChunkRecord) -> Result<ChunkShape, FrameError> {
        ChunkShape::new(FrameKind::from_number(self.content.frame_kind)?, u64::from(chunk.data_length))
    }

    /// Ordinals and records of chunks.
    pub fn numbered_chunks(&self) -> impl Iterator<Item = (u32, &ChunkRecord)> {
        (0_u32..).zip(&self.content.chunks)
    }

    /// The chunk of this ordinal.
    #[must_use]
    pub fn chunk(&self, ordinal: u32) -> Option<&ChunkRecord> {
        self.content.chunks.get(usize::try_from(ordinal).ok()?)
    }
}

/// Which sessions may still commit, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionView {
    /// Sessions that are open, in rising order.
    pub open: Vec<SessionId>,
    /// The highest session ever opened; 0 of a catalog that may lack something that it had acknowledged (P5).
    pub newest: SessionId,
    /// How often the catalog has forgotten something that it had acknowledged (P5): a view speaks of its own generation only.
    pub generation: u64,
}

impl SessionView {
    /// Whether the session can commit nothing any more. A session above [`SessionView::newest`] was opened after this view was taken.
    #[must_use]
    pub fn is_closed(&self, session: SessionId) -> bool {
        session <= self.newest && self.open.binary_search(&session).is_err()
    }
}

/// Copies that were made of chunks of one blob in one zone, to be named on its record (B4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddLocators {
    /// The blob.
    pub blob: BlobId,
    /// The zone.
    pub zone: ZoneIndex,
    /// Ordinals of chunks, and where they are. All of one incarnation.
    pub places: Vec<(u32, Replica)>,
}

/// What became of [`AddLocators`]: all of its places or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddOutcome {
    /// The record names these very places (now, or already before).
    Added,
    /// The record does not name them and never will by this request: the copier deletes its copies.
    Refused,
}

/// Places found damaged, to be taken off a blob's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearLocators {
    /// The blob.
    pub blob: BlobId,
    /// The zone.
    pub zone: ZoneIndex,
    /// Ordinals of chunks, and the places that are not to be trusted.
    pub places: Vec<(u32, Replica)>,
}

/// A copy that was made from another one in the same zone, to be named in its stead (B4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveLocator {
    /// The chunk.
    pub chunk: ChunkId,
    /// The zone.
    pub zone: ZoneIndex,
    /// The place that the record names.
    pub from: Replica,
    /// The place that it is to name.
    pub to: Replica,
}

/// A page of blobs, and where the next one goes on.
#[derive(Debug, Clone, Default)]
pub struct BlobPage {
    /// In the list's own order.
    pub blobs: Vec<Arc<Blob>>,
    /// Where the next page starts, in words that only the catalog reads; `None` when this was the last.
    pub next: Option<Bytes>,
}

/// The catalog, as far as the replica layer knows it. Pages hold at most `count_max` blobs; `from` is an earlier page's `next`.
pub trait BlobCatalog: Send + Sync + 'static {
    /// The current incarnations.
    fn incarnations(&self) -> BoxFuture<'_, PortResult<Incarnations>>;

    /// How often the catalog has forgotten something that it had acknowledged: it was restored, or a server was promoted that lacked it (P5). Whatever was judged by an earlier generation
    /// is to be judged again.
    fn generation(&self) -> BoxFuture<'_, PortResult<u64>>;

    // -- background work ----------------------------------------------------------------------------------------------------------

    /// Whether several gateways stand on this catalog, and share background work by leases.
    fn is_shared(&self) -> bool {
        false
    }

    /// Takes the lease of some background work under a session, or finds that it has it: `false` where another gateway's session has it and is heard of. A closed
    /// session takes nothing.
    fn take_work(&self, lease: String, session: SessionId) -> BoxFuture<'_, PortResult<bool>> {
        let _ = (lease, session);
        Box::pin(std::future::ready(Ok(true)))
    }

    /// Gives a lease back; one that this session has not is passed over.
    fn leave_work(&self, lease: String, session: SessionId) -> BoxFuture<'_, PortResult<()>> {
        let _ = (lease, session);
        Box::pin(std::future::ready(Ok(())))
    }

    // -- sessions -----------------------------------------------------------------------------------------------------------------

    /// Opens a session with an id above all before it, in every database, durably on return (S1).
    fn open_session(&self) -> BoxFuture<'_, PortResult<SessionId>>;
    /// Keeps a session open; `false` when it is closed already.
    fn heartbeat(&self, session: SessionId) -> BoxFuture<'_, PortResult<bool>>;
    /// Closes a session whose gateway has no more use for it.
    fn close_session(&self, session: SessionId) -> BoxFuture<'_, PortResult<()>>;
    /// Closes, in every database, the sessions whose heartbeats have failed to come for longer than a session may be silent, and then
    /// says which are open. The view is of a moment after the question, and after the closings are durable (S2).
    fn close_dead_sessions(&self) -> BoxFuture<'_, PortResult<SessionView>>;

    // -- blobs --------------------------------------------------------------------------------------------------------------------

    /// A blob, condemned or not.
    fn blob(&self, id: BlobId) -> BoxFuture<'_, PortResult<Option<Arc<Blob>>>>;
    /// Some blobs, condemned or not, one answer each in order. Fails whole where one cannot be read.
    fn blobs_by_id(&self, ids: Vec<BlobId>) -> BoxFuture<'_, PortResult<Vec<Option<Arc<Blob>>>>>;
    /// All uncondemned blobs, in the order of their names.
    fn blobs(&self, after: Option<BlobId>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>>;
    /// Uncondemned blobs of which a chunk lacks one of `zones` (design §5, invariant 5). Blobs that lack a zone only because its incarnation
    /// was retired appear once the rebuild cursor has passed them.
    fn incomplete(&self, zones: ZoneSet, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>>;
    /// Names copies on records (B4), one answer each in order. Added only if, in one commit: the session is open, the blob exists and is not
    /// condemned, the places are of the zone's current incarnation, and for each chunk the record names no place of that incarnation in
    /// that zone, or this very place already. A place of a retired incarnation is replaced. A closed session refuses all.
    fn add_locators(&self, session: SessionId, additions: Vec<AddLocators>) -> BoxFuture<'_, PortResult<Vec<AddOutcome>>>;
    /// Takes damaged places off records, which makes the blobs incomplete; a place that the record no longer names is passed over. Says for
    /// each request whether anything changed. Never leaves a chunk without any place: such a request changes nothing.
    fn clear_locators(&self, clearances: Vec<ClearLocators>) -> BoxFuture<'_, PortResult<Vec<bool>>>;
    /// Names new places in the stead of old ones, one answer each in order. `true`: the record names the new one, now or already before. `false`: it
    /// does not and never will by this request. True only if, in one commit: the session is open, the blob exists and is not condemned, both
    /// places are of the zone's current incarnation, and the record names the old one. A closed session moves nothing.
    ///
    /// A catalog that was restored and not looked at since answers an error (P5): what is moved is deleted where it was, and nobody knows yet which of
    /// the places that are named there are.
    fn move_locators(&self, session: SessionId, moves: Vec<MoveLocator>) -> BoxFuture<'_, PortResult<Vec<bool>>>;
    /// For each place in `zone`, whether any blob, condemned or not, names this chunk by this very place: locator and incarnation. A catalog that may lack something, and
    /// that nobody has looked at since, says so of all: what is not named may have been (P5).
    fn named(&self, zone: ZoneIndex, places: Vec<(ChunkId, Replica)>) -> BoxFuture<'_, PortResult<Vec<bool>>>;

    // -- condemned blobs ----------------------------------------------------------------------------------------------------------

    /// Condemned blobs whose grace has passed (by catalog time, T1) and whose deletion this zone has not confirmed.
    fn condemned_due(&self, zone: ZoneIndex, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>>;
    /// Records that this zone keeps nothing of these blobs any more that their records name; with the third zone's confirmation
    /// the record goes (B5). Blobs that are unknown or not condemned are passed over.
    fn confirm_deleted(&self, zone: ZoneIndex, blobs: Vec<BlobId>) -> BoxFuture<'_, PortResult<()>>;

    // -- rebuilding ---------------------------------------------------------------------------------------------------------------

    /// For zones that have lost their memory, looks at the next `count_max` blobs after their rebuild cursors and puts those that lack the
    /// zone into the index of incomplete blobs, moving the cursors in the same commit (B2). Says whether there is more to do.
    fn advance_rebuilds(&self, count_max: usize) -> BoxFuture<'_, PortResult<bool>>;
}
