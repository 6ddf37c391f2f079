//! What has a place and what has none.

use bytes::Bytes;
use cairn_types::records::{BlobContent, ChunkRecord, Condemned, InlineId, Layout, ZoneSet};
use cairn_types::{CatalogTime, SessionId};

use super::*;

const ID: BlobId = BlobId { session: SessionId(3), counter: 1 };

fn blob(data_length: u32) -> BlobRecord {
    let chunks = vec![ChunkRecord { data_length, replicas: [const { None }; 3] }];
    let content = BlobContent { layout: Layout::ThreeCopies, frame_kind: 1, encryption_key: None, chunks };
    BlobRecord { references: 1, condemned: None, indexed_missing: ZoneSet::EMPTY, content }
}

fn run(offset: u64, length: u64) -> FoundExtents {
    FoundExtents { extents: vec![Extent::Blob { id: ID, offset, length }], ..FoundExtents::default() }
}

#[test]
fn bytes_have_a_place_in_blobs_that_are_there_and_long_enough() {
    assert_eq!(placed(&run(0, 10), &[(ID, blob(10))]), Ok(10));
    assert_eq!(placed(&run(4, 6), &[(ID, blob(10))]), Ok(6));
    assert_eq!(placed(&run(4, 7), &[(ID, blob(10))]), Err("blob 3.1 has 10 bytes, and 7 from 4 on are to be in it".to_owned()));
    assert!(placed(&run(u64::MAX, 7), &[(ID, blob(10))]).is_err());
    assert_eq!(placed(&run(0, 10), &[]), Err("blob 3.1 is not there".to_owned()));
    let condemned = Condemned { due: CatalogTime(0), remaining: ZoneSet::ALL };
    let condemned = BlobRecord { condemned: Some(condemned), ..blob(10) };
    assert_eq!(placed(&run(0, 10), &[(ID, condemned)]), Err("blob 3.1 is on its way out".to_owned()));
}

#[test]
fn bytes_in_the_catalog_are_counted_too() {
    let inline = |there: &'static [u8]| FoundExtents {
        extents: vec![Extent::Inline { id: InlineId(1), length: 3 }, Extent::Blob { id: ID, offset: 0, length: 10 }],
        inline: vec![Bytes::from_static(there)],
        ..FoundExtents::default()
    };
    assert_eq!(placed(&inline(b"abc"), &[(ID, blob(10))]), Ok(13));
    assert_eq!(placed(&inline(b"ab"), &[(ID, blob(10))]), Err("3 bytes are to be in the catalog, and 2 are".to_owned()));
}
