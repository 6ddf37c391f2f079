//! The life of a lab: it comes up as a whole or not at all, and goes without leaving anything, whatever became of the commands before.
//!
//! What runs is found by the namespaces it runs in, and what is on disk lies in one directory; both follow from the lab's name. So no
//! record has to be right for a lab to be removed, and one whose `up` was killed in the middle is removed like any other.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::component::{Component, Home, State};
use super::guard::Guard;
use super::plan::{Name, Place, Zone, ports};
use super::stack::{self, Programs, Shape, Stack, balancer, etcd, gateway, patroni, seaweedfs};
use super::{component, database, http, namespaces};
use crate::clock;

/// What is written down of a lab, beside its processes.
const RECORD: &str = "lab.json";
/// The version of that.
const RECORD_VERSION: u32 = 1;
/// How long a phase of starting may take, seconds.
const START_SECONDS_MAX: u64 = 300;
/// How often to look whether something has come up.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long killed processes may take to be gone, seconds.
const KILL_SECONDS_MAX: u64 = 60;

/// A lab that is there.
pub struct Lab {
    name: Name,
    record: Record,
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    shape: Shape,
    components: Vec<Component>,
}

/// What was there of a lab that is gone now.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Removed {
    /// How many processes.
    pub processes: usize,
    /// How many network namespaces.
    pub namespaces: usize,
    /// Whether there was a directory.
    pub directory: bool,
}

impl Lab {
    /// Brings a lab up and tells `say` what is under way. Where that fails, nothing of it is left but a copy of its logs in `logs`.
    ///
    /// # Errors
    /// Where a lab of that name is there, namespaces cannot be made, or something does not come up.
    pub fn up(name: &Name, shape: Shape, programs: &Programs, logs: &Path, say: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        namespaces::are_possible()?;
        let directory = name.directory();
        let is_there = !namespaces::existing(name).is_empty() || directory.symlink_metadata().is_ok();
        ensure!(
            !is_there,
            "there is a lab {name} already, or what is left of one: see `status`, remove it with `down`, or use another --name"
        );
        // From here on, and not before: what has been there is not this command's to remove.
        let guard = Guard::of(std::slice::from_ref(name))?;
        if let Err(error) = std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            // Another command of the same name may have been quicker: then the lab is its own.
            guard.dismiss();
            return Err(error).with_context(|| format!("{} cannot be made", directory.display()));
        }
        let result = Self::start(name, shape, programs, say);
        if result.is_ok() {
            guard.dismiss();
        } else {
            let kept = keep_logs(name, logs);
            remove(name)?;
            kept.with_context(|| format!("the logs cannot be kept in {}", logs.display()))?;
        }
        result.with_context(|| format!("the lab did not come up and is removed; its logs are in {}", logs.display()))
    }

    fn start(name: &Name, shape: Shape, programs: &Programs, say: &mut dyn FnMut(&str)) -> anyhow::Result<Self> {
        namespaces::make(name)?;
        let components = stack::components(name, &shape, programs)?;
        let lab = Self { name: name.clone(), record: Record { version: RECORD_VERSION, shape, components } };
        let text = serde_json::to_string_pretty(&lab.record).context("the record is no JSON")?;
        std::fs::write(name.directory().join(RECORD), text).context("the record cannot be written")?;
        let phases: BTreeSet<u8> = lab.components().iter().map(|component| component.phase).collect();
        for phase in phases {
            let of_phase = || lab.components().iter().filter(move |component| component.phase == phase);
            let names: BTreeSet<&str> = of_phase().map(|component| component.name.as_str()).collect();
            let started = clock::now();
            for component in of_phase() {
                component.start(name).with_context(|| format!("{} {}", component.home.name(), component.name))?;
            }
            lab.wait_for_phase(phase)?;
            if names.contains(patroni::NAME) {
                database::create(name).context("the gateways' database cannot be made")?;
            }
            let names: Vec<&str> = names.into_iter().collect();
            say(&format!("{:5.1} s  {}", started.elapsed().as_secs_f64(), names.join(", ")));
        }
        Ok(lab)
    }

    /// The lab of this name.
    ///
    /// # Errors
    /// Where there is none that has come up.
    pub fn find(name: &Name) -> anyhow::Result<Self> {
        let path = name.directory().join(RECORD);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow::anyhow!("there is no lab {name}; `cargo xtask lab up` makes one"),
            std::io::ErrorKind::PermissionDenied => anyhow::anyhow!("the lab {name} belongs to root: run this as root too"),
            _ => anyhow::Error::new(error).context(format!("{} cannot be read", path.display())),
        })?;
        let record: Record = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(
            record.version == RECORD_VERSION,
            "the lab {name} was made by another version of this tool: remove it with `down`"
        );
        Ok(Self { name: name.clone(), record })
    }

    /// What it is called.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it was to be.
    pub fn shape(&self) -> &Shape {
        &self.record.shape
    }

    /// What runs in it, in the order of starting.
    pub fn components(&self) -> &[Component] {
        &self.record.components
    }

    /// The component of this name in this datacentre.
    pub fn component(&self, zone: Zone, name: &str) -> Option<&Component> {
        self.components().iter().find(|component| component.home == Home::Zone(zone) && component.name == name)
    }

    /// Waits until what was started in a phase does what the next one needs.
    fn wait_for_phase(&self, phase: u8) -> anyhow::Result<()> {
        let started = clock::now();
        for component in self.components().iter().filter(|component| component.phase == phase) {
            while let Err(error) = self.does_its_work(component) {
                let log = || component.end_of_log(&self.name);
                if component.state(&self.name) == State::Down {
                    bail!("{} {} has ended:\n{}", component.home.name(), component.name, log());
                }
                if is_past(started, START_SECONDS_MAX) {
                    let what = format!("{} {} was not up after {START_SECONDS_MAX} s", component.home.name(), component.name);
                    return Err(error).with_context(|| format!("{what}; the end of its log:\n{}\n", log()));
                }
                sleep(LOOK_EVERY);
            }
        }
        Ok(())
    }

    /// Whether a component does what others need of it.
    fn does_its_work(&self, component: &Component) -> anyhow::Result<()> {
        let Home::Zone(zone) = component.home else {
            return match component.name.as_str() {
                balancer::NAME => self.balancer_is_up(),
                _ => super::wire::ask(&self.name, "lost").map(drop),
            };
        };
        match component.name.as_str() {
            seaweedfs::MASTER => self.answers(zone, ports::MASTER, "/cluster/status"),
            etcd::NAME if database::etcd_decides(&self.name, zone) => Ok(()),
            etcd::NAME => bail!("etcd has no leader"),
            patroni::NAME => self.has_quorum(),
            gateway::NAME => self.answers(zone, ports::ADMIN, "/readyz"),
            seaweedfs::FILER => self.answers(zone, ports::FILER, "/"),
            seaweedfs::S3 => self.answers(zone, ports::SEAWEEDFS_S3, "/status"),
            _ => self.has_volume_servers(zone),
        }
    }

    fn answers(&self, zone: Zone, port: u16, path: &str) -> anyhow::Result<()> {
        let answer = http::get(&self.name, Place::Zone(zone), zone.at(port), path)?;
        ensure!(answer.status == 200, "{} answers {} at {path}", zone.at(port), answer.status);
        Ok(())
    }

    /// Whether the masters of a datacentre know all the volume servers they should.
    pub fn has_volume_servers(&self, zone: Zone) -> anyhow::Result<()> {
        let answer = http::get(&self.name, Place::Zone(zone), zone.at(ports::MASTER), "/dir/status")?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let zones: &[Zone] = if self.shape().stack == Stack::Cairn { &[zone] } else { &Zone::ALL };
        for known in zones {
            for (name, port) in seaweedfs::volume_servers(self.shape()) {
                let address = known.at(port).to_string();
                ensure!(text.contains(&address), "the master in {} does not know {name} of {}", zone.name(), known.name());
            }
        }
        Ok(())
    }

    /// Whether PostgreSQL has a primary and two standbys that count.
    pub fn has_quorum(&self) -> anyhow::Result<()> {
        let members = database::members(&self.name)?;
        let standbys = members.iter().filter(|member| member.follows()).count();
        ensure!(members.iter().any(database::Member::leads), "PostgreSQL has no leader: {members:?}");
        ensure!(standbys == 2, "{standbys} of 2 standbys follow: {members:?}");
        database::primary(&self.name).map(drop)
    }

    /// Whether the one address has all gateways behind it.
    pub fn balancer_is_up(&self) -> anyhow::Result<()> {
        let servers = balancer::servers(&self.name)?;
        let up = servers.iter().filter(|(_, status)| status == "UP").count();
        ensure!(up == Zone::ALL.len(), "the balancer finds {up} of 3 gateways up");
        Ok(())
    }
}

/// Waits until something is so.
///
/// # Errors
/// Where it is not after `seconds_max`, with what was last found instead.
pub fn wait_until(what: &str, seconds_max: u64, mut check: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let started = clock::now();
    loop {
        let Err(error) = check() else {
            return Ok(started.elapsed());
        };
        if is_past(started, seconds_max) {
            return Err(error).with_context(|| format!("after {seconds_max} s it was not so that {what}"));
        }
        sleep(LOOK_EVERY);
    }
}

/// Removes a lab, or what is left of one.
///
/// # Errors
/// Where this runs inside the lab, or something cannot be removed.
pub fn remove(name: &Name) -> anyhow::Result<Removed> {
    let mut removed = Removed::default();
    ensure!(!namespaces::are_we_inside(name), "this runs inside the lab: leave its shell first");
    ensure!(
        rustix::process::geteuid().is_root() || namespaces::existing(name).is_empty(),
        "the lab {name} belongs to root: run this as root too"
    );
    let mut killed = kill_all(name)?;
    removed.namespaces = namespaces::existing(name).len();
    namespaces::remove(name)?;
    // One that was just entering its network was in none of them.
    killed.append(&mut kill_all(name)?);
    removed.processes = killed.len();
    let directory = name.directory();
    match std::fs::remove_dir_all(&directory) {
        Ok(()) => removed.directory = true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be removed", directory.display())),
    }
    Ok(removed)
}

/// Kills what runs in a lab until nothing does; gives what that was.
fn kill_all(name: &Name) -> anyhow::Result<BTreeSet<i32>> {
    let mut killed = BTreeSet::new();
    let started = clock::now();
    // One that is just being started may start another.
    loop {
        let mut processes: BTreeSet<i32> = component::marked(name).into_iter().collect();
        for namespace in namespaces::existing(name) {
            processes.extend(namespaces::processes(&namespace)?);
        }
        if processes.is_empty() {
            return Ok(killed);
        }
        ensure!(!is_past(started, KILL_SECONDS_MAX), "processes {processes:?} are killed and do not end");
        for process in processes {
            signal(process, Signal::KILL);
            killed.insert(process);
        }
        sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process, which may have ended.
pub fn signal(process: i32, signal: Signal) {
    if let Some(process) = Pid::from_raw(process) {
        // It ended between the look and the signal: then there is nobody to tell.
        let _ = kill_process(process, signal);
    }
}

/// Copies the logs and the configurations of a lab.
pub fn keep_logs(name: &Name, to: &Path) -> anyhow::Result<()> {
    crate::e2e::fresh_directory(to)?;
    for home in std::fs::read_dir(name.directory())?.filter_map(Result::ok) {
        // Files stand there too.
        for component in std::fs::read_dir(home.path()).into_iter().flatten().filter_map(Result::ok) {
            let prefix = format!("{}.{}", home.file_name().to_string_lossy(), component.file_name().to_string_lossy());
            let log = component.path().join("log");
            if log.exists() {
                std::fs::copy(&log, to.join(format!("{prefix}.log")))?;
            }
        }
    }
    Ok(())
}

fn is_past(started: Instant, seconds_max: u64) -> bool {
    started.elapsed() > Duration::from_secs(seconds_max)
}

/// What a person is told of a lab that is up, and how to use it.
pub fn endpoints(lab: &Lab) -> Vec<(String, String)> {
    let mut endpoints = Vec::new();
    let s3 = format!("http://{}:{}", Place::Client.address(), ports::S3);
    if lab.shape().speaks_s3() {
        endpoints.push(("S3, the one address".to_owned(), s3));
    }
    for zone in Zone::ALL {
        match lab.shape().stack {
            Stack::Cairn => {
                if lab.shape().speaks_s3() {
                    let ready = format!("http://{}/readyz", zone.at(ports::ADMIN));
                    endpoints.push((format!("{}: gateway", zone.name()), format!("http://{}   {ready}", zone.at(ports::S3))));
                }
            }
            Stack::SeaweedFs => {
                endpoints.push((format!("{}: S3 gateway", zone.name()), format!("http://{}", zone.at(ports::SEAWEEDFS_S3))));
            }
        }
        endpoints.push((format!("{}: SeaweedFS master", zone.name()), format!("http://{}", zone.at(ports::MASTER))));
        if lab.shape().has_postgresql() {
            endpoints.push((format!("{}: Patroni", zone.name()), format!("http://{}/cluster", zone.at(ports::PATRONI))));
        }
    }
    if lab.shape().has_postgresql() {
        endpoints.push(("PostgreSQL's primary".to_owned(), patroni::connection_string()));
    }
    endpoints
}
