//! Envoy configurations, and what tests change in them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::paths;
use crate::process::StartError;

/// The name of the cluster behind Envoy in every configuration we ship.
const CLUSTER: &str = "cartgate";

/// The same service, as the filter reports to it.
pub const REPORTS: &str = "cartgate-reports";

/// Where `envoy/envoy.yaml` has the module.
const SHIPPED_MODULE: &str = "target/cartgate_filter.wasm";

const WASM_FILTER: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

const CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.\
    http_connection_manager.v3.HttpConnectionManager";

/// An Envoy configuration, as a document to change.
#[derive(Clone, Debug)]
pub struct EnvoyConfig(Value);

impl EnvoyConfig {
    /// `envoy/envoy.yaml`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn shipped() -> Result<Self, StartError> {
        Self::read(&super::shipped_path())
    }

    /// Any YAML file.
    ///
    /// # Errors
    /// It cannot be read, or is no YAML.
    pub fn read(path: &Path) -> Result<Self, StartError> {
        let error = |reason: String| StartError::Config { path: path.to_path_buf(), reason };
        let yaml = fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
        serde_saphyr::from_str(&yaml).map(Self).map_err(|e| error(e.to_string()))
    }

    /// Sends requests to `address` instead of the service's usual place.
    pub fn upstream(mut self, address: SocketAddr) -> Self {
        let clusters = self.0["static_resources"]["clusters"].as_array_mut();
        let is_ours =
            |cluster: &&mut Value| cluster["name"] == CLUSTER || cluster["name"] == REPORTS;
        for cluster in clusters.into_iter().flatten().filter(is_ours) {
            for_each_object(cluster, &mut |object| {
                if object.contains_key("socket_address") {
                    object.insert("socket_address".to_owned(), super::socket_address(address));
                }
            });
        }
        self
    }

    /// Gives the filter another configuration, whatever it is.
    pub fn filter_configuration(self, configuration: &Value) -> Self {
        let value = json!({
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration.to_string(),
        });
        self.each_filter(|filter| filter["config"]["configuration"] = value.clone())
    }

    /// Passes every path on, instead of the few that the shipped configuration lets through.
    pub fn route_everything(self) -> Self {
        self.only_route(&json!({ "match": { "prefix": "/" }, "route": { "cluster": CLUSTER } }))
    }

    /// Answers everything with this status, without an upstream.
    pub fn answer_everything(self, status: u16) -> Self {
        let answer = json!({ "status": status });
        self.only_route(&json!({ "match": { "prefix": "/" }, "direct_response": answer }))
    }

    fn only_route(mut self, everything: &Value) -> Self {
        let host = json!({ "name": "all", "domains": ["*"], "routes": [everything] });
        for_each_object(&mut self.0, &mut |object| {
            if let Some(hosts) = object.get_mut("virtual_hosts") {
                *hosts = json!([host]);
            }
        });
        self
    }

    /// Puts an HTTP filter last before the router, as `INSERT_BEFORE` does in a mesh.
    pub fn insert_before_router(mut self, filter: &Value) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            if let Some(Value::Array(filters)) = object.get_mut("http_filters") {
                let router = filters.len().saturating_sub(1);
                filters.insert(router, filter.clone());
            }
        });
        self
    }

    /// Adds a cluster.
    ///
    /// # Panics
    /// There are none.
    pub fn add_cluster(mut self, cluster: &Value) -> Self {
        let clusters = self.0["static_resources"]["clusters"].as_array_mut();
        clusters.expect("clusters").push(cluster.clone());
        self
    }

    /// Adds a listener like the one that is there, with the same filter under another configuration: both
    /// run in the same wasm VMs.
    ///
    /// # Panics
    /// There is none.
    pub fn add_listener(mut self, address: SocketAddr, configuration: &Value) -> Self {
        let mut other = self.clone().filter_configuration(configuration);
        other.listener_mut()["address"] = json!(address.ip());
        other.listener_mut()["port_value"] = json!(address.port());
        let mut listener = other.0["static_resources"]["listeners"][0].take();
        listener["name"] = json!(address.to_string());
        let listeners = self.0["static_resources"]["listeners"].as_array_mut();
        listeners.expect("listeners").push(listener);
        self
    }

    /// The filter's own configuration, in either of the forms that Envoy accepts.
    pub fn filter_settings(&self) -> Option<Value> {
        let mut found = None;
        self.clone().each_filter(|filter| {
            let settings = filter["config"]["configuration"]["value"].take();
            found = Some(match settings {
                Value::String(json) => serde_json::from_str(&json).unwrap_or_default(),
                object => object,
            });
        });
        found
    }

    /// Takes our filter out, for controls: what does Envoy do without it?
    pub fn without_filter(mut self) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            if let Some(Value::Array(filters)) = object.get_mut("http_filters") {
                filters.retain(|filter| filter["typed_config"]["@type"] != WASM_FILTER);
            }
        });
        self
    }

    /// Merges `patch` into the HTTP connection manager.
    pub fn merge_connection_manager(mut self, patch: &Value) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            if object.get("@type").is_some_and(|kind| kind == CONNECTION_MANAGER) {
                merge_members(object, patch);
            }
        });
        self
    }

    /// Sets the member `name`, wherever it is.
    ///
    /// # Panics
    /// It is nowhere.
    pub fn set(mut self, name: &str, value: &Value) -> Self {
        let mut count = 0;
        for_each_object(&mut self.0, &mut |object| {
            if let Some(member) = object.get_mut(name) {
                *member = value.clone();
                count += 1;
            }
        });
        assert!(count > 0, "no {name} in the configuration");
        self
    }

    /// Runs this module in place of our filter's.
    pub fn stand_in(self, module: &Path) -> Self {
        self.each_filter(|filter| set_module(filter, module))
    }

    /// The document.
    pub fn as_value(&self) -> &Value {
        &self.0
    }

    /// Names the filter's module by its place on this machine.
    pub(super) fn find_module(self) -> Result<Self, StartError> {
        let module = paths::filter_module()?;
        Ok(self.each_filter(|filter| {
            let code = &filter["config"]["vm_config"]["code"];
            if code["local"]["filename"] == SHIPPED_MODULE {
                set_module(filter, &module);
            }
        }))
    }

    fn each_filter(mut self, mut change: impl FnMut(&mut Value)) -> Self {
        for_each_object(&mut self.0, &mut |object| {
            let typed_config = object.get_mut("typed_config");
            if let Some(filter) = typed_config.filter(|config| config["@type"] == WASM_FILTER) {
                change(filter);
            }
        });
        self
    }

    pub(super) fn listener_mut(&mut self) -> &mut Value {
        &mut self.0["static_resources"]["listeners"][0]["address"]["socket_address"]
    }

    pub(super) fn admin_mut(&mut self) -> &mut Value {
        &mut self.0["admin"]["address"]["socket_address"]
    }
}

/// Sets the module of a filter's Envoy configuration.
pub(super) fn set_module(filter: &mut Value, module: &Path) {
    filter["config"]["vm_config"]["code"] = json!({ "local": { "filename": module } });
}

/// What `MERGE` does to a protobuf message.
fn merge_members(object: &mut Map<String, Value>, patch: &Value) {
    for (name, value) in patch.as_object().into_iter().flatten() {
        match (object.get_mut(name), value) {
            (Some(Value::Object(members)), Value::Object(_)) => merge_members(members, value),
            (Some(Value::Array(items)), Value::Array(more)) => items.extend(more.clone()),
            _ => drop(object.insert(name.clone(), value.clone())),
        }
    }
}

/// Visits every object in `value`, outermost first.
fn for_each_object(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|member| for_each_object(member, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| for_each_object(item, visit)),
        _ => {}
    }
}
