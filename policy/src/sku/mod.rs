//! The canonical form of a product's identifier.

mod form;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use form::{Case, SkuForm, SkuPattern, SkuPatternError, Unicode};

/// A product's identifier in its one canonical form.
///
/// Canonical means: white space around it is gone, what is left is 1 to [`Sku::LEN_MAX`] bytes,
/// each an ASCII letter, digit, or one of `-._~:`. Letters keep their case: shops exist that tell
/// `ab-1` from `AB-1`, and the edge must not merge two products' limits. The set needs no escaping
/// in a path, a form or a log line, and a spelling variant is an error, never a second SKU.
/// Cloning it copies no text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[serde(try_from = "String", into = "String")]
pub struct Sku(Arc<str>);

impl Sku {
    /// The longest SKU, in bytes.
    pub const LEN_MAX: usize = 64;

    /// Reads a SKU that is canonical, but for white space around it, whatever the shop's [`SkuForm`].
    ///
    /// # Errors
    /// Says what keeps `raw` from being a SKU.
    pub fn parse(raw: &str) -> Result<Self, SkuError> {
        let trimmed = raw.trim_matches(|c: char| c.is_ascii_whitespace());
        Self::parse_exactly(trimmed)
    }

    fn parse_exactly(trimmed: &str) -> Result<Self, SkuError> {
        if trimmed.is_empty() {
            return Err(SkuError::Empty);
        }
        if trimmed.len() > Self::LEN_MAX {
            return Err(SkuError::TooLong { len: trimmed.len() });
        }
        if let Some(character) = trimmed.chars().find(|c| !is_allowed(*c)) {
            return Err(SkuError::Forbidden { character });
        }
        // Path normalisation would eat these two on the way.
        if trimmed == "." || trimmed == ".." {
            return Err(SkuError::Forbidden { character: '.' });
        }
        Ok(Self(trimmed.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~' | ':')
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sku {
    type Error = SkuError;

    fn try_from(raw: String) -> Result<Self, SkuError> {
        Self::parse(&raw)
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0.as_ref().into()
    }
}

/// What the service's OpenAPI document says of it.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Sku {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("A product's identifier."))
            .pattern(Some("^(?!\\.{1,2}$)[A-Za-z0-9._~:-]+$"))
            .max_length(Some(Self::LEN_MAX))
            .examples(["EXAMPLE-TEE-M"])
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Sku {}

/// Why a text is no SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SkuError {
    /// Nothing but white space.
    #[error("a SKU must not be empty")]
    Empty,
    /// Longer than [`Sku::LEN_MAX`].
    #[error("a SKU has at most {} bytes, this one has {len}", Sku::LEN_MAX)]
    TooLong {
        /// Length in bytes, white space around it not counted.
        len: usize,
    },
    /// A character outside the allowed set.
    #[error("a SKU consists of ASCII letters, digits and -._~: but this one has {character:?}")]
    Forbidden {
        /// The first such character.
        character: char,
    },
    /// Longer than this shop's SKUs.
    #[error("a SKU of this shop has at most {len_max} bytes, this one has {len}")]
    LongerThanForm {
        /// Length in bytes.
        len: usize,
        /// The shop's [`SkuForm`] has it.
        len_max: usize,
    },
    /// Not of the pattern of this shop's SKUs.
    #[error("this is not the form of this shop's SKUs")]
    NotOfForm,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Result<&str, SkuError>) {
        let parsed = Sku::parse(raw);
        assert_eq!(parsed.as_ref().map(Sku::as_str), expected.as_ref().copied(), "{raw:?}");
    }

    #[test]
    fn canonical_form() {
        check("SNEAKER-1", Ok("SNEAKER-1"));
        check(" \tSNEAKER-1\r\n", Ok("SNEAKER-1"));
        check("sneaker-1", Ok("sneaker-1"));
        check("a.b_c~d:9", Ok("a.b_c~d:9"));
        check("", Err(SkuError::Empty));
        check("   ", Err(SkuError::Empty));
        check(".", Err(SkuError::Forbidden { character: '.' }));
        check("..", Err(SkuError::Forbidden { character: '.' }));
        check("a b", Err(SkuError::Forbidden { character: ' ' }));
        check("a/b", Err(SkuError::Forbidden { character: '/' }));
        check("a%2Fb", Err(SkuError::Forbidden { character: '%' }));
        check("a\0", Err(SkuError::Forbidden { character: '\0' }));
        check("スニーカー", Err(SkuError::Forbidden { character: 'ス' }));
        check("\u{a0}a", Err(SkuError::Forbidden { character: '\u{a0}' }));
        let longest = "x".repeat(Sku::LEN_MAX);
        check(&longest, Ok(&longest));
        check(&"x".repeat(65), Err(SkuError::TooLong { len: 65 }));
    }
}
