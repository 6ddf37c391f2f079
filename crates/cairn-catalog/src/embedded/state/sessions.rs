//! Writer sessions (S1, S2), and the leases that they hold.
//!
//! An open session has a row. Whatever has none and is not above the highest ever opened is closed, so closing costs one deleted row and no
//! session is remembered for ever.

use bytes::Bytes;
use cairn_types::SessionId;
use cairn_types::codec::Record;
use cairn_types::records::{LeaseRecord, SessionRecord};

use super::reader::{StateReader, record, rows_beginning};
use super::tables::{LEASES, META_FORGOTTEN, META_GENERATION, META_SESSION, SESSIONS, read_number, session_key};
use super::transaction::{Transaction, meta};
use crate::{
    CatalogError, CatalogResult, CloseSilentSessions, LEASE_NAME_LENGTH_MAX, OpenSession, ReleaseLease, SessionView, TakeLease,
};

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

/// See [`crate::Catalog::take_lease`].
pub(super) fn take_lease(transaction: &mut Transaction<'_>, request: TakeLease) -> CatalogResult<LeaseRecord> {
    let TakeLease { name, session, silent_for } = request;
    if name.is_empty() || name.len() > LEASE_NAME_LENGTH_MAX {
        return Err(CatalogError::Refused("the name of a lease is empty, or too long".to_owned()));
    }
    check_open(transaction, session)?;
    let now = transaction.now().catalog;
    if let Some(lease) = record::<LeaseRecord>(transaction, LEASES, name.as_bytes())? {
        let holder = record::<SessionRecord>(transaction, SESSIONS, &session_key(lease.session))?;
        if lease.session == session || holder.is_some_and(|holder| now.since(holder.heartbeat) < silent_for) {
            return Ok(lease);
        }
    }
    let lease = LeaseRecord { session, token: transaction.next_sequence()?, since: now };
    transaction.put_record(LEASES, Bytes::from(name), &lease);
    Ok(lease)
}

/// See [`crate::Catalog::release_lease`].
pub(super) fn release_lease(transaction: &mut Transaction<'_>, request: ReleaseLease) -> CatalogResult<()> {
    let held: Option<LeaseRecord> = record(transaction, LEASES, request.name.as_bytes())?;
    if held.is_some_and(|lease| lease.session == request.session) {
        transaction.delete(LEASES, Bytes::from(request.name));
    }
    Ok(())
}

/// See [`crate::Catalog::leases`].
pub(super) fn leases(reader: &(impl StateReader + ?Sized)) -> CatalogResult<Vec<(String, LeaseRecord)>> {
    rows_beginning(reader, LEASES, &[])
        .map(|row| {
            let (key, value) = row?;
            let name = String::from_utf8(key.to_vec());
            let name = name.map_err(|_| CatalogError::Damaged("the name of a lease is no text".to_owned()))?;
            Ok((name, LeaseRecord::decode(&value)?))
        })
        .collect()
}

/// Which sessions are open. Reads the newest number before the sessions: where both come from different moments, a session that was opened in between is above
/// it, and not taken for closed. Of a catalog that may lack something none is closed (P5).
pub(super) fn view(reader: &(impl StateReader + ?Sized)) -> CatalogResult<SessionView> {
    let generation = meta(reader, META_GENERATION)?;
    let newest = if may_lack(reader)? { SessionId(0) } else { SessionId(meta(reader, META_SESSION)?) };
    let open = rows_beginning(reader, SESSIONS, &[])
        .map(|row| {
            let (key, value) = row?;
            Ok((SessionId(read_number(&key)?), SessionRecord::decode(&value)?))
        })
        .collect::<CatalogResult<_>>()?;
    Ok(SessionView { open, newest, generation })
}

/// Whether the catalog may lack something that it had acknowledged, and no administrator has looked (P5).
pub(super) fn may_lack(reader: &(impl StateReader + ?Sized)) -> CatalogResult<bool> {
    Ok(meta(reader, META_FORGOTTEN)? != 0)
}
