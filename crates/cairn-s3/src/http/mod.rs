//! HTTP: connections and their limits, requests and what they name, answers and errors.

pub mod admission;
pub mod condition;
pub mod cors;
mod http1;
mod http2;
pub mod patience;
pub mod query;
pub mod range;
pub mod request_id;
pub mod response;
pub mod server;
pub mod service;
pub mod sources;
pub mod target;
mod transport;
