//! The command line: flags, and `CAIRN_*` variables where a flag is not given.

use std::net::SocketAddr;
use std::path::PathBuf;

use cairn_types::ZoneName;
use clap::{Args, Parser, Subcommand};

use crate::admin::command::AdminOptions;

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
}

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
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
    /// The region that clients sign their requests for.
    #[arg(long, env = "CAIRN_REGION", default_value = "us-east-1")]
    pub region: String,
    /// A domain whose subdomains are buckets (virtual-host style). Path style works always.
    #[arg(long = "domain", env = "CAIRN_DOMAIN", value_name = "DOMAIN", value_delimiter = ',')]
    pub domains: Vec<String>,
    /// The certificate chain for HTTPS, PEM.
    #[arg(long, env = "CAIRN_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, env = "CAIRN_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The largest object, bytes.
    #[arg(long, env = "CAIRN_MAX_OBJECT_SIZE", value_name = "BYTES", default_value_t = 5 << 40, value_parser = parse_bytes)]
    pub max_object_size: u64,
    /// The administration API over the network.
    #[command(flatten)]
    pub admin_api: AdminApiOptions,
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
    #[arg(
        id = "admin_api_tls_cert",
        long = "admin-api-tls-cert",
        env = "CAIRN_ADMIN_API_TLS_CERT",
        value_name = "FILE",
        requires_all = ["admin_api_tls_key", "admin_api_listen"]
    )]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(
        id = "admin_api_tls_key",
        long = "admin-api-tls-key",
        env = "CAIRN_ADMIN_API_TLS_KEY",
        value_name = "FILE",
        requires_all = ["admin_api_tls_cert", "admin_api_listen"]
    )]
    pub tls_key: Option<PathBuf>,
    /// The tokens that open it, one on a line; CAIRN_ADMIN_API_TOKEN gives them without a file.
    #[arg(
        id = "admin_api_token_file",
        long = "admin-api-token-file",
        env = "CAIRN_ADMIN_API_TOKEN_FILE",
        value_name = "FILE",
        requires = "admin_api_listen"
    )]
    pub token_file: Option<PathBuf>,
    /// The authority whose client certificates open it, PEM.
    #[arg(
        id = "admin_api_client_ca",
        long = "admin-api-client-ca",
        env = "CAIRN_ADMIN_API_CLIENT_CA",
        value_name = "FILE",
        requires = "admin_api_listen"
    )]
    pub client_ca: Option<PathBuf>,
}

fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an address as IP:PORT, such as 127.0.0.1:9000, 0.0.0.0:9000 or [::1]:9000")
}

fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "write a number of bytes, such as 5368709120 for 5 GiB")
}

fn parse_zone(text: &str) -> Result<(ZoneName, PathBuf), String> {
    let (name, directory) = text.split_once('=').ok_or("write a zone as NAME=DIR")?;
    if directory.is_empty() {
        return Err("write a zone as NAME=DIR".to_owned());
    }
    Ok((name.parse().map_err(|error: cairn_types::ids::InvalidZoneName| error.to_string())?, PathBuf::from(directory)))
}

/// The zones when none are given.
pub const DEFAULT_ZONES: [&str; 3] = ["geneva", "gland", "lucerne"];
