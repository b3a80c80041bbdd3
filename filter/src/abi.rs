//! What Envoy calls: callbacks of the proxy-wasm ABI 0.2.1, those that this filter needs and no others.
//!
//! Envoy calls every callback that a module exports, for each request, and to cross into the module
//! costs more than what most of them would do there. That is why these are our own: the proxy-wasm SDK
//! exports all of the ABI's, and keeps a boxed context for every stream, also of those that it need not
//! know of again.

#![allow(unsafe_code)]

use std::cell::RefCell;

use crate::filter::Filter;

thread_local! {
    static FILTER: RefCell<Filter> = const { RefCell::new(Filter::new()) };
}

/// Runs a callback. Envoy makes none while another runs, but for `proxy_on_memory_allocate`, which is
/// not run by this. If it did, the filter would crash, and requests be answered 503.
fn run<T>(callback: impl FnOnce(&mut Filter) -> T) -> T {
    FILTER.with_borrow_mut(callback)
}

/// Declares callbacks, by the names that the ABI gives them.
macro_rules! callbacks {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(
            $(#[$doc])*
            // SAFETY: no other item has one of these names.
            #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
            pub extern "C" fn $name($($arg: $kind),*) $(-> $result)? $body
        )*
    };
}

callbacks! {
    /// Its name tells Envoy which ABI this is.
    fn proxy_abi_version_0_2_1() {}

    /// Gives Envoy a block for what it answers a host call with: `host::receive` takes it over.
    fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
        Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
    }

    /// There is a configuration to come (`parent` is 0), or a stream under the one that is `parent`.
    fn proxy_on_context_create(context: u32, parent: u32) {
        run(|filter| filter.create(context, parent));
    }

    /// A configuration has come. Returns 1 if it is taken.
    fn proxy_on_configure(root: u32, _size: u32) -> u32 {
        run(|filter| filter.configure(root)).into()
    }

    /// Some time has passed.
    fn proxy_on_tick(root: u32) {
        run(|filter| filter.tick(root));
    }

    /// A call has been answered, with a body of so many bytes, or has failed.
    fn proxy_on_http_call_response(root: u32, call: u32, _headers: u32, body: u32, _trailers: u32) {
        run(|filter| filter.call_answered(root, call, body as usize));
    }

    /// The head of a request has come.
    fn proxy_on_request_headers(stream: u32, _count: u32, end_of_stream: u32) -> u32 {
        run(|filter| filter.request_headers(stream, end_of_stream != 0)) as u32
    }

    /// More of a body has come: `len` bytes of it are held back by now.
    fn proxy_on_request_body(stream: u32, len: u32, end_of_stream: u32) -> u32 {
        run(|filter| {
            filter.request_body(stream, len as usize, end_of_stream != 0)
        }) as u32
    }

    /// Trailers have come, which end the body.
    fn proxy_on_request_trailers(stream: u32, _count: u32) -> u32 {
        run(|filter| filter.request_trailers(stream)) as u32
    }

    /// A stream or a configuration is gone.
    fn proxy_on_delete(context: u32) {
        run(|filter| filter.delete(context));
    }
}
