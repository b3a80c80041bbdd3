#!/bin/sh
# Makes programs written in Go runnable as .tools/NAME/PROGRAM: those that tests/go/NAME/go.mod lists as
# tools, in the versions that it pins, and go.sum with all that they are made of by hash.
#
#   tests/go/build.sh NAME CACHE  build them in CACHE, which outlives this tree; instant when they are there
#
# Beside go.mod there may be `files`, of which each line names a module and a file in it that goes beside the
# programs; and `patch.sh`, which is run in a copy of the module that its first line names, to be built instead.
set -eu
cd "$(dirname "$0")/$1"

# Of what they are made, how, and by which Go; not all have `files` and `patch.sh`.
made_of() {
    cat go.mod go.sum ../build.sh
    cat files patch.sh 2>/dev/null || true
    go env GOVERSION 2>/dev/null || true
}

built=$2/go/$1-$(made_of | sha256sum | cut -c 1-12)

directory_of() {
    go list -mod=readonly -m -f '{{.Dir}}' "$1"
}

# Prints the name of a go.mod by which the patched copy is built.
patched() {
    module=$(sed -n '1s/^# //p' patch.sh)
    cp -R "$(directory_of "$module")" "$built.part/src"
    chmod -R u+w "$built.part/src"
    (cd "$built.part/src" && sh -eu "$OLDPWD/patch.sh")
    cp go.mod go.sum "$built.part/"
    go mod edit -replace="$module=$built.part/src" "$built.part/go.mod"
    echo "$built.part/go.mod"
}

if [ ! -d "$built" ]; then
    if ! command -v go >/dev/null; then
        echo "Missing: Go $(sed -n 's/^go //p' go.mod) or later (https://go.dev/dl), for $1." >&2
        exit 1
    fi
    rm -rf "$built.part"
    mkdir -p "$built.part/bin"
    export CGO_ENABLED=0 GOFLAGS=''
    go mod download
    with=$PWD/go.mod
    if [ -f patch.sh ]; then
        with=$(patched)
    fi
    go build -mod=readonly -modfile="$with" -trimpath -ldflags='-s -w' -o "$built.part/bin/" tool
    if [ -f files ]; then
        while read -r module file; do
            cp "$(directory_of "$module")/$file" "$built.part/bin/"
        done <files
    fi
    mv "$built.part/bin" "$built"
    rm -rf "$built.part"
fi
mkdir -p ../../../.tools
ln -sfn "$built" "../../../.tools/$(basename "$PWD")"
