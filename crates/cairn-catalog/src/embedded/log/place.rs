//! A zone's place: what lies there, found out without touching it; and taking what was found.
//!
//! A start looks at all three zones before it touches any: what it refuses it has not changed (L9).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use cairn_disk::Environment;
use cairn_disk::zone_directory::{self, Identity, Inspection, ZoneDirectory, ZoneLock, ZoneState};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{StoreId, ZoneIndex, ZoneName};

use super::decide::{Found, Member};
use super::rules::{Rule, holds};
use super::zone_log::{LogFound, LogSettings, OpenError, ZoneLog};

/// What a zone's place is, and how to open it.
#[derive(Clone)]
pub(super) struct Place {
    pub zone: ZoneIndex,
    pub names: [ZoneName; ZONE_COUNT],
    pub path: PathBuf,
    pub environment: Environment,
    pub log_settings: LogSettings,
    /// It is looked at although it has left its mount: an administrator asks whether it could be let in.
    pub mount_waived: bool,
}

/// What lies at a zone's place.
pub(super) struct Looked {
    pub found: Found,
    /// Keeps other processes out (L10); `None` where there is no zone yet.
    pub lock: Option<Arc<ZoneLock>>,
    pub log: Option<LogFound>,
}

impl Looked {
    pub(super) fn away(reason: String) -> Self {
        Self { found: Found::Away(reason), lock: None, log: None }
    }
}

impl Place {
    pub(super) async fn inspect(&self) -> io::Result<Inspection> {
        zone_directory::inspect(&*self.environment.disk, &self.path).await
    }

    /// Looks, and changes nothing. `was_mount_point` is what the other zones remember of this one (L9); `held` is the lock that this process
    /// had before. `progress` rises while the log is read.
    pub(super) async fn look(
        &self,
        store: Option<StoreId>,
        was_mount_point: bool,
        held: Option<Arc<ZoneLock>>,
        progress: &AtomicU64,
    ) -> Looked {
        let disk = &*self.environment.disk;
        let lock = match held {
            Some(lock) if lock.is_on(disk, &self.path).await => Some(lock),
            held => {
                // The directory that it was on is gone.
                drop(held);
                match ZoneLock::take_existing(disk, &self.path).await {
                    Ok(lock) => lock,
                    Err(error) => return Looked::away(error.to_string()),
                }
            }
        };
        match self.look_locked(store, was_mount_point, progress).await {
            Ok((found, log)) => Looked { found, lock, log },
            Err(error) => Looked { found: Found::Away(error.to_string()), lock, log: None },
        }
    }

    async fn look_locked(
        &self,
        store: Option<StoreId>,
        was_mount_point: bool,
        progress: &AtomicU64,
    ) -> io::Result<(Found, Option<LogFound>)> {
        let only = |found| Ok((found, None));
        let inspection = self.inspect().await?;
        let exists = !matches!(inspection, Inspection::Empty { exists: false });
        let says_so = matches!(&inspection, Inspection::Identity(identity) if identity.mount_points[self.zone.get()]);
        let disk = &*self.environment.disk;
        if (was_mount_point || says_so)
            && !self.mount_waived
            && holds(Rule::L9)
            && !(exists && disk.is_mount_point(&self.path).await?)
        {
            let reason =
                "its file system is not mounted: the directory was a mount point and now lies on its parent's file system";
            return only(Found::Refused(reason.to_owned()));
        }
        let identity = match inspection {
            Inspection::Identity(identity) => identity,
            Inspection::Foreign(reason) => return only(Found::Refused(reason)),
            Inspection::Empty { .. } => return only(Found::Empty),
            Inspection::NoIdentity(reason) => return only(Found::NoMemory(reason)),
        };
        if identity.zone != self.names[self.zone.get()] || store.is_some_and(|store| store != identity.store) {
            // Decided on by its identity (L9); its log is not ours to open.
            return only(Found::Voteless(identity, "it is another zone or of another store".to_owned()));
        }
        if identity.state == ZoneState::Rebuilding {
            return only(Found::Voteless(identity, "its rebuild was not finished".to_owned()));
        }
        let path = self.path.join(format!("log-{}", identity.catalog));
        match ZoneLog::look(disk, path, identity.store, progress).await {
            Ok(log) => {
                let member = Member { identity, last: log.last(), cut_epoch: log.cut_epoch(), marks: log.last_marks() };
                Ok((Found::Member(member), Some(log)))
            }
            Err(OpenError::Io(error)) => Err(error),
            Err(error) => only(Found::Voteless(identity, error.to_string())),
        }
    }

    /// Takes a zone whose log was found: only now is a torn tail cut.
    ///
    /// `trusted_index` is the last index whose sync this process saw succeed, where it has used the log before.
    pub(super) async fn take(
        &self,
        identity: &Identity,
        lock: Option<Arc<ZoneLock>>,
        log: LogFound,
        trusted_index: Option<u64>,
    ) -> Result<(Arc<ZoneDirectory>, ZoneLog), OpenError> {
        let disk = self.environment.disk.clone();
        let directory = Arc::new(ZoneDirectory::open_with(disk, &self.path, identity, lock).await?);
        let log = ZoneLog::take(directory.clone(), self.log_settings, trusted_index, log).await?;
        Ok((directory, log))
    }
}
