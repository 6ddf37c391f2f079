//! Asks a service of a lab by HTTP from inside one of its networks, as a component there would: with HTTP/1.0, so that an answer ends
//! with its connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::namespaces::within;
use super::plan::{Name, Place};

/// How long to wait for a connection, and for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer.
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends a GET.
///
/// # Errors
/// Where nothing is answered in time.
pub fn get(lab: &Name, from: Place, to: SocketAddrV4, path: &str) -> anyhow::Result<Answer> {
    request(lab, from, to, "GET", path, b"")
}

/// Sends a request with a body.
///
/// # Errors
/// Where nothing is answered in time.
pub fn request(lab: &Name, from: Place, to: SocketAddrV4, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Answer> {
    let exchange = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {to}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer =
        within(&lab.namespace(from), exchange)?.with_context(|| format!("{method} http://{to}{path} was not answered"))?;
    parse(answer).with_context(|| format!("{method} http://{to}{path} was answered with something that is not HTTP"))
}

/// Whether the error of a request says that nobody has answered anything, neither with a refusal.
pub fn is_silence(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::TimedOut | ErrorKind::WouldBlock))
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    to: SocketAddrV4,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Where that is not answered in time.
    pub fn open(lab: &Name, from: Place, to: SocketAddrV4) -> anyhow::Result<Self> {
        let stream = within(&lab.namespace(from), || TcpStream::connect_timeout(&SocketAddr::V4(to), PATIENCE))?;
        Ok(Self { stream: stream.with_context(|| format!("{to} cannot be connected to"))?, to })
    }

    /// Sends a GET, and reads the first piece of what is answered.
    ///
    /// # Errors
    /// Where nothing is answered in time: it may be answered yet.
    pub fn exchange(&mut self, path: &str, seconds_max: u64) -> anyhow::Result<String> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.to).as_bytes())?;
        self.read(seconds_max)
    }

    /// Reads the first piece of an answer: its status, and what it says last.
    ///
    /// # Errors
    /// Where there is none in time.
    pub fn read(&mut self, seconds_max: u64) -> anyhow::Result<String> {
        self.stream.set_read_timeout(Some(Duration::from_secs(seconds_max)))?;
        let mut piece = vec![0; 4096];
        let count = self.stream.read(&mut piece)?;
        let text = String::from_utf8_lossy(piece.get(..count).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Ok(format!("{} {}", lines.first().unwrap_or(&""), lines.last().unwrap_or(&"")))
    }
}

fn parse(answer: Vec<u8>) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut body = answer;
    body.drain(..end + 4);
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\n{\"a\": 1}".to_vec()).expect("an answer");
        assert_eq!((answer.status, answer.json()["a"].as_u64()), (503, Some(1)));
        assert!(parse(b"HTTP/1.1 200 OK\r\n".to_vec()).is_none());
        assert!(parse(b"SSH-2.0\r\n\r\n".to_vec()).is_none());
    }
}
