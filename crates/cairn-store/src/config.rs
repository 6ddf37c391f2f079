//! The store's limits and pauses. Every limit is explicit; the defaults are for one machine.

use std::time::Duration;

use cairn_replica::collector::CollectorConfig;
use cairn_replica::compact::CompactionConfig;
use cairn_replica::condemned::CondemnedConfig;
use cairn_replica::repair::RepairConfig;
use cairn_replica::replicator::ReplicatorConfig;
use cairn_replica::scrub::ScrubConfig;
use cairn_replica::session::SessionConfig;
use cairn_replica::zones::ZonesConfig;

/// How a store works.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// This gateway's name in the list of sessions, for people.
    pub gateway: String,
    /// Whether no other process can write (L10): sessions that are found open at the start are then of dead processes, and closed at once. Of no account where the
    /// catalog is shared.
    pub sole_writer: bool,
    /// How long a request waits for a quorum of zones, for a session or for the catalog, before it is told to try again.
    pub patience: Duration,
    /// How long it waits while fewer than two zones are there at all: nothing can be stored, and whoever asks is told so soon.
    pub patience_without_quorum: Duration,
    /// How long a background worker, or a heartbeat, waits for one answer of the catalog.
    pub catalog_deadline: Duration,
    /// The first pause before something is tried again; doubled each time, up to [`StoreConfig::retry_pause_max`].
    pub retry_pause: Duration,
    /// The longest of these pauses.
    pub retry_pause_max: Duration,
    /// The silence after which a session is closed as dead (S2), catalog time. Longer than [`SessionConfig::silence_max`].
    pub session_silence_max: Duration,
    /// Memory, placement, hedging. Its grace and the chunks of a blob are cut to what the catalog's limits allow.
    pub replicator: ReplicatorConfig,
    /// Deadlines of zones.
    pub zones: ZonesConfig,
    /// Heartbeats and the replacing of sessions (S1).
    pub session: SessionConfig,
    /// Repair (B4).
    pub repair: RepairConfig,
    /// Removing condemned blobs (B5).
    pub condemned: CondemnedConfig,
    /// Collecting orphans (S2).
    pub collector: CollectorConfig,
    /// Giving space back that live chunks stand in the way of.
    pub compaction: CompactionConfig,
    /// Scrubbing (B1).
    pub scrub: ScrubConfig,
    /// Taking abandoned parts apart.
    pub reaper: ReaperConfig,
    /// What is kept of access keys and buckets (R3).
    pub settings: SettingsConfig,
    /// Parts of a completed upload in one question to the catalog while it is read.
    pub manifest_page: u32,
}

/// How abandoned parts are taken apart ([`cairn_catalog::Catalog::reap`]).
#[derive(Debug, Clone)]
pub struct ReaperConfig {
    /// Parts in one commit.
    pub parts_max: u32,
    /// The pause when there is nothing to do.
    pub idle_pause: Duration,
}

/// How long, and how much, is kept of what every request needs to know (R3).
#[derive(Debug, Clone)]
pub struct SettingsConfig {
    /// Past this age of the last confirmation by the catalog nothing is answered from memory (R3: one second).
    pub confirmed_for_max: Duration,
    /// Past this age one of the requests asks the catalog, while others are still answered from memory.
    pub refresh_after: Duration,
    /// Access keys in memory.
    pub access_keys_max: usize,
    /// Buckets in memory.
    pub buckets_max: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            gateway: "gateway".to_owned(),
            sole_writer: true,
            patience: Duration::from_secs(30),
            patience_without_quorum: Duration::from_secs(5),
            catalog_deadline: Duration::from_secs(10),
            retry_pause: Duration::from_millis(10),
            retry_pause_max: Duration::from_millis(500),
            session_silence_max: Duration::from_secs(30),
            replicator: ReplicatorConfig::default(),
            zones: ZonesConfig::default(),
            session: SessionConfig::default(),
            repair: RepairConfig::default(),
            condemned: CondemnedConfig::default(),
            collector: CollectorConfig::default(),
            compaction: CompactionConfig::default(),
            scrub: ScrubConfig::default(),
            reaper: ReaperConfig::default(),
            settings: SettingsConfig::default(),
            manifest_page: 16,
        }
    }
}

impl Default for ReaperConfig {
    fn default() -> Self {
        Self { parts_max: 256, idle_pause: Duration::from_secs(5) }
    }
}

impl Default for SettingsConfig {
    fn default() -> Self {
        Self {
            confirmed_for_max: Duration::from_secs(1),
            refresh_after: Duration::from_millis(500),
            access_keys_max: 16_384,
            buckets_max: 16_384,
        }
    }
}
