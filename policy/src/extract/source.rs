//! The places in a request where a SKU or a quantity can be.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::cookie::CookieName;
use super::path::Captures;
use super::pointer::{NotPointed, Pointed, Pointer};
use super::wanted::Wanted;
use super::{ExtractError, Head};
use crate::document::{Document, DocumentError, Form, MediaType};

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The path segment where the route's path has this `{name}`.
    Path(Field),
    /// The query parameter of this name.
    Query(Field),
    /// The header of this name.
    Header(HeaderName),
    /// The cookie of this name.
    Cookie(CookieName),
    /// The value at this JSON Pointer, of a JSON body; with a `*` in it, the values in all items of an
    /// array: `/lines/*/sku`.
    Json(Pointer),
    /// The field of this name, of a form, urlencoded or multipart.
    Form(Field),
}

impl Source {
    /// The member or field `name` of a body.
    pub(super) fn at_top_of(body: &Document, name: &str) -> Self {
        match body {
            Document::Json(_) => Self::Json(Pointer::to_member(name)),
            Document::Form(_) => Self::Form(Field(name.to_owned())),
        }
    }

    /// Whether it looks into bodies of this kind.
    pub(super) fn reads(&self, kind: &MediaType) -> bool {
        match self {
            Self::Json(_) => *kind == MediaType::Json,
            Self::Form(_) => *kind != MediaType::Json,
            _ => false,
        }
    }

    /// Whether it is in the body.
    pub(crate) fn is_in_body(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Form(_))
    }

    /// The array whose items it looks at.
    pub(crate) fn array(&self) -> Option<&[String]> {
        match self {
            Self::Json(pointer) => pointer.array(),
            _ => None,
        }
    }

    /// What is wanted, if it is here, in a request's head.
    pub(super) fn in_head<W: Wanted>(
        &self,
        head: &Head<'_>,
        captures: &Captures<'_>,
        wanted: &W,
    ) -> Result<Option<W::Found>, ExtractError> {
        let text = self.text_in_head(head, captures)?;
        text.map(|text| self.read(wanted.text(&text), wanted)).transpose()
    }

    /// What is wanted, as often as it is here, in a body; nothing, if it is not.
    pub(super) fn in_body<W: Wanted>(
        &self,
        body: &Document,
        wanted: &W,
    ) -> Result<Vec<W::Found>, ExtractError> {
        match (self, body) {
            (Self::Json(pointer), Document::Json(value)) => {
                match pointer.find(value).map_err(|error| self.not_pointed(&error))? {
                    Pointed::One(value) => Ok(self.value(value, wanted)?.into_iter().collect()),
                    Pointed::Each(values) => self.lines(&values, wanted),
                }
            }
            (Self::Form(field), Document::Form(form)) => {
                let text = self.field(form, field)?;
                let found = text.map(|text| self.read(wanted.text(&text), wanted)).transpose()?;
                Ok(found.into_iter().collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Nothing, if no line has one.
    fn lines<W: Wanted>(
        &self,
        values: &[Option<&Value>],
        wanted: &W,
    ) -> Result<Vec<W::Found>, ExtractError> {
        let found = values.iter().map(|value| self.value(*value, wanted));
        let found: Vec<_> = found.collect::<Result<_, _>>()?;
        if found.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let without = || ExtractError::LineWithout { place: self.place(), what: W::NAME };
        let each = found.into_iter().map(|found| found.or_else(|| wanted.left_out()));
        each.map(|found| found.ok_or_else(without)).collect()
    }

    fn value<W: Wanted>(
        &self,
        value: Option<&Value>,
        wanted: &W,
    ) -> Result<Option<W::Found>, ExtractError> {
        let read = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => Some(wanted.text(text)),
            Some(Value::Number(number)) => wanted.number(number),
            Some(_) => None,
        };
        match read {
            Some(read) => self.read(read, wanted).map(Some),
            None => Err(ExtractError::WrongKind { place: self.place(), expected: W::KIND }),
        }
    }

    fn read<W: Wanted>(
        &self,
        read: Result<W::Found, W::Wrong>,
        _: &W,
    ) -> Result<W::Found, ExtractError> {
        read.map_err(|reason| W::wrong(self.place(), reason))
    }

    fn not_pointed(&self, error: &NotPointed) -> ExtractError {
        let place = self.place();
        match error {
            NotPointed::Ambiguous => ExtractError::Duplicate { place },
            NotPointed::NoArray => ExtractError::WrongKind { place, expected: "in an array" },
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
            Self::Cookie(name) => {
                let value = name.single(head);
                let value = value.map_err(|()| ExtractError::Duplicate { place: self.place() })?;
                value.map(|value| self.utf8(value.into())).transpose()
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

    /// Names the place in an answer. What it names is configuration, nothing that a client sent.
    fn place(&self) -> String {
        match self {
            Self::Path(Field(name)) => format!("the path segment {{{name}}}"),
            Self::Query(Field(name)) => format!("the query parameter {name}"),
            Self::Header(HeaderName(name)) => format!("the header {name}"),
            Self::Cookie(name) => format!("the cookie {}", name.as_str()),
            Self::Json(pointer) => format!("the JSON value at {:?}", pointer.as_str()),
            Self::Form(Field(name)) => format!("the form field {name}"),
        }
    }
}

/// The name of a path segment, query parameter or form field. It is compared decoded and exactly.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("minLength" = 1)))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("pattern" = "^[a-z0-9-]+$", "not" = serde_json::json!({"pattern": "^host$"}))))]
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
