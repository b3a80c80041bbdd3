//! Where in a logged request the SKU is.
//!
//! Requests are matched and SKUs are read by the code that the edge runs (`cartgate_policy::extract`):
//! what is found in a log is what the edge counts.

use std::str::FromStr;

use cartgate_policy::config::{Config, ConfigError};
use cartgate_policy::document::Form;
use cartgate_policy::extract::{Field, Head, Method, Pattern, Route};
use cartgate_policy::{Sku, SkuForm};
use serde_json::Value;
use thiserror::Error;

use super::line::Entry;

/// A place that an operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `path:/cart/{sku}/add`: the segment of this name, in such a path.
    Path(Pattern, Field),
    /// `query:sku`: a query parameter, whatever the path is.
    Query(Field),
    /// `json:product`: a member of a JSON line, for shops that log it.
    Member(String),
    /// `lines:lines`: a member of a JSON line in which the filter has left SKUs and quantities, `A=1,B=2`.
    Lines(String),
}

/// The name of the segment that is the SKU.
const SEGMENT: &str = "sku";

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(raw: &str) -> Result<Self, PlaceError> {
        let unknown = || PlaceError::Unknown { raw: raw.to_owned() };
        let (kind, name) = raw.split_once(':').ok_or_else(unknown)?;
        let wrong = |reason: String| PlaceError::Wrong { raw: raw.to_owned(), reason };
        let field = |name: &str| Field::try_from(name.to_owned());
        match kind {
            "path" => {
                let path = Pattern::try_from(name.to_owned()).map_err(|e| wrong(e.to_string()))?;
                if !path.has(SEGMENT) {
                    return Err(wrong(format!("no segment is {{{SEGMENT}}}")));
                }
                Ok(Self::Path(path, field(SEGMENT).map_err(|e| wrong(e.to_string()))?))
            }
            "query" => field(name).map(Self::Query).map_err(|e| wrong(e.to_string())),
            "json" if !name.is_empty() => Ok(Self::Member(name.to_owned())),
            "lines" if !name.is_empty() => Ok(Self::Lines(name.to_owned())),
            _ => Err(unknown()),
        }
    }
}

/// What names no place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// It is of no kind that we know.
    #[error(
        "{raw:?} names no place: give path:/cart/{{sku}}/add, query:NAME, json:KEY or lines:KEY"
    )]
    Unknown {
        /// What was given.
        raw: String,
    },
    /// It is of a kind that we know, and not written as those are.
    #[error("{raw:?}: {reason}")]
    Wrong {
        /// What was given.
        raw: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a logged request was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A unit or more of each of these SKUs: of one at least.
    Skus(Vec<Sku>),
    /// It should name a SKU, and names none.
    NoSku,
    /// Something else.
    Other,
}

/// The requests that are counted, and where their SKU is.
#[derive(Debug)]
pub(super) enum Places {
    /// The routes of a filter's configuration.
    Routes(Box<Config>),
    /// Places that were named, for requests with this method. The first in which there is something counts.
    Named { method: Method, places: Vec<Named> },
}

/// A place, ready to look at.
#[derive(Debug)]
pub(super) enum Named {
    Route(Route),
    Query(Field),
    Member(String),
    Lines(String),
}

/// Why there is nothing to look for.
#[derive(Debug, Error)]
pub enum PlacesError {
    /// It is no configuration of a filter.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Only what a log does not have is read for SKUs.
    #[error(
        "none of its routes reads a SKU from path or query, which is all that an access log has"
    )]
    NotLogged,
}

impl Places {
    /// The routes of a filter's configuration, which is JSON.
    pub(super) fn of_routes(config: &[u8]) -> Result<Self, PlacesError> {
        let config = Config::parse(config)?;
        let is_logged = config.routes().any(Route::reads_target);
        if is_logged { Ok(Self::Routes(Box::new(config))) } else { Err(PlacesError::NotLogged) }
    }

    /// These places, in requests with this method.
    pub(super) fn named(method: Method, places: &[Place]) -> Self {
        let ready = |place: &Place| match place.clone() {
            Place::Path(path, segment) => {
                Named::Route(Route::by_path(method.clone(), path, segment))
            }
            Place::Query(field) => Named::Query(field),
            Place::Member(key) => Named::Member(key),
            Place::Lines(key) => Named::Lines(key),
        };
        let places = places.iter().map(ready).collect();
        Self::Named { method, places }
    }

    /// What a logged request was for.
    pub(super) fn target(&self, entry: &Entry) -> Target {
        let head = Head::new(vec![(b":method", &entry.method), (b":path", &entry.target)]);
        match self {
            Self::Routes(config) => {
                let route = config.route(&head).filter(|route| route.reads_target());
                route.map_or(Target::Other, |route| by_route(route, &head, config.sku()))
            }
            Self::Named { method, .. } if entry.method != method.as_bytes() => Target::Other,
            Self::Named { places, .. } => {
                let mut found = places.iter().map(|place| place.target(entry, &head));
                found.find(|target| *target != Target::Other).unwrap_or(Target::Other)
            }
        }
    }
}

impl Named {
    fn target(&self, entry: &Entry, head: &Head<'_>) -> Target {
        match self {
            Self::Route(route) if route.matches(head) => by_route(route, head, &SkuForm::default()),
            Self::Route(_) => Target::Other,
            Self::Query(field) => match Form::parse(head.query()).single(field.as_str()) {
                Ok(None) => Target::Other,
                Ok(Some(raw)) => sku(raw),
                Err(_) => Target::NoSku,
            },
            Self::Member(key) => match entry.members.get(key) {
                None | Some(Value::Null) => Target::Other,
                Some(Value::String(raw)) => sku(raw),
                Some(Value::Number(number)) if number.is_u64() => sku(&number.to_string()),
                Some(_) => Target::NoSku,
            },
            Self::Lines(key) => match entry.members.get(key) {
                None | Some(Value::Null) => Target::Other,
                Some(Value::String(raw)) => lines(raw),
                Some(_) => Target::NoSku,
            },
        }
    }
}

fn by_route(route: &Route, head: &Head<'_>, form: &SkuForm) -> Target {
    let reading = route.read_head(head, form);
    let lines = reading.and_then(|reading| route.read_body(reading, b"", form));
    lines.map_or(Target::NoSku, |lines| {
        Target::Skus(lines.into_iter().map(|line| line.sku).collect())
    })
}

fn sku(raw: &str) -> Target {
    Sku::parse(raw).map_or(Target::NoSku, |sku| Target::Skus(vec![sku]))
}

/// What the filter has left for the access log.
fn lines(raw: &str) -> Target {
    let sku = |line: &str| Sku::parse(line.split_once('=')?.0).ok();
    raw.split(',').map(sku).collect::<Option<_>>().map_or(Target::NoSku, Target::Skus)
}

#[cfg(test)]
mod tests {
    use cartgate_ledger::UnixMs;
    use serde_json::json;

    use super::*;

    fn entry(method: &str, target: &str, members: Value) -> Entry {
        let members = members.as_object().cloned().unwrap_or_default();
        let (method, target) = (method.into(), target.into());
        Entry { at: UnixMs(1), method, target, status: 200, members }
    }

    fn named(places: &[&str]) -> Places {
        let places: Vec<Place> = places.iter().map(|raw| raw.parse().unwrap()).collect();
        Places::named(Method::try_from("POST".to_owned()).unwrap(), &places)
    }

    /// `expected`: the SKU, several with a space between them, or `-` where there should be one.
    #[track_caller]
    fn check(places: &Places, entry: &Entry, expected: Option<&str>) {
        let found = places.target(entry);
        let expected = match expected {
            None => Target::Other,
            Some("-") => Target::NoSku,
            Some(raw) => Target::Skus(raw.split(' ').map(|sku| Sku::parse(sku).unwrap()).collect()),
        };
        assert_eq!(found, expected, "{entry:?}");
    }

    #[test]
    fn in_the_path() {
        let places = named(&["path:/cart/{sku}/add"]);
        let check = |method, target, expected| {
            check(&places, &entry(method, target, Value::Null), expected);
        };
        check("POST", "/cart/A-1/add", Some("A-1"));
        check("POST", "/cart/A%2D1/add?x=y", Some("A-1"));
        check("POST", "/cart/a%20b/add", Some("-"));
        check("POST", "/cart/A-1/add/", None);
        check("GET", "/cart/A-1/add", None);
        check("", "", None);
    }

    #[test]
    fn in_the_query() {
        let places = named(&["query:sku"]);
        let check =
            |target, expected| check(&places, &entry("POST", target, Value::Null), expected);
        check("/add?q=1&sku=A%2D1", Some("A-1"));
        check("/other/path?sku=A-1#x", Some("A-1"));
        check("/add?sku=A&sku=B", Some("-"));
        check("/add?sku=", Some("-"));
        // What some server takes for it.
        check("/add?SKU=A", Some("-"));
        check("/add?item=A", None);
        check("/add", None);
    }

    #[test]
    fn in_a_member_of_the_line() {
        let places = named(&["json:product"]);
        let check = |members, expected| check(&places, &entry("POST", "/", members), expected);
        check(json!({"product": " A-1 "}), Some("A-1"));
        check(json!({"product": 4711}), Some("4711"));
        check(json!({"product": null}), None);
        check(json!({"product": -1}), Some("-"));
        check(json!({"product": ["A"]}), Some("-"));
        check(json!({}), None);
    }

    #[test]
    fn in_what_the_filter_has_left() {
        let places = named(&["lines:lines"]);
        let check = |members, expected| check(&places, &entry("POST", "/", members), expected);
        check(json!({"lines": "A-1=2"}), Some("A-1"));
        check(json!({"lines": "A-1=2,B=1"}), Some("A-1 B"));
        check(json!({"lines": null}), None);
        check(json!({}), None);
        for other in [json!(""), json!("A"), json!("A=1,"), json!("a b=1"), json!(["A=1"])] {
            check(json!({"lines": other}), Some("-"));
        }
    }

    #[test]
    fn the_first_place_that_has_something_counts() {
        let places = named(&["path:/cart/{sku}/add", "query:sku"]);
        check(&places, &entry("POST", "/cart/A/add?sku=B", Value::Null), Some("A"));
        check(&places, &entry("POST", "/cart?sku=B", Value::Null), Some("B"));
    }

    #[test]
    fn by_the_routes_of_a_filter() {
        let config = |sku: Value| {
            let limit = json!({"per_second": 1, "burst": 1});
            let carts = json!({"method": "PUT", "path": "/cart/{id}", "sku": sku});
            let body =
                json!({"method": "POST", "path": "/v1/reservations", "sku": [{"json": "/sku"}]});
            json!({"default_limit": limit, "routes": [carts, body]}).to_string()
        };
        let of = |sku| Places::of_routes(config(sku).as_bytes());
        let places = of(json!([{"path": "id"}, {"header": "x-sku"}])).unwrap();
        check(&places, &entry("PUT", "/cart/A", Value::Null), Some("A"));
        check(&places, &entry("POST", "/cart/A", Value::Null), None);
        check(&places, &entry("POST", "/v1/reservations", Value::Null), None);
        let places = of(json!([{"query": "s"}, {"json": "/s"}])).unwrap();
        check(&places, &entry("PUT", "/cart/A?s=B", Value::Null), Some("B"));
        check(&places, &entry("PUT", "/cart/A", Value::Null), Some("-"));
        assert!(matches!(of(json!([{"form": "s"}])), Err(PlacesError::NotLogged)));
        assert!(matches!(of(json!([{"path": "x"}])), Err(PlacesError::Config(_))));
    }

    #[test]
    fn what_names_no_place() {
        let check = |raw: &str, expected: &str| {
            assert_eq!(raw.parse::<Place>().unwrap_err().to_string(), expected);
        };
        let unknown = |raw: &str| {
            format!(
                "{raw:?} names no place: give path:/cart/{{sku}}/add, query:NAME, json:KEY or lines:KEY"
            )
        };
        for raw in ["sku", "header:x-sku", "json:", "lines:", ""] {
            check(raw, &unknown(raw));
        }
        check("path:cart", "\"path:cart\": a path starts with /");
        check("path:/cart/{id}", "\"path:/cart/{id}\": no segment is {sku}");
        check("query:", "\"query:\": a name must not be empty: give the name that clients use");
    }
}
