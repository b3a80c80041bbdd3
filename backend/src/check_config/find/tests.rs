use super::super::read;
use super::super::samples::{ENVOY, ISTIO, PLUGIN};
use super::*;

/// Where the filters of a file are.
fn places(yaml: &str) -> Vec<String> {
    let documents = read("f.yaml", yaml).unwrap();
    let (filters, _) = all(&documents, |_| false);
    filters.iter().map(|filter| format!("{} {}", filter.place.spot.line, filter.is())).collect()
}

#[test]
fn ours_is_known_by_any_of_its_names_or_by_its_configuration() {
    let theirs = ENVOY.replace("cartgate", "theirs");
    let nameless = theirs.replace("default_limit", "limit");
    assert!(places(&nameless).is_empty());
    let found = ["28 in a chain of the listener shoppers"];
    assert_eq!(places(ENVOY), found);
    assert_eq!(places(&theirs), found);
    let names = [
        ("- name: theirs", "- name: Cartgate"),
        (
            "  name: theirs\n                        allow",
            "  name: my-cartgate\n                        allow",
        ),
        ("vm_id: theirs", "vm_id: cartgate"),
        ("failure_policy: FAIL_RELOAD", "root_id: cartgate"),
        ("/lib/theirs_filter", "/lib/cartgate_filter"),
        (
            "local: { filename: /lib/theirs_filter.wasm }",
            "remote: { http_uri: { uri: 'http://x/cartgate' } }",
        ),
    ];
    for (from, to) in names {
        assert!(nameless.contains(from), "{from}");
        assert_eq!(places(&nameless.replace(from, to)), found, "{to}");
    }
    assert!(places(&ENVOY.replace("http.wasm.v3.Wasm", "http.lua.v3.Lua")).is_empty());
    assert!(places("a: [b, {typed_config: c}]").is_empty());
}

#[test]
fn ours_is_found_in_what_istio_has() {
    assert_eq!(places(ISTIO), ["11 in the EnvoyFilter filter"]);
    assert_eq!(places(PLUGIN), ["1 a WasmPlugin"]);
    let theirs = PLUGIN.replace("cartgate", "theirs");
    assert_eq!(places(&theirs), ["1 a WasmPlugin"]);
    assert!(places(&theirs.replace("default_limit", "limit")).is_empty());
    let nested = PLUGIN.replace("\n  ", "\n    ").replace("\nspec:", "\nspec:\n  wasm:");
    let extension = nested.replace("WasmPlugin", "TrafficExtension");
    assert_eq!(places(&extension), ["1 a TrafficExtension"]);
    let item = format!("kind: List\nitems:\n- {}", PLUGIN.trim_end().replace('\n', "\n  "));
    assert_eq!(places(&item), ["3 a WasmPlugin"]);
    let wrapped = ISTIO.replace(
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n            config:",
        "\"@type\": type.googleapis.com/xds.type.v3.TypedStruct\n            type_url: \
         type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n            \
         value:\n             config:",
    );
    assert_ne!(wrapped, ISTIO);
    assert_eq!(places(&wrapped), ["11 in the EnvoyFilter filter"]);
}

#[test]
fn all_of_ours_are_found() {
    let (before, listener) = ENVOY.split_once("    - name: shoppers").unwrap();
    let (listener, behind) = listener.split_once("  clusters:").unwrap();
    let second = listener.replace("cartgate", "theirs");
    let both = format!("{before}    - name: a{listener}    - {second}  clusters:{behind}");
    let found = ["28 in a chain of the listener a", "92 in a chain of the listener without a name"];
    let both = both.replace("    - \n", "    -\n");
    assert_eq!(places(&both), found);
    // A connection manager may also be what a patch adds.
    let added = format!(
        "kind: EnvoyFilter\nspec:\n  configPatches:\n  - patch:\n      value:\n        {}",
        ENVOY.trim_end().replace('\n', "\n        ")
    );
    assert_eq!(places(&added), ["33 in a chain of the listener shoppers"]);
    assert_eq!(places(&format!("{ENVOY}---\n{ISTIO}---\n{PLUGIN}")).len(), 3);
}

/// Which line asks for a filter that is not there, by what name.
fn in_vain(yaml: &str) -> Option<(usize, String)> {
    let documents = read("f.yaml", yaml).unwrap();
    let (_, world) = all(&documents, |_| false);
    world.asks_in_vain().map(|(patch, name)| (patch.place.spot.line, name.to_owned()))
}

#[test]
fn a_place_without_its_filter_is_found() {
    let (filter, edge) = ISTIO.split_once("---\n").unwrap();
    assert_eq!(in_vain(edge), Some((9, "cartgate".to_owned())));
    assert_eq!(in_vain(&format!("{ENVOY}---\n{edge}")).map(|(line, _)| line), Some(78));
    for yaml in [ISTIO, filter, &format!("{edge}---\n{filter}")] {
        assert_eq!(in_vain(yaml), None);
    }
    // What is not ours, or has all in itself, asks for nothing of ours.
    assert_eq!(
        in_vain(&edge.replace("name: cartgate\n          config_d", "name: x\n          config_d")),
        None
    );
    let itself = edge.replace("config_discovery:", "typed_config: {}\n          other:");
    assert_eq!(in_vain(&itself), None);
}
