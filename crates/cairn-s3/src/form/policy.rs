//! The policy of a form: what may be uploaded with it, and until when (AWS, "Creating a POST policy").
//!
//! Nothing is allowed that the policy does not speak of: a field without a condition is refused, and what cannot be read refuses the upload.

use serde_json::Value;

use crate::error::{S3Error, S3Result, code};
use crate::text::{base64, date};

/// Fields that a policy need not speak of: the file, the policy, and what vouches for it.
const UNCONDITIONAL: &[&str] = &["file", "policy", "signature", "x-amz-signature", "awsaccesskeyid"];

/// What a field, or something else about the upload, must be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// This field has this value.
    Equals { field: String, value: String },
    /// This field's value begins so.
    StartsWith { field: String, prefix: String },
    /// What cannot be met, as it stands in the policy: a field without its `$`, a length that is no number.
    Never { shown: String },
}

impl Condition {
    /// The field that it speaks of.
    fn field(&self) -> Option<&str> {
        match self {
            Self::Equals { field, .. } | Self::StartsWith { field, .. } => Some(field),
            Self::Never { .. } => None,
        }
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// From then on nothing is allowed, seconds since 1970.
    expires: u64,
    conditions: Vec<Condition>,
    /// The least and the most bytes of the file, both included.
    length: (u64, u64),
}

/// The fields of a form, names in lower case.
pub trait Fields {
    /// A field's value.
    fn value(&self, name: &str) -> Option<&str>;
    /// All names.
    fn names(&self) -> Vec<&str>;
}

fn invalid(message: &str) -> S3Error {
    S3Error::with_message(&code::INVALID_POLICY_DOCUMENT, format!("Invalid Policy: {message}"))
}

fn denied(message: &str) -> S3Error {
    S3Error::with_message(&code::ACCESS_DENIED, format!("Invalid according to Policy: {message}"))
}

impl Policy {
    /// Reads the form's `policy` field: JSON in Base64.
    pub fn parse(field: &str) -> S3Result<Self> {
        // Encoders that break lines are common.
        let packed: Vec<u8> = field.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if packed.is_empty() {
            return Err(invalid("Expecting '{' but found End-of-Input"));
        }
        let text = base64::decode(&packed).ok_or_else(|| invalid("invalid Base64 encoding."))?;
        let document: Value = serde_json::from_slice(&text).map_err(|_| invalid("Invalid JSON."))?;
        let Value::Object(document) = document else { return Err(invalid("Invalid JSON.")) };
        for name in document.keys() {
            if name != "expiration" && name != "conditions" {
                return Err(invalid(&format!("Unexpected: {}", Value::from(name.as_str()))));
            }
        }
        let expiration = document.get("expiration").ok_or_else(|| invalid("Policy missing expiration."))?;
        let expiration = expiration.as_str().ok_or_else(|| invalid("Invalid JSON."))?;
        let expires = parse_moment(expiration);
        let expires = expires.ok_or_else(|| invalid(&format!("Invalid 'expiration' value: '{expiration}'")))?;
        let items = match document.get("conditions") {
            Some(Value::Array(items)) => items,
            Some(_) => return Err(invalid("Invalid 'conditions' value: must be a List.")),
            None => return Err(invalid("Policy missing conditions.")),
        };
        let mut policy = Self { expires, conditions: Vec::with_capacity(items.len()), length: (0, u64::MAX) };
        for item in items {
            policy.add(item)?;
        }
        Ok(policy)
    }

    fn add(&mut self, item: &Value) -> S3Result<()> {
        match item {
            Value::Object(pairs) => {
                let mut pairs = pairs.iter();
                let (Some((field, value)), None) = (pairs.next(), pairs.next()) else {
                    return Err(invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified."));
                };
                let value = text(value).ok_or_else(|| invalid("Invalid Simple-Condition: value must be a string."))?;
                self.conditions.push(Condition::Equals { field: field.to_lowercase(), value });
                Ok(())
            }
            Value::Array(parts) => match parts.as_slice() {
                [] => Err(invalid("Invalid Condition: missing operation identifier.")),
                [Value::String(operator), arguments @ ..] => self.add_operator(operator, arguments),
                _ => Err(invalid("Invalid JSON.")),
            },
            _ => Err(invalid("Invalid condition test: must be a List or Object.")),
        }
    }

    fn add_operator(&mut self, operator: &str, arguments: &[Value]) -> S3Result<()> {
        let operator = operator.to_ascii_lowercase();
        if !matches!(operator.as_str(), "eq" | "starts-with" | "content-length-range") {
            return Err(invalid(&format!("Invalid Condition: unknown operation '{operator}'.")));
        }
        let [first, second] = arguments else {
            return Err(invalid(&format!("Invalid {operator}: wrong number of arguments.")));
        };
        let is_no_length = |value: &Value| value.is_number() && value.as_u64().is_none();
        if operator == "content-length-range" && arguments.iter().any(is_no_length) {
            return Err(invalid("Invalid content-length-range: bounds must be whole numbers."));
        }
        let (Some(first), Some(second)) = (text(first), text(second)) else { return Err(invalid("Invalid JSON.")) };
        let never = || Condition::Never { shown: show(&operator, &first, &second) };
        if operator == "content-length-range" {
            match (number(&first), number(&second)) {
                // Each of several holds.
                (Some(least), Some(most)) => self.length = (self.length.0.max(least), self.length.1.min(most)),
                _ => self.conditions.push(never()),
            }
            return Ok(());
        }
        self.conditions.push(match (first.strip_prefix('$').map(str::to_lowercase), operator.as_str()) {
            (None, _) => never(),
            (Some(field), "eq") => Condition::Equals { field, value: second },
            (Some(field), _) => Condition::StartsWith { field, prefix: second },
        });
        Ok(())
    }

    /// Whether a form with these fields may be uploaded to this bucket now; `now` is seconds since 1970. The file's length is held against
    /// [`Policy::length`] as it comes.
    pub fn check(&self, fields: &impl Fields, bucket: &str, now: u64) -> S3Result<()> {
        if now >= self.expires {
            return Err(denied("Policy expired."));
        }
        for condition in &self.conditions {
            let actual = |field: &str| if field == "bucket" { Some(bucket) } else { fields.value(field) };
            let failed = match condition {
                Condition::Equals { field, value } => {
                    (actual(field) != Some(value.as_str())).then(|| show("eq", &format!("${field}"), value))
                }
                Condition::StartsWith { field, prefix } => (!actual(field).unwrap_or_default().starts_with(prefix.as_str()))
                    .then(|| show("starts-with", &format!("${field}"), prefix)),
                Condition::Never { shown } => Some(shown.clone()),
            };
            if let Some(shown) = failed {
                return Err(denied(&format!("Policy Condition failed: {shown}")));
            }
        }
        let is_spoken_of = |name: &str| {
            UNCONDITIONAL.contains(&name)
                || name.starts_with("x-ignore-")
                || self.conditions.iter().any(|condition| condition.field() == Some(name))
        };
        // The bucket counts as a field, also where the form has none of that name (AWS): who signs says into which bucket.
        let mut names = fields.names();
        if !names.contains(&"bucket") {
            names.push("bucket");
        }
        let extra: Vec<&str> = names.into_iter().filter(|name| !is_spoken_of(name)).collect();
        if extra.is_empty() { Ok(()) } else { Err(denied(&format!("Extra input fields: {}", extra.join(", ")))) }
    }

    /// The least and the most bytes of the file, both included.
    #[must_use]
    pub fn length(&self) -> (u64, u64) {
        self.length
    }
}

/// A condition's value; numbers are taken for their text, as clients write both.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A condition as AWS shows it.
fn show(operator: &str, first: &str, second: &str) -> String {
    let [operator, first, second] = [operator, first, second].map(|text| Value::from(text).to_string());
    format!("[{operator}, {first}, {second}]")
}

/// `2007-12-01T12:00:00.000Z`, with or without a fraction: seconds since 1970.
fn parse_moment(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let has_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = whole.as_bytes();
    let has_marks =
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')].iter().all(|(at, mark)| bytes.get(*at) == Some(mark));
    if bytes.len() != 19 || !has_marks || !has_digits(fraction) {
        return None;
    }
    let compact: String = whole.chars().filter(|character| !matches!(character, '-' | ':')).chain(['Z']).collect();
    date::parse_compact(compact.as_bytes())
}

#[cfg(test)]
mod tests;
