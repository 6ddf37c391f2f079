//! Listing what a zone holds (S3). SeaweedFS has no call for it that would not send all data.
//!
//! A volume's index is a file of keys, offsets and sizes. It is fetched as a peer would fetch it that copies the volume, and replayed: puts, and
//! deletions of them. What is left and belongs to the sessions asked for (their number stands in the key) is looked at in the data file, no further than the
//! head that stands before each chunk. So a walk costs 16 or 17 bytes for each needle ever put into a volume since it was last vacuumed, and a small read for each
//! that it lists.
//!
//! Between the pages of a walk its volume's keys are remembered; where they are not any more, the index is fetched again. Keys only rise
//! along a walk, so nothing is listed twice. A page ends with a volume, or when it took long, even where it found nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::SessionId;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::core::{Core, away};
use super::format::{Cursor, Fid, HEAD_BYTES, Head, IndexEntry, Opening, Place, first_key};
use super::grpc::CallError;
use super::masters::Server;
use super::wire::{CopyFileRequest, ReadNeedleBlobRequest, ReadVolumeFileStatusRequest};
use crate::{Found, Page, ZoneError};

/// What to ask for so that at least a header and a head come. What is asked for is a needle's size, to which SeaweedFS adds what stands around.
const OPENING_SIZE: i32 = 4 + 64;
const _: () = assert!(OPENING_SIZE as usize == 4 + HEAD_BYTES);
/// A page is cut short after so long, at the end of a volume.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// How often a volume's index is fetched again because the volume was vacuumed meanwhile.
const ATTEMPTS: u32 = 3;

/// A needle that an index names.
#[derive(Debug, Clone, Copy)]
pub struct Needle {
    pub key: u64,
    offset: u64,
    /// Which of the volume's servers says so.
    server: u8,
}

/// Live needles of a volume, by key.
#[derive(Debug)]
pub struct Window {
    volume: u32,
    servers: Arc<[Server]>,
    /// How often each copy had been vacuumed.
    revisions: Vec<u32>,
    /// The lowest key it could hold.
    from: u64,
    /// It holds all below this one; `None` where it holds all there are.
    until: Option<u64>,
    pub needles: Vec<Needle>,
}

/// Why a needle was not listed.
pub enum NotListed {
    /// Something else stands at its offset, or nothing that can be read.
    Unreadable(String),
    /// Its server did not answer.
    Away(ZoneError),
}

/// A walk under way.
#[derive(Clone)]
struct Walk {
    number: u64,
    volumes: Arc<[u32]>,
    window: Option<Arc<Window>>,
}

/// Walks that are remembered.
#[derive(Default)]
pub struct Walks(Mutex<VecDeque<Walk>>);

impl Walks {
    fn take(&self, number: u64) -> Option<Walk> {
        let mut walks = self.0.lock();
        let at = walks.iter().position(|walk| walk.number == number)?;
        walks.remove(at)
    }

    fn put(&self, walk: Walk, most: usize) {
        let mut walks = self.0.lock();
        walks.push_back(walk);
        while walks.len() > most {
            walks.pop_front();
        }
    }
}

impl Core {
    /// One page.
    pub async fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> Result<Page, ZoneError> {
        let foreign = || ZoneError::Refused("this is not a cursor of the SeaweedFS engine".to_owned());
        let mut cursor = match &from {
            Some(bytes) => Cursor::decode(bytes).ok_or_else(foreign)?,
            None => Cursor { walk: self.environment.random.next_u64(), volume: 0, key: 0 },
        };
        let remembered = from.and_then(|_| self.walks.take(cursor.walk));
        let mut walk = if let Some(walk) = remembered {
            walk
        } else {
            // Other gateways may have taken up volumes since this one last looked.
            let remembered = self.ledger.load().await?;
            let listing = self.volumes.list(&remembered).await?;
            if let Some((volume, _)) = listing.volumes.iter().find(|(_, found)| found.erasure_coded) {
                let why = format!("volume {volume} was cut into shards (ec.encode): its chunks are read, and cannot be listed");
                return Err(ZoneError::Away(why));
            }
            Walk { number: cursor.walk, volumes: listing.volumes.into_keys().collect(), window: None }
        };
        let count_max = count_max.clamp(1, self.settings.enumerate_count_max);
        let since_time = Instant::now();
        let mut page = Page::default();
        let volumes = walk.volumes.clone();
        let first = cursor.volume;
        let mut rest = volumes.iter().copied().filter(|volume| *volume >= first).peekable();
        while let Some(volume) = rest.next() {
            let after = if volume == cursor.volume { cursor.key } else { 0 };
            let end = self.list_volume(&mut walk, volume, after, since, count_max, &mut page.found).await?;
            cursor = Cursor { walk: walk.number, volume, key: end.unwrap_or(u64::MAX) };
            let full = end.is_some() || page.found.len() >= count_max || since_time.elapsed() >= PAGE_TIME;
            if full && (end.is_some() || rest.peek().is_some()) {
                page.next = Some(cursor.encode());
                self.walks.put(walk, self.settings.walks_max);
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Adds what a volume holds behind a key, and gives the key that it came to, or `None` where it came to the volume's end.
    async fn list_volume(
        &self,
        walk: &mut Walk,
        volume: u32,
        after: u64,
        since: SessionId,
        count_max: usize,
        found: &mut Vec<Found>,
    ) -> Result<Option<u64>, ZoneError> {
        let mut failed = ZoneError::Away(format!("volume {volume} changes faster than it can be listed"));
        let Some(behind) = after.checked_add(1) else { return Ok(None) };
        let from = behind.max(first_key(since));
        // Of which revisions the index was that led to something else.
        let mut misled: Option<Vec<u32>> = None;
        for _ in 0..ATTEMPTS {
            let window = match &walk.window {
                Some(window) if window.holds(volume, from) => window.clone(),
                _ => {
                    let window = Arc::new(self.window(volume, from).await?);
                    walk.window = Some(window.clone());
                    window
                }
            };
            let start = window.needles.partition_point(|needle| needle.key < from);
            let wanted: Vec<Needle> = window.needles.iter().skip(start).take(count_max - found.len()).copied().collect();
            let last = wanted.last().map(|needle| needle.key);
            let ended = start + wanted.len() == window.needles.len();
            // Fetched anew, of a volume that was not vacuumed meanwhile: what is not there is damaged.
            let passes_over = misled.as_ref() == Some(&window.revisions);
            match self.heads(&window, &wanted, passes_over).await {
                Ok(listed) => {
                    found.extend(listed.into_iter().filter(|listed| listed.session >= since));
                    return Ok(match (ended, window.until) {
                        (false, _) => last,
                        (true, Some(until)) => Some(until - 1),
                        (true, None) => None,
                    });
                }
                // Vacuumed or moved meanwhile: all offsets are others.
                Err(error) => {
                    failed = match error {
                        NotListed::Unreadable(why) => {
                            misled = Some(window.revisions.clone());
                            ZoneError::Away(why)
                        }
                        NotListed::Away(error) => error,
                    };
                    tracing::debug!(error = %failed, volume, "the index of a volume is fetched again");
                    walk.window = None;
                    self.volumes.look_up(volume).await?;
                }
            }
        }
        Err(failed)
    }

    /// What stands at these needles' offsets, in order. A needle that is not this engine's is passed over; one that cannot be read where that is asked for.
    async fn heads(&self, window: &Window, needles: &[Needle], passes_over: bool) -> Result<Vec<Found>, NotListed> {
        let listed = stream::iter(needles.iter().copied())
            .map(|needle| async move {
                match self.head(window, needle).await {
                    Err(NotListed::Unreadable(why)) if passes_over => {
                        self.damaged.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(
                            volume = window.volume,
                            key = needle.key,
                            why,
                            "a needle that cannot be read is passed over"
                        );
                        Ok(None)
                    }
                    other => other,
                }
            })
            .buffered(self.settings.listing_parallelism.max(1));
        let listed: Vec<Option<Found>> = listed.try_collect().await?;
        Ok(listed.into_iter().flatten().collect())
    }

    async fn head(&self, window: &Window, needle: Needle) -> Result<Option<Found>, NotListed> {
        let Some((opening, data)) = self.opened(window, needle).await? else { return Ok(None) };
        let head = data
            .get(..HEAD_BYTES)
            .and_then(Head::decode)
            .filter(|head| (head.store, head.zone, head.incarnation) == (self.store, self.zone, self.incarnation));
        let (Some(head), Some(length)) = (head, opening.data_bytes.checked_sub(HEAD_BYTES as u32)) else {
            tracing::warn!(volume = window.volume, key = needle.key, "a needle without a head of this zone is passed over");
            return Ok(None);
        };
        let fid = Fid { volume: window.volume, key: opening.key, cookie: opening.cookie };
        let locator = Place { incarnation: self.incarnation, fid, length, id: head.id }.encode();
        Ok(Some(Found { session: head.session, id: head.id, locator, length: u64::from(length) }))
    }

    /// What stands at a needle's offset, as far as it is asked for: the needle's header, and the beginning of its data.
    pub async fn opened(&self, window: &Window, needle: Needle) -> Result<Option<(Opening, Bytes)>, NotListed> {
        let Some(server) = window.servers.get(usize::from(needle.server)) else { return Ok(None) };
        let unreadable = |why: &str| NotListed::Unreadable(format!("{}: volume {}: {why}", server.http, window.volume));
        let offset = i64::try_from(needle.offset).map_err(|_| unreadable("an offset past all volumes"))?;
        let request = ReadNeedleBlobRequest { volume_id: window.volume, offset, size: OPENING_SIZE };
        let answer = match self.call(server, &request).await {
            Ok(answer) => answer.needle_blob,
            Err(CallError::Status { message, .. }) if !message.contains("not found volume") => return Err(unreadable(&message)),
            Err(error) => return Err(NotListed::Away(away(&error))),
        };
        match Opening::decode(&answer).filter(|(opening, _)| opening.key == needle.key) {
            Some((opening, rest)) => Ok(Some((opening, answer.slice_ref(rest)))),
            None => Err(unreadable("another needle stands where the index leads")),
        }
    }

    /// The live needles of a volume from a key on, of all its copies together: what only one of them holds was left by a write that failed.
    pub async fn window(&self, volume: u32, from: u64) -> Result<Window, ZoneError> {
        let servers = self.volumes.locate(volume).await?;
        let birth = self.ledger.seen().memory.volumes.get(&volume).map(|known| known.birth.key);
        let mut replay = Replay::new(from, self.settings.walk_keys_max.max(1));
        for turn in 0..ATTEMPTS {
            let servers = if turn == 0 { servers.clone() } else { self.volumes.look_up(volume).await? };
            if servers.is_empty() {
                return Err(ZoneError::Away(format!("no server has volume {volume}")));
            }
            replay = Replay { awaited: birth, ..Replay::new(from, self.settings.walk_keys_max.max(1)) };
            let mut failed = None;
            for (at, server) in servers.iter().enumerate() {
                replay.begin(u8::try_from(at).unwrap_or(u8::MAX));
                if let Err(error) = self.fetch_index(volume, server, &mut replay).await {
                    failed = Some(error);
                    break;
                }
            }
            match failed {
                None if replay.awaited.is_some() => {
                    return Err(ZoneError::Away(format!("volume {volume} is not the one that is remembered")));
                }
                None => return Ok(replay.window(volume, servers)),
                Some(error) if turn + 1 == ATTEMPTS => return Err(away(&error)),
                Some(error) => tracing::debug!(%error, volume, "the index of a volume is fetched again"),
            }
        }
        Ok(replay.window(volume, servers))
    }

    pub async fn fetch_index(&self, volume: u32, server: &Server, replay: &mut Replay) -> Result<(), CallError> {
        let status = self.call(server, &ReadVolumeFileStatusRequest { volume_id: volume }).await?;
        let offset_bytes = match status.volume_info.map_or(0, |info| info.bytes_offset) {
            0 | 4 => 4,
            5 => 5,
            other => return Err(CallError::NoAnswer(format!("{}: offsets of {other} bytes, which are not known", server.http))),
        };
        replay.revisions.push(status.compaction_revision);
        let request = CopyFileRequest {
            volume_id: volume,
            ext: ".idx".to_owned(),
            compaction_revision: status.compaction_revision,
            stop_offset: u64::MAX >> 1,
            collection: self.collection.clone(),
        };
        let timeout = self.settings.stream_timeout;
        let mut answers = self.grpc.stream(&server.grpc, &request, timeout).await?;
        let mut parser = Parser::new(offset_bytes);
        while let Some(answer) = self.timed(answers.next(), timeout).await? {
            parser.take(&answer.file_content, |entry| replay.add(entry));
        }
        if parser.rest.is_empty() { Ok(()) } else { Err(CallError::NoAnswer(format!("{}: half an index entry", server.http))) }
    }
}

impl Window {
    /// Whether it holds all of this volume from this key on, as far as it goes, and goes on at all.
    fn holds(&self, volume: u32, from: u64) -> bool {
        self.volume == volume && self.from <= from && self.until.is_none_or(|until| from < until)
    }
}

/// Cuts a stream of bytes into entries.
struct Parser {
    entry_bytes: usize,
    rest: Vec<u8>,
}

impl Parser {
    fn new(offset_bytes: usize) -> Self {
        Self { entry_bytes: IndexEntry::bytes(offset_bytes), rest: Vec::new() }
    }

    fn take(&mut self, mut piece: &[u8], mut each: impl FnMut(IndexEntry)) {
        if !self.rest.is_empty() {
            let (begin, after) = piece.split_at(piece.len().min(self.entry_bytes - self.rest.len()));
            self.rest.extend_from_slice(begin);
            piece = after;
            if self.rest.len() == self.entry_bytes {
                IndexEntry::decode(&self.rest).into_iter().for_each(&mut each);
                self.rest.clear();
            }
        }
        let entries = piece.chunks_exact(self.entry_bytes);
        self.rest.extend_from_slice(entries.remainder());
        entries.filter_map(IndexEntry::decode).for_each(each);
    }
}

/// Replays indexes, and keeps the lowest keys that are left.
pub struct Replay {
    from: u64,
    most: usize,
    server: u8,
    live: BTreeMap<u64, (u64, u8)>,
    until: Option<u64>,
    revisions: Vec<u32>,
    /// A key that has to be there, and was not seen yet.
    awaited: Option<u64>,
}

impl Replay {
    pub fn new(from: u64, most: usize) -> Self {
        Self { from, most, server: 0, live: BTreeMap::new(), until: None, revisions: Vec::new(), awaited: None }
    }

    fn begin(&mut self, server: u8) {
        self.server = server;
    }

    fn add(&mut self, entry: IndexEntry) {
        if self.awaited == Some(entry.key) && !entry.deleted {
            self.awaited = None;
        }
        if entry.key < self.from || self.until.is_some_and(|until| entry.key >= until) {
            return;
        }
        if entry.deleted {
            // Only what this copy said: another may still hold it.
            if self.live.get(&entry.key).is_some_and(|(_, server)| *server == self.server) {
                self.live.remove(&entry.key);
            }
            return;
        }
        let server = self.server;
        self.live
            .entry(entry.key)
            .and_modify(|known| {
                if known.1 == server {
                    known.0 = entry.offset;
                }
            })
            .or_insert((entry.offset, server));
        if self.live.len() > self.most
            && let Some((key, _)) = self.live.pop_last()
        {
            self.until = Some(key);
        }
    }

    pub fn window(self, volume: u32, servers: Arc<[Server]>) -> Window {
        let needles = self.live.into_iter().map(|(key, (offset, server))| Needle { key, offset, server }).collect();
        Window { volume, servers, revisions: self.revisions, from: self.from, until: self.until, needles }
    }
}

#[cfg(test)]
mod tests;
