use cairn_types::BlobId;
use proptest::prelude::*;

use super::*;

fn ids() -> impl Strategy<Value = ChunkId> {
    (any::<u64>(), any::<u64>(), any::<u32>())
        .prop_map(|(session, counter, ordinal)| ChunkId { blob: BlobId { session: SessionId(session), counter }, ordinal })
}

proptest! {
    #[test]
    fn heads_come_back_and_nothing_else_does(
        (store, zone, incarnation, session) in any::<(u128, u8, u64, u64)>(), id in ids(), bit in 0..HEAD_BYTES * 8,
    ) {
        let head = Head {
            store: StoreId(store), zone: ZoneIndex(zone), incarnation: Incarnation(incarnation), session: SessionId(session), id,
        };
        let bytes = head.encode();
        prop_assert_eq!(bytes.len(), HEAD_BYTES);
        prop_assert_eq!(Head::decode(&bytes), Some(head));
        let mut turned = bytes.to_vec();
        turned[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Head::decode(&turned), None);
        prop_assert_eq!(Head::decode(&bytes[1..]), None);
    }

    #[test]
    fn locators_come_back_and_fit(
        (incarnation, volume, key, cookie, length) in any::<(u64, u32, u64, u32, u32)>(), id in ids(), bit in 0..8_usize,
    ) {
        let place = Place { incarnation: Incarnation(incarnation), fid: Fid { volume, key, cookie }, length, id };
        let locator = place.encode();
        prop_assert_eq!(Place::decode(&locator), Some(place));
        for at in 0..locator.as_bytes().len() {
            let mut turned = locator.as_bytes().to_vec();
            turned[at] ^= 1 << bit;
            prop_assert_eq!(Place::decode(&Locator::new(Bytes::from(turned)).unwrap()), None);
        }
    }

    #[test]
    fn cursors_come_back((walk, volume, key) in any::<(u64, u32, u64)>(), other in proptest::collection::vec(any::<u8>(), 0..40)) {
        let cursor = Cursor { walk, volume, key };
        prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        prop_assert!(Cursor::decode(&other).is_none_or(|cursor| cursor.encode() == other));
    }

    #[test]
    fn keys_stand_in_the_order_of_their_sessions((one, two) in any::<(u64, u64)>(), (first, second) in any::<(u64, u64)>()) {
        let (earlier, later) = (SessionId(one.min(two).max(1)), SessionId(one.max(two).max(1)));
        prop_assert!(key(later, first) >= first_key(earlier), "whatever the counters are");
        prop_assert!(key(earlier, second) < 1 << 63 && key(earlier, second) > 0);
        if later.0 < (1 << HINT_BITS) - 1 && earlier != later {
            prop_assert!(key(earlier, second) < first_key(later), "an earlier session is passed over");
        }
        prop_assert!((1..first_key(SessionId(0))).contains(&seal_key(first)), "seals stand below all chunks");
    }

    #[test]
    fn seals_come_back_and_are_no_heads(
        (store, zone, incarnation, volume, number) in any::<(u128, u8, u64, u32, u64)>(), nonce in any::<[u8; 16]>(), bit in 0..HEAD_BYTES * 8,
    ) {
        let seal = SealHead { store: StoreId(store), zone: ZoneIndex(zone), incarnation: Incarnation(incarnation), volume, number, nonce };
        let bytes = seal.encode();
        prop_assert_eq!(bytes.len(), HEAD_BYTES);
        prop_assert_eq!(SealHead::decode(&bytes), Some(seal));
        prop_assert_eq!(Head::decode(&bytes), None);
        let mut turned = bytes.to_vec();
        turned[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(SealHead::decode(&turned), None);
    }
}

#[test]
fn names_are_as_seaweedfs_reads_them() {
    assert_eq!(Fid { volume: 3, key: 1, cookie: 0x37d6 }.to_string(), "3,1000037d6", "the cookie has 8 digits");
    assert_eq!(Fid { volume: 12, key: 0x12_0000_3039, cookie: 0xdead_beef }.to_string(), "12,1200003039deadbeef");
}

/// As a volume server of the build for large disks wrote it, for a needle of 5,000 bytes.
#[test]
fn index_entries_of_both_builds_are_read() {
    let long = [0, 0, 0, 0x12, 0, 0, 0x30, 0x39, 0, 0, 0, 1, 0, 0, 0, 0x13, 0xa8];
    assert_eq!(IndexEntry::decode(&long), Some(IndexEntry { key: 0x12_0000_3039, offset: 8, deleted: false }));
    let far = [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 2, 0, 0, 0x13, 0xa8];
    assert_eq!(IndexEntry::decode(&far), Some(IndexEntry { key: 9, offset: ((2 << 32) + 1) * 8, deleted: false }));
    let short = [0, 0, 0, 0x12, 0, 0, 0x30, 0x39, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(IndexEntry::decode(&short), Some(IndexEntry { key: 0x12_0000_3039, offset: 8, deleted: true }));
    assert_eq!(IndexEntry::decode(&short[1..]), None);
}
