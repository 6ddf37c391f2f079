//! A place for a zone's chunks, which are there at times and away at others.

use std::sync::Arc;

use bytes::Bytes;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId};
use cairn_zone::embedded::EmbeddedZone;
use cairn_zone::{Capabilities, Page, Placed, Usage, Zone, ZoneError};
use futures::future::BoxFuture;
use parking_lot::RwLock;

/// [`Zone`] over whichever life of a zone is open now.
pub struct ZoneSlot {
    state: RwLock<Result<Arc<EmbeddedZone>, String>>,
    chunk_bytes_max: usize,
    kept_aside: RwLock<Vec<String>>,
}

impl ZoneSlot {
    /// An empty place for chunks of at most so many bytes.
    pub(super) fn new(chunk_bytes_max: usize) -> Self {
        Self { state: RwLock::new(Err("it is being opened".to_owned())), chunk_bytes_max, kept_aside: RwLock::default() }
    }

    /// Puts a zone in.
    pub(super) fn fill(&self, zone: Arc<EmbeddedZone>) {
        *self.state.write() = Ok(zone);
    }

    /// Takes the zone out, and says why.
    pub(super) fn clear(&self, reason: String) {
        *self.state.write() = Err(reason);
    }

    /// Says what the zone held in earlier lives and is still there.
    pub(super) fn set_kept_aside(&self, names: Vec<String>) {
        *self.kept_aside.write() = names;
    }

    /// Names of directories in the zone's directory that hold what it held before it lost its memory, the oldest first.
    pub fn kept_aside(&self) -> Vec<String> {
        self.kept_aside.read().clone()
    }

    fn get(&self) -> Result<Arc<EmbeddedZone>, ZoneError> {
        self.state.read().clone().map_err(ZoneError::Away)
    }
}

impl Zone for ZoneSlot {
    fn capabilities(&self) -> Capabilities {
        match self.get() {
            Ok(zone) => zone.capabilities(),
            Err(_) => {
                Capabilities { engine: "embedded", chunk_bytes_max: self.chunk_bytes_max, ranged_read: true, durable: true }
            }
        }
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.get().ok().and_then(|zone| zone.incarnation())
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        Box::pin(async move { self.get()?.write(session, id, pieces).await })
    }

    fn rewrite(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        Box::pin(async move { self.get()?.rewrite(session, id, pieces).await })
    }

    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        Box::pin(async move { self.get()?.read(locator, id, offset, length).await })
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        Box::pin(async move {
            match self.get() {
                Ok(zone) => zone.delete(chunks).await,
                Err(error) => chunks.iter().map(|_| Err(error.clone())).collect(),
            }
        })
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        Box::pin(async move { self.get()?.enumerate(since, from, count_max).await })
    }

    fn sparse(&self, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        Box::pin(async move { self.get()?.sparse(from, count_max).await })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        Box::pin(async move { self.get()?.usage().await })
    }
}
