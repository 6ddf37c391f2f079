//! Configuration that no bucket here has. Clients ask for it by default (`terraform`, `mc`, backup tools), and AWS has an answer for
//! buckets on which nothing was configured; where that answer is the truth here as well, it is given. Setting any of it to something else is `NotImplemented`.

use cairn_store::api::{Bucket, GetObject, StoreError, Versioning};
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
    /// `GetBucketAbac`: tags give nobody a right.
    Abac,
    /// `GetBucketRequestPayment`: nobody else pays.
    RequestPayment,
    /// A configuration that is empty; the element's name.
    Empty(&'static str),
    /// Configurations with names, of which there are none; the element's name for the list of them.
    NoneNamed(&'static str),
    /// One of them is to be removed.
    NotNamed,
    /// A configuration to be set to what always holds here: done. To anything else: not implemented.
    Settle(Settled),
    /// `GetObjectRetention`, `PutObjectLegalHold` and the like: a bucket without Object Lock.
    NoObjectLock {
        /// Whether it is to be set.
        is_change: bool,
    },
    /// `PutObjectLockConfiguration`: of a bucket that keeps no versions.
    LockBucket,
}

/// What always holds, and may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// `PutBucketAcl`, `PutObjectAcl`: the owner has full control, and nobody else anything.
    Acl,
    /// `PutBucketAbac`: tags give nobody a right.
    Abac,
    /// `PutBucketLogging`: requests are not logged into buckets.
    Logging,
    /// `PutBucketNotificationConfiguration`: nobody is told of anything.
    Notification,
    /// `PutBucketRequestPayment`: the owner pays.
    RequestPayment,
}

impl Unconfigured {
    /// Whether it wants to change something.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(
            self,
            Self::AlreadyRemoved | Self::NotNamed | Self::Settle(_) | Self::NoObjectLock { is_change: true } | Self::LockBucket
        )
    }

    /// The answer for a bucket's subresource, if there is a true one.
    pub(super) fn of_bucket(method: &Method, subresource: &str) -> Option<Self> {
        match (method, subresource) {
            (&Method::GET, "abac") => Some(Self::Abac),
            (&Method::GET, "acl") => Some(Self::Acl),
            (&Method::GET, "accelerate") => Some(Self::Empty("AccelerateConfiguration")),
            (&Method::GET, "encryption") => Some(Self::Absent(&code::SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND)),
            (&Method::GET, "lifecycle") => Some(Self::Absent(&code::NO_SUCH_LIFECYCLE_CONFIGURATION)),
            (&Method::GET, "logging") => Some(Self::Empty("BucketLoggingStatus")),
            (&Method::GET, "metadataConfiguration" | "metadataTable") => {
                Some(Self::Absent(&code::METADATA_CONFIGURATION_NOT_FOUND))
            }
            (&Method::GET, "notification") => Some(Self::Empty("NotificationConfiguration")),
            (&Method::GET, "object-lock") => Some(Self::Absent(&code::OBJECT_LOCK_CONFIGURATION_NOT_FOUND)),
            (&Method::GET, "policy" | "policyStatus") => Some(Self::Absent(&code::NO_SUCH_BUCKET_POLICY)),
            (&Method::GET, "replication") => Some(Self::Absent(&code::REPLICATION_CONFIGURATION_NOT_FOUND)),
            (&Method::GET, "requestPayment") => Some(Self::RequestPayment),
            (&Method::GET, "analytics") => Some(Self::NoneNamed("ListBucketAnalyticsConfigurationResult")),
            (&Method::GET, "intelligent-tiering") => Some(Self::NoneNamed("ListBucketIntelligentTieringConfigurationsOutput")),
            (&Method::GET, "inventory") => Some(Self::NoneNamed("ListInventoryConfigurationsResult")),
            (&Method::GET, "metrics") => Some(Self::NoneNamed("ListMetricsConfigurationsResult")),
            (&Method::PUT, "acl") => Some(Self::Settle(Settled::Acl)),
            (&Method::PUT, "abac") => Some(Self::Settle(Settled::Abac)),
            (&Method::PUT, "logging") => Some(Self::Settle(Settled::Logging)),
            (&Method::PUT, "notification") => Some(Self::Settle(Settled::Notification)),
            (&Method::PUT, "object-lock") => Some(Self::LockBucket),
            (&Method::PUT, "requestPayment") => Some(Self::Settle(Settled::RequestPayment)),
            (&Method::GET, "website") => Some(Self::Absent(&code::NO_SUCH_WEBSITE_CONFIGURATION)),
            (&Method::DELETE, "analytics" | "intelligent-tiering" | "inventory" | "metrics") => Some(Self::NotNamed),
            (&Method::DELETE, "encryption" | "lifecycle" | "policy" | "replication" | "website") => Some(Self::AlreadyRemoved),
            _ => None,
        }
    }

    /// The like for an object's subresource.
    pub(super) fn of_object(method: &Method, subresource: &str) -> Option<Self> {
        match (method, subresource) {
            (&Method::GET, "acl") => Some(Self::Acl),
            (&Method::PUT, "acl") => Some(Self::Settle(Settled::Acl)),
            (&Method::GET, "retention" | "legal-hold") => Some(Self::NoObjectLock { is_change: false }),
            (&Method::PUT, "retention" | "legal-hold") => Some(Self::NoObjectLock { is_change: true }),
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
                    delete_marker_error(marker, last_modified_ms, version_id.is_some() || what.is_change())
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
        Unconfigured::NoneNamed(_) if call.query.has("id") => return Err(S3Error::new(&code::NO_SUCH_CONFIGURATION)),
        Unconfigured::NotNamed => return Err(S3Error::new(&code::NO_SUCH_CONFIGURATION)),
        Unconfigured::Settle(what) => return settle(call, bucket, what).await,
        Unconfigured::LockBucket => return Err(lock_refused(bucket)),
        Unconfigured::NoObjectLock { .. } => return Err(S3Error::invalid_request("Bucket is missing Object Lock Configuration")),
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
        Unconfigured::Abac => {
            writer.open_root("AbacStatus");
            writer.text("Status", "Disabled");
            writer.close("AbacStatus");
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

/// Why a bucket cannot be locked: because it keeps no versions (AWS), or because no bucket here can.
fn lock_refused(bucket: &Bucket) -> S3Error {
    if bucket.versioning == Versioning::Enabled {
        return S3Error::not_implemented("PutObjectLockConfiguration");
    }
    S3Error::with_message(
        &code::INVALID_BUCKET_STATE,
        "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
    )
}

/// Answers success only where what is asked for is what holds already.
async fn settle(call: &mut Call<'_>, bucket: &Bucket, what: Settled) -> S3Result<S3Response> {
    if what == Settled::Acl {
        return settle_acl(call, bucket).await;
    }
    let document = call.document(call.limits().xml_bytes_max).await?;
    let (operation, holds) = match what {
        Settled::Acl => ("PutBucketAcl", false),
        Settled::Abac => {
            let root = reader::parse(&document, "AbacStatus")?;
            match root.child_text("Status") {
                Some("Disabled") => ("PutBucketAbac", true),
                Some("Enabled") => ("PutBucketAbac", false),
                _ => return Err(reader::malformed()),
            }
        }
        // Empty, it says that there shall be none (AWS).
        Settled::Logging => ("PutBucketLogging", reader::parse(&document, "BucketLoggingStatus")?.children.is_empty()),
        Settled::Notification => {
            ("PutBucketNotificationConfiguration", reader::parse(&document, "NotificationConfiguration")?.children.is_empty())
        }
        Settled::RequestPayment => {
            let root = reader::parse(&document, "RequestPaymentConfiguration")?;
            match root.child_text("Payer") {
                Some("BucketOwner") => ("PutBucketRequestPayment", true),
                Some("Requester") => ("PutBucketRequestPayment", false),
                _ => return Err(reader::malformed()),
            }
        }
    };
    if holds { Ok(response::empty(StatusCode::OK)) } else { Err(S3Error::not_implemented(operation)) }
}

/// `PutBucketAcl`, `PutObjectAcl`: a canned list that gives nobody else anything, or the same as a document. (Headers that say anything
/// else were refused before.)
async fn settle_acl(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let is_canned = call.header("x-amz-acl").is_some();
    let document = call.document(call.limits().xml_bytes_max).await?;
    match (is_canned, document.is_empty()) {
        (true, true) => {}
        (true, false) => return Err(S3Error::new(&code::UNEXPECTED_CONTENT)),
        (false, true) => return Err(S3Error::new(&code::MISSING_SECURITY_HEADER).field("MissingHeaderName", "x-amz-acl")),
        (false, false) => {
            let malformed = || S3Error::new(&code::MALFORMED_ACL);
            let root = reader::parse(&document, "AccessControlPolicy").map_err(|_| malformed())?;
            let list = root.child("AccessControlList").filter(|_| root.child("Owner").is_some()).ok_or_else(malformed)?;
            let owner = bucket.owner.to_string();
            for grant in list.children_named("Grant") {
                let (grantee, permission) = (grant.child("Grantee"), grant.child_text("Permission"));
                let (Some(grantee), Some(permission)) = (grantee, permission) else { return Err(malformed()) };
                if permission != "FULL_CONTROL" || grantee.child_text("ID") != Some(owner.as_str()) {
                    return Err(S3Error::new(&code::ACCESS_CONTROL_LIST_NOT_SUPPORTED));
                }
            }
        }
    }
    Ok(response::empty(StatusCode::OK))
}
