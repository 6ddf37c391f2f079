//! `GET /metrics` on the address of `--metrics-listen`: numbers for Prometheus.
//!
//! The address is its own, and there is none by default. What stands there names tenants and buckets and says how much each is used, which
//! is nobody's business who merely uses S3, and scrapers know no tokens of ours: so that it is where the operator says, and nowhere else. It
//! holds no key, no object's name and nothing that a request chose.

pub mod collect;
pub mod families;
mod process;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn_metrics::CONTENT_TYPE;
use cairn_s3::S3Service;
use http::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use http::{HeaderValue, Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access_log::Lines;
use crate::admin::Admin;
use crate::admin::connections::{self, Answer};
use crate::tls::Certificates;

/// The most connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// Whoever asks more often gets the same text again: asking costs a look at each zone and at the catalog.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// How long gathering may take: somewhat less than Prometheus waits by default (10 s).
const GATHER_TIMEOUT: Duration = Duration::from_secs(9);

/// What is told, and of what.
pub struct Metrics {
    admin: Arc<Admin>,
    lines: Arc<Lines>,
    certificates: Vec<Arc<Certificates>>,
    service: OnceLock<S3Service>,
    last: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl Metrics {
    /// Of a service that starts.
    pub fn new(admin: Arc<Admin>, lines: Arc<Lines>, certificates: Vec<Arc<Certificates>>) -> Arc<Self> {
        Arc::new(Self { admin, lines, certificates, service: OnceLock::new(), last: tokio::sync::Mutex::default() })
    }

    /// S3 is about to be served.
    pub fn serving(&self, service: S3Service) {
        let _ = self.service.set(service);
    }

    async fn text(&self) -> String {
        let mut last = self.last.lock().await;
        if let Some((gathered, text)) = &*last
            && gathered.elapsed() < FRESH_FOR
        {
            return text.clone();
        }
        let text = collect::collect(&self.admin, self.service.get(), &self.lines, &self.certificates).await;
        *last = Some((Instant::now(), text.clone()));
        text
    }

    async fn answer(&self, method: &Method, path: &str) -> Answer {
        if path != "/metrics" {
            return connections::text(StatusCode::NOT_FOUND, "There is /metrics here, and nothing else.\n");
        }
        if method != Method::GET && method != Method::HEAD {
            return connections::text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
        }
        match tokio::time::timeout(GATHER_TIMEOUT, self.text()).await {
            Ok(text) => {
                let mut answer = connections::text(StatusCode::OK, text);
                answer.headers_mut().insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(CONTENT_TYPE));
                answer
            }
            Err(_) => connections::text(StatusCode::SERVICE_UNAVAILABLE, "The numbers could not be gathered in time.\n"),
        }
    }

    /// Serves until `stop` holds true.
    pub async fn run(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let slots = connections::slots(CONNECTIONS_MAX);
        while let Some((slot, (stream, _))) = connections::next(&slots, || listener.accept(), &mut stop).await {
            let (metrics, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move {
                let handler = |request: http::Request<_>| {
                    let metrics = metrics.clone();
                    async move { metrics.answer(request.method(), request.uri().path()).await }
                };
                connections::serve(stream, None, stop, handler).await;
                drop(slot);
            });
        }
    }
}

#[cfg(test)]
mod tests;
