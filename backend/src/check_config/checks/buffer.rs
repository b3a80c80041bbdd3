//! Is there room in Envoy for the largest body that the filter reads?

use super::super::find::{Filter, Home, Site, World};
use super::super::place::Place;
use super::super::report::Finding;

/// What bounds how much of a request Envoy holds back.
struct Bound {
    check: &'static str,
    name: &'static str,
}

const LIMIT: Bound = Bound { check: "buffer", name: "per_connection_buffer_limit_bytes" };

/// Over HTTP/2 a stream's window is the limit of its buffer.
const WINDOW: Bound =
    Bound { check: "window", name: "http2_protocol_options.initial_stream_window_size" };

/// What Envoy has for a listener that says nothing.
const LIMIT_DEFAULT: u64 = 1 << 20;
/// What Istio's gateways have.
const LIMIT_OF_GATEWAYS: u64 = 32 << 10;
/// What envoy/envoy.yaml has: with room for what a client sends at once.
const LIMIT_SHIPPED: u64 = 256 << 10;
/// The smallest window that Envoy takes.
const WINDOW_MIN: u64 = 65_535;

/// A listener's limit must be above the largest body.
pub(super) fn limit(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let Some(body_bytes_max) = largest_body(filter) else { return Vec::new() };
    let sites = world.sites(filter);
    sites.iter().flat_map(|site| limit_at(site, &filter.home, body_bytes_max)).collect()
}

fn limit_at(site: &Site<'_>, home: &Home<'_>, body_bytes_max: u64) -> Vec<Finding> {
    let said = site.of_listener(LIMIT.name);
    match home {
        Home::Plugin(_) | Home::Alone => Vec::new(),
        _ if !said.is_empty() => {
            said.into_iter().map(|limit| LIMIT.judge(limit, body_bytes_max)).collect()
        }
        Home::Chain { listener: Some(listener), .. } => vec![by_default(listener, body_bytes_max)],
        Home::Patch(_) if site.patch.as_ref().is_some_and(|own| own.context() == "GATEWAY") => {
            vec![at_gateway(site, body_bytes_max)]
        }
        Home::Chain { .. } | Home::Patch(_) => Vec::new(),
    }
}

/// So must a window that is set. Envoy's default is far above any body that is read.
pub(super) fn window(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let Some(body_bytes_max) = largest_body(filter) else { return Vec::new() };
    let sites = world.sites(filter);
    let windows = sites.iter().flat_map(|site| site.of_manager(WINDOW.name));
    windows.map(|window| judged_window(window, body_bytes_max)).collect()
}

fn judged_window(window: Place<'_>, body_bytes_max: u64) -> Finding {
    if window.number().is_some_and(|bytes| bytes < WINDOW_MIN) {
        let found = format!(
            "{} is {}: Envoy takes no window below {WINDOW_MIN}",
            WINDOW.name,
            window.shown()
        );
        return Finding::bad(WINDOW.check, window.spot, found, WINDOW.remedy(body_bytes_max));
    }
    WINDOW.judge(window, body_bytes_max)
}

/// The largest body that the filter would read, in bytes, if it reads any.
fn largest_body(filter: &Filter<'_>) -> Option<u64> {
    let settings = filter.settings()?;
    settings.body_reader()?;
    u64::try_from(settings.config.body_bytes_max()).ok()
}

impl Bound {
    fn judge(&self, bound: Place<'_>, body_bytes_max: u64) -> Finding {
        let Self { check, name } = *self;
        let is = bound.shown();
        match bound.number() {
            Some(bytes) if bytes > body_bytes_max => {
                let found = format!("{name} is {is}: above body_bytes_max, {body_bytes_max}");
                Finding::good(check, bound.spot, found)
            }
            Some(_) => {
                let found = format!(
                    "{name} is {is}: not above body_bytes_max, {body_bytes_max}, so that Envoy \
                     answers 413 or stops reading before the filter has seen such a body"
                );
                Finding::bad(check, bound.spot, found, self.remedy(body_bytes_max))
            }
            None => {
                let found = format!("{name} is {is}: no whole number");
                Finding::bad(check, bound.spot, found, self.remedy(body_bytes_max))
            }
        }
    }

    fn remedy(&self, body_bytes_max: u64) -> String {
        let bytes = LIMIT_SHIPPED.max(2 * body_bytes_max);
        format!("{}: {bytes}, or a smaller body_bytes_max", self.name)
    }
}

fn by_default(listener: &Place<'_>, body_bytes_max: u64) -> Finding {
    let Bound { check, name } = LIMIT;
    let spot = listener.spot_of(name);
    if LIMIT_DEFAULT > body_bytes_max {
        let found = format!(
            "{name} is not there: Envoy's {LIMIT_DEFAULT} are above body_bytes_max, {body_bytes_max}"
        );
        return Finding::good(check, spot, found);
    }
    let found = format!(
        "{name} is not there: Envoy's {LIMIT_DEFAULT} are not above body_bytes_max, \
         {body_bytes_max}, so that Envoy itself answers 413 to such a body"
    );
    Finding::bad(check, spot, found, LIMIT.remedy(body_bytes_max))
}

fn at_gateway(site: &Site<'_>, body_bytes_max: u64) -> Finding {
    let Bound { check, name } = LIMIT;
    let found = format!(
        "no LISTENER patch here sets {name}: Istio's gateways start with {LIMIT_OF_GATEWAYS}, and \
         body_bytes_max is {body_bytes_max}"
    );
    let remedy = format!(
        "a LISTENER patch (operation MERGE) as in istio/edge/gateway.yaml, with {}",
        LIMIT.remedy(body_bytes_max)
    );
    Finding::doubtful(check, site.spot(), found, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, check, findings};
    use super::*;

    #[test]
    fn envoys_buffer_must_be_above_the_largest_body() {
        let to = |bytes: &str| format!("{}: {bytes}", LIMIT.name);
        let check = |bytes: &str, level, part: &str| {
            check(limit, ENVOY, (&to("262144"), &to(bytes)), level, part);
        };
        check("262144", Level::Good, "above body_bytes_max, 65536");
        check("65537", Level::Good, "65537");
        check("65536", Level::Bad, "per_connection_buffer_limit_bytes: 262144");
        check("32768", Level::Bad, "413");
        check("many", Level::Bad, "no whole number");
        check("~", Level::Good, "not there: Envoy's 1048576 are above");
        let large = ENVOY.replace("\"body_bytes_max\": 65536", "\"body_bytes_max\": 1048576");
        let absent = (&*to("262144"), "");
        super::super::testing::check(limit, &large, absent, Level::Bad, "limit_bytes: 2097152");
        let unread = ENVOY.replace("{\"json\": \"/sku\"}", "{\"path\": \"sku\"}");
        assert!(findings(limit, &unread, absent).is_empty());
        assert!(findings(window, &unread, absent).is_empty());
    }

    #[test]
    fn a_window_of_http2_must_be_above_it_too() {
        let check = |bytes: &str, level, part: &str| {
            let change = ("window_size: 262144", &*format!("window_size: {bytes}"));
            check(window, ENVOY, change, level, part);
        };
        check("262144", Level::Good, "above");
        check("65536", Level::Bad, "initial_stream_window_size: 262144");
        check("1000", Level::Bad, "no window below 65535");
        assert!(findings(window, ENVOY, ("http2_protocol_options", "other")).is_empty());
        let merged = "normalize_path: true";
        let size = |bytes: u64| format!("{}: {bytes}\n            {merged}", WINDOW.name);
        let apart = |bytes| ISTIO.replace(merged, &size(bytes));
        super::super::testing::check(window, &apart(70_000), ("", ""), Level::Good, "above");
        super::super::testing::check(window, &apart(65_536), ("", ""), Level::Bad, "413");
    }

    #[test]
    fn istios_gateways_have_a_small_buffer() {
        assert!(findings(limit, ISTIO, ("", "")).is_empty());
        let gateway = ISTIO.replace("SIDECAR_INBOUND", "GATEWAY");
        check(limit, &gateway, ("", ""), Level::Doubtful, "a LISTENER patch");
        let patch = |bytes: u64| {
            format!(
                "  configPatches:\n    - applyTo: LISTENER\n      match: {{ context: GATEWAY }}\n      \
                 patch: {{ operation: MERGE, value: {{ {}: {bytes} }} }}",
                LIMIT.name
            )
        };
        check(limit, &gateway, ("  configPatches:", &patch(70_000)), Level::Good, "70000");
        check(limit, &gateway, ("  configPatches:", &patch(65_536)), Level::Bad, "413");
        let added = patch(70_000).replace("MERGE", "ADD");
        check(limit, &gateway, ("  configPatches:", &added), Level::Doubtful, "a LISTENER patch");
        assert!(findings(limit, ISTIO, ("  configPatches:", &patch(1))).is_empty());
        // The filter's other places have buffers of their own.
        let edge = gateway.split_once("---\n").unwrap().1;
        let both = format!("{ISTIO}---\n{edge}");
        check(limit, &both, ("", ""), Level::Doubtful, "a LISTENER patch");
        check(limit, &both, ("  configPatches:", &patch(70_000)), Level::Good, "70000");
    }
}
