//! A catalog that is busy, away or hangs, and whose answers get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_catalog::embedded::state::{Answer, Command, EmbeddedCatalog, InMemoryCatalog, Outcome, Query, StateMachine};
use cairn_catalog::{CatalogError, CatalogFuture, Limits};
use parking_lot::Mutex;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and that is said.
    Away,
    /// Nothing is done, and nothing is known.
    UnknownUndone,
    /// It is done, and nothing is known.
    UnknownDone,
    /// Nothing is done, and nothing is ever said.
    Hang,
    /// It is done, and nothing is ever said.
    HangDone,
    /// It is done, and said 100 ms later.
    Late,
}

type Which = Box<dyn Fn(&Command) -> bool + Send + Sync>;

/// Which faults there are now.
#[derive(Default)]
pub struct Faults {
    commands: Mutex<Option<(Fault, Which, u32)>>,
    queries: Mutex<Option<Fault>>,
    /// Whether other processes may write, too.
    pub is_shared: AtomicBool,
}

impl Faults {
    /// The next so many commands of this sort.
    pub fn on_commands(&self, fault: Fault, times: u32, which: impl Fn(&Command) -> bool + Send + Sync + 'static) {
        *self.commands.lock() = Some((fault, Box::new(which), times));
    }

    /// All questions and all commands.
    pub fn on_all(&self, fault: Fault) {
        self.on_commands(fault, u32::MAX, |_| true);
        *self.queries.lock() = Some(fault);
    }

    /// All questions.
    pub fn on_questions(&self, fault: Fault) {
        *self.queries.lock() = Some(fault);
    }

    pub fn heal(&self) {
        *self.commands.lock() = None;
        *self.queries.lock() = None;
    }

    fn of(&self, command: &Command) -> Option<Fault> {
        let mut faults = self.commands.lock();
        let (fault, which, times) = faults.as_mut()?;
        if *times == 0 || !which(command) {
            return None;
        }
        *times -= 1;
        Some(*fault)
    }
}

pub struct FaultyMachine {
    inner: Arc<InMemoryCatalog>,
    faults: Arc<Faults>,
}

pub fn wrap(inner: &Arc<InMemoryCatalog>, faults: &Arc<Faults>) -> EmbeddedCatalog<FaultyMachine> {
    EmbeddedCatalog::new(FaultyMachine { inner: inner.clone(), faults: faults.clone() })
}

const LATE: Duration = Duration::from_millis(100);

async fn fail<T>(fault: Fault) -> Result<T, CatalogError> {
    match fault {
        Fault::Away => Err(CatalogError::Unavailable("test".to_owned())),
        Fault::UnknownUndone | Fault::UnknownDone => Err(CatalogError::OutcomeUnknown("test".to_owned())),
        Fault::Hang | Fault::HangDone | Fault::Late => std::future::pending().await,
    }
}

impl StateMachine for FaultyMachine {
    fn limits(&self) -> &Limits {
        self.inner.machine().limits()
    }

    fn is_shared(&self) -> bool {
        self.faults.is_shared.load(Ordering::SeqCst)
    }

    fn submit(&self, command: Command) -> CatalogFuture<'_, Outcome> {
        Box::pin(async move {
            let fault = self.faults.of(&command);
            if matches!(fault, None | Some(Fault::UnknownDone | Fault::HangDone | Fault::Late)) {
                let outcome = self.inner.machine().submit(command).await;
                if fault == Some(Fault::Late) {
                    tokio::time::sleep(LATE).await;
                }
                if matches!(fault, None | Some(Fault::Late)) || outcome.is_err() {
                    return outcome;
                }
            }
            fail(fault.unwrap()).await
        })
    }

    fn ask(&self, query: Query) -> CatalogFuture<'_, Answer> {
        Box::pin(async move {
            let fault = *self.faults.queries.lock();
            match fault {
                None => self.inner.machine().ask(query).await,
                Some(Fault::Late) => {
                    let answer = self.inner.machine().ask(query).await;
                    tokio::time::sleep(LATE).await;
                    answer
                }
                Some(fault) => fail(fault).await,
            }
        })
    }
}
