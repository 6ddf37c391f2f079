//! Patroni as the witness (P4), by the lock that it keeps in etcd.
//!
//! Not by Patroni's own interface: what that says comes from a manager that may hang, or that may not have renewed the lock for a while, and says so in no field (ADR 13). etcd says whose the leader key is, where that member's
//! server listens, and for how long the key's lease lasts whatever happens. Two questions, in this order:
//!
//! 1. for how long does the lease last that had the leader key when it was asked last;
//! 2. in a read that a quorum has confirmed: who has the leader key, by which lease, where is he, and does anybody need the key at all?
//!
//! The second confirms the first: where both were answered in one term of etcd's, whoever answered the first was still etcd's leader afterwards, so it was not one that had been cut off and knew of no renewal's end. A lease
//! ends no sooner than said; a new leader of etcd's only makes leases longer. The key itself goes before its lease only when a member gives it up, which it does behind stopping its server.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;

use super::settings::{Primary, Witness};
use super::tls::TlsSettings;

/// How long one endpoint may take before the next is asked.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// For the difference of two clocks' pace, and what is lost by whole seconds.
const MARGIN: Duration = Duration::from_secs(1);
/// The longest answer that is read, bytes.
const ANSWER_MAX: usize = 1 << 20;

/// Where the lock is kept.
#[derive(Debug, Clone)]
pub struct PatroniSettings {
    /// etcd's members, `http://host:port` or `https://host:port`, the nearest first.
    pub endpoints: Vec<String>,
    /// Patroni's `namespace`: `service` where it does not say.
    pub namespace: String,
    /// Patroni's `scope`: the cluster's name.
    pub scope: String,
    /// Whom to trust about `https` endpoints.
    pub tls: Option<TlsSettings>,
}

/// One member of etcd.
#[derive(Debug)]
struct Endpoint {
    host: String,
    port: u16,
    is_https: bool,
    /// The connection that was used last, where it may be used again.
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// See the module's documentation.
pub struct Patroni {
    endpoints: Vec<Endpoint>,
    /// The one that has answered last.
    first: AtomicUsize,
    /// The beginning of all of its keys.
    prefix: String,
    tls: Option<TlsSettings>,
    /// The lease that had the leader key when it was asked last.
    lease: Mutex<Option<String>>,
}

/// What is kept in etcd, as a quorum has confirmed it.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    /// etcd's term.
    term: String,
    /// The leader's name, and the lease of his key.
    leader: String,
    lease: String,
    /// Where his server listens, as a connection string.
    connection: String,
    /// The timeline that he last said to write.
    timeline: Option<i64>,
}

impl Patroni {
    /// A witness by these. Errors: a text that says which endpoint is none.
    pub fn new(settings: PatroniSettings) -> Result<Self, String> {
        let PatroniSettings { endpoints, namespace, scope, tls } = settings;
        let endpoints = endpoints.iter().map(|text| Endpoint::of(text)).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err("no endpoint of etcd is named".to_owned());
        }
        let prefix = format!("/{}/{scope}/", namespace.trim_matches('/'));
        Ok(Self { endpoints, first: AtomicUsize::new(0), prefix, tls, lease: Mutex::default() })
    }

    async fn right_of(&self, primary: &Primary) -> Result<Duration, String> {
        let Some(address) = primary.place.address else {
            return Err("a server that is reached over a socket of this machine has no address that a lock could name".to_owned());
        };
        // Once more where the lease is another one than it was: a member that has lost its lease takes a new one.
        for _ in 0..2 {
            let known = self.lease.lock().clone();
            let lasting = match &known {
                Some(lease) => Some(self.ask("/v3/lease/timetolive", json!({ "ID": lease })).await?),
                None => None,
            };
            let kept = read(&self.ask("/v3/kv/txn", self.question()).await?, &self.prefix)?;
            *self.lease.lock() = Some(kept.lease.clone());
            let Some(lasting) = lasting.filter(|_| known.as_ref() == Some(&kept.lease)) else { continue };
            let (term, seconds) = (text(&lasting, "/header/raft_term")?, text(&lasting, "/TTL")?);
            if term != kept.term {
                continue;
            }
            if !leads_to(&kept.connection, address).await {
                return Err(format!("{} has the lock, and is somewhere else", kept.leader));
            }
            if kept.timeline.is_some_and(|timeline| timeline > primary.life.timeline) {
                return Err(format!("{} writes a later timeline", kept.leader));
            }
            let seconds: i64 = seconds.parse().map_err(|_| odd("a lease's time"))?;
            return Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_sub(MARGIN));
        }
        Err("the lock changes hands, or etcd its leader".to_owned())
    }

    /// The leader, the settings, and all members, in one transaction.
    fn question(&self) -> Value {
        let key = |name: &str| STANDARD.encode(format!("{}{name}", self.prefix));
        let get =
            |key: String, end: Option<String>| json!({ "requestRange": { "key": key, "range_end": end.unwrap_or_default() } });
        json!({ "success": [
            get(key("leader"), None),
            get(key("config"), None),
            // '0' is the character behind '/'.
            get(key("members/"), Some(key("members0"))),
        ] })
    }

    /// What the first endpoint says that answers.
    async fn ask(&self, path: &str, question: Value) -> Result<Value, String> {
        let question = Bytes::from(question.to_string());
        let first = self.first.load(Ordering::Relaxed);
        let mut why = String::new();
        for turn in 0..self.endpoints.len() {
            let place = (first + turn) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(place) else { break };
            let asked = tokio::time::timeout(ANSWER_WITHIN, endpoint.ask(path, question.clone(), self.tls.as_ref()));
            match asked.await.unwrap_or_else(|_| Err("etcd does not answer in time".to_owned())) {
                Ok(answer) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }
}

impl Witness for Patroni {
    fn keeps_its_right(&self, primary: Primary) -> BoxFuture<'_, Result<Duration, String>> {
        Box::pin(async move { self.right_of(&primary).await })
    }
}

impl std::fmt::Debug for Patroni {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Patroni").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Endpoint {
    fn of(text: &str) -> Result<Self, String> {
        let is_none = || format!("{text} is no endpoint of etcd: http://host:port or https://host:port");
        let uri: hyper::Uri = text.parse().map_err(|_| is_none())?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(is_none()),
        };
        let host = uri.host().ok_or_else(is_none)?.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(2379), is_https, kept: Mutex::default() })
    }

    async fn ask(&self, path: &str, question: Bytes, tls: Option<&TlsSettings>) -> Result<Value, String> {
        let failed = |what: &str| format!("etcd at {}: {what}", self.host);
        let kept = self.kept.lock().take().filter(SendRequest::is_ready);
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(tls).await?,
        };
        let request = Request::post(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(question))
            .map_err(|_| failed("the question is none"))?;
        let answer = connection.send_request(request).await.map_err(|_| failed("it does not answer"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|_| failed("it breaks off"))?.to_bytes();
        if status != StatusCode::OK {
            return Err(failed(&format!("it answers {status}")));
        }
        *self.kept.lock() = Some(connection);
        serde_json::from_slice(&body).map_err(|_| failed("its answer is no JSON"))
    }

    async fn open(&self, tls: Option<&TlsSettings>) -> Result<SendRequest<Full<Bytes>>, String> {
        let failed = |what: &str| format!("etcd at {}: {what}", self.host);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|_| failed("it cannot be reached"))?;
        let refused = |_| failed("it does not speak HTTP");
        if self.is_https {
            let tls = tls.ok_or_else(|| failed("https, and no authority to trust"))?;
            let stream = tls.connect(&self.host, stream).await.map_err(|_| failed("its certificate is not trusted"))?;
            let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(refused)?;
            tokio::spawn(driver);
            return Ok(sender);
        }
        let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(refused)?;
        tokio::spawn(driver);
        Ok(sender)
    }
}

fn odd(what: &str) -> String {
    format!("{what} in etcd is not one")
}

fn text<'a>(answer: &'a Value, place: &str) -> Result<&'a str, String> {
    answer.pointer(place).and_then(Value::as_str).ok_or_else(|| odd(place))
}

/// The key and the value of a row.
fn row(row: &Value) -> Result<(String, Bytes), String> {
    let decode = |place: &str| STANDARD.decode(text(row, place)?).map_err(|_| odd(place));
    Ok((String::from_utf8(decode("/key")?).map_err(|_| odd("a key"))?, decode("/value")?.into()))
}

/// What an answer to [`Patroni::question`] says. An error where nobody has the lock, or nobody needs it.
fn read(answer: &Value, prefix: &str) -> Result<Kept, String> {
    let rows = |place: usize| {
        let found = answer.pointer(&format!("/responses/{place}/response_range/kvs"));
        found.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    };
    let leader = rows(0).first().ok_or_else(|| "nobody has the lock".to_owned())?;
    let lease = text(leader, "/lease")?.to_owned();
    let leader = String::from_utf8(row(leader)?.1.to_vec()).map_err(|_| odd("the leader's name"))?;
    let (_, settings) = row(rows(1).first().ok_or_else(|| "Patroni's settings are not there".to_owned())?)?;
    let settings: Value = serde_json::from_slice(&settings).map_err(|_| odd("Patroni's settings"))?;
    match settings.get("pause") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(_) => return Err("Patroni is paused: nobody needs the lock".to_owned()),
    }
    let name = format!("{prefix}members/{leader}");
    for member in rows(2) {
        let (key, value) = row(member)?;
        if key == name {
            let member: Value = serde_json::from_slice(&value).map_err(|_| odd("a member"))?;
            return Ok(Kept {
                term: text(answer, "/header/raft_term")?.to_owned(),
                lease,
                connection: text(&member, "/conn_url")?.to_owned(),
                timeline: member.get("timeline").and_then(Value::as_i64),
                leader,
            });
        }
    }
    Err(format!("{leader} has the lock, and is no member"))
}

/// Whether the server of this connection string listens at this address.
async fn leads_to(connection: &str, address: SocketAddr) -> bool {
    let Ok(config) = connection.parse::<tokio_postgres::Config>() else { return false };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    if port != address.port() {
        return false;
    }
    let Some(Host::Tcp(name)) = config.get_hosts().first() else { return false };
    if let Ok(host) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return host == address.ip();
    }
    let found = tokio::net::lookup_host((name.as_str(), port)).await;
    found.is_ok_and(|mut found| found.any(|found| found.ip() == address.ip()))
}

#[cfg(test)]
mod tests;
