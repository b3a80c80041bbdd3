//! Is the module where Envoy looks for it?

use std::path::Path;

use super::super::find::{Filter, Home, World};
use super::super::report::Finding;

/// A name that is not absolute depends on where Envoy is started. Whether an absolute one is there is for
/// the machine to say on which that is.
pub(super) fn file(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let Some(name) = filter.plugin.at("vm_config.code.local.filename") else { return Vec::new() };
    let Some(text) = name.text() else { return Vec::new() };
    let is_there =
        || matches!(filter.home, Home::Chain { .. }) && (world.is_readable)(Path::new(text));
    if Path::new(text).is_absolute() || is_there() {
        return Vec::new();
    }
    let found =
        format!("filename is {text}: relative to where Envoy is started, and not there from here");
    vec![Finding::doubtful("module", name.spot, found, "an absolute path")]
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, check, findings};
    use super::*;

    #[test]
    fn a_relative_name_is_in_doubt_unless_the_file_is_there() {
        let absolute = "/lib/cartgate_filter.wasm";
        for yaml in [ENVOY, ISTIO] {
            assert!(findings(file, yaml, ("", "")).is_empty());
            check(file, yaml, (absolute, "lib/cartgate.wasm"), Level::Doubtful, "an absolute path");
        }
        assert!(findings(file, ENVOY, (absolute, "lib/here.wasm")).is_empty());
        check(file, ISTIO, (absolute, "lib/here.wasm"), Level::Doubtful, "an absolute path");
    }
}
