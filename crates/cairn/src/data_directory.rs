//! The directory that `--data` names: made with mode 0700, used by one process at a time (L10).

use std::path::{Path, PathBuf};

use cairn_catalog::embedded::log::replicated::ZonePlace;
use cairn_disk::{Disk, LockGuard, RealDisk};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{ZoneIndex, ZoneName};

use crate::cli::{DEFAULT_ZONES, ServeOptions};
use crate::config::ZoneSettings;
use crate::serve::ServeError;

/// The data directory of this process.
pub struct DataDirectory {
    /// Its absolute path.
    pub path: PathBuf,
    _lock: Box<dyn LockGuard>,
}

impl DataDirectory {
    /// Makes the directory where it is missing, and locks it.
    pub async fn open(path: &Path) -> Result<Self, ServeError> {
        let disk = RealDisk::new();
        let failed = |error: std::io::Error| {
            let next = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    let user = rustix::process::geteuid().as_raw();
                    format!(
                        "It must belong to the user that serves, which is user {user} now; or give another directory with --data."
                    )
                }
                std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => {
                    "It is a file, or there is one on the way to it. Give a directory with --data.".to_owned()
                }
                _ => "Give another directory with --data.".to_owned(),
            };
            ServeError(format!("the data directory {} cannot be used: {error}. {next}", path.display()))
        };
        disk.create_directory(path).await.map_err(failed)?;
        let absolute = std::fs::canonicalize(path).map_err(failed)?;
        let lock = disk.lock(&absolute.join("lock")).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                ServeError(format!("another process serves from {}. Stop it first, or give another --data.", absolute.display()))
            }
            _ => failed(error),
        })?;
        Ok(Self { path: absolute, _lock: lock })
    }
}

/// Where the three zones of this data directory are, where these are given for them, or none.
pub fn places(data: &std::path::Path, zones: &[(ZoneName, PathBuf)]) -> Result<[ZonePlace; ZONE_COUNT], ServeError> {
    let places: Vec<ZonePlace> = if zones.is_empty() {
        let place = |name: &str| name.parse().ok().map(|name| ZonePlace { path: data.join(format!("{name}")), name });
        DEFAULT_ZONES.into_iter().filter_map(place).collect()
    } else {
        let absolute = |directory: &PathBuf| std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        zones.iter().map(|(name, directory)| ZonePlace { name: name.clone(), path: absolute(directory) }).collect()
    };
    let places: [ZonePlace; ZONE_COUNT] = places.try_into().map_err(|given: Vec<_>| {
        ServeError(format!(
            "a store has three zones: give --zone NAME=DIR three times, or never. It was given {} times.",
            given.len()
        ))
    })?;
    for (index, place) in places.iter().enumerate() {
        for other in &places[index + 1..] {
            if place.name == other.name || place.path == other.path {
                return Err(ServeError(format!(
                    "the zones {} and {} must differ in name and in directory. Give each a directory of its own with --zone NAME=DIR.",
                    place.name, other.name
                )));
            }
        }
    }
    Ok(places)
}

/// [`places`] by the options of a service: by its flags, or by its file.
pub fn zone_places(data: &Path, options: &ServeOptions) -> Result<[ZonePlace; ZONE_COUNT], ServeError> {
    if options.file_zones.is_empty() {
        return places(data, &options.zones);
    }
    let directory = |zone: &ZoneSettings| zone.directory.clone().unwrap_or_else(|| data.join(zone.name.as_str()));
    let zones: Vec<_> = options.file_zones.iter().map(|zone| (zone.name.clone(), directory(zone))).collect();
    places(data, &zones)
}

/// The zones as reads prefer them: the gateway's own first.
pub fn preference(places: &[ZonePlace; ZONE_COUNT], own: Option<&ZoneName>) -> Result<[ZoneIndex; ZONE_COUNT], ServeError> {
    let Some(own) = own else { return Ok(ZoneIndex::ALL) };
    let Some(at) = places.iter().position(|place| place.name == *own) else {
        let names = places.each_ref().map(|place| place.name.as_str()).join(", ");
        return Err(ServeError(format!(
            "this gateway's own zone is said to be {own}, and the zones are {names}. Name one of these."
        )));
    };
    let mut preference = ZoneIndex::ALL;
    preference.rotate_left(at);
    Ok(preference)
}
