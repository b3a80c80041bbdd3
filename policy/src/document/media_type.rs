//! What kind of body a request says that it has.

use memchr::memmem;

use super::parameters::{Parameterised, ParametersError, is_token};
use super::{Document, DocumentError, Form, multipart, parse_json};

/// The kinds of body that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`, or any `application/*+json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, with its boundary.
    Multipart(Box<[u8]>),
}

/// The charsets in which what is ASCII alone has one spelling, its own bytes. In any other a server could read
/// another SKU from the same bytes (UTF-7, UTF-16, ISO-2022-JP). In Shift_JIS some ASCII bytes also end other
/// characters; but the byte before is none of UTF-8's, and so in no SKU. Names as in the IANA's registry, the
/// WHATWG's Encoding standard, and Java.
const CHARSETS: [&str; 14] = [
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "windows-1252",
    "shift_jis",
    "shift-jis",
    "x-sjis",
    "sjis",
    "windows-31j",
    "cp932",
    "ms932",
    "euc-jp",
];

/// By these some servers tell a kind, wherever in the header they stand: `application/json; x=urlencoded` would
/// be a form to them. Nobody takes a multipart body for JSON, which never begins with a dash.
const JSON: &str = "json";
const URLENCODED: &str = "urlencoded";
const MULTIPART: &str = "multipart";
const FORM_DATA: &str = "form-data";

impl MediaType {
    /// Tells the kind from a `Content-Type` header.
    ///
    /// # Errors
    /// The header is missing, names a kind or a charset that we do not read, or is ambiguous.
    pub fn of(content_type: Option<&[u8]>) -> Result<Self, DocumentError> {
        let header = content_type.ok_or(DocumentError::NoContentType)?;
        let parsed = Parameterised::parse(header).map_err(|error| match error {
            ParametersError::Malformed => DocumentError::UnsupportedMediaType,
            ParametersError::Twice => DocumentError::Ambiguous { place: "the Content-Type" },
        })?;
        let is = |name: &[u8]| parsed.value.eq_ignore_ascii_case(name);
        let charset = parsed.get("charset").unwrap_or(b"utf-8");
        if is_json(parsed.value) {
            check_mentions_none(header, &[URLENCODED, MULTIPART, FORM_DATA])?;
            // JSON is UTF-8 (RFC 8259, section 8.1).
            check_charset(charset, &CHARSETS[..4])?;
            Ok(Self::Json)
        } else if is(b"application/x-www-form-urlencoded") {
            check_mentions_none(header, &[JSON, MULTIPART, FORM_DATA])?;
            check_charset(charset, &CHARSETS)?;
            Ok(Self::Form)
        } else if is(b"multipart/form-data") {
            check_mentions_none(header, &[URLENCODED])?;
            check_charset(charset, &CHARSETS)?;
            let boundary = parsed.get("boundary").filter(|raw| multipart::is_boundary(raw));
            boundary.map(|raw| Self::Multipart(raw.into())).ok_or(DocumentError::Boundary)
        } else {
            Err(DocumentError::UnsupportedMediaType)
        }
    }

    /// Reads `body` as a document of this kind.
    ///
    /// # Errors
    /// The body is not what the kind says.
    pub fn parse(&self, body: &[u8]) -> Result<Document, DocumentError> {
        match self {
            Self::Json => Ok(Document::Json(parse_json(body)?)),
            Self::Form if looks_like_json(body) => Err(DocumentError::JsonAsForm),
            Self::Form => Ok(Document::Form(Form::parse(body))),
            Self::Multipart(boundary) => Ok(Document::Form(multipart::parse(boundary, body)?)),
        }
    }
}

/// As of a client that leaves the content type to its library; nobody else has a field that begins so.
fn looks_like_json(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    body.starts_with(b"{") || body.starts_with(b"[")
}

/// Proxies make one header of two, with a comma between the values, and some servers take the first for the type.
/// But no type's name has a comma in it.
fn is_json(essence: &[u8]) -> bool {
    let essence = essence.to_ascii_lowercase();
    match essence.strip_prefix(b"application/") {
        Some(name) => name == b"json" || (name.ends_with(b"+json") && is_token(name)),
        None => false,
    }
}

fn check_mentions_none(header: &[u8], names: &[&str]) -> Result<(), DocumentError> {
    let header = header.to_ascii_lowercase();
    match names.iter().any(|name| memmem::find(&header, name.as_bytes()).is_some()) {
        true => Err(DocumentError::Ambiguous { place: "the Content-Type" }),
        false => Ok(()),
    }
}

/// Whether a SKU has one spelling in this charset, and we know it.
pub(super) fn is_charset(name: &[u8]) -> bool {
    CHARSETS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn check_charset(charset: &[u8], known: &[&str]) -> Result<(), DocumentError> {
    match known.iter().any(|name| charset.eq_ignore_ascii_case(name.as_bytes())) {
        true => Ok(()),
        false => Err(DocumentError::Charset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: Result<MediaType, &str>) {
        let found = MediaType::of(Some(header.as_bytes())).map_err(|error| error.to_string());
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e));
    }

    #[test]
    fn kinds() {
        check("application/json", Ok(MediaType::Json));
        check("APPLICATION/Problem+JSON;q=1", Ok(MediaType::Json));
        check("application/x-www-form-urlencoded", Ok(MediaType::Form));
        let multipart = MediaType::Multipart(b"x y".as_slice().into());
        check("multipart/form-data; boundary=\"x y\"", Ok(multipart));
        let none = "the body must be application/json, application/x-www-form-urlencoded or \
                    multipart/form-data";
        for other in [
            "text/json",
            "application/json, text/plain",
            "text/plain,application/a+json",
            "application/xml,application/a+json",
            "application/a b+json",
            "",
            "application/jsonp",
            "json",
        ] {
            check(other, Err(none));
        }
        assert!(matches!(MediaType::of(None), Err(DocumentError::NoContentType)));
    }

    #[test]
    fn two_kinds_at_once() {
        for header in [
            "application/x-www-form-urlencoded+json",
            "application/json; x=URLencoded",
            "application/json; x=\"a; multipart/form-data\"",
            "application/vnd.form-data+json",
            "application/x-www-form-urlencoded; x=multipart",
            "application/x-www-form-urlencoded; x=JSON",
            "application/x-www-form-urlencoded; boundary=\"form-data\"",
            "multipart/form-data; boundary=urlencoded",
        ] {
            check(header, Err("the Content-Type is ambiguous"));
        }
        let multipart = MediaType::Multipart(b"json".as_slice().into());
        check("multipart/form-data; boundary=json", Ok(multipart));
    }

    #[test]
    fn charsets() {
        for charset in CHARSETS {
            check(
                &format!("application/x-www-form-urlencoded; charset={charset}"),
                Ok(MediaType::Form),
            );
        }
        check("application/json; charset=\"UTF-8\"", Ok(MediaType::Json));
        let charset = "the body's charset is none in which a SKU has one spelling: send UTF-8";
        for other in ["utf-7", "utf-16", "iso-2022-jp", "hz-gb-2312", ""] {
            check(&format!("application/x-www-form-urlencoded; charset=\"{other}\""), Err(charset));
        }
        check("application/json; charset=shift_jis", Err(charset));
        let twice = "the Content-Type is ambiguous";
        check("application/x-www-form-urlencoded; charset=utf-8; charset=utf-7", Err(twice));
    }

    #[test]
    fn boundaries() {
        let wrong = "a multipart body needs a boundary of 1 to 70 characters in its Content-Type";
        check("multipart/form-data", Err(wrong));
        check("multipart/form-data; boundary=\"\"", Err(wrong));
        check(&format!("multipart/form-data; boundary={}", "x".repeat(71)), Err(wrong));
        check("multipart/form-data; boundary=\"x \"", Err(wrong));
        check("multipart/form-data; boundary=\"x@y\"", Err(wrong));
        check("multipart/form-data; boundary=a; boundary=b", Err("the Content-Type is ambiguous"));
    }
}
