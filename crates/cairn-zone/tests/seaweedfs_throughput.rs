//! How fast the engine on SeaweedFS writes, for decisions and for docs; run by hand:
//! `CAIRN_WEED=… cargo test --release -p cairn-zone --test seaweedfs_throughput -- --ignored --nocapture`.

#[path = "seaweedfs/zones.rs"]
mod weed_zones;

use std::time::Duration;

use cairn_testkit::weed::{Plan, Weed};
use cairn_testkit::zone_conformance::{Subject as _, WRITER, chunk_id, payload};
use cairn_zone::seaweedfs::{Cluster, IndexSync, Settings};
use futures::future::join_all;
use weed_zones::Tried;

const SPAN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn writes_a_second() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan::default());
    for length in [4_096, 1 << 20] {
        for writers in [1, 16, 64] {
            for volumes_in_use in [1, 3, 7] {
                for index_sync in [IndexSync::Within(Duration::from_secs(1)), IndexSync::BeforeConfirming] {
                    let settings = Settings { index_sync, volumes_in_use, volume_growth_count: 7, ..Settings::default() };
                    let tried = Tried::new(Cluster::new(weed.masters()), settings).await;
                    let zone = tried.zone();
                    let bytes = payload(1, length);
                    // The first write makes the volumes.
                    zone.write(WRITER, chunk_id(0), vec![bytes.clone()]).await.expect("writing");
                    let begun = tokio::time::Instant::now();
                    let counts = join_all((0..writers).map(|_| {
                        let (zone, bytes) = (zone.clone(), bytes.clone());
                        tokio::spawn(async move {
                            let mut count = 0_u32;
                            while begun.elapsed() < SPAN {
                                zone.write(WRITER, chunk_id(0), vec![bytes.clone()]).await.expect("writing");
                                count += 1;
                            }
                            count
                        })
                    }))
                    .await;
                    let count: u32 = counts.into_iter().map(|count| count.expect("a writer")).sum();
                    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
                    println!(
                        "{length:>8} bytes, {writers:>2} writers, {volumes_in_use} volumes, index {index_sync:?}: {rate:>8.0} writes/s"
                    );
                }
            }
        }
    }
}
