//! Not a test but a measurement on real files: `cargo test --release -p cairn-zone --test embedded_throughput -- --ignored --nocapture`.
//! The directory is that of temporary files; set `TMPDIR` to measure another disk.

mod common;

use std::sync::Arc;

use cairn_disk::Environment;
use cairn_testkit::zone_conformance::{WRITER, chunk_id, payload};
use cairn_zone::Zone;
use cairn_zone::embedded::Settings;
use common::{opening, ready};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn writes_a_second() {
    for (length, count) in [(64 * 1024 + 4, 1600), (8 * 1024 * 1024, 32)] {
        for prewritten in [false, true] {
            for writers in [1, 16] {
                let directory = tempfile::tempdir().expect("a temporary directory");
                let settings = Settings {
                    reserve_bytes: if prewritten { 256 << 20 } else { 0 },
                    // The usual rate: the refill goes on beside the measurement, as it does in life.
                    ..Settings::default()
                };
                let (zone, _) = ready(opening(Environment::real(), &directory.path().join("segments"), settings)).await;
                let zone = Arc::new(zone);
                let bytes = payload(1, length);
                zone.write(WRITER, chunk_id(0), vec![bytes.clone()]).await.expect("the first write");
                if prewritten {
                    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                }
                let start = tokio::time::Instant::now();
                let each = count / writers;
                let tasks: Vec<_> = (0..writers)
                    .map(|writer| {
                        let (zone, bytes) = (zone.clone(), bytes.clone());
                        tokio::spawn(async move {
                            for number in 0..each {
                                zone.write(WRITER, chunk_id(writer * each + number), vec![bytes.clone()]).await.expect("a write");
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.expect("a writer");
                }
                let seconds = start.elapsed().as_secs_f64();
                #[allow(clippy::cast_precision_loss, reason = "for printing")]
                let rate = (each * writers) as f64 / seconds;
                #[allow(clippy::cast_precision_loss, reason = "for printing")]
                let mebibytes = rate * length as f64 / 1_048_576.0;
                println!(
                    "{length:>8} bytes, {writers:>2} writers, prewritten {prewritten:<5}: {rate:>7.0} writes/s, {mebibytes:>6.0} MiB/s"
                );
                zone.close().await;
            }
        }
    }
}
