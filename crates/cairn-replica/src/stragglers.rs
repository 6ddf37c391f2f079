//! What comes after the answer to a client: copies that arrived late are named on their blobs, in batches (B4), and copies that nothing
//! will ever name are deleted.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use cairn_types::{BlobId, ChunkId, Locator, SessionId, ZoneIndex};
use tokio::sync::mpsc;

use crate::catalog_port::{AddLocators, AddOutcome, Replica};
use crate::progress::LateCopy;
use crate::replicator::{Counters, Replicator};
use crate::session::WriterSession;

/// A late copy of a committed blob. It holds its session, so that the session is not closed before it is named.
pub(crate) struct Fold {
    pub session: Arc<WriterSession>,
    pub blob: BlobId,
    pub copy: LateCopy,
}

/// Late copies in one commit.
const FOLDS_MAX: usize = 256;
/// Copies in one delete.
const DELETES_MAX: usize = 128;
/// Names late copies until the replicator is gone.
pub(crate) async fn fold_late_copies(replicator: Weak<Replicator>, mut queue: mpsc::Receiver<Fold>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, FOLDS_MAX).await > 0 {
        let Some(replicator) = replicator.upgrade() else { return };
        if batch.len() < FOLDS_MAX {
            tokio::time::sleep(replicator.config.fold_delay).await;
            while batch.len() < FOLDS_MAX {
                let Ok(more) = queue.try_recv() else { break };
                batch.push(more);
            }
        }
        fold_batch(&replicator, std::mem::take(&mut batch)).await;
    }
}

async fn fold_batch(replicator: &Arc<Replicator>, batch: Vec<Fold>) {
    // The sessions are held until their copies are named.
    let sessions: BTreeMap<SessionId, Arc<WriterSession>> =
        batch.iter().map(|fold| (fold.session.id(), Arc::clone(&fold.session))).collect();
    let mut grouped: BTreeMap<SessionId, BTreeMap<(BlobId, ZoneIndex), AddLocators>> = BTreeMap::new();
    for Fold { session, blob, copy } in batch {
        let additions = grouped.entry(session.id()).or_default();
        let addition =
            additions.entry((blob, copy.zone)).or_insert_with(|| AddLocators { blob, zone: copy.zone, places: Vec::new() });
        addition.places.push((copy.ordinal, copy.replica));
    }
    for (session, additions) in grouped {
        // An addition is all or nothing, so that copies of different lives of the zone must not be in one.
        let additions = additions.into_values().flat_map(by_incarnation).collect();
        add(replicator, session, additions).await;
    }
    drop(sessions);
}

fn by_incarnation(addition: AddLocators) -> impl Iterator<Item = AddLocators> {
    let AddLocators { blob, zone, places } = addition;
    let mut lives: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (ordinal, replica) in places {
        lives.entry(replica.incarnation).or_default().push((ordinal, replica));
    }
    lives.into_values().map(move |places| AddLocators { blob, zone, places })
}

/// Asks once. An addition of unknown outcome is neither repeated nor taken back: it may have been made, and then cleared again as damaged and
/// deleted (a second one would name nothing), or its session may have been closed since (a refusal of the second says nothing about the first).
async fn add(replicator: &Arc<Replicator>, session: SessionId, additions: Vec<AddLocators>) {
    match replicator.catalog.add_locators(session, additions.clone()).await {
        Ok(outcomes) => settle(replicator, additions, outcomes),
        Err(error) => tracing::debug!(%error, copies = additions.len(), "late copies are left to repair and collector"),
    }
}

/// B4: the loser deletes its copies.
fn settle(replicator: &Arc<Replicator>, additions: Vec<AddLocators>, outcomes: Vec<AddOutcome>) {
    for (addition, outcome) in additions.into_iter().zip(outcomes) {
        match outcome {
            AddOutcome::Added => Counters::add(&replicator.counters.stragglers_folded, addition.places.len()),
            AddOutcome::Refused => {
                Counters::add(&replicator.counters.stragglers_refused, addition.places.len());
                for (ordinal, replica) in addition.places {
                    replicator.delete_soon(addition.zone, replica, ChunkId { blob: addition.blob, ordinal });
                }
            }
        }
    }
}

/// Deletes copies in one zone until the replicator is gone. Best effort: what fails is the collector's.
pub(crate) async fn delete_copies(replicator: Weak<Replicator>, zone: ZoneIndex, mut queue: mpsc::Receiver<(Replica, ChunkId)>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, DELETES_MAX).await > 0 {
        let Some(replicator) = replicator.upgrade() else { return };
        // What was in another life of the zone went with it, and its locators may name copies of the same chunks by now.
        let life = replicator.zones.incarnation(zone);
        let present: Vec<(Locator, ChunkId)> = std::mem::take(&mut batch)
            .into_iter()
            .filter(|(replica, _)| Some(replica.incarnation) == life)
            .map(|(replica, id)| (replica.locator, id))
            .collect();
        if !present.is_empty() {
            let answers = replicator.zones.delete(zone, &present).await;
            let deleted = answers.iter().filter(|answer| answer.is_ok()).count();
            Counters::add(&replicator.counters.copies_discarded, deleted);
        }
    }
}
