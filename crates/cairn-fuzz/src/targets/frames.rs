//! The frames of a chunk: cut, put together, damaged, and read by ranges.

use bytes::Bytes;
use cairn_types::ChunkId;
use cairn_types::frame::{ChunkEncoder, FRAME_DATA_LENGTH, FrameKind, fuzz_verify};

use crate::reader::{Reader, with_bit_flipped};
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "frames", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[
    Part { name: "chunk_frames", run: verify, seeds: verify_seeds, memory: Memory::PerByte(64) },
    // The data of up to three frames is made from a few bytes, and stored, damaged and read.
    Part { name: "chunk_round_trip", run: round_trip, seeds: round_trip_seeds, memory: Memory::PerByte(512 * 1024) },
];

/// Arbitrary stored bytes for an arbitrary shape and range.
fn verify(input: &[u8]) {
    fuzz_verify(input);
}

fn verify_seeds() -> Vec<Vec<u8>> {
    let id = ChunkId::decode(&[4; ChunkId::ENCODED_LENGTH]);
    let mut encoder = ChunkEncoder::new(id, FrameKind::Crc32c, 100);
    encoder.push(&mut Bytes::from_static(&[9; 100]));
    let chunk = encoder.finish().unwrap_or_else(|| unreachable!("data came"));
    let numbers = [100_u32, 10, 20].map(u32::to_be_bytes).concat();
    vec![[&[chunk.shape.kind().number()][..], &numbers, &id.encode(), &chunk.pieces.concat()].concat()]
}

/// Data that arrives in pieces of one length comes back whole and by range; a flipped bit is found by whoever reads its frame, and by
/// nobody else; another chunk's name opens nothing.
fn round_trip(input: &[u8]) {
    let mut reader = Reader::new(input);
    let length = reader.u32() as usize % (2 * FRAME_DATA_LENGTH + 100) + 1;
    let piece = usize::from(reader.u16()) + 1;
    let (start, end, place) = (u64::from(reader.u32()), u64::from(reader.u32()), reader.u32());
    let id = ChunkId::decode(&reader.array());
    let pattern = reader.rest();
    let data: Vec<u8> =
        (0..length).map(|at| pattern.get(at % pattern.len().max(1)).copied().unwrap_or_default() ^ (at / 251) as u8).collect();

    let mut encoder = ChunkEncoder::new(id, FrameKind::Crc32c, length);
    for piece in data.chunks(piece) {
        let mut piece = Bytes::copy_from_slice(piece);
        encoder.push(&mut piece);
        assert!(piece.is_empty());
    }
    let chunk = encoder.finish().unwrap_or_else(|| unreachable!("data came"));
    let shape = chunk.shape;
    let stored = Bytes::from(chunk.pieces.concat());
    assert_eq!((shape.stored_length(), shape.data_length()), (stored.len() as u64, length as u64));
    let whole = shape.verify(id, &shape.whole(), &stored);
    assert_eq!(whole.map(|slices| slices.concat()).as_ref(), Ok(&data));

    let start = start % length as u64;
    let end = start + 1 + end % (length as u64 - start);
    let span = shape.span(start..end).unwrap_or_else(|error| panic!("{error}"));
    let of_span = span.stored.start as usize..span.stored.end as usize;
    let read = |stored: &Bytes| shape.verify(id, &span, &stored.slice(of_span.clone())).map(|slices| slices.concat());
    let wanted = &data[start as usize..end as usize];
    assert_eq!(read(&stored).as_deref(), Ok(wanted));

    let flipped = Bytes::from(with_bit_flipped(&stored, place));
    let flipped_byte = u64::from(place) % (8 * stored.len() as u64) / 8;
    assert!(shape.verify(id, &shape.whole(), &flipped).is_err(), "a flipped bit is not noticed");
    assert_eq!(read(&flipped).is_err(), span.stored.contains(&flipped_byte));
    let mut other = id.encode();
    other[place as usize % other.len()] ^= 1;
    assert!(shape.verify(ChunkId::decode(&other), &shape.whole(), &stored).is_err(), "another chunk's name opens it");
}

fn round_trip_seeds() -> Vec<Vec<u8>> {
    let seed = |length: usize, piece: u16| {
        [&(length as u32 - 1).to_le_bytes()[..], &piece.to_le_bytes(), &[0; 12], &[1; 20], b"pattern"].concat()
    };
    vec![seed(1, 0), seed(FRAME_DATA_LENGTH, 4095), seed(FRAME_DATA_LENGTH + 1, 1000), seed(2 * FRAME_DATA_LENGTH + 7, u16::MAX)]
}
