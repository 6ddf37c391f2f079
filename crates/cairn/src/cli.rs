//! The command line: flags, and `CAIRN_*` variables where a flag is not given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cairn_s3::observe::{AccessLogConfig, Form, Which};
use cairn_types::ZoneName;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::admin::command::AdminOptions;
use crate::config::ZoneSettings;
use crate::doctor::DoctorOptions;
use crate::limits::LimitOptions;

/// S3 object storage whose data always stands in three datacentres.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What Cairn can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve S3 from three zones. Without any option: from three directories below ./cairn-data, on 127.0.0.1:9000.
    Serve(ServeOptions),
    /// Administer the service that runs on a data directory: zones, keys, tenants, accounts, buckets.
    Admin(AdminOptions),
    /// Look whether a configuration, its disks and the service on it are sound. Changes nothing.
    Doctor(DoctorOptions),
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// A file with settings (docs/configuration.md). Flags and variables go before what stands in it.
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the three zones' directories, the root key and the administration socket are.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", default_value = "cairn-data")]
    pub data: PathBuf,
    /// Where S3 is served.
    #[arg(long, env = "CAIRN_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:9000", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// Where /healthz and /readyz are served; nowhere when not given.
    #[arg(long, env = "CAIRN_ADMIN_LISTEN", value_name = "ADDR:PORT", value_parser = parse_address)]
    pub admin_listen: Option<SocketAddr>,
    /// A zone with a directory of its own, for example on a disk of its own; three times, or never.
    #[arg(long = "zone", value_name = "NAME=DIR", value_parser = parse_zone)]
    pub zones: Vec<(ZoneName, PathBuf)>,
    /// The zones of the configuration file, in its order.
    #[arg(skip)]
    pub file_zones: Vec<ZoneSettings>,
    /// The zone that this gateway is in, from which it reads first.
    #[arg(long, env = "CAIRN_OWN_ZONE", value_name = "NAME")]
    pub own_zone: Option<ZoneName>,
    /// The region that clients sign their requests for.
    #[arg(long, env = "CAIRN_REGION", default_value = "us-east-1")]
    pub region: String,
    /// A domain whose subdomains are buckets (virtual-host style). Path style works always.
    #[arg(long = "domain", env = "CAIRN_DOMAIN", value_name = "DOMAIN", value_delimiter = ',')]
    pub domains: Vec<String>,
    /// The certificate chain for HTTPS, PEM.
    #[arg(long, env = "CAIRN_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, env = "CAIRN_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The largest object, bytes.
    #[arg(long, env = "CAIRN_MAX_OBJECT_SIZE", value_name = "BYTES", default_value_t = 5 << 40, value_parser = parse_bytes)]
    pub max_object_size: u64,
    /// A read of a zone's catalog that makes no step for so many milliseconds hangs, and is made in another zone: 10 to 60000.
    #[arg(long, env = "CAIRN_READ_HANGS_AFTER_MS", value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub read_hangs_after_ms: u64,
    /// The most listings at one time in one zone's catalog, each of which occupies a thread: 1 to 32.
    #[arg(long, env = "CAIRN_LISTINGS_MAX", value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=32))]
    pub listings_max: u64,
    /// How long what was deleted or overwritten stays on the disks, for reads that began before; seconds, 10 to 604800.
    #[arg(long, env = "CAIRN_GARBAGE_GRACE_S", value_name = "S", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(10..=604_800))]
    pub garbage_grace_s: u64,
    /// Memory in which the catalog keeps rows and small bodies that were read, all zones together; MiB, 8 to 65536.
    #[arg(long, env = "CAIRN_CATALOG_CACHE_MIB", value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(8..=65_536))]
    pub catalog_cache_mib: u64,
    /// The administration API over the network.
    #[command(flatten)]
    pub admin_api: AdminApiOptions,
    /// What clients may make the service do.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// What is seen of the service.
    #[command(flatten)]
    pub observing: ObservingOptions,
}

impl ServeOptions {
    /// What belongs together is there together, wherever it was given; in words what is missing.
    pub fn check(&self) -> Result<(), String> {
        let api = &self.admin_api;
        let pairs = [
            (self.tls_cert.is_some(), "--tls-cert", self.tls_key.is_some(), "--tls-key"),
            (api.tls_cert.is_some(), "--admin-api-tls-cert", api.tls_key.is_some(), "--admin-api-tls-key"),
        ];
        for (has_first, first, has_second, second) in pairs {
            if has_first != has_second {
                let (given, missing) = if has_first { (first, second) } else { (second, first) };
                return Err(format!("{given} was given without {missing}; give both, or neither"));
            }
        }
        let of_api = [
            (api.tls_cert.is_some(), "--admin-api-tls-cert"),
            (api.token_file.is_some(), "--admin-api-token-file"),
            (api.client_ca.is_some(), "--admin-api-client-ca"),
        ];
        match of_api.into_iter().find(|(is_given, _)| *is_given && api.listen.is_none()) {
            Some((_, given)) => Err(format!("{given} was given without --admin-api-listen; give that, too")),
            None => Ok(()),
        }
    }
}

/// How the administration API is served over the network. Without an address, it is at the administration socket only.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The administration API over the network")]
pub struct AdminApiOptions {
    /// Where the administration API is served, by TLS, for tokens or client certificates; nowhere when not given.
    #[arg(
        id = "admin_api_listen",
        long = "admin-api-listen",
        env = "CAIRN_ADMIN_API_LISTEN",
        value_name = "ADDR:PORT",
        value_parser = parse_address
    )]
    pub listen: Option<SocketAddr>,
    /// Its certificate chain, PEM; the one of S3 (--tls-cert) when not given.
    #[arg(id = "admin_api_tls_cert", long = "admin-api-tls-cert", env = "CAIRN_ADMIN_API_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(id = "admin_api_tls_key", long = "admin-api-tls-key", env = "CAIRN_ADMIN_API_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The tokens that open it, one on a line; CAIRN_ADMIN_API_TOKEN gives them without a file.
    #[arg(id = "admin_api_token_file", long = "admin-api-token-file", env = "CAIRN_ADMIN_API_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The authority whose client certificates open it, PEM.
    #[arg(id = "admin_api_client_ca", long = "admin-api-client-ca", env = "CAIRN_ADMIN_API_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
}

/// What is seen of the service: metrics and logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Metrics and logs")]
pub struct ObservingOptions {
    /// Where /metrics is served, for Prometheus; nowhere when not given. It names tenants and buckets, and asks for no password.
    #[arg(long, env = "CAIRN_METRICS_LISTEN", value_name = "ADDR:PORT", value_parser = parse_address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Buckets that have metrics of their own: the first so many that are used. All others share those of the bucket _other.
    #[arg(long, env = "CAIRN_METRICS_BUCKETS", value_name = "COUNT", default_value_t = 100, value_parser = parse_buckets)]
    pub metrics_buckets: u64,
    /// Which requests have a line on standard error. Slow ones always have.
    #[arg(long, env = "CAIRN_ACCESS_LOG", value_enum, value_name = "WHICH", default_value = "none")]
    pub access_log: AccessLogWhich,
    /// Of requests that do well, one in so many has a line. Errors and slow requests are never left out.
    #[arg(long, env = "CAIRN_ACCESS_LOG_ONE_IN", value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub access_log_one_in: u64,
    /// A request is slow when it takes longer than this, and a second for every 4 MiB of its body; milliseconds.
    #[arg(long, env = "CAIRN_SLOW_REQUEST_MS", value_name = "MS", default_value_t = 5000)]
    pub slow_request_ms: u64,
    /// How lines on standard error are written: for people (requests as logfmt), or all as JSON.
    #[arg(long, env = "CAIRN_LOG_FORMAT", value_enum, value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
}

/// Which requests have a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccessLogWhich {
    /// None but slow ones.
    None,
    /// Those that were refused or failed.
    Errors,
    /// These, and all that may have changed something.
    Changes,
    /// All.
    All,
}

/// How lines on standard error are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; lines of the access log as logfmt.
    Text,
    /// One JSON object a line.
    Json,
}

impl ObservingOptions {
    /// What is logged of requests.
    pub fn access_log(&self) -> AccessLogConfig {
        AccessLogConfig {
            which: match self.access_log {
                AccessLogWhich::None => Which::None,
                AccessLogWhich::Errors => Which::Errors,
                AccessLogWhich::Changes => Which::Changes,
                AccessLogWhich::All => Which::All,
            },
            form: match self.log_format {
                LogFormat::Text => Form::Logfmt,
                LogFormat::Json => Form::Json,
            },
            one_in: self.access_log_one_in,
            slow_after: Duration::from_millis(self.slow_request_ms),
            ..AccessLogConfig::default()
        }
    }
}

/// More would be a load for whoever collects them.
const METRICS_BUCKETS_MAX: u64 = 100_000;

fn parse_buckets(text: &str) -> Result<u64, String> {
    let count = text.parse().ok().filter(|count| *count <= METRICS_BUCKETS_MAX);
    count.ok_or_else(|| format!("write a number of buckets from 0 to {METRICS_BUCKETS_MAX}"))
}

fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an address as IP:PORT, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000")
}

fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "write a number of bytes, such as 5368709120 for 5 GiB")
}

pub(crate) fn parse_zone(text: &str) -> Result<(ZoneName, PathBuf), String> {
    let (name, directory) = text.split_once('=').ok_or("write a zone as NAME=DIR")?;
    if directory.is_empty() {
        return Err("write a zone as NAME=DIR".to_owned());
    }
    Ok((name.parse().map_err(|error: cairn_types::ids::InvalidZoneName| error.to_string())?, PathBuf::from(directory)))
}

/// The zones when none are given.
pub const DEFAULT_ZONES: [&str; 3] = ["geneva", "gland", "lucerne"];
