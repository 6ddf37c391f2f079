//! The store's limits and pauses as the simulation has them: everything small and soon, so that minutes pass in milliseconds and every
//! boundary is met often.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn::embedded::{EngineSettings, Supervision};
use cairn_catalog::Limits;
use cairn_catalog::embedded::log::applier::ApplierSettings;
use cairn_catalog::embedded::log::keeper::KeeperSettings;
use cairn_catalog::embedded::log::replicated::{Settings, ZonePlace};
use cairn_catalog::embedded::log::sequencer::SequencerSettings;
use cairn_catalog::embedded::log::zone_log::LogSettings;
use cairn_catalog::embedded::machine::ReadSettings;
use cairn_store::StoreConfig;
use cairn_testkit::sim_engine::SimEngine;

use crate::workload::INLINE_MAX;

pub const ZONES: [&str; 3] = ["geneva", "gland", "lucerne"];

/// Where a zone is.
pub fn path(zone: usize) -> PathBuf {
    PathBuf::from("/data").join(ZONES[zone])
}

pub fn places() -> [ZonePlace; 3] {
    [0, 1, 2].map(|zone| ZonePlace { name: ZONES[zone].parse().unwrap(), path: path(zone) })
}

pub fn engines(key_value: SimEngine) -> EngineSettings {
    EngineSettings {
        key_value: Arc::new(key_value),
        log: Settings {
            log: LogSettings { file_bytes: 64 << 10, spare_files: 1, nonce_seed: 0 },
            sequencer: SequencerSettings {
                batch_bytes: 32 << 10,
                recent_bytes_max: 32 << 10,
                lag_bytes_max: 256 << 10,
                away_bytes_max: 160 << 10,
                hang_after: Duration::from_millis(1500),
                idle_mark_after: Duration::from_millis(200),
                ..SequencerSettings::default()
            },
            applier: ApplierSettings { gather: Duration::from_millis(50), checkpoint_bytes: 96 << 10, apply_bytes: 32 << 10 },
            keeper: KeeperSettings {
                retry_min: Duration::from_millis(20),
                retry_max: Duration::from_millis(500),
                source_timeout: Duration::from_secs(1),
                look_every: Duration::from_millis(500),
                copy_bytes: 16 << 10,
                copy_rows: 50,
                look_timeout: Duration::from_secs(5),
                empty_grace: Duration::from_millis(200),
            },
            queue_length: None,
        },
        limits: Limits {
            inline_length_max: INLINE_MAX,
            garbage_grace: GARBAGE_GRACE,
            completion_memory: Duration::from_secs(40),
            ..Limits::default()
        },
        wait_max: Duration::from_secs(5),
        reads: ReadSettings::default(),
        segments: cairn_zone::embedded::Settings {
            segment_bytes: 128 << 10,
            chunk_bytes_max: 16 << 10,
            batch_bytes_max: 128 << 10,
            queue_bytes_max: 1 << 20,
            reserve_bytes: 128 << 10,
            keep_free_bytes: 32 << 10,
            open_files_max: 4,
            enumerate_count_max: 100,
            ..cairn_zone::embedded::Settings::default()
        },
        supervision: Supervision { look_every: Duration::from_millis(500), retry_after: Duration::from_millis(500) },
    }
}

const GARBAGE_GRACE: Duration = Duration::from_secs(15);

pub fn store() -> StoreConfig {
    let mut config = StoreConfig {
        patience: Duration::from_secs(5),
        catalog_deadline: Duration::from_secs(4),
        session_silence_max: Duration::from_secs(8),
        manifest_page: 2,
        ..StoreConfig::default()
    };
    config.session.heartbeat_interval = Duration::from_secs(1);
    config.session.silence_max = Duration::from_secs(5);
    config.session.replace_after = Duration::from_secs(20);
    config.session.linger_max = Duration::from_secs(15);
    config.zones.write_deadline = Duration::from_secs(6);
    config.zones.read_deadline = Duration::from_secs(3);
    config.zones.batch_deadline = Duration::from_secs(6);
    config.zones.gate.probe_after_max = Duration::from_secs(2);
    config.replicator.placement.deadline = Duration::from_secs(6);
    config.repair.settle = Duration::from_secs(1);
    config.repair.idle_pause = Duration::from_secs(1);
    config.condemned.idle_pause = Duration::from_secs(2);
    config.collector.page = 50;
    config.collector.look_pause = Duration::from_secs(3);
    config.collector.late_after = Duration::from_secs(9);
    config.collector.whole_after = Duration::from_secs(60);
    config.compaction.idle_pause = Duration::from_secs(2);
    config.compaction.linger = Duration::from_secs(3);
    config.compaction.moves_max = 4;
    config.compaction.page = 8;
    config.scrub.pause = Duration::from_secs(15);
    config.scrub.page = 16;
    config.reaper.idle_pause = Duration::from_secs(2);
    config
}
