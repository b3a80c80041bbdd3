//! In a mesh, do the routes that the filter is switched on for take what it limits, and nothing that looks
//! like it?

use super::super::configuration::Limited;
use super::super::find::{Filter, World};
use super::super::place::Place;
use super::super::report::Finding;
use super::disabled;

const CHECK: &str = "routes";

/// What patches switch the filter on for by name must be there, exact in its paths, and tried once.
pub(super) fn names(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let named = disabled::on_by_name(filter, world);
    if named.is_empty() {
        return Vec::new();
    }
    let routes = world.virtual_services.iter().flat_map(|service| service.items_at("spec.http"));
    let routes: Vec<_> = routes.collect();
    if routes.is_empty() {
        let found =
            "which requests this is for cannot be seen: no VirtualService is in these files";
        let remedy = "name the file with it, too, as istio/edge/routes.yaml";
        let unseen = |name: &Place<'_>| Finding::doubtful(CHECK, name.spot.clone(), found, remedy);
        return named.iter().take(1).map(unseen).collect();
    }
    let is_meant = |route: &Place<'_>, name: &Place<'_>| route.text_at("name") == name.text();
    let mut findings: Vec<Finding> = named
        .iter()
        .filter(|name| !routes.iter().any(|route| is_meant(route, name)))
        .map(nowhere)
        .collect();
    let mut meant = routes;
    meant.retain(|route| named.iter().any(|name| is_meant(route, name)));
    findings.extend(meant.iter().flat_map(spellings));
    findings.extend(meant.iter().filter_map(repeats));
    if let Some(settings) = filter.settings().filter(|_| !meant.is_empty()) {
        let limited = settings.routes();
        findings.extend(limited.iter().filter_map(|limited| past(limited, &meant)));
    }
    if findings.is_empty() {
        let found = "every route that the filter is on for is there, and exact";
        findings.extend(meant.first().map(|route| Finding::good(CHECK, route.spot.clone(), found)));
    }
    findings
}

fn nowhere(name: &Place<'_>) -> Finding {
    let text = name.text().unwrap_or_default();
    let found = format!("no VirtualService here has a route named {text}: nothing is limited");
    let remedy = format!("`name: {text}` on the route of the VirtualService, or its name here");
    Finding::bad(CHECK, name.spot.clone(), found, remedy)
}

/// Other spellings of a path than one: the filter counts the one that it knows.
fn spellings(route: &Place<'_>) -> Vec<Finding> {
    let all = "takes every path: what the filter does not know passes unlimited";
    let remedy = "`uri: { exact: .. }`, spelt as in the filter's routes";
    let matches = route.items_at("match");
    if matches.is_empty() {
        return vec![Finding::doubtful(CHECK, route.spot.clone(), all, remedy)];
    }
    let judge = |matched: &Place<'_>| match (matched.at("uri"), matched.at("uri.prefix")) {
        (None, _) => Some(Finding::doubtful(CHECK, matched.spot.clone(), all, remedy)),
        (_, Some(prefix)) => {
            let text = prefix.text().unwrap_or_default();
            let found = format!("the prefix {text} takes spellings that pass unlimited: {text}/");
            Some(Finding::doubtful(CHECK, prefix.spot, found, remedy))
        }
        _ => None,
    };
    matches.iter().filter_map(judge).collect()
}

fn repeats(route: &Place<'_>) -> Option<Finding> {
    let attempts = route.at("retries.attempts");
    if attempts.as_ref().and_then(Place::number) == Some(0) {
        return None;
    }
    let found = "Istio repeats what fails, twice if nothing is said: admitted once, sent again";
    Some(Finding::doubtful(CHECK, route.spot_of("retries"), found, "retries: { attempts: 0 }"))
}

/// What the filter limits, and no route that it is on for takes.
fn past(limited: &Limited<'_>, routes: &[Place<'_>]) -> Option<Finding> {
    // A prefix or a regex may.
    let takes = |matched: &Place<'_>| {
        matched.text_at("uri.exact").is_none_or(|exact| limited.may_be(exact, false))
    };
    let is_taken = |route: &Place<'_>| {
        let matches = route.items_at("match");
        matches.is_empty() || matches.iter().any(takes)
    };
    if routes.iter().any(is_taken) {
        return None;
    }
    let (name, path) = (&limited.name, limited.path());
    let found = format!("{name} limits {path}, which no route takes that the filter is on for");
    let remedy = "a match for it in that route; or the path by which shoppers reach the service";
    Some(Finding::doubtful(CHECK, limited.place.spot.clone(), found, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ISTIO, check, findings};
    use super::*;

    const ROUTE: &str =
        "{ name: shop, match: [{ uri: { exact: /add } }], retries: { attempts: 0 } }";

    /// [`ISTIO`], in which the filter is on for routes named `shop`, and such a route.
    fn with(route: &str) -> String {
        let discovery = "          config_discovery:";
        let off = ISTIO.replace(discovery, &format!("          disabled: true\n{discovery}"));
        format!(
            "{off}
---
kind: EnvoyFilter
metadata: {{ namespace: cartgate }}
spec:
  configPatches:
    - applyTo: HTTP_ROUTE
      match:
        context: SIDECAR_INBOUND
        routeConfiguration: {{ vhost: {{ route: {{ name: shop }} }} }}
      patch:
        operation: MERGE
        value:
          typed_per_filter_config:
            cartgate:
              \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig
              config: {{ \"@type\": type.googleapis.com/google.protobuf.Empty, value: {{}} }}
              is_optional: true
---
kind: VirtualService
spec: {{ http: [{route}] }}
"
        )
    }

    #[test]
    fn a_route_that_the_filter_is_on_for_is_there_and_exact() {
        let judge = |from: &str, to: &str, level, part: &str| {
            assert!(ROUTE.contains(from));
            check(names, &with(&ROUTE.replacen(from, to, 1)), ("", ""), level, part);
        };
        judge("", "", Level::Good, "exact");
        judge(
            "name: shop",
            "name: other",
            Level::Bad,
            "no VirtualService here has a route named shop",
        );
        judge(
            "exact: /add",
            "prefix: /add",
            Level::Doubtful,
            "spellings that pass unlimited: /add/",
        );
        judge("uri: { exact: /add }", "port: 80", Level::Doubtful, "takes every path");
        judge("match: [{ uri: { exact: /add } }], ", "", Level::Doubtful, "takes every path");
        judge("attempts: 0", "attempts: 2", Level::Doubtful, "attempts: 0");
        judge(", retries: { attempts: 0 }", "", Level::Doubtful, "twice if nothing is said");
        judge(
            "exact: /add",
            "exact: /adds",
            Level::Doubtful,
            "routes[0] limits /add, which no route",
        );
        judge("exact: /add", "regex: /a.*", Level::Good, "");
    }

    #[test]
    fn routes_that_are_not_in_the_files_are_in_doubt() {
        let all = with(ROUTE);
        let (without, _) = all.split_once("---\nkind: VirtualService").unwrap();
        check(names, without, ("", ""), Level::Doubtful, "name the file with it, too");
    }

    #[test]
    fn a_filter_that_is_on_for_all_routes_needs_none_by_name() {
        assert!(findings(names, ISTIO, ("", "")).is_empty());
    }
}
