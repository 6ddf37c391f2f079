//! Cairn put together: the engines of one machine opened and closed in order, the store over them, its S3 front, its administration.
//!
//! The binary is [`run`] and nothing else. [`embedded`] and [`master_key`] can be opened by themselves, on any
//! [`Environment`](cairn_disk::Environment): so that tests run the whole of it on a simulated machine.

mod access_log;
mod admin;
mod cli;
mod config;
mod data_directory;
mod doctor;
pub mod embedded;
pub mod fuzz;
mod limits;
pub mod master_key;
mod metrics;
mod open_files;
mod root_key;
pub mod serve;
mod tls;

use std::process::ExitCode;

use crate::cli::{Command, LogFormat, ObservingOptions, ServeOptions};

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    let cli = config::command_line();
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAIRN_LOG").unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match &cli.command {
        Command::Serve(ServeOptions { observing: ObservingOptions { log_format: LogFormat::Json, .. }, .. }) => {
            log.json().flatten_event(true).init();
        }
        _ => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
    let result = match cli.command {
        Command::Serve(options) => serve::run(options),
        Command::Admin(options) => return admin::command::run(options),
        Command::Doctor(options) => return doctor::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn: {error}");
            ExitCode::FAILURE
        }
    }
}
