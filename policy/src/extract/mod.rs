//! Finding the SKU and the quantity in a request.
//!
//! A configured [`Route`] names the requests it is for, and where SKU and quantity are in them.
//! Whoever can make the edge read one SKU and the service another has broken the limit, so:
//!
//! - **Sources agree or the request is refused.** A route may list several sources, since clients
//!   differ. All of them are looked at, and those that find something must find the same. "The
//!   first one wins" would let a client show the edge one SKU in the query and the service another
//!   in the body.
//! - **Nothing is read twice in two ways.** A header, query parameter, form field or JSON key that
//!   carries a SKU or a quantity and is there twice is an error.
//! - **What is there must be readable.** A SKU that is present but malformed is an error, never
//!   "absent". Only `null` in JSON is absent.
//!
//! Paths are matched as they stand, so the proxy must have normalised them: no `//`, no `.` or `..`
//! segments, no escaped slashes. `envoy/envoy.yaml` does so.

mod head;
mod path;
mod source;

use serde::Deserialize;
use thiserror::Error;

use crate::document::{Document, DocumentError, MediaType};
use crate::problem::ProblemType;
use crate::{Quantity, QuantityError, Sku, SkuError};

pub use head::{Head, Method, MethodError};
pub use path::{Pattern, PatternError};
pub use source::{Field, FieldError, HeaderName, HeaderNameError, Pointer, PointerError, Source};

/// The requests that are limited, and where their SKU and quantity are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The one method it is for: `POST`.
    pub(crate) method: Method,
    /// The paths it is for: `/v1/reservations`, `/cart/{sku}/add`.
    pub(crate) path: Pattern,
    /// Where the SKU is.
    pub(crate) sku: Vec<Source>,
    /// Where the quantity is; a request that names none asks for one unit.
    #[serde(default)]
    pub(crate) quantity: Vec<Source>,
}

impl Route {
    /// The requests with this method and path, whose SKU is the segment `sku` of the path.
    pub fn by_path(method: Method, path: Pattern, sku: Field) -> Self {
        Self { method, path, sku: vec![Source::Path(sku)], quantity: Vec::new() }
    }

    /// Whether this route is for the request.
    pub fn matches(&self, head: &Head<'_>) -> bool {
        head.method() == self.method.as_bytes() && self.path.captures(head.path()).is_some()
    }

    /// Whether SKU or quantity may be in the body.
    pub fn reads_body(&self) -> bool {
        self.sku.iter().chain(&self.quantity).any(Source::is_in_body)
    }

    /// Whether the SKU may be in path or query: all of a request that an access log has.
    pub fn reads_target(&self) -> bool {
        self.sku.iter().any(|source| matches!(source, Source::Path(_) | Source::Query(_)))
    }

    /// Reads what the request's head says, before any of its body has come.
    ///
    /// # Errors
    /// Something in the head cannot be read.
    pub fn read_head(&self, head: &Head<'_>) -> Result<Reading, ExtractError> {
        let captures = self.path.captures(head.path()).unwrap_or_default();
        let (content_type, encoded) = match self.reads_body() {
            true => (head.single("content-type")?, head.all("content-encoding").any(is_encoding)),
            false => (None, false),
        };
        let mut reading = Reading {
            sku: Agreed(None),
            quantity: Agreed(None),
            media_type: MediaType::of(content_type),
            encoded,
        };
        for source in &self.sku {
            reading.sku.add("SKU", source.sku_in_head(head, &captures)?)?;
        }
        for source in &self.quantity {
            reading.quantity.add("quantity", source.quantity_in_head(head, &captures)?)?;
        }
        Ok(reading)
    }

    /// Completes the reading with the whole body; `b""` if there is none, or if the route does not
    /// read it.
    ///
    /// # Errors
    /// The body cannot be read, or there is no SKU in head or body.
    pub fn read_body(&self, mut reading: Reading, body: &[u8]) -> Result<Line, ExtractError> {
        if self.reads_body() && !body.is_empty() {
            let document = reading.media_type()?.parse(body)?;
            for source in &self.sku {
                reading.sku.add("SKU", source.sku_in_body(&document)?)?;
            }
            for source in &self.quantity {
                reading.quantity.add("quantity", source.quantity_in_body(&document)?)?;
            }
        }
        let sku = reading.sku.0.ok_or(ExtractError::NoSku)?;
        Ok(Line { sku, quantity: reading.quantity.0.unwrap_or(Quantity::ONE) })
    }
}

/// What a request's head said: [`Route::read_body`] completes it.
#[derive(Clone, Debug)]
pub struct Reading {
    sku: Agreed<Sku>,
    quantity: Agreed<Quantity>,
    /// What a body will be read as. The header itself is not kept, whose length is the client's to
    /// choose: a reading waits for its body, and thousands of them may.
    media_type: Result<MediaType, DocumentError>,
    encoded: bool,
}

impl Reading {
    /// Says at once what would be said of any body that came: that its kind is not read.
    ///
    /// # Errors
    /// The body's content type or encoding is none that we read.
    pub fn check_body_kind(&self) -> Result<(), ExtractError> {
        self.media_type().map(|_| ())
    }

    fn media_type(&self) -> Result<MediaType, ExtractError> {
        if self.encoded {
            return Err(ExtractError::Encoded);
        }
        Ok(self.media_type.clone()?)
    }
}

/// What a request asks for: so many units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub sku: Sku,
    /// The units.
    pub quantity: Quantity,
}

/// Reads what a body in the service's own form asks for: the members `sku` and `quantity` of a JSON
/// object, or the fields of these names in a form. The service calls this, the edge has a route with
/// these sources; both come to the same readers, so that they read the same or refuse the same.
///
/// # Errors
/// There is no SKU, or SKU or quantity cannot be read.
pub fn line_of(document: &Document) -> Result<Line, ExtractError> {
    if matches!(document, Document::Json(value) if !value.is_object()) {
        let place = "the body".to_owned();
        return Err(ExtractError::WrongKind { place, expected: "a JSON object" });
    }
    let sku = Source::at_top_of(document, "sku").sku_in_body(document)?;
    let quantity = Source::at_top_of(document, "quantity").quantity_in_body(document)?;
    let sku = sku.ok_or(ExtractError::NoSku)?;
    Ok(Line { sku, quantity: quantity.unwrap_or(Quantity::ONE) })
}

/// What the sources looked at so far have found.
#[derive(Clone, Debug)]
struct Agreed<T>(Option<T>);

impl<T: PartialEq> Agreed<T> {
    fn add(&mut self, what: &'static str, found: Option<T>) -> Result<(), ExtractError> {
        match (&self.0, found) {
            (Some(before), Some(found)) if *before != found => Err(ExtractError::Disagree { what }),
            (None, found) => {
                self.0 = found;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn is_encoding(value: &[u8]) -> bool {
    !value.trim_ascii().eq_ignore_ascii_case(b"identity")
}

/// Why no SKU and quantity could be read.
#[derive(Debug, Error)]
pub enum ExtractError {
    /// No source found a SKU.
    #[error("the request names no SKU")]
    NoSku,
    /// Two sources found different things.
    #[error("the request names more than one {what}")]
    Disagree {
        /// `SKU` or `quantity`.
        what: &'static str,
    },
    /// Something that may be there once is there more often.
    #[error("{place} is there more than once")]
    Duplicate {
        /// Such as `the header x-sku`.
        place: String,
    },
    /// Bytes that are no UTF-8.
    #[error("{place} is not UTF-8")]
    NotUtf8 {
        /// Such as `the header x-sku`.
        place: String,
    },
    /// A JSON value of the wrong kind.
    #[error("{place} must be {expected}")]
    WrongKind {
        /// Such as `the JSON value at /sku`.
        place: String,
        /// Such as `a string`.
        expected: &'static str,
    },
    /// A text that is no SKU.
    #[error("{place}: {reason}")]
    Sku {
        /// Such as `the header x-sku`.
        place: String,
        /// What is wrong with it.
        reason: SkuError,
    },
    /// A text or number that is no quantity.
    #[error("{place}: {reason}")]
    Quantity {
        /// Such as `the form field quantity`.
        place: String,
        /// What is wrong with it.
        reason: QuantityError,
    },
    /// The body has a `Content-Encoding`.
    #[error("the body must come without Content-Encoding")]
    Encoded,
    /// The body was not understood.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl ExtractError {
    /// The problem to answer with.
    pub fn problem_type(&self) -> ProblemType {
        match self {
            Self::NoSku => ProblemType::NoSku,
            Self::Encoded
            | Self::Document(
                DocumentError::NoContentType
                | DocumentError::UnsupportedMediaType
                | DocumentError::JsonAsForm,
            ) => ProblemType::UnsupportedMediaType,
            _ => ProblemType::InvalidRequest,
        }
    }
}

#[cfg(test)]
mod tests;
