//! Writing: a needle with a name of its own for each attempt, until one is durable in all its copies.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{ChunkId, SessionId};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;

use super::assignments::Assigned;
use super::core::{Core, Purpose};
use super::format::{CONTENT_TYPE, Fid, Head, NEEDLE_NAME, Place};
use super::http_client::{Asked, OTHER_BYTES_MAX, Pieces};
use super::masters::AssignError;
use super::seal::Checked;
use super::settings::IndexSync;
use super::trust::Epochs;
use crate::{Placed, ZoneError};

/// Before an attempt after one that failed for want of room or of a server.
const PAUSE: Duration = Duration::from_millis(100);
/// So many times in a row no volume was to be had because there is no space: the zone is full. Once does not say so: a master that knows of no
/// volume server yet says the same.
const FULL_AFTER: u32 = 5;

/// Why an attempt failed.
enum Failed {
    /// Another volume may do.
    Again { why: String, pause: Duration, full: bool },
    /// No other would do.
    Finally(ZoneError),
}

fn away(error: ZoneError) -> ZoneError {
    if let ZoneError::Refused(why) = error { ZoneError::Away(why) } else { error }
}

fn again(why: impl Into<String>, pause: Duration) -> Failed {
    Failed::Again { why: why.into(), pause, full: false }
}

impl Core {
    /// Stores a chunk.
    pub async fn write(self: &Arc<Self>, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> Result<Placed, ZoneError> {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let longest = self.settings.chunk_bytes_max;
        let length = match u32::try_from(length) {
            Ok(fits) if length <= longest => fits,
            _ => return Err(ZoneError::Refused(format!("a chunk of {length} bytes; the longest is {longest}"))),
        };
        let head = Head { store: self.store, zone: self.zone, incarnation: self.incarnation, session, id };
        let data: Vec<Bytes> = std::iter::once(head.encode()).chain(pieces).collect();
        let crc = data.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        let deadline = Instant::now() + self.settings.write_timeout;
        let mut full = 0;
        loop {
            let (why, pause) = match tokio::time::timeout_at(deadline, self.attempt(session, &data, crc)).await {
                Ok(Ok(fid)) => {
                    let locator = Place { incarnation: self.incarnation, fid, length, id }.encode();
                    return Ok(Placed { locator, incarnation: self.incarnation });
                }
                Ok(Err(Failed::Finally(error))) => return Err(error),
                Ok(Err(Failed::Again { why, pause, full: no_space })) => {
                    full = if no_space { full + 1 } else { 0 };
                    if full >= FULL_AFTER {
                        return Err(ZoneError::Full(why));
                    }
                    (why, pause)
                }
                Err(_) => (format!("it took longer than {:?}", self.settings.write_timeout), Duration::MAX),
            };
            tracing::debug!(%why, "writing a chunk is tried again");
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                return Err(ZoneError::Away(why));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(self: &Arc<Self>, session: SessionId, data: &[Bytes], crc: u32) -> Result<Fid, Failed> {
        let bytes: usize = data.iter().map(Bytes::len).sum();
        // A cluster that is not known to be the zone's own is not even asked for a volume: it would make some.
        if let Err(error) = self.may_write_anywhere() {
            return Err(if self.closed.load(Ordering::SeqCst) {
                Failed::Finally(away(error))
            } else {
                again(error.to_string(), PAUSE)
            });
        }
        let assigned = self.assignments.take(bytes as u64).await.map_err(|error| match error {
            AssignError::Full(why) => Failed::Again { why, pause: PAUSE, full: true },
            AssignError::Later(why) | AssignError::NoMaster(why) => again(why, PAUSE),
        })?;
        let epochs = match self.may_write(&assigned).await {
            Ok(epochs) => epochs,
            // Another look may tell otherwise, before the deadline.
            Err(ZoneError::Refused(why)) => return Err(again(why, PAUSE)),
            Err(error) => {
                self.assignments.avoid_volume(assigned.volume);
                return Err(again(error.to_string(), PAUSE));
            }
        };
        // A name is never tried twice. After a sync that failed SeaweedFS may find the bytes of the first attempt where they were not
        // written, call the second one unchanged, and say that it is durable.
        let leftover = Leftover { core: self, fid: self.new_fid(assigned.volume, session) };
        self.put(leftover.fid, &assigned, data, crc).await?;
        self.still_there(leftover.fid, &assigned, &epochs).await?;
        Ok(leftover.keep())
    }

    /// Whether a needle that was made durable is there, if one of its servers has failed meanwhile: it may have come back without it, and synced what it had.
    async fn still_there(&self, fid: Fid, assigned: &Assigned, epochs: &Epochs) -> Result<(), Failed> {
        // Noted first: whoever finds out about this volume from now on asks for it.
        self.trust.confirmed(fid);
        if self.epochs(&assigned.servers) == *epochs {
            return Ok(());
        }
        for server in assigned.servers.iter() {
            let checked = self.check(fid.volume, server, fid, None).await;
            if checked != Checked::There {
                self.trust.forget(&[fid]);
                self.assignments.avoid_volume(fid.volume);
                return Err(again(format!("{} has failed while {fid} was written: {checked:?}", server.http), Duration::ZERO));
            }
        }
        Ok(())
    }

    /// Writes one needle, and returns once it is durable on all servers of its volume.
    async fn put(self: &Arc<Self>, fid: Fid, assigned: &Assigned, data: &[Bytes], crc: u32) -> Result<(), Failed> {
        let Some(server) = assigned.servers.first() else {
            return Err(again(format!("volume {} has no server", fid.volume), PAUSE));
        };
        let mut headers = self.authorization(Purpose::Write, fid);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(NEEDLE_NAME));
        let asked = Asked {
            method: Method::PUT,
            server: server.http.clone(),
            path: format!("/{fid}?fsync=true"),
            headers,
            body: Pieces::new(data.iter().cloned()),
            answer_bytes_max: OTHER_BYTES_MAX,
        };
        let room = self.room().await.map_err(Failed::Finally)?;
        let answer = self.http.ask(asked).await;
        drop(room);
        let answer = answer.map_err(|error| {
            self.doubt(server);
            self.assignments.avoid_server(server);
            again(error, Duration::ZERO)
        })?;
        self.heard(server);
        match answer.status {
            StatusCode::CREATED => {}
            StatusCode::UNAUTHORIZED => {
                return Err(Failed::Finally(ZoneError::Away(format!("{} refuses our token: {}", server.http, answer.error()))));
            }
            StatusCode::BAD_REQUEST => {
                return Err(Failed::Finally(ZoneError::Away(format!("{} refuses the chunk: {}", server.http, answer.error()))));
            }
            // Read only, moved away, no room, a copy that is missing, a key that is taken: another volume, or at least another key.
            _ => {
                let error = answer.error();
                if !error.contains("mismatching cookie") {
                    self.assignments.avoid_volume(fid.volume);
                }
                let overloaded = matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
                return Err(again(format!("{}: {error}", server.http), if overloaded { PAUSE } else { Duration::ZERO }));
            }
        }
        // The check sum of what it stores, which is not what it was given when it was cut short, compressed or turned.
        let stored = answer.header(header::ETAG).map(|tag| tag.trim_matches('"'));
        if stored != Some(format!("{crc:08x}").as_str()) {
            self.assignments.avoid_volume(fid.volume);
            return Err(again(format!("{} stored other bytes than it was given (check sum {stored:?})", server.http), PAUSE));
        }
        match self.settings.index_sync {
            IndexSync::BeforeConfirming => self.sync(fid.volume, &assigned.servers).await.map_err(|error| {
                self.assignments.avoid_volume(fid.volume);
                again(format!("the index of volume {} was not synced: {error}", fid.volume), Duration::ZERO)
            })?,
            IndexSync::Within(span) => self.sync_within(span, fid.volume, &assigned.servers),
        }
        Ok(())
    }
}

/// A needle that nobody will name unless its write is confirmed. Dropped, also with a caller that gave up, it is deleted; where that fails, or the
/// write lands later, the collector finds it by its session (S2).
struct Leftover<'a> {
    core: &'a Arc<Core>,
    fid: Fid,
}

impl Leftover<'_> {
    fn keep(self) -> Fid {
        let fid = self.fid;
        std::mem::forget(self);
        fid
    }
}

impl Drop for Leftover<'_> {
    fn drop(&mut self) {
        let (core, fid) = (self.core.clone(), self.fid);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = core.remove(&[fid]).await;
            });
        }
    }
}
