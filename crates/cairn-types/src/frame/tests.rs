use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{BlobId, SessionId};

fn chunk_id(counter: u64, ordinal: u32) -> ChunkId {
    ChunkId { blob: BlobId { session: SessionId(7), counter }, ordinal }
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|place| (place * 31 + place / 251) as u8).collect::<Vec<_>>().into()
}

fn encode(id: ChunkId, data: &Bytes, piece_length: usize) -> EncodedChunk {
    let mut encoder = ChunkEncoder::new(id, FrameKind::Crc32c, usize::MAX);
    let mut rest = data.clone();
    while !rest.is_empty() {
        let mut piece = rest.split_to(piece_length.min(rest.len()));
        encoder.push(&mut piece);
        assert!(piece.is_empty());
    }
    encoder.finish().expect("data is not empty")
}

fn joined(pieces: &[Bytes]) -> Bytes {
    pieces.concat().into()
}

/// CRC32C bit by bit, from its definition (RFC 3720, appendix B.4), to judge the codec by something other than itself.
fn slow_crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
        crc
    })
}

#[test]
fn stored_form_is_as_documented() {
    let id = chunk_id(9, 3);
    let data = pattern(FRAME_DATA_LENGTH + 5);
    let stored = joined(&encode(id, &data, 10_000).pieces);
    let mut expected = Vec::new();
    for (index, frame) in data.chunks(FRAME_DATA_LENGTH).enumerate() {
        let mut bound = frame.to_vec();
        bound.extend([1, 1]);
        bound.extend(7_u64.to_be_bytes());
        bound.extend(9_u64.to_be_bytes());
        bound.extend(3_u32.to_be_bytes());
        bound.extend((index as u32).to_be_bytes());
        bound.extend((frame.len() as u32).to_be_bytes());
        bound.push(u8::from(index == 1));
        expected.extend(frame);
        expected.extend(slow_crc32c(&bound).to_le_bytes());
    }
    assert_eq!(stored, expected);
}

/// Version 1, kind 1, as first released: must verify for ever.
#[test]
fn golden_of_version_1_verifies() {
    let stored = Bytes::from_static(include_bytes!("../../fixtures/frame/v1-crc32c.bin"));
    let id = chunk_id(0x0102_0304, 5);
    let shape = ChunkShape::new(FrameKind::Crc32c, 300).unwrap();
    let data = joined(&shape.verify(id, &shape.whole(), &stored).unwrap());
    assert_eq!(data, pattern(300));
    assert_eq!(joined(&encode(id, &data, 7).pieces), stored, "today's encoder writes another form: that needs a new version");
}

#[test]
fn limits_of_a_chunk() {
    let most = FrameKind::Crc32c.data_length_within(CHUNK_STORED_LENGTH_MAX) as u64;
    assert_eq!(ChunkShape::new(FrameKind::Crc32c, most).unwrap().stored_length(), CHUNK_STORED_LENGTH_MAX as u64);
    assert!(ChunkShape::new(FrameKind::Crc32c, most + 1).is_err());
    assert!(ChunkShape::new(FrameKind::Crc32c, 0).is_err());
    assert!(ChunkShape::new(FrameKind::Crc32c, u64::MAX).is_err());
    assert!(ChunkEncoder::new(chunk_id(1, 0), FrameKind::Crc32c, 10).finish().is_none());
    assert!(FrameKind::from_number(0).is_err());
    assert_eq!(FrameKind::from_number(FrameKind::Crc32c.number()), Ok(FrameKind::Crc32c));
}

#[test]
fn full_encoder_leaves_the_rest() {
    let mut encoder = ChunkEncoder::new(chunk_id(1, 0), FrameKind::Crc32c, 100);
    let mut data = pattern(150);
    encoder.push(&mut data);
    assert_eq!((encoder.room(), data.len()), (0, 50));
    assert_eq!(encoder.finish().unwrap().shape.data_length(), 100);
}

#[test]
fn large_pieces_are_not_copied_and_crumbs_are_joined() {
    let data = pattern(3 * FRAME_DATA_LENGTH);
    let whole = encode(chunk_id(1, 0), &data, usize::MAX);
    assert_eq!(whole.pieces[0].as_ptr(), data.as_ptr());
    assert_eq!(whole.pieces.len(), 6);
    assert_eq!(encode(chunk_id(1, 0), &data, 3).pieces.len(), 6, "one piece of crumbs and one tag a frame");
}

/// Truncation, extension, swapping, other chunks and zeros: each is found although every byte of data is in order.
#[test]
fn frames_out_of_place_do_not_verify() {
    let frame = FRAME_DATA_LENGTH + 4;
    let id = chunk_id(1, 0);
    let data: Bytes = [pattern(FRAME_DATA_LENGTH), pattern(FRAME_DATA_LENGTH)].concat().into();
    let stored = joined(&encode(id, &data, usize::MAX).pieces);
    let shape = ChunkShape::new(FrameKind::Crc32c, data.len() as u64).unwrap();
    assert!(shape.verify(id, &shape.whole(), &stored).is_ok());

    let one = ChunkShape::new(FrameKind::Crc32c, FRAME_DATA_LENGTH as u64).unwrap();
    assert_eq!(
        one.verify(id, &one.whole(), &stored.slice(..frame)),
        Err(FrameError::Damaged { index: 0 }),
        "cut at a frame's end"
    );
    let swapped: Bytes = [stored.slice(frame..), stored.slice(..frame)].concat().into();
    assert_eq!(shape.verify(id, &shape.whole(), &swapped), Err(FrameError::Damaged { index: 0 }), "swapped frames of equal data");
    for other in [chunk_id(1, 1), chunk_id(2, 0)] {
        assert_eq!(shape.verify(other, &shape.whole(), &stored), Err(FrameError::Damaged { index: 0 }), "another chunk's frames");
    }
    let zeros = Bytes::from(vec![0; stored.len()]);
    assert_eq!(shape.verify(id, &shape.whole(), &zeros), Err(FrameError::Damaged { index: 0 }));
    assert!(matches!(shape.verify(id, &shape.whole(), &stored.slice(1..)), Err(FrameError::StoredLength { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_range_reads_back(length in 1_usize..300_000, piece in 1_usize..100_000, one: usize, other: usize) {
        let data = pattern(length);
        let chunk = encode(chunk_id(4, 2), &data, piece);
        let stored = joined(&chunk.pieces);
        prop_assert_eq!(stored.len() as u64, chunk.shape.stored_length());
        let (one, other) = (one % (length + 1), other % (length + 1));
        let (from, to) = (one.min(other), one.max(other));
        prop_assume!(from < to);
        let span = chunk.shape.span(from as u64..to as u64).unwrap();
        let part = stored.slice(span.stored.start as usize..span.stored.end as usize);
        let read = joined(&chunk.shape.verify(chunk.id, &span, &part).unwrap());
        prop_assert_eq!(read, data.slice(from..to));
        prop_assert!(span.stored_length() <= (to - from) + 2 * FRAME_DATA_LENGTH + 4 * span.frames.len());
    }

    #[test]
    fn any_flipped_bit_is_found(length in 1_usize..140_000, place: usize, bit in 0_u8..8) {
        let chunk = encode(chunk_id(4, 2), &pattern(length), usize::MAX);
        let mut stored = joined(&chunk.pieces).to_vec();
        let place = place % stored.len();
        stored[place] ^= 1 << bit;
        let index = (place / (FRAME_DATA_LENGTH + 4)) as u32;
        prop_assert_eq!(chunk.shape.verify(chunk.id, &chunk.shape.whole(), &stored.into()), Err(FrameError::Damaged { index }));
    }

    #[test]
    fn hostile_input_never_panics(input in proptest::collection::vec(any::<u8>(), 0..200), length in 1_u32..200) {
        let mut input = input;
        fuzz_verify(&input);
        if input.len() >= 33 {
            input[0] = 1;
            input[1..5].copy_from_slice(&length.to_be_bytes());
            fuzz_verify(&input);
        }
    }

    #[test]
    fn data_length_within_is_the_most(stored in 0_usize..CHUNK_STORED_LENGTH_MAX) {
        let most = FrameKind::Crc32c.data_length_within(stored);
        if let Ok(shape) = ChunkShape::new(FrameKind::Crc32c, most as u64) {
            prop_assert!(shape.stored_length() <= stored as u64);
        }
        if let Ok(shape) = ChunkShape::new(FrameKind::Crc32c, most as u64 + 1) {
            prop_assert!(shape.stored_length() > stored as u64);
        }
    }
}
