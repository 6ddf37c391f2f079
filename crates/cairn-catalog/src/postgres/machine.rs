//! The state machine on rows in PostgreSQL: commands as transactions, questions as snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_disk::Clock;
use cairn_types::records::SessionRecord;
use cairn_types::{CatalogTime, Now, SessionId, WallTime};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::{Row, Statement};

use super::columns::unsigned;
use super::failure::Failure;
use super::foresight::{self, Foreseen};
use super::known::Known;
use super::locks::Locks;
use super::pool::{Pool, Taken};
use super::pulse::NOT_PROVEN;
use super::rows::{Fetches, Parameters, Prepared, Purpose, fetch_missing, in_order};
use super::sessions::Sessions;
use super::settings::PostgresSettings;
use super::writes::{commit, statements};
use crate::embedded::state::reader::{Overlay, Table, Write};
use crate::embedded::state::{Answer, Command, Outcome, Query, StateMachine, StateReader, answer, sequence, tables};
use crate::{
    CatalogError, CatalogFuture, CatalogResult, CloseSilentSessions, ConfirmedSettings, Generations, Limits, SessionView,
};

/// Attempts of a command that others keep getting in the way of.
const ATTEMPTS_MAX: u32 = 16;
/// Evaluations of one command: each learns something, so more are a bug.
const EVALUATIONS_MAX: u32 = 4096;
/// The pause behind which an exclusive lock is asked for again that others would have to wait behind: see [`BEGIN_ALONE`].
const ALONE_PAUSE: Duration = Duration::from_millis(300);

/// [`StateMachine`] on PostgreSQL.
pub struct PostgresMachine {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub pool: Pool,
    pub limits: Limits,
    pub lock_seed: u64,
    /// Those that this gateway has opened.
    pub sessions: Mutex<Sessions>,
}

impl PostgresMachine {
    /// Over a database whose schema is there (see [`super::migrate`]). Its heartbeat runs on the runtime that this is called in.
    pub fn new(settings: PostgresSettings, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let lock_seed = super::locks::seed(&settings);
        Self { inner: Arc::new(Inner { pool: Pool::new(settings, clock), limits, lock_seed, sessions: Mutex::default() }) }
    }

    /// The server that this gateway believes, for the moment (P4); `None`: none counts, and requests wait.
    pub fn believed_primary(&self) -> Option<super::settings::Primary> {
        self.inner.pool.believed().map(|primary| (*primary).clone())
    }

    /// The timeline of the server that this gateway believes, for the moment (P4); `None`: no server counts, and requests wait.
    pub fn believed_timeline(&self) -> Option<i64> {
        self.inner.pool.believed().map(|primary| primary.life.timeline)
    }

    /// Whether this catalog may lack something that it had acknowledged, and no administrator has looked since (P5): it was restored from a backup, or a server
    /// was promoted that lacked some of it, or of which nobody could say whether it does. Until then no session counts as closed, so nothing is collected, and no chunk is moved.
    pub async fn has_forgotten(&self) -> CatalogResult<bool> {
        Ok(self.generations().await?.may_lack())
    }

    /// To be called behind each restore (P5): notes that the catalog has forgotten what was acknowledged since the backup. Gateways that ran before the
    /// restore and behind it notice by themselves; where all were stopped, nobody could.
    pub async fn note_restored(&self) -> CatalogResult<()> {
        let lock = super::locks::new_session(self.inner.pool.settings());
        self.inner.change_identity("SELECT has_forgotten($1)", &[&lock]).await.map(|_| ())
    }

    /// How often this catalog has forgotten something, and up to which of these times an administrator has looked.
    pub async fn generations(&self) -> CatalogResult<Generations> {
        self.inner.generations(Instant::now() + self.inner.pool.settings().wait_max).await
    }

    /// An administrator has looked at what these say: what nobody names may be collected again. What was forgotten since, and what was promoted since,
    /// he has not seen: that is to be looked at, too.
    pub async fn note_reviewed(&self, seen: Generations) -> CatalogResult<()> {
        let timeline = seen.unattested.unwrap_or(0);
        let note = "SELECT FROM note_reviewed($1, $2) AS is_noted WHERE is_noted";
        match self.inner.change_identity(note, &[&seen.now, &timeline]).await? {
            0 => Err(CatalogError::Refused("the catalog has not forgotten anything so often".to_owned())),
            _ => Ok(()),
        }
    }

    /// Forgets lanes of connections that are gone. A gateway does so by itself every minute.
    pub async fn forget_lanes(&self) -> CatalogResult<u64> {
        let until = Instant::now() + self.inner.pool.settings().wait_max;
        let connection = self.inner.pool.take(true, until).await?;
        let forgotten = self.inner.pool.counted(&connection, connection.forget_lanes()).await;
        let forgotten = forgotten.map_err(|reason| CatalogError::Unavailable(reason.to_owned()))?;
        let forgotten = forgotten.map_err(|error| as_error(error.into()))?;
        self.inner.pool.give_back(connection);
        Ok(unsigned(forgotten))
    }

    /// All rows of all tables, in one snapshot, as the embedded engine would keep them: for checkers, and for moving house.
    pub async fn rows(&self) -> CatalogResult<Vec<Write>> {
        let inner = self.inner.clone();
        let until = Instant::now() + inner.pool.settings().wait_max;
        let connection = inner.pool.take(false, until).await?;
        let mut all = Vec::new();
        let result = async {
            begin_snapshot(&connection).await?;
            for table in tables::ALL {
                for (key, value) in super::rows::all_rows(&connection, table).await? {
                    all.push(Write::Put { table, key, value });
                }
            }
            connection.client().batch_execute("COMMIT").await?;
            Ok::<_, Failure>(())
        };
        let read = inner.pool.counted_at_last(&connection, result).await;
        read.map_err(|reason| CatalogError::Unavailable(reason.to_owned()))?.map_err(as_error)?;
        inner.pool.give_back(connection);
        Ok(all)
    }
}

impl StateMachine for PostgresMachine {
    fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn generations(&self) -> CatalogFuture<'_, Generations> {
        Box::pin(Self::generations(self))
    }

    fn note_restored(&self) -> CatalogFuture<'_, ()> {
        Box::pin(Self::note_restored(self))
    }

    fn note_reviewed(&self, seen: Generations) -> CatalogFuture<'_, ()> {
        Box::pin(Self::note_reviewed(self, seen))
    }

    fn confirmed_settings(&self) -> Option<ConfirmedSettings> {
        self.inner.pool.confirmed_settings()
    }

    fn submit(&self, command: Command) -> CatalogFuture<'_, Outcome> {
        // A task of its own: whoever asked may stop waiting, and the transaction ends as it would have. One that has not begun by then is not begun.
        let asking = Asking::default();
        let task = tokio::spawn(self.inner.clone().run(command, asking.asked()));
        Box::pin(async move {
            let answer = task.await;
            drop(asking);
            answer.unwrap_or_else(|_| Err(CatalogError::OutcomeUnknown("the commit was given up".to_owned())))
        })
    }

    fn ask(&self, query: Query) -> CatalogFuture<'_, Answer> {
        let task = tokio::spawn(self.inner.clone().look(query));
        Box::pin(
            async move { task.await.unwrap_or_else(|_| Err(CatalogError::Unavailable("the question was given up".to_owned()))) },
        )
    }
}

/// Somebody who waits for an answer. Dropped, nobody does.
#[derive(Default)]
struct Asking(Arc<AtomicBool>);

/// Whether anybody waits for the answer. Who does not was told that the outcome is unknown, and may have gone on to write something else: what has not been sent by then would come behind that.
#[derive(Clone)]
pub(super) struct Asked(Arc<AtomicBool>);

impl Asking {
    fn asked(&self) -> Asked {
        Asked(Arc::clone(&self.0))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Asked {
    /// An error where nobody waits any more.
    pub(super) fn check(&self) -> CatalogResult<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(CatalogError::Unavailable("nobody waits for the answer".to_owned()));
        }
        Ok(())
    }
}

/// What has become of a commit whose answer did not come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    pub is_done: bool,
    /// What it answered, where it was one statement; this, and what follows.
    pub sequence: Option<i64>,
    /// When it was.
    pub wall_ms: Option<i64>,
    /// The versioning of its bucket.
    pub kept: Option<i16>,
    /// Bytes.
    pub length: Option<i64>,
}

/// A commit that is to be settled: its lane, its number, and what it answers where it was done.
struct Unsettled {
    lane: i64,
    number: i64,
    outcome: Outcome,
    reason: String,
}

/// How an attempt ended.
enum Attempt {
    Answered(CatalogResult<Outcome>),
    Again(String),
    Unsettled(Box<Unsettled>),
}

impl Inner {
    async fn generations(&self, until: Instant) -> CatalogResult<Generations> {
        loop {
            let connection = self.pool.take(false, until).await?;
            let ask = async {
                let statement = connection
                    .statement(
                        "SELECT generation, reviewed, (SELECT max(timeline) FROM timelines WHERE NOT attested) FROM identity",
                    )
                    .await?;
                let row = connection.client().query_one(&statement, &[]).await?;
                Ok::<_, Failure>(Generations { now: row.get(0), reviewed: row.get(1), unattested: row.get(2) })
            };
            match self.pool.counted(&connection, ask).await {
                Ok(Ok(generations)) => {
                    self.pool.give_back(connection);
                    return Ok(generations);
                }
                _ if Instant::now() >= until => return Err(CatalogError::Unavailable(NOT_PROVEN.to_owned())),
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }

    /// Says how many rows were changed, or answered.
    async fn change_identity(&self, text: &str, parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> CatalogResult<u64> {
        let connection = self.pool.take(true, Instant::now() + self.pool.settings().wait_max).await?;
        connection.has_warned();
        let executed = self.pool.counted(&connection, connection.client().execute(text, parameters)).await;
        let changed = match executed.map_err(|reason| CatalogError::OutcomeUnknown(reason.to_owned()))? {
            Ok(changed) => changed,
            // It is its own commit: where nobody has refused it, it may have happened.
            Err(error) if error.as_db_error().is_none() => {
                return Err(CatalogError::OutcomeUnknown(super::failure::describe(&error)));
            }
            Err(error) => return Err(as_error(error.into())),
        };
        if connection.has_warned() {
            return Err(CatalogError::OutcomeUnknown("the database warned while it committed".to_owned()));
        }
        self.pool.give_back(connection);
        Ok(changed)
    }

    async fn run(self: Arc<Self>, command: Command, asked: Asked) -> CatalogResult<Outcome> {
        let until = Instant::now() + self.pool.settings().wait_max;
        if let Command::CloseSilentSessions(CloseSilentSessions { silent_for: Duration::ZERO }) = &command {
            return Err(CatalogError::Refused("other gateways have sessions, too: nobody closes them all".to_owned()));
        }
        let if_another = super::sessions::if_another(&command);
        match Box::pin(self.run_to_its_end(command, until, &asked)).await {
            // Its number was given again: to whoever asks, it is closed, and the other one is none of his business.
            Err(CatalogError::SessionClosed) if if_another.is_some() => if_another.ok_or(CatalogError::SessionClosed),
            answer => answer,
        }
    }

    async fn run_to_its_end(self: &Arc<Self>, command: Command, until: Instant, asked: &Asked) -> CatalogResult<Outcome> {
        if let Some(answer) = self.run_in_one_statement(&command, until, asked).await {
            return answer;
        }
        let mut last = String::new();
        let mut attempts = 0;
        while Instant::now() < until && attempts < ATTEMPTS_MAX {
            let mut locks = Locks::of(&command, self.lock_seed);
            if let Command::CloseSilentSessions(request) = &command {
                for session in self.silent_sessions(*request).await? {
                    locks.close(session);
                }
            }
            let attempt = match self.attempt(&command, &locks, until, asked).await {
                // Others would wait behind whoever waits for this one: he asks again.
                Err(CatalogError::Busy(reason)) if locks.are_for_one() && Instant::now() + ALONE_PAUSE < until => {
                    last = reason;
                    tokio::time::sleep(ALONE_PAUSE).await;
                    continue;
                }
                attempt => attempt?,
            };
            match attempt {
                Attempt::Answered(answer) => return answer,
                Attempt::Again(reason) => {
                    attempts += 1;
                    last = reason;
                }
                Attempt::Unsettled(unsettled) => {
                    let Unsettled { lane, number, outcome, reason } = *unsettled;
                    tracing::warn!(lane, number, reason, "a commit's outcome is unknown");
                    match self.settle(lane, number, until).await {
                        Some(settled) if settled.is_done => {
                            self.sessions.lock().note(&outcome, lane);
                            return Ok(outcome);
                        }
                        Some(_) => last = reason,
                        None => return Err(CatalogError::OutcomeUnknown(reason)),
                    }
                }
            }
        }
        Err(CatalogError::Busy(last))
    }

    /// One transaction. Its connection goes back only when the transaction is known to be over.
    async fn attempt(&self, command: &Command, locks: &Locks, until: Instant, asked: &Asked) -> CatalogResult<Attempt> {
        let mut connection = self.pool.take(true, until).await?;
        if let Err(error) = asked.check() {
            self.pool.give_back(connection);
            return Err(error);
        }
        let number = connection.next_number();
        // What it answers where it is committed; there as soon as a COMMIT may be on its way.
        let mut committing = None;
        let transact = Box::pin(self.transact(&connection, command, locks, number, &mut committing));
        let transacted = self.pool.counted(&connection, transact).await;
        // What a server acknowledges or judges that may be a thing of the past, those who do so with it may throw away.
        let transacted = transacted.unwrap_or_else(|reason| {
            Err(match &committing {
                Some(_) => Failure::Unknown(reason.to_owned()),
                None => Failure::Gone(reason.to_owned()),
            })
        });
        match transacted {
            Ok(transacted) => {
                if let Transacted::Done(outcome) = &transacted {
                    self.pool.acknowledged(connection.lane, number);
                    self.sessions.lock().note(outcome, connection.lane);
                }
                self.pool.give_back(connection);
                Ok(match transacted {
                    Transacted::Refused(error) => Attempt::Answered(Err(error)),
                    Transacted::Done(outcome) | Transacted::Unchanged(outcome) => Attempt::Answered(Ok(outcome)),
                    Transacted::OtherLocks => Attempt::Again("more sessions have fallen silent".to_owned()),
                })
            }
            Err(failure) => {
                let lane = connection.lane;
                self.leave(connection, &failure).await;
                match (failure, committing) {
                    (Failure::Unknown(reason), Some(outcome)) => {
                        Ok(Attempt::Unsettled(Box::new(Unsettled { lane, number, outcome, reason })))
                    }
                    (Failure::Unknown(reason) | Failure::Again(reason) | Failure::Gone(reason), _) => Ok(Attempt::Again(reason)),
                    (Failure::Answer(error), _) => Err(error),
                }
            }
        }
    }

    /// After a failure: a connection whose transaction the server has refused is rolled back and kept, every other is closed.
    pub(super) async fn leave(&self, connection: Taken, failure: &Failure) {
        match failure {
            // Nobody knows why, and it may be so for good over this connection.
            Failure::Answer(CatalogError::Unavailable(_)) => {}
            Failure::Again(_) | Failure::Answer(_) => {
                let rolled_back = self.pool.counted(&connection, connection.client().batch_execute("ROLLBACK")).await;
                if matches!(rolled_back, Ok(Ok(()))) {
                    self.pool.give_back(connection);
                }
            }
            Failure::Gone(_) | Failure::Unknown(_) => self.pool.drop_failed(connection),
        }
    }

    /// Evaluates the command on what is there, under its locks, and commits what it writes.
    async fn transact(
        &self,
        connection: &Taken,
        command: &Command,
        locks: &Locks,
        number: i64,
        committing: &mut Option<Outcome>,
    ) -> Result<Transacted, Failure> {
        let mut known = Known::default();
        let mut foreseen = foresight::of_command(command);
        self.suspend(&mut known, &mut foreseen);
        let session = super::sessions::of(command)
            .and_then(|session| Some((tables::session_key(session).to_vec(), self.sessions.lock().lane(session)?)));
        let (now, steady) = begin(connection, locks, number, session, foreseen, &mut known).await?;
        let mut command = command.clone();
        if let Command::CloseSilentSessions(CloseSilentSessions { silent_for }) = &mut command
            && steady < *silent_for
        {
            // Nobody was heard of for a while, and not for want of beating hearts: a fail-over, most likely. Each is given the time to be heard again.
            *silent_for = Duration::MAX;
        }
        known.learn(tables::META, Bytes::from_static(tables::META_TIME), Some(tables::number_value(now.catalog.0)));
        for _ in 0..EVALUATIONS_MAX {
            let sequenced = sequence(&known, &Overlay::default(), &self.limits, now, command.clone());
            if known.is_missing() {
                fetch_missing(connection, &mut known, Purpose::Write).await?;
                continue;
            }
            let outcome = match sequenced.result {
                Ok(outcome) => outcome,
                Err(error) => {
                    roll_back(connection).await?;
                    return Ok(Transacted::Refused(error));
                }
            };
            if closes_more_than(&sequenced.writes, locks) {
                roll_back(connection).await?;
                return Ok(Transacted::OtherLocks);
            }
            let numbers = known.number(tables::META_SEQUENCE);
            let statements = statements(sequenced.writes, numbers, connection.lane)?;
            if statements.is_empty() {
                roll_back(connection).await?;
                return Ok(Transacted::Unchanged(outcome));
            }
            let prepared = statements.prepare(connection).await?;
            *committing = Some(outcome.clone());
            commit(&prepared, connection).await?;
            return Ok(Transacted::Done(outcome));
        }
        Err(CatalogError::Damaged("a command reads on and on".to_owned()).into())
    }

    /// Finds out what has become of a commit, and sees to it that it does not happen later (P2): its lane is fenced off, which waits for a
    /// transaction that is still under way; that fence is committed as strictly as any write; then what the lane has committed is true for
    /// good. `None`: no server would say.
    pub(super) async fn settle(&self, lane: i64, number: i64, until: Instant) -> Option<Settled> {
        loop {
            let connection = self.pool.take(true, until).await.ok()?;
            // "Done" of a server that was replaced meanwhile would be thrown away with it.
            let fenced = self.pool.counted(&connection, fence(&connection, lane, number)).await;
            let fenced = fenced.unwrap_or_else(|reason| Err(Failure::Gone(reason.to_owned())));
            match fenced {
                Ok(settled) => {
                    if settled.is_some_and(|settled| settled.is_done) {
                        self.pool.acknowledged(lane, number);
                    }
                    self.pool.give_back(connection);
                    // A lane that is gone can commit nothing any more, and nobody knows what it did.
                    return settled;
                }
                Err(failure) => {
                    tracing::warn!(?failure, lane, number, "a commit cannot be settled yet");
                    self.leave(connection, &failure).await;
                    if Instant::now() >= until {
                        return None;
                    }
                }
            }
        }
    }

    async fn silent_sessions(self: &Arc<Self>, request: CloseSilentSessions) -> CatalogResult<Vec<SessionId>> {
        let view = self.clone().look(Query::Sessions(())).await?;
        let now = self.clone().look(Query::Time(())).await?;
        let (Answer::Sessions(SessionView { open: view, .. }), Answer::Time(now)) = (view, now) else {
            return Err(CatalogError::Damaged("the answer is of another kind".to_owned()));
        };
        let is_silent = |record: &SessionRecord| now.since(record.heartbeat) >= request.silent_for;
        Ok(view.into_iter().filter(|(_, record)| is_silent(record)).map(|(session, _)| session).collect())
    }

    /// While nobody sees to it that a primary that was replaced acknowledges nothing, whatever it acknowledged and lost would look like garbage.
    fn suspend(&self, known: &mut Known, foreseen: &mut Foreseen) {
        if !self.pool.settings().is_watched() {
            let name = Bytes::from_static(tables::META_FORGOTTEN);
            foreseen.points.remove(&(tables::META, name.clone()));
            known.learn(tables::META, name, Some(tables::number_value(1)));
        }
    }

    async fn look(self: Arc<Self>, query: Query) -> CatalogResult<Answer> {
        let until = Instant::now() + self.pool.settings().wait_max;
        let mut attempts = 0;
        loop {
            let connection = self.pool.take(false, until).await?;
            let look = async {
                match self.look_by_one_statement(&connection, &query).await? {
                    None => self.look_once(&connection, &query).await,
                    Some(answer) => Ok(answer),
                }
            };
            let looked = self.pool.counted(&connection, look).await;
            match looked.unwrap_or_else(|reason| Err(Failure::Gone(reason.to_owned()))) {
                Ok(answer) => {
                    self.pool.give_back(connection);
                    return answer;
                }
                Err(failure) => {
                    self.leave(connection, &failure).await;
                    attempts += 1;
                    if attempts == ATTEMPTS_MAX || Instant::now() >= until {
                        return Err(as_error(failure));
                    }
                    if let Failure::Answer(error) = failure {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn look_once(&self, connection: &Taken, query: &Query) -> Result<CatalogResult<Answer>, Failure> {
        let mut known = Known::default();
        // What can be foreseen is asked for in a snapshot of one round trip. Where that was not all, in one that stays open.
        for is_foreseen in [true, false] {
            let mut foreseen = foresight::of_query(query, &self.limits);
            known = Known::default();
            self.suspend(&mut known, &mut foreseen);
            let Foreseen { points, ranges } = foreseen;
            if is_foreseen && points.is_empty() && ranges.is_empty() {
                continue;
            }
            let fetches = Fetches::of(points, ranges, Purpose::Read, &mut known)?;
            let end = is_foreseen.then_some("COMMIT");
            send(connection, BEGIN_SNAPSHOT, None, fetches, end, &mut known).await?;
            for _ in 0..EVALUATIONS_MAX {
                let reader: &dyn StateReader = &known;
                // The time of the last heartbeat is what `answer` reads itself.
                let answered = answer(reader, &self.limits, CatalogTime(0), query.clone());
                if known.is_missing() {
                    if is_foreseen {
                        break;
                    }
                    fetch_missing(connection, &mut known, Purpose::Read).await?;
                    continue;
                }
                if !is_foreseen {
                    connection.client().batch_execute("COMMIT").await?;
                }
                return Ok(answered);
            }
        }
        drop(known);
        Err(CatalogError::Damaged("a question reads on and on".to_owned()).into())
    }
}

enum Transacted {
    /// Committed.
    Done(Outcome),
    /// Nothing was to be written.
    Unchanged(Outcome),
    Refused(CatalogError),
    OtherLocks,
}

fn as_error(failure: Failure) -> CatalogError {
    match failure {
        Failure::Answer(error) => error,
        Failure::Again(reason) => CatalogError::Busy(reason),
        Failure::Gone(reason) | Failure::Unknown(reason) => CatalogError::Unavailable(reason),
    }
}

const BEGIN_COMMIT: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Of what locks the zones for itself: while it waits for somebody who has them (a gateway that was stopped, say), all who come later wait behind it. So it does not wait for long.
const BEGIN_ALONE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '200ms'";
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Begins a commit: names it, takes its locks, says what time it is (T1) and for how long that has gone on without a step, and reads what it will be judged by, behind the locks: all in one
/// round trip. `session`: its key, and the lane that it was opened over.
async fn begin(
    connection: &Taken,
    locks: &Locks,
    number: i64,
    session: Option<(Vec<u8>, i64)>,
    foreseen: Foreseen,
    known: &mut Known,
) -> Result<(Now, Duration), Failure> {
    // What was warned of before is of no concern to this commit.
    connection.has_warned();
    let (ids, are_shared) = locks.arguments();
    let fetches = Fetches::of(foreseen.points, foreseen.ranges, Purpose::Write, known)?;
    let named = connection.statement("SELECT * FROM begin_commit($1, $2, $3, $4, $5, $6)").await?;
    let (session, session_lane) = session.unzip();
    let parameters: Parameters = vec![
        Box::new(connection.lane),
        Box::new(number),
        Box::new(ids),
        Box::new(are_shared),
        Box::new(session),
        Box::new(session_lane),
    ];
    let begin = if locks.are_for_one() { BEGIN_ALONE } else { BEGIN_COMMIT };
    let rows = send(connection, begin, Some((named, parameters)), fetches, None, known).await?;
    let row = rows.first().ok_or_else(|| CatalogError::Damaged("a commit has not begun".to_owned()))?;
    let now = Now { catalog: CatalogTime(unsigned(row.get(0))), wall: WallTime(unsigned(row.get(1))) };
    Ok((now, Duration::from_millis(unsigned(row.get::<_, i64>(2).max(0)))))
}

/// Sends all of them before the first is answered, in their order: a beginning, a statement, what fetches, an end. Gives the statement's rows.
async fn send(
    connection: &Taken,
    begin: &'static str,
    first: Option<(Statement, Parameters)>,
    mut fetches: Fetches,
    end: Option<&'static str>,
    known: &mut Known,
) -> Result<Vec<Row>, Failure> {
    let first = Prepared::new(first.into_iter().collect());
    let prepared = fetches.prepare(connection).await?;
    let run = |text: &'static str| -> BoxFuture<'_, _> {
        Box::pin(async move { connection.client().batch_execute(text).await.map(|()| Vec::new()) })
    };
    let mut sent = vec![run(begin)];
    sent.extend(first.sending(connection));
    let before = sent.len();
    sent.extend(prepared.sending(connection));
    sent.extend(end.map(run));
    // The first that was refused says why: all behind it only follow.
    let mut answers = in_order(sent).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let fetched = answers.split_off(before);
    fetches.learn(fetched, known)?;
    Ok(if before > 1 { answers.pop().unwrap_or_default() } else { Vec::new() })
}

async fn begin_snapshot(connection: &Taken) -> Result<(), Failure> {
    Ok(connection.client().batch_execute(BEGIN_SNAPSHOT).await?)
}

async fn roll_back(connection: &Taken) -> Result<(), Failure> {
    Ok(connection.client().batch_execute("ROLLBACK").await?)
}

async fn fence(connection: &Taken, lane: i64, number: i64) -> Result<Option<Settled>, Failure> {
    connection.has_warned();
    let statement = connection.statement("SELECT * FROM fence_lane($1, $2)").await?;
    let row = connection.client().query_one(&statement, &[&lane, &number]).await?;
    if connection.has_warned() {
        return Err(Failure::Gone("the database warned while it committed".to_owned()));
    }
    let committed: Option<i64> = row.get(0);
    Ok(committed.map(|committed| Settled {
        is_done: committed >= number,
        sequence: row.get(1),
        wall_ms: row.get(2),
        kept: row.get(3),
        length: row.get(4),
    }))
}

/// Whether sessions would be closed that are not locked.
fn closes_more_than(writes: &[Write], locks: &Locks) -> bool {
    let closed = |table: Table, key: &Bytes| {
        table == tables::SESSIONS && tables::read_number(key).is_ok_and(|session| !locks.closes(SessionId(session)))
    };
    writes.iter().any(|write| matches!(write, Write::Delete { table, key } if closed(*table, key)))
}
