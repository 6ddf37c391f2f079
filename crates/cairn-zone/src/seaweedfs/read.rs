//! Reading a range of a chunk.

use bytes::Bytes;
use cairn_types::ChunkId;
use http::{HeaderValue, Method, StatusCode, header};

use super::core::{Core, Purpose};
use super::format::{HEAD_BYTES, Place};
use super::http_client::{Answer, Asked, OTHER_BYTES_MAX, Pieces};
use super::masters::Server;
use crate::ZoneError;

/// What one server said.
enum Told {
    Bytes(Bytes),
    /// It has no such needle; or no such volume, or not open.
    Nothing,
    /// It failed, and does not say why: the needle's check sum does not hold, its disk does not read, it has no file handles left, or it is closing the volume.
    Failed(String),
    /// It has it and cannot give it.
    Damaged(String),
    /// It did not answer, or not now.
    Away(String),
}

impl Core {
    /// Reads a range. What is not there is said to be gone only where each copy of the volume is there, and says so.
    pub async fn read(&self, place: Place, id: ChunkId, offset: u64, length: usize) -> Result<Bytes, ZoneError> {
        if place.incarnation != self.incarnation {
            return Err(ZoneError::NotFound);
        }
        if place.id != id {
            return Err(ZoneError::Mismatch(format!("it names {:?}, not {id:?}", place.id)));
        }
        if offset.checked_add(length as u64).is_none_or(|end| end > u64::from(place.length)) {
            return Err(ZoneError::Refused(format!("{length} bytes from {offset} on pass the chunk's end at {}", place.length)));
        }
        let volume = place.fid.volume;
        if self.volumes.is_given_up(volume) {
            return Err(ZoneError::NotFound);
        }
        let mut asked = Vec::new();
        let read = self.read_anywhere(place, offset, length, &mut asked).await;
        read.map_err(|error| self.place_or_zone(error, &asked))
    }

    async fn read_anywhere(&self, place: Place, offset: u64, length: usize, asked: &mut Vec<Server>) -> Result<Bytes, ZoneError> {
        let volume = place.fid.volume;
        let mut failed = ZoneError::NotFound;
        for turn in 0..2 {
            // Remembered places first; when these do not have it, those that a master names now.
            let servers = if turn == 0 { self.volumes.locate(volume).await? } else { self.volumes.look_up(volume).await? };
            asked.extend(servers.iter().cloned());
            for server in servers.iter() {
                match self.read_surely(server, place, offset, length).await {
                    Told::Bytes(bytes) => return Ok(bytes),
                    Told::Damaged(why) => failed = ZoneError::Damaged(why),
                    Told::Failed(why) | Told::Away(why) => failed = worse(failed, ZoneError::Away(why)),
                    Told::Nothing => {}
                }
            }
            if matches!(failed, ZoneError::NotFound) {
                // One that is not there now may have it.
                let copies = self.volumes.copies(volume).await?;
                if servers.len() >= copies {
                    break;
                }
                failed = ZoneError::Away(format!("{} of {copies} copies of volume {volume} are there", servers.len()));
            }
            if matches!(failed, ZoneError::Damaged(_)) {
                break;
            }
            if turn == 0 {
                failed = ZoneError::NotFound;
            }
        }
        Err(failed)
    }

    /// Reads from one server. That a chunk is gone or damaged is believed only where the server says so twice, and between that shows that it has the very volume
    /// that is remembered and reads from it.
    async fn read_surely(&self, server: &Server, place: Place, offset: u64, length: usize) -> Told {
        let first = self.read_from(server, place, offset, length).await;
        if !matches!(first, Told::Nothing | Told::Failed(_)) {
            return first;
        }
        if let Err(why) = self.holds(server, place.fid.volume).await {
            return Told::Away(why);
        }
        match (first, self.read_from(server, place, offset, length).await) {
            (Told::Nothing, Told::Nothing) => Told::Nothing,
            (Told::Failed(why), Told::Failed(_)) => Told::Damaged(why),
            (_, Told::Nothing | Told::Failed(_)) => {
                Told::Away(format!("{}: {} is one thing and then another", server.http, place.fid))
            }
            (_, second) => second,
        }
    }

    async fn read_from(&self, server: &Server, place: Place, offset: u64, length: usize) -> Told {
        let mut headers = self.authorization(Purpose::Read, place.fid);
        // Nothing of a chunk is asked for as its being there: SeaweedFS does not do empty ranges.
        let method = if length == 0 { Method::HEAD } else { Method::GET };
        let first = offset + HEAD_BYTES as u64;
        if length > 0 {
            let range = format!("bytes={first}-{}", first + length as u64 - 1);
            let Ok(range) = HeaderValue::from_str(&range) else { return Told::Away(range) };
            headers.insert(header::RANGE, range);
        }
        let asked = Asked {
            method,
            server: server.http.clone(),
            path: format!("/{}", place.fid),
            headers,
            body: Pieces::default(),
            answer_bytes_max: length.max(OTHER_BYTES_MAX),
        };
        let Ok(room) = self.room().await else { return Told::Away("the zone is closed".to_owned()) };
        let answer = self.http.ask(asked).await;
        drop(room);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.doubt(server);
                return Told::Away(error);
            }
        };
        self.heard(server);
        let whole = place.length as usize + HEAD_BYTES;
        match answer.status {
            StatusCode::PARTIAL_CONTENT if length > 0 => {
                let range = format!("bytes {first}-{}/{whole}", first + length as u64 - 1);
                if answer.header(header::CONTENT_RANGE) == Some(range.as_str()) && answer.body.len() == length && plain(&answer) {
                    return Told::Bytes(answer.body);
                }
                Told::Damaged(format!("{}: {} is not as long as it was written", server.http, place.fid))
            }
            StatusCode::OK if length == 0 => {
                let length = answer.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
                if length == Some(whole) && plain(&answer) {
                    return Told::Bytes(Bytes::new());
                }
                Told::Damaged(format!("{}: {} is not as long as it was written", server.http, place.fid))
            }
            // Gone, or a volume that this server sends elsewhere for.
            StatusCode::NOT_FOUND | StatusCode::MOVED_PERMANENTLY => Told::Nothing,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Told::Damaged(format!("{}: {} is shorter than it was written", server.http, place.fid))
            }
            StatusCode::INTERNAL_SERVER_ERROR => Told::Failed(format!("{}: {}: {}", server.http, place.fid, answer.error())),
            StatusCode::UNAUTHORIZED => Told::Away(format!("{} refuses our token: {}", server.http, answer.error())),
            other => Told::Away(format!("{}: {other}: {}", server.http, answer.error())),
        }
    }
}

/// Whether the bytes are those that are stored.
fn plain(answer: &Answer) -> bool {
    !answer.headers.contains_key(header::CONTENT_ENCODING)
}

/// What of two failures to tell: that it is damaged says more than that a server was away, and that says more than that it is gone.
fn worse(known: ZoneError, new: ZoneError) -> ZoneError {
    if matches!(known, ZoneError::Damaged(_)) { known } else { new }
}
