//! The two times that a catalog knows, and why they are two.
//!
//! [`CatalogTime`] cannot be made to jump (rule T1): graces, retention, lifecycle and expiry are counted in it. After the store has been
//! switched off for a month it is a month behind, and catches up an hour a day.
//!
//! [`WallTime`] is what the clock on the wall says. It is shown to clients as `Last-Modified` and decides nothing inside the store.
//! Were catalog time shown instead, tools that compare it with local files (`aws s3 sync`) would upload the same files again and
//! again until it had caught up.

use std::time::Duration;

/// Time that cannot be made to jump (T1), milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CatalogTime(pub u64);

/// The clock on the wall, milliseconds since 1970-01-01T00:00:00Z. For people and clients; decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

/// Both times at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// What decides.
    pub catalog: CatalogTime,
    /// What is shown.
    pub wall: WallTime,
}

impl CatalogTime {
    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long this is after an earlier time; 0 when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

crate::codec::fields!(Now { catalog, wall });

macro_rules! milliseconds {
    ($type:ident) => {
        impl crate::codec::Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                crate::codec::Field::write(&self.0, out);
            }

            fn read(from: &mut bytes::Bytes) -> Result<Self, crate::codec::Problem> {
                crate::codec::Field::read(from).map(Self)
            }
        }
    };
}

milliseconds!(CatalogTime);
milliseconds!(WallTime);
