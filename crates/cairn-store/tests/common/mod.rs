//! A store over a catalog in memory and three zones in memory that can be made to fail, in virtual time.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod faulty_catalog;
pub mod multipart;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cairn_catalog::embedded::state::InMemoryCatalog;
use cairn_catalog::{Catalog, Limits, ListBlobs, RetireIncarnation};
use cairn_store::administration::Credentials;
use cairn_store::api::{
    BodyFailed, Bucket, CopyObject, CreateBucket, DeleteObject, DeleteTarget, Digests, GetObject, ObjectBody, ObjectContent,
    ObjectStore, OpenObject, PutObject, SourceVersion, StoreError, StoreResult, WriteCondition, Written,
};
use cairn_store::secrets::{KeyRing, MasterKey};
use cairn_store::{Store, StoreConfig, StoreParts};
use cairn_testkit::faulty_zone::FaultyZone;
use cairn_testkit::sim_environment::{SimClock, SimRandom};
use cairn_types::{AccountId, ChunkId, ETag, Incarnation, ObjectKey, ObjectMetadata, TenantId, VersionId, ZoneIndex};
use cairn_zone::Zone;
use cairn_zone::memory::MemoryZone;
use faulty_catalog::Faults;
use futures::StreamExt;
use futures::future::BoxFuture;
use md5::{Digest, Md5};

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

pub struct World {
    pub store: Arc<Store>,
    pub catalog: Arc<InMemoryCatalog>,
    pub faults: Arc<Faults>,
    pub zones: [FaultyZone; 3],
    pub random: Arc<SimRandom>,
    pub clock: Arc<SimClock>,
    pub config: StoreConfig,
    pub account: AccountId,
    pub bucket: Arc<Bucket>,
}

/// Pauses that let a test end soon.
pub fn quick() -> StoreConfig {
    let mut config = StoreConfig::default();
    config.collector.look_pause = Duration::from_secs(60);
    config.collector.page_pause = Duration::from_millis(1);
    config.session.replace_after = Duration::from_secs(300);
    config
}

pub fn limits() -> Limits {
    Limits { garbage_grace: Duration::from_secs(600), ..Limits::default() }
}

impl World {
    pub async fn new() -> Self {
        Self::with(quick(), limits()).await
    }

    pub async fn with(config: StoreConfig, limits: Limits) -> Self {
        let clock = Arc::new(SimClock::new());
        let catalog = Arc::new(InMemoryCatalog::in_memory_with_lag(limits, clock.clone(), 3));
        for zone in ZoneIndex::ALL {
            let life = RetireIncarnation { zone, incarnation: Incarnation(1) };
            catalog.retire_incarnation(life).await.unwrap();
        }
        let zones = [1, 2, 3].map(|seed| FaultyZone::new(Arc::new(MemoryZone::new(Incarnation(1))), seed));
        let random = Arc::new(SimRandom::new(7));
        let faults = Arc::new(Faults::default());
        let store = start(&catalog, &faults, &zones, &random, &config);
        let root = Credentials::existing("root", "a secret of root").unwrap();
        let account = store.ensure_root(&"default".parse().unwrap(), "root", &root).await.unwrap();
        let request =
            CreateBucket { tenant: TenantId::DEFAULT, name: "bucket".parse().unwrap(), owner: account, tags: Vec::new() };
        let bucket = store.create_bucket(request).await.unwrap();
        Self { store, catalog, faults, zones, random, clock, config, account, bucket }
    }

    /// Another process of this store, after an end like a crash.
    pub fn restart(&mut self) {
        self.store = start(&self.catalog, &self.faults, &self.zones, &self.random, &self.config);
    }

    pub fn put_request(&self, name: &str) -> PutObject {
        PutObject {
            bucket: self.bucket.id,
            key: key(name),
            metadata: ObjectMetadata::default(),
            tags: Vec::new(),
            condition: WriteCondition::None,
        }
    }

    pub async fn put(&self, name: &str, bytes: &Bytes) -> StoreResult<Written> {
        self.store.put_object(self.put_request(name), &mut Body::new(bytes)).await
    }

    pub fn get_request(&self, name: &str) -> GetObject {
        GetObject { bucket: self.bucket.id, key: key(name), version_id: None, part_number: None }
    }

    pub async fn open(&self, name: &str) -> StoreResult<OpenObject> {
        self.store.get_object(self.get_request(name)).await
    }

    pub async fn get(&self, name: &str) -> StoreResult<Bytes> {
        let opened = self.open(name).await?;
        let length = opened.head.length;
        read(opened.content, 0..length).await
    }

    pub async fn delete(&self, name: &str, version_id: Option<VersionId>) {
        let target = DeleteTarget { key: key(name), version_id, condition: WriteCondition::None };
        self.store.delete_object(DeleteObject { bucket: self.bucket.id, target }).await.unwrap();
    }

    pub async fn source(&self, name: &str) -> StoreResult<SourceVersion> {
        let head = self.store.head_object(self.get_request(name)).await?;
        Ok(SourceVersion { bucket: self.bucket.id, key: key(name), version_id: head.version_id, revision: head.revision })
    }

    pub async fn copy(&self, source: SourceVersion, to: &str) -> StoreResult<Written> {
        let request = CopyObject {
            source,
            bucket: self.bucket.id,
            key: key(to),
            metadata: ObjectMetadata::default(),
            tags: Vec::new(),
            checksum: None,
            condition: WriteCondition::None,
        };
        self.store.copy_object(request).await
    }

    /// Everything that this zone stores.
    pub async fn stored(&self, zone: usize) -> BTreeSet<ChunkId> {
        let mut all = BTreeSet::new();
        let mut from = None;
        loop {
            let page = self.zones[zone].inner().enumerate(cairn_types::SessionId(0), from, 1000).await.unwrap();
            all.extend(page.found.into_iter().map(|found| found.id));
            from = page.next;
            if from.is_none() {
                return all;
            }
        }
    }

    /// Every chunk that a blob which is not condemned names, with the number of zones that it names it in.
    pub async fn named(&self) -> Vec<(ChunkId, usize)> {
        let page = self.catalog.blob_page(ListBlobs { after: None, limit: 10_000 }).await.unwrap();
        assert_eq!(page.next, None);
        let chunks = page.blobs.into_iter().flat_map(|(blob, record)| {
            let replicas = record.content.chunks.into_iter().map(|chunk| chunk.replicas.iter().flatten().count());
            (0..).zip(replicas).map(move |(ordinal, count)| (ChunkId { blob, ordinal }, count))
        });
        chunks.collect()
    }

    /// Waits until every zone stores exactly what blobs name, each chunk once. All time that passes is virtual.
    pub async fn settled(&self, at_most: Duration) {
        let end = tokio::time::Instant::now() + at_most;
        loop {
            let named: BTreeSet<ChunkId> = self.named().await.into_iter().map(|(id, _)| id).collect();
            let mut settled = self.named().await.iter().all(|(_, count)| *count == 3);
            for zone in 0..3 {
                settled &= self.stored(zone).await == named;
            }
            if settled {
                return;
            }
            if tokio::time::Instant::now() > end {
                let mut stored = Vec::new();
                for zone in 0..3 {
                    stored.push(self.stored(zone).await);
                }
                panic!("named: {:?}, stored: {stored:?}, {:?}", self.named().await, self.store.status());
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

fn start(
    catalog: &Arc<InMemoryCatalog>,
    faults: &Arc<Faults>,
    zones: &[FaultyZone; 3],
    random: &Arc<SimRandom>,
    config: &StoreConfig,
) -> Arc<Store> {
    let master = MasterKey::generate(&SimRandom::new(1));
    Store::start(StoreParts {
        catalog: Arc::new(faulty_catalog::wrap(catalog, faults)),
        zones: zones.clone().map(|zone| Arc::new(zone) as Arc<dyn Zone>),
        random: random.clone(),
        keys: KeyRing::new(master),
        config: config.clone(),
    })
}

pub fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

pub fn md5(bytes: &[u8]) -> ETag {
    ETag::of_bytes(Md5::digest(bytes).into())
}

/// Bytes that are nowhere the same.
pub fn sample(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub async fn read(content: ObjectContent, range: std::ops::Range<u64>) -> StoreResult<Bytes> {
    match content {
        ObjectContent::Inline(bytes) => {
            Ok(bytes.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()))
        }
        ObjectContent::Chunks(reader) => {
            let mut stream = reader.read(range);
            let mut all = Vec::new();
            while let Some(bytes) = stream.next().await {
                all.extend_from_slice(&bytes?);
            }
            Ok(all.into())
        }
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Good,
    /// The bytes stop.
    Cut,
    /// All bytes come, and are not what was promised.
    Wrong,
}

/// A client's body in pieces.
pub struct Body {
    bytes: Bytes,
    length: u64,
    is_exact: bool,
    piece: usize,
    end: End,
    etag: ETag,
    /// Before each piece.
    delay: Duration,
    waiting: Option<BoxFuture<'static, ()>>,
}

impl Body {
    pub fn new(bytes: &Bytes) -> Self {
        let etag = md5(bytes);
        let length = bytes.len() as u64;
        Self {
            bytes: bytes.clone(),
            length,
            is_exact: true,
            piece: 50_000,
            end: End::Good,
            etag,
            delay: Duration::ZERO,
            waiting: None,
        }
    }

    pub fn pieces(mut self, piece: usize) -> Self {
        self.piece = piece;
        self
    }

    /// Says only how long it is at most.
    pub fn at_most(mut self, length: u64) -> Self {
        (self.length, self.is_exact) = (length, false);
        self
    }

    pub fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

impl ObjectBody for Body {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>> {
        if !self.delay.is_zero() {
            let delay = self.delay;
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(delay)));
            std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let next = self.bytes.split_to(self.piece.min(self.bytes.len()));
        if self.bytes.is_empty() && self.end == End::Cut {
            return Poll::Ready(Some(Err(BodyFailed)));
        }
        Poll::Ready(Some(Ok(next)))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<Digests, BodyFailed>> {
        assert!(self.bytes.is_empty(), "finished before its end");
        match self.end {
            End::Good => Poll::Ready(Ok(Digests { etag: self.etag, checksum: None })),
            End::Cut | End::Wrong => Poll::Ready(Err(BodyFailed)),
        }
    }

    fn has_exact_length(&self) -> bool {
        self.is_exact
    }

    fn length(&self) -> u64 {
        self.length
    }
}

pub fn is_missing<T>(result: &StoreResult<T>) -> bool {
    matches!(result, Err(StoreError::NoSuchKey))
}
