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
    /// Connections of one source at once; what is over it is closed. `None`: as many as there are.
    pub connections_per_source_max: Option<usize>,
    /// Requests at once, over all connections; further ones wait.
    pub requests_max: usize,
    /// Requests that wait at once; further ones are answered `SlowDown`.
    pub requests_waiting_max: usize,
    /// How long a request waits before it is answered `SlowDown`.
    pub request_wait_max: Duration,
    /// Bytes that bodies on their way in may hold outside the store, over all connections: each counts with its length, up to
    /// [`Limits::body_share_bytes`]. Requests with further bodies wait. What the store holds of them is bounded by itself.
    pub body_bytes_max: u64,
    /// Request line and headers of a request, bytes.
    pub header_bytes_max: usize,
    /// Headers of a request.
    pub header_count_max: usize,
    /// How long a handshake may take, and then a request from its first byte to the end of its headers.
    pub header_timeout: Duration,
    /// How long a connection may be open without a request.
    pub idle_timeout: Duration,
    /// How long a client may send nothing of a body it owes, or take nothing of an answer.
    pub body_idle_timeout: Duration,
    /// The least of a body that is to come or go in a second, in the long run, bytes: who is slower has used up `body_idle_timeout` at some
    /// time. 0: silence alone counts.
    pub body_rate_min: u64,
    /// Bounds of HTTP/2.
    pub http2: Http2Limits,
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

/// Bounds on what clients may make the front do by HTTP/2 (RFC 9113).
#[derive(Debug, Clone)]
pub struct Http2Limits {
    /// Requests at once on one connection.
    pub streams_max: u32,
    /// How much of one body may come before it is asked for, bytes.
    pub stream_window_bytes: u32,
    /// How much may come on one connection before it is asked for, bytes.
    pub connection_window_bytes: u32,
    /// Requests that a client may take back in a row. Each second gives a tenth of them back; one more closes the connection.
    pub resets_max: u32,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self { streams_max: 128, stream_window_bytes: 256 << 10, connection_window_bytes: 1 << 20, resets_max: 200 }
    }
}

impl Limits {
    /// The most of one body that is held outside the store: a stream's window.
    #[must_use]
    pub fn body_share_bytes(&self) -> u64 {
        self.http2.stream_window_bytes.into()
    }
}

impl Default for Limits {
    fn default() -> Self {
        const MEBIBYTE: u64 = 1 << 20;
        const GIBIBYTE: u64 = 1 << 30;
        Self {
            connections_max: 8192,
            connections_per_source_max: None,
            requests_max: 2048,
            requests_waiting_max: 1024,
            request_wait_max: Duration::from_secs(2),
            body_bytes_max: 384 * MEBIBYTE,
            header_bytes_max: 64 << 10,
            header_count_max: 128,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            body_idle_timeout: Duration::from_secs(60),
            body_rate_min: 512,
            http2: Http2Limits::default(),
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
