//! What clients asked and were told, and whether a store that keeps its promises could have told them so.
//!
//! The judge knows a key as S3 describes it, and nothing of how the store works: in a bucket without versioning a register, in one with
//! versioning a stack of versions and delete markers. Every write has a number, which its object carries in its metadata and its bytes
//! are made of, so that whatever is read tells which write it is of.
//!
//! Operations of one life of the process are put in some order that fits what every client saw (linearizability, invariant 3). One whose
//! outcome nobody was told may have happened at any moment from its call to the end of the life it was made in, or never: what the next life
//! begins with is decided. So it suffices to know, key by key, the states that are possible at a life's end.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::ops::Range;

use bytes::Bytes;
use cairn_types::{ETag, VersionId};

/// The number of an operation, and of what it writes.
pub type Number = u32;

/// Bytes that can be told from all others: runs of what was written by numbered writes, from an offset in it on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content(pub Vec<Run>);

/// So many bytes of what this write wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub number: Number,
    pub offset: usize,
    pub length: usize,
}

impl Content {
    pub fn new(number: Number, length: usize) -> Self {
        Self(vec![Run { number, offset: 0, length }])
    }

    pub fn length(&self) -> usize {
        self.0.iter().map(|run| run.length).sum()
    }

    pub fn bytes(&self) -> Bytes {
        let mut all = Vec::with_capacity(self.length() + 16);
        for run in &self.0 {
            let end = all.len() + run.length;
            let mut skipped = run.offset % 8;
            for word in run.offset as u64 / 8.. {
                if all.len() >= end {
                    break;
                }
                // Different words for different numbers and places.
                let mut value = (u64::from(run.number) << 32 | word).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
                value ^= value >> 29;
                all.extend_from_slice(&value.to_le_bytes()[skipped..]);
                skipped = 0;
            }
            all.truncate(end);
        }
        all.into()
    }

    pub fn slice(&self, range: Range<usize>) -> Self {
        let (mut start, mut runs) = (0, Vec::new());
        for run in &self.0 {
            let from = range.start.clamp(start, start + run.length);
            let to = range.end.clamp(start, start + run.length);
            if from < to {
                runs.push(Run { number: run.number, offset: run.offset + from - start, length: to - from });
            }
            start += run.length;
        }
        Self(runs)
    }
}

/// A key in one of the two buckets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Whether the bucket keeps versions.
    pub is_versioned: bool,
    pub key: &'static str,
}

/// What a write made, or would make.
#[derive(Debug, Clone)]
pub struct Made {
    /// `None` for a delete marker.
    pub object: Option<(Content, ETag)>,
    /// Where somebody was told.
    pub version_id: Option<VersionId>,
}

/// How a version looks in a listing: `None` for a delete marker.
pub type Shown = Option<(ETag, u64)>;

/// What an operation does, or did see, at one moment between its call and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Makes a version the current one, where the condition holds.
    Put(Condition),
    /// Deletes as the bucket's versioning has it.
    Delete,
    /// Removes what this write made, for good.
    Remove(Number),
    /// The current version was this one, or there was none.
    SawCurrent(Option<Number>),
    /// The version that this write made was there, or not.
    SawVersion(Number, bool),
    /// A listing showed this of the key.
    SawShown(Option<(ETag, u64)>),
    /// A listing of versions showed these, the newest first.
    SawAll(Vec<Shown>),
    /// A condition on there being no object failed, so there was one.
    SawSome,
    /// A condition on the entity tag failed: there was an object with another one.
    SawOther(ETag),
}

/// As in `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    Absent,
    Matches(ETag),
}

#[derive(Debug, Clone)]
struct Operation {
    number: Number,
    begin: u64,
    /// `None`: nobody was told what became of it.
    end: Option<u64>,
    event: Event,
}

/// An upload in parts, by whoever has it in hand.
#[derive(Debug, Clone)]
pub struct UploadNote {
    pub place: Place,
    pub name: cairn_store::api::UploadName,
    /// What the object will be known by.
    pub number: Number,
    /// What may stand under each part number, the newest last: the number of the write, its length, whether it was acknowledged.
    pub parts: BTreeMap<u32, Vec<PartNote>>,
    pub state: UploadState,
    /// A client works with it.
    pub is_taken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartNote {
    pub number: Number,
    pub length: usize,
    pub is_acknowledged: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    Open,
    /// It was completed or aborted, or not.
    Unknown,
    /// It was aborted, and that was acknowledged.
    Aborted,
}

/// Everything that clients asked and were told.
#[derive(Default)]
pub struct History {
    pub made: BTreeMap<Number, Made>,
    pub uploads: Vec<UploadNote>,
    /// What cannot be, as soon as it was seen.
    pub violations: Vec<String>,
    /// How often which operation was acknowledged.
    pub counts: BTreeMap<&'static str, u64>,
    operations: BTreeMap<Place, Vec<Operation>>,
    /// The states that are possible for a key where no life goes on.
    states: BTreeMap<Place, BTreeSet<Vec<Number>>>,
    number_next: Number,
    tick: u64,
    digest: u64,
}

/// More in one life of one key are not judged together.
pub const OPERATIONS_MAX: usize = 120;

impl History {
    pub fn number(&mut self) -> Number {
        self.number_next += 1;
        self.number_next
    }

    pub fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Everything that happened, in one number.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn trace(&mut self, words: &str) {
        for byte in words.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        tracing::info!("{words}");
    }

    pub fn count(&mut self, what: &'static str) {
        self.count_more(what, 1);
    }

    pub fn count_more(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    pub fn violation(&mut self, words: String) {
        self.trace(&words);
        self.violations.push(words);
    }

    /// Whether one more operation on this key can be judged in this life.
    pub fn has_room(&self, place: &Place) -> bool {
        self.operations.get(place).is_none_or(|operations| operations.len() < OPERATIONS_MAX)
    }

    fn push(&mut self, place: &Place, operation: Operation) {
        self.trace(&format!("{place:?} {operation:?}"));
        let operations = self.operations.entry(place.clone()).or_default();
        if operations.len() < 128 {
            operations.push(operation);
        } else {
            self.violations.push("the workload is larger than can be judged".to_owned());
        }
    }

    /// A change is asked for. Until its answer comes nobody knows whether it happens.
    pub fn begin(&mut self, place: &Place, number: Number, event: Event) {
        let begin = self.tick();
        self.push(place, Operation { number, begin, end: None, event });
    }

    /// The answer came: it happened, or this was seen instead; `None` where nothing happened and nothing was learnt.
    pub fn end(&mut self, place: &Place, number: Number, event: Option<Event>) {
        let end = self.tick();
        self.trace(&format!("{place:?} {number} {end} {event:?}"));
        let operations = self.operations.entry(place.clone()).or_default();
        let Some(index) = operations.iter().position(|operation| operation.number == number && operation.end.is_none()) else {
            return;
        };
        match event {
            Some(event) => {
                operations[index].end = Some(end);
                operations[index].event = event;
            }
            None => {
                operations.remove(index);
            }
        }
    }

    /// Something was seen.
    pub fn saw(&mut self, place: &Place, begin: u64, event: Event) {
        let (number, end) = (self.number(), Some(self.tick()));
        self.push(place, Operation { number, begin, end, event });
    }

    /// The numbers of acknowledged versions and markers that were made under this key, with their ids.
    pub fn versions_of(&self, place: &Place) -> Vec<(Number, VersionId)> {
        let operations = self.operations.get(place).into_iter().flatten().filter(|operation| operation.end.is_some());
        let made = operations.filter(|operation| matches!(operation.event, Event::Put(_) | Event::Delete));
        let mut numbers: BTreeSet<Number> = made.map(|operation| operation.number).collect();
        for state in self.states.get(place).into_iter().flatten() {
            numbers.extend(state);
        }
        numbers.into_iter().filter_map(|number| Some((number, self.made.get(&number)?.version_id?))).collect()
    }

    /// The life is over: nothing of it can happen any more. Judges it.
    pub fn end_life(&mut self) {
        for (place, operations) in std::mem::take(&mut self.operations) {
            let before = self.states.remove(&place).unwrap_or_else(|| BTreeSet::from([Vec::new()]));
            let judge = Judge { made: &self.made, is_versioned: place.is_versioned, operations: &operations };
            let after = judge.ends(&before);
            if after.is_empty() {
                let mut words =
                    format!("no order of these operations explains what was seen of {place:?}, which began as {before:?}:");
                for operation in &operations {
                    let Operation { number, begin, end, event } = operation;
                    let _ = write!(words, "\n  {number}: {event:?} {begin}..{end:?} made {:?}", self.made.get(number));
                }
                self.violation(words);
            }
            self.states.insert(place, after);
        }
        for upload in &mut self.uploads {
            upload.is_taken = false;
        }
    }
}

/// Finds the states that a key may be in after some operations.
struct Judge<'a> {
    made: &'a BTreeMap<Number, Made>,
    is_versioned: bool,
    operations: &'a [Operation],
}

impl Judge<'_> {
    fn ends(&self, before: &BTreeSet<Vec<Number>>) -> BTreeSet<Vec<Number>> {
        let certain = self.mask(|operation| operation.end.is_some());
        let mut seen: HashSet<(u128, Vec<Number>)> = HashSet::new();
        let mut ends = BTreeSet::new();
        let mut waiting: Vec<(u128, Vec<Number>)> = before.iter().map(|state| (0, state.clone())).collect();
        while let Some((done, state)) = waiting.pop() {
            if !seen.insert((done, state.clone())) {
                continue;
            }
            if done & certain == certain {
                ends.insert(state.clone());
            }
            // Nothing may come before what had been answered when it was asked.
            let open = self.operations.iter().enumerate().filter(|(index, _)| done & (1 << index) == 0);
            let first_end = open.clone().filter_map(|(_, operation)| operation.end).min().unwrap_or(u64::MAX);
            for (index, operation) in open {
                if operation.begin < first_end
                    && let Some(after) = self.apply(&state, operation)
                {
                    waiting.push((done | 1 << index, after));
                }
            }
        }
        ends
    }

    fn mask(&self, which: impl Fn(&Operation) -> bool) -> u128 {
        let chosen = self.operations.iter().enumerate().filter(|(_, operation)| which(operation));
        chosen.fold(0, |mask, (index, _)| mask | 1 << index)
    }

    fn shown(&self, number: Number) -> Shown {
        let (content, etag) = self.made.get(&number)?.object.as_ref()?;
        Some((*etag, content.length() as u64))
    }

    /// The state after the operation; `None` where it cannot have been so.
    fn apply(&self, state: &[Number], operation: &Operation) -> Option<Vec<Number>> {
        let current = state.first().copied().filter(|number| self.shown(*number).is_some());
        let tag = current.and_then(|number| self.shown(number)).map(|(etag, _)| etag);
        let holds = match &operation.event {
            Event::Put(Condition::Absent) => current.is_none(),
            Event::Put(Condition::Matches(etag)) => tag == Some(*etag),
            Event::Put(Condition::None) | Event::Delete | Event::Remove(_) => true,
            Event::SawCurrent(number) => current == *number,
            Event::SawVersion(number, there) => state.contains(number) == *there,
            Event::SawShown(shown) => current.and_then(|number| self.shown(number)) == *shown,
            Event::SawAll(all) => state.iter().map(|number| self.shown(*number)).eq(all.iter().copied()),
            Event::SawSome => current.is_some(),
            Event::SawOther(etag) => tag.is_some_and(|tag| tag != *etag),
        };
        if !holds {
            return None;
        }
        Some(match &operation.event {
            Event::Put(_) | Event::Delete if self.is_versioned => [&[operation.number], state].concat(),
            Event::Put(_) => vec![operation.number],
            Event::Delete => Vec::new(),
            Event::Remove(gone) => state.iter().copied().filter(|number| number != gone).collect(),
            _ => state.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { is_versioned: false, key: "a" };

    fn history(events: &[(Number, u64, Option<u64>, Event)]) -> History {
        let mut history = History::default();
        for (number, begin, end, event) in events {
            let etag = ETag::of_bytes([u8::try_from(*number).unwrap(); 16]);
            let object = Some((Content::new(*number, 1), etag));
            history.made.insert(*number, Made { object, version_id: None });
            let operation = Operation { number: *number, begin: *begin, end: *end, event: event.clone() };
            history.operations.entry(PLACE).or_default().push(operation);
        }
        history.end_life();
        history
    }

    #[test]
    fn the_judge_tells_possible_histories_from_impossible_ones() {
        let put = || Event::Put(Condition::None);
        let saw = |number: Number| Event::SawCurrent(Some(number));
        let good = |events: &[_]| history(events).violations.is_empty();
        assert!(good(&[(1, 1, Some(2), put()), (2, 3, Some(4), saw(1))]));
        assert!(!good(&[(1, 1, Some(2), put()), (2, 3, Some(4), Event::SawCurrent(None))]), "an acknowledged write is lost");
        assert!(good(&[(1, 1, None, put()), (2, 3, Some(4), Event::SawCurrent(None)), (3, 5, Some(6), saw(1))]));
        assert!(!good(&[(1, 1, Some(2), put()), (2, 3, Some(4), put()), (3, 5, Some(6), saw(1))]), "a stale read");
        assert!(good(&[(1, 1, Some(4), put()), (2, 2, Some(3), put()), (3, 5, Some(6), saw(1)), (4, 7, Some(8), saw(1))]));
        assert!(!good(&[(1, 1, Some(4), put()), (2, 2, Some(3), put()), (3, 5, Some(6), saw(1)), (4, 7, Some(8), saw(2))]));
        let absent = || Event::Put(Condition::Absent);
        assert!(!good(&[(1, 1, Some(3), absent()), (2, 2, Some(4), absent())]), "two won");
        assert!(good(&[(1, 1, Some(3), absent()), (2, 2, Some(4), Event::SawSome)]));
    }

    #[test]
    fn an_unknown_outcome_is_decided_at_the_end_of_its_life() {
        let mut history = history(&[(1, 1, None, Event::Put(Condition::None))]);
        let saw = |number, begin, event| Operation { number, begin, end: Some(begin + 1), event };
        let operations = vec![saw(2, 5, Event::SawCurrent(None)), saw(3, 7, Event::SawCurrent(Some(1)))];
        history.operations.insert(PLACE, operations);
        history.end_life();
        assert!(!history.violations.is_empty(), "it came in a life it was not made in");
    }

    #[test]
    fn bytes_tell_their_writes_apart() {
        let run = |number, offset, length| Run { number, offset, length };
        let content = Content(vec![run(1, 0, 20), run(2, 3, 13)]);
        assert_eq!(content.length(), 33);
        assert_eq!(content.bytes()[..20], Content::new(1, 20).bytes());
        assert_eq!(content.bytes()[20..], Content::new(2, 16).bytes()[3..]);
        assert_eq!(content.slice(7..31).bytes(), content.bytes().slice(7..31));
        assert_ne!(Content::new(1, 16).bytes(), Content::new(2, 16).bytes());
    }
}
