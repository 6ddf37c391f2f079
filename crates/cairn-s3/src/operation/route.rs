//! Which operation a request is: by method, by what it names, and by the query's subresource.

use http::{HeaderMap, Method};

use super::unconfigured::Unconfigured;
use crate::auth::authorizer::Action;
use crate::error::{S3Error, S3Result, code};
use crate::http::query::Query;

/// An operation. Named as in AWS's API reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in AWS's API reference")]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketCors,
    PutBucketCors,
    DeleteBucketCors,
    GetPublicAccessBlock,
    PutPublicAccessBlock,
    DeletePublicAccessBlock,
    GetBucketOwnershipControls,
    PutBucketOwnershipControls,
    DeleteBucketOwnershipControls,
    GetBucketTagging,
    PutBucketTagging,
    DeleteBucketTagging,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    ListObjects,
    ListObjectsV2,
    ListObjectVersions,
    ListMultipartUploads,
    DeleteObjects,
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    PostObject,
    GetObjectAttributes,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    /// A question about configuration that no bucket here has.
    Unconfigured(Unconfigured),
    /// An operation of S3 that Cairn does not have (yet), by its name.
    NotImplemented(&'static str),
}

impl Operation {
    /// What has to be allowed. Naming a version is a right of its own.
    #[must_use]
    pub fn action(self, names_version: bool) -> Action {
        match self {
            Self::GetObject | Self::HeadObject | Self::GetObjectAttributes if names_version => Action::GetObjectVersion,
            Self::DeleteObject if names_version => Action::DeleteObjectVersion,
            Self::GetObjectTagging if names_version => Action::GetObjectVersionTagging,
            Self::PutObjectTagging if names_version => Action::PutObjectVersionTagging,
            Self::DeleteObjectTagging if names_version => Action::DeleteObjectVersionTagging,
            Self::GetObjectTagging => Action::GetObjectTagging,
            Self::PutObjectTagging => Action::PutObjectTagging,
            Self::DeleteObjectTagging => Action::DeleteObjectTagging,
            Self::GetBucketTagging => Action::GetBucketTagging,
            Self::PutBucketTagging | Self::DeleteBucketTagging => Action::PutBucketTagging,
            Self::GetBucketCors => Action::GetBucketCors,
            Self::PutBucketCors | Self::DeleteBucketCors => Action::PutBucketCors,
            Self::ListBuckets => Action::ListAllMyBuckets,
            Self::CreateBucket => Action::CreateBucket,
            Self::HeadBucket | Self::ListObjects | Self::ListObjectsV2 => Action::ListBucket,
            Self::DeleteBucket => Action::DeleteBucket,
            Self::GetBucketLocation => Action::GetBucketLocation,
            Self::GetBucketVersioning => Action::GetBucketVersioning,
            Self::PutBucketVersioning => Action::PutBucketVersioning,
            Self::ListObjectVersions => Action::ListBucketVersions,
            Self::ListMultipartUploads => Action::ListBucketMultipartUploads,
            Self::GetObject | Self::HeadObject | Self::GetObjectAttributes => Action::GetObject,
            Self::DeleteObject | Self::DeleteObjects => Action::DeleteObject,
            Self::AbortMultipartUpload => Action::AbortMultipartUpload,
            Self::ListParts => Action::ListMultipartUploadParts,
            Self::PutObject
            | Self::PostObject
            | Self::CopyObject
            | Self::CreateMultipartUpload
            | Self::UploadPart
            | Self::UploadPartCopy
            | Self::CompleteMultipartUpload => Action::PutObject,
            Self::PutPublicAccessBlock
            | Self::DeletePublicAccessBlock
            | Self::PutBucketOwnershipControls
            | Self::DeleteBucketOwnershipControls => Action::PutBucketConfiguration,
            Self::Unconfigured(what) if what.is_change() => Action::PutBucketConfiguration,
            // Who may not read the bucket need not learn what is implemented.
            Self::GetPublicAccessBlock | Self::GetBucketOwnershipControls | Self::Unconfigured(_) | Self::NotImplemented(_) => {
                Action::GetBucketConfiguration
            }
        }
    }

    /// Whether the body is an object's bytes: only then may it be `aws-chunked`.
    #[must_use]
    pub fn takes_object_bytes(self) -> bool {
        matches!(self, Self::PutObject | Self::UploadPart)
    }
}

/// Bucket subresources with no operation here: name, and the operations' names for `GET`, `PUT`, `DELETE`.
const BUCKET_SUBRESOURCES: &[(&str, &str, &str, &str)] = &[
    ("abac", "GetBucketAbac", "PutBucketAbac", "DeleteBucketAbac"),
    ("accelerate", "GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration", "DeleteBucketAccelerateConfiguration"),
    ("acl", "GetBucketAcl", "PutBucketAcl", "DeleteBucketAcl"),
    ("analytics", "GetBucketAnalyticsConfiguration", "PutBucketAnalyticsConfiguration", "DeleteBucketAnalyticsConfiguration"),
    ("cors", "GetBucketCors", "PutBucketCors", "DeleteBucketCors"),
    ("encryption", "GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption"),
    (
        "intelligent-tiering",
        "GetBucketIntelligentTieringConfiguration",
        "PutBucketIntelligentTieringConfiguration",
        "DeleteBucketIntelligentTieringConfiguration",
    ),
    ("inventory", "GetBucketInventoryConfiguration", "PutBucketInventoryConfiguration", "DeleteBucketInventoryConfiguration"),
    ("lifecycle", "GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration", "DeleteBucketLifecycle"),
    ("logging", "GetBucketLogging", "PutBucketLogging", "DeleteBucketLogging"),
    (
        "metadataConfiguration",
        "GetBucketMetadataConfiguration",
        "CreateBucketMetadataConfiguration",
        "DeleteBucketMetadataConfiguration",
    ),
    (
        "metadataTable",
        "GetBucketMetadataTableConfiguration",
        "CreateBucketMetadataTableConfiguration",
        "DeleteBucketMetadataTableConfiguration",
    ),
    ("metrics", "GetBucketMetricsConfiguration", "PutBucketMetricsConfiguration", "DeleteBucketMetricsConfiguration"),
    ("notification", "GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", "DeleteBucketNotification"),
    ("object-lock", "GetObjectLockConfiguration", "PutObjectLockConfiguration", "DeleteObjectLockConfiguration"),
    ("ownershipControls", "GetBucketOwnershipControls", "PutBucketOwnershipControls", "DeleteBucketOwnershipControls"),
    ("policy", "GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"),
    ("policyStatus", "GetBucketPolicyStatus", "PutBucketPolicyStatus", "DeleteBucketPolicyStatus"),
    ("publicAccessBlock", "GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock"),
    ("replication", "GetBucketReplication", "PutBucketReplication", "DeleteBucketReplication"),
    ("requestPayment", "GetBucketRequestPayment", "PutBucketRequestPayment", "DeleteBucketRequestPayment"),
    ("session", "CreateSession", "CreateSession", "CreateSession"),
    ("tagging", "GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging"),
    ("website", "GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite"),
];

/// The like for objects.
const OBJECT_SUBRESOURCES: &[(&str, &str, &str, &str)] = &[
    ("acl", "GetObjectAcl", "PutObjectAcl", "DeleteObjectAcl"),
    ("annotation", "GetObjectAnnotation", "PutObjectAnnotation", "DeleteObjectAnnotation"),
    ("attributes", "GetObjectAttributes", "GetObjectAttributes", "GetObjectAttributes"),
    ("encryption", "UpdateObjectEncryption", "UpdateObjectEncryption", "UpdateObjectEncryption"),
    ("legal-hold", "GetObjectLegalHold", "PutObjectLegalHold", "DeleteObjectLegalHold"),
    ("renameObject", "RenameObject", "RenameObject", "RenameObject"),
    ("retention", "GetObjectRetention", "PutObjectRetention", "DeleteObjectRetention"),
    ("tagging", "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging"),
    ("torrent", "GetObjectTorrent", "PutObjectTorrent", "DeleteObjectTorrent"),
];

/// Finds the operation.
pub fn route(method: &Method, has_bucket: bool, has_key: bool, query: &Query<'_>, headers: &HeaderMap) -> S3Result<Operation> {
    let operation = match (has_bucket, has_key) {
        (false, _) => match *method {
            Method::GET => Some(Operation::ListBuckets),
            _ => None,
        },
        (true, false) => of_bucket(method, query),
        (true, true) => of_object(method, query, headers)?,
    };
    operation.ok_or_else(|| {
        let resource = if has_key {
            "OBJECT"
        } else if has_bucket {
            "BUCKET"
        } else {
            "SERVICE"
        };
        S3Error::new(&code::METHOD_NOT_ALLOWED).field("Method", method.as_str()).field("ResourceType", resource)
    })
}

fn of_bucket(method: &Method, query: &Query<'_>) -> Option<Operation> {
    if let Some(found) = subresource(BUCKET_SUBRESOURCES, method, query, bucket_subresource) {
        return Some(found);
    }
    match *method {
        Method::GET if query.has("location") => Some(Operation::GetBucketLocation),
        Method::GET if query.has("versioning") => Some(Operation::GetBucketVersioning),
        Method::GET if query.has("versions") => Some(Operation::ListObjectVersions),
        Method::GET if query.has("uploads") => Some(Operation::ListMultipartUploads),
        Method::GET if query.get("list-type") == Some("2") => Some(Operation::ListObjectsV2),
        Method::GET => Some(Operation::ListObjects),
        Method::HEAD => Some(Operation::HeadBucket),
        Method::PUT if query.has("versioning") => Some(Operation::PutBucketVersioning),
        Method::PUT => Some(Operation::CreateBucket),
        Method::DELETE => Some(Operation::DeleteBucket),
        Method::POST if query.has("delete") => Some(Operation::DeleteObjects),
        Method::POST => Some(Operation::PostObject),
        _ => None,
    }
}

fn of_object(method: &Method, query: &Query<'_>, headers: &HeaderMap) -> S3Result<Option<Operation>> {
    if let Some(found) = subresource(OBJECT_SUBRESOURCES, method, query, object_subresource) {
        return Ok(Some(found));
    }
    let is_copy = headers.contains_key("x-amz-copy-source");
    let is_upload = query.has("uploadId");
    for (subresource, message) in [
        ("uploads", "Key is not expected for the GET method ?uploads subresource"),
        ("versions", "There is no such thing as the ?versions sub-resource for a key"),
        ("versioning", "There is no such thing as the ?versioning sub-resource for a key"),
    ] {
        if *method == Method::GET && query.has(subresource) {
            return Err(S3Error::invalid_request(message));
        }
    }
    Ok(match *method {
        Method::GET if is_upload => Some(Operation::ListParts),
        Method::GET => Some(Operation::GetObject),
        Method::HEAD => Some(Operation::HeadObject),
        Method::PUT if is_upload && is_copy => Some(Operation::UploadPartCopy),
        Method::PUT if is_upload => Some(Operation::UploadPart),
        Method::PUT if query.has("partNumber") => {
            // A part without its upload would overwrite the object.
            return Err(S3Error::invalid_argument(
                "partNumber",
                "",
                "This operation does not accept partNumber without uploadId",
            ));
        }
        Method::PUT if is_copy => Some(Operation::CopyObject),
        Method::PUT if query.has("append") => Some(Operation::NotImplemented("AppendObject")),
        Method::PUT => Some(Operation::PutObject),
        Method::DELETE if is_upload => Some(Operation::AbortMultipartUpload),
        Method::DELETE => Some(Operation::DeleteObject),
        Method::POST if query.has("uploads") => Some(Operation::CreateMultipartUpload),
        Method::POST if is_upload => Some(Operation::CompleteMultipartUpload),
        Method::POST if query.has("select") => Some(Operation::NotImplemented("SelectObjectContent")),
        Method::POST if query.has("restore") => Some(Operation::NotImplemented("RestoreObject")),
        _ => None,
    })
}

fn bucket_subresource(method: &Method, name: &str) -> Option<Operation> {
    match (method, name) {
        (&Method::GET, "cors") => Some(Operation::GetBucketCors),
        (&Method::PUT, "cors") => Some(Operation::PutBucketCors),
        (&Method::DELETE, "cors") => Some(Operation::DeleteBucketCors),
        (&Method::GET, "publicAccessBlock") => Some(Operation::GetPublicAccessBlock),
        (&Method::PUT, "publicAccessBlock") => Some(Operation::PutPublicAccessBlock),
        (&Method::DELETE, "publicAccessBlock") => Some(Operation::DeletePublicAccessBlock),
        (&Method::GET, "ownershipControls") => Some(Operation::GetBucketOwnershipControls),
        (&Method::PUT, "ownershipControls") => Some(Operation::PutBucketOwnershipControls),
        (&Method::DELETE, "ownershipControls") => Some(Operation::DeleteBucketOwnershipControls),
        (&Method::GET, "tagging") => Some(Operation::GetBucketTagging),
        (&Method::PUT, "tagging") => Some(Operation::PutBucketTagging),
        (&Method::DELETE, "tagging") => Some(Operation::DeleteBucketTagging),
        _ => Unconfigured::of_bucket(method, name).map(Operation::Unconfigured),
    }
}

fn object_subresource(method: &Method, name: &str) -> Option<Operation> {
    match (method, name) {
        (&Method::GET, "attributes") => Some(Operation::GetObjectAttributes),
        (&Method::GET, "tagging") => Some(Operation::GetObjectTagging),
        (&Method::PUT, "tagging") => Some(Operation::PutObjectTagging),
        (&Method::DELETE, "tagging") => Some(Operation::DeleteObjectTagging),
        _ => Unconfigured::of_object(method, name).map(Operation::Unconfigured),
    }
}

fn subresource(
    table: &'static [(&'static str, &'static str, &'static str, &'static str)],
    method: &Method,
    query: &Query<'_>,
    implemented: fn(&Method, &str) -> Option<Operation>,
) -> Option<Operation> {
    query.iter().next()?;
    table.iter().find(|(name, ..)| query.has(name)).map(|(subresource, get, put, delete)| {
        implemented(method, subresource).unwrap_or(Operation::NotImplemented(match *method {
            Method::GET | Method::HEAD => get,
            Method::DELETE => delete,
            _ => put,
        }))
    })
}

#[cfg(test)]
mod tests;
