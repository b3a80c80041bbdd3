//! Bodies of `multipart/form-data` (RFC 7578, RFC 2046 section 5.1).
//!
//! Servers differ in what they make of an unusual one: text before the first boundary, folded headers, a
//! name with a backslash or in single quotes, `filename*`, a transfer encoding. What every browser
//! sends is none of that, so whatever is unusual is refused: read in one way, or not at all. No crate
//! that we know is as strict; those for servers are made to accept.

use memchr::memmem;

use super::media_type::is_charset;
use super::parameters::Parameterised;
use super::{DocumentError, Form};

/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_LEN_MAX: usize = 70;

/// The most headers of a part: browsers send two.
const HEADERS_MAX: usize = 8;

/// Whether this can be a boundary (RFC 2046, section 5.1.1).
pub(super) fn is_boundary(raw: &[u8]) -> bool {
    let is_allowed = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
    (1..=BOUNDARY_LEN_MAX).contains(&raw.len())
        && raw.iter().all(is_allowed)
        && !raw.ends_with(b" ")
}

/// Reads the fields. A file's is among them with no text, so that one of the same name is noticed.
pub(super) fn parse(boundary: &[u8], body: &[u8]) -> Result<Form, DocumentError> {
    let malformed = DocumentError::Multipart;
    let delimiter = [b"\r\n--", boundary].concat();
    let find = memmem::Finder::new(&delimiter);
    let mut rest = body
        .strip_prefix(&delimiter[2..])
        .ok_or(malformed("it does not begin with its boundary"))?;
    let mut fields = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return match end {
                b"" | b"\r\n" => Ok(Form::of(fields)),
                _ => Err(malformed("something follows its end")),
            };
        }
        let part =
            rest.strip_prefix(b"\r\n").ok_or(malformed("a boundary is not alone in its line"))?;
        // A part without headers begins with the empty line that ends them: it has no name either.
        let end = find.find(part).ok_or(malformed("it is cut short"))?;
        // Some servers end a part at its boundary wherever that stands in a line, others at a bare line feed.
        if memmem::find(&part[..end], &delimiter[2..]).is_some() {
            return Err(malformed("its boundary stands inside of a part"));
        }
        fields.push(field(&part[..end])?);
        rest = &part[end + delimiter.len()..];
    }
}

/// The name and the text of one part.
fn field(part: &[u8]) -> Result<(String, String), DocumentError> {
    let malformed = DocumentError::Multipart;
    let end =
        memmem::find(part, b"\r\n\r\n").ok_or(malformed("a part has no end of its headers"))?;
    let (head, text) = (&part[..end], &part[end + 4..]);
    let (mut disposition, mut charset) = (None, None);
    for (n, line) in split_lines(head).enumerate() {
        if n >= HEADERS_MAX {
            return Err(malformed("a part has too many headers"));
        }
        let (name, value) = header(line).ok_or(malformed("a part's header is malformed"))?;
        match name.to_ascii_lowercase().as_slice() {
            b"content-disposition" if disposition.is_some() => {
                return Err(malformed("a part says twice what it is"));
            }
            b"content-disposition" => disposition = Some(value),
            b"content-type" => {
                let kind = Parameterised::parse(value)
                    .map_err(|_| malformed("a part's kind is malformed"))?;
                charset = kind.get("charset").or(charset);
            }
            b"content-transfer-encoding" if !is_plain(value) => {
                return Err(malformed("a part is encoded"));
            }
            _ => {}
        }
    }
    let disposition = disposition.ok_or(malformed("a part does not say what it is"))?;
    let disposition = Parameterised::parse(disposition)
        .map_err(|_| malformed("what a part is called is malformed"))?;
    // What browsers write, in lower case and in this order: servers differ in what they make of `Name`, `name*`
    // and `name*0`, and some find a `name=` in a file's name that comes first.
    let names: Vec<_> = disposition.names().collect();
    let is_plain = matches!(names.as_slice(), [b"name"] | [b"name", b"filename"]);
    if !disposition.value.eq_ignore_ascii_case(b"form-data") || !is_plain {
        return Err(malformed("a part is no plain form-data"));
    }
    let name = disposition.get("name").filter(|name| is_plain_name(name));
    let name = name.ok_or(malformed("a part's name is missing, or can be read in two ways"))?;
    let text = if disposition.get("filename").is_some() { &[] } else { text };
    // Some servers read each part by a charset of its own, and some all of them by that in `_charset_`.
    let charset = if name == b"_charset_" { Some(text) } else { charset };
    if charset.is_some_and(|charset| !is_charset(charset.trim_ascii())) {
        return Err(malformed("a part is of a charset in which a SKU has several spellings"));
    }
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((lossy(name), lossy(text)))
}

fn split_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let lines = rest?;
        let end = memmem::find(lines, b"\r\n");
        rest = end.map(|end| &lines[end + 2..]);
        Some(&lines[..end.unwrap_or(lines.len())])
    })
}

/// The name and value of a header's line: not folded, no control characters, no white space before the
/// colon.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
    let is_value = |b: &u8| !b.is_ascii_control() || *b == b'\t';
    (colon > 0 && name.iter().all(is_name) && value.iter().all(is_value))
        .then_some((name, value.trim_ascii()))
}

fn is_plain(encoding: &[u8]) -> bool {
    [&b"7bit"[..], b"8bit", b"binary"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain))
}

/// Whether all servers read this name alike: some strip single quotes, some decode percent signs, some the
/// encoded words of mail (`=?utf-8?Q?sku?=`).
fn is_plain_name(name: &[u8]) -> bool {
    !name.is_empty()
        && memmem::find(name, b"=?").is_none()
        && !name.iter().any(|b| matches!(b, b'\'' | b'%' | b'\\' | b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected`: names and texts, or a part of the error.
    fn check(body: &str, expected: Result<&[(&str, &str)], &str>) {
        let body = body.replace('\n', "\r\n");
        match (parse(b"XX", body.as_bytes()), expected) {
            (Ok(form), Ok(expected)) => {
                let fields: Vec<_> =
                    form.fields.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
                assert_eq!(fields, expected, "{body}");
            }
            (Err(DocumentError::Multipart(reason)), Err(expected)) => {
                assert_eq!(reason, expected, "{body}");
            }
            (found, _) => panic!("{body}: {found:?}"),
        }
    }

    fn part(disposition: &str, text: &str) -> String {
        format!("--XX\nContent-Disposition: {disposition}\n\n{text}\n")
    }

    #[test]
    fn what_browsers_send() {
        let sku = part("form-data; name=\"sku\"", "A-1");
        check(&format!("{sku}--XX--\n"), Ok(&[("sku", "A-1")]));
        check(&format!("{sku}--XX--"), Ok(&[("sku", "A-1")]));
        let file = "--XX\ncontent-disposition: form-data; name=\"f\"; filename=\"a.txt\"\n\
                    Content-Type: text/plain\n\nsku\n--X\n\n";
        check(&format!("{file}\n{sku}--XX--\n"), Ok(&[("f", ""), ("sku", "A-1")]));
        check(&format!("{}--XX--\n", part("form-data; name=q", "")), Ok(&[("q", "")]));
        check(
            &format!("{}--XX--\n", part("form-data; name=\"q\"", "\n\n")),
            Ok(&[("q", "\r\n\r\n")]),
        );
        check("--XX--\n", Ok(&[]));
        check(&format!("{sku}{sku}--XX--\n"), Ok(&[("sku", "A-1"), ("sku", "A-1")]));
    }

    #[test]
    fn what_can_be_read_in_two_ways() {
        let sku = part("form-data; name=\"sku\"", "A-1");
        check(&format!("hello\n{sku}--XX--\n"), Err("it does not begin with its boundary"));
        check(&format!("\n{sku}--XX--\n"), Err("it does not begin with its boundary"));
        check("", Err("it does not begin with its boundary"));
        check(&sku, Err("it is cut short"));
        check(&format!("{sku}--XX--\n{sku}--XX--\n"), Err("something follows its end"));
        check(&sku.replace("--XX\n", "--XX \n"), Err("a boundary is not alone in its line"));
        check(&format!("{sku}--XXY\n\n--XX--"), Err("a boundary is not alone in its line"));
        check("--XX\n\n--XX--", Err("a part has no end of its headers"));
        check("--XX\n\nA\n--XX--", Err("a part has no end of its headers"));
        check("--XX\nx: y\n\nA\n--XX--", Err("a part does not say what it is"));
        let two = "--XX\nContent-Disposition: form-data; name=\"sku\"\n\
                   Content-Disposition: form-data; name=\"x\"\n\nA\n--XX--";
        check(two, Err("a part says twice what it is"));
        let folded = "--XX\nContent-Disposition: form-data;\n name=\"sku\"\n\nA\n--XX--";
        check(folded, Err("a part's header is malformed"));
        for text in ["y\r--XX\rx", "y--XX", "y\n--XX\n"] {
            let body = format!("{sku}{}--XX--", part("form-data; name=x; filename=f", "@"));
            let body = body.replace('\n', "\r\n").replace('@', text);
            let found = parse(b"XX", body.as_bytes());
            let reason = "its boundary stands inside of a part";
            assert!(matches!(found, Err(DocumentError::Multipart(r)) if r == reason), "{found:?}");
        }
        let spelt = "a part is of a charset in which a SKU has several spellings";
        let cp930 = sku.replace("\n\nA", "\nContent-Type: text/plain; charset=Cp930\n\nA");
        check(&format!("{cp930}--XX--"), Err(spelt));
        check(&format!("{}{sku}--XX--", part("form-data; name=_charset_", "utf-7")), Err(spelt));
        let utf8 = sku.replace("\n\nA", "\nContent-Type: text/plain;charset=UTF-8\n\nA");
        let charset = part("form-data; name=\"_charset_\"", "Shift_JIS");
        let both = [("_charset_", "Shift_JIS"), ("sku", "A-1")];
        check(&format!("{charset}{utf8}--XX--"), Ok(&both));
        let encoded = sku.replace("\n\nA", "\nContent-Transfer-Encoding: base64\n\nA");
        check(&format!("{encoded}--XX--"), Err("a part is encoded"));
        let many = sku.replace("\n\nA", &format!("{}\n\nA", "\nx: y".repeat(8)));
        check(&format!("{many}--XX--"), Err("a part has too many headers"));
        for name in ["", "\"\"", "'sku'", "\"s%6bu\"", "\"=?utf-8?Q?sku?=\""] {
            let reason = match name {
                "" => "what a part is called is malformed",
                _ => "a part's name is missing, or can be read in two ways",
            };
            check(&format!("{}--XX--", part(&format!("form-data; name={name}"), "A")), Err(reason));
        }
        for disposition in ["form-data; name=\"s\\ku\"", "form-data; name=sku; NAME=x"] {
            check(
                &format!("{}--XX--", part(disposition, "A")),
                Err("what a part is called is malformed"),
            );
        }
        for disposition in [
            "attachment; name=sku",
            "form-data; name=sku; filename*=UTF-8''x",
            "form-data; name=sku; name*=x",
            "form-data; name*0=sku; name=x",
            "form-data; Name=sku",
            "form-data; filename=\"a; name=sku\"; name=x",
            "form-data; name=sku; x=y",
        ] {
            check(
                &format!("{}--XX--", part(disposition, "A")),
                Err("a part is no plain form-data"),
            );
        }
    }

    #[test]
    fn lines_that_end_otherwise() {
        let body = b"--XX\nContent-Disposition: form-data; name=\"sku\"\n\nA\n--XX--\n";
        assert!(matches!(parse(b"XX", body), Err(DocumentError::Multipart(_))));
    }
}
