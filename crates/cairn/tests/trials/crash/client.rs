//! A client: one request after the other, whatever comes to its mind, every answer taken down.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_testkit::s3_client::{Answer, BodyMode, Checksum, S3Client, S3Request, encode, path};
use rand::Rng;

use super::model::{Action, Condition, Moment, Operation, ValueId};
use super::values::{NAME, Values};
use super::world::{BUCKETS, Fate, KEYS, Piece, Place, Upload, World, key};
use crate::connection::Connection;
use crate::seed::Random;

/// A request that takes longer hangs.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Uploads that may be open at the same time.
const UPLOADS_MAX: usize = 12;
/// The smallest part that is not the last one (AWS, "Amazon S3 multipart upload limits").
const PART_BYTES_MIN: usize = 5 << 20;
/// More than a chunk holds.
const LARGE_BYTES: std::ops::Range<usize> = 8_400_000..9_500_000;

/// A client.
pub struct Client {
    world: Arc<World>,
    connection: Connection,
    random: Random,
}

/// A request that was sent: when, and the answer where one came that says what was done.
struct Asked {
    begun: Moment,
    answered: Option<(Moment, Answer)>,
}

impl Client {
    /// One with choices of its own.
    pub fn new(world: Arc<World>, client: S3Client, random: Random) -> Self {
        Self { world, connection: Connection::new(client), random }
    }

    /// Asks until the service is gone.
    pub async fn run(mut self) {
        while !self.world.is_over() {
            let place = (self.random.random_range(0..BUCKETS.len()), key(self.random.random_range(0..KEYS)));
            match self.random.random_range(0..100) {
                0..30 => self.put(place).await,
                30..38 => self.delete(place).await,
                38..60 => self.get(place).await,
                60..68 => self.copy(place).await,
                68..74 => self.list(place.0).await,
                74..90 => self.upload(place).await,
                90..93 => self.half(place).await,
                _ => self.delete_version(place).await,
            }
        }
    }

    async fn ask(&mut self, request: &S3Request) -> Asked {
        let begun = self.world.now();
        let answered = match tokio::time::timeout(REQUEST_MAX, self.connection.send(request)).await {
            Ok(Ok(answer)) if answer.status >= 500 => {
                self.world.count(&format!("answered {} {}", answer.status, answer.code()));
                None
            }
            Ok(Ok(answer)) => Some((self.world.now(), answer)),
            Ok(Err(_)) if self.world.is_over() => None,
            Ok(Err(error)) => {
                self.world.count("connections lost");
                // Near the moment of the kill, most likely; not so if it comes again and again.
                tokio::time::sleep(Duration::from_millis(5)).await;
                tracing_of(&error);
                None
            }
            Err(_) => {
                self.world
                    .wrong(format!("no answer within {REQUEST_MAX:?}: {} {} {:?}", request.method, request.path, request.query));
                None
            }
        };
        Asked { begun, answered }
    }

    fn unexpected(&self, request: &S3Request, answer: &Answer) {
        let (status, text) = (answer.status, answer.text());
        self.world.wrong(format!(
            "unexpected: {} {} {:?} {:?}: {status} {text:.600}",
            request.method, request.path, request.query, request.headers
        ));
    }

    fn length(&mut self) -> usize {
        match self.random.random_range(0..1000) {
            0..20 => 0,
            20..700 => self.random.random_range(16..4000),
            700..994 => self.random.random_range(4000..300_000),
            _ => self.random.random_range(LARGE_BYTES),
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

    /// A condition, and the header that says it.
    fn condition(&mut self, place: &Place) -> (Condition, Option<(&'static str, String)>) {
        match self.random.random_range(0..10) {
            0..2 => (Condition::IfNone, Some(("if-none-match", "*".to_owned()))),
            2..5 => match self.known(place) {
                Some((id, etag)) => (Condition::IfIs(id), Some(("if-match", format!("\"{etag}\"")))),
                None => (Condition::IfNone, Some(("if-none-match", "*".to_owned()))),
            },
            _ => (Condition::Always, None),
        }
    }

    fn known(&self, place: &Place) -> Option<(ValueId, String)> {
        let id = self.world.known.lock().get(place)?.0;
        Some((id, self.world.values.get(id)?.etag.clone()))
    }

    /// Takes down how a write went.
    fn wrote(&self, place: &Place, request: &S3Request, asked: &Asked, condition: Condition, value: ValueId) {
        let operation = |action, version| Operation { begun: asked.begun, ended: None, action, version };
        let Some((ended, answer)) = &asked.answered else {
            self.world.record(place, operation(Action::Put(condition, value), None));
            return;
        };
        let conditional = condition != Condition::Always;
        let version = answer.header("x-amz-version-id").map(str::to_owned);
        let action = match (answer.status, answer.code().as_str()) {
            (200, _) => {
                let expected = self.world.values.get(value).map(|value| value.etag.clone());
                let etag = answer.element("ETag").or_else(|| answer.header("etag").map(str::to_owned));
                let etag = etag.map(|etag| etag.replace("&quot;", "").replace('"', ""));
                if etag != expected || version.is_some() != (place.0 == 1) {
                    self.unexpected(request, answer);
                }
                let mut known = self.world.known.lock();
                let entry = known.entry(place.clone()).or_default();
                entry.0 = value;
                entry.1.extend(version.clone());
                Action::Put(condition, value)
            }
            (412, "PreconditionFailed") if conditional => Action::PutRefused(condition),
            (404, "NoSuchKey") if matches!(condition, Condition::IfIs(_)) => Action::PutMissed,
            (409, "ConditionalRequestConflict") if conditional => return,
            _ => return self.unexpected(request, answer),
        };
        self.world.record(place, Operation { ended: Some(*ended), ..operation(action, version) });
    }

    async fn put(&mut self, place: Place) {
        let length = self.length();
        let (value, body) = self.world.values.make(length);
        let (condition, header) = self.condition(&place);
        let mut request =
            S3Request::new("PUT", path(BUCKETS[place.0], &place.1)).header(NAME, value.to_string()).mode(self.mode()).body(body);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let asked = self.ask(&request).await;
        self.world.count("writes");
        self.wrote(&place, &request, &asked, condition, value);
    }

    /// A body of which only a part is sent: nothing may come of it.
    async fn half(&mut self, place: Place) {
        let (value, body) = self.world.values.make(100_000);
        let request = S3Request::new("PUT", path(BUCKETS[place.0], &place.1)).header(NAME, value.to_string()).body(body);
        let count = self.random.random_range(1..100_000);
        self.world.count("bodies cut off");
        let _ = self.connection.send_half(&request, count).await;
    }

    async fn delete(&mut self, place: Place) {
        let request = S3Request::new("DELETE", path(BUCKETS[place.0], &place.1));
        let Asked { begun, answered } = self.ask(&request).await;
        let (mut ended, mut version) = (None, None);
        if let Some((moment, answer)) = answered {
            if answer.status != 204 {
                return self.unexpected(&request, &answer);
            }
            ended = Some(moment);
            version = answer.header("x-amz-version-id").map(str::to_owned);
            if let Some(version) = &version {
                self.world.known.lock().entry(place.clone()).or_default().1.push(version.clone());
            }
        }
        self.world.count("deletes");
        self.world.record(&place, Operation { begun, ended, action: Action::Delete, version });
    }

    async fn delete_version(&mut self, place: Place) {
        let version = {
            let mut known = self.world.known.lock();
            let Some((_, versions)) = known.get_mut(&place).filter(|(_, versions)| !versions.is_empty()) else { return };
            let index = self.random.random_range(0..versions.len());
            versions.swap_remove(index)
        };
        let request = S3Request::new("DELETE", path(BUCKETS[place.0], &place.1)).query("versionId", &version);
        let Asked { begun, answered } = self.ask(&request).await;
        if let Some((_, answer)) = answered.as_ref().filter(|(_, answer)| answer.status != 204) {
            return self.unexpected(&request, answer);
        }
        self.world.count("deletes of versions");
        let ended = answered.map(|(ended, _)| ended);
        self.world.record(&place, Operation { begun, ended, action: Action::DeleteVersion(version), version: None });
    }

    async fn get(&mut self, place: Place) {
        let mut request = S3Request::new("GET", path(BUCKETS[place.0], &place.1));
        let from = self.random.random_range(0..5000);
        let to = from + self.random.random_range(1..100_000);
        let is_ranged = self.random.random();
        if is_ranged {
            request = request.header("range", format!("bytes={from}-{}", to - 1));
        }
        let Asked { begun, answered: Some((ended, answer)) } = self.ask(&request).await else { return };
        let range = match answer.status {
            200 => None,
            206 if is_ranged => Some((from, to)),
            416 if is_ranged => return,
            404 => {
                self.world.record(&place, Operation { begun, ended: Some(ended), action: Action::Saw(None), version: None });
                return;
            }
            _ => return self.unexpected(&request, &answer),
        };
        self.world.count("reads");
        match self.world.values.verify(&answer, range) {
            Ok(id) => {
                self.world.known.lock().entry(place.clone()).or_default().0 = id;
                self.world.record(&place, Operation { begun, ended: Some(ended), action: Action::Saw(Some(id)), version: None });
            }
            Err(what) => self.world.wrong(format!("GET {place:?} {range:?}: {what}")),
        }
    }

    async fn copy(&mut self, place: Place) {
        let source = (self.random.random_range(0..BUCKETS.len()), key(self.random.random_range(0..KEYS)));
        let Some((id, etag)) = self.known(&source) else { return };
        let Some(value) = self.world.values.get(id) else { return };
        if source == place || value.pieces.len() != 1 || etag.contains('-') {
            return;
        }
        let copied = self.world.values.copy(id, &value);
        let request = S3Request::new("PUT", path(BUCKETS[place.0], &place.1))
            .header("x-amz-copy-source", format!("/{}/{}", BUCKETS[source.0], encode(&source.1, true)))
            .header("x-amz-copy-source-if-match", format!("\"{etag}\""))
            .header("x-amz-metadata-directive", "REPLACE")
            .header(NAME, copied.to_string());
        let asked = self.ask(&request).await;
        let action = match asked.answered.as_ref().map(|(_, answer)| answer.status) {
            // The source was what its condition says, when the copy was made.
            Some(200) => Some(Action::Listed(Some(super::model::class(id)))),
            Some(412) => Some(Action::SawOther(id)),
            Some(404) => Some(Action::Saw(None)),
            _ => None,
        };
        self.world.count("copies");
        if let (Some(action), Some((ended, _))) = (action, &asked.answered) {
            self.world.record(&source, Operation { begun: asked.begun, ended: Some(*ended), action, version: None });
        }
        if !matches!(asked.answered.as_ref().map(|(_, answer)| answer.status), Some(412 | 404)) {
            self.wrote(&place, &request, &asked, Condition::Always, copied);
        }
    }

    /// A list of some keys, page by page: what it says of each key was so at some moment of the list.
    async fn list(&mut self, bucket: usize) {
        let prefix = ["a/", "b/", "key-1", "key-2", "\u{1F5FB} "][self.random.random_range(0..5)];
        let page = self.random.random_range(1..9).to_string();
        let mut listed: Vec<(String, String)> = Vec::new();
        let (mut begun, mut token) = (None, None);
        let ended = loop {
            let mut request = S3Request::new("GET", path(BUCKETS[bucket], ""))
                .query("list-type", "2")
                .query("prefix", prefix)
                .query("max-keys", &page);
            if let Some(token) = &token {
                request = request.query("continuation-token", token);
            }
            let asked = self.ask(&request).await;
            begun = begun.or(Some(asked.begun));
            let Some((ended, answer)) = asked.answered else { return };
            if answer.status != 200 {
                return self.unexpected(&request, &answer);
            }
            let etags = answer.elements("ETag").into_iter().map(|etag| etag.replace("&quot;", "").replace('"', ""));
            listed.extend(answer.elements("Key").into_iter().zip(etags));
            token = answer.element("NextContinuationToken");
            if token.is_none() {
                break ended;
            }
        };
        self.world.count("lists");
        if !listed.is_sorted_by(|one, next| one.0 < next.0) {
            self.world.wrong(format!("a list that is not sorted: {listed:?}"));
        }
        for key in (0..KEYS).map(key).filter(|key| key.starts_with(prefix)) {
            let tag = match listed.iter().find(|(listed, _)| *listed == key) {
                None => None,
                Some((_, etag)) => match self.world.values.class_of(etag) {
                    Some(class) => Some(class),
                    None => return self.world.wrong(format!("a list names {key} with the ETag {etag}, which nothing has")),
                },
            };
            let operation =
                Operation { begun: begun.unwrap_or_default(), ended: Some(ended), action: Action::Listed(tag), version: None };
            self.world.record(&(bucket, key), operation);
        }
    }

    // -- uploads -----------------------------------------------------------------------------------------------------------------

    /// The next step of an upload, or of a new one.
    async fn upload(&mut self, place: Place) {
        let taken = {
            let mut uploads = self.world.uploads.lock();
            let open: Vec<usize> = (0..uploads.len()).filter(|index| uploads[*index].fate == Fate::Open).collect();
            let is_new = open.is_empty() || (open.len() < UPLOADS_MAX && self.random.random_ratio(1, 3));
            (!is_new).then(|| uploads.swap_remove(open[self.random.random_range(0..open.len())]))
        };
        let Some(mut upload) = taken else { return self.create_upload(place).await };
        match self.random.random_range(0..10) {
            0..5 => self.upload_part(&mut upload).await,
            5..6 => self.list_parts(&upload).await,
            6..7 => self.abort(&mut upload).await,
            _ => self.complete(&mut upload).await,
        }
        self.world.uploads.lock().push(upload);
    }

    async fn create_upload(&mut self, place: Place) {
        let value = self.world.values.number();
        let request =
            S3Request::new("POST", path(BUCKETS[place.0], &place.1)).query("uploads", "").header(NAME, value.to_string());
        match self.ask(&request).await.answered {
            None => {
                self.world.uploads_unknown.fetch_add(1, Ordering::SeqCst);
            }
            Some((_, answer)) => match answer.element("UploadId") {
                Some(id) if answer.status == 200 => {
                    self.world.count("uploads");
                    let upload = Upload { place, id, value, parts: std::collections::BTreeMap::new(), fate: Fate::Open };
                    self.world.uploads.lock().push(upload);
                }
                _ => self.unexpected(&request, &answer),
            },
        }
    }

    fn to(upload: &Upload, method: &str) -> S3Request {
        S3Request::new(method, path(BUCKETS[upload.place.0], &upload.place.1)).query("uploadId", &upload.id)
    }

    async fn upload_part(&mut self, upload: &mut Upload) {
        // The first part rarely has what lets another one follow: those are large.
        let number: u32 = self.random.random_range(1..=3);
        let length = if number < 3 && self.random.random_ratio(1, 12) {
            PART_BYTES_MIN + self.random.random_range(0..1000)
        } else {
            self.random.random_range(16..150_000)
        };
        let piece = (self.world.values.number(), length);
        let body = self.world.values.piece(piece.0, piece.1);
        let request = Self::to(upload, "PUT").query("partNumber", number.to_string()).mode(self.mode()).body(body);
        let asked = self.ask(&request).await;
        let part = upload.parts.entry(number).or_default();
        match asked.answered {
            None => part.unknown.push(piece),
            Some((_, answer)) if answer.status == 200 => {
                self.world.count("parts");
                part.acknowledged = Some(piece);
            }
            Some((_, answer)) => self.unexpected(&request, &answer),
        }
    }

    async fn list_parts(&mut self, upload: &Upload) {
        let request = Self::to(upload, "GET");
        let Some((_, answer)) = self.ask(&request).await.answered else { return };
        if answer.status != 200 {
            return self.unexpected(&request, &answer);
        }
        if let Err(what) = judge_parts(&self.world.values, upload, &answer) {
            self.world.wrong(what);
        }
    }

    async fn abort(&mut self, upload: &mut Upload) {
        let request = Self::to(upload, "DELETE");
        match self.ask(&request).await.answered {
            None => upload.fate = Fate::Aborting,
            Some((_, answer)) if answer.status == 204 => {
                self.world.count("aborts");
                upload.fate = Fate::Aborted;
            }
            Some((_, answer)) => self.unexpected(&request, &answer),
        }
    }

    async fn complete(&mut self, upload: &mut Upload) {
        // Parts whose state is known, those before the last large enough.
        let mut parts: Vec<(u32, Piece)> = Vec::new();
        for (number, part) in &upload.parts {
            let Some(piece) = part.acknowledged.filter(|_| part.unknown.is_empty()) else { continue };
            if parts.last().is_none_or(|(_, (_, length))| *length >= PART_BYTES_MIN) {
                parts.push((*number, piece));
            }
        }
        if parts.is_empty() {
            return;
        }
        let pieces: Vec<Piece> = parts.iter().map(|(_, piece)| *piece).collect();
        self.world.values.assemble(upload.value, &pieces);
        let mut document = String::from("<CompleteMultipartUpload>");
        for (number, (piece, length)) in &parts {
            let etag = self.world.values.piece_etag(*piece, *length);
            write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>").unwrap();
        }
        document += "</CompleteMultipartUpload>";
        let (condition, header) = self.condition(&upload.place);
        let mut request = Self::to(upload, "POST").body(document);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let asked = self.ask(&request).await;
        upload.fate = match asked.answered.as_ref().map(|(_, answer)| answer.status) {
            None => Fate::Completing,
            Some(200) => Fate::Completed,
            Some(_) => Fate::Open,
        };
        self.world.count("completions");
        let place = upload.place.clone();
        self.wrote(&place, &request, &asked, condition, upload.value);
    }
}

/// A connection that failed while the service was there is only counted; the words help whoever looks into it.
fn tracing_of(error: &std::io::Error) {
    if std::env::var_os("CAIRN_TRIALS_VERBOSE").is_some() {
        println!("a connection failed: {error}");
    }
}

/// Whether a list of parts says what is known of them.
///
/// # Errors
/// Where it does not.
pub fn judge_parts(values: &Values, upload: &Upload, answer: &Answer) -> Result<(), String> {
    let numbers = answer.elements("PartNumber");
    let etags = answer.elements("ETag").into_iter().map(|etag| etag.replace("&quot;", "").replace('"', ""));
    let sizes = answer.elements("Size");
    let listed: Vec<_> = numbers.into_iter().zip(etags.zip(sizes)).collect();
    for (number, part) in &upload.parts {
        let shown = listed.iter().find(|(listed, _)| *listed == number.to_string()).map(|(_, shown)| shown);
        let is = |piece: &Piece| {
            shown.is_some_and(|(etag, size)| *etag == values.piece_etag(piece.0, piece.1) && *size == piece.1.to_string())
        };
        let may_be_missing = part.acknowledged.is_none() && shown.is_none();
        if !(may_be_missing || part.acknowledged.iter().chain(&part.unknown).any(is)) {
            return Err(format!("the part {number} of {upload:?} is listed as {shown:?}"));
        }
    }
    let strange = listed.iter().find(|(number, _)| !upload.parts.keys().any(|known| known.to_string() == *number));
    strange.map_or(Ok(()), |strange| Err(format!("a part that nobody uploaded: {strange:?} of {upload:?}")))
}
