//! The catalog as the replica layer knows it: [`BlobCatalog`] over any [`Catalog`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::{
    AddLocatorsBatch, AdvanceRebuild, Catalog, CatalogError, CatalogFuture, CatalogResult, ChunkPlace, ClearLocatorsBatch,
    CloseSilentSessions, CondemnedPosition, ConfirmDeletions, IncompletePosition, ListBlobs, ListCondemned, ListIncomplete,
    MoveLocatorsBatch, OpenSession, ReleaseLease, TakeLease,
};
use cairn_replica::catalog_port::{
    AddLocators, AddOutcome, Blob, BlobCatalog, BlobPage, ClearLocators, Incarnations, MoveLocator, PortError, PortResult,
    Replica, SessionView, ZoneSet,
};
use cairn_types::records::BlobRecord;
use cairn_types::{BlobId, CatalogTime, ChunkId, SessionId, ZoneIndex};
use futures::future::BoxFuture;

use crate::config::StoreConfig;

/// See the module's documentation.
pub(crate) struct CatalogAdapter {
    catalog: Arc<dyn Catalog>,
    gateway: String,
    session_silence_max: Duration,
    deadline: Duration,
}

impl CatalogAdapter {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, config: &StoreConfig) -> Self {
        Self {
            catalog,
            gateway: config.gateway.clone(),
            session_silence_max: config.session_silence_max,
            deadline: config.catalog_deadline,
        }
    }

    /// Asks the catalog. A question that hangs must not hang a worker for ever, or the heartbeat.
    async fn call<T>(&self, question: CatalogFuture<'_, T>) -> PortResult<T> {
        bounded(self.deadline, question).await.map_err(port_error)
    }

    /// What became of additions of a session that is closed, so that nothing about them changes any more.
    async fn settled(&self, additions: Vec<Vec<ChunkPlace>>) -> PortResult<Vec<AddOutcome>> {
        let mut outcomes = Vec::with_capacity(additions.len());
        for places in additions {
            let named = self.call(self.catalog.named(places)).await?;
            // All of them or none, unless some were taken off the record again: then what is left is not for the copier to delete.
            outcomes.push(if named.contains(&true) { AddOutcome::Added } else { AddOutcome::Refused });
        }
        Ok(outcomes)
    }
}

/// The answer, or that nothing is known when it does not come in time.
pub(crate) async fn bounded<T>(deadline: Duration, question: CatalogFuture<'_, T>) -> CatalogResult<T> {
    match tokio::time::timeout(deadline, question).await {
        Ok(answer) => answer,
        Err(_) => Err(CatalogError::OutcomeUnknown("the catalog does not answer in time".to_owned())),
    }
}

/// The places that an addition would name.
fn places_of(addition: &AddLocators) -> Vec<ChunkPlace> {
    let AddLocators { blob, zone, places } = addition;
    places
        .iter()
        .map(|(ordinal, replica)| ChunkPlace {
            chunk: ChunkId { blob: *blob, ordinal: *ordinal },
            zone: *zone,
            replica: replica.clone(),
        })
        .collect()
}

/// A blob as the replica layer sees it.
pub(crate) fn port_blob(id: BlobId, record: BlobRecord) -> Arc<Blob> {
    Arc::new(Blob { id, content: record.content, condemned: record.condemned.is_some() })
}

/// Which sessions are open, without what the catalog knows of them.
pub(crate) fn session_view(view: cairn_catalog::SessionView) -> SessionView {
    let open = view.open.into_iter().map(|(session, _)| session).collect();
    SessionView { open, newest: view.newest, generation: view.generation }
}

#[allow(clippy::needless_pass_by_value, reason = "handed to `map_err`")]
pub(crate) fn port_error(error: CatalogError) -> PortError {
    PortError(error.to_string())
}

fn count(count_max: usize) -> u32 {
    u32::try_from(count_max).unwrap_or(u32::MAX)
}

fn page(blobs: Vec<(BlobId, BlobRecord)>, next: Option<Bytes>) -> BlobPage {
    BlobPage { blobs: blobs.into_iter().map(|(id, record)| port_blob(id, record)).collect(), next }
}

fn foreign_cursor() -> PortError {
    PortError("a page's cursor is of another list".to_owned())
}

fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> PortResult<[u8; LENGTH]> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(foreign_cursor)?;
    *bytes = rest;
    Ok(*head)
}

fn take_zones(bytes: &mut &[u8]) -> PortResult<ZoneSet> {
    let [bits] = take(bytes)?;
    ZoneSet::from_bits(bits).ok_or_else(foreign_cursor)
}

fn encode_incomplete(position: IncompletePosition) -> Bytes {
    [&[position.missing.bits()][..], &position.blob.encode()].concat().into()
}

fn decode_incomplete(bytes: &Bytes) -> PortResult<IncompletePosition> {
    let mut rest = bytes.as_ref();
    let missing = take_zones(&mut rest)?;
    let blob = BlobId::decode(&take(&mut rest)?);
    if rest.is_empty() { Ok(IncompletePosition { missing, blob }) } else { Err(foreign_cursor()) }
}

fn encode_condemned(position: CondemnedPosition) -> Bytes {
    let CondemnedPosition { remaining, due, blob } = position;
    [&[remaining.bits()][..], &due.0.to_be_bytes(), &blob.encode()].concat().into()
}

fn decode_condemned(bytes: &Bytes) -> PortResult<CondemnedPosition> {
    let mut rest = bytes.as_ref();
    let remaining = take_zones(&mut rest)?;
    let due = CatalogTime(u64::from_be_bytes(take(&mut rest)?));
    let blob = BlobId::decode(&take(&mut rest)?);
    if rest.is_empty() { Ok(CondemnedPosition { remaining, due, blob }) } else { Err(foreign_cursor()) }
}

impl BlobCatalog for CatalogAdapter {
    fn incarnations(&self) -> BoxFuture<'_, PortResult<Incarnations>> {
        Box::pin(async { Ok(self.call(self.catalog.zones()).await?.incarnations()) })
    }

    fn generation(&self) -> BoxFuture<'_, PortResult<u64>> {
        Box::pin(async { Ok(self.call(self.catalog.zones()).await?.generation) })
    }

    fn is_shared(&self) -> bool {
        self.catalog.is_shared()
    }

    fn take_work(&self, lease: String, session: SessionId) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(async move {
            let request = TakeLease { name: lease, session, silent_for: self.session_silence_max };
            match bounded(self.deadline, self.catalog.take_lease(request)).await {
                Ok(record) => Ok(record.session == session),
                Err(CatalogError::SessionClosed) => Ok(false),
                Err(error) => Err(port_error(error)),
            }
        })
    }

    fn leave_work(&self, lease: String, session: SessionId) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(async move { self.call(self.catalog.release_lease(ReleaseLease { name: lease, session })).await })
    }

    fn open_session(&self) -> BoxFuture<'_, PortResult<SessionId>> {
        Box::pin(async {
            let request = OpenSession { gateway: self.gateway.clone() };
            self.call(self.catalog.open_session(request)).await
        })
    }

    fn heartbeat(&self, session: SessionId) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(async move { self.call(self.catalog.heartbeat_session(session)).await })
    }

    fn close_session(&self, session: SessionId) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(async move { self.call(self.catalog.close_session(session)).await })
    }

    fn close_dead_sessions(&self) -> BoxFuture<'_, PortResult<SessionView>> {
        Box::pin(async {
            let request = CloseSilentSessions { silent_for: self.session_silence_max };
            self.call(self.catalog.close_silent_sessions(request)).await.map(session_view)
        })
    }

    fn blob(&self, id: BlobId) -> BoxFuture<'_, PortResult<Option<Arc<Blob>>>> {
        Box::pin(async move {
            let found = self.call(self.catalog.blobs(vec![id])).await?;
            Ok(found.into_iter().next().flatten().map(|(id, record)| port_blob(id, record)))
        })
    }

    fn blobs_by_id(&self, ids: Vec<BlobId>) -> BoxFuture<'_, PortResult<Vec<Option<Arc<Blob>>>>> {
        Box::pin(async move {
            let found = self.call(self.catalog.blobs(ids)).await?;
            Ok(found.into_iter().map(|found| found.map(|(id, record)| port_blob(id, record))).collect())
        })
    }

    fn blobs(&self, after: Option<BlobId>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(async move {
            let mut after = after;
            loop {
                let request = ListBlobs { after, limit: count(count_max) };
                let found = self.call(self.catalog.blob_page(request)).await?;
                // The catalog may look at nothing but condemned blobs in one page, and whoever walks goes on from the last blob it was given.
                if !found.blobs.is_empty() || found.next.is_none() {
                    return Ok(page(found.blobs, found.next.map(|id| Bytes::copy_from_slice(&id.encode()))));
                }
                after = found.next;
            }
        })
    }

    fn incomplete(&self, zones: ZoneSet, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(async move {
            let from = from.as_ref().map(decode_incomplete).transpose()?;
            let request = ListIncomplete { zones, from, limit: count(count_max) };
            let found = self.call(self.catalog.incomplete_blobs(request)).await?;
            Ok(page(found.blobs, found.next.map(encode_incomplete)))
        })
    }

    fn add_locators(&self, session: SessionId, additions: Vec<AddLocators>) -> BoxFuture<'_, PortResult<Vec<AddOutcome>>> {
        Box::pin(async move {
            let asked = additions.len();
            let places = additions.iter().map(places_of).collect();
            let additions = additions
                .into_iter()
                .map(|AddLocators { blob, zone, places }| cairn_catalog::AddLocators { blob, zone, places })
                .collect();
            match bounded(self.deadline, self.catalog.add_locators(AddLocatorsBatch { session, additions })).await {
                Ok(outcomes) if outcomes.len() == asked => Ok(outcomes
                    .into_iter()
                    .map(|outcome| match outcome {
                        cairn_catalog::AddOutcome::Added => AddOutcome::Added,
                        cairn_catalog::AddOutcome::Refused => AddOutcome::Refused,
                    })
                    .collect()),
                Ok(outcomes) => Err(PortError(format!("{} answers for {asked} additions", outcomes.len()))),
                // S2: the session adds nothing any more. It may have done so before, by an attempt whose answer was lost; whoever is told
                // `Refused` deletes its copies, so what the records say now decides.
                Err(CatalogError::SessionClosed) => self.settled(places).await,
                Err(error) => Err(port_error(error)),
            }
        })
    }

    fn clear_locators(&self, clearances: Vec<ClearLocators>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(async move {
            let clearances = clearances
                .into_iter()
                .map(|ClearLocators { blob, zone, places }| cairn_catalog::ClearLocators { blob, zone, places })
                .collect();
            self.call(self.catalog.clear_locators(ClearLocatorsBatch { clearances })).await
        })
    }

    fn move_locators(&self, session: SessionId, moves: Vec<MoveLocator>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(async move {
            let asked = moves.len();
            let new = moves.iter().map(|MoveLocator { chunk, zone, to, .. }| ChunkPlace {
                chunk: *chunk,
                zone: *zone,
                replica: to.clone(),
            });
            let new: Vec<ChunkPlace> = new.collect();
            let moves = moves
                .into_iter()
                .map(|MoveLocator { chunk, zone, from, to }| cairn_catalog::MoveLocator { chunk, zone, from, to })
                .collect();
            match bounded(self.deadline, self.catalog.move_locators(MoveLocatorsBatch { session, moves })).await {
                Ok(answers) if answers.len() == asked => Ok(answers),
                Ok(answers) => Err(PortError(format!("{} answers for {asked} moves", answers.len()))),
                // As for additions: nothing about them changes any more, and an earlier attempt may have been made.
                Err(CatalogError::SessionClosed) => self.call(self.catalog.named(new)).await,
                Err(error) => Err(port_error(error)),
            }
        })
    }

    fn named(&self, zone: ZoneIndex, places: Vec<(ChunkId, Replica)>) -> BoxFuture<'_, PortResult<Vec<bool>>> {
        Box::pin(async move {
            let places = places.into_iter().map(|(chunk, replica)| ChunkPlace { chunk, zone, replica }).collect();
            self.call(self.catalog.named(places)).await
        })
    }

    fn condemned_due(&self, zone: ZoneIndex, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, PortResult<BlobPage>> {
        Box::pin(async move {
            let from = from.as_ref().map(decode_condemned).transpose()?;
            let request = ListCondemned { zones: [zone].into_iter().collect(), from, limit: count(count_max) };
            let found = self.call(self.catalog.condemned_blobs(request)).await?;
            Ok(page(found.blobs, found.next.map(encode_condemned)))
        })
    }

    fn confirm_deleted(&self, zone: ZoneIndex, blobs: Vec<BlobId>) -> BoxFuture<'_, PortResult<()>> {
        Box::pin(async move {
            let zones: ZoneSet = [zone].into_iter().collect();
            let confirmed = blobs.into_iter().map(|blob| (blob, zones)).collect();
            self.call(self.catalog.confirm_deletions(ConfirmDeletions { confirmed })).await
        })
    }

    fn advance_rebuilds(&self, count_max: usize) -> BoxFuture<'_, PortResult<bool>> {
        Box::pin(async move {
            let view = self.call(self.catalog.zones()).await?;
            let mut more = false;
            for (zone, record) in ZoneIndex::ALL.into_iter().zip(view.zones) {
                if record.rebuild.is_some() {
                    let request = AdvanceRebuild { zone, incarnation: record.incarnation, to: None, limit: count(count_max) };
                    more |= !self.call(self.catalog.advance_rebuild(request)).await?.finished;
                }
            }
            Ok(more)
        })
    }
}

#[cfg(test)]
mod tests;
