//! The embedded engines, put together: the replicated log with its state, and three zones of chunks that follow its lives.

mod retired;
mod slot;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::Limits;
use cairn_catalog::embedded::keyvalue::KeyValueEngine;
use cairn_catalog::embedded::keyvalue::lsm_tree::{LsmTreeEngine, LsmTreeOptions};
use cairn_catalog::embedded::log::replicated::{self, Replicated, StartError, ZonePlace};
use cairn_catalog::embedded::machine::{CatalogMachine, LogCatalog, LogMachine, ReadSettings};
use cairn_disk::Environment;
use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;
use cairn_zone::Zone;
use tokio::sync::watch;

use crate::serve::ServeError;
pub use slot::ZoneSlot;

/// Everything that can be set.
#[derive(Clone)]
pub struct EngineSettings {
    /// The store of rows behind each zone's log.
    pub key_value: Arc<dyn KeyValueEngine>,
    /// The replicated log.
    pub log: replicated::Settings,
    /// The catalog's bounds.
    pub limits: Limits,
    /// How long a request waits for two zones before it is told to come back.
    pub wait_max: Duration,
    /// How reads of the catalog leave a zone whose disk hangs.
    pub reads: ReadSettings,
    /// The zones' segments.
    pub segments: cairn_zone::embedded::Settings,
    /// How chunks are kept open.
    pub supervision: Supervision,
}

/// How a zone's chunks are kept open.
#[derive(Debug, Clone, Copy)]
pub struct Supervision {
    /// How often the chunks are looked at while nothing is heard of them.
    pub look_every: Duration,
    /// The pause before chunks that could not be opened are tried again.
    pub retry_after: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            key_value: Arc::new(LsmTreeEngine::new(LsmTreeOptions::default())),
            log: replicated::Settings::default(),
            limits: Limits::default(),
            wait_max: Duration::from_secs(30),
            reads: ReadSettings::default(),
            segments: cairn_zone::embedded::Settings::default(),
            supervision: Supervision { look_every: Duration::from_millis(200), retry_after: Duration::from_secs(1) },
        }
    }
}

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
    pub async fn open(
        environment: &Environment,
        places: &[ZonePlace; ZONE_COUNT],
        settings: EngineSettings,
    ) -> Result<Self, ServeError> {
        let EngineSettings { key_value, log, limits, wait_max, reads, segments, supervision } = settings;
        let machine = CatalogMachine::new(limits.clone());
        // Boxed: it is large, and every future that opens a store would carry it.
        let log = Box::pin(Replicated::open(environment.clone(), places.clone(), log, key_value, machine)).await;
        let log = Arc::new(log.map_err(|error| match error {
            StartError::Refused(refusal) => ServeError(format!(
                "{}\nPut right what is said of a zone (mount its disk, or put its directory back), then start again.",
                refusal.to_string().trim_end()
            )),
            StartError::Failed(reason) => ServeError(format!("the store could not be started: {reason}")),
        })?);
        let machine = LogMachine::new(log.clone(), limits, wait_max, reads, environment.executor.clone()).await;
        let catalog = match machine {
            Ok(catalog) => catalog,
            Err(error) => {
                log.stop().await;
                return Err(ServeError(format!("the catalog does not answer: {error}")));
            }
        };
        let slots = ZoneIndex::ALL.map(|_| Arc::new(ZoneSlot::new(segments.chunk_bytes_max)));
        let stop = watch::Sender::new(false);
        let catalog = Arc::new(LogCatalog::new(catalog));
        let mut supervisors: Vec<_> = ZoneIndex::ALL
            .map(|zone| {
                let supervisor = supervisor::Supervisor {
                    environment: environment.clone(),
                    zone,
                    name: places[zone.get()].name.clone(),
                    log: log.clone(),
                    slot: slots[zone.get()].clone(),
                    segments: segments.clone(),
                    supervision,
                };
                tokio::spawn(supervisor.run(stop.subscribe()))
            })
            .into();
        supervisors.extend(ZoneIndex::ALL.map(|zone| {
            let retired = retired::RetiredContents {
                environment: environment.clone(),
                zone,
                name: places[zone.get()].name.clone(),
                path: places[zone.get()].path.clone(),
                store: log.store(),
                status: log.zones()[zone.get()].clone(),
                slot: slots[zone.get()].clone(),
                catalog: catalog.clone(),
                free_bytes_min: segments.keep_free_bytes.saturating_add(segments.segment_bytes),
            };
            tokio::spawn(retired.run(stop.subscribe()))
        }));
        Ok(Self { log, catalog, slots, stop, supervisors })
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
