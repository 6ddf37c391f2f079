//! Who connections come from, and how many each has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Whoever is counted as one: an address, or the 64 bits of an IPv6 network, of which a host has all the addresses it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source(IpAddr);

impl Source {
    /// The source of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }

    /// All that are not told apart.
    #[must_use]
    pub fn others() -> Self {
        Self(Ipv6Addr::UNSPECIFIED.into())
    }
}

/// How many connections each source has.
#[derive(Debug)]
pub struct Sources {
    each_max: usize,
    counts: Mutex<BTreeMap<Source, usize>>,
}

/// One of them. It is given back when dropped.
#[derive(Debug)]
pub struct HeldConnection {
    sources: Arc<Sources>,
    source: Source,
}

impl Sources {
    /// So many for each.
    #[must_use]
    pub fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Self { each_max, counts: Mutex::default() })
    }

    /// Counts one more of this address, unless it has as many as it may.
    #[must_use]
    pub fn hold(self: &Arc<Self>, address: IpAddr) -> Option<HeldConnection> {
        let source = Source::of(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(source).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(HeldConnection { sources: self.clone(), source })
    }
}

impl Drop for HeldConnection {
    fn drop(&mut self) {
        let mut counts = self.sources.counts.lock();
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_connections_and_gives_them_back() {
        let sources = Sources::new(3);
        let address = "192.0.2.1".parse().unwrap();
        let mut held: Vec<_> = (0..3).map(|_| sources.hold(address).unwrap()).collect();
        assert!(sources.hold(address).is_none());
        assert!(sources.hold("192.0.2.2".parse().unwrap()).is_some());
        held.pop();
        held.push(sources.hold(address).unwrap());
        assert!(sources.hold(address).is_none());
        held.clear();
        assert!(sources.counts.lock().is_empty());
    }

    #[test]
    fn who_has_many_addresses_is_one_source() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}
