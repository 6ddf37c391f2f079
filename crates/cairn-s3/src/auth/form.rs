//! Who made a form (AWS, "Authenticating Requests in Browser-Based Uploads Using POST"): what is signed is the policy, as it stands in the
//! form; the policy says all the rest.

use std::sync::Arc;

use cairn_store::api::{AccessKey, ObjectStore};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use super::credential::{ALGORITHM, CredentialScope, Place};
use super::presigned::EXPIRES_SECONDS_MAX;
use super::{Authenticator, CLOCK_SKEW_SECONDS_MAX, does_not_match};
use crate::error::{S3Error, S3Result, code};
use crate::form::policy::Fields;
use crate::text::{base64, date, hexadecimal};

fn missing(name: &'static str) -> S3Error {
    let message =
        format!("Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields.");
    S3Error::invalid_argument(name, "", message)
}

impl Authenticator {
    /// The key that signed a form's policy; `None` for a form without a policy. `now` is seconds since 1970.
    pub async fn authenticate_form(
        &self,
        store: &dyn ObjectStore,
        fields: &impl Fields,
        now: u64,
    ) -> S3Result<Option<Arc<AccessKey>>> {
        let has = |names: &[&str]| names.iter().any(|name| fields.value(name).is_some());
        let is_v4 = has(&["x-amz-algorithm", "x-amz-credential", "x-amz-signature"]);
        let is_v2 = has(&["awsaccesskeyid", "signature"]);
        let policy = match fields.value("policy") {
            None if is_v4 || is_v2 => return Err(missing("policy")),
            None => return Ok(None),
            Some(policy) => policy,
        };
        if fields.value("x-amz-security-token").is_some() {
            // Cairn issues no session tokens, so no token can be valid.
            return Err(S3Error::new(&code::INVALID_TOKEN));
        }
        match (is_v4, is_v2) {
            (true, true) => Err(S3Error::invalid_request("Only one auth mechanism allowed in a form.")),
            (true, false) => self.form_v4(store, fields, policy, now).await.map(Some),
            (false, true) => form_v2(store, fields, policy).await.map(Some),
            (false, false) => Err(missing("AWSAccessKeyId")),
        }
    }

    async fn form_v4(&self, store: &dyn ObjectStore, fields: &impl Fields, policy: &str, now: u64) -> S3Result<Arc<AccessKey>> {
        let required = |name: &'static str| fields.value(&name.to_ascii_lowercase()).ok_or_else(|| missing(name));
        let algorithm = required("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(S3Error::invalid_argument("X-Amz-Algorithm", algorithm, "Only AWS4-HMAC-SHA256 is supported"));
        }
        let credential = required("X-Amz-Credential")?;
        let told = |error: S3Error| error.field("ArgumentValue", credential);
        let scope = CredentialScope::parse(credential, Place::Form).map_err(told)?;
        scope.check(&self.region, Place::Form).map_err(told)?;
        let moment_text = required("X-Amz-Date")?;
        let misdated = |message| S3Error::invalid_argument("X-Amz-Date", moment_text, message);
        // (AWS's spelling.)
        let moment = date::parse_compact(moment_text.as_bytes())
            .ok_or_else(|| misdated("X-Amz-Date must be formated via ISO8601 Long format"))?;
        if !moment_text.starts_with(scope.date) {
            return Err(misdated("X-Amz-Date must be the date of the credential"));
        }
        if moment > now.saturating_add(CLOCK_SKEW_SECONDS_MAX) {
            return Err(S3Error::with_message(&code::ACCESS_DENIED, "Request is not valid yet"));
        }
        if now > moment.saturating_add(EXPIRES_SECONDS_MAX) {
            // A signing key holds for a week, whatever the policy says.
            return Err(S3Error::with_message(&code::ACCESS_DENIED, "Request has expired"));
        }
        let claimed = required("X-Amz-Signature")?;
        let key = find_key(store, scope.access_key_id).await?;
        let signing_key = self.signing_keys.get(&key, scope.date, &self.region);
        match hexadecimal::decode_lower(claimed.as_bytes()) {
            Some(signature) if signing_key.verify(policy.as_bytes(), &signature) => Ok(key),
            _ => Err(does_not_match(scope.access_key_id, policy.as_bytes(), claimed)),
        }
    }
}

/// Signature Version 2, which boto3 still signs forms with where it is not told otherwise.
async fn form_v2(store: &dyn ObjectStore, fields: &impl Fields, policy: &str) -> S3Result<Arc<AccessKey>> {
    let access_key_id = fields.value("awsaccesskeyid").ok_or_else(|| missing("AWSAccessKeyId"))?;
    let signature = fields.value("signature").ok_or_else(|| missing("Signature"))?;
    let key = find_key(store, access_key_id).await?;
    let expected: Option<[u8; 20]> = Hmac::<Sha1>::new_from_slice(key.secret.expose()).ok().map(|mut state| {
        state.update(policy.as_bytes());
        state.finalize().into_bytes().into()
    });
    let given: Option<[u8; 20]> = base64::decode(signature.as_bytes()).and_then(|bytes| bytes.try_into().ok());
    match (expected, given) {
        (Some(expected), Some(given)) if bool::from(expected.ct_eq(&given)) => Ok(key),
        _ => Err(does_not_match(access_key_id, policy.as_bytes(), signature)),
    }
}

async fn find_key(store: &dyn ObjectStore, access_key_id: &str) -> S3Result<Arc<AccessKey>> {
    let found = store.access_key(access_key_id).await?;
    found.ok_or_else(|| S3Error::new(&code::INVALID_ACCESS_KEY_ID).field("AWSAccessKeyId", access_key_id))
}
