//! A client: one request after the other on keys of its own, each answer held against what must come of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_testkit::s3_client::{Answer, BodyMode, Checksum, S3Client, S3Request, encode, path};
use rand::Rng;

use super::model::{INLINE_BYTES_MAX, Keys, Object, Piece, Version, bare, current, md5_of, pieces, stored_bytes};
use super::world::{Sort, World};
use crate::connection::Connection;
use crate::seed::{self, Random};

/// The buckets: one without versions, one with.
pub const BUCKETS: [&str; 2] = ["plain", "versioned"];
/// A request that takes longer hangs.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Versions of a key that are kept.
const VERSIONS_MAX: usize = 4;
/// The smallest part that is not the last one (AWS, "Amazon S3 multipart upload limits").
const PART_BYTES_MIN: usize = 5 << 20;
/// Uploads that a client leaves open for a while.
const UPLOADS_MAX: usize = 2;

/// Why a client gives up: what was answered that cannot be.
type Outcome<T = ()> = Result<T, String>;

/// A client.
pub struct Client {
    number: u64,
    world: Arc<World>,
    connection: Connection,
    random: Random,
    /// Keys that it has in each bucket.
    keys_max: u64,
    /// What they hold.
    pub buckets: [Keys; 2],
    /// Uploads that were left open: bucket, key, id, and their parts.
    uploads: Vec<(usize, String, String, Vec<Piece>)>,
    next: u64,
}

impl Client {
    /// One without anything.
    pub fn new(number: u64, world: Arc<World>, client: S3Client, keys_max: u64) -> Self {
        let random = seed::random(world.seed, number);
        let connection = Connection::new(client);
        Self { number, world, connection, random, keys_max, buckets: Default::default(), uploads: Vec::new(), next: 0 }
    }

    /// Asks, one request in each interval, until the time is over; then aborts what it has left open.
    pub async fn run(mut self, interval: Duration) -> Self {
        let mut next = tokio::time::Instant::now() + interval.mul_f64(self.random.random_range(0.0..1.0));
        while !self.world.is_over() {
            tokio::time::sleep_until(next).await;
            // Who is late does not hurry afterwards.
            next = (next + interval).max(tokio::time::Instant::now());
            let outcome = self.step().await;
            if let Err(what) = outcome {
                self.world.wrong(format!("client {}: {what}", self.number));
            }
            let live =
                self.buckets.iter().flat_map(pieces).chain(self.uploads.iter().flat_map(|upload| upload.3.iter().copied()));
            let live = stored_bytes(live);
            self.world.live_bytes.lock().insert(self.number, live);
        }
        while let Some((bucket, key, id, _)) = self.uploads.pop() {
            if let Err(what) = self.abort(bucket, &key, &id).await {
                self.world.wrong(format!("client {}: {what}", self.number));
            }
        }
        self
    }

    async fn step(&mut self) -> Outcome {
        let bucket = self.random.random_range(0..BUCKETS.len());
        let key = self.key();
        match self.random.random_range(0..1000) {
            0..330 => self.put(bucket, key).await,
            330..420 => self.delete(bucket, &key).await,
            420..440 => self.delete_many(bucket).await,
            440..500 => self.delete_version(&key).await,
            500..680 => self.get(bucket, &key, false).await,
            680..810 => self.get(bucket, &key, true).await,
            810..890 => self.list(bucket).await,
            890..910 => self.list_versions().await,
            910..980 => self.copy(bucket, key).await,
            980..990 => self.upload(bucket, key).await,
            _ => self.half(bucket, &key).await,
        }
    }

    fn key(&mut self) -> String {
        let number = self.random.random_range(0..self.keys_max);
        // In folders, and some that have to be encoded.
        match number % 5 {
            0 => format!("c{}/deep/{}/{number:04} + %", self.number, number % 7),
            _ => format!("c{}/{number:04}", self.number),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.number << 40 | self.next
    }

    fn length(&mut self) -> usize {
        match self.random.random_range(0..1000) {
            0..20 => 0,
            20..570 => self.random.random_range(1..=INLINE_BYTES_MAX),
            570..900 => self.random.random_range(INLINE_BYTES_MAX + 1..200_000),
            900..990 => self.random.random_range(200_000..1_300_000),
            _ => self.random.random_range(8_300_000..12_000_000),
        }
    }

    fn mode(&mut self) -> BodyMode {
        match self.random.random_range(0..4) {
            0 => BodyMode::Signed,
            1 => BodyMode::Unsigned,
            2 => BodyMode::ChunkedSigned(65_536),
            _ => BodyMode::ChunkedUnsignedTrailer(65_536, Checksum::Crc32c),
        }
    }

    async fn ask(&mut self, request: &S3Request, sort: Option<Sort>) -> Outcome<Answer> {
        let begun = tokio::time::Instant::now();
        let what = || format!("{} {} {:?} {:?}", request.method, request.path, request.query, request.headers);
        match tokio::time::timeout(REQUEST_MAX, self.connection.send(request)).await {
            Ok(Ok(answer)) => {
                if let Some(sort) = sort {
                    self.world.took(sort, begun.elapsed());
                }
                Ok(answer)
            }
            Ok(Err(error)) => Err(format!("{}: {error}", what())),
            Err(_) => Err(format!("{}: no answer within {REQUEST_MAX:?}", what())),
        }
    }

    /// Asks for what must be answered with this status.
    async fn expect(&mut self, request: &S3Request, sort: Option<Sort>, status: u16) -> Outcome<Answer> {
        let answer = self.ask(request, sort).await?;
        if answer.status == status {
            return Ok(answer);
        }
        let S3Request { method, path, query, headers, .. } = request;
        Err(format!("{method} {path} {query:?} {headers:?}: {} and not {status}: {:.600}", answer.status, answer.text()))
    }

    /// Takes down what stands under a key now.
    fn wrote(&mut self, bucket: usize, key: &str, answer: &Answer, object: Option<Object>) -> Outcome {
        let id = answer.header("x-amz-version-id").map(str::to_owned);
        if id.is_some() != (bucket == 1) {
            return Err(format!("{key}: the version id is {id:?}"));
        }
        let versions = self.buckets[bucket].entry(key.to_owned()).or_default();
        if bucket == 0 {
            versions.clear();
        }
        if object.is_some() || bucket == 1 {
            versions.insert(0, Version { id, object });
        } else {
            self.buckets[0].remove(key);
        }
        Ok(())
    }

    async fn put(&mut self, bucket: usize, key: String) -> Outcome {
        let (number, length) = (self.number(), self.length());
        let body = seed::body(self.world.seed, number, length);
        let object = Object::whole((number, length), &body);
        let present = current(&self.buckets[bucket], &key).map(|object| format!("\"{}\"", object.etag));
        let (condition, status) = match (self.random.random_range(0..10), present) {
            (0..2, None) => (Some(("if-none-match", "*".to_owned())), 200),
            (0..2, Some(_)) => (Some(("if-none-match", "*".to_owned())), 412),
            (2, Some(etag)) => (Some(("if-match", etag)), 200),
            (3, Some(_)) => (Some(("if-match", format!("\"{}\"", "0".repeat(32)))), 412),
            (3, None) => (Some(("if-match", format!("\"{}\"", "0".repeat(32)))), 404),
            _ => (None, 200),
        };
        let mut request = S3Request::new("PUT", path(BUCKETS[bucket], &key)).mode(self.mode()).body(body);
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let sort = match length {
            _ if status != 200 || length > 262_144 => None,
            ..=INLINE_BYTES_MAX => Some(Sort::PutInline),
            _ => Some(Sort::PutChunk),
        };
        let answer = self.expect(&request, sort, status).await?;
        self.world.written_bytes.fetch_add(length as u64, Ordering::Relaxed);
        if status != 200 {
            self.world.count("writes refused by their condition");
            return Ok(());
        }
        self.world.count("writes");
        let etag = answer.header("etag").map(bare);
        if etag.as_deref() != Some(&object.etag) {
            return Err(format!("{key}: written as {etag:?} and not {}", object.etag));
        }
        self.wrote(bucket, &key, &answer, Some(object))?;
        self.trim(bucket, &key).await
    }

    /// A body of which only a part is sent: nothing may come of it.
    async fn half(&mut self, bucket: usize, key: &str) -> Outcome {
        let (number, length) = (self.number(), self.random.random_range(1000..600_000));
        let request = S3Request::new("PUT", path(BUCKETS[bucket], key)).body(seed::body(self.world.seed, number, length));
        let count = self.random.random_range(1..length);
        self.world.count("bodies cut off");
        self.connection.send_half(&request, count).await.map_err(|error| format!("{key}: {error}"))
    }

    async fn delete(&mut self, bucket: usize, key: &str) -> Outcome {
        let request = S3Request::new("DELETE", path(BUCKETS[bucket], key));
        let answer = self.expect(&request, None, 204).await?;
        self.world.count("deletes");
        self.wrote(bucket, key, &answer, None)?;
        self.trim(bucket, key).await
    }

    /// Deletes what is named: keys, and versions by their ids.
    async fn multi_delete(&mut self, bucket: usize, targets: &[(String, Option<String>)]) -> Outcome<Answer> {
        let mut document = "<Delete>".to_owned();
        for (key, id) in targets {
            let _ = write!(document, "<Object><Key>{key}</Key>");
            if let Some(id) = id {
                let _ = write!(document, "<VersionId>{id}</VersionId>");
            }
            document.push_str("</Object>");
        }
        document.push_str("</Delete>");
        let checksum = Checksum::Crc32;
        let request = S3Request::new("POST", path(BUCKETS[bucket], ""))
            .query("delete", "")
            .header(checksum.header(), checksum.value(document.as_bytes()))
            .body(document);
        let answer = self.expect(&request, None, 200).await?;
        let deleted = answer.text().matches("<Deleted>").count();
        if deleted != targets.len() {
            return Err(format!("{deleted} of {} deleted: {:.600}", targets.len(), answer.text()));
        }
        Ok(answer)
    }

    /// Several keys of the bucket without versions, or all versions of some keys of the other one.
    async fn delete_many(&mut self, bucket: usize) -> Outcome {
        let mut targets = Vec::new();
        for _ in 0..self.random.random_range(2..12) {
            let key = self.key();
            if targets.iter().any(|(own, _)| *own == key) {
                continue;
            }
            match self.buckets[bucket].get(&key) {
                Some(versions) if bucket == 1 => {
                    targets.extend(versions.iter().map(|version| (key.clone(), version.id.clone())));
                }
                _ if bucket == 0 => targets.push((key, None)),
                _ => {}
            }
        }
        if targets.is_empty() {
            return Ok(());
        }
        self.multi_delete(bucket, &targets).await?;
        self.world.count("deletes of several at once");
        for (key, _) in targets {
            self.buckets[bucket].remove(&key);
        }
        Ok(())
    }

    async fn delete_version(&mut self, key: &str) -> Outcome {
        let Some(versions) = self.buckets[1].get(key).filter(|versions| !versions.is_empty()) else { return Ok(()) };
        let index = self.random.random_range(0..versions.len());
        let id = versions[index].id.clone().unwrap_or_default();
        let request = S3Request::new("DELETE", path(BUCKETS[1], key)).query("versionId", &id);
        self.expect(&request, None, 204).await?;
        self.world.count("deletes of versions");
        let versions = self.buckets[1].entry(key.to_owned()).or_default();
        versions.remove(index);
        if versions.is_empty() {
            self.buckets[1].remove(key);
        }
        Ok(())
    }

    /// Takes the oldest versions away, so that what is there stays bounded.
    async fn trim(&mut self, bucket: usize, key: &str) -> Outcome {
        let Some(versions) = self.buckets[bucket].get(key).filter(|versions| versions.len() > VERSIONS_MAX) else {
            return Ok(());
        };
        let targets: Vec<_> = versions[VERSIONS_MAX - 1..].iter().map(|version| (key.to_owned(), version.id.clone())).collect();
        self.multi_delete(bucket, &targets).await?;
        self.world.count("deletes of several at once");
        self.buckets[bucket].entry(key.to_owned()).or_default().truncate(VERSIONS_MAX - 1);
        Ok(())
    }

    async fn get(&mut self, bucket: usize, key: &str, is_ranged: bool) -> Outcome {
        let versions = self.buckets[bucket].get(key).map(Vec::as_slice).unwrap_or_default();
        let of_version = bucket == 1 && !versions.is_empty() && self.random.random_ratio(1, 3);
        let index = if of_version { self.random.random_range(0..versions.len()) } else { 0 };
        let mut request = S3Request::new("GET", path(BUCKETS[bucket], key));
        if of_version {
            request = request.query("versionId", versions[index].id.clone().unwrap_or_default());
        }
        let Some(object) = versions.get(index).and_then(|version| version.object.clone()) else {
            // AWS, "Working with delete markers": a marker that is asked for by its id is a method that is not allowed.
            self.expect(&request, None, if of_version { 405 } else { 404 }).await?;
            self.world.count("reads of what is not there");
            return Ok(());
        };
        let length = object.length();
        let range = (is_ranged && length > 0).then(|| {
            let from = self.random.random_range(0..length);
            (from, (from + self.random.random_range(1..300_000)).min(length))
        });
        if let Some((from, to)) = range {
            request = request.header("range", format!("bytes={from}-{}", to - 1));
        }
        let (from, to) = range.unwrap_or((0, length));
        let sort = (to - from <= 64 << 10).then_some(Sort::Get);
        let answer = self.expect(&request, sort, if range.is_some() { 206 } else { 200 }).await?;
        object.verify(self.world.seed, &answer, range).map_err(|what| format!("{key} {range:?}: {what}"))?;
        self.world.count(if range.is_some() { "ranges read" } else { "reads" });
        Ok(())
    }

    async fn copy(&mut self, bucket: usize, key: String) -> Outcome {
        let (from, source) = (self.random.random_range(0..BUCKETS.len()), self.key());
        let Some(object) = current(&self.buckets[from], &source).cloned() else { return Ok(()) };
        if (from, &source) == (bucket, &key) {
            return Ok(());
        }
        let request = S3Request::new("PUT", path(BUCKETS[bucket], &key))
            .header("x-amz-copy-source", format!("/{}/{}", BUCKETS[from], encode(&source, true)))
            .header("x-amz-copy-source-if-match", format!("\"{}\"", object.etag));
        let answer = self.expect(&request, None, 200).await?;
        let etag = answer.element("ETag").map(|etag| bare(&etag)).unwrap_or_default();
        // What was uploaded in parts may get another ETag.
        if etag != object.etag && !object.is_of_parts() {
            return Err(format!("{source}: copied as {etag} and not {}", object.etag));
        }
        self.world.count("copies");
        self.wrote(bucket, &key, &answer, Some(Object { etag, ..object }))?;
        self.trim(bucket, &key).await
    }

    // -- lists -------------------------------------------------------------------------------------------------------------------

    /// A list of all its keys or of a folder, page by page, each key with its ETag and size.
    pub async fn list(&mut self, bucket: usize) -> Outcome {
        let prefix = match self.random.random_range(0..3) {
            0 => format!("c{}/", self.number),
            1 => format!("c{}/deep/", self.number),
            _ => format!("c{}/0{}", self.number, self.random.random_range(0..3)),
        };
        let page = self.random.random_range(20..300).to_string();
        let (mut listed, mut token) = (Vec::new(), None);
        loop {
            let mut request = S3Request::new("GET", path(BUCKETS[bucket], ""))
                .query("list-type", "2")
                .query("prefix", &prefix)
                .query("max-keys", &page);
            if let Some(token) = &token {
                request = request.query("continuation-token", token);
            }
            let answer = self.expect(&request, Some(Sort::List), 200).await?;
            let etags = answer.elements("ETag").into_iter().map(|etag| bare(&etag));
            let sizes = answer.elements("Size");
            listed.extend(answer.elements("Key").into_iter().zip(etags.zip(sizes)));
            token = answer.element("NextContinuationToken");
            if token.is_none() {
                break;
            }
        }
        self.world.count("lists");
        let held = self.buckets[bucket].iter().filter(|(key, _)| key.starts_with(&prefix));
        let expected: Vec<_> = held
            .filter_map(|(key, versions)| {
                let object = versions.first()?.object.as_ref()?;
                Some((key.clone(), (object.etag.clone(), object.length().to_string())))
            })
            .collect();
        if listed != expected {
            return Err(format!("the list of {prefix} in {} is {listed:?} and not {expected:?}", BUCKETS[bucket]));
        }
        Ok(())
    }

    /// A list of all its versions.
    pub async fn list_versions(&mut self) -> Outcome {
        let prefix = format!("c{}/", self.number);
        let page = self.random.random_range(50..300).to_string();
        let (mut listed, mut marker) = (Vec::new(), None);
        loop {
            let mut request = S3Request::new("GET", path(BUCKETS[1], ""))
                .query("versions", "")
                .query("prefix", &prefix)
                .query("max-keys", &page);
            if let Some((key, id)) = &marker {
                request = request.query("key-marker", key).query("version-id-marker", id);
            }
            let answer = self.expect(&request, None, 200).await?;
            let text = answer.text();
            for entry in text.split("<Version>").flat_map(|rest| rest.split("<DeleteMarker>")).skip(1) {
                let element = |name: &str| {
                    let rest = entry.split(&format!("<{name}>")).nth(1)?;
                    Some(rest.split(&format!("</{name}>")).next()?.to_owned())
                };
                listed.push((element("Key"), element("VersionId"), element("ETag").map(|etag| bare(&etag))));
            }
            if answer.element("IsTruncated").as_deref() != Some("true") {
                break;
            }
            marker = answer.element("NextKeyMarker").zip(answer.element("NextVersionIdMarker"));
        }
        self.world.count("lists of versions");
        let expected: Vec<_> = self.buckets[1]
            .iter()
            .flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)))
            .map(|(key, version)| {
                (Some(key.clone()), version.id.clone(), version.object.as_ref().map(|object| object.etag.clone()))
            })
            .collect();
        // In lists of versions, keys go by bytes and versions of a key by age: as here.
        if listed != expected {
            return Err(format!("the list of versions of {prefix} is {listed:?} and not {expected:?}"));
        }
        Ok(())
    }

    // -- uploads -----------------------------------------------------------------------------------------------------------------

    /// A whole upload: its parts, one of them perhaps twice, and what becomes of it.
    async fn upload(&mut self, bucket: usize, key: String) -> Outcome {
        if self.uploads.len() >= UPLOADS_MAX {
            let (bucket, key, id, _) = self.uploads.remove(0);
            self.abort(bucket, &key, &id).await?;
        }
        let create = S3Request::new("POST", path(BUCKETS[bucket], &key)).query("uploads", "");
        let answer = self.expect(&create, None, 200).await?;
        let id = answer.element("UploadId").ok_or("an upload without an id")?;
        let mut parts: Vec<(Piece, String)> = Vec::new();
        let count = self.random.random_range(1..=3_u32);
        for number in 1..=count {
            let short = self.random.random_range(100..400_000);
            let length = if number < count { PART_BYTES_MIN + short } else { short };
            for _ in 0..=u32::from(self.random.random_ratio(1, 6)) {
                let piece = (self.number(), length);
                let body = seed::body(self.world.seed, piece.0, piece.1);
                let etag = md5_of(&body);
                let put = S3Request::new("PUT", path(BUCKETS[bucket], &key))
                    .query("partNumber", number.to_string())
                    .query("uploadId", &id)
                    .mode(self.mode())
                    .body(body);
                let answer = self.expect(&put, None, 200).await?;
                if answer.header("etag").map(bare).as_deref() != Some(&etag) {
                    return Err(format!("{key}: a part was written as {:?} and not {etag}", answer.header("etag")));
                }
                self.world.written_bytes.fetch_add(length as u64, Ordering::Relaxed);
                self.world.count("parts");
                parts.truncate(number as usize - 1);
                parts.push((piece, etag));
            }
        }
        match self.random.random_range(0..10) {
            0..7 => self.complete(bucket, key, &id, &parts).await,
            7..9 => self.abort(bucket, &key, &id).await,
            _ => {
                let pieces = parts.into_iter().map(|(piece, _)| piece).collect();
                self.uploads.push((bucket, key, id, pieces));
                Ok(())
            }
        }
    }

    async fn complete(&mut self, bucket: usize, key: String, id: &str, parts: &[(Piece, String)]) -> Outcome {
        // Sometimes without the last: what is not named is let go of.
        let named = if parts.len() > 1 && self.random.random_ratio(1, 4) { &parts[..parts.len() - 1] } else { parts };
        let mut document = "<CompleteMultipartUpload>".to_owned();
        for (number, (_, etag)) in (1..).zip(named) {
            let _ = write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>");
        }
        document.push_str("</CompleteMultipartUpload>");
        let complete = S3Request::new("POST", path(BUCKETS[bucket], &key)).query("uploadId", id).body(document);
        let answer = self.expect(&complete, None, 200).await?;
        let object = Object::of_parts(named);
        let etag = answer.element("ETag").map(|etag| bare(&etag));
        if etag.as_deref() != Some(&object.etag) {
            return Err(format!("{key}: completed as {etag:?} and not {}: {:.600}", object.etag, answer.text()));
        }
        self.world.count("uploads completed");
        self.wrote(bucket, &key, &answer, Some(object))?;
        self.trim(bucket, &key).await
    }

    async fn abort(&mut self, bucket: usize, key: &str, id: &str) -> Outcome {
        let request = S3Request::new("DELETE", path(BUCKETS[bucket], key)).query("uploadId", id);
        self.expect(&request, None, 204).await?;
        self.world.count("uploads aborted");
        Ok(())
    }

    // -- the end -----------------------------------------------------------------------------------------------------------------

    /// Reads everything whole, and lists everything. Says how many objects and bytes were read.
    pub async fn read_everything(&mut self, client: S3Client) -> Outcome<(u64, u64)> {
        self.connection = Connection::new(client);
        let (mut objects, mut bytes) = (0, 0);
        for (bucket, name) in BUCKETS.into_iter().enumerate() {
            for (key, versions) in self.buckets[bucket].clone() {
                for Version { id, object } in versions {
                    let Some(object) = object else { continue };
                    let mut request = S3Request::new("GET", path(name, &key));
                    if let Some(id) = &id {
                        request = request.query("versionId", id);
                    }
                    let answer = self.expect(&request, None, 200).await?;
                    object.verify(self.world.seed, &answer, None).map_err(|what| format!("{key} {id:?}: {what}"))?;
                    objects += 1;
                    bytes += object.length() as u64;
                }
            }
            for _ in 0..6 {
                self.list(bucket).await?;
            }
        }
        self.list_versions().await?;
        let uploads =
            S3Request::new("GET", path(BUCKETS[0], "")).query("uploads", "").query("prefix", format!("c{}/", self.number));
        let left = self.expect(&uploads, None, 200).await?.elements("UploadId");
        if left.is_empty() { Ok((objects, bytes)) } else { Err(format!("uploads that were ended are there: {left:?}")) }
    }
}
