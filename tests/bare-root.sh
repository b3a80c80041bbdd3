#!/usr/bin/env bash
# Proves on a bare Debian root that two commands do all the set-up: `make test` and `make run`.
#
# The root has Debian's minimal system, make, Rust as rustup leaves it, and a clone of HEAD.
# There, `make test` must name what is missing in one line to paste; after pasting it, tests and
# lints must pass, and `make run` must serve, stop on Ctrl-C, and start again with no needless work.
#
#   tests/bare-root.sh         as root; needs debootstrap, curl, rustup, the demo's ports, ~8 GB
#   KEEP=1 tests/bare-root.sh  leaves the root in place, to be looked at
#
# Everything is mounted and started in namespaces of its own, which end with this script however
# it ends. The root is deleted outside of them, where nothing is mounted in it.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=bookworm
edge=http://127.0.0.1:10000
service=http://127.0.0.1:8080
ports=(8080 9901 10000)

# What may decide how this machine reaches the package registries goes along into the root.
config_files=(/etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt
    "$HOME/.cargo/config.toml" "$HOME/.config/pip/pip.conf")
config_variables='^((https?|no|all)_proxy|PIP_.*|SSL_.*|CARGO_(HTTP|NET)_.*|RUSTUP_(DIST_SERVER|AUTO_INSTALL))='

main() {
    local command
    [ "$(id -u)" = 0 ] || fail "debootstrap and chroot need root"
    for command in debootstrap curl rustup git unshare findmnt; do
        command -v "$command" >/dev/null || fail "$command is missing"
    done
    [ -z "$(git status --porcelain)" ] || echo "note: only what is committed is tried"

    root=$(mktemp -d "${TMPDIR:-/tmp}/cartgate-bare-root.XXXXXX")
    chmod 755 "$root" # as any root is; apt downloads as a user of its own
    trap delete_root EXIT
    trap 'exit 130' INT TERM
    unshare --mount --pid --fork --kill-child -- "$PWD/tests/bare-root.sh" --in-namespaces "$root"
}

delete_root() {
    if [ -n "${KEEP-}" ]; then
        echo "kept: $root"
    elif findmnt --list --noheadings --output TARGET | grep -F "$root"; then
        echo "not deleted: something is mounted in $root" >&2
    else
        rm -rf --one-file-system "$root"
    fi
}

in_namespaces() {
    root=$1
    log=$root/run.log
    trap 'exit 130' INT TERM

    step "the demo's ports are free" ports_are_free
    step "bare root" make_root
    step "make test names what is missing" names_what_is_missing
    step "paste: $line" in_clone sh -c "$line"
    step "make test" in_clone make test
    step "make lint" in_clone make lint
    step "make run" start_demo
    step "a sale" sale
    step "Ctrl-C" stop_demo
    step "make run again" start_demo
    step "no needless work" no_needless_work
    step "the stock was kept" expect 200 "$service/v1/skus/bare-root"
    step "Ctrl-C again" stop_demo
    echo "== all in $SECONDS s"
}

# Runs one step and says what it took. Not in a condition, where `set -e` would not hold.
step() {
    local name=$1 began=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "== $name: $((SECONDS - began)) s"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

in_clone() {
    local passed
    mapfile -t passed < <(env | grep -iE "$config_variables")
    chroot "$root" env -i --chdir=/root/cartgate HOME=/root TERM=dumb LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "${passed[@]}" "$@"
}

make_root() {
    local sources mirror file
    # Debian's archives from where this machine gets them; else from where debootstrap does.
    # shellcheck disable=SC2016 # apt expands these
    sources=$(apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep " $suite" | sort -u || true)
    mirror=$(awk -v suite="$suite" '$3 == suite { print $2; exit }' <<<"$sources")
    debootstrap --variant=minbase --include=make,ca-certificates "$suite" "$root" \
        ${mirror:+"$mirror"} >"$log" || { tail "$log" && fail "debootstrap"; }
    [ -z "$sources" ] || echo "$sources" >"$root/etc/apt/sources.list"
    apt-config dump | grep '^Acquire::' >"$root/etc/apt/apt.conf.d/10acquire" || true
    mount -t proc proc "$root/proc"

    for file in "${config_files[@]}"; do
        if [ -e "$file" ]; then
            mkdir -p "$root$(dirname "$file")"
            cp -L "$file" "$root$file"
        fi
    done
    git clone --quiet --no-hardlinks . "$root/root/cartgate"
    install_rust
}

# A copy of this machine's pinned toolchain, as rustup would leave it: with no wasm32 target.
install_rust() {
    local home toolchain
    home=$(rustup show home)
    toolchain=$(rustup show active-toolchain | cut -d ' ' -f 1)
    mkdir -p "$root/root/.cargo" "$root/root/.rustup/toolchains/$toolchain"
    cp -a "${CARGO_HOME:-$HOME/.cargo}/bin" "$root/root/.cargo/"
    cp "$home/settings.toml" "$root/root/.rustup/"
    tar -C "$home/toolchains/$toolchain/" --exclude=./share/doc -cf - . |
        tar -C "$root/root/.rustup/toolchains/$toolchain" -xf -
    in_clone /root/.cargo/bin/rustup --quiet target remove wasm32-unknown-unknown
}

# Sets $line.
names_what_is_missing() {
    if line=$(in_clone make --silent test); then
        fail "make test passed with nothing installed"
    fi
    [ "$(grep -c . <<<"$line")" = 1 ] || fail "not one line: $line"
    if [ -e "$root/root/cartgate/target" ] || [ -e "$root/root/cartgate/.tools" ]; then
        fail "work was done before everything was there"
    fi
}

# Returns when the demo has printed its three lines to try.
start_demo() {
    : >"$log" # before the job does: an earlier run's lines would count
    set -m # a process group of its own, as a terminal's Ctrl-C goes to a group
    in_clone make run >"$log" 2>&1 &
    set +m
    job=$!
    until [ "$(grep -c 'curl ' "$log")" -ge 3 ]; do
        kill -0 "$job" 2>/dev/null || { cat "$log" && fail "make run ended by itself"; }
        sleep 0.2
    done
    expect 200 "$service/ready"
}

stop_demo() {
    local ended=0
    kill -INT -- "-$job"
    wait "$job" || ended=$?
    # 130: make itself was interrupted too, and nothing went wrong.
    if { [ "$ended" != 0 ] && [ "$ended" != 130 ]; } || grep '^make: ' "$log"; then
        tail "$log"
        fail "make run ended with $ended"
    fi
    ports_are_free
}

ports_are_free() {
    local port
    for port in "${ports[@]}"; do
        if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            fail "port $port is taken"
        fi
    done
}

no_needless_work() {
    if grep -E '^ *(Compiling|Downloading|Downloaded|Collecting|Installing) ' "$log"; then
        fail "make run did work that was done before"
    fi
}

# First the lines that the demo says to try, then what any shopper may and may not do.
sale() {
    local try order='{"sku":"bare-root","quantity":1,"customer_id":"c"}' json='content-type: application/json'
    grep 'curl ' "$log" | while read -r try; do
        echo "\$ $try"
        sh -c "$try" </dev/null
        echo
    done

    expect 200 -X PUT -H "$json" -d '{"quantity":5}' "$service/v1/skus/bare-root/stock"
    expect 404 -X PUT -H "$json" -d '{"quantity":9}' "$edge/v1/skus/bare-root/stock"
    expect 201 -H "$json" -d "$order" "$edge/v1/reservations"
    expect 200 -X POST "$edge/v1/reservations/$(member reservation_id)/confirm"

    # A rush for the other four; what follows # stays here, and makes curl repeat itself.
    curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}\n' \
        -H "$json" -d "$order" "$edge/v1/reservations#[1-2000]" | sort | uniq -c | tee "$root/rush"
    grep -q ' 429$' "$root/rush" || fail "the edge denied nothing"
    awk '$2 == 201 && $1 > 4 { exit 1 }' "$root/rush" || fail "oversold"
}

# expect STATUS CURL-ARGUMENTS...
expect() {
    local wanted=$1 got
    shift
    got=$(curl --silent --show-error --noproxy '*' --max-time 30 --output "$root/answer" \
        --write-out '%{http_code}' "$@") || true
    [ "$got" = "$wanted" ] || fail "$got instead of $wanted: $* $(cat "$root/answer")"
}

# A member of the last answer, where it is a flat JSON object.
member() {
    sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$root/answer"
}

if [ "${1-}" = --in-namespaces ]; then
    in_namespaces "$2"
else
    main
fi
