//! The log of requests: which ones are told, and what of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use super::line::Line;
use crate::text::date;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `name=value name="a value"`.
    #[default]
    Logfmt,
    /// One object a line.
    Json,
}

/// Which requests have a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// None but slow ones.
    #[default]
    None,
    /// Those that were answered with a status of 400 or more, or not answered at all.
    Errors,
    /// These, and all but `GET`, `HEAD` and `OPTIONS`.
    Changes,
    /// All.
    All,
}

/// What is logged.
#[derive(Debug, Clone)]
pub struct AccessLogConfig {
    /// Which requests have a line.
    pub which: Which,
    /// How it is written.
    pub form: Form,
    /// Of requests that do well, one in so many has a line; 1 is all of them. Errors and slow requests are never left out.
    pub one_in: u64,
    /// A request that takes longer, and longer than its bytes explain ([`AccessLogConfig::slow_bytes_per_second`]), has a line in any case.
    pub slow_after: Duration,
    /// A request may take a second more for so many bytes of its bodies before it counts as slow.
    pub slow_bytes_per_second: u64,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        Self {
            which: Which::default(),
            form: Form::default(),
            one_in: 1,
            slow_after: Duration::from_secs(5),
            slow_bytes_per_second: 4 << 20,
        }
    }
}

/// Takes whole lines. It is called from tasks that serve requests and must not wait: what it cannot take at once, it drops.
pub type Sink = Box<dyn Fn(String) + Send + Sync>;

/// See the module's documentation.
pub struct AccessLog {
    config: AccessLogConfig,
    sink: Sink,
    seen: AtomicU64,
}

/// What is known of a request when its answer begins, or when it is given up.
pub(crate) struct Entry<'a> {
    pub wall: Duration,
    pub request_id: &'a str,
    pub peer: Option<SocketAddr>,
    pub operation: &'static str,
    pub method: &'a Method,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    pub access_key_id: Option<&'a str>,
    pub user_agent: Option<&'a str>,
    pub status: u16,
    pub error: Option<&'static str>,
}

/// A line that is to be ended.
#[derive(Debug)]
pub(crate) struct Begun {
    line: Line,
    /// Written also where the request is not slow.
    is_listed: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub took: Duration,
    pub received: u64,
    pub sent: u64,
    pub how: &'static str,
}

impl AccessLog {
    /// A log whose lines go to `sink`.
    #[must_use]
    pub fn new(config: AccessLogConfig, sink: Sink) -> Self {
        Self { config, sink, seen: AtomicU64::new(0) }
    }

    /// Whether a request may get a line; where it may not, no [`Entry`] need be made. `may_become_slow`: its answer is not at its end.
    pub(crate) fn decide(&self, method: &Method, status: u16, so_far: &End, may_become_slow: bool) -> Option<bool> {
        let is_error = status >= 400;
        let is_read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let is_wanted = match self.config.which {
            Which::None => false,
            Which::Errors => is_error,
            Which::Changes => is_error || !is_read,
            Which::All => true,
        };
        let is_listed = is_wanted && (is_error || self.is_sampled());
        (is_listed || may_become_slow || self.is_slow(so_far)).then_some(is_listed)
    }

    fn is_sampled(&self) -> bool {
        self.config.one_in <= 1 || self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.config.one_in)
    }

    fn is_slow(&self, end: &End) -> bool {
        let seconds = (end.received + end.sent) / self.config.slow_bytes_per_second.max(1);
        end.took >= self.config.slow_after.saturating_add(Duration::from_secs(seconds))
    }

    pub(crate) fn begin(&self, entry: &Entry<'_>, is_listed: bool) -> Begun {
        let mut line = Line::new(self.config.form);
        let milliseconds = u64::try_from(entry.wall.as_millis()).unwrap_or(u64::MAX);
        line.text("time", &String::from_utf8_lossy(&date::iso8601(milliseconds)));
        line.text("log", "access").text("request_id", entry.request_id);
        if let Some(peer) = entry.peer {
            line.text("remote", &peer.to_string());
        }
        line.text("operation", entry.operation).text("method", entry.method.as_str());
        line.number("status", entry.status.into());
        let optional = [
            ("error", entry.error),
            ("bucket", entry.bucket),
            ("key", entry.key),
            ("access_key_id", entry.access_key_id),
            ("user_agent", entry.user_agent),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                line.text(name, value);
            }
        }
        Begun { line, is_listed }
    }

    pub(crate) fn end(&self, begun: Begun, end: &End) {
        let is_slow = self.is_slow(end);
        if !begun.is_listed && !is_slow {
            return;
        }
        let mut line = begun.line;
        line.number("received_bytes", end.received).number("sent_bytes", end.sent);
        line.milliseconds("duration_ms", end.took.as_micros());
        line.text("outcome", end.how);
        if is_slow {
            line.mark("slow");
        }
        (self.sink)(line.finish());
    }
}
