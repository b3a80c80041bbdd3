//! The document as a whole.

use cartgate_policy::problem::ProblemType;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::{answers, note, operations};
use crate::http::{documented, openapi};

/// Those that no route answers as its status: an import tells them in its last line.
const IN_LINES: [ProblemType; 2] = [ProblemType::DigestMismatch, ProblemType::ImportTakenOver];

/// Those of requests that are of no route.
const OF_NO_ROUTE: [ProblemType; 1] = [ProblemType::MethodNotAllowed];

fn as_json(document: &OpenApi) -> Value {
    serde_json::to_value(document).unwrap()
}

/// Each operation, with its method and path.
fn all(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, one)| (format!("{method} {path}"), one))
    });
    operations.collect()
}

#[test]
fn what_is_checked_in_is_what_the_code_says() {
    let checked_in = include_str!("../../../../docs/openapi.json");
    let code = openapi().to_pretty_json().unwrap();
    assert!(checked_in.trim_end() == code, "docs/openapi.json is another: `make openapi`");
}

#[test]
fn routes_name_problems_that_there_are() {
    let mut document = documented().into_openapi();
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let slugs = note(operation, "x-problems").and_then(Value::as_array);
            for slug in slugs.into_iter().flatten() {
                assert!(answers::named(slug.as_str().unwrap()).is_some(), "{slug}");
            }
        }
    }
}

#[test]
fn each_problem_is_of_some_route() {
    let document = as_json(&openapi());
    let text = document["paths"].to_string();
    for problem in ProblemType::ALL {
        let reference = format!("\"#/components/responses/{}\"", problem.slug());
        let is_named =
            text.contains(&format!("\"{}\"", problem.uri())) || text.contains(&reference);
        let is_exempt = IN_LINES.contains(problem) || OF_NO_ROUTE.contains(problem);
        assert_eq!(is_named, !is_exempt, "{}", problem.slug());
    }
}

#[test]
fn each_route_says_all_that_is_to_be_said() {
    let document = as_json(&openapi());
    let mut ids = Vec::new();
    for (route, operation) in all(&document) {
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{route}");
        assert!(operation["security"].is_array(), "{route}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{route}");
        let extensions = operation.as_object().unwrap().keys().filter(|key| key.starts_with("x-"));
        assert_eq!(extensions.count(), 0, "{route}");
        ids.push(operation["operationId"].as_str().unwrap().to_owned());
        let parameters = operation["parameters"].as_array().unwrap();
        for parameter in parameters.iter().filter(|one| one["$ref"].is_null()) {
            assert!(parameter["description"].is_string(), "{route}: {parameter}");
        }
        let named = route.matches('{').count();
        assert_eq!(parameters.iter().filter(|one| one["in"] == "path").count(), named, "{route}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{route}");
        for (status, response) in responses.iter().filter(|(_, one)| one["$ref"].is_null()) {
            assert_ne!(response["description"], "", "{route} {status}");
            assert!(response["headers"]["x-request-id"].is_object(), "{route} {status}");
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "names of routes are there twice: {ids:?}");
}

/// No reference leads nowhere.
#[test]
fn all_that_is_referred_to_is_there() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    let to = to.strip_prefix('#').unwrap();
                    assert!(document.pointer(to).is_some(), "{to}");
                }
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item)),
            _ => {}
        }
    }
    let document = as_json(&openapi());
    check(&document, &document);
}
