//! `cargo xtask lab`: three datacentres on one machine, to use and to break. Each is a network of its own with a SeaweedFS cluster, a
//! PostgreSQL member under Patroni, an etcd member and a gateway, all of them the real programs; outside stands a client with the one
//! address that users would know. Nothing of it can be reached from the machine's own network, and `down` leaves nothing behind.
//!
//! What tests do to a lab they do through [`life::Lab`], which these commands use too.

mod component;
mod database;
mod faults;
mod guard;
mod http;
mod life;
mod namespaces;
mod plan;
mod stack;
mod status;
mod trial;
mod wire;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;

use crate::clock;
use crate::steps::Context;
use crate::workspace::Workspace;
use life::Lab;
pub use namespaces::are_possible;
use plan::{Name, Place, Zone, ports};
use stack::{Programs, Shape};
pub use trial::run as trial;

/// The tools that a lab needs.
pub const NEEDS: &[&crate::provision::Tool] = Programs::TOOLS;

/// How long tools may take to be fetched, minutes.
const TOOLS_MINUTES_MAX: u64 = 30;
/// How long a healed datacentre may take until everything in it does its work, seconds.
const HEAL_SECONDS_MAX: u64 = 300;

/// What to do with which lab.
#[derive(clap::Args)]
pub struct Arguments {
    /// The lab's name, where there are several.
    #[arg(long, global = true, default_value = "lab")]
    name: Name,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring a lab up, and say how to use it.
    Up(Shape),
    /// Say how everything is.
    Status {
        /// As JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Cut a datacentre's network: it goes on, and hears and says nothing more.
    Cut {
        /// Which.
        zone: Zone,
    },
    /// Kill everything in a datacentre at once (SIGKILL).
    Kill {
        /// Which.
        zone: Zone,
        /// Only this component, as `status` calls it.
        #[arg(long, value_name = "COMPONENT")]
        only: Option<String>,
    },
    /// Let everything in a datacentre hang (SIGSTOP).
    Hang {
        /// Which.
        zone: Zone,
        /// Only this component, as `status` calls it.
        #[arg(long, value_name = "COMPONENT")]
        only: Option<String>,
    },
    /// Bring datacentres back and wait until they do their work: the network, what hangs, what is dead.
    Heal {
        /// Which; all where none is named.
        zone: Option<Zone>,
    },
    /// Set how long bytes take to another datacentre and back.
    Delay {
        /// Milliseconds.
        round_trip_ms: u64,
    },
    /// Lose answers between datacentres: of connections to a port, each next answer that holds a text, with its connection.
    Lose {
        /// The port, such as 5432.
        port: u16,
        /// The text, with \0 for a zero byte: PostgreSQL answers a COMMIT with COMMIT\0.
        text: String,
        /// How many answers.
        #[arg(long, default_value_t = 1)]
        times: u64,
    },
    /// A shell where the clients are, or in a datacentre.
    Shell {
        /// In this datacentre.
        #[arg(long, value_name = "ZONE")]
        zone: Option<Zone>,
    },
    /// Run a command where the clients are, or in a datacentre: `exec -- aws s3 ls`.
    Exec {
        /// In this datacentre.
        #[arg(long, value_name = "ZONE")]
        zone: Option<Zone>,
        /// The command.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Remove a lab, whatever state it is in.
    Down,
    /// Hold the cables: a process of a lab.
    #[command(hide = true)]
    Wire {
        #[arg(long)]
        round_trip_ms: u64,
    },
    /// Remove labs once what is at the other end of standard input has ended.
    #[command(hide = true)]
    Guard {
        /// Which.
        labs: Vec<Name>,
    },
}

/// Does it.
///
/// # Errors
/// Where it cannot be done, in words that say what to do.
pub fn run(workspace: anyhow::Result<Workspace>, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let name = arguments.name;
    match arguments.task {
        Task::Up(shape) => up(&workspace?, &name, shape)?,
        Task::Status { json } => {
            let lab = Lab::find(&name)?;
            let status = status::look(&lab)?;
            if json {
                println!("{:#}", status.json(&lab));
            } else {
                print!("{}", status.table(&lab));
            }
        }
        Task::Cut { zone } => {
            Lab::find(&name)?.cut(zone)?;
            println!("{} is cut off; `cargo xtask lab heal {}` mends it", zone.name(), zone.name());
        }
        Task::Kill { zone, only } => {
            let processes = Lab::find(&name)?.kill(zone, only.as_deref())?;
            println!(
                "{processes} processes of {} are killed; `cargo xtask lab heal {}` starts them again",
                zone.name(),
                zone.name()
            );
        }
        Task::Hang { zone, only } => {
            let processes = Lab::find(&name)?.hang(zone, only.as_deref())?;
            println!("{processes} processes of {} hang; `cargo xtask lab heal {}` lets them go on", zone.name(), zone.name());
        }
        Task::Heal { zone } => heal(&Lab::find(&name)?, zone)?,
        Task::Delay { round_trip_ms } => {
            wire::ask(Lab::find(&name)?.name(), &format!("round-trip {round_trip_ms}"))?;
            println!("bytes now take {round_trip_ms} ms to another datacentre and back");
        }
        Task::Lose { port, text, times } => {
            lose(&Lab::find(&name)?, port, &text, times)?;
            println!("the next {times} answers from port {port} that hold {text:?} will be lost; `status` counts them");
        }
        Task::Shell { zone } => {
            let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
            let lab = Lab::find(&name)?;
            println!("in {}; leave with exit", zone.map_or(Place::Client, Place::Zone).name());
            return enter(workspace.ok().as_ref(), &lab, zone, &[shell]);
        }
        Task::Exec { zone, command } => return enter(workspace.ok().as_ref(), &Lab::find(&name)?, zone, &command),
        Task::Down => {
            let removed = life::remove(&name)?;
            if removed == life::Removed::default() {
                println!("there is no lab {name}, nor anything left of one");
            } else {
                println!(
                    "removed the lab {name}: {} processes, {} networks, {}",
                    removed.processes,
                    removed.namespaces,
                    name.directory().display()
                );
            }
        }
        Task::Wire { round_trip_ms } => wire::run(&name, round_trip_ms)?,
        Task::Guard { labs } => guard::run(&labs)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line. Where nobody reads it any more, what is under way goes on.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn up(workspace: &Workspace, name: &Name, shape: Shape) -> anyhow::Result<()> {
    std::fs::create_dir_all(workspace.logs())?;
    let log_path = workspace.logs().join("lab.tools.log");
    let log = File::options().create(true).append(true).open(&log_path).context("the log cannot be written")?;
    let deadline = clock::now() + Duration::from_secs(TOOLS_MINUTES_MAX * 60);
    let mut context = Context { name: "lab", workspace, long: false, fuzz_seconds: 0, deadline, log };
    for tool in NEEDS {
        tool.provide(&mut context).with_context(|| format!("{} cannot be had (see {})", tool.name, log_path.display()))?;
    }
    let started = clock::now();
    let lab = Lab::up(name, shape, &Programs::below(&workspace.tools()), &workspace.logs().join(name.prefix()), &mut say)?;
    say(&format!("\n{} in three datacentres, up after {:.0} s.\n", lab.shape().stack.title(), started.elapsed().as_secs_f64()));
    for (what, endpoint) in life::endpoints(&lab) {
        say(&format!("  {what:<26}{endpoint}"));
    }
    let other_name = if name.to_string() == "lab" { String::new() } else { format!("--name {name} ") };
    say("\nThese addresses exist inside the lab only. To be there:\n");
    let example = if lab.shape().speaks_s3() { "aws s3 ls" } else { "psql -c 'SELECT now()'" };
    for (line, what) in [
        ("shell".to_owned(), "a shell where the clients are, with the environment set for aws and psql"),
        (format!("exec -- {example}"), "one command there"),
        ("status".to_owned(), "how everything is"),
        ("cut geneva".to_owned(), "or kill, or hang; then heal"),
        ("down".to_owned(), "remove all of it"),
    ] {
        say(&format!("  {:<52}{what}", format!("cargo xtask lab {other_name}{line}")));
    }
    Ok(())
}

/// Lets the cables lose answers that hold this text, in which `\0` is a zero byte.
fn lose(lab: &Lab, port: u16, text: &str, times: u64) -> anyhow::Result<()> {
    let bytes = text.replace("\\0", "\0").into_bytes();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    wire::ask(lab.name(), &format!("lose {port} {} {times}", hex.concat())).map(drop)
}

fn heal(lab: &Lab, zone: Option<Zone>) -> anyhow::Result<()> {
    let zones: Vec<Zone> = zone.map_or_else(|| Zone::ALL.to_vec(), |zone| vec![zone]);
    for zone in &zones {
        lab.heal(*zone)?;
    }
    for zone in &zones {
        let took = life::wait_until("SeaweedFS is whole", HEAL_SECONDS_MAX, || lab.has_volume_servers(*zone))?;
        println!("{}: SeaweedFS is whole after {:.1} s", zone.name(), took.as_secs_f64());
    }
    let mut others = Zone::ALL.into_iter().filter(|zone| !zones.contains(zone));
    // Then there are never two standbys, nor three gateways.
    if others.any(|zone| lab.is_away(zone)) {
        println!("another datacentre is still away: see `cargo xtask lab status`");
        return Ok(());
    }
    if lab.shape().has_postgresql() {
        let took = life::wait_until("PostgreSQL is whole", HEAL_SECONDS_MAX, || lab.has_quorum())?;
        println!("PostgreSQL has a primary and two standbys that follow it after {:.1} s", took.as_secs_f64());
    }
    if lab.shape().speaks_s3() {
        let took = life::wait_until("the one address knows all gateways", HEAL_SECONDS_MAX, || lab.balancer_is_up())?;
        println!("the one address has three gateways behind it after {:.1} s", took.as_secs_f64());
    }
    Ok(())
}

/// Becomes a command in a network of the lab.
fn enter(workspace: Option<&Workspace>, lab: &Lab, zone: Option<Zone>, command: &[String]) -> anyhow::Result<ExitCode> {
    let namespace = lab.name().namespace(zone.map_or(Place::Client, Place::Zone));
    let mut path = std::env::var("PATH").unwrap_or_default();
    if let Some(workspace) = workspace {
        // Behind the machine's own: for who has none.
        for environment in [&crate::provision::AWS_CLI_1, &crate::provision::PATRONI, &crate::provision::SEAWEEDFS] {
            if let Some(directory) = environment.program(&workspace.tools()).parent() {
                path = format!("{path}:{}", directory.display());
            }
        }
    }
    let hosts = Zone::ALL.map(|zone| zone.address().to_string()).join(",");
    let mut entered = Command::new("nsenter");
    entered.arg(format!("--net={}", namespaces::path(&namespace).display())).arg("--").args(command).envs([
        ("PATH", path.as_str()),
        ("AWS_ENDPOINT_URL", &format!("http://{}:{}", Place::Client.address(), ports::S3)),
        ("AWS_ACCESS_KEY_ID", stack::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", stack::SECRET_ACCESS_KEY),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("PGHOST", &hosts),
        ("PGPORT", &ports::POSTGRESQL.to_string()),
        ("PGUSER", stack::patroni::USER),
        ("PGPASSWORD", stack::patroni::PASSWORD),
        ("PGDATABASE", stack::patroni::USER),
        ("PGTARGETSESSIONATTRS", "read-write"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("CAIRN_LAB", &lab.name().to_string()),
    ]);
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        // There is no way out of the lab.
        entered.env_remove(proxy);
    }
    Err(anyhow::Error::new(entered.exec()).context("nsenter (util-linux) cannot be started"))
}
