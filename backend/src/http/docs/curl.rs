//! Examples to paste: a route as a call of curl.

use std::fmt::Write as _;

use serde_json::Value;

use super::shape::Document;

/// What examples need to be there: a service, something to sell, and a way to have a reservation.
pub(super) const PREPARE: &str = r#"CARTGATE=http://127.0.0.1:8080
TOKEN=none  # in development mode; else what `cartgate token create` printed
curl -sS -X PUT "$CARTGATE/v1/skus/EXAMPLE-TEE-M/stock" \
     -H "authorization: Bearer $TOKEN" \
     -H 'content-type: application/json' \
     -d '{"quantity":100}'
# Reserves one, and prints the reservation's id.
reserve() {
    curl -sS "$CARTGATE/v1/reservations" -H "authorization: Bearer $TOKEN" \
         -d 'sku=EXAMPLE-TEE-M&customer_id=ann' | sed 's/.*"reservation_id":"\([0-9a-f]*\)".*/\1/'
}"#;

/// The calls that a route has examples of: one for each kind of body.
pub(super) fn calls(
    document: &Document<'_>,
    method: &str,
    path: &str,
    operation: &Value,
) -> Vec<String> {
    let head = head(document, method, path, operation);
    let content = operation["requestBody"]["content"].as_object();
    let bodies: Vec<_> = content
        .into_iter()
        .flatten()
        .filter_map(|(media_type, content)| body(document, media_type, content))
        .collect();
    match bodies.is_empty() {
        true => vec![head],
        false => bodies.iter().map(|body| format!("{head}{body}")).collect(),
    }
}

fn head(document: &Document<'_>, method: &str, path: &str, operation: &Value) -> String {
    let mut path = path.to_owned();
    let mut headers = String::new();
    for parameter in document.own_parameters(operation) {
        let name = parameter["name"].as_str().unwrap_or_default();
        let example = document.example(&parameter["schema"]).unwrap_or_default();
        let example = example.as_str().unwrap_or_default();
        if parameter["in"] == "path" {
            // The id of a reservation is known only once there is one.
            let value = if name == "id" { "$(reserve)" } else { example };
            path = path.replace(&format!("{{{name}}}"), value);
        } else if parameter["in"] == "header" && parameter["required"] == true {
            let _ = write!(
                headers,
                "{NEXT}-H {}",
                quoted(&format!("{}: {example}", name.to_lowercase()))
            );
        }
    }
    let method = method.to_uppercase();
    let token = match document.scopes(operation).is_empty() {
        true => "",
        false => " \\\n     -H \"authorization: Bearer $TOKEN\"",
    };
    // No terminal takes that as it is.
    let is_binary = !operation["responses"]["200"]["content"][BINARY].is_null();
    let (show, into) = if is_binary { ("-sS", " -o answer.bin") } else { ("-i", "") };
    format!("curl {show} -X {method} \"$CARTGATE{path}\"{into}{token}{headers}")
}

const BINARY: &str = "application/octet-stream";

const NEXT: &str = " \\\n     ";

fn body(document: &Document<'_>, media_type: &str, content: &Value) -> Option<String> {
    let example = document.example_of_content(content)?;
    let parts = match (media_type, &example) {
        ("multipart/form-data", Value::Object(fields)) => {
            let fields =
                fields.iter().map(|(name, value)| format!("-F {}", quoted(&field(name, value))));
            return Some(fields.fold(String::new(), |all, field| format!("{all}{NEXT}{field}")));
        }
        ("application/x-www-form-urlencoded", Value::Object(fields)) => {
            fields.iter().map(|(name, value)| field(name, value)).collect::<Vec<_>>().join("&")
        }
        (_, Value::String(text)) => text.clone(),
        (_, value) => value.to_string(),
    };
    let content_type = quoted(&format!("content-type: {media_type}"));
    Some(format!("{NEXT}-H {content_type}{NEXT}--data-binary {}", quoted(&parts)))
}

fn field(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={value}"),
    }
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
