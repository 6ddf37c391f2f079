use super::{KEPT_BYTES_MAX, LENGTH_MAX, LENGTH_MIN, ReadBuffers};

fn read(buffers: &ReadBuffers, length: usize, filled: usize, byte: u8) -> bytes::Bytes {
    buffers
        .read(length, |buffer| {
            assert_eq!(buffer.len(), length);
            buffer[..filled].fill(byte);
            Ok::<_, std::io::Error>(filled)
        })
        .unwrap()
}

#[test]
fn a_buffer_is_used_again_only_after_its_last_piece_and_shows_nothing_of_what_it_held() {
    let buffers = ReadBuffers::default();
    let first = read(&buffers, LENGTH_MIN + 1, LENGTH_MIN + 1, 1);
    let piece = first.slice(5..9);
    drop(first);
    let second = read(&buffers, LENGTH_MIN + 1, LENGTH_MIN + 1, 2);
    assert_eq!(&piece[..], &[1; 4], "a piece keeps its buffer");
    let place = second.as_ptr();
    drop(second);
    let third = read(&buffers, LENGTH_MIN + 2, 3, 3);
    assert_eq!(third.as_ptr(), place, "the buffer is used again");
    assert_eq!(&third[..], &[3; 3], "what an earlier read left is not seen");
}

#[test]
fn a_failed_read_gives_its_buffer_back() {
    let buffers = ReadBuffers::default();
    assert!(buffers.read(LENGTH_MIN, |_| Err(std::io::Error::other("no"))).is_err());
    assert_eq!(buffers.kept.lock().buffers.len(), 1);
}

#[test]
fn what_is_kept_is_bounded() {
    let buffers = ReadBuffers::default();
    let lent: Vec<_> = (0..KEPT_BYTES_MAX / LENGTH_MAX + 5).map(|_| read(&buffers, LENGTH_MAX, 1, 1)).collect();
    drop(lent);
    let kept = buffers.kept.lock();
    assert_eq!(kept.bytes, KEPT_BYTES_MAX);
    assert_eq!(kept.bytes, kept.buffers.iter().map(Vec::len).sum::<usize>());
    drop(kept);
    drop(read(&buffers, LENGTH_MIN - 1, 1, 1));
    drop(read(&buffers, LENGTH_MAX + 1, 1, 1));
    assert_eq!(buffers.kept.lock().bytes, KEPT_BYTES_MAX);
}
