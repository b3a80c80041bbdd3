//! Finding our filter, and what is around it that the checks have to see together with it.

mod patch;
mod site;

use std::path::Path;
use std::ptr;
use std::rc::Rc;

use super::configuration::{self, Configuration};
use super::place::{Lines, Place, Spot};
use super::tree::Node;

pub(super) use patch::Patch;
pub(super) use site::Site;

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

/// What makes us think that something is ours.
const OURS: &str = "cartgate";

/// A document of a file.
#[derive(Debug)]
pub(super) struct Document {
    /// The file, as it was named.
    pub(super) file: Rc<str>,
    pub(super) node: Rc<Node>,
}

impl Document {
    fn place(&self) -> Place<'_> {
        let spot = Spot { file: Rc::clone(&self.file), line: self.node.line, field: String::new() };
        Place::root(&self.node, spot, Lines::From(1))
    }
}

/// Our filter, wherever it is.
#[derive(Debug)]
pub(super) struct Filter<'t> {
    pub(super) name: String,
    /// The number of the document that it is in.
    document: usize,
    /// All of it: an HTTP filter, or a document of Istio's.
    pub(super) place: Place<'t>,
    /// What Envoy calls a `PluginConfig`, and Istio a `spec` or `wasm`.
    pub(super) plugin: Place<'t>,
    pub(super) configuration: Configuration,
    pub(super) home: Home<'t>,
}

/// Where a filter is.
#[derive(Debug)]
pub(super) enum Home<'t> {
    /// In the chain of a connection manager.
    Chain { manager: Place<'t>, listener: Option<Place<'t>> },
    /// In an EnvoyFilter, in this patch.
    Patch(Patch<'t>),
    /// A WasmPlugin or a TrafficExtension, by its kind.
    Plugin(&'t str),
    /// By itself: a chain may name it.
    Alone,
}

/// All that is around the filters, in all files.
#[derive(Debug)]
pub(super) struct World<'t> {
    /// The patches of all EnvoyFilters, in order.
    patches: Vec<Patch<'t>>,
    /// Istio's VirtualServices.
    pub(super) virtual_services: Vec<Place<'t>>,
    /// By document.
    clusters: Vec<Clusters>,
    /// Whether a file of this machine can be read.
    pub(super) is_readable: fn(&Path) -> bool,
}

/// Envoy's clusters.
#[derive(Clone, Debug, Default)]
pub(super) struct Clusters {
    /// Those that can be seen.
    pub(super) names: Vec<String>,
    /// Whether there is a list of them.
    pub(super) are_listed: bool,
    /// Whether there may be more.
    pub(super) are_dynamic: bool,
}

impl<'t> World<'t> {
    /// The clusters that a filter can name: those of its own file, if these are all of Envoy's.
    pub(super) fn clusters(&self, filter: &Filter<'_>) -> Clusters {
        match self.clusters.get(filter.document) {
            Some(own) if !own.names.is_empty() && !own.are_dynamic => own.clone(),
            _ => Clusters {
                names: self.clusters.iter().flat_map(|clusters| clusters.names.clone()).collect(),
                are_listed: self.clusters.iter().any(|clusters| clusters.are_listed),
                are_dynamic: self.clusters.iter().any(|clusters| clusters.are_dynamic),
            },
        }
    }

    /// A patch that has proxies ask for a filter of our name, which no file has.
    pub(super) fn asks_in_vain(&self) -> Option<(&Patch<'t>, &'t str)> {
        let is_here = |name| self.patches.iter().any(|patch| patch.extension() == Some(name));
        let mut asked = self.patches.iter().filter_map(|patch| Some((patch, patch.asks_for()?)));
        asked.find(|(_, name)| names_us(name) && !is_here(*name))
    }
}

impl<'t> Filter<'t> {
    /// What its configuration says, if the filter starts with it.
    pub(super) fn settings(&self) -> Option<&configuration::Settings> {
        match &self.configuration {
            Configuration::Read(settings) => Some(settings),
            _ => None,
        }
    }

    /// Where it is, in words.
    pub(super) fn is(&self) -> String {
        match &self.home {
            Home::Chain { listener, .. } => {
                let name = listener.as_ref().and_then(|listener| listener.text_at("name"));
                format!("in a chain of the listener {}", name.unwrap_or("without a name"))
            }
            Home::Patch(patch) => {
                let name = patch.document.text_at("metadata.name");
                format!("in the EnvoyFilter {}", name.unwrap_or("without a name"))
            }
            Home::Plugin(kind) => format!("a {kind}"),
            Home::Alone => "by itself".to_owned(),
        }
    }
}

/// Looks through all documents.
pub(super) fn all<'t>(
    documents: &'t [Document],
    is_readable: fn(&Path) -> bool,
) -> (Vec<Filter<'t>>, World<'t>) {
    let places: Vec<Place<'t>> = documents.iter().flat_map(resources).collect();
    let patches = places.iter().flat_map(patches).collect();
    let is_route = |place: &&Place<'_>| kind(place) == "VirtualService";
    let virtual_services = places.iter().filter(is_route).cloned().collect();
    let clusters = places.iter().map(clusters).collect();
    let world = World { patches, virtual_services, clusters, is_readable };
    let filters = places.iter().enumerate().flat_map(|(n, document)| match kind(document) {
        "WasmPlugin" => plugin(n, document, "spec").into_iter().collect(),
        "TrafficExtension" => plugin(n, document, "spec.wasm").into_iter().collect(),
        _ => in_chains(n, document),
    });
    (filters.collect(), world)
}

/// The document; of a list of Kubernetes's, its items.
fn resources(document: &Document) -> Vec<Place<'_>> {
    let place = document.place();
    if kind(&place) == "List" { place.items_at("items") } else { vec![place] }
}

fn kind<'t>(document: &Place<'t>) -> &'t str {
    document.text_at("kind").unwrap_or_default()
}

fn patches<'t>(document: &Place<'t>) -> Vec<Patch<'t>> {
    if kind(document) != "EnvoyFilter" {
        return Vec::new();
    }
    let patches = document.items_at("spec.config_patches").into_iter();
    patches.map(|place| Patch { place, document: document.clone() }).collect()
}

/// Clusters of a bootstrap, or of a file that Envoy reads clusters from.
fn clusters(document: &Place<'_>) -> Clusters {
    let is_cluster = |any: &Place<'_>| any.typed().is_some_and(|(kind, _)| kind == CLUSTER);
    let mut all = document.items_at("resources");
    all.retain(is_cluster);
    let are_listed = !all.is_empty() || document.at("static_resources").is_some();
    all.extend(document.items_at("static_resources.clusters"));
    Clusters {
        names: all.iter().filter_map(|c| c.text_at("name").map(str::to_owned)).collect(),
        are_listed,
        are_dynamic: document.at("dynamic_resources.cds_config").is_some(),
    }
}

/// Our filters in what Envoy reads, or in an EnvoyFilter.
fn in_chains<'t>(n: usize, document: &Place<'t>) -> Vec<Filter<'t>> {
    let mut filters = Vec::new();
    document.walk(&mut |way| filters.extend(in_chain(n, document, way)));
    filters
}

fn in_chain<'t>(n: usize, document: &Place<'t>, way: &[Place<'t>]) -> Option<Filter<'t>> {
    let (place, above) = way.split_last()?;
    let (kind, wasm) = place.at("typed_config")?.typed()?;
    let plugin = wasm.at("config").filter(|_| kind == WASM)?;
    let name = place.text_at("name").unwrap_or_default();
    is_ours(name, &plugin).then(|| Filter {
        name: name.to_owned(),
        document: n,
        place: place.clone(),
        configuration: configuration::of_plugin(&plugin),
        plugin,
        home: home(document, above),
    })
}

fn home<'t>(document: &Place<'t>, above: &[Place<'t>]) -> Home<'t> {
    let is_manager = |place: &&Place<'t>| place.typed().is_some_and(|(kind, _)| kind == MANAGER);
    let is_listener = |place: &&Place<'t>| {
        place.at("filter_chains").is_some() || place.at("default_filter_chain").is_some()
    };
    if let Some(manager) = above.iter().rev().find(is_manager) {
        let manager = manager.typed().map_or_else(|| manager.clone(), |(_, manager)| manager);
        return Home::Chain { manager, listener: above.iter().rev().find(is_listener).cloned() };
    }
    let mut patches = patches(document).into_iter();
    let patch =
        patches.find(|patch| above.iter().any(|place| ptr::eq(place.node, patch.place.node)));
    patch.map_or(Home::Alone, Home::Patch)
}

fn is_ours(name: &str, plugin: &Place<'_>) -> bool {
    let names = [
        "name",
        "root_id",
        "vm_config.vm_id",
        "vm_config.code.local.filename",
        "vm_config.code.remote.http_uri.uri",
    ];
    let configuration = plugin.at("configuration.value");
    names_us(name)
        || names.iter().any(|name| plugin.text_at(name).is_some_and(names_us))
        || configuration.is_some_and(|value| configuration::looks_like_ours(&value))
}

fn names_us(text: &str) -> bool {
    text.to_ascii_lowercase().contains(OURS)
}

/// Our filter in a WasmPlugin or a TrafficExtension.
fn plugin<'t>(n: usize, document: &Place<'t>, at: &str) -> Option<Filter<'t>> {
    let plugin = document.at(at)?;
    let name = document.text_at("metadata.name").unwrap_or_default();
    let texts = [Some(name), plugin.text_at("url"), plugin.text_at("plugin_name")];
    let structure = plugin.at("plugin_config");
    let is_ours = texts.into_iter().flatten().any(names_us)
        || structure.as_ref().is_some_and(configuration::looks_like_ours);
    is_ours.then(|| Filter {
        name: name.to_owned(),
        document: n,
        place: document.clone(),
        configuration: match structure {
            Some(structure) => configuration::of_structure(&structure),
            None => Configuration::Absent(plugin.spot_of("plugin_config")),
        },
        plugin,
        home: Home::Plugin(kind(document)),
    })
}

#[cfg(test)]
mod tests;
