//! `cartgate check-config` on the files that we ship, and on copies in which one thing is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::process::{Command, Output};
use std::{fs, iter};

use cartgate_tests::paths;
use serde_json::Value;
use tempfile::TempDir;

const ENVOY: &str = "envoy/envoy.yaml";
const ISTIO: &str = "istio/edge/filter.yaml";
const ROUTES: &str = "istio/edge/routes.yaml";

/// The files that put it into proxies.
const PLACES: [&str; 3] = [
    "istio/edge/gateway.yaml",
    "istio/edge/sidecar-inbound.yaml",
    "istio/edge/sidecar-outbound.yaml",
];

/// Files that do without.
const PLUGINS: [&str; 2] = ["istio/edge/traffic-extension.yaml", "istio/edge/wasm-plugin.yaml"];

const PLUGIN: &str = "\
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: cartgate}
spec:
  url: oci://registry.shop/filter@sha256:498138c7498138c7498138c7498138c7498138c7498138c7498138c7498138c7
  failStrategy: FAIL_RELOAD
  pluginConfig:
    version: 1
    default_limit: {per_second: 5, burst: 5}
    routes:
      - {method: POST, path: /add, sku: [{json: /sku}]}
";

/// A file that we ship, in which the module is named.
fn shipped(path: &str) -> String {
    let text = fs::read_to_string(paths::repo_root().join(path)).unwrap();
    text.replace("registry.example", "registry.shop").replace(&"0".repeat(64), &"5".repeat(64))
}

/// A shipped file in which one text was replaced by another.
#[track_caller]
fn changed(path: &str, from: &str, to: &str) -> String {
    let text = shipped(path);
    assert_eq!(text.matches(from).count(), 1, "{from:?} in {path}");
    text.replace(from, to)
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(paths::service().unwrap());
    command.arg("check-config").args(arguments).current_dir(paths::repo_root());
    command.output().unwrap()
}

/// What was said, and how it ended.
#[derive(Debug)]
struct Checked {
    status: i32,
    report: Value,
    text: String,
}

impl Checked {
    fn of(files: &[&str]) -> Self {
        let (json, text) = (run(&[files, &["--json"]].concat()), run(files));
        let status = json.status.code().unwrap();
        assert_eq!(text.status.code(), Some(status), "people and machines are told the same");
        let report = serde_json::from_slice(&json.stdout).unwrap_or_default();
        let text = String::from_utf8([text.stdout, text.stderr].concat()).unwrap();
        Self { status, report, text }
    }

    /// What was said of files with these texts: `a.yaml`, `b.yaml`, ...
    fn of_texts(texts: &[&str]) -> (TempDir, Self) {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = ('a'..)
            .zip(texts)
            .map(|(letter, text)| {
                let path = dir.path().join(format!("{letter}.yaml"));
                fs::write(&path, text).unwrap();
                path.to_str().unwrap().to_owned()
            })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let checked = Self::of(&names);
        (dir, checked)
    }

    fn findings(&self) -> Vec<&Value> {
        let filters = self.report["filters"].as_array().unwrap().iter();
        filters.flat_map(|filter| filter["findings"].as_array().unwrap()).collect()
    }

    fn of_level(&self, level: &str) -> Vec<&Value> {
        self.findings().into_iter().filter(|finding| finding["level"] == level).collect()
    }
}

/// The number of the one line that has this text.
#[track_caller]
fn line_of(text: &str, part: &str) -> u64 {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| line.contains(part));
    let (number, _) = lines.next().unwrap();
    assert!(lines.next().is_none(), "{part:?} is in two lines");
    number
}

/// Asserts that of a file this is found, in the line that has the text `at`, and nothing else that is bad.
#[track_caller]
fn check(yaml: &str, at: &str, of: (&str, &str), field: &str, part: &str) {
    check_with(&[], yaml, at, of, field, part);
}

/// Asserts the same of a file that is given together with shipped ones.
#[track_caller]
fn check_with(
    others: &[&str],
    yaml: &str,
    at: &str,
    (check, level): (&str, &str),
    field: &str,
    part: &str,
) {
    let others: Vec<String> = others.iter().map(|other| shipped(other)).collect();
    let texts: Vec<&str> = iter::once(yaml).chain(others.iter().map(String::as_str)).collect();
    let (_dir, checked) = Checked::of_texts(&texts);
    assert_eq!(checked.status, i32::from(level == "bad"), "{}", checked.text);
    let found: Vec<&Value> =
        checked.of_level(level).into_iter().filter(|finding| finding["check"] == check).collect();
    let [found] = found.as_slice() else { panic!("{}", checked.text) };
    let line = line_of(yaml, at);
    assert_eq!(found["line"], line, "{found:#}");
    let place = found["field"].as_str().unwrap();
    assert!(place.ends_with(field), "{place}");
    let (told, remedy) = (found["found"].as_str().unwrap(), found["remedy"].as_str().unwrap());
    assert!(told.contains(part), "{told}");
    // People read the same, with the line as editors and CI take it.
    let said = format!("a.yaml:{line}: {told}\n{:27}at {place}\n{:27}-> {remedy}\n", "", "");
    assert!(checked.text.contains(&said), "{said}{}", checked.text);
    let bad = usize::from(level == "bad");
    assert_eq!(checked.of_level("bad").len(), bad, "{}", checked.text);
}

/// Asserts that in shipped files nothing is bad but the module that nobody has named, and that these checks
/// have doubts and no others.
#[track_caller]
fn check_shipped(files: &[&str], doubts: &[&str]) -> Checked {
    let checked = Checked::of(files);
    let text = |file: &&str| fs::read_to_string(paths::repo_root().join(file)).unwrap();
    let unnamed = files.iter().map(text).filter(|text| text.contains("# MODULE: ")).count();
    assert_eq!(checked.status, i32::from(unnamed > 0), "{}", checked.text);
    let bad = checked.of_level("bad");
    assert_eq!(bad.len(), unnamed, "{}", checked.text);
    for found in bad {
        assert!(found["found"].as_str().unwrap().contains("no registry of yours"), "{found:#}");
    }
    let doubtful = checked.of_level("doubtful").into_iter();
    // The module is there once it was built.
    let doubtful = doubtful.filter(|found| found["check"] != "module");
    let doubtful: Vec<&str> = doubtful.map(|found| found["check"].as_str().unwrap()).collect();
    assert_eq!(doubtful, doubts, "{}", checked.text);
    for finding in checked.findings() {
        assert!(files.iter().any(|file| finding["file"] == *file), "{finding:#}");
        assert!(finding["line"].as_u64().unwrap() > 0);
    }
    checked
}

#[test]
fn what_we_ship_has_nothing_bad() {
    check_shipped(&[ENVOY], &[]);
    // What is around a plugin is not in its own file, and it has no vm_id.
    let doubts = ["vm_id", "paths", "paths", "paths", "retries"];
    PLUGINS.iter().for_each(|plugin| drop(check_shipped(&[plugin], &doubts)));
    let both = check_shipped(&[ENVOY, ISTIO, PLACES[0], ROUTES], &[]);
    assert_eq!(both.report["filters"].as_array().unwrap().len(), 2);
}

/// So that no file is left out here.
#[test]
fn no_other_file_has_a_filter_or_places_one() {
    let known = [&[ISTIO], &PLACES[..], &PLUGINS[..]].concat();
    for entry in fs::read_dir(paths::repo_root().join("istio/edge")).unwrap() {
        let path = format!("istio/edge/{}", entry.unwrap().file_name().to_str().unwrap());
        let checked = Checked::of(&[&path]);
        let is_none = checked.text.contains("no filter of cartgate in ");
        assert_eq!(is_none, !known.contains(&path.as_str()), "{path}: {}", checked.text);
    }
}

#[test]
fn wherever_we_place_the_filter_nothing_is_bad() {
    for place in PLACES {
        let checked = check_shipped(&[ISTIO, place, ROUTES], &[]);
        check_shipped(&[ROUTES, place, ISTIO], &[]);
        let unseen: &[_] = if place == PLACES[1] { &[] } else { &["routes"] };
        check_shipped(&[ISTIO, place], unseen);
        let on =
            "disabled is true: limited is only what patches switch it on for: the route cartgate";
        assert_eq!(checked.text.contains(on), place != PLACES[1], "{}", checked.text);
    }
    let all = check_shipped(&[&[ISTIO, ROUTES], &PLACES[..]].concat(), &[]);
    for place in PLACES {
        assert!(all.findings().iter().any(|found| found["file"] == place), "{}", all.text);
    }
}

#[test]
fn a_filter_and_its_place_need_each_other() {
    for place in PLACES {
        let checked = Checked::of(&[place]);
        assert_eq!(checked.status, 2, "{}", checked.text);
        let line = line_of(&shipped(place), "applyTo: HTTP_FILTER");
        let told = format!(
            "{place}:{line}: an HTTP_FILTER patch names cartgate, which none of these files has: name the \
             file with the EXTENSION_CONFIG patch for cartgate, too (istio/edge/filter.yaml)"
        );
        assert!(checked.text.contains(&told), "{}", checked.text);
    }
    let checked = Checked::of(&[ISTIO]);
    assert_eq!(checked.status, 1, "{}", checked.text);
    assert!(checked.text.contains("if there is one, name its file, too"), "{}", checked.text);
    // What is around it is none of this file's business.
    assert!(checked.of_level("doubtful").is_empty(), "{}", checked.text);
}

#[test]
fn what_is_wrong_in_envoys_part_is_found_in_its_line() {
    let flag = "                        allow_on_headers_stop_iteration: true\n";
    let yaml = changed(ENVOY, flag, "");
    let config = "http_filters[0].typed_config.config.allow_on_headers_stop_iteration";
    let at = "                      config:";
    check(&yaml, at, ("body", "bad"), config, "requests whose SKU is in the body hang");
    let yaml = changed(ENVOY, flag, &flag.replace("true", "false"));
    check(&yaml, flag.replace("true", "false").trim_end(), ("body", "bad"), config, "is false");

    let yaml = changed(ENVOY, "buffer_limit_bytes: 262144", "buffer_limit_bytes: 65536");
    let field = "static_resources.listeners[0].per_connection_buffer_limit_bytes";
    check(&yaml, "buffer_limit_bytes: 65536", ("buffer", "bad"), field, "not above body_bytes_max");

    let yaml = changed(ENVOY, "failure_policy: FAIL_RELOAD", "failure_policy: FAIL_OPEN");
    check(&yaml, "FAIL_OPEN", ("failure", "bad"), "config.failure_policy", "unlimited");

    let yaml = changed(ENVOY, "                          vm_id: cartgate\n", "");
    check(&yaml, "vm_config:", ("vm_id", "doubtful"), "vm_config.vm_id", "is not there");

    let yaml = changed(ENVOY, "merge_slashes: true", "merge_slashes: false");
    check(&yaml, "merge_slashes: false", ("paths", "doubtful"), ".merge_slashes", "is false");

    let yaml = changed(ENVOY, "path: /v1/reservations\n", "prefix: /v1\n");
    check(&yaml, "prefix: /v1", ("routes", "doubtful"), "routes[0].match.prefix", "/v1");

    let yaml = changed(ENVOY, "protobuf.StringValue\n", "protobuf.Struct\n");
    check(&yaml, "configuration:", ("configuration", "bad"), ".configuration", "Struct");
}

#[test]
fn what_is_wrong_in_our_part_is_found_in_its_line_of_the_block() {
    let value = |field: &str| format!("config.configuration.value: {field}");
    let wrong = format!("\n\n{:40}{{\"from\": \"sku\"}}],", "");
    let yaml = changed(ENVOY, "{\"form\": \"sku\"}],", &wrong);
    let field = value("routes[0].sku[1]");
    check(&yaml, "\"from\"", ("configuration", "bad"), &field, "unknown variant `from`");

    let yaml = changed(ENVOY, "\"body_bytes_max\": 65536", "\"body_bytes_max\": 9999999");
    let field = value("body_bytes_max");
    check(&yaml, "9999999", ("configuration", "bad"), &field, "from 1 to 1048576");

    let yaml = changed(ENVOY, "{\"cluster\": \"cartgate-reports\"}", "{\"cluster\": \"reports\"}");
    let field = value("service.cluster");
    check(&yaml, "\"reports\"", ("service", "bad"), &field, "there is no cluster reports");

    let yaml =
        changed(ISTIO, "\"slots\": {\"sets_count\": 4096},", "\"slots\": {\"sets_count\": 4096");
    let (at, of) = ("\"service\": {\"cluster\"", ("configuration", "bad"));
    check_with(&PLACES, &yaml, at, of, "configuration.value", "not a JSON object");
}

#[test]
fn what_is_wrong_in_istios_part_is_found_in_its_line() {
    let gateway = PLACES[0];
    let yaml = changed(gateway, "operation: INSERT_BEFORE", "operation: ADD # after all");
    let field = "spec.configPatches[0].patch.operation";
    let at = "ADD # after all";
    check_with(&[ISTIO], &yaml, at, ("chain", "bad"), field, "behind the router");

    let empty = "{ \"@type\": type.googleapis.com/google.protobuf.Empty, value: {} }";
    let yaml = changed(gateway, empty, "{}");
    let field = "typed_per_filter_config.cartgate.config";
    check_with(&[ISTIO], &yaml, "config: {}", ("chain", "bad"), field, "Istio refuses the whole");

    let yaml = changed(gateway, "per_connection_buffer_limit_bytes: 262144", "other: 1");
    let field = "spec.configPatches";
    let at = "  configPatches:";
    check_with(&[ISTIO], &yaml, at, ("buffer", "doubtful"), field, "start with 32768");

    let rbac = "              - type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC\n";
    let yaml = changed(gateway, rbac, "");
    let of = ("types", "doubtful");
    check_with(&[ISTIO], &yaml, "type_urls:", of, "config_discovery.type_urls", "answers 500");

    let yaml = changed(gateway, "name: cartgate\n      patch", "name: shop\n      patch");
    let (at, field) = ("name: shop", "vhost.route.name");
    let of = ("routes", "bad");
    check_with(
        &[ISTIO, ROUTES],
        &yaml,
        at,
        of,
        field,
        "no VirtualService here has a route named shop",
    );

    let cluster = "outbound|8080||cartgate.cartgate.svc.cluster.local";
    let yaml = changed(ISTIO, cluster, "cartgate");
    let of = ("service", "doubtful");
    check_with(&PLACES, &yaml, "\"service\"", of, "value: service.cluster", "cartgate");

    let at = "- {method: POST";
    check(PLUGIN, at, ("body", "bad"), "spec.pluginConfig.routes[0]", "a WasmPlugin cannot set");
}

/// Envoy takes JSON as well.
#[test]
fn json_is_read_like_yaml() {
    let yaml: Value = serde_saphyr::from_str(&shipped(ENVOY)).unwrap();
    let json = serde_json::to_string_pretty(&yaml).unwrap();
    let (_dir, checked) = Checked::of_texts(&[&json]);
    assert_eq!(checked.status, 0, "{}", checked.text);
    // Here the filter's configuration is a text in one line.
    let wrong = json.replace("\\\"burst\\\": 100", "\\\"burst\\\": 0");
    assert_ne!(wrong, json);
    let field = "configuration.value: default_limit.burst";
    check(&wrong, "\\\"burst\\\": 0", ("configuration", "bad"), field, "default_limit");
}

#[test]
fn several_files_are_taken_together() {
    let text = shipped(ENVOY);
    let (listeners, clusters) = text.split_once("\n  clusters:").unwrap();
    let clusters = format!("static_resources:\n  clusters:{clusters}");
    let (_dir, alone) = Checked::of_texts(&[listeners]);
    assert_eq!(alone.status, 1, "{}", alone.text);
    let (_dir, together) = Checked::of_texts(&[listeners, &clusters]);
    assert_eq!(together.status, 0, "{}", together.text);
}

#[test]
fn what_cannot_be_checked_is_told_with_its_line() {
    let check = |text: &str, part: &str| {
        let (_dir, checked) = Checked::of_texts(&[text]);
        assert_eq!(checked.status, 2, "{}", checked.text);
        assert!(checked.text.contains(part), "{}", checked.text);
    };
    check(
        "a: 1\nb: 2\na: 3\n",
        "a.yaml:3: not read as YAML: the key \"a\" was there before, in line 1",
    );
    check("a: 1\nb: [2\n", "a.yaml:");
    check("static_resources: {}\n", "no filter of cartgate in ");
    check("", "no filter of cartgate in ");
    let absent = Checked::of(&[ENVOY, "no-such-file.yaml"]);
    assert_eq!(absent.status, 2);
    assert!(
        absent.text.contains("no-such-file.yaml cannot be read: No such file"),
        "{}",
        absent.text
    );
}
