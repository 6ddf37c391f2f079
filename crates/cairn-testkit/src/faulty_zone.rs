//! Any [`Zone`] with faults put in by operation.
//!
//! A [`FaultyZone`] passes everything on to the zone it wraps, except where a [`Rule`] says otherwise. Which calls a rule hits is
//! decided by its counts and by a generator seeded at the start, so a run repeats exactly under tokio's paused clock. Rules are
//! looked at in the order they were put in; the first that hits is the one.
//!
//! ```
//! # use cairn_testkit::faulty_zone::{Fault, FaultyZone, Operation, Rule};
//! # use cairn_zone::{ZoneError, memory::MemoryZone};
//! # use std::sync::Arc;
//! let inner = Arc::new(MemoryZone::new(cairn_types::Incarnation(1)));
//! let zone = FaultyZone::new(inner, 42);
//! // Every third write, about, is answered with an error though it was done; at most ten of them.
//! zone.inject(Rule::on(Operation::Write, Fault::ErrorAfter(ZoneError::Away("lost answer".into()))).chance(0.3).times(10));
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_types::{ChunkId, Incarnation, Locator, SessionId};
use cairn_zone::{Capabilities, Page, Placed, Usage, Zone, ZoneError};
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::watch;

/// What a [`Zone`] can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Zone::write`].
    Write,
    /// [`Zone::read`].
    Read,
    /// [`Zone::delete`].
    Delete,
    /// [`Zone::enumerate`].
    Enumerate,
    /// [`Zone::usage`].
    Usage,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 5] = [Self::Write, Self::Read, Self::Delete, Self::Enumerate, Self::Usage];
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is done; this is the answer.
    Error(ZoneError),
    /// The operation is done, and this is the answer: the caller cannot know (a lost answer).
    ErrorAfter(ZoneError),
    /// Nothing is done and nothing answered until [`FaultyZone::release`]; then it goes on.
    Hang,
    /// The operation is done, but the answer waits for [`FaultyZone::release`]: a straggler.
    HangAfter,
    /// It begins this much later.
    Delay(Duration),
    /// A read answers with one bit changed, and without a word. Other operations are not touched.
    FlipBit,
    /// A write is confirmed, and its chunk is gone: what no zone may do. Only for tests that must fail.
    LoseAfterAnswer,
}

/// Which calls a [`Fault`] hits.
#[derive(Debug, Clone)]
pub struct Rule {
    operations: Vec<Operation>,
    chunk: Option<ChunkId>,
    fault: Fault,
    chance: f64,
    skip: u64,
    times: u64,
}

impl Rule {
    /// Hits every call of this operation.
    #[must_use]
    pub fn on(operation: Operation, fault: Fault) -> Self {
        Self { operations: vec![operation], chunk: None, fault, chance: 1.0, skip: 0, times: u64::MAX }
    }

    /// Hits every call.
    #[must_use]
    pub fn on_all(fault: Fault) -> Self {
        Self { operations: Operation::ALL.to_vec(), ..Self::on(Operation::Write, fault) }
    }

    /// Hits only calls that name this chunk.
    #[must_use]
    pub fn of_chunk(mut self, id: ChunkId) -> Self {
        self.chunk = Some(id);
        self
    }

    /// Hits each call with this probability, 0 to 1.
    #[must_use]
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = chance.clamp(0.0, 1.0);
        self
    }

    /// Leaves the first calls alone.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Hits so many calls, then no more.
    #[must_use]
    pub fn times(mut self, calls: u64) -> Self {
        self.times = calls;
        self
    }
}

/// Names a rule for [`FaultyZone::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(u64);

/// A zone with faults. Clones share rules and state.
#[derive(Clone)]
pub struct FaultyZone {
    inner: Arc<dyn Zone>,
    state: Arc<Mutex<State>>,
    /// Counts releases; a hanging call waits for the next.
    released: Arc<watch::Sender<u64>>,
}

struct State {
    random: ChaCha8Rng,
    rules: Vec<(RuleId, Rule)>,
    rule_next: u64,
    away: Option<String>,
    calls: [u64; Operation::ALL.len()],
    hits: u64,
    hanging: u64,
}

/// Counts a hanging call for as long as it hangs, also when its caller gives up.
struct Hanging(Arc<Mutex<State>>);

impl Hanging {
    fn new(state: &Arc<Mutex<State>>) -> Self {
        state.lock().hanging += 1;
        Self(state.clone())
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.lock().hanging -= 1;
    }
}

impl FaultyZone {
    /// Wraps a zone; the seed decides what rules with a chance hit, and which bits flip.
    #[must_use]
    pub fn new(inner: Arc<dyn Zone>, seed: u64) -> Self {
        let state = State {
            random: ChaCha8Rng::seed_from_u64(seed),
            rules: Vec::new(),
            rule_next: 0,
            away: None,
            calls: [0; Operation::ALL.len()],
            hits: 0,
            hanging: 0,
        };
        Self { inner, state: Arc::new(Mutex::new(state)), released: Arc::new(watch::Sender::new(0)) }
    }

    /// The zone behind it, without faults.
    #[must_use]
    pub fn inner(&self) -> Arc<dyn Zone> {
        self.inner.clone()
    }

    /// Adds a rule behind those that are there.
    pub fn inject(&self, rule: Rule) -> RuleId {
        let mut state = self.state.lock();
        let id = RuleId(state.rule_next);
        state.rule_next += 1;
        state.rules.push((id, rule));
        id
    }

    /// Takes a rule away. Calls that hang by it go on hanging until [`FaultyZone::release`].
    pub fn remove(&self, id: RuleId) {
        self.state.lock().rules.retain(|(own, _)| *own != id);
    }

    /// Takes all rules away, brings the zone back and lets hanging calls go on.
    pub fn heal(&self) {
        {
            let mut state = self.state.lock();
            state.rules.clear();
            state.away = None;
        }
        self.release();
    }

    /// Lets all calls go on that hang now.
    pub fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    /// The zone is away with this reason until [`FaultyZone::come_back`]: every call is [`ZoneError::Away`] and it has no
    /// incarnation. A call that was under way when the zone went is answered with `Away` too; whether it was done nobody knows.
    pub fn go_away(&self, reason: &str) {
        self.state.lock().away = Some(reason.to_owned());
    }

    /// Ends [`FaultyZone::go_away`].
    pub fn come_back(&self) {
        self.state.lock().away = None;
    }

    /// How often this was asked, faults included. One call of `delete` counts once.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state.lock().calls[operation as usize]
    }

    /// How many calls were hit by a rule.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.state.lock().hits
    }

    /// How many calls hang now.
    #[must_use]
    pub fn hanging(&self) -> u64 {
        self.state.lock().hanging
    }

    fn away(&self) -> Result<(), ZoneError> {
        match &self.state.lock().away {
            Some(reason) => Err(ZoneError::Away(reason.clone())),
            None => Ok(()),
        }
    }

    fn choose(&self, operation: Operation, names: impl Fn(ChunkId) -> bool) -> Option<Fault> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.calls[operation as usize] += 1;
        for (_, rule) in &mut state.rules {
            if !rule.operations.contains(&operation) || rule.chunk.is_some_and(|id| !names(id)) || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.chance < 1.0 && !state.random.random_bool(rule.chance) {
                continue;
            }
            rule.times -= 1;
            state.hits += 1;
            return Some(rule.fault.clone());
        }
        None
    }

    async fn hang(&self) {
        let mut released = self.released.subscribe();
        let _counted = Hanging::new(&self.state);
        // The sender lives as long as `self`: this ends by a release only.
        let _ = released.changed().await;
    }

    /// Does `work` with the fault that is chosen for it. `work` may be left undone.
    async fn with_faults<T>(
        &self,
        fault: Option<&Fault>,
        work: impl Future<Output = Result<T, ZoneError>>,
    ) -> Result<T, ZoneError> {
        self.away()?;
        match fault {
            Some(Fault::Error(error)) => return Err(error.clone()),
            Some(Fault::Hang) => self.hang().await,
            Some(Fault::Delay(duration)) => tokio::time::sleep(*duration).await,
            _ => {}
        }
        self.away()?;
        let answer = work.await;
        match fault {
            Some(Fault::ErrorAfter(error)) => return Err(error.clone()),
            Some(Fault::HangAfter) => self.hang().await,
            _ => {}
        }
        self.away()?;
        answer
    }

    fn flip_bit(&self, bytes: &Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes.clone();
        }
        let bit = self.state.lock().random.random_range(0..bytes.len() as u64 * 8);
        let mut changed = BytesMut::from(bytes.as_ref());
        changed[usize::try_from(bit / 8).unwrap_or(0)] ^= 1 << (bit % 8);
        changed.freeze()
    }
}

impl Zone for FaultyZone {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn incarnation(&self) -> Option<Incarnation> {
        if self.state.lock().away.is_some() { None } else { self.inner.incarnation() }
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        async move {
            let fault = self.choose(Operation::Write, |named| named == id);
            let placed = self.with_faults(fault.as_ref(), self.inner.write(session, id, pieces)).await?;
            if matches!(fault, Some(Fault::LoseAfterAnswer)) {
                for answer in self.inner.delete(&[(placed.locator.clone(), id)]).await {
                    answer?;
                }
            }
            Ok(placed)
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        locator: &'a Locator,
        id: ChunkId,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        async move {
            let fault = self.choose(Operation::Read, |named| named == id);
            let bytes = self.with_faults(fault.as_ref(), self.inner.read(locator, id, offset, length)).await?;
            Ok(if matches!(fault, Some(Fault::FlipBit)) { self.flip_bit(&bytes) } else { bytes })
        }
        .boxed()
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        async move {
            let fault = self.choose(Operation::Delete, |named| chunks.iter().any(|(_, id)| *id == named));
            let work = async { Ok(self.inner.delete(chunks).await) };
            match self.with_faults(fault.as_ref(), work).await {
                Ok(answers) => answers,
                Err(error) => chunks.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        .boxed()
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        async move {
            let fault = self.choose(Operation::Enumerate, |_| false);
            self.with_faults(fault.as_ref(), self.inner.enumerate(since, from, count_max)).await
        }
        .boxed()
    }

    fn sparse(&self, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        async move {
            let fault = self.choose(Operation::Enumerate, |_| false);
            self.with_faults(fault.as_ref(), self.inner.sparse(from, count_max)).await
        }
        .boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        async move {
            let fault = self.choose(Operation::Usage, |_| false);
            self.with_faults(fault.as_ref(), self.inner.usage()).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
