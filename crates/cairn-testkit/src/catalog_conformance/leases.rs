//! Background work that one gateway does for all.

use std::time::Duration;

use cairn_catalog::{CatalogError, OpenSession, ReleaseLease, TakeLease};
use cairn_types::SessionId;

use super::{World, expect_error, expect_refused};

/// Longer than any machine stands still.
const SILENT_FOR: Duration = Duration::from_mins(10);

fn take(name: &str, session: SessionId) -> TakeLease {
    TakeLease { name: name.to_owned(), session, silent_for: SILENT_FOR }
}

async fn another(world: &World<'_>) -> SessionId {
    world.catalog.open_session(OpenSession { gateway: "another".to_owned() }).await.unwrap()
}

/// One gateway has a lease for as long as it is heard of, and whoever has it next can be told from it.
pub async fn are_held_by_one_for_as_long_as_it_is_heard_of(world: &World<'_>) {
    let (catalog, one, other) = (&world.catalog, world.session, another(world).await);
    let first = catalog.take_lease(take("repair", one)).await.unwrap();
    assert_eq!(first.session, one);
    assert_eq!(catalog.take_lease(take("repair", one)).await.unwrap(), first, "taken again, it is the same");
    assert_eq!(catalog.take_lease(take("repair", other)).await.unwrap(), first, "it is held");
    let elsewhere = catalog.take_lease(take("reap", other)).await.unwrap();
    assert_eq!(elsewhere.session, other, "another lease is another one");
    let listed = catalog.leases().await.unwrap();
    assert_eq!(listed, [("reap".to_owned(), elsewhere), ("repair".to_owned(), first)]);

    // The session's heartbeat alone keeps it, however long.
    for _ in 0..3 {
        world.subject.pass(SILENT_FOR * 3 / 4).await;
        assert!(catalog.heartbeat_session(one).await.unwrap());
        assert!(catalog.heartbeat_session(other).await.unwrap());
    }
    assert_eq!(catalog.take_lease(take("repair", other)).await.unwrap(), first);

    world.subject.pass(SILENT_FOR).await;
    assert!(catalog.heartbeat_session(other).await.unwrap());
    let second = catalog.take_lease(take("repair", other)).await.unwrap();
    assert_eq!(second.session, other);
    assert!(second.token > first.token && second.since > first.since, "{second:?} follows {first:?}");
    // The first one was only stopped, and comes back.
    assert!(catalog.heartbeat_session(one).await.unwrap());
    assert_eq!(catalog.take_lease(take("repair", one)).await.unwrap(), second, "it has lost it");
    catalog.release_lease(ReleaseLease { name: "repair".to_owned(), session: one }).await.unwrap();
    assert_eq!(catalog.take_lease(take("repair", one)).await.unwrap(), second, "only the holder gives it back");
    catalog.release_lease(ReleaseLease { name: "repair".to_owned(), session: other }).await.unwrap();
    let third = catalog.take_lease(take("repair", one)).await.unwrap();
    assert!(third.session == one && third.token > second.token);
}

/// A closed session holds nothing and takes nothing.
pub async fn go_with_their_session(world: &World<'_>) {
    let (catalog, one, other) = (&world.catalog, world.session, another(world).await);
    let first = catalog.take_lease(take("collect", other)).await.unwrap();
    catalog.close_session(other).await.unwrap();
    expect_error(catalog.take_lease(take("collect", other)).await, &CatalogError::SessionClosed);
    let second = catalog.take_lease(take("collect", one)).await.unwrap();
    assert!(second.session == one && second.token > first.token);
    expect_refused(catalog.take_lease(take("", one)).await);
    expect_refused(catalog.take_lease(take(&"x".repeat(129), one)).await);
}
