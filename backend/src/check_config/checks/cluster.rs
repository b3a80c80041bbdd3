//! Does the filter's `service` have a cluster?

use super::super::find::{Clusters, Filter, Home, World};
use super::super::place::Spot;
use super::super::report::Finding;

const CHECK: &str = "service";

/// As many names as a message has room for.
const NAMES_MAX: usize = 10;

pub(super) fn service(filter: &Filter<'_>, world: &World<'_>) -> Vec<Finding> {
    let Some(settings) = filter.settings() else { return Vec::new() };
    let Some(service) = settings.config.service() else {
        let found =
            "service is not there: this edge has limits of its own, and hears of no hot items";
        return vec![Finding::good(CHECK, settings.place().spot_of("service"), found)];
    };
    let spot = settings.place().spot_of("service.cluster");
    vec![match &filter.home {
        Home::Patch(_) | Home::Plugin(_) => {
            let sites = world.sites(filter).into_iter();
            let mut patches = sites.filter_map(|site| site.patch);
            let is_at_gateway = patches.any(|patch| patch.context() == "GATEWAY");
            in_istio(spot, service.cluster(), is_at_gateway)
        }
        Home::Chain { .. } | Home::Alone => {
            in_envoy(spot, service.cluster(), &world.clusters(filter))
        }
    }]
}

fn in_envoy(spot: Spot, cluster: &str, clusters: &Clusters) -> Finding {
    if clusters.names.iter().any(|name| name == cluster) {
        return Finding::good(CHECK, spot, format!("the cluster {cluster} is there"));
    }
    if !clusters.are_listed {
        let found = format!("whether there is a cluster {cluster} cannot be seen from here");
        return Finding::doubtful(CHECK, spot, found, "name the file that has the clusters, too");
    }
    if clusters.are_dynamic {
        let found = format!(
            "{cluster} is not in static_resources.clusters; whether cds_config brings it cannot be \
             seen from here"
        );
        let remedy =
            format!("see that it does: Envoy's admin port lists {cluster} under /clusters");
        return Finding::doubtful(CHECK, spot, found, remedy);
    }
    let found = format!(
        "there is no cluster {cluster}: the filter reports to nobody, and hears of no hot items"
    );
    let names: Vec<&str> = clusters.names.iter().map(String::as_str).take(NAMES_MAX).collect();
    let remedy = match names.is_empty() {
        true => format!("a cluster {cluster} in static_resources.clusters, as in envoy/envoy.yaml"),
        false => format!("one of static_resources.clusters ({}), or one more", names.join(", ")),
    };
    Finding::bad(CHECK, spot, found, remedy)
}

fn in_istio(spot: Spot, cluster: &str, is_at_gateway: bool) -> Finding {
    let remedy = "inbound|PORT|| for the service in the sidecar's own pod, \
                  outbound|PORT|SUBSET|HOST for any other (SUBSET may be empty)";
    if !is_istios(cluster) {
        let found = format!("{cluster}: Istio names no cluster so");
        return Finding::doubtful(CHECK, spot, found, remedy);
    }
    if is_at_gateway && cluster.starts_with("inbound|") {
        let found = format!("{cluster}: a gateway has no inbound clusters");
        return Finding::doubtful(CHECK, spot, found, "outbound|PORT|SUBSET|HOST");
    }
    Finding::good(CHECK, spot, format!("{cluster}: a name as Istio gives them"))
}

/// Whether it is `inbound|PORT||` or `outbound|PORT|SUBSET|HOST`.
fn is_istios(cluster: &str) -> bool {
    let parts: Vec<&str> = cluster.split('|').collect();
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match parts.as_slice() {
        ["inbound", port, "", ""] => is_port(port),
        ["outbound", port, _, host] => is_port(port) && !host.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{ENVOY, ISTIO, check};
    use super::*;

    #[test]
    fn the_cluster_must_be_there() {
        check(service, ENVOY, ("", ""), Level::Good, "reports is there");
        check(
            service,
            ENVOY,
            ("\"service\": {\"cluster\": \"reports\"},", ""),
            Level::Good,
            "no hot items",
        );
        let other = ("\"cluster\": \"reports\"", "\"cluster\": \"report\"");
        check(service, ENVOY, other, Level::Bad, "clusters (reports)");
        let none = ENVOY.replace("  clusters:\n    - name: reports\n", "");
        check(service, &none, ("", ""), Level::Bad, "a cluster reports in");
    }

    #[test]
    fn what_may_be_elsewhere_is_in_doubt() {
        let dynamic = format!("dynamic_resources:\n  cds_config: {{ ads: {{}} }}\n{ENVOY}");
        check(service, &dynamic, ("", ""), Level::Good, "is there");
        let other = ("\"cluster\": \"reports\"", "\"cluster\": \"report\"");
        check(service, &dynamic, other, Level::Doubtful, "/clusters");
        let (before, _) = ENVOY.split_once("  clusters:").unwrap();
        let listeners = before.replace("static_resources:\n  listeners:", "resources:\n ");
        let listeners = listeners.replacen(
            "\n    - name: shoppers",
            "\n    - '@type': x/envoy.config.listener.v3.Listener\n      name: shoppers",
            1,
        );
        check(
            service,
            &listeners,
            ("", ""),
            Level::Doubtful,
            "name the file that has the clusters",
        );
        let served = format!(
            "{listeners}\n---\nresources:\n- '@type': x/{CLUSTER}\n  name: reports\n",
            CLUSTER = "envoy.config.cluster.v3.Cluster"
        );
        check(service, &served, ("", ""), Level::Good, "is there");
        // Another Envoy's clusters are no help.
        let stranger = format!("{ENVOY}---\n{}", ENVOY.replace("reports", "report"));
        check(service, &stranger, other, Level::Bad, "clusters (reports)");
    }

    #[test]
    fn istios_clusters_have_names_of_a_form() {
        let check = |name: &str, level, part: &str| {
            check(service, ISTIO, ("inbound|8080||", name), level, part);
        };
        check("inbound|8080||", Level::Good, "8080");
        check("outbound|8080||cartgate.shop.svc.cluster.local", Level::Good, "cartgate.shop");
        check("outbound|8080|v1|cartgate", Level::Good, "v1");
        for name in [
            "cartgate",
            "inbound|http||",
            "inbound|0||",
            "inbound|80|x|",
            "outbound|80||",
            "outbound|80|",
        ] {
            check(name, Level::Doubtful, "inbound|PORT||");
        }
        let gateway = ISTIO.replace("SIDECAR_INBOUND", "GATEWAY");
        super::super::testing::check(
            service,
            &gateway,
            ("", ""),
            Level::Doubtful,
            "no inbound clusters",
        );
    }
}
