//! `GetBucketCors`, `PutBucketCors`, `DeleteBucketCors`. What the rules come to is decided in [`crate::http::cors`].

use cairn_store::api::{Bucket, CorsMethod, CorsRecord, CorsRule};
use http::{HeaderName, StatusCode};

use super::Call;
use crate::error::{S3Error, S3Result, code};
use crate::http::response::{self, S3Response};
use crate::xml::reader::{self, Element};
use crate::xml::writer::XmlWriter;

/// The most rules of a bucket (AWS).
pub const RULES_MAX: usize = 100;
/// The longest document, bytes (AWS).
pub const DOCUMENT_BYTES_MAX: usize = 64 << 10;
/// The longest name of a rule, characters (AWS).
pub const ID_CHARACTERS_MAX: usize = 255;

pub(super) fn get(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let Some(cors) = &bucket.cors else {
        return Err(S3Error::new(&code::NO_SUCH_CORS_CONFIGURATION).field("BucketName", call.bucket_name));
    };
    let mut writer = XmlWriter::new(256 + cors.rules.len() * 256);
    writer.open_root("CORSConfiguration");
    for rule in &cors.rules {
        writer.open("CORSRule");
        writer.optional("ID", rule.id.as_deref());
        for (name, texts) in [("AllowedOrigin", &rule.allowed_origins), ("AllowedHeader", &rule.allowed_headers)] {
            for text in texts {
                writer.text(name, text);
            }
        }
        for method in &rule.allowed_methods {
            writer.text("AllowedMethod", method.name());
        }
        for header in &rule.expose_headers {
            writer.text("ExposeHeader", header);
        }
        if let Some(seconds) = rule.max_age_seconds {
            writer.value("MaxAgeSeconds", seconds);
        }
        writer.close("CORSRule");
    }
    writer.close("CORSConfiguration");
    Ok(response::xml(writer))
}

pub(super) async fn put(call: &mut Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    let document = call.document(DOCUMENT_BYTES_MAX.min(call.limits().xml_bytes_max)).await?;
    call.store().set_bucket_cors(bucket.id, parse_cors(&document)?).await?;
    Ok(response::empty(StatusCode::OK))
}

pub(super) async fn delete(call: &Call<'_>, bucket: &Bucket) -> S3Result<S3Response> {
    call.store().set_bucket_cors(bucket.id, CorsRecord::default()).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// Reads a `CORSConfiguration`.
pub fn parse_cors(document: &[u8]) -> S3Result<CorsRecord> {
    let root = reader::parse(document, "CORSConfiguration")?;
    let rules: Vec<CorsRule> = root.children_named("CORSRule").take(RULES_MAX + 1).map(parse_rule).collect::<S3Result<_>>()?;
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(reader::malformed());
    }
    Ok(CorsRecord { rules })
}

fn parse_rule(rule: &Element) -> S3Result<CorsRule> {
    let texts = |name: &str| -> Vec<String> { rule.children_named(name).map(|element| element.text.clone()).collect() };
    let id = rule.child_text("ID").filter(|id| !id.is_empty()).map(str::to_owned);
    if id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARACTERS_MAX) {
        return Err(S3Error::invalid_request("The rule ID must be at most 255 characters."));
    }
    let allowed_origins = texts("AllowedOrigin");
    let allowed_headers = texts("AllowedHeader");
    for (name, patterns) in [("AllowedOrigin", &allowed_origins), ("AllowedHeader", &allowed_headers)] {
        if let Some(pattern) = patterns.iter().find(|pattern| pattern.matches('*').count() > 1) {
            return Err(S3Error::invalid_request(format!("{name} \"{pattern}\" can not have more than one wildcard.")));
        }
    }
    // An empty name is a pattern that no header fits.
    let is_name = |pattern: &String| pattern.is_empty() || HeaderName::from_bytes(pattern.as_bytes()).is_ok();
    if let Some(header) = allowed_headers.iter().find(|pattern| !is_name(pattern)) {
        return Err(S3Error::invalid_request(format!("AllowedHeader \"{header}\" contains invalid character.")));
    }
    let allowed_methods = texts("AllowedMethod")
        .iter()
        .map(|text| {
            CorsMethod::parse(text).ok_or_else(|| {
                S3Error::invalid_request(format!("Found unsupported HTTP method in CORS config. Unsupported method is {text}"))
            })
        })
        .collect::<S3Result<Vec<_>>>()?;
    if allowed_origins.is_empty() || allowed_methods.is_empty() {
        return Err(reader::malformed());
    }
    let expose_headers = texts("ExposeHeader");
    for header in &expose_headers {
        if header.contains('*') {
            return Err(S3Error::invalid_request(format!(
                "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
            )));
        }
        if HeaderName::from_bytes(header.as_bytes()).is_err() {
            return Err(S3Error::invalid_request(format!("ExposeHeader \"{header}\" contains invalid character.")));
        }
    }
    let max_age_seconds = match rule.child_text("MaxAgeSeconds") {
        None | Some("") => None,
        // AWS keeps a number of 31 bits.
        Some(text) => Some(text.parse().ok().filter(|seconds| i32::try_from(*seconds).is_ok()).ok_or_else(reader::malformed)?),
    };
    Ok(CorsRule { id, allowed_origins, allowed_methods, allowed_headers, expose_headers, max_age_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(inside: &str) -> S3Result<CorsRecord> {
        parse_cors(format!("<CORSConfiguration><CORSRule>{inside}</CORSRule></CORSConfiguration>").as_bytes())
    }

    const LEAST: &str = "<AllowedOrigin>https://a.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>";

    #[test]
    fn rules_are_read_and_bounded() {
        let full = rule(&format!(
            "<ID>x</ID>{LEAST}<AllowedMethod>HEAD</AllowedMethod><AllowedHeader>x-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
             <MaxAgeSeconds>3000</MaxAgeSeconds>"
        ));
        let full = full.unwrap().rules.remove(0);
        assert_eq!((full.id.as_deref(), full.max_age_seconds), (Some("x"), Some(3000)));
        assert_eq!(full.allowed_methods, [CorsMethod::Get, CorsMethod::Head]);
        let many = |count: usize| {
            let rules = format!("<CORSRule>{LEAST}</CORSRule>").repeat(count);
            parse_cors(format!("<CORSConfiguration>{rules}</CORSConfiguration>").as_bytes())
        };
        assert_eq!(many(100).unwrap().rules.len(), 100);
        for count in [0, 101] {
            assert_eq!(many(count).unwrap_err().code().name, "MalformedXML");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for (inside, expected) in [
            ("<AllowedOrigin>a</AllowedOrigin>".to_owned(), "MalformedXML"),
            ("<AllowedMethod>GET</AllowedMethod>".to_owned(), "MalformedXML"),
            (format!("{LEAST}<MaxAgeSeconds>-1</MaxAgeSeconds>"), "MalformedXML"),
            (format!("{LEAST}<MaxAgeSeconds>4294967295</MaxAgeSeconds>"), "MalformedXML"),
            (format!("{LEAST}<AllowedMethod>PATCH</AllowedMethod>"), "InvalidRequest"),
            (format!("{LEAST}<AllowedMethod>get</AllowedMethod>"), "InvalidRequest"),
            (format!("{LEAST}<AllowedOrigin>*.*</AllowedOrigin>"), "InvalidRequest"),
            (format!("{LEAST}<AllowedHeader>x-*-*</AllowedHeader>"), "InvalidRequest"),
            (format!("{LEAST}<AllowedHeader>a: b</AllowedHeader>"), "InvalidRequest"),
            (format!("{LEAST}<AllowedHeader>X(Custom)</AllowedHeader>"), "InvalidRequest"),
            (format!("{LEAST}<ExposeHeader>x-*</ExposeHeader>"), "InvalidRequest"),
            (format!("{LEAST}<ExposeHeader>a: b</ExposeHeader>"), "InvalidRequest"),
            (format!("<ID>{}</ID>{LEAST}", "x".repeat(256)), "InvalidRequest"),
        ] {
            assert_eq!(rule(&inside).unwrap_err().code().name, expected, "{inside}");
        }
    }
}
