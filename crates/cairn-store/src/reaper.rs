//! Taking apart parts that nothing refers to any more: of aborted uploads, replaced parts, completed uploads without versions. Until then their
//! bytes are referred to, and no collector touches them (S3).

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::{Catalog, CatalogResult, Reap};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::catalog_adapter::bounded;
use crate::config::{ReaperConfig, StoreConfig};

/// How taking apart is going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaperProgress {
    /// Parts that were taken apart.
    pub parts: u64,
    /// Records of completed uploads that had served their time.
    pub completions: u64,
}

/// Takes apart.
pub(crate) struct Reaper {
    catalog: Arc<dyn Catalog>,
    config: ReaperConfig,
    deadline: Duration,
    progress: Mutex<ReaperProgress>,
}

impl Reaper {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, config: &StoreConfig) -> Self {
        Self { catalog, config: config.reaper.clone(), deadline: config.catalog_deadline, progress: Mutex::default() }
    }

    pub(crate) fn progress(&self) -> ReaperProgress {
        *self.progress.lock()
    }

    /// One commit; says whether there is more to do at once.
    pub(crate) async fn tick(&self) -> CatalogResult<bool> {
        let request = Reap { limit: self.config.parts_max.max(1) };
        let reaped = bounded(self.deadline, self.catalog.reap(request)).await?;
        let mut progress = self.progress.lock();
        progress.parts += reaped.parts;
        progress.completions += reaped.completions;
        Ok(reaped.more)
    }

    pub(crate) async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let more = match self.tick().await {
                Ok(more) => more,
                Err(error) => {
                    tracing::warn!(%error, "taking abandoned parts apart waits for the catalog");
                    false
                }
            };
            if more && !*shutdown.borrow() {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(self.config.idle_pause) => {}
            }
        }
    }
}
