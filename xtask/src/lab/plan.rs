//! Where everything of a lab is: three datacentres and the client beside them, their addresses, the ports of what runs in them, and the
//! one directory that holds all that the lab keeps on disk. Nothing is chosen while a lab runs, so any command finds it by its name.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::ensure;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What is left free below a network interface's or a path's limits, in characters: names are put together from this one.
const NAME_CHARACTERS_MAX: usize = 16;

/// Where labs keep their directories: on a disk, because a store on a file system in memory would have nothing to sync.
const DIRECTORIES: &str = "/var/tmp";

/// A datacentre.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// The first.
    Geneva,
    /// The second.
    Gland,
    /// The third.
    Lucerne,
}

impl Zone {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Geneva, Self::Gland, Self::Lucerne];

    /// What commands, members of clusters and data centres of SeaweedFS are called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Geneva => "geneva",
            Self::Gland => "gland",
            Self::Lucerne => "lucerne",
        }
    }

    /// The zone of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|zone| zone.name() == name)
    }

    /// The other two.
    pub fn others(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |zone| *zone != self)
    }

    /// The address of everything in it.
    pub const fn address(self) -> Ipv4Addr {
        Place::Zone(self).address()
    }

    /// An address and port in it.
    pub const fn at(self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), port)
    }
}

/// A network of its own: a datacentre, or the client outside them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A datacentre.
    Zone(Zone),
    /// Where users are, with the one address that they know.
    Client,
}

impl Place {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Zone(Zone::Geneva), Self::Zone(Zone::Gland), Self::Zone(Zone::Lucerne), Self::Client];

    /// What commands call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zone(zone) => zone.name(),
            Self::Client => "client",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Zone(Zone::Geneva) => 1,
            Self::Zone(Zone::Gland) => 2,
            Self::Zone(Zone::Lucerne) => 3,
            Self::Client => 9,
        }
    }

    /// The address of everything in it, the same wherever one asks from. The lab owns 10.90.0.0/16, which exists in its namespaces only.
    pub const fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, self.number(), 1)
    }

    /// The address of its border, where its cable to the other places begins.
    pub const fn border(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, self.number(), 254)
    }

    /// The place of this address.
    pub fn of_address(address: Ipv4Addr) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.address() == address)
    }

    /// The other places.
    pub fn others(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |place| *place != self)
    }

    /// The hardware address of an end of its cable. It is fixed so that the two ends know each other without asking: a cut cable is then
    /// silent from the first packet on, where a question without an answer would become an error after some seconds.
    pub fn hardware_address(self, border: bool) -> String {
        format!("02:ca:00:00:{:02x}:{:02x}", self.number(), u8::from(border))
    }
}

/// The ports of what runs in a datacentre. SeaweedFS adds 10,000 for gRPC.
pub mod ports {
    /// etcd, for its clients.
    pub const ETCD: u16 = 2379;
    /// etcd, for its members.
    pub const ETCD_PEER: u16 = 2380;
    /// PostgreSQL.
    pub const POSTGRESQL: u16 = 5432;
    /// Patroni's REST API.
    pub const PATRONI: u16 = 8008;
    /// SeaweedFS's master.
    pub const MASTER: u16 = 9333;
    /// SeaweedFS's first volume server; the next ones follow.
    pub const VOLUME: u16 = 8080;
    /// SeaweedFS's filer, in the stock stack.
    pub const FILER: u16 = 8888;
    /// SeaweedFS's S3 gateway, in the stock stack.
    pub const SEAWEEDFS_S3: u16 = 8333;
    /// A gateway's S3, and that of the one address.
    pub const S3: u16 = 9000;
    /// A gateway's `/readyz`, `/metrics` and admin API.
    pub const ADMIN: u16 = 9001;
    /// What SeaweedFS adds to a port for gRPC.
    pub const GRPC: u16 = 10_000;
    /// How many volume servers a datacentre may have.
    pub const VOLUME_SERVERS_MAX: u16 = 4;

    /// Every port that may be reached from another place. The cables carry these and no others.
    pub fn carried() -> Vec<u16> {
        let mut ports = vec![ETCD, ETCD_PEER, POSTGRESQL, PATRONI, S3, ADMIN];
        let of_seaweedfs = [MASTER, FILER, SEAWEEDFS_S3].into_iter().chain(VOLUME..VOLUME + VOLUME_SERVERS_MAX);
        ports.extend(of_seaweedfs.flat_map(|port| [port, port + GRPC]));
        ports
    }
}

/// What a lab is called. Several may run at once; their addresses do not meet, because each is in namespaces of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name(String);

impl Name {
    /// The name in front of everything of the lab that the machine's own lists show.
    pub fn prefix(&self) -> String {
        format!("cairn-{}", self.0)
    }

    /// All that the lab keeps on disk.
    pub fn directory(&self) -> PathBuf {
        Path::new(DIRECTORIES).join(self.prefix())
    }

    /// The network namespace of a place.
    pub fn namespace(&self, place: Place) -> String {
        format!("{}-{}", self.prefix(), place.name())
    }

    /// The network namespace at the other end of a place's cable, where the addresses of the other places are.
    pub fn border_namespace(&self, place: Place) -> String {
        format!("{}-{}-border", self.prefix(), place.name())
    }

    /// All its namespaces.
    pub fn namespaces(&self) -> Vec<String> {
        Place::ALL.into_iter().flat_map(|place| [self.namespace(place), self.border_namespace(place)]).collect()
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
        ensure!(
            !text.is_empty() && text.len() <= NAME_CHARACTERS_MAX && text.chars().all(plain),
            "a lab's name is 1 to {NAME_CHARACTERS_MAX} lower-case letters and digits"
        );
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests;
