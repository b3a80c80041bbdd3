//! The JSON Schema of the configuration.

use serde_json::Value;

use super::Config;

/// The schema (JSON Schema 2020-12), made from the types: for editors, and for whoever checks a configuration
/// without a filter. It cannot say what contradicts what; [`Config::parse`] does.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("title".to_owned(), "cartgate's filter".into());
    }
    schema
}
