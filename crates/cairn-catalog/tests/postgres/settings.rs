//! R3: what one gateway changes holds for every other one within a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::postgres::migrate;
use cairn_catalog::{AccessKeyName, Catalog, ConfirmedSettings, CreateAccessKey};
use cairn_types::AccountId;
use cairn_types::records::Versioning;
use tokio::time::Instant;

use crate::gateways::{gateway, prepare};
use crate::server::server;

fn new_key(number: u64) -> CreateAccessKey {
    CreateAccessKey {
        access_key_id: format!("KEY{number}"),
        account: AccountId([7; 32]),
        sealed_secret: Bytes::from_static(b"sealed"),
        grants: Vec::new(),
        description: String::new(),
        expires: None,
    }
}

/// A gateway answers from memory for a second after a confirmation, counted from the moment that it names. So it is enough, and needed, that no
/// confirmation that names a moment behind a revocation speaks of an epoch before it: were it counted from when the heartbeat came back, or from when it was
/// asked for, a revoked key would live on for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn a_revoked_key_is_revoked_everywhere_within_a_second() {
    let server = server();
    let settings = server.settings("revocation");
    migrate(&settings).await.expect("a schema");
    let (one, other) = (gateway(settings.clone()), gateway(settings));
    prepare(&one, Versioning::Unversioned).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = {
        let (other, is_over) = (other.clone(), is_over.clone());
        tokio::spawn(async move {
            let mut seen: Vec<(Instant, ConfirmedSettings)> = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                // As old as whoever asks can still use.
                let since = Instant::now().checked_sub(Duration::from_millis(750)).expect("a moment");
                let confirmed = other.confirm_settings(since).await.expect("a confirmation");
                assert!(confirmed.confirmed >= since, "it is older than was asked for");
                seen.push((Instant::now(), confirmed));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            seen
        })
    };
    let mut revoked = Vec::new();
    for number in 0..12 {
        let name = one.create_access_key(new_key(number)).await.expect("a key").access_key_id;
        tokio::time::sleep(Duration::from_millis(number * 37)).await;
        one.delete_access_key(AccessKeyName { access_key_id: name.clone() }).await.expect("a revocation");
        let acknowledged = Instant::now();
        let epoch = one.settings_epoch().await.expect("an epoch");
        revoked.push((acknowledged, epoch));
        // Whoever made the change asks for what came after it.
        let confirmed = one.confirm_settings(acknowledged).await.expect("a confirmation");
        assert!(confirmed.confirmed >= acknowledged && confirmed.epoch >= epoch, "{confirmed:?}");
        assert!(other.access_key(AccessKeyName { access_key_id: name }).await.expect("an answer").is_none());
    }
    is_over.store(true, Ordering::SeqCst);
    let seen = watching.await.expect("the other gateway");
    let mut from_memory = 0;
    for (answered, confirmed) in &seen {
        for (acknowledged, epoch) in &revoked {
            assert!(
                confirmed.confirmed < *acknowledged || confirmed.epoch >= *epoch,
                "confirmed {:?} behind a revocation, and of an epoch before it",
                confirmed.confirmed.duration_since(*acknowledged)
            );
            from_memory += u64::from(confirmed.confirmed < *acknowledged && *answered > *acknowledged);
        }
    }
    // Else this says nothing about memory.
    assert!(from_memory > 0, "{} confirmations, none was remembered", seen.len());
}
