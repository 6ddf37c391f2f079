//! Background tasks that end with their owner.

use std::future::Future;

use parking_lot::Mutex;
use tokio::task::JoinSet;

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
