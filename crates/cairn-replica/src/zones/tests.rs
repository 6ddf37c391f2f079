use cairn_types::BlobId;
use cairn_zone::memory::MemoryZone;
use cairn_zone::{Capabilities, Usage};
use futures::future::BoxFuture;

use super::*;

/// Reads fail like this.
struct Failing(MemoryZone, fn(String) -> ZoneError);

impl Zone for Failing {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn incarnation(&self) -> Option<Incarnation> {
        self.0.incarnation()
    }

    fn write(&self, session: SessionId, id: ChunkId, pieces: Vec<Bytes>) -> BoxFuture<'_, Result<Placed, ZoneError>> {
        self.0.write(session, id, pieces)
    }

    fn read<'a>(&'a self, _: &'a Locator, _: ChunkId, _: u64, _: usize) -> BoxFuture<'a, Result<Bytes, ZoneError>> {
        Box::pin(async { Err((self.1)("a server is off".to_owned())) })
    }

    fn delete<'a>(&'a self, chunks: &'a [(Locator, ChunkId)]) -> BoxFuture<'a, Vec<Result<(), ZoneError>>> {
        self.0.delete(chunks)
    }

    fn enumerate(&self, since: SessionId, from: Option<Bytes>, count_max: usize) -> BoxFuture<'_, Result<Page, ZoneError>> {
        self.0.enumerate(since, from, count_max)
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, ZoneError>> {
        self.0.usage()
    }
}

/// One of a zone's servers that is off must not take the zone with it; a zone that is off is soon left alone. Neither speaks against a copy, as one that
/// is gone does.
#[tokio::test]
async fn a_place_that_is_away_does_not_shut_its_zone() {
    let failing = |error| Arc::new(Failing(MemoryZone::new(Incarnation(1)), error)) as Arc<dyn Zone>;
    let zones = [failing(ZoneError::PlaceAway), failing(ZoneError::Away), failing(|_| ZoneError::NotFound)];
    let zones = Zones::new(zones, ZonesConfig::default());
    let id = ChunkId { blob: BlobId { session: SessionId(1), counter: 1 }, ordinal: 0 };
    for zone in ZoneIndex::ALL {
        let placed = zones.write(zone, SessionId(1), id, vec![Bytes::from_static(b"bytes")]).await.unwrap();
        let replica = Replica { locator: placed.locator, incarnation: placed.incarnation };
        for _ in 0..10 {
            let error = zones.read(zone, &replica, id, 0, 1).await.unwrap_err();
            assert_eq!(crate::copy::speaks_against_copy(&error), zone.get() == 2, "{error}");
        }
    }
    let passes = ZoneIndex::ALL.map(|zone| zones.health(zone).reads_pass);
    assert_eq!(passes, [true, false, true]);
}
