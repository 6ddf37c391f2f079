//! Ports for programs that tests start, which nobody else takes before they listen there, nor while they are killed and started again.
//!
//! A port that was found free by binding to port 0 is one that the kernel gives to outgoing connections as well, and to the next who asks. These are outside of
//! that range, and each is held by a locked file until this process ends, so that test programs that run at one time never have the same.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// Where ports are looked for if connections have none of these.
const WANTED: Range<u16> = 12_000..32_000;
/// What Linux gives to connections unless it is told otherwise.
const CONNECTIONS_USUALLY: Range<u16> = 32_768..61_000;
/// So many ports are enough for all that runs at one time.
const ENOUGH: usize = 1_000;

/// The files of ports that were given out; each is locked until the process ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on the loopback that nobody listens on, and that nobody else is given by this function, nor by the kernel, until this process ends.
///
/// # Panics
/// Where there is none, or no lock can be taken.
#[must_use]
pub fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = outside_of(connections());
    let count = u32::from(range.end - range.start);
    // Processes begin elsewhere, so that few of them meet.
    let begin = std::process::id().wrapping_mul(331);
    for _ in 0..count {
        let next = begin.wrapping_add(NEXT.fetch_add(1, Ordering::SeqCst)) % count;
        let port = range.start + u16::try_from(next).unwrap_or(0);
        if let Some(file) = hold(port)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            HELD.lock().push(file);
            return port;
        }
    }
    panic!("no port of {range:?} is free");
}

/// Locks a port's file, unless somebody else has done so.
fn hold(port: u16) -> Option<File> {
    let path = directory().join(port.to_string());
    // One of another user cannot be opened: the port is theirs.
    let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

fn directory() -> PathBuf {
    let directory = std::env::temp_dir().join("cairn-test-ports");
    std::fs::create_dir_all(&directory).expect("a directory for locks");
    directory
}

/// The ports that the kernel gives to connections, by `net.ipv4.ip_local_port_range`.
fn connections() -> Range<u16> {
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = said.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first <= last => first..last.saturating_add(1),
        _ => CONNECTIONS_USUALLY,
    }
}

/// The wanted ports that connections do not have, else the larger rest above the privileged ones.
fn outside_of(connections: Range<u16>) -> Range<u16> {
    let below = |from: u16, to: u16| from..connections.start.clamp(from, to);
    let wanted = below(WANTED.start, WANTED.end);
    if wanted.len() >= ENOUGH {
        return wanted;
    }
    let (low, high) = (below(1_024, u16::MAX), connections.end..u16::MAX);
    let rest = if low.len() > high.len() { low } else { high };
    // Where connections have them all, there is no better than what is free now.
    if rest.len() >= ENOUGH { rest } else { WANTED }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_one_of_connections() {
        assert_eq!(outside_of(32_768..61_000), 12_000..32_000);
        assert_eq!(outside_of(15_000..65_000), 12_000..15_000);
        assert_eq!(outside_of(10_000..60_000), 1_024..10_000);
        assert_eq!(outside_of(1_100..50_000), 50_000..65_535);
        assert_eq!(outside_of(1_024..65_535), WANTED);
    }

    #[test]
    fn no_port_is_given_twice_and_none_that_is_listened_on() {
        let given: Vec<u16> = (0..50).map(|_| port()).collect();
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
        let taken = connections();
        for port in &given {
            assert!(!taken.contains(port), "{port} is one of {taken:?}");
            // As another process would be refused: its file is one of its own.
            assert!(hold(*port).is_none(), "{port} is held");
            TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).expect("nobody listens there");
        }
    }
}
