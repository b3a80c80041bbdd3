//! What is wrong with a configuration.

use thiserror::Error;

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("configuration{}: {reason}", place(.field))]
pub struct ConfigError {
    /// Where: `routes[0].sku[1].json`; empty for the whole.
    field: String,
    reason: String,
}

impl ConfigError {
    /// Where it is wrong: `routes[0].sku[1].json`; empty for the whole.
    pub fn field(&self) -> &str {
        if self.field == "." { "" } else { &self.field }
    }

    /// What is wrong there, and what would be right.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn at(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

fn place(field: &str) -> String {
    match field {
        // `serde_path_to_error` has a dot for the whole.
        "" | "." => String::new(),
        field => format!(" field {field}"),
    }
}
