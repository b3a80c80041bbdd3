//! The places in a request where a SKU or a quantity can be.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::path::Captures;
use super::{ExtractError, Head};
use crate::document::{Document, DocumentError, Form};
use crate::{Quantity, QuantityError, Sku};

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The path segment where the route's path has this `{name}`.
    Path(Field),
    /// The query parameter of this name.
    Query(Field),
    /// The header of this name.
    Header(HeaderName),
    /// The value at this JSON Pointer, of a JSON body.
    Json(Pointer),
    /// The field of this name, of a urlencoded form.
    Form(Field),
}

impl Source {
    /// The member or field `name` of a body.
    pub(super) fn at_top_of(body: &Document, name: &str) -> Self {
        match body {
            Document::Json(_) => Self::Json(Pointer(format!("/{name}"))),
            Document::Form(_) => Self::Form(Field(name.to_owned())),
        }
    }

    pub(super) fn is_in_body(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Form(_))
    }

    pub(super) fn sku_in_head(
        &self,
        head: &Head<'_>,
        captures: &Captures<'_>,
    ) -> Result<Option<Sku>, ExtractError> {
        self.text_in_head(head, captures)?.map(|text| self.sku(&text)).transpose()
    }

    pub(super) fn quantity_in_head(
        &self,
        head: &Head<'_>,
        captures: &Captures<'_>,
    ) -> Result<Option<Quantity>, ExtractError> {
        let text = self.text_in_head(head, captures)?;
        text.map(|text| self.quantity(Quantity::parse(&text))).transpose()
    }

    pub(super) fn sku_in_body(&self, body: &Document) -> Result<Option<Sku>, ExtractError> {
        match (self, body) {
            (Self::Json(pointer), Document::Json(value)) => match pointer.find(value) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => self.sku(text).map(Some),
                // Shops that number their products send numbers. A whole number has one spelling.
                Some(Value::Number(number)) if number.is_u64() => {
                    self.sku(&number.to_string()).map(Some)
                }
                Some(_) => Err(self.wrong_kind("a string or a whole number")),
            },
            (Self::Form(field), Document::Form(form)) => {
                self.field(form, field)?.map(|text| self.sku(&text)).transpose()
            }
            _ => Ok(None),
        }
    }

    pub(super) fn quantity_in_body(
        &self,
        body: &Document,
    ) -> Result<Option<Quantity>, ExtractError> {
        match (self, body) {
            (Self::Json(pointer), Document::Json(value)) => match pointer.find(value) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => self.quantity(Quantity::parse(text)).map(Some),
                Some(Value::Number(number)) => {
                    let units = number.as_u64().ok_or(QuantityError::NotANumber);
                    self.quantity(units.and_then(Quantity::new)).map(Some)
                }
                Some(_) => Err(self.wrong_kind("a whole number")),
            },
            (Self::Form(field), Document::Form(form)) => self
                .field(form, field)?
                .map(|text| self.quantity(Quantity::parse(&text)))
                .transpose(),
            _ => Ok(None),
        }
    }

    fn text_in_head<'h>(
        &self,
        head: &Head<'h>,
        captures: &Captures<'h>,
    ) -> Result<Option<Cow<'h, str>>, ExtractError> {
        match self {
            Self::Path(Field(name)) => {
                let segment = captures.iter().find(|(capture, _)| capture == name);
                segment.map(|(_, raw)| self.utf8(percent_decode(raw).into())).transpose()
            }
            Self::Query(field) => {
                Ok(self.field(&Form::parse(head.query()), field)?.map(Cow::Owned))
            }
            Self::Header(HeaderName(name)) => {
                head.single(name)?.map(|value| self.utf8(value.into())).transpose()
            }
            Self::Json(_) | Self::Form(_) => Ok(None),
        }
    }

    fn field(&self, form: &Form, Field(name): &Field) -> Result<Option<String>, ExtractError> {
        match form.single(name) {
            Ok(text) => Ok(text.map(str::to_owned)),
            Err(DocumentError::Duplicate { .. }) => {
                Err(ExtractError::Duplicate { place: self.place() })
            }
            Err(other) => Err(other.into()),
        }
    }

    fn utf8<'h>(&self, bytes: Cow<'h, [u8]>) -> Result<Cow<'h, str>, ExtractError> {
        let text = match bytes {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.ok_or_else(|| ExtractError::NotUtf8 { place: self.place() })
    }

    fn sku(&self, text: &str) -> Result<Sku, ExtractError> {
        Sku::parse(text).map_err(|reason| ExtractError::Sku { place: self.place(), reason })
    }

    fn quantity(&self, parsed: Result<Quantity, QuantityError>) -> Result<Quantity, ExtractError> {
        parsed.map_err(|reason| ExtractError::Quantity { place: self.place(), reason })
    }

    fn wrong_kind(&self, expected: &'static str) -> ExtractError {
        ExtractError::WrongKind { place: self.place(), expected }
    }

    /// Names the place in an answer. What it names is configuration, nothing that a client sent.
    fn place(&self) -> String {
        match self {
            Self::Path(Field(name)) => format!("the path segment {{{name}}}"),
            Self::Query(Field(name)) => format!("the query parameter {name}"),
            Self::Header(HeaderName(name)) => format!("the header {name}"),
            Self::Json(Pointer(pointer)) => format!("the JSON value at {pointer:?}"),
            Self::Form(Field(name)) => format!("the form field {name}"),
        }
    }
}

/// The name of a path segment, query parameter or form field. It is compared decoded and exactly.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Field(String);

impl Field {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Field {
    type Error = FieldError;

    fn try_from(raw: String) -> Result<Self, FieldError> {
        if raw.is_empty() { Err(FieldError) } else { Ok(Self(raw)) }
    }
}

/// An empty name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name must not be empty: give the name that clients use")]
pub struct FieldError;

/// The name of a header (RFC 9110, section 5.1), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderName(String);

impl HeaderName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HeaderName {
    type Error = HeaderNameError;

    fn try_from(raw: String) -> Result<Self, HeaderNameError> {
        let is_token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        match raw.as_str() {
            "host" => Err(HeaderNameError::Host),
            name if !name.is_empty() && name.bytes().all(is_token) => Ok(Self(raw)),
            _ => Err(HeaderNameError::NoName { raw }),
        }
    }
}

/// Why a text cannot name a header to look at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeaderNameError {
    /// It is not the name of a header.
    #[error("{raw:?} is no header name: use lower-case letters, digits and -, such as x-sku")]
    NoName {
        /// The text.
        raw: String,
    },
    /// Proxies carry it as `:authority` (RFC 9113, section 8.3.1), so that nothing would ever be
    /// found.
    #[error("host never comes under this name: let clients send another header, such as x-sku")]
    Host,
}

/// A JSON Pointer (RFC 6901): `/sku`, `/lines/0/sku`, with `~0` for `~` and `~1` for `/`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer(String);

impl Pointer {
    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        match (value, self.0.strip_prefix('/')) {
            // One member, as it mostly is: that is there without taking the pointer apart.
            (Value::Object(object), Some(name)) if !name.contains(['/', '~']) => object.get(name),
            _ => value.pointer(&self.0),
        }
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(raw: String) -> Result<Self, PointerError> {
        if !raw.is_empty() && !raw.starts_with('/') {
            return Err(PointerError::NoSlash { raw });
        }
        let escapes_are_known = raw.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if escapes_are_known { Ok(Self(raw)) } else { Err(PointerError::Escape { raw }) }
    }
}

/// Why a text is no JSON Pointer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PointerError {
    /// It does not start with a slash.
    #[error("{raw:?} is no JSON Pointer: it starts with /, such as /sku")]
    NoSlash {
        /// The text.
        raw: String,
    },
    /// A `~` that is neither `~0` nor `~1`.
    #[error("{raw:?} is no JSON Pointer: write ~ as ~0")]
    Escape {
        /// The text.
        raw: String,
    },
}
