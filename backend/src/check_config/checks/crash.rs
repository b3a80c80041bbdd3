//! What becomes of requests and counts if the filter crashes, or has a neighbour?

use super::super::find::{Filter, Home, World};
use super::super::place::{Place, Spot};
use super::super::report::Finding;

const CHECK: &str = "failure";

/// A filter that crashes must come back, and let nothing pass meanwhile.
pub(super) fn policy(filter: &Filter<'_>, _: &World<'_>) -> Vec<Finding> {
    let (name, since) = match filter.home {
        Home::Plugin(_) => ("fail_strategy", "failStrategy: FAIL_RELOAD (Istio 1.27 or later)"),
        _ => ("failure_policy", "failure_policy: FAIL_RELOAD (Envoy 1.33 or later)"),
    };
    let open = filter.plugin.at("fail_open").filter(|flag| flag.flag() == Some(true));
    if let Some(open) = open {
        let found = "fail_open is true: once the filter has crashed everything passes unlimited";
        let remedy = format!("{since} instead of fail_open");
        return vec![Finding::bad(CHECK, open.spot, found, remedy)];
    }
    vec![judged(filter.plugin.at(name), filter.plugin.spot_of(name), since)]
}

/// Failure modes as Envoy and Istio call them; what is not there is as good as the second.
fn judged(policy: Option<Place<'_>>, spot: Spot, remedy: &str) -> Finding {
    let value = policy.as_ref().and_then(Place::text).unwrap_or("UNSPECIFIED");
    let name = spot.name().to_owned();
    let is = policy.as_ref().map_or_else(|| "not there".to_owned(), Place::shown);
    let is = format!("{name} is {is}");
    // Envoy takes names of such values in any case.
    match value.to_ascii_uppercase().as_str() {
        "FAIL_RELOAD" => Finding::good(
            CHECK,
            spot,
            format!("{is}: after a crash there is a new one in a second"),
        ),
        "FAIL_OPEN" => {
            let found = format!("{is}: once the filter has crashed everything passes unlimited");
            Finding::bad(CHECK, spot, found, remedy)
        }
        "UNSPECIFIED" | "FAIL_CLOSED" | "FAIL_CLOSE" => {
            let found = format!(
                "{is}: a worker thread in which the filter has crashed answers 503 to everything \
                 until Envoy is started again"
            );
            Finding::doubtful(CHECK, spot, found, remedy)
        }
        _ => Finding::doubtful(CHECK, spot, format!("{is}: not known here"), remedy),
    }
}

/// Its counts must be its own.
pub(super) fn vm_id(filter: &Filter<'_>, _: &World<'_>) -> Vec<Finding> {
    let path = "vm_config.vm_id";
    let id = filter.plugin.text_at(path).filter(|id| !id.is_empty());
    vec![match (id, &filter.home) {
        (_, Home::Plugin(kind)) => {
            let found =
                format!("a {kind} has no vm_id: every other filter without one shares its counts");
            let remedy = format!(
                "no second {kind} of cartgate in one proxy; or an EnvoyFilter as in \
                 istio/edge/filter.yaml, which has a vm_id"
            );
            Finding::doubtful("vm_id", filter.plugin.spot.clone(), found, remedy)
        }
        (Some(id), _) => {
            let found = format!("vm_id is {id}: no filter of another vm_id shares its counts");
            Finding::good("vm_id", filter.plugin.spot_of(path), found)
        }
        (None, _) => {
            let found = "vm_id is not there: every other filter without one shares its counts";
            Finding::doubtful("vm_id", filter.plugin.spot_of(path), found, "vm_id: cartgate")
        }
    }]
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, PLUGIN, check};
    use super::*;

    #[test]
    fn a_filter_that_crashed_comes_back() {
        let check = |policy: &str, level, part: &str| {
            check(super::policy, ENVOY, ("failure_policy: FAIL_RELOAD", policy), level, part);
        };
        check("failure_policy: FAIL_RELOAD", Level::Good, "a new one");
        check("failurePolicy: fail_reload", Level::Good, "a new one");
        check("failure_policy: FAIL_CLOSED", Level::Doubtful, "503");
        check("", Level::Doubtful, "not there");
        check("failure_policy: FAIL_OPEN", Level::Bad, "everything passes");
        check("fail_open: true", Level::Bad, "everything passes");
        check("fail_open: false", Level::Doubtful, "503");
        check("failure_policy: FAIL_LATER", Level::Doubtful, "not known");
    }

    #[test]
    fn istio_calls_it_another_name() {
        let check = |strategy: &str, level, part: &str| {
            check(policy, PLUGIN, ("failStrategy: FAIL_RELOAD", strategy), level, part);
        };
        check("failStrategy: FAIL_RELOAD", Level::Good, "a new one");
        check("failStrategy: FAIL_OPEN", Level::Bad, "Istio 1.27");
        check("failStrategy: FAIL_CLOSE", Level::Doubtful, "503");
        check("phase: AUTHN", Level::Doubtful, "not there");
    }

    #[test]
    fn counts_are_its_own() {
        check(vm_id, ENVOY, ("", ""), Level::Good, "cartgate");
        check(vm_id, ENVOY, ("vm_id: cartgate", ""), Level::Doubtful, "vm_id: cartgate");
        check(vm_id, ENVOY, ("vm_id: cartgate", "vm_id: ''"), Level::Doubtful, "not there");
        check(vm_id, PLUGIN, ("", ""), Level::Doubtful, "an EnvoyFilter");
    }
}
