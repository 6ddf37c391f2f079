//! Chunk segments: heads of files, records, indexes and locators.

use bytes::Bytes;
use cairn_types::{ChunkId, Incarnation, Locator, SessionId, StoreId, ZoneIndex};
use cairn_zone::embedded::format::index::{ENTRY_BYTES, INDEX_HEADER_BYTES, state_byte, state_from_byte};
use cairn_zone::embedded::format::record::{RECORD_HEADER_BYTES, STATE_OFFSET, looks_like_record_of, punchable};
use cairn_zone::embedded::format::{
    BLOCK_BYTES, Entry, IndexHeader, Place, RecordHeader, RecordState, SegmentHeader, SegmentState, blocks_up,
};

use crate::reader::{Reader, with_bit_flipped};
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "segments", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[
    Part { name: "segment_header", run: header, seeds: header_seeds, memory: Memory::PerByte(64) },
    Part { name: "segment_record", run: record, seeds: record_seeds, memory: Memory::PerByte(64) },
    Part { name: "segment_index", run: index, seeds: index_seeds, memory: Memory::PerByte(64) },
    Part { name: "segment_locator", run: locator, seeds: locator_seeds, memory: Memory::PerByte(64) },
];

/// Bytes of one copy of a segment's header, and where the second one is.
const COPY_BYTES: usize = 512;
const SECOND_COPY: usize = 2048;

/// The bytes with the right checksum in their last four.
fn sealed<const LENGTH: usize>(mut bytes: [u8; LENGTH]) -> [u8; LENGTH] {
    if let Some((body, checksum)) = bytes.split_last_chunk_mut::<4>() {
        *checksum = crc32c::crc32c(body).to_le_bytes();
    }
    bytes
}

fn header(input: &[u8]) {
    let _ = SegmentHeader::parse_block(input);
    let mut reader = Reader::new(input);
    let bytes = sealed(reader.array::<COPY_BYTES>());
    if let Ok(header) = SegmentHeader::parse(&bytes) {
        assert_eq!(SegmentHeader::parse(&header.encode_block()), Ok(header));
    }
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let mut made = || SegmentHeader {
        store: StoreId(reader.u128()),
        zone: ZoneIndex(reader.u8()),
        incarnation: Incarnation(reader.u64()),
        state: [SegmentState::Spare, SegmentState::InUse, SegmentState::Retired][usize::from(reader.u8() % 3)],
        generation: reader.u64(),
        nonce: reader.u64(),
        base_position: reader.u64(),
    };
    let (one, other) = (made(), made());
    let block = one.encode_block();
    assert_eq!((SegmentHeader::parse_block(&block), block.len() as u64), (Ok(one), BLOCK_BYTES));
    assert!(SegmentHeader::parse(&with_bit_flipped(&block[..COPY_BYTES], place)).is_err(), "a flipped bit is not noticed");
    // One damaged place, wherever it is, leaves the other copy.
    assert_eq!(SegmentHeader::parse_block(&with_bit_flipped(&block, place)), Ok(one));
    // A torn change: the later one counts, in whichever copy it stands.
    let other = SegmentHeader { generation: one.generation.saturating_add(1), ..other };
    if one.generation < u64::MAX {
        let halves = [(&block, other.encode_block()), (&other.encode_block(), block.clone())];
        for (first, second) in halves {
            let torn = [&first[..SECOND_COPY], &second[SECOND_COPY..]].concat();
            assert_eq!(SegmentHeader::parse_block(&torn), Ok(other));
        }
    }
}

fn header_seeds() -> Vec<Vec<u8>> {
    let header = SegmentHeader {
        store: StoreId(1),
        zone: ZoneIndex(2),
        incarnation: Incarnation(3),
        state: SegmentState::InUse,
        generation: 4,
        nonce: 5,
        base_position: 6,
    };
    vec![header.encode_block()[..COPY_BYTES].to_vec(), header.encode_block()]
}

fn chunk_id(reader: &mut Reader<'_>) -> ChunkId {
    ChunkId::decode(&reader.array())
}

fn some_record() -> RecordHeader {
    RecordHeader {
        generation: 1,
        nonce: 2,
        sequence: 3,
        durable_position: 2,
        offset: BLOCK_BYTES,
        id: ChunkId::decode(&[4; ChunkId::ENCODED_LENGTH]),
        payload_length: 100,
        payload_crc: 5,
        session: SessionId(6),
    }
}

fn record(input: &[u8]) {
    let _ = RecordHeader::parse(input);
    let mut reader = Reader::new(input);
    let mut bytes: [u8; RECORD_HEADER_BYTES] = reader.array();
    let (fields, checksum) = bytes.split_at_mut(RECORD_HEADER_BYTES - 4);
    checksum.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&fields[..8]), &fields[16..]).to_le_bytes());
    if let Ok((header, _)) = RecordHeader::parse(&bytes) {
        assert_eq!(RecordHeader::parse(&header.encode()), Ok((header, RecordState::Live)));
        assert!(header.record_bytes().is_multiple_of(BLOCK_BYTES));
        assert!(looks_like_record_of(&bytes, header.generation, header.nonce));
    }
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let header = RecordHeader {
        generation: reader.u64(),
        nonce: reader.u64(),
        sequence: reader.u64(),
        durable_position: reader.u64(),
        offset: reader.u64(),
        id: chunk_id(&mut reader),
        payload_length: reader.u32(),
        payload_crc: reader.u32(),
        session: SessionId(reader.u64()),
    };
    let encoded = header.encode();
    assert_eq!(RecordHeader::parse(&encoded), Ok((header, RecordState::Live)));
    let flipped = with_bit_flipped(&encoded, place);
    let in_state = (STATE_OFFSET..STATE_OFFSET + 8).contains(&(u64::from(place) % (8 * RECORD_HEADER_BYTES as u64) / 8));
    match RecordHeader::parse(&flipped) {
        // The state stands outside the checksum, and forgives a few bits.
        Ok(found) => assert!(in_state && found == (header, RecordState::Live), "a flipped bit is not noticed"),
        Err(_) => assert!(!in_state),
    }
    let (start, length) = punchable(header.offset >> 1, header.payload_length);
    assert_eq!(start + length, (header.offset >> 1) + header.record_bytes());
}

fn record_seeds() -> Vec<Vec<u8>> {
    vec![some_record().encode().to_vec()]
}

fn index(input: &[u8]) {
    let _ = IndexHeader::parse(input);
    let mut reader = Reader::new(input);
    if let Ok(header) = IndexHeader::parse(&sealed(reader.array::<INDEX_HEADER_BYTES>())) {
        assert_eq!(IndexHeader::parse(&header.encode()), Ok(header));
        // Where things are is computed from any numbers, and comes in order.
        let places = [
            header.offset,
            header.entries_offset(),
            header.states_offset(),
            header.second_offset().max(header.states_offset()),
            header.file_end().max(header.states_offset()),
        ];
        assert!(places.is_sorted());
    }
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let header = IndexHeader {
        count: reader.u32(),
        generation: reader.u64(),
        nonce: reader.u64(),
        base_position: reader.u64(),
        last_sequence: reader.u64(),
        offset: reader.u64(),
        payload_bytes: reader.u64(),
        entries_crc: reader.u32(),
        session_max: SessionId(reader.u64()),
    };
    let encoded = header.encode();
    assert_eq!(IndexHeader::parse(&encoded), Ok(header));
    assert!(IndexHeader::parse(&with_bit_flipped(&encoded, place)).is_err(), "a flipped bit is not noticed");

    let (entries, states) = input.split_at(input.len() / (ENTRY_BYTES + 1) * ENTRY_BYTES);
    let decoded = Entry::decode_all(entries, states);
    assert_eq!(decoded.len(), entries.len() / ENTRY_BYTES);
    assert_eq!(decoded.iter().flat_map(Entry::encode).collect::<Vec<u8>>(), entries, "an entry has two encodings");
    assert!(decoded.iter().all(|entry| entry.record_end() >= blocks_up(entry.offset)));
    for (entry, byte) in decoded.iter().zip(states) {
        assert_eq!(entry.state, state_from_byte(*byte));
        if entry.state != RecordState::Unknown {
            assert!((state_byte(entry.state) ^ byte).count_ones() <= 2);
        }
    }
}

fn index_seeds() -> Vec<Vec<u8>> {
    let record = some_record();
    let entry = Entry {
        offset: record.offset,
        payload_length: record.payload_length,
        sequence: record.sequence,
        id: record.id,
        payload_crc: record.payload_crc,
        session: record.session,
        state: RecordState::Live,
    };
    let header = IndexHeader {
        count: 1,
        generation: 1,
        nonce: 2,
        base_position: 0,
        last_sequence: 3,
        offset: 2 * BLOCK_BYTES,
        payload_bytes: 100,
        entries_crc: crc32c::crc32c(&entry.encode()),
        session_max: entry.session,
    };
    vec![header.encode().to_vec(), [&entry.encode()[..], &[state_byte(RecordState::Dead)]].concat()]
}

fn locator(input: &[u8]) {
    if let Some(locator) = Locator::new(Bytes::copy_from_slice(input))
        && let Some(place) = Place::decode(&locator)
    {
        assert_eq!(place.encode(), locator, "a locator has two encodings");
    }
    let mut reader = Reader::new(input);
    let place = Place {
        incarnation: Incarnation(reader.u64()),
        tag: reader.u32(),
        generation: reader.u64(),
        offset: u64::from(reader.u32()) * BLOCK_BYTES,
        sequence: reader.u64(),
    };
    assert_eq!(Place::decode(&place.encode()), Some(place));
}

fn locator_seeds() -> Vec<Vec<u8>> {
    let place = |generation, sequence| {
        let incarnation = Incarnation(generation);
        Place { incarnation, tag: 0x0102_0304, generation, offset: 5 * BLOCK_BYTES, sequence }
    };
    [place(1, 2), place(300, 1 << 40), place(u64::MAX, u64::MAX)].map(|place| place.encode().as_bytes().to_vec()).to_vec()
}
