//! What SeaweedFS's traps do to the engine on it, with real processes that are killed, hung, moved and filled: what was confirmed stays,
//! and what cannot be known is never told for "gone". The traps are numbered as in `docs/adr/0012-seaweedfs-zone.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_testkit::weed::{Plan, Weed};
use cairn_testkit::zone_conformance::{self, Subject as _, chunk_id, delete, expect, payload, put, walk};
use cairn_types::{ChunkId, Locator};
use cairn_zone::seaweedfs::{Cluster, Settings, SigningKeys, Tls};
use cairn_zone::{Zone, ZoneError};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::zones::{Tried, settings};

/// Gives up early: in these tests a server that is away stays away.
fn impatient() -> Settings {
    let short = Duration::from_secs(2);
    Settings { write_timeout: short, request_timeout: short, master_timeout: short, assign_timeout: short, ..settings() }
}

struct Kept(Vec<(ChunkId, Locator, Bytes)>);

impl Kept {
    async fn write(zone: &dyn Zone, count: u64, length: usize) -> Self {
        let mut kept = Vec::new();
        for number in 0..count {
            let bytes = payload(number, length + number as usize);
            kept.push((chunk_id(number), put(zone, chunk_id(number), &bytes).await, bytes));
        }
        Self(kept)
    }

    async fn are_there(&self, zone: &dyn Zone) {
        for (id, locator, bytes) in &self.0 {
            expect(zone, locator, *id, bytes).await;
        }
    }

    /// All of them are there, and nothing else.
    async fn are_all(&self, zone: &dyn Zone) {
        self.are_there(zone).await;
        let mut listed: Vec<_> = walk(zone, 7).await.into_iter().map(|found| (found.id, found.locator)).collect();
        listed.sort();
        let mut expected: Vec<_> = self.0.iter().map(|(id, locator, _)| (*id, locator.clone())).collect();
        expected.sort();
        assert_eq!(listed, expected);
    }
}

fn is_away<T: std::fmt::Debug>(answer: Result<T, ZoneError>) -> bool {
    match answer {
        Err(ZoneError::Away(_) | ZoneError::PlaceAway(_)) => true,
        other => panic!("it should be away, not: {other:?}"),
    }
}

/// Tries until it works: a master learns of a server's return by its heartbeat.
async fn once_back<T, F: Future<Output = Result<T, ZoneError>>>(mut what: impl FnMut() -> F) -> T {
    let mut failed = None;
    for _ in 0..600 {
        match what().await {
            Ok(done) => return done,
            Err(error) => failed = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not come back: {failed:?}");
}

/// Traps 4, 9 and 12: a volume server that is killed or hangs is away, its chunks are not gone, there is no listing without them, and nothing
/// that was confirmed is lost by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn a_volume_server_that_is_away_takes_nothing_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut weed = Weed::start(directory.path(), &Plan::default());
    let tried = Tried::new(Cluster::new(weed.masters()), impatient()).await;
    let zone = tried.zone();
    let mut kept = Kept::write(&*zone, 20, 9_000).await;
    let (gone, locator, _) = kept.0.remove(4);
    delete(&*zone, &locator, gone).await.expect("deleting");
    let (id, place, bytes) = kept.0.remove(0);
    // Whether what is tried with this one meanwhile was done after all, nobody knows.
    let (tried_with, elsewhere, _) = kept.0.remove(0);

    weed.hang_volume_server(0);
    assert!(is_away(zone.read(&place, id, 0, 10).await));
    assert!(is_away(zone.write(zone_conformance::WRITER, id, vec![bytes.clone()]).await));
    assert!(is_away(delete(&*zone, &elsewhere, tried_with).await));
    weed.wake_volume_server(0);
    once_back(|| zone.read(&place, id, 0, 10)).await;

    weed.kill_volume_server(0);
    assert!(is_away(zone.read(&place, id, 0, 10).await));
    assert!(is_away(zone.write(zone_conformance::WRITER, id, vec![bytes.clone()]).await));
    assert!(is_away(delete(&*zone, &elsewhere, tried_with).await));
    // Once its master has noticed, its volumes are in no list any more.
    assert!(is_away(zone.enumerate(cairn_types::SessionId(0), None, 100).await));
    assert!(is_away(zone.usage().await));

    weed.start_volume_server(0);
    once_back(|| zone.read(&place, id, 0, 10)).await;
    once_back(|| zone.enumerate(cairn_types::SessionId(0), None, 100)).await;
    kept.are_there(&*zone).await;
    assert!(matches!(zone.read(&locator, gone, 0, 1).await, Err(ZoneError::NotFound)), "a deletion outlives a kill");
    // What was tried meanwhile may be there or not; what was confirmed is.
    let listed = walk(&*zone, 100).await;
    for (id, locator, _) in &kept.0 {
        assert!(listed.iter().any(|found| found.id == *id && found.locator == *locator));
    }
    let again = once_back(|| zone.write(zone_conformance::WRITER, gone, vec![bytes.clone()])).await;
    assert_ne!(again.locator, locator);
}

/// Traps 6 and 7: text, archives and pictures come back as they were given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn bytes_stay_as_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan::default());
    let tried = Tried::new(Cluster::new(weed.masters()), settings()).await;
    let zone = tried.zone();
    let mut total = 0;
    let mut kept = Vec::new();
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 5_000]].concat();
    let manifest = br#"{"name":"x","mime":"text/plain","size":3,"chunks":[{"fid":"3,01637037d6","offset":0,"size":3}]}"#.to_vec();
    let jpeg = [&[0xff, 0xd8, 0xff, 0xe1, 0, 16][..], b"Exif\0\0II*\0\x08\0\0\0", &[0; 3_000]].concat();
    for bytes in [vec![b'a'; 200_000], vec![b'a'; 1_400_000], vec![0; 70_000], gzip, manifest, jpeg, b"<html>".to_vec()] {
        let bytes = Bytes::from(bytes);
        total += bytes.len() as u64;
        let id = chunk_id(kept.len() as u64);
        kept.push((id, put(&*zone, id, &bytes).await, bytes));
    }
    let kept = Kept(kept);
    kept.are_all(&*zone).await;
    let usage = zone.usage().await.expect("usage");
    assert_eq!((usage.chunks, usage.bytes), (kept.0.len() as u64, total), "nothing was compressed");
}

/// Traps 8 and 12: volumes that become read-only or move to another server while they are used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn volumes_that_refuse_or_move_are_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan { volume_servers: 2, ..Plan::default() });
    let tried = Tried::new(Cluster::new(weed.masters()), settings()).await;
    let zone = tried.zone();
    let mut kept = Kept::write(&*zone, 12, 5_000).await;
    let volumes = volumes_of(&weed, &tried.collection());
    assert!(volumes.len() >= 2, "{volumes:?}");

    let mark = |how: &str| -> Vec<String> {
        let named =
            |(volume, server): &(u32, String)| format!("volume.mark -node {} -volumeId {volume} -{how}", weed.for_shell(server));
        volumes.iter().map(named).collect()
    };
    let said = weed.shell(&mark("readonly"));
    let full = kept.0.clone();
    for number in 100..120 {
        let bytes = payload(number, 3_000);
        kept.0.push((chunk_id(number), put(&*zone, chunk_id(number), &bytes).await, bytes));
    }
    for (id, locator, _) in &full {
        assert!(delete(&*zone, locator, *id).await.is_err(), "a volume that is read-only: {said}");
    }
    let (id, locator, _) = kept.0.pop().expect("one of those written since");
    delete(&*zone, &locator, id).await.expect("deleting from a new volume");
    kept.are_all(&*zone).await;
    let _ = weed.shell(&mark("writable"));
    let (id, locator, _) = kept.0.remove(0);
    delete(&*zone, &locator, id).await.expect("deleting from a volume that is writable again");
    kept.are_all(&*zone).await;

    for number in 200..212 {
        let bytes = payload(number, 3_000);
        kept.0.push((chunk_id(number), put(&*zone, chunk_id(number), &bytes).await, bytes));
    }
    let volumes = volumes_of(&weed, &tried.collection());
    let other = |server: &str| (0..2).map(|number| weed.volume_server(number)).find(|other| other != server).expect("two");
    // A move takes some 10 s: SeaweedFS waits for latecomers.
    let moved = &volumes[..1];
    let moves: Vec<String> = moved
        .iter()
        .map(|(volume, server)| {
            format!(
                "volume.move -source {} -target {} -volumeId {volume}",
                weed.for_shell(server),
                weed.for_shell(&other(server))
            )
        })
        .collect();
    let said = weed.shell(&moves);
    let after = volumes_of(&weed, &tried.collection());
    assert!(after.iter().zip(moved).all(|(after, before)| after.0 == before.0 && after.1 != before.1), "{after:?}: {said}");
    kept.are_all(&*zone).await;
    let (id, locator, _) = kept.0.remove(0);
    delete(&*zone, &locator, id).await.expect("deleting where it is now");
    assert!(matches!(zone.read(&locator, id, 0, 1).await, Err(ZoneError::NotFound)));
    kept.0.push((chunk_id(300), put(&*zone, chunk_id(300), &payload(300, 10)).await, payload(300, 10)));
    kept.are_all(&*zone).await;
}

/// The volumes of a collection and where they are, as the cluster says.
fn volumes_of(weed: &Weed, collection: &str) -> Vec<(u32, String)> {
    let status = weed.ask_master("/vol/status");
    let (_, body) = status.split_once("\r\n\r\n").expect("an answer");
    let json: serde_json::Value =
        serde_json::from_str(&body[body.find('{').expect("JSON")..=body.rfind('}').expect("JSON")]).expect("JSON");
    let mut found = Vec::new();
    let centers = json["Volumes"]["DataCenters"].as_object().expect("data centres");
    let servers = centers.values().flat_map(|center| center.as_object().expect("racks").values());
    for (server, volumes) in servers.flat_map(|rack| rack.as_object().expect("servers")) {
        for volume in volumes.as_array().into_iter().flatten().filter(|volume| volume["Collection"] == collection) {
            let id = volume["Id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("a number");
            found.push((id, server.clone()));
        }
    }
    found.sort();
    found
}

/// Trap 11: small volumes fill up and are vacuumed while chunks come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn fills_up_and_resumes_once_it_was_vacuumed() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan { volume_mib: 1, volumes_max: 4, ..Plan::default() });
    // A master counts what it assigns, not what is written: small assignments, so that the two are not far apart.
    let sparing = Settings { assign_count: 2, ..settings() };
    let tried = Tried::new(Cluster::new(weed.masters()), sparing).await;
    let zone = tried.zone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let _ = weed.ask_master("/vol/vacuum?garbageThreshold=0.01");
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(zone_conformance::full_then_resumes(&*zone, 200_000, 500));
        });
        done.store(true, Ordering::SeqCst);
    });
}

/// How often the volumes of a server were vacuumed: the fifth and sixth byte of a data file say so.
fn vacuumed(weed: &Weed) -> u32 {
    let files = std::fs::read_dir(weed.volume_directory(0)).expect("its files").map(|entry| entry.expect("a file").path());
    let data = files.filter(|path| path.extension().is_some_and(|extension| extension == "dat"));
    let revision = |path| {
        let mut begin = [0; 8];
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut begin)).expect("its first bytes");
        u32::from(u16::from_be_bytes([begin[4], begin[5]]))
    };
    data.map(revision).sum()
}

/// Trap 11: a model of the zone holds while its volumes are vacuumed all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn is_vacuumed_without_a_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let weed = Weed::start(directory.path(), &Plan::default());
    let tried = Tried::new(Cluster::new(weed.masters()), settings()).await;
    let zone = tried.zone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let _ = weed.ask_master("/vol/vacuum?garbageThreshold=0.0001");
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut kept = Kept(Vec::new());
                for round in 0.. {
                    assert!(round < 200, "it is not vacuumed");
                    if vacuumed(&weed) >= 1 && round >= 8 {
                        break;
                    }
                    for number in round * 20..round * 20 + 20 {
                        let bytes = payload(number, 20_000);
                        kept.0.push((chunk_id(number), put(&*zone, chunk_id(number), &bytes).await, bytes));
                    }
                    for turn in 0..16 {
                        let (id, locator, _) = kept.0.remove((turn * 7 + 3) % kept.0.len());
                        delete(&*zone, &locator, id).await.expect("deleting");
                        assert!(matches!(zone.read(&locator, id, 0, 1).await, Err(ZoneError::NotFound)));
                    }
                    kept.are_all(&*zone).await;
                }
            });
        });
        done.store(true, Ordering::SeqCst);
    });
}

/// Trap 3: masters fail over, and no write fails meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn masters_fail_over_without_a_failed_write() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut weed = Weed::start(directory.path(), &Plan { masters: 3, ..Plan::default() });
    let eager = Settings { assignment_age_max: Duration::from_millis(500), assign_count: 5, ..settings() };
    let tried = Tried::new(Cluster::new(weed.masters()), eager).await;
    let zone = tried.zone();
    let mut kept = Kept::write(&*zone, 10, 1_000).await;
    let leader = weed.leader().expect("a leader");
    weed.kill_master(leader);
    // Until another one leads, and on.
    let mut number = 1_000;
    while weed.leader().is_none() || number < 1_040 {
        let bytes = payload(number, 2_000);
        kept.0.push((chunk_id(number), put(&*zone, chunk_id(number), &bytes).await, bytes));
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    once_back(|| zone.enumerate(cairn_types::SessionId(0), None, 1)).await;
    kept.are_all(&*zone).await;
    // And with everything forgotten, a new one is asked from the start.
    let fresh = Tried::new(Cluster::new(weed.masters()), settings()).await;
    put(&*fresh.zone(), chunk_id(1), &payload(1, 100)).await;
}

/// Trap 5: tokens are signed here, for writes and for reads, and without them the zone is away, not empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn tokens_are_signed() {
    let directory = tempfile::tempdir().expect("a directory");
    let security = "[jwt.signing]\nkey = \"for writes\"\n[jwt.signing.read]\nkey = \"for reads\"\n".to_owned();
    let weed = Weed::start(directory.path(), &Plan { security, ..Plan::default() });
    let keys = SigningKeys { write: Some(b"for writes".to_vec()), read: Some(b"for reads".to_vec()) };
    let cluster = Cluster { keys: keys.clone(), ..Cluster::new(weed.masters()) };
    let mut tried = Tried::new(cluster, impatient()).await;
    let zone = tried.zone();
    let kept = Kept::write(&*zone, 5, 10_000).await;
    kept.are_all(&*zone).await;
    let (id, locator, bytes) = kept.0[0].clone();
    for wrong in [
        SigningKeys::default(),
        SigningKeys { write: keys.read.clone(), read: keys.write.clone() },
        SigningKeys { write: Some(Vec::new()), read: Some(Vec::new()) },
    ] {
        tried.cluster.keys = wrong;
        tried.open().await.expect("masters ask for no tokens");
        assert!(is_away(tried.zone().read(&locator, id, 0, 10).await));
        assert!(is_away(tried.zone().write(zone_conformance::WRITER, id, vec![bytes.clone()]).await));
    }
    kept.are_all(&*zone).await;
}

/// A certificate of this authority, as PEM, with its key.
fn certificate(issuer: &rcgen::Issuer<'_, rcgen::KeyPair>) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    // One name for the whole cluster, and none of its addresses, as SeaweedFS's own clients allow.
    let mut parameters = rcgen::CertificateParams::new(vec!["seaweedfs".to_owned()]).expect("a name");
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// TLS with certificates for both sides, for gRPC and for chunks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn tls_is_spoken_to_masters_and_volume_servers() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    let authority = parameters.self_signed(&key).expect("an authority");
    let issuer = rcgen::Issuer::new(parameters, key);
    let (cert, key) = certificate(&issuer);
    for (name, text) in [("ca.pem", &authority.pem()), ("cert.pem", &cert), ("key.pem", &key)] {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let pair = "cert = \"cert.pem\"\nkey = \"key.pem\"\n";
    let security = format!(
        "[grpc]\nca = \"ca.pem\"\n[grpc.master]\n{pair}[grpc.volume]\n{pair}[grpc.client]\n{pair}\
         [https.client]\nenabled = true\nca = \"ca.pem\"\n{pair}[https.volume]\nca = \"ca.pem\"\n{pair}"
    );
    let weed = Weed::start(directory.path(), &Plan { security, ..Plan::default() });

    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).expect("a root");
    let trusting = || ClientConfig::builder().with_root_certificates(roots.clone());
    let (cert, key) = certificate(&issuer);
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let known = trusting().with_client_auth_cert(chain, key).expect("our certificate");
    let tls = |config: ClientConfig, name: &'static str| {
        Some(Tls { config: Arc::new(config), server_name: Some(ServerName::try_from(name).expect("a name")) })
    };
    let cluster = |grpc_tls, http_tls| Cluster { grpc_tls, http_tls, ..Cluster::new(weed.masters()) };

    let both = cluster(tls(known.clone(), "seaweedfs"), tls(known.clone(), "seaweedfs"));
    let mut tried = Tried::new(both, impatient()).await;
    let kept = Kept::write(&*tried.zone(), 5, 400_000).await;
    kept.are_all(&*tried.zone()).await;
    let usage = tried.zone().usage().await.expect("usage");
    assert_eq!(usage.chunks, 5);

    for wrong in [
        cluster(None, None),
        cluster(tls(trusting().with_no_client_auth(), "seaweedfs"), None),
        cluster(tls(known.clone(), "another"), None),
    ] {
        tried.cluster = wrong;
        assert!(is_away(tried.open().await));
    }
    tried.cluster = cluster(tls(known.clone(), "seaweedfs"), tls(known, "another"));
    tried.open().await.expect("masters are as they were");
    let (id, locator, _) = &kept.0[0];
    assert!(is_away(tried.zone().read(locator, *id, 0, 10).await));
}

/// Trap 10: with two copies inside the zone, a write is in both, and one server's loss costs no read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the program weed: cargo xtask test --only seaweedfs"]
async fn copies_inside_the_zone_are_written_read_and_deleted() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut weed = Weed::start(directory.path(), &Plan { volume_servers: 2, ..Plan::default() });
    let cluster = Cluster { replication: "001".to_owned(), ..Cluster::new(weed.masters()) };
    let tried = Tried::new(cluster, impatient()).await;
    let zone = tried.zone();
    let mut kept = Kept::write(&*zone, 12, 30_000).await;
    let volumes = volumes_of(&weed, &tried.collection());
    assert!(volumes.iter().all(|(volume, _)| volumes.iter().filter(|other| other.0 == *volume).count() == 2), "{volumes:?}");
    let (gone, locator, _) = kept.0.remove(3);
    delete(&*zone, &locator, gone).await.expect("deleting");
    kept.are_all(&*zone).await;
    let usage = zone.usage().await.expect("usage");
    let bytes: u64 = kept.0.iter().map(|(_, _, bytes)| bytes.len() as u64).sum();
    assert_eq!((usage.chunks, usage.bytes), (11, bytes), "each chunk counts once");
    for number in 0..2 {
        weed.kill_volume_server(number);
        kept.are_there(&*zone).await;
        assert!(matches!(
            zone.read(&locator, gone, 0, 1).await,
            Err(ZoneError::NotFound | ZoneError::Away(_) | ZoneError::PlaceAway(_))
        ));
        let (id, place, _) = &kept.0[0];
        assert!(delete(&*zone, place, *id).await.is_err(), "not while a copy is away: it would come back with it");
        let (id, _, bytes) = kept.0.remove(0);
        assert!(is_away(zone.write(zone_conformance::WRITER, id, vec![bytes]).await));
        weed.start_volume_server(number);
        weed.wait_for_volume_servers();
        once_back(|| zone.write(zone_conformance::WRITER, chunk_id(500), vec![payload(500, 10)])).await;
    }
    kept.are_there(&*zone).await;
}
