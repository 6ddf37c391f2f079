//! `GetPublicAccessBlock`, `GetBucketOwnershipControls` and what sets and deletes them.
//!
//! Nothing is ever public here, and everything belongs to its bucket's owner, whatever these say: what would make it otherwise (access
//! lists, policies) is refused. They are kept because tools that manage buckets read what they wrote, and wait until what they deleted is
//! gone.

use cairn_store::api::{Bucket, PublicAccessBlock};
use http::StatusCode;

use super::Call;
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::reader::{self, Element};
use crate::xml::writer::XmlWriter;

// -- public access --------------------------------------------------------------------------------------------------------------

pub(super) fn get_block(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let Some(block) = &bucket.public_access_block else {
        return Err(S3Error::new(&code::NO_SUCH_PUBLIC_ACCESS_BLOCK_CONFIGURATION).field("BucketName", call.bucket_name));
    };
    let mut writer = XmlWriter::new(384);
    writer.open_root("PublicAccessBlockConfiguration");
    writer.value("BlockPublicAcls", block.block_public_acls);
    writer.value("IgnorePublicAcls", block.ignore_public_acls);
    writer.value("BlockPublicPolicy", block.block_public_policy);
    writer.value("RestrictPublicBuckets", block.restrict_public_buckets);
    writer.close("PublicAccessBlockConfiguration");
    Ok(response::xml(writer))
}

pub(super) async fn put_block(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let document = call.document(call.limits().xml_bytes_max).await?;
    let block = parse_public_access_block(&document)?;
    call.store().set_public_access_block(bucket.id, Some(block)).await?;
    Ok(response::empty(StatusCode::OK))
}

pub(super) async fn delete_block(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    call.store().set_public_access_block(bucket.id, None).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// Reads a `PublicAccessBlockConfiguration`; what it does not speak of is not blocked.
pub fn parse_public_access_block(document: &[u8]) -> S3Result<PublicAccessBlock> {
    let root = reader::parse(document, "PublicAccessBlockConfiguration")?;
    if root.children.is_empty() {
        return Err(S3Error::invalid_request("Must specify at least one configuration."));
    }
    let is_set = |name: &str| is_true(&root, name);
    Ok(PublicAccessBlock {
        block_public_acls: is_set("BlockPublicAcls")?,
        ignore_public_acls: is_set("IgnorePublicAcls")?,
        block_public_policy: is_set("BlockPublicPolicy")?,
        restrict_public_buckets: is_set("RestrictPublicBuckets")?,
    })
}

fn is_true(root: &Element, name: &str) -> S3Result<bool> {
    match root.child_text(name) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(reader::malformed()),
    }
}

// -- ownership ------------------------------------------------------------------------------------------------------------------

/// What always holds.
const ENFORCED: &str = "BucketOwnerEnforced";

pub(super) fn get_controls(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    if !bucket.has_ownership_controls {
        return Err(S3Error::new(&code::OWNERSHIP_CONTROLS_NOT_FOUND).field("BucketName", call.bucket_name));
    }
    let mut writer = XmlWriter::new(256);
    writer.open_root("OwnershipControls");
    writer.open("Rule");
    writer.text("ObjectOwnership", ENFORCED);
    writer.close("Rule");
    writer.close("OwnershipControls");
    Ok(response::xml(writer))
}

pub(super) async fn put_controls(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let document = call.document(call.limits().xml_bytes_max).await?;
    let root = reader::parse(&document, "OwnershipControls")?;
    let rules: Vec<_> = root.children_named("Rule").map(|rule| rule.child_text("ObjectOwnership")).collect();
    match rules.as_slice() {
        [Some(ENFORCED)] => {}
        [Some(other @ ("BucketOwnerPreferred" | "ObjectWriter"))] => {
            return Err(S3Error::not_implemented(format!("PutBucketOwnershipControls with {other}")));
        }
        _ => return Err(reader::malformed()),
    }
    call.store().set_ownership_controls(bucket.id, true).await?;
    Ok(response::empty(StatusCode::OK))
}

pub(super) async fn delete_controls(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    call.store().set_ownership_controls(bucket.id, false).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}
