//! Background tasks that end with their owner, and workers that go round until they are told to stop.

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::catalog_port::PortResult;

/// How long a worker rests between its rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    /// While it finds something to do.
    pub(crate) busy: Duration,
    /// When it found nothing, or the catalog did not answer.
    pub(crate) idle: Duration,
}

/// Runs a worker's rounds until told to stop. A round says whether another one at once would find more; `waits` says in the log what does
/// not happen while the catalog does not answer.
pub(crate) async fn run_rounds<Round>(
    mut shutdown: watch::Receiver<bool>,
    pauses: Pauses,
    waits: &str,
    mut round: impl FnMut() -> Round,
) where
    Round: Future<Output = PortResult<bool>>,
{
    loop {
        let pause = match round().await {
            Ok(true) => pauses.busy,
            Ok(false) => pauses.idle,
            Err(error) => {
                tracing::warn!(%error, "{waits}");
                pauses.idle
            }
        };
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the process is about to end, for a worker whose rounds take long: what is under way comes to its end, and nothing else is begun.
#[derive(Debug, Default)]
pub(crate) struct Stop(Mutex<Option<watch::Receiver<bool>>>);

impl Stop {
    /// From now on this says it.
    pub(crate) fn heed(&self, shutdown: watch::Receiver<bool>) {
        *self.0.lock() = Some(shutdown);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|stop| *stop.borrow() || stop.has_changed().is_err())
    }

    /// Sleeps for so long, or until it is time to stop.
    pub(crate) async fn sleep(&self, pause: Duration) {
        let stop = self.0.lock().clone();
        let stopped = async {
            match stop {
                Some(mut stop) => drop(stop.wait_for(|stop| *stop).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stopped => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tasks that are aborted together. After [`TaskGroup::abort`] nothing starts any more, so that what is dropped then cannot start
/// more work: a simulated crash is exactly that.
#[derive(Debug, Default)]
pub struct TaskGroup {
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl TaskGroup {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: Mutex::new(Some(JoinSet::new())) }
    }

    /// Starts a task; dropped unstarted once the group was aborted.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        // The future is dropped outside of the lock: what it holds may call back here.
        let mut unstarted = Some(future);
        if let Some(tasks) = self.tasks.lock().as_mut() {
            while tasks.try_join_next().is_some() {}
            if let Some(future) = unstarted.take() {
                tasks.spawn(future);
            }
        }
    }

    /// How many tasks run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.lock().as_mut().map_or(0, |tasks| {
            while tasks.try_join_next().is_some() {}
            tasks.len()
        })
    }

    /// Whether no task runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all tasks at their next step, and starts none any more.
    pub fn abort(&self) {
        let tasks = self.tasks.lock().take();
        drop(tasks);
    }
}
