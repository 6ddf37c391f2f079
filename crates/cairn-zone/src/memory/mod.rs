//! A zone in memory: nothing outlives the process.
//!
//! It is the reference that the conformance suite was written against, and the zone of tests that are about other things. It
//! has no I/O and no clock, so it answers at once and in the same way every time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cairn_types::{ChunkId, Incarnation, Locator, SessionId};
use futures::future::{BoxFuture, FutureExt, ready};
use parking_lot::Mutex;

use crate::{Capabilities, Found, Page, Placed, Usage, Zone, ZoneError};

/// The longest chunk unless set otherwise, bytes.
pub const CHUNK_BYTES_MAX_DEFAULT: usize = 8 * 1024 * 1024;

/// A zone in memory. Clones share their content.
#[derive(Clone)]
pub struct MemoryZone {
    shared: Arc<Mutex<State>>,
    chunk_bytes_max: usize,
}

struct State {
    incarnation: Incarnation,
    /// Bytes of live chunks that may be stored at once.
    capacity_bytes: u64,
    next: u64,
    chunks: BTreeMap<u64, Stored>,
    bytes: u64,
}

struct Stored {
    session: SessionId,
    id: ChunkId,
    payload: Bytes,
}

impl MemoryZone {
    /// An empty zone of this incarnation, without a limit.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self::with_capacity(incarnation, u64::MAX)
    }

    /// An empty zone that is full at so many stored bytes.
    #[must_use]
    pub fn with_capacity(incarnation: Incarnation, capacity_bytes: u64) -> Self {
        let state = State { incarnation, capacity_bytes, next: 1, chunks: BTreeMap::new(), bytes: 0 };
        Self { shared: Arc::new(Mutex::new(state)), chunk_bytes_max: CHUNK_BYTES_MAX_DEFAULT }
    }

    /// Changes the longest chunk it takes, bytes.
    #[must_use]
    pub fn with_chunk_bytes_max(mut self, chunk_bytes_max: usize) -> Self {
        self.chunk_bytes_max = chunk_bytes_max;
        self
    }

    /// Changes how many stored bytes it takes.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.shared.lock().capacity_bytes = capacity_bytes;
    }

    /// Forgets everything and begins a new life, as a zone whose disk was replaced does (L7).
    pub fn lose_memory(&self, incarnation: Incarnation) {
        let mut state = self.shared.lock();
        state.incarnation = incarnation;
        state.chunks.clear();
        state.bytes = 0;
    }
}

/// Incarnation and serial number, so that a locator of an earlier life finds nothing.
fn encode(incarnation: Incarnation, serial: u64) -> Locator {
    let mut bytes = BytesMut::with_capacity(16);
    bytes.extend_from_slice(&incarnation.0.to_be_bytes());
    bytes.extend_from_slice(&serial.to_be_bytes());
    Locator::new(bytes.freeze()).unwrap_or_else(|| unreachable!("16 bytes fit a locator"))
}

fn decode(locator: &Locator) -> Result<(Incarnation, u64), ZoneError> {
    let bytes: [u8; 16] = locator
        .as_bytes()
        .as_ref()
        .try_into()
        .map_err(|_| ZoneError::Refused("this is not a locator of the memory engine".to_owned()))?;
    let number = u128::from_be_bytes(bytes);
    Ok((Incarnation((number >> 64) as u64), number as u64))
}

impl State {
    fn write(&mut self, session: SessionId, id: ChunkId, pieces: &[Bytes], chunk_bytes_max: usize) -> Result<Placed, ZoneError> {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        if length > chunk_bytes_max {
            return Err(ZoneError::Refused(format!("a chunk of {length} bytes; the longest is {chunk_bytes_max}")));
        }
        if self.bytes.saturating_add(length as u64) > self.capacity_bytes {
            return Err(ZoneError::Full(format!("{} of {} bytes are in use", self.bytes, self.capacity_bytes)));
        }
        let mut payload = BytesMut::with_capacity(length);
        for piece in pieces {
            payload.extend_from_slice(piece);
        }
        let serial = self.next;
        self.next += 1;
        self.bytes += length as u64;
        self.chunks.insert(serial, Stored { session, id, payload: payload.freeze() });
        Ok(Placed { locator: encode(self.incarnation, serial), incarnation: self.incarnation })
    }

    fn read(&self, locator: &Locator, id: ChunkId, offset: u64, length: usize) -> Result<Bytes, ZoneError> {
        let (incarnation, serial) = decode(locator)?;
        if incarnation != self.incarnation {
            return Err(ZoneError::NotFound);
        }
        let Stored { id: stored, payload, .. } = self.chunks.get(&serial).ok_or(ZoneError::NotFound)?;
        if *stored != id {
            return Err(ZoneError::Mismatch(format!("it names {stored:?}, not {id:?}")));
        }
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(length)?));
        match range {
            Some(range) if range.end <= payload.len() => Ok(payload.slice(range)),
            _ => Err(ZoneError::Refused(format!("{length} bytes from {offset} on pass the chunk's end at {}", payload.len()))),
        }
    }

    fn delete(&mut self, locator: &Locator, id: ChunkId) -> Result<(), ZoneError> {
        let (incarnation, serial) = decode(locator)?;
        if incarnation != self.incarnation {
            return Ok(());
        }
        match self.chunks.get(&serial) {
            None => Ok(()),
            Some(stored) if stored.id != id => Err(ZoneError::Mismatch(format!("it names {:?}, not {id:?}", stored.id))),
            Some(Stored { payload, .. }) => {
                self.bytes -= payload.len() as u64;
                self.chunks.remove(&serial);
                Ok(())
            }
        }
    }

    fn enumerate(&self, since: SessionId, from: Option<&Bytes>, count_max: usize) -> Result<Page, ZoneError> {
        let after = match from {
            None => 0,
            Some(cursor) => u64::from_be_bytes(
                cursor
                    .as_ref()
                    .try_into()
                    .map_err(|_| ZoneError::Refused("this is not a cursor of the memory engine".to_owned()))?,
            ),
        };
        let rest = self.chunks.range((Bound::Excluded(after), Bound::Unbounded));
        let mut rest = rest.filter(|(_, stored)| stored.session >= since).peekable();
        let mut page = Page::default();
        while page.found.len() < count_max.max(1) {
            let Some((serial, stored)) = rest.next() else { break };
            page.found.push(Found {
                session: stored.session,
                id: stored.id,
                locator: encode(self.incarnation, *serial),
                length: stored.payload.len() as u64,
            });
            page.next = rest.peek().map(|_| Bytes::copy_from_slice(&serial.to_be_bytes()));
        }
        Ok(page)
    }
}

impl Zone for MemoryZone {
    fn capabilities(&self) -> Capabilities {
        Capabilities { engine: "memory", chunk_bytes_max: self.chunk_bytes_max, ranged_read: true, durable: false }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        Some(self.shared.lock().incarnation)
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        async move { self.shared.lock().write(session, id, &pieces, self.chunk_bytes_max) }.boxed()
    }

    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        async move { self.shared.lock().read(locator, id, offset, length) }.boxed()
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        async move {
            let mut state = self.shared.lock();
            chunks.iter().map(|(locator, id)| state.delete(locator, *id)).collect()
        }
        .boxed()
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        async move { self.shared.lock().enumerate(since, from.as_ref(), count_max) }.boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        let state = self.shared.lock();
        let free_bytes = (state.capacity_bytes != u64::MAX).then(|| state.capacity_bytes.saturating_sub(state.bytes));
        ready(Ok(Usage { chunks: state.chunks.len() as u64, bytes: state.bytes, free_bytes })).boxed()
    }
}
