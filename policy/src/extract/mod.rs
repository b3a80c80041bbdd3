//! Finding the SKU and the quantity in a request.
//!
//! A configured [`Route`] names the requests it is for, and where SKU and quantity are in them.
//! Whoever can make the edge read one SKU and the service another has broken the limit, so:
//!
//! - **Sources agree or the request is refused.** A route may list several sources, since clients
//!   differ. All of them are looked at, and those that find something must find the same. "The
//!   first one wins" would let a client show the edge one SKU in the query and the service another
//!   in the body; a shop whose service looks in this very order can say so ([`Several::First`]).
//! - **Nothing is read twice in two ways.** A header, cookie, query parameter, form field or JSON key that
//!   carries a SKU or a quantity and is there twice is an error; so is one that some server takes for
//!   another, such as `SKU` for `sku`.
//! - **What is there must be readable.** A SKU that is present but malformed is an error, never
//!   "absent". Only `null` in JSON is absent.
//!
//! Paths are matched as they stand, so the proxy must have normalised them: no `//`, no `.` or `..`
//! segments, no escaped slashes. `envoy/envoy.yaml` does so.

mod cookie;
mod error;
mod failure;
mod head;
mod line;
mod path;
mod pointer;
mod reading;
mod source;
mod wanted;

use serde::Deserialize;

use crate::document::Document;
use crate::object::object;
use crate::range::{RangeError, in_range};
use crate::{Quantity, SkuForm};

pub use cookie::{CookieName, CookieNameError};
pub use error::ExtractError;
pub use failure::{Failure, FailureMode, FailureModes};
pub use head::{Head, Method, MethodError};
pub use line::Line;
pub use path::{Pattern, PatternError};
pub use pointer::{Pointer, PointerError};
pub use reading::Reading;
pub use source::{Field, FieldError, HeaderName, HeaderNameError, Source};

use wanted::Quantities;

/// The requests that are limited, and where their SKU and quantity are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The one method it is for: `POST`.
    pub(crate) method: Method,
    /// The paths it is for: `/v1/reservations`, `/cart/{sku}/add`.
    pub(crate) path: Pattern,
    /// Where the SKU is.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub(crate) sku: Vec<Source>,
    /// Where the quantity is; a request that names none asks for one unit.
    #[serde(default)]
    pub(crate) quantity: Vec<Source>,
    /// What it means that there are several sources.
    #[serde(default)]
    several: Several,
    /// The most lines of one request, 1 to 100: each is charged to limits of its own. Unless given 50, as many
    /// as a cart of the service has.
    #[serde(default)]
    lines_max: LinesMax,
    /// What becomes of requests that cannot be read or counted.
    #[serde(default, deserialize_with = "object")]
    failure_modes: FailureModes,
    /// Whether nothing is refused on this route, whatever the verdict: it is counted and logged.
    #[serde(default)]
    shadow: bool,
}

/// What it means that a route lists several sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Several {
    /// All are looked at, and those that find something must find the same.
    #[default]
    Agree,
    /// The first that finds something counts; those behind it are not looked at. For a service that looks
    /// in the same order: any other can be shown another SKU than the edge.
    First,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minimum" = 1, "maximum" = 100)))]
#[serde(try_from = "u64")]
struct LinesMax(usize);

impl Default for LinesMax {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<u64> for LinesMax {
    type Error = RangeError;

    fn try_from(lines: u64) -> Result<Self, RangeError> {
        in_range(lines, 1..=100).map(Self)
    }
}

impl Route {
    /// The requests with this method and path, whose SKU is the segment `sku` of the path.
    pub fn by_path(method: Method, path: Pattern, sku: Field) -> Self {
        Self {
            method,
            path,
            sku: vec![Source::Path(sku)],
            quantity: Vec::new(),
            several: Several::default(),
            lines_max: LinesMax::default(),
            failure_modes: FailureModes::default(),
            shadow: false,
        }
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

    /// What becomes of requests that cannot be read or counted.
    pub fn failure_modes(&self) -> &FailureModes {
        &self.failure_modes
    }

    /// Whether nothing is refused on this route.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }
}

/// Reads what a body in the service's own form asks for: the members `sku` and `quantity` of a JSON
/// object, or the fields of these names in a form. The service calls this, the edge has a route with
/// these sources; both come to the same readers, so that they read the same or refuse the same.
///
/// # Errors
/// There is no SKU, or SKU or quantity cannot be read.
pub fn line_of(document: &Document, form: &SkuForm) -> Result<Line, ExtractError> {
    if matches!(document, Document::Json(value) if !value.is_object()) {
        let place = "the body".to_owned();
        return Err(ExtractError::WrongKind { place, expected: "a JSON object" });
    }
    let skus = Source::at_top_of(document, "sku").in_body(document, form)?;
    let quantities = Source::at_top_of(document, "quantity").in_body(document, &Quantities)?;
    let sku = skus.into_iter().next().ok_or(ExtractError::NoSku)?;
    Ok(Line { sku, quantity: quantities.first().copied().unwrap_or(Quantity::ONE) })
}

#[cfg(test)]
mod tests;
