//! What the API can do, as a table: the requests are routed by it and the OpenAPI document is written from it, so that neither can tell
//! of an operation that the other does not know.

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::api::{
    Account, Audit, Bucket, CreatedKey, Empty, FailureCode, Key, LIST_LIMIT_MAX, List, NewAccount, NewAudit, NewKey, NewTenant,
    StoreStatus, Tenant,
};
use super::error::{ApiError, ApiResult};

/// Which operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    GetZones,
    StartAudit,
    GetAudit,
    StopAudit,
    ListTenants,
    CreateTenant,
    DeleteTenant,
    ListAccounts,
    CreateAccount,
    DeleteAccount,
    ListKeys,
    CreateKey,
    RevokeKey,
    ListBuckets,
    GetBucket,
    GetOpenapi,
}

/// How a type is described.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object" })
}

/// A parameter of a path or query.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// The largest value of a number from 1; `None` for a text.
    pub number_max: Option<u32>,
}

/// Something that the API does.
pub struct Operation {
    /// Which.
    pub name: Name,
    /// Its `operationId`.
    pub id: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path: what stands in braces is a parameter.
    pub path: &'static str,
    /// What it does, for people.
    pub about: &'static str,
    /// What stands in the path's braces, in their order.
    pub captured: &'static [Parameter],
    /// The parameters of its query; none has to be given, and no other may be.
    pub query: &'static [&'static Parameter],
    /// What is asked in the body.
    pub request: Option<SchemaOf>,
    /// What is answered.
    pub answer: SchemaOf,
    /// How it can fail besides [`ALWAYS_POSSIBLE`].
    pub failures: &'static [FailureCode],
}

/// How any operation can fail.
pub const ALWAYS_POSSIBLE: &[FailureCode] = &[
    FailureCode::Invalid,
    FailureCode::Unauthenticated,
    FailureCode::Forbidden,
    FailureCode::TooManyAttempts,
    FailureCode::Internal,
    FailureCode::Unavailable,
    FailureCode::OutcomeUnknown,
];

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, number_max: None }
}

const TENANT_ONLY: Parameter = text("tenant", "The name of a tenant: only what is in it.");
const TENANT: Parameter = text("tenant", "The name of a tenant; the default one where none is given.");
const ACCOUNT_ONLY: Parameter = text("account", "The id or name of an account, in `tenant` or the default one: only its keys.");
const BUCKET_ONLY: Parameter =
    text("bucket", "The name of a bucket, in `tenant` or the default one: only keys that were given it.");
const AFTER: Parameter = text("after", "Where the page starts: the `next` of the page before.");
const LIMIT: Parameter =
    Parameter { name: "limit", about: "The longest page; 1,000 where it is not given.", number_max: Some(LIST_LIMIT_MAX) };
const TENANT_NAME: Parameter = text("name", "The tenant's name.");
const ACCOUNT_ID: Parameter = text("id", "The account's canonical id, 64 hexadecimal digits.");
const ACCESS_KEY_ID: Parameter = text("accessKeyId", "The public half of the key.");
const BUCKET_NAME: Parameter = text("name", "The bucket's name.");

/// Every operation, ordered by path.
pub static OPERATIONS: &[Operation] = &[
    Operation {
        name: Name::GetZones,
        id: "getZones",
        method: Method::GET,
        path: "/v1/zones",
        about: "How the store and its three zones are doing.",
        captured: &[],
        query: &[],
        request: None,
        answer: schema::<StoreStatus>,
        failures: &[],
    },
    Operation {
        name: Name::StartAudit,
        id: "startAudit",
        method: Method::POST,
        path: "/v1/audit",
        about: "Begin to look at every object, and at every copy of every chunk in every zone. Changes nothing; damaged copies are replaced as if a client had read them.",
        captured: &[],
        query: &[],
        request: Some(schema::<NewAudit>),
        answer: schema::<Audit>,
        failures: &[FailureCode::Exists, FailureCode::TooLarge],
    },
    Operation {
        name: Name::GetAudit,
        id: "getAudit",
        method: Method::GET,
        path: "/v1/audit",
        about: "How the audit that runs is going, or how the last one went. What it has found so far is not settled before it has ended.",
        captured: &[],
        query: &[],
        request: None,
        answer: schema::<Audit>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::StopAudit,
        id: "stopAudit",
        method: Method::DELETE,
        path: "/v1/audit",
        about: "Stop the audit that runs, if one does.",
        captured: &[],
        query: &[],
        request: None,
        answer: schema::<Audit>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::ListTenants,
        id: "listTenants",
        method: Method::GET,
        path: "/v1/tenants",
        about: "The tenants, in the order of their making.",
        captured: &[],
        query: &[&AFTER, &LIMIT],
        request: None,
        answer: schema::<List<Tenant>>,
        failures: &[],
    },
    Operation {
        name: Name::CreateTenant,
        id: "createTenant",
        method: Method::POST,
        path: "/v1/tenants",
        about: "Make a tenant.",
        captured: &[],
        query: &[],
        request: Some(schema::<NewTenant>),
        answer: schema::<Tenant>,
        failures: &[FailureCode::Exists, FailureCode::TooLarge],
    },
    Operation {
        name: Name::DeleteTenant,
        id: "deleteTenant",
        method: Method::DELETE,
        path: "/v1/tenants/{name}",
        about: "Remove a tenant that has no buckets and no accounts.",
        captured: &[TENANT_NAME],
        query: &[],
        request: None,
        answer: schema::<Empty>,
        failures: &[FailureCode::NotFound, FailureCode::InUse],
    },
    Operation {
        name: Name::ListAccounts,
        id: "listAccounts",
        method: Method::GET,
        path: "/v1/accounts",
        about: "The accounts, in the order of their ids.",
        captured: &[],
        query: &[&TENANT_ONLY, &AFTER, &LIMIT],
        request: None,
        answer: schema::<List<Account>>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::CreateAccount,
        id: "createAccount",
        method: Method::POST,
        path: "/v1/accounts",
        about: "Make an account.",
        captured: &[],
        query: &[],
        request: Some(schema::<NewAccount>),
        answer: schema::<Account>,
        failures: &[FailureCode::NotFound, FailureCode::Exists, FailureCode::TooLarge],
    },
    Operation {
        name: Name::DeleteAccount,
        id: "deleteAccount",
        method: Method::DELETE,
        path: "/v1/accounts/{id}",
        about: "Remove an account that has no buckets and no keys.",
        captured: &[ACCOUNT_ID],
        query: &[],
        request: None,
        answer: schema::<Empty>,
        failures: &[FailureCode::NotFound, FailureCode::InUse],
    },
    Operation {
        name: Name::ListKeys,
        id: "listKeys",
        method: Method::GET,
        path: "/v1/keys",
        about: "The access keys, in the order of their ids, without their secrets.",
        captured: &[],
        query: &[&TENANT_ONLY, &ACCOUNT_ONLY, &BUCKET_ONLY, &AFTER, &LIMIT],
        request: None,
        answer: schema::<List<Key>>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::CreateKey,
        id: "createKey",
        method: Method::POST,
        path: "/v1/keys",
        about: "Make an access key, or take one that exists elsewhere. The secret of one that is made stands in this answer and cannot be had again.",
        captured: &[],
        query: &[],
        request: Some(schema::<NewKey>),
        answer: schema::<CreatedKey>,
        failures: &[FailureCode::NotFound, FailureCode::Exists, FailureCode::TooLarge],
    },
    Operation {
        name: Name::RevokeKey,
        id: "revokeKey",
        method: Method::DELETE,
        path: "/v1/keys/{accessKeyId}",
        about: "Revoke an access key: within a second it opens nothing.",
        captured: &[ACCESS_KEY_ID],
        query: &[],
        request: None,
        answer: schema::<Empty>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::ListBuckets,
        id: "listBuckets",
        method: Method::GET,
        path: "/v1/buckets",
        about: "A tenant's buckets and what they hold, in the order of their names.",
        captured: &[],
        query: &[&TENANT, &AFTER, &LIMIT],
        request: None,
        answer: schema::<List<Bucket>>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::GetBucket,
        id: "getBucket",
        method: Method::GET,
        path: "/v1/buckets/{name}",
        about: "A bucket and what it holds.",
        captured: &[BUCKET_NAME],
        query: &[&TENANT],
        request: None,
        answer: schema::<Bucket>,
        failures: &[FailureCode::NotFound],
    },
    Operation {
        name: Name::GetOpenapi,
        id: "getOpenapi",
        method: Method::GET,
        path: "/v1/openapi.json",
        about: "This document.",
        captured: &[],
        query: &[],
        request: None,
        answer: any_object,
        failures: &[],
    },
];

/// The operation of a request, and what its path has in place of the braces.
pub fn find<'a>(method: &Method, segments: &'a [String]) -> ApiResult<(&'static Operation, Vec<&'a str>)> {
    if segments.first().is_none_or(|version| version != "v1") {
        return Err(unknown("this service speaks version 1 of the API: paths begin with /v1/"));
    }
    let mut is_path = false;
    for operation in OPERATIONS {
        let Some(captured) = operation.captures(segments) else { continue };
        if operation.method == *method {
            return Ok((operation, captured));
        }
        is_path = true;
    }
    if is_path {
        return Err(ApiError::new(FailureCode::MethodNotAllowed, "this path does not take this method"));
    }
    Err(unknown("this service knows no such path in version 1 of the API"))
}

fn unknown(message: &str) -> ApiError {
    ApiError::new(FailureCode::UnknownPath, message)
}

impl Operation {
    fn captures<'a>(&self, segments: &'a [String]) -> Option<Vec<&'a str>> {
        let mut own = self.path.split('/').skip(1);
        let mut captured = Vec::new();
        for segment in segments {
            match own.next()? {
                braced if braced.starts_with('{') => captured.push(segment.as_str()),
                literal if literal == segment => {}
                _ => return None,
            }
        }
        own.next().is_none().then_some(captured)
    }
}
