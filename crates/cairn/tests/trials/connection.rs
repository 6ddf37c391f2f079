//! A connection that is kept: many requests, one after the other.

use std::io;
use std::net::SocketAddr;

use cairn_testkit::s3_client::{Answer, S3Client, S3Request, read_answer};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connection to the service; opened when first used, and anew after it has failed.
pub struct Connection {
    client: S3Client,
    open: Option<Halves>,
}

/// Both directions of an open connection.
pub struct Halves {
    /// From the service.
    pub reader: BufReader<OwnedReadHalf>,
    /// To it.
    pub writer: OwnedWriteHalf,
}

impl Halves {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer })
    }
}

impl Connection {
    /// For requests that this client signs.
    pub fn new(client: S3Client) -> Self {
        Self { client, open: None }
    }

    /// Opens the connection now, so that the next request finds it.
    pub async fn open(&mut self) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(Halves::open(self.client.address).await?);
        }
        Ok(())
    }

    /// Sends a request and reads the answer.
    pub async fn send(&mut self, request: &S3Request) -> io::Result<Answer> {
        let bytes = self.client.signed(request);
        self.send_raw(&bytes, request.method == "HEAD").await
    }

    /// Sends the bytes of a request and reads the answer.
    pub async fn send_raw(&mut self, bytes: &[u8], is_head: bool) -> io::Result<Answer> {
        let mut halves = match self.open.take() {
            Some(halves) => halves,
            None => Halves::open(self.client.address).await?,
        };
        // At the same time: a service that refuses a body answers before it has read all of it.
        let (reader, writer) = (&mut halves.reader, &mut halves.writer);
        let (answer, sent) = {
            let mut sending = std::pin::pin!(writer.write_all(bytes));
            let mut reading = std::pin::pin!(read_answer(reader, is_head));
            tokio::select! {
                answer = &mut reading => (answer?, false),
                sent = &mut sending => {
                    let answer = reading.await?;
                    (answer, sent.is_ok())
                }
            }
        };
        let is_closing = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if sent && !is_closing {
            self.open = Some(halves);
        }
        Ok(answer)
    }

    /// Sends the first `count` bytes of a request and hangs up.
    pub async fn send_half(&mut self, request: &S3Request, count: usize) -> io::Result<()> {
        let bytes = self.client.signed(request);
        let mut halves = Halves::open(self.client.address).await?;
        halves.writer.write_all(bytes.get(..count).unwrap_or(&bytes)).await?;
        halves.writer.shutdown().await
    }
}
