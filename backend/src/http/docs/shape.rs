//! The OpenAPI document, as a page looks things up in it; and the shapes of what is sent, in words.

use maud::{Markup, html};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::page::line;

/// Methods, in the order in which somebody would try them: first there has to be something.
const METHODS: [&str; 5] = ["put", "post", "get", "patch", "delete"];

/// The OpenAPI document as JSON.
pub(super) struct Document<'a> {
    typed: &'a OpenApi,
    json: Value,
}

/// A route.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) operation: &'a Value,
}

/// A member of an object.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) schema: &'a Value,
    pub(super) is_required: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(typed: &'a OpenApi) -> Self {
        Self { typed, json: serde_json::to_value(typed).unwrap_or_default() }
    }

    pub(super) fn info(&self) -> &Value {
        &self.json["info"]
    }

    /// What routes are grouped by.
    pub(super) fn tags(&self) -> impl Iterator<Item = &Value> {
        self.json["tags"].as_array().into_iter().flatten()
    }

    /// All routes, in the order in which they were put together.
    pub(super) fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        // JSON's own objects are sorted by name.
        self.typed.paths.paths.keys().flat_map(|path| {
            let item = &self.json["paths"][path];
            METHODS.iter().filter_map(|&method| {
                let operation = &item[method];
                operation.is_object().then_some(Route { method, path, operation })
            })
        })
    }

    /// What is sent and answered, by name.
    pub(super) fn schemas(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.json["components"]["schemas"].as_object().into_iter().flatten()
    }

    /// What a reference leads to; or the value itself, if it is none.
    pub(super) fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        let to = value["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
        to.and_then(|to| self.json.pointer(to)).unwrap_or(value)
    }

    /// What a route reads of path, query and headers, but for what every route does.
    pub(super) fn own_parameters<'v>(
        &self,
        operation: &'v Value,
    ) -> impl Iterator<Item = &'v Value> + use<'v> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.filter(|parameter| parameter["$ref"].is_null())
    }

    /// The answers of a route, by status.
    pub(super) fn responses<'v>(
        &'v self,
        route: Route<'v>,
    ) -> impl Iterator<Item = (&'v str, &'v Value)> {
        let responses = route.operation["responses"].as_object().into_iter().flatten();
        responses.map(|(status, response)| (status.as_str(), self.resolve(response)))
    }

    /// The scopes that open a route; none: it is open to everybody.
    pub(super) fn scopes<'v>(&self, operation: &'v Value) -> Vec<&'v str> {
        let alternatives = operation["security"].as_array().into_iter().flatten();
        alternatives.filter_map(|one| one[super::super::openapi::TOKEN][0].as_str()).collect()
    }

    /// An example of what has this schema.
    pub(super) fn example(&self, schema: &Value) -> Option<Value> {
        let schema = self.resolve(schema);
        if let Some(example) = schema["examples"].get(0) {
            return Some(example.clone());
        }
        schema["items"].is_object().then(|| self.example(&schema["items"]).into_iter().collect())
    }

    /// An example of a body.
    pub(super) fn example_of_content(&self, content: &Value) -> Option<Value> {
        content.get("example").cloned().or_else(|| self.example(&content["schema"]))
    }

    /// The slugs of the problems that an answer may be.
    pub(super) fn problems<'v>(&'v self, response: &'v Value) -> impl Iterator<Item = &'v str> {
        let schema = &response["content"]["application/problem+json"]["schema"];
        let types = schema["allOf"][1]["properties"]["type"]["enum"].as_array();
        let uris = types.into_iter().flatten().filter_map(Value::as_str);
        uris.filter_map(|uri| uri.rsplit(':').next())
    }

    /// The members of an object: those that it must have first, in their order.
    pub(super) fn members<'v>(&'v self, schema: &'v Value) -> Vec<Member<'v>> {
        let schema = self.resolve(schema);
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().flat_map(|part| self.members(part)).collect();
        }
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
        let others = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
        let member = |name: &'v str| {
            let is_required = required.contains(&name);
            Some(Member { name, schema: properties.get(name)?, is_required })
        };
        required.iter().copied().chain(others).filter_map(member).collect()
    }
}

impl<'a> Route<'a> {
    /// Where a page has it.
    pub(super) fn anchor(&self) -> &'a str {
        self.operation["operationId"].as_str().unwrap_or_default()
    }

    pub(super) fn summary(&self) -> &'a str {
        self.operation["summary"].as_str().unwrap_or_default()
    }
}

/// What a schema says, in words.
pub(super) fn shape(schema: &Value) -> Markup {
    html! {
        @if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
            a href={ "#schema-" (name) } { (name) }
        } @else if let Some(values) = schema["enum"].as_array() {
            @for (index, value) in values.iter().enumerate() {
                @if index > 0 { " or " }
                code { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) }
            }
        } @else if let Some(parts) = alternatives(schema) {
            @for (index, part) in parts.iter().enumerate() {
                @if index > 0 { " or " }
                (shape(part))
            }
        } @else if schema["items"].is_object() {
            "list of " (shape(&schema["items"]))
        } @else {
            (kinds(schema)) (bounds(schema))
        }
    }
}

fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    ["oneOf", "anyOf", "allOf"].iter().find_map(|name| schema[*name].as_array())
}

fn kinds(schema: &Value) -> String {
    let is_time = schema["format"] == "date-time";
    let name = |kind| if is_time && kind == "string" { "time (RFC 3339)" } else { kind };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    kinds.into_iter().map(name).collect::<Vec<_>>().join(" or ")
}

fn bounds(schema: &Value) -> Markup {
    let range = match (&schema["minimum"], &schema["maximum"]) {
        (Value::Null, Value::Null) => None,
        (least, Value::Null) => Some(format!(", {least} at least")),
        (Value::Null, most) => Some(format!(", {most} at most")),
        (least, most) => Some(format!(", {least} to {most}")),
    };
    let longest = schema["maxLength"].as_u64().map(|longest| format!(", {longest} bytes at most"));
    html! {
        (range.unwrap_or_default()) (longest.unwrap_or_default())
        @if let Some(pattern) = schema["pattern"].as_str() { ", " code { (pattern) } }
    }
}

/// A table of members, or of parameters.
pub(super) fn table(rows: &[(&str, bool, &Value, &str)]) -> Markup {
    html! {
        @if !rows.is_empty() {
            table {
                tr { th { "name" } th { "what" } th { "meaning" } }
                @for (name, is_required, schema, meaning) in rows {
                    tr {
                        td { code { (name) } @if *is_required { " (required)" } }
                        td { (shape(schema)) }
                        td { (line(meaning)) }
                    }
                }
            }
        }
    }
}
