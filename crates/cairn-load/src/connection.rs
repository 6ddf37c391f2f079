//! One connection that is kept alive: a request goes out in one piece, the answer's body is handed on as it comes. An answer that is
//! cut short or whose framing cannot be read is an error, never a short body.

use std::io::{IoSlice, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long an answer may keep us waiting.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to the service.
pub struct Connection {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// What has been read and not handed on: `buffer[start..end]`.
    start: usize,
    end: usize,
}

/// What the head of an answer says.
struct Head {
    status: u16,
    framing: Framing,
    keeps_alive: bool,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(u64),
    Chunked,
}

impl Connection {
    /// A connection that opens when it is needed.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// Sends a request and hands on the body of its answer. Gives the status.
    ///
    /// # Errors
    /// Where the connection fails, the answer cannot be read, or `sink` does not take a piece of the body.
    pub fn exchange(
        &mut self,
        head: &str,
        body: &[u8],
        mut sink: impl FnMut(u16, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<u16> {
        let result = self.try_exchange(head, body, &mut sink);
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    fn try_exchange(
        &mut self,
        head: &str,
        body: &[u8],
        sink: &mut impl FnMut(u16, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<u16> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).with_context(|| format!("{} cannot be reached", self.address))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            (self.start, self.end) = (0, 0);
            self.stream = Some(stream);
        }
        // A service may refuse before it has read the body; then its answer says why.
        let sent = self.send(head.as_bytes(), body);
        let has_body = !head.starts_with("HEAD ");
        let head = match (self.head(), sent) {
            (Ok(head), _) => head,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        match head.framing {
            // RFC 9110, 9.3.2: the length is that of a body that does not come.
            _ if !has_body => {}
            Framing::Length(length) => self.pass_on(length, head.status, sink)?,
            Framing::Chunked => loop {
                let line = self.line()?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let length = u64::from_str_radix(digits, 16).with_context(|| format!("a chunk's length is {line:?}"))?;
                if length == 0 {
                    while !self.line()?.is_empty() {}
                    break;
                }
                self.pass_on(length, head.status, sink)?;
                ensure!(self.line()?.is_empty(), "a chunk is longer than it says");
            },
        }
        if !head.keeps_alive {
            self.stream = None;
        }
        Ok(head.status)
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> anyhow::Result<()> {
        let Some(stream) = &mut self.stream else { bail!("there is no connection") };
        let sent = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]).context("the request cannot be sent")?;
        if sent < head.len() {
            stream.write_all(&head[sent..])?;
            stream.write_all(body)?;
        } else {
            stream.write_all(&body[sent - head.len()..])?;
        }
        Ok(())
    }

    fn head(&mut self) -> anyhow::Result<Head> {
        let first = self.line()?;
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok());
        let Some(status) = status else { bail!("the answer begins with {first:?}") };
        let mut head = Head { status, framing: Framing::Length(0), keeps_alive: true };
        let mut bytes = first.len();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            bytes += line.len();
            ensure!(bytes <= HEAD_BYTES_MAX, "the answer's head is longer than {HEAD_BYTES_MAX} bytes");
            let Some((name, value)) = line.split_once(':') else { bail!("a header is {line:?}") };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.framing = Framing::Length(value.parse().context("Content-Length is not a number")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.framing = Framing::Chunked;
            } else if name.eq_ignore_ascii_case("connection") {
                head.keeps_alive = !value.eq_ignore_ascii_case("close");
            }
        }
        Ok(head)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        loop {
            let read = &self.buffer[self.start..self.end];
            if let Some(place) = read.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(read[..place].to_vec()).context("a line of the answer is not text")?;
                self.start += place + 2;
                return Ok(line);
            }
            ensure!(read.len() < HEAD_BYTES_MAX, "a line of the answer is longer than {HEAD_BYTES_MAX} bytes");
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            self.fill()?;
        }
    }

    fn pass_on(
        &mut self,
        length: u64,
        status: u16,
        sink: &mut impl FnMut(u16, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
                self.fill()?;
            }
            let ready = &self.buffer[self.start..self.end];
            let piece = &ready[..ready.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            sink(status, piece)?;
            left -= piece.len() as u64;
            self.start += piece.len();
        }
        Ok(())
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let Some(stream) = &mut self.stream else { bail!("there is no connection") };
        let read = stream.read(&mut self.buffer[self.end..]).context("the answer cannot be read")?;
        ensure!(read > 0, "the service closed the connection before the end of its answer");
        self.end += read;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
