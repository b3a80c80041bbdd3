//! Do requests that are judged by their body get their verdict?

use cartgate_policy::config::BodyMode;

use super::super::configuration::{Limited, Settings};
use super::super::find::{Filter, Home, World};
use super::super::place::Place;
use super::super::report::Finding;

/// The flag that lets a filter hold back a request's headers until it has seen the body.
const FLAG: &str = "allow_on_headers_stop_iteration";

/// How requests wait needs something of Envoy, each mode something else.
pub(super) fn waits(filter: &Filter<'_>, _: &World<'_>) -> Vec<Finding> {
    let Some(settings) = filter.settings() else { return Vec::new() };
    match settings.config.body_mode() {
        BodyMode::Strict => vec![strict(filter, settings)],
        BodyMode::Compat => {
            settings.body_reader().map(|reader| compat(filter, &reader)).into_iter().collect()
        }
    }
}

fn strict(filter: &Filter<'_>, settings: &Settings) -> Finding {
    let reader = settings.body_reader();
    match (&filter.home, &reader) {
        (Home::Plugin(kind), Some(reader)) => cannot_wait(kind, reader),
        (Home::Plugin(_), None) => {
            let spot = settings.place().spot_of("routes");
            Finding::good("body", spot, "no route reads the body: nothing has to wait for it")
        }
        (_, reader) => flag(&filter.plugin, reader.as_ref()),
    }
}

fn cannot_wait(kind: &str, reader: &Limited<'_>) -> Finding {
    let found = format!(
        "{} reads the body, body_mode is strict, and a {kind} cannot set {FLAG}: its requests hang",
        reader.name
    );
    let remedy =
        "EnvoyFilters as in istio/edge (filter.yaml, gateway.yaml) instead, or body_mode compat";
    Finding::bad("body", reader.place.spot.clone(), found, remedy)
}

/// Heads of refused requests reach the service: where it need not be so, it is worth a word.
fn compat(filter: &Filter<'_>, reader: &Limited<'_>) -> Finding {
    let spot = reader.place.spot.clone();
    let name = &reader.name;
    match &filter.home {
        Home::Plugin(kind) => {
            let found =
                format!("{name} reads the body, and body_mode is compat, as a {kind} needs");
            Finding::good("body", spot, found)
        }
        _ => {
            let found = format!(
                "{name} reads the body, and body_mode is compat: the service sees the heads of \
                 requests that are refused"
            );
            Finding::doubtful("body", spot, found, format!("body_mode strict, with {FLAG}: true"))
        }
    }
}

fn flag(plugin: &Place<'_>, reader: Option<&Limited<'_>>) -> Finding {
    let flag = plugin.at(FLAG);
    let spot = plugin.spot_of(FLAG);
    if flag.as_ref().and_then(Place::flag) == Some(true) {
        let found = format!("{FLAG} is true: a request's headers wait for its body");
        return Finding::good("body", spot, found);
    }
    let is = flag.map_or("not there".to_owned(), |flag| flag.shown());
    let remedy = format!("{FLAG}: true (Envoy 1.35 or later)");
    match reader {
        Some(Limited { name, .. }) => {
            let found = format!(
                "{FLAG} is {is}, while body_mode is strict and {name} reads the body: requests \
                 whose SKU is in the body hang"
            );
            Finding::bad("body", spot, found, remedy)
        }
        None => {
            let found = format!(
                "{FLAG} is {is}: no route reads the body yet; as body_mode is strict, requests \
                 to the first that does would hang"
            );
            Finding::doubtful("body", spot, found, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, PLUGIN, check};
    use super::*;

    #[test]
    fn a_strict_filter_that_reads_bodies_needs_the_flag() {
        for yaml in [ENVOY, ISTIO] {
            check(waits, yaml, ("", ""), Level::Good, "true");
            let to = |value: &str| format!("{FLAG}: {value}");
            check(waits, yaml, (&to("true"), ""), Level::Bad, "hang");
            check(waits, yaml, (&to("true"), &to("false")), Level::Bad, "is false, while");
            check(waits, yaml, (&to("true"), &to("'true'")), Level::Bad, "is \"true\", while");
            check(waits, yaml, (FLAG, "allowOnHeadersStopIteration"), Level::Good, "true");
        }
    }

    #[test]
    fn without_the_flag_a_filter_that_reads_no_body_is_only_in_doubt() {
        let yaml = ENVOY.replace("{\"json\": \"/sku\"}", "{\"path\": \"sku\"}");
        check(waits, &yaml, (FLAG, "other"), Level::Doubtful, "no route reads the body yet");
        let quantity = yaml.replace("\"quantity\": []", "\"quantity\": [{\"form\": \"q\"}]");
        check(waits, &quantity, (FLAG, "other"), Level::Bad, "routes[0] reads the body");
    }

    #[test]
    fn compat_is_for_where_the_flag_cannot_be() {
        let body = PLUGIN.replace("sku: [{path: sku}]", "sku: [{path: sku}, {json: /sku}]");
        let compat = body.replace("    routes:", "    body_mode: compat\n    routes:");
        check(waits, &compat, ("", ""), Level::Good, "as a WasmPlugin needs");
        let compat =
            ENVOY.replace("\"body_bytes_max\"", "\"body_mode\": \"compat\", \"body_bytes_max\"");
        assert_ne!(compat, ENVOY);
        check(waits, &compat, ("", ""), Level::Doubtful, "sees the heads");
    }

    #[test]
    fn what_istio_calls_a_plugin_cannot_have_the_flag() {
        check(waits, PLUGIN, ("", ""), Level::Good, "no route reads");
        let body = ("sku: [{path: sku}]", "sku: [{path: sku}, {json: /sku}]");
        check(waits, PLUGIN, body, Level::Bad, "a WasmPlugin cannot set");
        let extension = PLUGIN.replace("kind: WasmPlugin", "kind: TrafficExtension");
        let extension = extension.replace("\n  ", "\n    ").replace("\nspec:", "\nspec:\n  wasm:");
        check(waits, &extension, body, Level::Bad, "a TrafficExtension cannot set");
    }
}
