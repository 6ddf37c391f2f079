//! The master key in three shares, of which any two make it and one says nothing (K1).
//!
//! Each zone keeps one share in its directory, so that one stolen disk or backup opens nothing. Shares are made anew, as a new *generation*,
//! whenever a zone begins a new life; only shares of one generation fit together. The old generation is kept until the new one stands in two
//! zones ([`removable`]), so that a crash at any moment leaves two shares that fit.
//!
//! Shamir's scheme over GF(256), byte by byte (A. Shamir, "How to share a secret", 1979): a line through the secret at 0, with a random slope.
//! The arithmetic does not branch on, or index by, secret bytes.
//!
//! A share's file: `CAIRNSHR` · format (1 byte, 1) · store id (16) · zone (1) · generation (8) · master key id (8) · point (1) · share (32) ·
//! CRC32C of all before (4, little-endian). Numbers big-endian. The master key id tells whether two shares made the right key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use bytes::Bytes;
use cairn_disk::{Disk, OpenMode, Random};
use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::ZoneSet;
use cairn_types::{StoreId, ZoneIndex};
use zeroize::Zeroizing;

use crate::secrets::{MASTER_KEY_LENGTH, MasterKey, MasterKeyId};

const MAGIC: &[u8; 8] = b"CAIRNSHR";
const FORMAT: u8 = 1;
/// Bytes of a share's file.
pub const FILE_LENGTH: usize = 8 + 1 + 16 + 1 + 8 + 8 + 1 + MASTER_KEY_LENGTH + 4;
/// What the names of shares' files begin with in a zone's directory; the generation follows.
pub const FILE_PREFIX: &str = "key-share-";
/// Shares that make the key.
pub const THRESHOLD: usize = 2;

/// One zone's share of a master key. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyShare {
    /// The store that the key is of.
    pub store: StoreId,
    /// The zone that keeps it.
    pub zone: ZoneIndex,
    /// Which sharing it belongs to. Only shares of one generation fit together.
    pub generation: u64,
    /// The key that is shared.
    pub key_id: MasterKeyId,
    /// Where on the line.
    point: u8,
    share: Zeroizing<[u8; MASTER_KEY_LENGTH]>,
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyShare")
            .field("store", &self.store)
            .field("zone", &self.zone)
            .field("generation", &self.generation)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not a share, or of a later version of Cairn, or damaged.
    #[error("this is no share of a master key that this version knows: {0}")]
    File(&'static str),
    /// No generation of which two zones have a share.
    #[error("no generation of the master key's shares stands in two zones; found {0}")]
    TooFew(String),
    /// Shares that should fit make another key: one of them was changed.
    #[error("the shares of generation {0} do not make the key that they name")]
    Mismatch(u64),
}

/// A key that was made of shares.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The key.
    pub key: MasterKey,
    /// The generation of the shares.
    pub generation: u64,
    /// The zones that have a share of this generation. With fewer than three, a new generation is due.
    pub zones: ZoneSet,
}

// -- arithmetic in GF(256), modulus x^8 + x^4 + x^3 + x + 1 -----------------------------------------------------------------------------

fn multiply(one: u8, other: u8) -> u8 {
    let (mut one, mut product) = (one, 0_u8);
    for bit in 0..8 {
        product ^= one & (other >> bit & 1).wrapping_neg();
        one = one << 1 ^ 0x1b & (one >> 7).wrapping_neg();
    }
    product
}

/// The inverse, 0 of 0: the 254th power (Fermat).
fn invert(value: u8) -> u8 {
    let mut square = value;
    let mut power = 1;
    // 254 = 2 + 4 + 8 + … + 128.
    for _ in 0..7 {
        square = multiply(square, square);
        power = multiply(power, square);
    }
    power
}

// -- sharing ------------------------------------------------------------------------------------------------------------------------------

/// Shares a key: one share for each zone, in their order. A generation is used once.
#[must_use]
pub fn split(key: &MasterKey, store: StoreId, generation: u64, random: &dyn Random) -> [KeyShare; ZONE_COUNT] {
    let mut slope = Zeroizing::new([0; MASTER_KEY_LENGTH]);
    random.fill(slope.as_mut());
    ZoneIndex::ALL.map(|zone| {
        // Not 0: there the secret itself lies.
        let point = zone.0 + 1;
        let mut share = Zeroizing::new(*key.expose());
        for (byte, slope) in share.iter_mut().zip(slope.iter()) {
            *byte ^= multiply(*slope, point);
        }
        KeyShare { store, zone, generation, key_id: key.id(), point, share }
    })
}

/// The key that two shares of one sharing lie on a line with.
fn join(one: &KeyShare, other: &KeyShare) -> MasterKey {
    let across = invert(one.point ^ other.point);
    let (weight, other_weight) = (multiply(other.point, across), multiply(one.point, across));
    let mut key = Zeroizing::new([0; MASTER_KEY_LENGTH]);
    for (byte, (one, other)) in key.iter_mut().zip(one.share.iter().zip(other.share.iter())) {
        *byte = multiply(*one, weight) ^ multiply(*other, other_weight);
    }
    MasterKey::new(key)
}

/// Makes the key of what was found in the zones: of the newest generation of which two shares fit. Shares of other stores, and shares that are
/// not in the zone they were made for, must have been left out by the caller. Errors: [`ShareError::TooFew`], [`ShareError::Mismatch`].
pub fn recover(shares: &[KeyShare]) -> Result<Recovered, ShareError> {
    // A crash while the first key of a store was shared may have left a share of a key that was never used under the same generation.
    let mut groups: BTreeMap<(u64, MasterKeyId), Vec<&KeyShare>> = BTreeMap::new();
    for share in shares {
        groups.entry((share.generation, share.key_id)).or_default().push(share);
    }
    let mut mismatch = None;
    for ((generation, _), shares) in groups.iter().rev() {
        let pairs = shares.iter().flat_map(|one| shares.iter().map(move |other| (*one, *other)));
        let mut pairs = pairs.filter(|(one, other)| one.point < other.point).peekable();
        if pairs.peek().is_none() {
            continue;
        }
        mismatch.get_or_insert(ShareError::Mismatch(*generation));
        let Some((one, key)) = pairs.map(|(one, other)| (one, join(one, other))).find(|(one, key)| key.id() == one.key_id) else {
            continue;
        };
        // Those that lie on the same line; one that was changed does not stand anywhere.
        let fits = |share: &&&KeyShare| share.point == one.point || join(one, share).id() == key.id();
        let zones = shares.iter().filter(fits).map(|share| share.zone).collect();
        return Ok(Recovered { key, generation: *generation, zones });
    }
    if let Some(mismatch) = mismatch {
        return Err(mismatch);
    }
    let found: Vec<String> =
        shares.iter().map(|share| format!("generation {} in zone {}", share.generation, share.zone)).collect();
    Err(ShareError::TooFew(if found.is_empty() { "none".to_owned() } else { found.join(", ") }))
}

/// The generations of which no share is needed any more: those below the newest that stands in two zones, of the key in use and of keys that
/// never came into use (a start that crashed while it shared the store's first key leaves such). Pure.
#[must_use]
pub fn removable(shares: &[KeyShare], key: MasterKeyId) -> BTreeSet<u64> {
    let mut standing: BTreeMap<u64, ZoneSet> = BTreeMap::new();
    for share in shares.iter().filter(|share| share.key_id == key) {
        let zones = standing.entry(share.generation).or_default();
        *zones = zones.with(share.zone);
    }
    let newest = standing.iter().rev().find(|(_, zones)| zones.len() >= THRESHOLD).map(|(generation, _)| *generation);
    shares.iter().map(|share| share.generation).filter(|generation| Some(*generation) < newest).collect()
}

// -- files --------------------------------------------------------------------------------------------------------------------------------

impl KeyShare {
    /// The share as its file has it.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut file = Zeroizing::new(Vec::with_capacity(FILE_LENGTH));
        file.extend_from_slice(MAGIC);
        file.push(FORMAT);
        file.extend_from_slice(&self.store.0.to_be_bytes());
        file.push(self.zone.0);
        file.extend_from_slice(&self.generation.to_be_bytes());
        file.extend_from_slice(&self.key_id.0);
        file.push(self.point);
        file.extend_from_slice(self.share.as_ref());
        let checksum = crc32c::crc32c(&file);
        file.extend_from_slice(&checksum.to_le_bytes());
        file
    }

    /// The inverse of [`KeyShare::encode`]. Errors: [`ShareError::File`].
    pub fn decode(file: &[u8]) -> Result<Self, ShareError> {
        let mut rest = file.strip_prefix(MAGIC).ok_or(ShareError::File("it begins with other bytes"))?;
        let [format] = take(&mut rest)?;
        if format != FORMAT {
            return Err(ShareError::File("its format is of another version"));
        }
        if file.len() != FILE_LENGTH {
            return Err(ShareError::File("it has another length"));
        }
        let (body, checksum) = file.split_last_chunk().ok_or(ShareError::File("it is too short"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(ShareError::File("its checksum is wrong"));
        }
        let store = StoreId(u128::from_be_bytes(take(&mut rest)?));
        let [zone] = take(&mut rest)?;
        let generation = u64::from_be_bytes(take(&mut rest)?);
        let key_id = MasterKeyId(take(&mut rest)?);
        let [point] = take(&mut rest)?;
        let share = Zeroizing::new(take(&mut rest)?);
        let zone = ZoneIndex(zone);
        if !ZoneIndex::ALL.contains(&zone) || point == 0 {
            return Err(ShareError::File("it is of no zone"));
        }
        Ok(Self { store, zone, generation, key_id, point, share })
    }

    fn file_name(&self) -> String {
        format!("{FILE_PREFIX}{}", self.generation)
    }
}

fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> Result<[u8; LENGTH], ShareError> {
    let (head, rest) = bytes.split_first_chunk().ok_or(ShareError::File("it is too short"))?;
    *bytes = rest;
    Ok(*head)
}

/// Writes a share into its zone's directory, durably and whole or not at all. Written again it replaces the file.
pub async fn write_share(disk: &dyn Disk, directory: &Path, share: &KeyShare) -> io::Result<()> {
    let path = directory.join(share.file_name());
    let beside = directory.join(format!("{}.new", share.file_name()));
    match disk.remove_file(&beside).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&beside, OpenMode::CreateNew).await?;
    file.write_at(0, &[Bytes::copy_from_slice(&share.encode())]).await?;
    file.sync_data().await?;
    disk.rename(&beside, &path).await?;
    disk.sync_directory(directory).await
}

/// The generations of which files stand in a zone's directory, in rising order, with their shares; those that cannot be read say why.
pub async fn read_shares(disk: &dyn Disk, directory: &Path) -> io::Result<Vec<(u64, Result<KeyShare, ShareError>)>> {
    let mut shares = Vec::new();
    for name in disk.read_directory(directory).await? {
        let Some(generation) = name.strip_prefix(FILE_PREFIX).and_then(|rest| rest.parse().ok()) else { continue };
        let file = disk.open(&directory.join(&name), OpenMode::Read).await?;
        let bytes = Zeroizing::new(file.read_at(0, FILE_LENGTH + 1).await?.to_vec());
        let share = KeyShare::decode(&bytes).and_then(|share| {
            if share.generation == generation {
                Ok(share)
            } else {
                Err(ShareError::File("it is of another generation than its name"))
            }
        });
        shares.push((generation, share));
    }
    shares.sort_by_key(|(generation, _)| *generation);
    Ok(shares)
}

/// Removes a generation's share from a zone's directory. One that is not there is passed over.
pub async fn remove_share(disk: &dyn Disk, directory: &Path, generation: u64) -> io::Result<()> {
    match disk.remove_file(&directory.join(format!("{FILE_PREFIX}{generation}"))).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => disk.sync_directory(directory).await,
    }
}

#[cfg(test)]
mod tests;
