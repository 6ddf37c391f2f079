//! PostgreSQL under Patroni: one member in each datacentre. A commit is answered once the primary and one of the two others have it on
//! disk (`synchronous_mode: quorum`), and where none of them can, not at all (`synchronous_mode_strict`).

use std::path::Path;

use serde_json::json;

use super::{configure, words};
use crate::lab::component::{self, Component, Home};
use crate::lab::plan::{Name, Zone, ports};

/// What the component is called.
pub const NAME: &str = "patroni";
/// Where PostgreSQL's programs are.
pub const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// How long a leader's claim stands without renewal, seconds: the lowest that Patroni takes. A lost leader is replaced after that at most,
/// and the time that the election takes.
pub const LEADER_SECONDS: u64 = 20;
/// How often a member looks around, and how long it tries to reach etcd before it gives up leading, seconds. A leader that is cut off
/// must have stopped before its claim ends: once around and twice the trying is at most [`LEADER_SECONDS`], which Patroni checks too.
const LOOK_EVERY_SECONDS: u64 = 5;
const TRY_SECONDS: u64 = 5;

/// The role and the database of the gateways. The passwords open nothing but databases that exist within a lab.
pub const USER: &str = "cairn";
/// Its password.
pub const PASSWORD: &str = "cairn-lab";
/// PostgreSQL's own administrator in a lab.
pub const ADMINISTRATOR: &str = "postgres";

/// How gateways reach whichever member is the primary.
pub fn connection_string() -> String {
    let hosts = Zone::ALL.map(|zone| zone.at(ports::POSTGRESQL).to_string()).join(",");
    format!("postgresql://{USER}:{PASSWORD}@{hosts}/{USER}?target_session_attrs=read-write")
}

/// The member of a datacentre.
///
/// # Errors
/// Where its configuration cannot be written.
pub fn component(lab: &Name, zone: Zone, program: &Path) -> anyhow::Result<Component> {
    let directory = component::directory(lab, Home::Zone(zone), NAME);
    // Its own datacentre's etcd first.
    let etcd: Vec<String> = std::iter::once(zone).chain(zone.others()).map(|zone| zone.at(ports::ETCD).to_string()).collect();
    let (api, database) = (zone.at(ports::PATRONI).to_string(), zone.at(ports::POSTGRESQL).to_string());
    let configuration = json!({
        "scope": "cairn",
        "name": zone.name(),
        "restapi": {"listen": api, "connect_address": api},
        "etcd3": {"hosts": etcd},
        "bootstrap": {
            "dcs": {
                "ttl": LEADER_SECONDS,
                "loop_wait": LOOK_EVERY_SECONDS,
                "retry_timeout": TRY_SECONDS,
                "synchronous_mode": "quorum",
                "synchronous_mode_strict": true,
                "postgresql": {
                    "use_pg_rewind": true,
                    "parameters": {"max_connections": 200, "max_wal_size": "1GB", "wal_keep_size": "256MB"},
                },
            },
            "initdb": ["data-checksums", {"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
        },
        "postgresql": {
            "listen": database,
            "connect_address": database,
            "data_dir": directory.join("data"),
            "bin_dir": PROGRAMS,
            "pgpass": directory.join("pgpass"),
            "authentication": {
                "superuser": {"username": ADMINISTRATOR, "password": PASSWORD},
                "replication": {"username": "replicator", "password": PASSWORD},
                "rewind": {"username": "rewinder", "password": PASSWORD},
            },
            "basebackup": [{"checkpoint": "fast"}],
            "pg_hba": ["host all all 10.90.0.0/16 scram-sha-256", "host replication replicator 10.90.0.0/16 scram-sha-256"],
            // No socket in the file system, and no memory segment with a name there: killed, it leaves nothing outside its directory.
            "parameters": {"unix_socket_directories": "", "dynamic_shared_memory_type": "mmap"},
        },
    });
    // What is JSON is YAML too.
    let path = configure(lab, Home::Zone(zone), NAME, "patroni.yml", &format!("{configuration:#}\n"))?;
    Ok(Component {
        home: Home::Zone(zone),
        name: NAME.to_owned(),
        command: words(program, [path]),
        environment: Vec::new(),
        as_postgres: true,
        phase: 2,
    })
}
