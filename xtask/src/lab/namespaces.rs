//! The networks of a lab. Each place is a network namespace with one cable, and nothing in it reaches or is reached by the machine's own
//! network.
//!
//! At the other end of a place's cable is its border: a namespace in which the addresses of the *other* places are local. What the place
//! sends to another one arrives there, and the process of [`super::wire`] carries it on from the border of the other. So every place has
//! one address that is the same for all, no service is told about the detour, and a delay is possible in a kernel that has none.
//!
//! A cut is the kernel's: the cable's end at the border is taken down, and the place's address vanishes from the borders of the others.
//! Packets then disappear in both directions without an answer, as on a broken fibre; when the cable is mended, connections that nobody
//! has given up go on.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::plan::{Name, Place};
use crate::process::capture;

/// Where iproute2 keeps the names of namespaces.
const NAMES: &str = "/run/netns";
/// What the two ends of a cable are called.
const INSIDE: &str = "cable";
const BORDER: &str = "place";

/// Whether namespaces can be made here, and what to do where they cannot.
///
/// # Errors
/// Where they cannot.
pub fn are_possible() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab makes network namespaces, which only root may: run it as root, for example `sudo -E env PATH=\"$PATH\" cargo xtask lab …`"
    );
    let probe = format!("cairn-probe-{}", std::process::id());
    ip(&["netns", "add", &probe]).context(
        "this machine lets nobody make a network namespace; in a container it needs --privileged (or CAP_SYS_ADMIN and CAP_NET_ADMIN)",
    )?;
    let cable = ip(&["link", "add", INSIDE, "netns", &probe, "type", "veth", "peer", "name", BORDER, "netns", &probe]);
    ip(&["netns", "delete", &probe])?;
    cable.context("this kernel has no veth")?;
    capture(Command::new("unshare").args(["--user", "--ipc", "--map-user=1", "--map-group=1", "true"]))
        .context("PostgreSQL must not see root as its user, and user namespaces, by which it does not, are not to be had here")?;
    Ok(())
}

/// Makes the networks of all places and joins each to its border.
///
/// # Errors
/// Where one cannot be made. What was made by then is still there.
pub fn make(lab: &Name) -> anyhow::Result<()> {
    for place in Place::ALL {
        let (inside, border) = (lab.namespace(place), lab.border_namespace(place));
        ip(&["netns", "add", &inside])?;
        ip(&["netns", "add", &border])?;
        ip(&["link", "add", INSIDE, "netns", &inside, "type", "veth", "peer", "name", BORDER, "netns", &border])?;
        let (address, gateway) = (place.address().to_string(), place.border().to_string());
        let (hardware, hardware_border) = (place.hardware_address(false), place.hardware_address(true));
        let ends = [
            (&inside, INSIDE, &address, &hardware, &gateway, &hardware_border),
            (&border, BORDER, &gateway, &hardware_border, &address, &hardware),
        ];
        for (namespace, device, own, own_hardware, peer, peer_hardware) in ends {
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", device, "address", own_hardware, "up"])?;
            ip(&["-n", namespace, "address", "add", &format!("{own}/24"), "dev", device])?;
            ip(&["-n", namespace, "neighbour", "replace", peer, "lladdr", peer_hardware, "nud", "permanent", "dev", device])?;
            // What is not for a border's own addresses must vanish in it, whatever the machine does elsewhere.
            within(namespace, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "0"))?
                .with_context(|| format!("forwarding cannot be switched off in {namespace}"))?;
        }
        ip(&["-n", &inside, "route", "add", "default", "via", &gateway])?;
        for other in place.others() {
            let address = format!("{}/32", other.address());
            ip(&["-n", &border, "address", "add", &address, "dev", "lo"])?;
        }
    }
    Ok(())
}

/// Removes the networks of a lab, those that are there.
///
/// # Errors
/// Where one cannot be removed.
pub fn remove(lab: &Name) -> anyhow::Result<()> {
    for namespace in existing(lab) {
        let deleted = ip(&["netns", "delete", &namespace]);
        // Where somebody else has removed it meanwhile, it is removed.
        if path(&namespace).exists() {
            deleted?;
        }
    }
    Ok(())
}

/// The networks of a lab that are there.
pub fn existing(lab: &Name) -> Vec<String> {
    lab.namespaces().into_iter().filter(|namespace| path(namespace).exists()).collect()
}

/// The file by which a namespace is entered.
pub fn path(namespace: &str) -> PathBuf {
    Path::new(NAMES).join(namespace)
}

/// Cuts a place off from all others.
///
/// # Errors
/// Where the lab is not there.
pub fn cut(lab: &Name, place: Place) -> anyhow::Result<()> {
    // First the others: from then on nobody gets as far as the border's end.
    for other in place.others() {
        let border = lab.border_namespace(other);
        let address = format!("{}/32", place.address());
        if addresses(&border)?.contains(&format!("inet {address} ")) {
            ip(&["-n", &border, "address", "delete", &address, "dev", "lo"])?;
        }
    }
    ip(&["-n", &lab.border_namespace(place), "link", "set", BORDER, "down"])?;
    Ok(())
}

/// Mends a place's cable.
///
/// # Errors
/// Where the lab is not there.
pub fn mend(lab: &Name, place: Place) -> anyhow::Result<()> {
    let border = lab.border_namespace(place);
    ip(&["-n", &border, "link", "set", BORDER, "up"])?;
    // Taking the device down has dropped what was known of its neighbour.
    let (address, hardware) = (place.address().to_string(), place.hardware_address(false));
    ip(&["-n", &border, "neighbour", "replace", &address, "lladdr", &hardware, "nud", "permanent", "dev", BORDER])?;
    for other in place.others() {
        let address = format!("{}/32", place.address());
        ip(&["-n", &lab.border_namespace(other), "address", "replace", &address, "dev", "lo"])?;
    }
    Ok(())
}

/// Whether a place is cut off.
///
/// # Errors
/// Where the lab is not there.
pub fn is_cut(lab: &Name, place: Place) -> anyhow::Result<bool> {
    let link = ip(&["-n", &lab.border_namespace(place), "-brief", "link", "show", "dev", BORDER])?;
    let flags = link.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(flags, _)| flags);
    Ok(!flags.split(',').any(|flag| flag == "UP"))
}

/// The processes whose network this is, in no order. What runs there as a thread of a process elsewhere is not counted.
///
/// # Errors
/// Where the system does not list its processes.
pub fn processes(namespace: &str) -> anyhow::Result<Vec<i32>> {
    let Ok(wanted) = std::fs::metadata(path(namespace)) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("/proc cannot be read")? {
        let entry = entry.context("/proc cannot be read")?;
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that ends meanwhile is none.
        if let Ok(of_process) = std::fs::metadata(entry.path().join("ns").join("net"))
            && (of_process.dev(), of_process.ino()) == (wanted.dev(), wanted.ino())
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// Whether this process is inside the lab: then it must not be the one to end it.
pub fn are_we_inside(lab: &Name) -> bool {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    lab.namespaces().iter().any(|namespace| processes(namespace).is_ok_and(|found| found.contains(&own)))
}

/// Does something in a namespace: sockets made there belong to it for ever.
///
/// # Errors
/// Where the namespace cannot be entered.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let file = File::open(path(namespace)).with_context(|| format!("there is no namespace {namespace}"))?;
    // A thread is in one network at a time, so this one is used up.
    let result = std::thread::scope(|scope| {
        scope
            .spawn(move || -> io::Result<T> {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            })
            .join()
    });
    match result {
        Ok(result) => result.with_context(|| format!("{namespace} cannot be entered")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn addresses(namespace: &str) -> anyhow::Result<String> {
    ip(&["-n", namespace, "-oneline", "address", "show", "dev", "lo"])
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("ip");
    match capture(command.args(arguments)) {
        Ok(answer) => Ok(answer),
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {
            bail!("the lab needs the program ip (Debian: iproute2)")
        }
        Err(error) => Err(error),
    }
}
