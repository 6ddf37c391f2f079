use std::path::PathBuf;
use std::sync::Arc;

use cairn_testkit::sim_disk::SimDisk;
use cairn_testkit::sim_environment::{SimRandom, simulate};

use super::*;

const STORE: StoreId = StoreId(42);

fn key(seed: u64) -> MasterKey {
    MasterKey::generate(&SimRandom::new(seed))
}

fn shares(seed: u64, generation: u64) -> [KeyShare; 3] {
    split(&key(seed), STORE, generation, &SimRandom::new(seed + 1_000))
}

#[test]
fn the_field_is_a_field() {
    // FIPS 197, section 4.2: {57} · {83} = {c1}, {57} · {13} = {fe}.
    assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13)), (0xc1, 0xfe));
    assert_eq!(invert(0), 0);
    for one in 0..=255_u8 {
        assert_eq!(multiply(one, invert(one)), u8::from(one != 0));
        for other in 0..=255 {
            assert_eq!(multiply(one, other), multiply(other, one));
            assert_eq!(multiply(one ^ 0x5a, other), multiply(one, other) ^ multiply(0x5a, other));
        }
    }
}

#[test]
fn any_two_shares_make_the_key() {
    for seed in 0..50 {
        let all = shares(seed, 1);
        for pair in [[0, 1], [0, 2], [1, 2], [2, 0], [1, 0]] {
            let recovered = recover(&pair.map(|place| all[place].clone())).unwrap();
            assert_eq!(recovered.key.expose(), key(seed).expose());
            assert_eq!((recovered.generation, recovered.zones.len()), (1, 2));
        }
        assert_eq!(recover(&all).unwrap().zones, ZoneSet::ALL);
    }
}

#[test]
fn one_share_says_nothing() {
    // For every key there is a slope that gives this very share: with any one share each key is as likely as before.
    let share = &shares(1, 1)[1];
    let other = key(2);
    let across = invert(share.point);
    let slopes = share.share.iter().zip(other.expose()).map(|(share, key)| multiply(share ^ key, across));
    for ((slope, key), share) in slopes.zip(other.expose()).zip(share.share.iter()) {
        assert_eq!(key ^ multiply(slope, share_point()), *share);
    }
    assert!(matches!(recover(std::slice::from_ref(share)), Err(ShareError::TooFew(_))));
    assert!(matches!(recover(&[share.clone(), share.clone()]), Err(ShareError::TooFew(_))), "twice the same share is one");
    assert_eq!(recover(&[]).unwrap_err(), ShareError::TooFew("none".to_owned()));
}

fn share_point() -> u8 {
    2
}

#[test]
fn generations_do_not_mix() {
    let (old, new) = (shares(1, 1), shares(2, 2));
    assert!(matches!(recover(&[old[0].clone(), new[1].clone()]), Err(ShareError::TooFew(_))));
    let of_old = recover(&[old[0].clone(), old[1].clone(), new[2].clone()]).unwrap();
    assert_eq!((of_old.generation, of_old.key.id()), (1, key(1).id()), "the new one does not stand in two zones yet");
    let of_new = recover(&[old[0].clone(), old[1].clone(), new[2].clone(), new[0].clone()]).unwrap();
    assert_eq!((of_new.generation, of_new.key.id()), (2, key(2).id()));
}

#[test]
fn a_changed_share_is_found_and_passed_over() {
    for place in 0..3 {
        let mut all = shares(1, 1);
        all[place].share[7] ^= 1;
        let recovered = recover(&all).unwrap();
        assert_eq!((recovered.key.expose(), recovered.zones), (key(1).expose(), ZoneSet::ALL.without(all[place].zone)));
        let pair = [all[place].clone(), all[(place + 1) % 3].clone()];
        assert_eq!(recover(&pair).unwrap_err(), ShareError::Mismatch(1));
        // An older generation that fits is better than none.
        let older = [&pair[..], &shares(1, 0)[..2]].concat();
        assert_eq!(recover(&older).unwrap().generation, 0);
    }
}

#[test]
fn a_share_of_a_key_that_was_never_used_does_not_disturb() {
    let (unused, used) = (shares(1, 1), shares(2, 1));
    let recovered = recover(&[unused[0].clone(), used[1].clone(), used[2].clone()]).unwrap();
    assert_eq!((recovered.key.expose(), recovered.zones.len()), (key(2).expose(), 2));
    assert!(matches!(recover(&[unused[0].clone(), used[1].clone()]), Err(ShareError::TooFew(_))));
}

#[test]
fn an_old_generation_goes_only_when_a_newer_one_stands_in_two_zones() {
    let shares_of = |seed: u64, standing: &[(u64, u8)]| -> Vec<KeyShare> {
        let of = |(generation, bits): &(u64, u8)| {
            let zones = ZoneSet::from_bits(*bits).unwrap();
            shares(seed, *generation).into_iter().filter(move |share| zones.contains(share.zone))
        };
        standing.iter().flat_map(of).collect()
    };
    let goes = |standing: &[(u64, u8)]| removable(&shares_of(1, standing), key(1).id()).into_iter().collect::<Vec<_>>();
    assert_eq!(goes(&[(1, 7)]), [] as [u64; 0]);
    assert_eq!(goes(&[(1, 7), (2, 1)]), [] as [u64; 0]);
    assert_eq!(goes(&[(1, 7), (2, 3)]), [1]);
    assert_eq!(goes(&[(1, 1), (2, 3), (3, 4)]), [1]);
    assert_eq!(goes(&[(1, 1), (2, 2), (3, 4)]), [] as [u64; 0]);
    // A share of a key that never came into use goes with the generations around it, and makes none of ours go.
    let with_stray = |own: &[(u64, u8)], stray: &[(u64, u8)]| {
        let all = [shares_of(1, own), shares_of(2, stray)].concat();
        removable(&all, key(1).id()).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(with_stray(&[(2, 7)], &[(1, 1)]), [1]);
    assert_eq!(with_stray(&[(1, 7)], &[(2, 3)]), [] as [u64; 0]);
}

#[test]
fn the_format_stands() {
    let share = KeyShare {
        store: StoreId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        zone: ZoneIndex(2),
        generation: 5,
        key_id: MasterKeyId(*b"key name"),
        point: 3,
        share: Zeroizing::new([0xab; 32]),
    };
    let mut expected =
        b"CAIRNSHR\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x02\0\0\0\0\0\0\0\x05key name\x03"
            .to_vec();
    expected.extend([0xab; 32]);
    let checksum = crc32c::crc32c(&expected);
    expected.extend(checksum.to_le_bytes());
    assert_eq!(*share.encode(), expected);
    assert_eq!(expected.len(), FILE_LENGTH);
    assert_eq!(KeyShare::decode(&expected).unwrap(), share);
    assert!(!format!("{share:?}").contains("ab, ab"), "a share does not show itself");
}

#[test]
fn damaged_files_are_refused() {
    let file = shares(1, 1)[0].encode();
    for place in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[place] ^= 1 << bit;
            assert!(matches!(KeyShare::decode(&changed), Err(ShareError::File(_))), "byte {place}, bit {bit}");
        }
        assert!(KeyShare::decode(&file[..place]).is_err());
    }
    assert!(KeyShare::decode(&[file.as_slice(), b"\0"].concat()).is_err());
}

#[test]
fn shares_are_written_read_and_removed() {
    simulate(async {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(3));
        let directory = PathBuf::from("/data/geneva");
        disk.create_directory(&directory).await.unwrap();
        for generation in [2, 10, 1] {
            for _ in 0..2 {
                write_share(&*disk, &directory, &shares(generation, generation)[0]).await.unwrap();
            }
        }
        let found = read_shares(&*disk, &directory).await.unwrap();
        let expected: Vec<_> =
            [1, 2, 10].map(|generation| (generation, Ok(shares(generation, generation)[0].clone()))).into_iter().collect();
        assert_eq!(found, expected);
        remove_share(&*disk, &directory, 2).await.unwrap();
        remove_share(&*disk, &directory, 2).await.unwrap();
        let left: Vec<u64> = read_shares(&*disk, &directory).await.unwrap().into_iter().map(|(found, _)| found).collect();
        assert_eq!(left, [1, 10]);
    });
}
