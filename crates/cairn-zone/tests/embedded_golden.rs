//! The bytes of version 1, as a fixture that opens for ever.
//!
//! `CAIRN_BLESS=1` writes the fixture anew: only right together with a new format version, under a new name, once a version is released.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_testkit::sim_environment::simulate;
use cairn_testkit::zone_conformance::{WRITER, chunk_id, delete, expect, payload, put, walk};
use cairn_types::Locator;
use cairn_zone::embedded::Settings;
use cairn_zone::{Zone, ZoneError};
use common::{Machine, small};

const LENGTHS: [usize; 4] = [100, 5000, 0, 3968];

/// The upper half of the nonce that this seed gives the fixture's generation.
const TAG: [u8; 4] = [0x88, 0x10, 0x87, 0xa9];

fn settings() -> Settings {
    Settings { reserve_bytes: 0, ..small() }
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/segment-v1.bin")
}

/// What the locators of the fixture are, byte for byte: they stand in catalogs.
fn locators() -> Vec<Locator> {
    let [a, b, c, d] = TAG;
    // Version, four bytes of the nonce, incarnation 4, generation 1.
    [(1, 1), (2, 2), (4, 3), (5, 4)]
        .map(|(block, sequence)| Locator::new(vec![1_u8, a, b, c, d, 4, 1, block, sequence].into()).expect("short"))
        .into()
}

#[test]
fn the_writer_still_writes_version_1() {
    let bytes = simulate(async {
        let mut machine = Machine::new(1);
        let zone = machine.open(settings()).await;
        for (number, length) in LENGTHS.into_iter().enumerate() {
            let locator = put(&zone, chunk_id(number as u64), &payload(number as u64, length)).await;
            assert_eq!(locator, locators()[number]);
        }
        delete(&zone, &locators()[1], chunk_id(1)).await.expect("deleting");
        zone.close().await;
        let mut files = machine.disk.backup(Path::new("/data/gland/segments"));
        assert_eq!(files.len(), 1);
        files.pop_first().expect("one").1
    });
    if std::env::var_os("CAIRN_BLESS").is_some() {
        std::fs::create_dir_all(fixture().parent().expect("a folder")).expect("a folder");
        std::fs::write(fixture(), &bytes).expect("writing the fixture");
    }
    let golden = std::fs::read(fixture()).expect("the fixture");
    let differs = golden.iter().zip(&bytes).position(|(one, two)| one != two);
    assert!(golden == bytes, "lengths {} and {}, first difference at {differs:?}", golden.len(), bytes.len());
}

#[test]
fn the_fixture_opens() {
    simulate(async {
        let golden = std::fs::read(fixture()).expect("the fixture");
        let files = BTreeMap::from([(PathBuf::from("identity"), vec![1]), (PathBuf::from("segments/segment-00000000"), golden)]);
        let mut machine = Machine::new(99);
        machine.disk.restore(Path::new("/data/gland"), &files);
        let zone = machine.open(settings()).await;
        assert_eq!(zone.position(), 4);
        for (number, length) in LENGTHS.into_iter().enumerate() {
            let (locator, id) = (&locators()[number], chunk_id(number as u64));
            if number == 1 {
                assert!(matches!(zone.read(locator, id, 0, 10).await, Err(ZoneError::NotFound)));
            } else {
                expect(&zone, locator, id, &payload(number as u64, length)).await;
            }
        }
        let listed = walk(&zone, 10).await;
        assert_eq!(listed.len(), 3);
        assert!(listed.iter().all(|found| found.session == WRITER));
        zone.close().await;
    });
}
