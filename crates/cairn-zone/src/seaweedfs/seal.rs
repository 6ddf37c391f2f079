//! Seals in volumes: making one, and asking whether one is there. What is gone is told from what cannot be known now.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_types::SessionId;
use http::{HeaderValue, Method, StatusCode, header};

use super::core::{Core, Purpose, away};
use super::format::{CONTENT_TYPE, Fid, HEAD_BYTES, NEEDLE_NAME, SealHead, first_key, seal_key};
use super::http_client::{Asked, OTHER_BYTES_MAX, Pieces};
use super::masters::{Server, Volume};
use super::memory::{Known, Mark, Seal};
use super::wire::ReadVolumeFileStatusRequest;
use crate::ZoneError;

/// A volume's data file begins with its own head. One that is shorter is not loaded: SeaweedFS says so of a volume whose vacuum failed at its end, and of a disk that does not
/// say how long its files are.
const LOADED_BYTES_MIN: u64 = 8;

/// What a server says of a needle that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It is there.
    There,
    /// The server has the volume open, in our collection, and not the needle.
    Gone,
    /// That cannot be known now, in words.
    Unknown(String),
}

/// What all copies of a volume say of a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// It is in each.
    Everywhere,
    /// It is in none.
    Nowhere,
    /// It is in some, or not all of them say so now, in words. The number is that of the copies that have it.
    Partly(usize, String),
}

impl Seal {
    /// Where it is.
    #[must_use]
    pub fn fid(&self, volume: u32) -> Fid {
        Fid { volume, key: self.key, cookie: self.cookie }
    }
}

/// The addresses of these.
pub fn names(servers: &[Server]) -> BTreeSet<String> {
    servers.iter().map(|server| server.http.clone()).collect()
}

impl Core {
    fn seal_head(&self, volume: u32, seal: &Seal) -> Bytes {
        let Seal { number, nonce, .. } = *seal;
        SealHead { store: self.store, zone: self.zone, incarnation: self.incarnation, volume, number, nonce }.encode()
    }

    /// Puts a seal into a volume, and returns once it is durable in all of its copies. Who fails leaves a needle that nobody remembers.
    pub async fn put_seal(&self, volume: u32, servers: &[Server]) -> Result<Seal, ZoneError> {
        let Some(server) = servers.first() else {
            return Err(ZoneError::Away(format!("volume {volume} has no server")));
        };
        let random = &self.environment.random;
        let (high, low) = (random.next_u64(), random.next_u64());
        let seal = Seal {
            key: seal_key(random.next_u64()),
            cookie: (random.next_u64() as u32).max(1),
            number: self.ledger.seen().revision + 1,
            nonce: (u128::from(high) << 64 | u128::from(low)).to_be_bytes(),
        };
        let fid = seal.fid(volume);
        let data = self.seal_head(volume, &seal);
        let mut headers = self.authorization(Purpose::Write, fid);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(NEEDLE_NAME));
        let asked = Asked {
            method: Method::PUT,
            server: server.http.clone(),
            path: format!("/{fid}?fsync=true"),
            headers,
            body: Pieces::new([data.clone()]),
            answer_bytes_max: OTHER_BYTES_MAX,
        };
        let answer = self.http.ask(asked).await.map_err(|error| {
            self.doubt(server);
            ZoneError::Away(error)
        })?;
        self.heard(server);
        let stored = answer.header(header::ETAG).map(|tag| tag.trim_matches('"').to_owned());
        if answer.status != StatusCode::CREATED || stored != Some(format!("{:08x}", crc32c::crc32c(&data))) {
            return Err(ZoneError::Away(format!("{}: volume {volume} took no seal: {}", server.http, answer.error())));
        }
        self.sync(volume, servers).await.map_err(|error| away(&error))?;
        Ok(seal)
    }

    /// Whether a volume has a seal, by each of these servers, which are all of its copies.
    pub async fn sealed(&self, volume: u32, servers: &[Server], seal: &Seal) -> Sealed {
        let checks = futures::future::join_all(servers.iter().map(|server| self.check_seal(volume, server, seal))).await;
        let there = checks.iter().filter(|check| **check == Checked::There).count();
        if there == servers.len() && there > 0 {
            return Sealed::Everywhere;
        }
        let unknown = checks.iter().find_map(|check| match check {
            Checked::Unknown(why) => Some(why.clone()),
            Checked::There | Checked::Gone => None,
        });
        match unknown {
            Some(why) => Sealed::Partly(there, why),
            None if there == 0 && !servers.is_empty() => Sealed::Nowhere,
            None => Sealed::Partly(there, format!("{there} of {} copies of volume {volume} have its latest seal", servers.len())),
        }
    }

    /// Whether a volume that a master lists shows that it is the one that is remembered, though it may be in shards or have forgotten something since: its first seal is in any copy.
    pub async fn shows_whose(&self, volume: u32, known: &Known, found: &Volume) -> bool {
        let mut servers = found.servers.clone();
        if servers.is_empty() && found.erasure_coded {
            let located = self.volumes.look_up(volume).await;
            servers = located.map(|servers| servers.to_vec()).unwrap_or_default();
        }
        match self.sealed(volume, &servers, &known.birth).await {
            Sealed::Everywhere => true,
            Sealed::Partly(there, _) => there > 0,
            Sealed::Nowhere => false,
        }
    }

    async fn check_seal(&self, volume: u32, server: &Server, seal: &Seal) -> Checked {
        let expected = self.seal_head(volume, seal);
        self.check(volume, server, seal.fid(volume), Some(expected)).await
    }

    /// Whether a needle is there: with these bytes where some are given, else of whatever bytes, even deleted.
    pub async fn check(&self, volume: u32, server: &Server, fid: Fid, expected: Option<Bytes>) -> Checked {
        for turn in 0..2 {
            let answer = match self.ask_for(server, fid, expected.is_some()).await {
                Ok(answer) => answer,
                Err(why) => return Checked::Unknown(why),
            };
            match answer.status {
                StatusCode::OK if expected.as_ref().is_none_or(|expected| answer.body == *expected) => return Checked::There,
                StatusCode::OK => return Checked::Unknown(format!("{}: {fid} is not what was written", server.http)),
                StatusCode::NOT_FOUND => {}
                _ => return Checked::Unknown(format!("{}: {fid}: {}", server.http, answer.error())),
            }
            if turn == 1 {
                return Checked::Gone;
            }
            // A server says the same of a volume that it does not have, and of one that is not loaded.
            if let Err(error) = self.mark(volume, server).await {
                return Checked::Unknown(error.to_string());
            }
        }
        Checked::Gone
    }

    async fn ask_for(&self, server: &Server, fid: Fid, whole: bool) -> Result<super::http_client::Answer, String> {
        let asked = Asked {
            method: if whole { Method::GET } else { Method::HEAD },
            server: server.http.clone(),
            path: if whole { format!("/{fid}") } else { format!("/{fid}?readDeleted=true") },
            headers: self.authorization(Purpose::Read, fid),
            body: Pieces::default(),
            answer_bytes_max: OTHER_BYTES_MAX,
        };
        let answer = self.http.ask(asked).await.inspect_err(|_| self.doubt(server))?;
        self.heard(server);
        Ok(answer)
    }

    /// How far a server's copy of a volume is. An error where it has none of ours, or has not loaded it.
    pub async fn mark(&self, volume: u32, server: &Server) -> Result<Mark, ZoneError> {
        let status = self.call(server, &ReadVolumeFileStatusRequest { volume_id: volume }).await;
        let status = status.map_err(|error| ZoneError::Away(format!("{}: volume {volume}: {error}", server.http)))?;
        if status.collection != self.collection {
            return Err(ZoneError::Away(format!(
                "{}: volume {volume} is of the collection {:?}",
                server.http, status.collection
            )));
        }
        if status.dat_file_size < LOADED_BYTES_MIN {
            return Err(ZoneError::Away(format!("{}: volume {volume} is not loaded", server.http)));
        }
        Ok(Mark { revision: status.compaction_revision, bytes: status.dat_file_size })
    }

    /// Whether a server can be believed that a chunk is not in this volume: it has the very volume that is remembered, and reads needles of it. In words where it cannot.
    pub async fn holds(&self, server: &Server, volume: u32) -> Result<(), String> {
        if self.volumes.is_cut(volume) {
            return Err(format!("volume {volume} was cut into shards (ec.encode), of which none says what is not there"));
        }
        self.mark(volume, server).await.map_err(|error| error.to_string())?;
        let known = self.known(volume).await.map_err(|error| error.to_string())?;
        match self.check_seal(volume, server, &known.birth).await {
            Checked::There => Ok(()),
            Checked::Gone => Err(format!("{}: volume {volume} is not the one that is remembered", server.http)),
            Checked::Unknown(why) => Err(why),
        }
    }

    /// What is remembered of a volume that a locator names. Another gateway may have taken it up since this one last looked.
    async fn known(&self, volume: u32) -> Result<Known, ZoneError> {
        if let Some(known) = self.ledger.seen().memory.volumes.get(&volume) {
            return Ok(known.clone());
        }
        let remembered = self.ledger.load().await?;
        let known = remembered.memory.volumes.get(&volume).cloned();
        known.ok_or_else(|| ZoneError::Away(format!("volume {volume} is not remembered")))
    }

    /// The numbers of all seals that stand in a volume, by its index.
    pub async fn seal_numbers(&self, volume: u32) -> Result<Vec<u64>, ZoneError> {
        let below = first_key(SessionId(0));
        let window = self.window(volume, 1).await?;
        let mut numbers = Vec::new();
        for needle in window.needles.iter().take_while(|needle| needle.key < below) {
            let Ok(Some((_, data))) = self.opened(&window, *needle).await else { continue };
            let head = data.get(..HEAD_BYTES).and_then(SealHead::decode);
            let ours = head.filter(|head| {
                (head.store, head.zone, head.incarnation, head.volume) == (self.store, self.zone, self.incarnation, volume)
            });
            numbers.extend(ours.map(|head| head.number));
        }
        Ok(numbers)
    }
}
