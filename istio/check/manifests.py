"""Checks every manifest under istio/ and everything that the overlays make, strictly and offline: against the
schemas of Kubernetes, of the oldest and the newest version that we say we run on, and of the custom resources. A
field that is unknown is an error. Then whether what they name is there.

What only an API server does is not done: CEL rules of custom resources, admission, defaults.

usage: manifests.py FILE..    what overlays have made, and definitions of custom resources; istio/ it finds itself
"""

import functools
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = ["1.33", "1.37"]

# What is no Kubernetes object, and has a check of its own: live.py, promtool.
NOT_MANIFESTS = {"istio/monitoring/rules-test.yaml", "istio/service/redis/prometheus-adapter.yaml"}


# It would read a file of a megabyte for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


class Strict(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML's other readers take the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read(path):
    with open(path, encoding="utf-8") as file:
        return [document for document in yaml.load_all(file, Strict) if document]


def closed(schema):
    """The schema of a custom resource as JSON Schema in which what is not named is an error."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = closed(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.pop("nullable", False) and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def custom_schemas(definitions):
    """By apiVersion and kind."""
    schemas = {}
    for definition in definitions:
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            for name, kind in {"apiVersion": "string", "kind": "string", "metadata": "object"}.items():
                schema["properties"][name] = {"type": kind}
            api_version = f"{spec['group']}/{version['name']}"
            schemas[api_version, spec["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    return schemas


def errors_of(document, schemas):
    """What is wrong with one object."""
    key = document.get("apiVersion"), document.get("kind")
    if None in key:
        return ["it has no apiVersion or no kind"]
    if key in schemas:
        found = schemas[key].iter_errors(document)
        # Its metadata, which the custom resource's own schema says nothing of, as that of any object.
        plain = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document.get("metadata")}
        return [f"{e.json_path}: {e.message}" for e in found] + errors_of(plain, {})
    errors = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as e:
            errors.append(f"Kubernetes {version}: {'.'.join(map(str, e.path))}: {e.message}")
        except kubernetes_validate.SchemaNotFoundError:
            errors.append(f"Kubernetes {version}: no such resource, and no custom one of these")
    return errors


def templates(documents):
    """Labels and spec of all pods that the documents make."""
    for document in documents:
        spec = document.get("spec") or {}
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template and "containers" in template.get("spec", {}):
            yield document, template["metadata"]["labels"], template["spec"]


def dangling(documents):
    """What an overlay names and does not have."""
    have = {(d["kind"], d["metadata"]["name"]) for d in documents}
    pods = list(templates(documents))

    def need(by, kind, name):
        if (kind, name) not in have:
            yield f"{by['kind']} {by['metadata']['name']}: there is no {kind} {name}"

    def need_pods(by, selector):
        wanted = (selector or {}).get("matchLabels", selector) or {}
        if not any(wanted.items() <= labels.items() for _, labels, _ in pods):
            yield f"{by['kind']} {by['metadata']['name']}: no pod has the labels {wanted}"

    for document, labels, spec in pods:
        yield from need(document, "ServiceAccount", spec["serviceAccountName"])
        for container in spec["containers"]:
            if not re.fullmatch(r"registry\.example/cartgate@sha256:[0-9a-f]{64}", container["image"]):
                yield f"{document['kind']} {document['metadata']['name']}: {container['image']}: not the overlay's image"
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                yield from need(document, "ConfigMap", volume["configMap"]["name"])
        if not document["spec"]["selector"]["matchLabels"].items() <= labels.items():
            yield f"{document['kind']} {document['metadata']['name']}: selects other pods than it makes"
        for spread in spec.get("topologySpreadConstraints", []):
            yield from need_pods(document, spread["labelSelector"])
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "HorizontalPodAutoscaler":
            yield from need(document, spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
        if document["kind"] == "PodDisruptionBudget":
            yield from need_pods(document, spec["selector"])
        if document["kind"] == "Service":
            yield from need_pods(document, spec["selector"])
        if document["kind"] == "NetworkPolicy":
            yield from need_pods(document, spec["podSelector"])
        if document["kind"] != "Namespace" and document["metadata"].get("namespace") != "cartgate":
            yield f"{document['kind']} {document['metadata']['name']}: is in no namespace"


def main(paths):
    given = {path: read(path) for path in paths}
    definitions = [d for ds in given.values() for d in ds if d["kind"] == "CustomResourceDefinition"]
    schemas = custom_schemas(definitions)
    built = {path: ds for path, ds in given.items() if ds[0]["kind"] != "CustomResourceDefinition"}
    shipped = {str(path): read(path) for path in sorted(pathlib.Path("istio").rglob("*.yaml"))}
    checked, failures = 0, []
    for path, documents in (built | shipped).items():
        # kustomize itself refuses a field of its own that it does not know.
        if path in NOT_MANIFESTS or path.endswith("/kustomization.yaml"):
            continue
        for document in documents:
            failures += [f"{path}: {document.get('kind')}: {error}" for error in errors_of(document, schemas)]
            checked += 1
    for path, documents in built.items():
        failures += [f"{path}: {error}" for error in dangling(documents)]
    if missing := NOT_MANIFESTS - set(shipped):
        failures.append(f"{missing}: not there any more")
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    print(f"manifests: {checked} objects, {len(failures)} errors")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
