"""Prepares rules and dashboard for promtool, and checks what promtool does not: that each alert has a test in which
it fires and one in which it does not, and says what a person needs who is woken by it.

usage: rules.py WORK    writes rules.json, rules-test.yaml and dashboard-rules.json there
"""

import json
import pathlib
import re
import shutil
import sys
import tomllib

import yaml

MONITORING = pathlib.Path("istio/monitoring")

# PromQL's words that are no metric.
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
WORDS |= {"by", "without", "on", "ignoring", "group_left", "group_right"}


def rule_groups():
    return yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]


def rules():
    return [rule for group in rule_groups() for rule in group["rules"]]


def dashboard_queries():
    """The queries of all panels and variables, with Grafana's own variables filled in."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    panels = [inner for panel in dashboard["panels"] for inner in [panel, *panel.get("panels", [])]]
    targets = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    for title, query in targets:
        query = query.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$namespace", ".*")
        yield title, query


def selectors(query):
    """The metrics that a query reads, each with the labels that it selects by, and the labels that it groups by."""
    query = re.sub(r'"(\\.|[^"\\])*"', '""', query)
    grouped = set()
    for labels in re.findall(r"\b(?:by|on|group_left|without|ignoring)\s*\(([^)]*)\)", query):
        grouped |= {label.strip() for label in labels.split(",")} - {""}
    query = re.sub(r"\b(?:by|on|group_left|group_right|without|ignoring)\s*\([^)]*\)", " ", query)
    query = re.sub(r"\[[^\]]*\]", "", query)
    found = []
    for name, after in re.findall(r"([a-zA-Z_:][\w:]*)\s*(\(|\{[^}]*\})?", re.sub(r"\b\d[\w.]*", "0", query)):
        if after != "(" and name not in WORDS:
            found.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", after))))
    return found, grouped


def anchors(markdown):
    """Of a page's headings, as a forge that shows it makes them."""
    headings = re.findall(r"^#+ +(.*)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def what_is_wrong():
    tests = yaml.safe_load((MONITORING / "rules-test.yaml").read_text())["tests"]
    page = anchors(pathlib.Path("istio/README.md").read_text())
    services = [path.read_text() for path in pathlib.Path("istio/service").rglob("*.yaml")]
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}

    def read_by(query):
        names = {name for name, _ in selectors(query)[0]}
        return {inner for name in names for inner in (read_by(recorded[name]) if name in recorded else {name})}

    for rule in rules():
        if "alert" not in rule:
            continue
        name, notes = rule["alert"], rule.get("annotations", {})
        if set(notes) != {"summary", "description", "runbook_url"}:
            yield f"{name}: wants a summary, a description and a runbook_url, and nothing else"
        if rule["labels"].get("severity") not in {"critical", "warning", "info"}:
            yield f"{name}: wants a severity"
        anchor = f"alert-{name.lower()}"
        # Where the page is to be read, a shop says.
        url = re.fullmatch(r"https://[^#]*/istio/README\.md#([\w-]+)", notes.get("runbook_url", ""))
        if not url or url[1] != anchor or anchor not in page:
            yield f"{name}: istio/README.md wants a heading `Alert {name}`, and the runbook_url #{anchor}"
        for app in re.findall(r'app_kubernetes_io_name!?=~?"([^"]*)"', rule["expr"]):
            if not any(f"app.kubernetes.io/name: {app}\n" in text for text in services):
                yield f"{name}: nothing in istio/service has the label {app}"
        for config in pathlib.Path("istio/service").glob("*/cartgate.toml"):
            holds_max = tomllib.loads(config.read_text())["holds_max"]
            if name == "CartgateHoldsNearMax" and not rule["expr"].endswith(f"> {holds_max * 8 // 10}"):
                yield f"{name}: {config} allows {holds_max}, of which it is to be 0.8"
        fires = silent = False
        for test in tests:
            firing = [sample["labels"] for expected in test["promql_expr_test"] for sample in expected["exp_samples"]]
            given = {re.match(r"[\w:]+", series["series"])[0] for series in test["input_series"]}
            if f'{{alertname="{name}"}}' in firing:
                fires = True
            elif read_by(rule["expr"]) <= given:
                silent = True
        if not fires:
            yield f"{name}: there is no test in which it fires"
        if not silent:
            yield f"{name}: there is no test in which all that it reads is there and it does not fire"


def main(work):
    work = pathlib.Path(work)
    (work / "rules.json").write_text(json.dumps({"groups": rule_groups()}))
    shutil.copy(MONITORING / "rules-test.yaml", work)
    queries = [{"record": f"panel:{i}", "expr": query} for i, (_, query) in enumerate(dashboard_queries())]
    (work / "dashboard-rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": queries}]}))
    failures = list(what_is_wrong())
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
