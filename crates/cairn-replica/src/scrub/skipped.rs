//! What a walk has skipped because a zone did not answer, and when to look at it again. Pure.
//!
//! For each zone one stretch of blobs, from the first that was skipped to the last: bounded however much is skipped, at the price that blobs
//! between the two are read once more. A zone that answers and then does not is tried again after pauses that double.

use std::time::Duration;

use cairn_types::ids::ZONE_COUNT;
use cairn_types::{BlobId, ZoneIndex};

use crate::catalog_port::ZoneSet;

/// The first pause before a stretch is walked that could not be walked to its end.
const PAUSE_MIN: Duration = Duration::from_secs(60);

/// Blobs after one, up to and with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The blob before the first; `None` from the beginning.
    pub(super) after: Option<BlobId>,
    /// The last.
    pub(super) last: BlobId,
}

impl Stretch {
    fn with(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self { after: self.after.min(other.after), last: self.last.max(other.last) })
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct OfZone {
    /// To be walked.
    stretch: Option<Stretch>,
    /// Skipped since the walk over `stretch` began.
    again: Option<Stretch>,
    /// Not walked before.
    not_before: Duration,
    /// The last pause.
    pause: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    zones: [OfZone; ZONE_COUNT],
}

impl Skipped {
    /// A copy in a blob was skipped; `before` is the blob before it.
    pub(super) fn skip(&mut self, zone: ZoneIndex, before: Option<BlobId>, blob: BlobId) {
        if let Some(of_zone) = self.zones.get_mut(zone.get()) {
            of_zone.again = Some(Stretch { after: before, last: blob }.with(of_zone.again));
        }
    }

    /// Whether something was skipped since the zone's stretch was given out.
    pub(super) fn is_skipped_again(&self, zone: ZoneIndex) -> bool {
        self.zones.get(zone.get()).is_some_and(|of_zone| of_zone.again.is_some())
    }

    /// What to walk now, of zones that answer.
    pub(super) fn due(&mut self, answering: ZoneSet, now: Duration) -> Option<(ZoneIndex, Stretch)> {
        answering.iter().find_map(|zone| {
            let of_zone = self.zones.get_mut(zone.get())?;
            if now < of_zone.not_before {
                return None;
            }
            if let Some(again) = of_zone.again.take() {
                of_zone.stretch = Some(again.with(of_zone.stretch));
            }
            of_zone.stretch.map(|stretch| (zone, stretch))
        })
    }

    /// A part of what was due was walked, and this is left of it.
    pub(super) fn walked(&mut self, zone: ZoneIndex, rest: Option<Stretch>, now: Duration, pause_max: Duration) {
        let Some(of_zone) = self.zones.get_mut(zone.get()) else { return };
        of_zone.stretch = rest;
        if let Some(again) = of_zone.again.take() {
            // It does not answer after all: what is left waits with the rest.
            of_zone.stretch = Some(again.with(rest));
            of_zone.pause = (of_zone.pause * 2).clamp(PAUSE_MIN.min(pause_max), pause_max);
            of_zone.not_before = now + of_zone.pause;
        } else if rest.is_none() {
            of_zone.pause = Duration::ZERO;
        }
    }
}
