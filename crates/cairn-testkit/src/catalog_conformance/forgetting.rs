//! What a catalog says that may have forgotten something (rule P5).

use cairn_catalog::{CatalogError, ChunkPlace, Generations, MoveLocatorsBatch, OpenSession};
use cairn_types::{BlobId, ChunkId, ZoneIndex};

use super::{World, replica};

/// A catalog that was restored calls nothing garbage before an administrator has looked, and only what he has looked at (P5). One that is not restored by itself says so.
pub async fn collects_nothing_until_somebody_has_looked(world: &World<'_>) {
    let catalog = &world.catalog;
    let new = catalog.generations().await.unwrap();
    assert!(!new.may_lack(), "{new:?}: a new catalog has nothing to forget");
    catalog.close_session(world.session).await.unwrap();
    assert!(catalog.sessions().await.unwrap().is_closed(world.session));
    let chunk = ChunkId { blob: BlobId { session: world.session, counter: 1 }, ordinal: 0 };
    let place = ChunkPlace { chunk, zone: ZoneIndex(0), replica: replica(1, "somewhere") };
    assert_eq!(catalog.named(vec![place.clone()]).await, Ok(vec![false]));
    match catalog.note_restored().await {
        Err(CatalogError::Refused(_)) => {
            assert!(matches!(catalog.note_reviewed(new).await, Err(CatalogError::Refused(_))));
            return;
        }
        noted => noted.unwrap(),
    }
    let restored = catalog.generations().await.unwrap();
    assert!(restored.may_lack() && restored.now > new.now, "{restored:?}");
    // What was judged by an earlier generation shows.
    assert!(catalog.sessions().await.unwrap().generation > 0);
    assert_eq!(catalog.zones().await.unwrap().generation, catalog.sessions().await.unwrap().generation);
    for _ in 0..2 {
        assert!(!catalog.sessions().await.unwrap().is_closed(world.session));
        assert_eq!(catalog.named(vec![place.clone()]).await, Ok(vec![true]), "of what is not named nobody knows");
        // A review of what was there before covers nothing.
        catalog.note_reviewed(new).await.unwrap();
    }
    let session = catalog.open_session(OpenSession { gateway: "next".to_owned() }).await.unwrap();
    assert!(session.0 > world.session.0 + 1_000_000, "{session:?} may have been given already");
    let nothing = MoveLocatorsBatch { session, moves: Vec::new() };
    assert!(matches!(catalog.move_locators(nothing.clone()).await, Err(CatalogError::Unavailable(_))));
    let yet_to_come = Generations { now: restored.now + 1, ..restored };
    assert!(matches!(catalog.note_reviewed(yet_to_come).await, Err(CatalogError::Refused(_))));
    catalog.note_reviewed(restored).await.unwrap();
    assert!(!catalog.generations().await.unwrap().may_lack());
    assert!(catalog.sessions().await.unwrap().is_closed(world.session));
    assert_eq!(catalog.named(vec![place]).await, Ok(vec![false]));
    catalog.move_locators(nothing).await.unwrap();
}
