//! A gateway's writer session (S1): opened before anything is written, kept by heartbeats, and replaced from time to time.
//!
//! Replacing matters to the collector: it never touches what belongs to an open session, and an orphan waits for every session that was open
//! when it was first seen ([`crate::collect`]). A gateway that kept one session for months would keep its own garbage for as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cairn_types::{BlobId, SessionId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalog_port::{BlobCatalog, PortError, PortResult};
use crate::replicator::Replicator;

/// An open session. Whoever writes under it holds it; when nobody does any more, a replaced session is closed.
#[derive(Debug)]
pub struct WriterSession {
    id: SessionId,
    next: AtomicU64,
    open: AtomicBool,
}

impl WriterSession {
    /// A session that the catalog has just opened.
    #[must_use]
    pub fn new(id: SessionId) -> Arc<Self> {
        Arc::new(Self { id, next: AtomicU64::new(1), open: AtomicBool::new(true) })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whether it is not known to be closed. The commit judges (S2).
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// A name for a blob, never given twice.
    #[must_use]
    pub fn next_blob(&self) -> BlobId {
        BlobId { session: self.id, counter: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn mark_closed(&self) {
        self.open.store(false, Ordering::Relaxed);
    }
}

/// How sessions are kept.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Between heartbeats. Several must fit in the silence after which the catalog takes a session for dead.
    pub heartbeat_interval: Duration,
    /// Without a successful heartbeat for this long, no new write begins. Less than the silence after which the catalog closes a session.
    pub silence_max: Duration,
    /// The age at which a session is replaced.
    pub replace_after: Duration,
    /// How long a replaced session stays for the writes that hold it, before it is closed under them.
    pub linger_max: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(2),
            silence_max: Duration::from_secs(10),
            replace_after: Duration::from_secs(3_600),
            linger_max: Duration::from_secs(24 * 3_600),
        }
    }
}

struct Kept {
    session: Arc<WriterSession>,
    opened: Instant,
    heard: Instant,
}

#[derive(Default)]
struct State {
    current: Option<Kept>,
    replaced: Vec<Kept>,
}

/// Opens, keeps and replaces the session of one gateway.
pub struct SessionKeeper {
    replicator: Arc<Replicator>,
    catalog: Arc<dyn BlobCatalog>,
    config: SessionConfig,
    state: Mutex<State>,
}

impl SessionKeeper {
    /// A keeper without a session.
    #[must_use]
    pub fn new(replicator: Arc<Replicator>, config: SessionConfig) -> Self {
        let catalog = Arc::clone(&replicator.catalog);
        Self { replicator, catalog, config, state: Mutex::new(State::default()) }
    }

    /// Ticks until told to stop, then closes what it holds.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            if let Err(error) = self.tick().await {
                tracing::warn!(%error, "the writer session could not be renewed");
            }
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(self.config.heartbeat_interval) => {}
            }
        }
        self.close_all().await;
    }

    /// One round of heartbeats; opens or replaces the session where that is due.
    pub async fn tick(&self) -> PortResult<()> {
        let _ = self.replicator.refresh_incarnations().await;
        let kept: Vec<Arc<WriterSession>> = {
            let state = self.state.lock();
            state.current.iter().chain(&state.replaced).map(|kept| Arc::clone(&kept.session)).collect()
        };
        let mut failed = Ok(());
        for session in kept {
            // The answer proves that the session was open when the question was asked, not when the answer came.
            let asked = Instant::now();
            // A catalog that hangs must not keep a session on offer that it may have closed.
            let answer = tokio::time::timeout(self.config.silence_max / 2, self.catalog.heartbeat(session.id()));
            match answer.await.unwrap_or_else(|_| Err(PortError("no answer to a heartbeat".into()))) {
                Ok(true) => self.heard(&session, asked),
                Ok(false) => self.lost(&session),
                Err(error) => failed = Err(error),
            }
        }
        self.offer();
        self.open_if_due().await?;
        self.close_idle().await?;
        failed
    }

    /// Closes all sessions, for an orderly end: the collector need not wait for their silence.
    pub async fn close_all(&self) {
        self.replicator.set_session(None);
        let state = std::mem::take(&mut *self.state.lock());
        for kept in state.current.iter().chain(&state.replaced) {
            kept.session.mark_closed();
            let _ = self.catalog.close_session(kept.session.id()).await;
        }
    }

    fn heard(&self, session: &Arc<WriterSession>, at: Instant) {
        let mut state = self.state.lock();
        let State { current, replaced } = &mut *state;
        for kept in current.iter_mut().chain(replaced) {
            if Arc::ptr_eq(&kept.session, session) {
                kept.heard = at;
            }
        }
    }

    fn lost(&self, session: &Arc<WriterSession>) {
        session.mark_closed();
        let mut state = self.state.lock();
        state.replaced.retain(|kept| !Arc::ptr_eq(&kept.session, session));
        if state.current.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.session, session)) {
            tracing::warn!(session = session.id().0, "the catalog has closed this gateway's session; a new one is opened");
            state.current = None;
        }
    }

    /// Gives the current session to new writes, unless it has been silent for too long.
    fn offer(&self) {
        let state = self.state.lock();
        let current = state.current.as_ref().filter(|kept| kept.heard.elapsed() < self.config.silence_max);
        self.replicator.set_session(current.map(|kept| Arc::clone(&kept.session)));
    }

    async fn open_if_due(&self) -> PortResult<()> {
        let due = self.state.lock().current.as_ref().is_none_or(|kept| kept.opened.elapsed() >= self.config.replace_after);
        if !due {
            return Ok(());
        }
        let asked = Instant::now();
        // Should the answer get lost, the session that it opened dies of silence.
        let session = WriterSession::new(self.catalog.open_session().await?);
        {
            let mut state = self.state.lock();
            let replaced = state.current.replace(Kept { session, opened: asked, heard: asked });
            state.replaced.extend(replaced);
        }
        self.offer();
        Ok(())
    }

    async fn close_idle(&self) -> PortResult<()> {
        let idle: Vec<Arc<WriterSession>> = {
            let mut state = self.state.lock();
            let linger_max = self.config.linger_max + self.config.replace_after;
            // Nobody can take hold of a replaced session any more, so a count of one is final.
            let (idle, held) = std::mem::take(&mut state.replaced)
                .into_iter()
                .partition(|kept| Arc::strong_count(&kept.session) == 1 || kept.opened.elapsed() > linger_max);
            state.replaced = held;
            let idle: Vec<Kept> = idle;
            idle.into_iter().map(|kept| kept.session).collect()
        };
        for session in idle {
            session.mark_closed();
            // An error leaves it to die of silence: it gets no heartbeat any more.
            self.catalog.close_session(session.id()).await?;
        }
        Ok(())
    }
}
