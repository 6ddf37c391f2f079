//! Clients: what they ask of the store, and what they write down of its answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cairn_store::Store;
use cairn_store::api::{
    BodyFailed, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteObject, DeleteTarget, Digests, GetObject, ListEntry,
    ListObjects, ListParts, ListPosition, ListVersions, ObjectBody, ObjectContent, ObjectHead, ObjectStore, Part, PutObject,
    SourceVersion, StoreError, StoreResult, UploadName, UploadPart, UploadState as Found, WriteCondition,
};
use cairn_testkit::sim_disk::SimDisk;
use cairn_types::{AccountId, BucketId, ETag, ObjectKey, ObjectMetadata, VersionId};
use futures::StreamExt;
use parking_lot::Mutex;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::history::{Condition, Content, Event, History, Made, Number, PartNote, Place, UploadNote, UploadState};

/// In byte order.
pub const KEYS: [&str; 6] = ["a", "a/", "a/b", "b", "b/c/d", "\u{e9}"];

/// The longest body that the catalog keeps itself in this simulation, bytes.
pub const INLINE_MAX: usize = 1024;

/// The store as its clients see it.
#[derive(Clone)]
pub struct Front {
    pub store: Arc<Store>,
    pub account: AccountId,
    pub plain: BucketId,
    pub versioned: BucketId,
    pub history: Arc<Mutex<History>>,
    /// Whether the process that answers is still alive: what it says after its end nobody hears.
    pub disk: SimDisk,
}

/// What a client learnt of a request.
enum Told<T> {
    Answer(T),
    /// Not done, and nothing changed.
    Refused(StoreError),
    /// No answer came, or one that says that nobody knows.
    Nothing,
}

impl Front {
    fn bucket(&self, place: &Place) -> BucketId {
        if place.is_versioned { self.versioned } else { self.plain }
    }

    fn tell<T>(&self, answer: StoreResult<T>) -> Told<T> {
        if !self.disk.is_alive() {
            return Told::Nothing;
        }
        match answer {
            Ok(answer) => Told::Answer(answer),
            Err(StoreError::OutcomeUnknown(_)) => Told::Nothing,
            Err(
                error @ (StoreError::Damaged(_) | StoreError::Internal(_) | StoreError::NoSuchBucket | StoreError::QuotaExceeded),
            ) => {
                self.history.lock().violation(format!("the store answers: {error}"));
                Told::Nothing
            }
            Err(error) => {
                self.history.lock().trace(&error.to_string());
                Told::Refused(error)
            }
        }
    }

    /// Which write an object is of; says so where it is not what that write wrote.
    fn identify(&self, head: &ObjectHead) -> Option<(Number, Content)> {
        let mut history = self.history.lock();
        let value = head.metadata.user.iter().find(|(name, _)| name.as_ref() == b"number").map(|(_, value)| value);
        let number = value.and_then(|value| std::str::from_utf8(value).ok()?.parse::<Number>().ok());
        let made = number.and_then(|number| history.made.get_mut(&number));
        let found = made.and_then(|made| {
            let (content, etag) = made.object.clone()?;
            let is_right = *made.version_id.get_or_insert(head.version_id) == head.version_id
                && head.length == content.length() as u64
                && head.etag == etag;
            is_right.then_some(content)
        });
        if found.is_none() {
            history.violation(format!("nobody wrote what was read: {head:?}"));
        }
        number.zip(found)
    }

    /// Reads a key, or a version of it, and its bytes, all or some. Says whether there was an answer.
    pub async fn get(&self, place: &Place, version: Option<(Number, VersionId)>, random: &mut ChaCha8Rng, whole: bool) -> bool {
        let begin = self.history.lock().tick();
        let request =
            GetObject { bucket: self.bucket(place), key: key(place), version_id: version.map(|(_, id)| id), part_number: None };
        let absent = version.map_or(Event::SawCurrent(None), |(number, _)| Event::SawVersion(number, false));
        let opened = match self.tell(self.store.get_object(request).await) {
            Told::Answer(opened) => opened,
            Told::Refused(StoreError::NoSuchKey | StoreError::NoSuchVersion) => {
                self.history.lock().saw(place, begin, absent);
                return true;
            }
            Told::Refused(StoreError::IsDeleteMarker { .. }) => {
                let event = version.map_or(absent, |(number, _)| Event::SawVersion(number, true));
                self.history.lock().saw(place, begin, event);
                return true;
            }
            Told::Refused(_) | Told::Nothing => return false,
        };
        let Some((number, content)) = self.identify(&opened.head) else { return true };
        let event = match version {
            Some((expected, _)) if expected != number => {
                self.history.lock().violation(format!("{number} was read by the version id of {expected}"));
                return true;
            }
            Some(_) => Event::SawVersion(number, true),
            None => Event::SawCurrent(Some(number)),
        };
        {
            let mut history = self.history.lock();
            history.saw(place, begin, event);
            history.count("get");
        }
        let length = content.length();
        let range = if whole || length == 0 || random.random_bool(0.4) {
            0..length
        } else {
            let from = random.random_range(0..length);
            from..random.random_range(from..length) + 1
        };
        if !whole && random.random_bool(0.2) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..3000))).await;
        }
        let expected = content.bytes().slice(range.clone());
        let began = self.history.lock().tick();
        let stored = range.start as u64..range.end as u64;
        let mut seen = 0;
        let mut stream = match opened.content {
            ObjectContent::Inline(bytes) => futures::stream::iter([Ok(bytes.slice(range))]).boxed(),
            ObjectContent::Chunks(reader) => reader.read(stored),
        };
        while let Some(piece) = stream.next().await {
            match self.tell(piece) {
                Told::Answer(bytes) => {
                    if expected.get(seen..seen + bytes.len()) != Some(bytes.as_ref()) {
                        let words = format!("{} bytes of {number} are not what was written, from {seen} on", bytes.len());
                        self.history.lock().violation(words);
                        return true;
                    }
                    seen += bytes.len();
                }
                Told::Refused(StoreError::NoSuchVersion) => {
                    self.history.lock().saw(place, began, Event::SawVersion(number, false));
                    return true;
                }
                Told::Refused(_) | Told::Nothing => return false,
            }
        }
        if seen != expected.len() && self.disk.is_alive() {
            let words = format!("{seen} bytes of {number} were read, {} asked for", expected.len());
            self.history.lock().violation(words);
        }
        true
    }

    async fn head(&self, place: &Place) -> Option<(ObjectHead, Number, Content)> {
        let begin = self.history.lock().tick();
        let request = GetObject { bucket: self.bucket(place), key: key(place), version_id: None, part_number: None };
        let head = match self.tell(self.store.head_object(request).await) {
            Told::Answer(head) => head,
            Told::Refused(StoreError::NoSuchKey | StoreError::IsDeleteMarker { .. }) => {
                self.history.lock().saw(place, begin, Event::SawCurrent(None));
                return None;
            }
            Told::Refused(_) | Told::Nothing => return None,
        };
        let (number, content) = self.identify(&head)?;
        self.history.lock().saw(place, begin, Event::SawCurrent(Some(number)));
        Some((head, number, content))
    }

    /// Lists a bucket page by page. Says whether it was answered to its end.
    pub async fn list(&self, is_versioned: bool, limit: u32) -> bool {
        let bucket = if is_versioned { self.versioned } else { self.plain };
        let mut after: Option<String> = None;
        loop {
            let begin = self.history.lock().tick();
            let position = after.clone().map(ListPosition::Key);
            let request = ListObjects { bucket, prefix: String::new(), delimiter: None, after: position, limit };
            let Told::Answer(page) = self.tell(self.store.list_objects(request).await) else { return false };
            let mut history = self.history.lock();
            history.count("list");
            let mut shown = Vec::new();
            for entry in &page.entries {
                let ListEntry::Item(object) = entry else {
                    history.violation(format!("a flat listing shows {entry:?}"));
                    return true;
                };
                shown.push((object.key.as_str().to_owned(), (object.etag, object.length)));
            }
            let begins_behind = after.as_ref().is_none_or(|after| shown.first().is_none_or(|(key, _)| key > after));
            if !begins_behind || !shown.is_sorted_by(|one, two| one.0 < two.0) || shown.len() > limit as usize {
                history.violation(format!("a listing behind {after:?} of {limit} is not in order: {shown:?}"));
            }
            if let Some((stranger, _)) = shown.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
                history.violation(format!("nobody wrote the key {stranger:?}"));
            }
            let last = shown.last().map(|(key, _)| key.clone()).filter(|_| page.is_truncated);
            for key in KEYS {
                let is_covered =
                    after.as_deref().is_none_or(|after| key > after) && last.as_deref().is_none_or(|last| key <= last);
                let place = Place { is_versioned, key };
                if is_covered && history.has_room(&place) {
                    let found = shown.iter().find(|(shown, _)| shown == key).map(|(_, object)| *object);
                    history.saw(&place, begin, Event::SawShown(found));
                }
            }
            if !page.is_truncated {
                return true;
            }
            let Some(last) = last else {
                history.violation("an empty page says that more follow".to_owned());
                return true;
            };
            after = Some(last);
        }
    }

    /// Lists all versions of a bucket at once. Says whether there was an answer.
    pub async fn list_versions(&self, is_versioned: bool) -> bool {
        let bucket = if is_versioned { self.versioned } else { self.plain };
        let begin = self.history.lock().tick();
        let request = ListVersions { bucket, prefix: String::new(), delimiter: None, after: None, limit: 5000 };
        let Told::Answer(page) = self.tell(self.store.list_versions(request).await) else { return false };
        let mut history = self.history.lock();
        history.count("list versions");
        let mut all: Vec<(&str, Vec<_>)> = KEYS.map(|key| (key, Vec::new())).into();
        for entry in &page.entries {
            let ListEntry::Item(version) = entry else { continue };
            let Some((_, versions)) = all.iter_mut().find(|(key, _)| *key == version.key.as_str()) else {
                history.violation(format!("nobody wrote the key {:?}", version.key));
                return true;
            };
            if version.is_latest != versions.is_empty() {
                history.violation(format!("a version is latest, and is not: {version:?}"));
            }
            versions.push(version.object.as_ref().map(|object| (object.etag, object.length)));
        }
        for (key, versions) in all {
            let place = Place { is_versioned, key };
            if history.has_room(&place) {
                history.saw(&place, begin, Event::SawAll(versions));
            }
        }
        true
    }

    /// Compares an upload's parts with what was told of them; gives the parts of an open one, with what each holds.
    async fn check_parts(&self, index: usize) -> Option<Vec<(Part, Content)>> {
        let note = self.history.lock().uploads[index].clone();
        let (found, is_listed) = if note.number.is_multiple_of(2) {
            let request = ListParts { upload: note.name.clone(), after: 0, limit: 1000 };
            (self.tell(self.store.list_parts(request).await), true)
        } else {
            let state = self.store.upload_for_completion(note.name.clone()).await;
            let page = state.map(|state| match state {
                Found::Open(_, parts) => Some(cairn_store::api::Page { entries: parts, is_truncated: false }),
                Found::Completed(_) => None,
            });
            match self.tell(page) {
                Told::Answer(Some(page)) => (Told::Answer(page), false),
                Told::Answer(None) => (Told::Refused(StoreError::NoSuchUpload), false),
                Told::Refused(error) => (Told::Refused(error), false),
                Told::Nothing => (Told::Nothing, false),
            }
        };
        let mut history = self.history.lock();
        let parts = match found {
            Told::Answer(page) => page.entries,
            Told::Refused(StoreError::NoSuchUpload) => {
                if note.state == UploadState::Open {
                    history.violation(format!("an upload is gone: {note:?}, listed: {is_listed}"));
                }
                return None;
            }
            Told::Refused(_) | Told::Nothing => return None,
        };
        if note.state == UploadState::Aborted {
            history.violation(format!("an aborted upload is there: {note:?}"));
            return None;
        }
        let mut all = Vec::new();
        for part in &parts {
            let may_be = note.parts.get(&part.part_number).into_iter().flatten();
            let is = may_be.clone().find(|known| part.etag == tag(known.number) && part.length == known.length as u64);
            let Some(known) = is else {
                history.violation(format!("nobody wrote {part:?} of {note:?}"));
                return None;
            };
            all.push((part.clone(), history.made[&known.number].object.clone()?.0));
        }
        let is_there = |number: &u32| parts.iter().any(|part| part.part_number == *number);
        let lost = note.parts.iter().find(|(number, may_be)| may_be.iter().any(|part| part.is_acknowledged) && !is_there(number));
        if let Some(lost) = lost {
            history.violation(format!("an acknowledged part is lost: {lost:?} of {note:?}"));
            return None;
        }
        Some(all)
    }

    /// Looks at everything there is. Says how much of it was not answered.
    pub async fn check_all(&self, random: &mut ChaCha8Rng) -> Result<(), u64> {
        let mut unanswered = 0;
        for is_versioned in [false, true] {
            unanswered += u64::from(!self.list(is_versioned, 1000).await);
            unanswered += u64::from(!self.list_versions(is_versioned).await);
            for key in KEYS {
                let place = Place { is_versioned, key };
                unanswered += u64::from(!self.get(&place, None, random, true).await);
                if is_versioned {
                    let versions = self.history.lock().versions_of(&place);
                    for version in versions.into_iter().rev().take(12) {
                        unanswered += u64::from(!self.get(&place, Some(version), random, true).await);
                    }
                }
            }
        }
        let uploads = self.history.lock().uploads.len();
        for upload in 0..uploads {
            self.check_parts(upload).await;
        }
        if unanswered == 0 { Ok(()) } else { Err(unanswered) }
    }
}

/// One of several that work at the same time.
pub struct Client {
    pub front: Front,
    pub random: ChaCha8Rng,
    pub operations_max: u32,
    /// In one of so many operations the client hangs up.
    pub patience: u32,
}

impl Client {
    pub async fn run(mut self) {
        for _ in 0..self.operations_max {
            if !self.front.disk.is_alive() {
                return;
            }
            let (is_versioned, key) = (self.random.random_bool(0.4), KEYS[self.random.random_range(0..KEYS.len())]);
            let place = Place { is_versioned, key };
            if self.front.history.lock().has_room(&place) {
                self.one(&place).await;
            }
            if self.random.random_bool(0.4) {
                tokio::time::sleep(Duration::from_millis(self.random.random_range(0..60))).await;
            }
        }
    }

    async fn one(&mut self, place: &Place) {
        match self.random.random_range(0..24) {
            0..7 => self.put(place).await,
            7..11 => {
                self.front.get(place, None, &mut self.random, false).await;
            }
            11 | 12 if place.is_versioned => {
                if let Some(version) = self.version(place) {
                    self.front.get(place, Some(version), &mut self.random, false).await;
                }
            }
            11..13 => {
                self.front.head(place).await;
            }
            13 | 14 => self.delete(place).await,
            15 if place.is_versioned => self.remove(place).await,
            15 | 16 => self.copy(place).await,
            17 | 18 => {
                let limit = self.random.random_range(1..8);
                self.front.list(place.is_versioned, limit).await;
            }
            19 => {
                self.front.list_versions(place.is_versioned).await;
            }
            _ => self.upload(place).await,
        }
    }

    /// Asks for a change; the client may hang up before the answer.
    async fn change<T>(&mut self, request: impl Future<Output = StoreResult<T>>) -> Told<T> {
        if self.random.random_range(0..self.patience) == 0 {
            let patience = Duration::from_micros(self.random.random_range(0..40_000));
            return match tokio::time::timeout(patience, request).await {
                Ok(answer) => self.front.tell(answer),
                Err(_) => Told::Nothing,
            };
        }
        self.front.tell(request.await)
    }

    fn length(&mut self) -> usize {
        match self.random.random_range(0..10) {
            0 => 0,
            1..4 => self.random.random_range(1..=INLINE_MAX),
            4..8 => self.random.random_range(INLINE_MAX..20_000),
            _ => self.random.random_range(20_000..120_000),
        }
    }

    fn body(&mut self, content: &Content) -> Body {
        let bytes = content.bytes();
        let fails = self.random.random_bool(0.04);
        Body {
            length: bytes.len() as u64,
            piece: self.random.random_range(500..40_000),
            etag: tag(content.0[0].number),
            bytes,
            fails,
        }
    }

    fn version(&mut self, place: &Place) -> Option<(Number, VersionId)> {
        let versions = self.front.history.lock().versions_of(place);
        (!versions.is_empty()).then(|| versions[self.random.random_range(0..versions.len())])
    }

    async fn condition(&mut self, place: &Place) -> (Condition, WriteCondition) {
        match self.random.random_range(0..10) {
            0..2 => (Condition::Absent, WriteCondition::Absent),
            2 => match self.front.head(place).await {
                Some((head, ..)) => (Condition::Matches(head.etag), WriteCondition::Matches(vec![head.etag])),
                None => (Condition::None, WriteCondition::None),
            },
            _ => (Condition::None, WriteCondition::None),
        }
    }

    /// Writes down that a version is about to be made.
    fn begin(&self, place: &Place, number: Number, content: Content, etag: ETag, condition: Condition) {
        let mut history = self.front.history.lock();
        history.made.insert(number, Made { object: Some((content, etag)), version_id: None });
        history.begin(place, number, Event::Put(condition));
    }

    /// Writes down what became of it.
    fn end(&self, place: &Place, number: Number, condition: Condition, told: Told<cairn_store::api::Written>) {
        let mut history = self.front.history.lock();
        match told {
            Told::Answer(written) => {
                if let Some(made) = history.made.get_mut(&number) {
                    made.version_id = Some(written.version_id);
                }
                history.count("write");
                history.end(place, number, Some(Event::Put(condition)));
            }
            Told::Refused(StoreError::PreconditionFailed) => {
                let event = match condition {
                    Condition::Matches(etag) => Event::SawOther(etag),
                    Condition::Absent | Condition::None => Event::SawSome,
                };
                history.end(place, number, Some(event));
            }
            Told::Refused(StoreError::NoSuchKey) => history.end(place, number, Some(Event::SawCurrent(None))),
            Told::Refused(_) => history.end(place, number, None),
            Told::Nothing => {}
        }
    }

    async fn put(&mut self, place: &Place) {
        let (condition, asked) = self.condition(place).await;
        let number = self.front.history.lock().number();
        let content = Content::new(number, self.length());
        let mut body = self.body(&content);
        let bucket = self.front.bucket(place);
        let request = PutObject { bucket, key: key(place), metadata: metadata(number), tags: Vec::new(), condition: asked };
        self.begin(place, number, content, body.etag, condition);
        let store = self.front.store.clone();
        let told = self.change(store.put_object(request, &mut body)).await;
        self.end(place, number, condition, told);
    }

    async fn copy(&mut self, place: &Place) {
        let from = Place { is_versioned: self.random.random_bool(0.4), key: KEYS[self.random.random_range(0..KEYS.len())] };
        if !self.front.history.lock().has_room(&from) {
            return;
        }
        let Some((head, _, content)) = self.front.head(&from).await else { return };
        let (condition, asked) = self.condition(place).await;
        let number = self.front.history.lock().number();
        let request = CopyObject {
            source: self.source(&from, &head),
            bucket: self.front.bucket(place),
            key: key(place),
            metadata: metadata(number),
            tags: Vec::new(),
            checksum: None,
            condition: asked,
        };
        self.begin(place, number, content, head.etag, condition);
        let store = self.front.store.clone();
        let told = self.change(store.copy_object(request)).await;
        self.end(place, number, condition, told);
    }

    fn source(&self, from: &Place, head: &ObjectHead) -> SourceVersion {
        SourceVersion { bucket: self.front.bucket(from), key: key(from), version_id: head.version_id, revision: head.revision }
    }

    async fn delete(&mut self, place: &Place) {
        let number = {
            let mut history = self.front.history.lock();
            let number = history.number();
            history.made.insert(number, Made { object: None, version_id: None });
            history.begin(place, number, Event::Delete);
            number
        };
        let target = DeleteTarget { key: key(place), version_id: None, condition: WriteCondition::None };
        let request = DeleteObject { bucket: self.front.bucket(place), target };
        let store = self.front.store.clone();
        let told = self.change(store.delete_object(request)).await;
        let mut history = self.front.history.lock();
        match told {
            Told::Answer(deleted) => {
                if let Some(made) = history.made.get_mut(&number) {
                    made.version_id = deleted.version_id;
                }
                history.count("delete");
                history.end(place, number, Some(Event::Delete));
            }
            Told::Refused(_) => history.end(place, number, None),
            Told::Nothing => {}
        }
    }

    async fn remove(&mut self, place: &Place) {
        let Some((gone, id)) = self.version(place) else { return };
        let number = {
            let mut history = self.front.history.lock();
            let number = history.number();
            history.begin(place, number, Event::Remove(gone));
            number
        };
        let target = DeleteTarget { key: key(place), version_id: Some(id), condition: WriteCondition::None };
        let store = self.front.store.clone();
        let told = self.change(store.delete_object(DeleteObject { bucket: self.front.bucket(place), target })).await;
        let mut history = self.front.history.lock();
        match told {
            Told::Answer(_) => {
                history.count("remove");
                history.end(place, number, Some(Event::Remove(gone)));
            }
            Told::Refused(_) => history.end(place, number, None),
            Told::Nothing => {}
        }
    }

    /// Takes up an upload that was left, or begins one, and goes on with it for a while.
    async fn upload(&mut self, place: &Place) {
        let left = {
            let mut history = self.front.history.lock();
            let open: Vec<usize> = (0..history.uploads.len())
                .filter(|index| {
                    let upload = &history.uploads[*index];
                    upload.state == UploadState::Open && !upload.is_taken
                })
                .collect();
            let left = (!open.is_empty() && self.random.random_bool(0.7)).then(|| open[self.random.random_range(0..open.len())]);
            if let Some(index) = left {
                history.uploads[index].is_taken = true;
            }
            left
        };
        let index = match left {
            Some(index) => index,
            None => match self.begin_upload(place).await {
                Some(index) => index,
                None => return,
            },
        };
        for _ in 0..self.random.random_range(1..5) {
            let goes_on = match self.random.random_range(0..12) {
                0..6 => self.put_part(index).await,
                6 | 7 => self.copy_part(index).await,
                8 => {
                    self.front.check_parts(index).await;
                    true
                }
                9 | 10 => self.complete(index).await,
                _ => self.abort(index).await,
            };
            if !goes_on {
                break;
            }
        }
        self.front.history.lock().uploads[index].is_taken = false;
    }

    async fn begin_upload(&mut self, place: &Place) -> Option<usize> {
        let number = self.front.history.lock().number();
        let bucket = self.front.bucket(place);
        let (metadata, initiator) = (metadata(number), self.front.account);
        let request = CreateUpload { bucket, key: key(place), metadata, tags: Vec::new(), checksum: None, initiator };
        let store = self.front.store.clone();
        let Told::Answer(upload_id) = self.change(store.create_upload(request)).await else { return None };
        let name = UploadName { bucket, key: key(place), upload_id };
        let mut history = self.front.history.lock();
        let state = UploadState::Open;
        history.uploads.push(UploadNote { place: place.clone(), name, number, parts: BTreeMap::new(), state, is_taken: true });
        Some(history.uploads.len() - 1)
    }

    /// Writes down that a part is about to be written; gives the number of the write.
    fn begin_part(&self, index: usize, part_number: u32, content: impl FnOnce(Number) -> Content) -> (Number, Content) {
        let mut history = self.front.history.lock();
        let number = history.number();
        let content = content(number);
        let length = content.length();
        history.made.insert(number, Made { object: Some((content.clone(), tag(number))), version_id: None });
        let parts = history.uploads[index].parts.entry(part_number).or_default();
        parts.push(PartNote { number, length, is_acknowledged: false });
        (number, content)
    }

    fn end_part(&self, index: usize, part_number: u32, number: Number, told: &Told<Part>) -> bool {
        let mut history = self.front.history.lock();
        let parts = history.uploads[index].parts.entry(part_number).or_default();
        match told {
            Told::Answer(_) => {
                parts.retain(|part| part.number == number);
                if let Some(part) = parts.first_mut() {
                    part.is_acknowledged = true;
                }
                history.count("part");
                true
            }
            Told::Refused(StoreError::NoSuchUpload) => {
                let words = format!("an upload is gone: {:?}", history.uploads[index]);
                history.violation(words);
                false
            }
            Told::Refused(_) => {
                parts.retain(|part| part.number != number);
                true
            }
            Told::Nothing => true,
        }
    }

    async fn put_part(&mut self, index: usize) -> bool {
        let (part_number, length) = (self.random.random_range(1..6), self.length().max(1));
        let (number, content) = self.begin_part(index, part_number, |number| Content::new(number, length));
        let mut body = self.body(&content);
        let upload = self.front.history.lock().uploads[index].name.clone();
        let store = self.front.store.clone();
        let told = self.change(store.upload_part(UploadPart { upload, part_number }, &mut body)).await;
        self.end_part(index, part_number, number, &told)
    }

    async fn copy_part(&mut self, index: usize) -> bool {
        let from = Place { is_versioned: self.random.random_bool(0.4), key: KEYS[self.random.random_range(0..KEYS.len())] };
        if !self.front.history.lock().has_room(&from) {
            return true;
        }
        let Some((head, _, source)) = self.front.head(&from).await else { return true };
        if head.length == 0 {
            return true;
        }
        let start = self.random.random_range(0..source.length());
        let end = self.random.random_range(start..source.length()) + 1;
        let part_number = self.random.random_range(1..6);
        let (number, _) = self.begin_part(index, part_number, |_| source.slice(start..end));
        let request = CopyPart {
            upload: self.front.history.lock().uploads[index].name.clone(),
            part_number,
            source: self.source(&from, &head),
            range: start as u64..end as u64,
            digests: Digests { etag: tag(number), checksum: None },
        };
        let store = self.front.store.clone();
        let told = self.change(store.copy_part(request)).await;
        self.end_part(index, part_number, number, &told)
    }

    async fn complete(&mut self, index: usize) -> bool {
        let Some(mut parts) = self.front.check_parts(index).await else { return false };
        if parts.len() > 1 && self.random.random_bool(0.2) {
            parts.remove(self.random.random_range(0..parts.len()));
        }
        if parts.is_empty() {
            return true;
        }
        let note = self.front.history.lock().uploads[index].clone();
        if !self.front.history.lock().has_room(&note.place) {
            return true;
        }
        let (condition, asked) = self.condition(&note.place).await;
        let mut etag = tag(note.number);
        etag.part_count = u32::try_from(parts.len()).unwrap_or(1);
        let content = Content(parts.iter().flat_map(|(_, content)| content.0.clone()).collect());
        let request = CompleteUpload {
            upload: note.name.clone(),
            parts: parts.iter().map(|(part, _)| (part.part_number, part.revision)).collect(),
            digests: Digests { etag, checksum: None },
            condition: asked,
        };
        self.begin(&note.place, note.number, content, etag, condition);
        // Until somebody knows better, also where the process ends before there is an answer.
        self.front.history.lock().uploads[index].state = UploadState::Unknown;
        let store = self.front.store.clone();
        let told = self.change(store.complete_upload(request)).await;
        if matches!(told, Told::Refused(_)) {
            self.front.history.lock().uploads[index].state = UploadState::Open;
        }
        self.end(&note.place, note.number, condition, told);
        self.front.history.lock().uploads[index].state == UploadState::Open
    }

    async fn abort(&mut self, index: usize) -> bool {
        let name = {
            let mut history = self.front.history.lock();
            history.uploads[index].state = UploadState::Unknown;
            history.uploads[index].name.clone()
        };
        let store = self.front.store.clone();
        let state = match self.change(store.abort_upload(name)).await {
            Told::Answer(()) => UploadState::Aborted,
            Told::Refused(_) => UploadState::Open,
            Told::Nothing => UploadState::Unknown,
        };
        self.front.history.lock().uploads[index].state = state;
        false
    }
}

fn key(place: &Place) -> ObjectKey {
    place.key.parse().unwrap()
}

/// The entity tag of what a write writes.
pub fn tag(number: Number) -> ETag {
    ETag::of_bytes((u128::from(number) << 64 | 0x0ca1).to_le_bytes())
}

fn metadata(number: Number) -> ObjectMetadata {
    let user = vec![(Bytes::from_static(b"number"), Bytes::from(number.to_string()))];
    ObjectMetadata { user, ..ObjectMetadata::default() }
}

/// A client's body in pieces, which may turn out not to be what was promised.
struct Body {
    bytes: Bytes,
    length: u64,
    piece: usize,
    etag: ETag,
    fails: bool,
}

impl ObjectBody for Body {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailed>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(self.bytes.split_to(self.piece.min(self.bytes.len())))))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<Digests, BodyFailed>> {
        Poll::Ready(if self.fails { Err(BodyFailed) } else { Ok(Digests { etag: self.etag, checksum: None }) })
    }

    fn length(&self) -> u64 {
        self.length
    }
}
