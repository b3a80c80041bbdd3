//! The page that explains every route.

use maud::{Markup, html};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::curl::{PREPARE, calls};
use super::page::{self, line, paragraphs};
use super::shape::{Document, Route, table};
use crate::http::openapi::OF_ALL_ANSWERS;

/// The page.
pub(super) fn page(document: &OpenApi) -> Markup {
    let document = Document::new(document);
    let content = html! {
        h1 { "cartgate " (document.info()["version"].as_str().unwrap_or_default()) }
        (paragraphs(document.info()["description"].as_str().unwrap_or_default()))
        (contents(&document))
        (begin())
        @for tag in document.tags() {
            h2 id=(tag["name"].as_str().unwrap_or_default().replace(' ', "-")) { (text(&tag["name"])) }
            p { (text(&tag["description"])) }
            @for route in of_tag(&document, tag) { (section(&document, route)) }
        }
        (schemas(&document))
    };
    page::page("cartgate: the API", &content)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn of_tag<'d>(document: &'d Document<'_>, tag: &'d Value) -> impl Iterator<Item = Route<'d>> {
    document.routes().filter(|route| route.operation["tags"][0] == tag["name"])
}

fn contents(document: &Document<'_>) -> Markup {
    html! {
        nav {
            ul {
                li { a href="#begin" { "Begin" } }
                @for tag in document.tags() {
                    li {
                        (text(&tag["name"]))
                        ul {
                            @for route in of_tag(document, tag) {
                                li { a href={ "#" (route.anchor()) } { (name(route)) } " " (route.summary()) }
                            }
                        }
                    }
                }
                li { a href="#schemas" { "What is sent and answered" } }
                li { a href="/docs/problems" { "Problems" } ", " a href="/openapi.json" { "openapi.json" } }
            }
        }
    }
}

fn name(route: Route<'_>) -> Markup {
    html! { code { span.method { (route.method.to_uppercase()) } (route.path) } }
}

fn begin() -> Markup {
    html! {
        h2 id="begin" { "Begin" }
        p {
            "On a machine of your own, " code { "cartgate serve --development" }
            " lets everybody do everything. Everywhere else a client has a token: "
            code { "cartgate token create --client NAME --scope SCOPE" }
            " prints one, and keeps its hash in the file that " code { "[access] tokens" }
            " in the configuration names; the scope " code { "admin" } " opens every route. It is sent as "
            code { "authorization: Bearer TOKEN" } ", as a JWT of your issuer is."
        }
        p { "All examples below work once this was pasted into a shell:" }
        pre.prepare { (PREPARE) }
    }
}

fn section(document: &Document<'_>, route: Route<'_>) -> Markup {
    let Route { method, path, operation } = route;
    let scopes = document.scopes(operation);
    let rows: Vec<_> = document
        .own_parameters(operation)
        .map(|one| {
            (text(&one["name"]), one["required"] == true, &one["schema"], text(&one["description"]))
        })
        .collect();
    html! {
        section id=(route.anchor()) {
            h3 { (name(route)) }
            p { strong { (route.summary()) } }
            @if let Some(description) = operation["description"].as_str() { (paragraphs(description)) }
            p {
                @if scopes.is_empty() { "Open to everybody." } @else {
                    "A token with the scope " (codes(&scopes, " or ")) "."
                }
            }
            @for call in calls(document, method, path, operation) { pre.call { (call) } }
            @if !rows.is_empty() { h4 { "Parameters" } (table(&rows)) }
            (request(document, operation))
            h4 { "Answers" }
            (answers(document, route))
        }
    }
}

fn codes(names: &[&str], between: &str) -> Markup {
    html! {
        @for (index, name) in names.iter().enumerate() {
            @if index > 0 { (between) }
            code { (name) }
        }
    }
}

/// Headers of an answer, but for those that every answer has.
fn own_headers(response: &Value) -> Vec<&str> {
    let names =
        response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    names.filter(|name| !OF_ALL_ANSWERS.contains(name)).collect()
}

fn request(document: &Document<'_>, operation: &Value) -> Markup {
    let body = &operation["requestBody"];
    html! {
        @if let Some(content) = body["content"].as_object() {
            h4 { "Body" @if body["required"] != true { " (may be left out)" } }
            ul {
                @for (media_type, content) in content {
                    li { code { (media_type) } ": " (super::shape::shape(&content["schema"])) }
                }
            }
            @if let Some(first) = content.values().next() { (members(document, &first["schema"])) }
        }
    }
}

fn members(document: &Document<'_>, schema: &Value) -> Markup {
    let members = document.members(schema);
    let rows: Vec<_> = members
        .iter()
        .map(|one| {
            // Of what may be null the description is with what it is otherwise.
            let places = [one.schema, &one.schema["oneOf"][0], document.resolve(one.schema)];
            let meaning = places.iter().find_map(|place| place["description"].as_str());
            let meaning = meaning.unwrap_or_default();
            (one.name, one.is_required, one.schema, meaning)
        })
        .collect();
    table(&rows)
}

fn answers(document: &Document<'_>, route: Route<'_>) -> Markup {
    html! {
        table {
            tr { th { "status" } th { "meaning" } th { "body" } th { "headers" } }
            @for (status, response) in document.responses(route) {
                tr {
                    td { (status) }
                    td { (meaning(document, response)) }
                    td { (bodies(document, response)) }
                    td { (codes(&own_headers(response), ", ")) }
                }
            }
        }
        @for (_, response) in document.responses(route).filter(|(status, _)| status.starts_with('2')) {
            @if let Some(example) = example(document, response) { pre.answer { (example) } }
        }
    }
}

fn meaning(document: &Document<'_>, response: &Value) -> Markup {
    let problems: Vec<_> = document.problems(response).collect();
    html! {
        @if problems.is_empty() { (line(text(&response["description"]))) } @else {
            @for (index, problem) in problems.iter().enumerate() {
                @if index > 0 { br; }
                a href={ "/docs/problems#" (problem) } { (problem) }
            }
        }
    }
}

fn bodies(document: &Document<'_>, response: &Value) -> Markup {
    let is_problem = document.problems(response).next().is_some();
    html! {
        @if is_problem { a href="#schema-Problem" { "Problem" } } @else {
            @for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                code { (media_type) } ": " (super::shape::shape(&content["schema"])) br;
            }
        }
    }
}

fn example(document: &Document<'_>, response: &Value) -> Option<String> {
    let content = response["content"].as_object()?.values().next()?;
    match document.example_of_content(content)? {
        Value::String(text) => Some(text),
        value => serde_json::to_string_pretty(&value).ok(),
    }
}

fn schemas(document: &Document<'_>) -> Markup {
    html! {
        h2 id="schemas" { "What is sent and answered" }
        @for (name, schema) in document.schemas() {
            section id={ "schema-" (name) } {
                h3 { (name) }
                @if let Some(description) = schema["description"].as_str() { (paragraphs(description)) }
                @if document.members(schema).is_empty() { p { (super::shape::shape(schema)) } }
                (members(document, schema))
            }
        }
    }
}
