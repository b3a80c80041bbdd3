#!/bin/sh
# Checks what istio/ ships without a cluster: manifests against schemas, rules and dashboard against the metrics of
# the real service and the real Envoy, configurations by the service itself, images by starting what is in them.
#
#   istio/check.sh CACHE   `make test-manifests`, which builds what this wants: the service, the filter, Envoy
#
# Tools come from the registries of Go and Python alone, in the versions that tests/go/manifests and
# istio/requirements.txt pin by hash; buildah and redis-server from the system.
set -eu
cd "$(dirname "$0")/.."

venv=.tools/venv-manifests
work=target/manifests

for program in buildah redis-server; do
    if ! command -v "$program" >/dev/null; then
        echo "Missing: $program. On Debian: apt-get install -y buildah redis-server" >&2
        exit 1
    fi
done
if ! command -v go >/dev/null; then
    echo "Missing: Go (https://go.dev/dl), in the version that tests/go/manifests/go.mod names or later" >&2
    exit 1
fi

python() {
    "$venv/bin/python" -B "$@"
}

# The directory of a module that tests/go/NAME pins.
module() {
    (cd "tests/go/$1" && GOFLAGS=-mod=readonly go mod download -json "$2") | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p'
}

if ! cmp -s istio/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
        --requirement istio/requirements.txt
    cp istio/requirements.txt "$venv/"
fi
tests/go/build.sh manifests "$1"
istio_crds=$(module istio-1.31 istio.io/istio)/manifests/charts/base/files/crd-all.gen.yaml
operator_crds=$(module manifests github.com/prometheus-operator/prometheus-operator)/example/prometheus-operator-crd

rm -rf "$work"
mkdir -p "$work"
# The overlay as it is shipped, and with the other store.
mkdir -p "$work/istio"
cp -r istio/service istio/overlay "$work/istio/"
.tools/manifests/kustomize build "$work/istio/overlay" >"$work/redis.yaml"
sed -i 's|service/redis|service/embedded|' "$work/istio/overlay/kustomization.yaml"
.tools/manifests/kustomize build "$work/istio/overlay" >"$work/embedded.yaml"
.tools/manifests/kustomize build istio/monitoring >"$work/monitoring.yaml"
python istio/check/manifests.py "$work/embedded.yaml" "$work/redis.yaml" "$work/monitoring.yaml" "$istio_crds" \
    "$operator_crds/monitoring.coreos.com_podmonitors.yaml" \
    "$operator_crds/monitoring.coreos.com_prometheusrules.yaml"

# Rules as promtool wants them, and the dashboard's queries as if they were rules.
python istio/check/rules.py "$work"
.tools/manifests/promtool check rules "$work/rules.json" "$work/dashboard-rules.json"
.tools/manifests/promtool test rules "$work/rules-test.yaml"

python istio/check/live.py "$work"

istio/images/build.sh
python istio/check/images.py
