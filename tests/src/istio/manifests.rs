//! Manifests: those of `istio/`, and what a test changes in them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use crate::paths;
use crate::process::StartError;

/// One resource.
#[derive(Clone, Debug)]
pub struct Manifest(Value);

/// What istiod is given.
#[derive(Clone, Debug, Default)]
pub struct Manifests(Vec<Manifest>);

impl Manifest {
    /// Any resource.
    pub fn new(resource: Value) -> Self {
        Self(resource)
    }

    /// The value at `pointer` (RFC 6901), to change.
    ///
    /// # Panics
    /// There is none.
    pub fn at(&mut self, pointer: &str) -> &mut Value {
        self.0.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"))
    }

    /// What Envoy is told of the filter in `filter.yaml`, to change: its module, its failure policy.
    ///
    /// # Panics
    /// It is another manifest.
    pub fn plugin(&mut self) -> &mut Value {
        self.at(PLUGIN)
    }

    /// The filter's own configuration in `filter.yaml`.
    ///
    /// # Panics
    /// It has none.
    pub fn settings(&self) -> Value {
        let json = self.0.pointer(SETTINGS).and_then(Value::as_str);
        serde_json::from_str(json.expect("a configuration")).expect("JSON")
    }

    fn file_name(&self) -> String {
        let text = |pointer| self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        format!("{}.{}.{}.yaml", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
    }

    /// Writes it to a file of its own in `dir`, in place of the one before. It is moved there whole.
    pub(super) fn write(&self, dir: &Path) -> std::io::Result<()> {
        let file = dir.join(self.file_name());
        let new = file.with_extension("new");
        fs::write(&new, self.0.to_string())?;
        fs::rename(new, file)
    }

    pub(super) fn remove(&self, dir: &Path) -> std::io::Result<()> {
        fs::remove_file(dir.join(self.file_name()))
    }
}

const PLUGIN: &str = "/spec/configPatches/0/patch/value/typed_config/config";
const SETTINGS: &str = "/spec/configPatches/0/patch/value/typed_config/config/configuration/value";

impl Manifests {
    /// The files of these names in `istio/`, as they stand.
    ///
    /// # Errors
    /// One cannot be read, or is no YAML.
    pub fn shipped(names: &[&str]) -> Result<Self, StartError> {
        Self::edited(names, |yaml| yaml)
    }

    /// The same, but for what somebody has changed in their text, such as lines that are comments.
    ///
    /// # Errors
    /// As above.
    pub fn edited(names: &[&str], edit: impl Fn(String) -> String) -> Result<Self, StartError> {
        let mut all = Vec::new();
        for name in names {
            let path = paths::repo_root().join("istio").join(name);
            let error = |reason: String| StartError::Config { path: path.clone(), reason };
            let yaml = fs::read_to_string(&path).map_err(|e| error(e.to_string()))?;
            let resources: Vec<Value> =
                serde_saphyr::from_multiple(&edit(yaml)).map_err(|e| error(e.to_string()))?;
            all.extend(resources.into_iter().map(Manifest));
        }
        Ok(Self(all))
    }

    /// And these.
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }

    /// One more.
    pub fn with(mut self, manifest: Manifest) -> Self {
        self.0.push(manifest);
        self
    }

    /// The one of this kind and name, to change.
    ///
    /// # Panics
    /// There is none.
    pub fn get(&mut self, kind: &str, name: &str) -> &mut Manifest {
        let is_it = |it: &&mut Manifest| it.0["kind"] == kind && it.0["metadata"]["name"] == name;
        self.0.iter_mut().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Puts the service and the gateway where they are here, in place of where a shop has them.
    ///
    /// # Panics
    /// One of them is not there.
    pub fn placed(mut self, service: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        *self.get("WorkloadEntry", "cartgate-1").at("/spec/address") = json!(service);
        let gateway_server = self.get("Gateway", "shop").at("/spec/servers/0");
        gateway_server["bind"] = json!(gateway);
        // Requests name the service itself, by whichever way they come.
        gateway_server["hosts"] = json!(["*"]);
        *self.get("VirtualService", "shop").at("/spec/hosts") = json!(["*"]);
        self
    }

    /// The image that proxies' agents fetch the module of `filter.yaml` from.
    ///
    /// # Panics
    /// There is no such filter.
    pub fn image(mut self, image: &str) -> Self {
        let plugin = self.get("EnvoyFilter", "cartgate-filter").plugin();
        plugin["vm_config"]["code"]["remote"]["http_uri"]["uri"] = format!("oci://{image}").into();
        self
    }

    /// Gives the filter of `filter.yaml` another configuration.
    ///
    /// # Panics
    /// There is no such filter.
    pub fn settings(mut self, settings: &Value) -> Self {
        *self.get("EnvoyFilter", "cartgate-filter").at(SETTINGS) = settings.to_string().into();
        self
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Manifest> {
        self.0.iter()
    }
}
