//! Which volumes may be written to now (L7).
//!
//! A volume takes a chunk that is to be confirmed only where all of this holds:
//!
//! - it is remembered, durably and for all gateways, since before its first such chunk, and not as suspect or given up;
//! - each server that a master names for it has shown its latest seal, not long ago, and has neither failed to answer nor ended a connection since;
//! - what this process itself confirmed in it after that seal is still there, where any of its servers did;
//! - the last look found the cluster to be the zone's own, and is not older than [`super::Settings::look_age_max`].
//!
//! So neither a server that came back with less than it had, nor another cluster at the same address, nor another volume of the same number is written to, whether
//! or not anybody has looked since.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::assignments::Assigned;
use super::core::Core;
use super::format::Fid;
use super::masters::Server;
use super::memory::{Known, Memory};
use super::seal::{Checked, Sealed, names};
use crate::ZoneError;

/// How many of the latest chunks confirmed here in each volume are asked for after a doubt. The last one that a volume took is among them unless more were written at one
/// time.
const FRESH_MAX: usize = 16;
/// How many volumes are tried whether the cluster is the one that is remembered. One with its seal shows it.
const PROOFS_MAX: usize = 3;

/// What the last look said of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has looked yet.
    Unseen,
    /// It is the zone's own. Since when is the beginning of that look.
    Own(Instant),
    /// It is not to be written to, in words.
    Not(String),
}

/// How often each server of a volume, by its address, had failed when it was asked.
pub type Epochs = BTreeMap<String, u64>;

struct Trusted {
    epochs: Epochs,
    since: Instant,
    /// It is not written to any more; who held it then is still known.
    over: bool,
}

/// What is known in this process of what volumes hold.
pub struct Trust {
    standing: Mutex<Standing>,
    volumes: Mutex<HashMap<u32, Trusted>>,
    fresh: Mutex<HashMap<u32, VecDeque<Fid>>>,
    /// Volumes whose latest seal the last look did not find.
    pub missed: Mutex<HashSet<u32>>,
    /// Each volume is found out about once at a time.
    finding_out: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<()>>>>,
    /// One look at a time.
    pub looking: tokio::sync::Mutex<()>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            standing: Mutex::new(Standing::Unseen),
            volumes: Mutex::default(),
            fresh: Mutex::default(),
            missed: Mutex::default(),
            finding_out: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }
}

impl Trust {
    /// What a look said.
    pub fn stand(&self, standing: Standing) {
        if !matches!(standing, Standing::Own(_)) {
            self.volumes.lock().values_mut().for_each(|trusted| trusted.over = true);
        }
        *self.standing.lock() = standing;
    }

    /// Notes what was confirmed here.
    pub fn confirmed(&self, fid: Fid) {
        let mut fresh = self.fresh.lock();
        let fids = fresh.entry(fid.volume).or_default();
        fids.push_back(fid);
        if fids.len() > FRESH_MAX {
            fids.pop_front();
        }
    }

    /// What was confirmed here of a volume since its latest seal.
    pub fn fresh(&self, volume: u32) -> Vec<Fid> {
        self.fresh.lock().get(&volume).map(|fids| fids.iter().copied().collect()).unwrap_or_default()
    }

    /// These are covered by a seal, or are deleted.
    pub fn forget(&self, fids: &[Fid]) {
        let mut fresh = self.fresh.lock();
        for fid in fids {
            if let Some(known) = fresh.get_mut(&fid.volume) {
                known.retain(|known| known != fid);
            }
        }
        fresh.retain(|_, fids| !fids.is_empty());
    }

    /// A volume was found as it is remembered, by servers that had failed so often before they were asked.
    pub fn trust(&self, volume: u32, epochs: Epochs) {
        self.volumes.lock().insert(volume, Trusted { epochs, since: Instant::now(), over: false });
    }

    /// A volume is not to be written to.
    pub fn distrust(&self, volume: u32) {
        if let Some(trusted) = self.volumes.lock().get_mut(&volume) {
            trusted.over = true;
        }
    }

    /// Whether none of a volume's servers has failed since the volume was last found as it is remembered.
    fn is_undoubted(&self, volume: u32, epochs: &Epochs) -> bool {
        self.volumes.lock().get(&volume).is_some_and(|trusted| trusted.epochs == *epochs)
    }
}

impl Core {
    /// How often these servers have failed until now.
    pub fn epochs(&self, servers: &[Server]) -> Epochs {
        let count = |server: &Server| self.losses.count(&server.http) + self.losses.count(&server.grpc);
        servers.iter().map(|server| (server.http.clone(), count(server))).collect()
    }

    /// Whether this volume may be written to, finding it out where it is not known; how often its servers had failed before.
    ///
    /// # Errors
    /// [`ZoneError::Away`] where this volume may not, and another may; [`ZoneError::Refused`] where none may.
    pub async fn may_write(&self, assigned: &Assigned) -> Result<Epochs, ZoneError> {
        self.may_write_anywhere()?;
        if let Some(epochs) = self.trusted(assigned) {
            return Ok(epochs);
        }
        let finding_out = self.trust.finding_out.lock().entry(assigned.volume).or_default().clone();
        let _finding_out = finding_out.lock().await;
        if let Some(epochs) = self.trusted(assigned) {
            return Ok(epochs);
        }
        let volume = assigned.volume;
        let remembered = self.ledger.seen();
        if remembered.memory.given_up.contains(&volume) {
            return Err(ZoneError::Away(format!("volume {volume} was given up")));
        }
        let known = match remembered.memory.volumes.get(&volume) {
            Some(known) => known.clone(),
            None => self.take_up(volume, &assigned.servers).await?,
        };
        let found = self.find_out(volume, &assigned.servers, &known).await;
        if found.is_ok() {
            return found;
        }
        // Another gateway may have sealed it since.
        match self.ledger.load().await?.memory.volumes.get(&volume) {
            Some(now) if now.seal != known.seal => self.find_out(volume, &assigned.servers, now).await,
            _ => found,
        }
    }

    /// Whether any volume may be written to.
    pub fn may_write_anywhere(&self) -> Result<(), ZoneError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(ZoneError::Refused("the zone was closed".to_owned()));
        }
        let age_max = self.settings.look_age_max;
        match &*self.trust.standing.lock() {
            Standing::Own(since) if since.elapsed() <= age_max => Ok(()),
            Standing::Own(_) => Err(ZoneError::Refused(format!("nobody has looked at the cluster for {age_max:?}"))),
            Standing::Unseen => Err(ZoneError::Refused("nobody has looked at the cluster yet".to_owned())),
            Standing::Not(why) => Err(ZoneError::Refused(why.clone())),
        }
    }

    fn trusted(&self, assigned: &Assigned) -> Option<Epochs> {
        let volumes = self.trust.volumes.lock();
        let trusted = volumes.get(&assigned.volume)?;
        let is_fresh = !trusted.over && trusted.since.elapsed() <= self.settings.trust_age_max;
        (is_fresh && trusted.epochs == self.epochs(&assigned.servers)).then(|| trusted.epochs.clone())
    }

    /// Whether a volume is the one that is remembered, with all that it is remembered to hold.
    async fn find_out(&self, volume: u32, servers: &[Server], known: &Known) -> Result<Epochs, ZoneError> {
        let no = |why: String| {
            self.trust.distrust(volume);
            self.doubted.notify_one();
            Err(ZoneError::Away(why))
        };
        if let Some(why) = &known.suspect {
            self.trust.distrust(volume);
            return Err(ZoneError::Away(format!("volume {volume} has forgotten something: {why}")));
        }
        if servers.len() < known.copies {
            return no(format!("{} of {} copies of volume {volume} are there", servers.len(), known.copies));
        }
        let epochs = self.epochs(servers);
        match self.sealed(volume, servers, &known.seal).await {
            Sealed::Everywhere => {}
            Sealed::Nowhere => return no(format!("volume {volume} is without its latest seal")),
            Sealed::Partly(_, why) => return no(why),
        }
        match self.fresh_is_there(volume, servers, &epochs).await {
            Fresh::There => {}
            Fresh::Lost(why) => {
                self.suspect(volume, known, &why).await?;
                return no(why);
            }
            Fresh::Unknown(why) => return no(why),
        }
        self.trust.trust(volume, epochs.clone());
        Ok(epochs)
    }

    /// Whether what was confirmed here in a volume since its latest seal is still there. That is asked only where a server has failed since it was last known.
    pub async fn fresh_is_there(&self, volume: u32, servers: &[Server], epochs: &Epochs) -> Fresh {
        if self.trust.is_undoubted(volume, epochs) {
            return Fresh::There;
        }
        for fid in self.trust.fresh(volume) {
            let checks = servers.iter().map(|server| self.check(volume, server, fid, None));
            let checks = futures::future::join_all(checks).await;
            if let Some(Checked::Unknown(why)) = checks.iter().find(|check| matches!(check, Checked::Unknown(_))) {
                return Fresh::Unknown(why.clone());
            }
            if checks.iter().all(|check| *check == Checked::Gone) {
                return Fresh::Lost(format!("{fid} was confirmed, and is not there after a server had not answered"));
            }
        }
        Fresh::There
    }

    /// Remembers that a volume has forgotten something that it was remembered to hold by this.
    pub async fn suspect(&self, volume: u32, known: &Known, why: &str) -> Result<(), ZoneError> {
        tracing::error!(
            volume,
            why,
            "a volume has forgotten what was durable in it: it is not written to any more, and what it holds has to be looked through"
        );
        self.trust.distrust(volume);
        self.ledger.update(|memory| suspect(memory, volume, known, why)).await
    }

    /// Takes up a volume that nobody remembers: shows that the cluster is the one that is remembered, puts a seal into the volume, and remembers it. All of it before
    /// the first chunk in it can be confirmed.
    async fn take_up(&self, volume: u32, servers: &[Server]) -> Result<Known, ZoneError> {
        let listing = self.volumes.list_cluster().await?;
        let listed = listing.volumes.get(&volume).filter(|found| names(&found.servers) == names(servers));
        if listed.is_none() {
            return Err(ZoneError::Away(format!("a master names volume {volume}, and does not list it there")));
        }
        let remembered = self.ledger.seen();
        let mut proofs = 0;
        for (other, known) in remembered.memory.expected() {
            let Some(found) = listing.volumes.get(&other) else { continue };
            if self.shows_whose(other, known, found).await {
                return self.bear(volume, servers, false).await;
            }
            proofs += 1;
            if proofs >= PROOFS_MAX {
                break;
            }
        }
        self.doubted.notify_one();
        Err(ZoneError::Away(format!("volume {volume} is of a cluster that does not show that it is the zone's own")))
    }

    /// Puts the first seal into a volume and remembers it; of a life that begins only if nothing is remembered of it yet.
    pub async fn bear(&self, volume: u32, servers: &[Server], begins: bool) -> Result<Known, ZoneError> {
        for server in servers {
            self.mark(volume, server).await?;
        }
        let seal = self.put_seal(volume, servers).await?;
        match self.sealed(volume, servers, &seal).await {
            Sealed::Everywhere => {}
            Sealed::Nowhere => return Err(ZoneError::Away(format!("volume {volume} has not kept its first seal"))),
            Sealed::Partly(_, why) => return Err(ZoneError::Away(why)),
        }
        let mut marks = Vec::new();
        for server in servers {
            marks.push(self.mark(volume, server).await?);
        }
        let mark = marks.into_iter().min().ok_or_else(|| ZoneError::Away(format!("volume {volume} has no server")))?;
        let born = Known::born(seal, mark, names(servers));
        // Where this fails, it may be remembered all the same: the seal stays.
        let known = self
            .ledger
            .update(|memory| {
                if memory.given_up.contains(&volume) || (begins && memory.expected().next().is_some()) {
                    return None;
                }
                Some(memory.volumes.entry(volume).or_insert_with(|| born.clone()).clone())
            })
            .await?;
        if known.as_ref().is_none_or(|known| known.birth != seal) {
            // Another gateway was first.
            let _ = self.remove(&[seal.fid(volume)]).await;
        }
        known.ok_or_else(|| {
            ZoneError::Away(format!("volume {volume} was not taken up: another gateway has changed what is remembered"))
        })
    }
}

/// Notes in a memory that a volume has forgotten something, unless somebody has sealed it since.
pub fn suspect(memory: &mut Memory, volume: u32, known: &Known, why: &str) {
    if let Some(now) = memory.volumes.get_mut(&volume).filter(|now| now.seal == known.seal && now.suspect.is_none()) {
        now.suspect = Some(why.to_owned());
    }
}

/// What became of chunks that were confirmed here and are not covered by a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// They are there, as far as they were asked for.
    There,
    /// One is gone from all copies, in words.
    Lost(String),
    /// That cannot be known now, in words.
    Unknown(String),
}
