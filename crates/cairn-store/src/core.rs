//! What every operation of the store stands on: the catalog asked with patience, the replica layer, the open session.
//!
//! Patience: an answer that says "not now" ([`CatalogError::Busy`], [`CatalogError::Unavailable`]) says too that nothing changed, so that the
//! question is put again until [`StoreConfig::patience`] is over, or sooner where fewer than two zones are there. A question that hangs is given up then; what a change that hung has done is not
//! known, and is told so.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_catalog::{Catalog, CatalogError, CatalogFuture, CatalogResult};
use cairn_disk::Random;
use cairn_replica::{Replicator, WriterSession};
use cairn_types::{SessionId, ZoneIndex};
use tokio::time::Instant;

use crate::api::{StoreError, StoreResult};
use crate::config::StoreConfig;
use crate::error::store_error;

/// Shared by the store, its readers and its workers.
pub(crate) struct Core {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) replicator: Arc<Replicator>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) config: StoreConfig,
    pub(crate) stopping: AtomicBool,
}

/// The time that something may be tried for, and the pauses in between.
pub(crate) struct Patience {
    pub(crate) until: Instant,
    /// Until when it is waited for zones that are not there.
    until_without_quorum: Instant,
    pause: Duration,
    pause_max: Duration,
}

impl Patience {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        let now = Instant::now();
        Self {
            until: now + config.patience,
            until_without_quorum: now + config.patience_without_quorum,
            pause: config.retry_pause,
            pause_max: config.retry_pause_max,
        }
    }

    /// Waits before the next attempt; `false` when the time is over.
    pub(crate) async fn pause(&mut self) -> bool {
        let wake = Instant::now() + self.pause;
        if wake > self.until {
            return false;
        }
        self.pause = (self.pause * 2).min(self.pause_max);
        tokio::time::sleep_until(wake).await;
        true
    }
}

fn no_answer() -> String {
    "the catalog does not answer in time".to_owned()
}

impl Core {
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(&self.config)
    }

    /// Asks what changes nothing.
    pub(crate) async fn ask<'a, T>(&'a self, question: impl FnMut(&'a dyn Catalog) -> CatalogFuture<'a, T>) -> StoreResult<T> {
        match self.insist(question).await {
            Ok(answer) => Ok(answer),
            // A question has no outcome that could be unknown.
            Err(CatalogError::OutcomeUnknown(why)) => Err(StoreError::Unavailable(why)),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Asks for a change.
    pub(crate) async fn change<'a, T>(&'a self, change: impl FnMut(&'a dyn Catalog) -> CatalogFuture<'a, T>) -> StoreResult<T> {
        self.insist(change).await.map_err(store_error)
    }

    /// Asks until there is an answer that is not "not now", within patience.
    pub(crate) async fn insist<'a, T>(
        &'a self,
        mut request: impl FnMut(&'a dyn Catalog) -> CatalogFuture<'a, T>,
    ) -> CatalogResult<T> {
        let mut patience = self.patience();
        loop {
            match within(patience.until, request(&*self.catalog)).await {
                Err(error @ (CatalogError::Busy(_) | CatalogError::Unavailable(_))) => {
                    if self.is_hopeless(&patience) || !patience.pause().await {
                        return Err(error);
                    }
                }
                answer => return answer,
            }
        }
    }

    fn zones_there(&self) -> usize {
        let zones = self.replicator.zones();
        ZoneIndex::ALL.into_iter().filter(|zone| zones.incarnation(*zone).is_some()).count()
    }

    /// Whether waiting on is of no use: fewer than two zones are there, and that for longer than a moment.
    fn is_hopeless(&self, patience: &Patience) -> bool {
        Instant::now() >= patience.until_without_quorum && self.zones_there() < 2
    }

    fn too_few_zones(&self) -> StoreError {
        let there = self.zones_there();
        StoreError::Unavailable(format!("{there} of the three zones can be written, and two are needed"))
    }

    /// Two zones that are there, waited for within patience.
    pub(crate) async fn two_zones(&self, patience: &mut Patience) -> StoreResult<()> {
        while self.zones_there() < 2 {
            if self.is_hopeless(patience) || !patience.pause().await {
                return Err(self.too_few_zones());
            }
        }
        Ok(())
    }

    /// The open session, waited for within patience. Hold it until the commit is answered: a session that nobody holds may be closed.
    pub(crate) async fn session(&self, patience: &mut Patience) -> StoreResult<Arc<WriterSession>> {
        self.session_but(None, patience).await
    }

    /// As [`Core::session`]; another one than `closed`, which the catalog has closed.
    pub(crate) async fn session_but(
        &self,
        closed: Option<SessionId>,
        patience: &mut Patience,
    ) -> StoreResult<Arc<WriterSession>> {
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("the service is stopping".to_owned()));
            }
            match self.replicator.session() {
                Some(session) if session.is_open() && Some(session.id()) != closed => return Ok(session),
                // It is silent, for it cannot be kept either.
                _ if self.is_hopeless(patience) => return Err(self.too_few_zones()),
                _ if patience.pause().await => {}
                _ => return Err(StoreError::Unavailable("no writer session is open: the catalog does not answer".to_owned())),
            }
        }
    }

    /// A commit that needs nothing but an open session: tried again under another one when the catalog has closed this one (S2).
    pub(crate) async fn commit<'a, T>(
        &'a self,
        mut commit: impl FnMut(&'a dyn Catalog, SessionId) -> CatalogFuture<'a, T>,
    ) -> CatalogResult<T> {
        let mut patience = self.patience();
        let mut closed = None;
        loop {
            let session = match self.session_but(closed, &mut patience).await {
                Ok(session) => session,
                Err(error) => return Err(CatalogError::Unavailable(error.to_string())),
            };
            match self.insist(|catalog| commit(catalog, session.id())).await {
                Err(CatalogError::SessionClosed) => closed = Some(session.id()),
                answer => return answer,
            }
        }
    }
}

async fn within<T>(until: Instant, request: impl Future<Output = CatalogResult<T>>) -> CatalogResult<T> {
    match tokio::time::timeout_at(until, request).await {
        Ok(answer) => answer,
        Err(_) => Err(CatalogError::OutcomeUnknown(no_answer())),
    }
}
