//! Why no SKU and quantity could be read.

use thiserror::Error;

use super::Failure;
use crate::document::DocumentError;
use crate::problem::ProblemType;
use crate::{QuantityError, SkuError};

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
    /// Something that may be there once is there more often, or something else that servers take for it.
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
    /// An item of an array has no SKU.
    #[error("{place}: a line names no {what}")]
    LineWithout {
        /// Such as `the JSON value at /lines/*/sku`.
        place: String,
        /// `SKU`.
        what: &'static str,
    },
    /// More lines than are read.
    #[error("the request has more than {max} lines")]
    TooManyLines {
        /// How many are read.
        max: usize,
    },
    /// Not as many quantities as SKUs.
    #[error("the request names {skus} SKUs and {quantities} quantities")]
    Uneven {
        /// How many SKUs it names.
        skus: usize,
        /// How many quantities it names.
        quantities: usize,
    },
    /// The body is of a kind that no source of the route looks into.
    #[error("nothing is looked for in a body of this kind here")]
    NoPlaceInBody,
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
        match self.failure() {
            Failure::NoSku => ProblemType::NoSku,
            Failure::Encoded | Failure::Unsupported => ProblemType::UnsupportedMediaType,
            Failure::Oversize => ProblemType::BodyTooLarge,
            Failure::Conflict | Failure::Malformed | Failure::Uncounted => {
                ProblemType::InvalidRequest
            }
        }
    }

    /// What kind of failure it is.
    pub fn failure(&self) -> Failure {
        match self {
            Self::NoSku => Failure::NoSku,
            Self::Disagree { .. }
            | Self::Duplicate { .. }
            | Self::Uneven { .. }
            | Self::Document(
                DocumentError::Ambiguous { .. }
                | DocumentError::DuplicateKey(_)
                | DocumentError::Duplicate { .. },
            ) => Failure::Conflict,
            Self::Encoded => Failure::Encoded,
            Self::TooManyLines { .. } => Failure::Oversize,
            Self::NoPlaceInBody
            | Self::Document(
                DocumentError::NoContentType
                | DocumentError::UnsupportedMediaType
                | DocumentError::Charset
                | DocumentError::Boundary
                | DocumentError::JsonAsForm,
            ) => Failure::Unsupported,
            Self::NotUtf8 { .. }
            | Self::WrongKind { .. }
            | Self::Sku { .. }
            | Self::Quantity { .. }
            | Self::LineWithout { .. }
            | Self::Document(DocumentError::Json(_) | DocumentError::Multipart(_)) => {
                Failure::Malformed
            }
        }
    }
}
