//! `multipart/form-data` (RFC 7578, over RFC 2046, section 5.1), as a stream: the fields before the file are held in memory and bounded
//! together; the file's bytes are given as they come and never held; what follows the file is not looked at (AWS).
//!
//! No input or output here: bytes are pushed in, in pieces of any size, and the outcome does not depend on the pieces.

use bytes::{Buf as _, Bytes, BytesMut};

/// The longest boundary (RFC 2046).
pub const BOUNDARY_BYTES_MAX: usize = 70;

/// Why bytes are not a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// They are not `multipart/form-data` with this boundary.
    #[error("not well-formed multipart/form-data")]
    Malformed,
    /// What stands before the file is longer than it may be.
    #[error("the fields before the file are too long")]
    TooLong,
    /// The form ends without a file.
    #[error("no file")]
    NoFile,
}

/// What stands before the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormHead {
    /// Names as they came, and values, in their order.
    pub fields: Vec<(String, String)>,
    /// What the file was called where it came from; empty where that is not told.
    pub file_name: String,
}

/// What the file's part gives next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEvent {
    /// These bytes, never empty.
    Data(Bytes),
    /// Nothing before more is pushed.
    NeedsMore,
    /// The file has ended.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a boundary that a field's value ends with; the first of all has no value before it.
    Value,
    /// Behind a boundary.
    Boundary,
    Headers,
    File,
    /// Behind the file's boundary.
    Closing,
    End,
}

/// Reads a form. See the module's documentation.
pub struct FormDecoder {
    /// Line end, two hyphens, boundary.
    delimiter: Vec<u8>,
    head_bytes_max: usize,
    head_bytes: usize,
    buffer: BytesMut,
    state: State,
    /// The name of the field whose value comes; `None` before the first boundary.
    name: Option<String>,
    head: FormHead,
    /// The file's bytes that were pushed and not yet given.
    piece: Bytes,
    /// The end of what was pushed, where it may be the beginning of the delimiter.
    held: Bytes,
}

/// The boundary in a `Content-Type`; `None` where it is not of a form.
#[must_use]
pub fn boundary_of(content_type: &str) -> Option<Result<String, FormError>> {
    let mut parameters = content_type.split(';');
    if !parameters.next()?.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim())
    });
    let unquoted = boundary.map(|text| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text));
    let is_valid = |text: &&str| {
        (1..=BOUNDARY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
    };
    Some(unquoted.filter(is_valid).map(str::to_owned).ok_or(FormError::Malformed))
}

impl FormDecoder {
    /// A form with this boundary; what stands before the file's bytes has at most so many.
    #[must_use]
    pub fn new(boundary: &str, head_bytes_max: usize) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            head_bytes_max,
            head_bytes: 0,
            // The first boundary stands at the beginning: the line end that belongs to it is not there.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Value,
            name: None,
            head: FormHead::default(),
            piece: Bytes::new(),
            held: Bytes::new(),
        }
    }

    /// Reads on before the file; `Some` once, when the file's bytes follow. `None`: more is needed.
    pub fn head(&mut self, piece: Bytes) -> Result<Option<FormHead>, FormError> {
        let mut piece = piece;
        // Only as much is taken as the head may have, so that the file's bytes are not copied.
        let room = (self.head_bytes_max + self.delimiter.len()).saturating_sub(self.head_bytes);
        let taken = piece.split_to(piece.len().min(room));
        self.head_bytes += taken.len();
        self.buffer.extend_from_slice(&taken);
        if self.advance()? {
            self.piece = if self.buffer.is_empty() {
                piece
            } else if piece.is_empty() {
                self.buffer.split().freeze()
            } else {
                // At most as long as a head.
                self.buffer.extend_from_slice(&piece);
                self.buffer.split().freeze()
            };
            return Ok(Some(std::mem::take(&mut self.head)));
        }
        // The buffer holds all that is not yet understood: with what is still to come it is too long.
        if self.head_bytes >= self.head_bytes_max + self.delimiter.len() { Err(FormError::TooLong) } else { Ok(None) }
    }

    /// Whether the file's bytes have begun.
    fn advance(&mut self) -> Result<bool, FormError> {
        loop {
            match self.state {
                State::Value => {
                    let Some(at) = find(&self.buffer, &self.delimiter) else { return Ok(false) };
                    let value = self.buffer.split_to(at);
                    self.buffer.advance(self.delimiter.len());
                    self.state = State::Boundary;
                    match self.name.take() {
                        Some(name) => {
                            let value = String::from_utf8(value.to_vec()).map_err(|_| FormError::Malformed)?;
                            self.head.fields.push((name, value));
                        }
                        // A preamble is for readers that do not know forms; browsers send none.
                        None if value.is_empty() => {}
                        None => return Err(FormError::Malformed),
                    }
                }
                State::Boundary => match self.buffer.get(..2) {
                    None => return Ok(false),
                    Some(b"\r\n") => {
                        self.buffer.advance(2);
                        self.state = State::Headers;
                    }
                    Some(b"--") => return Err(FormError::NoFile),
                    Some(_) => return Err(FormError::Malformed),
                },
                State::Headers => {
                    let Some(at) = find(&self.buffer, b"\r\n\r\n") else { return Ok(false) };
                    let headers = self.buffer.split_to(at);
                    self.buffer.advance(4);
                    let Disposition { name, file_name } = disposition(&headers)?;
                    if name.eq_ignore_ascii_case("file") {
                        self.head.file_name = file_name.unwrap_or_default();
                        self.state = State::File;
                        return Ok(true);
                    }
                    self.name = Some(name);
                    self.state = State::Value;
                }
                State::File | State::Closing | State::End => return Err(FormError::Malformed),
            }
        }
    }

    /// Pushes more, when [`FormDecoder::file`] needs it.
    pub fn push(&mut self, piece: Bytes) {
        self.piece = if self.held.is_empty() {
            piece
        } else {
            // Rare: what was held is shorter than a delimiter, and ends a piece.
            let joined = [&std::mem::take(&mut self.held)[..], &piece].concat();
            joined.into()
        };
    }

    /// The file's next bytes. Its end is told only once the line of its boundary is there.
    pub fn file(&mut self) -> Result<FileEvent, FormError> {
        if self.state == State::File && !self.piece.is_empty() {
            let (length, is_end) = match find(&self.piece, &self.delimiter) {
                Some(at) => (at, true),
                None => (self.piece.len() - begun(&self.piece, &self.delimiter), false),
            };
            let data = self.piece.split_to(length);
            if is_end {
                self.piece.advance(self.delimiter.len());
                self.state = State::Closing;
            } else {
                self.held = std::mem::take(&mut self.piece);
            }
            if !data.is_empty() {
                return Ok(FileEvent::Data(data));
            }
        }
        if self.state == State::Closing {
            match self.piece.get(..2) {
                Some(b"--" | b"\r\n") => {
                    self.state = State::End;
                    self.piece = Bytes::new();
                }
                Some(_) => return Err(FormError::Malformed),
                None => self.held = std::mem::take(&mut self.piece),
            }
        }
        Ok(if self.state == State::End { FileEvent::End } else { FileEvent::NeedsMore })
    }
}

/// Where a text begins. Its first byte is a carriage return, which is rare in texts and no rarer than others in bytes.
fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        let start = from + at;
        if bytes.get(start..)?.starts_with(text) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

/// How many last bytes are the beginning of a text that is not all there.
fn begun(bytes: &[u8], text: &[u8]) -> usize {
    let longest = text.len().saturating_sub(1).min(bytes.len());
    (1..=longest).rev().find(|length| text.get(..*length).is_some_and(|start| bytes.ends_with(start))).unwrap_or(0)
}

struct Disposition {
    name: String,
    file_name: Option<String>,
}

/// Reads a part's headers, of which only `Content-Disposition` means anything.
fn disposition(headers: &[u8]) -> Result<Disposition, FormError> {
    let text = std::str::from_utf8(headers).map_err(|_| FormError::Malformed)?;
    let mut found = None;
    for line in text.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or(FormError::Malformed)?;
        if name.trim().eq_ignore_ascii_case("content-disposition") && found.replace(value).is_some() {
            return Err(FormError::Malformed);
        }
    }
    let value = found.ok_or(FormError::Malformed)?.trim();
    let (kind, mut rest) = value.split_once(';').ok_or(FormError::Malformed)?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(FormError::Malformed);
    }
    let (mut field_name, mut file_name) = (None, None);
    while !rest.trim().is_empty() {
        let (name, behind) = rest.split_once('=').ok_or(FormError::Malformed)?;
        let (value, behind) = parameter(behind)?;
        rest = behind;
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "name" => &mut field_name,
            "filename" => &mut file_name,
            // Such as `filename*`, which forms must not use (RFC 7578, section 4.2).
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(FormError::Malformed);
        }
    }
    Ok(Disposition { name: field_name.ok_or(FormError::Malformed)?, file_name })
}

/// A parameter's value, and what stands behind its semicolon. Browsers write a quote as `%22` and everything else as it is (HTML, "Multipart
/// form data"); others put a backslash before it.
fn parameter(text: &str) -> Result<(String, &str), FormError> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return Ok((value.trim().to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let rest = quoted.get(at + 1..).unwrap_or_default().trim_start();
                let rest = if rest.is_empty() { "" } else { rest.strip_prefix(';').ok_or(FormError::Malformed)? };
                return Ok((value.replace("%22", "\""), rest));
            }
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                value.push('"');
            }
            other => value.push(other),
        }
    }
    Err(FormError::Malformed)
}

#[cfg(test)]
mod tests;
