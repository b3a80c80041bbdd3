//! Numbers that have a range.

use serde::Deserialize;

use crate::range::{RangeError, in_range};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minimum" = 50, "maximum" = 10000)))]
#[serde(try_from = "u64")]
pub(super) struct TimeoutMs(pub(super) u32);

impl Default for TimeoutMs {
    fn default() -> Self {
        Self(1_000)
    }
}

impl TryFrom<u64> for TimeoutMs {
    type Error = RangeError;

    fn try_from(ms: u64) -> Result<Self, RangeError> {
        in_range(ms, 50..=10_000).map(Self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minimum" = 1, "maximum" = 1048576)))]
#[serde(try_from = "u64")]
pub(super) struct BodyBytes(pub(super) usize);

impl BodyBytes {
    /// The parsed form of a body can be sixty times as large (measured: 61 MiB for 1 MiB of
    /// `[{"":0},..]`), and is held for one verdict. A wasm module's memory never shrinks, so that
    /// each worker thread may keep that much for good.
    const MAX: usize = 1 << 20;
}

impl Default for BodyBytes {
    fn default() -> Self {
        Self(64 << 10)
    }
}

impl TryFrom<u64> for BodyBytes {
    type Error = RangeError;

    fn try_from(bytes: u64) -> Result<Self, RangeError> {
        in_range(bytes, 1..=Self::MAX).map(Self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("minimum" = 1, "maximum" = 65536)))]
#[serde(try_from = "u64")]
pub(super) struct SetsCount(pub(super) u32);

impl Default for SetsCount {
    /// 32768 SKUs at a time.
    fn default() -> Self {
        Self(4096)
    }
}

impl TryFrom<u64> for SetsCount {
    type Error = RangeError;

    fn try_from(count: u64) -> Result<Self, RangeError> {
        in_range(count, 1..=65_536).map(Self)
    }
}
