//! Is the module where Envoy or Istio looks for it?

use std::path::Path;

use super::super::find::{Filter, Home, World};
use super::super::place::Place;
use super::super::report::Finding;

const CHECK: &str = "module";

pub(super) fn code(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let file = filter.plugin.at("vm_config.code.local.filename");
    let urls = ["vm_config.code.remote.http_uri.uri", "url"];
    let url = urls.iter().find_map(|url| filter.plugin.at(url));
    let file = file.and_then(|name| file_found(&name, filter, world));
    file.into_iter().chain(url.and_then(|url| url_found(&url))).collect()
}

/// A name that is not absolute depends on where Envoy is started. Whether an absolute one is there is for
/// the machine to say on which that is.
fn file_found(name: &Place<'_>, filter: &Filter<'_>, world: &World<'_>) -> Option<Finding> {
    let text = name.text()?;
    let is_there =
        || matches!(filter.home, Home::Chain { .. }) && (world.is_readable)(Path::new(text));
    if Path::new(text).is_absolute() || is_there() {
        return None;
    }
    let found =
        format!("filename is {text}: relative to where Envoy is started, and not there from here");
    Some(Finding::doubtful(CHECK, name.spot.clone(), found, "an absolute path"))
}

/// An image must be named so that it can be fetched, and only ever be one.
fn url_found(url: &Place<'_>) -> Option<Finding> {
    let text = url.text()?;
    let remedy = "oci://REGISTRY/cartgate-filter@sha256:.., as istio/images/build.sh prints it";
    let bad = |what: &str| {
        let found = format!("{text} {what}: Istio refuses every request instead");
        Some(Finding::bad(CHECK, url.spot.clone(), found, remedy))
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return bad("has no oci:// before it");
    };
    if !matches!(scheme, "oci" | "http" | "https" | "file") {
        return bad("is neither an image nor a file");
    }
    if rest.split('/').next().is_some_and(is_placeholder) {
        return bad("names no registry of yours");
    }
    if scheme != "oci" {
        return None;
    }
    match rest.split_once('@') {
        Some((_, digest)) if !is_digest(digest) => {
            bad("does not end in sha256: and 64 hexadecimal digits")
        }
        Some(_) => None,
        None => {
            let found = format!("{text} may be another image tomorrow: a tag, not a digest");
            Some(Finding::doubtful(CHECK, url.spot.clone(), found, remedy))
        }
    }
}

/// As the files say that we ship, or names of no place at all (RFC 2606).
fn is_placeholder(host: &str) -> bool {
    host == "REGISTRY" || host == "MODULE" || host.ends_with(".example")
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    let is_hex = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex && hex.bytes().any(|b| b != b'0')
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
            assert!(findings(code, yaml, ("", "")).is_empty());
            check(code, yaml, (absolute, "lib/cartgate.wasm"), Level::Doubtful, "an absolute path");
        }
        assert!(findings(code, ENVOY, (absolute, "lib/here.wasm")).is_empty());
        check(code, ISTIO, (absolute, "lib/here.wasm"), Level::Doubtful, "an absolute path");
    }

    #[test]
    fn an_image_is_named_by_its_digest() {
        let digest = "498138c7".repeat(8);
        let check = |url: &str, level, part: &str| {
            let local = "local: { filename: /lib/cartgate_filter.wasm }";
            let remote = format!("remote: {{ http_uri: {{ uri: '{url}' }} }}");
            check(code, ISTIO, (local, &remote), level, part);
        };
        let by_digest = |digest: &str| format!("oci://registry.shop/cartgate-filter@{digest}");
        let good = by_digest(&format!("sha256:{digest}"));
        let remote = format!("remote: {{ http_uri: {{ uri: '{good}' }} }}");
        let local = "local: { filename: /lib/cartgate_filter.wasm }";
        assert!(findings(code, ISTIO, (local, &remote)).is_empty());
        check(&by_digest(&digest), Level::Bad, "does not end in sha256:");
        check(&by_digest("sha256:498138"), Level::Bad, "64 hexadecimal digits");
        check(&by_digest(&format!("sha256:{}", "0".repeat(64))), Level::Bad, "64 hexadecimal");
        check("oci://registry.shop/cartgate-filter:0.1.0", Level::Doubtful, "not a digest");
        check("registry.shop/cartgate-filter", Level::Bad, "no oci://");
        check("docker://registry.shop/cartgate-filter", Level::Bad, "neither");
        for host in ["registry.example", "REGISTRY", "MODULE"] {
            check(&format!("oci://{host}/cartgate-filter"), Level::Bad, "no registry of yours");
        }
    }
}
