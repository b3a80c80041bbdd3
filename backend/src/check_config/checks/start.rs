//! Does the filter start with its configuration?

use super::super::configuration::{BYTES_VALUE, Configuration, Limited, Settings};
use super::super::find::{Filter, Home, World};
use super::super::place::Spot;
use super::super::report::Finding;

const CHECK: &str = "configuration";

pub(super) fn configuration(filter: &Filter<'_>, _: &World<'_>) -> Vec<Finding> {
    let finding = match &filter.configuration {
        Configuration::Absent(spot) => absent(filter, spot.clone()),
        Configuration::OtherKind(spot, kind) => other_kind(spot.clone(), kind),
        Configuration::Refused(spot, reason) => {
            let remedy = "correct it; filter/CONFIGURATION.md explains each field";
            let found = format!("the filter does not start: {reason}");
            Finding::bad(CHECK, spot.clone(), found, remedy)
        }
        Configuration::Read(settings) => return read(filter, settings),
    };
    vec![finding]
}

/// It starts: for whom is it in shadow, and can another version of it be told from this one?
fn read(filter: &Filter<'_>, settings: &Settings) -> Vec<Finding> {
    let routes = settings.routes();
    let (shadow, enforced): (Vec<_>, Vec<_>) = routes
        .iter()
        .partition(|route| route.place.at("shadow").and_then(|flag| flag.flag()) == Some(true));
    let names = |routes: &[&Limited<'_>]| {
        let name = |route: &&Limited<'_>| format!("{} {}", route.method(), route.path());
        routes.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let said = [("limited", enforced), ("in shadow", shadow)].into_iter();
    let said = said.filter(|(_, routes)| !routes.is_empty());
    let said = said.map(|(what, routes)| format!("; {what}: {}", names(&routes)));
    let found = format!("the filter starts with it{}", said.collect::<String>());
    let good = Finding::good(CHECK, settings.place().spot_of(""), found);
    let is_told = settings.place().at("version").is_some();
    let may_differ = matches!(filter.home, Home::Patch(_) | Home::Plugin(_)) && !is_told;
    let unversioned = may_differ.then(|| {
        let found = "no version: cartgate_config_version cannot tell which proxies have it";
        let remedy = "\"version\": 1, and one more with each change";
        Finding::doubtful(CHECK, settings.place().spot_of("version"), found, remedy)
    });
    std::iter::once(good).chain(unversioned).collect()
}

fn absent(filter: &Filter<'_>, spot: Spot) -> Finding {
    let remedy = match filter.home {
        Home::Plugin(_) => "pluginConfig with the members of the JSON in envoy/envoy.yaml",
        _ => {
            "a configuration as in envoy/envoy.yaml: a google.protobuf.StringValue with JSON in it"
        }
    };
    Finding::bad(CHECK, spot, "not there: the filter does not start", remedy)
}

fn other_kind(spot: Spot, kind: &str) -> Finding {
    let remedy = "\"@type\": type.googleapis.com/google.protobuf.StringValue, and the JSON as a text \
                  in `value: |`";
    if kind == BYTES_VALUE {
        let found = "a google.protobuf.BytesValue, in base64, is not read here";
        return Finding::doubtful(CHECK, spot, found, remedy);
    }
    let found = format!(
        "{kind} instead of a text: if it comes to the filter at all, then in binary form, and the \
         filter does not start"
    );
    Finding::bad(CHECK, spot, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, PLUGIN, check};
    use super::*;

    #[test]
    fn the_filter_must_start_with_it() {
        check(configuration, ENVOY, ("", ""), Level::Good, "limited: POST /cart/{sku}/add");
        let shadow = ("\"sku\":", "\"shadow\": true, \"sku\":");
        check(configuration, ENVOY, shadow, Level::Good, "it; in shadow: POST /cart/{sku}/add");
        let misspelt = ("\"sku\":", "\"skv\":");
        check(configuration, ENVOY, misspelt, Level::Bad, "configuration field routes[0].skv");
        let structure = ("protobuf.StringValue", "protobuf.Struct");
        check(configuration, ENVOY, structure, Level::Bad, "google.protobuf.Struct");
        let bytes = ("protobuf.StringValue", "protobuf.BytesValue");
        check(configuration, ENVOY, bytes, Level::Doubtful, "StringValue");
        check(
            configuration,
            ENVOY,
            ("configuration:", "other:"),
            Level::Bad,
            "as in envoy/envoy.yaml",
        );
        check(configuration, ENVOY, ("value: |", "other: |"), Level::Bad, "not there");
    }

    #[test]
    fn istio_makes_json_of_a_structure() {
        check(configuration, PLUGIN, ("", ""), Level::Good, "limited: POST ");
        check(configuration, PLUGIN, ("version: 1", ""), Level::Doubtful, "which proxies have it");
        let misspelt = ("burst:", "brust:");
        check(
            configuration,
            PLUGIN,
            misspelt,
            Level::Bad,
            "configuration field default_limit.brust",
        );
        check(configuration, PLUGIN, ("pluginConfig:", "other:"), Level::Bad, "pluginConfig with");
    }
}
