//! Looking at everything once, for whoever wants to know and not to hope: each copy of each chunk read and verified in each zone (B1), and each copy
//! that a zone lists asked for by name (S3).
//!
//! It runs while clients write and delete, so what looks wrong may only have changed since its record was read: a blob that is gone, a chunk that
//! was moved, a late copy that is not named yet. Whatever looks wrong is therefore kept as a suspicion, and looked at again when changes that were
//! under way have ended. What is wrong then too is told.
//!
//! It deletes nothing and writes nothing. A damaged copy is told to repair, as any reader tells it. Memory is bounded; suspicions beyond the bound
//! are counted as they first looked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{BlobId, ChunkId, ZoneIndex};
use cairn_zone::{Found, ZoneError};
use parking_lot::Mutex;

use crate::catalog_port::{Blob, PerZone, PortResult, Replica, SessionView};
use crate::copy::{self, CopyError};
use crate::pace::Pace;
use crate::replicator::{DamageReport, Replicator};

/// How an audit goes about it.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// Stored bytes a second that are read, all zones together.
    pub bytes_per_second: u64,
    /// Blobs in a page.
    pub page: usize,
    /// Copies in a page of what a zone lists.
    pub listed_page: usize,
    /// The pause between pages of what a zone lists, and of what a bucket does.
    pub listed_pause: Duration,
    /// How long after the last look suspicions are looked at again: longer than what is under way takes to be named, and than what was moved stays.
    pub settle: Duration,
    /// Suspicions that are remembered, of each sort.
    pub suspicions_max: usize,
    /// How often a question that the catalog or a zone does not answer is put again before the audit is given up.
    pub attempts: u32,
    /// The pause before that.
    pub retry_pause: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            bytes_per_second: 64 * 1024 * 1024,
            page: 64,
            listed_page: 1_000,
            listed_pause: Duration::from_millis(10),
            settle: Duration::from_secs(60),
            suspicions_max: 65_536,
            attempts: 10,
            retry_pause: Duration::from_secs(1),
        }
    }
}

/// What was found in one zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ZoneFindings {
    /// Copies that verified.
    pub good: u64,
    /// Stored bytes of them.
    pub good_bytes: u64,
    /// Chunks that have no copy here.
    pub absent: u64,
    /// Copies that are not there although a record names them, or that do not verify.
    pub damaged: u64,
    /// Copies that were damaged at the first look, and had been replaced by the second.
    pub replaced: u64,
    /// Copies that could not be read because the zone did not answer.
    pub unread: u64,
    /// Copies that the zone lists; `None` where it did not list all.
    pub listed: Option<u64>,
    /// Stored bytes of them.
    pub listed_bytes: u64,
    /// Of these, copies that no record names, written under a session that is still open: named soon, or garbage that waits for the session's end.
    pub waiting: u64,
    /// Stored bytes of them.
    pub waiting_bytes: u64,
    /// Of these, copies that no record names and none ever will: garbage that should have been collected.
    pub left_over: u64,
    /// Stored bytes of them.
    pub left_over_bytes: u64,
}

/// What an audit has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFindings {
    /// Blobs that something refers to.
    pub blobs: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Chunks of which no zone that answers has a good copy.
    pub without_copy: u64,
    /// The zones.
    pub zones: PerZone<ZoneFindings>,
    /// What is wrong, the first of it.
    pub wrong: Vec<Wrong>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// In which zone, if in one.
    pub zone: Option<ZoneIndex>,
    /// What, for people.
    pub words: String,
}

/// The most of [`AuditFindings::wrong`].
const WRONG_MAX: usize = 100;

impl AuditFindings {
    /// Whether each chunk is there and whole in all three zones.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.without_copy == 0 && self.zones.iter().all(|zone| zone.absent + zone.damaged + zone.unread == 0)
    }

    fn say(&mut self, zone: Option<ZoneIndex>, words: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(Wrong { zone, words });
        }
    }
}

/// What a look at a copy came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Good,
    Absent,
    Damaged,
    Unread,
}

/// A copy that nothing named when it was listed.
struct Unnamed {
    zone: ZoneIndex,
    found: Found,
    replica: Replica,
}

/// Looks at every copy. One walk, to its end.
pub struct Audit {
    replicator: Arc<Replicator>,
    config: AuditConfig,
    pace: Mutex<Pace>,
    findings: Mutex<AuditFindings>,
    /// Chunks that did not look whole everywhere, and how they looked.
    suspected: Mutex<BTreeMap<ChunkId, PerZone<Look>>>,
    /// Copies that nothing named.
    unnamed: Mutex<Vec<Unnamed>>,
}

impl Audit {
    /// One that has not begun.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: AuditConfig) -> Self {
        let pace = Mutex::new(Pace::new(config.bytes_per_second, config.bytes_per_second));
        Self { replicator, config, pace, findings: Mutex::default(), suspected: Mutex::default(), unnamed: Mutex::default() }
    }

    /// What was found so far.
    #[must_use]
    pub fn findings(&self) -> AuditFindings {
        self.findings.lock().clone()
    }

    /// Whether a second look is needed.
    #[must_use]
    pub fn suspects(&self) -> bool {
        !self.suspected.lock().is_empty() || !self.unnamed.lock().is_empty()
    }

    /// Puts a question to the catalog until it answers, within bounds.
    async fn insist<T, F: Future<Output = PortResult<T>>>(&self, question: impl Fn() -> F) -> PortResult<T> {
        let mut attempts = 1;
        loop {
            match question().await {
                Err(error) if attempts >= self.config.attempts => return Err(error),
                Err(_) => tokio::time::sleep(self.config.retry_pause).await,
                answer => return answer,
            }
            attempts += 1;
        }
    }

    // -- what the records name -----------------------------------------------------------------------------------------------------

    /// Reads each copy of each chunk that a record names.
    pub async fn read_copies(&self) -> PortResult<()> {
        let mut after = None;
        loop {
            self.insist(|| self.replicator.refresh_incarnations()).await?;
            let page = self.insist(|| self.replicator.catalog.blobs(after, self.config.page)).await?;
            for blob in &page.blobs {
                self.findings.lock().blobs += 1;
                for ordinal in (0_u32..).take(blob.content.chunks.len()) {
                    self.findings.lock().chunks += 1;
                    self.first_look(blob, ordinal).await;
                }
                after = Some(blob.id);
            }
            if page.next.is_none() || page.blobs.is_empty() {
                return Ok(());
            }
        }
    }

    async fn first_look(&self, blob: &Blob, ordinal: u32) {
        let looks = self.look(blob, ordinal).await;
        let first = looks.map(|(look, _)| look);
        let id = blob.chunk_id(ordinal);
        if first != [Look::Good; ZONE_COUNT] {
            let mut suspected = self.suspected.lock();
            if suspected.len() < self.config.suspicions_max {
                suspected.insert(id, first);
                return;
            }
        }
        self.count(id, first, &looks);
    }

    /// Looks at a chunk in each zone; with each look the stored bytes.
    async fn look(&self, blob: &Blob, ordinal: u32) -> PerZone<(Look, u64)> {
        let mut looks = [(Look::Absent, 0); ZONE_COUNT];
        let Some(chunk) = blob.chunk(ordinal) else { return looks };
        let incarnations = self.replicator.incarnations();
        let bytes = blob.shape(chunk).map_or(0, cairn_types::frame::ChunkShape::stored_length);
        for (zone, look) in ZoneIndex::ALL.into_iter().zip(&mut looks) {
            let Some(replica) = chunk.replica(zone, &incarnations) else { continue };
            let pause = self.pace.lock().take(self.replicator.zones.now(), bytes);
            tokio::time::sleep(pause).await;
            let read = copy::read_stored(&self.replicator.zones, zone, replica, blob, ordinal, chunk).await;
            *look = match read {
                Ok(_) => (Look::Good, bytes),
                Err(CopyError::Away(_)) => (Look::Unread, 0),
                Err(CopyError::Record(_)) => (Look::Damaged, 0),
                Err(CopyError::Damaged(_)) => {
                    let (incarnation, locator) = (replica.incarnation, replica.locator.clone());
                    let report = DamageReport { id: blob.chunk_id(ordinal), zone, incarnation, locator };
                    if self.replicator.report_damage_unless_moved(report).await {
                        (Look::Damaged, 0)
                    } else {
                        // Moved, repaired, or gone: the second look says.
                        (Look::Absent, 0)
                    }
                }
            };
        }
        looks
    }

    /// Counts what a chunk came to in the end; and how it looked first.
    fn count(&self, id: ChunkId, first: PerZone<Look>, looks: &PerZone<(Look, u64)>) {
        let mut findings = self.findings.lock();
        for (zone, (first, (look, bytes))) in ZoneIndex::ALL.into_iter().zip(first.into_iter().zip(looks)) {
            let Some(of_zone) = findings.zones.get_mut(zone.get()) else { continue };
            let words = match look {
                Look::Good => {
                    of_zone.good += 1;
                    of_zone.good_bytes += bytes;
                    of_zone.replaced += u64::from(first == Look::Damaged);
                    continue;
                }
                Look::Absent => {
                    of_zone.absent += 1;
                    "has no copy here"
                }
                Look::Damaged => {
                    of_zone.damaged += 1;
                    "is damaged here"
                }
                Look::Unread => {
                    of_zone.unread += 1;
                    "could not be read: the zone does not answer"
                }
            };
            findings.say(Some(zone), format!("chunk {} {words}", named(id)));
        }
        if looks.iter().all(|(look, _)| *look != Look::Good) {
            findings.without_copy += 1;
            findings.say(None, format!("chunk {} has NO GOOD COPY in any zone that answers", named(id)));
        }
    }

    // -- what the zones list -------------------------------------------------------------------------------------------------------

    /// Asks for the name of each copy that each zone lists.
    pub async fn list_zones(&self) -> PortResult<()> {
        for zone in ZoneIndex::ALL {
            if let Some((listed, bytes)) = self.list_zone(zone).await?
                && let Some(of_zone) = self.findings.lock().zones.get_mut(zone.get())
            {
                (of_zone.listed, of_zone.listed_bytes) = (Some(listed), bytes);
            }
        }
        Ok(())
    }

    /// How many copies, of how many bytes; `None` where the zone did not list all.
    async fn list_zone(&self, zone: ZoneIndex) -> PortResult<Option<(u64, u64)>> {
        let zones = &self.replicator.zones;
        let Some(incarnation) = zones.incarnation(zone) else { return Ok(None) };
        let (mut listed, mut bytes, mut attempts) = (0, 0, 1);
        let mut from: Option<Bytes> = None;
        loop {
            let page = match zones.enumerate(zone, cairn_types::SessionId(0), from.clone(), self.config.listed_page).await {
                Ok(page) if zones.incarnation(zone) == Some(incarnation) => page,
                Err(ZoneError::Away(_) | ZoneError::PlaceAway(_)) if attempts < self.config.attempts => {
                    attempts += 1;
                    tokio::time::sleep(self.config.retry_pause).await;
                    continue;
                }
                Ok(_) => return Ok(None),
                Err(error) => {
                    self.findings.lock().say(Some(zone), format!("its copies cannot be listed: {error}"));
                    return Ok(None);
                }
            };
            listed += page.found.len() as u64;
            bytes += page.found.iter().map(|found| found.length).sum::<u64>();
            let unnamed = page.found.into_iter().map(|found| {
                let replica = Replica { incarnation, locator: found.locator.clone() };
                Unnamed { zone, found, replica }
            });
            let unnamed = self.without_name(zone, unnamed.collect()).await?;
            {
                let mut all = self.unnamed.lock();
                let room = self.config.suspicions_max.saturating_sub(all.len());
                all.extend(unnamed.into_iter().take(room));
            }
            from = page.next;
            if from.is_none() {
                return Ok(Some((listed, bytes)));
            }
            tokio::time::sleep(self.config.listed_pause).await;
        }
    }

    /// Those of these copies that no record names now.
    async fn without_name(&self, zone: ZoneIndex, copies: Vec<Unnamed>) -> PortResult<Vec<Unnamed>> {
        if copies.is_empty() {
            return Ok(copies);
        }
        let places = || copies.iter().map(|copy| (copy.found.id, copy.replica.clone())).collect();
        let named = self.insist(|| self.replicator.catalog.named(zone, places())).await?;
        let mut named = named.into_iter();
        Ok(copies.into_iter().filter(|_| named.next() == Some(false)).collect())
    }

    // -- the second look -----------------------------------------------------------------------------------------------------------

    /// Looks again at all that looked wrong, after what was under way has had the time to end.
    pub async fn look_again<F: Future<Output = PortResult<SessionView>>>(&self, sessions: impl Fn() -> F) -> PortResult<()> {
        if !self.suspects() {
            return Ok(());
        }
        tokio::time::sleep(self.config.settle).await;
        self.insist(|| self.replicator.refresh_incarnations()).await?;
        let suspected = std::mem::take(&mut *self.suspected.lock());
        for (id, first) in suspected {
            let blob = self.insist(|| self.replicator.catalog.blob(id.blob)).await?;
            match blob.filter(|blob| !blob.condemned) {
                Some(blob) => {
                    let looks = self.look(&blob, id.ordinal).await;
                    self.count(id, first, &looks);
                }
                // It was deleted meanwhile, and counts for nothing.
                None => self.findings.lock().chunks -= 1,
            }
        }
        // The view first: what is closed in it and not named after it will never be named (S2).
        let view = self.insist(&sessions).await?;
        let unnamed = std::mem::take(&mut *self.unnamed.lock());
        let mut by_zone: PerZone<Vec<Unnamed>> = Default::default();
        for copy in unnamed {
            if let Some(copies) = by_zone.get_mut(copy.zone.get()) {
                copies.push(copy);
            }
        }
        for (zone, mut copies) in ZoneIndex::ALL.into_iter().zip(by_zone) {
            while !copies.is_empty() {
                let page = copies.split_off(copies.len().saturating_sub(self.config.listed_page.max(1)));
                for copy in self.without_name(zone, page).await? {
                    self.count_unnamed(&copy, &view).await;
                }
            }
        }
        Ok(())
    }

    async fn count_unnamed(&self, copy: &Unnamed, view: &SessionView) {
        let Unnamed { zone, found, replica } = copy;
        let length = usize::try_from(found.length).unwrap_or(usize::MAX).min(1);
        let read = self.replicator.zones.read(*zone, replica, found.id, 0, length).await;
        if matches!(read, Err(ZoneError::NotFound | ZoneError::Mismatch(_))) {
            // It was deleted meanwhile.
            return;
        }
        let mut findings = self.findings.lock();
        let Some(of_zone) = findings.zones.get_mut(zone.get()) else { return };
        if view.is_closed(found.session) {
            of_zone.left_over += 1;
            of_zone.left_over_bytes += found.length;
            findings.say(
                Some(*zone),
                format!("a copy of {} bytes of chunk {} is left, and nothing refers to it", found.length, named(found.id)),
            );
        } else {
            of_zone.waiting += 1;
            of_zone.waiting_bytes += found.length;
        }
    }
}

/// A chunk's name, for people.
fn named(id: ChunkId) -> String {
    let ChunkId { blob: BlobId { session, counter }, ordinal } = id;
    format!("{}.{counter}.{ordinal}", session.0)
}
