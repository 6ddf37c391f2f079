//! Administration: health over TCP, the versioned API over a Unix socket and, where it is asked for, over the network (K2), and `cairn admin`,
//! which speaks it.
//!
//! They are there from the moment the data directory is locked, before the store is open, so that a start that takes long, or cannot be
//! finished, can be looked at. What changes something is done one at a time, to its end whether or not whoever asked still listens, and is
//! logged with who asked; secrets never are.

pub mod adopt;
pub mod api;
mod audit;
mod buckets;
mod caller;
pub mod client;
pub mod command;
pub mod connections;
mod directory;
mod error;
pub mod fuzz;
mod health;
mod keys;
pub mod network;
mod openapi;
mod operations;
pub mod output;
mod render;
mod routes;
pub mod socket;
mod unstalled;
mod usage;
mod zones;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn_catalog::Catalog;
use cairn_catalog::embedded::log::replicated::Replicated;
use cairn_catalog::embedded::machine::CatalogMachine;
use cairn_disk::Random;
use cairn_store::Store;
use cairn_types::ZoneName;
use cairn_types::ids::ZONE_COUNT;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::directory::TenantNames;
use self::error::{ApiError, ApiResult};
pub use self::zones::status as zone_status;
use crate::embedded::ZoneSlot;
use crate::serve::ServeError;

/// What is administered, once it is open.
pub struct Open {
    /// The objects, accounts and keys.
    pub store: Arc<Store>,
    /// All metadata.
    pub catalog: Arc<dyn Catalog>,
    /// The log under it.
    pub log: Arc<Replicated<CatalogMachine>>,
    /// For new credentials.
    pub random: Arc<dyn Random>,
    /// The zones' chunks.
    pub slots: [Arc<ZoneSlot>; ZONE_COUNT],
}

/// What administration knows of the service.
pub struct Admin {
    /// The zones' names and directories, in the order of their indices.
    places: Vec<(ZoneName, PathBuf)>,
    open: OnceLock<Open>,
    stopping: AtomicBool,
    /// Held by each change: what it looked up first still holds when it is made.
    changing: tokio::sync::Mutex<()>,
}

impl Admin {
    /// Of a service that starts.
    pub fn new(places: impl IntoIterator<Item = (ZoneName, PathBuf)>) -> Arc<Self> {
        Arc::new(Self {
            places: places.into_iter().collect(),
            open: OnceLock::new(),
            stopping: AtomicBool::new(false),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// The store is open.
    pub fn opened(&self, open: Open) {
        let _ = self.open.set(open);
    }

    /// The service stops: it is not ready any more.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What is open; an error while it is not.
    pub fn open(&self) -> ApiResult<&Open> {
        self.open.get().ok_or_else(|| ApiError::unavailable(format!("the service is not open yet: {STARTING}")))
    }

    /// Whether objects can be written now; else why not, in words.
    pub fn readiness(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("the service is stopping".to_owned());
        }
        let open = self.open.get().ok_or(STARTING)?;
        if open.store.is_ready() { Ok(()) } else { Err(zones::why_not_ready(self, open)) }
    }
}

/// How long a change that is being made may go on when the service stops.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
const STARTING: &str = "it is starting, and reads the zones' logs";

/// The listeners of administration.
pub struct Listeners {
    /// Where health is served.
    pub health: Option<SocketAddr>,
    /// Where the API is.
    pub network: Option<SocketAddr>,
    admin: Arc<Admin>,
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Listens in the data directory, which must be locked, and on these addresses.
    pub async fn start(
        admin: &Arc<Admin>,
        data: &Path,
        health: Option<SocketAddr>,
        network: Option<network::Settings>,
    ) -> Result<Self, ServeError> {
        let stop = watch::Sender::new(false);
        // Before the socket: a start that fails leaves none behind.
        let health = bind(health, "--admin-listen").await?;
        let network = match network {
            Some(settings) => bind(Some(settings.address), "--admin-api-listen").await?.map(|bound| (settings, bound)),
            None => None,
        };
        let socket = socket::Listener::bind(data).map_err(|error| {
            ServeError(format!("the administration socket {} cannot be made: {error}", data.join(socket::SOCKET_NAME).display()))
        })?;
        let mut listeners = Self { health: None, network: None, admin: admin.clone(), running: Vec::new(), stop };
        let stopped = || listeners.stop.subscribe();
        if let Some((listener, address)) = health {
            listeners.running.push(tokio::spawn(health::run(admin.clone(), listener, stopped())));
            listeners.health = Some(address);
        }
        let stopped = || listeners.stop.subscribe();
        if let Some((settings, (listener, address))) = network {
            listeners.running.push(tokio::spawn(network::run(admin.clone(), settings, listener, stopped())));
            listeners.network = Some(address);
        }
        listeners.running.push(tokio::spawn(socket.run(admin.clone(), listeners.stop.subscribe())));
        Ok(listeners)
    }

    /// Stops listening, removes the socket, and waits for the answers and the change that are under way, within bounds.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for running in self.running {
            let _ = running.await;
        }
        if tokio::time::timeout(CHANGE_TIMEOUT, self.admin.changing.lock()).await.is_err() {
            tracing::warn!("stopped while a change was being made: look whether it was");
        }
    }
}

/// A listener on this address, and where it really is; the option names another.
async fn bind(address: Option<SocketAddr>, option: &str) -> Result<Option<(TcpListener, SocketAddr)>, ServeError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| ServeError(format!("cannot listen on {address}: {error}. Give another address with {option}.")))?;
    let address = listener.local_addr().unwrap_or(address);
    Ok(Some((listener, address)))
}
