//! A client that knows nothing of S3, for URLs that open an object to whoever has them.

use std::path::PathBuf;

use anyhow::bail;

use super::Suite;
use super::service::Scheme;
use crate::provision::{AWS_CLI_1, Tool};

/// The tool whose Python fetches; any would do.
pub const NEEDS: &Tool = &AWS_CLI_1;

/// Fetches a URL; gives the status, and the file that holds the body.
///
/// # Errors
/// Where there is no answer.
pub fn fetch(suite: &mut Suite<'_, '_>, url: &str) -> anyhow::Result<(String, PathBuf)> {
    let body = suite.scratch.join("fetched");
    let workspace = suite.context.workspace;
    let mut command = suite.command(&NEEDS.program(&workspace.tools()).with_file_name("python"));
    command.arg(workspace.root().join("tests").join("e2e").join("fetch.py")).arg(url).arg(&body);
    if suite.service.scheme() == Scheme::Https {
        let Some(authority) = suite.service.certificate_authority() else { bail!("no certificate authority") };
        command.arg(authority);
    }
    Ok((suite.output(&mut command)?.trim().to_owned(), body))
}
