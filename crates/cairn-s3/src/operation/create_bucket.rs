//! `CreateBucket`.

use cairn_store::api::{CreateBucket, StoreError, Tags};
use cairn_types::BucketName;
use http::StatusCode;
use http::header::LOCATION;

use super::tagging::{TagsOf, parse_tag_set};
use super::{Call, head_bucket};
use crate::auth::authorizer::Action;
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::reader;

/// Where `CreateBucket` behaves as it did before there were others.
const OLDEST_REGION: &str = "us-east-1";

pub(super) async fn run(call: &mut Call<'_>) -> S3Result<S3Response> {
    call.require(Action::CreateBucket, None, None)?;
    let Some(owner) = call.access_key().map(|key| key.account) else { return Err(S3Error::new(&code::ACCESS_DENIED)) };
    let invalid = || S3Error::new(&code::INVALID_BUCKET_NAME).field("BucketName", call.bucket_name);
    let name: BucketName = call.bucket_name.parse().map_err(|_| invalid())?;
    let document = call.document(call.limits().xml_bytes_max).await?;
    let NewBucket { location, tags } = parse_configuration(&document)?;
    if let Some(location) = location
        && location != call.shared.config.region
        && !(location == "EU" && call.shared.config.region == "eu-west-1")
    {
        // The oldest region knows every place; the others know themselves (AWS, "CreateBucket").
        if call.shared.config.region != OLDEST_REGION {
            let message = format!(
                "The {location} location constraint is incompatible for the region specific endpoint this request was sent to."
            );
            return Err(S3Error::with_message(&code::ILLEGAL_LOCATION_CONSTRAINT, message));
        }
        return Err(S3Error::new(&code::INVALID_LOCATION_CONSTRAINT).field("LocationConstraint", location));
    }
    let has_tags = !tags.is_empty();
    let request = CreateBucket { tenant: call.tenant(), name, owner, tags };
    match call.store().create_bucket(request).await {
        Ok(_) => {}
        // "If you re-create an existing bucket that you already own in us-east-1, Amazon S3 returns 200 OK" (AWS, "CreateBucket", errors).
        // Not where it would be told that it has tags now which nobody set.
        Err(StoreError::BucketExists { owner: other })
            if other == owner && !has_tags && call.shared.config.region == OLDEST_REGION => {}
        Err(StoreError::BucketExists { owner: other }) => {
            let code = if other == owner { &code::BUCKET_ALREADY_OWNED_BY_YOU } else { &code::BUCKET_ALREADY_EXISTS };
            return Err(S3Error::new(code).field("BucketName", call.bucket_name));
        }
        Err(error) => return Err(error.into()),
    }
    let mut response = response::empty(StatusCode::OK);
    response::set(response.headers_mut(), LOCATION, format!("/{}", call.bucket_name));
    head_bucket::set_bucket(call, response.headers_mut());
    Ok(response)
}

/// What a `CreateBucketConfiguration` asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NewBucket {
    /// Where it shall be; `None` where no place is named.
    pub location: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// Reads a `CreateBucketConfiguration`, which need not be there.
pub fn parse_configuration(document: &[u8]) -> S3Result<NewBucket> {
    if document.is_empty() {
        return Ok(NewBucket::default());
    }
    let root = reader::parse(document, "CreateBucketConfiguration")?;
    for child in &root.children {
        match child.name.as_str() {
            "LocationConstraint" | "Tags" => {}
            other => return Err(S3Error::not_implemented(format!("{other} of CreateBucketConfiguration"))),
        }
    }
    let location = root.child_text("LocationConstraint").filter(|text| !text.is_empty()).map(str::to_owned);
    let tags = root.child("Tags").map(|set| parse_tag_set(set, TagsOf::NewBucket)).transpose()?.unwrap_or_default();
    Ok(NewBucket { location, tags })
}
