//! What a request is marked with: verdict and lines, for Envoy's access log and for the service.

use cartgate_policy::config::Config;
use cartgate_policy::extract::{Head, Line};

use crate::host::{self, HostError, LogLevel};

/// The headers that tell the service, and nobody else may send.
const VERDICT_HEADER: &str = "x-cartgate-verdict";
const LINES_HEADER: &str = "x-cartgate-lines";

/// The filter states that tell the access log; Envoy puts `wasm.` before them.
const VERDICT_STATE: &str = "cartgate_verdict";
const LINES_STATE: &str = "cartgate_lines";

/// Takes away what a client sends in our name.
///
/// # Errors
/// Failure mode: the request is refused. The service would believe the client.
pub(crate) fn strip(head: &Head<'_>) -> Result<(), HostError> {
    for name in [VERDICT_HEADER, LINES_HEADER] {
        if head.first(name).is_some() {
            host::remove_request_header(name)?;
        }
    }
    Ok(())
}

/// Marks a request that passes.
pub(crate) fn passed(config: &Config, verdict: &str, lines: &[Line]) {
    refused(config, verdict, lines);
    if config.upstream_headers() {
        tell_all(host::replace_request_header, (VERDICT_HEADER, LINES_HEADER), verdict, lines);
    }
}

/// Marks a request that is answered here.
pub(crate) fn refused(config: &Config, verdict: &str, lines: &[Line]) {
    if config.access_log() {
        tell_all(host::set_filter_state, (VERDICT_STATE, LINES_STATE), verdict, lines);
    }
}

/// Failure mode: go on without. Nothing is decided by it, and a client's own marks are gone.
fn tell_all(
    tell: impl Fn(&str, &str) -> Result<(), HostError>,
    (verdict_name, lines_name): (&str, &str),
    verdict: &str,
    lines: &[Line],
) {
    let told = tell(verdict_name, verdict).and_then(|()| match lines {
        [] => Ok(()),
        lines => tell(lines_name, &text(lines)),
    });
    if let Err(error) = told {
        host::log(LogLevel::Error, &format!("cannot mark a request error=\"{error}\""));
    }
}

/// Lines in one word: `A-1=2,B-7=1`. No SKU has any of these signs in it.
pub(crate) fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(line.sku.as_str());
        text.push('=');
        text.push_str(&line.quantity.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use cartgate_policy::{Quantity, Sku};

    #[test]
    fn lines_are_one_word() {
        let line =
            |sku, n| Line { sku: Sku::parse(sku).unwrap(), quantity: Quantity::new(n).unwrap() };
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[line("A-1", 2), line("4711", 1)]), "A-1=2,4711=1");
    }
}
