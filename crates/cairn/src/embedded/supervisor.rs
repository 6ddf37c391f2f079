//! Keeps a zone's chunks open while the zone's log says that the zone is there, and opens them anew with each of its lives.

use std::sync::Arc;

use cairn_catalog::embedded::log::keeper::ZoneStatus;
use cairn_catalog::embedded::log::replicated::Replicated;
use cairn_catalog::embedded::machine::CatalogMachine;
use cairn_disk::Environment;
use cairn_disk::zone_directory::ZoneDirectory;
use cairn_types::{Incarnation, ZoneIndex, ZoneName};
use cairn_zone::Zone;
use cairn_zone::embedded::{EmbeddedZone, Opened, Opening, Settings};
use tokio::sync::watch;

use super::Supervision;
use super::slot::ZoneSlot;

/// The supervisor of one zone's chunks.
pub struct Supervisor {
    pub environment: Environment,
    pub zone: ZoneIndex,
    pub name: ZoneName,
    pub log: Arc<Replicated<CatalogMachine>>,
    pub slot: Arc<ZoneSlot>,
    pub segments: Settings,
    pub supervision: Supervision,
}

impl Supervisor {
    /// Runs until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut status = self.log.zones()[self.zone.get()].clone();
        loop {
            let directory = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                directory = present(&mut status) => match directory {
                    Some(directory) => directory,
                    None => return,
                },
            };
            let incarnation = directory.identity().incarnation;
            match self.open(directory.clone(), incarnation).await {
                Ok(chunks) => {
                    tracing::info!(zone = %self.name, %incarnation, "the zone's chunks are open");
                    let chunks = Arc::new(chunks);
                    self.slot.fill(chunks.clone());
                    let reason = self.watch(&chunks, &directory, incarnation, &mut status, &mut stop).await;
                    self.slot.clear(reason);
                    chunks.close().await;
                }
                Err(reason) => {
                    tracing::warn!(zone = %self.name, %reason, "the zone's chunks are not open");
                    self.slot.clear(reason);
                    tokio::select! {
                        biased;
                        _ = stop.wait_for(|stop| *stop) => return,
                        () = tokio::time::sleep(self.supervision.retry_after) => {}
                    }
                }
            }
        }
    }

    async fn open(&self, directory: Arc<ZoneDirectory>, incarnation: Incarnation) -> Result<EmbeddedZone, String> {
        let opening = Opening {
            environment: self.environment.clone(),
            directory: directory.path().join("segments"),
            store: self.log.store(),
            zone: self.zone,
            incarnation,
            recorded_position: self.log.recorded_segment_position(self.zone, incarnation),
            presence: directory,
            settings: self.segments.clone(),
        };
        match EmbeddedZone::open(opening).await.map_err(|error| error.to_string())? {
            Opened::Ready { zone, damage } => {
                for damage in damage {
                    tracing::warn!(zone = %self.name, segment = damage.segment, offset = damage.offset, what = damage.what,
                        "a segment is damaged; its chunks are repaired from the other zones");
                }
                Ok(zone)
            }
            Opened::Behind { position, recorded } => {
                let reason =
                    format!("its chunks end at position {position}, and {recorded} was recorded: it has lost its memory");
                // L7: a new life begins; the log's keeper empties the directory and rebuilds.
                self.log.retire(self.zone, incarnation).await.map_err(|error| error.to_string())?;
                Err(reason)
            }
        }
    }

    /// Returns, with the reason, when the chunks are to be closed.
    async fn watch(
        &self,
        chunks: &EmbeddedZone,
        directory: &Arc<ZoneDirectory>,
        incarnation: Incarnation,
        status: &mut watch::Receiver<ZoneStatus>,
        stop: &mut watch::Receiver<bool>,
    ) -> String {
        let mut position = chunks.watch_position();
        loop {
            self.log.set_segment_position(self.zone, incarnation, *position.borrow_and_update());
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return "the service is stopping".to_owned(),
                changed = status.changed() => {
                    let same = status.borrow().directory.as_ref().is_some_and(|now| Arc::ptr_eq(now, directory));
                    if changed.is_err() || !same {
                        return "the zone is away".to_owned();
                    }
                }
                _ = position.changed() => {}
                () = tokio::time::sleep(self.supervision.look_every) => {
                    if chunks.incarnation().is_none() {
                        return "its files failed".to_owned();
                    }
                }
            }
        }
    }
}

async fn present(status: &mut watch::Receiver<ZoneStatus>) -> Option<Arc<ZoneDirectory>> {
    status.wait_for(|status| status.directory.is_some()).await.ok().and_then(|status| status.directory.clone())
}
