use futures::FutureExt as _;
use parking_lot::Mutex;

use super::*;

const STORE: StoreId = StoreId(7);
const OWN: ZoneIndex = ZoneIndex(1);
const LIFE: Incarnation = Incarnation(4);

fn seal(number: u64) -> Seal {
    Seal { key: number * 100, cookie: 9, number, nonce: [number as u8; 16] }
}

fn memory(volumes: &[u32]) -> Memory {
    let mut memory = Memory::new(STORE, OWN, LIFE);
    let known = Known::born(seal(1), Mark { revision: 0, bytes: 8 }, BTreeSet::from(["volume:8080".to_owned()]));
    memory.volumes = volumes.iter().map(|volume| (*volume, known.clone())).collect();
    memory
}

#[derive(Default)]
struct Kept {
    record: Mutex<Option<(u64, Bytes)>>,
    /// What others save between the next loads and saves.
    others: Mutex<Vec<Memory>>,
    failing: Mutex<bool>,
}

impl ClusterMemory for Kept {
    fn load(&self) -> BoxFuture<'_, Result<Option<(u64, Bytes)>, String>> {
        async { Ok(self.record.lock().clone()) }.boxed()
    }

    fn save(&self, revision: u64, record: Bytes) -> BoxFuture<'_, Result<bool, String>> {
        async move {
            let mut known = self.record.lock();
            let present = known.as_ref().map_or(0, |(revision, _)| *revision);
            if let Some(other) = self.others.lock().pop() {
                *known = Some((present + 1, other.encode().unwrap()));
                return Ok(false);
            }
            if *self.failing.lock() {
                return Err("the answer was lost".to_owned());
            }
            if present == revision {
                *known = Some((present + 1, record));
            }
            Ok(present == revision)
        }
        .boxed()
    }
}

fn ledger(kept: &Arc<Kept>) -> Ledger {
    Ledger::new(kept.clone(), Memory::new(STORE, OWN, LIFE), Duration::from_secs(1))
}

#[tokio::test]
async fn a_change_is_made_on_what_others_have_saved() {
    let kept = Arc::new(Kept::default());
    let ledger = ledger(&kept);
    *kept.others.lock() = vec![memory(&[1, 2]), memory(&[1])];
    let known = memory(&[3]).volumes[&3].clone();
    let mut seen = Vec::new();
    ledger
        .update(|memory| {
            seen.push(memory.volumes.len());
            memory.volumes.insert(3, known.clone());
        })
        .await
        .unwrap();
    assert_eq!(seen, [0, 1, 2], "it was made again each time");
    let remembered = ledger.seen();
    assert_eq!((remembered.revision, remembered.memory.volumes.keys().copied().collect::<Vec<_>>()), (3, vec![1, 2, 3]));
    assert_eq!(ledger.load().await.unwrap(), remembered);
    ledger.update(|_| ()).await.unwrap();
    assert_eq!(ledger.seen().revision, 3, "no change is not saved");
    *kept.failing.lock() = true;
    let answer = ledger.update(|memory| memory.given_up.insert(3)).await;
    assert!(matches!(answer, Err(ZoneError::Away(why)) if why.contains("the answer was lost")));
    assert!(ledger.seen().memory.given_up.is_empty(), "what may not be saved is not taken for saved");
}

#[tokio::test]
async fn another_life_s_record_is_refused() {
    let kept = Arc::new(Kept::default());
    let other = Memory::new(STORE, OWN, Incarnation(5));
    *kept.record.lock() = Some((1, other.encode().unwrap()));
    assert!(matches!(ledger(&kept).load().await, Err(ZoneError::Refused(why)) if why.contains("incarnation 5")));
}

#[test]
fn a_memory_is_read_back_whole_or_not_at_all() {
    let mut memory = memory(&[1, 2]);
    memory.given_up.insert(9);
    let known = memory.volumes.get_mut(&1).unwrap();
    known.take_seal(seal(2));
    known.suspect = Some("it is shorter".to_owned());
    let bytes = memory.encode().unwrap();
    assert_eq!(Memory::decode(&bytes), Ok(memory));
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 1;
        assert!(Memory::decode(&bad).is_err(), "byte {at}");
        assert!(Memory::decode(&bytes[..at]).is_err(), "the first {at} bytes");
    }
}

/// The first seal stays; of the later ones one is kept beside the latest, until the next is made.
#[test]
fn seals_follow_each_other() {
    let mut known = memory(&[1]).volumes[&1].clone();
    assert_eq!((known.seals(), known.previous), (1, None));
    known.take_seal(seal(2));
    assert_eq!((known.seals(), known.previous, known.birth), (2, None, seal(1)));
    known.take_seal(seal(3));
    assert_eq!((known.seals(), known.previous, known.seal), (3, Some(seal(2)), seal(3)));
    known.take_seal(seal(4));
    assert_eq!((known.seals(), known.previous, known.birth), (3, Some(seal(3)), seal(1)));
}

#[test]
fn lengths_are_compared_within_a_revision() {
    let mark = |revision, bytes| Mark { revision, bytes };
    assert!(mark(2, 99).is_behind(mark(2, 100)));
    assert!(
        !mark(2, 100).is_behind(mark(2, 100))
            && !mark(3, 50).is_behind(mark(2, 100))
            && !mark(0, 50).is_behind(mark(65_535, 100))
    );
}
