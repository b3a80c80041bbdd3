//! Do filter and service see the same head of a request, once?

use super::super::configuration::Settings;
use super::super::find::{Filter, Home, Site, World};
use super::super::place::{Place, Spot};
use super::super::report::Finding;

/// What clients could otherwise have Envoy do: repeat, or give up early, what was admitted.
const REMOVED: [&str; 6] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
];

/// A setting that leaves one spelling of each path, or header.
struct Spelling {
    path: &'static str,
    is_right: fn(&Place<'_>) -> bool,
    /// What happens without it.
    otherwise: &'static str,
    remedy: &'static str,
}

const PATHS: [Spelling; 3] = [
    Spelling {
        path: "normalize_path",
        is_right: |place| place.flag() == Some(true),
        otherwise: "what a service takes for a limited path passes unlimited, as /x/../add for /add",
        remedy: "normalize_path: true",
    },
    Spelling {
        path: "merge_slashes",
        is_right: |place| place.flag() == Some(true),
        otherwise: "what a service takes for a limited path passes unlimited, as //add for /add",
        remedy: "merge_slashes: true",
    },
    Spelling {
        path: "path_with_escaped_slashes_action",
        is_right: |place| is_one_of(place, &["REJECT_REQUEST", "UNESCAPE_AND_REDIRECT"]),
        otherwise: "what a service takes for a limited path passes unlimited, as /a%2Fadd for /a/add",
        remedy: "path_with_escaped_slashes_action: REJECT_REQUEST",
    },
];

const HEADERS: Spelling = Spelling {
    path: "common_http_protocol_options.headers_with_underscores_action",
    is_right: |place| is_one_of(place, &["DROP_HEADER", "REJECT_REQUEST"]),
    otherwise: "a header carries the SKU, and a service that takes x_sku for x-sku may see another \
                than the filter",
    remedy: "common_http_protocol_options: { headers_with_underscores_action: DROP_HEADER }",
};

/// Paths must come in one spelling.
pub(super) fn paths(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let routes = filter.settings().map(Settings::routes).unwrap_or_default();
    let is_grave = routes.iter().any(|route| route.sku_from("path").is_some());
    PATHS.iter().flat_map(|spelling| judged("paths", spelling, is_grave, filter, world)).collect()
}

/// So must headers, if the SKU is in one.
pub(super) fn headers(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let routes = filter.settings().map(Settings::routes).unwrap_or_default();
    if !routes.iter().any(|route| route.sku_from("header").is_some()) {
        return Vec::new();
    }
    judged("headers", &HEADERS, false, filter, world)
}

fn judged(
    check: &'static str,
    spelling: &Spelling,
    is_grave: bool,
    filter: &Filter<'_>,
    world: &World<'_>,
) -> Vec<Finding> {
    let verdict = if is_grave { Finding::bad } else { Finding::doubtful };
    let at = |site: &Site<'_>| {
        let said = site.of_manager(spelling.path).into_iter();
        let said: Vec<Finding> = said.map(|place| spelling.judge(check, place, verdict)).collect();
        match said.is_empty() {
            true => vec![unsaid(check, spelling, filter, site, verdict)],
            false => said,
        }
    };
    world.sites(filter).iter().flat_map(at).collect()
}

/// A finding that is not good, of a level.
type Verdict = fn(&'static str, Spot, String, String) -> Finding;

impl Spelling {
    fn judge(&self, check: &'static str, place: Place<'_>, verdict: Verdict) -> Finding {
        let Self { path, is_right, otherwise, remedy } = self;
        let is = format!("{path} is {}", place.shown());
        match is_right(&place) {
            true => Finding::good(check, place.spot, is),
            false => verdict(check, place.spot, format!("{is}: {otherwise}"), (*remedy).to_owned()),
        }
    }
}

fn unsaid(
    check: &'static str,
    Spelling { path, otherwise, remedy, .. }: &Spelling,
    filter: &Filter<'_>,
    site: &Site<'_>,
    verdict: Verdict,
) -> Finding {
    let spot = site.spot_in_manager(path);
    if matches!(filter.home, Home::Chain { .. }) {
        let found = format!("{path} is not there: {otherwise}");
        return verdict(check, spot, found, (*remedy).to_owned());
    }
    let found = format!("whether {path} is set cannot be seen from here; if not, {otherwise}");
    Finding::doubtful(check, spot, found, format!("{remedy} {}", place_for(filter)))
}

/// Where settings of a connection manager go.
fn place_for(filter: &Filter<'_>) -> &'static str {
    match filter.home {
        Home::Patch(_) | Home::Plugin(_) => {
            "in a NETWORK_FILTER patch (operation MERGE), as in istio/edge/gateway.yaml"
        }
        Home::Chain { .. } | Home::Alone => "in the connection manager, as in envoy/envoy.yaml",
    }
}

fn is_one_of(place: &Place<'_>, names: &[&str]) -> bool {
    // Envoy takes names of such values in any case.
    place.text().is_some_and(|text| names.iter().any(|name| name.eq_ignore_ascii_case(text)))
}

/// One admission must be one request to the service.
pub(super) fn retries(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    world.sites(filter).iter().map(|site| retries_at(site, filter)).collect()
}

fn retries_at(site: &Site<'_>, filter: &Filter<'_>) -> Finding {
    let path = "early_header_mutation_extensions";
    let said = site.of_manager(path).pop();
    let spot = said.map_or_else(|| site.spot_in_manager(path), |place| place.spot);
    let removed = removed(&site.items_of_manager(path));
    let is_left = |name: &&str| !removed.iter().any(|removed| removed.eq_ignore_ascii_case(name));
    let left: Vec<&str> = REMOVED.into_iter().filter(is_left).collect();
    if left.is_empty() {
        let found = "clients cannot have Envoy repeat a request, or give it up early";
        return Finding::good("retries", spot, found);
    }
    let found = format!(
        "early_header_mutation_extensions leave {}: a client whose address is internal can have \
         Envoy repeat what was admitted once, or give it up early",
        left.join(", ")
    );
    let remedy = format!("{path} that remove them, {}", place_for(filter));
    Finding::doubtful("retries", spot, found, remedy)
}

/// The headers that extensions remove.
fn removed<'t>(extensions: &[Place<'t>]) -> Vec<&'t str> {
    let configs = extensions.iter().filter_map(|extension| extension.at("typed_config")?.typed());
    let mutations = configs.flat_map(|(_, config)| config.items_at("mutations"));
    mutations.filter_map(|mutation| mutation.text_at("remove")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, PLUGIN, check, findings};
    use super::*;

    fn by_path(yaml: &str) -> String {
        yaml.replace("{\"json\": \"/sku\"}", "{\"path\": \"sku\"}")
    }

    #[test]
    fn paths_have_one_spelling() {
        let changes = [
            ("normalize_path: true", "normalize_path: false"),
            ("merge_slashes: true", ""),
            ("REJECT_REQUEST", "KEEP_UNCHANGED"),
            ("REJECT_REQUEST", "UNESCAPE_AND_FORWARD"),
        ];
        check(paths, ENVOY, ("", ""), Level::Good, "");
        check(paths, ENVOY, ("REJECT_REQUEST", "unescape_and_redirect"), Level::Good, "");
        for change in changes {
            check(paths, ENVOY, change, Level::Doubtful, "passes unlimited");
            check(paths, &by_path(ENVOY), change, Level::Bad, "passes unlimited");
        }
    }

    #[test]
    fn what_istio_sets_cannot_be_seen() {
        check(paths, ISTIO, ("", ""), Level::Good, "");
        check(
            paths,
            ISTIO,
            ("normalize_path: true", ""),
            Level::Doubtful,
            "in a NETWORK_FILTER patch",
        );
        check(
            paths,
            ISTIO,
            ("NETWORK_FILTER", "OTHER"),
            Level::Doubtful,
            "in a NETWORK_FILTER patch",
        );
        check(
            paths,
            ISTIO,
            ("operation: MERGE", "operation: ADD"),
            Level::Doubtful,
            "cannot be seen",
        );
        let elsewhere = ISTIO.replacen(
            "NETWORK_FILTER\n      match:\n        context: SIDECAR_INBOUND",
            "NETWORK_FILTER\n      match:\n        context: GATEWAY",
            1,
        );
        check(paths, &elsewhere, ("", ""), Level::Doubtful, "cannot be seen");
        check(paths, PLUGIN, ("", ""), Level::Doubtful, "in a NETWORK_FILTER patch");
        let patched = format!("{PLUGIN}---\n{}", ISTIO.replace("EXTENSION_CONFIG", "OTHER"));
        let worst = findings(paths, &patched, ("", "")).into_iter().map(|f| f.level).max();
        assert_eq!(worst, Some(Level::Good));
    }

    /// In another EnvoyFilter, as long as that is for the same proxies.
    #[test]
    fn what_another_envoyfilter_sets_is_seen() {
        let head = "kind: EnvoyFilter\nmetadata: {namespace: cartgate}\nspec:\n  configPatches:\n";
        let apart = format!("---\n{head}    - applyTo: NETWORK_FILTER");
        let (before, patch) = ISTIO.split_once("    - applyTo: NETWORK_FILTER").unwrap();
        let behind = format!("{before}{apart}{patch}");
        let first = format!("{head}    - applyTo: NETWORK_FILTER{patch}---\n{before}");
        for yaml in [&behind, &first] {
            check(paths, yaml, ("", ""), Level::Good, "");
            check(retries, yaml, ("", ""), Level::Good, "");
            let strangers = yaml.replace("{namespace: cartgate}", "{namespace: shop}");
            check(paths, &strangers, ("", ""), Level::Doubtful, "cannot be seen");
            check(retries, &strangers, ("", ""), Level::Doubtful, "leave");
        }
        // Of two EnvoyFilters, either may be the last; within one, order decides.
        let wrong = patch.replace("normalize_path: true", "normalize_path: false");
        for (one, other) in [(patch, &*wrong), (&wrong, patch)] {
            let both = format!("{before}    - applyTo: NETWORK_FILTER{one}{apart}{other}");
            check(paths, &both, ("", ""), Level::Doubtful, "normalize_path is false");
        }
        let second = |patch: &str| format!("    - applyTo: NETWORK_FILTER{patch}");
        let good_last = format!("{before}{}{}", second(&wrong), second(patch));
        check(paths, &good_last, ("", ""), Level::Good, "");
    }

    #[test]
    fn each_place_of_the_filter_is_looked_at() {
        let edge = ISTIO.split_once("---\n").unwrap().1.replace("SIDECAR_INBOUND", "GATEWAY");
        let both = format!("{ISTIO}---\n{edge}");
        check(paths, &both, ("", ""), Level::Good, "");
        let bare = edge.replace("NETWORK_FILTER", "OTHER");
        let one_bare = format!("{ISTIO}---\n{bare}");
        check(paths, &one_bare, ("", ""), Level::Doubtful, "cannot be seen");
        check(retries, &one_bare, ("", ""), Level::Doubtful, "x-envoy-retry-on, ");
    }

    #[test]
    fn headers_have_one_spelling_if_one_carries_the_sku() {
        let action = ("headers_with_underscores_action: DROP_HEADER", "idle_timeout: 60s");
        assert!(findings(headers, ENVOY, action).is_empty());
        let yaml = ENVOY.replace("{\"json\": \"/sku\"}", "{\"header\": \"x-sku\"}");
        check(headers, &yaml, ("", ""), Level::Good, "DROP_HEADER");
        check(headers, &yaml, ("DROP_HEADER", "REJECT_REQUEST"), Level::Good, "REJECT_REQUEST");
        check(headers, &yaml, action, Level::Doubtful, "x_sku for x-sku");
        check(headers, &yaml, ("DROP_HEADER", "ALLOW"), Level::Doubtful, "ALLOW");
    }

    #[test]
    fn clients_cannot_have_a_request_repeated() {
        for yaml in [ENVOY, ISTIO] {
            check(retries, yaml, ("", ""), Level::Good, "cannot have");
            check(retries, yaml, ("x-envoy-max-retries", "X-Envoy-Max-Retries"), Level::Good, "");
            check(
                retries,
                yaml,
                ("x-envoy-max-retries", "x"),
                Level::Doubtful,
                "leave x-envoy-max-retries:",
            );
            check(
                retries,
                yaml,
                ("early_header", "late_header"),
                Level::Doubtful,
                "x-envoy-retry-on, ",
            );
        }
    }
}
