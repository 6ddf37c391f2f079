//! SeaweedFS in one datacentre: for Cairn a cluster of its own, that knows nothing of the other datacentres; in the stock stack one part
//! of the cluster that spans them, with a filer and an S3 gateway.

use std::path::Path;

use serde_json::json;

use super::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Shape, Stack, configure, words};
use crate::lab::component::{Component, Home};
use crate::lab::plan::{Name, Zone, ports};

/// What its components are called; a volume server has its number behind the name.
pub const MASTER: &str = "seaweedfs-master";
/// Its volume servers.
pub const VOLUME: &str = "seaweedfs-volume";
/// Its filer, in the stock stack.
pub const FILER: &str = "seaweedfs-filer";
/// Its S3 gateway, in the stock stack.
pub const S3: &str = "seaweedfs-s3";

/// How large a volume gets, MiB, and how many a server holds.
const VOLUME_MIB: u32 = 1024;
const VOLUMES: u32 = 64;

/// The names of a datacentre's volume servers.
pub fn volume_servers(shape: &Shape) -> impl Iterator<Item = (String, u16)> + use<> {
    (0..shape.volume_servers).map(|number| (format!("{VOLUME}-{}", number + 1), ports::VOLUME + number))
}

/// The components of a datacentre.
///
/// # Errors
/// Where a configuration cannot be written.
pub fn components(lab: &Name, shape: &Shape, zone: Zone, weed: &Path) -> anyhow::Result<Vec<Component>> {
    let stock = shape.stack == Stack::SeaweedFs;
    let home = Home::Zone(zone);
    let component = |name: &str, phase: u8, port: u16, mut arguments: Vec<String>| -> anyhow::Result<Component> {
        // Made here, because it does not make the directory of its data by itself.
        std::fs::create_dir_all(crate::lab::component::directory(lab, home, name).join("data"))?;
        let command = name.strip_prefix("seaweedfs-").unwrap_or_default().split('-').next().unwrap_or_default().to_owned();
        let mut all = words(weed, [command, format!("-port={port}"), format!("-port.grpc={}", port + ports::GRPC)]);
        all.append(&mut arguments);
        Ok(Component { home, name: name.to_owned(), command: all, environment: Vec::new(), as_postgres: false, phase })
    };
    let (ip, bind) = (format!("-ip={}", zone.address()), format!("-ip.bind={}", zone.address()));
    let masters = if stock {
        Zone::ALL.map(|zone| zone.at(ports::MASTER).to_string()).join(",")
    } else {
        zone.at(ports::MASTER).to_string()
    };
    let mut of_master = vec![
        ip.clone(),
        bind.clone(),
        "-mdir=data".to_owned(),
        format!("-defaultReplication={}", if stock { "200" } else { "000" }),
        format!("-volumeSizeLimitMB={VOLUME_MIB}"),
        "-telemetry=false".to_owned(),
    ];
    if stock {
        of_master.push(format!("-peers={masters}"));
    }
    let mut components = vec![component(MASTER, 1, ports::MASTER, of_master)?];
    for (name, port) in volume_servers(shape) {
        let arguments = vec![
            ip.clone(),
            bind.clone(),
            "-dir=data".to_owned(),
            format!("-max={VOLUMES}"),
            format!("-dataCenter={}", zone.name()),
            format!("-master={masters}"),
        ];
        components.push(component(&name, 2, port, arguments)?);
    }
    if stock {
        let arguments = vec![
            ip,
            bind.clone(),
            "-defaultStoreDir=data".to_owned(),
            format!("-dataCenter={}", zone.name()),
            format!("-master={masters}"),
            "-localSocket=socket".to_owned(),
        ];
        // One after the other: a filer asks those it hears of for what they hold, and ends where one has only begun to start.
        let phase = 3 + Zone::ALL.iter().position(|other| *other == zone).unwrap_or_default() as u8;
        components.push(component(FILER, phase, ports::FILER, arguments)?);
        let key = json!({"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY});
        let actions = ["Admin", "Read", "List", "Tagging", "Write"];
        let identities = json!({"identities": [{"name": "lab", "credentials": [key], "actions": actions}]});
        let config = configure(lab, home, S3, "s3.json", &format!("{identities:#}\n"))?;
        let arguments = vec![
            bind,
            format!("-filer={}", zone.at(ports::FILER)),
            format!("-config={config}"),
            "-port.iceberg=0".to_owned(),
            "-port.lance=0".to_owned(),
            "-localSocket=socket".to_owned(),
        ];
        components.push(component(S3, 6, ports::SEAWEEDFS_S3, arguments)?);
    }
    Ok(components)
}
