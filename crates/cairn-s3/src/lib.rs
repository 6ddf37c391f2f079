//! S3 over HTTP: the only place in Cairn that knows HTTP, XML and signatures.
//!
//! What it guarantees:
//!
//! - no operation runs before its sender is known and allowed ([`auth`]), and nothing is committed before its body was verified ([`body`]);
//! - what S3 has and Cairn does not answers `NotImplemented`; bad input gets AWS's code and status ([`error`]), leaves the state unchanged and
//!   never panics; every parser of untrusted bytes has a fuzz target ([`fuzz`]);
//! - every limit is explicit ([`config::Limits`]), and memory per request is bounded: bodies are streams in both directions, and only
//!   XML documents are held whole.
//!
//! What comes and goes is counted and can be logged ([`observe`]). Everything about objects is asked of the [`ObjectStore`](cairn_store::api::ObjectStore).

pub mod auth;
pub mod body;
pub mod checksum;
pub mod config;
pub mod error;
pub mod form;
pub mod fuzz;
pub mod http;
pub mod observe;
pub mod operation;
pub mod text;
pub mod xml;

pub use auth::authorizer::{Action, Authorizer, GrantAuthorizer, Target};
pub use config::{Config, Http2Limits, Limits};
pub use http::server::{Connection, Handshake, Protocol, Server, Shaken, serve_connection, serve_http2_connection};
pub use http::service::S3Service;
pub use http::sources::{HeldConnection, Source, Sources};
