//! Which requests run, which wait, and which are told to slow down.
//!
//! What it guarantees:
//!
//! - requests that run are bounded in number, and their bodies in the memory that they may hold outside the store;
//! - a request that finds no room waits, for so long and no longer, and so many wait and no more: what is over that is refused at once, which
//!   costs next to nothing. So a burst of any size leaves the service as busy as it can be, and no busier;
//! - room goes to sources in turn, not to whoever asks most: a source with a thousand requests waits for each of another's to be let in once.
//!   Where no more may wait, the last of the source with the most has to go;
//! - requests without a body pass those that wait for memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::sources::Source;

/// How much is let in.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Requests that run at once.
    pub running_max: usize,
    /// Bytes that their bodies may hold.
    pub bytes_max: u64,
    /// Requests that wait at once.
    pub waiting_max: usize,
    /// How long one waits.
    pub wait_max: Duration,
}

/// Lets requests in.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    state: Mutex<State>,
}

/// A request that was let in. Its room is given back when this is dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    bytes: u64,
}

/// There is no room, and there was none in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

#[derive(Debug)]
struct Waiter {
    number: u64,
    bytes: u64,
    /// Told true when it may run, false when it has to go.
    verdict: oneshot::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    bytes: u64,
    waiting: usize,
    /// Waiters of each source, in their order. None of them is empty.
    queues: BTreeMap<Source, VecDeque<Waiter>>,
    /// The sources, each once, in the order in which their turn comes.
    turns: VecDeque<Source>,
    last_number: u64,
}

impl State {
    fn has_room(&self, limits: &AdmissionLimits, bytes: u64) -> bool {
        self.running < limits.running_max && (bytes == 0 || self.bytes + bytes <= limits.bytes_max)
    }

    fn take_room(&mut self, bytes: u64) {
        self.running += 1;
        self.bytes += bytes;
    }

    fn give_back(&mut self, bytes: u64) {
        self.running -= 1;
        self.bytes -= bytes;
    }

    fn enqueue(&mut self, source: Source, bytes: u64) -> (u64, oneshot::Receiver<bool>) {
        let (verdict, receiver) = oneshot::channel();
        self.last_number += 1;
        let number = self.last_number;
        let queue = self.queues.entry(source).or_default();
        if queue.is_empty() {
            self.turns.push_back(source);
        }
        queue.push_back(Waiter { number, bytes, verdict });
        self.waiting += 1;
        (number, receiver)
    }

    /// Takes a waiter out; `None` where it was told its verdict already.
    fn remove(&mut self, source: Source, number: u64) -> Option<Waiter> {
        let queue = self.queues.get_mut(&source)?;
        let index = queue.iter().position(|waiter| waiter.number == number)?;
        let waiter = queue.remove(index)?;
        self.waiting -= 1;
        if queue.is_empty() {
            self.queues.remove(&source);
            self.turns.retain(|other| *other != source);
        }
        Some(waiter)
    }

    /// Sends away the last waiter of the source that has the most, where that is not this one.
    fn make_place(&mut self, source: Source) -> bool {
        let own = self.queues.get(&source).map_or(0, VecDeque::len);
        let Some((longest, queue)) = self.queues.iter().max_by_key(|(_, queue)| queue.len()) else { return false };
        // Both have the same after it, at the worst.
        if queue.len() <= own + 1 {
            return false;
        }
        let (longest, number) = (*longest, queue.back().map_or(0, |waiter| waiter.number));
        if let Some(waiter) = self.remove(longest, number) {
            let _ = waiter.verdict.send(false);
        }
        true
    }

    /// Lets in whoever has a turn and finds room.
    fn let_in(&mut self, limits: &AdmissionLimits) {
        let mut is_memory_awaited = false;
        let mut index = 0;
        while self.running < limits.running_max {
            let Some(source) = self.turns.get(index).copied() else { return };
            let first = self.queues.get(&source).and_then(VecDeque::front).map_or(0, |waiter| waiter.bytes);
            // Nobody with a body may take the memory that another waits for.
            is_memory_awaited |= !self.has_room(limits, first);
            let Some(queue) = self.queues.get_mut(&source) else { return };
            let place = if is_memory_awaited { queue.iter().position(|waiter| waiter.bytes == 0) } else { Some(0) };
            let Some(waiter) = place.and_then(|place| queue.remove(place)) else {
                index += 1;
                continue;
            };
            let is_last = queue.is_empty();
            self.turns.remove(index);
            if is_last {
                self.queues.remove(&source);
            } else {
                self.turns.push_back(source);
            }
            self.waiting -= 1;
            self.take_room(waiter.bytes);
            if waiter.verdict.send(true).is_err() {
                self.give_back(waiter.bytes);
            }
        }
    }
}

/// Somebody who waits. Dropped, they wait no more.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    source: Source,
    number: u64,
    bytes: u64,
    verdict: oneshot::Receiver<bool>,
    is_done: bool,
}

impl Waiting<'_> {
    fn admitted(&mut self) -> Admitted {
        self.is_done = true;
        Admitted { admission: self.admission.clone(), bytes: self.bytes }
    }

    /// Ends the wait. A verdict that came meanwhile holds.
    fn end(&mut self) -> Option<Admitted> {
        self.is_done = true;
        let mut state = self.admission.state.lock();
        if state.remove(self.source, self.number).is_some() {
            // Those who came after may need less than this one has waited for.
            state.let_in(&self.admission.limits);
        }
        drop(state);
        // Verdicts are told under the lock: there is none, or it is here.
        self.verdict.try_recv().is_ok_and(|admitted| admitted).then(|| self.admitted())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            drop(self.end());
        }
    }
}

impl Admission {
    /// Within these limits.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Lets a request in whose body may hold so many bytes, now or when there is room; [`Refused`] where there is none in time.
    pub async fn admit(self: &Arc<Self>, source: Source, bytes: u64) -> Result<Admitted, Refused> {
        let bytes = bytes.min(self.limits.bytes_max);
        let mut waiting = {
            let mut state = self.state.lock();
            // Where there is room for a request without a body, those who wait all wait for memory.
            if (state.waiting == 0 || bytes == 0) && state.has_room(&self.limits, bytes) {
                state.take_room(bytes);
                return Ok(Admitted { admission: self.clone(), bytes });
            }
            if state.waiting >= self.limits.waiting_max && !state.make_place(source) {
                return Err(Refused);
            }
            let (number, verdict) = state.enqueue(source, bytes);
            Waiting { admission: self, source, number, bytes, verdict, is_done: false }
        };
        match tokio::time::timeout(self.limits.wait_max, &mut waiting.verdict).await {
            Ok(Ok(true)) => Ok(waiting.admitted()),
            Ok(_) => {
                waiting.is_done = true;
                Err(Refused)
            }
            Err(_) => waiting.end().ok_or(Refused),
        }
    }

    /// How many requests run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.state.lock().running
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// What the bodies of those that run may hold, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        state.give_back(self.bytes);
        state.let_in(&self.admission.limits);
    }
}

#[cfg(test)]
mod tests;
