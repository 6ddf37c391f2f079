//! The catalog as a state machine: what every command does to the rows, and what every question reads from them.
//!
//! Pure and deterministic: no I/O but through a [`StateReader`], no clock, no randomness. A command is evaluated against a [`Transaction`]
//! and yields its answer and the rows that it writes. Those rows, not the command, go through the log, so what a replica holds never
//! depends on which version of this code replayed it.
//!
//! - [`tables`]: the rows and their keys.
//! - [`Command`], [`Outcome`], [`evaluate`]: one command on one transaction.
//! - [`Query`], [`Answer`], [`answer`]: one question to a reader.
//! - [`sequence`]: a command from transaction to rows, for whoever feeds the log.

pub(crate) mod blobs;
mod command;
mod directory;
pub mod engine;
pub(crate) mod listing;
mod queries;
pub mod reader;
mod sessions;
pub mod tables;
mod transaction;
pub(crate) mod uploads;
mod versions;
mod zones;

pub use command::{Answer, Command, Outcome, Query, answer, evaluate};
pub use engine::{EmbeddedCatalog, InMemoryCatalog, StateMachine};
pub use reader::{Overlay, StateReader};
pub use transaction::Transaction;
pub use versions::{version_id, version_sequence};

use cairn_types::Now;

use self::reader::Write;
use crate::{CatalogError, CatalogResult, Limits};

/// Bytes of rows at which a command that can stop and go on later does so.
const WRITES_SOFT_MAX: usize = 1024 * 1024;

/// Bytes of rows that no command passes: it must fit in a batch of the log.
pub const WRITES_MAX: usize = 8 * 1024 * 1024;

/// A command that was evaluated: its answer, to be given once the rows are durable.
#[derive(Debug)]
pub struct Sequenced {
    /// What to answer.
    pub result: CatalogResult<Outcome>,
    /// What to write; nothing when the answer is an error. Each row once.
    pub writes: Vec<Write>,
}

/// Evaluates one command. `reader` shows at least every batch that `pending` has forgotten; `pending` holds the writes of all commands that
/// were sequenced before this one and are not in `reader`.
#[must_use]
pub fn sequence(reader: &dyn StateReader, pending: &Overlay, limits: &Limits, now: Now, command: Command) -> Sequenced {
    let evaluated = Transaction::new(reader, pending, limits, now).and_then(|mut transaction| {
        let outcome = evaluate(&mut transaction, command)?;
        if transaction.own_bytes() > WRITES_MAX {
            return Err(CatalogError::Refused(format!("{} bytes of rows in one command", transaction.own_bytes())));
        }
        Ok((outcome, transaction.into_writes()))
    });
    match evaluated {
        Ok((outcome, writes)) => Sequenced { result: Ok(outcome), writes },
        Err(error) => Sequenced { result: Err(error), writes: Vec::new() },
    }
}
