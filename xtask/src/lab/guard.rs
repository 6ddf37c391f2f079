//! A lab outlives the command that made it, and must not outlive one that was to remove it again: an `up` that has not come to its end, a
//! part of the test. Such a command has a guard, a process of its own that waits at a pipe for the command's end, however it ends, SIGKILL
//! included, and removes what is there of its labs then. So the command needs no handler of interrupts, which would run beside what it
//! interrupts.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;

use super::life::{self, Removed};
use super::plan::Name;

/// What the guard is told where there is nothing to remove any more.
const STAY: &[u8] = b"stay";
/// How long what the command was just starting may take to be there.
const STRAGGLING: Duration = Duration::from_millis(500);
/// How often to try again where something cannot be removed, as where somebody else is removing the same.
const ATTEMPTS_MORE: u32 = 5;

/// The guard of some labs. They are removed once this process has ended, or has dropped it.
pub struct Guard {
    process: Child,
}

impl Guard {
    /// Sets a guard on labs, which need not be there yet.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn of(labs: &[Name]) -> anyhow::Result<Self> {
        let mut command = Command::new("setsid");
        command.arg(crate::process::own_program()).args(["lab", "guard"]);
        for lab in labs {
            command.arg(lab.to_string());
        }
        // It holds nothing open but the errors, so that who waits for the end of what this command says sees what was removed.
        let process = command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("setsid (util-linux) cannot be started")?;
        Ok(Self { process })
    }

    /// Dismisses it: the labs stay.
    pub fn dismiss(mut self) {
        if let Some(mut word) = self.process.stdin.take() {
            // Where it does not hear that, it was killed, and removes nothing either.
            let _ = word.write_all(STAY);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The guard's process.
///
/// # Errors
/// Where something cannot be removed.
pub fn run(labs: &[Name]) -> anyhow::Result<()> {
    let mut told = Vec::new();
    // However this ends, nobody is there any more.
    let _ = std::io::stdin().read_to_end(&mut told);
    if told == STAY {
        return Ok(());
    }
    sleep(STRAGGLING);
    // Only where something could not be removed is it tried again: from the moment that all is gone, another lab may have the name.
    let mut result = remove_all(labs);
    for _ in 0..ATTEMPTS_MORE {
        if result.is_ok() {
            break;
        }
        sleep(STRAGGLING);
        result = remove_all(labs);
    }
    result
}

fn remove_all(labs: &[Name]) -> anyhow::Result<()> {
    for lab in labs {
        if life::remove(lab)? != Removed::default() {
            eprintln!("the lab {lab} is removed: what was making it, or needed it, has ended");
        }
    }
    Ok(())
}
