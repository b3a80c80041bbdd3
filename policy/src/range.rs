//! Numbers of a configuration that have a range.

use std::fmt;
use std::ops::RangeInclusive;

use thiserror::Error;

/// The number, if it is in the range.
pub(crate) fn in_range<T: TryFrom<u64> + PartialOrd + fmt::Display>(
    value: u64,
    range: RangeInclusive<T>,
) -> Result<T, RangeError> {
    match T::try_from(value) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            let (min, max) = (range.start().to_string(), range.end().to_string());
            Err(RangeError { value, min, max })
        }
    }
}

/// A number out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("must be a whole number from {min} to {max}, not {value}")]
pub(crate) struct RangeError {
    value: u64,
    min: String,
    max: String,
}
