//! Blobs, writer sessions, zones.

use std::time::Duration;

use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::{BlobRecord, Replica, SessionRecord, ZoneRecord, ZoneSet};
use cairn_types::{BlobId, CatalogTime, ChunkId, Incarnation, SessionId, ZoneIndex};

/// A blob as it was found.
pub type FoundBlob = (BlobId, BlobRecord);

/// Copies that were made of chunks of one blob in one zone, to be named on its record (B4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddLocators {
    /// The blob.
    pub blob: BlobId,
    /// The zone.
    pub zone: ZoneIndex,
    /// Ordinals of chunks, and where they are.
    pub places: Vec<(u32, Replica)>,
}

/// See [`crate::Catalog::add_locators`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddLocatorsBatch {
    /// The copier's own session (B4).
    pub session: SessionId,
    /// What was copied.
    pub additions: Vec<AddLocators>,
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

/// See [`crate::Catalog::clear_locators`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearLocatorsBatch {
    /// What was found.
    pub clearances: Vec<ClearLocators>,
}

/// A copy that was made from another one in the same zone, to be named in its stead (B4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveLocator {
    /// Which chunk.
    pub chunk: ChunkId,
    /// In which zone.
    pub zone: ZoneIndex,
    /// The place that the record must name.
    pub from: Replica,
    /// The place that it is to name.
    pub to: Replica,
}

/// See [`crate::Catalog::move_locators`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveLocatorsBatch {
    /// The mover's own session (B4).
    pub session: SessionId,
    /// What was moved.
    pub moves: Vec<MoveLocator>,
}

/// A place where a zone keeps a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Which chunk.
    pub chunk: ChunkId,
    /// In which zone.
    pub zone: ZoneIndex,
    /// Where there.
    pub replica: Replica,
}

/// A page of blobs, and where the next one goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPage<Position> {
    /// In the list's own order.
    pub blobs: Vec<FoundBlob>,
    /// Where the next page starts; `None` when this was the last.
    pub next: Option<Position>,
}

/// See [`crate::Catalog::blob_page`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBlobs {
    /// Only blobs above this one.
    pub after: Option<BlobId>,
    /// Look at no more than so many.
    pub limit: u32,
}

/// See [`crate::Catalog::incomplete_blobs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListIncomplete {
    /// Only blobs that lack one of these zones: those that can be written to now. A zone that is away for long does not stand in the way of
    /// the others' repair.
    pub zones: ZoneSet,
    /// Where to go on.
    pub from: Option<IncompletePosition>,
    /// At most so many.
    pub limit: u32,
}

/// A place in the index of incomplete blobs: by the zones that are missing, then by blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncompletePosition {
    /// The zones that the blob lacks.
    pub missing: ZoneSet,
    /// The blob.
    pub blob: BlobId,
}

/// See [`crate::Catalog::condemned_blobs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCondemned {
    /// Only blobs whose deletion one of these zones has yet to confirm.
    pub zones: ZoneSet,
    /// Where to go on.
    pub from: Option<CondemnedPosition>,
    /// At most so many.
    pub limit: u32,
}

/// A place in the queue of condemned blobs: by the zones that have yet to confirm, then by the time from which on they may delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CondemnedPosition {
    /// The zones that have yet to confirm.
    pub remaining: ZoneSet,
    /// From when on the blob's chunks may be deleted.
    pub due: CatalogTime,
    /// The blob.
    pub blob: BlobId,
}

/// See [`crate::Catalog::confirm_deletions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmDeletions {
    /// Blobs of which the zones keep nothing any more that their records name.
    pub confirmed: Vec<(BlobId, ZoneSet)>,
}

/// See [`crate::Catalog::reap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reap {
    /// Take no more than so many parts and records apart in this commit.
    pub limit: u32,
}

/// What a round of [`crate::Catalog::reap`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reaped {
    /// Parts whose bytes were let go.
    pub parts: u64,
    /// Records of completed uploads that had served their time.
    pub completions: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// See [`crate::Catalog::take_lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeLease {
    /// Of which work: up to [`LEASE_NAME_LENGTH_MAX`] bytes, by those who do it.
    pub name: String,
    /// For the gateway of this session.
    pub session: SessionId,
    /// A holder that has not been heard of for so long, in catalog time, holds nothing any more.
    pub silent_for: Duration,
}

/// The longest name of a lease, bytes.
pub const LEASE_NAME_LENGTH_MAX: usize = 128;

/// See [`crate::Catalog::release_lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseLease {
    /// Of which work.
    pub name: String,
    /// By the gateway of this session.
    pub session: SessionId,
}

/// See [`crate::Catalog::open_session`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Which gateway, for people.
    pub gateway: String,
}

/// See [`crate::Catalog::close_silent_sessions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseSilentSessions {
    /// Close those that have not been heard of for so long, in catalog time. Zero closes all: at start-up, by an engine whose process is
    /// the only writer there can be (L10).
    pub silent_for: Duration,
}

/// Which sessions may still commit, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionView {
    /// Those that are open, in rising order.
    pub open: Vec<(SessionId, SessionRecord)>,
    /// The highest ever opened; 0 while the catalog may lack something that it had acknowledged, and no administrator has looked (P5): none is closed then.
    pub newest: SessionId,
    /// How often the catalog has forgotten something (P5). What was closed in a view of one generation may be open in the next.
    pub generation: u64,
}

impl SessionView {
    /// Whether the session can commit nothing any more. One above [`SessionView::newest`] was opened after this view was taken, or by a later
    /// life of a catalog that was restored from a backup (P5): it is not closed.
    #[must_use]
    pub fn is_closed(&self, session: SessionId) -> bool {
        session <= self.newest && self.open.binary_search_by_key(&session, |(id, _)| *id).is_err()
    }
}

/// What a catalog may have forgotten (P5), for an administrator to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generations {
    /// Rises whenever the catalog is found to have forgotten something that it had acknowledged.
    pub now: i64,
    /// The one that an administrator has looked at.
    pub reviewed: i64,
    /// The latest of the timelines of which no gateway could say that it has what the one before it had acknowledged.
    pub unattested: Option<i64>,
}

impl Generations {
    /// Whether the catalog may lack something, and nobody has looked: until somebody has, nothing is collected, and no chunk is moved.
    #[must_use]
    pub fn may_lack(&self) -> bool {
        self.now > self.reviewed || self.unattested.is_some()
    }
}

/// The zones as the catalog knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ZoneView {
    /// One record each.
    pub zones: [ZoneRecord; ZONE_COUNT],
    /// How often the catalog has forgotten something that it had acknowledged (P5). What was judged in one generation is judged anew in the next.
    pub generation: u64,
}

impl ZoneView {
    /// The zones' present lives.
    #[must_use]
    pub fn incarnations(&self) -> [Incarnation; ZONE_COUNT] {
        [self.zones[0].incarnation, self.zones[1].incarnation, self.zones[2].incarnation]
    }
}

/// See [`crate::Catalog::retire_incarnation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetireIncarnation {
    /// Of which zone.
    pub zone: ZoneIndex,
    /// The new incarnation.
    pub incarnation: Incarnation,
}

/// See [`crate::Catalog::advance_rebuild`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdvanceRebuild {
    /// Of which zone.
    pub zone: ZoneIndex,
    /// Passed over when this is not its present incarnation.
    pub incarnation: Incarnation,
    /// No further than to this blob, itself included; `None` to the end.
    pub to: Option<BlobId>,
    /// Look at no more than so many blobs in this commit.
    pub limit: u32,
}

/// What a round of [`crate::Catalog::advance_rebuild`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RebuildProgress {
    /// Blobs that were looked at.
    pub examined: u64,
    /// Those of them that came into the index of incomplete blobs, or to another place in it.
    pub indexed: u64,
    /// Whether the cursor is gone: every blob that lacks the zone stands in the index.
    pub finished: bool,
}
