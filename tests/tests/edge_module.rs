//! The module itself, as Envoy loads it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;

use cartgate_tests::paths;
use wasmparser::{Parser, Payload};

/// Every worker thread of every sidecar has a copy; and a ConfigMap, by which meshes get it, has no room for
/// more than 1 MiB.
const BYTES_MAX: usize = 900 * 1024;

/// Envoy calls each callback that is exported for each request, whether it does something or not. And
/// if one were missing, it would let pass what that one holds back.
#[test]
fn it_is_small_and_exports_what_it_needs_and_nothing_else() {
    let module = fs::read(paths::filter_module().unwrap()).unwrap();
    assert!(module.len() <= BYTES_MAX, "{} bytes", module.len());
    let mut exports = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&module) {
        if let Payload::ExportSection(section) = payload.unwrap() {
            exports.extend(section.into_iter().map(|export| export.unwrap().name.to_owned()));
        }
    }
    // These two are data of the linker's.
    exports.retain(|name| name != "__data_end" && name != "__heap_base");
    let expected = [
        "memory",
        "proxy_abi_version_0_2_1",
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_delete",
        "proxy_on_http_call_response",
        "proxy_on_memory_allocate",
        "proxy_on_request_body",
        "proxy_on_request_headers",
        "proxy_on_request_trailers",
        "proxy_on_tick",
    ];
    assert_eq!(exports, expected.map(str::to_owned).into());
}
