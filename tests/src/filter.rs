//! Filter configurations for tests.

use serde_json::{Map, Value, json};

/// Units per second, and at once.
pub type Limit = (u32, u32);

/// A limit that a test can exhaust with one request, and that stays exhausted for its lifetime:
/// 1000 units take 1000 s to come back.
pub const SLOW: Limit = (1, 1000);

/// A configuration with a route for each place where a SKU can be: `/by-path/{sku}`, `/by-query`,
/// `/by-header`, `/by-json` and `/by-form`. Each reads the quantity as well.
pub fn configuration(default: Limit, limits: &[(&str, Limit)]) -> Value {
    let limits: Map<_, _> =
        limits.iter().map(|(sku, own)| ((*sku).to_owned(), limit(*own))).collect();
    let by = |place: &str, sku: &str, quantity: &str| {
        json!({
            "method": "POST", "path": format!("/by-{place}"),
            "sku": [{ place: sku }], "quantity": [{ place: quantity }],
        })
    };
    json!({
        "default_limit": limit(default),
        "limits": limits,
        "routes": [
            {
                "method": "POST", "path": "/by-path/{sku}",
                "sku": [{ "path": "sku" }], "quantity": [{ "query": "quantity" }],
            },
            by("query", "sku", "quantity"),
            by("header", "x-sku", "x-quantity"),
            by("json", "/sku", "/quantity"),
            by("form", "sku", "quantity"),
        ],
    })
}

fn limit((per_second, burst): Limit) -> Value {
    json!({ "per_second": per_second, "burst": burst })
}
