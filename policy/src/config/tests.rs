//! What the strict configuration accepts, and how it says what is wrong.

use super::numbers::SetsCount;
use super::*;
use crate::client::ClientSource;
use crate::gcra::Limit;
use serde_json::{Value, json};

fn sample() -> Value {
    json!({
        "body_mode": "strict",
        "body_bytes_max": 1024,
        "default_limit": {"per_second": 50, "burst": 100},
        "limits": {"LIMITED-SNEAKER": {"per_second": 5, "burst": 5}},
        "slots": {"sets_count": 16},
        "client_limits": [
            {"client": {"cookie": "session"}, "limit": {"per_second": 1, "burst": 2}},
            {"client": "source_address", "limit": {"per_second": 20, "burst": 40},
             "slots": {"sets_count": 32}},
        ],
        "service": {"cluster": "cartgate", "timeout_ms": 500},
        "routes": [
            {"method": "POST", "path": "/v1/reservations",
             "sku": [{"json": "/sku"}, {"form": "sku"}], "quantity": [{"json": "/quantity"}]},
            {"method": "POST", "path": "/cart/{sku}/add", "sku": [{"path": "sku"}]},
        ],
    })
}

/// Parses the sample with `value` at `pointer` (absent if `null`), which is refused for `expected`.
fn refused(pointer: &str, value: Value, expected: &str) {
    check(pointer, value, Err(expected));
}

fn check(pointer: &str, value: Value, expected: Result<(), &str>) {
    let mut config = sample();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap();
    match parent {
        Value::Object(object) if value.is_null() => drop(object.remove(key)),
        Value::Object(object) => drop(object.insert(key.to_owned(), value)),
        Value::Array(array) => array[key.parse::<usize>().unwrap()] = value,
        _ => panic!("nothing at {pointer}"),
    }
    let parsed = Config::parse(config.to_string().as_bytes());
    let parsed = parsed.map(|_| ()).map_err(|error| error.to_string());
    let parsed = parsed.as_ref().copied();
    // What every message starts with says nothing here.
    let prefix = "configuration field ";
    let parsed = parsed.map_err(|error| error.strip_prefix(prefix).unwrap_or(error));
    assert_eq!(parsed, expected);
}

#[test]
fn sample_and_defaults() {
    let config = Config::parse(sample().to_string().as_bytes()).unwrap();
    let sku = |raw| Sku::parse(raw).unwrap();
    let limit = config.limit_of(&sku("LIMITED-SNEAKER")).map(Rule::limit);
    assert_eq!(limit, Limit::new(5, 5).ok());
    assert_eq!(config.limit_of(&sku("OTHER")), None);
    assert_eq!(config.default_limit().limit(), Limit::new(50, 100).unwrap());
    assert_eq!((config.body_bytes_max(), config.slot_sets_count()), (1024, 16));
    let [session, address] = config.client_limits() else { panic!("two limits") };
    assert_eq!(
        (session.rule().limit(), session.slot_sets_count()),
        (Limit::new(1, 2).unwrap(), 4096)
    );
    assert_eq!((address.client(), address.slot_sets_count()), (&ClientSource::SourceAddress, 32));
    let service = config.service().unwrap();
    assert_eq!((service.cluster(), service.timeout_ms()), ("cartgate", 500));
    let optional = ["body_mode", "body_bytes_max", "limits", "slots", "client_limits", "service"];
    for optional in optional {
        check(&format!("/{optional}"), Value::Null, Ok(()));
    }
    check("/service/timeout_ms", Value::Null, Ok(()));
    check("/slots", json!({}), Ok(()));
    assert_eq!((BodyBytes::default().0, SetsCount::default().0), (65_536, 4096));
}

#[test]
fn errors_name_the_field() {
    let range = |field: &str, max: &str, value: &str| {
        format!("{field}: must be a whole number from 1 to {max}, not {value}")
    };
    let limit = |field, value| range(field, "1000000", value);
    refused("/default_limit/burst", json!(0), &limit("default_limit.burst", "0"));
    let sneaker = limit("limits.LIMITED-SNEAKER.per_second", "1000001");
    refused("/limits/LIMITED-SNEAKER/per_second", json!(1_000_001), &sneaker);
    refused("/body_bytes_max", json!(0), &range("body_bytes_max", "1048576", "0"));
    refused("/slots/sets_count", json!(65_537), &range("slots.sets_count", "65536", "65537"));
    let float = "invalid type: floating point `0.5`, expected u64";
    let field = "default_limit.per_second";
    refused("/default_limit/per_second", json!(0.5), &format!("{field}: {float}"));
    let missing = "configuration: missing field `default_limit`";
    refused("/default_limit", Value::Null, missing);
    refused(
        "/body_mode",
        json!("lax"),
        "body_mode: unknown variant `lax`, expected `strict` or `compat`",
    );
    refused(
        "/body_mod",
        json!(1),
        "body_mod: unknown field `body_mod`, expected one of `version`, `body_mode`, `body_bytes_max`, `default_limit`, `limits`, `slots`, `client_limits`, `service`, `sku`, `answers`, `access_log`, `upstream_headers`, `routes`",
    );
    refused(
        "/routes/0/burst",
        json!(1),
        "routes[0].burst: unknown field `burst`, expected one of `method`, `path`, `sku`, `quantity`, `several`, `lines_max`, `failure_modes`, `shadow`",
    );
    refused(
        "/routes/0/method",
        json!("post"),
        "routes[0].method: \"post\" is no method: use capital letters, such as POST",
    );
    refused(
        "/routes/0/sku/1",
        json!({"json": "sku"}),
        "routes[0].sku[1].json: \"sku\" is no JSON Pointer: it starts with /, such as /sku",
    );
    refused(
        "/routes/0/sku/1",
        json!({"json": "/~2"}),
        "routes[0].sku[1].json: \"/~2\" is no JSON Pointer: write ~ as ~0",
    );
    refused(
        "/routes/0/sku/1",
        json!({"header": "X-Sku"}),
        "routes[0].sku[1].header: \"X-Sku\" is no header name: use lower-case letters, digits and -, such as x-sku",
    );
    refused(
        "/routes/0/sku/1",
        json!({"trailer": "a"}),
        "routes[0].sku[1]: unknown variant `trailer`, expected one of `path`, `query`, `header`, `cookie`, `json`, `form`",
    );
    refused(
        "/routes/0/sku/1",
        json!({"header": "host"}),
        "routes[0].sku[1].header: host never comes under this name: let clients send another header, such as x-sku",
    );
    refused("/routes/1/path", json!("cart"), "routes[1].path: a path starts with /");
    refused(
        "/client_limits/0/client",
        json!("address"),
        "client_limits[0].client: unknown variant `address`, expected one of `header`, `cookie`, `source_address`",
    );
    for cluster in [json!(""), json!("c".repeat(256))] {
        let expected = "service.cluster: must be the name of a cluster, 1 to 255 bytes";
        refused("/service/cluster", cluster, expected);
    }
    refused("/service/cluster", Value::Null, "service: missing field `cluster`");
    for ms in [49, 10_001] {
        let expected =
            format!("service.timeout_ms: must be a whole number from 50 to 10000, not {ms}");
        refused("/service/timeout_ms", json!(ms), &expected);
    }
    let burst = limit("client_limits[0].limit.burst", "0");
    refused("/client_limits/0/limit/burst", json!(0), &burst);
}

/// serde's derived structs take arrays, too.
#[test]
fn an_array_is_no_object() {
    let array = |field: &str| format!("{field}: invalid type: sequence, expected an object");
    refused("/default_limit", json!([1, 3]), &array("default_limit"));
    let sneaker = "limits.LIMITED-SNEAKER";
    refused("/limits/LIMITED-SNEAKER", json!([1, 3]), &array(sneaker));
    refused(
        "/limits",
        json!([]),
        "limits: invalid type: sequence, expected a map from SKU to limit",
    );
    refused("/slots", json!([16]), &array("slots"));
    refused("/service", json!(["cartgate"]), &array("service"));
    refused("/routes/0", json!(["POST", "/add", [{"query": "sku"}], []]), &array("routes[0]"));
    let source = "routes[0].sku[0]: invalid type: sequence, expected string or map";
    refused("/routes/0/sku/0", json!(["json", "/sku"]), source);
    let fields = [
        "body_mode",
        "body_bytes_max",
        "default_limit",
        "limits",
        "slots",
        "client_limits",
        "service",
        "routes",
    ];
    let whole = Value::Array(fields.map(|field| sample()[field].clone()).to_vec());
    let error = Config::parse(whole.to_string().as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "configuration: invalid type: sequence, expected an object");
}

#[test]
fn parts_must_fit_together() {
    refused("/routes", json!([]), "routes: nothing is limited: give at least one route");
    refused(
        "/routes/0/sku",
        json!([]),
        "routes[0].sku: no source: say where the SKU is, such as {\"json\": \"/sku\"}",
    );
    refused(
        "/routes/1/path",
        json!("/cart/{id}/add"),
        "routes[1].sku[0].path: the path /cart/{id}/add has no {sku}: name one of its segments",
    );
    refused(
        "/routes/1/quantity",
        json!([{"path": "n"}]),
        "routes[1].quantity[0].path: the path /cart/{sku}/add has no {n}: name one of its segments",
    );
    refused(
        "/routes/0/sku/1",
        json!({"json": "/sku"}),
        "routes[0].sku[1]: listed before: leave it out",
    );
    let shadowed =
        "routes[1]: routes[0] comes first and takes each of its requests: swap or merge them";
    for path in ["/cart/{n}/add", "/{x}/{y}/{z}"] {
        let route = json!({"method": "POST", "path": path, "sku": [{"query": "a"}]});
        refused("/routes/0", route, shadowed);
    }
    refused(
        "/client_limits/0/client",
        json!("source_address"),
        "client_limits[1].client: listed before: leave one out",
    );
    let many: Vec<_> = (0..5)
        .map(|n| json!({"client": {"cookie": format!("c{n}")}, "limit": {"per_second": 1, "burst": 1}}))
        .collect();
    refused("/client_limits", json!(many), "client_limits: at most 4 limits per client");
    let elsewhere = json!({"method": "PUT", "path": "/{x}/{y}/{z}", "sku": [{"query": "a"}]});
    check("/routes/0", elsewhere, Ok(()));
    refused(
        "/limits/a b",
        json!({"per_second": 1, "burst": 1}),
        "limits: \"a b\": a SKU consists of ASCII letters, digits and -._~: but this one has ' '",
    );
    refused(
        "/limits/ LIMITED-SNEAKER",
        json!({"per_second": 1, "burst": 1}),
        "limits: LIMITED-SNEAKER is there twice: leave one out",
    );
}

#[test]
fn what_is_no_json() {
    for (json, reason) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{} {}", "trailing characters at line 1 column 4"),
        (r#"{"slots":{},"slots":{}}"#, "duplicate key \"slots\" at line 1 column 19"),
    ] {
        let error = Config::parse(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("configuration: not a JSON object in a google.protobuf.StringValue: {reason}")
        );
    }
}

#[test]
fn limits_are_listed_in_the_shops_own_spelling() {
    check("/sku", json!({"case": "upper"}), Ok(()));
    let written = "limits.LIMITED-SNEAKER: by the form in `sku` this is written limited-sneaker";
    refused("/sku", json!({"case": "lower"}), written);
    let not_of_form = "limits.LIMITED-SNEAKER: this is not the form of this shop's SKUs";
    refused("/sku", json!({"pattern": "[0-9]+"}), not_of_form);
    refused(
        "/sku",
        json!({"len_max": 65}),
        "sku.len_max: must be a whole number from 1 to 64, not 65",
    );
}

#[test]
fn quantities_stand_beside_their_skus() {
    let sku = json!([{"json": "/lines/*/sku"}]);
    let route = |quantity: &str| {
        json!({
            "method": "POST", "path": "/cart", "sku": sku, "quantity": [{"json": quantity}],
        })
    };
    check("/routes/1", route("/lines/*/quantity"), Ok(()));
    check("/routes/1", route("/quantity"), Ok(()));
    let other = "lines are the items of one array, in which their SKUs are: name the same one as in sku, up to \
                 its *";
    let stray = format!("routes[1].quantity[0].json: {other}");
    refused("/routes/1", route("/items/*/quantity"), &stray);
    let two = json!([{"json": "/lines/*/sku"}, {"json": "/items/*/sku"}]);
    let two = json!({"method": "POST", "path": "/cart", "sku": two});
    refused("/routes/1", two, &format!("routes[1].sku[1].json: {other}"));
}

#[test]
fn modes() {
    check("/body_mode", json!("compat"), Ok(()));
    check("/upstream_headers", json!(true), Ok(()));
    let mut both = sample();
    both["body_mode"] = json!("compat");
    both["upstream_headers"] = json!(true);
    let error = Config::parse(both.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.field(), "upstream_headers");
    let array = "routes[0].failure_modes: invalid type: sequence, expected an object";
    refused("/routes/0/failure_modes", json!(["allow"]), array);
    refused("/version", json!(-1), "version: invalid value: integer `-1`, expected u64");
    let limit = json!({"per_second": 5, "burst": 5, "shadow": true});
    check("/limits/LIMITED-SNEAKER", limit.clone(), Ok(()));
    check("/client_limits/0/limit", limit, Ok(()));
    check("/routes/0/failure_modes", json!({"no_sku": "allow"}), Ok(()));
    refused(
        "/routes/0/failure_modes",
        json!({"no_sku": "pass"}),
        "routes[0].failure_modes.no_sku: unknown variant `pass`, expected `deny` or `allow`",
    );
}
