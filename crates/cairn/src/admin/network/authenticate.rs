//! Who may administer over the network: whoever has one of the tokens, or a certificate of the authority (K2). Nobody else, for whatever
//! path and method, and nothing tells how near an attempt came.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cairn_s3::Source;
use http::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::attempts::{Attempts, Verdict};
use super::secret_file::{self, Kind};
use super::tokens::{TOKEN_LENGTH_MAX, Tokens};
use crate::admin::api::FailureCode;
use crate::admin::caller::{Caller, Credential};
use crate::admin::connections::{self, Answer};
use crate::admin::error::ApiError;

/// Where the tokens are.
pub enum TokenSource {
    /// In a file, which is read for every request that has a token: what is taken out of it opens nothing from then on.
    File(PathBuf),
    /// Given once.
    Given(Tokens),
}

impl TokenSource {
    /// The name of a token that was sent, if it opens. It blocks on the disk. Where the file cannot be used, nothing opens.
    fn find(&self, sent: &[u8]) -> Result<Option<String>, String> {
        match self {
            Self::Given(tokens) => Ok(tokens.find(sent).map(str::to_owned)),
            Self::File(file) => {
                let text = secret_file::read(file, Kind::Regular)?;
                let tokens = Tokens::parse(&text).map_err(|words| format!("{}: {words}", file.display()))?;
                Ok(tokens.find(sent).map(str::to_owned))
            }
        }
    }

    /// In words why it cannot be used. It blocks on the disk.
    pub fn check(&self) -> Result<(), String> {
        self.find(b"").map(drop)
    }
}

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The fingerprint of the certificate that it has shown, of an authority that is in force.
    pub certificate: Option<String>,
}

/// Says who may.
pub struct Gate {
    /// The tokens, where there are any.
    pub tokens: Option<TokenSource>,
    /// Whether certificates open.
    pub takes_certificates: bool,
    /// Who failed lately.
    pub attempts: Attempts,
}

/// What a request brings.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::admin) enum Presented<'a> {
    Nothing,
    Token(&'a [u8]),
    /// Something that is no token.
    Other,
}

/// The token in a request's head (RFC 6750, section 2.1; the scheme's case does not matter, RFC 9110, section 11.1).
pub(in crate::admin) fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, rest) = (values.next(), values.next());
    let Some(value) = value else { return Presented::Nothing };
    match value.as_bytes().split_first_chunk::<7>() {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") && rest.is_none() => {
            let token = token.trim_ascii();
            if token.is_empty() || token.len() > TOKEN_LENGTH_MAX { Presented::Other } else { Presented::Token(token) }
        }
        _ => Presented::Other,
    }
}

impl Gate {
    /// Who this is; else what it is answered. Call it where it may block on the disk.
    pub fn admit(&self, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Box<Answer>> {
        let known = |credential| Caller::Network { from: peer.address, credential };
        let by_certificate = || peer.certificate.clone().map(|fingerprint| known(Credential::Certificate(fingerprint)));
        let Some(tokens) = &self.tokens else {
            return by_certificate().ok_or_else(|| self.refuse(peer, "no client certificate was shown"));
        };
        match presented(headers) {
            Presented::Nothing => {
                by_certificate().ok_or_else(|| self.refuse(peer, "neither a token nor a client certificate was shown"))
            }
            // What is wrong is refused, also beside a certificate that is right: whoever sends it believes in it.
            Presented::Other => Err(self.refuse(peer, "what was sent in the header `Authorization` is not one bearer token")),
            Presented::Token(sent) => match tokens.find(sent) {
                Ok(Some(name)) => Ok(known(Credential::Token(name))),
                Ok(None) => Err(self.refuse(peer, "the token is not one of this service's")),
                Err(words) => {
                    tracing::warn!(words, "administration: no token opens, because the tokens cannot be read");
                    let message = "The tokens of this service cannot be read now, so that none opens; its log says why.";
                    Err(Box::new(answer(&ApiError::unavailable(message))))
                }
            },
        }
    }

    /// A handshake failed because of the client's certificate.
    pub fn refuse_handshake(&self, peer: SocketAddr, error: &dyn std::fmt::Display) {
        if let Verdict::Told { unlogged } = self.attempts.failed(Source::of(peer.ip()), Instant::now()) {
            tracing::warn!(from = %peer, unlogged, %error, "administration: refused: the client certificate is not taken");
        }
    }

    fn refuse(&self, peer: &Peer, why: &str) -> Box<Answer> {
        match self.attempts.failed(Source::of(peer.address.ip()), Instant::now()) {
            Verdict::Told { unlogged } => {
                tracing::warn!(from = %peer.address, unlogged, why, "administration: refused");
                let message = format!("You may not administer: {why}. {}", self.what_opens());
                let mut answer = answer(&ApiError::new(FailureCode::Unauthenticated, message));
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cairn administration\""));
                Box::new(answer)
            }
            Verdict::TooMany { retry_after } => Box::new(too_many(retry_after)),
        }
    }

    fn what_opens(&self) -> &'static str {
        match (&self.tokens, self.takes_certificates) {
            (Some(_), false) => "It takes a token (`Authorization: Bearer …`; cairn admin --token-file).",
            (None, _) => "It takes a client certificate (cairn admin --client-cert and --client-key).",
            (Some(_), true) => {
                "It takes a token (`Authorization: Bearer …`; cairn admin --token-file) or a client certificate (--client-cert and --client-key)."
            }
        }
    }
}

fn too_many(retry_after: Duration) -> Answer {
    let seconds = retry_after.as_secs() + 1;
    let message =
        format!("Too many attempts from your address have failed. Wait {seconds} s, and use a credential that is right.");
    let mut answer = answer(&ApiError::new(FailureCode::TooManyAttempts, message));
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

/// A refusal, after which the connection is closed: whatever else was sent on it is not read.
pub fn answer(error: &ApiError) -> Answer {
    let mut answer = connections::json(error.status(), &error.failure());
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests;
