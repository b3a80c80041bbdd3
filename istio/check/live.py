"""Starts the service as each overlay does, with its arguments, its configuration and a Redis, and Envoy with the
filter in front; asks them what a cluster would (probes, an orderly stop); then compares their metrics, as far as
Prometheus keeps them, with what rules and dashboard read. All of it on loopback.

usage: live.py WORK    after kustomize and rules.py have written there
"""

import contextlib
import functools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

import rules

SERVICE = "target/release/cartgate"
ENVOY = ".tools/envoy"

# What an agent that cannot fetch the module gives its Envoy (istio: pkg/wasm/convert.go).
REFUSES_ALL = {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
    "rules": {},
    "rules_stat_prefix": "wasm-default-deny",
}

# The filter's, by `filter.yaml` and by `traffic-extension.yaml`. The metrics of its place have it in their names.
FILTERS = ["cartgate", "extensions.istio.io/trafficextension/istio-system.cartgate"]

MONITORS = [m["spec"] for m in yaml.safe_load_all(pathlib.Path("istio/monitoring/scrape.yaml").read_text())]

# What Prometheus adds by itself, and what istio/monitoring/scrape.yaml has it add.
OF_PROMETHEUS = {"up": set()}
OF_TARGETS = {"namespace", "pod", "job", "instance", "container", "endpoint"}
OF_TARGETS |= {re.sub(r"\W", "_", label) for m in MONITORS for label in m.get("podTargetLabels", ())}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(method, url, body=None):
    """Status and text of an answer; 0 if there is none."""
    kind = "application/json" if isinstance(body, dict) else "application/x-www-form-urlencoded"
    data = json.dumps(body).encode() if isinstance(body, dict) else body and body.encode()
    request = urllib.request.Request(url, data, {"content-type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
    except OSError:
        return 0, ""


def until(what, check, within_s=60):
    end = time.monotonic() + within_s
    while not check():
        if time.monotonic() > end:
            raise SystemExit(f"in vain, after {within_s} s: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def process(log, *command, secrets=None):
    """Runs until the block ends, with `secrets` in its environment."""
    command, environment = [str(part) for part in command], {**os.environ, **(secrets or {})}
    with open(log, "w", encoding="utf-8") as output:
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    child.log = pathlib.Path(log)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


class Pod:
    """What an overlay says of one: its arguments, its configuration, how it is probed and stopped."""

    def __init__(self, work, overlay, name):
        documents = list(yaml.safe_load_all((work / f"{overlay}.yaml").read_text()))
        maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
        self.spec = next(
            d["spec"]["template"]["spec"] for d in documents
            if d["kind"] in ("Deployment", "StatefulSet") and d["metadata"]["name"] == name
        )
        (self.container,) = self.spec["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        self.files = {}
        for volume in self.spec["volumes"]:
            for file, text in maps.get(volume.get("configMap", {}).get("name"), {}).items():
                self.files[f"{mounts[volume['name']]}/{file}"] = text
        self.writes = [m["mountPath"] for m in self.container["volumeMounts"] if not m.get("readOnly")]

    def command(self, at, port):
        """The command line here: files are in `at`, and the address is one of loopback."""
        arguments = self.container["args"]
        for path, text in self.files.items():
            # What it writes must be on a volume: the root is read-only.
            for data in re.findall(r'^data = "(.*)"$', text, re.MULTILINE):
                if data not in self.writes:
                    raise SystemExit(f"{data} is on no volume that can be written")
                arguments.append(f"--data={at}/data")
            here = at / pathlib.Path(path).name
            # Nobody has an identity here: the mesh's tests are about that.
            here.write_text(text.split("[access.mesh]")[0])
            arguments = [argument.replace(path, str(here)) for argument in arguments]
        own = [f"--listen=127.0.0.1:{port}", f"--metrics-listen=127.0.0.1:{free_port()}"]
        return [SERVICE, *arguments, "--development", *own]

    def secrets(self, store):
        """What the Secret that it names has in it, as the kustomization tells to make it."""
        named = [source["secretRef"]["name"] for source in self.container.get("envFrom", ())]
        return {"CARTGATE_STORE": store} if named == ["cartgate-store"] else {}

    def wait_until_ready(self, child, port):
        """By the probes that it has in the cluster."""

        def says_yes(path):
            if child.poll() is not None:
                raise SystemExit(f"{' '.join(child.args)}: has ended: {child.log.read_text()}")
            return call("GET", f"http://127.0.0.1:{port}{path}")[0] == 200

        (declared,) = self.container["ports"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            get = self.container[probe]["httpGet"]
            if get["port"] != declared["name"]:
                raise SystemExit(f"{probe}: asks another port than is declared")
            until(f"{probe} of {' '.join(child.args)}", functools.partial(says_yes, get["path"]))

    def stop(self, child):
        """As Kubernetes does, which waits for so long."""
        child.send_signal(signal.SIGTERM)
        if child.wait(self.spec["terminationGracePeriodSeconds"]) != 0:
            raise SystemExit(f"{child.args}: ended with {child.returncode}")


def relabelings():
    """What the monitors do with a metric's name; each does the same, since a pod may be of both kinds."""
    first, *others = [endpoint["metricRelabelings"] for m in MONITORS for endpoint in m["podMetricsEndpoints"]]
    if any(other != first for other in others):
        raise SystemExit("scrape.yaml: one monitor relabels metrics, and another does not")
    return first


def kept(text):
    """A metrics page as Prometheus keeps it."""
    lines, steps = [], relabelings()
    for name, rest in re.findall(r"^([a-zA-Z_:][\w:]*)(.*)$", text, re.MULTILINE):
        for step in steps:
            found = re.fullmatch(step["regex"], name)
            if step.get("action") == "keep":
                name = name if found else None
            elif found:
                name = found.expand(re.sub(r"\$\{(\d)\}", r"\\g<\1>", step["replacement"]))
        if name:
            lines.append(name + rest)
    return "\n".join(lines) + "\n"


def add_told(names, text):
    """Adds the names in a metrics page, each with its labels."""
    for name, labels in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", text, re.MULTILINE):
        names.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))


def envoy_config(at, admin, listen, service, name):
    """envoy/envoy.yaml as Istio would give it to a proxy: the listener, and in it the filter, come by themselves."""
    config = yaml.safe_load(pathlib.Path("envoy/envoy.yaml").read_text())
    listeners = config["static_resources"].pop("listeners")
    config["admin"]["address"]["socket_address"]["port_value"] = admin
    listeners[0]["address"]["socket_address"]["port_value"] = listen
    for cluster in config["static_resources"]["clusters"]:
        for endpoints in cluster["load_assignment"]["endpoints"]:
            for endpoint in endpoints["lb_endpoints"]:
                endpoint["endpoint"]["address"]["socket_address"]["port_value"] = service
    manager = listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
    (wasm,) = [f for f in manager["http_filters"] if f["typed_config"]["@type"].endswith(".Wasm")]
    filter_config = wasm.pop("typed_config")
    # istiod gives the plugin the name of its resource.
    filter_config["config"]["name"] = wasm["name"] = name
    wasm["config_discovery"] = {
        "config_source": {"path_config_source": {"path": f"{at}/filter.json"}},
        "type_urls": [filter_config["@type"], REFUSES_ALL["@type"]],
    }
    listeners[0]["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener"
    config["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": f"{at}/listeners.json"}}}
    (at / "listeners.json").write_text(json.dumps({"resources": listeners}))
    give_filter(at, name, filter_config)
    (at / "envoy.json").write_text(json.dumps(config))
    return filter_config


def give_filter(at, name, config):
    """As an agent does, which may give another one at any time."""
    core = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    resource = {"@type": core, "name": name, "typed_config": config}
    (at / "new.json").write_text(json.dumps({"resources": [resource]}))
    (at / "new.json").rename(at / "filter.json")


def sell(url):
    """Some of everything that is counted under a label."""
    answers = [call("PUT", f"{url}/v1/skus/A/stock", {"quantity": 2}), call("PUT", f"{url}/v1/hot-items/A", {})]
    answers += [call("POST", f"{url}/v1/reservations", f"sku=A&customer_id={i}") for i in range(3)]
    statuses = [status for status, _ in answers]
    if statuses != [200, 201, 201, 201, 409]:
        raise SystemExit(f"{url}: {answers}")


def edge(at, service, name):
    """The metrics of an Envoy whose filter has this name; and whether alerts that read them would notice what goes
    wrong with it."""
    at.mkdir()
    found, admin = {}, free_port()
    config = envoy_config(at.absolute(), admin, free_port(), service, name)

    def stats():
        return kept(call("GET", f"http://127.0.0.1:{admin}/stats/prometheus")[1])

    place = "envoy_extension_config_discovery_http_filter_cartgate"
    options = ["-c", at / "envoy.json", "--concurrency", 1, "--use-dynamic-base-id"]
    with process(at / "envoy.log", ENVOY, *options):
        until("the edge has contact", lambda: "\ncartgate_contact{} 1\n" in stats())
        mistake = json.dumps(config).replace("body_bytes_max", "body_bites_max")
        give_filter(at, name, json.loads(mistake))
        until("the configuration is refused", lambda: f"\n{place}_config_fail{{}} 1\n" in stats())
        add_told(found, stats())
        if "cartgate_config_version" not in found:
            raise SystemExit(f"{name}: nobody tells which configuration it has")
        give_filter(at, name, REFUSES_ALL)
        # It counts all that it is given, the refused one too.
        until("the filter is replaced", lambda: f"\n{place}_config_reload{{}} 3\n" in stats())
        until("its own metrics are gone", lambda: "\ncartgate_config_version{}" not in stats())
        if f"\n{place}_config_fail{{}} 1\n" not in stats():
            raise SystemExit(f"{name}: another filter in its place is counted as a failure")
    return found


def embedded(work, found):
    """The service alone, with edges in front, one after the other."""
    at, port = work / "embedded", free_port()
    at.mkdir()
    pod = Pod(work, "embedded", "cartgate")
    with process(at / "log", *pod.command(at, port)) as child:
        pod.wait_until_ready(child, port)
        sell(f"http://127.0.0.1:{port}")
        first, second = [edge(at / str(i), port, name) for i, name in enumerate(FILTERS)]
        if first != second:
            raise SystemExit(f"one edge tells what another does not: {first.keys() ^ second.keys()}")
        found |= first
        add_told(found, kept(call("GET", f"http://127.0.0.1:{port}/metrics")[1]))
        pod.stop(child)


def on_redis(work, found):
    """An API process and two workers, of which the first gives buckets to the second."""
    at, redis = work / "redis", free_port()
    at.mkdir()
    store = f"redis://127.0.0.1:{redis}"
    pods = [Pod(work, "redis", name) for name in ("cartgate-api", "cartgate-worker", "cartgate-worker")]
    directives = f"--port {redis} --bind 127.0.0.1 --dir {at.absolute()} --appendonly yes --appendfsync always --save"
    with contextlib.ExitStack() as stack:
        stack.enter_context(process(at / "redis.log", "redis-server", *directives.split(), ""))
        until("Redis listens", lambda: socket.socket().connect_ex(("127.0.0.1", redis)) == 0)
        running = []

        def told_by(i):
            return call("GET", f"{running[i][2]}/metrics")[1]

        for i, pod in enumerate(pods):
            port, own = free_port(), at / str(i)
            own.mkdir()
            child = stack.enter_context(process(own / "log", *pod.command(own, port), secrets=pod.secrets(store)))
            pod.wait_until_ready(child, port)
            running.append((pod, child, f"http://127.0.0.1:{port}"))
            if i == 1:
                until("the first worker has all buckets", lambda: "\ncartgate_tenures_begun_total 64\n" in told_by(1))
        until("it has given some to the second", lambda: 'reason="given-back"' in told_by(1))
        sell(running[0][2])
        for i, (pod, child, _) in enumerate(running):
            add_told(found, kept(told_by(i)))
            pod.stop(child)


def unknown(queries, found):
    """What is read and never told."""
    for title, query in queries:
        names, grouped = rules.selectors(query)
        labels_of_all = set(OF_TARGETS)
        for name, labels in names:
            if name not in found:
                yield f"{title}: nobody tells {name}"
                continue
            labels_of_all |= found[name]
            for label in labels - found[name] - OF_TARGETS:
                yield f"{title}: {name} has no label {label}"
        for label in grouped - labels_of_all:
            yield f"{title}: nothing there has the label {label}"


def adapter(work, found):
    """Whether the worker's autoscaler, the adapter's rule and what processes on Redis tell go together."""
    rule = yaml.safe_load(pathlib.Path("istio/service/redis/prometheus-adapter.yaml").read_text())
    (rule,) = rule["rules"]["external"]
    series = re.fullmatch(r'\{__name__="(.*)"\}', rule["seriesQuery"])[1]
    if series not in found:
        yield f"prometheus-adapter.yaml: nobody tells {series}"
    for document in yaml.safe_load_all((work / "redis.yaml").read_text()):
        for metric in document["spec"]["metrics"] if document["kind"] == "HorizontalPodAutoscaler" else []:
            wanted = metric.get("external", {}).get("metric")
            if wanted and wanted["name"] != rule.get("name", {}).get("as", series):
                yield f"autoscaling.yaml: {wanted['name']} is not what the adapter gives"
            for label in wanted["selector"]["matchLabels"] if wanted and "selector" in wanted else ():
                if label not in found.get(series, ()):
                    yield f"autoscaling.yaml: {series} has no label {label}"


def main(work):
    work, found, of_redis = pathlib.Path(work), {}, {}
    embedded(work, found)
    on_redis(work, of_redis)
    for name, labels in of_redis.items():
        found.setdefault(name, set()).update(labels)
    told = len(found)
    for rule in rules.rules():
        if "record" in rule:
            found[rule["record"]] = rules.selectors(rule["expr"])[1]
    queries = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules.rules()]
    failures = list(unknown([*queries, *rules.dashboard_queries()], found | OF_PROMETHEUS))
    failures += adapter(work, of_redis)
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    print(f"live: {told} metrics are told, {len(failures)} errors in what is read of them")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
