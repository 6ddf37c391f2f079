//! What people and disks do to zones' directories, each with what is said, what is kept, and what comes next.
//!
//! After every drill all that was acknowledged is read, byte for byte, and stands in three zones again.

mod adopted;
mod scene;
mod two_gone;

use cairn_testkit::s3_client::{S3Request, path};
use rustix::process::{Signal, kill_process};
use scene::{Scene, contents, copy, flip, flip_one_bit, replace, zone};

use crate::connection::Connection;
use crate::service::{Home, Service, remove};

const LENGTHS: [usize; 3] = [100, 100_000, 8_500_000];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_emptied_while_it_serves() {
    let (mut scene, service) = Scene::new("emptied-running").await;
    let gland = zone("gland");
    remove(&scene.home.zone(gland));
    // At once: nobody waits for a decision.
    scene.write(&service, "meanwhile", &LENGTHS).await;
    scene.read(&service).await;
    scene.lives[gland] = 2;
    scene.until_logged("the zone has lost its memory and is rebuilt from the others zone=gland").await;
    scene.until_status("gland    voting  incarnation 2").await;
    scene.whole_in_three(service, gland).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_emptied_while_nothing_runs() {
    let (mut scene, service) = Scene::new("emptied-stopped").await;
    let gland = zone("gland");
    service.stop().await;
    remove(&scene.home.zone(gland));
    let service = Service::start(&scene.home).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    scene.lives[gland] = 2;
    scene.until_logged("reason=its directory is empty").await;
    scene.until_status("gland    voting  incarnation 2").await;
    scene.whole_in_three(service, gland).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_restored_from_an_older_backup() {
    let (mut scene, service) = Scene::new("restored").await;
    let lucerne = zone("lucerne");
    service.stop().await;
    let backup = scene.home.beside("backup");
    copy(&scene.home.zone(lucerne), &backup);
    let service = Service::start(&scene.home).await;
    scene.write(&service, "later", &LENGTHS).await;
    service.until_whole(scene.lives).await;
    service.stop().await;
    replace(&scene.home.zone(lucerne), &backup);
    let service = Service::start(&scene.home).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    scene.lives[lucerne] = 2;
    scene.until_logged("an old copy?").await;
    scene.until_status("lucerne  voting  incarnation 2").await;
    scene.whole_in_three(service, lucerne).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_zones_are_swapped() {
    let (mut scene, service) = Scene::new("swapped").await;
    service.stop().await;
    let (geneva, gland) = (scene.home.zone(zone("geneva")), scene.home.zone(zone("gland")));
    let aside = scene.home.beside("aside");
    let swap = || {
        std::fs::rename(&geneva, &aside).unwrap();
        std::fs::rename(&gland, &geneva).unwrap();
        std::fs::rename(&aside, &gland).unwrap();
    };
    swap();
    let before = contents(&scene.home.data());
    let said = Service::try_start(&scene.home).await.err().unwrap();
    for words in [
        "The store needs two zones that can vote, and 1 can. Nothing was changed.",
        "geneva: refused: it holds the zone gland, not geneva: were directories swapped? Put it back in its place.",
        "gland: refused: it holds the zone geneva, not gland: were directories swapped? Put it back in its place.",
        "lucerne: has a log up to batch ",
    ] {
        assert!(said.contains(words), "{words:?} is missing in:\n{said}");
    }
    assert!(contents(&scene.home.data()) == before, "a refused start has changed something");
    swap();
    let service = Service::start(&scene.home).await;
    scene.write(&service, "later", &LENGTHS).await;
    scene.whole_in_three(service, zone("gland")).await;
}

/// What lies at a zone's place and is not its own is left alone, and the other two serve. Once it is taken away the zone begins anew.
async fn is_left_alone(mut scene: Scene, place: usize, words: &str) {
    let before = contents(&scene.home.zone(place));
    let service = Service::start(&scene.home).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    scene.read(&service).await;
    let status = scene.until_status("left alone").await;
    assert!(status.contains(words), "{words:?} is missing in:\n{status}");
    assert!(status.contains("Writes are taken."), "{status}");
    assert!(status.contains("less than three copies now"), "{status}");
    assert!(contents(&scene.home.zone(place)) == before, "what is not this zone's was changed");
    remove(&scene.home.zone(place));
    scene.lives[place] = 2;
    scene.whole_in_three(service, place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_replaced_by_a_copy_of_another() {
    let (scene, service) = Scene::new("copied").await;
    service.stop().await;
    let gland = scene.home.zone(zone("gland"));
    remove(&gland);
    copy(&scene.home.zone(zone("lucerne")), &gland);
    is_left_alone(scene, zone("gland"), "it holds the zone lucerne, not gland: were directories swapped?").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_of_another_store_lies_in_its_place() {
    let (scene, service) = Scene::new("stranger").await;
    service.stop().await;
    let other = Home::new("stranger-other");
    Service::start(&other).await.stop().await;
    replace(&scene.home.zone(zone("gland")), &other.zone(zone("gland")));
    is_left_alone(scene, zone("gland"), "it belongs to another store, ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_flips_in_the_middle_of_a_log() {
    let (mut scene, service) = Scene::new("rotten-log").await;
    let geneva = zone("geneva");
    // Killed: a log that has been applied and is not needed again must be as good.
    service.kill();
    flip_one_bit(&scene.home.zone(geneva).join("log-0"));
    let service = Service::start(&scene.home).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    scene.until_logged("the zone's catalog is rebuilt from the others zone=geneva").await;
    // Its chunks are not what was damaged: it keeps its life.
    scene.until_status("geneva   voting  incarnation 1").await;
    scene.whole_in_three(service, geneva).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bits_flip_in_the_middle_of_segments() {
    let (mut scene, service) = Scene::new("rotten-segment").await;
    service.stop().await;
    let geneva = zone("geneva");
    assert!(flip(&scene.home.zone(geneva).join("segments"), 16 << 10) > 100);
    let service = Service::start(&scene.home).await;
    // No client sees anything of it.
    scene.read(&service).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    // All four chunks that were there are found, whether they are read by clients or by the scrub, and replaced.
    let status = scene.until_status(", 4 replaced.").await;
    assert!(status.contains("geneva   voting  incarnation 1"), "{status}");
    scene.whole_in_three(service, geneva).await;
}

/// L2, L3: a batch that only one zone has made durable when everything stops, and this zone is away when the others go on without it. When
/// it comes back, its batch is cut: there are not two histories.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_one_zone_only_comes_back_after_others() {
    let (mut scene, service) = Scene::new("one-zone-only").await;
    let (geneva, others) = (zone("geneva"), [zone("gland"), zone("lucerne")]);
    // Nothing moves while the other two are taken away, so that what follows reaches geneva alone.
    kill_process(service.process(), Signal::STOP).unwrap();
    for other in others {
        copy(&scene.home.zone(other), &scene.home.beside(&format!("copy-{other}")));
        remove(&scene.home.zone(other));
        // Nor can they be made anew.
        std::fs::write(scene.home.zone(other), "in the way").unwrap();
    }
    let synced = newest_log_bytes(&scene.home, geneva);
    kill_process(service.process(), Signal::CONT).unwrap();
    let put = |key: &str, body: &str| S3Request::new("PUT", path("drill", key)).body(body);
    let root = service.root.clone();
    let ghost = tokio::spawn(async move { Connection::new(root).send(&put("ghost", "of one zone only")).await });
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while newest_log_bytes(&scene.home, geneva) == synced {
        assert!(tokio::time::Instant::now() < end, "geneva never got the batch");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!ghost.is_finished() || ghost.await.unwrap().unwrap().status >= 500, "acknowledged by one zone");
    service.kill();

    // The others go on, without geneva.
    let away = scene.home.beside("away");
    std::fs::rename(scene.home.zone(geneva), &away).unwrap();
    std::fs::write(scene.home.zone(geneva), "not mounted").unwrap();
    for other in others {
        std::fs::remove_file(scene.home.zone(other)).unwrap();
        std::fs::rename(scene.home.beside(&format!("copy-{other}")), scene.home.zone(other)).unwrap();
    }
    let service = Service::start(&scene.home).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    scene.read(&service).await;

    // And back.
    std::fs::remove_file(scene.home.zone(geneva)).unwrap();
    std::fs::rename(&away, scene.home.zone(geneva)).unwrap();
    scene.write(&service, "later", &LENGTHS).await;
    scene.until_status("geneva   voting  incarnation 1").await;
    let ghost = Connection::new(service.root.clone()).send(&S3Request::new("GET", path("drill", "ghost"))).await.unwrap();
    assert_eq!(ghost.status, 404, "a batch that was never acknowledged has come back over a history without it");
    scene.whole_in_three(service, geneva).await;
}

/// The bytes of a zone's log.
fn newest_log_bytes(home: &Home, zone: usize) -> Vec<Option<[u8; 16]>> {
    contents(&home.zone(zone).join("log-0")).into_values().collect()
}
