//! What the requests of a run say must be so: per key a history of what was asked and answered, judged by whether there is any order of
//! its requests, each between its beginning and its end, that explains every answer and the state in the end.
//!
//! It knows nothing of Cairn: it is the specification of S3's objects, versions and conditions, and a search.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A moment of a run: a number that is taken before a request is sent, and after its answer has come.
pub type Moment = u64;
/// What an object's body, ETag and metadata follow from. The lower half is the same for all that have the same ETag.
pub type ValueId = u64;

/// What values of one body, and so of one ETag, have in common.
pub fn class(id: ValueId) -> u32 {
    id as u32
}

/// What a version is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// An object.
    Value(ValueId),
    /// A delete marker.
    Marker,
}

/// A version. Where the answer to the request that made it was lost, its id is not known until it is seen in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// As S3 gives it; none in buckets without versions.
    pub id: Option<String>,
    /// What it is.
    pub content: Content,
}

/// A key's versions, the latest first. Without versioning at most one.
pub type State = Vec<Version>;

/// The condition of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// None.
    Always,
    /// `If-None-Match: *`.
    IfNone,
    /// `If-Match` with the tag of this value.
    IfIs(ValueId),
}

/// What was asked, and what the answer was where there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A write that succeeded, or may have.
    Put(Condition, ValueId),
    /// A write that was refused with 412: its condition did not hold.
    PutRefused(Condition),
    /// A write with `If-Match` that was refused with 404: there was no object.
    PutMissed,
    /// A DELETE without a version.
    Delete,
    /// A DELETE of a version.
    DeleteVersion(String),
    /// A read that saw this, or saw no object.
    Saw(Option<ValueId>),
    /// A list that saw an object with this tag, or none.
    Listed(Option<u32>),
    /// A copy's or read's condition that did not hold: something else than this is there.
    SawOther(ValueId),
}

/// A request about one key.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Before it was sent.
    pub begun: Moment,
    /// After its answer; none where it has not come: then it may have happened at any time after it was sent, or never.
    pub ended: Option<Moment>,
    /// What it was.
    pub action: Action,
    /// The version that the answer named.
    pub version: Option<String>,
}

fn latest(state: &State) -> Option<ValueId> {
    match state.first()?.content {
        Content::Value(id) => Some(id),
        Content::Marker => None,
    }
}

fn holds(condition: &Condition, state: &State) -> bool {
    match condition {
        Condition::Always => true,
        Condition::IfNone => latest(state).is_none(),
        Condition::IfIs(id) => latest(state).is_some_and(|latest| class(latest) == class(*id)),
    }
}

/// The state after an operation, if it can have happened in this state.
fn after(state: &State, operation: &Operation, is_versioned: bool) -> Option<State> {
    let with = |content| {
        let version = Version { id: operation.version.clone(), content };
        let kept = if is_versioned { state.as_slice() } else { &[] };
        std::iter::once(version).chain(kept.iter().cloned()).collect()
    };
    match &operation.action {
        Action::Put(condition, id) => holds(condition, state).then(|| with(Content::Value(*id))),
        Action::PutRefused(condition) => (!holds(condition, state)).then(|| state.clone()),
        Action::PutMissed => latest(state).is_none().then(|| state.clone()),
        Action::Delete if is_versioned => Some(with(Content::Marker)),
        Action::Delete => Some(Vec::new()),
        Action::DeleteVersion(id) => Some(state.iter().filter(|version| version.id.as_ref() != Some(id)).cloned().collect()),
        Action::Saw(seen) => (latest(state) == *seen).then(|| state.clone()),
        Action::Listed(tag) => (latest(state).map(class) == *tag).then(|| state.clone()),
        Action::SawOther(id) => latest(state).is_some_and(|latest| class(latest) != class(*id)).then(|| state.clone()),
    }
}

/// Whether a state that was reasoned is the one that was seen: what has no known id may have any.
fn is_seen(state: &State, seen: &State) -> bool {
    let agree = |(reasoned, seen): (&Version, &Version)| {
        reasoned.content == seen.content && (reasoned.id.is_none() || reasoned.id == seen.id)
    };
    state.len() == seen.len() && state.iter().zip(seen).all(agree)
}

/// Finds an order of the operations that leads from one state to the other.
///
/// # Errors
/// Where there is none: the history, in words.
pub fn explain(first: &State, operations: &[Operation], last: &State, is_versioned: bool) -> Result<(), String> {
    let mut search = Search { operations, last, is_versioned, tried: BTreeSet::new() };
    let none = vec![0; operations.len().div_ceil(64)];
    if search.from(&none, first) {
        return Ok(());
    }
    let mut words = format!("no order of these requests leads from {first:?}\nto {last:?}\n");
    for operation in operations {
        let _ = writeln!(words, "  {operation:?}");
    }
    Err(words)
}

struct Search<'a> {
    operations: &'a [Operation],
    last: &'a State,
    is_versioned: bool,
    tried: BTreeSet<(Vec<u64>, State)>,
}

impl Search<'_> {
    fn from(&mut self, done: &[u64], state: &State) -> bool {
        let is_done = |index: usize| done[index / 64] >> (index % 64) & 1 == 1;
        let open = || (0..self.operations.len()).filter(|index| !is_done(*index));
        // Nothing that began after something ended can come before it.
        let horizon = open().filter_map(|index| self.operations[index].ended).min();
        if horizon.is_none() && is_seen(state, self.last) {
            return true;
        }
        let next: Vec<usize> =
            open().filter(|index| horizon.is_none_or(|horizon| self.operations[*index].begun < horizon)).collect();
        if !self.tried.insert((done.to_vec(), state.clone())) {
            return false;
        }
        for index in next {
            let Some(state) = after(state, &self.operations[index], self.is_versioned) else { continue };
            let mut done = done.to_vec();
            done[index / 64] |= 1 << (index % 64);
            if self.from(&done, &state) {
                return true;
            }
        }
        false
    }
}

/// The search finds what is wrong: small histories, each with one thing that cannot be.
#[test]
fn the_judge_sees_what_cannot_be() {
    let put = |begun, ended, id| Operation { begun, ended, action: Action::Put(Condition::Always, id), version: None };
    let saw = |begun, ended, seen| Operation { begun, ended: Some(ended), action: Action::Saw(seen), version: None };
    let holds = |id: ValueId| vec![Version { id: None, content: Content::Value(id) }];
    let judge = |operations: &[Operation], last: &State| explain(&Vec::new(), operations, last, false).is_ok();

    assert!(judge(&[put(1, Some(2), 7)], &holds(7)));
    assert!(!judge(&[put(1, Some(2), 7)], &Vec::new()), "an acknowledged write is lost");
    assert!(!judge(&[], &holds(7)), "something is there that nobody wrote");
    assert!(judge(&[put(1, None, 7)], &holds(7)) && judge(&[put(1, None, 7)], &Vec::new()), "an open outcome");
    assert!(!judge(&[put(1, Some(2), 7), put(3, Some(4), 8)], &holds(7)), "an older write over a newer one");
    assert!(judge(&[put(1, Some(4), 7), put(2, Some(3), 8)], &holds(7)), "two at once, in either order");
    assert!(!judge(&[put(1, Some(2), 7), saw(3, 4, None)], &holds(7)), "a read that does not see an acknowledged write");
    assert!(!judge(&[put(1, None, 7), saw(2, 3, Some(7))], &Vec::new()), "what was once seen is gone");
    let refused = Operation { begun: 1, ended: Some(2), action: Action::PutRefused(Condition::IfNone), version: None };
    assert!(!judge(&[refused], &Vec::new()), "a condition that held is refused");
    let won = |id| Operation { begun: 1, ended: Some(2), action: Action::Put(Condition::IfNone, id), version: None };
    assert!(!judge(&[won(7), won(8)], &holds(8)), "two winners");

    let named = |begun, id, name: &str| Operation { version: Some(name.to_owned()), ..put(begun, Some(begun + 1), id) };
    let version = |name: &str, id| Version { id: Some(name.to_owned()), content: Content::Value(id) };
    let history = [named(1, 7, "a"), named(3, 8, "b")];
    assert!(explain(&Vec::new(), &history, &vec![version("b", 8), version("a", 7)], true).is_ok());
    assert!(explain(&Vec::new(), &history, &vec![version("a", 7), version("b", 8)], true).is_err(), "versions out of order");
    assert!(explain(&Vec::new(), &history, &vec![version("b", 8)], true).is_err(), "a version is lost");
    assert!(explain(&Vec::new(), &history, &vec![version("b", 8), version("c", 7)], true).is_err(), "another id");
}
