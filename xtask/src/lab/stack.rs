//! What runs in a lab: the components of a stack, in the order in which they are started, with the configuration of each.

pub mod balancer;
pub mod etcd;
pub mod gateway;
pub mod patroni;
pub mod seaweedfs;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::component::{self, Component, Home};
use super::plan::{Name, Zone, ports};
use super::wire;
use crate::provision;

/// The root key of whatever speaks S3. It opens nothing but services within a lab.
pub const ACCESS_KEY_ID: &str = "AKIDCAIRNLAB00000001";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "lab-secret-of-a-throwaway-service0000000";

/// A way to store objects in three datacentres.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// In each datacentre a SeaweedFS cluster of its own, a member of PostgreSQL under Patroni, and a gateway.
    Cairn,
    /// One SeaweedFS cluster over all three, as it comes, replication 200, with its own S3 gateways: for comparison.
    #[value(name = "seaweedfs")]
    SeaweedFs,
}

impl Stack {
    /// What a person reads.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Cairn => "Cairn on SeaweedFS and PostgreSQL",
            Self::SeaweedFs => "stock SeaweedFS with replication 200",
        }
    }
}

/// What a lab is to be.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
pub struct Shape {
    /// What runs in it.
    #[arg(long, value_enum, default_value_t = Stack::Cairn)]
    pub stack: Stack,
    /// How long bytes take to another datacentre and back, milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub round_trip_ms: u64,
    /// How many volume servers SeaweedFS has in a datacentre.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(ports::VOLUME_SERVERS_MAX)))]
    pub volume_servers: u16,
    /// The command of the gateways, with {config} where the path of its configuration file goes; "none" for a lab without gateways.
    #[arg(long, value_name = "COMMAND", default_value = gateway::NONE)]
    pub gateway: String,
    /// The configuration file of the gateways, with words such as {zone} where datacentres differ (docs/lab.md has all of them).
    #[arg(long, value_name = "FILE")]
    pub gateway_config: Option<PathBuf>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { stack: Stack::Cairn, round_trip_ms: 2, volume_servers: 1, gateway: gateway::NONE.to_owned(), gateway_config: None }
    }
}

impl Shape {
    /// Whether there is something that speaks S3, and so one address in front of it.
    pub fn speaks_s3(&self) -> bool {
        self.stack == Stack::SeaweedFs || self.gateway != gateway::NONE
    }

    /// Whether there is a PostgreSQL.
    pub fn has_postgresql(&self) -> bool {
        self.stack == Stack::Cairn
    }
}

/// The programs of a lab.
pub struct Programs {
    /// SeaweedFS.
    pub weed: PathBuf,
    /// Patroni.
    pub patroni: PathBuf,
    /// etcd.
    pub etcd: PathBuf,
    /// HAProxy.
    pub haproxy: PathBuf,
}

impl Programs {
    /// The tools that a lab needs, in the order in which they are provided.
    pub const TOOLS: &'static [&'static provision::Tool] = &[
        &provision::NAMESPACES,
        &provision::SEAWEEDFS,
        &provision::POSTGRESQL,
        &provision::ETCD,
        &provision::PATRONI,
        &provision::HAPROXY,
    ];

    /// Where they are.
    pub fn below(tools: &Path) -> Self {
        Self {
            weed: provision::SEAWEEDFS.program(tools),
            patroni: provision::PATRONI.program(tools),
            etcd: provision::ETCD.program(tools),
            haproxy: provision::HAPROXY.program(tools),
        }
    }
}

/// The components of a stack; their configuration is written.
///
/// # Errors
/// Where a configuration cannot be written, or does not make sense.
pub fn components(lab: &Name, shape: &Shape, programs: &Programs) -> anyhow::Result<Vec<Component>> {
    ensure!(
        shape.stack == Stack::Cairn || shape.gateway == gateway::NONE,
        "stock SeaweedFS has gateways of its own: --gateway is for --stack cairn"
    );
    let mut components = vec![wire::component(lab, shape.round_trip_ms)?];
    for zone in Zone::ALL {
        components.extend(seaweedfs::components(lab, shape, zone, &programs.weed)?);
        if shape.has_postgresql() {
            components.push(etcd::component(zone, &programs.etcd));
            components.push(patroni::component(lab, zone, &programs.patroni)?);
        }
        components.extend(gateway::component(lab, shape, zone)?);
    }
    if shape.speaks_s3() {
        components.push(balancer::component(lab, shape, &programs.haproxy)?);
    }
    components.sort_by_key(|component| component.phase);
    Ok(components)
}

/// Writes a file of a component into its directory and gives its path.
fn configure(lab: &Name, home: Home, component: &str, file: &str, text: &str) -> anyhow::Result<String> {
    let directory = component::directory(lab, home, component);
    std::fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let path = directory.join(file);
    std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path.to_string_lossy().into_owned())
}

/// A command in words.
fn words<const N: usize>(program: &Path, arguments: [String; N]) -> Vec<String> {
    std::iter::once(program.to_string_lossy().into_owned()).chain(arguments).collect()
}
