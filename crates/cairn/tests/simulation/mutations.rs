//! A build with one fsync left out fails: each kind of sync is made to do nothing, and some seed must notice. If none did, the simulation
//! would prove nothing about that sync.
//!
//! A kind is the syncs of one sort of file, or those that would make one sort of name in a directory durable, wherever in the code they are.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use cairn_testkit::sim_disk::IsIgnored;

use crate::world;

/// Seeds that are tried until one notices.
const SEEDS: u64 = 400;

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn parent_name(path: &Path) -> &str {
    path.parent().map(file_name).unwrap_or_default()
}

fn is_zone(path: &Path) -> bool {
    path.parent() == Some(Path::new("/data"))
}

fn is_noticed(what: &str, ignored: impl Fn(&Path, &[&str]) -> bool + Send + Sync + 'static) {
    let ignored: IsIgnored = Arc::new(ignored);
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| world::run(seed, Some(ignored.clone()))));
        let words = match outcome.map(|outcome| outcome.result) {
            Ok(Ok(())) => continue,
            Ok(Err(reason)) => reason,
            Err(_) => "a panic".to_owned(),
        };
        let words: String = words.lines().next().unwrap_or_default().chars().take(200).collect();
        println!("without {what}: seed {seed}: {words}");
        return;
    }
    panic!("no seed of {SEEDS} notices that {what} is left out");
}

#[test]
fn without_the_sync_of_the_log_a_seed_fails() {
    is_noticed("the sync of the log's files", |path, _| parent_name(path).starts_with("log-"));
}

#[test]
fn without_the_sync_of_the_logs_names_a_seed_fails() {
    is_noticed("the sync of the log's directory", |path, _| file_name(path).starts_with("log-"));
}

#[test]
fn without_the_sync_of_segments_a_seed_fails() {
    is_noticed("the sync of segments", |path, _| file_name(path).starts_with("segment-"));
}

#[test]
fn without_the_sync_of_the_segments_names_a_seed_fails() {
    is_noticed("the sync of the segments' directory", |path, _| file_name(path) == "segments");
}

#[test]
fn without_the_sync_of_the_identity_a_seed_fails() {
    is_noticed("the sync of the identity", |path, _| file_name(path) == "identity.new");
}

#[test]
fn without_the_sync_of_the_identitys_name_a_seed_fails() {
    is_noticed("the sync of the identity's name", |path, names| is_zone(path) && names.contains(&"identity"));
}

#[test]
fn without_the_sync_of_key_shares_a_seed_fails() {
    is_noticed("the sync of key shares", |path, _| file_name(path).starts_with("key-share-"));
}

#[test]
fn without_the_sync_of_the_key_shares_names_a_seed_fails() {
    let is_share = |name: &&str| name.starts_with("key-share-");
    is_noticed("the sync of key shares' names", move |path, names| is_zone(path) && names.iter().any(is_share));
}

#[test]
fn without_the_sync_of_the_name_of_a_log_a_seed_fails() {
    let is_log = |name: &&str| name.starts_with("log-");
    is_noticed("the sync of a log's own name", move |path, names| is_zone(path) && names.iter().any(is_log));
}

#[test]
fn without_the_sync_of_the_name_of_a_checkpoint_a_seed_fails() {
    let is_checkpoint = |name: &&str| name.starts_with("checkpoint-");
    is_noticed("the sync of a checkpoint's own name", move |path, names| is_zone(path) && names.iter().any(is_checkpoint));
}

#[test]
fn without_the_sync_of_the_name_of_the_segments_a_seed_fails() {
    is_noticed("the sync of the segments' own name", |path, names| is_zone(path) && names.contains(&"segments"));
}

#[test]
fn without_the_sync_of_a_zones_own_name_a_seed_fails() {
    is_noticed("the sync of a zone's own name", |path, _| path == Path::new("/data") || path == Path::new("/"));
}
