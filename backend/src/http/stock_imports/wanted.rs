//! What a line says: a SKU, and how many units of it there are to be in all.

use std::borrow::Cow;

use cartgate_ledger::UNITS_MAX;
use cartgate_policy::{Sku, SkuForm};
use clap::ValueEnum;
use serde::Deserialize;
use thiserror::Error;
use utoipa::ToSchema;

use super::lines::{LINE_BYTES_MAX, Line};

/// What a CSV begins with.
pub(crate) const CSV_HEADER: &str = "sku,quantity";

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A JSON object each.
    #[default]
    Ndjson,
    /// Two fields each (RFC 4180), and the header `sku,quantity` first.
    Csv,
}

impl Format {
    /// Its media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) sku: Sku,
    /// All units: available, held and sold.
    pub(super) units: u64,
}

/// A line, read.
#[derive(Debug)]
pub(super) enum Read {
    /// Nothing: it is empty, or the header of a CSV.
    Nothing,
    Wanted(Wanted),
    Wrong(LineError),
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub(super) enum LineError {
    #[error("a line has at most {LINE_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Json(serde_json::Error),
    #[error("a line is a JSON object: {{\"sku\": .., \"quantity\": ..}}")]
    NoObject,
    #[error("a line has two fields, sku and quantity, in quotes or not")]
    Fields,
    #[error("{0}")]
    Sku(cartgate_policy::SkuError),
    #[error("quantity is a whole number from 0 to {UNITS_MAX}")]
    Quantity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine<'a> {
    #[serde(borrow)]
    sku: Cow<'a, str>,
    quantity: u64,
}

/// Reads a line. Of a CSV, the first one with something in it is the header.
pub(super) fn read(format: Format, form: &SkuForm, line: Line<'_>) -> Read {
    let text = match line {
        Line::TooLong => return Read::Wrong(LineError::TooLong),
        Line::Text(text) => text.trim_ascii(),
    };
    if text.is_empty() {
        return Read::Nothing;
    }
    let wanted = match format {
        Format::Ndjson => read_json(form, text),
        Format::Csv => read_csv(form, text),
    };
    wanted.map_or_else(Read::Wrong, Read::Wanted)
}

/// Whether a line is a CSV's header.
pub(super) fn is_csv_header(line: Line<'_>) -> bool {
    let Line::Text(text) = line else { return false };
    // Spreadsheets put a mark in front that says UTF-8.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text).trim_ascii();
    let header = CSV_HEADER.split_once(',').unwrap_or_default();
    csv_fields(text).is_some_and(|(sku, quantity)| (&*sku, &*quantity) == header)
}

fn read_json(form: &SkuForm, text: &[u8]) -> Result<Wanted, LineError> {
    // Serde takes a struct's fields in order from an array as well: nobody means that.
    if text.first() != Some(&b'{') {
        return Err(LineError::NoObject);
    }
    let line: JsonLine<'_> = serde_json::from_slice(text).map_err(LineError::Json)?;
    wanted(form, &line.sku, line.quantity)
}

fn read_csv(form: &SkuForm, text: &[u8]) -> Result<Wanted, LineError> {
    let (sku, quantity) = csv_fields(text).ok_or(LineError::Fields)?;
    let is_number = !quantity.is_empty() && quantity.bytes().all(|byte| byte.is_ascii_digit());
    let quantity = quantity.parse().ok().filter(|_| is_number).ok_or(LineError::Quantity)?;
    wanted(form, &sku, quantity)
}

fn wanted(form: &SkuForm, sku: &str, units: u64) -> Result<Wanted, LineError> {
    if units > UNITS_MAX {
        return Err(LineError::Quantity);
    }
    Ok(Wanted { sku: form.parse(sku).map_err(LineError::Sku)?, units })
}

/// The fields of a line that has two.
fn csv_fields(text: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (sku, rest) = csv_field(text)?;
    let (quantity, rest) = csv_field(rest.strip_prefix(',')?)?;
    rest.is_empty().then_some((sku, quantity))
}

/// The first field, and what comes after it.
fn csv_field(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (field, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        return (!field.contains('"')).then_some((field.into(), rest));
    };
    // In quotes, two of them stand for one.
    let mut quotes = quoted.match_indices('"').map(|(at, _)| at);
    while let Some(end) = quotes.next() {
        let rest = &quoted[end + 1..];
        if !rest.starts_with('"') {
            return Some((quoted[..end].replace("\"\"", "\"").into(), rest));
        }
        quotes.next();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line says: SKU and units, or what is wrong with it.
    #[track_caller]
    fn check(format: Format, line: &str, expected: Result<(&str, u64), &str>) {
        let said = match read(format, &SkuForm::default(), Line::Text(line.as_bytes())) {
            Read::Nothing => Err("nothing".to_owned()),
            Read::Wanted(wanted) => Ok((wanted.sku.to_string(), wanted.units)),
            Read::Wrong(error) => Err(error.to_string()),
        };
        match (&said, expected) {
            (Err(said), Err(expected)) => assert!(said.contains(expected), "{line}: {said}"),
            _ => {
                let expected = expected.map(|(sku, units)| (sku.to_owned(), units));
                assert_eq!(said, expected.map_err(str::to_owned), "{line}");
            }
        }
    }

    #[test]
    fn a_json_line_is_an_object_of_two_members() {
        let check = |line, expected| check(Format::Ndjson, line, expected);
        check(r#"{"sku": "A", "quantity": 7}"#, Ok(("A", 7)));
        check(r#" {"quantity":0,"sku":"a\u002d1"} "#, Ok(("a-1", 0)));
        check("  ", Err("nothing"));
        check(r#"["A", 7]"#, Err("a JSON object"));
        check(r#"{"sku": "A", "quantity": 7, "price": 1}"#, Err("unknown field `price`"));
        check(r#"{"sku": "A"}"#, Err("missing field `quantity`"));
        check(r#"{"sku": "A", "sku": "B", "quantity": 7}"#, Err("duplicate field `sku`"));
        check(r#"{"sku": "A", "quantity": 7} {}"#, Err("trailing"));
        check(r#"{"sku": "A", "quantity": "7"}"#, Err("invalid type"));
        check(r#"{"sku": "A", "quantity": 1.5}"#, Err("invalid type"));
        check(r#"{"sku": "A", "quantity": 1000000000001}"#, Err("from 0 to 1000000000000"));
        check(r#"{"sku": "A B", "quantity": 1}"#, Err("' '"));
    }

    #[test]
    fn a_csv_line_has_two_fields() {
        let check = |line, expected| check(Format::Csv, line, expected);
        check("A,7", Ok(("A", 7)));
        check(r#""A","7""#, Ok(("A", 7)));
        check(r#""A",1000000000000"#, Ok(("A", 1_000_000_000_000)));
        check("", Err("nothing"));
        for wrong in
            ["A", "A,7,", "A,7,8", "A;7", r#""A,7"#, r#"A","7"#, r#""A"x,7"#, "\"A\n\",\"7"]
        {
            check(wrong, Err("two fields"));
        }
        for wrong in ["A,", "A,+7", "A,-7", "A,1.0", "A, 7", "A,1000000000001"] {
            check(wrong, Err("a whole number"));
        }
        check(r#""A""B",7"#, Err("'\"'"));
        check("sku,quantity", Err("a whole number"));
    }

    #[test]
    fn a_csv_has_a_header() {
        for header in ["sku,quantity", "\"sku\",\"quantity\"", "\u{feff}sku,quantity "] {
            assert!(is_csv_header(Line::Text(header.as_bytes())), "{header}");
        }
        for other in ["A,7", "quantity,sku", "SKU,Quantity", "sku", "sku,quantity,price"] {
            assert!(!is_csv_header(Line::Text(other.as_bytes())), "{other}");
        }
    }
}
