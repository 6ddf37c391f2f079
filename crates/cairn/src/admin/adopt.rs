//! `cairn admin zone adopt-directory`: lets a zone in again that has left its mount for good. Nothing may serve meanwhile (L10).

use std::path::PathBuf;

use cairn_catalog::embedded::log::adopt::{Adopted, examine};
use cairn_disk::Environment;
use cairn_types::ZoneName;
use clap::Args;
use serde::Serialize;

use super::api::{Failure, FailureCode};
use super::client::ClientResult;
use super::output::Output;
use crate::cli::parse_zone;
use crate::data_directory::{DataDirectory, places};

/// Which zones, and where all of them are.
#[derive(Debug, Clone, Args)]
pub struct AdoptOptions {
    /// A zone whose directory was a mount point, and is to be used although it is none any more; all that moved, in one command.
    #[arg(required = true, value_name = "ZONE")]
    pub names: Vec<ZoneName>,
    /// A zone's directory, as the service is given it; three times, or never.
    #[arg(long = "zone", value_name = "NAME=DIR", value_parser = parse_zone)]
    pub zones: Vec<(ZoneName, PathBuf)>,
    /// Do it. Without this, only what would be done is said.
    #[arg(long)]
    pub confirm: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Result {
    done: bool,
    zones: Vec<Zone>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Zone {
    name: String,
    path: String,
    is_empty: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<u64>,
}

fn failed(message: String) -> Failure {
    Failure { code: FailureCode::InUse, message }
}

/// Looks, says what would be done, and does it where that is confirmed.
pub async fn run(data: &std::path::Path, options: AdoptOptions, output: Output) -> ClientResult<()> {
    let AdoptOptions { names, zones, confirm } = options;
    if !data.is_dir() {
        return Err(failed(format!("There is no data directory {}. Nothing was changed.", data.display())));
    }
    let data = DataDirectory::open(data).await.map_err(|error| failed(error.0))?;
    let places = places(&data.path, &zones).map_err(|error| failed(error.0))?;
    let environment = Environment::real();
    let adoption = examine(&environment, &places, &names).await.map_err(|error| failed(error.to_string()))?;
    let zones: Vec<Zone> = adoption
        .zones()
        .map(|(name, path, adopted)| {
            let (batch, incarnation) = match adopted {
                Adopted::Whole { batch, incarnation } => (Some(*batch), Some(*incarnation)),
                Adopted::Empty => (None, None),
            };
            Zone { name: name.to_string(), path: path.display().to_string(), is_empty: batch.is_none(), batch, incarnation }
        })
        .collect();
    if confirm {
        adoption.carry_out().await.map_err(|error| {
            failed(format!("{error}. Some identities may have been changed: the zones are kept out still. Do it again."))
        })?;
    }
    let result = Result { done: confirm, zones };
    output.result(&result, || text(&result))
}

fn text(result: &Result) -> String {
    let mut text = String::new();
    for Zone { name, path, batch, incarnation, .. } in &result.zones {
        let line = match (batch, incarnation) {
            (Some(batch), Some(incarnation)) => format!(
                "{name}: {path} holds this zone's log up to batch {batch}, in life {incarnation}, which is all that the other zones know of. The \
                 zone goes on from there, and all that the directory holds is kept.\n"
            ),
            _ => format!(
                "{name}: {path} is empty. The zone begins a new life there, and is rebuilt from the other two. If its disk is only not mounted, \
                 mount it instead.\n"
            ),
        };
        text.push_str(&line);
    }
    text += if result.done {
        "Done: it is not asked for its mount any more. Start the service, and look at `zone status`.\n"
    } else {
        "All that would be changed is the note, in each zone's identity, that this was a mount point. What the disk holds that used to be mounted \
         there is not used any more: should it come back, it is an old copy, and is set aside.\n\
         Nothing was changed. To do it, give the same command with --confirm.\n"
    };
    text
}
