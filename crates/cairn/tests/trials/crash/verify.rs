//! After a restart: everything is read, and judged against everything that was asked and answered before.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_testkit::s3_client::{Answer, S3Request, path};
use rand::Rng;

use super::client::judge_parts;
use super::model::{Action, Content, State, Version, explain};
use super::world::{BUCKETS, Fate, KEYS, Part, Place, World, key};
use crate::connection::Connection;
use crate::seed::Random;

/// How long a request may be told to come back, after a start with two zones.
const PATIENCE: Duration = Duration::from_secs(30);
/// Versions of a key that are kept from round to round.
const VERSIONS_MAX: usize = 12;

/// What a list of versions says of one.
struct Listed {
    id: String,
    is_latest: bool,
    /// ETag and size; none for a delete marker.
    object: Option<(String, String)>,
}

/// Reads and judges.
pub struct Verifier<'a> {
    pub world: &'a World,
    pub connection: Connection,
    pub random: Random,
}

type Verdict<T> = Result<T, String>;

impl Verifier<'_> {
    /// Sends a request, again while the service says that it cannot now.
    pub async fn ask(&mut self, request: &S3Request) -> Verdict<Answer> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = match self.connection.send(request).await {
                Ok(answer) if answer.status < 500 => return Ok(answer),
                Ok(answer) => format!("{} {}", answer.status, answer.text()),
                Err(error) => error.to_string(),
            };
            self.world.count("asked again after the restart");
            if tokio::time::Instant::now() > end {
                return Err(format!(
                    "not within {PATIENCE:?} of asking: {} {} {:?}: {answer}",
                    request.method, request.path, request.query
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask_well(&mut self, request: S3Request, status: u16) -> Verdict<Answer> {
        let answer = self.ask(&request).await?;
        if answer.status == status {
            return Ok(answer);
        }
        Err(format!("{} {} {:?}: {} {}", request.method, request.path, request.query, answer.status, answer.text()))
    }

    /// Judges everything; the state that was found is the one in which the next round begins.
    pub async fn run(&mut self) -> Verdict<()> {
        self.uploads().await?;
        let mut seen: BTreeMap<Place, State> = BTreeMap::new();
        for (number, state) in self.plain().await? {
            seen.insert((0, number), state);
        }
        for (number, state) in self.versioned().await? {
            seen.insert((1, number), state);
        }
        let history = std::mem::take(&mut *self.world.history.lock());
        let nothing = State::new();
        for place in (0..BUCKETS.len()).flat_map(|bucket| (0..KEYS).map(move |number| (bucket, key(number)))) {
            let states = self.world.states.lock();
            let first = states.get(&place).unwrap_or(&nothing);
            let last = seen.get(&place).unwrap_or(&nothing);
            let operations = history.get(&place).map(Vec::as_slice).unwrap_or_default();
            explain(first, operations, last, place.0 == 1).map_err(|words| format!("{place:?}: {words}"))?;
        }
        self.trim(&mut seen).await?;
        *self.world.states.lock() = seen;
        Ok(())
    }

    /// Lists objects in pages: keys, ETags, sizes.
    async fn objects(&mut self, bucket: usize) -> Verdict<Vec<(String, (String, String))>> {
        let page = self.random.random_range(1..KEYS * 2).to_string();
        let mut listed: Vec<(String, (String, String))> = Vec::new();
        let mut token = String::new();
        loop {
            let mut request = S3Request::new("GET", path(BUCKETS[bucket], "")).query("list-type", "2").query("max-keys", &page);
            if !token.is_empty() {
                request = request.query("continuation-token", &token);
            }
            let answer = self.ask_well(request, 200).await?;
            let etags = answer.elements("ETag").into_iter().map(|etag| etag.replace("&quot;", "").replace('"', ""));
            listed.extend(answer.elements("Key").into_iter().zip(etags.zip(answer.elements("Size"))));
            match answer.element("NextContinuationToken") {
                Some(next) => token = next,
                None => break,
            }
        }
        if !listed.is_sorted_by(|one, next| one.0 < next.0) {
            return Err(format!("a list that is not sorted: {listed:?}"));
        }
        Ok(listed)
    }

    async fn read(&mut self, place: &Place, version: Option<&str>, listed: &(String, String)) -> Verdict<u64> {
        let mut request = S3Request::new("GET", path(BUCKETS[place.0], &place.1));
        if let Some(version) = version {
            request = request.query("versionId", version);
        }
        let answer = self.ask_well(request, 200).await?;
        let wrong = |what: String| format!("{place:?} {version:?}: {what}");
        let id = self.world.values.verify(&answer, None).map_err(wrong)?;
        let etag = answer.header("etag").unwrap_or_default().trim_matches('"').to_owned();
        if *listed != (etag, answer.body.len().to_string()) {
            return Err(wrong(format!("listed as {listed:?}, and read with {:?}", answer.headers)));
        }
        self.world.count("objects read whole after a restart");
        Ok(id)
    }

    async fn plain(&mut self) -> Verdict<Vec<(String, State)>> {
        let listed = self.objects(0).await?;
        let mut states = Vec::new();
        for number in 0..KEYS {
            let place = (0, key(number));
            if let Some((_, listed)) = listed.iter().find(|(listed, _)| *listed == place.1) {
                let id = self.read(&place, None, listed).await?;
                states.push((place.1, vec![Version { id: None, content: Content::Value(id) }]));
            } else {
                self.ask_well(S3Request::new("GET", path(BUCKETS[0], &place.1)), 404).await?;
            }
        }
        if states.len() == listed.len() { Ok(states) } else { Err(format!("a list with keys that nobody wrote: {listed:?}")) }
    }

    async fn versioned(&mut self) -> Verdict<Vec<(String, State)>> {
        let mut versions: Vec<(String, Listed)> = Vec::new();
        let page = self.random.random_range(1..200).to_string();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut request = S3Request::new("GET", path(BUCKETS[1], "")).query("versions", "").query("max-keys", &page);
            if let Some((key, version)) = &marker {
                request = request.query("key-marker", key).query("version-id-marker", version);
            }
            let answer = self.ask_well(request, 200).await?;
            versions.extend(parse_versions(&answer)?);
            if answer.element("IsTruncated").as_deref() != Some("true") {
                break;
            }
            marker = answer.element("NextKeyMarker").zip(answer.element("NextVersionIdMarker"));
            if marker.is_none() {
                return Err("a list of versions that goes on nowhere".to_owned());
            }
        }
        if !versions.is_sorted_by(|one, next| one.0 <= next.0) {
            return Err("a list of versions that is not sorted".to_owned());
        }
        let objects: BTreeMap<_, _> = self.objects(1).await?.into_iter().collect();
        let mut states: Vec<(String, State)> = Vec::new();
        for (key, listed) in versions {
            let place = (1, key.clone());
            let is_first = states.last().is_none_or(|(last, _)| *last != key);
            if listed.is_latest != is_first {
                return Err(format!("{key}: {} is listed as the latest: {}", listed.id, listed.is_latest));
            }
            if is_first {
                if objects.get(&key) != listed.object.as_ref() {
                    return Err(format!("{key}: {:?} of versions, {:?} of objects", listed.object, objects.get(&key)));
                }
                if listed.object.is_none() {
                    self.ask_well(S3Request::new("GET", path(BUCKETS[1], &key)), 404).await?;
                }
                states.push((key.clone(), State::new()));
            }
            let content = match &listed.object {
                Some(object) => Content::Value(self.read(&place, Some(&listed.id), object).await?),
                None => Content::Marker,
            };
            if let Some((_, state)) = states.last_mut() {
                state.push(Version { id: Some(listed.id), content });
            }
        }
        Ok(states)
    }

    /// Takes old versions away, so that a long run stays small.
    async fn trim(&mut self, seen: &mut BTreeMap<Place, State>) -> Verdict<()> {
        for (place, state) in seen.iter_mut().filter(|(_, state)| state.len() > VERSIONS_MAX) {
            for version in state.split_off(VERSIONS_MAX) {
                let id = version.id.unwrap_or_default();
                if let Some((_, versions)) = self.world.known.lock().get_mut(place) {
                    versions.retain(|known| *known != id);
                }
                let request = S3Request::new("DELETE", path(BUCKETS[place.0], &place.1)).query("versionId", &id);
                self.ask_well(request, 204).await?;
            }
        }
        Ok(())
    }

    async fn listed_uploads(&mut self, bucket: usize) -> Verdict<Vec<(Place, String)>> {
        let page = self.random.random_range(1..20).to_string();
        let mut listed = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut request = S3Request::new("GET", path(BUCKETS[bucket], "")).query("uploads", "").query("max-uploads", &page);
            if let Some((key, upload)) = &marker {
                request = request.query("key-marker", key).query("upload-id-marker", upload);
            }
            let answer = self.ask_well(request, 200).await?;
            let places = answer.elements("Key").into_iter().map(|key| (bucket, key));
            listed.extend(places.zip(answer.elements("UploadId")));
            if answer.element("IsTruncated").as_deref() != Some("true") {
                return Ok(listed);
            }
            marker = answer.element("NextKeyMarker").zip(answer.element("NextUploadIdMarker"));
        }
    }

    /// Uploads that are known are there, with their parts, or gone, as their requests were answered. An open outcome is settled by what is
    /// found, and the history of the key with it.
    async fn uploads(&mut self) -> Verdict<()> {
        let mut listed = self.listed_uploads(0).await?;
        listed.extend(self.listed_uploads(1).await?);
        let uploads = std::mem::take(&mut *self.world.uploads.lock());
        let mut kept = Vec::new();
        for mut upload in uploads {
            let count = listed.len();
            listed.retain(|(place, id)| (place, id) != (&upload.place, &upload.id));
            let is_there = match count - listed.len() {
                0 => false,
                1 => true,
                _ => return Err(format!("listed twice: {upload:?}")),
            };
            let request = S3Request::new("GET", path(BUCKETS[upload.place.0], &upload.place.1)).query("uploadId", &upload.id);
            let answer = self.ask(&request).await?;
            if answer.status != if is_there { 200 } else { 404 } {
                return Err(format!("in the list of uploads: {is_there}, its own answer: {}; {upload:?}", answer.status));
            }
            match (upload.fate, is_there) {
                (Fate::Open, false) => return Err(format!("an upload is gone: {upload:?}")),
                (Fate::Completed | Fate::Aborted, true) => return Err(format!("an upload is back: {upload:?}")),
                (Fate::Completing, _) => self.settle(&upload.place, upload.value, !is_there),
                _ => {}
            }
            if is_there {
                judge_parts(&self.world.values, &upload, &answer)?;
                upload.fate = Fate::Open;
                for (number, part) in &mut upload.parts {
                    let shown = answer.elements("PartNumber").iter().position(|shown| *shown == number.to_string());
                    let etag = shown.and_then(|index| answer.elements("ETag").get(index).cloned()).unwrap_or_default();
                    let is = |piece: &(u64, usize)| etag.contains(&self.world.values.piece_etag(piece.0, piece.1));
                    *part = Part {
                        acknowledged: part.acknowledged.iter().chain(&part.unknown).copied().find(is),
                        unknown: Vec::new(),
                    };
                }
                upload.parts.retain(|_, part| part.acknowledged.is_some());
                kept.push(upload);
            }
        }
        // Only requests whose answers were lost may have made others.
        let unknown = self.world.uploads_unknown.swap(0, Ordering::SeqCst);
        if listed.len() as u64 > unknown {
            return Err(format!("uploads that nobody began: {listed:?}; {unknown} may be there"));
        }
        for ((bucket, key), id) in listed {
            let request = S3Request::new("DELETE", path(BUCKETS[bucket], &key)).query("uploadId", id);
            self.ask_well(request, 204).await?;
        }
        *self.world.uploads.lock() = kept;
        Ok(())
    }

    /// A completion whose answer was lost has happened if the upload is gone, and has not if it is there.
    fn settle(&self, place: &Place, value: u64, happened: bool) {
        let now = self.world.now();
        let mut history = self.world.history.lock();
        let operations = history.entry(place.clone()).or_default();
        let is_it = |action: &Action| matches!(action, Action::Put(_, id) if *id == value);
        if happened {
            operations.iter_mut().filter(|operation| is_it(&operation.action)).for_each(|operation| operation.ended = Some(now));
        } else {
            operations.retain(|operation| !is_it(&operation.action));
        }
    }
}

/// Versions and delete markers in the order of the answer.
fn parse_versions(answer: &Answer) -> Verdict<Vec<(String, Listed)>> {
    let text = answer.text();
    let mut versions = Vec::new();
    for entry in text.split("<Version>").flat_map(|rest| rest.split("<DeleteMarker>")).skip(1) {
        let element = |name: &str| {
            let rest = entry.split(&format!("<{name}>")).nth(1)?;
            Some(rest.split(&format!("</{name}>")).next()?.to_owned())
        };
        let object = element("ETag").map(|etag| etag.replace("&quot;", "").replace('"', "")).zip(element("Size"));
        let (Some(key), Some(id), Some(latest)) = (element("Key"), element("VersionId"), element("IsLatest")) else {
            return Err(format!("a version that is not whole: {entry}"));
        };
        versions.push((key, Listed { id, is_latest: latest == "true", object }));
    }
    Ok(versions)
}
