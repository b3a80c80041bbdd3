//! Can a request reach a service by another spelling of a limited path? And by the one that is limited?

use super::super::configuration::{Limited, Settings};
use super::super::find::{Filter, Home, World};
use super::super::place::Place;
use super::super::report::Finding;

const CHECK: &str = "routes";

/// Envoy's routes must not send by `prefix` what the filter limits by whole paths.
pub(super) fn prefixes(filter: &Filter<'_>, _: &World<'_>) -> Vec<Finding> {
    let Home::Chain { manager, .. } = &filter.home else { return Vec::new() };
    let Some(settings) = filter.settings() else { return Vec::new() };
    let Some(config) = manager.at("route_config") else {
        return elsewhere(manager).into_iter().collect();
    };
    let hosts = config.items_at("virtual_hosts").into_iter();
    let routes: Vec<_> = hosts.flat_map(|host| host.items_at("routes")).collect();
    let mut findings: Vec<Finding> =
        routes.iter().filter_map(|route| around(route, settings)).collect();
    if findings.is_empty() {
        let found = "no prefix lets other spellings of what is limited through to a service";
        findings.push(Finding::good(CHECK, config.spot.clone(), found));
    }
    let are_all_here = config.at("vhds").is_none()
        && config.items_at("virtual_hosts").iter().all(|host| host.at("matcher").is_none());
    if are_all_here {
        let limited = settings.routes();
        findings.extend(limited.iter().filter_map(|limited| for_nothing(limited, &routes)));
    }
    findings
}

/// A limit of what Envoy never lets through: mostly it is spelt otherwise there, and has no limit.
fn for_nothing(limited: &Limited<'_>, routes: &[Place<'_>]) -> Option<Finding> {
    if routes.iter().any(|route| leads_to(route, limited)) {
        return None;
    }
    let (name, method, path) = (&limited.name, limited.method(), limited.path());
    let found =
        format!("{name} limits {method} {path}, which no route of Envoy lets through to a service");
    let remedy =
        "a route of Envoy for it; or the method and path by which shoppers reach the service";
    Some(Finding::doubtful(CHECK, limited.place.spot.clone(), found, remedy))
}

/// Whether a route may send requests that are limited to a service. One that is told by more than a path may.
fn leads_to(route: &Place<'_>, limited: &Limited<'_>) -> bool {
    let is_any_case = route.at("match.case_sensitive").and_then(|flag| flag.flag()) == Some(false);
    let names = ["match.prefix", "match.path_separated_prefix"];
    let prefix = names.iter().find_map(|name| route.text_at(name));
    let is_near_enough = match (route.text_at("match.path"), prefix) {
        (Some(path), _) => limited.may_be(path, is_any_case),
        (None, Some(prefix)) => is_near(prefix, limited.path()),
        (None, None) => true,
    };
    route.at("route").is_some() && is_near_enough && is_for(route, limited)
}

fn elsewhere(manager: &Place<'_>) -> Option<Finding> {
    let from = ["rds", "scoped_routes"].iter().find_map(|name| manager.at(name))?;
    let found = "routes come from elsewhere, and cannot be seen from here";
    let remedy = "see that they send a service no other spelling of a limited path: by `path:`, not \
                  by `prefix:`, as in envoy/envoy.yaml";
    Some(Finding::doubtful(CHECK, from.spot, found, remedy))
}

/// A route that leads a limited path's other spellings to a service.
fn around(route: &Place<'_>, settings: &Settings) -> Option<Finding> {
    route.at("route")?;
    let names = ["match.prefix", "match.path_separated_prefix"];
    let prefix = names.iter().find_map(|name| route.at(name))?;
    let text = prefix.text()?;
    let limited = settings.routes();
    let limited = limited.iter().find(|l| is_near(text, l.path()) && is_for(route, l))?;
    let (path, name) = (limited.path(), &limited.name);
    let found = format!(
        "the prefix {text} lets other spellings of {path}, as {name} of the filter limits it, through \
         to a service unlimited: {path}/ or {path};x"
    );
    let remedy = "`path:` or an anchored `safe_regex:`, spelt as in the filter's routes";
    Some(Finding::doubtful(CHECK, prefix.spot, found, remedy))
}

/// Whether a path that begins with `prefix` may be `limited`, or look like it.
fn is_near(prefix: &str, limited: &str) -> bool {
    let stem = limited.split('{').next().unwrap_or_default();
    prefix.starts_with(stem) || stem.starts_with(prefix)
}

/// Whether the route takes requests with the method of the limited ones.
fn is_for(route: &Place<'_>, limited: &Limited<'_>) -> bool {
    let headers = route.items_at("match.headers");
    let method = headers.iter().find(|header| header.text_at("name") == Some(":method"));
    let exact = |header: &Place<'_>| {
        let is_inverted = header.at("invert_match").and_then(|flag| flag.flag()) == Some(true);
        let exact = header.at("string_match.exact").or(header.at("exact_match"));
        exact.filter(|_| !is_inverted).and_then(|method| method.text().map(str::to_owned))
    };
    method.and_then(exact).is_none_or(|method| method == limited.method())
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, check, findings};
    use super::*;

    #[test]
    fn a_prefix_leads_around_the_limit() {
        let check = |matched: &str, level, part: &str| {
            check(prefixes, ENVOY, ("match: { path: /cart/x/add }", matched), level, part);
        };
        check("match: { path: /cart/x/add }", Level::Good, "no prefix");
        check(
            "match: { prefix: / }",
            Level::Doubtful,
            "the prefix / lets other spellings of /cart/{sku}/add, as routes[0]",
        );
        check("match: { prefix: /cart }", Level::Doubtful, "or /cart/{sku}/add;x");
        check("match: { prefix: /cart/x }", Level::Doubtful, "`path:`");
        check("match: { path_separated_prefix: /cart }", Level::Doubtful, "`path:`");
        check(
            "match: { prefix: /tickets }",
            Level::Doubtful,
            "which no route of Envoy lets through",
        );
        check("match: { safe_regex: { regex: /cart/.* } }", Level::Good, "no prefix");
        let method = |header: &str| {
            format!("match: {{ prefix: /, headers: [{{ name: ':method', {header} }}] }}")
        };
        check(&method("string_match: { exact: GET }"), Level::Doubtful, "which no route of Envoy");
        check(&method("exact_match: POST"), Level::Doubtful, "`path:`");
        check(&method("exact_match: GET, invert_match: true"), Level::Doubtful, "`path:`");
    }

    #[test]
    fn a_limit_of_what_envoy_does_not_let_through_is_for_nothing() {
        let check = |matched: &str, level| {
            let change = ("match: { path: /cart/x/add }", matched);
            check(prefixes, ENVOY, change, level, "");
            let nothing = findings(prefixes, ENVOY, change);
            let is_nothing = |finding: &Finding| finding.found.contains("which no route of Envoy");
            assert_eq!(nothing.iter().any(is_nothing), level == Level::Doubtful, "{nothing:?}");
        };
        check("match: { path: /cart/x/y }", Level::Doubtful);
        check("match: { path: /basket/x/add }", Level::Doubtful);
        check("match: { prefix: /tickets }", Level::Doubtful);
        check("match: { path: /cart/y/add }", Level::Good);
        check("match: { path: /Cart/y/Add, case_sensitive: false }", Level::Good);
        check("match: { path: /Cart/y/Add }", Level::Doubtful);
        check("match: { safe_regex: { regex: /c.* } }", Level::Good);
        let get = "match: { path: /cart/x/add, headers: [{ name: ':method', exact_match: GET }] }";
        check(get, Level::Doubtful);
    }

    #[test]
    fn routes_that_are_elsewhere_are_in_doubt() {
        check(prefixes, ENVOY, ("route_config:", "rds:"), Level::Doubtful, "cannot be seen");
        assert!(findings(prefixes, ISTIO, ("", "")).is_empty());
    }
}
