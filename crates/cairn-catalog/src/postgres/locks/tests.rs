use std::time::Duration;

use bytes::Bytes;
use cairn_types::records::StorageClass;
use cairn_types::{ETag, VersionId};

use super::*;
use crate::{
    AddLocatorsBatch, CopyPart, CopyVersion, MoveLocatorsBatch, PutPart, PutVersion, TakeLease, VersionAttributes, WriteCondition,
};

const SESSION: SessionId = SessionId(77);

/// Whose commit it is; a command that is new has to say so here before this compiles.
fn session_of(command: &Command) -> Option<SessionId> {
    match command {
        Command::PutVersion(request) => Some(request.session),
        Command::CopyVersion(request) => Some(request.session),
        Command::PutPart(request) => Some(request.session),
        Command::CopyPart(request) => Some(request.session),
        Command::AddLocators(batch) => Some(batch.session),
        Command::MoveLocators(batch) => Some(batch.session),
        Command::HeartbeatSession(session) | Command::CloseSession(session) => Some(*session),
        Command::TakeLease(request) => Some(request.session),
        // Lets go of what it holds, and commits nothing on behalf of the session.
        Command::ReleaseLease(_)
        | Command::TagVersion(_)
        | Command::DeleteVersion(_)
        | Command::DeleteVersions(_)
        | Command::CreateUpload(_)
        | Command::CompleteUpload(_)
        | Command::AbortUpload(_)
        | Command::ClearLocators(_)
        | Command::ConfirmDeletions(_)
        | Command::Reap(_)
        | Command::OpenSession(_)
        | Command::CloseSilentSessions(_)
        | Command::RetireIncarnation(_)
        | Command::AdvanceRebuild(_)
        | Command::CreateTenant(_)
        | Command::AdoptTenant(_)
        | Command::DeleteTenant(_)
        | Command::CreateAccount(_)
        | Command::DeleteAccount(_)
        | Command::CreateAccessKey(_)
        | Command::UpdateAccessKey(_)
        | Command::DeleteAccessKey(_)
        | Command::CreateBucket(_)
        | Command::DeleteBucket(_)
        | Command::SetVersioning(_)
        | Command::ConfigureBucket(_) => None,
    }
}

/// P1: nothing is committed on behalf of a session behind its closing, so every commit of a session shares its lock, and a closing has it alone.
#[test]
fn every_commit_of_a_session_locks_it() {
    let key = cairn_types::ObjectKey::try_from("a".to_owned()).expect("a key");
    let (bucket, etag) = (BucketId(1), ETag::of_bytes([1; 16]));
    let upload = UploadName { bucket, key: key.clone(), upload_id: UploadId([1; 16]) };
    let source = SourceVersion { bucket, key: key.clone(), version_id: VersionId::Null, sequence: 1 };
    let attributes = VersionAttributes {
        etag,
        checksum: None,
        metadata: cairn_types::ObjectMetadata::default(),
        tags: Vec::new(),
        storage_class: StorageClass::Standard,
    };
    let (content, condition, session) = (NewContent::Inline(Bytes::new()), WriteCondition::None, SESSION);
    let commands = [
        Command::PutVersion(PutVersion {
            session,
            bucket,
            key: key.clone(),
            content: content.clone(),
            attributes: attributes.clone(),
            condition: condition.clone(),
        }),
        Command::CopyVersion(CopyVersion { session, source: source.clone(), bucket, key, attributes, condition }),
        Command::PutPart(PutPart { session, upload: upload.clone(), part_number: 1, content, etag, checksum: None }),
        Command::CopyPart(CopyPart { session, upload, part_number: 1, source, range: 0..1, etag, checksum: None }),
        Command::AddLocators(AddLocatorsBatch { session, additions: Vec::new() }),
        Command::MoveLocators(MoveLocatorsBatch { session, moves: Vec::new() }),
        Command::HeartbeatSession(session),
        Command::CloseSession(session),
        Command::TakeLease(TakeLease { name: "a".to_owned(), session, silent_for: Duration::ZERO }),
    ];
    for command in &commands {
        assert_eq!(session_of(command), Some(SESSION));
        let locks = Locks::of(command, 5);
        let shared = locks.is_shared.get(&number(Of::Session, &SESSION.0.to_be_bytes(), 5)).copied();
        assert_eq!(shared, Some(!matches!(command, Command::CloseSession(_))), "{command:?}");
    }
}
