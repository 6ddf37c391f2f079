use bytes::Bytes;
use cairn_types::{BlobId, ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex};
use proptest::prelude::*;

use super::index::{state_byte, state_from_byte};
use super::record::{RECORD_HEADER_BYTES, looks_like_record_of, punchable, record_bytes};
use super::*;

fn record() -> RecordHeader {
    RecordHeader {
        generation: 7,
        nonce: 0x0123_4567_89ab_cdef,
        sequence: 99,
        durable_position: 98,
        offset: 3 * BLOCK_BYTES,
        session: SessionId(12),
        id: ChunkId { blob: BlobId { session: SessionId(5), counter: 6 }, ordinal: 7 },
        payload_length: 70_000,
        payload_crc: 0xdead_beef,
    }
}

fn segment(state: SegmentState, generation: u64) -> SegmentHeader {
    SegmentHeader {
        store: StoreId(0x1234 << 64 | 0x5678),
        zone: ZoneIndex(2),
        incarnation: Incarnation(3),
        state,
        generation,
        nonce: 11,
        base_position: 41,
    }
}

#[test]
fn structures_come_back_as_they_were() {
    assert_eq!(RecordHeader::parse(&record().encode()), Ok((record(), RecordState::Live)));
    for state in [SegmentState::Spare, SegmentState::InUse, SegmentState::Retired] {
        assert_eq!(SegmentHeader::parse_block(&segment(state, 4).encode_block()), Ok(segment(state, 4)));
    }
    let head = IndexHeader {
        generation: 7,
        nonce: 8,
        base_position: 9,
        last_sequence: 12,
        count: 3,
        offset: 10 * BLOCK_BYTES,
        payload_bytes: 77,
        session_max: SessionId(4),
        entries_crc: 13,
    };
    assert_eq!(IndexHeader::parse(&head.encode()), Ok(head));
    assert_eq!((head.states_offset(), head.second_offset()), (11 * BLOCK_BYTES + 144, 11 * BLOCK_BYTES + 512));
    let entry = Entry {
        offset: 5 * BLOCK_BYTES,
        payload_length: 6,
        sequence: 7,
        session: SessionId(9),
        id: record().id,
        payload_crc: 8,
        state: RecordState::Dead,
    };
    assert_eq!(Entry::decode(&entry.encode(), RecordState::Dead), entry);
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let whole = record().encode();
    for bit in 0..RECORD_HEADER_BYTES * 8 {
        let mut flipped = whole;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let parsed = RecordHeader::parse(&flipped);
        if (64..128).contains(&bit) {
            assert_eq!(parsed, Ok((record(), RecordState::Live)), "one bit of the state word does not matter");
        } else {
            assert!(parsed.is_err(), "bit {bit}");
            assert!(looks_like_record_of(&flipped, 7, 0x0123_4567_89ab_cdef), "bit {bit} leaves it recognisable");
        }
    }
    let whole = segment(SegmentState::InUse, 4).encode_block();
    for bit in 0..512 * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::parse(&flipped).is_err(), "bit {bit}");
        assert_eq!(SegmentHeader::parse_block(&flipped), Ok(segment(SegmentState::InUse, 4)), "the other copy stands in");
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let mut block = segment(SegmentState::InUse, 4).encode_block();
    for start in [0, 2048] {
        block[start + 8] = 2;
        seal_with_crc(&mut block[start..start + 512]);
    }
    assert_eq!(SegmentHeader::parse_block(&block), Err(ParseError::Version(2)));
}

#[test]
fn of_two_copies_the_later_counts() {
    let mix = |one: SegmentHeader, two: SegmentHeader| {
        let mut block = one.encode_block();
        block[2048..].copy_from_slice(&two.encode_block()[2048..]);
        SegmentHeader::parse_block(&block).expect("two good copies")
    };
    let spare = SegmentHeader { generation: 0, ..segment(SegmentState::Spare, 0) };
    let (used, retired) = (segment(SegmentState::InUse, 4), segment(SegmentState::Retired, 4));
    for (one, two, counts) in [(spare, used, used), (used, retired, retired), (spare, retired, retired)] {
        assert_eq!((mix(one, two), mix(two, one)), (counts, counts));
    }
}

#[test]
fn states_survive_a_few_wrong_bits_and_admit_not_knowing() {
    for state in [RecordState::Live, RecordState::Dead] {
        for bit in 0..64 {
            let word = u64::from_le_bytes(state.word()) ^ (1 << bit) ^ (1 << ((bit + 31) % 64));
            assert_eq!(RecordState::from_word(word.to_le_bytes()), state);
        }
        for bit in 0..8 {
            assert_eq!(state_from_byte(state_byte(state) ^ (1 << bit)), state);
        }
    }
    assert_eq!(RecordState::from_word([0; 8]), RecordState::Unknown);
    assert_eq!(RecordState::from_word([0xff; 8]), RecordState::Unknown);
    assert_eq!((state_from_byte(0), state_from_byte(0xff)), (RecordState::Unknown, RecordState::Unknown));
}

#[test]
fn a_hole_leaves_the_header_and_the_neighbours() {
    assert_eq!(punchable(BLOCK_BYTES, 100), (2 * BLOCK_BYTES, 0));
    let (start, length) = punchable(8 * BLOCK_BYTES, 70_000);
    assert_eq!(start, 9 * BLOCK_BYTES);
    assert_eq!(start + length, 8 * BLOCK_BYTES + record_bytes(70_000));
}

proptest! {
    #[test]
    fn locators_come_back(incarnation: u64, tag: u32, generation: u64, blocks in 0..u64::from(u32::MAX), sequence: u64) {
        let place = Place { incarnation: Incarnation(incarnation), tag, generation, offset: blocks * BLOCK_BYTES, sequence };
        prop_assert_eq!(Place::decode(&place.encode()), Some(place));
    }

    #[test]
    fn a_locator_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let locator = Locator::new(Bytes::from(bytes)).expect("short");
        if let Some(place) = Place::decode(&locator) {
            prop_assert_eq!(place.encode(), locator);
        }
    }

    #[test]
    fn parsers_take_anything(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let _ = RecordHeader::parse(&bytes);
        let _ = SegmentHeader::parse_block(&bytes);
        let _ = IndexHeader::parse(&bytes);
        let _ = Entry::decode_all(&bytes, &bytes);
        let _ = looks_like_record_of(&bytes, 1, 2);
    }
}
