//! `/healthz` and `/readyz`, over plain HTTP on the address of `--admin-listen`. Nothing else is there: administration is done over the
//! Unix socket, or over TLS on an address of its own (K2).
//!
//! `/healthz` says that the process lives and answers; `/readyz` that objects can be written now, or in words why not.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Admin;
use super::connections::{self, Answer};

/// The most connections at a time.
const CONNECTIONS_MAX: usize = 64;

/// Serves health until `stop` holds true.
pub async fn run(admin: Arc<Admin>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let slots = connections::slots(CONNECTIONS_MAX);
    while let Some((slot, (stream, _))) = connections::next(&slots, || listener.accept(), &mut stop).await {
        let (admin, stop) = (admin.clone(), stop.clone());
        tokio::spawn(async move {
            let handler = |request: http::Request<_>| {
                let answer = answer(&admin, request.method(), request.uri().path());
                async move { answer }
            };
            connections::serve(stream, None, stop, handler).await;
            drop(slot);
        });
    }
    drop(listener);
    connections::all_closed(&slots, CONNECTIONS_MAX).await;
}

fn answer(admin: &Admin, method: &Method, path: &str) -> Answer {
    if !matches!(path, "/healthz" | "/readyz") {
        return connections::text(StatusCode::NOT_FOUND, "There is /healthz and /readyz here, and nothing else.\n");
    }
    if method != Method::GET && method != Method::HEAD {
        return connections::text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
    }
    match (path, admin.readiness()) {
        ("/healthz", _) => connections::text(StatusCode::OK, "alive\n"),
        (_, Ok(())) => connections::text(StatusCode::OK, "ready\n"),
        (_, Err(reason)) => connections::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
