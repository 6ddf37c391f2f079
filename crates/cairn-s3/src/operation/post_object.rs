//! `POST` of a form to a bucket: how browsers upload files (AWS, "POST Object").
//!
//! The form itself is signed, not the request: its policy says what may be uploaded, and everything in the form is held against it before
//! a byte of the file is stored. The file goes the way of every other body.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use cairn_store::api::{Bucket, PutObject, Written};
use cairn_types::{ChecksumAlgorithm, ObjectKey};
use http::header::{CONTENT_TYPE, HOST, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::put_object::DEFAULT_CHECKSUM;
use super::tagging::{self, TagsOf};
use super::{Call, Operation, body_or_store_error, metadata, object_headers, too_large, unsupported};
use crate::auth::authorizer::Action;
use crate::auth::{Authenticated, PayloadMode};
use crate::body::{Expectations, FormInbound, Inbound, VerifiedBody};
use crate::checksum::headers::{Promised, invalid_value, requested};
use crate::error::{S3Error, S3Result, code};
use crate::form::multipart::{FormDecoder, FormHead, boundary_of};
use crate::form::policy::{Fields, Policy};
use crate::http::condition::{precondition_failed, write_condition};
use crate::http::response::{self, S3Response};
use crate::observe::Notes;
use crate::text::percent;
use crate::xml::writer::XmlWriter;

/// Fields that are headers of a `PUT`.
const HEADERS: &[&str] =
    &["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "content-md5", "expires"];

/// Fields that vouch for the form and are about nothing else.
const SIGNATURE: &[&str] = &["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token"];

/// A form's fields; names in lower case.
struct Form(BTreeMap<String, String>);

impl Fields for Form {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl Form {
    /// Takes the fields, with the file's name where they ask for it: what stands behind the last slash of what was sent, and nothing where
    /// none was (AWS, "HTML form fields").
    fn new(head: FormHead) -> S3Result<Self> {
        let file_name = head.file_name.rsplit(['/', '\\']).next().filter(|name| !name.is_empty());
        let mut fields = BTreeMap::new();
        for (name, value) in head.fields {
            let name = name.to_lowercase();
            let value = match file_name {
                Some(file_name) => value.replace("${filename}", file_name),
                None => value,
            };
            if fields.insert(name.clone(), value).is_some() {
                // Which of two was signed, and which counts, nobody should have to guess.
                return Err(S3Error::invalid_request(format!("The form has two fields named '{name}'.")));
            }
        }
        Ok(Self(fields))
    }

    fn key(&self) -> S3Result<ObjectKey> {
        let missing = || {
            let message =
                "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.";
            S3Error::invalid_argument("key", "", message)
        };
        let text = self.value("key").filter(|key| !key.is_empty()).ok_or_else(missing)?;
        text.parse().map_err(|_| {
            S3Error::new(&code::KEY_TOO_LONG)
                .field("Size", text.len().to_string())
                .field("MaxSizeAllowed", ObjectKey::LENGTH_MAX.to_string())
        })
    }

    /// The headers that a `PUT` of the same would have.
    fn headers(&self) -> S3Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.0 {
            let header = match name.as_str() {
                "acl" => "x-amz-acl",
                name if SIGNATURE.contains(&name) => continue,
                name if HEADERS.contains(&name) || name.starts_with("x-amz-") => name,
                // What means nothing here, means nothing (AWS); the policy has allowed it.
                _ => continue,
            };
            let invalid = || S3Error::invalid_argument("field", name, "The field cannot be a header.");
            let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_| invalid())?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
            headers.insert(header, value);
        }
        Ok(headers)
    }

    /// Where the browser is sent afterwards; what is no address means nothing (AWS).
    fn redirect(&self) -> Option<&str> {
        let target = self.value("success_action_redirect").or_else(|| self.value("redirect"))?;
        let is_address = ["http://", "https://"].iter().any(|scheme| target.starts_with(scheme));
        (is_address && HeaderValue::from_str(target).is_ok()).then_some(target)
    }
}

pub(super) async fn run(call: &mut Call<'_>, notes: &mut Notes, about: &OnceLock<Arc<Bucket>>) -> S3Result<S3Response> {
    if call.authenticated.key.is_some() || call.authenticated.payload != PayloadMode::Unsigned {
        // Whatever was signed beside the form would have to be held against it.
        return Err(S3Error::not_implemented("A form in a request that is signed itself"));
    }
    let content_type = call.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = boundary_of(content_type)
        .ok_or_else(|| precondition_failed("Bucket POST must be of the enclosure-type multipart/form-data"))?
        .map_err(|_| S3Error::new(&code::MALFORMED_POST_REQUEST))?;
    let form_length = call.body_length()?.ok_or_else(|| S3Error::new(&code::MISSING_CONTENT_LENGTH))?;
    let limits = call.limits();
    let decoder = FormDecoder::new(&boundary, limits.form_head_bytes_max);
    let (head, file) = FormInbound::read_head(call.inbound, decoder, limits.body_idle_timeout).await?;
    let mut file = Inbound::from_form(file);
    let outcome = upload(call, notes, about, head, &mut file, form_length).await;
    // What follows the file is dropped as any body that nobody wants.
    *call.inbound = file.out_of_form();
    outcome
}

async fn upload(
    call: &Call<'_>,
    notes: &mut Notes,
    about: &OnceLock<Arc<Bucket>>,
    head: FormHead,
    file: &mut Inbound,
    form_length: u64,
) -> S3Result<S3Response> {
    let (shared, form) = (call.shared, Form::new(head)?);
    let now = shared.clock.wall().as_secs();
    let access_key = shared.authenticator().authenticate_form(&*shared.store, &form, now).await?;
    notes.key.clone_from(&access_key);
    let headers = form.headers()?;
    let key = form.key()?;
    let call = Call {
        shared,
        parts: call.parts,
        headers: &headers,
        query: call.query,
        authenticated: Authenticated { key: access_key, payload: PayloadMode::Unsigned, chunk_signer: None },
        bucket_name: call.bucket_name,
        key: Some(key.clone()),
        inbound: file,
    };
    if let Some(bucket) = call.store().bucket(call.tenant(), call.bucket_name).await? {
        about.get_or_init(|| bucket);
    }
    let bucket = call.allowed_bucket(Action::PutObject).await?;
    notes.bucket = shared.metrics.buckets.slot(&bucket);
    // A form without a policy was allowed without one: anybody may write here.
    let policy = form.value("policy").map(Policy::parse).transpose()?;
    if let Some(policy) = &policy {
        policy.check(&form, bucket.name.as_str(), now)?;
    }
    unsupported::refuse(&headers, Operation::PostObject)?;
    let mut tags = tagging::of_write(&call, &bucket)?;
    if let Some(document) = form.value("tagging").filter(|document| !document.is_empty()) {
        tags = tagging::parse_tagging(document.as_bytes(), TagsOf::Object)?;
        call.require(Action::PutObjectTagging, Some(&bucket), Some(key.as_str()))?;
    }
    let (promised, default_checksum) = checksum(&headers)?;
    let limits = call.limits();
    let (least, most) = policy.as_ref().map_or((0, u64::MAX), Policy::length);
    let most = most.min(limits.put_bytes_max).min(limits.object_bytes_max);
    let others_max = 2 * limits.form_head_bytes_max as u64;
    if form_length.saturating_sub(others_max) > most {
        // Not after all of it was read.
        return Err(too_large(form_length, most));
    }
    let request = PutObject {
        bucket: bucket.id,
        key: key.clone(),
        metadata: metadata::parse(&headers, limits.user_metadata_bytes_max)?,
        tags,
        condition: write_condition(&call.parts.headers)?,
    };
    let expectations = Expectations {
        payload: PayloadMode::Unsigned,
        chunk_signer: None,
        length: most.min(form_length),
        length_min: Some(least),
        promised,
        wants_etag: true,
        default_checksum: Some(default_checksum),
        idle_timeout: limits.body_idle_timeout,
    };
    let location = location(&call, &key);
    let mut body = VerifiedBody::new(call.inbound, expectations);
    let outcome = shared.store.put_object(request, &mut body).await;
    let written = outcome.map_err(|error| body_or_store_error(&mut body, error))?;
    Ok(answer(&form, &bucket, &key, &written, &location))
}

/// What the form promises of the file, and which checksum it gets where it promises none. A form has no trailer.
fn checksum(headers: &HeaderMap) -> S3Result<(Promised, ChecksumAlgorithm)> {
    let promised = Promised::parse(headers)?;
    let wanted = requested(headers)?.map(|(algorithm, _)| algorithm);
    match (promised.trailer, promised.checksum, wanted) {
        (Some(_), ..) => Err(S3Error::new(&code::MALFORMED_TRAILER)),
        (None, Some(own), Some(wanted)) if own.algorithm() != wanted => Err(invalid_value("x-amz-checksum-algorithm")),
        (None, ..) => Ok((promised, wanted.unwrap_or(DEFAULT_CHECKSUM))),
    }
}

/// The object's address.
fn location(call: &Call<'_>, key: &ObjectKey) -> String {
    let scheme = if call.shared.config.is_tls { "https" } else { "http" };
    let host = call.parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{scheme}://{host}{}/{}", call.parts.uri.path().trim_end_matches('/'), percent::encode(key.as_str(), true))
}

fn answer(form: &Form, bucket: &Bucket, key: &ObjectKey, written: &Written, location: &str) -> S3Response {
    let mut answer = if let Some(target) = form.redirect() {
        let mut answer = response::empty(StatusCode::SEE_OTHER);
        let separator = if target.contains('?') { '&' } else { '?' };
        let (bucket, key) = (bucket.name.as_str(), percent::encode(key.as_str(), false));
        let target = format!("{target}{separator}bucket={bucket}&key={key}&etag=%22{}%22", written.etag);
        response::set(answer.headers_mut(), LOCATION, target);
        answer
    } else {
        let mut answer = match form.value("success_action_status") {
            Some("200") => response::empty(StatusCode::OK),
            Some("201") => {
                let mut writer = XmlWriter::new(256 + key.as_bytes().len() + location.len());
                writer.open("PostResponse");
                writer.text("Location", location);
                writer.text("Bucket", bucket.name.as_str());
                writer.text("Key", key.as_str());
                writer.etag("ETag", written.etag);
                writer.close("PostResponse");
                let mut answer = response::xml(writer);
                *answer.status_mut() = StatusCode::CREATED;
                answer
            }
            _ => response::empty(StatusCode::NO_CONTENT),
        };
        response::set(answer.headers_mut(), LOCATION, location.to_owned());
        answer
    };
    object_headers::set_written(answer.headers_mut(), written);
    answer
}
