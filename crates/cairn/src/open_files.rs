//! How many files and connections the process may have open.
//!
//! The limit that a shell or a service manager gives is often the "soft" one, made for programs that use select(2): the process may raise it to the
//! "hard" one by itself, and does. Where that is too low for the connections that are allowed, fewer are: connections that could still be
//! accepted must never take the descriptors that the zones need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open beside connections to S3: segments, logs and the key-value stores of three zones, administration, and room.
const OTHERS: u64 = 2048;
/// What is asked for where there is no limit: Linux's own default bound of one process (`fs.nr_open`).
const UNLIMITED: u64 = 1 << 20;

/// Raises the limit as far as it may be raised. Gives what it is then.
pub fn raise() -> u64 {
    let before = getrlimit(Resource::Nofile);
    let wanted = before.maximum.unwrap_or(UNLIMITED);
    if before.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: before.maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections there may be within this limit of open files, of so many that are wanted.
pub fn connections_within(limit: u64, wanted: usize) -> usize {
    let within = limit.saturating_sub(OTHERS).max(limit / 4).max(1);
    wanted.min(usize::try_from(within).unwrap_or(usize::MAX))
}

/// The same, with a word in the log where it is fewer.
pub fn allowed_connections(limit: u64, wanted: usize) -> usize {
    let allowed = connections_within(limit, wanted);
    if allowed < wanted {
        tracing::warn!(
            open_files_max = limit,
            connections_wanted = wanted,
            connections_max = allowed,
            "the limit of open files is too low for --max-connections: fewer connections are taken at once. Raise the hard limit to {} \
             (ulimit -Hn, or LimitNOFILE= in systemd's unit), or give a lower --max-connections",
            wanted as u64 + OTHERS
        );
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_zones() {
        assert_eq!(connections_within(1 << 20, 8192), 8192);
        assert_eq!(connections_within(10_240, 8192), 8192);
        assert_eq!(connections_within(10_239, 8192), 8191);
        assert_eq!(connections_within(1024, 8192), 256);
        assert_eq!(connections_within(0, 8192), 1);
        assert_eq!(connections_within(u64::MAX, 10), 10);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be() {
        let raised = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, Some(raised).filter(|raised| *raised < u64::MAX));
        assert!(limit.maximum.is_none_or(|maximum| raised == maximum), "{limit:?}");
    }
}
