//! `CreateBucket`.

use cairn_store::api::{CreateBucket, StoreError};
use cairn_types::BucketName;
use http::StatusCode;
use http::header::{HeaderName, LOCATION};

use super::Call;
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
    if let Some(location) = parse_location_constraint(&document)?
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
    let request = CreateBucket { tenant: call.tenant(), name, owner };
    match call.store().create_bucket(request).await {
        Ok(_) => {}
        // "If you re-create an existing bucket that you already own in us-east-1, Amazon S3 returns 200 OK" (AWS, "CreateBucket", errors).
        Err(StoreError::BucketExists { owner: other }) if other == owner && call.shared.config.region == OLDEST_REGION => {}
        Err(StoreError::BucketExists { owner: other }) => {
            let code = if other == owner { &code::BUCKET_ALREADY_OWNED_BY_YOU } else { &code::BUCKET_ALREADY_EXISTS };
            return Err(S3Error::new(code).field("BucketName", call.bucket_name));
        }
        Err(error) => return Err(error.into()),
    }
    let mut response = response::empty(StatusCode::OK);
    response::set(response.headers_mut(), LOCATION, format!("/{}", call.bucket_name));
    response::set(response.headers_mut(), HeaderName::from_static("x-amz-bucket-region"), call.shared.config.region.clone());
    Ok(response)
}

/// Reads a `CreateBucketConfiguration`; `None` where it is not there, or names no place.
pub fn parse_location_constraint(document: &[u8]) -> S3Result<Option<String>> {
    if document.is_empty() {
        return Ok(None);
    }
    let root = reader::parse(document, "CreateBucketConfiguration")?;
    for child in &root.children {
        match child.name.as_str() {
            "LocationConstraint" => {}
            "Tags" if child.children.is_empty() => {}
            other => return Err(S3Error::not_implemented(format!("{other} of CreateBucketConfiguration"))),
        }
    }
    Ok(root.child_text("LocationConstraint").filter(|text| !text.is_empty()).map(str::to_owned))
}
