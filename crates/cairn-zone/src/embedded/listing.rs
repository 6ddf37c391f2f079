//! Listing what is stored, by generation and then by place: an order in which nothing ever moves.
//!
//! A cursor names the last record that was looked at. New chunks go to the end of the newest generation or behind it, and a file that
//! is used again gets a new generation: so a chunk that stays is met exactly once.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_types::SessionId;

use super::format::locator::{put_number, take_number};
use super::format::{BLOCK_BYTES, Entry, RecordState};
use super::lookup::{self, read_failed};
use super::segment::Segment;
use super::shared::Shared;
use crate::{Found, Page, ZoneError};

const CURSOR_VERSION: u8 = 1;
/// Segments read for one page, so that a page of a zone full of dead chunks ends too.
const SEGMENTS_MAX: usize = 64;

/// Up to where a walk has come: past the record at this offset of this generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    generation: u64,
    offset: u64,
}

impl Cursor {
    fn encode(self) -> Bytes {
        let mut out = vec![CURSOR_VERSION];
        put_number(&mut out, self.generation);
        put_number(&mut out, self.offset / BLOCK_BYTES);
        Bytes::from(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        let generation = take_number(&mut rest)?;
        let offset = take_number(&mut rest)?.checked_mul(BLOCK_BYTES)?;
        (*version == CURSOR_VERSION && rest.is_empty()).then_some(Self { generation, offset })
    }
}

/// One page of everything of this session and later ones.
pub(super) async fn enumerate(
    shared: Arc<Shared>,
    since: SessionId,
    from: Option<Bytes>,
    count_max: usize,
) -> Result<Page, ZoneError> {
    page(&shared, since, from, count_max, |_| true, OnDamage::Fail).await
}

/// One page of the live chunks of sparse segments. The newest is none of them: it cannot be given back.
pub(super) async fn sparse(shared: Arc<Shared>, from: Option<Bytes>, count_max: usize) -> Result<Page, ZoneError> {
    let settings = &shared.settings;
    let free = shared.environment.disk.free_bytes(&shared.directory).await;
    let free = free.map_err(|error| ZoneError::Away(format!("asking for free space failed: {error}")))?;
    let available = free.saturating_sub(settings.keep_free_bytes);
    // Where there is no room for a whole segment, new ones are as small as what they are begun for, and sparse themselves. Then only those are
    // offered, one after the other, that gain more than they need, as far as there is room for them.
    let is_short = available < settings.segment_bytes;
    let mut room = free.saturating_sub(settings.keep_free_for_all()).saturating_add(begun_bytes(&shared));
    let (newest, gives_back) = (shared.table.read().newest(), shared.gives_back.load(Ordering::Relaxed));
    let is_sparse = |segment: &Segment| {
        let inner = segment.inner.lock();
        if Some(segment.generation) == newest || !inner.is_sparse(settings.sparse_percent, gives_back) {
            return false;
        }
        let needed = inner.moving_bytes();
        if !is_short {
            return true;
        }
        let fits = needed <= room && inner.gains(gives_back);
        room -= if fits { needed } else { 0 };
        fits
    };
    page(&shared, SessionId(0), from, count_max, is_sparse, OnDamage::PassOver).await
}

/// What still fits into files that are there already.
fn begun_bytes(shared: &Shared) -> u64 {
    let ready: u64 = shared.pool.lock().ready.iter().map(|(_, length)| length).sum();
    let newest = shared.table.read().segments.last_key_value().map(|(_, segment)| segment.clone());
    let rest = newest.map_or(0, |newest| {
        let inner = newest.inner.lock();
        inner.capacity.saturating_sub(inner.data_end)
    });
    ready.saturating_add(rest)
}

/// What becomes of a page when a segment's entries cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnDamage {
    /// There is none: who asks for everything must not take a part for it.
    Fail,
    /// It is of the others: one segment must not keep the space of all that are listed behind it.
    PassOver,
}

/// One page of the segments that are wanted.
async fn page(
    shared: &Shared,
    since: SessionId,
    from: Option<Bytes>,
    count_max: usize,
    mut is_wanted: impl FnMut(&Segment) -> bool + Send,
    on_damage: OnDamage,
) -> Result<Page, ZoneError> {
    let start = match from {
        None => Cursor { generation: 0, offset: 0 },
        Some(bytes) => Cursor::decode(&bytes).ok_or_else(|| ZoneError::Refused("this is not a cursor of this engine".into()))?,
    };
    let count_max = count_max.clamp(1, shared.settings.enumerate_count_max);
    let segments: Vec<Arc<Segment>> = {
        let table = shared.table.read();
        let from = (Bound::Included(start.generation), Bound::Unbounded);
        let wanted = table.segments.range(from).map(|(_, segment)| segment).filter(|segment| is_wanted(segment));
        wanted.take(SEGMENTS_MAX + 1).cloned().collect()
    };
    let mut page = Page::default();
    for (at, segment) in segments.iter().enumerate() {
        let after = if segment.generation == start.generation { start.offset } else { 0 };
        if at == SEGMENTS_MAX {
            page.next = Some(Cursor { generation: segment.generation, offset: after }.encode());
            return Ok(page);
        }
        let entries = match live_entries(shared, segment, since, after).await {
            Err(error @ ZoneError::Damaged(_)) if on_damage == OnDamage::PassOver => {
                tracing::debug!(%error, segment = segment.generation, "a segment is passed over");
                continue;
            }
            entries => entries?,
        };
        for entry in entries {
            if page.found.len() == count_max {
                // There is more, from the last one on.
                return Ok(page);
            }
            page.found.push(Found {
                session: entry.session,
                id: entry.id,
                locator: shared.place(segment, &entry).encode(),
                length: u64::from(entry.payload_length),
            });
            page.next = Some(Cursor { generation: segment.generation, offset: entry.offset }.encode());
        }
    }
    page.next = None;
    Ok(page)
}

/// The live records of a segment behind this offset, of this session or later ones.
async fn live_entries(shared: &Shared, segment: &Arc<Segment>, since: SessionId, after: u64) -> Result<Vec<Entry>, ZoneError> {
    {
        let inner = segment.inner.lock();
        if inner.retired || inner.live.count == 0 || inner.session_max < since {
            return Ok(Vec::new());
        }
    }
    let all = async {
        let file = shared.file(segment).await?;
        lookup::entries(shared, segment, &*file).await
    };
    let mut entries = match all.await {
        Ok(entries) => entries,
        Err(error) => match read_failed(shared, segment, error).await {
            ZoneError::NotFound => Vec::new(),
            other => return Err(other),
        },
    };
    if segment.inner.lock().retired {
        entries.clear();
    }
    entries.retain(|entry| entry.offset > after && entry.session >= since && entry.state != RecordState::Dead);
    Ok(entries)
}
