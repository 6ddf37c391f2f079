//! Errors as S3 clients know them: code, status, message, and the fields that some of them carry.
//!
//! Codes, statuses and messages follow AWS ("Error responses", S3 API reference) and, where that page is silent, what AWS was observed to
//! answer. No secret and nothing computed from one gets into an error (invariant 7): a string to sign holds none.

use std::borrow::Cow;
use std::fmt;

use cairn_store::api::StoreError;
use cairn_types::VersionId;
use http::StatusCode;

/// What an operation gives.
pub type S3Result<T> = Result<T, S3Error>;

/// An error code with its status and usual message.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// As clients match on it.
    pub name: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// The message where nothing more is known.
    pub message: &'static str,
}

macro_rules! codes {
    ($($(#[$attribute:meta])* $constant:ident = $name:literal, $status:ident, $message:literal;)*) => {
        /// The error codes that Cairn answers with.
        #[allow(missing_docs, reason = "name, status and message say all")]
        pub mod code {
            use super::{Code, StatusCode};
            $($(#[$attribute])* pub static $constant: Code = Code { name: $name, status: StatusCode::$status, message: $message };)*
        }
    };
}

codes! {
    ACCESS_DENIED = "AccessDenied", FORBIDDEN, "Access Denied";
    ACCESS_FORBIDDEN = "AccessForbidden", FORBIDDEN, "Access Forbidden";
    AUTHORIZATION_HEADER_MALFORMED = "AuthorizationHeaderMalformed", BAD_REQUEST, "The authorization header you provided is not valid.";
    AUTHORIZATION_QUERY_PARAMETERS_ERROR = "AuthorizationQueryParametersError", BAD_REQUEST,
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
    BAD_DIGEST = "BadDigest", BAD_REQUEST, "The Content-MD5 you specified did not match what we received.";
    BAD_REQUEST = "BadRequest", BAD_REQUEST, "An error occurred when parsing the HTTP request.";
    BUCKET_ALREADY_EXISTS = "BucketAlreadyExists", CONFLICT,
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.";
    BUCKET_ALREADY_OWNED_BY_YOU = "BucketAlreadyOwnedByYou", CONFLICT,
        "Your previous request to create the named bucket succeeded and you already own it.";
    BUCKET_NOT_EMPTY = "BucketNotEmpty", CONFLICT, "The bucket you tried to delete is not empty";
    CONDITIONAL_REQUEST_CONFLICT = "ConditionalRequestConflict", CONFLICT,
        "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    ENTITY_TOO_LARGE = "EntityTooLarge", BAD_REQUEST, "Your proposed upload exceeds the maximum allowed size";
    ENTITY_TOO_SMALL = "EntityTooSmall", BAD_REQUEST, "Your proposed upload is smaller than the minimum allowed size";
    INCOMPLETE_BODY = "IncompleteBody", BAD_REQUEST, "You did not provide the number of bytes specified by the Content-Length HTTP header";
    INTERNAL_ERROR = "InternalError", INTERNAL_SERVER_ERROR, "We encountered an internal error. Please try again.";
    INCORRECT_NUMBER_OF_FILES_IN_POST_REQUEST = "IncorrectNumberOfFilesInPostRequest", BAD_REQUEST, "POST requires exactly one file upload per request.";
    INVALID_ACCESS_KEY_ID = "InvalidAccessKeyId", FORBIDDEN, "The AWS Access Key Id you provided does not exist in our records.";
    ACCESS_CONTROL_LIST_NOT_SUPPORTED = "AccessControlListNotSupported", BAD_REQUEST, "The bucket does not allow ACLs";
    ILLEGAL_LOCATION_CONSTRAINT = "IllegalLocationConstraintException", BAD_REQUEST,
        "The location constraint is incompatible for the region specific endpoint this request was sent to.";
    ILLEGAL_VERSIONING_CONFIGURATION = "IllegalVersioningConfigurationException", BAD_REQUEST, "The Versioning element must be specified";
    INVALID_BUCKET_ACL_WITH_OBJECT_OWNERSHIP = "InvalidBucketAclWithObjectOwnership", BAD_REQUEST,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
    INVALID_STORAGE_CLASS = "InvalidStorageClass", BAD_REQUEST, "The storage class you specified is not valid";
    MALFORMED_ACL = "MalformedACLError", BAD_REQUEST, "The XML you provided was not well-formed or did not validate against our published schema";
    INVALID_ARGUMENT = "InvalidArgument", BAD_REQUEST, "Invalid Argument";
    INVALID_BUCKET_STATE = "InvalidBucketState", CONFLICT, "The request is not valid for the current state of the bucket.";
    INVALID_BUCKET_NAME = "InvalidBucketName", BAD_REQUEST, "The specified bucket is not valid.";
    INVALID_CHUNK_SIZE = "InvalidChunkSizeError", BAD_REQUEST, "Only the last chunk is allowed to have a size less than 8192 bytes";
    INVALID_DIGEST = "InvalidDigest", BAD_REQUEST, "The Content-MD5 you specified was invalid.";
    INVALID_LOCATION_CONSTRAINT = "InvalidLocationConstraint", BAD_REQUEST, "The specified location-constraint is not valid";
    INVALID_PART = "InvalidPart", BAD_REQUEST,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    INVALID_PART_NUMBER = "InvalidPartNumber", RANGE_NOT_SATISFIABLE, "The requested partnumber is not satisfiable";
    INVALID_PART_ORDER = "InvalidPartOrder", BAD_REQUEST,
        "The list of parts was not in ascending order. Parts must be ordered by part number.";
    INVALID_POLICY_DOCUMENT = "InvalidPolicyDocument", BAD_REQUEST,
        "The content of the form does not meet the conditions specified in the policy document.";
    INVALID_RANGE = "InvalidRange", RANGE_NOT_SATISFIABLE, "The requested range is not satisfiable";
    INVALID_REDIRECT_LOCATION = "InvalidRedirectLocation", BAD_REQUEST, "The website redirect location is not valid.";
    INVALID_REQUEST = "InvalidRequest", BAD_REQUEST, "Invalid Request";
    INVALID_TAG = "InvalidTag", BAD_REQUEST, "The tag provided was not a valid tag. This error can occur if the tag did not pass input validation.";
    INVALID_TOKEN = "InvalidToken", BAD_REQUEST, "The provided token is malformed or otherwise invalid.";
    INVALID_URI = "InvalidURI", BAD_REQUEST, "Couldn't parse the specified URI.";
    KEY_TOO_LONG = "KeyTooLongError", BAD_REQUEST, "Your key is too long";
    MALFORMED_POST_REQUEST = "MalformedPOSTRequest", BAD_REQUEST, "The body of your POST request is not well-formed multipart/form-data.";
    MALFORMED_TRAILER = "MalformedTrailerError", BAD_REQUEST,
        "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MALFORMED_XML = "MalformedXML", BAD_REQUEST, "The XML you provided was not well-formed or did not validate against our published schema";
    MAX_MESSAGE_LENGTH_EXCEEDED = "MaxMessageLengthExceeded", BAD_REQUEST, "Your request was too big.";
    MAX_POST_PRE_DATA_LENGTH_EXCEEDED = "MaxPostPreDataLengthExceeded", BAD_REQUEST,
        "Your POST request fields preceding the upload file were too large.";
    METADATA_CONFIGURATION_NOT_FOUND = "MetadataConfigurationNotFound", NOT_FOUND, "The metadata configuration was not found";
    METADATA_TOO_LARGE = "MetadataTooLarge", BAD_REQUEST, "Your metadata headers exceed the maximum allowed metadata size";
    METHOD_NOT_ALLOWED = "MethodNotAllowed", METHOD_NOT_ALLOWED, "The specified method is not allowed against this resource.";
    MISSING_CONTENT_LENGTH = "MissingContentLength", LENGTH_REQUIRED, "You must provide the Content-Length HTTP header.";
    MISSING_REQUEST_BODY = "MissingRequestBodyError", BAD_REQUEST, "Request body is empty.";
    MISSING_SECURITY_HEADER = "MissingSecurityHeader", BAD_REQUEST, "Your request was missing a required header";
    NO_SUCH_BUCKET = "NoSuchBucket", NOT_FOUND, "The specified bucket does not exist";
    NO_SUCH_BUCKET_POLICY = "NoSuchBucketPolicy", NOT_FOUND, "The bucket policy does not exist";
    NO_SUCH_CONFIGURATION = "NoSuchConfiguration", NOT_FOUND, "The specified configuration does not exist.";
    NO_SUCH_CORS_CONFIGURATION = "NoSuchCORSConfiguration", NOT_FOUND, "The CORS configuration does not exist";
    NO_SUCH_KEY = "NoSuchKey", NOT_FOUND, "The specified key does not exist.";
    NO_SUCH_LIFECYCLE_CONFIGURATION = "NoSuchLifecycleConfiguration", NOT_FOUND, "The lifecycle configuration does not exist";
    NO_SUCH_PUBLIC_ACCESS_BLOCK_CONFIGURATION = "NoSuchPublicAccessBlockConfiguration", NOT_FOUND, "The public access block configuration was not found";
    NO_SUCH_TAG_SET = "NoSuchTagSet", NOT_FOUND, "The TagSet does not exist";
    NO_SUCH_UPLOAD = "NoSuchUpload", NOT_FOUND,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NO_SUCH_VERSION = "NoSuchVersion", NOT_FOUND, "The specified version does not exist.";
    NO_SUCH_WEBSITE_CONFIGURATION = "NoSuchWebsiteConfiguration", NOT_FOUND, "The specified bucket does not have a website configuration";
    NOT_IMPLEMENTED = "NotImplemented", NOT_IMPLEMENTED, "A header you provided implies functionality that is not implemented";
    NOT_MODIFIED = "NotModified", NOT_MODIFIED, "Not Modified";
    OBJECT_LOCK_CONFIGURATION_NOT_FOUND = "ObjectLockConfigurationNotFoundError", NOT_FOUND,
        "Object Lock configuration does not exist for this bucket";
    OPERATION_ABORTED = "OperationAborted", CONFLICT,
        "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    OWNERSHIP_CONTROLS_NOT_FOUND = "OwnershipControlsNotFoundError", NOT_FOUND, "The bucket ownership controls were not found";
    PRECONDITION_FAILED = "PreconditionFailed", PRECONDITION_FAILED, "At least one of the pre-conditions you specified did not hold";
    QUOTA_EXCEEDED = "QuotaExceeded", FORBIDDEN, "The quota of this bucket or tenant is used up.";
    REPLICATION_CONFIGURATION_NOT_FOUND = "ReplicationConfigurationNotFoundError", NOT_FOUND, "The replication configuration was not found";
    REQUEST_HEADER_SECTION_TOO_LARGE = "RequestHeaderSectionTooLarge", BAD_REQUEST,
        "Your request header section exceeds the maximum allowed size.";
    REQUEST_TIME_TOO_SKEWED = "RequestTimeTooSkewed", FORBIDDEN, "The difference between the request time and the current time is too large.";
    REQUEST_TIMEOUT = "RequestTimeout", BAD_REQUEST,
        "Your socket connection to the server was not read from or written to within the timeout period. Idle connections will be closed.";
    SERVER_SIDE_ENCRYPTION_CONFIGURATION_NOT_FOUND = "ServerSideEncryptionConfigurationNotFoundError", NOT_FOUND,
        "The server side encryption configuration was not found";
    SERVICE_UNAVAILABLE = "ServiceUnavailable", SERVICE_UNAVAILABLE, "Service is unable to handle request.";
    SIGNATURE_DOES_NOT_MATCH = "SignatureDoesNotMatch", FORBIDDEN,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SLOW_DOWN = "SlowDown", SERVICE_UNAVAILABLE, "Please reduce your request rate.";
    STORAGE_FULL = "InsufficientStorage", INSUFFICIENT_STORAGE, "No space is left to store this.";
    TOO_MANY_PARTS = "InvalidArgument", BAD_REQUEST, "Part number must be an integer between 1 and 10000, inclusive";
    UNEXPECTED_CONTENT = "UnexpectedContent", BAD_REQUEST, "This request does not support content";
    X_AMZ_CONTENT_SHA256_MISMATCH = "XAmzContentSHA256Mismatch", BAD_REQUEST,
        "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

/// An S3 error on its way to the client.
#[derive(Clone)]
pub struct S3Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: &'static Code,
    message: Cow<'static, str>,
    fields: Vec<(&'static str, String)>,
    /// Set where the answer says so beside the XML (a `HEAD` has no XML).
    delete_marker: Option<DeleteMarker>,
    /// For the log only.
    detail: Option<String>,
}

/// The delete marker that an answer of 404 or 405 tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteMarker {
    /// Its version.
    pub version_id: VersionId,
    /// When it was made, milliseconds since 1970.
    pub last_modified_ms: u64,
}

impl S3Error {
    /// The code with its usual message.
    #[must_use]
    pub fn new(code: &'static Code) -> Self {
        Self(Box::new(Inner {
            code,
            message: Cow::Borrowed(code.message),
            fields: Vec::new(),
            delete_marker: None,
            detail: None,
        }))
    }

    /// The code with a message of its own.
    #[must_use]
    pub fn with_message(code: &'static Code, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(code);
        error.0.message = message.into();
        error
    }

    /// `InvalidArgument` about a named argument, as AWS reports it.
    #[must_use]
    pub fn invalid_argument(name: &'static str, value: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_message(&code::INVALID_ARGUMENT, message).field("ArgumentName", name).field("ArgumentValue", value)
    }

    /// `InvalidRequest` with a message.
    #[must_use]
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_message(&code::INVALID_REQUEST, message)
    }

    /// `NotImplemented` that names what is missing.
    #[must_use]
    pub fn not_implemented(what: impl fmt::Display) -> Self {
        Self::with_message(&code::NOT_IMPLEMENTED, format!("{what} is not implemented."))
    }

    /// `NotImplemented` for a header, with the header's name in the field that AWS uses.
    #[must_use]
    pub fn header_not_implemented(header: &str) -> Self {
        Self::with_message(&code::NOT_IMPLEMENTED, format!("The header {header} implies functionality that is not implemented."))
            .field("Header", header)
    }

    /// Adds a field to the XML, in the order of the calls.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.fields.push((name, value.into()));
        self
    }

    /// Adds what the log should know and the client should not.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Says which delete marker the answer is about.
    #[must_use]
    pub fn about_delete_marker(mut self, marker: DeleteMarker) -> Self {
        self.0.delete_marker = Some(marker);
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// The message for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The code's own fields.
    #[must_use]
    pub fn fields(&self) -> &[(&'static str, String)] {
        &self.0.fields
    }

    /// What the log should know.
    #[must_use]
    pub fn log_detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The delete marker that the answer is about.
    #[must_use]
    pub fn delete_marker(&self) -> Option<DeleteMarker> {
        self.0.delete_marker
    }
}

impl fmt::Debug for S3Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.code.name, self.0.message)?;
        if let Some(detail) = &self.0.detail { write!(formatter, " ({detail})") } else { Ok(()) }
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.0.code.name, self.0.message)
    }
}

impl std::error::Error for S3Error {}

impl From<&'static Code> for S3Error {
    fn from(code: &'static Code) -> Self {
        Self::new(code)
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NoSuchBucket => &code::NO_SUCH_BUCKET,
            StoreError::BucketExists { .. } => &code::BUCKET_ALREADY_EXISTS,
            StoreError::BucketNotEmpty => &code::BUCKET_NOT_EMPTY,
            StoreError::NoSuchKey | StoreError::IsDeleteMarker { .. } => &code::NO_SUCH_KEY,
            StoreError::NoSuchVersion => &code::NO_SUCH_VERSION,
            StoreError::NoSuchPart => &code::INVALID_PART_NUMBER,
            StoreError::NoSuchUpload => &code::NO_SUCH_UPLOAD,
            StoreError::PreconditionFailed => &code::PRECONDITION_FAILED,
            StoreError::SourceChanged | StoreError::PartsChanged => &code::OPERATION_ABORTED,
            StoreError::OutOfSpace => &code::STORAGE_FULL,
            StoreError::QuotaExceeded => &code::QUOTA_EXCEEDED,
            StoreError::Busy(_) => &code::SLOW_DOWN,
            StoreError::Unavailable(why) => {
                return Self::with_message(&code::SERVICE_UNAVAILABLE, format!("{} {why}", code::SERVICE_UNAVAILABLE.message));
            }
            StoreError::Body(_) | StoreError::OutcomeUnknown(_) | StoreError::Damaged(_) | StoreError::Internal(_) => {
                &code::INTERNAL_ERROR
            }
        };
        let mut answer = Self::new(code);
        if let StoreError::IsDeleteMarker { version_id, last_modified_ms } = error {
            answer = answer.about_delete_marker(DeleteMarker { version_id, last_modified_ms });
        }
        if code.status.is_server_error() { answer.detail(error.to_string()) } else { answer }
    }
}
