//! A process of a lab: how it is started, and whether it runs.
//!
//! It is nobody's child: it outlives the command that has started it, and is found again by the process id and the start time that are
//! written down beside its log. All that it is told stands in its description, so it can be started again after it was killed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::namespaces;
use super::plan::{Name, Place, Zone};

/// How much of a log is read for its last lines, bytes.
const TAIL_BYTES: u64 = 64 * 1024;

/// A variable in the environment of each, by which one is found that is not yet, or no longer, in a network with a name.
const MARK: &str = "CAIRN_LAB_COMPONENT";

/// Where and as what a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// In a datacentre.
    Zone(Zone),
    /// Outside, where users are.
    Client,
    /// Between the places: it holds the cables.
    Between,
}

impl Home {
    /// What tables and directories call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zone(zone) => zone.name(),
            Self::Client => Place::Client.name(),
            Self::Between => "between",
        }
    }

    fn namespace(self, lab: &Name) -> String {
        match self {
            Self::Zone(zone) => lab.namespace(Place::Zone(zone)),
            Self::Client => lab.namespace(Place::Client),
            // Any border will do: it enters all of them.
            Self::Between => lab.border_namespace(Place::Client),
        }
    }
}

/// A process of a lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Component {
    /// Where it runs.
    pub home: Home,
    /// What it is called; unique in its home.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its environment, besides a plain PATH and a HOME of its own.
    pub environment: Vec<(String, String)>,
    /// Whether it must not see root as its user, nor leave memory segments behind: it then runs in user and IPC namespaces of its own,
    /// in which the same user goes by PostgreSQL's name. So it needs no right to any file that the lab does not have.
    pub as_postgres: bool,
    /// Those of a lower number are started before.
    pub phase: u8,
}

/// Whether a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It runs.
    Running,
    /// It is there and stopped (SIGSTOP).
    Hung,
    /// It is not there.
    Down,
}

impl Component {
    /// Where it keeps what it keeps.
    pub fn directory(&self, lab: &Name) -> PathBuf {
        directory(lab, self.home, &self.name)
    }

    /// Its log.
    pub fn log(&self, lab: &Name) -> PathBuf {
        self.directory(lab).join("log")
    }

    /// Starts it, unless it is there.
    ///
    /// # Errors
    /// Where it cannot be started. That it ends soon after is not seen here.
    pub fn start(&self, lab: &Name) -> anyhow::Result<()> {
        if self.state(lab) != State::Down {
            return Ok(());
        }
        let directory = self.directory(lab);
        std::fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        let log = OpenOptions::new().create(true).append(true).open(self.log(lab)).context("its log cannot be written")?;
        // Each of these becomes the next, so the process id is that of the program. A session of its own keeps it out of the terminal.
        let mut command = Command::new("setsid");
        command.arg("nsenter").arg(format!("--net={}", namespaces::path(&self.home.namespace(lab)).display())).arg("--");
        if self.as_postgres {
            command.args(["unshare", "--user", "--ipc", "--map-user=postgres", "--map-group=postgres", "--"]);
        }
        command
            .args(&self.command)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &directory)
            .env("TMPDIR", &directory)
            .env("LC_ALL", "C.UTF-8")
            .env(MARK, lab.to_string())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("its log cannot be shared")?)
            .stderr(log);
        let mut child = command.spawn().context("setsid (util-linux) cannot be started")?;
        let started = start_time(child.id()).unwrap_or_default();
        std::fs::write(self.identity(lab), format!("{} {started}\n", child.id())).context("its process id cannot be kept")?;
        // While the command that has started it still runs, somebody must take note of its end.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// Whether it runs.
    pub fn state(&self, lab: &Name) -> State {
        let Some((process, started)) = self.process(lab) else {
            return State::Down;
        };
        match stat(process) {
            Some((_, now)) if now != started => State::Down,
            Some(('T' | 't', _)) => State::Hung,
            Some(('Z' | 'X', _)) | None => State::Down,
            Some(_) => State::Running,
        }
    }

    /// Its process id, and when that process was started.
    fn process(&self, lab: &Name) -> Option<(u32, u64)> {
        let text = std::fs::read_to_string(self.identity(lab)).ok()?;
        let (process, started) = text.trim().split_once(' ')?;
        Some((process.parse().ok()?, started.parse().ok()?))
    }

    /// Its process id, where it is there.
    pub fn process_id(&self, lab: &Name) -> Option<u32> {
        (self.state(lab) != State::Down).then(|| self.process(lab).map(|(process, _)| process))?
    }

    fn identity(&self, lab: &Name) -> PathBuf {
        self.directory(lab).join("process")
    }

    /// The last lines of its log.
    pub fn end_of_log(&self, lab: &Name) -> String {
        end_of(&self.log(lab), 15)
    }
}

/// Where a component of this name keeps what it keeps.
pub fn directory(lab: &Name, home: Home, name: &str) -> PathBuf {
    lab.directory().join(home.name()).join(name)
}

/// The processes that were started as components of a lab, and what they have started, as far as these keep their environment.
pub fn marked(lab: &Name) -> Vec<i32> {
    let mark = format!("{MARK}={lab}");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    processes
        .filter(|process| {
            let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        })
        .collect()
}

/// The state of a process and when it was started, in ticks since the machine was.
fn stat(process: u32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, so fields are counted after it.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn start_time(process: u32) -> Option<u64> {
    stat(process).map(|(_, started)| started)
}

fn end_of(path: &Path, lines_max: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // A Go program that gives up says why, and then what each of its threads was doing.
    let text = text.split("\n\ngoroutine ").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(lines_max)..].join("\n")
}
