//! What the EnvoyFilters in `istio/edge` do to a proxy in a mesh, done to a plain Envoy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::EnvoyConfig;
use super::config::set_module;
use crate::paths;
use crate::process::StartError;

/// EnvoyFilters: the one that has our filter, and one that puts it into a proxy.
#[derive(Debug)]
pub struct EnvoyFilter {
    filter: EnvoyConfig,
    place: EnvoyConfig,
}

impl EnvoyFilter {
    /// Those of a sidecar in front of the service: `filter.yaml` and `sidecar-inbound.yaml`.
    ///
    /// # Errors
    /// One cannot be read, or is no YAML.
    pub fn shipped() -> Result<Self, StartError> {
        let read = |name| EnvoyConfig::read(&paths::repo_root().join("istio/edge").join(name));
        Ok(Self { filter: read("filter.yaml")?, place: read("sidecar-inbound.yaml")? })
    }

    /// The filter's own configuration.
    pub fn settings(&self) -> Option<Value> {
        self.filter.filter_settings()
    }

    /// Applies each patch to `config`, whose own filter goes. What a mesh sends by ADS, the filter
    /// itself, comes from a file in `dir`.
    ///
    /// # Errors
    /// The module is not built, or the file cannot be written.
    ///
    /// # Panics
    /// There is a patch that this does not know how to apply.
    pub fn apply(
        &self,
        config: EnvoyConfig,
        dir: &Path,
    ) -> Result<(EnvoyConfig, FilterFile), StartError> {
        let mut file = FilterFile { path: dir.join("filter.json"), extension: Value::Null };
        let mut config = config.without_filter();
        let patches = [&self.filter, &self.place]
            .map(|document| document.as_value()["spec"]["configPatches"].as_array());
        for patch in patches.into_iter().flatten().flatten() {
            let value = &patch["patch"]["value"];
            config = match patch["applyTo"].as_str() {
                Some("EXTENSION_CONFIG") => {
                    file.write(value.clone())?;
                    config
                }
                Some("HTTP_FILTER") => config.insert_before_router(&file.in_place_of_ads(value)),
                Some("NETWORK_FILTER") => config.merge_connection_manager(&value["typed_config"]),
                other => panic!("a patch of {other:?}"),
            };
        }
        Ok((config, file))
    }
}

/// A file that Envoy takes the filter from, and watches.
#[derive(Debug)]
pub struct FilterFile {
    path: PathBuf,
    extension: Value,
}

impl FilterFile {
    /// Gives the filter another configuration, while Envoy runs.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&mut self, configuration: &Value) -> Result<(), StartError> {
        let mut extension = self.extension.take();
        extension["typed_config"]["config"]["configuration"]["value"] =
            configuration.to_string().into();
        self.write(extension)
    }

    fn write(&mut self, mut extension: Value) -> Result<(), StartError> {
        set_module(&mut extension["typed_config"], &paths::filter_module()?);
        let mut resource = extension.clone();
        resource["@type"] = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig".into();
        self.extension = extension;
        let response = json!({ "resources": [resource] });
        // Envoy looks at a file when one is moved to its place.
        let new = self.path.with_extension("new");
        fs::write(&new, response.to_string()).and_then(|()| fs::rename(&new, &self.path)).map_err(
            |error: io::Error| StartError::Config {
                path: self.path.clone(),
                reason: error.to_string(),
            },
        )
    }

    fn in_place_of_ads(&self, http_filter: &Value) -> Value {
        let mut http_filter = http_filter.clone();
        let source = &mut http_filter["config_discovery"]["config_source"];
        assert_eq!(source["ads"].take(), json!({}), "the filter comes by ADS");
        source["path_config_source"] = json!({ "path": self.path });
        http_filter
    }
}
