//! The module itself, as Envoy loads it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use cartgate_tests::paths;

/// Every worker thread of every sidecar has a copy.
const BYTES_MAX: usize = 600 * 1024;

/// Envoy calls each callback that is exported for each request, whether it does something or not: so
/// the linker leaves out those of no use (`filter/link.sh`).
#[test]
fn it_is_small_and_exports_no_idle_callbacks() {
    let module = fs::read(paths::filter_module().unwrap()).unwrap();
    assert!(module.len() <= BYTES_MAX, "{} bytes", module.len());
    let names = |name: &str| module.windows(name.len()).any(|bytes| bytes == name.as_bytes());
    for used in ["proxy_on_request_headers", "proxy_on_request_body", "proxy_on_delete"] {
        assert!(names(used), "{used} is missing");
    }
    for idle in
        ["proxy_on_response_headers", "proxy_on_response_body", "proxy_on_log", "proxy_on_done"]
    {
        assert!(!names(idle), "{idle} is called for nothing");
    }
}
