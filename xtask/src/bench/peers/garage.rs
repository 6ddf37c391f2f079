//! Garage with three nodes in three zones, replication factor 3, otherwise as it comes: it syncs neither its metadata nor its data.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Service, answers};
use crate::e2e::free_port;
use crate::process;
use crate::provision;
use crate::steps::Context;

/// What the nodes know each other by. They live for one bench on loopback.
const RPC_SECRET: &str = "00000000000000000000000000000000000000000000000000000000ca112bec";
/// What each node says it can hold. It only decides how much of the data each gets, and all get the same.
const CAPACITY: &str = "100GB";

/// Starts the nodes, the first of which speaks S3 on this port, joins them, and lets the bench's key create its bucket.
///
/// # Errors
/// Where a node does not come up or a command fails.
pub fn start(service: &mut Service, context: &mut Context<'_>, port: u16) -> anyhow::Result<()> {
    let mut addresses = Vec::new();
    for number in 1..=3 {
        let directory = service.directory.join(format!("node-{number}"));
        std::fs::create_dir_all(&directory)?;
        let (rpc, s3) = (free_port()?, if number == 1 { port } else { free_port()? });
        let settings = format!(
            "metadata_dir = \"node-{number}/meta\"\ndata_dir = \"node-{number}/data\"\nreplication_factor = 3\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{RPC_SECRET}\"\n\n\
             [s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n"
        );
        std::fs::write(directory.join("garage.toml"), settings)?;
        let mut command = garage(service, context, number, &["server"]);
        service.spawn(context, &format!("node-{number}"), &mut command)?;
        addresses.push(format!("127.0.0.1:{rpc}"));
        addresses.push(format!("127.0.0.1:{s3}"));
    }
    service.wait_for(|| addresses.iter().all(|address| answers(address)))?;
    let mut ids = Vec::new();
    for number in 1..=3 {
        let id = ask(service, context, number, &["node", "id", "--quiet"])?;
        ids.push(id.trim().to_owned());
    }
    for (id, zone) in ids.iter().zip(["zone-1", "zone-2", "zone-3"]) {
        if *id != ids[0] {
            ask(service, context, 1, &["node", "connect", id])?;
        }
        let (node, _) = id.split_once('@').with_context(|| format!("{id:?} is no node's identity"))?;
        ask(service, context, 1, &["layout", "assign", "--zone", zone, "--capacity", CAPACITY, node])?;
    }
    ask(service, context, 1, &["layout", "apply", "--version", "1"])?;
    ask(service, context, 1, &["key", "import", "--yes", "-n", "bench", ACCESS_KEY_ID, SECRET_ACCESS_KEY])?;
    ask(service, context, 1, &["key", "allow", "--create-bucket", ACCESS_KEY_ID])?;
    Ok(())
}

fn garage(service: &Service, context: &Context<'_>, number: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new(provision::GARAGE.program(&context.workspace.tools()));
    command.args(["-c", &format!("node-{number}/garage.toml")]).args(arguments).current_dir::<&PathBuf>(&service.directory);
    command
}

fn ask(service: &Service, context: &mut Context<'_>, number: usize, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = garage(service, context, number, arguments);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &service.directory);
    context.say(&format!("$ {}", process::shown(&command)))?;
    let said = process::capture(&mut command).with_context(|| format!("garage {} failed", arguments.join(" ")))?;
    ensure!(!said.is_empty(), "garage {} said nothing", arguments.join(" "));
    Ok(said)
}
