//! The binary of Cairn: S3 object storage whose data stands in three datacentres.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn::run()
}
