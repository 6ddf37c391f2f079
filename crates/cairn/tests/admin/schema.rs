//! A small judge of JSON against a schema of the API's document: of JSON Schema it knows what stands there, and fails at anything else. It is
//! stricter in one thing: a field that the schema does not name is wrong, so that no answer holds what the document is silent about.

use std::collections::BTreeSet;

use serde_json::Value;

/// What is wrong with a value.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let mut named = BTreeSet::new();
    check_value(document, schema, value, &mut named)?;
    let unnamed = value.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| !named.contains(*name));
    match unnamed {
        // What has no fields in its schema is any object.
        Some(name) if !named.is_empty() => Err(format!("the field {name:?} is not in the schema")),
        _ => Ok(()),
    }
}

/// Judges a value, and adds the fields that the schema names.
fn check_value(document: &Value, schema: &Value, value: &Value, named: &mut BTreeSet<String>) -> Result<(), String> {
    for (keyword, operand) in schema.as_object().ok_or("there is no schema")? {
        match keyword.as_str() {
            "description" | "format" | "default" | "additionalProperties" => {}
            "$ref" => {
                let target = operand.as_str().and_then(|reference| document.pointer(reference.strip_prefix('#')?));
                check_value(document, target.ok_or("a reference leads nowhere")?, value, named)?;
            }
            "type" => {
                let is = |name: &Value| match name.as_str() {
                    Some("object") => value.is_object(),
                    Some("array") => value.is_array(),
                    Some("string") => value.is_string(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_u64() || value.is_i64(),
                    Some("null") => value.is_null(),
                    _ => false,
                };
                if !(is(operand) || operand.as_array().is_some_and(|names| names.iter().any(is))) {
                    return Err(format!("{value} is not of the type {operand}"));
                }
            }
            "const" if operand == value => {}
            "const" => return Err(format!("{value} is not {operand}")),
            "enum" if operand.as_array().is_some_and(|values| values.contains(value)) => {}
            "enum" => return Err(format!("{value} is none of {operand}")),
            "minimum" if value.as_i64().zip(operand.as_i64()).is_none_or(|(value, least)| value >= least) => {}
            "minimum" => return Err(format!("{value} is less than {operand}")),
            "maximum" if value.as_i64().zip(operand.as_i64()).is_none_or(|(value, most)| value <= most) => {}
            "maximum" => return Err(format!("{value} is more than {operand}")),
            "required" => {
                let missing = operand.as_array().into_iter().flatten().find(|name| value.get(name.as_str().unwrap()).is_none());
                if let Some(name) = missing {
                    return Err(format!("the field {name} is missing"));
                }
            }
            "properties" => {
                for (name, schema) in operand.as_object().into_iter().flatten() {
                    named.insert(name.clone());
                    if let Some(field) = value.get(name) {
                        check(document, schema, field).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(document, operand, item)?;
                }
            }
            "oneOf" | "anyOf" => {
                let mut fitting = Vec::new();
                for branch in operand.as_array().into_iter().flatten() {
                    let mut named = BTreeSet::new();
                    if check_value(document, branch, value, &mut named).is_ok() {
                        fitting.push(named);
                    }
                }
                if fitting.is_empty() || keyword == "oneOf" && fitting.len() > 1 {
                    return Err(format!("{value} fits {} of the schemas of {keyword}", fitting.len()));
                }
                named.extend(fitting.into_iter().flatten());
            }
            other => return Err(format!("the keyword {other:?} is not known to this judge")),
        }
    }
    Ok(())
}

#[test]
fn the_judge_finds_what_is_wrong() {
    let document = serde_json::json!({ "s": { "type": "object", "properties": { "a": { "type": ["integer", "null"], "minimum": 0 } }, "required": ["a"],
        "oneOf": [{ "properties": { "k": { "const": "x" } } }, { "properties": { "k": { "const": "y" }, "n": { "type": "string" } }, "required": ["n"] }] } });
    let schema = serde_json::json!({ "$ref": "#/s" });
    let is_right = |value: Value| check(&document, &schema, &value).is_ok();
    assert!(is_right(serde_json::json!({ "a": 1, "k": "x" })) && is_right(serde_json::json!({ "a": null, "k": "y", "n": "" })));
    for wrong in ["1", "{}", r#"{"a":-1,"k":"x"}"#, r#"{"a":1,"k":"z"}"#, r#"{"a":1,"k":"y"}"#, r#"{"a":1,"k":"x","b":1}"#] {
        assert!(!is_right(serde_json::from_str(wrong).unwrap()), "{wrong}");
    }
    assert!(check(&document, &serde_json::json!({ "pattern": "a" }), &Value::Null).is_err());
}
