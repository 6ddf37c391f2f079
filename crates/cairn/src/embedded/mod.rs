//! The embedded engines, put together: the replicated log with its state, and three zones of chunks that follow its lives.

mod slot;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::Limits;
use cairn_catalog::embedded::keyvalue::lsm_tree::{LsmTreeEngine, LsmTreeOptions};
use cairn_catalog::embedded::log::replicated::{Replicated, Settings, StartError, ZonePlace};
use cairn_catalog::embedded::machine::{CatalogMachine, LogCatalog, LogMachine};
use cairn_disk::Environment;
use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;
use cairn_zone::Zone;
use tokio::sync::watch;

use crate::serve::ServeError;
pub use slot::ZoneSlot;

/// How long a request waits for two zones before it is told to come back.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The engines of one machine, open.
pub struct Engines {
    /// The log under the catalog.
    pub log: Arc<Replicated<CatalogMachine>>,
    /// All metadata.
    pub catalog: Arc<LogCatalog>,
    /// The zones' chunks.
    pub slots: [Arc<ZoneSlot>; ZONE_COUNT],
    stop: watch::Sender<bool>,
    supervisors: Vec<tokio::task::JoinHandle<()>>,
}

impl Engines {
    /// Opens the store in these places, or makes it where all are empty.
    pub async fn open(environment: &Environment, places: &[ZonePlace; ZONE_COUNT]) -> Result<Self, ServeError> {
        let engine = Arc::new(LsmTreeEngine::new(LsmTreeOptions::default()));
        let limits = Limits::default();
        let machine = CatalogMachine::new(limits.clone());
        let log = Replicated::open(environment.clone(), places.clone(), Settings::default(), engine, machine).await;
        let log = Arc::new(log.map_err(|error| match error {
            StartError::Refused(refusal) => ServeError(refusal.to_string()),
            StartError::Failed(reason) => ServeError(format!("the store could not be started: {reason}")),
        })?);
        let machine = LogMachine::new(log.clone(), limits, WAIT_MAX).await;
        let catalog = machine.map_err(|error| ServeError(format!("the catalog does not answer: {error}")))?;
        let slots = ZoneIndex::ALL.map(|_| Arc::new(ZoneSlot::new()));
        let stop = watch::Sender::new(false);
        let supervisors = ZoneIndex::ALL
            .map(|zone| {
                let supervisor = supervisor::Supervisor {
                    environment: environment.clone(),
                    zone,
                    name: places[zone.get()].name.clone(),
                    log: log.clone(),
                    slot: slots[zone.get()].clone(),
                };
                tokio::spawn(supervisor.run(stop.subscribe()))
            })
            .into();
        Ok(Self { log, catalog: Arc::new(LogCatalog::new(catalog)), slots, stop, supervisors })
    }

    /// The zones' chunks, as the replica layer takes them.
    pub fn zones(&self) -> [Arc<dyn Zone>; ZONE_COUNT] {
        self.slots.each_ref().map(|slot| slot.clone() as Arc<dyn Zone>)
    }

    /// Closes the segments, then the log.
    pub async fn close(self) {
        self.stop.send_replace(true);
        for supervisor in self.supervisors {
            let _ = tokio::time::timeout(Duration::from_secs(15), supervisor).await;
        }
        self.log.stop().await;
    }
}
