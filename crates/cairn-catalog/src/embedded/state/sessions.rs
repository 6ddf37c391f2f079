//! Writer sessions (S1, S2).
//!
//! An open session has a row. Whatever has none and is not above the highest ever opened is closed, so closing costs one deleted row and no
//! session is remembered for ever.

use cairn_types::SessionId;
use cairn_types::codec::Record;
use cairn_types::records::SessionRecord;

use super::reader::{StateReader, record, rows_beginning};
use super::tables::{META_SESSION, SESSIONS, read_number, session_key};
use super::transaction::{Transaction, meta};
use crate::{CatalogError, CatalogResult, CloseSilentSessions, OpenSession, SessionView};

/// Refuses a commit of a session that is not open (S2).
pub(super) fn check_open(reader: &(impl StateReader + ?Sized), session: SessionId) -> CatalogResult<()> {
    match reader.get(SESSIONS, &session_key(session))? {
        Some(_) => Ok(()),
        None => Err(CatalogError::SessionClosed),
    }
}

pub(super) fn open(transaction: &mut Transaction<'_>, request: OpenSession) -> CatalogResult<SessionId> {
    let session = SessionId(transaction.meta(META_SESSION)? + 1);
    transaction.set_meta(META_SESSION, session.0);
    let now = transaction.now().catalog;
    transaction.put_record(
        SESSIONS,
        session_key(session),
        &SessionRecord { gateway: request.gateway, opened: now, heartbeat: now },
    );
    Ok(session)
}

pub(super) fn heartbeat(transaction: &mut Transaction<'_>, session: SessionId) -> CatalogResult<bool> {
    let Some(mut record) = record::<SessionRecord>(transaction, SESSIONS, &session_key(session))? else {
        return Ok(false);
    };
    record.heartbeat = transaction.now().catalog;
    transaction.put_record(SESSIONS, session_key(session), &record);
    Ok(true)
}

pub(super) fn close(transaction: &mut Transaction<'_>, session: SessionId) -> CatalogResult<()> {
    if transaction.get(SESSIONS, &session_key(session))?.is_some() {
        transaction.delete(SESSIONS, session_key(session));
    }
    Ok(())
}

pub(super) fn close_silent(transaction: &mut Transaction<'_>, request: CloseSilentSessions) -> CatalogResult<SessionView> {
    let now = transaction.now().catalog;
    for (session, record) in view(transaction)?.open {
        if now.since(record.heartbeat) >= request.silent_for {
            transaction.delete(SESSIONS, session_key(session));
        }
    }
    view(transaction)
}

/// Which sessions are open.
pub(super) fn view(reader: &(impl StateReader + ?Sized)) -> CatalogResult<SessionView> {
    let open = rows_beginning(reader, SESSIONS, &[])
        .map(|row| {
            let (key, value) = row?;
            Ok((SessionId(read_number(&key)?), SessionRecord::decode(&value)?))
        })
        .collect::<CatalogResult<_>>()?;
    Ok(SessionView { open, newest: SessionId(meta(reader, META_SESSION)?) })
}
