//! A zone's directory that was a mount point and is none any more: left alone, until a person lets it in.

use std::path::Path;
use std::process::Output;

use super::LENGTHS;
use super::scene::{Scene, contents, copy, replace, zone};
use crate::service::{Home, Service, ZONES, remove};

/// Writes into a zone's identity that these zones were mount points. (A test cannot mount.)
fn note_mounts(directory: &Path, mounted: &[usize]) {
    let path = directory.join("identity");
    let text = std::fs::read_to_string(&path).unwrap();
    let (body, _) = text.rsplit_once("\ncrc32c ").unwrap();
    let mut identity: serde_json::Value = serde_json::from_str(body).unwrap();
    for zone in mounted {
        identity["mount_points"][*zone] = true.into();
    }
    let body = serde_json::to_string_pretty(&identity).unwrap();
    std::fs::write(&path, format!("{body}\ncrc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))).unwrap();
}

fn note_everywhere(home: &Home, mounted: &[usize]) {
    (0..3).map(|zone| home.zone(zone)).filter(|zone| zone.join("identity").exists()).for_each(|zone| note_mounts(&zone, mounted));
}

fn adopt(home: &Home, line: &str) -> Output {
    home.run_admin(&format!("zone adopt-directory {line}"))
}

/// Refused in these words, and nothing is changed.
fn is_refused(home: &Home, line: &str, words: &str) {
    let before = contents(&home.data());
    let Output { status, stdout, stderr } = adopt(home, line);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{line}: {said}");
    assert!(said.contains(words) && said.contains("Nothing was changed."), "{line}: {words:?} is missing in:\n{said}");
    assert!(contents(&home.data()) == before, "{line}: refused, and something was changed");
}

/// Said first, and only said; then done.
fn is_done(home: &Home, line: &str, words: &str) {
    let before = contents(&home.data());
    let said = home.admin(&format!("zone adopt-directory {line}"));
    assert!(said.contains(words) && said.contains("Nothing was changed. To do it"), "{said}");
    assert!(contents(&home.data()) == before, "what was only to be said was done");
    let said = home.admin(&format!("zone adopt-directory {line} --confirm"));
    assert!(said.contains(words) && said.contains("Done: it is not asked for its mount any more."), "{said}");
    let after = contents(&home.data());
    let differs = |path: &&std::path::PathBuf| before.get(*path) != after.get(*path);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(differs).collect();
    assert!(changed.iter().all(|path| path.ends_with("identity")), "more than identities was changed: {changed:?}");
}

const OFF_ITS_MOUNT: &str =
    "its file system is not mounted: the directory was a mount point and now lies on its parent's file system";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_left_its_mount_is_let_in_again() {
    let (mut scene, service) = Scene::new("adopted").await;
    service.stop().await;
    let gland = zone("gland");
    is_refused(&scene.home, "gland", "was no mount point when it was last used");
    note_everywhere(&scene.home, &[gland]);
    let service = Service::start(&scene.home).await;
    scene.write(&service, "meanwhile", &LENGTHS).await;
    let status = scene.until_status("gland    left alone").await;
    assert!(status.contains(OFF_ITS_MOUNT), "{status}");
    is_refused_while_it_serves(&scene.home);
    service.stop().await;
    is_done(&scene.home, "gland", "which is all that the other zones know of. The zone goes on from there");
    let service = Service::start(&scene.home).await;
    scene.until_status("gland    voting  incarnation 1").await;
    scene.whole_in_three(service, gland).await;
}

fn is_refused_while_it_serves(home: &Home) {
    let said = adopt(home, "gland --confirm");
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("another process serves from"), "{said}");
}

/// A store that was moved as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_left_its_mounts_is_let_in_again() {
    let (mut scene, service) = Scene::new("adopted-all").await;
    service.stop().await;
    note_everywhere(&scene.home, &[0, 1, 2]);
    let said = Service::try_start(&scene.home).await.err().unwrap();
    assert_eq!(said.matches(OFF_ITS_MOUNT).count(), 3, "{said}");
    is_refused(&scene.home, "geneva gland --confirm", &format!("lucerne: {OFF_ITS_MOUNT}"));
    is_done(&scene.home, "geneva gland lucerne", "geneva: ");
    let service = Service::start(&scene.home).await;
    scene.write(&service, "later", &LENGTHS).await;
    scene.whole_in_three(service, zone("lucerne")).await;
}

/// What must never be let in so: an older copy, another zone's directory, another store's, one that nobody can testify for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_zones_own_and_newest_directory_is_let_in() {
    let (mut scene, service) = Scene::new("adopted-hostile").await;
    let home = Home::new("adopted-stranger");
    Service::start(&home).await.stop().await;
    let (gland, lucerne) = (zone("gland"), zone("lucerne"));
    service.stop().await;
    let old = scene.home.beside("old");
    copy(&scene.home.zone(gland), &old);
    let older = scene.home.beside("older");
    copy(&scene.home.zone(lucerne), &older);
    let service = Service::start(&scene.home).await;
    scene.write(&service, "later", &LENGTHS).await;
    service.until_whole(scene.lives).await;
    service.stop().await;
    note_everywhere(&scene.home, &[gland]);
    let own = scene.home.beside("own");
    std::fs::rename(scene.home.zone(gland), &own).unwrap();
    let place = scene.home.zone(gland);
    let lay = |directory: &Path| {
        remove(&place);
        copy(directory, &place);
    };

    lay(&old);
    is_refused(&scene.home, "gland --confirm", "an old copy?");
    lay(&scene.home.zone(lucerne));
    is_refused(&scene.home, "gland --confirm", "it holds the zone lucerne, not gland");
    lay(&home.zone(gland));
    is_refused(&scene.home, "gland --confirm", "it belongs to another store");
    remove(&place);
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("photos"), "of the lake").unwrap();
    is_refused(&scene.home, "gland --confirm", "it holds \"photos\", which is not a zone's");
    // Two old copies agree with each other; the third zone, which knows better, is not asked.
    lay(&old);
    let away = scene.home.beside("away");
    std::fs::rename(scene.home.zone(zone("geneva")), &away).unwrap();
    let newest = scene.home.beside("newest");
    std::fs::rename(scene.home.zone(lucerne), &newest).unwrap();
    copy(&older, &scene.home.zone(lucerne));
    note_everywhere(&scene.home, &[gland]);
    is_refused(&scene.home, "gland --confirm", "geneva: its directory is empty");
    replace(&scene.home.zone(lucerne), &newest);
    // Nor is the zone's own let in while one of the others is away: nobody can tell.
    lay(&own);
    is_refused(&scene.home, "gland --confirm", "geneva: its directory is empty");
    std::fs::rename(&away, scene.home.zone(zone("geneva"))).unwrap();
    is_refused(&scene.home, "zurich", "The store has no zone zurich; its zones are geneva, gland, lucerne.");

    // Nothing at all is a zone without memory, said so, and rebuilt.
    remove(&place);
    is_done(&scene.home, "gland", "is empty. The zone begins a new life there, and is rebuilt from the other two.");
    assert!(!place.exists());
    let service = Service::start(&scene.home).await;
    scene.lives[gland] = 2;
    scene.until_status("gland    voting  incarnation 2").await;
    scene.whole_in_three(service, gland).await;
    assert_eq!(ZONES.len(), 3);
}
