//! Looks at a whole cluster: whose it is, which volumes are there, and whether each still holds what it is remembered to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_types::{Incarnation, ZoneIndex};
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::SeaweedZone;
use super::core::{Core, collection, life_of};
use super::format::Fid;
use super::masters::{AssignError, Listing, Server, Volume};
use super::memory::{Known, Mark, Memory, Seal};
use super::seal::{Sealed, names};
use super::trust::{Epochs, Fresh, Standing, suspect};
use crate::ZoneError;

/// Between a look that found something amiss and the next, at least.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// When it began. Whatever it says was so after that.
    pub began: Instant,
    /// Why the cluster is not to be written to, in words; `None` where it is the zone's own.
    pub stranger: Option<String>,
    /// Volumes that no server has, given up ones aside: their chunks are away.
    pub missing: BTreeSet<u32>,
    /// Volumes whose state cannot be known now, in words: servers that do not answer, copies that are away, volumes in shards.
    pub unknown: BTreeMap<u32, String>,
    /// Volumes that are remembered to have forgotten something.
    pub suspects: BTreeSet<u32>,
    /// Volumes that hold later seals than the one that is remembered: it is the memory that has forgotten something, and the catalog with it (P5).
    pub ahead: BTreeSet<u32>,
}

/// What a look says of one remembered volume.
enum Seen {
    Missing,
    /// It is as it is remembered, or further.
    Sound(Box<Sound>),
    /// It is the volume, but not all of it can be vouched for now, in words; whether any copy showed a seal.
    Unknown(String, bool),
    /// It has forgotten something, in words; whether that is beyond doubt.
    Behind(String, bool),
    Ahead,
}

struct Sound {
    known: Known,
    servers: Vec<Server>,
    copies: usize,
    epochs: Epochs,
    /// How far it is, where that is to be remembered: what has grown is remembered with a new seal only, or where it takes none.
    mark: Option<Mark>,
    seal: Option<Seal>,
    covered: Vec<Fid>,
}

impl SeaweedZone {
    /// Looks at the cluster, and remembers how far its volumes are. What it finds decides what is written to from now on. One gateway of a store is enough to look with
    /// `sealing`; the others look without, and remember only what has forgotten something.
    ///
    /// # Errors
    /// [`ZoneError::Away`] where no master answers or nothing can be remembered now: nothing has changed then, and after [`super::Settings::look_age_max`] nothing is
    /// written any more. [`ZoneError::Full`] where a life begins and there is no room for a volume.
    pub async fn look(&self, sealing: bool) -> Result<Looked, ZoneError> {
        self.core.look(sealing).await
    }

    /// Looks every so often, and sooner after a server has not answered. It never ends.
    pub async fn watch(&self, every: Duration, sealing: bool) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = async {
                    self.core.doubted.notified().await;
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                } => {}
            }
            match self.look(sealing).await {
                Ok(Looked { stranger: Some(why), .. }) => {
                    tracing::warn!(zone = self.core.zone.0, why, "a zone's cluster is not written to");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(zone = self.core.zone.0, %error, "a zone's cluster cannot be looked at now"),
            }
        }
    }

    /// The lives of this store's zones of which the cluster holds any volume.
    ///
    /// # Errors
    /// [`ZoneError::Away`] where no master answers.
    pub async fn lives(&self) -> Result<BTreeSet<(ZoneIndex, Incarnation)>, ZoneError> {
        let listing = self.core.volumes.list_cluster().await?;
        Ok(self.core.lives(&listing))
    }

    /// Removes all that is left of an earlier life of the zone. What servers hold of it that are away now is left.
    ///
    /// # Errors
    /// [`ZoneError::Refused`] for the present life and later ones; [`ZoneError::Away`] where not all of it went.
    pub async fn drop_life(&self, incarnation: Incarnation) -> Result<(), ZoneError> {
        let core = &self.core;
        if incarnation >= core.incarnation {
            return Err(ZoneError::Refused(format!("incarnation {} is not an earlier one", incarnation.0)));
        }
        core.volumes.delete_collection(collection(&core.prefix, core.store, core.zone, incarnation)).await
    }

    /// Removes all that the zone's present life holds: for whoever has only tried a cluster.
    ///
    /// # Errors
    /// [`ZoneError::Away`] where not all of it went.
    pub async fn remove_life(self) -> Result<(), ZoneError> {
        self.core.volumes.delete_collection(self.core.collection.clone()).await
    }

    /// Nobody looks at the cluster any more: nothing is written any more.
    pub fn close(&self) {
        self.core.closed.store(true, Ordering::SeqCst);
    }

    /// Returns when a volume server has not answered, or a volume was not as it should be, and somebody should look.
    pub async fn doubted(&self) {
        self.core.doubted.notified().await;
    }

    /// Gives a volume up for good: what it held is gone from now on, and repaired from other zones when it is next looked at. Any number can be given up, also of a
    /// volume that is not remembered.
    ///
    /// # Errors
    /// [`ZoneError::Away`] where that cannot be remembered now.
    pub async fn give_up(&self, volume: u32) -> Result<(), ZoneError> {
        self.core.ledger.update(|memory| memory.given_up.insert(volume)).await?;
        self.core.trust.distrust(volume);
        self.core.assignments.avoid_volume(volume);
        Ok(())
    }

    /// Says that every chunk that a suspect volume should hold was found there, or is not said to be there any more. It is written to again.
    ///
    /// # Errors
    /// [`ZoneError::Refused`] for a volume that is not suspect; [`ZoneError::Away`] where it cannot be sealed or remembered now.
    pub async fn acquit(&self, volume: u32) -> Result<(), ZoneError> {
        let core = &self.core;
        let remembered = core.ledger.load().await?;
        let Some(known) = remembered.memory.volumes.get(&volume).filter(|known| known.suspect.is_some()) else {
            return Err(ZoneError::Refused(format!("volume {volume} is not suspect")));
        };
        let servers = core.volumes.look_up(volume).await?;
        if servers.len() < known.copies {
            return Err(ZoneError::Away(format!("{} of {} copies of volume {volume} are there", servers.len(), known.copies)));
        }
        if core.sealed(volume, &servers, &known.birth).await != Sealed::Everywhere {
            return Err(ZoneError::Away(format!("volume {volume} is not there as it was, in all of its copies")));
        }
        let mut marks = Vec::new();
        for server in servers.iter() {
            marks.push(core.mark(volume, server).await?);
        }
        let fresh = core.trust.fresh(volume);
        let seal = core.put_seal(volume, &servers).await?;
        let acquitted = core
            .ledger
            .update(|memory| {
                let now = memory.volumes.get_mut(&volume).filter(|now| now.seal == known.seal && now.suspect == known.suspect);
                now.map(|now| {
                    now.take_seal(seal);
                    now.mark = marks.iter().min().copied().unwrap_or(now.mark);
                    now.suspect = None;
                })
            })
            .await?;
        if acquitted.is_none() {
            let _ = core.remove(&[seal.fid(volume)]).await;
            return Err(ZoneError::Away(format!("what is remembered of volume {volume} has changed meanwhile")));
        }
        core.trust.forget(&fresh);
        Ok(())
    }
}

impl Core {
    fn lives(&self, listing: &Listing) -> BTreeSet<(ZoneIndex, Incarnation)> {
        listing.collections.iter().filter_map(|name| life_of(self.store, name)).collect()
    }

    async fn look(&self, sealing: bool) -> Result<Looked, ZoneError> {
        let _looking = self.trust.looking.lock().await;
        let began = Instant::now();
        let mut remembered = self.ledger.load().await?;
        let mut listing = self.volumes.list_cluster().await?;
        let mut looked = Looked {
            began,
            stranger: None,
            missing: BTreeSet::new(),
            unknown: BTreeMap::new(),
            suspects: BTreeSet::new(),
            ahead: BTreeSet::new(),
        };
        let begins = remembered.memory.expected().next().is_none();
        if let Some(why) = self.whose(&listing, begins) {
            return Ok(self.stranger(looked, why));
        }
        if begins {
            match self.begin().await? {
                Ok(now) => listing = now,
                Err(why) => return Ok(self.stranger(looked, why)),
            }
            remembered = self.ledger.seen();
        }
        let silent = Mutex::new(BTreeSet::new());
        let expected: Vec<(u32, Known, Option<Volume>)> = remembered
            .memory
            .expected()
            .map(|(volume, known)| (volume, known.clone(), listing.volumes.get(&volume).cloned()))
            .collect();
        let silent = &silent;
        let seen: Vec<(u32, Seen)> =
            stream::iter(expected)
                .map(|(volume, known, found)| async move {
                    (volume, self.look_at(volume, &known, found.as_ref(), sealing, silent).await)
                })
                .buffer_unordered(self.settings.parallelism.max(1))
                .collect()
                .await;
        if let Some(why) = not_shown(&seen, &listing) {
            for (volume, seen) in seen {
                match seen {
                    Seen::Unknown(why, _) => drop(looked.unknown.insert(volume, why)),
                    _ => drop(looked.missing.insert(volume)),
                }
            }
            return Ok(self.stranger(looked, why));
        }
        self.conclude(looked, seen).await
    }

    fn stranger(&self, looked: Looked, why: String) -> Looked {
        self.trust.stand(Standing::Not(why.clone()));
        Looked { stranger: Some(why), ..looked }
    }

    /// Why the cluster is not this zone's by the names of its collections, in words.
    fn whose(&self, listing: &Listing, begins: bool) -> Option<String> {
        let lives = self.lives(listing);
        let (own, life) = (self.zone, self.incarnation);
        if let Some((_, later)) = lives.iter().find(|(zone, incarnation)| *zone == own && *incarnation > life) {
            return Some(format!(
                "the cluster holds chunks of the zone's incarnation {}, and the catalog says {}: the catalog is older than the cluster",
                later.0, life.0
            ));
        }
        // A zone that begins looks again after it has made its first volumes: of two that begin at once the later one sees the other.
        let (other, incarnation) = lives.into_iter().find(|(zone, _)| *zone != own && (begins || *zone < own))?;
        Some(format!(
            "the cluster holds volumes of this store's zone number {} (incarnation {}): two zones on one cluster are one zone. Give each a cluster of its own; where \
             they are left over, remove them with SeaweedFS's collection.delete",
            u64::from(other.0) + 1,
            incarnation.0
        ))
    }

    /// Begins a life: has a volume made, looks again whether another zone is there, and only then remembers it.
    async fn begin(&self) -> Result<Result<Listing, String>, ZoneError> {
        let assigned = self.assignments.take(1).await.map_err(|error| match error {
            AssignError::Full(why) => ZoneError::Full(why),
            AssignError::Later(why) | AssignError::NoMaster(why) => ZoneError::Away(why),
        })?;
        let listing = self.volumes.list_cluster().await?;
        if let Some(why) = self.whose(&listing, true) {
            return Ok(Err(why));
        }
        self.bear(assigned.volume, &assigned.servers, true).await?;
        Ok(Ok(listing))
    }

    /// `silent` are servers that have failed in this look. They are not asked again in it: it has to end before all trust in the others does.
    async fn look_at(
        &self,
        volume: u32,
        known: &Known,
        found: Option<&Volume>,
        sealing: bool,
        silent: &Mutex<BTreeSet<String>>,
    ) -> Seen {
        let Some(found) = found else { return Seen::Missing };
        if found.erasure_coded {
            let shows = self.shows_whose(volume, known, found).await;
            return Seen::Unknown(format!("volume {volume} was cut into shards (ec.encode)"), shows);
        }
        let servers = &found.servers;
        let copies = usize::try_from(found.copies).unwrap_or(usize::MAX).max(1);
        if servers.is_empty() || servers.len() < copies {
            return Seen::Unknown(format!("{} of {copies} copies of volume {volume} are there", servers.len()), false);
        }
        if let Some(server) = servers.iter().find(|server| silent.lock().contains(&server.http)) {
            return Seen::Unknown(format!("{} has not answered in this look", server.http), false);
        }
        let epochs = self.epochs(servers);
        let marks = match self.marks(volume, servers).await {
            Ok(marks) => marks,
            Err(error) => {
                let failed = self.epochs(servers).into_iter().filter(|(server, count)| epochs.get(server) != Some(count));
                silent.lock().extend(failed.map(|(server, _)| server));
                return Seen::Unknown(error.to_string(), false);
            }
        };
        let before = self.sealed(volume, servers, &known.seal).await;
        if before != Sealed::Everywhere {
            return self.without_seal(volume, known, servers, before).await;
        }
        if known.suspect.is_some() {
            return Seen::Unknown(format!("volume {volume} is suspect"), true);
        }
        if marks.iter().all(|mark| mark.is_behind(known.mark)) {
            let (now, then) = (marks.iter().max().map_or(0, |mark| mark.bytes), known.mark.bytes);
            return Seen::Behind(format!("it ends at byte {now}, and byte {then} was durable"), true);
        }
        match self.fresh_is_there(volume, servers, &epochs).await {
            Fresh::There => {}
            Fresh::Lost(why) => return Seen::Behind(why, true),
            Fresh::Unknown(why) => return Seen::Unknown(why, true),
        }
        let mut sound = Box::new(Sound {
            known: known.clone(),
            servers: servers.clone(),
            copies,
            epochs,
            mark: None,
            seal: None,
            covered: Vec::new(),
        });
        let moved = names(servers) != known.servers;
        if moved || marks.iter().any(|mark| *mark != known.mark) {
            // A server that copies a volume does not sync what it wrote. Until it did, it is not taken for the volume.
            if let Err(error) = self.sync(volume, servers).await {
                return Seen::Unknown(error.to_string(), true);
            }
            if sealing && found.read_only {
                sound.mark = marks.iter().min().copied();
            } else if sealing {
                return self.seal_anew(volume, sound).await;
            }
        }
        Seen::Sound(sound)
    }

    async fn marks(&self, volume: u32, servers: &[Server]) -> Result<Vec<Mark>, ZoneError> {
        let mut marks = Vec::new();
        for server in servers {
            marks.push(self.mark(volume, server).await?);
        }
        Ok(marks)
    }

    /// Seals a volume that has grown. What is remembered of it is asked for once more behind the new seal: had the volume lost something before that was put into it, it would be without the
    /// old one.
    async fn seal_anew(&self, volume: u32, mut sound: Box<Sound>) -> Seen {
        let (known, servers) = (sound.known.clone(), sound.servers.clone());
        let covered = self.trust.fresh(volume);
        if let Some(previous) = known.previous {
            let _ = self.remove(&[previous.fid(volume)]).await;
        }
        let Ok(seal) = self.put_seal(volume, &servers).await else {
            return Seen::Sound(sound);
        };
        match self.sealed(volume, &servers, &known.seal).await {
            Sealed::Everywhere => {}
            other => return self.without_seal(volume, &known, &servers, other).await,
        }
        match self.marks(volume, &servers).await {
            Ok(marks) => {
                (sound.mark, sound.seal, sound.covered) = (marks.into_iter().min(), Some(seal), covered);
                Seen::Sound(sound)
            }
            Err(error) => Seen::Unknown(error.to_string(), true),
        }
    }

    /// What a volume is that does not show its latest seal in all of its copies.
    async fn without_seal(&self, volume: u32, known: &Known, servers: &[Server], sealed: Sealed) -> Seen {
        if let Sealed::Partly(there, why) = sealed {
            return Seen::Unknown(why, there > 0);
        }
        match self.sealed(volume, servers, &known.birth).await {
            // Another volume of that number: the one that is remembered is not there.
            Sealed::Nowhere => return Seen::Missing,
            Sealed::Partly(0, why) => return Seen::Unknown(why, false),
            Sealed::Everywhere | Sealed::Partly(..) => {}
        }
        let numbers = match self.seal_numbers(volume).await {
            Ok(numbers) => numbers,
            Err(error) => return Seen::Unknown(error.to_string(), true),
        };
        let revision = match self.ledger.load().await {
            Ok(remembered) => remembered.revision,
            Err(error) => return Seen::Unknown(error.to_string(), true),
        };
        // Another gateway may be sealing under the next revision now.
        if numbers.into_iter().any(|number| number > revision + 1) {
            return Seen::Ahead;
        }
        Seen::Behind("it is without its latest seal".to_owned(), false)
    }

    /// Remembers what a look has found, and trusts what it has vouched for.
    async fn conclude(&self, mut looked: Looked, seen: Vec<(u32, Seen)>) -> Result<Looked, ZoneError> {
        let mut sound = Vec::new();
        let mut behind = Vec::new();
        let mut missed = self.trust.missed.lock().clone();
        for (volume, seen) in seen {
            match seen {
                Seen::Sound(found) => {
                    missed.remove(&volume);
                    sound.push((volume, found));
                    continue;
                }
                Seen::Missing => drop(looked.missing.insert(volume)),
                Seen::Unknown(why, _) => drop(looked.unknown.insert(volume, why)),
                Seen::Ahead => drop(looked.ahead.insert(volume)),
                // Once may be a moment: a volume that is being loaded. Twice is not.
                Seen::Behind(why, beyond_doubt) if beyond_doubt || missed.contains(&volume) => behind.push((volume, why)),
                Seen::Behind(why, _) => {
                    missed.insert(volume);
                    self.doubted.notify_one();
                    looked.unknown.insert(volume, why);
                }
            }
            self.trust.distrust(volume);
        }
        let before = self.ledger.seen();
        let taken = self
            .ledger
            .update(|memory| {
                for (volume, why) in &behind {
                    if let Some(known) = before.memory.volumes.get(volume) {
                        suspect(memory, *volume, known, why);
                    }
                }
                sound
                    .iter()
                    .filter(|(volume, found)| take(memory, *volume, found))
                    .map(|(volume, _)| *volume)
                    .collect::<BTreeSet<u32>>()
            })
            .await?;
        for (volume, found) in sound {
            if taken.contains(&volume) {
                self.trust.forget(&found.covered);
                self.trust.trust(volume, found.epochs);
            } else if let Some(seal) = found.seal {
                // Another gateway has sealed it meanwhile. Whoever writes to it asks for that seal first.
                self.trust.distrust(volume);
                let _ = self.remove(&[seal.fid(volume)]).await;
            }
        }
        for (volume, why) in behind {
            tracing::error!(
                volume,
                why,
                "a volume has forgotten what was durable in it: it is not written to any more, and what it holds has to be looked through"
            );
        }
        *self.trust.missed.lock() = missed;
        let now = self.ledger.seen();
        looked.suspects = now.memory.expected().filter(|(_, known)| known.suspect.is_some()).map(|(volume, _)| volume).collect();
        self.trust.stand(Standing::Own(looked.began));
        Ok(looked)
    }
}

/// Why a cluster has not shown that it is the zone's own, in words: one volume with a seal shows it.
fn not_shown(seen: &[(u32, Seen)], listing: &Listing) -> Option<String> {
    let shows = |seen: &Seen| matches!(seen, Seen::Sound(_) | Seen::Unknown(_, true) | Seen::Behind(..) | Seen::Ahead);
    if seen.iter().any(|(_, seen)| shows(seen)) {
        return None;
    }
    if listing.servers.is_empty() {
        return Some("the cluster's master knows no volume server now".to_owned());
    }
    if let Some(why) = seen.iter().find_map(|(_, seen)| if let Seen::Unknown(why, _) = seen { Some(why) } else { None }) {
        return Some(format!("no volume of the cluster can be asked now: {why}"));
    }
    Some(format!(
        "the cluster has none of the {} volumes that it should have: all of its volume servers are away, or it is another cluster",
        seen.len()
    ))
}

/// Takes up what a look has found of a volume, if that is still what is remembered of it; whether it is.
fn take(memory: &mut Memory, volume: u32, found: &Sound) -> bool {
    let given_up = memory.given_up.contains(&volume);
    let Some(known) = memory.volumes.get_mut(&volume).filter(|known| known.seal == found.known.seal && known.suspect.is_none())
    else {
        return false;
    };
    if given_up {
        return false;
    }
    if let Some(mark) = found.mark {
        known.servers = names(&found.servers);
        known.copies = found.copies;
        known.mark = mark;
    }
    if let Some(seal) = found.seal {
        known.take_seal(seal);
    }
    true
}
