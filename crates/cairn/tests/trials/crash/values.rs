//! What is written: bodies that follow from the seed and a number, so that they can be judged whole without being kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_testkit::s3_client::Answer;
use md5::{Digest, Md5};
use parking_lot::Mutex;

use super::model::{ValueId, class};
use crate::seed;

/// The metadata that names a value.
pub const NAME: &str = "x-amz-meta-value";

/// An object as it was written.
#[derive(Debug)]
pub struct Value {
    /// The pieces of its body, one after the other: the number of each, and how many bytes it has.
    pub pieces: Vec<(u64, usize)>,
    /// Its ETag, without quotes.
    pub etag: String,
}

/// Everything that was ever written, or tried to be.
pub struct Values {
    seed: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u32,
    values: BTreeMap<ValueId, Arc<Value>>,
    classes: BTreeMap<String, u32>,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

impl Values {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Mutex::new(State::default()) }
    }

    fn insert(&self, id: ValueId, value: Value) {
        let mut state = self.state.lock();
        state.classes.insert(value.etag.clone(), class(id));
        state.values.insert(id, Arc::new(value));
    }

    /// A number that nothing has.
    pub fn number(&self) -> u64 {
        let mut state = self.state.lock();
        state.last += 1;
        state.last.into()
    }

    /// The bytes of a piece.
    pub fn piece(&self, number: u64, length: usize) -> Vec<u8> {
        seed::body(self.seed, number, length)
    }

    /// The MD5 of a piece, as its ETag has it.
    pub fn piece_etag(&self, number: u64, length: usize) -> String {
        hexadecimal(&Md5::digest(self.piece(number, length)))
    }

    /// A new object, and its body.
    pub fn make(&self, length: usize) -> (ValueId, Vec<u8>) {
        let number = self.number();
        // All empty ones have one ETag.
        let id = if length == 0 { number << 32 } else { number };
        let body = self.piece(id, length);
        self.insert(id, Value { pieces: vec![(id, length)], etag: hexadecimal(&Md5::digest(&body)) });
        (id, body)
    }

    /// An object with the body, and so the ETag, of another.
    pub fn copy(&self, of: ValueId, value: &Value) -> ValueId {
        let id = self.number() << 32 | u64::from(class(of));
        self.insert(id, Value { pieces: value.pieces.clone(), etag: value.etag.clone() });
        id
    }

    /// An object of parts. (AWS, "Checking object integrity": the MD5 of the parts' MD5s, and their number.)
    pub fn assemble(&self, id: ValueId, parts: &[(u64, usize)]) {
        let mut digest = Md5::new();
        for (number, length) in parts {
            digest.update(Md5::digest(self.piece(*number, *length)));
        }
        let etag = format!("{}-{}", hexadecimal(&digest.finalize()), parts.len());
        self.insert(id, Value { pieces: parts.to_vec(), etag });
    }

    /// A value by its number.
    pub fn get(&self, id: ValueId) -> Option<Arc<Value>> {
        self.state.lock().values.get(&id).cloned()
    }

    /// What values with this ETag (without quotes) have in common.
    pub fn class_of(&self, etag: &str) -> Option<u32> {
        self.state.lock().classes.get(etag).copied()
    }

    /// The value that an answer to a GET or a HEAD names.
    ///
    /// # Errors
    /// Where it is none that was written, or has another's ETag.
    pub fn named(&self, answer: &Answer) -> Result<(ValueId, Arc<Value>), String> {
        let named = answer.header(NAME).and_then(|text| text.parse().ok());
        let id: ValueId = named.ok_or_else(|| format!("an object without its metadata: {:?}", answer.headers))?;
        let value = self.get(id).ok_or_else(|| format!("an object that nobody wrote: {id}"))?;
        let etag = answer.header("etag").map(|etag| etag.trim_matches('"'));
        if etag != Some(value.etag.as_str()) {
            return Err(format!("the object {id} has the ETag {etag:?} and not {}", value.etag));
        }
        Ok((id, value))
    }

    /// Judges the answer to a GET, of everything or of the bytes from one place to another (the latter not included).
    ///
    /// # Errors
    /// Where a byte, a length, the ETag or the metadata is not what was written.
    pub fn verify(&self, answer: &Answer, range: Option<(usize, usize)>) -> Result<ValueId, String> {
        let (id, value) = self.named(answer)?;
        let mut at = 0;
        let mut left = answer.body.as_slice();
        for (number, length) in &value.pieces {
            let (from, to) = range.unwrap_or((0, usize::MAX));
            let (from, to) = (from.clamp(at, at + length) - at, to.clamp(at, at + length) - at);
            if from < to {
                let piece = self.piece(*number, *length);
                let (now, rest) = left.split_at_checked(to - from).ok_or_else(|| format!("the object {id} is cut short"))?;
                if now != &piece[from..to] {
                    return Err(format!("the object {id} has other bytes in its piece {number}"));
                }
                left = rest;
            }
            at += length;
        }
        if left.is_empty() { Ok(id) } else { Err(format!("the object {id} has {} bytes too many", left.len())) }
    }
}
