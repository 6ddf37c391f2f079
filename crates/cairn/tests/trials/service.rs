//! The real binary on a directory of its own: started, killed, asked how its zones are.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cairn_disk::SystemClock;
use cairn_testkit::s3_client::{S3Client, read_answer};
use serde_json::Value;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// The zones, in their order.
pub const ZONES: [&str; 3] = ["geneva", "gland", "lucerne"];
/// How long the service may take from its start to its first words.
const START_MAX: Duration = Duration::from_secs(90);
/// How long three zones may take to hold everything again.
const WHOLE_MAX: Duration = Duration::from_secs(180);

/// The binary on trial.
pub fn binary() -> PathBuf {
    std::env::var_os("CAIRN_TRIALS_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_cairn").into(), PathBuf::from)
}

/// A directory that outlives the services that run on it. It is removed when dropped, unless something has failed.
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// An empty one. What an earlier trial of this name has left is removed.
    pub fn new(trial: &str) -> Self {
        let parent = std::env::var_os("CAIRN_TRIALS_DIRECTORY").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
        let path = parent.join(format!("trial-{trial}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    /// Where the service keeps its data.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// A zone's directory.
    pub fn zone(&self, zone: usize) -> PathBuf {
        self.data().join(ZONES[zone])
    }

    /// A place for other things of the trial.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// All that the services on it have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.beside("log")).unwrap_or_default()
    }

    /// Runs `cairn admin` with these words.
    pub fn run_admin(&self, line: &str) -> Output {
        cairn(&self.data()).args(["admin", "--data"]).arg(self.data()).args(line.split(' ')).output().unwrap()
    }

    /// Runs `cairn admin` with these words, which must do well; what it prints.
    pub fn admin(&self, line: &str) -> String {
        let Output { status, stdout, stderr } = self.run_admin(line);
        assert!(status.success(), "{line}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("what failed is kept in {}", self.path.display());
        } else if std::env::var_os("CAIRN_TRIALS_KEEP").is_some() {
            println!("what was tried is kept in {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A service that runs. It is killed when dropped.
pub struct Service {
    /// The root key.
    pub root: S3Client,
    /// What it said when it started.
    pub said: String,
    data: PathBuf,
    child: Child,
}

impl Service {
    /// Starts it; `Err` is what it says where it does not start.
    pub async fn try_start(home: &Home) -> Result<Self, String> {
        Self::try_start_with(home, &[]).await
    }

    /// Starts it with further arguments, which must go well.
    pub async fn start_with(home: &Home, arguments: &[&str]) -> Self {
        Self::try_start_with(home, arguments).await.unwrap_or_else(|said| panic!("it does not start: {said}"))
    }

    async fn try_start_with(home: &Home, arguments: &[&str]) -> Result<Self, String> {
        let data = home.data();
        let log = File::options().append(true).create(true).open(home.beside("log")).unwrap();
        let logged_before = log.metadata().unwrap().len();
        let output = home.beside("output");
        let child = cairn(&data)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .args(arguments)
            .stdout(File::create(&output).unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut service = Self { root: client("127.0.0.1:1".parse().unwrap(), "", ""), said: String::new(), data, child };
        let end = tokio::time::Instant::now() + START_MAX;
        while !service.said.contains("Ctrl-C") {
            if let Some(status) = service.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(1), "it ended badly");
                return Err(home.log().split_off(usize::try_from(logged_before).unwrap()));
            }
            assert!(tokio::time::Instant::now() < end, "not started within {START_MAX:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            service.said = std::fs::read_to_string(&output).unwrap();
        }
        let rest = service.said.split("Cairn serves S3 at http://").nth(1).unwrap();
        let address: SocketAddr = rest.split(' ').next().unwrap().parse().unwrap();
        let credentials = std::fs::read_to_string(service.data.join("root-credentials")).unwrap();
        let half = |name: &str| {
            let line = credentials.lines().find(|line| line.starts_with(name)).unwrap();
            line.split('=').nth(1).unwrap().trim().to_owned()
        };
        service.root = client(address, &half("aws_access_key_id"), &half("aws_secret_access_key"));
        Ok(service)
    }

    /// Starts it, which must go well.
    pub async fn start(home: &Home) -> Self {
        Self::try_start(home).await.unwrap_or_else(|said| panic!("it does not start: {said}"))
    }

    /// Where its metrics are, if it was started with `--metrics-listen`.
    pub fn metrics(&self) -> SocketAddr {
        let rest = self.said.split("Metrics are at http://").nth(1).expect("it tells no metrics");
        rest.split('/').next().unwrap().parse().unwrap()
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, which must go well.
    pub async fn stop(mut self) {
        rustix::process::kill_process(self.process(), rustix::process::Signal::TERM).unwrap();
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(tokio::time::Instant::now() < end, "not stopped within a minute");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its process.
    pub fn process(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// An address that it told when it started, behind these words.
    pub fn told(&self, words: &str) -> SocketAddr {
        let rest = self.said.split(words).nth(1).and_then(|rest| rest.split("http://").nth(1)).unwrap();
        rest.split(['/', ' ', '\n']).next().unwrap().parse().unwrap()
    }

    /// Whether it has ended, and how: it never should by itself.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// A number of `/proc/PID/status`, KiB.
    pub fn kibibytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What `zone status` is made of.
    pub async fn status(&self) -> Value {
        let mut stream = BufReader::new(UnixStream::connect(self.data.join("admin.sock")).await.unwrap());
        let request = b"GET /v1/zones HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let answer = read_answer(&mut stream, false).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits until `zone status` says what the documentation tells an administrator to wait for before a zone may be lost again: three
    /// zones voting, and nothing to repair; each zone in the given life, or a later one. Gives how long it took.
    pub async fn until_whole(&self, lives: [u64; 3]) -> Duration {
        let start = tokio::time::Instant::now();
        loop {
            let status = self.status().await;
            let is_alive = |zone: usize| status["zones"][zone]["incarnation"].as_u64() >= Some(lives[zone]);
            if is_whole(&status) && (0..3).all(is_alive) {
                return start.elapsed();
            }
            assert!(start.elapsed() < WHOLE_MAX, "not whole again within {WHOLE_MAX:?}: {status:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether all three zones hold everything, as far as `zone status` tells.
pub fn is_whole(status: &Value) -> bool {
    let zones = status["zones"].as_array().unwrap();
    let is_in = |zone: &Value| zone["phase"] == "voting" && zone["chunks"].is_object() && zone["takesWrites"] == true;
    let repair = &status["repair"];
    zones.iter().all(is_in)
        && repair["known"] == true
        && repair["rebuilding"] == false
        && repair["incompleteBlobs"] == 0
        && repair["damageWaiting"] == 0
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(address: SocketAddr, access_key_id: &str, secret_access_key: &str) -> S3Client {
    S3Client {
        address,
        host: address.to_string(),
        access_key_id: access_key_id.to_owned(),
        secret_access_key: secret_access_key.to_owned(),
        region: "us-east-1".to_owned(),
        clock: Arc::new(SystemClock::new()),
    }
}

/// The binary, with nothing from the environment of the tests.
fn cairn(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null()).env("HOME", home);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIRN_")) {
        command.env_remove(name);
    }
    command
}

/// Removes a directory in which the service may just make a file, as `rm -rf` does when it is called again.
pub fn remove(directory: &Path) {
    while let Err(error) = std::fs::remove_dir_all(directory) {
        match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty => {}
            std::io::ErrorKind::NotFound => return,
            _ => panic!("{}: {error}", directory.display()),
        }
    }
}
