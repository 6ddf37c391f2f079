//! One request: authenticated, then authorised, then done.
//!
//! The order is a guarantee: no operation sees a request before its signature was verified and the [`Authorizer`] has allowed it, and the
//! body is not read (a client that waits for `100 Continue` is not told to go on) before that.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn_disk::{Clock, Random};
use cairn_store::api::{Bucket, ObjectStore};
use cairn_types::TenantId;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, ORIGIN, SERVER};
use http::{HeaderName, HeaderValue, Method, Request, request::Parts};
use parking_lot::Mutex;

use super::admission::{Admission, AdmissionLimits, Admitted};
use super::cors;
use super::patience::Patience;
use super::query::Query;
use super::request_id::{RequestId, RequestIds};
use super::response::{self, S3Response};
use super::sources::Source;
use super::target::{bucket_of_host, parse_target};
use crate::auth::authorizer::Authorizer;
use crate::auth::{self, Authenticator};
use crate::body::Inbound;
use crate::config::Config;
use crate::error::{S3Error, S3Result, code};
use crate::observe::{AccessLog, Notes, Observed, OperationLabel, RequestMetrics, WaitedFor};
use crate::operation;

/// Serves S3 from a store.
#[derive(Clone)]
pub struct S3Service(Arc<Shared>);

/// What all requests share.
pub struct Shared {
    /// The objects.
    pub store: Arc<dyn ObjectStore>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// How the front behaves.
    pub config: Config,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The tenant of unsigned requests.
    pub default_tenant: TenantId,
    /// What requests came to.
    pub metrics: RequestMetrics,
    pub(crate) access_log: OnceLock<AccessLog>,
    authenticator: Authenticator,
    request_ids: RequestIds,
    admission: Arc<Admission>,
    /// When the log was last told of overload.
    warned_at: Mutex<Option<Duration>>,
}

/// What a request that runs holds, until its answer is out.
pub type RequestPermit = Admitted;

impl S3Service {
    /// A service.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        authorizer: Arc<dyn Authorizer>,
        config: Config,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            authorizer,
            clock,
            default_tenant: TenantId::DEFAULT,
            authenticator: Authenticator::new(config.region.clone()),
            request_ids: RequestIds::new(random),
            admission: Admission::new(AdmissionLimits {
                running_max: config.limits.requests_max,
                bytes_max: config.limits.body_bytes_max,
                waiting_max: config.limits.requests_waiting_max,
                wait_max: config.limits.request_wait_max,
            }),
            metrics: RequestMetrics::new(config.limits.counted_buckets_max),
            access_log: OnceLock::new(),
            warned_at: Mutex::default(),
            config,
        }))
    }

    /// What all requests share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.0
    }

    /// What requests came to since the start.
    #[must_use]
    pub fn metrics(&self) -> &RequestMetrics {
        &self.0.metrics
    }

    /// Has requests told from now on. The first log that is given stays.
    pub fn set_access_log(&self, log: AccessLog) {
        let _ = self.0.access_log.set(log);
    }

    /// How many requests are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.admission.running()
    }

    /// How many requests wait until they may run.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.admission.waiting()
    }

    /// What bodies on their way in may hold outside the store now, bytes.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.0.admission.bytes()
    }

    /// Answers a request, which came from `peer` where that is known. Every failure becomes an answer.
    pub async fn call(&self, peer: Option<SocketAddr>, request: Request<Inbound>) -> S3Response {
        let shared = &*self.0;
        let request_id = shared.request_ids.next();
        let (parts, mut inbound) = request.into_parts();
        let mut observed = Observed::begin(&self.0, &parts, request_id, peer);
        let is_head = parts.method == Method::HEAD;
        let expects_continue = parts.headers.contains_key(EXPECT);
        let had_body = !inbound.is_at_end();
        let about = OnceLock::new();
        let limits = &shared.config.limits;
        inbound.set_patience(Patience::new(limits.body_idle_timeout, limits.body_rate_min));
        let (permit, outcome) = match shared.admit(&parts, peer, had_body).await {
            Ok(permit) => (Some(permit), shared.handle(&parts, &mut inbound, &mut observed.notes, &about).await),
            Err(error) => (None, Err(error)),
        };
        let (mut response, error) = match outcome {
            Ok(response) => (response, None),
            Err(error) => {
                // Of those for whom there is no room the log is told together.
                if permit.is_some() {
                    log(&error, &parts, &request_id);
                }
                if *error.code() == code::REQUEST_TIMEOUT {
                    shared.metrics.timed_out(WaitedFor::Body);
                }
                // A page is told why, too.
                if permit.is_some()
                    && about.get().is_none()
                    && parts.headers.contains_key(ORIGIN)
                    && let Some(bucket) = shared.claimed_bucket(&parts).await
                {
                    about.get_or_init(|| bucket);
                }
                let host_id = shared.request_ids.host_id();
                (response::error(&error, parts.uri.path(), &request_id, host_id, is_head), Some(error))
            }
        };
        let is_stream = response.body().is_stream();
        let record = observed.answered(response.status(), error.as_ref(), inbound.received(), is_stream, permit);
        response.body_mut().hold(record);
        // `100 Continue` was sent if and only if there was a body and it was asked for.
        let was_continued = had_body && inbound.is_polled();
        if !expects_continue || was_continued {
            shared.leave(inbound);
        }
        let headers = response.headers_mut();
        if let Some(rules) = about.get().and_then(|bucket| bucket.cors.as_ref()).filter(|_| parts.method != Method::OPTIONS) {
            cors::apply(rules, &parts.method, &parts.headers, headers);
        }
        if expects_continue && !was_continued {
            // What the client sends next is the body or another request, depending on whether it went on waiting. And botocore (1.43), having
            // got a final answer where it waited for `100 Continue`, misreads the next one on the same connection.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response::set(headers, HeaderName::from_static("x-amz-request-id"), request_id.as_str().to_owned());
        headers.insert("x-amz-id-2", shared.request_ids.host_id().clone());
        headers.insert(SERVER, HeaderValue::from_static("Cairn"));
        response
    }
}

impl Shared {
    /// Checks signatures.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Waits for room.
    async fn admit(&self, parts: &Parts, peer: Option<SocketAddr>, has_body: bool) -> S3Result<RequestPermit> {
        let source = peer.map_or_else(Source::others, |peer| Source::of(peer.ip()));
        let bytes = if has_body {
            let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            length.unwrap_or(u64::MAX).min(self.config.limits.body_share_bytes())
        } else {
            0
        };
        self.admission.admit(source, bytes).await.map_err(|_| {
            self.metrics.slowed_down.add(1);
            self.warn_of_overload();
            S3Error::new(&code::SLOW_DOWN)
        })
    }

    /// Says in the log now and then that requests are refused: a line for each would be another burden.
    fn warn_of_overload(&self) {
        const EVERY: Duration = Duration::from_secs(10);
        let now = self.clock.monotonic();
        let Some(mut warned_at) = self.warned_at.try_lock() else { return };
        if warned_at.is_none_or(|at| now.saturating_sub(at) >= EVERY) {
            *warned_at = Some(now);
            let (running, waiting, since_start) =
                (self.admission.running(), self.admission.waiting(), self.metrics.slowed_down.get());
            tracing::warn!(running, waiting, since_start, "there is no room for more requests: clients are told to slow down");
        }
    }

    async fn handle(
        &self,
        parts: &Parts,
        inbound: &mut Inbound,
        notes: &mut Notes,
        about: &OnceLock<Arc<Bucket>>,
    ) -> S3Result<S3Response> {
        let head_bytes_max = self.config.limits.header_bytes_max;
        if head_bytes(parts) > head_bytes_max {
            // hyper reads up to twice its buffer before it refuses.
            return Err(S3Error::new(&code::REQUEST_HEADER_SECTION_TOO_LARGE).field("MaxSizeAllowed", head_bytes_max.to_string()));
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        if parts.method == Method::OPTIONS {
            notes.operation = Some(OperationLabel::Preflight);
            return self.preflight(parts).await;
        }
        let raw_path = parts.uri.path();
        let virtual_bucket = self.virtual_bucket(parts);
        let now_seconds = self.clock.wall().as_secs();
        let request = auth::Request {
            method: parts.method.as_str(),
            raw_path,
            query: &query,
            headers: &parts.headers,
            virtual_bucket: virtual_bucket.as_deref(),
        };
        let authenticated = self.authenticator.authenticate(&*self.store, &request, now_seconds).await?;
        notes.key.clone_from(&authenticated.key);
        let target = parse_target(virtual_bucket, raw_path)?;
        operation::run(operation::Incoming { shared: self, parts, query: &query, authenticated, target, inbound, notes, about })
            .await
    }

    /// The bucket, where the host names it.
    pub(crate) fn virtual_bucket(&self, parts: &Parts) -> Option<String> {
        let host = match parts.headers.get(HOST) {
            Some(value) => value.to_str().ok(),
            None => parts.uri.authority().map(http::uri::Authority::as_str),
        };
        host.and_then(|host| bucket_of_host(host, &self.config.domains))
    }

    /// Answers an `OPTIONS`, which browsers do not sign: by the bucket's rules alone.
    async fn preflight(&self, parts: &Parts) -> S3Result<S3Response> {
        let target = parse_target(self.virtual_bucket(parts), parts.uri.path())?;
        if target.bucket.is_none() {
            return Err(S3Error::new(&code::METHOD_NOT_ALLOWED).field("Method", "OPTIONS").field("ResourceType", "SERVICE"));
        }
        let preflight = cors::Preflight::parse(&parts.headers)?;
        let bucket = self.claimed_bucket(parts).await;
        preflight.answer(bucket.as_ref().and_then(|bucket| bucket.cors.as_ref()), target.key.is_some())
    }

    /// The bucket that a request names, whoever has sent it: for its rules of CORS and nothing else. Its name is looked up in the tenant of
    /// the key that the request claims to be signed with: the preflight of a presigned URL has that URL's query.
    async fn claimed_bucket(&self, parts: &Parts) -> Option<Arc<Bucket>> {
        let name = parse_target(self.virtual_bucket(parts), parts.uri.path()).ok()?.bucket?;
        let query = Query::parse(parts.uri.query().unwrap_or_default()).ok()?;
        let authorization = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = match auth::claimed_access_key_id(&query, authorization) {
            Some(id) => self.store.access_key(id).await.ok()?,
            None => None,
        };
        let tenant = key.map_or(self.default_tenant, |key| key.tenant);
        self.store.bucket(tenant, &name).await.ok()?
    }

    /// Leaves the connection in a state in which it can serve the next request, or be closed with the client having seen its answer.
    fn leave(&self, inbound: Inbound) {
        // A stream of HTTP/2 ends by itself.
        if inbound.is_at_end() || inbound.is_stream() {
            return;
        }
        let limits = &self.config.limits;
        let drain = tokio::time::timeout(limits.drain_timeout, inbound.drain(limits.drain_bytes_max));
        tokio::spawn(async move {
            let _ = drain.await;
        });
    }
}

/// Bytes of the target and the headers.
fn head_bytes(parts: &Parts) -> usize {
    let target = parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    parts.headers.iter().fold(target, |sum, (name, value)| sum + name.as_str().len() + value.len())
}

fn log(error: &S3Error, parts: &Parts, request_id: &RequestId) {
    let (request_id, code, status) = (request_id.as_str(), error.code().name, error.code().status.as_u16());
    // The query may hold a signature: it stays out.
    let (method, path, detail) = (parts.method.as_str(), parts.uri.path(), error.log_detail().unwrap_or_default());
    if status >= 500 && status != 501 {
        tracing::warn!(request_id, method, path, code, status, detail, "request failed");
    } else {
        tracing::debug!(request_id, method, path, code, status, detail, "request refused");
    }
}
