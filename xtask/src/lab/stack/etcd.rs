//! etcd, in which Patroni keeps who leads: one member in each datacentre, so that any two decide.

use std::path::Path;

use super::words;
use crate::lab::component::{Component, Home};
use crate::lab::plan::{Zone, ports};

/// What the component is called.
pub const NAME: &str = "etcd";

/// The member of a datacentre.
pub fn component(zone: Zone, program: &Path) -> Component {
    let (clients, members) = (format!("http://{}", zone.at(ports::ETCD)), format!("http://{}", zone.at(ports::ETCD_PEER)));
    let all = Zone::ALL.map(|zone| format!("{}=http://{}", zone.name(), zone.at(ports::ETCD_PEER))).join(",");
    Component {
        home: Home::Zone(zone),
        name: NAME.to_owned(),
        command: words(
            program,
            [
                format!("--name={}", zone.name()),
                "--data-dir=data".to_owned(),
                format!("--listen-client-urls={clients}"),
                format!("--advertise-client-urls={clients}"),
                format!("--listen-peer-urls={members}"),
                format!("--initial-advertise-peer-urls={members}"),
                format!("--initial-cluster={all}"),
                "--initial-cluster-state=new".to_owned(),
                "--initial-cluster-token=cairn-lab".to_owned(),
                "--logger=zap".to_owned(),
            ],
        ),
        environment: Vec::new(),
        as_postgres: false,
        phase: 1,
    }
}
