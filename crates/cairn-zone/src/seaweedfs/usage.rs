//! How full a zone is, as its volume servers count at this moment.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::try_join_all;
use http::{HeaderMap, Method, StatusCode};

use super::core::Core;
use super::format::{HEAD_BYTES, NEEDLE_COUNTED_BYTES};
use super::http_client::{Asked, OTHER_BYTES_MAX, Pieces};
use super::masters::Server;
use super::memory::Known;
use crate::{Usage, ZoneError};

/// What a volume server's `/status` says of a volume.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeStatus {
    id: u32,
    collection: String,
    /// Bytes of all needles that its index has, deleted ones too.
    size: u64,
    file_count: u64,
    delete_count: u64,
    deleted_byte_count: u64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    /// `null` where there are none.
    volumes: Option<Vec<VolumeStatus>>,
}

impl Core {
    /// Live chunks and their bytes, one copy of each, and the room for more.
    pub async fn usage(&self) -> Result<Usage, ZoneError> {
        let remembered = self.ledger.seen();
        let listing = self.volumes.list(&remembered).await?;
        let servers: BTreeSet<&Server> = listing.volumes.values().flat_map(|volume| &volume.servers).collect();
        let told = try_join_all(servers.into_iter().map(|server| self.status(server))).await?;
        let mut volumes: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for volume in told.into_iter().flatten().filter(|volume| volume.collection == self.collection) {
            let seals = remembered.memory.volumes.get(&volume.id).map_or(0, Known::seals);
            let (needles, bytes) = live(&volume);
            volumes.insert(volume.id, (needles.saturating_sub(seals), bytes));
        }
        let chunks = volumes.values().map(|(chunks, _)| chunks).sum();
        let bytes = volumes.values().map(|(_, bytes)| bytes).sum();
        let copies = listing.volumes.values().map(|volume| volume.copies).max().unwrap_or(1).max(1);
        let left_in_volumes: u64 = listing
            .volumes
            .values()
            .filter(|volume| !volume.read_only)
            .map(|volume| listing.volume_bytes_max.saturating_sub(volume.size))
            .sum();
        let free = left_in_volumes.saturating_add(listing.unassigned_bytes / copies).min(listing.disk_free_bytes / copies);
        // A master that says nothing of disks is an older one.
        let free_bytes = (listing.disk_free_bytes > 0).then_some(free);
        Ok(Usage { chunks, bytes, free_bytes })
    }

    async fn status(&self, server: &Server) -> Result<Vec<VolumeStatus>, ZoneError> {
        let asked = Asked {
            method: Method::GET,
            server: server.http.clone(),
            path: "/status".to_owned(),
            headers: HeaderMap::new(),
            body: Pieces::default(),
            answer_bytes_max: OTHER_BYTES_MAX,
        };
        let answer = self.http.ask(asked).await.map_err(ZoneError::Away)?;
        if answer.status != StatusCode::OK {
            return Err(ZoneError::Away(format!("{}: {}", server.http, answer.error())));
        }
        decoded(&answer.body).map_err(|error| ZoneError::Away(format!("{}: its status cannot be read: {error}", server.http)))
    }
}

fn decoded(body: &Bytes) -> Result<Vec<VolumeStatus>, serde_json::Error> {
    Ok(serde_json::from_slice::<Status>(body)?.volumes.unwrap_or_default())
}

/// Live needles, and the bytes of chunks in them.
fn live(volume: &VolumeStatus) -> (u64, u64) {
    let chunks = volume.file_count.saturating_sub(volume.delete_count);
    let counted = volume.size.saturating_sub(volume.deleted_byte_count);
    (chunks, counted.saturating_sub(chunks.saturating_mul(NEEDLE_COUNTED_BYTES + HEAD_BYTES as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_what_is_live() {
        let body = Bytes::from_static(
            br#"{"Version":"8000GB 4.48","Volumes":[{"Collection":"c","DiskType":"","ReplicaPlacement":{},"Ttl":{"Count":0,"Unit":0},
            "Size":5384,"DeletedByteCount":196,"ModifiedAtSecond":1795399276,"Id":1,"FileCount":3,"DeleteCount":1,"Version":3,"ReadOnly":false}]}"#,
        );
        let volumes = decoded(&body).unwrap();
        // Three chunks of 100, 4,996 and 0 bytes, of which the first was deleted.
        assert_eq!(live(&volumes[0]), (2, 4_996));
        assert!(decoded(&Bytes::from_static(b"{\"Volumes\":null}")).unwrap().is_empty());
        assert!(decoded(&Bytes::from_static(b"<html>")).is_err());
    }
}
