//! Which sessions this gateway has opened, and over which lanes (S1, P5).
//!
//! A server that has forgotten a session gives its number again. The lane that it was opened over tells the two apart: lanes' ids are random. So what a gateway commits under a session that
//! it has opened is compared with that lane, and of another session of the same number it is refused, as of a closed one.

use std::collections::BTreeMap;

use cairn_types::SessionId;

use crate::embedded::state::{Command, Outcome};

/// A gateway has one session at a time, and those before it for as long as what is under way takes.
const REMEMBERED_MAX: usize = 64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<SessionId, i64>);

impl Sessions {
    /// Takes up what a commit over this lane has come to.
    pub(super) fn note(&mut self, outcome: &Outcome, lane: i64) {
        if let Outcome::OpenSession(session) = outcome {
            self.0.insert(*session, lane);
            if self.0.len() > REMEMBERED_MAX {
                self.0.pop_first();
            }
        }
    }

    /// Over which lane it was opened; `None` where that was another gateway.
    pub(super) fn lane(&self, session: SessionId) -> Option<i64> {
        self.0.get(&session).copied()
    }
}

/// The session under which something is done, or which is meant.
pub(super) fn of(command: &Command) -> Option<SessionId> {
    Some(match command {
        Command::PutVersion(request) => request.session,
        Command::CopyVersion(request) => request.session,
        Command::PutPart(request) => request.session,
        Command::CopyPart(request) => request.session,
        Command::AddLocators(batch) => batch.session,
        Command::MoveLocators(batch) => batch.session,
        Command::HeartbeatSession(session) | Command::CloseSession(session) => *session,
        Command::TakeLease(request) => request.session,
        Command::ReleaseLease(request) => request.session,
        _ => return None,
    })
}

/// What those are told who do not ask whether a session is closed, where the one that is meant is gone and another one has its number.
pub(super) fn if_another(command: &Command) -> Option<Outcome> {
    match command {
        Command::HeartbeatSession(_) => Some(Outcome::HeartbeatSession(false)),
        Command::CloseSession(_) => Some(Outcome::CloseSession(())),
        Command::ReleaseLease(_) => Some(Outcome::ReleaseLease(())),
        _ => None,
    }
}
