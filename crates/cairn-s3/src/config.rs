//! What can be configured, and its bounds. Every limit is explicit; the defaults suit one machine.

use std::time::Duration;

/// How the front behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// The region that requests are signed for.
    pub region: String,
    /// Domains whose subdomains are buckets (virtual-host style); path style always works.
    pub domains: Vec<String>,
    /// Whether clients come by HTTPS, for the addresses in answers.
    pub is_tls: bool,
    /// The bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self { region: "us-east-1".to_owned(), domains: Vec::new(), is_tls: false, limits: Limits::default() }
    }
}

/// Bounds on what clients may make the front do.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Requests at once, over all connections; further ones are answered `SlowDown`.
    pub requests_max: usize,
    /// Request line and headers of a request, bytes.
    pub header_bytes_max: usize,
    /// Headers of a request.
    pub header_count_max: usize,
    /// From a request's first byte to the end of its headers.
    pub header_timeout: Duration,
    /// How long a client may send nothing of a body it owes.
    pub body_idle_timeout: Duration,
    /// The largest object, bytes.
    pub object_bytes_max: u64,
    /// The largest object written by one request, and the largest part, bytes (AWS: 5 GiB).
    pub put_bytes_max: u64,
    /// The smallest part that is not the last, bytes (AWS: 5 MiB).
    pub part_bytes_min: u64,
    /// The largest XML document, bytes (AWS: 2 MiB for `DeleteObjects`).
    pub xml_bytes_max: usize,
    /// The largest list of parts, bytes: 10,000 with checksums.
    pub part_list_bytes_max: usize,
    /// What stands before the file of a form, bytes (AWS: 20 KB).
    pub form_head_bytes_max: usize,
    /// Names and values of `x-amz-meta-*`, bytes together (AWS: 2 KiB).
    pub user_metadata_bytes_max: usize,
    /// What is read of a body that nobody wants, so that the connection can be used again, bytes.
    pub drain_bytes_max: u64,
    /// For how long such a body is read.
    pub drain_timeout: Duration,
    /// Buckets whose requests are counted by themselves; those of all others are counted together.
    pub counted_buckets_max: usize,
    /// How long requests may go on after the server was told to stop.
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MEBIBYTE: u64 = 1 << 20;
        const GIBIBYTE: u64 = 1 << 30;
        Self {
            connections_max: 8192,
            requests_max: 2048,
            header_bytes_max: 64 << 10,
            header_count_max: 128,
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(60),
            object_bytes_max: 5 << 40,
            put_bytes_max: 5 * GIBIBYTE,
            part_bytes_min: 5 * MEBIBYTE,
            xml_bytes_max: 2 << 20,
            part_list_bytes_max: 4 << 20,
            form_head_bytes_max: 20 << 10,
            user_metadata_bytes_max: 2048,
            drain_bytes_max: MEBIBYTE,
            drain_timeout: Duration::from_secs(2),
            counted_buckets_max: 100,
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}
