//! Configuration that no bucket here has. Clients ask for it by default (`terraform`, `mc`, backup tools), and AWS has an answer for
//! buckets on which nothing was configured; where that answer is the truth here as well, it is given. Setting any of it is `NotImplemented`.

use cairn_store::api::{Bucket, GetObject, StoreError};
use http::{Method, StatusCode};

use super::{Call, delete_marker_error};
use crate::error::{Code, S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::writer::XmlWriter;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfigured {
    /// Something that is not there.
    Absent(&'static Code),
    /// Something to be removed that is not there: done.
    AlreadyRemoved,
    /// `GetBucketAcl`, `GetObjectAcl`: the owner has full control, and access lists are disabled.
    Acl,
    /// `GetBucketOwnershipControls`: the bucket's owner owns everything in it.
    OwnershipControls,
    /// `GetBucketRequestPayment`: nobody else pays.
    RequestPayment,
    /// A configuration that is empty; the element's name.
    Empty(&'static str),
    /// `GetObjectRetention`, `GetObjectLegalHold`: a bucket without Object Lock.
    NoObjectLock,
}

impl Unconfigured {
    /// Whether it wants to change something.
    #[must_use]
    pub fn is_change(self) -> bool {
        self == Self::AlreadyRemoved
    }

    /// The answer for a bucket's subresource, if there is a true one.
    pub(super) fn of_bucket(method: &Method, subresource: &str) -> Option<Self> {
        match (method, subresource) {
            (&Method::GET, "acl") => Some(Self::Acl),
            (&Method::GET, "accelerate") => Some(Self::Empty("AccelerateConfiguration")),
            (&Method::GET, "encryption") => Some(Self::Absent(&code::SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND)),
            (&Method::GET, "lifecycle") => Some(Self::Absent(&code::NO_SUCH_LIFECYCLE_CONFIGURATION)),
            (&Method::GET, "logging") => Some(Self::Empty("BucketLoggingStatus")),
            (&Method::GET, "notification") => Some(Self::Empty("NotificationConfiguration")),
            (&Method::GET, "object-lock") => Some(Self::Absent(&code::OBJECT_LOCK_CONFIGURATION_NOT_FOUND)),
            (&Method::GET, "ownershipControls") => Some(Self::OwnershipControls),
            (&Method::GET, "policy" | "policyStatus") => Some(Self::Absent(&code::NO_SUCH_BUCKET_POLICY)),
            (&Method::GET, "publicAccessBlock") => Some(Self::Absent(&code::NO_SUCH_PUBLIC_ACCESS_BLOCK_CONFIGURATION)),
            (&Method::GET, "replication") => Some(Self::Absent(&code::REPLICATION_CONFIGURATION_NOT_FOUND)),
            (&Method::GET, "requestPayment") => Some(Self::RequestPayment),
            (&Method::GET, "website") => Some(Self::Absent(&code::NO_SUCH_WEBSITE_CONFIGURATION)),
            (&Method::DELETE, "encryption" | "lifecycle" | "policy" | "publicAccessBlock" | "replication" | "website") => {
                Some(Self::AlreadyRemoved)
            }
            _ => None,
        }
    }

    /// The like for an object's subresource.
    pub(super) fn of_object(method: &Method, subresource: &str) -> Option<Self> {
        match (method, subresource) {
            (&Method::GET, "acl") => Some(Self::Acl),
            (&Method::GET, "retention" | "legal-hold") => Some(Self::NoObjectLock),
            _ => None,
        }
    }
}

pub(super) async fn run(call: &Call<'_>, bucket: &Bucket, what: Unconfigured) -> S3Result<S3Response> {
    let version = match &call.key {
        // What is said of an object is said of one that exists.
        Some(key) => {
            let version_id = call.version_id()?;
            let request = GetObject { bucket: bucket.id, key: key.clone(), version_id, part_number: None };
            let head = call.store().head_object(request).await.map_err(|error| match error {
                StoreError::IsDeleteMarker { version_id: marker, last_modified_ms } => {
                    delete_marker_error(marker, last_modified_ms, version_id.is_some())
                }
                other => other.into(),
            })?;
            Some(head)
        }
        None => None,
    };
    let mut writer = XmlWriter::new(512);
    match what {
        Unconfigured::Absent(code) => return Err(S3Error::new(code).field("BucketName", call.bucket_name)),
        Unconfigured::AlreadyRemoved => return Ok(response::empty(StatusCode::NO_CONTENT)),
        Unconfigured::NoObjectLock => return Err(S3Error::invalid_request("Bucket is missing Object Lock Configuration")),
        Unconfigured::Acl => {
            writer.open_root("AccessControlPolicy");
            writer.open("Owner");
            writer.value("ID", bucket.owner);
            writer.text("DisplayName", &bucket.owner_name);
            writer.close("Owner");
            writer.open("AccessControlList");
            writer.open("Grant");
            writer.open("Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"");
            writer.value("ID", bucket.owner);
            writer.text("DisplayName", &bucket.owner_name);
            writer.close("Grantee");
            writer.text("Permission", "FULL_CONTROL");
            writer.close("Grant");
            writer.close("AccessControlList");
            writer.close("AccessControlPolicy");
        }
        Unconfigured::OwnershipControls => {
            writer.open_root("OwnershipControls");
            writer.open("Rule");
            writer.text("ObjectOwnership", "BucketOwnerEnforced");
            writer.close("Rule");
            writer.close("OwnershipControls");
        }
        Unconfigured::RequestPayment => {
            writer.open_root("RequestPaymentConfiguration");
            writer.text("Payer", "BucketOwner");
            writer.close("RequestPaymentConfiguration");
        }
        Unconfigured::Empty(name) => {
            writer.open_root(name);
            writer.close(name);
        }
    }
    let mut answer = response::xml(writer);
    if let Some(head) = version {
        super::object_headers::set_version(answer.headers_mut(), head.version_id, head.versioning);
    }
    Ok(answer)
}
