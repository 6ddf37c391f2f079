//! Configuration that no bucket here has. Clients ask for it by default (`terraform`, `mc`, backup tools), and AWS has an answer for
//! buckets on which nothing was configured; where that answer is the truth here as well, it is given. Setting any of it to something else is `NotImplemented`.

use cairn_store::api::{Bucket, GetObject, StoreError};
use http::{Method, StatusCode};

use super::{Call, delete_marker_error};
use crate::error::{Code, S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::reader;
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
    /// Configurations with names, of which there are none; the element's name for the list of them.
    NoneNamed(&'static str),
    /// A configuration to be set to what always holds here: done. To anything else: not implemented.
    Settle(Settled),
    /// `GetObjectRetention`, `GetObjectLegalHold`: a bucket without Object Lock.
    NoObjectLock,
}

/// What always holds, and may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// `PutBucketAcl`: the owner has full control, and nobody else anything.
    Acl,
    /// `PutBucketOwnershipControls`: the bucket's owner owns everything in it.
    OwnershipControls,
    /// `PutBucketRequestPayment`: the owner pays.
    RequestPayment,
}

impl Unconfigured {
    /// Whether it wants to change something.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::AlreadyRemoved | Self::Settle(_))
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
            (&Method::GET, "analytics") => Some(Self::NoneNamed("ListBucketAnalyticsConfigurationResult")),
            (&Method::GET, "intelligent-tiering") => Some(Self::NoneNamed("ListBucketIntelligentTieringConfigurationsOutput")),
            (&Method::GET, "inventory") => Some(Self::NoneNamed("ListInventoryConfigurationsResult")),
            (&Method::GET, "metrics") => Some(Self::NoneNamed("ListMetricsConfigurationsResult")),
            (&Method::PUT, "acl") => Some(Self::Settle(Settled::Acl)),
            (&Method::PUT, "ownershipControls") => Some(Self::Settle(Settled::OwnershipControls)),
            (&Method::PUT, "requestPayment") => Some(Self::Settle(Settled::RequestPayment)),
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

pub(super) async fn run(call: &mut Call<'_>, bucket: &Bucket, what: Unconfigured) -> S3Result<S3Response> {
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
        Unconfigured::NoneNamed(_) if call.query.has("id") => {
            return Err(S3Error::new(&code::NO_SUCH_CONFIGURATION).field("BucketName", call.bucket_name));
        }
        Unconfigured::Settle(what) => return settle(call, what).await,
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
        Unconfigured::NoneNamed(name) => {
            writer.open_root(name);
            writer.value("IsTruncated", false);
            writer.close(name);
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

/// Answers success only where what is asked for is what holds already.
async fn settle(call: &mut Call<'_>, what: Settled) -> S3Result<S3Response> {
    let (operation, holds) = match what {
        // Whatever else the header may say was refused before.
        Settled::Acl => ("PutBucketAcl", call.header("x-amz-acl").is_some() && call.body_length()? == Some(0)),
        Settled::OwnershipControls => {
            let document = call.document(call.limits().xml_bytes_max).await?;
            let root = reader::parse(&document, "OwnershipControls")?;
            let mut rules = root.children_named("Rule").map(|rule| rule.child_text("ObjectOwnership"));
            let holds = rules.next() == Some(Some("BucketOwnerEnforced")) && rules.next().is_none();
            ("PutBucketOwnershipControls", holds)
        }
        Settled::RequestPayment => {
            let document = call.document(call.limits().xml_bytes_max).await?;
            let root = reader::parse(&document, "RequestPaymentConfiguration")?;
            ("PutBucketRequestPayment", root.child_text("Payer") == Some("BucketOwner"))
        }
    };
    if holds { Ok(response::empty(StatusCode::OK)) } else { Err(S3Error::not_implemented(operation)) }
}
