//! HTTP: connections and their limits, requests and what they name, answers and errors.

pub mod condition;
pub mod cors;
pub mod query;
pub mod range;
pub mod request_id;
pub mod response;
pub mod server;
pub mod service;
pub mod target;
