use std::collections::BTreeSet;

use super::{Name, Place, ports};

#[test]
fn every_place_has_addresses_of_its_own() {
    let addresses: BTreeSet<_> = Place::ALL.into_iter().flat_map(|place| [place.address(), place.border()]).collect();
    assert_eq!(addresses.len(), 2 * Place::ALL.len());
    for place in Place::ALL {
        assert_eq!(Place::of_address(place.address()), Some(place));
        assert_eq!(Place::of_address(place.border()), None);
    }
}

#[test]
fn no_two_services_have_one_port() {
    let ports = ports::carried();
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
}

#[test]
fn a_name_cannot_lead_anywhere_else() {
    let directory = "lab".parse::<Name>().expect("a name").directory();
    assert_eq!(directory, std::path::Path::new("/var/tmp/cairn-lab"));
    for wrong in ["", "..", "a/b", "Lab", "a-b", "abcdefghijklmnopq"] {
        assert!(wrong.parse::<Name>().is_err(), "{wrong:?}");
    }
}
