use std::time::Duration;

use super::*;

fn expectations(payload: PayloadMode, length: u64, promised: Promised) -> Expectations {
    Expectations {
        payload,
        chunk_signer: None,
        length,
        length_min: None,
        promised,
        wants_etag: true,
        default_checksum: Some(ChecksumAlgorithm::Crc32),
        idle_timeout: Duration::from_secs(1),
    }
}

async fn read(expectations: Expectations, pieces: &[&'static [u8]]) -> Result<(Vec<u8>, Digests), &'static str> {
    let mut inbound = Inbound::from_memory(pieces.iter().map(|piece| Bytes::from_static(piece)));
    let mut body = VerifiedBody::new(&mut inbound, expectations);
    let mut out = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => out.extend_from_slice(&piece),
            Err(failed) => return Err(body.failure(failed).code().name),
        }
    }
    match body.finish().await {
        Ok(digests) => Ok((out, digests)),
        Err(failed) => Err(body.failure(failed).code().name),
    }
}

fn md5(text: &str) -> Option<[u8; 16]> {
    hexadecimal::decode(text.as_bytes())
}

#[tokio::test]
async fn a_body_is_what_was_promised() {
    let plain = |length, promised| expectations(PayloadMode::Unsigned, length, promised);
    let (bytes, digests) = read(plain(5, Promised::default()), &[b"he", b"llo"]).await.unwrap();
    assert_eq!(bytes, b"hello");
    assert_eq!(digests.etag.to_string(), "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(base64::encode(digests.checksum.unwrap().value()), "NhCmhg==");
    let promised = Promised { md5: md5("5d41402abc4b2a76b9719d911017c592"), ..Promised::default() };
    assert!(read(plain(5, promised), &[b"hello"]).await.is_ok());
    assert_eq!(read(plain(5, promised), &[b"hellp"]).await.unwrap_err(), "BadDigest");
    let promised = Promised { checksum: headers::parse_value(ChecksumAlgorithm::Crc32, b"NhCmhg=="), ..Promised::default() };
    assert!(read(plain(5, promised), &[b"hello"]).await.is_ok());
    assert_eq!(read(plain(5, promised), &[b"hellp"]).await.unwrap_err(), "BadDigest");
    let sha256 = hexadecimal::decode(b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824").unwrap();
    let signed = || expectations(PayloadMode::Sha256(sha256), 5, Promised::default());
    assert!(read(signed(), &[b"hello"]).await.is_ok());
    assert_eq!(read(signed(), &[b"hellp"]).await.unwrap_err(), "XAmzContentSHA256Mismatch");
}

#[tokio::test]
async fn lengths_are_held() {
    let plain = |length| expectations(PayloadMode::Unsigned, length, Promised::default());
    assert_eq!(read(plain(6), &[b"hello"]).await.unwrap_err(), "IncompleteBody");
    assert_eq!(read(plain(4), &[b"hello"]).await.unwrap_err(), "IncompleteBody");
    assert_eq!(read(plain(0), &[b"hello"]).await.unwrap_err(), "IncompleteBody");
    assert!(read(plain(0), &[]).await.is_ok());
}

#[tokio::test]
async fn a_trailer_is_what_was_announced() {
    let crc32 = Some(ChecksumAlgorithm::Crc32);
    let streaming = |trailer| expectations(PayloadMode::StreamingUnsignedTrailer, 5, Promised { trailer, ..Promised::default() });
    let (bytes, digests) = read(streaming(crc32), &[b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"]).await.unwrap();
    assert_eq!((bytes.as_slice(), digests.checksum.unwrap().algorithm()), (&b"hello"[..], ChecksumAlgorithm::Crc32));
    let code = |trailer, body: &'static [u8]| async move { read(streaming(trailer), &[body]).await.unwrap_err() };
    assert_eq!(code(crc32, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n").await, "BadDigest");
    assert_eq!(code(crc32, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n").await, "InvalidRequest");
    assert_eq!(code(crc32, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32c:NhCmhg==\r\n\r\n").await, "MalformedTrailerError");
    assert_eq!(code(crc32, b"5\r\nhello\r\n0\r\n\r\n").await, "MalformedTrailerError");
    assert_eq!(code(None, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n").await, "MalformedTrailerError");
    assert_eq!(code(crc32, b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n").await, "IncompleteBody");
}

#[tokio::test]
async fn what_was_not_read_is_not_confirmed() {
    let mut inbound = Inbound::from_memory([Bytes::from_static(b"hello")]);
    let mut body = VerifiedBody::new(&mut inbound, expectations(PayloadMode::Unsigned, 5, Promised::default()));
    // A store that finishes without having taken all bytes would commit something else.
    assert!(body.finish().await.is_err());
    assert!(body.finish().await.is_err());
    let mut inbound = Inbound::from_memory([]);
    let mut body = VerifiedBody::new(&mut inbound, expectations(PayloadMode::Unsigned, 0, Promised::default()));
    assert!(body.finish().await.is_ok());
    assert!(body.finish().await.is_err());
}

#[tokio::test]
async fn documents_are_bounded() {
    let mut inbound = Inbound::from_memory([Bytes::from_static(b"hello")]);
    let mut body = VerifiedBody::new(&mut inbound, expectations(PayloadMode::Unsigned, 5, Promised::default()));
    assert_eq!(body.read_all(4).await.unwrap_err().code().name, "MaxMessageLengthExceeded");
    assert!(!inbound.is_polled());
    let mut body = VerifiedBody::new(&mut inbound, expectations(PayloadMode::Unsigned, 5, Promised::default()));
    assert_eq!(body.read_all(5).await.unwrap(), "hello");
}
