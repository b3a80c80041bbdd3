//! How many units one request asks for.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Units of one SKU asked for at once: 1 to [`Quantity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u32")]
pub struct Quantity(NonZeroU32);

impl Quantity {
    /// What a request asks for that names no quantity.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// The most units one request can ask for: far above any cart, and low enough that sums of
    /// quantities and their costs in nanoseconds stay clear of overflow.
    pub const MAX: u32 = 1_000_000;

    /// Accepts 1 to [`Quantity::MAX`].
    ///
    /// # Errors
    /// Says that the number is out of range.
    pub fn new(units: u64) -> Result<Self, QuantityError> {
        u32::try_from(units)
            .ok()
            .filter(|units| *units <= Self::MAX)
            .and_then(NonZeroU32::new)
            .map(Self)
            .ok_or(QuantityError::OutOfRange)
    }

    /// Reads decimal digits, as forms, queries and headers carry them: `"2"`, not `"+2"` or `"2.0"`.
    ///
    /// # Errors
    /// Says whether the text is no number or one out of range.
    pub fn parse(raw: &str) -> Result<Self, QuantityError> {
        let digits = raw.trim_matches(|c: char| c.is_ascii_whitespace());
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(QuantityError::NotANumber);
        }
        digits.parse().map_err(|_| QuantityError::OutOfRange).and_then(Self::new)
    }

    /// The number of units.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for Quantity {
    type Error = QuantityError;

    fn try_from(units: u64) -> Result<Self, QuantityError> {
        Self::new(units)
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.get()
    }
}

impl From<Quantity> for NonZeroU32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

/// Why something is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not decimal digits.
    #[error("a quantity is a whole number")]
    NotANumber,
    /// Zero, or above [`Quantity::MAX`].
    #[error("a quantity is 1 to {}", Quantity::MAX)]
    OutOfRange,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Result<u32, QuantityError>) {
        assert_eq!(Quantity::parse(raw).map(Quantity::get), expected, "{raw:?}");
    }

    #[test]
    fn decimal_digits_in_range() {
        check("1", Ok(1));
        check(" 12 ", Ok(12));
        check("007", Ok(7));
        check("1000000", Ok(1_000_000));
        check("0", Err(QuantityError::OutOfRange));
        check("1000001", Err(QuantityError::OutOfRange));
        check("99999999999999999999999", Err(QuantityError::OutOfRange));
        check("", Err(QuantityError::NotANumber));
        check("+1", Err(QuantityError::NotANumber));
        check("-1", Err(QuantityError::NotANumber));
        check("1.0", Err(QuantityError::NotANumber));
        check("1e3", Err(QuantityError::NotANumber));
        check("١", Err(QuantityError::NotANumber));
    }
}
