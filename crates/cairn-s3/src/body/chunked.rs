//! The `aws-chunked` coding, as a decoder that does no I/O and no hashing.
//!
//! It gives out slices of what it is fed, and holds nothing back but a line that is not whole yet. Every length is bounded. What AWS
//! prescribes is in "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks" and in
//! "… Including Trailing Headers":
//!
//! ```text
//! 10000;chunk-signature=HEX64\r\n        (unsigned: 10000\r\n)
//! …65,536 bytes…\r\n
//! 0;chunk-signature=HEX64\r\n
//! x-amz-checksum-crc32c:VALUE\r\n        (with a trailer)
//! x-amz-trailer-signature:HEX64\r\n      (with a signed trailer)
//! \r\n
//! ```

use bytes::{Buf, Bytes};

use crate::text::hexadecimal;

/// The longest line before a chunk, bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// The longest trailer, bytes, all its lines together.
pub const TRAILER_BYTES_MAX: usize = 4096;
/// The most lines in a trailer.
pub const TRAILER_LINES_MAX: usize = 16;
/// Every chunk but the last has at least so many bytes (AWS).
pub const CHUNK_BYTES_MIN: u64 = 8192;

/// What the chunks of a body carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Chunks have signatures.
    pub signed: bool,
    /// A trailer follows.
    pub trailer: bool,
}

/// What comes next in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes of a chunk.
    Data(Bytes),
    /// The chunk is over (the empty last one too); it claims this signature.
    ChunkEnd(Option<[u8; 32]>),
    /// The body is over.
    End(Trailer),
}

/// The lines behind the last chunk, in their order, names in lower case, without the signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trailer {
    /// Names and values, values without spaces around.
    pub fields: Vec<(String, Vec<u8>)>,
    /// `x-amz-trailer-signature`.
    pub signature: Option<[u8; 32]>,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// Not the coding, or not the kind of it that was announced.
    #[error("the aws-chunked body is malformed")]
    Malformed,
    /// More or fewer bytes than `x-amz-decoded-content-length` says.
    #[error("the chunks do not add up to x-amz-decoded-content-length")]
    WrongLength,
    /// A chunk that is not the last is shorter than [`CHUNK_BYTES_MIN`].
    #[error("chunk {number} has only {length} bytes")]
    ChunkTooSmall {
        /// Which chunk, from 1.
        number: u64,
        /// Its length, bytes.
        length: u64,
    },
    /// The trailer is not one.
    #[error("the trailer is malformed")]
    MalformedTrailer,
}

enum State {
    ChunkLine,
    Data {
        remaining: u64,
        signature: Option<[u8; 32]>,
    },
    /// The line end behind a chunk's bytes.
    DataEnd {
        signature: Option<[u8; 32]>,
    },
    Trailer,
    /// The `\r\n` behind a trailing header that ended with `\n`; so many bytes of it have come.
    TrailerLineEnd {
        seen: usize,
    },
    Done,
}

/// Decodes one body.
pub struct ChunkedDecoder {
    framing: Framing,
    state: State,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Bytes that the chunks to come must still have.
    remaining: u64,
    chunk_count: u64,
    previous_length: Option<u64>,
    trailer: Trailer,
    trailer_bytes: usize,
}

impl ChunkedDecoder {
    /// For a body that holds `decoded_length` bytes.
    #[must_use]
    pub fn new(framing: Framing, decoded_length: u64) -> Self {
        Self {
            framing,
            state: State::ChunkLine,
            line: Vec::new(),
            remaining: decoded_length,
            chunk_count: 0,
            previous_length: None,
            trailer: Trailer::default(),
            trailer_bytes: 0,
        }
    }

    /// Takes from `input` until something is to be said; `None` when it is used up. After [`Event::End`] any further byte is an error.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Event>, ChunkedError> {
        loop {
            match self.state {
                State::ChunkLine => {
                    let Some(line) = self.take_line(input, CHUNK_LINE_BYTES_MAX, ChunkedError::Malformed)? else {
                        return Ok(None);
                    };
                    if let Some(event) = self.chunk_line(&line)? {
                        return Ok(Some(event));
                    }
                }
                State::Data { remaining, signature } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(input.len());
                    let data = input.split_to(length);
                    let remaining = remaining - length as u64;
                    self.remaining -= length as u64;
                    self.state = if remaining == 0 { State::DataEnd { signature } } else { State::Data { remaining, signature } };
                    return Ok(Some(Event::Data(data)));
                }
                State::DataEnd { signature } => {
                    let Some(line) = self.take_line(input, 0, ChunkedError::Malformed)? else { return Ok(None) };
                    if !line.is_empty() {
                        return Err(ChunkedError::Malformed);
                    }
                    self.state = State::ChunkLine;
                    return Ok(Some(Event::ChunkEnd(signature)));
                }
                State::Trailer => {
                    let room = if self.framing.trailer { TRAILER_BYTES_MAX.saturating_sub(self.trailer_bytes) } else { 0 };
                    let error = if self.framing.trailer { ChunkedError::MalformedTrailer } else { ChunkedError::Malformed };
                    let Some(line) = self.take_line(input, room, error)? else { return Ok(None) };
                    if line.is_empty() {
                        self.state = State::Done;
                        return Ok(Some(Event::End(std::mem::take(&mut self.trailer))));
                    }
                    self.trailer_bytes += line.len();
                    self.trailer_line(&line)?;
                }
                State::TrailerLineEnd { seen } => match (input.first(), b"\r\n".get(seen)) {
                    (_, None) => self.state = State::Trailer,
                    (None, _) => return Ok(None),
                    (Some(byte), Some(expected)) if byte == expected => {
                        input.advance(1);
                        self.state = State::TrailerLineEnd { seen: seen + 1 };
                    }
                    _ => return Err(ChunkedError::MalformedTrailer),
                },
                State::Done if input.is_empty() => return Ok(None),
                State::Done => return Err(ChunkedError::Malformed),
            }
        }
    }

    /// What the chunks carry.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether [`Event::End`] was given.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// A line without its `\r\n`; `None` while the end has not come.
    fn take_line(&mut self, input: &mut Bytes, length_max: usize, error: ChunkedError) -> Result<Option<Bytes>, ChunkedError> {
        let end = input.iter().take((length_max + 2).saturating_sub(self.line.len())).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            if self.line.len() + input.len() >= length_max + 2 {
                return Err(error);
            }
            self.line.extend_from_slice(input);
            input.clear();
            return Ok(None);
        };
        let mut line = input.split_to(end);
        input.advance(1);
        if !self.line.is_empty() {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(&line);
            line = Bytes::from(whole);
        }
        if line.last() != Some(&b'\r') {
            // Some writers end a trailing header with `\n\r\n`, as an example of AWS's shows: then the `\r\n` is an empty line of its own.
            if !matches!(self.state, State::Trailer) || line.is_empty() || !self.framing.trailer {
                return Err(error);
            }
            self.state = State::TrailerLineEnd { seen: 0 };
            return Ok(Some(line));
        }
        line.truncate(line.len() - 1);
        Ok(Some(line))
    }

    fn chunk_line(&mut self, line: &[u8]) -> Result<Option<Event>, ChunkedError> {
        let (size, signature) = if self.framing.signed {
            let at = line.iter().position(|byte| *byte == b';').ok_or(ChunkedError::Malformed)?;
            let (size, extension) = line.split_at(at);
            let signature = extension.strip_prefix(b";chunk-signature=").ok_or(ChunkedError::Malformed)?;
            (size, Some(hexadecimal::decode_lower(signature).ok_or(ChunkedError::Malformed)?))
        } else {
            (line, None)
        };
        let length = parse_size(size).ok_or(ChunkedError::Malformed)?;
        self.chunk_count += 1;
        if length == 0 {
            if self.remaining != 0 {
                return Err(ChunkedError::WrongLength);
            }
            self.state = State::Trailer;
            return Ok(Some(Event::ChunkEnd(signature)));
        }
        if let Some(previous) = self.previous_length
            && previous < CHUNK_BYTES_MIN
        {
            return Err(ChunkedError::ChunkTooSmall { number: self.chunk_count - 1, length: previous });
        }
        if length > self.remaining {
            return Err(ChunkedError::WrongLength);
        }
        self.previous_length = Some(length);
        self.state = State::Data { remaining: length, signature };
        Ok(None)
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), ChunkedError> {
        let at = line.iter().position(|byte| *byte == b':').ok_or(ChunkedError::MalformedTrailer)?;
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = std::str::from_utf8(name.trim_ascii()).map_err(|_| ChunkedError::MalformedTrailer)?.to_ascii_lowercase();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_token) || self.trailer.signature.is_some() {
            return Err(ChunkedError::MalformedTrailer);
        }
        if name == "x-amz-trailer-signature" {
            if !self.framing.signed {
                return Err(ChunkedError::MalformedTrailer);
            }
            self.trailer.signature = Some(hexadecimal::decode_lower(value).ok_or(ChunkedError::MalformedTrailer)?);
            return Ok(());
        }
        if self.trailer.fields.len() == TRAILER_LINES_MAX {
            return Err(ChunkedError::MalformedTrailer);
        }
        self.trailer.fields.push((name, value.to_vec()));
        Ok(())
    }
}

/// 1 to 16 hexadecimal digits.
fn parse_size(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| Some(value << 4 | u64::from(hexadecimal::digit(*byte)?)))
}

#[cfg(test)]
mod tests;
