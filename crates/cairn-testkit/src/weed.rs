//! SeaweedFS clusters of real processes on this machine's loopback, for tests of what stands on them.
//!
//! The program is the one that `CAIRN_WEED` names; `cargo xtask test` sets it to the one that it fetched. Nothing of the machine's
//! configuration reaches the processes, and dropping a cluster kills them and removes what they stored.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::ports::port;

/// The variable that names the program.
pub const PROGRAM_VARIABLE: &str = "CAIRN_WEED";
/// A cluster that is not ready after so many looks will not be.
const LOOKS_MAX: u32 = 1_200;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many lines of each log tell why a cluster is not ready.
const LOG_LINES: usize = 15;

/// What a cluster is to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Masters; an odd number.
    pub masters: usize,
    /// Volume servers, all on one rack.
    pub volume_servers: usize,
    /// How large a volume grows, MiB.
    pub volume_mib: u32,
    /// Volumes that each server takes.
    pub volumes_max: u32,
    /// Contents of `security.toml`, which all processes read.
    pub security: String,
}

impl Default for Plan {
    fn default() -> Self {
        Self { masters: 1, volume_servers: 1, volume_mib: 1_024, volumes_max: 2_000, security: String::new() }
    }
}

/// A process of a cluster.
struct Node {
    kind: &'static str,
    /// Its log's name, below the cluster's directory.
    log: String,
    port: u16,
    grpc: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// A cluster.
pub struct Weed {
    program: PathBuf,
    directory: PathBuf,
    masters: Vec<Node>,
    volume_servers: Vec<Node>,
}

impl Weed {
    /// Starts a cluster below this directory, which must be there and empty, and waits until its master knows all volume servers.
    ///
    /// # Panics
    /// Where the program is not there or the cluster does not come up.
    #[must_use]
    pub fn start(directory: &Path, plan: &Plan) -> Self {
        let program = std::env::var_os(PROGRAM_VARIABLE).unwrap_or_else(|| panic!("{PROGRAM_VARIABLE} names the program weed"));
        let program = std::path::absolute(program).expect("a path");
        std::fs::write(directory.join("security.toml"), &plan.security).expect("security.toml");
        let mut weed = Self { program, directory: directory.to_owned(), masters: Vec::new(), volume_servers: Vec::new() };
        let ports: Vec<(u16, u16)> = (0..plan.masters).map(|_| (port(), port())).collect();
        let addresses: Vec<String> = ports.iter().map(|(port, grpc)| format!("127.0.0.1:{port}.{grpc}")).collect();
        for (number, (port, grpc)) in ports.into_iter().enumerate() {
            let mut arguments = vec![
                format!("-mdir=master-{number}"),
                format!("-volumeSizeLimitMB={}", plan.volume_mib),
                "-telemetry=false".to_owned(),
            ];
            if plan.masters > 1 {
                arguments.push(format!("-peers={}", addresses.join(",")));
            }
            std::fs::create_dir_all(directory.join(format!("master-{number}"))).expect("a directory");
            weed.masters.push(Node { kind: "master", log: format!("master-{number}.log"), port, grpc, arguments, child: None });
        }
        for number in 0..plan.volume_servers {
            let arguments = vec![
                format!("-dir=volume-{number}"),
                format!("-max={}", plan.volumes_max),
                format!("-master={}", addresses.join(",")),
                // Volumes may be copied from servers on the loopback.
                "-volume.allowUntrustedRemoteEndpoints".to_owned(),
            ];
            std::fs::create_dir_all(directory.join(format!("volume-{number}"))).expect("a directory");
            let log = format!("volume-{number}.log");
            weed.volume_servers.push(Node { kind: "volume", log, port: port(), grpc: port(), arguments, child: None });
        }
        for number in 0..plan.masters {
            weed.start_master(number);
        }
        // A volume server that finds no leader tries again after 5 s.
        weed.wait("no master leads", |weed| weed.leader().is_some());
        for number in 0..plan.volume_servers {
            weed.start_volume_server(number);
        }
        weed.wait_for_volume_servers();
        weed
    }

    /// Addresses of the masters' gRPC.
    #[must_use]
    pub fn masters(&self) -> Vec<String> {
        self.masters.iter().map(|master| format!("127.0.0.1:{}", master.grpc)).collect()
    }

    /// Where a volume server keeps its files.
    #[must_use]
    pub fn volume_directory(&self, number: usize) -> PathBuf {
        self.directory.join(format!("volume-{number}"))
    }

    /// Where a master keeps its state.
    #[must_use]
    pub fn master_directory(&self, number: usize) -> PathBuf {
        self.directory.join(format!("master-{number}"))
    }

    /// Starts a master that does not run.
    pub fn start_master(&mut self, number: usize) {
        spawn(&self.program, &self.directory, &mut self.masters[number]);
    }

    /// Starts a volume server that does not run.
    pub fn start_volume_server(&mut self, number: usize) {
        spawn(&self.program, &self.directory, &mut self.volume_servers[number]);
    }

    /// Kills a master.
    pub fn kill_master(&mut self, number: usize) {
        kill(&mut self.masters[number]);
    }

    /// Kills a volume server.
    pub fn kill_volume_server(&mut self, number: usize) {
        kill(&mut self.volume_servers[number]);
    }

    /// Kills all that runs of it.
    pub fn kill_all(&mut self) {
        self.volume_servers.iter_mut().chain(&mut self.masters).for_each(kill);
    }

    /// Starts all of it again, and waits until its master knows all volume servers.
    pub fn start_all(&mut self) {
        for number in 0..self.masters.len() {
            self.start_master(number);
        }
        for number in 0..self.volume_servers.len() {
            self.start_volume_server(number);
        }
        self.wait_for_volume_servers();
    }

    /// Stops a volume server in its tracks: its connections stay, and nothing answers.
    ///
    /// # Panics
    /// Where it goes on for a minute.
    pub fn hang_volume_server(&self, number: usize) {
        let node = &self.volume_servers[number];
        signal(node, "STOP");
        // The signal stops one of its threads, whenever that one is next given a processor, and only that one stops the others.
        for _ in 0..LOOKS_MAX {
            if node.child.as_ref().is_some_and(|child| has_stopped(child.id())) {
                return;
            }
            sleep(LOOK_EVERY);
        }
        panic!("{} does not stop", node.log);
    }

    /// Lets it go on.
    pub fn wake_volume_server(&self, number: usize) {
        signal(&self.volume_servers[number], "CONT");
    }

    /// Where a volume server's HTTP is.
    #[must_use]
    pub fn volume_server(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.volume_servers[number].port)
    }

    /// A volume server, by where its HTTP is, as commands of the shell want it named.
    #[must_use]
    pub fn for_shell(&self, server: &str) -> String {
        let named = self.volume_servers.iter().find(|node| server == format!("127.0.0.1:{}", node.port));
        named.map_or_else(|| server.to_owned(), |node| format!("{server}.{}", node.grpc))
    }

    /// Has SeaweedFS's own shell do this, under the cluster's lock, and gives what it says.
    #[must_use]
    pub fn shell(&self, commands: &[String]) -> String {
        let masters: Vec<String> =
            self.masters.iter().map(|master| format!("127.0.0.1:{}.{}", master.port, master.grpc)).collect();
        let mut command = Command::new(&self.program);
        command.args(["shell".to_owned(), format!("-master={}", masters.join(","))]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &self.directory).current_dir(&self.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the shell");
        let script = format!("lock\n{}\nunlock\n", commands.join("\n"));
        child.stdin.take().expect("its input").write_all(script.as_bytes()).expect("writing to it");
        let output = child.wait_with_output().expect("its output");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Which master leads, as it says itself.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        (0..self.masters.len()).find(|number| {
            let status = get(self.masters[*number].port, "/cluster/status").unwrap_or_default();
            status.contains("\"IsLeader\":true")
        })
    }

    /// Waits until a master knows all volume servers that were started.
    ///
    /// # Panics
    /// Where that does not come, or one of the programs ends, with the last lines of all their logs.
    pub fn wait_for_volume_servers(&mut self) {
        self.wait("no master knows all volume servers", |weed| {
            weed.masters.iter().filter(|master| master.child.is_some()).any(|master| {
                let status = get(master.port, "/dir/status").unwrap_or_default();
                let mut running = weed.volume_servers.iter().filter(|server| server.child.is_some());
                running.all(|server| status.contains(&format!("127.0.0.1:{}\"", server.port)))
            })
        });
    }

    fn wait(&mut self, otherwise: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS_MAX {
            if is_so(self) {
                return;
            }
            let mut nodes = self.masters.iter_mut().chain(&mut self.volume_servers);
            if let Some(ended) = nodes.find_map(has_ended) {
                panic!("{ended}{}", self.logs());
            }
            sleep(LOOK_EVERY);
        }
        panic!("the cluster did not come up, {otherwise}{}", self.logs());
    }

    /// The last lines of all logs.
    fn logs(&self) -> String {
        let mut tails = String::new();
        for node in self.masters.iter().chain(&self.volume_servers) {
            let log = std::fs::read(self.directory.join(&node.log)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
            let _ = write!(tails, "\n{}, ports {} and {}:\n  {last}", node.log, node.port, node.grpc);
        }
        tails
    }

    /// Asks the first master something by HTTP, and gives the answer with its head.
    #[must_use]
    pub fn ask_master(&self, path: &str) -> String {
        get(self.masters[0].port, path).unwrap_or_default()
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        for node in self.volume_servers.iter_mut().chain(&mut self.masters) {
            kill(node);
        }
    }
}

fn spawn(program: &Path, directory: &Path, node: &mut Node) {
    assert!(node.child.is_none(), "{} runs already", node.log);
    let log = File::options().create(true).append(true).open(directory.join(&node.log)).expect("a log file");
    let mut command = Command::new(program);
    command
        .arg(node.kind)
        .args([format!("-port={}", node.port), format!("-port.grpc={}", node.grpc), "-ip=127.0.0.1".to_owned()])
        .args(&node.arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", directory)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log);
    node.child = Some(command.spawn().unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display())));
}

/// What to say of a program that was started and is not there any more, though nobody killed it.
fn has_ended(node: &mut Node) -> Option<String> {
    let status = node.child.as_mut()?.try_wait().ok()??;
    Some(format!("{} of {} ended by itself ({status})", node.kind, node.log))
}

fn kill(node: &mut Node) {
    if let Some(mut child) = node.child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn signal(node: &Node, signal: &str) {
    let child = node.child.as_ref().expect("it runs");
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    assert!(sent.expect("kill").success(), "no signal could be sent");
}

/// Whether no thread of a process runs, and none will before it is told to go on.
fn has_stopped(process: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // Behind the name, which is in parentheses and may have some itself.
        status.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    })
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
