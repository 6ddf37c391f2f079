//! Letting a zone in again that has left its mount for good: an administrator's decision, made while nothing runs.
//!
//! A zone that was a mount point and is none now is left alone for ever (L9): what lies at its path may be what the mount had covered. Only a person can
//! know that it is not. [`examine`] looks, changes nothing, and says what would be done; [`Adoption::carry_out`] does it: it takes the note *was a
//! mount point* back in every zone's identity, and nothing else. Every other rule judges the directory at the next start, as any other
//! directory.
//!
//! The mount check is the only thing that keeps an old copy under a mount from voting while the zones that know better are away. So that
//! waiving it lets nothing in that is not the zone's own and newest, all three zones must be there to testify, each of which could vote:
//!
//! - a directory of another store, of another zone, of no zone, or damaged is refused;
//! - an older copy is refused: with the other two there, one of them has every acknowledged batch, and its marks say what this zone had (L7);
//! - one that holds nothing is let in as what it is, a zone without memory, which the other two rebuild (L7). One at a time.
//!
//! Cut short, it has taken the note back in some identities and not in others; any one that still has it keeps the zone out (L9), and it can be
//! done again.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cairn_disk::Environment;
use cairn_disk::zone_directory::ZoneDirectory;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::{ZoneIndex, ZoneName};

use super::decide::{Found, Role, Start, decide};
use super::place::{Looked, Place};
use super::replicated::ZonePlace;
use super::start::look_at_all;
use super::zone_log::LogSettings;

/// How long a zone may take to answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(60);

/// Why nothing is adopted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} Nothing was changed.")]
pub struct NotAdopted(pub String);

/// What is known of a zone that is to be adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// It holds the zone's log up to this batch: no less than the other zones know that it had.
    Whole {
        /// Its last batch.
        batch: u64,
        /// Its life, which goes on.
        incarnation: u64,
    },
    /// It holds nothing: it begins a new life, rebuilt from the other two.
    Empty,
}

/// What would be done. The zones are locked for as long as this lives (L10).
pub struct Adoption {
    environment: Environment,
    places: [Place; ZONE_COUNT],
    looked: [Looked; ZONE_COUNT],
    zones: Vec<(ZoneIndex, Adopted)>,
}

fn no<T>(words: String) -> Result<T, NotAdopted> {
    Err(NotAdopted(words))
}

/// Looks whether these zones may be let in without their mounts. Changes nothing.
pub async fn examine(
    environment: &Environment,
    places: &[ZonePlace; ZONE_COUNT],
    adopted: &[ZoneName],
) -> Result<Adoption, NotAdopted> {
    let names = places.each_ref().map(|place| place.name.clone());
    if let Some(stranger) = adopted.iter().find(|name| !names.contains(name)) {
        let known = names.each_ref().map(ZoneName::as_str).join(", ");
        return no(format!("The store has no zone {stranger}; its zones are {known}."));
    }
    let waived = ZoneIndex::ALL.map(|zone| adopted.contains(&names[zone.get()]));
    let places = ZoneIndex::ALL.map(|zone| Place {
        zone,
        names: names.clone(),
        path: places[zone.get()].path.clone(),
        environment: environment.clone(),
        log_settings: LogSettings::default(),
        mount_waived: waived[zone.get()],
    });
    let (looked, remembered) = look_at_all(&places, Default::default(), LOOK_TIMEOUT).await;
    for zone in ZoneIndex::ALL.into_iter().filter(|zone| waived[zone.get()]) {
        let (name, path) = (&names[zone.get()], places[zone.get()].path.display());
        if environment.disk.is_mount_point(&places[zone.get()].path).await.unwrap_or(false) {
            return no(format!("{name}: {path} is a mount point: nothing keeps it out for that."));
        }
        if !remembered[zone.get()] {
            return no(format!("{name}: {path} was no mount point when it was last used: nothing keeps it out for that."));
        }
    }
    let roles = match decide(&names, &looked.each_ref().map(|looked| looked.found.clone())) {
        Start::Serve { roles, .. } => roles,
        Start::Refuse(refusal) => {
            let said = refusal.zones.iter().map(|(name, words)| format!("\n  {name}: {words}"));
            return no(format!("{}{}\n", refusal.reason, said.collect::<String>()));
        }
        Start::Form { .. } => return no("There is no store in these directories that has ever served.".to_owned()),
    };
    let mut zones = Vec::new();
    let mut words = Vec::new();
    for zone in ZoneIndex::ALL {
        let (name, found) = (&names[zone.get()], &looked[zone.get()].found);
        match (&roles[zone.get()], found) {
            (Role::Voter, Found::Member(member)) if waived[zone.get()] => {
                let (batch, incarnation) = (member.last.index, member.identity.incarnation.0);
                zones.push((zone, Adopted::Whole { batch, incarnation }));
            }
            (Role::Voter, _) => {}
            (_, Found::Empty) if waived[zone.get()] => zones.push((zone, Adopted::Empty)),
            (Role::Lost(reason) | Role::RebuildCatalog(reason) | Role::Out(reason), _) => {
                words.push(format!("\n  {name}: {reason}"));
            }
        }
    }
    if !words.is_empty() {
        let why = "A zone is let in without its mount only where all three are there, whole, and know of each other: else nobody can tell whether \
                   its directory is the newest one.";
        return no(format!("{why}{}\n", words.concat()));
    }
    Ok(Adoption { environment: environment.clone(), places, looked, zones })
}

impl Adoption {
    /// The zones, where their directories are, and what they hold.
    pub fn zones(&self) -> impl Iterator<Item = (&ZoneName, &PathBuf, &Adopted)> {
        self.zones.iter().map(|(zone, adopted)| {
            let place = &self.places[zone.get()];
            (&place.names[zone.get()], &place.path, adopted)
        })
    }

    /// Takes the note back, in every zone.
    pub async fn carry_out(self) -> io::Result<()> {
        for (place, looked) in self.places.iter().zip(self.looked) {
            let Found::Member(member) = looked.found else { continue };
            let disk = self.environment.disk.clone();
            // Fails where the identity is not the one that was looked at.
            let directory = ZoneDirectory::open_with(disk, &place.path, &member.identity, looked.lock).await?;
            let take_back = |identity: &mut cairn_disk::zone_directory::Identity| {
                for (zone, _) in &self.zones {
                    identity.mount_points[zone.get()] = false;
                }
            };
            directory.update(take_back).await?;
        }
        Ok(())
    }
}
