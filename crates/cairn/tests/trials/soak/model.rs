//! What one client's keys hold, exactly: nobody else writes them, and the client has one request under way at a time.

use std::collections::BTreeMap;

use cairn_testkit::s3_client::Answer;
use md5::{Digest, Md5};

use crate::seed;

/// Bodies up to this long are kept in the catalog's log, and take no chunk.
pub const INLINE_BYTES_MAX: usize = 16 << 10;
/// Data bytes of a frame, and the bytes of its checksum behind it (docs/adr/0006-replica-layer.md).
const FRAME: (usize, usize) = (64 << 10, 4);

/// Bytes that follow from the seed and a number; how many.
pub type Piece = (u64, usize);

/// The MD5 of bytes, as an ETag has it.
pub fn md5_of(bytes: &[u8]) -> String {
    hexadecimal(&Md5::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// An ETag as XML or a header has it, without quotes.
pub fn bare(etag: &str) -> String {
    etag.replace("&quot;", "").replace('"', "")
}

/// An object as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its body, piece by piece.
    pub pieces: Vec<Piece>,
    /// Its ETag, without quotes.
    pub etag: String,
}

impl Object {
    /// One of a single piece.
    pub fn whole(piece: Piece, body: &[u8]) -> Self {
        Self { pieces: vec![piece], etag: md5_of(body) }
    }

    /// One of parts. (AWS, "Checking object integrity": the MD5 of the parts' MD5s, and their number.)
    pub fn of_parts(parts: &[(Piece, String)]) -> Self {
        let digits = |etag: &str| -> Vec<u8> {
            (0..etag.len() / 2).filter_map(|at| u8::from_str_radix(etag.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
        };
        let digests: Vec<u8> = parts.iter().flat_map(|(_, etag)| digits(etag)).collect();
        let etag = format!("{}-{}", md5_of(&digests), parts.len());
        Self { pieces: parts.iter().map(|(piece, _)| *piece).collect(), etag }
    }

    /// How long it is.
    pub fn length(&self) -> usize {
        self.pieces.iter().map(|(_, length)| length).sum()
    }

    /// Whether it was uploaded in parts.
    pub fn is_of_parts(&self) -> bool {
        self.etag.contains('-')
    }

    /// Judges the answer to a GET of all of it, or of the bytes from one place to another (the latter not included).
    ///
    /// # Errors
    /// Where the ETag, a length or a byte is not what was written.
    pub fn verify(&self, seed: u64, answer: &Answer, range: Option<(usize, usize)>) -> Result<(), String> {
        let etag = answer.header("etag").map(bare);
        if etag.as_deref() != Some(&self.etag) {
            return Err(format!("its ETag is {etag:?} and not {}", self.etag));
        }
        let (from, to) = range.unwrap_or((0, self.length()));
        if answer.body.len() != to - from {
            return Err(format!("{} bytes came, and not {}", answer.body.len(), to - from));
        }
        let (mut at, mut left) = (0, answer.body.as_slice());
        for (number, length) in &self.pieces {
            let (begin, end) = (from.clamp(at, at + length) - at, to.clamp(at, at + length) - at);
            if begin < end {
                let (now, rest) = left.split_at(end - begin);
                if now != &seed::body(seed, *number, *length)[begin..end] {
                    return Err(format!("other bytes in its piece {number}"));
                }
                left = rest;
            }
            at += length;
        }
        Ok(())
    }
}

/// What stands under a key, at one place in its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id, in the bucket that keeps versions.
    pub id: Option<String>,
    /// What it is; none is a delete marker.
    pub object: Option<Object>,
}

/// A bucket's keys of one client, each with its versions, the newest first. A key without any is not there.
pub type Keys = BTreeMap<String, Vec<Version>>;

/// The object that a GET of the key finds.
pub fn current<'a>(keys: &'a Keys, key: &str) -> Option<&'a Object> {
    keys.get(key)?.first()?.object.as_ref()
}

/// Stored bytes of the chunks that these pieces take in a zone, each piece once: copies refer to the bytes of what they were made from.
pub fn stored_bytes(pieces: impl IntoIterator<Item = Piece>) -> u64 {
    let distinct: BTreeMap<u64, usize> = pieces.into_iter().collect();
    let stored = |length: usize| length + length.div_ceil(FRAME.0) * FRAME.1;
    // A piece of several chunks is cut at whole frames.
    distinct.values().filter(|length| **length > INLINE_BYTES_MAX).map(|length| stored(*length) as u64).sum()
}

/// All pieces that versions of these keys are made of.
pub fn pieces(keys: &Keys) -> impl Iterator<Item = Piece> + '_ {
    keys.values().flatten().filter_map(|version| version.object.as_ref()).flat_map(|object| object.pieces.iter().copied())
}
