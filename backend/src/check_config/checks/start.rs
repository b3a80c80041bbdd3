//! Does the filter start with its configuration?

use super::super::configuration::{BYTES_VALUE, Configuration};
use super::super::find::{Filter, Home, World};
use super::super::place::Spot;
use super::super::report::Finding;

const CHECK: &str = "configuration";

pub(super) fn configuration(filter: &Filter<'_>, _: &World<'_>) -> Vec<Finding> {
    vec![match &filter.configuration {
        Configuration::Absent(spot) => absent(filter, spot.clone()),
        Configuration::OtherKind(spot, kind) => other_kind(spot.clone(), kind),
        Configuration::Refused(spot, reason) => {
            let remedy = "correct it; filter/CONFIGURATION.md explains each field";
            let found = format!("the filter does not start: {reason}");
            Finding::bad(CHECK, spot.clone(), found, remedy)
        }
        Configuration::Read(settings) => {
            let found =
                format!("the filter starts with it; routes: {}", settings.config.routes().count());
            Finding::good(CHECK, settings.place().spot_of(""), found)
        }
    }]
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
        check(configuration, ENVOY, ("", ""), Level::Good, "routes: 1");
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
        check(configuration, PLUGIN, ("", ""), Level::Good, "routes: 1");
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
