//! `ListBuckets`: the buckets that the key may see.

use std::sync::Arc;

use cairn_store::api::{Bucket, ListBuckets};

use super::Call;
use crate::auth::authorizer::Action;
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::text::{base64, date};
use crate::xml::writer::XmlWriter;

/// The most buckets that AWS lists at once.
const BUCKETS_MAX: u32 = 10_000;
/// Buckets asked of the store at once: most may be others'.
const PAGE: u32 = 1000;

pub(super) async fn run(call: &Call<'_>) -> S3Result<S3Response> {
    call.require(Action::ListAllMyBuckets, None, None)?;
    let Some(key) = call.access_key() else { return Err(S3Error::new(&code::ACCESS_DENIED)) };
    let limit = match call.query.get_filled("max-buckets") {
        None => BUCKETS_MAX,
        Some(text) => text.parse().ok().filter(|limit| (1..=BUCKETS_MAX).contains(limit)).ok_or_else(|| {
            S3Error::invalid_argument("max-buckets", text, "Argument max-buckets must be an integer between 1 and 10000.")
        })?,
    };
    let prefix = call.query.get("prefix").unwrap_or_default();
    let mut after = match call.query.get_filled("continuation-token") {
        None => None,
        Some(token) => Some(parse_token(token)?),
    };
    let is_wanted_region = call.query.get_filled("bucket-region").is_none_or(|region| region == call.shared.config.region);
    let mut shown: Vec<Arc<Bucket>> = Vec::new();
    let mut is_truncated = false;
    while is_wanted_region && !is_truncated {
        let request = ListBuckets { tenant: key.tenant, prefix: prefix.to_owned(), after: after.take(), limit: PAGE };
        let page = call.store().list_buckets(request).await?;
        after = page.entries.last().map(|bucket| bucket.name.to_string());
        for bucket in page.entries {
            if !call.is_allowed(Action::ListBucket, Some(&bucket), None) {
                continue;
            }
            if shown.len() == limit as usize {
                is_truncated = true;
                break;
            }
            shown.push(bucket);
        }
        if !page.is_truncated {
            break;
        }
    }
    // "If the request contains at least one valid parameter, it is included in the response" (AWS, "Bucket").
    let tells_region = ["bucket-region", "continuation-token", "max-buckets", "prefix"].iter().any(|name| call.query.has(name));
    let mut writer = XmlWriter::new(256 + shown.len() * 128);
    writer.open_root("ListAllMyBucketsResult");
    writer.open("Owner");
    writer.value("ID", key.account);
    writer.text("DisplayName", &key.account_name);
    writer.close("Owner");
    writer.open("Buckets");
    for bucket in &shown {
        writer.open("Bucket");
        writer.text("Name", bucket.name.as_str());
        writer.bytes("CreationDate", &date::iso8601(bucket.created_ms));
        if tells_region {
            writer.text("BucketRegion", &call.shared.config.region);
        }
        writer.close("Bucket");
    }
    writer.close("Buckets");
    if is_truncated && let Some(last) = shown.last() {
        writer.text("ContinuationToken", &base64::encode(last.name.as_str().as_bytes()));
    }
    if !prefix.is_empty() {
        writer.text("Prefix", prefix);
    }
    writer.close("ListAllMyBucketsResult");
    Ok(response::xml(writer))
}

fn parse_token(token: &str) -> S3Result<String> {
    base64::decode(token.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| S3Error::invalid_argument("continuation-token", token, "The continuation token provided is incorrect"))
}
