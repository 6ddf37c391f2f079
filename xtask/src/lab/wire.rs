//! The cables between the places: a process that accepts in the border of one place what is meant for another, and carries it on from
//! the border of that other, each byte after the time that it would travel.
//!
//! It stands in for distance, and it is faithful to these: bytes arrive in order and after half of the round trip; a new connection costs
//! one round trip more; a connection that is reset, refused or half closed at one end is so at the other. It is not faithful to these:
//! connecting succeeds before the far end is asked, so what a service that is down refuses looks like a reset right after, and `ping` is
//! answered by the near border. A cut is none of its doing (see [`super::namespaces`]), and neither is a datacentre that hangs.
//!
//! It can also lose an answer: of a connection to a port it swallows the first answer that holds given bytes, and resets the connection
//! of who has asked, while the service has done what it was asked. That is how a COMMIT's outcome becomes unknown.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener as StdListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::component::{self, Component, Home};
use super::namespaces;
use super::plan::{Name, Place, ports};

/// What is read at once, bytes.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How many reads may be under way in one direction of a connection. With [`READ_BYTES_MAX`] this bounds what a cable holds.
const READS_UNDER_WAY_MAX: usize = 64;
/// The longest round trip, milliseconds.
const ROUND_TRIP_MS_MAX: u64 = 10_000;
/// How long the far end may go on with what it was asked once its answer is lost.
const FINISHING: Duration = Duration::from_secs(10);
/// How long to wait before accepting again where it failed: the process has no file left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The process, as a component of a lab.
pub fn component(lab: &Name, round_trip_ms: u64) -> anyhow::Result<Component> {
    // A copy, because where this program is, another may be built while the lab stands.
    let own = lab.directory().join("xtask");
    std::fs::copy("/proc/self/exe", &own).with_context(|| format!("this program cannot be copied to {}", own.display()))?;
    let command =
        [&*own.to_string_lossy(), "lab", "--name", &lab.to_string(), "wire", "--round-trip-ms", &round_trip_ms.to_string()]
            .map(str::to_owned);
    Ok(Component {
        home: Home::Between,
        name: "wire".to_owned(),
        command: command.to_vec(),
        environment: Vec::new(),
        as_postgres: false,
        phase: 0,
    })
}

/// Asks the cables of a lab for something: `round-trip MS`, `lose PORT HEX TIMES`, or `lost`.
///
/// # Errors
/// Where they do not run, or refuse.
pub fn ask(lab: &Name, what: &str) -> anyhow::Result<String> {
    let path = socket(lab);
    let mut stream = UnixStream::connect(&path).with_context(|| format!("the cables do not answer at {}", path.display()))?;
    writeln!(stream, "{what}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match answer.trim_end().strip_prefix("ok") {
        Some(rest) => Ok(rest.trim_start().to_owned()),
        None => bail!("the cables refuse {what:?}: {}", answer.trim_end()),
    }
}

fn socket(lab: &Name) -> PathBuf {
    component::directory(lab, Home::Between, "wire").join("control")
}

/// What may be changed while connections run.
#[derive(Default)]
struct Settings {
    /// Of the way in one direction, microseconds.
    one_way_us: AtomicU64,
    /// By port, the answers to lose.
    losses: Mutex<BTreeMap<u16, Loss>>,
    /// How many answers were lost.
    lost: AtomicU64,
}

/// Answers to lose.
struct Loss {
    holding: Vec<u8>,
    times: u64,
}

impl Settings {
    fn one_way(&self) -> Duration {
        Duration::from_micros(self.one_way_us.load(Ordering::Relaxed))
    }

    fn set_round_trip(&self, round_trip_ms: u64) -> anyhow::Result<()> {
        ensure!(round_trip_ms <= ROUND_TRIP_MS_MAX, "a round trip takes at most {ROUND_TRIP_MS_MAX} ms");
        self.one_way_us.store(round_trip_ms * 1000 / 2, Ordering::Relaxed);
        Ok(())
    }

    /// The bytes that make an answer from this port one to lose, where any are left to lose.
    fn to_lose(&self, port: u16) -> Option<Vec<u8>> {
        let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.get(&port).filter(|loss| loss.times > 0).map(|loss| loss.holding.clone())
    }

    /// Whether this answer is to be lost; counts it.
    fn lose(&self, port: u16) -> bool {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(loss) = losses.get_mut(&port).filter(|loss| loss.times > 0) else {
            return false;
        };
        loss.times -= 1;
        self.lost.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn obey(&self, line: &str) -> anyhow::Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["round-trip", milliseconds] => {
                self.set_round_trip(milliseconds.parse().context("how many milliseconds?")?)?;
                Ok(String::new())
            }
            ["lose", port, holding, times] => {
                let port = port.parse().context("which port?")?;
                let loss = Loss { holding: from_hex(holding)?, times: times.parse().context("how many times?")? };
                self.losses.lock().unwrap_or_else(PoisonError::into_inner).insert(port, loss);
                Ok(String::new())
            }
            ["lost"] => Ok(self.lost.load(Ordering::Relaxed).to_string()),
            _ => bail!("what is {line:?}?"),
        }
    }
}

fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(
        !text.is_empty() && text.len().is_multiple_of(2) && text.is_ascii(),
        "bytes are written as pairs of hexadecimal digits"
    );
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).context("not hexadecimal")).collect()
}

/// Makes sockets of one network.
type Maker = std::sync::mpsc::Sender<oneshot::Sender<std::io::Result<TcpSocket>>>;

/// Runs the cables of a lab, for ever.
///
/// # Errors
/// Where a border cannot be entered or a port be listened on.
pub fn run(lab: &Name, round_trip_ms: u64) -> anyhow::Result<()> {
    let settings = Arc::new(Settings::default());
    settings.set_round_trip(round_trip_ms)?;
    // Two sockets a connection: as many as the machine gives at all.
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).context("more files are not given")?;
    let control = control(&socket(lab))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut makers = BTreeMap::new();
    let mut listeners = Vec::new();
    for place in Place::ALL {
        let border = lab.border_namespace(place);
        listeners.extend(listen(&border)?);
        makers.insert(place, maker(border)?);
    }
    let makers = Arc::new(makers);
    for listener in listeners {
        let (settings, makers) = (settings.clone(), makers.clone());
        let listener = {
            let _in_runtime = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, makers, settings));
    }
    println!("the cables are laid");
    for stream in control.incoming() {
        let Ok(stream) = stream else { continue };
        // Whoever asks and goes away without listening has had what they wanted.
        let _ = answer(&stream, &settings);
    }
    Ok(())
}

fn control(path: &Path) -> anyhow::Result<UnixListener> {
    // Of one that was killed.
    let _ = std::fs::remove_file(path);
    UnixListener::bind(path).with_context(|| format!("{} cannot be listened on", path.display()))
}

fn answer(stream: &UnixStream, settings: &Settings) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut stream = stream;
    match settings.obey(line.trim_end()) {
        Ok(answer) => writeln!(stream, "ok {answer}"),
        Err(error) => writeln!(stream, "error {error:#}"),
    }
}

/// Listens in a border on every port that is carried, whatever the address.
fn listen(border: &str) -> anyhow::Result<Vec<StdListener>> {
    namespaces::within(border, || {
        let mut listeners = Vec::new();
        for port in ports::carried() {
            let listener = StdListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        Ok::<_, std::io::Error>(listeners)
    })?
    .with_context(|| format!("{border}: a port cannot be listened on"))
}

/// A thread that lives in a border and makes the sockets that begin there.
fn maker(border: String) -> anyhow::Result<Maker> {
    let (maker, wanted) = std::sync::mpsc::channel::<oneshot::Sender<std::io::Result<TcpSocket>>>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let ended = namespaces::within(&border, || {
            // Who waits for it has gone only if the process ends.
            let _ = ready.send(());
            for answer in wanted {
                let _ = answer.send(TcpSocket::new_v4());
            }
        });
        if let Err(error) = ended {
            eprintln!("{error:#}");
        }
    });
    is_ready.recv().context("a border cannot be entered")?;
    Ok(maker)
}

async fn accept(listener: TcpListener, makers: Arc<BTreeMap<Place, Maker>>, settings: Arc<Settings>) {
    loop {
        match listener.accept().await {
            Ok((near, _)) => {
                tokio::spawn(carry(near, makers.clone(), settings.clone()));
            }
            Err(error) => {
                eprintln!("accepting: {error}");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Carries one connection from its beginning to its end.
async fn carry(near: TcpStream, makers: Arc<BTreeMap<Place, Maker>>, settings: Arc<Settings>) {
    let Ok(SocketAddr::V4(to)) = near.local_addr() else { return };
    match reach(&near, to, &makers, &settings).await {
        Ok(far) => join(near, far, to.port(), &settings).await,
        Err(_) => reset(&near),
    }
}

async fn reach(
    near: &TcpStream,
    to: SocketAddrV4,
    makers: &BTreeMap<Place, Maker>,
    settings: &Settings,
) -> anyhow::Result<TcpStream> {
    near.set_nodelay(true)?;
    let place = Place::of_address(*to.ip()).context("nobody is there")?;
    let maker = makers.get(&place).context("nobody is there")?;
    // There and back: what connecting costs, and has not cost yet.
    sleep(2 * settings.one_way()).await;
    let (answer, made) = oneshot::channel();
    maker.send(answer).ok().context("the border is gone")?;
    let far = made.await??.connect(SocketAddr::new(IpAddr::V4(*to.ip()), to.port())).await?;
    far.set_nodelay(true)?;
    Ok(far)
}

/// Makes the end of a connection one without a farewell.
fn reset(stream: &TcpStream) {
    // It has ended already where this fails.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}

/// What is under way in one direction of a connection.
enum UnderWay {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The sender's word that nothing follows.
    Close,
    /// The sender is gone.
    Reset,
    /// What is lost here, and all that would have followed.
    Loss,
}

/// How one direction of a connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender has said that nothing follows, and that was passed on.
    Closed,
    /// An end is gone.
    Broken,
    /// The answer is lost.
    Lost,
}

/// Joins both ends of a connection.
async fn join(mut near: TcpStream, mut far: TcpStream, port: u16, settings: &Settings) {
    let end = {
        let (near_reads, near_writes) = near.split();
        let (far_reads, far_writes) = far.split();
        let mut there = pin!(travel(near_reads, far_writes, None, settings));
        let mut back = pin!(travel(far_reads, near_writes, Some(port), settings));
        // When nothing more comes from one side, the other may still have much to say.
        tokio::select! {
            end = &mut there => if end == End::Closed { back.await } else { end },
            end = &mut back => if end == End::Closed { there.await } else { end },
        }
    };
    if end != End::Closed {
        reset(&near);
    }
    match end {
        End::Closed => {}
        End::Broken => reset(&far),
        End::Lost => {
            // Who has asked learns nothing more; what was asked goes on to its end.
            drop(near);
            let mut rest = vec![0; READ_BYTES_MAX];
            // However it ends, nobody listens.
            let _ = timeout(FINISHING, async { while far.read(&mut rest).await.is_ok_and(|count| count > 0) {} }).await;
        }
    }
}

/// Carries what comes in one direction, each piece after the time of the way.
async fn travel(from: ReadHalf<'_>, to: WriteHalf<'_>, answers_of: Option<u16>, settings: &Settings) -> End {
    let (departing, arriving) = mpsc::channel(READS_UNDER_WAY_MAX);
    tokio::select! {
        end = arrive(to, arriving) => end,
        () = depart(from, departing, answers_of, settings) => End::Broken,
    }
}

async fn arrive(mut to: WriteHalf<'_>, mut arriving: mpsc::Receiver<(Instant, UnderWay)>) -> End {
    while let Some((due, what)) = arriving.recv().await {
        sleep_until(due).await;
        match what {
            UnderWay::Bytes(bytes) => {
                if to.write_all(&bytes).await.is_err() {
                    return End::Broken;
                }
            }
            UnderWay::Close => return if to.shutdown().await.is_ok() { End::Closed } else { End::Broken },
            UnderWay::Reset => return End::Broken,
            UnderWay::Loss => return End::Lost,
        }
    }
    End::Broken
}

/// Sends on what is read, and does not return after the last of it: it is the arriving that ends a direction.
async fn depart(
    mut from: ReadHalf<'_>,
    departing: mpsc::Sender<(Instant, UnderWay)>,
    answers_of: Option<u16>,
    settings: &Settings,
) {
    let mut buffer = vec![0; READ_BYTES_MAX];
    // The end of what came before, because an answer may come in pieces.
    let mut before: Vec<u8> = Vec::new();
    loop {
        let mut what = match from.read(&mut buffer).await {
            Ok(0) => UnderWay::Close,
            Ok(count) => UnderWay::Bytes(buffer.get(..count).unwrap_or_default().to_vec()),
            Err(_) => UnderWay::Reset,
        };
        if let UnderWay::Bytes(bytes) = &what
            && let Some((port, holding)) = answers_of.and_then(|port| Some((port, settings.to_lose(port)?)))
        {
            before.extend_from_slice(bytes);
            if before.windows(holding.len()).any(|window| window == holding) && settings.lose(port) {
                what = UnderWay::Loss;
            }
            before.drain(..before.len().saturating_sub(holding.len() - 1));
        }
        let is_last = !matches!(what, UnderWay::Bytes(_));
        let sent = departing.send((Instant::now() + settings.one_way(), what)).await;
        if is_last || sent.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests;
