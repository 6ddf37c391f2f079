//! Volumes to write to: a few at a time, each for a few hundred writes or a few seconds, so that writes rarely wait for a master and
//! those of one moment share their syncs.
//!
//! From an assignment only the volume is taken, never the key: masters hand keys out from memory and may hand them out again after a change of
//! leader. So nothing that was reserved can be reissued, and an old assignment is as good as its volume still is. While no master answers, the
//! volumes that work are written to on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::masters::{AssignError, Masters, Server};
use super::settings::Settings;

/// Between two questions to a master that had only volumes that are avoided.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often that is asked before the caller is told. Its own deadline is what ends it.
const ASKED_MAX: usize = 5;

/// A volume to write to.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// Which.
    pub volume: u32,
    /// Who holds it; the first is written to and passes the write on.
    pub servers: Arc<[Server]>,
}

struct Ready {
    assigned: Assigned,
    left: u64,
    until: Instant,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    avoided_volumes: HashMap<u32, Instant>,
    avoided_servers: HashMap<String, Instant>,
}

/// What there is to be had.
enum Picked {
    /// A volume that a master named a moment ago.
    Fresh(Assigned),
    /// One that it named longer ago: it may do, but it is time to ask.
    Old(Assigned),
    Nothing,
}

impl State {
    /// The next in turn.
    fn pick(&mut self, now: Instant) -> Picked {
        for _ in 0..self.ready.len() {
            let Some(mut ready) = self.ready.pop_front() else { break };
            let spent = ready.left == 0;
            ready.left = ready.left.saturating_sub(1);
            let fresh = !spent && now < ready.until;
            let assigned = ready.assigned.clone();
            self.ready.push_back(ready);
            if fresh {
                return Picked::Fresh(assigned);
            }
        }
        match self.ready.front() {
            Some(ready) => Picked::Old(ready.assigned.clone()),
            None => Picked::Nothing,
        }
    }

    /// Takes what masters answered: each volume once, and none that is avoided. What they did not name any more goes.
    fn renew(&mut self, answers: Vec<(u32, Vec<Server>)>, settings: &Settings, now: Instant) {
        self.avoided_volumes.retain(|_, until| now < *until);
        self.avoided_servers.retain(|_, until| now < *until);
        let mut ready: VecDeque<Ready> = VecDeque::new();
        for (volume, servers) in answers {
            let avoided = self.avoided_volumes.contains_key(&volume)
                || servers.iter().any(|server| self.avoided_servers.contains_key(&server.http));
            if avoided {
                continue;
            }
            if let Some(known) = ready.iter_mut().find(|known| known.assigned.volume == volume) {
                known.left += settings.assign_count;
                continue;
            }
            let assigned = Assigned { volume, servers: servers.into() };
            ready.push_back(Ready { assigned, left: settings.assign_count, until: now + settings.assignment_age_max });
        }
        if !ready.is_empty() {
            self.ready = ready;
        }
    }
}

/// Volumes to write to.
pub struct Assignments {
    masters: Arc<Masters>,
    settings: Settings,
    state: Mutex<State>,
    asking: Arc<tokio::sync::Mutex<()>>,
}

impl Assignments {
    /// None yet.
    pub fn new(masters: Arc<Masters>, settings: Settings) -> Self {
        Self { masters, settings, state: Mutex::default(), asking: Arc::default() }
    }

    /// A volume for one write of about so many bytes.
    pub async fn take(self: &Arc<Self>, bytes: u64) -> Result<Assigned, AssignError> {
        for turn in 0..ASKED_MAX {
            if turn > 0 {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            match self.pick() {
                Picked::Fresh(assigned) => return Ok(assigned),
                Picked::Old(assigned) => {
                    // One asks, beside the writes: no write waits for a master while there is a volume that works.
                    if let Ok(asking) = self.asking.clone().try_lock_owned() {
                        let assignments = self.clone();
                        tokio::spawn(async move {
                            match assignments.renew(bytes).await {
                                Ok(()) => {}
                                Err(error @ AssignError::NoMaster(_)) => {
                                    tracing::debug!(%error, "the volumes that were assigned are written to on");
                                    assignments.extend();
                                }
                                // A leader that names none knows why: these are full, or unfit. A volume server would take more.
                                Err(error) => {
                                    tracing::debug!(%error, "the volumes that were assigned are not written to any more");
                                    assignments.state.lock().ready.clear();
                                }
                            }
                            drop(asking);
                        });
                    }
                    return Ok(assigned);
                }
                Picked::Nothing => {
                    let _asking = self.asking.lock().await;
                    if let Picked::Fresh(assigned) = self.pick() {
                        return Ok(assigned);
                    }
                    self.renew(bytes).await?;
                }
            }
            if let Picked::Fresh(assigned) | Picked::Old(assigned) = self.pick() {
                return Ok(assigned);
            }
        }
        Err(AssignError::Later("masters name only volumes that have just failed".to_owned()))
    }

    fn pick(&self) -> Picked {
        self.state.lock().pick(Instant::now())
    }

    /// Asks for as many volumes as are to be in use. One answer is enough.
    async fn renew(&self, bytes: u64) -> Result<(), AssignError> {
        let asked = join_all((0..self.settings.volumes_in_use.max(1)).map(|_| self.masters.assign(bytes))).await;
        let mut failed = None;
        let mut answers = Vec::new();
        for answer in asked {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if answers.is_empty() => Err(error),
            _ => {
                self.state.lock().renew(answers, &self.settings, Instant::now());
                Ok(())
            }
        }
    }

    /// Takes what there is for fresh again: no master has anything better to say.
    fn extend(&self) {
        let until = Instant::now() + self.settings.avoid_for;
        for ready in &mut self.state.lock().ready {
            ready.until = until;
            ready.left = ready.left.max(self.settings.assign_count);
        }
    }

    /// Passes this volume over for a while: it refused a write or failed at one.
    pub fn avoid_volume(&self, volume: u32) {
        let mut state = self.state.lock();
        state.ready.retain(|ready| ready.assigned.volume != volume);
        state.avoided_volumes.insert(volume, Instant::now() + self.settings.avoid_for);
    }

    /// Passes all volumes of this server over for a while: it did not answer.
    pub fn avoid_server(&self, server: &Server) {
        let mut state = self.state.lock();
        state.ready.retain(|ready| !ready.assigned.servers.contains(server));
        state.avoided_servers.insert(server.http.clone(), Instant::now() + self.settings.avoid_for);
    }
}

#[cfg(test)]
mod tests;
