//! What `cairn admin` prints: results on standard output, as text for people or JSON for programs; words beside them on standard error.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::api::Failure;

/// For whom it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: the API's own documents.
    Json,
}

impl Output {
    /// Prints a result.
    pub fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let printed = match self {
            Self::Text => text(),
            Self::Json => {
                let mut json = serde_json::to_string_pretty(value).map_err(|error| Failure {
                    code: super::api::FailureCode::Internal,
                    message: format!("the result could not be written as JSON: {error}"),
                })?;
                json.push('\n');
                json
            }
        };
        // A reader that has seen enough (`| head`) is no failure.
        match io::stdout().lock().write_all(printed.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure {
                code: super::api::FailureCode::Internal,
                message: format!("the result could not be printed: {error}"),
            }),
            _ => Ok(()),
        }
    }

    /// Says something beside the result, to people only.
    pub fn remark(self, text: &str) {
        if self == Self::Text {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Says what failed.
    pub fn failure(self, failure: &Failure) -> ExitCode {
        let text = match self {
            Self::Text => format!("cairn: {}", failure.message),
            Self::Json => serde_json::to_string(failure).unwrap_or_else(|_| failure.message.clone()),
        };
        let _ = writeln!(io::stderr().lock(), "{text}");
        ExitCode::FAILURE
    }
}
