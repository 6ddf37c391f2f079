//! The real binary on a directory of its own, and its command line.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cairn_disk::SystemClock;
use cairn_testkit::exposition::{self, Exposed};
use cairn_testkit::s3_client::{Answer, S3Client, S3Request};
use serde_json::Value;

/// The binary under test.
pub const CAIRN: &str = env!("CARGO_BIN_EXE_cairn");

/// A service that runs. It is killed when dropped.
pub struct Service {
    pub data: PathBuf,
    pub health: SocketAddr,
    /// Where the API is on the network, if it is.
    pub network: Option<SocketAddr>,
    /// Where S3 is.
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    /// The root key.
    pub root: S3Client,
    child: Child,
    /// Kept open: a service whose output nobody takes would fail at its last words.
    output: BufReader<ChildStdout>,
    directory: tempfile::TempDir,
}

impl Service {
    /// Starts on an empty directory, and waits until it takes requests.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// The same with further arguments, and variables.
    pub fn start_with<A: AsRef<OsStr>>(arguments: &[A], variables: &[(&str, &str)]) -> Self {
        let started = Self::try_start(tempfile::tempdir().unwrap(), arguments, variables);
        started.unwrap_or_else(|(said, _)| panic!("it ended: {said}"))
    }

    fn start_in(directory: tempfile::TempDir) -> Self {
        Self::try_start_in(directory).unwrap_or_else(|(said, _)| panic!("it ended: {said}"))
    }

    fn try_start_in(directory: tempfile::TempDir) -> Result<Self, (String, Stopped)> {
        Self::try_start(directory, &[] as &[&str], &[])
    }

    fn try_start<A: AsRef<OsStr>>(
        directory: tempfile::TempDir,
        arguments: &[A],
        variables: &[(&str, &str)],
    ) -> Result<Self, (String, Stopped)> {
        let data = directory.path().join("data");
        let log = std::fs::File::options().append(true).create(true).open(directory.path().join("log")).unwrap();
        let mut child = cairn(&data)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(&data)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            if output.read_line(&mut said).unwrap() == 0 {
                assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
                return Err((std::fs::read_to_string(directory.path().join("log")).unwrap(), Stopped(directory)));
            }
        }
        let after = |words: &str| {
            let rest = said.split(words).nth(1)?.split_once("://").unwrap().1;
            Some(rest.split([' ', '/', '\n']).next().unwrap().trim_end_matches('.').parse::<SocketAddr>().unwrap())
        };
        let (address, health) = (after("Cairn serves S3 at ").unwrap(), after("Health is at ").unwrap());
        let network = after("The administration API is at ");
        let metrics = after("Metrics are at ").unwrap();
        let credentials = std::fs::read_to_string(data.join("root-credentials")).unwrap();
        let half = |name: &str| {
            let line = credentials.lines().find(|line| line.starts_with(name)).unwrap();
            line.split('=').nth(1).unwrap().trim().to_owned()
        };
        let root = S3Client {
            address,
            host: address.to_string(),
            access_key_id: half("aws_access_key_id"),
            secret_access_key: half("aws_secret_access_key"),
            region: "us-east-1".to_owned(),
            clock: Arc::new(SystemClock::new()),
        };
        Ok(Self { data, health, network, address, metrics, root, child, output, directory })
    }

    /// Ends the process as a power cut would, and starts it again.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        drop(self);
        Self::start_in(directory)
    }

    /// Stops it, lets its files be changed, and starts it again; `Err` is what it says where it does not start.
    pub fn stop_and_restart(mut self, change: impl FnOnce(&Path)) -> Result<Self, (String, Stopped)> {
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let (well, said) = self.stop();
        assert!(well, "{said}");
        Stopped(directory).restart(change)
    }

    /// Asks it to stop; returns when it has begun to.
    pub fn begin_to_stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut said = String::new();
        while !said.contains("Stopping") {
            assert_ne!(self.output.read_line(&mut said).unwrap(), 0, "{said}");
        }
    }

    /// Asks it to stop; whether it ended well, and its last words.
    pub fn stop(mut self) -> (bool, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        let well = self.child.wait().unwrap().success();
        // Where the directory was taken away before, there is no log.
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        assert!(!log.contains("panicked"), "{log}");
        (well, said)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// A `cairn admin` for this service, words separated by spaces.
    pub fn command(&self, line: &str) -> Command {
        let mut command = cairn(&self.data);
        command.args(["admin", "--data"]).arg(&self.data).args(line.split(' '));
        command
    }

    /// Runs `cairn admin`.
    pub fn run(&self, line: &str) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// Runs `cairn admin`, which must do well; what it prints.
    pub fn text(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.error);
        ran.output
    }

    /// Runs `cairn admin --output json`, which must do well; what it prints.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{line} --output json"))).unwrap()
    }

    /// Makes a key; what may be said of it stands behind `key create`.
    pub fn key(&self, rights: &str) -> S3Client {
        let made = self.json(&format!("key create {rights}"));
        self.root.with_key(made["accessKeyId"].as_str().unwrap(), made["secretAccessKey"].as_str().unwrap())
    }

    /// What the metrics address answers, which must be well-formed.
    pub async fn metrics(&self) -> (String, Exposed) {
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = cairn_testkit::s3_client::exchange(self.metrics, request, false).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let exposed = exposition::parse(&answer.text()).unwrap();
        (answer.text(), exposed)
    }

    /// What the health address answers.
    pub async fn health(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        cairn_testkit::s3_client::exchange(self.health, request.as_bytes(), false).await.unwrap()
    }
}

/// A service that does not run.
pub struct Stopped(tempfile::TempDir);

impl Stopped {
    /// Lets its files be changed, and starts it.
    pub fn restart(self, change: impl FnOnce(&Path)) -> Result<Service, (String, Stopped)> {
        change(&self.0.path().join("data"));
        Service::try_start_in(self.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, with nothing from the environment of the tests.
pub fn cairn(home: &Path) -> Command {
    let mut command = Command::new(CAIRN);
    command.stdin(Stdio::null()).env("HOME", home);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIRN_")) {
        command.env_remove(name);
    }
    command
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub output: String,
    pub error: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code().unwrap(), output: text(stdout), error: text(stderr) }
    }
}

/// Sends a request; its status.
pub async fn status(client: &S3Client, request: &S3Request) -> u16 {
    client.send(request).await.unwrap().status
}

/// Waits until something holds.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
