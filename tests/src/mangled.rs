//! Requests for units as shops send them, and as nobody should: members, fields and parts that are there
//! twice, spelt in another way, or cut off anywhere.

use std::fmt::Write as _;

use crate::random::Random;

/// What is asked for. None contains another, so that no cut makes one of them another.
pub const SKUS: [&str; 3] = ["RED-1", "BLUE-2", "4711"];

/// A request's body, and what its head says of it.
#[derive(Clone, Debug)]
pub struct Mangled {
    /// The values of `content-type`: mostly one.
    pub content_types: Vec<String>,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Mangled {
    /// A request for one product.
    pub fn line(random: &mut Random) -> Self {
        let (content_type, body) = match random.below(4) {
            0 | 1 => (json_type(random), object(random)),
            2 => (form_type(random), form(random)),
            _ => multipart(random),
        };
        Self::new(content_type, body, random)
    }

    /// A request for some lines of a cart.
    pub fn cart(random: &mut Random) -> Self {
        let lines: Vec<_> = (0..=random.below(3)).map(|_| object(random)).collect();
        let mut members = vec![format!("\"lines\":[{}]", lines.join(","))];
        if random.below(8) == 0 {
            members.push(pick(&["\"Lines\":[]", "\"lines\":[]", "\"x\":1"], random).to_owned());
        }
        Self::new(json_type(random), format!("{{{}}}", members.join(",")), random)
    }

    fn new(content_type: String, body: String, random: &mut Random) -> Self {
        let mut mangled = Self { content_types: vec![content_type], body: body.into_bytes() };
        match random.below(24) {
            0 => mangled.content_types.clear(),
            1 => mangled.content_types.push(json_type(random)),
            2 => mangled.content_types = vec![form_type(random)],
            _ => {}
        }
        if random.below(4) == 0 {
            (0..times(random)).for_each(|_| damage(&mut mangled.body, random));
        }
        mangled
    }
}

fn pick<'a>(all: &[&'a str], random: &mut Random) -> &'a str {
    all[random.below(all.len() as u64) as usize]
}

/// Mostly the first: so that a good part of all requests can be read.
fn mostly<'a>(first: &'a str, others: &[&'a str], random: &mut Random) -> &'a str {
    if random.below(8) > 0 { first } else { pick(others, random) }
}

/// Mostly once.
fn times(random: &mut Random) -> u64 {
    1 + random.below(4) / 3 * random.below(3)
}

fn json_type(random: &mut Random) -> String {
    const OTHERS: [&str; 5] = [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.shop+json",
        "application/json; charset=utf-16",
        "text/plain",
    ];
    mostly("application/json", &OTHERS, random).to_owned()
}

fn form_type(random: &mut Random) -> String {
    const OTHERS: [&str; 4] = ["; charset=Shift_JIS", "; charset=EUC-JP", "; charset=utf-7", ";"];
    format!("application/x-www-form-urlencoded{}", mostly("", &OTHERS, random))
}

fn sku_text(random: &mut Random) -> String {
    let sku = pick(&SKUS, random);
    match random.below(8) {
        0 => format!(" {sku} "),
        1 => sku.to_lowercase(),
        // Full width, as Japanese keyboards have it.
        2 => sku.replace('1', "\u{ff11}").replace('-', "\u{ff0d}"),
        _ => sku.to_owned(),
    }
}

/// An object with a SKU and a quantity, or something like it.
fn object(random: &mut Random) -> String {
    let mut members = vec![format!("\"{}\":{}", sku_name(random), json_sku(random))];
    if random.below(2) == 0 {
        let name = mostly("quantity", &["Quantity", "quantit\\u0079", "qty"], random);
        members.push(format!("\"{name}\":{}", quantity(random)));
    }
    if random.below(6) == 0 {
        members.push(format!("\"{}\":{}", sku_name(random), json_sku(random)));
    }
    if random.below(2) == 0 {
        members.reverse();
    }
    let space = mostly("", &[" ", "\n\t", "\u{feff}", "\u{b}"], random);
    format!("{space}{{{space}{}{space}}}{space}", members.join(&format!("{space},{space}")))
}

fn sku_name(random: &mut Random) -> &'static str {
    mostly("sku", &["SKU", "s\\u006bu", "sku[]", "\u{17f}ku", " sku", "sku\\u0000", "x"], random)
}

fn json_sku(random: &mut Random) -> String {
    const OTHERS: [&str; 9] = [
        "4711",
        "4711.0",
        "47.11e2",
        "null",
        "true",
        "[\"RED-1\"]",
        "{\"sku\":\"RED-1\"}",
        "\"\\u0052ED-1\"",
        "\"RED-1\\u0000\"",
    ];
    if random.below(4) > 0 {
        format!("\"{}\"", sku_text(random))
    } else {
        pick(&OTHERS, random).to_owned()
    }
}

fn quantity(random: &mut Random) -> &'static str {
    const OTHERS: [&str; 12] = [
        "1",
        "\"3\"",
        "\" 3 \"",
        "2.0",
        "2e0",
        "0",
        "-1",
        "null",
        "\"\"",
        "1.5",
        "99999999999",
        "[2]",
    ];
    mostly("2", &OTHERS, random)
}

/// Fields in a row, each perhaps spelt in another way.
fn form(random: &mut Random) -> String {
    let mut fields = Vec::new();
    for _ in 0..times(random) {
        let name =
            mostly("sku", &["SKU", "s%6Bu", "sku[]", "+sku", "[sku]", "s.k.u", "note"], random);
        fields.push(format!("{name}={}", encoded(&sku_text(random), random)));
    }
    if random.below(2) == 0 {
        let name = mostly("quantity", &["quantity[]", "q%75antity"], random);
        fields.push(format!("{name}={}", quantity(random).replace('"', "+")));
    }
    fields.join(mostly("&", &[";", "&&", "%26", "&x=1;"], random))
}

/// Every character as it may be in a form: in plain text, or not.
fn encoded(text: &str, random: &mut Random) -> String {
    let is_plain = random.below(2) == 0;
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if is_plain && byte.is_ascii() => encoded.push(byte.into()),
            _ => write!(encoded, "%{byte:02x}").expect("a string takes all"),
        }
    }
    encoded
}

fn multipart(random: &mut Random) -> (String, String) {
    let end = mostly("\r\n", &["\n", "\r\n "], random);
    let mut body = String::new();
    for _ in 0..times(random) {
        const OTHERS: [&str; 6] = [
            "name=sku",
            "name=\"SKU\"",
            "name*=utf-8''sku",
            "name=\"s\\ku\"",
            "name=note",
            "Name=sku",
        ];
        let name = mostly("name=\"sku\"", &OTHERS, random);
        let more =
            mostly("", &["; filename=a", "; name=note", "\r\nContent-Type: text/plain"], random);
        let value = sku_text(random);
        write!(body, "--XX{end}Content-Disposition: form-data; {name}{more}{end}{end}{value}{end}")
            .expect("a string takes all");
    }
    body.push_str(mostly("--XX--\r\n", &["--XX--", "--XX", ""], random));
    let boundary = mostly("XX", &["\"XX\"", "X", "XX; boundary=YY"], random);
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Changes, takes out, puts in or says twice a few bytes somewhere.
fn damage(body: &mut Vec<u8>, random: &mut Random) {
    if body.is_empty() {
        return;
    }
    let len = body.len() as u64;
    let (from, count) = (random.below(len) as usize, random.below(6) as usize + 1);
    let to = (from + count).min(body.len());
    match random.below(4) {
        0 => body[from] = random.next_u64().to_le_bytes()[0],
        1 => drop(body.drain(from..to)),
        2 => {
            let twice = body[from..to].to_vec();
            drop(body.splice(from..from, twice));
        }
        _ => {
            let bytes =
                pick(&["\"", "\\", "&", "=", ";", "\0", "%", "{", ",", "\r\n", "sku"], random);
            drop(body.splice(from..from, bytes.bytes()));
        }
    }
}
