//! The API as an OpenAPI 3.1 document, from the table of operations and the types of their documents.
//!
//! `docs/openapi.json` is this document as the last commit has it, and a test holds it to be: whoever changes the API sees the change there.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::api::{Failure, FailureCode};
use super::error::ApiError;
use super::operations::{ALWAYS_POSSIBLE, OPERATIONS, Operation, Parameter};

const DESCRIPTION: &str = "Administers a Cairn store: zones, tenants, accounts, access keys and buckets. Over the network it takes TLS, and a \
    token or a client certificate; on the machine that serves it is also at the Unix socket `admin.sock` of the data directory, where the kernel \
    says who asks. Within a version, answers may gain fields and requests may gain optional ones; nothing else changes. A request with a field or \
    parameter that is not known is refused.";

/// The document.
pub fn document() -> Value {
    let mut generator = generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in OPERATIONS {
        let described = described(operation, &mut generator);
        paths.entry(operation.path).or_default().insert(operation.method.as_str().to_ascii_lowercase(), described);
    }
    let failure = generator.subschema_for::<Failure>();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Cairn administration", "version": "1", "description": DESCRIPTION, "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "servers": [{ "url": "https://localhost:9443", "description": "The address of --admin-api-listen." }],
        "security": [{ "token": [] }, { "clientCertificate": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "One of the tokens that the service was given." },
                "clientCertificate": { "type": "mutualTLS", "description": "A certificate of the authority that the service was given." },
            },
            "responses": {
                "Failure": { "description": "It was not done.", "content": { "application/json": { "schema": failure } } },
            },
            "schemas": generator.take_definitions(true),
        },
    })
}

/// The document as a file.
pub fn text() -> String {
    // A `Value` whose keys are texts can always be written.
    serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n"
}

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    settings.into_generator()
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let captured = operation.captured.iter().map(|parameter| described_parameter(parameter, "path"));
    let query = operation.query.iter().map(|parameter| described_parameter(parameter, "query"));
    let parameters: Vec<Value> = captured.chain(query).collect();
    let mut responses = Map::new();
    let answer = (operation.answer)(generator);
    responses
        .insert("200".to_owned(), json!({ "description": "Done.", "content": { "application/json": { "schema": answer } } }));
    for (status, codes) in failures(operation) {
        let reference =
            json!({ "$ref": "#/components/responses/Failure", "description": format!("`code` is {}.", codes.join(" or ")) });
        responses.insert(status.as_str().to_owned(), reference);
    }
    let mut described = json!({ "operationId": operation.id, "summary": operation.about, "responses": responses });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(request) = operation.request {
        described["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": request(generator) } } });
    }
    described
}

fn described_parameter(parameter: &Parameter, place: &str) -> Value {
    let schema = match parameter.number_max {
        Some(maximum) => json!({ "type": "integer", "minimum": 1, "maximum": maximum, "default": maximum }),
        None => json!({ "type": "string" }),
    };
    json!({ "name": parameter.name, "in": place, "required": place == "path", "description": parameter.about, "schema": schema })
}

/// The codes of failure by the status that goes with them.
fn failures(operation: &Operation) -> BTreeMap<StatusCode, Vec<String>> {
    let mut by_status: BTreeMap<StatusCode, Vec<String>> = BTreeMap::new();
    for code in ALWAYS_POSSIBLE.iter().chain(operation.failures) {
        by_status.entry(status(*code)).or_default().push(format!("`{code:?}`"));
    }
    by_status
}

fn status(code: FailureCode) -> StatusCode {
    ApiError::new(code, String::new()).status()
}

#[cfg(test)]
mod tests;
