//! The way between a gateway and its server, which breaks when it is told to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_catalog::postgres::ConnectionString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// What the gateway sends: the server never sees it.
    Request,
    /// What the server answers: it has done what it was asked.
    Answer,
    /// What the server answers, and something between the two says in its place that the server is gone, as a pooler does.
    Fatal,
    /// What the server answers, and nobody is told: the flow is gone, its ends stand.
    Flow,
    /// Neither, but the gateway is cut off: what it has sent stays on its way, until it is [released](Proxy::release).
    Late,
}

struct State {
    server: Mutex<PathBuf>,
    /// Messages of gateways that go through before the next cut; negative: none comes.
    left: AtomicI64,
    kind: Mutex<Cut>,
    /// What is on its way until it is released.
    late: Mutex<Vec<(OwnedWriteHalf, Vec<u8>)>>,
    cuts: AtomicU64,
    /// How long answers are kept back.
    delay: Duration,
    /// Times that somebody sent who had been answered, heartbeats aside.
    round_trips: AtomicU64,
}

/// A socket that leads to a server's.
pub struct Proxy {
    directory: tempfile::TempDir,
    state: Arc<State>,
}

impl Proxy {
    /// Leads to this socket.
    pub fn start(server: PathBuf) -> Self {
        Self::far(server, Duration::ZERO)
    }

    /// Leads to this socket, whose answers take so much longer: what is sent in one go has arrived before the first of them is back.
    pub fn far(server: PathBuf, delay: Duration) -> Self {
        let directory = tempfile::Builder::new().prefix("cairn-way-").tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).expect("a socket");
        let state = Arc::new(State {
            server: Mutex::new(server),
            left: AtomicI64::new(-1),
            kind: Mutex::new(Cut::Request),
            late: Mutex::default(),
            cuts: AtomicU64::new(0),
            delay,
            round_trips: AtomicU64::new(0),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, shared.clone()));
            }
        });
        Self { directory, state }
    }

    /// As a connection string.
    pub fn connection(&self) -> ConnectionString {
        ConnectionString::new(format!("host={} user=cairn dbname=postgres", self.directory.path().display()))
    }

    /// Leads to another server from now on; connections that are open stay where they are.
    pub fn lead_to(&self, server: PathBuf) {
        *self.state.server.lock().expect("a lock") = server;
    }

    /// What it is called in a connection string.
    pub fn host(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Cuts the connection over which the next message but so many goes.
    pub fn cut_after(&self, messages: u64, kind: Cut) {
        *self.state.kind.lock().expect("a lock") = kind;
        self.state.left.store(i64::try_from(messages).expect("a small number"), Ordering::SeqCst);
    }

    /// Round trips so far: times that a connection's client sent after it was answered. Heartbeats are not counted.
    pub fn round_trips(&self) -> u64 {
        self.state.round_trips.load(Ordering::SeqCst)
    }

    /// Lets what is on its way arrive; says how much it is.
    pub async fn release(&self) -> usize {
        let late = std::mem::take(&mut *self.state.late.lock().expect("a lock"));
        let count = late.len();
        for (mut to_server, message) in late {
            // The server does what it was asked before it sees that nobody is there any more; it may have stopped listening.
            if to_server.write_all(&message).await.is_ok() {
                let _ = to_server.shutdown().await;
            }
        }
        count
    }

    /// Connections that were cut so far.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

async fn carry(client: UnixStream, state: Arc<State>) {
    let server = state.server.lock().expect("a lock").clone();
    let Ok(server) = UnixStream::connect(&server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (silence, mut is_silent) = watch::channel(false);
    let was_answered = Arc::new(AtomicBool::new(true));
    let (answered, delay, shared) = (was_answered.clone(), state.delay, state.clone());
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = from_server.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            // Once an answer is to be lost, nothing goes back any more; the first byte that would says that the server has done it.
            if *is_silent.borrow_and_update() && *shared.kind.lock().expect("a lock") == Cut::Flow {
                continue;
            }
            if *is_silent.borrow_and_update() {
                if *shared.kind.lock().expect("a lock") == Cut::Fatal {
                    let fields = b"SFATAL\0VFATAL\0C08P01\0Mserver conn crashed?\0\0";
                    let length = u32::try_from(fields.len() + 4).expect("a short text").to_be_bytes();
                    let _ = to_client.write_all(&[b"E".as_slice(), &length, fields].concat()).await;
                }
                break;
            }
            tokio::time::sleep(delay).await;
            answered.store(true, Ordering::SeqCst);
            if to_client.write_all(buffer.get(..count).unwrap_or_default()).await.is_err() {
                break;
            }
        }
    });
    let mut buffer = vec![0; 64 * 1024];
    let mut is_pulse = false;
    while let Ok(count) = from_client.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let sent = buffer.get(..count).unwrap_or_default();
        is_pulse = is_pulse || sent.windows(5).any(|word| word == b"beat(");
        if was_answered.swap(false, Ordering::SeqCst) && !is_pulse {
            state.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        let is_last = state.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if is_last {
            state.cuts.fetch_add(1, Ordering::SeqCst);
            let kind = *state.kind.lock().expect("a lock");
            match kind {
                Cut::Request => break,
                Cut::Answer | Cut::Fatal | Cut::Flow => drop(silence.send(true)),
                Cut::Late => {
                    state.late.lock().expect("a lock").push((to_server, sent.to_vec()));
                    answers.abort();
                    return;
                }
            }
        }
        if to_server.write_all(buffer.get(..count).unwrap_or_default()).await.is_err() {
            break;
        }
        if is_last {
            let _ = answers.await;
            return;
        }
    }
    answers.abort();
}
