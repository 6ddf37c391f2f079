//! L9: a start that refuses says why and changes nothing, byte for byte, whatever it found.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use cairn_catalog::embedded::log::batch::{FRAME_HEADER_LENGTH, FileHeader, FrameHeader};
use cairn_catalog::embedded::log::keeper::ZonePhase;
use cairn_catalog::embedded::log::replicated::StartError;
use cairn_disk::zone_directory::Identity;
use cairn_testkit::sim_disk::Operation;
use cairn_testkit::sim_environment::simulate;

use crate::world::{World, append, path};

const ALL: [Operation; 5] = [Operation::Lookup, Operation::Name, Operation::Read, Operation::Write, Operation::Sync];

/// A store that has served and whose power went: with a torn tail, a half made file and a half made spare in every zone, all of which the
/// next start would clear up.
async fn untidy(world: &mut World) {
    let life = world.start().await.unwrap_or_else(|error| panic!("{error}"));
    for zone in life.store.zones() {
        let mut zone = zone.clone();
        zone.wait_for(|status| status.phase == ZonePhase::Voting).await.unwrap();
    }
    for number in 0..12 {
        append(&life.store, &world.told, number % 3).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    world.end(life, true).await;
    for zone in 0..3 {
        let mut files = world.disk.backup(&path(zone));
        let log = files.keys().filter(|name| name.extension().is_some_and(|extension| extension == "log")).max().unwrap().clone();
        tear(files.get_mut(&log).unwrap());
        files.insert("log-0/00000000000000ff.log.new".into(), b"half made".to_vec());
        files.insert("log-0/spare-200".into(), b"half made".to_vec());
        files.insert("identity.new".into(), b"half made".to_vec());
        world.disk.restore(&path(zone), &files);
    }
}

/// Turns a bit of the last frame's batch: nothing vouches for that one.
fn tear(content: &mut [u8]) {
    let bytes = Bytes::copy_from_slice(content);
    let file = FileHeader::decode(&bytes).unwrap();
    let frame = |offset: &usize| FrameHeader::decode(&bytes[*offset..], file.nonce).is_some();
    let last = (4096..content.len()).step_by(512).filter(frame).last().unwrap();
    content[last + FRAME_HEADER_LENGTH + 20] ^= 1;
}

fn newer(files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let text = String::from_utf8(files[Path::new("identity")].clone()).unwrap();
    let (body, _) = text.rsplit_once("\ncrc32c ").unwrap();
    let body = body.replace("\"format\": 1,", "\"format\": 2,\n  \"of-later\": true,");
    let text = format!("{body}\ncrc32c {:08x}\n", crc32c::crc32c(body.as_bytes()));
    assert!(Identity::decode(text.as_bytes()).is_err());
    files.insert("identity".into(), text.into_bytes());
}

/// Prepares, starts, and compares all that is on the disk before and after.
fn refused(words: &'static [&'static str], prepare: impl Fn(&mut World, &[BTreeMap<PathBuf, Vec<u8>>; 3])) {
    simulate(async move {
        let mut world = World::new(77);
        untidy(&mut world).await;
        let zones = [0, 1, 2].map(|zone| world.disk.backup(&path(zone)));
        prepare(&mut world, &zones);
        let before = world.disk.backup(Path::new("/"));
        let operations = world.disk.operations();
        match world.start().await {
            Err(StartError::Refused(refusal)) => {
                let told = refusal.to_string();
                for words in words.iter().chain(&["Nothing was changed."]) {
                    assert!(told.contains(words), "{words:?} is not in {told}");
                }
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started"),
        }
        assert_eq!(world.disk.operations(), operations, "a refused start wrote, synced or named something ({words:?})");
        let after = world.disk.backup(Path::new("/"));
        let differing: Vec<_> = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name)).collect();
        assert!(differing.is_empty(), "a refused start changed {differing:?} ({words:?})");
    });
}

#[test]
fn a_refused_start_changes_nothing() {
    refused(&["1 can", "geneva: empty", "gland: empty", "lucerne: has a log"], |world, _| {
        world.wipe(0);
        world.wipe(1);
    });
    refused(&["1 can", "geneva: cannot be read", "lucerne: has a log"], |world, _| {
        for zone in [0, 1] {
            world.disk.fail(&path(zone), &ALL, ErrorKind::TimedOut, 1);
        }
    });
    refused(&["1 can", "geneva: cannot be read: it has not answered for"], |world, _| {
        for zone in [0, 1] {
            world.disk.hang(&path(zone), &ALL);
        }
    });
    refused(&["1 can", "geneva: empty", "gland: has no vote: the log in"], |world, zones| {
        world.wipe(0);
        let log = zones[1].keys().find(|name| name.extension().is_some_and(|extension| extension == "log")).unwrap();
        world.disk.flip_bit(&path(1).join(log), (4096 + 100) * 8);
    });
    refused(&["1 can", "geneva: refused: it holds the zone gland, not geneva: were directories swapped?"], |world, zones| {
        world.disk.restore(&path(0), &zones[1]);
        world.disk.restore(&path(1), &zones[0]);
    });
    refused(&["1 can", "gland: refused: it holds \"photos\", which is not a zone's"], |world, _| {
        world.wipe(0);
        world.disk.restore(&path(1), &[("photos".into(), b"of the lake".to_vec())].into());
    });
    refused(&["1 can", "gland: has lost its memory: the file identity is missing"], |world, zones| {
        world.wipe(0);
        let mut files = zones[1].clone();
        files.remove(Path::new("identity"));
        world.disk.restore(&path(1), &files);
    });
    refused(&["1 can", "gland: refused: the file identity cannot be read: its format is 2", "newer version"], |world, zones| {
        world.wipe(0);
        let mut files = zones[1].clone();
        newer(&mut files);
        world.disk.restore(&path(1), &files);
    });
    refused(&["was found", "refused: the file identity cannot be read: its format is 2"], |world, zones| {
        for (zone, files) in zones.iter().enumerate() {
            let mut files = files.clone();
            newer(&mut files);
            world.disk.restore(&path(zone), &files);
        }
    });
}

/// Off their mounts, and of another store.
#[test]
fn a_start_that_finds_other_file_systems_or_stores_changes_nothing() {
    simulate(async {
        let mut world = World::new(78);
        for zone in [0, 1] {
            world.disk.mount(&path(zone));
        }
        untidy(&mut world).await;
        let zones = [0, 1].map(|zone| world.disk.backup(&path(zone)));
        for zone in [0, 1] {
            world.disk.unmount(&path(zone));
        }
        // An old copy lies under one of them.
        world.disk.restore(&path(1), &zones[1]);
        let (before, operations) = (world.disk.backup(Path::new("/")), world.disk.operations());
        let words = world.start().await.err().unwrap().to_string();
        assert!(words.contains("geneva: refused: its file system is not mounted"), "{words}");
        assert!(words.contains("gland: refused: its file system is not mounted"), "{words}");
        assert_eq!(world.disk.operations(), operations);
        assert!(world.disk.backup(Path::new("/")) == before);
    });
    simulate(async {
        let mut others = [World::new(79), World::new(80)];
        for other in &mut others {
            untidy(other).await;
        }
        let mut world = World::new(81);
        untidy(&mut world).await;
        for (zone, other) in others.iter().enumerate() {
            world.disk.restore(&path(zone), &other.disk.backup(&path(zone)));
        }
        let (before, operations) = (world.disk.backup(Path::new("/")), world.disk.operations());
        let words = world.start().await.err().unwrap().to_string();
        assert!(words.contains("another store"), "{words}");
        assert_eq!(world.disk.operations(), operations);
        assert!(world.disk.backup(Path::new("/")) == before);
    });
}
