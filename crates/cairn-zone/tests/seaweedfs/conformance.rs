//! The engine on SeaweedFS against real `weed` processes: the conformance suite, the same as every engine's.

use cairn_testkit::weed::{Plan, Weed};
use cairn_testkit::zone_conformance::{self, Subject};
use cairn_zone::seaweedfs::Cluster;
use futures::FutureExt;

use crate::zones::{Tried, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn conforms() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan::default());
    let cluster = Cluster::new(weed.masters());
    zone_conformance::run_all(&move || {
        let cluster = cluster.clone();
        async move { Box::new(Tried::new(cluster, settings()).await) as Box<dyn Subject> }.boxed()
    })
    .await;
}
