//! Does a request meet the filter at all, before it is sent on?

use std::ptr;

use super::super::find::{Filter, Home, Patch, World};
use super::super::place::Place;
use super::super::report::{Finding, Level};

const CHECK: &str = "chain";
const ROUTER: &str = "envoy.filters.http.router";
const ROUTER_TYPE: &str = "envoy.extensions.filters.http.router.v3.Router";
const SUB_FILTER: &str = "match.listener.filter_chain.filter.sub_filter.name";
/// As in istio/envoyfilter.yaml.
const INSERT: &str =
    "operation: INSERT_BEFORE, and subFilter envoy.filters.http.router in its match";

/// It must come before the router.
pub(super) fn place(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    vec![match &filter.home {
        Home::Chain { manager, .. } => in_chain(filter, manager),
        Home::Patch(own) if own.applies_to("HTTP_FILTER") => inserted(own),
        Home::Patch(own) => named(filter, own, world),
        Home::Plugin(kind) => {
            let found = format!("Istio puts what a {kind} has before the router");
            Finding::good(CHECK, filter.plugin.spot.clone(), found)
        }
        Home::Alone => {
            let found = "in no chain that can be seen from here";
            let remedy = "name the file with the listener, too; its http_filters have to name this \
                          filter before the router";
            Finding::doubtful(CHECK, filter.place.spot.clone(), found, remedy)
        }
    }]
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

/// Of an extension that a patch adds, another patch must make a filter.
fn named(filter: &Filter<'_>, own: &Patch<'_>, world: &World<'_>) -> Finding {
    let spot = own.place.spot.clone();
    let inserts = inserts(filter, world);
    let is_near = |patch: &&&Patch<'_>| ptr::eq(patch.document.node, own.document.node);
    let Some(patch) = inserts.iter().find(is_near).or(inserts.first()) else {
        let name = &filter.name;
        let found =
            format!("no HTTP_FILTER patch names {name}: it is in no chain, nothing is limited");
        let remedy = "the HTTP_FILTER patch of istio/envoyfilter.yaml, behind this one";
        return Finding::bad(CHECK, spot, found, remedy);
    };
    if !own.covers(patch) {
        let (ours, theirs) = (own.context(), patch.context());
        let found = format!(
            "for {ours}, while {} names it for {theirs}, where it is not known",
            the_patch(patch)
        );
        return Finding::bad(CHECK, spot, found, "one match.context for both patches");
    }
    if !is_near(&patch) {
        let found = format!(
            "{}, in another EnvoyFilter, names it: which comes first depends on priority and age",
            the_patch(patch)
        );
        let remedy = "both patches in one EnvoyFilter, this one first";
        return Finding::doubtful(CHECK, spot, found, remedy);
    }
    let first = world.patches.iter().find(|other| other.is(own) || other.is(patch));
    if first.is_some_and(|first| first.is(patch)) {
        let found = format!("behind {}, which names it before it is known", the_patch(patch));
        return Finding::bad(CHECK, spot, found, "this patch before that one");
    }
    inserted(patch)
}

fn the_patch(patch: &Patch<'_>) -> String {
    format!("the HTTP_FILTER patch in line {}", patch.place.spot.line)
}

/// The patches that put it into a chain, or try to.
fn inserts<'w, 't>(filter: &Filter<'_>, world: &'w World<'t>) -> Vec<&'w Patch<'t>> {
    let names = |patch: &&Patch<'_>| {
        let name = patch.value("name");
        patch.applies_to("HTTP_FILTER")
            && name.is_some_and(|name| name.text() == Some(filter.name.as_str()))
    };
    world.patches.iter().filter(names).collect()
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

/// It must not be switched off, for all requests or for some.
pub(super) fn disabled(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let (places, exceptions) = match &filter.home {
        Home::Chain { manager, .. } => (vec![filter.place.clone()], exceptions(filter, manager)),
        Home::Patch(_) => {
            let inserts = inserts(filter, world).into_iter();
            (inserts.filter_map(|patch| patch.place.at("patch.value")).collect(), Vec::new())
        }
        Home::Plugin(_) | Home::Alone => return Vec::new(),
    };
    let all = switched_off(&places).map(|flag| off_for_all(flag, !exceptions.is_empty()));
    all.chain(switched_off(&exceptions).map(off_for_some)).collect()
}

fn switched_off<'a, 't>(places: &'a [Place<'t>]) -> impl Iterator<Item = Place<'t>> + 'a {
    let flags = places.iter().filter_map(|place| place.at("disabled"));
    flags.filter(|flag| flag.flag() == Some(true))
}

fn off_for_all(flag: Place<'_>, has_exceptions: bool) -> Finding {
    let remedy = "disabled: false, or without it";
    if has_exceptions {
        let found =
            "disabled is true: limited is only what typed_per_filter_config switches it on for";
        return Finding::doubtful(CHECK, flag.spot, found, remedy);
    }
    Finding::bad(CHECK, flag.spot, "disabled is true: nothing is limited", remedy)
}

fn off_for_some(flag: Place<'_>) -> Finding {
    let found = "disabled is true: what this is for passes unlimited";
    let remedy = "typed_per_filter_config without this filter, unless that is meant";
    Finding::doubtful(CHECK, flag.spot, found, remedy)
}

/// What routes and virtual hosts say of the filter by its name.
fn exceptions<'t>(filter: &Filter<'_>, manager: &Place<'t>) -> Vec<Place<'t>> {
    let mut found = Vec::new();
    manager.walk(&mut |way| {
        let all = way.last().and_then(|place| place.at("typed_per_filter_config"));
        let members = all.iter().flat_map(Place::members);
        found.extend(members.filter(|(name, _)| *name == filter.name).map(|(_, place)| place));
    });
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ENVOY, ISTIO, PLUGIN, check, findings};
    use super::*;

    /// The part of [`ISTIO`] that names the filter.
    fn insert() -> String {
        let (_, behind) = ISTIO.split_once("    - applyTo: HTTP_FILTER").unwrap();
        let (patch, _) = behind.split_once("    - applyTo: NETWORK_FILTER").unwrap();
        format!("    - applyTo: HTTP_FILTER{patch}")
    }

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
        check(place, ISTIO, (&insert(), ""), Level::Bad, "in no chain");
        check(
            place,
            ISTIO,
            (
                "          name: cartgate\n          config_d",
                "          name: x\n          config_d",
            ),
            Level::Bad,
            "no HTTP_FILTER patch names cartgate",
        );
        let first = ISTIO.replace(&insert(), "");
        let first = first.replace("  configPatches:\n", &format!("  configPatches:\n{}", insert()));
        check(place, &first, ("", ""), Level::Bad, "behind the HTTP_FILTER patch in line 7");
        let apart = ISTIO.replace(
            &insert(),
            &format!("---\nkind: EnvoyFilter\nspec:\n  configPatches:\n{}", insert()),
        );
        check(place, &apart, ("", ""), Level::Doubtful, "in one EnvoyFilter");
        let other = insert().replace("SIDECAR_INBOUND", "ANY");
        check(place, ISTIO, (&insert(), &other), Level::Bad, "for SIDECAR_INBOUND, while");
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

    #[test]
    fn it_is_not_switched_off() {
        assert!(findings(disabled, ENVOY, ("", "")).is_empty());
        let off = ("- name: cartgate", "- disabled: true\n                    name: cartgate");
        check(disabled, ENVOY, off, Level::Bad, "nothing is limited");
        let route = |disabled: bool| {
            format!(
                "domains: [\"*\"]\n                      typed_per_filter_config: \
                 {{ cartgate: {{ disabled: {disabled} }} }}"
            )
        };
        check(
            disabled,
            ENVOY,
            ("domains: [\"*\"]", &route(true)),
            Level::Doubtful,
            "passes unlimited",
        );
        let only_some = ENVOY.replace("domains: [\"*\"]", &route(false));
        assert!(findings(disabled, &only_some, ("", "")).is_empty());
        check(disabled, &only_some, off, Level::Doubtful, "switches it on for");
        let patch = (
            "          config_discovery:",
            "          disabled: true\n          config_discovery:",
        );
        check(disabled, ISTIO, patch, Level::Bad, "nothing is limited");
    }
}
