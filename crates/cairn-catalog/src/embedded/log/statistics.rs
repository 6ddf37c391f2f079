//! What the log has done and how far each zone is, for monitoring: nothing here decides anything.

use std::time::Duration;

use cairn_metrics::{Counter, Gauge, Histogram};
use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;

/// Bounds for the number of commands in a batch.
const COMMAND_BOUNDS: &[u64] = &[0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Bounds for the bytes of a batch.
const BYTE_BOUNDS: &[u64] = &[512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20];

/// See the module's documentation.
#[derive(Debug)]
pub struct Statistics {
    /// Commands whose outcome a batch carries.
    pub batch_commands: Histogram,
    /// Bytes of a batch in the log.
    pub batch_bytes: Histogram,
    /// Bytes that were appended to each zone's log.
    pub appended_bytes: Counter,
    /// The last batch that there is.
    pub last_batch: Gauge,
    /// Each zone.
    pub zones: [ZoneStatistics; ZONE_COUNT],
}

/// Of one zone.
#[derive(Debug)]
pub struct ZoneStatistics {
    /// How long it took to make appended batches durable, microseconds.
    pub syncs: Histogram,
    /// The last batch that is durable in it, as far as is known.
    pub durable_batch: Gauge,
}

impl Statistics {
    /// Of a log that ends with this batch.
    pub(super) fn starting_at(last_batch: u64) -> Self {
        let statistics = Self {
            batch_commands: Histogram::new(COMMAND_BOUNDS),
            batch_bytes: Histogram::new(BYTE_BOUNDS),
            appended_bytes: Counter::new(),
            last_batch: Gauge::default(),
            zones: [(); ZONE_COUNT].map(|()| ZoneStatistics { syncs: Histogram::of_times(), durable_batch: Gauge::default() }),
        };
        statistics.last_batch.set(last_batch);
        statistics
    }

    /// How many batches a zone lacks.
    #[must_use]
    pub fn lag_batches(&self, zone: ZoneIndex) -> u64 {
        let durable = self.zones.get(zone.get()).map_or(0, |zone| zone.durable_batch.get());
        self.last_batch.get().saturating_sub(durable)
    }

    pub(super) fn synced(&self, zone: ZoneIndex, took: Duration) {
        if let Some(zone) = self.zones.get(zone.get()) {
            zone.syncs.observe_time(took);
        }
    }

    pub(super) fn durable(&self, zone: ZoneIndex, index: u64) {
        if let Some(zone) = self.zones.get(zone.get()) {
            zone.durable_batch.set(index);
        }
    }

    pub(super) fn batch(&self, index: u64, commands: usize, bytes: u64) {
        self.last_batch.set(index);
        self.batch_commands.observe(commands as u64);
        self.batch_bytes.observe(bytes);
        self.appended_bytes.add(bytes);
    }
}
