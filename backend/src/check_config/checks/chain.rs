//! Does a request meet the filter at all, before it is sent on?

use std::ptr;

use super::super::find::{Filter, Home, Patch, World};
use super::super::place::Place;
use super::super::report::{Finding, Level};

const CHECK: &str = "chain";
const ROUTER: &str = "envoy.filters.http.router";
const ROUTER_TYPE: &str = "envoy.extensions.filters.http.router.v3.Router";
const SUB_FILTER: &str = "match.listener.filter_chain.filter.sub_filter.name";
/// As in istio/edge/gateway.yaml.
const INSERT: &str =
    "operation: INSERT_BEFORE, and subFilter envoy.filters.http.router in its match";

/// It must come before the router.
pub(super) fn place(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    match &filter.home {
        Home::Chain { manager, .. } => vec![in_chain(filter, manager)],
        Home::Patch(own) => in_mesh(filter, own, &world.inserts(filter)),
        Home::Plugin(kind) => {
            let found = format!("Istio puts what a {kind} has before the router");
            vec![Finding::good(CHECK, filter.plugin.spot.clone(), found)]
        }
        Home::Alone => {
            let found = "in no chain that can be seen from here";
            let remedy = "name the file with the listener, too; its http_filters have to name this \
                          filter before the router";
            vec![Finding::doubtful(CHECK, filter.place.spot.clone(), found, remedy)]
        }
    }
}

fn in_chain(filter: &Filter<'_>, manager: &Place<'_>) -> Finding {
    let spot = filter.place.spot.clone();
    let filters = manager.items_at("http_filters");
    let own = filters.iter().position(|f| ptr::eq(f.node, filter.place.node));
    let router = filters.iter().position(is_router);
    let remedy = "http_filters with this filter before envoy.filters.http.router, which comes last";
    match (own, router) {
        (Some(own), Some(router)) if own < router => {
            Finding::good(CHECK, spot, "before the router")
        }
        (_, Some(_)) => {
            let found =
                "behind envoy.filters.http.router, where no request comes: nothing is limited";
            Finding::bad(CHECK, spot, found, remedy)
        }
        (_, None) => Finding::doubtful(CHECK, spot, "in a chain without a router", remedy),
    }
}

fn is_router(filter: &Place<'_>) -> bool {
    let kind = filter.at("typed_config").and_then(|any| any.typed()).map(|(kind, _)| kind);
    kind == Some(ROUTER_TYPE) || filter.text_at("name") == Some(ROUTER)
}

/// Of an extension that a patch adds, other patches must make a filter. Istio finds it by its name alone, in
/// whatever order and context the patches are.
fn in_mesh(filter: &Filter<'_>, own: &Patch<'_>, inserts: &[Patch<'_>]) -> Vec<Finding> {
    let is_unknown = own.extension().is_some() && own.operation() != "ADD";
    if is_unknown {
        let found = format!(
            "{}: Istio looks for extensions only where one is added, and never sends this one",
            own.operation()
        );
        let spot = own.place.spot_of("patch.operation");
        return vec![Finding::bad(CHECK, spot, found, "operation: ADD")];
    }
    if inserts.is_empty() {
        let name = &filter.name;
        let found =
            format!("no HTTP_FILTER patch names {name}: it is in no chain, nothing is limited");
        let remedy = "an HTTP_FILTER patch as in istio/edge/gateway.yaml, sidecar-inbound.yaml or \
                      sidecar-outbound.yaml; if there is one, name its file, too";
        return vec![Finding::bad(CHECK, own.place.spot.clone(), found, remedy)];
    }
    let at = |patch| [Some(inserted(patch)), unreached(own, patch)];
    inserts.iter().flat_map(at).flatten().collect()
}

/// A proxy gets the filter only if the EnvoyFilter that has it is for this proxy, too.
fn unreached(own: &Patch<'_>, patch: &Patch<'_>) -> Option<Finding> {
    if own.reaches(patch) {
        return None;
    }
    let found = format!(
        "the HTTP_FILTER patch in {} names it for proxies that this EnvoyFilter may not be for: they \
         would wait for the filter in vain",
        patch.line()
    );
    let remedy = "this EnvoyFilter in the mesh's root namespace without a workloadSelector, as in \
                  istio/edge/filter.yaml; or namespace and workloadSelector of that one";
    Some(Finding::doubtful(CHECK, own.document.spot_of("metadata.namespace"), found, remedy))
}

/// Where a patch puts it.
fn inserted(patch: &Patch<'_>) -> Finding {
    let spot = patch.place.spot_of("patch.operation");
    let sub_filter = patch.place.text_at(SUB_FILTER);
    let operation = patch.operation();
    let (level, found) = match (operation, sub_filter) {
        ("INSERT_BEFORE", Some(ROUTER)) => (Level::Good, "right before the router".to_owned()),
        ("INSERT_BEFORE" | "INSERT_FIRST", _) => {
            (Level::Good, format!("{operation}: before the router"))
        }
        ("REPLACE", Some(ROUTER)) => {
            (Level::Bad, "instead of the router, without which no request is sent on".to_owned())
        }
        ("INSERT_AFTER", Some(name)) if name != ROUTER => (Level::Good, format!("behind {name}")),
        ("REPLACE", Some(name)) => (Level::Good, format!("instead of {name}")),
        ("ADD" | "INSERT_AFTER", _) => {
            (Level::Bad, format!("{operation} puts it behind the router, where no request comes"))
        }
        _ => (Level::Bad, format!("{operation} puts it into no chain: nothing is limited")),
    };
    match level {
        Level::Good => Finding::good(CHECK, spot, found),
        _ => Finding::bad(CHECK, spot, found, INSERT),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ENVOY, ISTIO, PLUGIN, check, findings};
    use super::*;

    #[test]
    fn it_comes_before_the_router() {
        check(place, ENVOY, ("", ""), Level::Good, "before the router");
        let router = "http_filters:\n                  - name: envoy.filters.http.router";
        check(place, ENVOY, ("http_filters:", router), Level::Bad, "nothing is limited");
        let none = ENVOY.replace("name: envoy.filters.http.router", "name: other");
        check(
            place,
            &none,
            ("router.v3.Router", "other.v3.Other"),
            Level::Doubtful,
            "without a router",
        );
        check(place, PLUGIN, ("", ""), Level::Good, "WasmPlugin");
    }

    #[test]
    fn an_extension_by_itself_is_in_doubt() {
        let extension = "resources:\n  - name: cartgate\n    typed_config:\n      '@type': \
                         x/envoy.extensions.filters.http.wasm.v3.Wasm\n      config: {}\n";
        check(place, extension, ("", ""), Level::Doubtful, "name the file with the listener");
    }

    #[test]
    fn an_envoyfilter_must_name_what_it_adds() {
        check(place, ISTIO, ("", ""), Level::Good, "right before the router");
        check(place, ISTIO, ("HTTP_FILTER", "OTHER"), Level::Bad, "in no chain");
        let name = "          name: cartgate\n          config_d";
        let other = name.replace("cartgate", "x");
        check(place, ISTIO, (name, &other), Level::Bad, "no HTTP_FILTER patch names cartgate");
        let added = "operation: ADD";
        for operation in ["MERGE", "INSERT_FIRST"] {
            let other = format!("operation: {operation}");
            check(place, ISTIO, (added, &other), Level::Bad, "never sends this one");
        }
    }

    /// Istio finds it by its name, in whatever EnvoyFilter, order and context it is.
    #[test]
    fn an_envoyfilter_may_name_what_another_adds_before_or_behind_it() {
        let (filter, edge) = ISTIO.split_once("---\n").unwrap();
        let last = format!("{edge}---\n{filter}");
        let (head, patches) = edge.split_once("  configPatches:\n").unwrap();
        let together = format!("{filter}{patches}");
        let extension = filter.split_once("  configPatches:\n").unwrap().1;
        let behind = format!("{head}  configPatches:\n{patches}{extension}");
        for yaml in [&last, &together, &behind] {
            for context in ["ANY", "GATEWAY"] {
                let patch = format!("EXTENSION_CONFIG\n      match: {{ context: {context} }}");
                let found = findings(place, yaml, ("EXTENSION_CONFIG", &patch));
                let levels: Vec<Level> = found.iter().map(|found| found.level).collect();
                assert_eq!(levels, [Level::Good], "{found:?}");
            }
        }
    }

    #[test]
    fn each_patch_that_names_it_is_examined() {
        let edge = ISTIO.split_once("---\n").unwrap().1;
        let second = edge.replace("INSERT_BEFORE", "INSERT_AFTER");
        let found = findings(place, &format!("{ISTIO}---\n{second}"), ("", ""));
        let levels: Vec<Level> = found.iter().map(|found| found.level).collect();
        assert_eq!(levels, [Level::Good, Level::Bad]);
    }

    #[test]
    fn an_envoyfilter_should_reach_where_its_filter_is_named() {
        let own = ("namespace: istio-system", "namespace: shop");
        check(place, ISTIO, own, Level::Doubtful, "in f.yaml:40 names it for proxies");
        let all = ISTIO.replace("namespace: cartgate", "namespace: shop");
        check(place, &all, own, Level::Good, "");
    }

    #[test]
    fn an_envoyfilter_must_put_it_before_the_router() {
        let check = |operation: &str, level, part: &str| {
            check(place, ISTIO, ("INSERT_BEFORE", operation), level, part);
        };
        check("INSERT_FIRST", Level::Good, "before");
        check("ADD", Level::Bad, "behind the router");
        check("INSERT_AFTER", Level::Bad, "behind the router");
        check("MERGE", Level::Bad, "into no chain");
        check("REPLACE", Level::Bad, "instead of the router");
        let after = ISTIO.replace("INSERT_BEFORE", "INSERT_AFTER");
        let jwt = ("name: envoy.filters.http.router", "name: envoy.filters.http.jwt_authn");
        super::super::testing::check(place, &after, jwt, Level::Good, "jwt_authn");
    }
}
