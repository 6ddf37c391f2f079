//! What can happen to a datacentre: its network is cut, everything in it is killed at one moment, everything in it stops without ending.
//! And how it comes back.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use super::component::{Component, Home, State};
use super::life::{Lab, signal};
use super::namespaces;
use super::plan::{Place, Zone};
use crate::clock;

/// How long everything in a datacentre may take to be dead, or stopped, seconds.
const SECONDS_MAX: u64 = 60;

impl Lab {
    /// Cuts a datacentre off from the others and from the clients. What runs in it goes on, and hears nothing more.
    ///
    /// # Errors
    /// Where the lab is not there.
    pub fn cut(&self, zone: Zone) -> anyhow::Result<()> {
        namespaces::cut(self.name(), Place::Zone(zone))
    }

    /// Kills everything in a datacentre (SIGKILL), or one component of it. Gives how many processes that were.
    ///
    /// # Errors
    /// Where the lab or the component is not there.
    pub fn kill(&self, zone: Zone, only: Option<&str>) -> anyhow::Result<usize> {
        self.signal_all(zone, only, Signal::KILL, |process| !is_alive(process))
    }

    /// Stops everything in a datacentre (SIGSTOP), or one component of it: it is there, and does nothing. Gives how many processes.
    ///
    /// # Errors
    /// Where the lab or the component is not there.
    pub fn hang(&self, zone: Zone, only: Option<&str>) -> anyhow::Result<usize> {
        self.signal_all(zone, only, Signal::STOP, |process| !is_alive(process) || is_stopped(process))
    }

    /// Brings a datacentre back: mends its network, lets go on what hangs, starts what is dead.
    ///
    /// # Errors
    /// Where the lab is not there, or something cannot be started. Whether it then does its work is another question.
    pub fn heal(&self, zone: Zone) -> anyhow::Result<()> {
        if namespaces::is_cut(self.name(), Place::Zone(zone))? {
            namespaces::mend(self.name(), Place::Zone(zone))?;
        }
        for process in namespaces::processes(&self.name().namespace(Place::Zone(zone)))? {
            signal(process, Signal::CONT);
        }
        // What holds the cables and the one address is of no datacentre; where it is dead, nothing heals without it.
        for component in self.components() {
            let here = component.home == Home::Zone(zone);
            let of_none = !matches!(component.home, Home::Zone(_));
            if here || of_none {
                component.start(self.name()).with_context(|| format!("{} {}", component.home.name(), component.name))?;
            }
        }
        Ok(())
    }

    /// Sends a signal until it has had its effect on all.
    fn signal_all(&self, zone: Zone, only: Option<&str>, what: Signal, is_done: fn(i32) -> bool) -> anyhow::Result<usize> {
        let one = only.map(|name| self.process_of(zone, name)).transpose()?;
        let started = clock::now();
        let mut reached = BTreeSet::new();
        loop {
            // Those that are there may still start others.
            let all = match one {
                Some(process) => vec![process],
                None => namespaces::processes(&self.name().namespace(Place::Zone(zone)))?,
            };
            // One that is ending leaves its network before it is dead.
            let left: BTreeSet<i32> =
                all.into_iter().chain(reached.iter().copied()).filter(|process| !is_done(*process)).collect();
            if left.is_empty() {
                return Ok(reached.len());
            }
            ensure!(started.elapsed() < Duration::from_secs(SECONDS_MAX), "processes {left:?} do not obey");
            for process in left {
                signal(process, what);
                reached.insert(process);
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn process_of(&self, zone: Zone, name: &str) -> anyhow::Result<i32> {
        let Some(component) = self.component(zone, name) else {
            let there: Vec<&str> = self
                .components()
                .iter()
                .filter(|component| component.home == Home::Zone(zone))
                .map(|component| component.name.as_str())
                .collect();
            bail!("there is no {name} in {}; there are {}", zone.name(), there.join(", "));
        };
        let process = component.process_id(self.name()).with_context(|| format!("{name} is down in {}", zone.name()))?;
        i32::try_from(process).context("no process id")
    }

    /// Whether a datacentre is cut off, or something in it does not run.
    pub fn is_away(&self, zone: Zone) -> bool {
        !self.at_fault(zone).is_empty() || namespaces::is_cut(self.name(), Place::Zone(zone)).unwrap_or(true)
    }

    /// The components of a datacentre that do not run, with their state.
    pub fn at_fault(&self, zone: Zone) -> Vec<(&Component, State)> {
        let of_zone = self.components().iter().filter(|component| component.home == Home::Zone(zone));
        of_zone.map(|component| (component, component.state(self.name()))).filter(|(_, state)| *state != State::Running).collect()
    }
}

fn state_letter(process: i32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

fn is_alive(process: i32) -> bool {
    state_letter(process).is_some_and(|letter| !matches!(letter, 'Z' | 'X'))
}

fn is_stopped(process: i32) -> bool {
    state_letter(process) == Some('T')
}
