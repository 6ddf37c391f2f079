//! A page of `docs/tools`, whose command lines the scenarios run: what stands there is what is tested.
//!
//! A block is run by `sh -eu` in the scratch directory, where the page's files are, with the tool first in the path and the variables that
//! [docs/tools/README.md] tells users to set, and no other: `ENDPOINT`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and over HTTPS `CA`.
//! The page's block `settings` goes before each of the others; what a block has for one scheme alone says so in its name (`… over https`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, ensure};

use super::Suite;
use super::service::{Keys, Scheme};
use crate::pages::{self, Block, DIRECTORY, Kind};

/// What goes before each block.
const SETTINGS: &str = "settings";

/// A page and the tool it is about.
pub struct Page {
    name: &'static str,
    blocks: Vec<Block>,
    /// The directory of the tool's program.
    path: PathBuf,
    /// The scheme's name after ` over `.
    scheme: Scheme,
    ran: RefCell<BTreeSet<String>>,
}

impl Page {
    /// Reads a page, by its name in `docs/tools`; the tool's program is `program`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(suite: &Suite<'_, '_>, name: &'static str, program: &Path) -> anyhow::Result<Self> {
        let path = suite.context.workspace.root().join(DIRECTORY).join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let blocks = pages::blocks(&text).map_err(|(line, what)| anyhow!("{DIRECTORY}{name}:{line}: {what}"))?;
        let path = program.parent().unwrap_or(Path::new("/")).to_path_buf();
        Ok(Self { name, blocks, path, scheme: suite.service.scheme(), ran: RefCell::default() })
    }

    /// The command that runs a block.
    ///
    /// # Errors
    /// Where the page has no such block.
    pub fn command(&self, suite: &Suite<'_, '_>, name: &str) -> anyhow::Result<Command> {
        let block = self.block(name).with_context(|| format!("{DIRECTORY}{} has no block {name:?}", self.name))?;
        let command = self.shell(suite, &block.text);
        self.ran.borrow_mut().insert(name.to_owned());
        Ok(command)
    }

    /// A command for lines that are on no page, with the page's settings.
    pub fn shell(&self, suite: &Suite<'_, '_>, lines: &str) -> Command {
        let mut script = String::new();
        for settings in [SETTINGS.to_owned(), format!("{SETTINGS} over {}", self.scheme)] {
            if let Some(block) = self.block(&settings) {
                script.push_str(&block.text);
                self.ran.borrow_mut().insert(settings);
            }
        }
        script.push_str(lines);
        let mut command = suite.command(Path::new("/bin/sh"));
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).unwrap_or_default();
        let path = format!("{}:{}", self.path.display(), path.to_string_lossy());
        command
            .args(["-euc", &script])
            .env("PATH", path)
            .env("ENDPOINT", suite.service.endpoint())
            .env("AWS_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY);
        if let Some(authority) = suite.service.certificate_authority() {
            command.env("CA", authority);
        }
        command
    }

    /// Runs a block and gives what it wrote to standard output.
    ///
    /// # Errors
    /// Where there is no such block, or a line of it fails.
    pub fn run(&self, suite: &mut Suite<'_, '_>, name: &str) -> anyhow::Result<String> {
        let mut command = self.command(suite, name)?;
        suite.output(&mut command)
    }

    /// Runs a block of this scheme, where the page has one for it.
    ///
    /// # Errors
    /// Where a line of it fails.
    pub fn run_for_scheme(&self, suite: &mut Suite<'_, '_>, name: &str) -> anyhow::Result<()> {
        let name = format!("{name} over {}", self.scheme);
        if self.block(&name).is_some() { self.run(suite, &name).map(drop) } else { Ok(()) }
    }

    /// Every block of the page that is for this scheme must have been run.
    ///
    /// # Errors
    /// Where one was not.
    pub fn was_run(&self) -> anyhow::Result<()> {
        let ran = self.ran.borrow();
        let other = match self.scheme {
            Scheme::Http => Scheme::Https,
            Scheme::Https => Scheme::Http,
        };
        let left: Vec<&str> = self
            .blocks
            .iter()
            .filter_map(|block| if let Kind::Run(name) = &block.kind { Some(name.as_str()) } else { None })
            .filter(|name| !ran.contains(*name) && !name.ends_with(&format!(" over {other}")))
            .collect();
        ensure!(left.is_empty(), "nothing has run {left:?} of {DIRECTORY}{}", self.name);
        Ok(())
    }

    fn block(&self, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| matches!(&block.kind, Kind::Run(own) if own == name))
    }
}
