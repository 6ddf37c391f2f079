//! The catalog's log: batches, the frames that carry them, and the heads of its files.

use bytes::Bytes;
use cairn_catalog::embedded::log::batch::{
    Batch, FILE_HEADER_LENGTH, FRAME_ALIGNMENT, FRAME_HEADER_LENGTH, FileHeader, FrameHeader, Marks, Position, ZoneMark,
    frame_length,
};
use cairn_types::StoreId;
use xxhash_rust::xxh3::xxh3_128;

use crate::reader::{Reader, with_bit_flipped};
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "log", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[
    Part { name: "log_batch", run: batch, seeds: batch_seeds, memory: Memory::PerByte(64) },
    Part { name: "log_frame", run: frame, seeds: frame_seeds, memory: Memory::PerByte(64) },
    Part { name: "log_file_header", run: file_header, seeds: file_header_seeds, memory: Memory::PerByte(64) },
];

fn marks(reader: &mut Reader<'_>) -> Marks {
    Marks::default().map(|_| ZoneMark { incarnation: reader.u64(), log_index: reader.u64(), segment_position: reader.u64() })
}

/// A batch whose fields are the bytes of the input.
fn made(reader: &mut Reader<'_>, payload: &[u8]) -> Batch {
    let previous = Position { index: reader.u64() >> 1, epoch: reader.u64(), checksum: reader.u128() };
    Batch::new(StoreId(reader.u128()), previous, reader.u64(), reader.u64(), marks(reader), payload)
}

/// The input as a batch, as a batch with the right checksum behind it, and as the fields of one of which a bit is flipped.
fn batch(input: &[u8]) {
    assert!(Batch::decode(&Bytes::copy_from_slice(input)).is_err() || input.len() >= 148);
    let checksum = xxh3_128(input);
    let summed = Bytes::from([input, &checksum.to_le_bytes()].concat());
    if let Ok(batch) = Batch::decode(&summed) {
        assert_eq!((batch.encoded(), batch.position.checksum), (&summed, checksum));
        if let Some(before) = batch.position.index.checked_sub(1) {
            let previous = Position { index: before, epoch: 0, checksum: batch.previous };
            let again = Batch::new(batch.store, previous, batch.position.epoch, batch.time_ms, batch.marks, &batch.payload());
            assert_eq!(again, batch, "a batch has two encodings");
        }
    }
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let batch = made(&mut reader, input);
    assert_eq!(batch.payload(), input);
    assert_eq!(Batch::decode(batch.encoded()).as_ref(), Ok(&batch));
    let flipped = with_bit_flipped(batch.encoded(), place);
    assert!(Batch::decode(&Bytes::from(flipped)).is_err(), "a flipped bit is not noticed");
    let cut = batch.encoded().slice(..place as usize % batch.encoded().len());
    assert!(Batch::decode(&cut).is_err(), "a batch that is cut short is not noticed");
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [&b""[..], b"payload"]
        .map(|payload| Batch::new(StoreId(1), Position::default(), 1, 2, Marks::default(), payload))
        .iter()
        .map(|batch| batch.encoded()[..batch.encoded().len() - 16].to_vec())
        .collect();
    seeds.push(vec![7; 200]);
    seeds
}

/// Nonce, then the input as a frame's header, as one with the right checksum, and as the fields of a frame of which a bit is flipped.
fn frame(input: &[u8]) {
    let mut reader = Reader::new(input);
    let (nonce, place) = (reader.u64(), reader.u32());
    let mut bytes: [u8; FRAME_HEADER_LENGTH] = reader.array();
    let _ = FrameHeader::decode(&bytes, nonce);
    let (fields, checksum) = bytes.split_at_mut(FRAME_HEADER_LENGTH - 4);
    checksum.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&nonce.to_le_bytes()), fields).to_le_bytes());
    if let Some(header) = FrameHeader::decode(&bytes, nonce) {
        assert!(frame_length(header.batch_length as usize).is_multiple_of(FRAME_ALIGNMENT));
        assert_eq!(FrameHeader::decode(&bytes, nonce.wrapping_add(1)), None, "a frame of another file passes");
    }

    let batch = made(&mut reader, b"payload");
    let file = FileHeader { nonce, generation: reader.u64(), ..some_file() };
    let synced_index = reader.u64();
    let frame = batch.frame(&file, synced_index).concat();
    assert_eq!(frame.len() as u64, batch.frame_length());
    let header = FrameHeader { generation: file.generation, synced_index, batch_length: batch.encoded().len() as u32 };
    assert_eq!(FrameHeader::decode(&frame, nonce), Some(header));
    let flipped = with_bit_flipped(&frame[..FRAME_HEADER_LENGTH], place);
    assert_eq!(FrameHeader::decode(&flipped, nonce), None, "a flipped bit is not noticed");
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let batch = Batch::new(StoreId(1), Position::default(), 1, 2, Marks::default(), b"payload");
    let frame = batch.frame(&some_file(), 9).concat();
    vec![[&some_file().nonce.to_le_bytes()[..], &[0; 4], &frame].concat()]
}

fn some_file() -> FileHeader {
    FileHeader {
        store: StoreId(1),
        incarnation: 1,
        generation: 2,
        nonce: 3,
        base: Position::default(),
        base_time_ms: 4,
        cut_epoch: 5,
        base_marks: Marks::default(),
    }
}

/// Bytes of a file's header that carry something, without their checksum.
const FILE_HEADER_USED: usize = 172;

/// The input as a file's header, as one with the right checksum, and as the fields of one of which a bit is flipped.
fn file_header(input: &[u8]) {
    let _ = FileHeader::decode(input);
    if let Some((used, rest)) = input.split_at_checked(FILE_HEADER_USED) {
        let summed = [used, &crc32c::crc32c(used).to_le_bytes(), rest].concat();
        if let Some(header) = FileHeader::decode(&summed) {
            assert_eq!(header.encode()[..FILE_HEADER_USED], *used, "a file's header has two encodings");
        }
    }
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let header = FileHeader {
        store: StoreId(reader.u128()),
        incarnation: reader.u64(),
        generation: reader.u64(),
        nonce: reader.u64(),
        base: Position { index: reader.u64(), epoch: reader.u64(), checksum: reader.u128() },
        base_time_ms: reader.u64(),
        cut_epoch: reader.u64(),
        base_marks: marks(&mut reader),
    };
    let encoded = header.encode();
    assert_eq!((FileHeader::decode(&encoded), encoded.len() as u64), (Some(header), FILE_HEADER_LENGTH));
    let flipped = with_bit_flipped(&encoded[..FILE_HEADER_USED + 4], place);
    assert_eq!(FileHeader::decode(&flipped), None, "a flipped bit is not noticed");
}

fn file_header_seeds() -> Vec<Vec<u8>> {
    vec![some_file().encode()[..FILE_HEADER_USED].to_vec()]
}
