//! `[[zones]]`: which zones there are.

use std::path::{Path, PathBuf};

use cairn_types::ZoneName;
use cairn_types::ids::ZONE_COUNT;
use toml::de::{DeTable, DeValue};

use super::read::{Value, Wrong, did_you_mean, entries, path, wrong};
use super::suggest;

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Its name.
    pub name: ZoneName,
    /// Its directory; below the data directory, under its name, where it is not given.
    pub directory: Option<PathBuf>,
}

/// The keys of a zone.
pub const KEYS: [&str; 2] = ["name", "directory"];
/// How zones are asked for.
const WRITE: &str = "write [[zones]] three times, with a name below each, or never";

/// The zones, in the order in which they stand in the file.
pub fn settings(value: &Value<'_>, at: usize, directory: &Path) -> Result<Vec<ZoneSettings>, Wrong> {
    let DeValue::Array(tables) = value.get_ref() else {
        return wrong(at, format!("zones are tables of one list: {WRITE}"));
    };
    let mut zones: Vec<ZoneSettings> = Vec::new();
    for table in tables {
        let at = table.span().start;
        let DeValue::Table(entries_of) = table.get_ref() else {
            return wrong(at, format!("a zone is a table: {WRITE}"));
        };
        let zone = zone(entries_of, at, directory)?;
        if zones.iter().any(|other| other.name == zone.name) {
            return wrong(at, format!("there is a zone {} above already", zone.name));
        }
        zones.push(zone);
    }
    if zones.len() != ZONE_COUNT {
        return wrong(at, format!("a store has three zones, and here are {}: {WRITE}", zones.len()));
    }
    Ok(zones)
}

fn zone(table: &DeTable<'_>, at: usize, directory: &Path) -> Result<ZoneSettings, Wrong> {
    let (mut name, mut place) = (None, None);
    for (key, value) in entries(table) {
        match &**key.get_ref() {
            "name" => {
                let given: Result<ZoneName, _> = text("name", value)?.parse();
                name = Some(given.or_else(|error| wrong(value.span().start, error.to_string()))?);
            }
            "directory" => place = Some(PathBuf::from(path(text("directory", value)?, directory))),
            other => {
                let meant = suggest::nearest(other, KEYS).map(str::to_owned);
                return wrong(key.span().start, format!("a zone has no setting {other}.{}", did_you_mean(meant)));
            }
        }
    }
    let Some(name) = name else { return wrong(at, "this zone has no name: write name = \"…\" below [[zones]]") };
    Ok(ZoneSettings { name, directory: place })
}

fn text<'a>(key: &str, value: &'a Value<'_>) -> Result<&'a str, Wrong> {
    let text = value.get_ref().as_str().filter(|text| !text.is_empty());
    text.map_or_else(|| wrong(value.span().start, format!("{key} takes a text in quotes")), Ok)
}
