//! Does Envoy take what a mesh sends it as the filter?

use super::super::find::{Filter, Patch, World};
use super::super::report::Finding;

const CHECK: &str = "types";

const PREFIX: &str = "type.googleapis.com/";
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
/// What the proxy's agent sends instead of a module that it cannot fetch.
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

/// A patch that has the proxy ask for the filter must list the types of all that may come.
pub(super) fn types(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let patches = world.sites(filter).into_iter().filter_map(|site| site.patch);
    patches.filter_map(|patch| listed(filter, &patch)).collect()
}

fn listed(filter: &Filter<'_>, patch: &Patch<'_>) -> Option<Finding> {
    let discovery = patch.value("config_discovery")?;
    let spot = discovery.spot_of("type_urls");
    let urls = discovery.items_at("type_urls");
    let is_listed = |kind: &str| {
        let kind_of = |url: &str| url.rsplit('/').next() == Some(kind);
        urls.iter().any(|url| url.text().is_some_and(kind_of))
    };
    let is_remote = filter.plugin.at("vm_config.code.remote").is_some();
    Some(match (is_listed(WASM), is_listed(RBAC)) {
        (false, _) => {
            let found = format!("type_urls lack {WASM}: Envoy refuses the filter");
            Finding::bad(CHECK, spot, found, format!("type_urls with {PREFIX}{WASM}"))
        }
        (true, false) if is_remote => {
            let found = format!(
                "type_urls lack {RBAC}, which the proxy's agent sends while it cannot fetch the \
                 module: Envoy refuses it, and answers 500 to everything that the filter is on for"
            );
            let remedy =
                format!("type_urls with {PREFIX}{RBAC}, too, as in istio/edge/gateway.yaml");
            Finding::doubtful(CHECK, spot, found, remedy)
        }
        (true, false) => Finding::good(CHECK, spot, "type_urls list what is sent: the filter"),
        (true, true) => {
            let found = "type_urls list what is sent: the filter, or what the proxy's agent has for \
                         a module that it cannot fetch";
            Finding::good(CHECK, spot, found)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, PLUGIN, check, findings};
    use super::*;

    #[test]
    fn what_is_sent_is_listed() {
        check(types, ISTIO, ("", ""), Level::Good, "the filter");
        let urls = format!("type_urls: [{PREFIX}{WASM}]");
        check(types, ISTIO, (&urls, ""), Level::Bad, "type_urls with");
        check(types, ISTIO, (&urls, &urls.replace(WASM, RBAC)), Level::Bad, "refuses the filter");
        for yaml in [ENVOY, PLUGIN] {
            assert!(findings(types, yaml, ("", "")).is_empty());
        }
    }

    #[test]
    fn so_is_what_stands_for_a_module_that_cannot_be_fetched() {
        let local = "local: { filename: /lib/cartgate_filter.wasm }";
        let remote = "remote: { http_uri: { uri: 'oci://registry.example/cartgate' } }";
        let yaml = ISTIO.replace(local, remote);
        assert_ne!(yaml, ISTIO);
        check(types, &yaml, ("", ""), Level::Doubtful, "http.rbac.v3.RBAC, too");
        let url = format!("{PREFIX}{WASM}]");
        let both = format!("{PREFIX}{WASM}, {PREFIX}{RBAC}]");
        check(types, &yaml, (&url, &both), Level::Good, "cannot fetch");
    }
}
