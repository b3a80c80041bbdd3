//! Small files in which everything is as it should be.

/// A bootstrap.
pub(super) const ENVOY: &str = include_str!("samples/envoy.yaml");

/// Two EnvoyFilters: one has the filter, the other puts it into sidecars.
pub(super) const ISTIO: &str = include_str!("samples/envoyfilter.yaml");

/// A WasmPlugin, with a route that reads the path.
pub(super) const PLUGIN: &str = include_str!("samples/wasmplugin.yaml");
