//! Is the filter switched off, for all requests or for some?

use super::super::find::{Filter, Home, Patch, World};
use super::super::place::Place;
use super::super::report::Finding;

const CHECK: &str = "chain";

/// By what a route switches filters on and off.
const FILTER_CONFIG: &str = "/envoy.config.route.v3.FilterConfig";

/// As in istio/edge/gateway.yaml.
const ON: &str = "\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, \
                  config: { \"@type\": type.googleapis.com/google.protobuf.Empty, value: {} }, \
                  is_optional: true";

/// It must not be switched off, unless it is switched on again where it is needed.
pub(super) fn switch(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    match &filter.home {
        Home::Chain { manager, .. } => in_chain(filter, manager),
        Home::Patch(_) => {
            let patches = world.sites(filter).into_iter().filter_map(|site| site.patch);
            patches.flat_map(|own| in_mesh(filter, &own, world)).collect()
        }
        Home::Plugin(_) | Home::Alone => Vec::new(),
    }
}

fn in_chain(filter: &Filter<'_>, manager: &Place<'_>) -> Vec<Finding> {
    let exceptions = exceptions(&filter.name, manager);
    let remedy = "disabled: false, or without it";
    let for_all = switched_off(&filter.place).map(|flag| match exceptions.is_empty() {
        true => Finding::bad(CHECK, flag.spot, "disabled is true: nothing is limited", remedy),
        false => {
            let found =
                "disabled is true: limited is only what typed_per_filter_config switches it on for";
            Finding::doubtful(CHECK, flag.spot, found, remedy)
        }
    });
    let for_some = exceptions.iter().filter_map(switched_off).map(off_for_some);
    for_all.into_iter().chain(for_some).collect()
}

/// Where `own` puts it, other patches may switch it on or off for routes.
fn in_mesh<'t>(filter: &Filter<'t>, own: &Patch<'t>, world: &World<'t>) -> Vec<Finding> {
    let patches = world.of_routes(own).into_iter();
    let says: Vec<Says> = patches.flat_map(|patch| says(&filter.name, patch)).collect();
    let on = |says: &Says| match says {
        Says::On(routes) => Some(routes.clone()),
        Says::Otherwise(_) | Says::Wrong(_) => None,
    };
    let on: Vec<String> = says.iter().filter_map(on).collect();
    // That what should switch it on is wrong is told there.
    let is_told = says.iter().any(|says| matches!(says, Says::Wrong(_)));
    let flag = own.value("disabled").filter(|flag| flag.flag() == Some(true));
    let flag = flag.filter(|_| !on.is_empty() || !is_told);
    let for_all = flag.map(|flag| off_but_for(flag, &on));
    let others = says.into_iter().filter_map(|says| match says {
        Says::On(_) => None,
        Says::Otherwise(finding) | Says::Wrong(finding) => Some(finding),
    });
    for_all.into_iter().chain(others).collect()
}

/// The names of the routes that patches switch it on for, where they say one.
pub(super) fn on_by_name<'t>(filter: &Filter<'t>, world: &World<'t>) -> Vec<Place<'t>> {
    let sites = world.sites(filter).into_iter().filter_map(|site| site.patch);
    let own: Vec<_> = sites.collect();
    let patches = own.iter().flat_map(|own| world.of_routes(own));
    let is_on = |patch: &&Patch<'_>| {
        says(&filter.name, patch).iter().any(|says| matches!(says, Says::On(_)))
    };
    let name = |patch: &Patch<'t>| patch.place.at("match.route_configuration.vhost.route.name");
    patches.filter(is_on).filter_map(name).collect()
}

fn off_but_for(flag: Place<'_>, on: &[String]) -> Finding {
    if on.is_empty() {
        let found = "disabled is true, and no patch for a route switches it on: nothing is limited";
        let remedy = "an HTTP_ROUTE patch (operation MERGE) for the same context, as in \
                      istio/edge/gateway.yaml; or disabled: false";
        return Finding::bad(CHECK, flag.spot, found, remedy);
    }
    let routes = on.join("; ");
    let found =
        format!("disabled is true: limited is only what patches switch it on for: {routes}");
    Finding::good(CHECK, flag.spot, found)
}

/// What a patch says of the filter.
enum Says {
    /// It is on, for these routes.
    On(String),
    /// It is off.
    Otherwise(Finding),
    /// Neither Istio nor Envoy takes it.
    Wrong(Finding),
}

fn says(name: &str, patch: &Patch<'_>) -> Vec<Says> {
    let value = patch.value("");
    let configs = value.iter().flat_map(|value| exceptions(name, value));
    let says = |config: Place<'_>| match (refused(&config), switched_off(&config)) {
        (Some(finding), _) => Says::Wrong(finding),
        (None, Some(flag)) => Says::Otherwise(off_for_some(flag)),
        (None, None) => Says::On(format!("{} ({})", routes(patch), patch.line())),
    };
    configs.map(says).collect()
}

/// What Istio or Envoy does not take. Where Envoy alone would take `config: {}`, Istio reads a message of any
/// type, which must say what type it is.
fn refused(config: &Place<'_>) -> Option<Finding> {
    let bad = |path: &str, found: &str, remedy: &str| {
        Some(Finding::bad(CHECK, config.spot_of(path), found, remedy))
    };
    let untyped = "without an @type: Istio refuses the whole EnvoyFilter";
    let Some(kind) = config.text_at("@type") else { return bad("@type", untyped, ON) };
    if !kind.ends_with(FILTER_CONFIG) {
        let found =
            "Envoy refuses the route: it can switch the filter on or off, and not configure it";
        return bad("@type", found, ON);
    }
    let is_off = switched_off(config).is_some();
    match config.at("config") {
        Some(any) if any.text_at("@type").is_none() => bad("config", untyped, ON),
        None if !is_off => bad("config", "not there: Envoy refuses the route", ON),
        _ if !is_off && config.at("is_optional").and_then(|flag| flag.flag()) != Some(true) => {
            let found = "is_optional is not true: Envoy refuses the route, since the filter has no \
                         configuration of a route's own";
            bad("is_optional", found, "is_optional: true")
        }
        _ => None,
    }
}

/// The routes that a patch is for.
fn routes(patch: &Patch<'_>) -> String {
    let named = |kind: &str, path: &str| {
        let name = patch.place.text_at(&format!("match.route_configuration.{path}"));
        name.map_or_else(|| format!("every {kind}"), |name| format!("the {kind} {name}"))
    };
    let host = named("virtual host", "vhost.name");
    let routes = match () {
        () if patch.applies_to("HTTP_ROUTE") => {
            format!("{} of {host}", named("route", "vhost.route.name"))
        }
        () if patch.applies_to("VIRTUAL_HOST") => host,
        () => named("route configuration", "name"),
    };
    format!("{routes}, {}", patch.context())
}

fn switched_off<'t>(place: &Place<'t>) -> Option<Place<'t>> {
    place.at("disabled").filter(|flag| flag.flag() == Some(true))
}

fn off_for_some(flag: Place<'_>) -> Finding {
    let found = "disabled is true: what this is for passes unlimited";
    let remedy = "typed_per_filter_config without this filter, unless that is meant";
    Finding::doubtful(CHECK, flag.spot, found, remedy)
}

/// What routes and virtual hosts say of the filter by its name.
fn exceptions<'t>(name: &str, place: &Place<'t>) -> Vec<Place<'t>> {
    let mut found = Vec::new();
    place.walk(&mut |way| {
        let all = way.last().and_then(|place| place.at("typed_per_filter_config"));
        let members = all.iter().flat_map(Place::members);
        found.extend(members.filter(|(key, _)| *key == name).map(|(_, place)| place));
    });
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, check, findings};
    use super::*;

    const DISCOVERY: &str = "          config_discovery:";

    /// [`ISTIO`], in which the filter is off, but for what a patch of another EnvoyFilter says.
    fn off_but_for(kind: &str, matched: &str, config: &str) -> String {
        let off = ISTIO.replace(DISCOVERY, &format!("          disabled: true\n{DISCOVERY}"));
        let patch = format!(
            "kind: EnvoyFilter\nmetadata: {{ namespace: cartgate }}\nspec:\n  configPatches:\n  \
             - applyTo: {kind}\n    match: {{ context: SIDECAR_INBOUND, {matched} }}\n    \
             patch: {{ operation: MERGE, value: {{ typed_per_filter_config: {{ cartgate: {config} }} }} }}"
        );
        format!("{patch}\n---\n{off}")
    }

    /// The same, for a route.
    fn off_but_for_a_route(config: &str) -> String {
        let matched = "routeConfiguration: { vhost: { name: shop, route: { name: cart } } }";
        off_but_for("HTTP_ROUTE", matched, config)
    }

    #[test]
    fn it_is_not_switched_off() {
        assert!(findings(switch, ENVOY, ("", "")).is_empty());
        assert!(findings(switch, ISTIO, ("", "")).is_empty());
        let off = ("- name: cartgate", "- disabled: true\n                    name: cartgate");
        check(switch, ENVOY, off, Level::Bad, "nothing is limited");
        let route = |disabled: bool| {
            format!(
                "domains: [\"*\"]\n                      typed_per_filter_config: \
                 {{ cartgate: {{ disabled: {disabled} }} }}"
            )
        };
        let some_off = ("domains: [\"*\"]", &*route(true));
        check(switch, ENVOY, some_off, Level::Doubtful, "passes unlimited");
        let only_some = ENVOY.replace("domains: [\"*\"]", &route(false));
        assert!(findings(switch, &only_some, ("", "")).is_empty());
        check(switch, &only_some, off, Level::Doubtful, "switches it on for");
        let patch = (DISCOVERY, &*format!("          disabled: true\n{DISCOVERY}"));
        check(switch, ISTIO, patch, Level::Bad, "nothing is limited");
    }

    #[test]
    fn in_a_mesh_it_may_be_on_for_some_routes() {
        let on = format!("{{ {ON} }}");
        let yaml = off_but_for_a_route(&on);
        let found = "on for: the route cart of the virtual host shop, SIDECAR_INBOUND (f.yaml:5)";
        check(switch, &yaml, ("", ""), Level::Good, found);
        check(switch, &yaml, ("SIDECAR_INBOUND", "ANY"), Level::Good, "cart of");
        let host = "routeConfiguration: { vhost: { name: shop } }";
        let yaml = |kind| off_but_for(kind, host, &on);
        check(switch, &yaml("VIRTUAL_HOST"), ("", ""), Level::Good, "for: the virtual host shop,");
        check(switch, &yaml("HTTP_ROUTE"), ("", ""), Level::Good, "for: every route of the");
        let all = "for: every route configuration,";
        check(switch, &yaml("ROUTE_CONFIGURATION"), ("", ""), Level::Good, all);
    }

    #[test]
    fn what_is_for_others_does_not_switch_it_on() {
        let yaml = off_but_for_a_route(&format!("{{ {ON} }}"));
        for change in [
            ("SIDECAR_INBOUND", "GATEWAY"),
            ("namespace: cartgate", "namespace: shop"),
            ("MERGE", "REMOVE"),
            ("HTTP_ROUTE", "CLUSTER"),
            ("{ cartgate: ", "{ other: "),
        ] {
            check(switch, &yaml, change, Level::Bad, "no patch for a route switches it on");
        }
    }

    #[test]
    fn a_patch_can_switch_it_off_for_some_routes() {
        let on = ON.split_once(", ").unwrap().0;
        let yaml = off_but_for_a_route(&format!("{{ {on}, disabled: true }}"));
        check(switch, &yaml, ("", ""), Level::Bad, "nothing is limited");
        let on = yaml.replace("          disabled: true\n", "");
        check(switch, &on, ("", ""), Level::Doubtful, "passes unlimited");
    }

    #[test]
    fn what_istio_or_envoy_refuses_does_not_switch_it_on() {
        let yaml = off_but_for_a_route(&format!("{{ {ON} }}"));
        let check = |from: &str, to: &str, part: &str| {
            check(switch, &yaml, (from, to), Level::Bad, part);
            // One word is enough: not that nothing is limited, too.
            assert_eq!(findings(switch, &yaml, (from, to)).len(), 1);
        };
        let empty = "{ \"@type\": type.googleapis.com/google.protobuf.Empty, value: {} }";
        check(empty, "{}", "Istio refuses the whole EnvoyFilter");
        check(empty, "{}", empty);
        check(empty, "~", "not there: Envoy refuses the route");
        check("is_optional: true", "is_optional: false", "is_optional: true");
        check(", is_optional: true", "", "is_optional: true");
        let kind = "\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, ";
        check(kind, "", "Istio refuses the whole EnvoyFilter");
        check("envoy.config.route.v3.FilterConfig", "google.protobuf.Empty", "not configure it");
    }
}
