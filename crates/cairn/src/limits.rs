//! What clients may make the service do: every bound of the S3 front is an option (`docs/limits.md`, which a test holds against this).

use std::time::Duration;

use cairn_s3::{Http2Limits, Limits};
use clap::Args;

/// Bounds on what clients may make the service do.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits of S3")]
pub struct LimitOptions {
    /// Connections at once; further ones wait in the kernel's queue.
    #[arg(long, env = "CAIRN_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Connections of one address at once (of IPv6, of one network of 64 bits); further ones are closed. 0: any number.
    #[arg(long, env = "CAIRN_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", default_value_t = 0)]
    pub max_connections_per_address: u32,
    /// Requests that run at once; further ones wait.
    #[arg(long, env = "CAIRN_MAX_REQUESTS", value_name = "COUNT", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_requests: u32,
    /// Requests that wait at once; further ones are answered SlowDown. 0: none waits.
    #[arg(long, env = "CAIRN_MAX_WAITING_REQUESTS", value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub max_waiting_requests: u32,
    /// How long a request waits before it is answered SlowDown, milliseconds.
    #[arg(long, env = "CAIRN_MAX_REQUEST_WAIT_MS", value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(..=TIMEOUT_MS_MAX))]
    pub max_request_wait_ms: u64,
    /// Memory that bodies on their way in may take beside what the store has for them, bytes; each counts with its length up to
    /// --http2-stream-window. Requests with further bodies wait.
    #[arg(long, env = "CAIRN_MAX_BODY_MEMORY", value_name = "BYTES", default_value_t = 384 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub max_body_memory: u64,
    /// The first line and the headers of a request, bytes.
    #[arg(long, env = "CAIRN_MAX_HEADER_BYTES", value_name = "BYTES", default_value_t = 64 << 10, value_parser = clap::value_parser!(u32).range(8 << 10..=1 << 20))]
    pub max_header_bytes: u32,
    /// Headers of a request.
    #[arg(long, env = "CAIRN_MAX_HEADERS", value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=4096))]
    pub max_headers: u32,
    /// How long a TLS handshake may take, and then the head of a request, from its first byte, milliseconds.
    #[arg(long, env = "CAIRN_HEADER_TIMEOUT_MS", value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MS_MAX))]
    pub header_timeout_ms: u64,
    /// How long a connection may be open without a request, milliseconds.
    #[arg(long, env = "CAIRN_IDLE_TIMEOUT_MS", value_name = "MS", default_value_t = 90_000, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MS_MAX))]
    pub idle_timeout_ms: u64,
    /// How long a client may send nothing of a body, or take nothing of an answer, milliseconds.
    #[arg(long, env = "CAIRN_BODY_TIMEOUT_MS", value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MS_MAX))]
    pub body_timeout_ms: u64,
    /// What a client must send of a body, or take of an answer, in a second, in the long run, bytes: who is slower loses what is left of
    /// --body-timeout-ms little by little. 0: only who stops altogether is given up.
    #[arg(long, env = "CAIRN_MIN_BODY_RATE", value_name = "BYTES", default_value_t = 512)]
    pub min_body_rate: u64,
    /// Whether HTTP/2 is offered where TLS is spoken.
    #[arg(long, env = "CAIRN_HTTP2", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub http2: bool,
    /// Requests at once on one connection of HTTP/2.
    #[arg(long, env = "CAIRN_HTTP2_MAX_STREAMS", value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub http2_max_streams: u32,
    /// How much of one body may come by HTTP/2 before it is asked for, bytes.
    #[arg(long, env = "CAIRN_HTTP2_STREAM_WINDOW", value_name = "BYTES", default_value_t = 256 << 10, value_parser = clap::value_parser!(u32).range(WINDOW))]
    pub http2_stream_window: u32,
    /// How much may come on one connection of HTTP/2 before it is asked for, bytes.
    #[arg(long, env = "CAIRN_HTTP2_CONNECTION_WINDOW", value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(WINDOW))]
    pub http2_connection_window: u32,
    /// Requests that a client of HTTP/2 may take back in a row; each second gives it a tenth of them back, and one too many costs the connection.
    #[arg(long, env = "CAIRN_HTTP2_MAX_RESETS", value_name = "COUNT", default_value_t = 200)]
    pub http2_max_resets: u32,
    /// How long requests that run may go on when the service is told to stop, milliseconds.
    #[arg(long, env = "CAIRN_SHUTDOWN_TIMEOUT_MS", value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(..=TIMEOUT_MS_MAX))]
    pub shutdown_timeout_ms: u64,
}

/// A day.
const TIMEOUT_MS_MAX: u64 = 86_400_000;
/// RFC 9113, section 6.9.2: at first a window has 65,535 bytes. More than 64 MiB helps on no line that there is.
const WINDOW: std::ops::RangeInclusive<i64> = 65_535..=64 << 20;

impl LimitOptions {
    /// As the front takes them, beside what is no option here.
    pub fn limits(&self) -> Limits {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Limits {
            connections_max: count(self.max_connections),
            connections_per_source_max: Some(count(self.max_connections_per_address)).filter(|most| *most > 0),
            requests_max: count(self.max_requests),
            requests_waiting_max: count(self.max_waiting_requests),
            request_wait_max: Duration::from_millis(self.max_request_wait_ms),
            body_bytes_max: self.max_body_memory,
            header_bytes_max: count(self.max_header_bytes),
            header_count_max: count(self.max_headers),
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            body_idle_timeout: Duration::from_millis(self.body_timeout_ms),
            body_rate_min: self.min_body_rate,
            http2: Http2Limits {
                streams_max: self.http2_max_streams,
                stream_window_bytes: self.http2_stream_window,
                connection_window_bytes: self.http2_connection_window.max(self.http2_stream_window),
                resets_max: self.http2_max_resets,
            },
            shutdown_timeout: Duration::from_millis(self.shutdown_timeout_ms),
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;

    const PAGE: &str = include_str!("../../../docs/limits.md");

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        limits: LimitOptions,
    }

    #[test]
    fn without_options_the_limits_are_the_front_s_own() {
        let matches = Command::command().get_matches_from(["cairn"]);
        let limits = Command::from_arg_matches(&matches).unwrap().limits.limits();
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
    }

    #[test]
    fn the_page_has_every_option_with_its_variable_and_default() {
        let row = |argument: &clap::Arg| {
            let flag = argument.get_long().unwrap();
            let variable = argument.get_env().unwrap().to_str().unwrap();
            let default = argument.get_default_values()[0].to_str().unwrap();
            format!("| `--{flag}` | `{variable}` | {default} |")
        };
        let command = Command::command();
        let rows: Vec<String> = command.get_arguments().map(row).collect();
        assert_eq!(rows.len(), 18);
        for row in &rows {
            assert!(PAGE.contains(row.as_str()), "docs/limits.md lacks {row}");
        }
        assert_eq!(
            PAGE.lines().filter(|line| line.starts_with("| `--")).count(),
            rows.len(),
            "the page has an option that is none"
        );
    }
}
