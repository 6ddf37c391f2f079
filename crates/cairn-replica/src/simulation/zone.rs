//! A zone of the simulation: what it takes lands when it lands, whether or not anybody still waits for the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_types::{ChunkId, Incarnation, Locator, SessionId};
use cairn_zone::{Capabilities, Found, Page, Placed, Usage, Zone, ZoneError};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::{Notify, oneshot};

/// The longest chunk: small, so that small bodies have many.
const CHUNK_BYTES_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Well,
    Away,
    Hung,
    Slow,
    Full,
}

pub(super) struct Stored {
    pub session: SessionId,
    pub id: ChunkId,
    pub bytes: Bytes,
    /// Whether a fault has damaged it.
    pub rotten: bool,
}

pub(super) struct Inside {
    pub life: u64,
    pub mood: Mood,
    /// Whether random faults happen at all.
    pub faulty: bool,
    pub chunks: BTreeMap<u64, Stored>,
    /// Confirmed and not deleted on request in this life: what must be there.
    pub promised: BTreeSet<u64>,
    next: u64,
    /// Chunks below this serial stand in the way of space.
    sparse_below: u64,
    /// It cannot read a part of what it holds, and so cannot say of anything that it is not there.
    pub cannot_tell: bool,
    random: ChaCha8Rng,
    pub operations: u64,
    /// How often chunks were deleted, however many at once.
    pub deletes: u64,
}

#[derive(Clone)]
pub(super) struct SimZone {
    pub inside: Arc<Mutex<Inside>>,
    mood_changed: Arc<Notify>,
    chunk_bytes_max: usize,
}

enum Luck {
    Good,
    /// Not done, and said so.
    Error,
    /// Done, and answered with an error.
    AnswerLost,
    /// Answered never; done much later, or never.
    Hang,
}

fn cannot_tell() -> ZoneError {
    ZoneError::Damaged("it may be in what cannot be read".into())
}

pub(super) fn locator(life: u64, serial: u64) -> Locator {
    let mut bytes = BytesMut::new();
    bytes.put_u64(life);
    bytes.put_u64(serial);
    Locator::new(bytes.freeze()).unwrap()
}

pub(super) fn parse(locator: &Locator) -> (u64, u64) {
    let number = u128::from_be_bytes(locator.as_bytes().as_ref().try_into().unwrap());
    ((number >> 64) as u64, number as u64)
}

impl SimZone {
    pub fn new(seed: u64) -> Self {
        Self {
            inside: Arc::new(Mutex::new(Inside {
                life: 1,
                mood: Mood::Well,
                faulty: true,
                chunks: BTreeMap::new(),
                promised: BTreeSet::new(),
                next: 1,
                sparse_below: 0,
                cannot_tell: false,
                random: ChaCha8Rng::seed_from_u64(seed),
                operations: 0,
                deletes: 0,
            })),
            mood_changed: Arc::default(),
            chunk_bytes_max: CHUNK_BYTES_MAX,
        }
    }

    pub fn with_chunk_bytes_max(self, chunk_bytes_max: usize) -> Self {
        Self { chunk_bytes_max, ..self }
    }

    pub fn set_mood(&self, mood: Mood) {
        self.inside.lock().mood = mood;
        self.mood_changed.notify_waiters();
    }

    /// Loses everything; the next life begins.
    pub fn lose_memory(&self) -> Incarnation {
        let mut inside = self.inside.lock();
        inside.life += 1;
        inside.chunks.clear();
        inside.promised.clear();
        Incarnation(inside.life)
    }

    /// From now on everything that is stored now stands in the way of space.
    pub fn become_sparse(&self) {
        let mut inside = self.inside.lock();
        inside.sparse_below = inside.next;
    }

    fn luck(&self) -> (Luck, Duration) {
        let mut inside = self.inside.lock();
        inside.operations += 1;
        let slow = if inside.mood == Mood::Slow { 40 } else { 1 };
        let delay = Duration::from_micros(inside.random.random_range(100..8_000) * slow);
        if !inside.faulty {
            return (Luck::Good, delay);
        }
        let luck = match inside.random.random_range(0..1_000) {
            0..20 => Luck::Error,
            20..35 => Luck::AnswerLost,
            35..40 => Luck::Hang,
            _ => Luck::Good,
        };
        (luck, delay)
    }

    async fn until_not(&self, mood: Mood) {
        // Not a watch: those wake in random order, and a seed must repeat exactly. Nothing happens between the look and the wait: all is
        // one thread.
        while self.inside.lock().mood == mood {
            self.mood_changed.notified().await;
        }
    }

    /// Does `work` after a while, in a task of the zone's own, so that it happens also when the caller is gone.
    async fn perform<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inside) -> Result<T, ZoneError> + Send + 'static,
    ) -> Result<T, ZoneError> {
        let (luck, delay) = self.luck();
        let (answer, answered) = oneshot::channel();
        let zone = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let late = matches!(luck, Luck::Hang);
            if late {
                let seconds = zone.inside.lock().random.random_range(1..40);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            zone.until_not(Mood::Hung).await;
            let result = {
                let mut inside = zone.inside.lock();
                match (&luck, inside.mood) {
                    (_, Mood::Away) => Err(ZoneError::Away("away".into())),
                    (Luck::Error, _) => Err(ZoneError::Away("an error".into())),
                    _ => work(&mut inside),
                }
            };
            let result =
                if matches!(luck, Luck::AnswerLost) { Err(ZoneError::Away("the answer was lost".into())) } else { result };
            if late {
                // Nobody ever hears of it.
                std::mem::forget(answer);
            } else {
                let _ = answer.send(result);
            }
        });
        answered.await.unwrap_or(Err(ZoneError::Away("no answer".into())))
    }
}

impl Zone for SimZone {
    fn capabilities(&self) -> Capabilities {
        Capabilities { engine: "simulation", chunk_bytes_max: self.chunk_bytes_max, ranged_read: true, durable: true }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        let inside = self.inside.lock();
        (inside.mood != Mood::Away).then_some(Incarnation(inside.life))
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        Box::pin(async move {
            let bytes: Bytes = pieces.concat().into();
            assert!(bytes.len() <= self.chunk_bytes_max);
            self.perform(move |inside| {
                if inside.mood == Mood::Full {
                    return Err(ZoneError::Full("full".into()));
                }
                let serial = inside.next;
                inside.next += 1;
                inside.chunks.insert(serial, Stored { session, id, bytes, rotten: false });
                inside.promised.insert(serial);
                Ok(Placed { locator: locator(inside.life, serial), incarnation: Incarnation(inside.life) })
            })
            .await
        })
    }

    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        Box::pin(async move {
            let (life, serial) = parse(locator);
            self.perform(move |inside| {
                let absent = if inside.cannot_tell { cannot_tell() } else { ZoneError::NotFound };
                let stored = inside.chunks.get(&serial).filter(|_| life == inside.life).ok_or(absent)?;
                if stored.id != id {
                    return Err(ZoneError::Mismatch("another chunk".into()));
                }
                let start = usize::try_from(offset).unwrap();
                if start + length > stored.bytes.len() {
                    return Err(ZoneError::Refused("past the end".into()));
                }
                let bytes = stored.bytes.slice(start..start + length);
                if inside.faulty && inside.random.random_bool(0.002) {
                    let mut flipped = bytes.to_vec();
                    flipped[0] ^= 1;
                    return Ok(flipped.into());
                }
                Ok(bytes)
            })
            .await
        })
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        Box::pin(async move {
            self.inside.lock().deletes += 1;
            let mut answers = Vec::new();
            for (locator, id) in chunks {
                let ((life, serial), id) = (parse(locator), *id);
                let answer = self
                    .perform(move |inside| {
                        if life != inside.life {
                            return Ok(());
                        }
                        match inside.chunks.get(&serial) {
                            Some(stored) if stored.id != id => Err(ZoneError::Mismatch("another chunk".into())),
                            None if inside.cannot_tell => Err(cannot_tell()),
                            _ => {
                                inside.chunks.remove(&serial);
                                inside.promised.remove(&serial);
                                Ok(())
                            }
                        }
                    })
                    .await;
                answers.push(answer);
            }
            answers
        })
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        Box::pin(async move {
            let from = from.map_or(0, |from| u64::from_be_bytes(from.as_ref().try_into().unwrap()));
            self.perform(move |inside| {
                let mut found = Vec::new();
                let mut next = None;
                for (serial, stored) in inside.chunks.range(from..).filter(|(_, stored)| stored.session >= since) {
                    if found.len() == count_max.min(7) {
                        next = Some(Bytes::copy_from_slice(&serial.to_be_bytes()));
                        break;
                    }
                    let locator = locator(inside.life, *serial);
                    found.push(Found { session: stored.session, id: stored.id, locator, length: stored.bytes.len() as u64 });
                }
                Ok(Page { found, next })
            })
            .await
        })
    }

    fn sparse(&self, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        Box::pin(async move {
            let mut page = self.enumerate(SessionId(0), from, count_max).await?;
            let sparse_below = self.inside.lock().sparse_below;
            page.found.retain(|found| parse(&found.locator).1 < sparse_below);
            Ok(page)
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        Box::pin(async { Ok(Usage::default()) })
    }
}
