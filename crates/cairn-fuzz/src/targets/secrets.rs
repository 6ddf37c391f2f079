//! The small files and values that keys and identities stand in: a zone's identity, a share of the master key, a sealed secret.

use bytes::Bytes;
use cairn_disk::Random;
use cairn_disk::zone_directory::{IDENTITY_FORMAT, Identity, ZoneState};
use cairn_store::key_shares::{KeyShare, recover, split};
use cairn_store::secrets::{KeyRing, MASTER_KEY_LENGTH, MasterKey};
use cairn_types::{Incarnation, StoreId, ZoneName};
use zeroize::Zeroizing;

use crate::reader::{Reader, with_bit_flipped};
use crate::{Memory, Part, Target};

pub(super) const TARGET: Target = Target { name: "secrets", parts: PARTS, cost: 1 };

const PARTS: &[Part] = &[
    Part { name: "zone_identity", run: identity, seeds: identity_seeds, memory: Memory::PerByte(256) },
    Part { name: "key_share", run: key_share, seeds: key_share_seeds, memory: Memory::PerByte(256) },
    Part { name: "sealed_secret", run: sealed_secret, seeds: sealed_secret_seeds, memory: Memory::PerByte(64) },
];

/// The file as it is written: a document, and its checksum on a line of its own.
fn identity_file(document: &[u8]) -> Vec<u8> {
    [document, format!("\ncrc32c {:08x}\n", crc32c::crc32c(document)).as_bytes()].concat()
}

fn document(identity: &Identity) -> Vec<u8> {
    serde_json::to_vec_pretty(identity).unwrap_or_else(|error| panic!("{error}"))
}

/// A place to flip a bit, then the file; also with the right checksum.
fn identity(input: &[u8]) {
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let bytes = reader.rest();
    let _ = Identity::decode(bytes);
    let Ok(identity) = Identity::decode(&identity_file(bytes)) else { return };
    let file = identity_file(&document(&identity));
    assert_eq!(Identity::decode(&file).as_ref(), Ok(&identity), "an identity is not what it was");
    // A flipped bit may turn a digit of the checksum into its capital, which means the same.
    let flipped = Identity::decode(&with_bit_flipped(&file, place));
    assert!(flipped.is_err() || flipped.as_ref() == Ok(&identity), "a flipped bit makes another identity");
    for length in [place as usize % file.len(), file.len() / 2] {
        let cut = Identity::decode(&file[..length]);
        assert!(cut.is_err() || cut.as_ref() == Ok(&identity), "a file that is cut short makes another identity");
    }
}

fn identity_seeds() -> Vec<Vec<u8>> {
    let name = |text: &str| ZoneName::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{error}"));
    let names = [name("geneva"), name("gland"), name("lucerne")];
    let identity = Identity {
        format: IDENTITY_FORMAT,
        store: StoreId(1),
        zone: names[1].clone(),
        zones: names,
        mount_points: [false, true, false],
        incarnation: Incarnation(3),
        state: ZoneState::Formed,
        promise: 4,
        catalog: 5,
    };
    vec![[&[0; 4][..], &document(&identity)].concat()]
}

/// The file of a share without its checksum: also with the right one. Two shares of one key make it again, one that was changed does not
/// go unnoticed.
fn key_share(input: &[u8]) {
    let _ = KeyShare::decode(input);
    let summed = [input, &crc32c::crc32c(input).to_le_bytes()].concat();
    if let Ok(share) = KeyShare::decode(&summed) {
        assert_eq!(*share.encode(), summed, "a share has two encodings");
        assert!(recover(std::slice::from_ref(&share)).is_err(), "one share is enough");
    }
    let mut reader = Reader::new(input);
    let place = reader.u32();
    let key = MasterKey::new(Zeroizing::new(reader.array::<MASTER_KEY_LENGTH>()));
    let shares = split(&key, StoreId(reader.u128()), reader.u64(), &Bits(reader.array()));
    for (index, share) in shares.iter().enumerate() {
        let file = share.encode();
        assert!(KeyShare::decode(&file).as_ref() == Ok(share), "a share is not what it was");
        assert!(KeyShare::decode(&with_bit_flipped(&file, place)).is_err(), "a flipped bit is not noticed");
        let two = [share.clone(), shares[(index + 1) % shares.len()].clone()];
        let made = recover(&two).map(|recovered| *recovered.key.expose());
        assert_eq!(made.as_ref(), Ok(key.expose()), "two shares make another key");
    }
}

fn key_share_seeds() -> Vec<Vec<u8>> {
    let key = MasterKey::new(Zeroizing::new([7; MASTER_KEY_LENGTH]));
    let shares = split(&key, StoreId(1), 2, &Bits([9; 8]));
    shares.iter().map(|share| share.encode()[..share.encode().len() - 4].to_vec()).collect()
}

/// An envelope; and a secret that is sealed, of which a bit is flipped.
fn sealed_secret(input: &[u8]) {
    let ring = KeyRing::new(MasterKey::new(Zeroizing::new([7; MASTER_KEY_LENGTH])));
    let mut reader = Reader::new(input);
    let (place, random) = (reader.u32(), Bits(reader.array()));
    let bytes = reader.rest();
    assert!(ring.open(bytes, "AKIA").is_err(), "somebody guessed a tag of 16 bytes");
    let _ = ring.is_outdated(bytes);
    let sealed = ring.seal(bytes, "AKIA", &random).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ring.open(&sealed, "AKIA").as_deref().map(Vec::as_slice), Ok(bytes));
    assert!(ring.open(&with_bit_flipped(&sealed, place), "AKIA").is_err(), "a flipped bit is not noticed");
    assert!(ring.open(&sealed, "AKIB").is_err(), "it opens for another key");
    assert!(ring.open(&sealed[..place as usize % sealed.len()], "AKIA").is_err());
}

fn sealed_secret_seeds() -> Vec<Vec<u8>> {
    let ring = KeyRing::new(MasterKey::new(Zeroizing::new([7; MASTER_KEY_LENGTH])));
    let sealed = ring.seal(b"secret", "AKIB", &Bits([3; 8])).unwrap_or_else(|_| Bytes::new());
    vec![[&[0; 12][..], &sealed].concat()]
}

/// What stands for randomness here: these bytes, over and over.
struct Bits([u8; 8]);

impl Random for Bits {
    fn next_u64(&self) -> u64 {
        u64::from_le_bytes(self.0)
    }

    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().zip(self.0.iter().cycle()).for_each(|(place, byte)| *place = *byte);
    }
}
