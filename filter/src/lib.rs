//! The filter that Envoy loads: a thin shell over `cartgate-policy`.
//!
//! - `host` is the only module that calls Envoy, and so the only one with `unsafe` blocks.
//! - `edge` holds what all requests of one worker thread share.
//! - `counter` charges requests to limits, in the state that all threads share (`count`).
//! - `root` is the filter's life: configuration, once per worker thread.
//! - `request` is one request's life.
//! - `reply` words the answers.
//!
//! Every worker thread runs its own copy of this module; only `host::SharedData` is common to them.
//! Nothing here panics, whatever comes in: a fallible step names its failure mode, and each denies
//! rather than admits.

mod count;
mod counter;
mod edge;
mod header_map;
mod host;
mod metrics;
mod reply;
mod request;
mod root;

/// Envoy's entry point, called once in each worker thread before anything else.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code)]
// SAFETY: the name is the one that the proxy-wasm ABI gives, and no other item has it.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    start();
}

/// Tells the SDK what handles Envoy's callbacks.
pub fn start() {
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}
