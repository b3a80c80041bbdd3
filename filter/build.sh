#!/bin/sh
# Builds the filter for Envoy: target/cartgate_filter.wasm.
#
#   filter/build.sh            build; next to no work when nothing changed
#   filter/build.sh --crash    the same for tests, to target/cartgate_filter_crash.wasm: it crashes when told
#   filter/build.sh --lint     clippy for what is compiled for wasm32 alone, where there is a clippy
#   filter/build.sh --missing  see to it that a wasm32 compiler is at hand; print the Debian
#                              packages that would help where none is
#
# The compiler is, in this order: the pinned toolchain with its wasm32 target, Debian's rustc-web
# with the standard library built from source, or the target fetched by rustup. The network is
# asked last, so that what once worked works offline and costs nothing in a second run.
set -eu
cd "$(dirname "$0")/.."

triple=wasm32-unknown-unknown
debian_rustc=/usr/bin/rustc

# Flags meant for the host's builds would break this one, or send it somewhere else.
unset RUSTC RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_RUSTC
unset CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS

sysroot=$(rustc --print sysroot)
minor_needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)

has_target() {
    [ -d "$sysroot/lib/rustlib/$triple/lib" ]
}

# Debian's compiler is new enough, has its library's source, and a wasm linker is there.
has_debian() {
    [ -x "$debian_rustc" ] && [ -n "$(wasm_linker)" ] &&
        [ -d "$("$debian_rustc" --print sysroot)/lib/rustlib/src/rust/library" ] &&
        [ "$("$debian_rustc" --version | sed 's/^rustc 1\.\([0-9]*\).*/\1/')" -ge "$minor_needed" ]
}

wasm_linker() {
    for linker in "$sysroot"/lib/rustlib/*/bin/rust-lld /usr/bin/wasm-ld; do
        if [ -x "$linker" ]; then
            echo "$linker"
            return
        fi
    done
}

missing() {
    if has_target || has_debian || rustup target add "$triple" >/dev/null 2>&1; then
        return
    fi
    echo "\`rustup target add $triple\` fails here; Debian's compiler can stand in." >&2
    echo "rustc-web rust-web-src$([ -n "$(wasm_linker)" ] || echo " lld")"
}

# Builds the module `$1` in the directory `$2`, with more of Cargo's arguments behind them. Each has a directory
# of its own: neither makes the other build again, or is taken for it.
build() {
    module=target/$1.wasm
    target_dir=$2
    shift 2
    features=$*
    set -- --locked --profile wasm --target "$triple" --target-dir "$target_dir"
    if ! has_target; then
        set -- "$@" -Z build-std=std,panic_abort
        export RUSTC="$debian_rustc" RUSTC_BOOTSTRAP=1
    fi
    # Only as a cdylib: beside an rlib, Cargo silently leaves out link-time optimisation.
    # shellcheck disable=SC2086  # several arguments, or none
    cargo rustc "$@" --package cartgate-filter $features --crate-type cdylib -- \
        "-Clinker=$(wasm_linker)" -Clinker-flavor=wasm-ld
    # The filter shows that `policy` builds for wasm32; `ledger` must stay as pure.
    cargo build "$@" --package cartgate-ledger

    built=$target_dir/$triple/wasm/cartgate_filter.wasm
    cmp -s "$built" "$module" || cp "$built" "$module"
    echo "$module: $(($(wc -c <"$module") / 1024)) KiB"
}

# Debian's compiler comes without clippy's library for it.
lint() {
    if has_target; then
        cargo clippy --locked --package cartgate-filter --target "$triple" \
            --target-dir target/wasm -- -D warnings
    fi
}

case ${1-} in
'') build cartgate_filter target/wasm ;;
--crash) build cartgate_filter_crash target/wasm-crash --features crash ;;
--lint) lint ;;
--missing) missing ;;
*)
    echo "usage: filter/build.sh [--crash | --lint | --missing]" >&2
    exit 2
    ;;
esac
