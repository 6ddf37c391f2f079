//! What is remembered of a cluster outside of it (L5, L7).
//!
//! A cluster cannot tell by itself that it has forgotten something: an emptied one, another one at the same address and one that was restored from
//! a backup all answer politely. So each volume is remembered, with needles of our own that are in it: *seals*. A seal is random and written once. Where the
//! latest one is found, this is the volume that is remembered, and nothing is missing of what was durable in it before that seal, whatever was vacuumed,
//! moved or copied since.
//!
//! All gateways of a store share one record of each zone's life, which is where the catalog is. It changes by [`Ledger::update`] only: whoever saves names the revision
//! that its change is made on, and begins again where there is a later one. A volume is in the record before the first chunk in it is confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_types::{Incarnation, StoreId, ZoneIndex};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::ZoneError;

/// The format that is written.
pub const FORMAT: u32 = 1;
/// So often a change begins again because somebody else has saved meanwhile.
const TURNS_MAX: usize = 16;

/// Where the record of one life of a zone is kept: next to the locators of its chunks, so that neither is restored without the other.
pub trait ClusterMemory: Send + Sync + 'static {
    /// The record and its revision; `None` where none was ever saved. Never an earlier one than any that was saved before it was asked for.
    ///
    /// # Errors
    /// In words, where it cannot be known now.
    fn load(&self) -> BoxFuture<'_, Result<Option<(u64, Bytes)>, String>>;

    /// Saves a record under the next revision, durably and at once for everybody, if the present revision is this one; 0 says that there is none yet. `false` where it is
    /// another: then nothing has changed.
    ///
    /// # Errors
    /// In words, where it cannot be known whether it was saved.
    fn save(&self, revision: u64, record: Bytes) -> BoxFuture<'_, Result<bool, String>>;
}

/// How far a volume is, in the copy that is least far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// How often it was vacuumed, of 65,536.
    pub revision: u32,
    /// The length of its data file, bytes. Only a vacuum makes it shorter.
    pub bytes: u64,
}

impl Mark {
    /// Whether a volume that is as far as this has lost something by its length. Of different revisions a length says nothing; that is what seals are for.
    #[must_use]
    pub fn is_behind(self, known: Self) -> bool {
        self.revision == known.revision && self.bytes < known.bytes
    }
}

/// A needle of ours that tells which volume this is, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Its key.
    pub key: u64,
    /// Its cookie.
    pub cookie: u32,
    /// One more than the revision of the memory when it was made.
    pub number: u64,
    /// What no other has.
    pub nonce: [u8; 16],
}

/// What is remembered of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The first seal, which stays: without it this is another volume of the same number.
    pub birth: Seal,
    /// The latest one: without it the volume has forgotten something.
    pub seal: Seal,
    /// The one before, which is not needed any more and is deleted before the next is made.
    pub previous: Option<Seal>,
    /// How far it was.
    pub mark: Mark,
    /// Who held it: host and port of their HTTP. While it is moved these are more than there are to be copies.
    pub servers: BTreeSet<String>,
    /// How many copies of it there are to be.
    pub copies: usize,
    /// In words, why it was found to have forgotten something. It is read and deleted from, and not written to, until somebody who knows what should be in it has looked.
    pub suspect: Option<String>,
}

impl Known {
    /// A volume whose first seal this is.
    #[must_use]
    pub fn born(seal: Seal, mark: Mark, servers: BTreeSet<String>) -> Self {
        let copies = servers.len();
        Self { birth: seal, seal, previous: None, mark, servers, copies, suspect: None }
    }

    /// How many needles in it are seals.
    #[must_use]
    pub fn seals(&self) -> u64 {
        1 + u64::from(self.seal != self.birth) + u64::from(self.previous.is_some())
    }

    /// Takes a new latest seal.
    pub fn take_seal(&mut self, seal: Seal) {
        let before = std::mem::replace(&mut self.seal, seal);
        self.previous = (before != self.birth).then_some(before);
    }
}

/// What is remembered of one life of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose zone, as 32 hexadecimal digits.
    pub store: String,
    /// Which of the three.
    pub zone: u8,
    /// Its life.
    pub incarnation: u64,
    /// Each volume that a chunk may have been confirmed in.
    pub volumes: BTreeMap<u32, Known>,
    /// Volumes that an administrator has given up, whether or not they are known.
    pub given_up: BTreeSet<u32>,
}

impl Memory {
    /// Of a life that begins.
    #[must_use]
    pub fn new(store: StoreId, zone: ZoneIndex, incarnation: Incarnation) -> Self {
        Self {
            format: FORMAT,
            store: format!("{:032x}", store.0),
            zone: zone.0,
            incarnation: incarnation.0,
            volumes: BTreeMap::new(),
            given_up: BTreeSet::new(),
        }
    }

    /// The volumes that should be there.
    pub fn expected(&self) -> impl Iterator<Item = (u32, &Known)> {
        self.volumes.iter().filter(|(volume, _)| !self.given_up.contains(volume)).map(|(volume, known)| (*volume, known))
    }

    /// As bytes, with a check sum.
    ///
    /// # Errors
    /// None that is known.
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        let mut text = serde_json::to_vec(self)?;
        let check = crc32c::crc32c(&text);
        text.extend_from_slice(format!("\n{check:08x}\n").as_bytes());
        Ok(text.into())
    }

    /// What [`Memory::encode`] made.
    ///
    /// # Errors
    /// In words, for what is damaged and for what another version has written. Neither says anything of the cluster.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = || "what is remembered of the cluster is damaged".to_owned();
        let text = bytes.strip_suffix(b"\n").ok_or_else(damaged)?;
        let end = text.iter().rposition(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let (text, check) = (text.get(..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default());
        if check != format!("{:08x}", crc32c::crc32c(text)).as_bytes() {
            return Err(damaged());
        }
        let Format { format } = serde_json::from_slice(text).map_err(|error| format!("{}: {error}", damaged()))?;
        if format != FORMAT {
            return Err(format!(
                "what is remembered of the cluster is of format {format}, and this version knows format {FORMAT}: another version of Cairn wrote it"
            ));
        }
        serde_json::from_slice(text)
            .map_err(|error| format!("what is remembered of the cluster cannot be read by this version of Cairn: {error}"))
    }
}

/// A record as it was loaded or saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its revision; 0 where nothing was ever saved.
    pub revision: u64,
    /// What it says.
    pub memory: Memory,
}

/// The record of one life, as this process last saw it.
pub struct Ledger {
    port: Arc<dyn ClusterMemory>,
    blank: Memory,
    timeout: Duration,
    /// One loads or changes at a time, so that what is remembered here only rises.
    busy: tokio::sync::Mutex<()>,
    seen: RwLock<Arc<Remembered>>,
}

impl Ledger {
    /// Nothing was loaded yet.
    pub fn new(port: Arc<dyn ClusterMemory>, blank: Memory, timeout: Duration) -> Self {
        let seen = Remembered { revision: 0, memory: blank.clone() };
        Self { port, blank, timeout, busy: tokio::sync::Mutex::default(), seen: RwLock::new(Arc::new(seen)) }
    }

    /// What was seen last.
    pub fn seen(&self) -> Arc<Remembered> {
        self.seen.read().clone()
    }

    /// Loads it anew.
    ///
    /// # Errors
    /// [`ZoneError::Away`] where it cannot be loaded now; [`ZoneError::Refused`] for a record that this version cannot read.
    pub async fn load(&self) -> Result<Arc<Remembered>, ZoneError> {
        let _busy = self.busy.lock().await;
        self.fetch().await
    }

    async fn fetch(&self) -> Result<Arc<Remembered>, ZoneError> {
        let loaded = self.timed(self.port.load()).await?;
        let remembered = match loaded {
            None => Remembered { revision: 0, memory: self.blank.clone() },
            Some((revision, record)) => Remembered { revision, memory: self.decoded(&record)? },
        };
        Ok(self.keep(remembered))
    }

    fn decoded(&self, record: &[u8]) -> Result<Memory, ZoneError> {
        let memory = Memory::decode(record).map_err(ZoneError::Refused)?;
        let whose = |memory: &Memory| (memory.store.clone(), memory.zone, memory.incarnation);
        if whose(&memory) == whose(&self.blank) {
            return Ok(memory);
        }
        Err(ZoneError::Refused(format!(
            "what is remembered is of zone {} of store {} in incarnation {}, and not of zone {} of store {} in incarnation {}",
            memory.zone, memory.store, memory.incarnation, self.blank.zone, self.blank.store, self.blank.incarnation
        )))
    }

    fn keep(&self, remembered: Remembered) -> Arc<Remembered> {
        let remembered = Arc::new(remembered);
        *self.seen.write() = remembered.clone();
        remembered
    }

    /// Changes the record, and returns once the change is durable. The change is made on what is there now, and made again where somebody else has saved meanwhile.
    ///
    /// # Errors
    /// As for [`Ledger::load`]. It may be saved all the same.
    pub async fn update<T>(&self, mut change: impl FnMut(&mut Memory) -> T) -> Result<T, ZoneError> {
        let _busy = self.busy.lock().await;
        for _ in 0..TURNS_MAX {
            let before = self.fetch().await?;
            let mut memory = before.memory.clone();
            let made = change(&mut memory);
            if memory == before.memory {
                return Ok(made);
            }
            let record = memory.encode().map_err(|error| ZoneError::Refused(error.to_string()))?;
            if self.timed(self.port.save(before.revision, record)).await? {
                self.keep(Remembered { revision: before.revision + 1, memory });
                return Ok(made);
            }
        }
        Err(ZoneError::Away("what is remembered of the cluster changes faster than it can be changed from here".to_owned()))
    }

    async fn timed<T>(&self, asked: BoxFuture<'_, Result<T, String>>) -> Result<T, ZoneError> {
        let why = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        Err(ZoneError::Away(format!("what is remembered of the cluster is not to be had now: {why}")))
    }
}

#[cfg(test)]
mod tests;
