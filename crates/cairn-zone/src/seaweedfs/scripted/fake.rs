//! One master and one volume server, in this process. They keep what is written as SeaweedFS does, needle by needle, and do what a test tells them to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

use super::super::http_client::next_frame;
use super::super::wire::{
    AssignRequest, AssignResponse, BatchDeleteRequest, BatchDeleteResponse, Call, CopyFileRequest, CopyFileResponse,
    DataCenterInfo, DataNodeInfo, DeleteResult, DiskInfo, EcShardInformation, Location, LookupVolumeRequest,
    LookupVolumeResponse, RackInfo, ReadNeedleBlobRequest, ReadNeedleBlobResponse, ReadVolumeFileStatusRequest,
    ReadVolumeFileStatusResponse, TopologyInfo, VolumeIdLocation, VolumeInformation, VolumeListRequest, VolumeListResponse,
};

/// The volume that a master names unless it is told otherwise.
pub const VOLUME: u32 = 3;
/// Keys below are seals'.
const FIRST_CHUNK: u64 = 1 << 33;

/// What becomes of a write.
#[derive(Debug, Clone, Copy)]
pub enum Put {
    /// Other bytes are stored.
    WrongSum,
    /// It is refused, in these words.
    Refused(&'static str),
    /// It is called the same as what is there.
    Unchanged,
    /// The connection ends without an answer.
    Cut,
    /// There is no answer.
    Hang,
}

/// A needle that the volume holds.
#[derive(Debug, Clone)]
pub struct Needle {
    /// Its key.
    pub key: u64,
    /// Where it begins in the data file, bytes; a multiple of 8.
    pub offset: u64,
    /// Where the index says that it begins, where that is elsewhere.
    pub listed_offset: Option<u64>,
    /// What stands before its chunk.
    pub head: Bytes,
}

impl Needle {
    /// As the index has it: offset in units of 8 bytes, and some size.
    fn entry(&self) -> Vec<u8> {
        let units = (self.listed_offset.unwrap_or(self.offset) / 8) as u32;
        [&self.key.to_be_bytes()[..], &units.to_be_bytes(), &200_u32.to_be_bytes()].concat()
    }

    /// As the data file has it: cookie, key, size, the data's length, and the data.
    fn bytes(&self) -> Bytes {
        [
            &77_u32.to_be_bytes()[..],
            &self.key.to_be_bytes(),
            &200_u32.to_be_bytes(),
            &164_u32.to_be_bytes(),
            &self.head,
            &[0; 120],
        ]
        .concat()
        .into()
    }
}

/// A needle that was written.
#[derive(Debug, Clone)]
struct Stored {
    cookie: u32,
    data: Bytes,
    offset: u64,
    deleted: bool,
}

/// A volume.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is something that a test does to it")]
pub struct FakeVolume {
    collection: String,
    stored: BTreeMap<u64, Stored>,
    /// Bytes that were written to it, without its own head.
    written: u64,
    /// How often it was vacuumed.
    pub revision: u32,
    /// Masters do not list it.
    pub unlisted: bool,
    /// The volume server has not got it any more; its master does not know yet.
    pub lost: bool,
    /// Its files are closed.
    pub closed: bool,
    /// It was cut into shards.
    pub cut: bool,
    /// It takes no writes.
    pub read_only: bool,
    /// These are in the way of what was written: chunks in the index are these alone.
    needles: Option<Vec<Needle>>,
}

impl FakeVolume {
    /// As a vacuum leaves it: shorter, and one revision on.
    pub fn vacuum(&mut self) {
        self.stored.retain(|_, stored| !stored.deleted);
        self.written = self.stored.values().map(|stored| stored.data.len() as u64 + 40).sum();
        self.revision += 1;
    }

    /// Of the same length, and without what was written last.
    pub fn lose_last(&mut self) {
        let last = self.stored.iter().max_by_key(|(_, stored)| stored.offset).map(|(key, _)| *key);
        self.stored.retain(|key, _| Some(*key) != last);
    }

    /// Another volume of the same number and collection.
    pub fn again(&self) -> Self {
        Self { collection: self.collection.clone(), ..Self::default() }
    }

    /// Without its chunks, as if they had never been written; its seals stay.
    pub fn lose_chunks(&mut self) {
        self.stored.retain(|key, _| *key < FIRST_CHUNK);
    }

    fn find(&self, path: &str) -> Option<&Stored> {
        let (key, cookie) = parsed(path)?;
        self.stored.get(&key).filter(|stored| stored.cookie == cookie)
    }

    fn index(&self) -> Vec<u8> {
        let entry = |(key, stored): (&u64, &Stored)| {
            let size = if stored.deleted { u32::MAX } else { 200 };
            [&key.to_be_bytes()[..], &((stored.offset / 8) as u32).to_be_bytes(), &size.to_be_bytes()].concat()
        };
        let is_shown = |key: &u64| self.needles.is_none() || *key < FIRST_CHUNK;
        let stored = self.stored.iter().filter(|(key, _)| is_shown(key)).flat_map(entry);
        stored.chain(self.needles.iter().flatten().flat_map(Needle::entry)).collect()
    }

    fn blob(&self, offset: i64) -> Option<Bytes> {
        let offset = u64::try_from(offset).ok()?;
        if let Some(needle) = self.needles.iter().flatten().find(|needle| needle.offset == offset) {
            return Some(needle.bytes());
        }
        let (key, stored) = self.stored.iter().find(|(_, stored)| stored.offset == offset)?;
        let length = stored.data.len() as u32;
        let blob =
            [&stored.cookie.to_be_bytes()[..], &key.to_be_bytes(), &200_u32.to_be_bytes(), &length.to_be_bytes(), &stored.data];
        Some(blob.concat().into())
    }
}

/// Key and cookie of `key and cookie`, as a path has them behind the volume's number.
fn parsed(text: &str) -> Option<(u64, u32)> {
    let (key, cookie) = text.split_at_checked(text.len().checked_sub(8)?)?;
    Some((u64::from_str_radix(key, 16).ok()?, u32::from_str_radix(cookie, 16).ok()?))
}

/// What the services share.
#[derive(Default)]
struct State {
    log: Mutex<Vec<String>>,
    puts: Mutex<VecDeque<Put>>,
    deletion: Mutex<Option<(i32, &'static str)>>,
    syncs_held: Mutex<Option<Arc<Semaphore>>>,
    syncs_failing: AtomicUsize,
    sync_asked: Notify,
    reads_failing: AtomicUsize,
    damaged: Mutex<BTreeSet<u64>>,
    volumes: Mutex<BTreeMap<u32, FakeVolume>>,
    assigned: AtomicUsize,
    /// Names of collections that are there beside.
    others: Mutex<Vec<String>>,
    without_servers: AtomicBool,
    http: Mutex<String>,
    grpc_port: AtomicUsize,
    connections: watch::Sender<()>,
    http_connections: watch::Sender<()>,
    listing_held: Mutex<Option<Arc<Semaphore>>>,
    listing_asked: Notify,
}

/// A SeaweedFS that does as it is told.
pub struct Fake {
    /// Where masters are.
    pub grpc: String,
    state: Arc<State>,
}

impl Fake {
    /// One that does well.
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        state.assigned.store(VOLUME as usize, Ordering::SeqCst);
        let http = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let grpc = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        *state.http.lock() = http.local_addr().expect("its address").to_string();
        let grpc_address = grpc.local_addr().expect("its address");
        state.grpc_port.store(usize::from(grpc_address.port()), Ordering::SeqCst);
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                let state = shared.clone();
                let mut ended = state.http_connections.subscribe();
                let service = service_fn(move |request| serve_http(state.clone(), request));
                tokio::spawn(async move {
                    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = serving => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = grpc.accept().await {
                let state = shared.clone();
                let mut ended = state.connections.subscribe();
                let service = service_fn(move |request| serve_grpc(state.clone(), request));
                tokio::spawn(async move {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::select! {
                        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                        _ = ended.changed() => {}
                    }
                });
            }
        });
        Self { grpc: grpc_address.to_string(), state }
    }

    /// What was logged with this before it.
    pub fn logged(&self, kind: &str) -> Vec<String> {
        self.state.log.lock().iter().filter_map(|line| line.strip_prefix(kind)).map(ToOwned::to_owned).collect()
    }

    /// What was logged, all of it.
    pub fn log(&self) -> Vec<String> {
        self.state.log.lock().clone()
    }

    /// Adds to the log what happens elsewhere.
    pub fn note(&self, line: &str) {
        self.state.note(line.to_owned());
    }

    /// Begins the log anew.
    pub fn forget_log(&self) {
        self.state.log.lock().clear();
        let _ = self.state.sync_asked.notified().now_or_never();
    }

    /// What becomes of the next writes of chunks; those after them are stored.
    pub fn puts(&self, puts: &[Put]) {
        self.state.puts.lock().extend(puts);
    }

    /// What is said of each deletion of a chunk from now on.
    pub fn deletions(&self, status: i32, error: &'static str) {
        *self.state.deletion.lock() = Some((status, error));
    }

    /// Lets as many syncs end as permits are given.
    pub fn hold_syncs(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.state.syncs_held.lock() = Some(gate.clone());
        gate
    }

    /// Waits for a sync to be asked for.
    pub async fn sync_asked(&self) {
        self.state.sync_asked.notified().await;
    }

    /// Lets the next syncs fail.
    pub fn fail_syncs(&self, count: usize) {
        self.state.syncs_failing.store(count, Ordering::SeqCst);
    }

    /// Lets the next reads of chunks fail without a reason.
    pub fn fail_reads(&self, count: usize) {
        self.state.reads_failing.store(count, Ordering::SeqCst);
    }

    /// The data of what is written under these keys cannot be read any more.
    pub fn damage(&self, key: u64) {
        self.state.damaged.lock().insert(key);
    }

    /// Which volume masters name from now on. It is made where it is not there.
    pub fn assign(&self, volume: u32) {
        self.state.assigned.store(volume as usize, Ordering::SeqCst);
    }

    /// Changes the volume that masters name at first.
    pub fn change(&self, change: impl FnOnce(&mut FakeVolume)) {
        change(self.state.volumes.lock().entry(VOLUME).or_default());
    }

    /// All volumes as they are now.
    pub fn snapshot(&self) -> BTreeMap<u32, FakeVolume> {
        self.state.volumes.lock().clone()
    }

    /// Puts volumes back to what they were, with nobody noticing.
    pub fn restore(&self, volumes: BTreeMap<u32, FakeVolume>) {
        *self.state.volumes.lock() = volumes;
    }

    /// Ends all connections, as a process does that ends, and returns once all of them have ended.
    pub async fn end_connections(&self) {
        self.end(&self.state.connections).await;
        self.end_http().await;
    }

    /// Ends those that chunks go over.
    pub async fn end_http(&self) {
        self.end(&self.state.http_connections).await;
    }

    async fn end(&self, connections: &watch::Sender<()>) {
        connections.send_replace(());
        for _ in 0..2_000 {
            if connections.receiver_count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The other end is told by the kernel, and reads that when it is next its turn.
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets the next list of volumes wait for a permit.
    pub fn hold_listing(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.state.listing_held.lock() = Some(gate.clone());
        gate
    }

    /// Waits for the list that has to wait.
    pub async fn listing_asked(&self) {
        self.state.listing_asked.notified().await;
    }

    /// Lets syncs end as they come again.
    pub fn release_syncs(&self) {
        if let Some(gate) = self.state.syncs_held.lock().take() {
            gate.add_permits(1_000);
        }
    }

    /// The volume server is known by another address from now on.
    pub fn rename_server(&self) {
        let mut http = self.state.http.lock();
        *http = http.replace("127.0.0.1", "localhost");
    }

    /// The master knows no volume server, or knows it again.
    pub fn hide_servers(&self, hidden: bool) {
        self.state.without_servers.store(hidden, Ordering::SeqCst);
    }

    /// There is a collection of this name, too.
    pub fn add_collection(&self, name: &str) {
        self.state.others.lock().push(name.to_owned());
    }

    /// What the volume holds from now on.
    pub fn hold(&self, needles: Vec<Needle>) {
        self.change(|volume| volume.needles = Some(needles));
    }
}

impl State {
    fn location(&self) -> Location {
        Location { url: self.http.lock().clone(), grpc_port: self.grpc_port.load(Ordering::SeqCst) as u32 }
    }

    fn note(&self, line: String) {
        self.log.lock().push(line);
    }
}

async fn body_of(body: &mut Incoming) -> Bytes {
    let mut all = BytesMut::new();
    while let Some(Ok(frame)) = next_frame(body).await {
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
    }
    all.freeze()
}

async fn serve_http(state: Arc<State>, mut request: Request<Incoming>) -> Result<Response<Frames>, String> {
    let bytes = body_of(request.body_mut()).await;
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let (volume, fid) = path.split_once(',').ok_or("no file id")?;
    let volume: u32 = volume.parse().map_err(|_| "no volume")?;
    if request.method() == Method::PUT {
        return put(&state, volume, fid, &bytes, request.uri().query()).await;
    }
    let is_chunk = parsed(fid).is_some_and(|(key, _)| key >= FIRST_CHUNK);
    let failing = &state.reads_failing;
    if is_chunk && failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, "", Bytes::new()));
    }
    let deleted_too = request.uri().query() == Some("readDeleted=true");
    let volumes = state.volumes.lock();
    let found = volumes.get(&volume).filter(|volume| !volume.lost && !volume.closed);
    let Some(stored) = found.and_then(|volume| volume.find(fid)).filter(|stored| deleted_too || !stored.deleted) else {
        return Ok(answer(StatusCode::NOT_FOUND, "", Bytes::new()));
    };
    let range =
        request.headers().get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else {
        let mut response = answer(StatusCode::OK, "", stored.data.clone());
        if request.method() == Method::HEAD {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(stored.data.len()));
            *response.body_mut() = Frames(VecDeque::new());
        }
        return Ok(response);
    };
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    let mut response = answer(StatusCode::PARTIAL_CONTENT, "", stored.data.slice(first..=last));
    let range = format!("bytes {first}-{last}/{}", stored.data.len());
    response.headers_mut().insert(header::CONTENT_RANGE, HeaderValue::from_str(&range).expect("a range"));
    Ok(response)
}

fn answer(status: StatusCode, etag: &str, body: Bytes) -> Response<Frames> {
    let mut response = Response::new(Frames(VecDeque::from([Frame::data(body)])));
    *response.status_mut() = status;
    response.headers_mut().insert("etag", HeaderValue::from_str(etag).expect("a tag"));
    response
}

async fn put(state: &State, volume: u32, fid: &str, bytes: &Bytes, query: Option<&str>) -> Result<Response<Frames>, String> {
    assert_eq!(query, Some("fsync=true"), "a write that is not synced");
    let (key, cookie) = parsed(fid).ok_or("no file id")?;
    let sum = format!("\"{:08x}\"", crc32c::crc32c(bytes));
    let kind = if key < FIRST_CHUNK { "seal" } else { "put" };
    state.note(format!("{kind} {volume},{fid}"));
    let next = if key < FIRST_CHUNK { None } else { state.puts.lock().pop_front() };
    match next {
        None => {}
        Some(Put::WrongSum) => return Ok(answer(StatusCode::CREATED, "\"00000000\"", Bytes::from_static(b"{}"))),
        Some(Put::Unchanged) => return Ok(answer(StatusCode::NO_CONTENT, &sum, Bytes::new())),
        Some(Put::Refused(why)) => return Ok(refusal(why)),
        Some(Put::Cut) => return Err("cut".to_owned()),
        Some(Put::Hang) => std::future::pending().await,
    }
    let mut volumes = state.volumes.lock();
    let Some(found) = volumes.get_mut(&volume).filter(|found| !found.lost && !found.closed && !found.read_only) else {
        return Ok(refusal("this volume takes no writes"));
    };
    if found.stored.get(&key).is_some_and(|stored| stored.cookie != cookie) {
        return Ok(refusal("mismatching cookie"));
    }
    // Past the offsets that tests give to needles of theirs, and a multiple of 8.
    let offset = (1 << 20) + found.written * 8;
    found.written += bytes.len() as u64 + 40;
    found.stored.insert(key, Stored { cookie, data: bytes.clone(), offset, deleted: false });
    Ok(answer(StatusCode::CREATED, &sum, Bytes::from_static(b"{}")))
}

fn refusal(why: &str) -> Response<Frames> {
    answer(StatusCode::INTERNAL_SERVER_ERROR, "", serde_json::json!({"error": why}).to_string().into())
}

async fn serve_grpc(state: Arc<State>, mut request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let body = body_of(request.body_mut()).await;
    let message = body.get(5..).unwrap_or_default();
    let answer = match request.uri().path() {
        AssignRequest::PATH => {
            let request = AssignRequest::decode(message).expect("a message");
            let volume = state.assigned.load(Ordering::SeqCst) as u32;
            state.note(format!("assign {volume}"));
            let made = || FakeVolume { collection: request.collection.clone(), ..FakeVolume::default() };
            state.volumes.lock().entry(volume).or_insert_with(made);
            let fid = format!("{volume},01aabbccdd");
            Ok(AssignResponse { fid, count: request.count, location: Some(state.location()), ..Default::default() }
                .encode_to_vec())
        }
        LookupVolumeRequest::PATH => {
            let request = LookupVolumeRequest::decode(message).expect("a message");
            let volume: u32 = request.volume_or_file_ids[0].parse().expect("a volume");
            let volumes = state.volumes.lock();
            // Where the collection has volumes, a master does not look among shards.
            let found = volumes
                .get(&volume)
                .filter(|found| !found.unlisted)
                .is_some_and(|found| request.collection.is_empty() || (!found.cut && request.collection == found.collection));
            let found =
                VolumeIdLocation { locations: found.then(|| state.location()).into_iter().collect(), error: String::new() };
            Ok(LookupVolumeResponse { volume_id_locations: vec![found] }.encode_to_vec())
        }
        VolumeListRequest::PATH => {
            let request = VolumeListRequest::decode(message).expect("a message");
            let gate = state.listing_held.lock().take();
            if let Some(gate) = gate {
                state.listing_asked.notify_one();
                gate.acquire().await.expect("open").forget();
            }
            Ok(listing(&state, &request.collection).encode_to_vec())
        }
        BatchDeleteRequest::PATH => {
            let request = BatchDeleteRequest::decode(message).expect("a message");
            let results = request.file_ids.iter().map(|file_id| delete(&state, file_id, request.skip_cookie_check)).collect();
            Ok(BatchDeleteResponse { results }.encode_to_vec())
        }
        CopyFileRequest::PATH => {
            let request = CopyFileRequest::decode(message).expect("a message");
            if state.volumes.lock().get(&request.volume_id).is_none_or(|volume| volume.lost || volume.cut) {
                return Ok(answered(Err("not found volume id")));
            }
            if request.stop_offset > 0 {
                state.note("index".to_owned());
                let index = state.volumes.lock().get(&request.volume_id).map(FakeVolume::index);
                return Ok(answered(Ok(CopyFileResponse { file_content: index.unwrap_or_default().into() }.encode_to_vec())));
            }
            state.sync_asked.notify_one();
            let gate = state.syncs_held.lock().clone();
            if let Some(gate) = gate {
                gate.acquire().await.expect("open").forget();
            }
            let failing = &state.syncs_failing;
            let failed = failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if failed {
                Err("not synced")
            } else {
                state.note(format!("sync {}", request.volume_id));
                Ok(CopyFileResponse::default().encode_to_vec())
            }
        }
        ReadVolumeFileStatusRequest::PATH => {
            let request = ReadVolumeFileStatusRequest::decode(message).expect("a message");
            let volumes = state.volumes.lock();
            let found = volumes.get(&request.volume_id).filter(|found| !found.lost && !found.cut);
            found
                .map(|found| {
                    let dat_file_size = if found.closed { 0 } else { 8 + found.written };
                    let (collection, compaction_revision) = (found.collection.clone(), found.revision);
                    ReadVolumeFileStatusResponse { dat_file_size, compaction_revision, collection, ..Default::default() }
                        .encode_to_vec()
                })
                .ok_or("not found volume id")
        }
        ReadNeedleBlobRequest::PATH => {
            let request = ReadNeedleBlobRequest::decode(message).expect("a message");
            let volumes = state.volumes.lock();
            let blob = volumes.get(&request.volume_id).and_then(|volume| volume.blob(request.offset));
            blob.map(|needle_blob| ReadNeedleBlobResponse { needle_blob }.encode_to_vec()).ok_or("read past the end")
        }
        other => panic!("{other} is not called"),
    };
    Ok(answered(answer))
}

fn listing(state: &State, collection: &str) -> VolumeListResponse {
    let is_asked = |name: &str| collection.is_empty() || name == collection;
    let volumes = state.volumes.lock();
    let listed = || volumes.iter().filter(|(_, found)| !found.unlisted && is_asked(&found.collection));
    let information = |id: u32, collection: &str, read_only| VolumeInformation {
        id,
        collection: collection.to_owned(),
        read_only,
        ..Default::default()
    };
    let mut volume_infos: Vec<_> = listed()
        .filter(|(_, found)| !found.cut)
        .map(|(volume, found)| information(*volume, &found.collection, found.read_only))
        .collect();
    volume_infos.extend(state.others.lock().iter().filter(|name| is_asked(name)).map(|name| information(999, name, false)));
    let shards = |(volume, found): (&u32, &FakeVolume)| EcShardInformation { id: *volume, collection: found.collection.clone() };
    let ec_shard_infos = listed().filter(|(_, found)| found.cut).map(shards).collect();
    let disk = DiskInfo { volume_infos, ec_shard_infos, ..Default::default() };
    let location = state.location();
    let node = DataNodeInfo {
        id: location.url,
        disk_infos: [(String::new(), disk)].into(),
        grpc_port: location.grpc_port,
        address: String::new(),
    };
    let nodes = if state.without_servers.load(Ordering::SeqCst) { Vec::new() } else { vec![node] };
    let center = DataCenterInfo { rack_infos: vec![RackInfo { data_node_infos: nodes }] };
    VolumeListResponse { topology_info: Some(TopologyInfo { data_center_infos: vec![center] }), volume_size_limit_mb: 1 }
}

fn delete(state: &State, file_id: &str, skip_cookie_check: bool) -> DeleteResult {
    let result = |status, error: &str| DeleteResult { file_id: file_id.to_owned(), status, error: error.to_owned() };
    let (volume, fid) = file_id.split_once(',').expect("a file id");
    let (key, cookie) = parsed(fid).expect("a file id");
    let kind = if key < FIRST_CHUNK { "unseal" } else { "delete" };
    state.note(format!("{kind} {file_id}"));
    if let Some((status, error)) = state.deletion.lock().filter(|_| key >= FIRST_CHUNK) {
        return result(status, error);
    }
    let mut volumes = state.volumes.lock();
    let Some(found) = volumes.get_mut(&volume.parse().expect("a volume")).filter(|found| !found.lost) else {
        return result(404, &format!("volume {volume} not found"));
    };
    let is_damaged = state.damaged.lock().contains(&key);
    assert!(is_damaged || !skip_cookie_check, "a deletion that would hit whatever has the key (B7)");
    match found.stored.get_mut(&key) {
        _ if found.closed => result(404, "not found"),
        None => result(404, "not found"),
        Some(stored) if stored.deleted => result(404, "already deleted"),
        Some(_) if is_damaged && !skip_cookie_check => result(404, "invalid CRC for needle"),
        Some(stored) if stored.cookie != cookie => result(400, "File Random Cookie does not match."),
        Some(stored) => {
            stored.deleted = true;
            result(202, "")
        }
    }
}

fn answered(answer: Result<Vec<u8>, &'static str>) -> Response<Frames> {
    let mut trailers = HeaderMap::new();
    let mut frames = VecDeque::new();
    match answer {
        Ok(message) => {
            let mut framed = BytesMut::new();
            framed.put_u8(0);
            framed.put_u32(message.len() as u32);
            framed.extend_from_slice(&message);
            frames.push_back(Frame::data(framed.freeze()));
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(why) => {
            trailers.insert("grpc-status", HeaderValue::from_static("2"));
            trailers.insert("grpc-message", HeaderValue::from_static(why));
        }
    }
    frames.push_back(Frame::trailers(trailers));
    Response::new(Frames(frames))
}

/// A body of frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
