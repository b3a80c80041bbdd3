//! The calls to Envoy.
//!
//! The proxy-wasm SDK's functions panic on a status they do not expect, and some on bytes that are no UTF-8; a
//! panic would take down the worker thread's whole filter. Here every status is looked at.

#![allow(unsafe_code)]
// The ABI's functions have as many arguments as they have.
#![allow(clippy::too_many_arguments)]

use thiserror::Error;

use crate::count::{SetError, SharedStore};
use crate::header_map;

/// What becomes of a request, or of the part of it that has come, in the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It goes on.
    Continue = 0,
    /// It is held back.
    Pause = 1,
}

/// How much a line in Envoy's log matters, in the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// Shown if somebody asked for it.
    Debug = 1,
    /// Somebody should act.
    Error = 4,
    /// More than we ever say: what no level hides.
    Critical = 5,
}

/// A call to Envoy that did not do what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the host call {call} failed with status {status}")]
pub(crate) struct HostError {
    call: &'static str,
    status: u32,
}

/// The filter's own configuration, as it is in Envoy's.
pub(crate) fn configuration() -> Result<Vec<u8>, HostError> {
    const PLUGIN_CONFIGURATION: u32 = 7;
    buffer(PLUGIN_CONFIGURATION, usize::MAX)
}

/// Has `on_tick` called every so often.
pub(crate) fn tick_every_ms(ms: u32) -> Result<(), HostError> {
    // SAFETY: no pointers.
    let status = unsafe { imports::proxy_set_tick_period_milliseconds(ms) };
    check("proxy_set_tick_period_milliseconds", status)
}

const HTTP_REQUEST_HEADERS: u32 = 0;

/// All headers of the request, among them `:method` and `:path`, in the ABI's serialised form.
pub(crate) fn request_headers() -> Result<Vec<u8>, HostError> {
    receive("proxy_get_header_map_pairs", |data, size| {
        // SAFETY: Envoy writes through the two pointers only; both outlive the call.
        unsafe { imports::proxy_get_header_map_pairs(HTTP_REQUEST_HEADERS, data, size) }
    })
}

/// Where the request came from, with its port.
pub(crate) fn source_address() -> Result<Vec<u8>, HostError> {
    const PATH: &[u8] = b"source\0address";
    receive("proxy_get_property", |data, size| {
        // SAFETY: Envoy reads the path's bytes, and writes through the two pointers; all outlive the
        // call.
        unsafe { imports::proxy_get_property(PATH.as_ptr(), PATH.len(), data, size) }
    })
}

/// Takes all headers of this name out of the request.
pub(crate) fn remove_request_header(name: &str) -> Result<(), HostError> {
    // SAFETY: Envoy reads the name's bytes, which outlive the call.
    let status = unsafe {
        imports::proxy_remove_header_map_value(HTTP_REQUEST_HEADERS, name.as_ptr(), name.len())
    };
    check("proxy_remove_header_map_value", status)
}

/// Gives the request a header, in the place of all of this name.
pub(crate) fn replace_request_header(name: &str, value: &str) -> Result<(), HostError> {
    let (name, name_size, size) = (name.as_ptr(), name.len(), value.len());
    let value = value.as_ptr();
    // SAFETY: Envoy reads the name's and the value's bytes, which outlive the call, and copies.
    let status = unsafe {
        imports::proxy_replace_header_map_value(HTTP_REQUEST_HEADERS, name, name_size, value, size)
    };
    check("proxy_replace_header_map_value", status)
}

/// Leaves a value with the request, as the filter state `wasm.` and `name`.
pub(crate) fn set_filter_state(name: &str, value: &str) -> Result<(), HostError> {
    let (name, name_size, size) = (name.as_ptr(), name.len(), value.len());
    // SAFETY: Envoy reads the name's and the value's bytes, which outlive the call, and copies.
    let status = unsafe { imports::proxy_set_property(name, name_size, value.as_ptr(), size) };
    check("proxy_set_property", status)
}

/// The body of `len` bytes that is held back.
pub(crate) fn request_body(len: usize) -> Result<Vec<u8>, HostError> {
    const HTTP_REQUEST_BODY: u32 = 0;
    if len == 0 {
        return Ok(Vec::new());
    }
    let body = buffer(HTTP_REQUEST_BODY, len)?;
    // A part of a form reads like a whole one: never decide on less than goes to the service.
    if body.len() == len {
        Ok(body)
    } else {
        Err(HostError { call: GET_BUFFER, status: imports::BAD_ARGUMENT })
    }
}

const GET_BUFFER: &str = "proxy_get_buffer_bytes";

fn buffer(kind: u32, len_max: usize) -> Result<Vec<u8>, HostError> {
    receive(GET_BUFFER, |data, size| {
        // SAFETY: Envoy writes through the two pointers only; both outlive the call.
        unsafe { imports::proxy_get_buffer_bytes(kind, 0, len_max, data, size) }
    })
}

/// Fresh random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], HostError> {
    let mut bytes = [0; N];
    // SAFETY: the pointer is to `N` bytes that outlive the call.
    let status = unsafe { imports::random_get(bytes.as_mut_ptr(), N) };
    check("random_get", status)?;
    Ok(bytes)
}

/// Answers the request in the service's place; Envoy sees to it that nothing more of it goes up.
/// `details` is what the access log gives as the reason (`%RESPONSE_CODE_DETAILS%`).
pub(crate) fn send_response(
    status: u16,
    details: &str,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
) -> Result<(), HostError> {
    const NO_GRPC_STATUS: i32 = -1;
    let headers = header_map::encode(headers);
    // SAFETY: Envoy reads the four blocks, which outlive the call, and copies.
    let status = unsafe {
        imports::proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    };
    check("proxy_send_local_response", status)
}

/// Sends a request to a cluster by itself; what comes of it Envoy says in a callback, by the number that
/// this gives. Without an answer in `timeout_ms` that is a failure.
pub(crate) fn call(
    cluster: &str,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
    timeout_ms: u32,
) -> Result<u32, HostError> {
    let (headers, trailers) = (header_map::encode(headers), header_map::encode(&[]));
    let mut call = 0;
    // SAFETY: Envoy reads the four blocks, and writes through the last pointer; all outlive the call.
    let status = unsafe {
        imports::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout_ms,
            &raw mut call,
        )
    };
    check("proxy_http_call", status)?;
    Ok(call)
}

/// The status of a call's answer; nothing, if there is none.
pub(crate) fn call_status() -> Vec<u8> {
    const HTTP_CALL_RESPONSE_HEADERS: u32 = 6;
    const STATUS: &[u8] = b":status";
    let status = receive("proxy_get_header_map_value", |data, size| {
        let (name, len) = (STATUS.as_ptr(), STATUS.len());
        // SAFETY: Envoy reads the name's bytes, and writes through the two pointers; all outlive the
        // call.
        unsafe {
            imports::proxy_get_header_map_value(HTTP_CALL_RESPONSE_HEADERS, name, len, data, size)
        }
    });
    status.unwrap_or_default()
}

/// The body of `len` bytes of a call's answer.
pub(crate) fn call_body(len: usize) -> Result<Vec<u8>, HostError> {
    const HTTP_CALL_RESPONSE_BODY: u32 = 4;
    buffer(HTTP_CALL_RESPONSE_BODY, len)
}

/// Writes a line to Envoy's log, logger `wasm`.
pub(crate) fn log(level: LogLevel, line: &str) {
    // Failure mode: the line is lost. No decision hangs on it.
    // SAFETY: Envoy reads the line's bytes, which outlive the call, and copies.
    let _ = unsafe { imports::proxy_log(level as u32, line.as_ptr(), line.len()) };
}

/// Whether Envoy's log level for `wasm` shows debug lines now.
pub(crate) fn is_debug() -> bool {
    let mut level = LogLevel::Critical as u32;
    // SAFETY: the pointer is to a `u32` that outlives the call.
    let status = unsafe { imports::proxy_get_log_level(&raw mut level) };
    status == imports::OK && level <= LogLevel::Debug as u32
}

/// What a metric is, in the ABI's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// It counts up.
    Counter = 0,
    /// It has a value.
    Gauge = 1,
}

/// Makes a metric known to Envoy and gives its id.
pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Option<u32> {
    let (kind, mut id) = (kind as u32, 0);
    // SAFETY: Envoy reads the name's bytes and writes through the last pointer; both outlive the
    // call.
    let status =
        unsafe { imports::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
    // Failure mode: go on without it. Metrics must not decide about requests.
    (status == imports::OK).then_some(id)
}

/// Counts so many more.
pub(crate) fn increment(counter: u32, by: u32) {
    // Failure mode: go on, as above.
    // SAFETY: no pointers.
    let _ = unsafe { imports::proxy_increment_metric(counter, by.into()) };
}

/// Gives a gauge its value.
pub(crate) fn record(gauge: u32, value: u64) {
    // Failure mode: go on, as above.
    // SAFETY: no pointers.
    let _ = unsafe { imports::proxy_record_metric(gauge, value) };
}

/// Envoy's shared data: bytes under keys, common to the worker threads of one process. Its keys
/// belong to a `vm_id`, which other filters may use too: hence the prefix in `edge`.
pub(crate) struct SharedData;

impl SharedStore for SharedData {
    type Error = HostError;

    fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, HostError> {
        let mut cas = 0;
        let value = receive("proxy_get_shared_data", |data, size| {
            let cas = &raw mut cas;
            // SAFETY: Envoy reads the key's bytes, and writes through the three pointers; all
            // outlive the call.
            unsafe { imports::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, cas) }
        });
        match value {
            Ok(value) => Ok(Some((value, cas))),
            Err(HostError { status: imports::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<u32>) -> Result<(), SetError<HostError>> {
        // Envoy (proxy-wasm-cpp-host, src/shared_data.cc) compares the number only if the key is
        // there and the number is not 0. So any other number creates an absent key, and leaves
        // alone one that somebody else has just created, unless that one happens to have this very
        // number: they count up from 1 with every change of any key, and come by here once in 2^32.
        const ABSENT: u32 = u32::MAX;
        let cas = cas.unwrap_or(ABSENT);
        // SAFETY: Envoy reads the key's and the value's bytes, which outlive the call, and copies.
        let status = unsafe {
            let (key, key_size) = (key.as_ptr(), key.len());
            imports::proxy_set_shared_data(key, key_size, value.as_ptr(), value.len(), cas)
        };
        match status {
            imports::OK => Ok(()),
            imports::CAS_MISMATCH => Err(SetError::Changed),
            status => Err(SetError::Store(HostError { call: "proxy_set_shared_data", status })),
        }
    }

    /// The machine's monotonic clock, the same for all worker threads. The ABI's own clock is wall
    /// time, which steps.
    fn now_ns(&self) -> Result<u64, HostError> {
        const CLOCK_MONOTONIC: u32 = 1;
        let mut now_ns = 0;
        // SAFETY: the pointer is to a `u64` that outlives the call.
        let status = unsafe { imports::clock_time_get(CLOCK_MONOTONIC, 0, &raw mut now_ns) };
        check("clock_time_get", status)?;
        Ok(now_ns)
    }
}

/// Runs a call that gives bytes, and takes them over.
fn receive(
    call: &'static str,
    run: impl FnOnce(&mut *mut u8, &mut usize) -> u32,
) -> Result<Vec<u8>, HostError> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    check(call, run(&mut data, &mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the ABI says that after `OK` a block that is not null was obtained from this module's
    // `proxy_on_memory_allocate` for `size` bytes, all written, and is the module's to free. It was a
    // box there.
    Ok(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)) }.into_vec())
}

fn check(call: &'static str, status: u32) -> Result<(), HostError> {
    if status == imports::OK { Ok(()) } else { Err(HostError { call, status }) }
}

/// The imports, as the proxy-wasm ABI 0.2.1 and WASI preview 1 declare them.
mod imports {
    pub(super) const OK: u32 = 0;
    pub(super) const NOT_FOUND: u32 = 1;
    pub(super) const BAD_ARGUMENT: u32 = 2;
    pub(super) const CAS_MISMATCH: u32 = 8;

    /// Declares functions that Envoy provides. Natively there is no Envoy: each gives the ABI's
    /// "unimplemented", so that the crate links and its other parts can be tested.
    macro_rules! imports {
        ($($module:literal: $(fn $name:ident($($arg:ident: $kind:ty),*);)*)*) => {
            $(
                #[cfg(target_arch = "wasm32")]
                #[link(wasm_import_module = $module)]
                unsafe extern "C" {
                    $(pub(super) fn $name($($arg: $kind),*) -> u32;)*
                }
                $(
                    #[cfg(not(target_arch = "wasm32"))]
                    pub(super) unsafe fn $name($(_: $kind),*) -> u32 {
                        12
                    }
                )*
            )*
        };
    }

    imports! {
        "env":
        fn proxy_log(level: u32, line: *const u8, line_size: usize);
        fn proxy_get_log_level(level: *mut u32);
        fn proxy_set_tick_period_milliseconds(period: u32);
        fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32);
        fn proxy_increment_metric(id: u32, offset: i64);
        fn proxy_record_metric(id: u32, value: u64);
        fn proxy_http_call(
            cluster: *const u8, cluster_size: usize, headers: *const u8, headers_size: usize,
            body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize,
            timeout_ms: u32, call: *mut u32
        );
        fn proxy_get_header_map_value(
            map: u32, name: *const u8, name_size: usize, data: *mut *mut u8, size: *mut usize
        );
        fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize);
        fn proxy_replace_header_map_value(
            map: u32, name: *const u8, name_size: usize, value: *const u8, value_size: usize
        );
        fn proxy_set_property(
            path: *const u8, path_size: usize, value: *const u8, value_size: usize
        );
        fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize);
        fn proxy_get_buffer_bytes(
            buffer: u32, start: usize, max_size: usize, data: *mut *mut u8, size: *mut usize
        );
        fn proxy_get_property(
            path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize
        );
        fn proxy_get_shared_data(
            key: *const u8, key_size: usize, data: *mut *mut u8, size: *mut usize, cas: *mut u32
        );
        fn proxy_set_shared_data(
            key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32
        );
        fn proxy_send_local_response(
            status: u32, details: *const u8, details_size: usize, body: *const u8,
            body_size: usize, headers: *const u8, headers_size: usize, grpc_status: i32
        );
        "wasi_snapshot_preview1":
        fn clock_time_get(clock: u32, precision: u64, time_ns: *mut u64);
        fn random_get(bytes: *mut u8, size: usize);
    }
}
