//! What goes wrong with a statement, and what it means for the commit that it was part of.

use tokio_postgres::error::{Severity, SqlState};

use crate::CatalogError;

/// A commit that failed, by what may be said of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// It has not happened and cannot any more; the same again may succeed at once.
    Again(String),
    /// It has not happened and cannot any more: the server or the way to it is gone. Somewhere else, or later, it may succeed.
    Gone(String),
    /// It may have happened (P2).
    Unknown(String),
    /// It has not happened, and this is the answer.
    Answer(CatalogError),
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Self::Answer(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::of_refused(&error)
    }
}

impl Failure {
    /// For a statement that is its own commit, or is followed by one that is on its way already.
    pub(super) fn of_commit(error: &tokio_postgres::Error) -> Self {
        if is_refusal(error) { Self::of_refused(error) } else { Self::Unknown(describe(error)) }
    }

    /// For statements before the commit: their transaction is over, or ends with their connection.
    pub(super) fn of_refused(error: &tokio_postgres::Error) -> Self {
        let Some(report) = error.as_db_error() else {
            return Self::Gone(describe(error));
        };
        let (code, text) = (report.code(), report.message().to_owned());
        match code.code() {
            // take_locks: somebody's settings would make a snapshot older than its locks; begin_commit: this lane's commits were settled as not done.
            "CN001" | "CN002" => return Self::Gone(text),
            // The session's number was given again.
            "CN004" => return Self::Answer(CatalogError::SessionClosed),
            _ => {}
        }
        match code {
            code if *code == SqlState::T_R_SERIALIZATION_FAILURE
                || *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::UNIQUE_VIOLATION =>
            {
                Self::Again(text)
            }
            code if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::OUT_OF_MEMORY => {
                Self::Answer(CatalogError::Busy(text))
            }
            code if *code == SqlState::DISK_FULL => Self::Answer(CatalogError::OutOfSpace(text)),
            code if *code == SqlState::DATA_CORRUPTED || *code == SqlState::INDEX_CORRUPTED => {
                Self::Answer(CatalogError::Damaged(text))
            }
            code if is_gone(code) => Self::Gone(text),
            code => {
                Self::Answer(CatalogError::Unavailable(format!("the database refused a statement ({}): {text}", code.code())))
            }
        }
    }
}

/// Whether the server itself says that what it was asked has not happened. What ends the connection (FATAL, PANIC) and what speaks of one (class 08) proves nothing: poolers
/// and proxies say so of a server that they have lost, whatever that has committed. By the field that is never translated.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|report| report.parsed_severity() == Some(Severity::Error) && !report.code().code().starts_with("08"))
}

/// Whether the server is no longer one that commits: it stops, starts, or has become a standby.
fn is_gone(code: &SqlState) -> bool {
    // Classes 08 (connection), 57 (operator intervention), 53300 (too many connections), 25006 (read-only: a standby).
    code.code().starts_with("08")
        || code.code().starts_with("57")
        || *code == SqlState::TOO_MANY_CONNECTIONS
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// In words, without addresses or secrets.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(report) => report.message().to_owned(),
        None if error.is_closed() => "the connection to the database is closed".to_owned(),
        None => "the connection to the database failed".to_owned(),
    }
}
