//! The worker that owns one zone's log: appends of all who wait share one sync, and every answer says what is durable.

use std::sync::Arc;

use cairn_types::ZoneIndex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::{Batch, Position};
use super::statistics::Statistics;
use super::zone_log::{OpenError, ZoneLog};

/// What a worker is asked to do.
enum Request {
    Append(Vec<Arc<Batch>>),
    Read { from: u64, bytes_max: u64, reply: oneshot::Sender<Result<Vec<Arc<Batch>>, OpenError>> },
    PositionAt { index: u64, reply: oneshot::Sender<Result<Option<Position>, OpenError>> },
    CutAfter { index: u64, epoch: u64, reply: oneshot::Sender<Result<(), OpenError>> },
    Trim { index: u64 },
    Close,
}

/// What a worker tells about its log.
#[derive(Debug)]
pub enum Report {
    /// Everything up to this index is durable.
    Durable(u64),
    /// The log cannot be used any more; the worker has ended or is about to.
    Failed(String),
}

/// A way to a zone's log worker. Clones lead to the same worker; it ends when the last one is dropped or when the log fails.
#[derive(Clone)]
pub struct LogWorker {
    requests: mpsc::UnboundedSender<Request>,
}

/// The worker has ended.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the zone's log is closed")]
pub struct Closed;

impl LogWorker {
    /// Makes the worker and the future that runs it. `report` is called from the worker. The number of queued appends is bounded by
    /// the sequencer, which lets go of a zone that lags too far.
    pub fn new(
        log: ZoneLog,
        statistics: (Arc<Statistics>, ZoneIndex),
        report: impl Fn(Report) + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests }, run(log, statistics, receiver, report))
    }

    /// Appends and syncs; the answer is a [`Report`].
    pub fn append(&self, batches: Vec<Arc<Batch>>) -> Result<(), Closed> {
        self.requests.send(Request::Append(batches)).map_err(|_| Closed)
    }

    /// Gives up what lies at or below the index, where whole files can be given up.
    pub fn trim(&self, index: u64) -> Result<(), Closed> {
        self.requests.send(Request::Trim { index }).map_err(|_| Closed)
    }

    /// Ends the worker once what was asked before is done, whoever else still has a way to it.
    pub fn close(&self) {
        // Where it has ended already there is nothing to do.
        let _ = self.requests.send(Request::Close);
    }

    /// See [`ZoneLog::read`].
    pub async fn read(&self, from: u64, bytes_max: u64) -> Result<Vec<Arc<Batch>>, OpenError> {
        self.call(|reply| Request::Read { from, bytes_max, reply }).await
    }

    /// See [`ZoneLog::position_at`].
    pub async fn position_at(&self, index: u64) -> Result<Option<Position>, OpenError> {
        self.call(|reply| Request::PositionAt { index, reply }).await
    }

    /// See [`ZoneLog::cut_after`].
    pub async fn cut_after(&self, index: u64, epoch: u64) -> Result<(), OpenError> {
        self.call(|reply| Request::CutAfter { index, epoch, reply }).await
    }

    async fn call<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, OpenError>>) -> Request) -> Result<T, OpenError> {
        let closed = || OpenError::Io(std::io::Error::other(Closed));
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

async fn run(
    mut log: ZoneLog,
    (statistics, zone): (Arc<Statistics>, ZoneIndex),
    mut requests: mpsc::UnboundedReceiver<Request>,
    report: impl Fn(Report) + Send,
) {
    let mut next = requests.recv().await;
    while let Some(request) = next {
        let mut following = None;
        match request {
            Request::Append(mut batches) => {
                // Everybody who waits already shares this sync; nobody waits for company.
                loop {
                    match requests.try_recv() {
                        Ok(Request::Append(more)) => batches.extend(more),
                        Ok(other) => {
                            following = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let appended = log.append(&batches).await;
                let before = Instant::now();
                let synced = match appended {
                    Ok(()) => log.sync().await,
                    Err(error) => Err(error),
                };
                match synced {
                    Ok(index) => {
                        statistics.synced(zone, before.elapsed());
                        report(Report::Durable(index));
                    }
                    Err(error) => return report(Report::Failed(error.to_string())),
                }
            }
            Request::Read { from, bytes_max, reply } => {
                let _ = reply.send(log.read(from, bytes_max).await);
            }
            Request::PositionAt { index, reply } => {
                let _ = reply.send(log.position_at(index).await);
            }
            Request::CutAfter { index, epoch, reply } => {
                let result = log.cut_after(index, epoch).await;
                let failed = result.as_ref().err().map(ToString::to_string);
                let _ = reply.send(result);
                if let Some(reason) = failed {
                    return report(Report::Failed(reason));
                }
            }
            Request::Close => return,
            Request::Trim { index } => {
                if let Err(error) = log.trim(index).await {
                    return report(Report::Failed(error.to_string()));
                }
            }
        }
        next = match following {
            Some(request) => Some(request),
            None => requests.recv().await,
        };
    }
}
