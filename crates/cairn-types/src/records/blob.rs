//! Blobs: which bytes there are, how often they are referred to, and where their copies stand (rules B2 to B5).

use crate::codec::{Field, Problem, fields, numbered, record, take_byte};
use crate::ids::{BlobId, Incarnation, Locator, SessionId, ZONE_COUNT, ZoneIndex};
use crate::time::CatalogTime;
use bytes::Bytes;

/// A set of zones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ZoneSet(u8);

impl ZoneSet {
    /// No zone.
    pub const EMPTY: Self = Self(0);
    /// All three.
    pub const ALL: Self = Self((1 << ZONE_COUNT) - 1);

    /// The set of these bits, zone 0 the lowest; `None` when there are others.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Self::ALL.0 == 0).then_some(Self(bits))
    }

    /// One bit for each zone, zone 0 the lowest.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set with this zone in it.
    #[must_use]
    pub fn with(self, zone: ZoneIndex) -> Self {
        Self(self.0 | Self::bit(zone))
    }

    /// The set without this zone.
    #[must_use]
    pub fn without(self, zone: ZoneIndex) -> Self {
        Self(self.0 & !Self::bit(zone))
    }

    /// The zones of this set that are not in the other.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the zone is in it.
    #[must_use]
    pub fn contains(self, zone: ZoneIndex) -> bool {
        self.0 & Self::bit(zone) != 0
    }

    /// Whether the sets have a zone in common.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no zone is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many zones.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Its zones in order.
    pub fn iter(self) -> impl Iterator<Item = ZoneIndex> {
        ZoneIndex::ALL.into_iter().filter(move |zone| self.contains(*zone))
    }

    fn bit(zone: ZoneIndex) -> u8 {
        // A zone outside the three is in no set.
        1_u8.checked_shl(u32::from(zone.0)).unwrap_or(0) & Self::ALL.0
    }
}

impl FromIterator<ZoneIndex> for ZoneSet {
    fn from_iter<I: IntoIterator<Item = ZoneIndex>>(zones: I) -> Self {
        zones.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl std::fmt::Debug for ZoneSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.iter().map(|zone| zone.0)).finish()
    }
}

impl Field for ZoneSet {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Self::from_bits(take_byte(from)?).ok_or(Problem::Value("a set of zones"))
    }
}

/// How a blob's bytes are spread over the zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Every zone has every chunk; a write needs two of them (B3).
    ThreeCopies,
}

impl Layout {
    /// How many zones must have confirmed a chunk before a commit may name it (B3).
    #[must_use]
    pub fn write_quorum(self) -> usize {
        match self {
            Self::ThreeCopies => 2,
        }
    }
}

numbered!(Layout, "a layout" { 1 => ThreeCopies });

/// Where one zone has one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// In which life of the zone; of a retired one it counts as absent (B2).
    pub incarnation: Incarnation,
    /// Where.
    pub locator: Locator,
}

/// One chunk of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Bytes of data in it; with the blob's frame kind that tells its stored length ([`crate::frame::ChunkShape`]).
    pub data_length: u32,
    /// Where each zone has it.
    pub replicas: [Option<Replica>; ZONE_COUNT],
}

/// What a blob consists of. Immutable, but for the places of its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobContent {
    /// How it is spread, and with it its write quorum.
    pub layout: Layout,
    /// How its frames are protected: [`crate::frame::FrameKind::number`].
    pub frame_kind: u8,
    /// The key that its bytes are encrypted under; `None` when they are not.
    pub encryption_key: Option<Bytes>,
    /// Its chunks in the order of their ordinals.
    pub chunks: Vec<ChunkRecord>,
}

impl BlobContent {
    /// Bytes of data in all chunks together.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.data_length)).sum()
    }

    /// The zones that lack at least one chunk, given the zones' present lives: the inverse of B2's mask.
    #[must_use]
    pub fn missing(&self, incarnations: &[Incarnation; ZONE_COUNT]) -> ZoneSet {
        self.chunks.iter().fold(ZoneSet::EMPTY, |missing, chunk| Self::union(missing, chunk.missing(incarnations)))
    }

    fn union(one: ZoneSet, other: ZoneSet) -> ZoneSet {
        ZoneSet(one.0 | other.0)
    }
}

impl ChunkRecord {
    /// The zones that lack this chunk, given the zones' present lives (B2).
    #[must_use]
    pub fn missing(&self, incarnations: &[Incarnation; ZONE_COUNT]) -> ZoneSet {
        ZoneSet::ALL.difference(self.present(incarnations))
    }

    /// The zones that have this chunk, given the zones' present lives (B2).
    #[must_use]
    pub fn present(&self, incarnations: &[Incarnation; ZONE_COUNT]) -> ZoneSet {
        ZoneIndex::ALL.into_iter().filter(|zone| self.replica(*zone, incarnations).is_some()).collect()
    }

    /// Where the zone has this chunk in its present life (B2).
    #[must_use]
    pub fn replica(&self, zone: ZoneIndex, incarnations: &[Incarnation; ZONE_COUNT]) -> Option<&Replica> {
        let replica = self.replicas.get(zone.get())?.as_ref()?;
        // A zone that was never formed has nothing.
        let current = incarnations.get(zone.get()).filter(|incarnation| incarnation.0 != 0)?;
        (*current == replica.incarnation).then_some(replica)
    }
}

/// A blob without references, on its way out (B5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condemned {
    /// From then on its chunks may be deleted.
    pub due: CatalogTime,
    /// The zones that have not yet confirmed the deletion. The record stays until there is none.
    pub remaining: ZoneSet,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    /// How many extents of versions and parts name it. A blob with none is condemned.
    pub references: u64,
    /// Set when the last reference went; for ever (B5).
    pub condemned: Option<Condemned>,
    /// The zones that lacked a chunk when this record was last written: its place in the index of incomplete blobs. Since then a zone
    /// may have lost its memory; whoever needs the truth asks [`BlobContent::missing`].
    pub indexed_missing: ZoneSet,
    /// What it consists of.
    pub content: BlobContent,
}

/// A zone's state in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ZoneRecord {
    /// The zone's present life; 0 before it has been formed.
    pub incarnation: Incarnation,
    /// Set from the retirement of the last incarnation until every blob that lacks the zone stands in the index of incomplete blobs (B2).
    pub rebuild: Option<RebuildCursor>,
}

/// How far the walk over all blobs has come that follows a zone's loss of memory (B2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildCursor {
    /// The first blob not yet looked at.
    pub next: BlobId,
    /// When the old incarnation was retired.
    pub since: CatalogTime,
}

/// An open writer session (S1, S2). A closed one has no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Which gateway, for people.
    pub gateway: String,
    /// When it was opened.
    pub opened: CatalogTime,
    /// When it was last heard of.
    pub heartbeat: CatalogTime,
}

/// Background work that one gateway does for all. It holds for as long as its session is open and heard of: nothing renews it but the session's
/// heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Whose it is.
    pub session: SessionId,
    /// The catalog's sequence when it was taken: above that of every holder before.
    pub token: u64,
    /// When it was taken.
    pub since: CatalogTime,
}

impl Field for LeaseRecord {
    fn write(&self, out: &mut Vec<u8>) {
        self.session.0.write(out);
        self.token.write(out);
        self.since.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Ok(Self { session: SessionId(u64::read(from)?), token: u64::read(from)?, since: CatalogTime::read(from)? })
    }
}

impl Field for Incarnation {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        u64::read(from).map(Self)
    }
}

impl Field for Locator {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_bytes().write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Self::new(Bytes::read(from)?).ok_or(Problem::Value("a locator"))
    }
}

impl Field for BlobId {
    fn write(&self, out: &mut Vec<u8>) {
        self.session.0.write(out);
        self.counter.write(out);
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        Ok(Self { session: SessionId(u64::read(from)?), counter: u64::read(from)? })
    }
}

impl Field for [Option<Replica>; ZONE_COUNT] {
    fn write(&self, out: &mut Vec<u8>) {
        // One byte says which zones are there.
        let present: ZoneSet =
            ZoneIndex::ALL.into_iter().filter(|zone| self.get(zone.get()).is_some_and(Option::is_some)).collect();
        present.write(out);
        for replica in self.iter().flatten() {
            replica.write(out);
        }
    }

    fn read(from: &mut Bytes) -> Result<Self, Problem> {
        let mut replicas = [const { None }; ZONE_COUNT];
        for zone in ZoneSet::read(from)?.iter() {
            if let Some(place) = replicas.get_mut(zone.get()) {
                *place = Some(Replica::read(from)?);
            }
        }
        Ok(replicas)
    }
}

fields!(Replica { incarnation, locator });
fields!(ChunkRecord { data_length, replicas });
fields!(BlobContent { layout, frame_kind, encryption_key, chunks });
fields!(Condemned { due, remaining });
fields!(BlobRecord { references, condemned, indexed_missing, content });
fields!(RebuildCursor { next, since });
fields!(ZoneRecord { incarnation, rebuild });
fields!(SessionRecord { gateway, opened, heartbeat });
record!(BlobRecord, "blob");
record!(ZoneRecord, "zone");
record!(SessionRecord, "session");
record!(LeaseRecord, "lease");
