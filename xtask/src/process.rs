//! Running other programs. Each runs in a process group of its own without standard input, and none outlives this tool when it is
//! interrupted or when a time limit ends the part that started it: the whole group is stopped, children's children too.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::clock;

/// How long a program may take to stop once asked, before it is killed.
const STOPPING_SECONDS_MAX: u64 = 10;
/// How often a running program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The groups that run now, by the process id of their first process.
static GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn groups() -> MutexGuard<'static, BTreeSet<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an interrupt (or a request to terminate) of this tool stop what it started.
///
/// # Errors
/// Where the handler cannot be installed.
pub fn stop_children_with_us() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        for &group in groups().iter() {
            signal(group, Signal::KILL);
        }
        eprintln!("\ninterrupted");
        std::process::exit(130);
    })
    .context("the interrupt handler cannot be installed")
}

fn signal(group: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // The group may have ended between the look and the signal.
        let _ = kill_process_group(pid, signal);
    }
}

/// The path of this program, to start it again while it runs: it leads there also where another was built in its place meanwhile.
pub fn own_program() -> PathBuf {
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

/// A program that runs in a process group of its own; dropping it kills the group.
pub struct Running {
    child: Child,
    name: String,
}

/// A program's standard input and outputs.
pub struct Streams {
    /// What it reads; nothing at all where there is none.
    pub input: Option<File>,
    /// Its standard output.
    pub output: File,
    /// Its standard error.
    pub errors: File,
}

impl Streams {
    /// No input, and both outputs to a log.
    ///
    /// # Errors
    /// Where the log cannot be shared.
    pub fn to_log(log: &File) -> anyhow::Result<Self> {
        Ok(Self { input: None, output: log.try_clone()?, errors: log.try_clone()? })
    }
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(command: &mut Command, streams: Streams) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut running = groups();
        let child = command
            .process_group(0)
            .stdin(streams.input.map_or_else(Stdio::null, Stdio::from))
            .stdout(streams.output)
            .stderr(streams.errors)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        running.insert(child.id());
        Ok(Self { child, name })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("{} cannot be waited for", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it has not ended by `deadline`: it is stopped then.
    pub fn wait(&mut self, deadline: Instant) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if clock::now() >= deadline {
                self.stop()?;
                bail!("{} did not end in the time it has; it was stopped", self.name);
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Asks it to stop (SIGTERM), kills what is left of it after a while. Gives how it ended, or nothing where it had to be killed.
    ///
    /// # Errors
    /// Where the system does not tell whether it has ended.
    pub fn stop(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        signal(self.child.id(), Signal::TERM);
        let patience = clock::now() + Duration::from_secs(STOPPING_SECONDS_MAX);
        let mut ended = self.ended()?;
        while ended.is_none() && clock::now() < patience {
            sleep(LOOK_EVERY);
            ended = self.ended()?;
        }
        signal(self.child.id(), Signal::KILL);
        Ok(ended)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.child.id(), Signal::KILL);
        // A killed child must be reaped; its status no longer matters to anyone.
        let _ = self.child.wait();
        groups().remove(&self.child.id());
    }
}

/// Runs a program to its end, both its outputs going to `log`.
///
/// # Errors
/// Where it cannot be started, does not end by `deadline`, or ends with a status that is not 0.
pub fn run(command: &mut Command, log: &File, deadline: Instant) -> anyhow::Result<()> {
    run_with(command, Streams::to_log(log)?, deadline)
}

/// Runs a program to its end with these streams.
///
/// # Errors
/// Where it cannot be started, does not end by `deadline`, or ends with a status that is not 0.
pub fn run_with(command: &mut Command, streams: Streams, deadline: Instant) -> anyhow::Result<()> {
    let status = Running::start(command, streams)?.wait(deadline)?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a program to its end and gives what it wrote to standard output.
///
/// # Errors
/// Where it cannot be started, ends with a status that is not 0, or writes what is not UTF-8; with what it wrote to standard error.
pub fn capture(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{} cannot be started", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", shown(command), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote what is not UTF-8", shown(command)))
}

/// A command as a person would type it, near enough to find it again. Environment variables, which may be secret, are left out.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(command.get_program()).to_string_lossy()];
    words.extend(command.get_args().map(std::ffi::OsStr::to_string_lossy));
    words.join(" ")
}
