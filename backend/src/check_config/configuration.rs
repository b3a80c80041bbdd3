//! The filter's own configuration: what the filter's own parser makes of it, and in which line what is.

use std::rc::Rc;

use cartgate_policy::config::{Config, ConfigError};
use cartgate_policy::extract::{Pattern, Route};
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::place::{Lines, Place, Spot};
use super::tree::{self, Node, Unreadable, Value};

/// The one kind of message in which text comes to the filter as it stands.
pub(super) const STRING_VALUE: &str = "google.protobuf.StringValue";
/// Another that comes as it stands, in base64, which nobody would write by hand.
pub(super) const BYTES_VALUE: &str = "google.protobuf.BytesValue";

/// What became of it.
#[derive(Debug)]
pub(super) enum Configuration {
    /// There is none.
    Absent(Spot),
    /// It is something else than a text.
    OtherKind(Spot, String),
    /// The filter does not start with it.
    Refused(Spot, String),
    /// The filter starts with it.
    Read(Box<Settings>),
}

/// A configuration that the filter starts with.
#[derive(Debug)]
pub(super) struct Settings {
    /// What the filter makes of it.
    pub(super) config: Config,
    /// The same, with lines.
    root: Rc<Node>,
    spot: Spot,
    lines: Lines,
}

/// What is said of a route besides what [`Route`] tells: the same text, with lines.
pub(super) struct Limited<'s> {
    /// `routes[0]`
    pub(super) name: String,
    pub(super) place: Place<'s>,
    pub(super) reads_body: bool,
}

impl<'s> Limited<'s> {
    pub(super) fn method(&self) -> &'s str {
        self.place.text_at("method").unwrap_or_default()
    }

    pub(super) fn path(&self) -> &'s str {
        self.place.text_at("path").unwrap_or_default()
    }

    /// Whether `path` may be one that it limits; in `any_case`, however both are spelt.
    pub(super) fn may_be(&self, path: &str, any_case: bool) -> bool {
        let in_case = |text: &str| if any_case { text.to_lowercase() } else { text.to_owned() };
        let pattern = |text: &str| Pattern::try_from(in_case(text)).ok();
        match (pattern(self.path()), pattern(path)) {
            (Some(limited), Some(path)) => limited.covers(&path),
            // A path that is no pattern, since it has a sign in it that patterns have a use for.
            _ => true,
        }
    }

    /// The source of its SKU that is of this kind, such as `header`.
    pub(super) fn sku_from(&self, kind: &str) -> Option<Place<'s>> {
        self.place.items_at("sku").iter().find_map(|source| source.at(kind))
    }
}

impl Settings {
    /// What is in it, by names such as `routes[0].path`.
    pub(super) fn place(&self) -> Place<'_> {
        Place::root(&self.root, self.spot.clone(), self.lines)
    }

    /// The routes, in order.
    pub(super) fn routes(&self) -> Vec<Limited<'_>> {
        let places = self.place().items_at("routes").into_iter();
        let routes = places.zip(self.config.routes().map(Route::reads_body)).enumerate();
        let limited =
            |(n, (place, reads_body))| Limited { name: format!("routes[{n}]"), place, reads_body };
        routes.map(limited).collect()
    }

    /// The first route that reads the body.
    pub(super) fn body_reader(&self) -> Option<Limited<'_>> {
        self.routes().into_iter().find(|route| route.reads_body)
    }
}

/// Reads what a `PluginConfig` of Envoy has.
pub(super) fn of_plugin(plugin: &Place<'_>) -> Configuration {
    let Some(any) = plugin.at("configuration") else {
        return Configuration::Absent(plugin.spot_of("configuration"));
    };
    let kind = any.typed().map_or("no @type", |(kind, _)| kind);
    if kind != STRING_VALUE {
        return Configuration::OtherKind(any.spot, kind.to_owned());
    }
    match any.at("value") {
        Some(value) => of_text(&value),
        None => Configuration::Absent(any.spot_of("value")),
    }
}

/// Reads a structure, which Istio hands over as JSON.
pub(super) fn of_structure(structure: &Place<'_>) -> Configuration {
    let json = structure.node.to_json().to_string();
    match Config::parse(json.as_bytes()) {
        Ok(config) => {
            let (root, spot) = (Rc::clone(structure.node), structure.spot.clone());
            Configuration::Read(Box::new(Settings { config, root, spot, lines: Lines::From(1) }))
        }
        Err(error) => refused(structure.spot_of(error.field()), &error),
    }
}

fn of_text(value: &Place<'_>) -> Configuration {
    let Some(text) = value.text() else {
        return Configuration::OtherKind(value.spot.clone(), value.shown());
    };
    let spot = Spot { field: format!("{}: ", value.spot.field), ..value.spot.clone() };
    let lines = value.lines_of_text();
    match (Config::parse(text.as_bytes()), read_one(text)) {
        (Ok(config), Ok(root)) => {
            Configuration::Read(Box::new(Settings { config, root, spot, lines }))
        }
        // JSON is YAML, but for texts that no configuration has.
        (Ok(_), Err(error)) => {
            let line = lines.of(error.line);
            Configuration::Refused(Spot { line, ..value.spot.clone() }, error.reason)
        }
        (Err(error), Ok(root)) if !error.field().is_empty() => {
            refused(Place::root(&root, spot, lines).spot_of(error.field()), &error)
        }
        (Err(error), root) => {
            let line = lines.of(line_of_fault(text, root.err()));
            refused(Spot { line, ..value.spot.clone() }, &error)
        }
    }
}

fn refused(spot: Spot, error: &ConfigError) -> Configuration {
    Configuration::Refused(spot, error.to_string())
}

/// The line of a text at which it stops being JSON; of JSON with a key twice, the line of that key.
fn line_of_fault(text: &str, fault: Option<Unreadable>) -> usize {
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => error.line(),
        Ok(_) => fault.map_or(1, |fault| fault.line),
    }
}

fn read_one(text: &str) -> Result<Rc<Node>, Unreadable> {
    let documents = tree::read(text)?.into_iter();
    let empty = Unreadable { line: 1, reason: "there is nothing".to_owned() };
    documents.last().ok_or(empty)
}

/// Whether a structure, or the JSON in a text, looks like ours: whoever renames everything still has these.
pub(super) fn looks_like_ours(place: &Place<'_>) -> bool {
    let has_ours =
        |json: &Json| json.get("routes").is_some() && json.get("default_limit").is_some();
    match (&place.node.value, place.text()) {
        (Value::Map(_), _) => place.at("routes").is_some() && place.at("default_limit").is_some(),
        (_, Some(text)) => serde_json::from_str(text).is_ok_and(|json| has_ours(&json)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = r#"{"method": "POST", "path": "/add", "sku": [{"json": "/sku"}]}"#;

    fn read(yaml: &str) -> Configuration {
        let documents = tree::read(yaml).unwrap();
        let spot = Spot { file: "f".into(), line: 1, field: String::new() };
        of_plugin(&Place::root(&documents[0], spot, Lines::From(1)))
    }

    fn text(value: &str) -> String {
        format!(
            "configuration:\n  '@type': type.googleapis.com/google.protobuf.StringValue\n  value: {value}\n"
        )
    }

    #[track_caller]
    fn check_refused(yaml: &str, line: usize, field: &str, part: &str) {
        match read(yaml) {
            Configuration::Refused(spot, reason) => {
                assert_eq!((spot.line, spot.field.as_str()), (line, field), "{reason}");
                assert!(reason.contains(part), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// A literal block, the first line of which is the fourth of the file.
    #[track_caller]
    fn check_block(json: &[&str], line: usize, below: &str, part: &str) {
        let block = format!("|\n    {}", json.join("\n    "));
        check_refused(&text(&block), line, &format!("configuration.value{below}"), part);
    }

    #[test]
    fn a_wrong_field_is_found_in_its_line_of_the_block() {
        let limit = r#""default_limit": {"per_second": 5, "burst": 5},"#;
        let routes = format!("\"routes\": [{ROUTE}]");
        let unknown = ["{", limit, "\"rouets\": [],", &routes, "}"];
        check_block(&unknown, 6, ": rouets", "unknown field");
        let nested = [
            "{",
            limit,
            "\"routes\": [{",
            "\"method\": \"POST\",",
            "\"path\": \"/add\",",
            "\"sku\": [",
            "{\"json\": \"/sku\"},",
            "{\"jsn\": \"/sku\"}]}]}",
        ];
        check_block(&nested, 11, ": routes[0].sku[1]", "unknown variant");
        let range = ["{", limit, "\"body_bytes_max\": 0,", &routes, "}"];
        check_block(&range, 6, ": body_bytes_max", "from 1 to 1048576");
        let dotted = [
            "{",
            limit,
            "\"limits\": {\"A\": {\"per_second\": 5, \"burst\": 5},",
            "\"A.B\": {\"per_second\": 5,",
            "\"burst\": -1}},",
            &routes,
            "}",
        ];
        check_block(&dotted, 8, ": limits.A.B.burst", "");
        let ours = ["{", limit, "\"routes\": [", ROUTE, ",", &ROUTE.replace("/sku", "/x"), "]}"];
        check_block(&ours, 9, ": routes[1]", "routes[0] comes first");
        check_block(&["{", "\"routes\":", "[]}"], 4, "", "missing field");
    }

    #[test]
    fn a_fault_in_json_is_found_in_its_line_of_the_block() {
        check_block(&["{", "\"a\": 1,", "]"], 6, "", "not a JSON object");
        check_block(&["{", "\"a\": 1,", "\"a\": 2}"], 6, "", "duplicate key");
        check_block(&["[]"], 4, "", "object");
    }

    #[test]
    fn what_is_in_one_line_has_that_line() {
        check_refused(&text("'{\"routes\": 1}'"), 3, "configuration.value: routes", "");
        check_refused(&text("\"{\\n]\""), 3, "configuration.value", "");
        check_refused(&text(">\n    {\n    \"routes\": 1}"), 3, "configuration.value: routes", "");
    }

    #[test]
    fn what_is_no_text_is_told() {
        assert!(matches!(read("a: 1"), Configuration::Absent(_)));
        assert!(matches!(read(&text("")), Configuration::Absent(_)));
        let kind = |yaml: &str| match read(yaml) {
            Configuration::OtherKind(_, kind) => kind,
            other => panic!("{other:?}"),
        };
        let structure = text("{routes: []}").replace("StringValue", "Struct");
        assert_eq!(kind(&structure), "google.protobuf.Struct");
        assert_eq!(kind("configuration: {routes: []}"), "no @type");
        assert_eq!(kind(&text("{routes: []}")), "a map");
    }
}
