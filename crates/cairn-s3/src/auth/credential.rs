//! The `Authorization` header of Signature Version 4, and the credential scope in it.

use crate::error::{S3Error, S3Result, code};
use crate::text::hexadecimal;

/// The only algorithm.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// `ACCESS-KEY-ID/YYYYMMDD/REGION/s3/aws4_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialScope<'a> {
    /// Who claims to have signed.
    pub access_key_id: &'a str,
    /// Eight digits; whether they are a date shows when they are held against the request's.
    pub date: &'a str,
    /// For which region.
    pub region: &'a str,
    /// For which service.
    pub service: &'a str,
    /// The scope's end.
    pub terminal: &'a str,
}

/// What an `Authorization` header, or the query of a presigned URL, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorizationHeader<'a> {
    /// Who claims to have signed, and for what.
    pub scope: CredentialScope<'a>,
    /// Names of the signed headers in lower case, with `;` between them.
    pub signed_headers: &'a str,
    /// The signature.
    pub signature: [u8; 32],
}

/// Where a credential stood: AWS words its errors after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the `Authorization` header.
    Header,
    /// In `X-Amz-Credential`.
    Query,
    /// In the field of that name of a form.
    Form,
}

impl Place {
    fn error(self, about_header: &str, about_query: &str) -> S3Error {
        match self {
            Self::Header => malformed(about_header),
            Self::Query => S3Error::with_message(
                &code::AUTHORIZATION_QUERY_PARAMETERS_ERROR,
                format!("Error parsing the X-Amz-Credential parameter; {about_query}"),
            ),
            Self::Form => {
                S3Error::with_message(&code::INVALID_ARGUMENT, about_query.to_owned()).field("ArgumentName", "x-amz-credential")
            }
        }
    }
}

fn malformed(about: &str) -> S3Error {
    S3Error::with_message(&code::AUTHORIZATION_HEADER_MALFORMED, format!("The authorization header is malformed; {about}"))
}

impl<'a> CredentialScope<'a> {
    /// Reads a credential of exactly five parts.
    pub fn parse(text: &'a str, place: Place) -> S3Result<Self> {
        let mut parts = text.split('/');
        if let (Some(access_key_id), Some(date), Some(region), Some(service), Some(terminal), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
            && !access_key_id.is_empty()
        {
            return Ok(Self { access_key_id, date, region, service, terminal });
        }
        let about = "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
        Err(place.error(about, about))
    }

    /// Whether the date can be one.
    #[must_use]
    pub fn has_date(&self) -> bool {
        self.date.len() == 8 && self.date.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Whether the scope is this server's.
    pub fn check(&self, region: &str, place: Place) -> S3Result<()> {
        if self.terminal != "aws4_request" {
            let about = format!("incorrect terminal \"{}\". This endpoint uses \"aws4_request\".", self.terminal);
            return Err(place.error(&about, &about));
        }
        if self.service != "s3" {
            let about = format!("incorrect service \"{}\". This endpoint belongs to \"s3\".", self.service);
            return Err(place.error(&about, &about));
        }
        if self.region != region {
            let about = format!("the region '{}' is wrong; expecting '{region}'", self.region);
            return Err(place.error(&about, &about).field("Region", region));
        }
        if !self.has_date() {
            let about = format!(
                "incorrect date format \"{}\". This date in the credential must be in the format \"yyyyMMdd\".",
                self.date
            );
            return Err(place.error(&about, &about));
        }
        Ok(())
    }
}

/// Reads the value of an `Authorization` header.
pub fn parse_authorization_header(value: &[u8]) -> S3Result<AuthorizationHeader<'_>> {
    let text = std::str::from_utf8(value).map_err(|_| malformed("it is not UTF-8."))?;
    let Some((mechanism, rest)) = text.trim().split_once(' ') else {
        return Err(S3Error::invalid_argument(
            "Authorization",
            text,
            "Authorization header is invalid -- one and only one ' ' (space) required.",
        ));
    };
    match mechanism {
        ALGORITHM => {}
        "AWS" => {
            return Err(S3Error::invalid_request(
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ));
        }
        "AWS4-ECDSA-P256-SHA256" => return Err(S3Error::not_implemented("Signature Version 4A")),
        other => return Err(S3Error::invalid_argument("Authorization", other, "Unsupported Authorization Type")),
    }
    if rest.split(',').count() != 3 {
        return Err(malformed("the authorization header requires three components: Credential, SignedHeaders, and Signature."));
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for component in rest.split(',') {
        let component = component.trim();
        let place = match component.split_once('=') {
            Some(("Credential", value)) => credential.replace(value),
            Some(("SignedHeaders", value)) => signed_headers.replace(value),
            Some(("Signature", value)) => signature.replace(value),
            // Of three components, one that is none of these stands in the place of one of them.
            Some(_) => None,
            None => return Err(malformed(&format!("the authorization component \"{component}\" is malformed."))),
        };
        if place.is_some() {
            return Err(malformed(&format!("the authorization component \"{}\" is given twice.", name_of(component))));
        }
    }
    let credential = credential.filter(|value| !value.is_empty()).ok_or_else(|| malformed("missing Credential."))?;
    let signed_headers = signed_headers.filter(|value| !value.is_empty()).ok_or_else(|| malformed("missing SignedHeaders."))?;
    let signature = signature.filter(|value| !value.is_empty()).ok_or_else(|| malformed("missing Signature."))?;
    Ok(AuthorizationHeader {
        scope: CredentialScope::parse(credential, Place::Header)?,
        signed_headers,
        signature: parse_signature(signature)?,
    })
}

/// Reads a signature. What is not 64 digits cannot match, whatever the key; AWS says so without telling why.
pub fn parse_signature(text: &str) -> S3Result<[u8; 32]> {
    hexadecimal::decode_lower(text.as_bytes()).ok_or_else(|| S3Error::new(&code::SIGNATURE_DOES_NOT_MATCH))
}

fn name_of(component: &str) -> &str {
    component.split('=').next().unwrap_or_default()
}
