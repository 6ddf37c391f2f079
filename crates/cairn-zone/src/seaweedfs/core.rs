//! What all operations of a zone share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cairn_disk::Environment;
use cairn_types::{Incarnation, SessionId, StoreId, ZoneIndex};
use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::assignments::Assignments;
use super::connect::Losses;
use super::format::{self, Fid};
use super::grpc::{CallError, GrpcClient};
use super::http_client::HttpClient;
use super::listing::Walks;
use super::masters::{Masters, Server};
use super::memory::{ClusterMemory, Ledger, Memory};
use super::settings::{Cluster, Settings, SigningKeys};
use super::token;
use super::trust::Trust;
use super::volumes::Volumes;
use super::wire::{Call, CopyFileRequest};
use crate::ZoneError;

/// So long a volume server's answer shows that its zone is there.
const HEARD_FOR: Duration = Duration::from_secs(5);

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// What all operations of a zone share.
pub struct Core {
    pub settings: Settings,
    pub environment: Environment,
    pub store: StoreId,
    pub zone: ZoneIndex,
    pub incarnation: Incarnation,
    pub collection: String,
    /// What the collections' names begin with.
    pub prefix: String,
    /// When each volume server last answered anything.
    heard: Mutex<HashMap<String, Instant>>,
    /// How often each server has failed.
    pub losses: Arc<Losses>,
    /// What is remembered of the cluster.
    pub ledger: Arc<Ledger>,
    /// What may be written to.
    pub trust: Trust,
    /// Nobody looks at the cluster through this any more.
    pub closed: AtomicBool,
    /// Something is amiss that a look would tell.
    pub doubted: Notify,
    /// Needles that listings have passed over, since they cannot be read.
    pub damaged: AtomicU64,
    pub http: HttpClient,
    pub grpc: Arc<GrpcClient>,
    pub volumes: Volumes,
    pub assignments: Arc<Assignments>,
    pub walks: Walks,
    keys: SigningKeys,
    counter: AtomicU64,
    room: Semaphore,
    syncs: Mutex<HashMap<(u32, String), Arc<Sync>>>,
}

/// Syncs of one volume on one server, of which callers share.
#[derive(Default)]
struct Sync {
    asked: AtomicU64,
    /// One is to come that nobody waits for.
    awaited: AtomicBool,
    done: tokio::sync::Mutex<u64>,
}

impl Core {
    pub fn new(
        environment: Environment,
        cluster: &Cluster,
        settings: Settings,
        memory: Arc<dyn ClusterMemory>,
        (store, zone, incarnation): (StoreId, ZoneIndex, Incarnation),
    ) -> Self {
        let collection = collection(&cluster.collection_prefix, store, zone, incarnation);
        let losses = Arc::new(Losses::default());
        let grpc = Arc::new(GrpcClient::new(cluster, &settings, losses.clone()));
        let masters = Arc::new(Masters::new(cluster, &settings, &collection, grpc.clone()));
        let ledger = Arc::new(Ledger::new(memory, Memory::new(store, zone, incarnation), settings.master_timeout));
        Self {
            http: HttpClient::new(cluster, &settings, losses.clone()),
            volumes: Volumes::new(masters.clone(), ledger.clone(), settings.clone()),
            assignments: Arc::new(Assignments::new(masters, settings.clone())),
            walks: Walks::default(),
            keys: cluster.keys.clone(),
            // Where counting begins does not matter, only that two processes that share a session, which should not be, begin apart.
            counter: AtomicU64::new(environment.random.next_u64()),
            room: Semaphore::new(settings.requests_max),
            syncs: Mutex::default(),
            grpc,
            settings,
            environment,
            prefix: cluster.collection_prefix.clone(),
            heard: Mutex::default(),
            losses,
            ledger,
            trust: Trust::default(),
            damaged: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            doubted: Notify::new(),
            store,
            zone,
            incarnation,
            collection,
        }
    }

    /// A name for a needle that no needle ever had. The cookie is what refuses another's needle, should a key come twice all the same: SeaweedFS
    /// overwrites only where it is given the cookie that it knows. 0 would be taken for "whatever it is".
    pub fn new_fid(&self, volume: u32, session: SessionId) -> Fid {
        let key = format::key(session, self.counter.fetch_add(1, Ordering::Relaxed));
        let cookie = (self.environment.random.next_u64() as u32).max(1);
        Fid { volume, key, cookie }
    }

    /// The headers that prove to a volume server that we may.
    pub fn authorization(&self, purpose: Purpose, fid: Fid) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let key = match purpose {
            Purpose::Read => &self.keys.read,
            Purpose::Write => &self.keys.write,
        };
        if let Some(key) = key
            && let Ok(mut value) = HeaderValue::from_str(&token::bearer(key, fid, self.environment.clock.wall()))
        {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }

    /// Room for a request.
    pub async fn room(&self) -> Result<SemaphorePermit<'_>, ZoneError> {
        self.room.acquire().await.map_err(|_| ZoneError::Away("the zone is closed".to_owned()))
    }

    /// Calls a volume server.
    pub async fn call<C: Call>(&self, server: &Server, call: &C) -> Result<C::Answer, CallError> {
        let answer = self.grpc.call(&server.grpc, call, self.settings.request_timeout).await;
        if matches!(answer, Err(CallError::NoAnswer(_))) {
            self.doubt(server);
        } else {
            self.heard(server);
        }
        answer
    }

    /// A volume server has not answered. When it does again, it may have come back with less than it had.
    pub fn doubt(&self, server: &Server) {
        self.heard.lock().remove(&server.http);
        self.losses.add(&server.http);
        self.doubted.notify_one();
    }

    /// A volume server has answered something.
    pub fn heard(&self, server: &Server) {
        self.heard.lock().insert(server.http.clone(), Instant::now());
    }

    /// What to say of a chunk whose servers do not answer: it is the zone that is away, unless another of its servers has answered just now.
    pub fn place_or_zone(&self, error: ZoneError, servers: &[Server]) -> ZoneError {
        let ZoneError::Away(why) = error else { return error };
        let mut heard = self.heard.lock();
        heard.retain(|_, since| since.elapsed() < HEARD_FOR);
        if heard.keys().any(|other| servers.iter().all(|server| server.http != *other)) {
            ZoneError::PlaceAway(why)
        } else {
            ZoneError::Away(why)
        }
    }

    /// Makes all of a volume durable on each of these servers, its index too. Callers that come while a sync runs share the next one.
    ///
    /// SeaweedFS has no call for it: it syncs both files before it sends one of them to a peer, and here none of it is asked for. A
    /// sync of the index that fails is in its log only; that of the data file is what `fsync=true` reports.
    pub async fn sync(&self, volume: u32, servers: &[Server]) -> Result<(), CallError> {
        futures::future::try_join_all(servers.iter().map(|server| self.sync_one(volume, server))).await.map(drop)
    }

    /// Has a volume synced before so long, and waits for nothing.
    pub fn sync_within(self: &Arc<Self>, span: Duration, volume: u32, servers: &[Server]) {
        for server in servers {
            let sync = self.syncs.lock().entry((volume, server.grpc.clone())).or_default().clone();
            if sync.awaited.swap(true, Ordering::SeqCst) {
                continue;
            }
            let (core, server) = (self.clone(), server.clone());
            tokio::spawn(async move {
                tokio::time::sleep(span).await;
                sync.awaited.store(false, Ordering::SeqCst);
                if let Err(error) = core.sync_one(volume, &server).await {
                    tracing::warn!(%error, volume, "the index of a volume was not synced");
                }
            });
        }
    }

    async fn sync_one(&self, volume: u32, server: &Server) -> Result<(), CallError> {
        let sync = self.syncs.lock().entry((volume, server.grpc.clone())).or_default().clone();
        let ticket = sync.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = sync.done.lock().await;
        if *done >= ticket {
            return Ok(());
        }
        // Whatever was asked for until now was also written until now.
        let covered = sync.asked.load(Ordering::SeqCst);
        let request = CopyFileRequest {
            volume_id: volume,
            ext: ".idx".to_owned(),
            compaction_revision: u32::MAX,
            stop_offset: 0,
            collection: self.collection.clone(),
        };
        let timeout = self.settings.request_timeout;
        let asking = async {
            let mut answers = self.grpc.stream(&server.grpc, &request, timeout).await?;
            while self.timed(answers.next(), timeout).await?.is_some() {}
            Ok(())
        };
        if let Err(error) = asking.await {
            if matches!(error, CallError::NoAnswer(_)) {
                self.doubt(server);
            }
            return Err(error);
        }
        *done = covered;
        Ok(())
    }

    /// One step of a stream, which has to come in time.
    pub async fn timed<T>(&self, step: impl Future<Output = Result<T, CallError>>, timeout: Duration) -> Result<T, CallError> {
        let late = |_| CallError::NoAnswer(format!("nothing came within {timeout:?}"));
        tokio::time::timeout(timeout, step).await.map_err(late)?
    }
}

/// The collection of a zone's life. Its volumes hold nothing else: no other store, and nothing of an earlier life. Collections are per
/// zone and not per bucket, because each keeps volumes of its own.
#[must_use]
pub fn collection(prefix: &str, store: StoreId, zone: ZoneIndex, incarnation: Incarnation) -> String {
    format!("{prefix}-{:032x}-{}-{}", store.0, zone.0, incarnation.0)
}

/// Whose life a collection is, where it is of this store, whatever its name begins with: another zone may have been given another beginning.
pub fn life_of(store: StoreId, name: &str) -> Option<(ZoneIndex, Incarnation)> {
    let (_, rest) = name.rsplit_once(&format!("-{:032x}-", store.0))?;
    let (zone, incarnation) = rest.split_once('-')?;
    Some((ZoneIndex(zone.parse().ok()?), Incarnation(incarnation.parse().ok()?)))
}

/// Nobody answered, or answered as we need it: the zone is away, for this at least.
pub fn away(error: &CallError) -> ZoneError {
    ZoneError::Away(error.to_string())
}
