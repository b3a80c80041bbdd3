#!/bin/sh
# Makes envoyproxy/ratelimit runnable as .tools/ratelimit, for `make bench-edge`: the version that
# tests/ratelimit/go.mod pins, and go.sum with all that it is made of by hash.
#
#   tests/ratelimit.sh DIR  build it into DIR, which outlives this tree; instant when it is there
#
# With RATELIMIT=/path/to/ratelimit in the environment nothing is built: that one is used.
set -eu
cd "$(dirname "$0")/ratelimit"

module=github.com/envoyproxy/ratelimit
version=$(sed -n "s|^.$module \([^ ]*\).*|\1|p" go.mod)
built=$1/ratelimit-$version

if [ -n "${RATELIMIT-}" ]; then
    exit
fi
if [ ! -x "$built" ]; then
    if ! command -v go >/dev/null; then
        echo "Missing: Go $(sed -n 's/^go //p' go.mod) or later (https://go.dev/dl), for $module." >&2
        exit 1
    fi
    mkdir -p "$1"
    CGO_ENABLED=0 GOFLAGS='' go build -mod=readonly -trimpath -ldflags='-s -w' -o "$built.part" \
        "$module/src/service_cmd"
    mv "$built.part" "$built"
fi
mkdir -p ../../.tools
ln -sfn "$built" ../../.tools/ratelimit
