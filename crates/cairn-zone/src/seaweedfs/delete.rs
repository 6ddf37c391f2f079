//! Deleting, by whole batches, from each server of a volume, and durable on return: SeaweedFS deletes without a sync.

use std::collections::BTreeMap;

use cairn_types::{ChunkId, Locator};
use futures::StreamExt as _;
use futures::stream;

use super::core::Core;
use super::format::{Fid, Place};
use super::grpc::CallError;
use super::listing::Replay;
use super::masters::Server;
use super::wire::{BatchDeleteRequest, DeleteResult};
use crate::ZoneError;

impl Core {
    /// Deletes chunks, one answer for each in order.
    pub async fn delete(&self, chunks: &[(Locator, ChunkId)]) -> Vec<Result<(), ZoneError>> {
        let mut answers: Vec<Option<Result<(), ZoneError>>> = Vec::with_capacity(chunks.len());
        let mut wanted: Vec<Fid> = Vec::new();
        for (locator, id) in chunks {
            let (answer, fid) = match Place::decode(locator) {
                None => (Some(Err(foreign())), None),
                // Another life's: its volumes are not ours.
                Some(place) if place.incarnation != self.incarnation => (Some(Ok(())), None),
                Some(place) if place.id != *id => {
                    (Some(Err(ZoneError::Mismatch(format!("it names {:?}, not {id:?}", place.id)))), None)
                }
                Some(place) => (None, Some(place.fid)),
            };
            answers.push(answer);
            wanted.extend(fid);
        }
        let mut removed = self.remove(&wanted).await.into_iter();
        let fill = |answer: Option<Result<(), ZoneError>>| answer.unwrap_or_else(|| removed.next().unwrap_or_else(unanswered));
        answers.into_iter().map(fill).collect()
    }

    /// Deletes needles, one answer for each in order.
    pub async fn remove(&self, fids: &[Fid]) -> Vec<Result<(), ZoneError>> {
        let mut by_volume: BTreeMap<u32, Vec<(usize, Fid)>> = BTreeMap::new();
        for (at, fid) in fids.iter().enumerate() {
            by_volume.entry(fid.volume).or_default().push((at, *fid));
        }
        let batches = by_volume.into_iter().flat_map(|(volume, fids)| {
            let batches: Vec<_> =
                fids.chunks(self.settings.delete_count_max.max(1)).map(|batch| (volume, batch.to_vec())).collect();
            batches
        });
        let mut answers: Vec<Option<Result<(), ZoneError>>> = vec![None; fids.len()];
        let mut removing = stream::iter(batches)
            .map(|(volume, batch)| async move {
                let needles: Vec<Fid> = batch.iter().map(|(_, fid)| *fid).collect();
                (batch, self.remove_from_volume(volume, &needles).await)
            })
            .buffer_unordered(self.settings.parallelism.max(1));
        while let Some((batch, results)) = removing.next().await {
            for ((at, _), result) in batch.into_iter().zip(results) {
                if let Some(answer) = answers.get_mut(at) {
                    *answer = Some(result);
                }
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    /// Deletes needles of one volume, from where it is known to be, and where that fails, from where a master says that it is.
    async fn remove_from_volume(&self, volume: u32, fids: &[Fid]) -> Vec<Result<(), ZoneError>> {
        // What was there has been given up, and is not read again.
        if self.volumes.is_given_up(volume) {
            return vec![Ok(()); fids.len()];
        }
        let mut asked = Vec::new();
        let mut results = vec![unanswered(); fids.len()];
        for turn in 0..2 {
            let servers = if turn == 0 { self.volumes.locate(volume).await } else { self.volumes.look_up(volume).await };
            if let Ok(servers) = &servers {
                asked.extend(servers.iter().cloned());
            }
            results = match servers {
                Err(error) => vec![Err(error); fids.len()],
                // Shards take deletions each for itself, and sync none.
                Ok(_) if self.volumes.is_cut(volume) => {
                    let why =
                        format!("volume {volume} was cut into shards (ec.encode), from which nothing can be deleted durably");
                    vec![Err(ZoneError::Away(why)); fids.len()]
                }
                Ok(servers) => match self.volumes.copies(volume).await {
                    Err(error) => vec![Err(error); fids.len()],
                    Ok(copies) if servers.len() < copies => {
                        let why = format!("{} of {copies} copies of volume {volume} are there", servers.len());
                        vec![Err(ZoneError::Away(why)); fids.len()]
                    }
                    Ok(_) => self.remove_everywhere(volume, &servers, fids).await,
                },
            };
            if results.iter().all(Result::is_ok) {
                break;
            }
        }
        results.into_iter().map(|result| result.map_err(|error| self.place_or_zone(error, &asked))).collect()
    }

    async fn remove_everywhere(&self, volume: u32, servers: &[Server], fids: &[Fid]) -> Vec<Result<(), ZoneError>> {
        let mut results = vec![Ok(()); fids.len()];
        for server in servers {
            for (result, told) in results.iter_mut().zip(self.remove_from(volume, server, fids).await) {
                if told.is_err() {
                    *result = told;
                }
            }
        }
        if servers.is_empty() {
            results.fill(Err(ZoneError::Away(format!("no server has volume {volume}"))));
        }
        // What is gone already may be gone in memory only, so it is synced too.
        if results.iter().any(Result::is_ok)
            && let Err(error) = self.sync(volume, servers).await
        {
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(not_synced(volume, &error));
            }
        }
        let gone: Vec<Fid> = fids.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(fid, _)| *fid).collect();
        self.trust.forget(&gone);
        results
    }

    /// Deletes needles on one server. That one is gone already is believed only where the server says so twice, and between that shows that it has the very volume
    /// that is remembered and reads from it.
    async fn remove_from(&self, volume: u32, server: &Server, fids: &[Fid]) -> Vec<Result<(), ZoneError>> {
        let mut told = self.ask_to_remove(server, fids, false).await;
        let claimed: Vec<usize> = (0..told.len()).filter(|at| matches!(told.get(*at), Some(Removed::Gone))).collect();
        if !claimed.is_empty() {
            let again: Vec<Fid> = claimed.iter().filter_map(|at| fids.get(*at)).copied().collect();
            let second = match self.holds(server, volume).await {
                Ok(()) => self.ask_to_remove(server, &again, false).await,
                Err(why) => vec![Removed::Not(why); again.len()],
            };
            for (at, second) in claimed.into_iter().zip(second) {
                if let Some(first) = told.get_mut(at) {
                    *first = second;
                }
            }
        }
        let mut results = Vec::with_capacity(told.len());
        for (fid, told) in fids.iter().zip(told) {
            results.push(match told {
                Removed::Now | Removed::Gone => Ok(()),
                Removed::Damaged(why) => self.remove_damaged(server, *fid, &why).await,
                Removed::Not(why) => Err(ZoneError::Away(why)),
            });
        }
        results
    }

    async fn ask_to_remove(&self, server: &Server, fids: &[Fid], skip_cookie_check: bool) -> Vec<Removed> {
        let request = BatchDeleteRequest { file_ids: fids.iter().map(Fid::to_string).collect(), skip_cookie_check };
        match self.call(server, &request).await {
            Ok(answer) if answer.results.len() == fids.len() => {
                answer.results.iter().map(|told| told_of_deletion(server, told)).collect()
            }
            Ok(_) => vec![Removed::Not(format!("{} did not answer for each deletion", server.http)); fids.len()],
            Err(error) => vec![Removed::Not(error.to_string()); fids.len()],
        }
    }

    /// Deletes a needle that SeaweedFS cannot read, and would therefore never delete: it reads a needle to compare its cookie. Here that is compared by what stands at the
    /// needle's offset (B7).
    async fn remove_damaged(&self, server: &Server, fid: Fid, why: &str) -> Result<(), ZoneError> {
        let not = |more: &str| Err(ZoneError::Away(format!("{}: {fid} was not deleted: {why}; {more}", server.http)));
        let mut replay = Replay::new(fid.key, 1);
        if let Err(error) = self.fetch_index(fid.volume, server, &mut replay).await {
            return not(&error.to_string());
        }
        let window = replay.window(fid.volume, [server.clone()].into());
        let Some(needle) = window.needles.first().filter(|needle| needle.key == fid.key) else {
            return not("its volume's index does not name it");
        };
        match self.opened(&window, *needle).await {
            Ok(Some((opening, _))) if (opening.key, opening.cookie) == (fid.key, fid.cookie) => {}
            _ => return not("what stands in its place does not say whose it is"),
        }
        match self.ask_to_remove(server, &[fid], true).await.pop() {
            Some(Removed::Now | Removed::Gone) => Ok(()),
            Some(Removed::Damaged(more) | Removed::Not(more)) => not(&more),
            None => unanswered(),
        }
    }
}

/// What a volume server says of one deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Removed {
    /// It deleted it.
    Now,
    /// It has no such needle; or the volume is not open.
    Gone,
    /// It cannot read it, in words.
    Damaged(String),
    /// It did not delete it, in words.
    Not(String),
}

fn told_of_deletion(server: &Server, told: &DeleteResult) -> Removed {
    let error = told.error.as_str();
    let words = || format!("{}: {} was not deleted: {error} ({})", server.http, told.file_id, told.status);
    match told.status {
        202 => Removed::Now,
        304 => Removed::Gone,
        404 if error == "not found" || error == "already deleted" => Removed::Gone,
        // The key names another needle, so the chunk is gone (B7): that one was not touched.
        400 if error.contains("Cookie") => Removed::Gone,
        // It says 404 for a volume that it does not have, too; only the words tell.
        404 if !error.starts_with("volume") => Removed::Damaged(words()),
        _ => Removed::Not(words()),
    }
}

fn foreign() -> ZoneError {
    ZoneError::Refused("this is not a locator of the SeaweedFS engine".to_owned())
}

fn not_synced(volume: u32, error: &CallError) -> ZoneError {
    ZoneError::Away(format!("deletions in volume {volume} were not synced: {error}"))
}

fn unanswered() -> Result<(), ZoneError> {
    Err(ZoneError::Away("the deletion was not answered".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_deletions_is_told_apart() {
        let server = Server::new("volume:8080", 0).unwrap();
        let told = |status, error: &str| {
            let told = DeleteResult { file_id: "3,01".to_owned(), status, error: error.to_owned() };
            told_of_deletion(&server, &told)
        };
        assert_eq!(told(202, ""), Removed::Now);
        for (status, error) in
            [(304, ""), (404, "not found"), (404, "already deleted"), (400, "File Random Cookie does not match.")]
        {
            assert_eq!(told(status, error), Removed::Gone);
        }
        assert!(matches!(told(404, "volume 3 not found"), Removed::Not(_)), "moved away, perhaps");
        assert!(matches!(told(404, "invalid CRC for needle 7"), Removed::Damaged(_)));
        for (status, error) in [(400, "parse error"), (500, "volume 3 is read only"), (406, "")] {
            assert!(matches!(told(status, error), Removed::Not(_)));
        }
    }
}
