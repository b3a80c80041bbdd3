//! Stock in bulk: lines that are applied, refused, wrong, too long; compressed or not; once each, whatever
//! breaks off in between; and all of it back again.

use std::io::Write as _;

use cartgate_tests::client::{ANSWER_WITHIN, RawConnection, http};
use cartgate_tests::{Answer, Order, Service};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{SKU, assert_problem, call, counters, service};

const NDJSON: &str = "application/x-ndjson";

/// What is sent, and how.
pub(crate) struct Import {
    pub(crate) media_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) digest: Option<String>,
    pub(crate) is_gzip: bool,
}

impl Import {
    pub(crate) fn of(media_type: &'static str, content: impl Into<Vec<u8>>) -> Self {
        Self { media_type, body: content.into(), digest: None, is_gzip: false }
    }

    /// Says what its digest is.
    pub(crate) fn digested(mut self) -> Self {
        self.digest = Some(repr_digest(&self.body));
        self
    }

    fn gzip(mut self) -> Self {
        self.body = gzip(&self.body);
        self.is_gzip = true;
        self
    }

    pub(crate) fn request(&self, service: &Service) -> reqwest::RequestBuilder {
        let request = http().post(service.url("/v1/stock-imports"));
        let mut request = request.header("content-type", self.media_type);
        if let Some(digest) = &self.digest {
            request = request.header("repr-digest", digest);
        }
        if self.is_gzip {
            request = request.header("content-encoding", "gzip");
        }
        request.body(self.body.clone())
    }

    /// Sends it, and reads all lines of the answer.
    async fn send(&self, service: &Service) -> Vec<Value> {
        let answer = self.request(service).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], NDJSON);
        lines(&answer.text().await.unwrap())
    }
}

pub(crate) fn repr_digest(content: &[u8]) -> String {
    use base64::Engine as _;
    let digest = base64::prelude::BASE64_STANDARD.encode(Sha256::digest(content));
    format!("sha-256=:{digest}:")
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn done(lines: u64, set: u64, unchanged: u64, refused: u64) -> Value {
    json!({"done": true, "lines": lines, "set": set, "unchanged": unchanged, "refused": refused})
}

/// The lines that were refused, and the problem of each.
fn refused(told: &[Value]) -> Vec<(u64, String)> {
    let refused = |line: &Value| {
        let problem = line["problem"]["type"].as_str()?.strip_prefix("urn:cartgate:problem:")?;
        Some((line["line"].as_u64()?, problem.to_owned()))
    };
    told.iter().filter_map(refused).collect()
}

/// The problem that an import ended with.
fn ended(told: &[Value]) -> &str {
    let end = told.last().unwrap();
    assert_eq!(end["done"], false, "{end}");
    end["problem"]["type"].as_str().unwrap().strip_prefix("urn:cartgate:problem:").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_applied_and_those_that_are_wrong_are_told() {
    let (_dir, service, shop) = service("").await;
    assert_eq!(shop.reserve(&Order { quantity: 3, ..Order::one(SKU) }).await.unwrap().status, 201);
    let too_long = format!("{{\"sku\": \"{}\", \"quantity\": 1}}", "x".repeat(10_000_000));
    let content = [
        r#"{"sku": "A", "quantity": 7}"#,
        r#"{"sku": "SNEAKER-1", "quantity": 2}"#,
        "",
        r#"{"sku": "B B", "quantity": 1}"#,
        &too_long,
        r#"{"sku": "SNEAKER-1", "quantity": 10}"#,
        r#"{"sku": "A", "quantity": 8}"#,
        r#"{"sku": "C", "quantity": 1, "colour": "red"}"#,
        r#"{"sku": "B", "quantity": 0}"#,
    ];
    let told = Import::of(NDJSON, content.join("\n")).send(&service).await;
    let expected = [
        (2, "stock-below-committed"),
        (4, "invalid-request"),
        (5, "invalid-request"),
        (8, "invalid-request"),
    ];
    assert_eq!(refused(&told), expected.map(|(line, problem)| (line, problem.to_owned())));
    assert_eq!(told[0]["problem"]["committed"], 3, "{told:?}");
    assert_eq!(told.last(), Some(&done(9, 3, 1, 4)));
    assert_eq!(counters(&shop, "A").await, [8, 0, 0]);
    assert_eq!(counters(&shop, "B").await, [0, 0, 0]);
    assert_eq!(counters(&shop, SKU).await, [7, 3, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_gzip_are_read() {
    let (_dir, service, shop) = service("").await;
    let content = "sku,quantity\r\nA,7\r\n\"B\",\"8\"\r\nC\r\n";
    let told = Import::of("text/csv; charset=utf-8", content).gzip().send(&service).await;
    assert_eq!(refused(&told), [(4, "invalid-request".to_owned())]);
    assert_eq!(told.last(), Some(&done(4, 2, 0, 1)));
    assert_eq!(counters(&shop, "B").await, [8, 0, 0]);
    let told = Import::of("text/csv", "A,7\n").send(&service).await;
    assert_eq!(ended(&told), "invalid-request");
    let told = Import::of(NDJSON, "").send(&service).await;
    assert_eq!(told, [done(0, 0, 0, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_is_refused_before_it_begins() {
    let (_dir, service, _shop) = service("").await;
    let path = "/v1/stock-imports";
    assert_problem(
        &call(&service, Method::GET, path, None, Value::Null).await,
        405,
        "method-not-allowed",
    );
    let import = |media_type| Import::of(media_type, "");
    let wrong = Answer::to(import("application/json").request(&service)).await.unwrap();
    assert_problem(&wrong, 415, "unsupported-media-type");
    let wrong = import(NDJSON).request(&service).header("content-encoding", "br");
    assert_problem(&Answer::to(wrong).await.unwrap(), 415, "unsupported-media-type");
    let wrong = import(NDJSON).request(&service).header("repr-digest", "sha-256=:AAAA:");
    assert_problem(&Answer::to(wrong).await.unwrap(), 400, "invalid-request");
}

/// A bomb of 10 GiB would take a minute and all memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_too_much_or_breaks_off_ends_the_import() {
    let (_dir, service, shop) = service("").await;
    let bomb = Import { is_gzip: true, ..Import::of(NDJSON, gzip(&vec![b'\n'; 64 << 20])) };
    assert_eq!(ended(&bomb.send(&service).await), "body-too-large");
    let lines: String = (0..5_000).map(|n| format!("S{n},{}\n", 7 + n % 9)).collect();
    let mut cut = Import::of("text/csv", format!("sku,quantity\n{lines}")).gzip();
    cut.body.truncate(cut.body.len() - 4);
    let told = cut.send(&service).await;
    assert_eq!(ended(&told), "invalid-request");
    // What was whole before that is applied.
    assert!(told.last().unwrap()["lines"].as_u64() > Some(1), "{told:?}");
    assert_eq!(counters(&shop, "S0").await, [7, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_is_applied_once() {
    let (_dir, service, shop) = service("").await;
    let content = "sku,quantity\nA,7\nB,8\nC C,1\n";
    let import = Import::of("text/csv", content).digested();
    let told = import.send(&service).await;
    assert_eq!(told.last(), Some(&done(4, 2, 0, 1)));
    assert_eq!(shop.set_stock("A", 3).await.unwrap().status, 200);
    let again = import.send(&service).await;
    assert_eq!(counters(&shop, "A").await, [3, 0, 0]);
    let resumed = json!({"line": 4, "state": "resumed", "set": 2, "unchanged": 0, "refused": 1});
    assert_eq!(again, [resumed, told[0].clone(), done(4, 2, 0, 1)]);
    // Compressed it is the same content.
    let compressed =
        Import { digest: import.digest.clone(), ..Import::of("text/csv", content).gzip() };
    assert_eq!(compressed.send(&service).await, again);
    assert_eq!(counters(&shop, "A").await, [3, 0, 0]);
    // Who does not say what it is has it applied.
    assert_eq!(
        Import::of("text/csv", content).send(&service).await.last(),
        Some(&done(4, 1, 1, 1))
    );
    assert_eq!(counters(&shop, "A").await, [7, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_wrong_is_told() {
    let (_dir, service, shop) = service("").await;
    let content = "sku,quantity\nA,7\n";
    let named = |digest_of: &str| Some(repr_digest(digest_of.as_bytes()));
    let wrong = Import { digest: named("another"), ..Import::of("text/csv", content) };
    for _ in 0..2 {
        let told = wrong.send(&service).await;
        assert_eq!(ended(&told), "digest-mismatch");
        assert_eq!(told.last().unwrap()["lines"], 2);
    }
    assert_eq!(
        Import::of("text/csv", content).digested().send(&service).await.last(),
        Some(&done(2, 0, 1, 0))
    );
    // Nothing of another content is passed over in place of the right one, nor applied.
    let other = "sku,quantity\nA,9\nB,1\n";
    let other = Import { digest: named(content), ..Import::of("text/csv", other) };
    assert_eq!(ended(&other.send(&service).await), "digest-mismatch");
    assert_eq!(counters(&shop, "A").await, [7, 0, 0]);
    assert_eq!(shop.stock("B").await.unwrap().status, 404);
}

/// A client that does not take in what it is told is not read from.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_costs_no_memory() {
    let (_dir, service, shop) = service("").await;
    let mut client = RawConnection::open(service.address()).await;
    let head = format!(
        "POST /v1/stock-imports HTTP/1.1\r\nhost: shop\r\ncontent-type: {NDJSON}\r\n\
         content-length: 4000000000\r\n\r\n"
    );
    client.send(head).await;
    let wrong = "{}\n".repeat(100_000);
    let before = resident_bytes(&service);
    let sends = async {
        for sent in 0.. {
            let send = client.send(&wrong);
            if tokio::time::timeout(std::time::Duration::from_secs(2), send).await.is_err() {
                return sent * wrong.len();
            }
        }
        unreachable!()
    };
    let sent = tokio::time::timeout(ANSWER_WITHIN, sends).await.expect("it is not read from");
    assert!(sent < 100 << 20, "{sent} bytes were read");
    let more = resident_bytes(&service).saturating_sub(before);
    assert!(more < 64 << 20, "{more} bytes more");
    assert_eq!(counters(&shop, SKU).await, [10, 0, 0]);
}

fn resident_bytes(service: &Service) -> u64 {
    cartgate_tests::bench::watch::resident_bytes(service.process.id().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported() {
    let (_dir, service, shop) = service("").await;
    let content: String = (0..3_000).map(|n| format!("P-{n:04},{n}\n")).collect();
    let content = format!("sku,quantity\n{content}");
    let told = Import::of("text/csv", content.clone()).send(&service).await;
    assert_eq!(told.last(), Some(&done(3_001, 3_000, 0, 0)));
    assert_eq!(shop.reserve(&Order::one("P-0007")).await.unwrap().status, 201);
    for (format, media_type, header) in [("csv", "text/csv", 1), ("ndjson", NDJSON, 0)] {
        let export = service.url(&format!("/v1/stock-exports?format={format}"));
        let answer = http().get(export).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], media_type);
        let exported = answer.text().await.unwrap();
        let told = Import::of(media_type, exported.clone()).send(&service).await;
        assert_eq!(told.last(), Some(&done(3_001 + header, 0, 3_001, 0)));
        if format == "csv" {
            let sorted = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(sorted(&exported), sorted(&format!("{content}{SKU},10\n")));
        }
    }
}
