use cairn_testkit::sim_environment::SimRandom;

use super::*;

fn ring(seed: u64) -> KeyRing {
    KeyRing::new(MasterKey::generate(&SimRandom::new(seed)))
}

#[test]
fn what_was_sealed_opens_for_its_own_key_id_only() {
    let (ring, random) = (ring(1), SimRandom::new(2));
    for secret in [&b""[..], b"s", &[7; 300]] {
        let sealed = ring.seal(secret, "AKIA", &random).unwrap();
        assert_eq!(ring.open(&sealed, "AKIA").unwrap().as_slice(), secret);
        assert_eq!(ring.open(&sealed, "AKIB").unwrap_err(), SecretError::Forged);
        assert_ne!(ring.seal(secret, "AKIA", &random).unwrap(), sealed, "each has a nonce of its own");
    }
}

#[test]
fn every_changed_bit_is_found() {
    let ring = ring(1);
    let sealed = ring.seal(b"secret", "AKIA", &SimRandom::new(2)).unwrap();
    for place in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.to_vec();
            changed[place] ^= 1 << bit;
            assert!(ring.open(&changed, "AKIA").is_err(), "byte {place}, bit {bit}");
        }
        assert!(ring.open(&sealed[..place], "AKIA").is_err());
    }
}

#[test]
fn keys_are_rotated_one_secret_at_a_time() {
    let random = SimRandom::new(9);
    let (old, new) = (MasterKey::generate(&SimRandom::new(1)), MasterKey::generate(&SimRandom::new(2)));
    let sealed = KeyRing::new(old.clone()).seal(b"secret", "AKIA", &random).unwrap();
    let both = KeyRing::with_former(new.clone(), vec![old.clone()]);
    assert!(both.is_outdated(&sealed));
    let again = both.seal(&both.open(&sealed, "AKIA").unwrap(), "AKIA", &random).unwrap();
    assert!(!both.is_outdated(&again));
    let only_new = KeyRing::new(new);
    assert_eq!(only_new.open(&again, "AKIA").unwrap().as_slice(), b"secret");
    assert_eq!(only_new.open(&sealed, "AKIA").unwrap_err(), SecretError::UnknownKey(old.id()));
}

#[test]
fn the_format_stands() {
    // Made by this code once; a later version opens it for ever.
    let ring = KeyRing::new(MasterKey::new(Zeroizing::new([0x42; 32])));
    let sealed = hex(FIXTURE);
    assert_eq!(ring.open(&sealed, "AKIAIOSFODNN7EXAMPLE").unwrap().as_slice(), b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
}

const FIXTURE: &str = "0198fcbee5ffbfc6b1b10da48cea4c09676b8e0efcd806941465060736032bb898c0b4e32cb7d5e75e141c1d13e7238f5f7c16a00d56\
    de849c6604ff5320fd3449db5bfb1e464c39f132310f3c9553487673efb3e6566c6ad6";

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn nothing_shows_a_key() {
    let key = MasterKey::new(Zeroizing::new([0x42; 32]));
    let shown = format!("{key:?} {:?}", KeyRing::new(key.clone()));
    assert!(!shown.contains("42, 42") && !shown.contains("66, 66") && !shown.contains("4242"), "{shown}");
}
