//! Tokens: what a file of them looks like, which are good enough, and how one that was sent is compared.
//!
//! A line is a token, or a name and a token with a space between; empty lines and those that begin with `#` are passed over. Several may be in
//! force at once, so that one can be replaced by another without a moment in which neither opens. They are kept as their SHA-256 alone.
//! That needs no salt and no slow hash: they are not passwords that somebody chose, but 32 random bytes or more, and those are demanded.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// The least randomness that a token must have room for, bits.
const TOKEN_BITS_MIN: usize = 256;
/// Fewer different characters than this, and it was not made at random: among 64 random hexadecimal digits that has a chance of 1 in 10^18.
const DIFFERENT_CHARACTERS_MIN: usize = 8;
/// The longest token, characters.
pub const TOKEN_LENGTH_MAX: usize = 1024;
/// The most tokens at once.
const TOKENS_MAX: usize = 64;
/// The longest name, characters.
const NAME_LENGTH_MAX: usize = 64;
/// How a token is made.
pub const HOW_TO_MAKE: &str = "make one with: (umask 077; openssl rand -hex 32 > FILE)";

/// A token in clear, and its name where it was given one. It does not show itself.
pub struct Token {
    /// Its name.
    pub name: Option<String>,
    /// What is sent.
    pub secret: Zeroizing<String>,
}

/// Reads a file's text; in words, without quoting it, why it cannot be used.
pub fn parse(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |words: &str| format!("line {}: {words}", index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if tokens.len() == TOKENS_MAX {
            return Err(wrong(&format!("there are more than {TOKENS_MAX} tokens")));
        }
        let (name, secret) = match line.split_once(char::is_whitespace) {
            Some((name, secret)) => (Some(name.to_owned()), secret.trim_start()),
            None => (None, line),
        };
        if name.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(wrong("a token's name has at most 64 of a-z, A-Z, 0-9, '-', '.' and '_', and ends at a space"));
        }
        check(secret).map_err(|words| wrong(&words))?;
        if tokens.iter().any(|token| *token.secret == secret) {
            return Err(wrong("this token stands here twice"));
        }
        if name.is_some() && tokens.iter().any(|token| token.name == name) {
            return Err(wrong("another token has this name"));
        }
        tokens.push(Token { name, secret: Zeroizing::new(secret.to_owned()) });
    }
    if tokens.is_empty() {
        return Err(format!("there is no token; {HOW_TO_MAKE}"));
    }
    Ok(tokens)
}

fn is_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name.bytes().all(is_known)
}

/// Whether these are characters that a token in a header has (`b64token`, RFC 6750, section 2.1).
fn is_sendable(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(is_known)
}

/// Whether a token can be as random as is demanded.
fn check(token: &str) -> Result<(), String> {
    if token.len() > TOKEN_LENGTH_MAX {
        return Err(format!("a token has at most {TOKEN_LENGTH_MAX} characters"));
    }
    if !is_sendable(token) {
        return Err("a token consists of a-z, A-Z, 0-9 and -._~+/, and '=' at its end".to_owned());
    }
    let body = token.trim_end_matches('=');
    // Digits that are all hexadecimal are taken for that: four bits each, where a character of base64 has six.
    let bits_each = if body.bytes().all(|byte| byte.is_ascii_hexdigit()) { 4 } else { 6 };
    let different: BTreeSet<u8> = body.bytes().collect();
    if body.len() * bits_each < TOKEN_BITS_MIN || different.len() < DIFFERENT_CHARACTERS_MIN {
        return Err(format!(
            "a token is made of at least 32 random bytes, so of 64 hexadecimal digits, or 43 characters of base64; {HOW_TO_MAKE}"
        ));
    }
    Ok(())
}

/// Tokens that open, as hashes.
pub struct Tokens(Vec<Known>);

struct Known {
    name: String,
    hash: [u8; 32],
}

impl Tokens {
    /// Those of a file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = parse(text)?.into_iter().map(|token| {
            let hash = hash(token.secret.as_bytes());
            let name = token.name.unwrap_or_else(|| format!("#{}", hexadecimal(&hash[..4])));
            Known { name, hash }
        });
        Ok(Self(known.collect()))
    }

    /// The name of the token that was sent, if it is one of these. How long it takes does not tell how near it came: hashes are compared, each
    /// of them, and to their ends.
    pub fn find(&self, sent: &[u8]) -> Option<&str> {
        let sent = hash(sent);
        let mut found = 0u64;
        for (place, known) in (1u64..).zip(&self.0) {
            let is_this: Choice = sent.as_slice().ct_eq(&known.hash);
            found.conditional_assign(&place, is_this);
        }
        self.0.get(usize::try_from(found).ok()?.checked_sub(1)?).map(|known| known.name.as_str())
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Bytes in hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const BASE64: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";

    #[test]
    fn a_token_that_could_be_guessed_is_refused() {
        for good in [HEX, BASE64, &HEX.to_uppercase(), &BASE64[..43], &HEX.repeat(16)] {
            assert!(check(good).is_ok(), "{good}");
        }
        let padded = format!("{}{}", &BASE64[..42], "=".repeat(20));
        for bad in
            ["", "=", "secret", &HEX[..63], &BASE64[..42], &padded, &"a".repeat(64), &"correct".repeat(10), &HEX.repeat(17)]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        for unsendable in [" ", "\u{e9}", ",", "\"", "=A", "\t", "\0"] {
            assert!(check(&format!("{HEX}{unsendable}")).is_err(), "{unsendable:?}");
        }
    }

    #[test]
    fn a_file_has_tokens_with_names_and_without() {
        let text = format!("# those in force\n\noperator {HEX}\r\n\t{BASE64}  \n");
        let tokens = parse(&text).unwrap();
        let read: Vec<_> = tokens.iter().map(|token| (token.name.as_deref(), token.secret.as_str())).collect();
        assert_eq!(read, [(Some("operator"), HEX), (None, BASE64)]);

        let known = Tokens::parse(&text).unwrap();
        assert_eq!(known.find(HEX.as_bytes()), Some("operator"));
        let unnamed = known.find(BASE64.as_bytes()).unwrap();
        assert!(unnamed.starts_with('#') && unnamed.len() == 9 && !BASE64.contains(&unnamed[1..]), "{unnamed}");
        for other in ["", &HEX[..63], &format!("{HEX}0"), &HEX.to_uppercase(), &BASE64[..43], "operator"] {
            assert_eq!(known.find(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn why_a_file_cannot_be_used_is_said_without_its_secrets() {
        for (text, words) in [
            (String::new(), "there is no token"),
            ("# nothing\n".to_owned(), "openssl rand -hex 32"),
            (format!("{HEX}\nshort-secret"), "line 2: a token is made of at least 32 random bytes"),
            (format!("{HEX}\n\n{HEX}"), "line 3: this token stands here twice"),
            (format!("a {HEX}\na {BASE64}"), "line 2: another token has this name"),
            (format!("a/b {HEX}"), "line 1: a token's name"),
            (format!("a {HEX} {BASE64}"), "line 1: a token consists of"),
            (format!("{} {HEX}", "n".repeat(65)), "line 1: a token's name"),
            ((0..65).fold(String::new(), |text, number| text + &format!("{HEX}{number}\n")), "line 65: there are more than 64"),
        ] {
            let error = Tokens::parse(&text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("short-secret") && !error.contains(HEX), "{error}");
        }
    }
}
