#!/bin/sh
# Links the filter without the callbacks that it has no use for.
#
#   CARTGATE_LINKER=rust-lld filter/link.sh ARGUMENT...      what rustc calls as its linker
#
# The SDK exports every callback of the proxy-wasm ABI, and Envoy calls each that is exported, for
# each request: those of responses, logs and connections would cost as much as one that does
# something. rustc has no option to leave an export out, and the linker has none to take it back.
set -eu

# What Envoy calls the filter by. What else starts with `proxy_on_` is left out.
needed="context_create vm_start configure tick request_headers request_body request_trailers delete"

is_needed() {
    for name in $needed; do
        if [ "$1" = "proxy_on_$name" ]; then return 0; fi
    done
    return 1
}

count=$#
while [ "$count" -gt 0 ]; do
    count=$((count - 1))
    argument=$1
    shift
    case $argument in
    --export=proxy_on_*) if ! is_needed "${argument#--export=}"; then continue; fi ;;
    --export) # and its value, the next one
        if [ "${1#proxy_on_}" != "$1" ] && ! is_needed "$1"; then
            count=$((count - 1))
            shift
            continue
        fi
        ;;
    esac
    set -- "$@" "$argument"
done
exec "$CARTGATE_LINKER" "$@"
