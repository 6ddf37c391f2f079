//! `cairn-load`: puts load on an S3 service from outside, for `cargo xtask bench`. It signs every request, verifies every byte it reads and
//! every key it lists, and says what processor time it used itself, so that nobody takes its cost for the service's. The result is one line
//! of JSON on standard output.
//!
//! Each connection is a thread that writes and reads a socket: with at most 64 of them nothing is cheaper, and nothing stands between
//! the service's answer and the clock.

mod bodies;
mod clock;
mod connection;
mod keys;
mod listing;
mod load;
mod signature;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;

use keys::Keys;
use load::{Load, Operation};
use signature::Signer;

/// Put load on an S3 service. The key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
#[derive(Parser)]
struct CommandLine {
    /// What to do.
    #[arg(value_enum)]
    operation: Operation,
    /// Where the service answers over plain HTTP.
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: String,
    /// The bucket, path-style.
    #[arg(long)]
    bucket: String,
    /// What keys begin with; a number follows.
    #[arg(long, default_value = "")]
    prefix: String,
    /// The keys are those of a bucket that was filled with so many objects (`crates/cairn/examples/fill.rs`), not those with a prefix.
    #[arg(long, value_name = "OBJECTS", conflicts_with = "prefix")]
    filled: Option<u64>,
    /// Objects are those whose numbers are multiples of this; `delete` deletes all others.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    stride: u64,
    /// The first number, of those that are stored.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Whoever reads objects at random with another seed reads others.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many versions each object has, for `list-versions-at`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    versions: u64,
    /// How many objects there are, or are to be stored at most.
    #[arg(long, default_value_t = u64::MAX)]
    objects: u64,
    /// How many bytes each object holds.
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// How long to begin new requests, seconds.
    #[arg(long, default_value_t = 3600.0)]
    seconds: f64,
    /// Send `UNSIGNED-PAYLOAD` in place of the body's hash (tools do so over HTTPS; over HTTP they sign the body).
    #[arg(long)]
    unsigned: bool,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    region: String,
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command_line: CommandLine) -> anyhow::Result<()> {
    let access_key_id = std::env::var("AWS_ACCESS_KEY_ID").context("AWS_ACCESS_KEY_ID")?;
    let secret_access_key = std::env::var("AWS_SECRET_ACCESS_KEY").context("AWS_SECRET_ACCESS_KEY")?;
    let load = Load {
        operation: command_line.operation,
        bucket: command_line.bucket,
        keys: Keys { prefix: command_line.prefix, filled: command_line.filled },
        stride: command_line.stride,
        first: command_line.first,
        seed: command_line.seed,
        versions: command_line.versions,
        objects: command_line.objects,
        bytes: command_line.bytes,
        connections: command_line.connections,
        duration: Duration::from_secs_f64(command_line.seconds),
        signed: !command_line.unsigned,
    };
    let measured = load::run(&load, &command_line.endpoint, || {
        Signer::new(&access_key_id, &secret_access_key, &command_line.region, &command_line.endpoint, clock::wall_seconds())
    });
    println!(
        "{}",
        json!({
            "requests": measured.requests,
            "failed": measured.failed,
            "first_failure": measured.first_failure,
            "bytes": measured.bytes,
            "seconds": measured.elapsed.as_secs_f64(),
            "p50_us": measured.percentile_us(50),
            "p99_us": measured.percentile_us(99),
            "own_cpu_seconds": measured.own_cpu.as_secs_f64(),
        })
    );
    Ok(())
}
