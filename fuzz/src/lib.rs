//! What is true of every input that the edge reads.
//!
//! Each target takes bytes that nobody has chosen with care, has `policy` read them, and fails if something
//! that must hold does not: nothing panics; what comes out is canonical; the service reads what the edge
//! reads; and where others' parsers read the same thing, they do not read something else. `make fuzz` runs
//! them under libFuzzer; `tests/corpus.rs` runs them over the inputs that are kept in `corpus/`.

#![allow(clippy::panic, clippy::expect_used, reason = "a target fails by panicking")]

use std::rc::Rc;

use bytes::Bytes;
use cartgate_policy::answer::Answers;
use cartgate_policy::config::Config;
use cartgate_policy::document::{Document, MediaType};
use cartgate_policy::extract::{ExtractError, Head, Line, Route, line_of};
use cartgate_policy::problem::{Problem, ProblemType};
use cartgate_policy::{Sku, SkuForm};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("head", head),
    ("json", json),
    ("form", form),
    ("multipart", multipart),
    ("config", config),
    ("words", words),
];

thread_local! {
    static CONFIG: Config = whole();
}

/// Every source, each with a quantity; sources in order; lines of a cart.
fn whole() -> Config {
    let limit = json!({"per_second": 1, "burst": 1});
    let sku = json!([
        {"query": "sku"}, {"header": "x-sku"}, {"cookie": "sku"}, {"json": "/sku"}, {"form": "sku"},
    ]);
    let quantity = json!([
        {"query": "quantity"}, {"header": "x-quantity"}, {"json": "/quantity"}, {"form": "quantity"},
    ]);
    let config = json!({
        "default_limit": limit,
        "client_limits": [
            {"client": {"cookie": "session"}, "limit": limit},
            {"client": {"header": "x-client"}, "limit": limit},
        ],
        "routes": [
            {"method": "POST", "path": "/any/{sku}", "sku": [{"path": "sku"}, {"query": "sku"}]},
            {"method": "POST", "path": "/any", "sku": sku, "quantity": quantity},
            {"method": "POST", "path": "/first", "several": "first", "sku": sku, "quantity": quantity},
            {
                "method": "POST", "path": "/body", "sku": [{"json": "/sku"}, {"form": "sku"}],
                "quantity": [{"json": "/quantity"}, {"form": "quantity"}],
            },
            {
                "method": "POST", "path": "/cart", "lines_max": 5,
                "sku": [{"json": "/lines/*/sku"}], "quantity": [{"json": "/lines/*/quantity"}],
            },
        ],
    });
    Config::parse(config.to_string().as_bytes()).expect("a configuration")
}

fn route(head: &Head<'_>) -> Option<Rc<Route>> {
    CONFIG.with(|config| config.route(head).cloned())
}

/// A request's head: the first line is the target, each other a header's name, a colon, and its value.
pub fn head(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let target = lines.next().unwrap_or_default();
    let mut headers: Vec<(&[u8], &[u8])> = vec![(b":method", b"POST"), (b":path", target)];
    headers.extend(lines.filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        Some((&line[..colon], &line[colon + 1..]))
    }));
    let head = Head::new(headers);
    CONFIG.with(|config| {
        let _ = config.answers().voice(&head);
        for limit in config.client_limits() {
            let _ = limit.client().client(&head, b"192.0.2.1:80", &[0; 16]);
        }
    });
    let Some(route) = route(&head) else { return };
    let form = SkuForm::default();
    let reading = route.read_head(&head, &form);
    check(&reading.and_then(|reading| route.read_body(reading, b"", &form)), 1);
}

/// A JSON body.
pub fn json(data: &[u8]) {
    let body = Document::parse(Some(b"application/json"), data);
    if let Ok(Document::Json(strict)) = &body {
        // Whatever we read, the parser that everybody uses reads as well, and reads the same.
        let plain: Value = serde_json::from_slice(data).expect("JSON");
        assert_eq!(*strict, plain);
    }
    body_read_twice("application/json", data);
    check(&read("/cart", "application/json", data), 5);
    check(&read("/first", "application/json", data), 1);
}

/// A urlencoded form.
pub fn form(data: &[u8]) {
    for charset in ["utf-8", "shift_jis", "euc-jp"] {
        let content_type = format!("application/x-www-form-urlencoded; charset={charset}");
        body_read_twice(&content_type, data);
    }
}

/// A multipart form, whose boundary is `XX`.
pub fn multipart(data: &[u8]) {
    let content_type = "multipart/form-data; boundary=XX";
    let Some(line) = body_read_twice(content_type, data) else { return };
    // A server that uses multer is shown the same SKU, and no second one.
    let found = by_multer(data);
    let skus: Vec<_> = found.iter().filter(|(name, _)| name == "sku").collect();
    let [(_, sku)] = skus.as_slice() else { panic!("{line:?} {found:?}") };
    assert_eq!(Sku::parse(sku).as_ref(), Ok(&line.sku), "{found:?}");
}

/// The fields, by a parser that others have written.
fn by_multer(data: &[u8]) -> Vec<(String, String)> {
    let body = Bytes::copy_from_slice(data);
    let stream = futures_util::stream::once(async { Ok::<_, std::io::Error>(body) });
    let mut parts = multer::Multipart::new(stream, "XX");
    let read = async {
        let mut fields = Vec::new();
        while let Ok(Some(field)) = parts.next_field().await {
            let (name, file) = (field.name().map(str::to_owned), field.file_name().is_some());
            let Ok(bytes) = field.bytes().await else { break };
            // A file's text is nothing that we show a server as a SKU; its name would be.
            let text =
                if file { String::new() } else { String::from_utf8_lossy(&bytes).into_owned() };
            fields.extend(name.map(|name| (name, text)));
        }
        fields
    };
    // All of it is there: nothing has to be waited for.
    read.now_or_never().unwrap_or_default()
}

/// A configuration.
pub fn config(data: &[u8]) {
    let Err(error) = Config::parse(data) else { return };
    // Whoever reads it knows where to look, and what for.
    assert!(!error.reason().is_empty());
    assert!(error.to_string().starts_with("configuration"));
}

/// Texts of all kinds: SKUs in every form, content types, wishes for languages and kinds of answer.
pub fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for case in ["keep", "upper", "lower"] {
        for unicode in ["keep", "nfkc"] {
            let form = json!({"case": case, "unicode": unicode, "len_max": 20, "pattern": "[^~]*"});
            let form: SkuForm = serde_json::from_value(form).expect("a form");
            if let Ok(sku) = form.parse(&text) {
                assert_eq!(form.parse(sku.as_str()), Ok(sku.clone()), "not canonical");
                assert!(sku.as_str().len() <= 20 && sku.as_str().is_ascii());
            }
        }
    }
    if let Ok(kind) = MediaType::of(Some(data)) {
        let _ = kind.parse(b"--XX--");
    }
    let answers = Answers::default();
    let head = Head::new(vec![(b"accept-language", data), (b"accept", data)]);
    let body = answers.body(&Problem::new(ProblemType::SoldOut), answers.voice(&head));
    assert!(["en", "ja"].contains(&body.language.as_str()));
}

/// What the edge makes of a body, on one of its routes.
fn read(path: &str, content_type: &str, body: &[u8]) -> Result<Vec<Line>, ExtractError> {
    let headers: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"POST"),
        (b":path", path.as_bytes()),
        (b"content-type", content_type.as_bytes()),
    ];
    let (head, form) = (Head::new(headers), SkuForm::default());
    let route = route(&head).expect("a route");
    route.read_body(route.read_head(&head, &form)?, body, &form)
}

/// Edge and service read the same of a body, or neither reads anything. Gives what they read.
fn body_read_twice(content_type: &str, data: &[u8]) -> Option<Line> {
    let edge = read("/body", content_type, data);
    check(&edge, 1);
    let document = Document::parse(Some(content_type.as_bytes()), data);
    let service =
        document.map_err(ExtractError::from).and_then(|d| line_of(&d, &SkuForm::default()));
    match (edge, service) {
        (Ok(edge), Ok(service)) => {
            assert_eq!(edge, std::slice::from_ref(&service));
            Some(service)
        }
        (Err(_), Err(_)) => None,
        // An array has no members that a pointer could find: only the service says so.
        (edge, service) => panic!("the edge reads {edge:?}, the service {service:?}"),
    }
}

/// What is read is canonical, in bounds, and each SKU is there once.
fn check(read: &Result<Vec<Line>, ExtractError>, lines_max: usize) {
    match read {
        Ok(lines) => {
            assert!((1..=lines_max).contains(&lines.len()));
            for (n, line) in lines.iter().enumerate() {
                assert_eq!(Sku::parse(line.sku.as_str()), Ok(line.sku.clone()));
                assert!(lines.iter().skip(n + 1).all(|other| other.sku != line.sku));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.failure().name().is_empty()),
    }
}
