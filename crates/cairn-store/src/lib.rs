//! Objects over the catalog and the replica layer.
//!
//! [`Store`] implements [`api::ObjectStore`] over any [`cairn_catalog::Catalog`] and any three [`cairn_zone::Zone`]s: bodies are taken in and
//! verified (`write`), committed with one commit each, read back verified (`read`); workers of the replica layer keep three copies of
//! everything and remove what nobody names. What requests ask for all the time comes from memory within the bounds of rule R3
//! (`settings_cache`); secrets are encrypted under a master key (K1, [`secrets`], [`key_shares`]); accounts and keys are administered by
//! methods of [`Store`] ([`administration`]). [`audit`] looks at everything.
//!
//! No HTTP and no XML here.

pub mod administration;
pub mod api;
pub mod audit;
mod catalog_adapter;
pub mod config;
mod convert;
mod core;
mod error;
pub mod key_shares;
mod object_store;
mod read;
mod reaper;
pub mod secrets;
mod settings_cache;
mod store;
mod write;

pub use config::StoreConfig;
pub use reaper::ReaperProgress;
pub use store::{ReplicaCounts, Store, StoreParts, StoreStatus};
