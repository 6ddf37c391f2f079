//! What a zone held before it lost its memory, kept beside its new contents until it is whole again (L7, B2).
//!
//! A zone that begins a new life has its old contents set aside (`retired-…` in its directory), and they may well be intact: an old copy
//! that was put back, an identity that was lost. While the zone is rebuilt the other two hold the only copies that count, so the third
//! is not thrown away before each chunk stands in this zone again: the rebuild cursor of the present incarnation has come to its end, and
//! no blob lacks the zone. Nothing reads old contents by itself; they are for a person, should another zone be lost meanwhile.
//!
//! They take space, and must not keep the rebuild from ending: where space is short the oldest go first, with a word in the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::embedded::log::keeper::{ZonePhase, ZoneStatus};
use cairn_catalog::embedded::machine::LogCatalog;
use cairn_catalog::{Catalog, ListIncomplete};
use cairn_disk::zone_directory::{self, Inspection};
use cairn_disk::{Disk, Environment};
use cairn_types::records::ZoneSet;
use cairn_types::{StoreId, ZoneIndex, ZoneName};
use cairn_zone::Zone;
use tokio::sync::{oneshot, watch};

use super::slot::ZoneSlot;

/// How often old contents are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Blobs in a page of those that lack the zone.
const PAGE: u32 = 16;

/// Keeps one zone's old contents, and removes them when it is time.
pub(super) struct RetiredContents {
    pub environment: Environment,
    pub zone: ZoneIndex,
    pub name: ZoneName,
    pub path: PathBuf,
    pub store: StoreId,
    pub status: watch::Receiver<ZoneStatus>,
    pub slot: Arc<ZoneSlot>,
    pub catalog: Arc<LogCatalog>,
    /// With less free than this the zone cannot grow, bytes.
    pub free_bytes_min: u64,
}

/// Why old contents are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// None: they are kept.
    Kept,
    /// The zone has all its copies again: all of them go.
    Whole,
    /// The zone is not whole, and cannot grow: the oldest go.
    SpaceShort,
}

fn decide(whole: bool, free_bytes: u64, free_bytes_min: u64) -> Removal {
    match (whole, free_bytes < free_bytes_min) {
        (true, _) => Removal::Whole,
        (false, true) => Removal::SpaceShort,
        (false, false) => Removal::Kept,
    }
}

impl RetiredContents {
    /// Runs until told to stop.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let look = async {
                if let Err(error) = self.look().await {
                    tracing::debug!(zone = %self.name, %error, "what the zone held before cannot be looked at now");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = look => {}
            }
        }
    }

    async fn look(&self) -> io::Result<()> {
        // A directory that is not to be touched (L9) is not ours to tidy.
        if matches!(self.status.borrow().phase, ZonePhase::Refused(_)) {
            return Ok(());
        }
        let (disk, path) = (self.environment.disk.clone(), self.path.clone());
        let kept = self.blocking(async move { zone_directory::retired(&*disk, &path).await }).await?;
        self.slot.set_kept_aside(kept.clone());
        if kept.is_empty() {
            return Ok(());
        }
        let whole = self.is_whole().await;
        let (disk, path, store, name) = (self.environment.disk.clone(), self.path.clone(), self.store, self.name.clone());
        let free_bytes_min = self.free_bytes_min;
        let kept = self.blocking(async move { tidy(&*disk, &path, (store, &name), kept, whole, free_bytes_min).await }).await?;
        self.slot.set_kept_aside(kept);
        Ok(())
    }

    /// Whether each chunk stands in the zone again, in its present life.
    async fn is_whole(&self) -> bool {
        let directory = self.status.borrow().directory.clone();
        let Some(incarnation) = directory.map(|directory| directory.identity().incarnation) else {
            return false;
        };
        if self.slot.incarnation() != Some(incarnation) {
            return false;
        }
        // First the cursor, then the index that it fills: the other way round a blob could pass between the two looks.
        match self.catalog.zones().await {
            Ok(view) => {
                let record = view.zones.get(self.zone.get());
                if !record.is_some_and(|record| record.incarnation == incarnation && record.rebuild.is_none()) {
                    return false;
                }
            }
            Err(_) => return false,
        }
        let mut from = None;
        loop {
            let zones = ZoneSet::EMPTY.with(self.zone);
            match self.catalog.incomplete_blobs(ListIncomplete { zones, from, limit: PAGE }).await {
                Ok(page) if !page.blobs.is_empty() => return false,
                Ok(page) if page.next.is_none() => return true,
                Ok(page) => from = page.next,
                Err(_) => return false,
            }
        }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl Future<Output = io::Result<T>> + Send + 'static) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        self.environment.executor.spawn_blocking(Box::pin(async move {
            let _ = answer.send(work.await);
        }));
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the runtime is shutting down")))
    }
}

/// Removes what is to go of `retired`, the oldest first, and says what is left.
async fn tidy(
    disk: &dyn Disk,
    path: &Path,
    owner: (StoreId, &ZoneName),
    retired: Vec<String>,
    whole: bool,
    free_bytes_min: u64,
) -> io::Result<Vec<String>> {
    let mut left = retired.clone();
    for name in retired {
        let free_bytes = disk.free_bytes(path).await?;
        let removal = decide(whole, free_bytes, free_bytes_min);
        if removal == Removal::Kept {
            break;
        }
        // The path may lead to another directory by now. A zone that has no identity yet owns what itself says so.
        if !is_of(disk, path, owner).await? && !is_of(disk, &path.join(&name), owner).await? {
            break;
        }
        let zone = owner.1;
        let contents = path.join(&name);
        if removal == Removal::SpaceShort {
            tracing::warn!(
                %zone, contents = %contents.display(), free_bytes,
                "space is short: what the zone held before it lost its memory is removed, although it lacks copies yet"
            );
        } else {
            tracing::info!(
                %zone, contents = %contents.display(),
                "the zone has all its copies again: what it held before is removed"
            );
        }
        zone_directory::remove_retired(disk, path, &name).await?;
        left.retain(|other| *other != name);
    }
    Ok(left)
}

async fn is_of(disk: &dyn Disk, path: &Path, (store, zone): (StoreId, &ZoneName)) -> io::Result<bool> {
    let inspection = zone_directory::inspect(disk, path).await?;
    Ok(matches!(inspection, Inspection::Identity(identity) if identity.store == store && identity.zone == *zone))
}

#[cfg(test)]
mod tests;
