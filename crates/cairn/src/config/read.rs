//! Reads the text of a file.

use std::path::Path;

use clap::{CommandFactory, error::ContextKind, error::ContextValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, Kind, ZONES};
use super::{FileSettings, suggest, zones};
use crate::cli::Cli;

/// What is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Bytes from the beginning.
    pub at: usize,
    /// In words.
    pub words: String,
}

/// What is wrong at this byte.
pub fn wrong<T>(at: usize, words: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at, words: words.into() })
}

/// A value and where it stands.
pub type Value<'a> = Spanned<DeValue<'a>>;

/// What a file's text says; relative paths begin at `directory`.
pub fn settings(text: &str, directory: &Path) -> Result<FileSettings, Wrong> {
    let table = DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        words: format!("this is not TOML: {}", error.message()),
    })?;
    let mut settings = FileSettings::default();
    for (name, value) in entries(table.get_ref()) {
        let at = name.span().start;
        match (&**name.get_ref(), value.get_ref()) {
            (ZONES, _) => settings.zones = zones::settings(value, at, directory)?,
            (name, DeValue::Table(table)) if KEYS.iter().any(|key| key.table == name) => {
                read_table(name, table, directory, &mut settings)?;
            }
            (name, _) if KEYS.iter().any(|key| key.table == name) => {
                return wrong(at, format!("{name} is a table: write [{name}], and what belongs to it below"));
            }
            (name, DeValue::Table(_)) => {
                let tables = KEYS.iter().map(|key| key.table).filter(|table| !table.is_empty());
                let meant = suggest::nearest(name, tables).map(|table| format!("[{table}]"));
                return wrong(at, format!("there is no table [{name}].{}", did_you_mean(meant)));
            }
            (name, _) => read_key("", name, at, value, directory, &mut settings)?,
        }
    }
    Ok(settings)
}

/// The entries of a table in the order in which they stand in the file.
pub fn entries<'a, 'b>(table: &'b DeTable<'a>) -> Vec<(&'b Spanned<std::borrow::Cow<'a, str>>, &'b Value<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A sentence, or none.
pub fn did_you_mean(meant: Option<String>) -> String {
    meant.map_or_else(String::new, |meant| format!(" Did you mean {meant}?"))
}

fn read_table(table: &str, entries_of: &DeTable<'_>, directory: &Path, settings: &mut FileSettings) -> Result<(), Wrong> {
    for (name, value) in entries(entries_of) {
        read_key(table, name.get_ref(), name.span().start, value, directory, settings)?;
    }
    Ok(())
}

fn read_key(
    table: &str,
    name: &str,
    at: usize,
    value: &Value<'_>,
    directory: &Path,
    settings: &mut FileSettings,
) -> Result<(), Wrong> {
    let Some(key) = KEYS.iter().find(|key| key.table == table && key.name == name) else {
        return wrong(at, unknown(table, name));
    };
    let text = text(key, value, directory)?;
    check(key, &text).map_err(|words| Wrong { at: value.span().start, words: format!("{name}: {words}") })?;
    settings.options.push((key.option, text));
    Ok(())
}

/// A key that there is not.
fn unknown(table: &str, name: &str) -> String {
    let place = if table.is_empty() { "above all tables".to_owned() } else { format!("in [{table}]") };
    let mut words = format!("there is no setting {name} {place}.");
    let here = suggest::nearest(name, KEYS.iter().filter(|key| key.table == table).map(|key| key.name));
    let elsewhere = KEYS.iter().find(|key| key.name == name || key.option == name);
    if let Some(meant) = here {
        words += &did_you_mean(Some(meant.to_owned()));
    } else if let Some(key) = elsewhere {
        let place = if key.table.is_empty() { "above all tables".to_owned() } else { format!("in [{}]", key.table) };
        words += &did_you_mean(Some(format!("{} {place}", key.name)));
    } else if ["secret", "password", "token", "access_key"].iter().any(|secret| name.contains(secret)) {
        words += " Secrets do not stand in this file: give them by files or variables (docs/configuration.md).";
    }
    words
}

/// A path as it is meant: relative ones begin at the file's directory.
pub fn path(text: &str, directory: &Path) -> String {
    // What is no UTF-8 cannot stand in the file, and a directory that is none stays as it is given.
    directory.join(text).to_str().map_or_else(|| text.to_owned(), str::to_owned)
}

/// A value as it would stand behind its flag.
fn text(key: &Key, value: &Value<'_>, directory: &Path) -> Result<String, Wrong> {
    let (at, name) = (value.span().start, key.name);
    let text = match (key.kind, value.get_ref()) {
        (Kind::Text, DeValue::String(text)) => Some(text.to_string()),
        (Kind::Path, DeValue::String(text)) => Some(path(text, directory)),
        (Kind::Number, DeValue::Integer(number)) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        (Kind::Boolean, DeValue::Boolean(is_so)) => Some(is_so.to_string()),
        (Kind::List, DeValue::Array(values)) => {
            let texts: Option<Vec<&str>> = values.iter().map(|value| value.get_ref().as_str()).collect();
            texts.filter(|texts| texts.iter().all(|text| !text.contains(','))).map(|texts| texts.join(","))
        }
        _ => None,
    };
    text.map_or_else(|| wrong(at, format!("{name} takes {}", key.kind.words())), Ok)
}

/// Whether the option takes this value: as its flag would say it.
fn check(key: &Key, text: &str) -> Result<(), String> {
    let mut command = Cli::command();
    let long = command.find_subcommand("serve").and_then(|serve| {
        let argument = serve.get_arguments().find(|argument| argument.get_id() == key.option)?;
        argument.get_long().map(str::to_owned)
    });
    let Some(flag) = long.map(|long| format!("--{long}")) else { return Err("it has no option".to_owned()) };
    let Err(error) = command.try_get_matches_from_mut(["cairn", "serve", &format!("{flag}={text}")]) else { return Ok(()) };
    // The environment may hold what is wrong, too; it is looked at when all is together.
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(about)) if about.split(' ').next() == Some(&flag) => {
            let first = error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let valid = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(values)) => format!(" (one of {})", values.join(", ")),
                _ => String::new(),
            };
            Err(first + &valid)
        }
        _ => Ok(()),
    }
}
