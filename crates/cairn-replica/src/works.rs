//! Background work that several gateways share: one of them does each piece of it at a time.
//!
//! A lease spares double work and guards nothing: what keeps data is judged in each commit (B4, B5, S2), so a gateway that was stopped and goes on with what it had in hand, beside its successor, does no
//! harm. So it is asked for now and then, not before each step, and where this gateway has it already, nothing is written.
//!
//! It stands under the gateway's session and lives as long as that. When the session is replaced, the lease goes over to the new one: whoever has walked half the way goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_types::{SessionId, ZoneIndex};
use parking_lot::Mutex;

use crate::catalog_port::PortResult;
use crate::replicator::Replicator;

/// How often a lease is asked for, be it held or not.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// For so long whoever is far from a zone leaves its work to gateways that are near, so that bytes cross between datacentres once.
const NEAR_FIRST: Duration = Duration::from_secs(30);

/// A piece of work. What is done within a zone is shared out by zones, so that it is done by a gateway that is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Filling up incomplete blobs, and walking over all of them for a zone that has lost its memory. Not the damage that this gateway has met itself.
    Repair,
    /// Sweeping for orphans.
    Collect,
    /// Reading everything.
    Scrub,
    /// Deleting what condemned blobs have in a zone.
    Condemned(ZoneIndex),
    /// Giving space back in a zone.
    Compact(ZoneIndex),
}

impl Work {
    /// What its lease is called.
    #[must_use]
    pub fn lease(self) -> String {
        match self {
            Self::Repair => "repair".to_owned(),
            Self::Collect => "collect".to_owned(),
            Self::Scrub => "scrub".to_owned(),
            Self::Condemned(zone) => format!("condemned {zone}"),
            Self::Compact(zone) => format!("compact {zone}"),
        }
    }

    fn zone(self) -> Option<ZoneIndex> {
        match self {
            Self::Condemned(zone) | Self::Compact(zone) => Some(zone),
            Self::Repair | Self::Collect | Self::Scrub => None,
        }
    }
}

/// What was said of a lease last.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Duration,
    /// When it was wanted first, by one who is far.
    since: Duration,
    session: Option<SessionId>,
    is_ours: bool,
}

/// Leases, as they were when they were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Works(Mutex<BTreeMap<Work, Asked>>);

impl Replicator {
    /// Whether this gateway does this piece of work now, for all.
    pub async fn does(&self, work: Work) -> PortResult<bool> {
        if !self.catalog.is_shared() {
            return Ok(true);
        }
        let session = self.session().filter(|session| session.is_open()).map(|session| session.id());
        let now = self.zones.now();
        let before = self.works.0.lock().get(&work).copied();
        if let Some(asked) = before.filter(|asked| asked.session == session && now.saturating_sub(asked.at) < ASK_EVERY) {
            return Ok(asked.is_ours);
        }
        let since = before.map_or(now, |asked| asked.since);
        // The session before this one gives way, where it is still open; else it is silent, or closed, and somebody else may be first.
        let replaced = before.filter(|asked| asked.is_ours && asked.session != session);
        if let Some(Asked { session: Some(old), .. }) = replaced {
            self.catalog.leave_work(work.lease(), old).await?;
        }
        let is_home = work.zone().is_none_or(|zone| self.config.preference.first() == Some(&zone));
        // Those who are near come first: at a start, and whenever one who is far has to give way.
        let since = if replaced.is_some() && !is_home { now } else { since };
        let is_ours = match session {
            Some(session) if is_home || now.saturating_sub(since) >= NEAR_FIRST => {
                self.catalog.take_work(work.lease(), session).await?
            }
            _ => false,
        };
        if before.is_some_and(|asked| asked.is_ours) != is_ours {
            tracing::info!(lease = work.lease(), is_ours, "background work has changed hands");
        }
        self.works.0.lock().insert(work, Asked { at: now, since, session, is_ours });
        Ok(is_ours)
    }
}
