//! The services that are measured, each as it comes: how it is started, which processes it is, and what processor time they have used.
//!
//! All check signatures, because a service that lets everybody in does less: SeaweedFS is given the one key in the file that its `-config`
//! names, Garage by a command, Cairn in its two variables. Cairn syncs before it answers and has no option not to; the others do not, as
//! they come.

mod garage;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::bytes_below;
use crate::e2e::{self, free_port};
use crate::process::{self, Running, Streams};
use crate::steps::Context;
use crate::{clock, provision};

/// The key that both services are given. It opens nothing but services that live for one bench on loopback.
pub const ACCESS_KEY_ID: &str = "AKIDCAIRNBENCH000001";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "bench-secret-of-a-throwaway-service00000";

/// How long a service may take until it takes objects, seconds.
const READY_SECONDS_MAX: u64 = 60;
/// How often processor time is looked at, to see whether a service is idle.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A service that used no more than this in [`LOOK_EVERY`] is idle: SeaweedFS's processes talk to each other a little all the time.
const IDLE_CPU_MAX: Duration = Duration::from_millis(20);
/// How long to wait until a service is idle, seconds; past that it is taken as it is.
const IDLE_SECONDS_MAX: u64 = 30;

/// A service that can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Peer {
    /// Cairn with three zone directories.
    Cairn,
    /// SeaweedFS with a volume server in each of three data centers, replication 200.
    SeaweedFs,
    /// Garage with a node in each of three zones, replication factor 3.
    Garage,
}

impl Peer {
    /// The service of this name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        match name {
            "cairn" => Ok(Self::Cairn),
            "seaweedfs" => Ok(Self::SeaweedFs),
            "garage" => Ok(Self::Garage),
            _ => bail!("there is no peer {name:?}; there are cairn, seaweedfs, garage"),
        }
    }

    /// What options call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cairn => "cairn",
            Self::SeaweedFs => "seaweedfs",
            Self::Garage => "garage",
        }
    }

    /// What tables call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cairn => "Cairn",
            Self::SeaweedFs => "SeaweedFS",
            Self::Garage => "Garage",
        }
    }
}

/// A service that runs.
pub struct Service {
    peer: Peer,
    endpoint: String,
    directory: PathBuf,
    /// Where each of the three copies is.
    copies: [PathBuf; 3],
    processes: Vec<Running>,
}

impl Service {
    /// Starts a service on an empty directory and waits until it takes requests.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn start(context: &mut Context<'_>, peer: Peer, directory: &Path) -> anyhow::Result<Self> {
        e2e::fresh_directory(directory)?;
        Self::start_on(context, peer, directory, &[])
    }

    /// Starts a service on what is in the directory and waits until it takes requests. Cairn gets these options beside those that it needs.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn start_on(context: &mut Context<'_>, peer: Peer, directory: &Path, options: &[&str]) -> anyhow::Result<Self> {
        let port = free_port()?;
        let names = match peer {
            Peer::Cairn => ["data/geneva", "data/gland", "data/lucerne"],
            Peer::SeaweedFs => ["volume-1", "volume-2", "volume-3"],
            Peer::Garage => ["node-1", "node-2", "node-3"],
        };
        let mut service = Self {
            peer,
            endpoint: format!("127.0.0.1:{port}"),
            directory: directory.to_owned(),
            copies: names.map(|name| directory.join(name)),
            processes: Vec::new(),
        };
        match peer {
            Peer::Cairn => service.start_cairn(context, port, options),
            Peer::SeaweedFs => service.start_seaweedfs(context, port),
            Peer::Garage => garage::start(&mut service, context, port),
        }
        .with_context(|| format!("{} does not come up; its logs are in {}", peer.title(), directory.display()))?;
        Ok(service)
    }

    fn start_cairn(&mut self, context: &mut Context<'_>, port: u16, options: &[&str]) -> anyhow::Result<()> {
        let admin = free_port()?;
        let mut command = Command::new(context.workspace.target().join("release").join("cairn"));
        command
            .args([
                "serve",
                "--data",
                "data",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--admin-listen",
                &format!("127.0.0.1:{admin}"),
            ])
            .args(options)
            .env("CAIRN_ROOT_ACCESS_KEY_ID", ACCESS_KEY_ID)
            .env("CAIRN_ROOT_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY);
        self.spawn(context, "serve", &mut command)?;
        self.wait_for(|| e2e::is_ready(admin))
    }

    fn start_seaweedfs(&mut self, context: &mut Context<'_>, port: u16) -> anyhow::Result<()> {
        let key = serde_json::json!({"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY});
        let actions = ["Admin", "Read", "List", "Tagging", "Write"];
        let identities = serde_json::json!({"identities": [{"name": "bench", "credentials": [key], "actions": actions}]});
        std::fs::write(self.directory.join("s3.json"), identities.to_string())?;
        let (master, master_grpc) = (free_port()?, free_port()?);
        let (filer, filer_grpc) = (free_port()?, free_port()?);
        let at_master = format!("-master=127.0.0.1:{master}.{master_grpc}");
        self.weed(
            context,
            "master",
            master,
            master_grpc,
            &["-ip=127.0.0.1", "-mdir=master", "-defaultReplication=200", "-telemetry=false"],
        )?;
        self.wait_for(|| answers(&format!("127.0.0.1:{master}")))?;
        for number in 1..=3 {
            let (directory, center) = (format!("-dir=volume-{number}"), format!("-dataCenter=center-{number}"));
            self.weed(context, "volume", free_port()?, free_port()?, &["-ip=127.0.0.1", &directory, &center, &at_master])?;
        }
        // The master must know all three before the first volume is made.
        self.wait_for(|| {
            ask_http(master, "/dir/status")
                .is_some_and(|status| (1..=3).all(|number| status.contains(&format!("center-{number}"))))
        })?;
        self.weed(context, "filer", filer, filer_grpc, &["-ip=127.0.0.1", "-defaultStoreDir=filer", &at_master])?;
        self.wait_for(|| answers(&format!("127.0.0.1:{filer}")))?;
        let at_filer = format!("-filer=127.0.0.1:{filer}.{filer_grpc}");
        self.weed(context, "s3", port, free_port()?, &["-ip.bind=127.0.0.1", &at_filer, "-config=s3.json"])?;
        let endpoint = self.endpoint.clone();
        self.wait_for(|| answers(&endpoint))
    }

    fn weed(&mut self, context: &mut Context<'_>, part: &str, port: u16, grpc: u16, arguments: &[&str]) -> anyhow::Result<()> {
        for name in ["master", "volume-1", "volume-2", "volume-3", "filer"] {
            std::fs::create_dir_all(self.directory.join(name))?;
        }
        let mut command = Command::new(provision::SEAWEEDFS.program(&context.workspace.tools()));
        command.arg(part).args([format!("-port={port}"), format!("-port.grpc={grpc}")]).args(arguments);
        let name = format!("{part}-{port}");
        self.spawn(context, &name, &mut command)
    }

    fn spawn(&mut self, context: &mut Context<'_>, name: &str, command: &mut Command) -> anyhow::Result<()> {
        // Nothing of the machine's configuration reaches it.
        let keys: Vec<_> = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &self.directory).current_dir(&self.directory);
        for (name, value) in keys {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        context.say(&format!("$ {}", process::shown(command)))?;
        let log = File::create(self.directory.join(format!("{name}.log")))?;
        self.processes.push(Running::start(command, Streams::to_log(&log)?)?);
        Ok(())
    }

    fn wait_for(&mut self, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let patience = clock::now() + Duration::from_secs(READY_SECONDS_MAX);
        while !ready() {
            for process in &mut self.processes {
                if let Some(status) = process.ended()? {
                    bail!("a process ended with {status}");
                }
            }
            ensure!(clock::now() < patience, "it was not ready after {READY_SECONDS_MAX} s");
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Which service it is.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Host and port where it speaks S3.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Shows that what was stored stands three times.
    ///
    /// # Errors
    /// Where a copy is smaller than what was stored.
    pub fn holds_three_copies(&self, stored_bytes: u64) -> anyhow::Result<()> {
        for copy in &self.copies {
            let bytes = bytes_below(copy)?;
            ensure!(bytes >= stored_bytes, "{} has {bytes} bytes, and {stored_bytes} were stored", copy.display());
        }
        Ok(())
    }

    /// The processor time of all its processes since they started, once it is idle.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn cpu_when_idle(&self) -> anyhow::Result<Duration> {
        let patience = clock::now() + Duration::from_secs(IDLE_SECONDS_MAX);
        let mut before = self.cpu()?;
        loop {
            sleep(LOOK_EVERY);
            let now = self.cpu()?;
            if now.saturating_sub(before) <= IDLE_CPU_MAX || clock::now() > patience {
                return Ok(now);
            }
            before = now;
        }
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let mut total = 0;
        for process in &self.processes {
            let path = format!("/proc/{}/stat", process.id());
            let text = std::fs::read_to_string(&path).with_context(|| format!("a process of {} has ended", self.peer.title()))?;
            total += ticks(&text).with_context(|| format!("{path} cannot be read"))?;
        }
        Ok(Duration::from_millis(total * 1000 / ticks_per_second))
    }

    /// What its processes hold in memory, bytes: now, and at most since they started.
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn resident_bytes(&self) -> anyhow::Result<(u64, u64)> {
        let mut total = (0, 0);
        for process in &self.processes {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
            let field = |name: &str| -> Option<u64> {
                let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
                rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
            };
            total.0 += field("VmRSS:").context("no VmRSS")? * 1024;
            total.1 += field("VmHWM:").context("no VmHWM")? * 1024;
        }
        Ok(total)
    }

    /// Kills it, and leaves what it stored.
    pub fn kill(mut self) {
        self.kill_in_place();
    }

    /// Kills it, and leaves what it stored. It can only be dropped then.
    pub fn kill_in_place(&mut self) {
        self.processes.clear();
    }

    /// Stops it and removes what it stored.
    ///
    /// # Errors
    /// Where its directory cannot be removed.
    pub fn remove(self) -> anyhow::Result<()> {
        // Killed: nothing of it is kept, and a shutdown in order takes SeaweedFS ten seconds.
        drop(self.processes);
        std::fs::remove_dir_all(&self.directory).with_context(|| format!("{} cannot be removed", self.directory.display()))
    }
}

/// User and system time in what `/proc/PID/stat` says, ticks. The name in it may hold anything, so fields are counted after it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn answers(address: &str) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

/// The answer to a GET without a key: of SeaweedFS's master about its topology, of Cairn about its metrics.
pub fn ask_http(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn processor_time_is_found_after_a_name_that_tries_to_mislead() {
        let stat = "77 (a) R 1 2 (b) S 1 77 77 0 -1 4194560 1 2 3 4 11 22 33 44 20 0 9 0 1";
        assert_eq!(ticks(stat), Some(33));
        assert_eq!(ticks("77 (a) S 1"), None);
    }
}
