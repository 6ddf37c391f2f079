//! The service under test: the real binary on a fresh directory, with a root key that is given to it, over HTTP or HTTPS.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::certificate;
use crate::clock;
use crate::process::{Running, Streams};
use crate::steps::{Context, Counts};

/// The domain below which the service finds buckets by their host.
pub const DOMAIN: &str = "s3.localhost";
/// How long the service may take from its start to saying that it is ready, in seconds.
const READY_SECONDS_MAX: u64 = 60;

/// The root key that the service is given. It opens nothing but a service that lives for one test on loopback; its characters are those
/// that trip careless encoders.
pub struct Keys;

impl Keys {
    /// The access key id.
    pub const ACCESS_KEY_ID: &str = "AKIDCAIRNE2E00000001";
    /// The secret access key.
    pub const SECRET_ACCESS_KEY: &str = "e2e/secret+of=a/throwaway-service0000000";
}

/// How tools reach the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTPS under a certificate authority made for the occasion.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A service that answers at its endpoint.
pub struct Service {
    scheme: Scheme,
    endpoint: String,
    certificate_authority: Option<PathBuf>,
    /// What runs, and its log; nothing where the service was there before.
    started: Option<(Running, PathBuf)>,
}

/// Whether the environment names a service that runs already.
pub fn service_is_there() -> bool {
    std::env::var_os("CAIRN_TEST_ENDPOINT").is_some()
}

/// Both schemes; where a service is named that runs already, the one of its endpoint.
pub fn schemes_to_test() -> Vec<Scheme> {
    match std::env::var("CAIRN_TEST_ENDPOINT") {
        Ok(endpoint) if endpoint.starts_with("https:") => vec![Scheme::Https],
        Ok(_) => vec![Scheme::Http],
        Err(_) => vec![Scheme::Http, Scheme::Https],
    }
}

impl Service {
    /// Starts the service below `scratch` and waits until it says that it is ready.
    ///
    /// # Errors
    /// Where it cannot be started, ends, or is not ready in time; with the end of its log.
    pub fn start(context: &mut Context<'_>, scheme: Scheme, scratch: &Path) -> anyhow::Result<Self> {
        if let Ok(endpoint) = std::env::var("CAIRN_TEST_ENDPOINT") {
            let certificate_authority = std::env::var_os("CAIRN_TEST_CA").map(PathBuf::from);
            return Ok(Self { scheme, endpoint, certificate_authority, started: None });
        }
        let (port, admin_port) = (free_port()?, free_port()?);
        let binary = context.workspace.target().join("release").join("cairn");
        let mut command = Command::new(binary);
        command
            .args(["serve", "--domain", DOMAIN, "--data"])
            .arg(scratch.join("data"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin_port}")])
            .env("CAIRN_ROOT_ACCESS_KEY_ID", Keys::ACCESS_KEY_ID)
            .env("CAIRN_ROOT_SECRET_ACCESS_KEY", Keys::SECRET_ACCESS_KEY)
            .current_dir(scratch);
        let mut certificate_authority = None;
        if scheme == Scheme::Https {
            let made = certificate::make(scratch, &["127.0.0.1", "localhost", DOMAIN, &format!("*.{DOMAIN}")])?;
            command.arg("--tls-cert").arg(&made.certificate).arg("--tls-key").arg(&made.key);
            certificate_authority = Some(made.authority);
        }
        let log_path = context.workspace.logs().join(format!("{}.{scheme}.service.log", context.name));
        let log = File::create(&log_path).with_context(|| format!("{} cannot be written", log_path.display()))?;
        let mut running = Running::start(&mut command, Streams::to_log(&log)?)?;
        wait_until_ready(&mut running, admin_port)
            .with_context(|| format!("the service did not come up; the end of {}:\n{}", log_path.display(), end_of(&log_path)))?;
        let endpoint = format!("{scheme}://127.0.0.1:{port}");
        context.say(&format!("the service answers at {endpoint}, its log is {}", log_path.display()))?;
        Ok(Self { scheme, endpoint, certificate_authority, started: Some((running, log_path)) })
    }

    /// Whether it can still be reached.
    ///
    /// # Errors
    /// Where it cannot, or has ended; with the end of its log.
    pub fn is_there(&mut self) -> anyhow::Result<()> {
        if let Some((running, log_path)) = &mut self.started
            && let Some(status) = running.ended()?
        {
            bail!("the service has ended with {status}; the end of {}:\n{}", log_path.display(), end_of(log_path));
        }
        let address = self.endpoint.split_once("://").map_or("", |(_, address)| address.trim_end_matches('/'));
        TcpStream::connect(address).with_context(|| format!("the service does not answer at {}", self.endpoint))?;
        Ok(())
    }

    /// How it is reached.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where it answers.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The certificate authority that its clients must trust, over HTTPS.
    pub fn certificate_authority(&self) -> Option<&Path> {
        self.certificate_authority.as_deref()
    }

    /// Asks it to stop, and judges how it ends and what it has logged.
    ///
    /// # Errors
    /// Where the system does not tell whether it has ended.
    pub fn stop(self, context: &mut Context<'_>) -> anyhow::Result<Counts> {
        let Some((mut running, log_path)) = self.started else {
            return Ok(Counts::default());
        };
        let ended = running.stop()?;
        let log = String::from_utf8_lossy(&std::fs::read(&log_path)?).into_owned();
        let mut counts = Counts::default();
        let verdicts = [
            ("it drains and ends well when it is asked to stop", ended.is_some_and(|status| status.success())),
            ("it has not panicked", !log.contains("panicked at")),
            ("its log holds no secret", !log.contains(Keys::SECRET_ACCESS_KEY)),
        ];
        for (what, holds) in verdicts {
            context.say(&format!("{} {} {what}", if holds { "ok    " } else { "FAILED" }, self.scheme))?;
            let failed = u64::from(!holds);
            counts = counts.and(Counts { passed: 1 - failed, failed });
        }
        Ok(counts)
    }
}

/// Ports that were given out in this run.
static GIVEN_PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
/// How many ports are tried until one was not given out before.
const PORTS_MAX: usize = 1000;

/// A port of the loopback that nobody listens on now, and that was not given out before in this run: who got it may not listen yet.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> anyhow::Result<u16> {
    for _ in 0..PORTS_MAX {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = listener.local_addr()?.port();
        if GIVEN_PORTS.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
    bail!("no free port: {PORTS_MAX} were given out before");
}

fn wait_until_ready(running: &mut Running, admin_port: u16) -> anyhow::Result<()> {
    let patience = clock::now() + Duration::from_secs(READY_SECONDS_MAX);
    loop {
        if let Some(status) = running.ended()? {
            bail!("it ended with {status}");
        }
        if is_ready(admin_port) {
            return Ok(());
        }
        if clock::now() >= patience {
            bail!("it was not ready after {READY_SECONDS_MAX} s");
        }
        sleep(Duration::from_millis(20));
    }
}

/// Whether `GET /readyz` is answered with 200. Anything else, no answer included, is not ready.
pub fn is_ready(admin_port: u16) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port)), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

fn end_of(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
