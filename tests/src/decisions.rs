//! The table of decisions: requests, and what the edge makes of each.
//!
//! It is run twice: by the filter's own reader, with nothing running (`native`), and inside the real Envoy
//! (`tests/edge_decisions.rs`). What the one reads and the other does not would be a way around the limit.

mod over_http;

use cartgate_policy::config::Config;
use cartgate_policy::extract::Head;
use serde_json::{Value, json};

pub use over_http::{Write, check_http1, check_http2, chunked, whole};

/// A request, and what is made of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is particular about it.
    pub what: &'static str,
    /// Path and query.
    pub target: &'static str,
    /// Names and values.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
    /// The lines that are read, such as `A=1,B=2`; or the failure.
    pub expected: Result<&'static str, &'static str>,
}

/// The largest body that is read of these requests.
pub const BODY_BYTES_MAX: usize = 2_048;

/// A configuration whose limits admit all that can be read.
pub fn configuration() -> Value {
    let plenty = json!({ "per_second": 1_000_000, "burst": 1_000_000 });
    let everywhere = json!([
        {"query": "sku"}, {"header": "x-sku"}, {"cookie": "sku"}, {"json": "/sku"}, {"form": "sku"},
    ]);
    let quantity = json!([{"query": "quantity"}, {"json": "/quantity"}, {"form": "quantity"}]);
    json!({
        "body_bytes_max": BODY_BYTES_MAX,
        "default_limit": plenty,
        "sku": {"case": "upper", "unicode": "nfkc", "pattern": "[A-Z0-9-]+"},
        "access_log": true,
        "routes": [
            {"method": "POST", "path": "/any", "sku": everywhere, "quantity": quantity},
            {
                "method": "POST", "path": "/first", "several": "first",
                "sku": [{"header": "x-sku"}, {"json": "/sku"}, {"query": "sku"}],
            },
            {
                "method": "POST", "path": "/cart", "lines_max": 3,
                "sku": [{"json": "/lines/*/sku"}],
                "quantity": [{"json": "/lines/*/quantity"}],
            },
            {"method": "POST", "path": "/by/{sku}/add", "sku": [{"path": "sku"}]},
        ],
    })
}

impl Case {
    fn new(
        what: &'static str,
        target: &'static str,
        expected: Result<&'static str, &'static str>,
    ) -> Self {
        Self { what, target, headers: Vec::new(), body: Vec::new(), expected }
    }

    fn header(mut self, name: &'static str, value: &[u8]) -> Self {
        self.headers.push((name, value.to_vec()));
        self
    }

    fn body(self, kind: &'static str, body: impl AsRef<[u8]>) -> Self {
        let mut case = self.header("content-type", kind.as_bytes());
        case.body = body.as_ref().to_vec();
        case
    }

    /// The decision, by the reader that the filter runs: lines, or the failure's name.
    ///
    /// # Panics
    /// There is no route for it.
    pub fn native(&self, config: &Config) -> Result<String, &'static str> {
        let mut headers: Vec<(&[u8], &[u8])> =
            vec![(b":method", b"POST"), (b":path", self.target.as_bytes())];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_bytes(), &value[..])));
        let head = Head::new(headers);
        let route = config.route(&head).expect("a route for each case");
        if self.body.len() > config.body_bytes_max() {
            return Err("oversize");
        }
        let read = route.read_head(&head, config.sku());
        let read = read.and_then(|reading| route.read_body(reading, &self.body, config.sku()));
        match read {
            Ok(lines) => {
                let lines = lines.iter().map(|line| format!("{}={}", line.sku, line.quantity));
                Ok(lines.collect::<Vec<_>>().join(","))
            }
            Err(error) => Err(error.failure().name()),
        }
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [heads(), bodies(), multipart(), carts(), hostile()].concat()
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=XX";

fn heads() -> Vec<Case> {
    vec![
        Case::new("path", "/by/a-1/add", Ok("A-1=1")),
        Case::new("path, encoded", "/by/%61-1/add", Ok("A-1=1")),
        Case::new("query", "/any?sku=a-1&quantity=3", Ok("A-1=3")),
        Case::new("query at full width", "/any?sku=%EF%BC%A1-%EF%BC%91", Ok("A-1=1")),
        Case::new("header", "/any", Ok("A=1")).header("x-sku", b"A"),
        Case::new("cookie", "/any", Ok("A=1")).header("cookie", b"a=b; sku=A; c=d"),
        Case::new("two places that agree", "/any?sku=a", Ok("A=1")).header("x-sku", b"A"),
        Case::new("nothing", "/any", Err("no_sku")),
        Case::new("two places that do not", "/any?sku=B", Err("conflict")).header("x-sku", b"A"),
        Case::new("query twice", "/any?sku=A&sku=A", Err("conflict")),
        Case::new("query in another case", "/any?sku=A&SKU=B", Err("conflict")),
        Case::new("query as an array", "/any?sku=A&sku[]=B", Err("conflict")),
        Case::new("behind a semicolon", "/any?sku=A&x=1;sku=B", Err("conflict")),
        Case::new("in brackets", "/any?sku=A&[sku]=B", Err("conflict")),
        Case::new("cookie with a space", "/any", Err("conflict"))
            .header("cookie", b"sku =B; sku=A"),
        Case::new("header twice", "/any", Err("conflict"))
            .header("x-sku", b"A")
            .header("x-sku", b"A"),
        Case::new("cookie twice", "/any", Err("conflict")).header("cookie", b"sku=A; sku=B"),
        Case::new("not of the shop's form", "/any?sku=A.1", Err("malformed")),
        Case::new("empty", "/any?sku=", Err("malformed")),
        Case::new("not UTF-8", "/any", Err("malformed")).header("x-sku", b"\xff"),
        Case::new("no quantity", "/any?sku=A&quantity=x", Err("malformed")),
        Case::new("the first", "/first?sku=C", Ok("A=1")).header("x-sku", b"A").body(JSON, "{"),
        Case::new("the second", "/first?sku=C", Ok("B=1")).body(JSON, r#"{"sku": "b"}"#),
        Case::new("the last", "/first?sku=C", Ok("C=1")).body(JSON, "{}"),
    ]
}

fn bodies() -> Vec<Case> {
    let large = format!(r#"{{"sku": "A", "x": "{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let sjis = "application/x-www-form-urlencoded; charset=Shift_JIS";
    let euc = "application/x-www-form-urlencoded; charset=euc-jp";
    vec![
        Case::new("JSON", "/any", Ok("A=2")).body(JSON, r#"{"sku": "a", "quantity": 2}"#),
        Case::new("JSON by another name", "/any", Ok("A=1"))
            .body("application/vnd.shop+json; v=1", r#"{"sku": "A"}"#),
        Case::new("a form", "/any", Ok("A-1=2")).body(FORM, "sku=A%2D1&quantity=2"),
        Case::new("a form in Shift_JIS", "/any", Ok("A=1"))
            .body(sjis, b"name=\x8e\x52\x93\x63&sku=A&note=%95%5C%83%7C"),
        Case::new("a form in EUC-JP", "/any", Ok("A=1")).body(euc, b"name=%BB%B3%C5%C4&sku=A"),
        Case::new("an empty body", "/any?sku=A", Ok("A=1")).body("text/plain", ""),
        Case::new("encoded as it is", "/any", Ok("A=1"))
            .header("content-encoding", b"identity")
            .body(JSON, r#"{"sku": "A"}"#),
        Case::new("compressed", "/any", Err("encoded"))
            .header("content-encoding", b"gzip")
            .body(JSON, r#"{"sku": "A"}"#),
        Case::new("text", "/any", Err("unsupported")).body("text/plain", r#"{"sku": "A"}"#),
        Case::new("a kind that is not looked into", "/first?sku=C", Err("unsupported"))
            .body(FORM, "sku=B"),
        Case::new("a list as a form", "/any?sku=A", Err("unsupported")).body(FORM, r#"["B"]"#),
        Case::new("UTF-7", "/any", Err("unsupported"))
            .body("application/x-www-form-urlencoded; charset=utf-7", "sku=A"),
        Case::new("JSON as a form", "/any", Err("unsupported")).body(FORM, r#"{"sku": "A"}"#),
        Case::new("too large", "/any", Err("oversize")).body(JSON, large),
        Case::new("cut short", "/any", Err("malformed")).body(JSON, r#"{"sku": "A""#),
        Case::new("a list", "/any", Err("malformed")).body(JSON, r#"{"sku": ["A"]}"#),
        Case::new("a key twice", "/any", Err("conflict")).body(JSON, r#"{"sku": "A", "sku": "A"}"#),
        Case::new("a key in another case", "/any", Err("conflict"))
            .body(JSON, r#"{"sku": "A", "Sku": "B"}"#),
        Case::new("only in another case", "/any", Err("conflict")).body(JSON, r#"{"SKU": "A"}"#),
        Case::new("a field twice", "/any", Err("conflict")).body(FORM, "sku=A&sku=A"),
        Case::new("head and body differ", "/any?sku=B", Err("conflict"))
            .body(JSON, r#"{"sku": "A"}"#),
    ]
}

fn multipart() -> Vec<Case> {
    let part = |disposition: &str, text: &str| {
        format!("--XX\r\nContent-Disposition: {disposition}\r\n\r\n{text}\r\n")
    };
    let sku = part("form-data; name=\"sku\"", "A");
    let quantity = part("form-data; name=\"quantity\"", "2");
    let file = part("form-data; name=\"photo\"; filename=\"sku\"", "sku=B");
    vec![
        Case::new("multipart", "/any", Ok("A=2"))
            .body(MULTIPART, format!("{sku}{quantity}--XX--\r\n")),
        Case::new("with a file", "/any", Ok("A=1"))
            .body(MULTIPART, format!("{file}{sku}--XX--\r\n")),
        Case::new("a part twice", "/any", Err("conflict"))
            .body(MULTIPART, format!("{sku}{sku}--XX--")),
        Case::new("no end", "/any", Err("malformed")).body(MULTIPART, sku.clone()),
        Case::new("text in front", "/any", Err("malformed"))
            .body(MULTIPART, format!("x\r\n{sku}--XX--")),
        Case::new("a boundary inside", "/any", Err("malformed")).body(
            MULTIPART,
            format!(
                "{sku}{}--XX--",
                part(
                    "form-data; name=\"x\"",
                    "y\n--XX\nContent-Disposition: \
                     form-data; name=\"sku\"\n\nB"
                )
            ),
        ),
        Case::new("a boundary in a line", "/any", Err("malformed"))
            .body(MULTIPART, format!("{sku}{}--XX--", part("form-data; name=x", "y--XX\r\nz"))),
        Case::new("a name in encoded words", "/any", Err("malformed")).body(
            MULTIPART,
            format!("{}{sku}--XX--", part("form-data; name=\"=?utf-8?Q?sku?=\"", "B")),
        ),
        Case::new("no boundary", "/any", Err("unsupported"))
            .body("multipart/form-data", format!("{sku}--XX--")),
        Case::new("two boundaries", "/any", Err("conflict"))
            .body("multipart/form-data; boundary=XX; boundary=YY", format!("{sku}--XX--")),
    ]
}

fn carts() -> Vec<Case> {
    let two = r#"{"lines": [{"sku": "a", "quantity": 2}, {"sku": "B"}]}"#;
    let same = r#"{"lines": [{"sku": "A"}, {"sku": "B"}, {"sku": "a", "quantity": 4}]}"#;
    let four = r#"{"lines": [{"sku": "A"}, {"sku": "B"}, {"sku": "C"}, {"sku": "D"}]}"#;
    vec![
        Case::new("lines", "/cart", Ok("A=2,B=1")).body(JSON, two),
        Case::new("lines of one SKU", "/cart", Ok("A=5,B=1")).body(JSON, same),
        Case::new("too many lines", "/cart", Err("oversize")).body(JSON, four),
        Case::new("no lines", "/cart", Err("no_sku")).body(JSON, r#"{"lines": []}"#),
        Case::new("a line without", "/cart", Err("malformed"))
            .body(JSON, r#"{"lines": [{"sku": "A"}, {}]}"#),
    ]
}

fn hostile() -> Vec<Case> {
    let deep = [&br#"{"sku": "A", "x": "#[..], &b"[".repeat(900), &b"]".repeat(900), b"}"].concat();
    vec![
        Case::new("deep", "/any", Err("malformed")).body(JSON, deep),
        Case::new("a long s", "/any", Err("conflict")).body(JSON, r#"{"sku": "A", "ſku": "B"}"#),
        Case::new("an escaped key", "/any", Err("conflict"))
            .body(JSON, r#"{"sku": "A", "\u0073ku": "B"}"#),
        Case::new("a null", "/any", Err("malformed")).body(JSON, r#"{"sku": "A\u0000"}"#),
        Case::new("a huge number", "/any", Err("malformed"))
            .body(JSON, r#"{"sku": "A", "quantity": 1e9}"#),
        Case::new("two kinds in one", "/any", Err("unsupported"))
            .body("text/plain,application/a+json", r#"{"sku": "A"}"#),
        Case::new("JSON that is a form to some", "/any", Err("conflict"))
            .body("application/x-www-form-urlencoded+json", r#"{"sku": "A", "x": "&sku=B&"}"#),
        Case::new("JSON that says it is a form", "/any", Err("conflict"))
            .body("application/json; x=urlencoded", r#"{"sku": "A", "x": "&sku=B&"}"#),
        Case::new("a part's name in quotes", "/any", Err("malformed")).body(
            MULTIPART,
            "--XX\r\nContent-Disposition: form-data; name='sku'\r\n\r\nA\r\n--XX--",
        ),
    ]
}
