//! The embedded engine against the conformance suite, on simulated and on real files.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::Environment;
use cairn_testkit::zone_conformance::{self, Subject};
use cairn_zone::embedded::Settings;
use common::{DIRECTORY, Machine, Reopenable, opening, small};
use futures::FutureExt;

#[tokio::test(start_paused = true)]
async fn conforms_on_simulated_files() {
    let seeds = Arc::new(AtomicU64::new(0));
    for delay in [Duration::ZERO, Duration::from_millis(3)] {
        let seeds = seeds.clone();
        let make = move || {
            let seed = seeds.fetch_add(1, Ordering::SeqCst);
            async move {
                let mut machine = Machine::new(seed);
                machine.disk.set_delay_max(delay);
                Box::new(Reopenable::new(move || machine.opening(small())).await) as Box<dyn Subject>
            }
            .boxed()
        };
        zone_conformance::run_all(&make).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_real_files() {
    zone_conformance::run_all(&|| {
        async move {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let environment = Environment::real();
            let make = move || opening(environment.clone(), &directory.path().join("segments"), small());
            Box::new(Reopenable::new(make).await) as Box<dyn Subject>
        }
        .boxed()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn fills_up_and_resumes() {
    for (capacity, keep_free_bytes) in [(3_000_000, 0), (2_000_000, 500_000), (700_000, 0)] {
        let mut machine = Machine::new(capacity);
        machine.disk.set_capacity(Path::new("/data"), Some(capacity));
        let settings = Settings { keep_free_bytes, ..small() };
        let zone = machine.open(settings).await;
        zone_conformance::full_then_resumes(&zone, 50_000, 100).await;
        zone.close().await;
        assert!(machine.files().iter().all(|(path, _)| path.starts_with(DIRECTORY)));
    }
}
