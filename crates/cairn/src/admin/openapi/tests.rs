use std::collections::BTreeSet;

use super::*;

const GOLDEN: &str = include_str!("../../../../../docs/openapi.json");

/// Every `$ref` in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference.clone());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// A change of the API is seen in the change of this file.
#[test]
fn the_document_that_is_published_is_this_one() {
    assert_eq!(text(), GOLDEN, "the API is another than docs/openapi.json says: `cairn admin openapi > docs/openapi.json`");
}

#[test]
fn the_document_is_whole() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10, "{found:?}");
    for reference in &found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is used nowhere");
    }

    let operations: Vec<&Value> =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values()).collect();
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!((operations.len(), ids.len()), (OPERATIONS.len(), OPERATIONS.len()));
    for operation in operations {
        let responses = operation["responses"].as_object().unwrap();
        for status in ["200", "400", "401", "429", "503"] {
            assert!(responses.contains_key(status), "{operation} has no {status}");
        }
    }
}

/// What a request may hold is refused where it is not known; what an answer holds may grow.
#[test]
fn requests_are_closed_and_answers_open() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let is_request = ["NewAudit", "NewTenant", "NewAccount", "NewKey", "Credentials", "Grant"].contains(&name.as_str());
        assert_eq!(schema["additionalProperties"] == Value::Bool(false), is_request, "{name}");
    }
}
