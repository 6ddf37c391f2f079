//! Memory is bounded by what the service is, not by how many are served how much: 64 uploads of 100 MiB at once, and 64 slow readers.

use std::time::Duration;

use cairn_testkit::s3_client::{BodyMode, S3Client, S3Request, path, read_answer, read_head};
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::connection::{Connection, Halves};
use crate::seed;
use crate::service::{Home, Service};

/// Connections at once.
const CONNECTIONS: u64 = 64;
/// What each uploads, at full size: with three copies of everything, 19 GB on the disk.
const OBJECT_MIB_LONG: u64 = 100;
/// What each uploads in the gate. All together it is still more than twice what the process may hold.
const OBJECT_MIB_GATE: u64 = 18;
/// What the process may hold, KiB.
const RESIDENT_KIB_MAX: u64 = 512 << 10;
const MIB: usize = 1 << 20;

/// The objects, MiB by MiB: of one random MiB, marked in each place with where it stands.
#[derive(Clone)]
struct Bodies {
    block: Vec<u8>,
    blocks: u64,
}

impl Bodies {
    fn block(&self, object: u64, index: u64) -> Vec<u8> {
        let mut block = self.block.clone();
        for mark in block.chunks_mut(4096) {
            mark[..8].copy_from_slice(&(object << 32 | index).to_be_bytes());
        }
        block
    }

    fn length(&self) -> u64 {
        self.blocks << 20
    }
}

/// Some take their time.
fn pause(object: u64) -> Option<Duration> {
    object.is_multiple_of(4).then(|| Duration::from_millis(50))
}

async fn upload(client: S3Client, bodies: Bodies, object: u64) {
    let put = S3Request::new("PUT", path("large", &format!("object-{object}")))
        .header("content-length", bodies.length().to_string())
        .mode(BodyMode::Unsigned);
    let head = client.signed(&put);
    let Halves { mut reader, mut writer } = Halves::open(client.address).await.unwrap();
    writer.write_all(&head).await.unwrap();
    let mut digest = Md5::new();
    for index in 0..bodies.blocks {
        let block = bodies.block(object, index);
        digest.update(&block);
        writer.write_all(&block).await.unwrap();
        if let Some(pause) = pause(object) {
            tokio::time::sleep(pause).await;
        }
    }
    let answer = read_answer(&mut reader, false).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let etag = digest.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    assert_eq!(answer.header("etag"), Some(format!("\"{etag}\"").as_str()));
}

async fn download(client: S3Client, bodies: Bodies, object: u64, slow: Duration) {
    let get = S3Request::new("GET", path("large", &format!("object-{object}")));
    let Halves { mut reader, mut writer } = Halves::open(client.address).await.unwrap();
    writer.write_all(&client.signed(&get)).await.unwrap();
    let head = read_head(&mut reader).await.unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some(bodies.length().to_string().as_str())));
    let mut got = vec![0; MIB];
    for index in 0..bodies.blocks {
        reader.read_exact(&mut got).await.unwrap();
        assert!(got == bodies.block(object, index), "object {object}, MiB {index}");
        // All of them slow, at the start, when all have an answer under way; then to the end.
        if index < 4 {
            tokio::time::sleep(slow).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_uploads_and_slow_readers_fit_into_half_a_gigabyte() {
    let seed = seed::of_run("memory");
    let blocks = if seed::is_long() { OBJECT_MIB_LONG } else { OBJECT_MIB_GATE };
    let bodies = Bodies { block: seed::body(seed, 1, MIB), blocks };
    let home = Home::new("memory");
    let service = Service::start(&home).await;
    let made = Connection::new(service.root.clone()).send(&S3Request::new("PUT", path("large", ""))).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    let idle = service.kibibytes("VmHWM");

    let start = tokio::time::Instant::now();
    let uploads: JoinSet<()> = (0..CONNECTIONS).map(|object| upload(service.root.clone(), bodies.clone(), object)).collect();
    uploads.join_all().await;
    let (took, uploaded) = (start.elapsed(), service.kibibytes("VmHWM"));
    println!(
        "memory: {CONNECTIONS} uploads of {blocks} MiB in {:.1} s: {} MiB at most, {} MiB when idle",
        took.as_secs_f64(),
        uploaded >> 10,
        idle >> 10
    );
    assert!(uploaded <= RESIDENT_KIB_MAX, "{uploaded} KiB resident");

    let start = tokio::time::Instant::now();
    let slow = Duration::from_millis(500);
    let downloads: JoinSet<()> =
        (0..CONNECTIONS).map(|object| download(service.root.clone(), bodies.clone(), object, slow)).collect();
    downloads.join_all().await;
    let (took, downloaded) = (start.elapsed(), service.kibibytes("VmHWM"));
    println!(
        "memory: {CONNECTIONS} slow readers in {:.1} s: {} MiB at most since the start",
        took.as_secs_f64(),
        downloaded >> 10
    );
    assert!(downloaded <= RESIDENT_KIB_MAX, "{downloaded} KiB resident");
    service.kill();
}
