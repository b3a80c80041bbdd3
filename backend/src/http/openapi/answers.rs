//! What answers have in common: headers, and the problems that a route may answer, by status.

use std::collections::BTreeMap;

use cartgate_policy::problem::{CONTENT_TYPE, ProblemType};
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, Ref, RefOr, ResponseBuilder};

use super::{note, problems};

/// Headers of answers, which routes name.
const HEADERS: [(&str, &str, &str); 9] = [
    (
        "cartgate-access",
        "development",
        "Nobody is asked for a token: the service runs in development mode.",
    ),
    (
        "cartgate-durability",
        "disk",
        "Below `/v1`: what the answer survives, `process`, `disk`, or so many replicas. See GUARANTEES.md.",
    ),
    ("content-security-policy", "default-src 'none'", "The page loads nothing, and runs nothing."),
    ("etag", "\"7\"", "The version: `If-Match` takes it."),
    ("location", "/v1/reservations/..", "Where it can be read."),
    ("preference-applied", "wait=2", "Which of the preferences was heeded."),
    ("retry-after", "2", "When to try again, in seconds."),
    ("www-authenticate", "Bearer", "Where it is the token that is wrong: what is wanted."),
    ("x-request-id", "7c3f0a5e-checkout", "Names the request in every log."),
];

/// Headers that no route names: every answer has the first, every one below `/v1` the second, and in
/// development mode every one the third.
pub(in crate::http) const OF_ALL_ANSWERS: [&str; 3] =
    ["x-request-id", "cartgate-durability", "cartgate-access"];

/// What each of them is.
pub(super) fn headers() -> BTreeMap<String, RefOr<Header>> {
    let headers = HEADERS.iter().map(|(name, example, description)| {
        let schema = match *name {
            "retry-after" => ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
            _ => ObjectBuilder::new().schema_type(Type::String),
        };
        let header = HeaderBuilder::new()
            .schema(Some(schema.examples([*example])))
            .description(Some(*description))
            .build();
        ((*name).to_owned(), header.into())
    });
    headers.collect()
}

/// Answers that are one problem, by its name.
pub(super) fn shared() -> BTreeMap<String, RefOr<Response>> {
    let responses = ProblemType::ALL.iter().map(|problem| {
        let mut response = problem_response(problem.status(), &[*problem]);
        complete_headers(&mut response, true);
        (problem.slug().to_owned(), response.into())
    });
    responses.collect()
}

/// Adds a route's problems, and to all its answers the headers that they have in common.
pub(super) fn complete(operation: &mut Operation, is_versioned: bool, is_in_path: bool) {
    let mut by_status: BTreeMap<u16, Vec<ProblemType>> = BTreeMap::new();
    for problem in problems_of(operation, is_versioned, is_in_path) {
        let one = by_status.entry(problem.status()).or_default();
        if !one.contains(&problem) {
            one.push(problem);
        }
    }
    let responses = &mut operation.responses.responses;
    for (status, problems) in by_status {
        let response = match problems[..] {
            // Many routes have it.
            [one] => RefOr::Ref(Ref::from_response_name(one.slug())),
            _ => problem_response(status, &problems).into(),
        };
        responses.insert(status.to_string(), response);
    }
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            complete_headers(response, is_versioned);
        }
    }
}

fn complete_headers(response: &mut Response, is_versioned: bool) {
    let of_all =
        OF_ALL_ANSWERS.iter().filter(|name| is_versioned || **name != "cartgate-durability");
    let own: Vec<String> = response.headers.keys().cloned().collect();
    for name in own.into_iter().chain(of_all.map(|&name| name.to_owned())) {
        let reference = Ref::new(format!("#/components/headers/{name}"));
        response.headers.insert(name, RefOr::Ref(reference));
    }
}

/// Those that the route names, and those that come of what it reads.
fn problems_of(operation: &Operation, is_versioned: bool, is_in_path: bool) -> Vec<ProblemType> {
    use ProblemType as Type;
    let own = note(operation, "x-problems").and_then(Value::as_array).into_iter().flatten();
    let mut problems: Vec<_> = own.filter_map(|slug| named(slug.as_str()?)).collect();
    if is_in_path {
        // An empty segment, say, is another path.
        problems.extend([Type::InvalidRequest, Type::NotFound]);
    }
    if reads_parameters(operation) {
        problems.push(Type::InvalidRequest);
    }
    if let Some(RefOr::T(body)) = &operation.request_body {
        problems.extend([Type::InvalidRequest, Type::UnsupportedMediaType]);
        // What comes in lines is read without an end, and answered meanwhile.
        if !body.content.contains_key("text/csv") {
            problems.extend([Type::BodyTooLarge, Type::RequestTimeout]);
        }
    }
    if is_versioned {
        problems.push(Type::Unavailable);
    }
    if wants_token(operation) {
        problems.extend([Type::Unauthenticated, Type::InsufficientScope, Type::TooManyAttempts]);
    }
    problems
}

/// The problem of this name.
pub(super) fn named(slug: &str) -> Option<ProblemType> {
    ProblemType::ALL.iter().copied().find(|problem| problem.slug() == slug)
}

/// Whether it reads a query, or a header that may be wrong.
fn reads_parameters(operation: &Operation) -> bool {
    let parameters = operation.parameters.iter().flatten();
    parameters.filter_map(own).any(|parameter| {
        let may_be_wrong =
            parameter.parameter_in == ParameterIn::Header && parameter.name != "Prefer";
        may_be_wrong || parameter.parameter_in == ParameterIn::Query
    })
}

fn own<T>(one: &RefOr<T>) -> Option<&T> {
    match one {
        RefOr::T(own) => Some(own),
        RefOr::Ref(_) => None,
    }
}

/// Whether a token is wanted: with `()` none is.
fn wants_token(operation: &Operation) -> bool {
    let security = operation.security.iter().flatten();
    security.map(serde_json::to_value).all(|one| one.is_ok_and(|one| one != serde_json::json!({})))
}

fn problem_response(status: u16, problems: &[ProblemType]) -> Response {
    let lines =
        problems.iter().map(|problem| format!("`{}`: {}.", problem.slug(), problem.title()));
    let types = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(problems.iter().map(|problem| problem.uri())));
    let of_these = ObjectBuilder::new().property("type", types).property(
        "status",
        ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])),
    );
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(of_these);
    let example = problems.first().map(|problem| problems::example(*problem));
    let content = ContentBuilder::new().schema(Some(schema)).example(example).build();
    let mut response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join("\n"))
        .content(CONTENT_TYPE, content)
        .build();
    let headers: &[&str] = match status {
        401 | 403 => &["www-authenticate"],
        429 => &["retry-after", "www-authenticate"],
        503 => &["retry-after"],
        _ => &[],
    };
    let named = headers.iter().map(|&name| (name.to_owned(), Header::default().into()));
    response.headers.extend(named);
    response
}
