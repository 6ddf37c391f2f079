//! Which request of the API is which, and the log of what was changed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::SERVER;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{FailureCode, LIST_LIMIT_MAX, NewAccount, NewAudit, NewKey, NewTenant};
use super::caller::Caller;
use super::connections::{self, Answer};
use super::error::{ApiError, ApiResult};
use super::keys::KeyFilter;
use super::operations::{self, Name, Operation, Parameter};
use super::{Admin, Open, audit, buckets, directory, keys, openapi, zones};

/// How long anything may take. What has not ended by then goes on, and its outcome is logged.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers a request of somebody who may administer.
pub async fn answer(admin: &Arc<Admin>, caller: Caller, request: Request<Incoming>) -> Answer {
    let outcome = match tokio::time::timeout(ANSWER_TIMEOUT, handle(admin, caller, request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::new(
            FailureCode::OutcomeUnknown,
            format!("no answer within {} s; a change may still be made", ANSWER_TIMEOUT.as_secs()),
        )),
    };
    let mut answer = outcome.unwrap_or_else(|error| connections::json(error.status(), &error.failure()));
    // So that a client of another version can say so.
    answer.headers_mut().insert(SERVER, HeaderValue::from_static(concat!("cairn/", env!("CARGO_PKG_VERSION"))));
    answer
}

async fn handle(admin: &Arc<Admin>, caller: Caller, request: Request<Incoming>) -> ApiResult<Answer> {
    let (parts, body) = request.into_parts();
    let segments = segments(parts.uri.path())?;
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let (operation, captured) = operations::find(&parts.method, &segments)?;
    query.allow(operation.query)?;
    if operation.method == Method::GET {
        return read(admin, operation, &captured, &query).await;
    }
    let body = if operation.request.is_some() { connections::read_body(body).await? } else { Bytes::new() };
    run(admin, caller, Change::of(operation, &captured, &body)?).await
}

async fn read(admin: &Arc<Admin>, operation: &Operation, captured: &[&str], query: &Query) -> ApiResult<Answer> {
    let (tenant, after) = (query.get("tenant"), query.get("after"));
    Ok(match (operation.name, captured) {
        (Name::GetOpenapi, _) => ok(&openapi::document()),
        (Name::GetZones, _) => ok(&zones::status(admin).await?),
        (Name::GetAudit, _) => ok(&audit::get(admin, admin.open()?)?),
        (Name::ListTenants, _) => ok(&directory::list_tenants(&admin.open()?.store, after, query.limit()?).await?),
        (Name::ListAccounts, _) => ok(&directory::list_accounts(&admin.open()?.store, tenant, after, query.limit()?).await?),
        (Name::ListKeys, _) => {
            let filter = KeyFilter { tenant, account: query.get("account"), bucket: query.get("bucket") };
            ok(&keys::list(admin.open()?, &filter, after, query.limit()?).await?)
        }
        (Name::ListBuckets, _) => ok(&buckets::list(&admin.open()?.store, tenant, after, query.limit()?).await?),
        (Name::GetBucket, [name]) => ok(&buckets::get(&admin.open()?.store, tenant, name).await?),
        _ => return Err(not_routed(operation)),
    })
}

fn ok(value: &impl Serialize) -> Answer {
    connections::json(StatusCode::OK, value)
}

/// An operation that stands in the table and is done nowhere: a bug, which a test looks for.
fn not_routed(operation: &Operation) -> ApiError {
    ApiError::new(FailureCode::Internal, format!("{} is not done anywhere", operation.id))
}

/// A request that changes something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    StartAudit(NewAudit),
    StopAudit,
    CreateTenant(NewTenant),
    DeleteTenant(String),
    CreateAccount(NewAccount),
    DeleteAccount(String),
    CreateKey(NewKey),
    RevokeKey(String),
}

impl Change {
    pub(super) fn of(operation: &Operation, captured: &[&str], body: &Bytes) -> ApiResult<Self> {
        match (operation.name, captured) {
            (Name::StartAudit, _) => Ok(Self::StartAudit(document(body)?)),
            (Name::StopAudit, _) => Ok(Self::StopAudit),
            (Name::CreateTenant, _) => Ok(Self::CreateTenant(document(body)?)),
            (Name::DeleteTenant, [name]) => Ok(Self::DeleteTenant((*name).to_owned())),
            (Name::CreateAccount, _) => Ok(Self::CreateAccount(document(body)?)),
            (Name::DeleteAccount, [id]) => Ok(Self::DeleteAccount((*id).to_owned())),
            (Name::CreateKey, _) => Ok(Self::CreateKey(document(body)?)),
            (Name::RevokeKey, [id]) => Ok(Self::RevokeKey((*id).to_owned())),
            _ => Err(not_routed(operation)),
        }
    }

    fn action(&self) -> &'static str {
        match self {
            Self::StartAudit(_) => "start an audit",
            Self::StopAudit => "stop an audit",
            Self::CreateTenant(_) => "create a tenant",
            Self::DeleteTenant(_) => "delete a tenant",
            Self::CreateAccount(_) => "create an account",
            Self::DeleteAccount(_) => "delete an account",
            Self::CreateKey(NewKey { credentials: None, .. }) => "create a key",
            Self::CreateKey(_) => "import a key",
            Self::RevokeKey(_) => "revoke a key",
        }
    }

    async fn make(self, admin: &Admin, open: &Open) -> ApiResult<Answer> {
        Ok(match self {
            Self::StartAudit(request) => ok(&audit::start(admin, open, &request)?),
            Self::StopAudit => ok(&audit::stop(admin, open)?),
            Self::CreateTenant(request) => ok(&directory::create_tenant(&open.store, request).await?),
            Self::DeleteTenant(name) => ok(&directory::delete_tenant(&open.store, &name).await?),
            Self::CreateAccount(request) => ok(&directory::create_account(&open.store, request).await?),
            Self::DeleteAccount(id) => ok(&directory::delete_account(&open.store, &id).await?),
            Self::CreateKey(request) => {
                let created = keys::create(open, request).await?;
                tracing::info!(access_key_id = ?created.key.access_key_id, "administration: the key was made");
                ok(&created)
            }
            Self::RevokeKey(id) => ok(&keys::revoke(open, &id).await?),
        })
    }
}

/// Makes a change, after those before it, to its end: also when whoever asked is gone.
async fn run(admin: &Arc<Admin>, caller: Caller, change: Change) -> ApiResult<Answer> {
    let admin = admin.clone();
    let running = tokio::spawn(async move {
        let open = admin.open()?;
        let _one_at_a_time = admin.changing.lock().await;
        let (action, asked) = (change.action(), format!("{change:?}"));
        let (uid, pid, from, token, certificate) =
            (caller.uid(), caller.pid(), caller.from(), caller.token(), caller.certificate());
        let outcome = change.make(&admin, open).await;
        // What was asked is shown as Rust shows it: a name cannot begin a line of its own, and secrets do not show themselves.
        match &outcome {
            Ok(_) => tracing::info!(uid, pid, from, token, certificate, action, asked, "administration: done"),
            Err(error) => {
                tracing::warn!(uid, pid, from, token, certificate, action, asked, %error, "administration: not done");
            }
        }
        outcome
    });
    running
        .await
        .unwrap_or_else(|_| Err(ApiError::new(FailureCode::Internal, "the change ended early; look whether it was made")))
}

/// The body as a document. The error is for the caller alone: it may quote the body.
fn document<T: DeserializeOwned>(body: &Bytes) -> ApiResult<T> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid(format!("the request's body does not fit: {error}")))
}

/// The parts of a path, decoded.
pub(super) fn segments(path: &str) -> ApiResult<Vec<String>> {
    path.split('/').skip(1).map(decode).collect()
}

fn decode(text: &str) -> ApiResult<String> {
    let invalid = || ApiError::invalid("the path or query is not encoded well");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let ([high, low], tail) = tail.split_first_chunk::<2>().ok_or_else(invalid)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(invalid);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).map_err(|_| invalid())?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

/// The query's parameters.
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> ApiResult<Self> {
        let parameters = text.split('&').filter(|parameter| !parameter.is_empty());
        let decoded = parameters.map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            Ok((decode(name)?, decode(value)?))
        });
        let decoded: Vec<(String, String)> = decoded.collect::<ApiResult<_>>()?;
        // Of two restrictions, one would be passed over.
        let is_again = |(at, (name, _)): (usize, &(String, String))| decoded.iter().take(at).any(|(before, _)| before == name);
        match decoded.iter().enumerate().find(|(at, parameter)| is_again((*at, parameter))) {
            Some((_, (name, _))) => Err(ApiError::invalid(format!("the parameter {name:?} is given twice"))),
            None => Ok(Self(decoded)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is not understood might have been a restriction.
    fn allow(&self, parameters: &[&Parameter]) -> ApiResult<()> {
        match self.0.iter().find(|(name, _)| parameters.iter().all(|parameter| parameter.name != name)) {
            Some((name, _)) => Err(ApiError::invalid(format!("this path has no parameter {name:?}"))),
            None => Ok(()),
        }
    }

    pub(super) fn limit(&self) -> ApiResult<u32> {
        let Some(text) = self.get("limit") else { return Ok(LIST_LIMIT_MAX) };
        let limit = text.parse().ok().filter(|limit| (1..=LIST_LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| ApiError::invalid(format!("limit is a number from 1 to {LIST_LIMIT_MAX}, got {text:?}")))
    }
}

#[cfg(test)]
mod tests;
