//! HTTP/1.1, as far as a test needs it.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first XML element of a name, as it is written.
    #[must_use]
    pub fn element(&self, name: &str) -> Option<String> {
        self.elements(name).into_iter().next()
    }

    /// The texts of all XML elements of a name, as they are written.
    #[must_use]
    pub fn elements(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).map(str::to_owned).collect()
    }

    /// The error's code; empty for none.
    #[must_use]
    pub fn code(&self) -> String {
        self.element("Code").unwrap_or_default()
    }
}

pub(super) fn request_bytes(method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// Opens a connection, sends bytes, and reads one answer; the server may answer before it has read all. Where HTTP/2 is spoken at the address
/// ([`super::http2::speak_at`]), what the bytes say is said in it.
pub async fn exchange(address: SocketAddr, bytes: &[u8], is_head: bool) -> io::Result<Answer> {
    if super::http2::is_spoken_at(address) {
        return super::http2::exchange(address, bytes).await;
    }
    let stream = TcpStream::connect(address).await?;
    let (reader, mut writer) = stream.into_split();
    let bytes = bytes.to_vec();
    let sending = tokio::spawn(async move {
        // A server that has answered may close before it has read all.
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let answer = read_answer(&mut BufReader::new(reader), is_head).await;
    sending.abort();
    answer
}

/// Reads one answer; `100 Continue` is passed over.
pub async fn read_answer(reader: &mut (impl AsyncBufRead + Unpin), is_head: bool) -> io::Result<Answer> {
    loop {
        let mut answer = read_head(reader).await?;
        if answer.status == 100 {
            continue;
        }
        if is_head || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            answer.body = read_chunks(reader).await?;
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            answer.body = vec![0; length];
            reader.read_exact(&mut answer.body).await?;
        } else {
            reader.read_to_end(&mut answer.body).await?;
        }
        return Ok(answer);
    }
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Reads status and headers of an answer, and leaves its body to the caller.
pub async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Answer> {
    let line = read_line(reader).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut answer = Answer { status: status.ok_or_else(|| io::Error::other(line))?, ..Answer::default() };
    loop {
        let line = read_line(reader).await?;
        if line.is_empty() {
            return Ok(answer);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(line.clone()))?;
        answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn read_chunks(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&read_line(reader).await?, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; length];
        reader.read_exact(&mut chunk).await?;
        body.extend_from_slice(&chunk);
        read_line(reader).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}
