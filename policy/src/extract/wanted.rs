//! What sources are looked at for: a SKU, or a quantity.

use serde_json::Number;

use super::ExtractError;
use crate::{Quantity, QuantityError, Sku, SkuError, SkuForm};

/// How one kind of thing is read from what a source has found.
pub(super) trait Wanted {
    /// What is read.
    type Found: PartialEq;
    /// What keeps a text from being one.
    type Wrong;

    /// What it is called.
    const NAME: &'static str;
    /// What a JSON value must be.
    const KIND: &'static str;

    /// Reads a text.
    fn text(&self, text: &str) -> Result<Self::Found, Self::Wrong>;

    /// Reads a number; `None`: it must not be one of this kind.
    fn number(&self, number: &Number) -> Option<Result<Self::Found, Self::Wrong>>;

    /// What a line is read as that has none; `None`: it must have one.
    fn left_out(&self) -> Option<Self::Found>;

    /// The error, at this place.
    fn wrong(place: String, reason: Self::Wrong) -> ExtractError;
}

impl Wanted for SkuForm {
    type Found = Sku;
    type Wrong = SkuError;

    const NAME: &'static str = "SKU";
    const KIND: &'static str = "a string or a whole number";

    fn text(&self, text: &str) -> Result<Sku, SkuError> {
        self.parse(text)
    }

    /// Shops that number their products send numbers. A whole number has one spelling, up to where those who
    /// read it as a double cannot tell it from the next (RFC 8259, section 6).
    fn number(&self, number: &Number) -> Option<Result<Sku, SkuError>> {
        let exact = number.as_u64().filter(|number| *number < 1 << 53)?;
        Some(self.parse(&exact.to_string()))
    }

    fn left_out(&self) -> Option<Sku> {
        None
    }

    fn wrong(place: String, reason: SkuError) -> ExtractError {
        ExtractError::Sku { place, reason }
    }
}

/// Quantities are looked for.
pub(super) struct Quantities;

impl Wanted for Quantities {
    type Found = Quantity;
    type Wrong = QuantityError;

    const NAME: &'static str = "quantity";
    const KIND: &'static str = "a whole number";

    fn text(&self, text: &str) -> Result<Quantity, QuantityError> {
        Quantity::parse(text)
    }

    fn number(&self, number: &Number) -> Option<Result<Quantity, QuantityError>> {
        Some(number.as_u64().ok_or(QuantityError::NotANumber).and_then(Quantity::new))
    }

    fn left_out(&self) -> Option<Quantity> {
        Some(Quantity::ONE)
    }

    fn wrong(place: String, reason: QuantityError) -> ExtractError {
        ExtractError::Quantity { place, reason }
    }
}
