//! What becomes of a request in which no SKU can be read.

use serde::Deserialize;

/// Why nobody can tell which limit a request is for, or whether that limit admits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It names no SKU.
    NoSku,
    /// It names more than one where there may be one, or something that can be read in two ways.
    Conflict,
    /// A SKU, a quantity or the body cannot be read.
    Malformed,
    /// Its body has a `Content-Encoding`.
    Encoded,
    /// Its body is of a kind or a charset that is not read.
    Unsupported,
    /// Its body is larger than is read, or has more lines.
    Oversize,
    /// The limit could not be asked: Envoy refused a call.
    Uncounted,
}

impl Failure {
    /// Every failure there is, with its name: in the configuration, in counters and in the log.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::NoSku, "no_sku"),
        (Self::Conflict, "conflict"),
        (Self::Malformed, "malformed"),
        (Self::Encoded, "encoded"),
        (Self::Unsupported, "unsupported"),
        (Self::Oversize, "oversize"),
        (Self::Uncounted, "uncounted"),
    ];

    /// The failure's name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(failure, _)| *failure == self).map_or("", |(_, name)| name)
    }
}

/// What becomes of a request at a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// It is refused.
    #[default]
    Deny,
    /// It passes, and no limit is charged: whoever can bring the failure about has no limit.
    Allow,
}

/// What becomes of a request at each [`Failure`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FailureModes {
    /// It names no SKU.
    no_sku: FailureMode,
    /// It names more than one where there may be one, or something that can be read in two ways.
    conflict: FailureMode,
    /// A SKU, a quantity or the body cannot be read.
    malformed: FailureMode,
    /// Its body has a `Content-Encoding`.
    encoded: FailureMode,
    /// Its body is of a kind or a charset that is not read.
    unsupported: FailureMode,
    /// Its body is larger than `body_bytes_max`, or has more lines than `lines_max`.
    oversize: FailureMode,
    /// The limit could not be asked: Envoy refused a call.
    uncounted: FailureMode,
}

impl FailureModes {
    /// What becomes of a request at this failure.
    pub fn of(&self, failure: Failure) -> FailureMode {
        match failure {
            Failure::NoSku => self.no_sku,
            Failure::Conflict => self.conflict,
            Failure::Malformed => self.malformed,
            Failure::Encoded => self.encoded,
            Failure::Unsupported => self.unsupported,
            Failure::Oversize => self.oversize,
            Failure::Uncounted => self.uncounted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_failure_has_the_mode_of_its_name() {
        for (failure, name) in Failure::ALL {
            let modes: FailureModes = serde_json::from_value(json!({name: "allow"})).unwrap();
            for (other, _) in Failure::ALL {
                let expected =
                    if other == failure { FailureMode::Allow } else { FailureMode::Deny };
                assert_eq!(modes.of(other), expected, "{name}");
            }
            assert_eq!(failure.name(), name);
        }
    }
}
