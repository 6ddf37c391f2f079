//! What a lab may leave behind, looked for by other means than those that remove it; and what earlier runs of this part have left.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use crate::lab::life;
use crate::lab::plan::Name;
use crate::steps::Context;

/// The labs of a run, in front of its number.
const KINDS: [&str; 3] = ["gate", "kill", "stock"];

/// How much is told of what was left, things and characters of a command.
const TOLD_MAX: usize = 12;
const COMMAND_CHARACTERS_MAX: usize = 80;

/// A run of this part: a number, and a name that the kernel knows for as long as the run's process is there. It is in no file system, so it
/// cannot be left behind, and a later process of the same number does not have it.
pub struct Run {
    number: u32,
    _name: UnixDatagram,
}

impl Run {
    /// This process's run.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn begin() -> anyhow::Result<Self> {
        let number = std::process::id();
        let name = UnixDatagram::bind_addr(&name(number)?).context("the run cannot be named")?;
        Ok(Self { number, _name: name })
    }

    /// A lab of this run.
    ///
    /// # Errors
    /// Never: the kinds are short.
    pub fn lab(&self, kind: &str) -> anyhow::Result<Name> {
        format!("{kind}{}", self.number).parse()
    }

    /// All labs that this run may have.
    ///
    /// # Errors
    /// Never.
    pub fn labs(&self) -> anyhow::Result<Vec<Name>> {
        KINDS.iter().map(|kind| self.lab(kind)).collect()
    }

    /// Removes what runs have left that are over: they were killed, and what guarded their labs too, or the machine went down.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn remove_of_others(&self, context: &mut Context<'_>) -> anyhow::Result<()> {
        for entry in names(Path::new("/var/tmp")).chain(names(Path::new("/run/netns"))) {
            for kind in KINDS {
                let rest = entry.strip_prefix("cairn-").and_then(|name| name.strip_prefix(kind));
                let Some(number) = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok()) else { continue };
                // What has this process's number is of an earlier process: this one has made nothing yet.
                if number == self.number || !is_there(number)? {
                    let lab = format!("{kind}{number}").parse::<Name>()?;
                    if life::remove(&lab).with_context(|| format!("{entry} cannot be removed"))? != life::Removed::default() {
                        context.say(&format!("a run that is over had left the lab {lab}; it is removed"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn name(number: u32) -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from_abstract_name(format!("cairn-lab-run-{number}"))?)
}

fn is_there(number: u32) -> anyhow::Result<bool> {
    Ok(UnixDatagram::unbound()?.connect_addr(&name(number)?).is_ok())
}

/// Finds nothing of a lab.
///
/// # Errors
/// Where something is left, with what it is.
pub fn none(lab: &Name) -> anyhow::Result<()> {
    let mut left = Vec::new();
    for directory in ["/run/netns", "/var/tmp", "/tmp", "/dev/shm"] {
        left.extend(
            names(Path::new(directory)).filter(|name| mentions(name, &lab.prefix())).map(|name| format!("{directory}/{name}")),
        );
    }
    for process in names(Path::new("/proc")).filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        let directory = Path::new("/proc").join(&process);
        let told = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).replace('\0', " ");
        let working = std::fs::read_link(directory.join("cwd")).unwrap_or_default();
        if mentions(&told, &lab.prefix()) || working.starts_with(lab.directory()) {
            // PostgreSQL's processes fill what they are called with blanks.
            let told: String = told.trim_end().chars().take(COMMAND_CHARACTERS_MAX).collect();
            left.push(format!("process {process} ({told})"));
        }
    }
    let count = left.len();
    left.truncate(TOLD_MAX);
    ensure!(left.is_empty(), "{count} left behind: {}", left.join(", "));
    Ok(())
}

/// Kills the guard that an `up` of this lab has set.
///
/// # Errors
/// Where it is not found.
pub fn kill_guard(lab: &Name) -> anyhow::Result<()> {
    let words = format!("lab\0guard\0{lab}\0");
    let is_it = |process: &i32| {
        std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|told| String::from_utf8_lossy(&told).ends_with(&words))
    };
    let guard = names(Path::new("/proc")).filter_map(|name| name.parse::<i32>().ok()).find(is_it).context("there is no guard")?;
    life::signal(guard, Signal::KILL);
    Ok(())
}

/// Whether a name stands in a text, and not only as the beginning of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| !text[at + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric()))
}

fn names(directory: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Run, is_there, mentions};

    #[test]
    fn a_run_is_there_for_as_long_as_it_lasts() {
        let run = Run::begin().expect("a run");
        assert!(is_there(run.number).expect("an answer"));
        assert!(Run::begin().is_err(), "one process runs this part once at a time");
        let number = run.number;
        drop(run);
        assert!(!is_there(number).expect("an answer"));
    }

    #[test]
    fn a_lab_is_not_taken_for_one_whose_name_begins_alike() {
        assert!(mentions("/var/tmp/cairn-gate12/wire", "cairn-gate12") && mentions("cairn-gate12", "cairn-gate12"));
        assert!(mentions("cairn-gate123 cairn-gate12-border", "cairn-gate12"));
        assert!(!mentions("cairn-gate123", "cairn-gate12"));
    }
}
