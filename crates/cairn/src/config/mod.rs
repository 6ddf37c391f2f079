//! `cairn.toml`: one file with every setting of the command line, and what the command line has no words for.
//!
//! A setting is taken from its flag, else from its variable, else from the file, else it has its default. The file becomes defaults of the same
//! options, so that one parser and one set of checks holds for all three. Nothing in it is passed over: an unknown key is refused, with its line
//! and with what may have been meant. Secrets do not stand in it; it names files that only their owner can read. Relative paths begin at the
//! file's own directory.

mod keys;
mod read;
mod suggest;
mod zones;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};

#[cfg(test)]
use keys::KEYS;
pub use zones::ZoneSettings;

/// The flag that names the file.
const FLAG: &str = "--config";
/// The variable that names it where there is no flag.
const VARIABLE: &str = "CAIRN_CONFIG";
/// The longest configuration file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, from 1 on; `None` where it is about all of it.
    pub line: Option<usize>,
    /// In words.
    pub words: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ", line {line}")?;
        }
        write!(formatter, ": {}", self.words)
    }
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSettings {
    /// The command line's options, by their ids, as they would be written behind their flags.
    pub options: Vec<(&'static str, String)>,
    /// The zones, in the order in which they stand there: none, or three.
    pub zones: Vec<ZoneSettings>,
}

/// The command line with the file that it names behind it. Ends the process with words where either is wrong, as the command line's parser does.
pub fn command_line() -> Cli {
    parse(std::env::args_os().collect(), std::env::var_os(VARIABLE)).unwrap_or_else(|error| error.exit())
}

fn parse(arguments: Vec<OsString>, variable: Option<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let mut zones = Vec::new();
    if let Some(file) = named(&arguments).or_else(|| variable.filter(|_| takes_a_file(&arguments)).map(PathBuf::from)) {
        let settings = load(&file).map_err(|error| command.error(ErrorKind::ValueValidation, error))?;
        for subcommand in ["serve", "doctor"] {
            command = command.mut_subcommand(subcommand, |mut subcommand| {
                for (id, value) in &settings.options {
                    subcommand = subcommand.mut_arg(id, |argument| argument.default_value(value.clone()));
                }
                subcommand
            });
        }
        zones = settings.zones;
    }
    let mut cli = Cli::from_arg_matches(&command.try_get_matches_from_mut(arguments)?)?;
    if let Command::Serve(options) | Command::Doctor(crate::doctor::DoctorOptions { serve: options, .. }) = &mut cli.command {
        if !zones.is_empty() && !options.zones.is_empty() {
            let words = "the configuration file has zones, and --zone was given, too; keep them in one of both";
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, words));
        }
        options.file_zones = zones;
        options.check().map_err(|words| Cli::command().error(ErrorKind::MissingRequiredArgument, words))?;
    }
    Ok(cli)
}

/// The file that the command line names: it has to be known before the rest can be read.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = rest.next() {
        if argument == FLAG {
            return rest.next().map(PathBuf::from);
        }
        if let Some(file) = argument.to_str().and_then(|argument| argument.strip_prefix(FLAG)?.strip_prefix('=')) {
            return Some(PathBuf::from(file));
        }
    }
    None
}

fn takes_a_file(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == "serve" || argument == "doctor")
}

/// Reads and checks a file.
pub fn load(file: &Path) -> Result<FileSettings, ConfigError> {
    let whole = |words: String| ConfigError { file: file.to_owned(), line: None, words };
    let unreadable = |error: std::io::Error| whole(format!("it cannot be read: {error}. Give another file with {FLAG}."));
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(whole(format!("it has {length} bytes; a configuration has at most {FILE_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    let directory = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let directory = directory.parent().unwrap_or(Path::new("/")).to_owned();
    read::settings(&text, &directory).map_err(|error| ConfigError {
        file: file.to_owned(),
        line: Some(text.get(..error.at).map_or(1, |before| before.matches('\n').count() + 1)),
        words: error.words,
    })
}

#[cfg(test)]
mod tests;
