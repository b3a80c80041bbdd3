//! From the same bytes the edge and the service behind it read the same SKUs and quantities, or neither reads
//! any: real Envoy, real service, requests in every form that shops send, and mangled.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use cartgate_tests::client::exchange;
use cartgate_tests::http1::Message;
use cartgate_tests::mangled::{Mangled, SKUS};
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{EnvoyConfig, Site};
use serde_json::{Value, json};

const REQUESTS: usize = 600;

/// The same on both sides.
const SKU_FORM: &str =
    "[sku]\ncase = \"upper\"\nunicode = \"nfkc\"\n[detection]\nenabled = false\n";

const CARTS_LINES_MAX: usize = 50;

/// Both as shipped, on the store that the run is about, but for what is changed of the filter's configuration;
/// the edge passes every path on.
async fn start(change: impl FnOnce(&mut Value)) -> Site {
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    let mut filter = config.filter_settings().unwrap();
    change(&mut filter);
    Site::start(SKU_FORM, config.filter_configuration(&filter)).await.unwrap()
}

/// Everything is admitted that can be read, of products that there are plenty of.
async fn plenty() -> Site {
    let site = start(|filter| {
        filter["default_limit"] = json!({"per_second": 1_000_000, "burst": 1_000_000});
        filter["sku"] = json!({"case": "upper", "unicode": "nfkc"});
        filter["routes"].as_array_mut().unwrap().push(json!({
            "method": "POST", "path": "/v1/carts", "lines_max": CARTS_LINES_MAX,
            "sku": [{"json": "/lines/*/sku"}], "quantity": [{"json": "/lines/*/quantity"}],
        }));
    })
    .await;
    for sku in SKUS {
        assert!(site.back().set_stock(sku, 1_000_000).await.unwrap().status < 300);
    }
    site
}

/// A request, in one piece or in chunks.
struct Request {
    path: &'static str,
    mangled: Mangled,
    is_chunked: bool,
    number: usize,
}

impl Request {
    fn random(number: usize, random: &mut Random) -> Self {
        let (path, mangled) = match random.below(4) {
            0 => ("/v1/carts", Mangled::cart(random)),
            _ => ("/v1/reservations", Mangled::line(random)),
        };
        Self { path, mangled, is_chunked: random.below(2) == 0, number }
    }

    /// As it is sent to one of the two: each has a key of its own there.
    fn bytes(&self, to: &str) -> Vec<u8> {
        let Self { path, mangled: Mangled { content_types, body }, number, .. } = self;
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: shop\r\n");
        head += &format!("idempotency-key: {to}-{number}\r\n");
        for content_type in content_types {
            head += &format!("content-type: {content_type}\r\n");
        }
        if !self.is_chunked {
            return [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), body]
                .concat();
        }
        let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(5) {
            bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }

    fn describe(&self) -> String {
        let Mangled { content_types, body } = &self.mangled;
        format!("{} {content_types:?} {:?}", self.path, String::from_utf8_lossy(body))
    }
}

/// What the service has reserved, if it has.
fn reserved(answer: &Message) -> Option<BTreeMap<String, u64>> {
    if answer.status() != 201 {
        return None;
    }
    let body = answer.json();
    let lines = match body["reservations"].as_array() {
        Some(lines) => lines.clone(),
        None => vec![body],
    };
    let line = |line: &Value| {
        (line["sku"].as_str().unwrap().to_owned(), line["quantity"].as_u64().unwrap())
    };
    Some(lines.iter().map(line).collect())
}

/// What the edge has read, by the access log; or why it passed nothing on.
fn read(logged: &Value) -> Result<BTreeMap<String, u64>, String> {
    let text = |name: &str| logged[name].as_str().unwrap_or_default();
    if text("verdict") != "admitted" {
        return Err(text("verdict").to_owned());
    }
    let line = |line: &str| {
        let (sku, quantity) = line.split_once('=').unwrap();
        (sku.to_owned(), quantity.parse().unwrap())
    };
    Ok(text("lines").split(',').map(line).collect())
}

#[tokio::test]
async fn read_the_same_from_the_same_bytes() {
    let (site, mut random) = (plenty().await, Random::from_env());
    let mut asked = Vec::new();
    for number in 0..REQUESTS {
        let request = Request::random(number, &mut random);
        let through = exchange(site.envoy.address(), request.bytes("edge")).await;
        let direct = exchange(site.service.address(), request.bytes("service")).await;
        asked.push((request, through, direct));
    }
    let logged = site.envoy.logged(REQUESTS).await;
    assert_eq!(logged.len(), REQUESTS);
    let (mut passed, mut refused) = (0, 0);
    for ((request, through, direct), logged) in asked.iter().zip(&logged) {
        let what = || format!("{}\nlogged {logged}\ndirectly {direct:?}", request.describe());
        assert_eq!(logged["path"], request.path, "{}", what());
        assert_ne!(direct.status() / 100, 5, "{}", what());
        match read(logged) {
            // What the service does not take it may still refuse; what it takes is what was charged for.
            Ok(lines) => {
                passed += 1;
                let others = reserved(direct).unwrap_or_else(|| lines.clone());
                assert_eq!((reserved(through), &others), (reserved(direct), &lines), "{}", what());
            }
            Err(_) => {
                refused += 1;
                assert_eq!(reserved(direct), None, "{}", what());
                assert_eq!(through.status() / 100, 4, "{}", what());
            }
        }
    }
    println!("{passed} passed, {refused} refused");
    assert!(passed > REQUESTS / 5 && refused > REQUESTS / 5, "{passed} passed, {refused} refused");
}

/// What the service has counted under this name.
async fn counted(site: &Site, name: &str) -> Option<u32> {
    let metrics = site.back().metrics().await.ok()?;
    let count = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    count.parse().ok()
}

const OTHER_FORM: &str = "cartgate_edge_reports_other_sku_form_total";

#[tokio::test]
async fn the_service_says_that_an_edge_has_another_form() {
    let site = start(|filter| filter["sku"] = json!({"case": "upper"})).await;
    eventually("a report that is counted", || async {
        counted(&site, OTHER_FORM).await.filter(|count| *count > 0)
    })
    .await;
    assert_eq!(site.service.log().matches("an edge gives SKUs another form").count(), 1);
}

#[tokio::test]
async fn nothing_is_said_of_an_edge_that_has_the_same() {
    let site = start(|filter| filter["sku"] = json!({"unicode": "nfkc", "case": "upper"})).await;
    eventually("reports that are answered", || async {
        let answered = "cartgate_edge_reports_total{outcome=\"answered\"}";
        counted(&site, answered).await.filter(|count| *count >= 3)
    })
    .await;
    assert_eq!(counted(&site, OTHER_FORM).await, Some(0));
}
