//! `cairn serve`: everything put together, started and stopped in order.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_catalog::embedded::keyvalue::lsm_tree::{LsmTreeEngine, LsmTreeOptions};
use cairn_catalog::embedded::log::replicated::ZonePlace;
use cairn_catalog::embedded::machine::ReadSettings;
use cairn_disk::Environment;
use cairn_s3::{Config, GrantAuthorizer, Limits, S3Service, Server};
use cairn_store::{Store, StoreConfig, StoreParts};
use cairn_types::ZoneIndex;
use cairn_types::ids::ZONE_COUNT;
use cairn_types::records::TenantName;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::access_log::Lines;
use crate::admin::{Admin, Listeners, Open, network};
use crate::cli::ServeOptions;
use crate::data_directory::{self, DataDirectory};
use crate::embedded::{EngineSettings, Engines};
use crate::metrics::Metrics;
use crate::open_files;
use crate::root_key::{self, RootKey};
use crate::tls::{Certificates, Files, Purpose, Tls};

/// Why the service did not start, or ended: what happened, what was kept, and what comes next, in words for an administrator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServeError(pub String);

/// What a new zone takes of its disk before anything is stored: prewritten files of the log, and a little.
const NEW_ZONE_BYTES: u64 = 100 << 20;

/// Serves until the process is told to stop (SIGINT or SIGTERM).
pub(crate) fn run(options: ServeOptions) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ServeError(format!("no threads: {error}")))?;
    runtime.block_on(serve(options))
}

async fn serve(options: ServeOptions) -> Result<(), ServeError> {
    let environment = Environment::real();
    let open_files_max = open_files::raise();
    let data = DataDirectory::open(&options.data).await?;
    let places = data_directory::zone_places(&data.path, &options)?;
    let preference = data_directory::preference(&places, options.own_zone.as_ref())?;
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => {
            // Their place must not change with the directory of the process.
            let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let files = Files { certificate: absolute(certificate), key: absolute(key), client_authority: None };
            let certificates = Certificates::load(Purpose::S3 { http2: options.limits.http2 }, files);
            Some(Arc::new(certificates.map_err(|words| ServeError(format!("the TLS file {words}")))?))
        }
        _ => None,
    };
    let admin_api = network::Settings::from_options(&options)?;
    let listener = listen(options.listen, options.limits.max_connections).map_err(|error| {
        ServeError(format!("cannot listen on {}: {error}. Give another address with --listen.", options.listen))
    })?;
    let root = root_key::load(&data.path)?;
    let admin = Admin::new(places.iter().map(|place| (place.name.clone(), place.path.clone())));
    let certificates: Vec<_> = tls.iter().chain(admin_api.as_ref().map(|api| &api.certificates)).cloned().collect();
    let observed = Observed::start(&admin, &certificates, options.observing.metrics_listen).await?;
    let administration = Listeners::start(&admin, &data.path, options.admin_listen, admin_api).await?;
    let reads = ReadSettings {
        hangs_after: Duration::from_millis(options.read_hangs_after_ms),
        scans_max: usize::try_from(options.listings_max).unwrap_or(ReadSettings::SCANS_MAX),
        ..ReadSettings::default()
    };
    let garbage_grace = Duration::from_secs(options.garbage_grace_s);
    let limits = cairn_catalog::Limits { garbage_grace, ..cairn_catalog::Limits::default() };
    let rows = LsmTreeOptions { cache_bytes: options.catalog_cache_mib << 20, ..LsmTreeOptions::default() };
    let key_value = Arc::new(LsmTreeEngine::new(rows));
    let settings = EngineSettings { key_value, limits, reads, ..EngineSettings::default() };
    let engines = match Engines::open(&environment, &places, settings).await {
        Ok(engines) => engines,
        Err(error) => {
            administration.stop().await;
            return Err(with_free_space(&environment, &places, error).await);
        }
    };
    let (store, root) = match open_store(&environment, &engines, &data.path, root, preference).await {
        Ok(open) => open,
        Err(error) => {
            administration.stop().await;
            engines.close().await;
            return Err(error);
        }
    };
    admin.opened(Open {
        store: store.clone(),
        catalog: engines.catalog.clone(),
        log: engines.log.clone(),
        random: environment.random.clone(),
        slots: engines.slots.clone(),
    });
    let counted_buckets_max = usize::try_from(options.observing.metrics_buckets).unwrap_or(usize::MAX);
    let mut limits = Limits { object_bytes_max: options.max_object_size, counted_buckets_max, ..options.limits.limits() };
    limits.connections_max = open_files::allowed_connections(open_files_max, limits.connections_max);
    let drain_max = limits.shutdown_timeout;
    let config = Config { region: options.region.clone(), domains: options.domains.clone(), is_tls: tls.is_some(), limits };
    let service =
        S3Service::new(store.clone(), Arc::new(GrantAuthorizer), config, environment.clock.clone(), &*environment.random);
    let log = observed.lines.log(options.observing.access_log(), std::io::stderr());
    service.set_access_log(log.map_err(|error| ServeError(format!("no thread for the access log: {error}")))?);
    observed.metrics.serving(service.clone());
    let mut server = Server::new(service);
    let scheme = if tls.is_some() { "https" } else { "http" };
    if let Some(tls) = tls {
        server = server.with_handshake(Arc::new(Tls(tls)));
    }
    let address = listener.local_addr().unwrap_or(options.listen);
    let (stop, stopped) = watch::channel(false);
    let following = tokio::spawn(crate::tls::follow(certificates, stopped.clone()));
    let serving = tokio::spawn(server.run(listener, stopped));
    greet(scheme, address, &options.region, &data.path, &root, (&administration, observed.address));
    wait_for_signal().await;
    println!("Stopping: requests that run are finished, new ones refused.");
    admin.stopping();
    stop.send_replace(true);
    let _ = serving.await;
    let _ = following.await;
    observed.stop().await;
    administration.stop().await;
    store.stop(drain_max).await;
    engines.close().await;
    println!("Stopped. Everything that was acknowledged is on the disks.");
    Ok(())
}

/// Listens so that as many can be connecting at once as may be connected, as far as the kernel allows (`net.core.somaxconn`): of a crowd that comes
/// at one moment, those for whom there is no place in its queue would see their connections reset.
fn listen(address: SocketAddr, connections_max: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(connections_max.clamp(128, 65_535))
}

/// The store on open engines, with its root key, which is made where there is none.
async fn open_store(
    environment: &Environment,
    engines: &Engines,
    data: &Path,
    root: Option<RootKey>,
    preference: [ZoneIndex; ZONE_COUNT],
) -> Result<(Arc<Store>, RootKey), ServeError> {
    let keys = crate::master_key::load_or_make(environment, engines).await?;
    let mut config = StoreConfig::default();
    config.replicator.preference = preference;
    let store = Store::start(StoreParts {
        catalog: engines.catalog.clone(),
        zones: engines.zones(),
        random: environment.random.clone(),
        keys,
        config,
    });
    let root = match root {
        Some(root) => root,
        None => root_key::make(data, &*environment.random)?,
    };
    let default_tenant: TenantName = "default".parse().map_err(|_| ServeError("no default tenant".to_owned()))?;
    store
        .ensure_root(&default_tenant, "root", &root.credentials)
        .await
        .map_err(|error| ServeError(format!("the root key could not be stored: {error}")))?;
    Ok((store, root))
}

/// Says where there is little space, which may be why a start failed.
async fn with_free_space(environment: &Environment, places: &[ZonePlace; ZONE_COUNT], error: ServeError) -> ServeError {
    let mut words = error.0;
    for place in places {
        // A zone that could not be made has no directory yet.
        for directory in place.path.ancestors().take(2) {
            let Ok(free) = environment.disk.free_bytes(directory).await else { continue };
            if free < NEW_ZONE_BYTES {
                let (free, wanted) = (free >> 20, NEW_ZONE_BYTES >> 20);
                let place = format!("\n  {} has {free} MiB free; a new zone takes some {wanted} MiB.", directory.display());
                words += &place;
                words += " Free some space, or give other directories with --data or --zone.";
            }
            break;
        }
    }
    ServeError(words)
}

/// Metrics and the access log.
struct Observed {
    metrics: Arc<Metrics>,
    lines: Arc<Lines>,
    address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Observed {
    async fn start(
        admin: &Arc<Admin>,
        certificates: &[Arc<Certificates>],
        listen: Option<SocketAddr>,
    ) -> Result<Self, ServeError> {
        let (lines, stop) = (Arc::new(Lines::default()), watch::Sender::new(false));
        let metrics = Metrics::new(admin.clone(), lines.clone(), certificates.to_vec());
        let mut observed = Self { metrics, lines, address: None, stop, running: None };
        if let Some(address) = listen {
            let listener = TcpListener::bind(address).await.map_err(|error| {
                ServeError(format!("cannot listen on {address}: {error}. Give another address with --metrics-listen."))
            })?;
            observed.address = Some(listener.local_addr().unwrap_or(address));
            observed.running = Some(tokio::spawn(observed.metrics.clone().run(listener, observed.stop.subscribe())));
        }
        Ok(observed)
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if let Some(running) = self.running {
            let _ = running.await;
        }
    }
}

fn greet(
    scheme: &str,
    address: SocketAddr,
    region: &str,
    data: &Path,
    root: &RootKey,
    (administration, metrics): (&Listeners, Option<SocketAddr>),
) {
    // Every address is none that a client could connect to.
    let mut reachable = address;
    let everywhere = if address.ip().is_unspecified() {
        reachable.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        ", and at every address of this machine"
    } else {
        ""
    };
    let endpoint = format!("{scheme}://{reachable}");
    println!("Cairn serves S3 at {endpoint}{everywhere} (region {region}); its three zones are in {}.", data.display());
    if let Some(file) = &root.file {
        let made = if root.is_new { "was made just now and is kept" } else { "is kept" };
        println!("The root key {} {made} in {} (mode 0600).", root.credentials.access_key_id, file.display());
        println!();
        println!("  export AWS_SHARED_CREDENTIALS_FILE={}", file.display());
    } else {
        println!("The root key {} is the one that the environment gave.", root.credentials.access_key_id);
        println!();
        println!("  export AWS_ACCESS_KEY_ID={}", root.credentials.access_key_id);
        println!("  export AWS_SECRET_ACCESS_KEY=...");
    }
    println!("  export AWS_DEFAULT_REGION={region}");
    println!("  aws --endpoint-url {endpoint} s3 mb s3://first");
    println!("  aws --endpoint-url {endpoint} s3 sync . s3://first");
    println!("  aws --endpoint-url {endpoint} s3 ls s3://first");
    println!();
    if let Some(health) = administration.health {
        println!("Health is at http://{health}/healthz and http://{health}/readyz.");
    }
    if let Some(address) = administration.network {
        println!("The administration API is at https://{address}.");
    }
    if let Some(metrics) = metrics {
        println!("Metrics are at http://{metrics}/metrics.");
    }
    println!("`cairn admin --data {}` administers it. Ctrl-C stops it.", data.display());
}

async fn wait_for_signal() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let terminated = async {
        match terminate {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
