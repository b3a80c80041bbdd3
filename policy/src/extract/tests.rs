//! Extraction tables: each source, and what hostile clients send.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::problem::ProblemType;

/// Finds SKU and quantity in the query, a header, JSON and a form, and in the path if it has one.
fn route(path: &str) -> Route {
    let mut sources = vec![
        json!({"query": "sku"}),
        json!({"header": "x-sku"}),
        json!({"json": "/sku"}),
        json!({"json": "/lines/0/sku"}),
        json!({"form": "sku"}),
    ];
    if path.contains("{sku}") {
        sources.push(json!({"path": "sku"}));
    }
    let quantity = json!([
        {"query": "qty"}, {"header": "x-qty"}, {"json": "/qty"}, {"form": "qty"},
    ]);
    let route = json!({"method": "POST", "path": path, "sku": sources, "quantity": quantity});
    serde_json::from_value(route).unwrap()
}

/// A request to try, built up from a plain POST.
#[derive(Clone, Default)]
struct Request<'a> {
    target: &'a [u8],
    headers: Vec<(&'a str, &'a [u8])>,
    body: &'a [u8],
}

fn get(target: &str) -> Request<'_> {
    Request { target: target.as_bytes(), ..Request::default() }
}

impl<'a> Request<'a> {
    fn header(mut self, name: &'a str, value: impl Into<&'a [u8]>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn json(self, body: &'a str) -> Self {
        self.body("application/json", body.as_bytes())
    }

    fn form(self, body: &'a str) -> Self {
        self.body("application/x-www-form-urlencoded", body.as_bytes())
    }

    fn body(mut self, content_type: &'a str, body: &'a [u8]) -> Self {
        self.body = body;
        self.header("content-type", content_type.as_bytes())
    }

    fn read(&self, route: &Route) -> Result<Line, ExtractError> {
        let mut lines = self.read_all(route, &SkuForm::default())?;
        assert_eq!(lines.len(), 1);
        Ok(lines.remove(0))
    }

    fn read_all(&self, route: &Route, form: &SkuForm) -> Result<Vec<Line>, ExtractError> {
        let mut headers = vec![(&b":method"[..], &b"POST"[..]), (b":path", self.target)];
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_bytes(), *value)));
        let head = Head::new(headers);
        assert!(route.matches(&head));
        let reading = route.read_head(&head, form)?;
        route.read_body(reading, self.body, form)
    }
}

/// `expected` is `SKU*quantity`, or the error.
fn check(request: Request<'_>, expected: Result<&str, &str>) {
    let path = if request.target.starts_with(b"/cart/") { "/cart/{sku}/add" } else { "/add" };
    let read = request.read(&route(path));
    let read = read.map(|line| format!("{}*{}", line.sku, line.quantity));
    let read = read.map_err(|error| error.to_string());
    assert_eq!(read.as_deref().map_err(String::as_str), expected);
}

#[test]
fn each_source() {
    check(get("/cart/A-1/add"), Ok("A-1*1"));
    check(get("/add?sku=A-1&qty=2"), Ok("A-1*2"));
    check(get("/add").header("x-sku", "A-1".as_bytes()).header("x-qty", &b"3"[..]), Ok("A-1*3"));
    check(get("/add").json(r#"{"sku":"A-1","qty":4}"#), Ok("A-1*4"));
    check(get("/add").json(r#"{"lines":[{"sku":"A-1"}],"qty":"5"}"#), Ok("A-1*5"));
    check(get("/add").json(r#"{"sku":4711}"#), Ok("4711*1"));
    check(get("/add").json(r#"{"sku":9007199254740991}"#), Ok("9007199254740991*1"));
    check(get("/add").form("sku=A-1&qty=6"), Ok("A-1*6"));
}

#[test]
fn nothing_found() {
    let none = Err("the request names no SKU");
    check(get("/add"), none);
    check(get("/add?sku2=A#sku=A"), none);
    check(get("/add#?sku=A"), none);
    check(get("/add").json("{}"), none);
    check(get("/add").json("[]"), none);
    check(get("/add").json("null"), none);
    check(get("/add").json(r#"{"sku":null,"lines":[]}"#), none);
    check(get("/add").json(r#"{"lines":{"00":{"sku":"A"}}}"#), none);
    check(get("/add").form(""), none);
    // An empty body has no kind.
    check(get("/add").body("text/plain", b""), none);
    check(get("/add?sku=A").body("text/plain", b""), Ok("A*1"));
    check(get("/add?sku=A").json(r#"{"qty":null}"#), Ok("A*1"));
}

#[test]
fn sources_must_agree() {
    check(get("/cart/A/add?sku=A").header("x-sku", &b" A"[..]).json(r#"{"sku":"A"}"#), Ok("A*1"));
    let two = Err("the request names more than one SKU");
    check(get("/cart/A/add?sku=B"), two);
    check(get("/add?sku=A").header("x-sku", &b"B"[..]), two);
    check(get("/add?sku=A").json(r#"{"sku":"B"}"#), two);
    check(get("/add").json(r#"{"sku":"A","lines":[{"sku":"B"}]}"#), two);
    check(get("/add?sku=A").form("sku=a"), two);
    check(
        get("/add?sku=A&qty=1").json(r#"{"qty":2}"#),
        Err("the request names more than one quantity"),
    );
}

#[test]
fn nothing_is_there_twice() {
    let header = Err("the header x-sku is there more than once");
    check(get("/add").header("x-sku", &b"A"[..]).header("x-sku", &b"A"[..]), header);
    check(get("/add?sku=A&sku=A"), Err("the query parameter sku is there more than once"));
    check(get("/add?sku=A&s%6bu=B"), Err("the query parameter sku is there more than once"));
    check(get("/add").form("sku=A&qty=1&sku=B"), Err("the form field sku is there more than once"));
    check(get("/add").form("sku=A&qty=1&qty=9"), Err("the form field qty is there more than once"));
    let content_type = Err("the header content-type is there more than once");
    check(get("/add").json("{}").header("content-type", &b"text/plain"[..]), content_type);
    let key = Err("the body has a JSON key twice");
    check(get("/add").json(r#"{"sku":"A","sku":"A"}"#), key);
    check(get("/add").json(r#"{"sku":"A","s\u006bu":"B"}"#), key);
    let member = Err("the JSON value at \"/sku\" is there more than once");
    check(get("/add").json(r#"{"sku":"A","SKU":"B"}"#), member);
    check(get("/add").json(r#"{"\u017fku":"B"}"#), member);
    check(get("/add").form("sku=A&SKU=B"), Err("the form field sku is there more than once"));
}

#[test]
fn what_is_there_must_be_readable() {
    check(get("/add").header("x-sku", &b"\xff\xfe"[..]), Err("the header x-sku is not UTF-8"));
    check(get("/add").header("x-sku", &b""[..]), Err("the header x-sku: a SKU must not be empty"));
    check(get("/cart/%FF/add"), Err("the path segment {sku} is not UTF-8"));
    check(get("/cart/A%2D1/add"), Ok("A-1*1"));
    let forbidden = |place: &str, character: char| {
        format!(
            "{place}: a SKU consists of ASCII letters, digits and -._~: but this one has {character:?}"
        )
    };
    let path = "the path segment {sku}";
    check(get("/cart/A;x=1/add"), Err(&forbidden(path, ';')));
    check(get("/cart/A%2FB/add"), Err(&forbidden(path, '/')));
    check(get("/cart/A%252FB/add"), Err(&forbidden(path, '%')));
    check(get("/cart/A%00/add"), Err(&forbidden(path, '\0')));
    check(get("/cart/A+B/add"), Err(&forbidden(path, '+')));
    check(get("/add?sku=A+B"), Err(&forbidden("the query parameter sku", ' ')));
    check(get("/add?sku=%ff"), Err(&forbidden("the query parameter sku", '\u{fffd}')));
    check(get("/add").header("x-sku", &b"A,B"[..]), Err(&forbidden("the header x-sku", ',')));
    check(get("/add").form("sku=%F0%9F%91%9F"), Err(&forbidden("the form field sku", '👟')));
    let kind = "the JSON value at \"/sku\" must be a string or a whole number";
    for sku in [
        "-1",
        "1.5",
        "1e2",
        "true",
        "[]",
        "[\"A\"]",
        "{}",
        "99999999999999999999",
        "9007199254740992",
    ] {
        check(get("/add").json(&format!(r#"{{"sku":{sku}}}"#)), Err(kind));
    }
}

#[test]
fn quantities() {
    let json = |qty: &str, expected| {
        check(get("/add?sku=A").json(&format!(r#"{{"qty":{qty}}}"#)), expected);
    };
    let place = "the JSON value at \"/qty\"";
    let range = format!("{place}: a quantity is 1 to 1000000");
    let number = format!("{place}: a quantity is a whole number");
    json("1000000", Ok("A*1000000"));
    json("0", Err(&range));
    json("1000001", Err(&range));
    json("-1", Err(&number));
    json("1.0", Err(&number));
    json("1e400", Err("the body is not valid JSON"));
    json("\"x\"", Err(&number));
    json("[1]", Err("the JSON value at \"/qty\" must be a whole number"));
    let query = "the query parameter qty: a quantity is a whole number";
    check(get("/add?sku=A&qty="), Err(query));
    check(get("/add?sku=A&qty=-1"), Err(query));
}

#[test]
fn bodies_that_are_not_read() {
    let kind = Err("the body must be application/json, application/x-www-form-urlencoded or \
                    multipart/form-data");
    check(get("/add").body("text/plain", b"{}"), kind);
    check(get("/add?sku=A").body("multipart/form-data; boundary=x", b"--x--"), Ok("A*1"));
    check(get("/add?sku=A").body("multipart/mixed; boundary=x", b"--x--"), kind);
    let plain = Request { body: b"{}", ..get("/add") };
    check(plain, Err("the request has a body, but no Content-Type"));
    let encoded = Err("the body must come without Content-Encoding");
    check(get("/add").json("{}").header("content-encoding", &b"gzip"[..]), encoded);
    check(get("/add").json("{}").header("content-encoding", &b"identity, br"[..]), encoded);
    check(
        get("/add").json(r#"{"sku":"A"}"#).header("content-encoding", &b" Identity"[..]),
        Ok("A*1"),
    );
    let invalid = Err("the body is not valid JSON");
    check(get("/add").json(r#"{"sku":"A""#), invalid);
    check(get("/add").json("\u{feff}{\"sku\":\"A\"}"), invalid);
    check(get("/add").body("application/json", b"{\"sku\":\"\xff\"}"), invalid);
    check(get("/add").json(&"[".repeat(60_000)), invalid);
    check(get("/add").json(&format!("{}1{}", r#"{"sku":"#.repeat(200), "}".repeat(200))), invalid);
}

/// Requests wait for their bodies by the thousand: what waits must not be as long as a client likes.
#[test]
fn a_reading_keeps_nothing_of_the_content_type() {
    let route = route("/add");
    for content_type in [vec![b'x'; 50_000], [b"application/json;".repeat(3_000)].concat()] {
        let head = Head::new(vec![(b":path", b"/add"), (b"content-type", &content_type)]);
        let reading = route.read_head(&head, &SkuForm::default()).unwrap();
        assert!(format!("{reading:?}").len() < 500, "{reading:?}");
    }
}

#[test]
fn a_route_that_reads_no_body_does_not_look_at_it() {
    let route: Route = serde_json::from_value(json!({
        "method": "POST", "path": "/cart/{sku}/add", "sku": [{"path": "sku"}],
    }))
    .unwrap();
    let request =
        get("/cart/A/add").body("text/plain", b"anything").header("content-type", &b"x"[..]);
    assert!(!route.reads_body());
    assert_eq!(request.read(&route).unwrap().sku.as_str(), "A");
}

/// What the service reads is what an edge reads whose route names the same members and fields. Only
/// where the edge finds no SKU may the service say more of what is wrong.
#[test]
fn the_service_reads_what_the_edge_reads() {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    let route: Route = serde_json::from_value(json!({
        "method": "POST", "path": "/add",
        "sku": [{"json": "/sku"}, {"form": "sku"}],
        "quantity": [{"json": "/quantity"}, {"form": "quantity"}],
    }))
    .unwrap();
    let both = |content_type: &'static str, body: &'static str, expected: Result<&str, &str>| {
        let words = |read: Result<Line, ExtractError>| {
            let read = read.map(|line| format!("{}*{}", line.sku, line.quantity));
            read.map_err(|error| error.to_string())
        };
        let document = Document::parse(Some(content_type.as_bytes()), body.as_bytes()).unwrap();
        let service = words(line_of(&document, &SkuForm::default()));
        assert_eq!(service.as_deref().map_err(String::as_str), expected, "{body}");
        let edge = words(get("/add").body(content_type, body.as_bytes()).read(&route));
        if edge != Err(ExtractError::NoSku.to_string()) {
            assert_eq!(edge, service, "{body}");
        }
    };
    both(JSON, r#"{"sku":" A ","quantity":2,"x":[]}"#, Ok("A*2"));
    both(JSON, r#"{"sku":4711,"quantity":" 2 "}"#, Ok("4711*2"));
    both(JSON, r#"{"sku":"A","quantity":null}"#, Ok("A*1"));
    both(FORM, "sku=+A+&quantity=007&x=1&x=2", Ok("A*7"));
    both(FORM, "sku=A", Ok("A*1"));
    let quantity = Err("the form field quantity: a quantity is a whole number");
    both(FORM, "sku=A&quantity=", quantity);
    both(FORM, "sku=A&sku=A", Err("the form field sku is there more than once"));
    let kind = "must be a string or a whole number";
    both(JSON, r#"{"sku":["A"]}"#, Err(&format!("the JSON value at \"/sku\" {kind}")));
    both(JSON, r#"{"sku":null}"#, Err("the request names no SKU"));
    both(FORM, "SKU=A", Err("the form field sku is there more than once"));
    both(
        "multipart/form-data; boundary=x",
        "--x\r\ncontent-disposition: form-data; name=sku\r\n\r\nA\r\n--x--",
        Ok("A*1"),
    );
    for body in ["null", "1", "\"sku\"", "[]", r#"[{"sku":"A"}]"#] {
        both(JSON, body, Err("the body must be a JSON object"));
        let document = Document::parse(Some(JSON.as_bytes()), body.as_bytes()).unwrap();
        let problem = line_of(&document, &SkuForm::default()).unwrap_err().problem_type();
        assert_eq!(problem, ProblemType::InvalidRequest);
    }
}

#[test]
fn method_and_path_choose_the_route() {
    let matches = |method: &[u8], path: &[u8]| {
        route("/add").matches(&Head::new(vec![(b":method", method), (b":path", path)]))
    };
    assert!(matches(b"POST", b"/add?x=/y"));
    assert!(!matches(b"post", b"/add"));
    assert!(!matches(b"GET", b"/add"));
    assert!(!matches(b"POST", b"/add/"));
    assert!(!route("/add").matches(&Head::new(vec![])));
}

#[test]
fn problem_types() {
    let problem = |request: Request<'_>| request.read(&route("/add")).unwrap_err().problem_type();
    assert_eq!(problem(get("/add")), ProblemType::NoSku);
    assert_eq!(problem(get("/add?sku=")), ProblemType::InvalidRequest);
    assert_eq!(problem(get("/add").json("{")), ProblemType::InvalidRequest);
    assert_eq!(problem(get("/add").body("a/b", b"x")), ProblemType::UnsupportedMediaType);
    let encoded = get("/add").json("{}").header("content-encoding", &b"br"[..]);
    assert_eq!(problem(encoded), ProblemType::UnsupportedMediaType);
}

fn route_of(json: serde_json::Value) -> Route {
    serde_json::from_value(json).unwrap()
}

/// `expected`: `SKU*quantity` of each line, or the error.
fn check_lines(route: &Route, request: Request<'_>, expected: Result<&str, &str>) {
    let read = request.read_all(route, &SkuForm::default());
    let lines = read.map(|lines| {
        let lines = lines.iter().map(|line| format!("{}*{}", line.sku, line.quantity));
        lines.collect::<Vec<_>>().join(" ")
    });
    let lines = lines.map_err(|error| error.to_string());
    assert_eq!(lines.as_deref().map_err(String::as_str), expected);
}

#[test]
fn several_lines_of_one_cart() {
    let route = route_of(json!({
        "method": "POST", "path": "/cart", "lines_max": 3,
        "sku": [{"json": "/lines/*/sku"}, {"query": "sku"}],
        "quantity": [{"json": "/lines/*/quantity"}],
    }));
    let check = |body: &str, expected| check_lines(&route, get("/cart").json(body), expected);
    check(r#"{"lines":[{"sku":"A","quantity":2},{"sku":"B"}]}"#, Ok("A*2 B*1"));
    check(r#"{"lines":[{"sku":"A"},{"sku":"B"},{"sku":"A","quantity":4}]}"#, Ok("A*5 B*1"));
    check(r#"{"lines":[]}"#, Err("the request names no SKU"));
    check(r#"{"lines":null}"#, Err("the request names no SKU"));
    let at = |what: &str| format!("the JSON value at \"/lines/*/sku\"{what}");
    let (without, no_array) = (at(": a line names no SKU"), at(" must be in an array"));
    let twice = at(" is there more than once");
    check(r#"{"lines":[{"sku":"A"},{"x":1}]}"#, Err(&without));
    check(r#"{"lines":[{"sku":"A"},{"sku":null}]}"#, Err(&without));
    check(r#"{"lines":[{"sku":"A"},"B"]}"#, Err(&without));
    check(r#"{"lines":"A"}"#, Err(&no_array));
    let double = r#"{"lines":[{"sku":"A","SKU":"B"}]}"#;
    check(double, Err(&twice));
    let four = format!(r#"{{"lines":[{}]}}"#, [r#"{"sku":"A"}"#; 4].join(","));
    check(&four, Err("the request has more than 3 lines"));
    let sum = "the lines of A: a quantity is 1 to 1000000";
    check(r#"{"lines":[{"sku":"A","quantity":1000000},{"sku":"A"}]}"#, Err(sum));
    // One line, named in the query as well.
    let both = |body| get("/cart?sku=A").json(body);
    check_lines(&route, both(r#"{"lines":[{"sku":"A"}]}"#), Ok("A*1"));
    let two = Err("the request names more than one SKU");
    check_lines(&route, both(r#"{"lines":[{"sku":"A"},{"sku":"B"}]}"#), two);
}

#[test]
fn one_quantity_is_not_for_several_lines() {
    let route = route_of(json!({
        "method": "POST", "path": "/cart",
        "sku": [{"json": "/lines/*/sku"}], "quantity": [{"json": "/quantity"}],
    }));
    let check = |body: &str, expected| check_lines(&route, get("/cart").json(body), expected);
    check(r#"{"lines":[{"sku":"A"}],"quantity":2}"#, Ok("A*2"));
    check(r#"{"lines":[{"sku":"A"},{"sku":"B"}]}"#, Ok("A*1 B*1"));
    let uneven = "the request names 2 SKUs and 1 quantities";
    check(r#"{"lines":[{"sku":"A"},{"sku":"B"}],"quantity":2}"#, Err(uneven));
}

#[test]
fn cookies() {
    let route = route_of(json!({"method": "POST", "path": "/add", "sku": [{"cookie": "item"}]}));
    let check = |cookies: &[&'static str], expected| {
        let request = cookies
            .iter()
            .fold(get("/add"), |request, cookie| request.header("cookie", cookie.as_bytes()));
        check_lines(&route, request, expected);
    };
    check(&["a=b; item=A-1; c=d"], Ok("A-1*1"));
    check(&["a=b", "item=A-1"], Ok("A-1*1"));
    let twice = Err("the cookie item is there more than once");
    check(&["item=A; item=B"], twice);
    check(&["item=A", "item=A"], twice);
    check(&["items=A; xitem=A; item-1=A"], Err("the request names no SKU"));
    for other in ["Item=B", "item =B", " ITEM\t=B", "item", "%69tem=B", "[item]=B"] {
        check(&["item=A", other], twice);
        check(&[other], twice);
    }
    check(&["item="], Err("the cookie item: a SKU must not be empty"));
}

#[test]
fn the_first_source_counts_where_the_shop_says_so() {
    let route = route_of(json!({
        "method": "POST", "path": "/add", "several": "first",
        "sku": [{"header": "x-sku"}, {"json": "/sku"}, {"query": "sku"}],
    }));
    let json = r#"{"sku":"B"}"#;
    let all = || get("/add?sku=C").header("x-sku", &b"A"[..]);
    check_lines(&route, all().json(json), Ok("A*1"));
    check_lines(&route, get("/add?sku=C").json(json), Ok("B*1"));
    check_lines(&route, get("/add?sku=C").json("{}"), Ok("C*1"));
    check_lines(&route, get("/add"), Err("the request names no SKU"));
    // What is not looked at need not be readable, nor even there.
    check_lines(&route, all().json("{"), Ok("A*1"));
    check_lines(&route, get("/add?sku=+").header("x-sku", &b"A"[..]), Ok("A*1"));
    let needs_body = |request: Request<'_>| {
        let mut headers = vec![(&b":method"[..], &b"POST"[..]), (b":path", request.target)];
        headers.extend(request.headers.iter().map(|(n, v)| (n.as_bytes(), *v)));
        let reading = route.read_head(&Head::new(headers), &SkuForm::default()).unwrap();
        route.needs_body(&reading)
    };
    assert!(!needs_body(all()));
    assert!(needs_body(get("/add?sku=C")));
}

#[test]
fn lines_without_quantities_say_nothing_of_them() {
    let route = route_of(json!({
        "method": "POST", "path": "/cart", "several": "first", "sku": [{"json": "/lines/*/sku"}],
        "quantity": [{"json": "/lines/*/quantity"}, {"query": "q"}],
    }));
    let one = r#"{"lines":[{"sku":"A"}]}"#;
    check_lines(&route, get("/cart?q=7").json(one), Ok("A*7"));
    let counted = r#"{"lines":[{"sku":"A","quantity":2},{"sku":"B"}]}"#;
    check_lines(&route, get("/cart?q=7").json(counted), Ok("A*2 B*1"));
}

/// A body in which nothing is looked for could say what it likes to a service that does look.
#[test]
fn a_body_of_a_kind_that_the_route_does_not_read() {
    let route = route_of(json!({
        "method": "POST", "path": "/add", "sku": [{"query": "sku"}], "quantity": [{"json": "/q"}],
    }));
    let unread = Err("nothing is looked for in a body of this kind here");
    check_lines(&route, get("/add?sku=A").form("q=100"), unread);
    check_lines(&route, get("/add?sku=A").json(r#"{"q":100}"#), Ok("A*100"));
    check_lines(&route, get("/add?sku=A").form(""), Ok("A*1"));
    let no_body = route_of(json!({"method": "POST", "path": "/add", "sku": [{"query": "sku"}]}));
    check_lines(&no_body, get("/add?sku=A").form("q=100"), Ok("A*1"));
}

#[test]
fn what_a_shop_spells_alike_is_one_sku() {
    let form: SkuForm =
        serde_json::from_value(json!({"case": "upper", "unicode": "nfkc"})).unwrap();
    let wide = get("/add?sku=%EF%BD%81-1").header("x-sku", &b"a-1"[..]);
    assert_eq!(wide.read_all(&route("/add"), &form).unwrap()[0].sku.as_str(), "A-1");
    let document =
        Document::parse(Some(b"application/json"), r#"{"sku":"ａ-1"}"#.as_bytes()).unwrap();
    assert_eq!(line_of(&document, &form).unwrap().sku.as_str(), "A-1");
}

#[test]
fn failures() {
    let failure = |request: Request<'_>| request.read(&route("/add")).unwrap_err().failure();
    assert_eq!(failure(get("/add")), Failure::NoSku);
    assert_eq!(failure(get("/add?sku=A&sku=B")), Failure::Conflict);
    assert_eq!(failure(get("/add?sku=A").json(r#"{"sku":"B"}"#)), Failure::Conflict);
    assert_eq!(failure(get("/add").json(r#"{"sku":"A","sku":"A"}"#)), Failure::Conflict);
    assert_eq!(failure(get("/add").json(r#"{"Sku":"A"}"#)), Failure::Conflict);
    assert_eq!(failure(get("/add?sku=")), Failure::Malformed);
    assert_eq!(failure(get("/add").json("{")), Failure::Malformed);
    assert_eq!(
        failure(get("/add").body("multipart/form-data; boundary=x", b"x")),
        Failure::Malformed
    );
    assert_eq!(failure(get("/add").body("a/b", b"x")), Failure::Unsupported);
    let utf7 = "application/x-www-form-urlencoded; charset=utf-7";
    assert_eq!(failure(get("/add").body(utf7, b"sku=A")), Failure::Unsupported);
    let encoded = get("/add").json("{}").header("content-encoding", &b"br"[..]);
    assert_eq!(failure(encoded), Failure::Encoded);
}

proptest! {
    /// Whatever comes is read or refused; nothing panics.
    #[test]
    fn any_bytes(
        target: Vec<u8>, sku: Vec<u8>, body: Vec<u8>, is_json: bool, query in "[a-z=&%0-9+]{0,40}",
    ) {
        let content_type = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
        let target = [b"/add?sku=".as_slice(), &target, query.as_bytes()].concat();
        let request = Request { target: &target, ..Request::default() };
        let request = request.header("x-sku", sku.as_slice()).body(content_type, &body);
        let _ = request.read(&route("/add"));
    }
}
