use proptest::prelude::*;

use super::*;

const SIGNED: Framing = Framing { signed: true, trailer: false };
const SIGNED_TRAILER: Framing = Framing { signed: true, trailer: true };
const UNSIGNED_TRAILER: Framing = Framing { signed: false, trailer: true };

type Decoded = (Vec<u8>, Vec<Option<[u8; 32]>>, Trailer);

/// Feeds a body in pieces of this length.
fn decode(framing: Framing, length: u64, body: &[u8], piece: usize) -> Result<Option<Decoded>, ChunkedError> {
    let mut decoder = ChunkedDecoder::new(framing, length);
    let (mut data, mut signatures, mut trailer) = (Vec::new(), Vec::new(), None);
    for piece in body.chunks(piece.max(1)) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(event) = decoder.decode(&mut input)? {
            match event {
                Event::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    data.extend_from_slice(&bytes);
                }
                Event::ChunkEnd(signature) => signatures.push(signature),
                Event::End(end) => trailer = Some(end),
            }
        }
        assert!(input.is_empty());
    }
    assert_eq!(decoder.is_done(), trailer.is_some());
    Ok(trailer.map(|trailer| (data, signatures, trailer)))
}

/// Every way to cut the body into pieces gives the same.
fn decode_all_ways(framing: Framing, length: u64, body: &[u8]) -> Result<Option<Decoded>, ChunkedError> {
    let whole = decode(framing, length, body, body.len());
    for piece in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(decode(framing, length, body, piece), whole, "pieces of {piece}");
    }
    whole
}

fn signed_body(chunks: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for (place, chunk) in chunks.iter().chain([&&b""[..]]).enumerate() {
        body.extend_from_slice(format!("{:x};chunk-signature={}\r\n", chunk.len(), format!("{place:02x}").repeat(32)).as_bytes());
        body.extend_from_slice(chunk);
        if !chunk.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(b"\r\n");
    body
}

#[test]
fn a_signed_body_is_read() {
    let first = vec![7; 8192];
    let body = signed_body(&[&first, b"end"]);
    let (data, signatures, trailer) = decode_all_ways(SIGNED, 8195, &body).unwrap().unwrap();
    assert_eq!(data, [&first[..], b"end"].concat());
    assert_eq!(signatures, vec![Some([0; 32]), Some([1; 32]), Some([2; 32])]);
    assert_eq!(trailer, Trailer::default());
    // An empty object is its last chunk alone.
    assert_eq!(decode_all_ways(SIGNED, 0, &signed_body(&[])).unwrap().unwrap().0, b"");
}

#[test]
fn trailers_are_read() {
    let body = b"5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32 : NhCmhg== \r\n\r\n";
    let (data, _, trailer) = decode_all_ways(UNSIGNED_TRAILER, 5, body).unwrap().unwrap();
    assert_eq!(data, b"hello");
    assert_eq!(trailer.fields, [("x-amz-checksum-crc32".to_owned(), b"NhCmhg==".to_vec())]);
    let signature = "ab".repeat(32);
    for line_end in ["\r\n", "\n\r\n"] {
        let body = format!(
            "5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\nx-amz-checksum-crc32:NhCmhg=={line_end}x-amz-trailer-signature:{signature}\r\n\r\n"
        );
        let (_, _, trailer) = decode_all_ways(SIGNED_TRAILER, 5, body.as_bytes()).unwrap().unwrap();
        assert_eq!(trailer.fields, [("x-amz-checksum-crc32".to_owned(), b"NhCmhg==".to_vec())]);
        assert_eq!(trailer.signature, Some([0xab; 32]));
    }
}

#[test]
fn what_is_not_the_coding_is_refused() {
    let signature = "ab".repeat(32);
    let malformed =
        |framing, body: &str| assert_eq!(decode_all_ways(framing, 5, body.as_bytes()), Err(ChunkedError::Malformed), "{body}");
    malformed(UNSIGNED_TRAILER, "g\r\nhello\r\n0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, "\r\nhello\r\n0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, "5\nhello\r\n0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, "5\r\nhelloxx0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, "5;a=b\r\nhello\r\n0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, "-5\r\nhello\r\n0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, "00000000000000005\r\nhello\r\n0\r\n\r\n");
    malformed(UNSIGNED_TRAILER, &"0".repeat(300));
    malformed(UNSIGNED_TRAILER, "5\r\nhello\r\n0\r\n\r\nmore");
    malformed(SIGNED, "5\r\nhello\r\n0\r\n\r\n");
    malformed(SIGNED, &format!("5;chunk-signature={}\r\nhello\r\n", "AB".repeat(32)));
    malformed(SIGNED, &format!("5;chunk-signature={}\r\nhello\r\n", "ab".repeat(31)));
    malformed(SIGNED, &format!("5:chunk-signature={signature}\r\nhello\r\n"));
    malformed(SIGNED, &format!("5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\nx-a:b\r\n\r\n"));
}

#[test]
fn lengths_are_held() {
    let wrong = |length, body: &str| {
        assert_eq!(decode_all_ways(UNSIGNED_TRAILER, length, body.as_bytes()), Err(ChunkedError::WrongLength));
    };
    wrong(4, "5\r\nhello\r\n0\r\n\r\n");
    wrong(6, "5\r\nhello\r\n0\r\n\r\n");
    wrong(5, "ffffffffffffffff\r\nhello");
    let small = [b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n".as_slice()].concat();
    assert_eq!(decode_all_ways(UNSIGNED_TRAILER, 10, &small), Err(ChunkedError::ChunkTooSmall { number: 1, length: 5 }));
}

#[test]
fn trailers_are_bounded() {
    let trailer = |lines: &str| decode_all_ways(UNSIGNED_TRAILER, 0, format!("0\r\n{lines}\r\n").as_bytes());
    for bad in [
        "x\r\n",
        ":b\r\n",
        "a b:c\r\n",
        "x-amz-trailer-signature:00\r\n",
        &format!("a:{}\r\n", "b".repeat(5000)),
        &"a:b\r\n".repeat(17),
    ] {
        assert_eq!(trailer(bad), Err(ChunkedError::MalformedTrailer), "{bad}");
    }
    assert!(trailer(&"a:b\r\n".repeat(16)).unwrap().is_some());
    // A line end of `\n` is one only before `\r\n`, however the bytes are cut.
    assert_eq!(trailer("a:b\nc:d\r\n"), Err(ChunkedError::MalformedTrailer));
    assert_eq!(trailer("a:b\n\rc:d\r\n"), Err(ChunkedError::MalformedTrailer));
    // Nothing may follow the signature.
    let signature = "ab".repeat(32);
    let body = format!("0;chunk-signature={signature}\r\nx-amz-trailer-signature:{signature}\r\na:b\r\n\r\n");
    assert_eq!(decode_all_ways(SIGNED_TRAILER, 0, body.as_bytes()), Err(ChunkedError::MalformedTrailer));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(sizes in prop::collection::vec(8192_usize..20_000, 0..3), last in 1_usize..100, piece in 1_usize..30_000) {
        let chunks: Vec<Vec<u8>> = sizes.into_iter().chain([last]).enumerate().map(|(place, size)| vec![place as u8; size]).collect();
        let all = chunks.concat();
        let body = signed_body(&chunks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (data, signatures, _) = decode(SIGNED, all.len() as u64, &body, piece).unwrap().unwrap();
        prop_assert_eq!(data, all);
        prop_assert_eq!(signatures.len(), chunks.len() + 1);
    }

    #[test]
    fn a_cut_body_is_never_whole(cut in 0_usize..500) {
        let body = signed_body(&[b"hello"]);
        let cut = cut % body.len();
        prop_assert_eq!(decode(SIGNED, 5, &body[..cut], 16), Ok(None));
    }

    #[test]
    fn never_panics(body: Vec<u8>, length: u64, signed: bool, trailer: bool) {
        let _ = decode_all_ways(Framing { signed, trailer }, length, &body);
    }

    #[test]
    fn never_panics_on_near_misses(text in "[0-9a-f]{0,4}(;chunk-signature=[0-9a-f]{60,66})?(\r|\n|\r\n){0,2}[a-z:\r\n0]{0,40}", length in 0_u64..70_000, signed: bool, trailer: bool) {
        let _ = decode_all_ways(Framing { signed, trailer }, length, text.as_bytes());
    }
}
