//! Which key of the file is which option.

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that is a path.
    Path,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Strings.
    List,
}

impl Kind {
    /// As it is asked for.
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Path => "a path in quotes",
            Self::Number => "a whole number",
            Self::Boolean => "true or false",
            Self::List => "a list of texts in quotes, such as [\"a\", \"b\"]",
        }
    }
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its table; empty for what stands above all tables.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The option's id.
    pub option: &'static str,
    /// What it takes.
    pub kind: Kind,
}

const fn key(table: &'static str, name: &'static str, option: &'static str, kind: Kind) -> Key {
    Key { table, name, option, kind }
}

/// A key of the limits, which has its option's name.
const fn limit(name: &'static str) -> Key {
    key("limits", name, name, Kind::Number)
}

/// All of them but those of zones.
pub const KEYS: &[Key] = &[
    key("", "data", "data", Kind::Path),
    key("", "own_zone", "own_zone", Kind::Text),
    key("s3", "listen", "listen", Kind::Text),
    key("s3", "region", "region", Kind::Text),
    key("s3", "domains", "domains", Kind::List),
    key("s3", "tls_cert", "tls_cert", Kind::Path),
    key("s3", "tls_key", "tls_key", Kind::Path),
    key("s3", "max_object_size", "max_object_size", Kind::Number),
    key("health", "listen", "admin_listen", Kind::Text),
    key("admin_api", "listen", "admin_api_listen", Kind::Text),
    key("admin_api", "tls_cert", "admin_api_tls_cert", Kind::Path),
    key("admin_api", "tls_key", "admin_api_tls_key", Kind::Path),
    key("admin_api", "token_file", "admin_api_token_file", Kind::Path),
    key("admin_api", "client_ca", "admin_api_client_ca", Kind::Path),
    key("catalog", "read_hangs_after_ms", "read_hangs_after_ms", Kind::Number),
    key("catalog", "listings_max", "listings_max", Kind::Number),
    key("catalog", "cache_mib", "catalog_cache_mib", Kind::Number),
    key("garbage", "grace_s", "garbage_grace_s", Kind::Number),
    key("metrics", "listen", "metrics_listen", Kind::Text),
    key("metrics", "buckets", "metrics_buckets", Kind::Number),
    key("log", "access", "access_log", Kind::Text),
    key("log", "access_one_in", "access_log_one_in", Kind::Number),
    key("log", "slow_request_ms", "slow_request_ms", Kind::Number),
    key("log", "format", "log_format", Kind::Text),
    limit("max_connections"),
    limit("max_connections_per_address"),
    limit("max_requests"),
    limit("max_waiting_requests"),
    limit("max_request_wait_ms"),
    limit("max_body_memory"),
    limit("max_header_bytes"),
    limit("max_headers"),
    limit("header_timeout_ms"),
    limit("idle_timeout_ms"),
    limit("body_timeout_ms"),
    limit("min_body_rate"),
    key("limits", "http2", "http2", Kind::Boolean),
    limit("http2_max_streams"),
    limit("http2_stream_window"),
    limit("http2_connection_window"),
    limit("http2_max_resets"),
    limit("shutdown_timeout_ms"),
];

/// What is a table for each zone.
pub const ZONES: &str = "zones";
