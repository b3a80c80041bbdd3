//! The reference of the filter's configuration: its examples load, and it leaves nothing out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;

use cartgate_policy::answer::SAID;
use cartgate_policy::config::{Config, schema};
use cartgate_tests::decisions;
use cartgate_tests::{Edge, paths};
use serde_json::{Value, json};

const REFERENCE: &str = include_str!("../../filter/CONFIGURATION.md");

/// The blocks of JSON in the reference, each as a whole configuration: what one leaves out is as in the first.
fn examples() -> Vec<Value> {
    let blocks = REFERENCE.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let blocks: Vec<Value> =
        blocks.map(|block| serde_json::from_str(block).expect(block)).collect();
    let whole = |block: &Value| {
        let mut whole = blocks[0].clone();
        whole.as_object_mut().unwrap().extend(block.as_object().unwrap().clone());
        whole
    };
    blocks.iter().map(whole).collect()
}

#[test]
fn every_example_loads() {
    let examples = examples();
    assert!(examples.len() > 10);
    for example in examples {
        let parsed = Config::parse(example.to_string().as_bytes());
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
    }
}

/// Every name of a field or a value that the schema has.
fn names(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            found.extend(object.get("const").and_then(Value::as_str).map(str::to_owned));
            let values = object.get("enum").and_then(Value::as_array).into_iter().flatten();
            found.extend(values.filter_map(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| names(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

#[test]
fn every_field_and_value_is_explained() {
    let mut found = BTreeSet::new();
    names(&schema(), &mut found);
    assert!(found.contains("per_second") && found.contains("source_address"), "{found:?}");
    for name in found {
        let is_there = [format!("`{name}`"), format!("\"{name}\""), format!(".{name}`")];
        assert!(is_there.iter().any(|text| REFERENCE.contains(text)), "{name}");
    }
}

#[test]
fn every_example_is_used() {
    let mut unused = BTreeSet::new();
    names(&schema(), &mut unused);
    let examples = examples().iter().map(Value::to_string).collect::<String>();
    // Fields, not values: of these one is enough.
    unused.retain(|name| !examples.contains(&format!("\"{name}\"")));
    let values = ["keep", "lower", "agree", "strict"].map(str::to_owned).into();
    assert!(unused.is_subset(&values), "{unused:?}");
}

#[test]
fn every_answer_is_explained() {
    for problem in SAID {
        assert!(REFERENCE.contains(&format!("`{}`", problem.slug())), "{}", problem.slug());
    }
}

/// `make schema` writes it.
#[test]
fn the_schema_is_that_of_the_types() {
    let path = paths::repo_root().join("filter/configuration.schema.json");
    let written = fs::read_to_string(path).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert!(
        written == schema(),
        "filter/configuration.schema.json is not up to date: `make schema`"
    );
}

/// By a validator that others have written: it takes what the filter takes, and refuses what it refuses.
#[test]
fn a_validator_knows_right_from_wrong_by_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    // What looks ahead is more than every validator's expressions have (JSON Schema Core, 6.4).
    assert!(!schema().to_string().contains("(?"));
    for example in examples().into_iter().chain([decisions::configuration()]) {
        assert!(validator.is_valid(&example), "{example}");
    }
    let is_valid = |pointer: &str, value: Value| {
        let mut config = examples().swap_remove(0);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match config.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
            object => object[name] = value,
        }
        let is_valid = Config::parse(config.to_string().as_bytes()).is_ok();
        assert_eq!(validator.is_valid(&config), is_valid, "{config}");
        is_valid
    };
    for (kind, names) in [
        ("json", &["", "/", "/sku", "/a/*/sku", "/*", "/a~0~1", "/**/*"][..]),
        ("cookie", &["a", "__Host-a", "!#$%&'*+.^_`|~-"]),
        ("header", &["x-sku", "hosts", "-", "1"]),
        ("form", &[" ", "sku[]"]),
    ] {
        for name in names {
            assert!(is_valid("/routes/0/sku/0", json!({kind: name})), "{kind}: {name}");
        }
    }
    let at = |path| json!({"method": "POST", "path": path, "sku": [{"query": "sku"}]});
    for path in ["/", "/a//b", "/a/", "/{a}/b/{b_1}", "/a;b=\"c\""] {
        assert!(is_valid("/routes/0", at(path)), "{path}");
    }
    let wrong = |pointer: &str, value: Value| assert!(!is_valid(pointer, value));
    wrong("/routs", json!([]));
    wrong("/default_limit/burst", json!(0));
    wrong("/default_limit/burst", json!(1_000_001));
    wrong("/body_bytes_max", json!(0));
    wrong("/body_mode", json!("lax"));
    wrong("/slots", json!({"sets_count": 65_537}));
    wrong("/sku", json!({"len_max": 65}));
    wrong("/service", json!({"cluster": "c", "timeout_ms": 49}));
    wrong("/routes/0/sku/0", json!({"trailer": "x"}));
    wrong("/routes/0/failure_modes", json!({"no_sku": "pass"}));
    wrong("/service", json!(null));
    wrong("/service", json!({"cluster": ""}));
    wrong("/routes", json!([]));
    wrong("/routes/0/sku", json!([]));
    wrong("/routes/0/method", json!("post"));
    for path in ["cart", "/a*", "/a/{b", "/{b-c}", "/%61"] {
        wrong("/routes/0", at(path));
    }
    for name in ["host", "X-Sku", "x sku", ""] {
        wrong("/routes/0/sku/0", json!({"header": name}));
    }
    for name in ["", "a b", "a=b", "a\"", "a\\", "\u{e9}"] {
        wrong("/routes/0/sku/0", json!({"cookie": name}));
    }
    for pointer in ["sku", "/a~2", "/*/a/*", "/*/*"] {
        wrong("/routes/0/sku/0", json!({"json": pointer}));
    }
    wrong("/routes/0/sku/0", json!({"form": ""}));
    wrong("/sku", json!({"pattern": ""}));
    let limit = |n: u8| json!({"client": {"header": format!("h{n}")}, "limit": {"per_second": 1, "burst": 1}});
    wrong("/client_limits", (0..5).map(limit).collect());
    wrong("/answers", json!({"words": {"en": {"sold-out": {"title": "", "text": "x"}}}}));
}

/// What is counted is in the reference, by its whole name or by how it ends.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_explained() {
    let edge = Edge::with_filter(&decisions::configuration()).await.unwrap();
    let metrics = edge.envoy.metrics().await;
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE cartgate_"));
    let names: Vec<_> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let mut families = ["requests", "would_be", "allowed"].iter();
        let is_there = match families.find_map(|family| name.strip_prefix(family)) {
            Some(reason) => [format!("`{reason}`"), format!("`cartgate_requests{reason}`")],
            None => [format!("`cartgate_{name}`"), "nothing else".to_owned()],
        };
        assert!(is_there.iter().any(|text| REFERENCE.contains(text)), "{name}");
    }
}
