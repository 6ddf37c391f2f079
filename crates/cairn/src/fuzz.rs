//! Entry points for fuzzing, one for each parser of bytes that administrators, or whoever reaches the administration's port, can write. They
//! panic when a property does not hold that callers rely on; `cairn-fuzz` runs them.

pub use crate::admin::fuzz::{bearer_token, endpoint, request, tokens};
use crate::root_key;

/// The file of the root key. What is read is written again as the same key.
pub fn root_key_file(data: &[u8]) {
    let Some(found) = std::str::from_utf8(data).ok().and_then(root_key::parse) else { return };
    let again = root_key::parse(&root_key::text(&found));
    let is_same =
        again.is_some_and(|again| again.access_key_id == found.access_key_id && again.secret.expose() == found.secret.expose());
    assert!(is_same, "a root key is not what it was");
}
