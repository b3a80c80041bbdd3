# The one door to cartgate. `make` alone lists what it opens.

DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cartgate
SCRIPTS := .ci/run $(wildcard */*.sh */*/*.sh)

# The Envoys that the edge suites are run on besides the one that everything is run on; oldest first.
ENVOY_VERSIONS := $(sort $(patsubst envoy/requirements-%.txt,%,$(wildcard envoy/requirements-*.txt)))

# The minors of Istio that istio/ is tested with, oldest first, and the Envoy that each brings.
ISTIO_VERSIONS := 1.30 1.31
ENVOY_OF_ISTIO_1.30 := 1.38
ENVOY_OF_ISTIO_1.31 := 1.39

SHELL := /bin/sh
.SHELLFLAGS := -euc

# The demo, the tests and `make` itself agree on where things are built.
export CARGO_TARGET_DIR := $(CURDIR)/target
# rustup's commands, also in a shell older than them, and before any that Debian installs.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help build run drill test schema openapi lint clean test-envoy-versions test-simulation test-crash test-faults \
    test-contract test-browser test-bare-root test-istio test-manifests fuzz bench-engine bench-redis bench-edge bench-edge-memory \
    bench-control bench-istio bench-api bench-smoke \
    prerequisites test-prerequisites manifests-prerequisites bench-prerequisites bench-programs \
    wasm wasm-crash envoy ratelimit cargo-deny cargo-fuzz

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-19s %s\n", $$1, $$2 }' Makefile

build: wasm ## the filter's module and the service, as they are shipped
	cargo build --locked --release --package cartgate-backend --package cartgate-tests --bin cartgate

run: wasm envoy ## build, then serve the demo: the service, Envoy with the filter in front; STORE=redis
	cargo build --locked --release --package cartgate-backend --package cartgate-tests \
	    --bin cartgate --bin demo
	@exec target/release/demo $(ON_STORE)

drill: wasm envoy ## rehearse a sale, judge it, report it; STORE=redis; ARGS="--help" says more
	cargo build --locked --release --package cartgate-backend --package cartgate-tests \
	    --bin cartgate --bin drill
	@target/release/drill $(ON_STORE) $(ARGS)

# What `STORE=redis` says to the two above: they start a Redis of their own.
ON_STORE := $(if $(STORE),--store $(STORE))

test: wasm wasm-crash envoy ## every test, with a real Envoy; parts with the oldest, too, and with Redis as the store
	cargo build --locked --workspace --all-targets
	cargo test --locked --workspace
	CARTGATE_TEST_STORE=redis cargo test --locked --package cartgate-tests \
	    --test api --test edges --test sale --test linearizability
	@$(if $(ENVOY),,$(MAKE) --no-print-directory test-envoy-$(firstword $(ENVOY_VERSIONS)))

schema: ## the JSON Schema of the filter's configuration, anew from the types
	cargo run --quiet --locked --package cartgate-policy --features schema --example schema \
	    >target/schema.json && cp target/schema.json filter/configuration.schema.json

openapi: ## docs/openapi.json and docs/problems.md, anew from the code
	cargo build --locked --package cartgate-backend
	target/debug/cartgate openapi >target/openapi.json && cp target/openapi.json docs/
	target/debug/cartgate openapi --format problems >target/problems.md && cp target/problems.md docs/

lint: wasm envoy cargo-deny ## formatting, clippy, dependencies, Envoy's configurations, scripts
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@filter/build.sh --lint
	PATH="$(TOOLS)/bin:$$PATH" cargo-deny --locked check bans licenses sources
	@for config in envoy/*.yaml; do \
	    echo "envoy --mode validate -c $$config"; \
	    "$${ENVOY:-.tools/envoy}" --mode validate --log-level warn -c "$$config"; \
	done
	@for script in $(SCRIPTS); do \
	    case "$$(head -n 1 "$$script")" in *bash) bash -n "$$script" ;; *) sh -n "$$script" ;; esac; \
	done
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); fi

clean: ## remove what was built and fetched; the demo's data in run/ stays
	rm -rf target .tools

test-envoy-versions: wasm-crash $(ENVOY_VERSIONS:%=test-envoy-%) envoy ## the edge suites on each Envoy that we support
	$(EDGE_SUITES)

test-envoy-%: wasm wasm-crash
	@envoy/fetch.sh $*
	ENVOY="$(CURDIR)/.tools/envoy-$*" $(EDGE_SUITES)

# These run what is pinned, whatever Envoy is given for the rest.
test-envoy-%: export ENVOY :=
EDGE_SUITES := cargo test --locked --package cartgate-tests --test 'edge_*'

test-simulation: prerequisites ## half a million simulated histories of the engine (minutes); SEED=, HISTORIES=
	CARTGATE_SEED=$(or $(SEED),1000000) CARTGATE_HISTORIES=$(or $(HISTORIES),500000) \
	    cargo test --locked --release --package cartgate-backend --lib many_histories -- \
	    --ignored --nocapture

test-crash: prerequisites ## a hundred kill -9 of the service under load, and many histories (minutes)
	cargo build --locked --package cartgate-backend
	cargo test --locked --package cartgate-tests --test crash -- --ignored --nocapture
	CARTGATE_HISTORIES=$(or $(HISTORIES),25) cargo test --locked --package cartgate-tests \
	    --test linearizability -- --nocapture

test-faults: prerequisites ## a hundred faults of processes and Redis in sales (minutes); CARTGATE_SEED=
	cargo build --locked --package cartgate-backend
	cargo test --locked --package cartgate-tests --test redis_faults -- --ignored \
	    --nocapture --test-threads 1

# What is new goes to target/fuzz/corpus; what is worth keeping is copied to fuzz/corpus by hand, which
# `make test` runs over again.
fuzz: cargo-fuzz ## libFuzzer over what the edge reads (a C++ compiler); TARGETS="json form", FOR=seconds each
	@for target in $(or $(TARGETS),head json form multipart config words); do \
	    mkdir -p "target/fuzz/corpus/$$target"; \
	    PATH="$(TOOLS)/bin:$$PATH" CARGO_TARGET_DIR="$(CURDIR)/target/fuzz" cargo fuzz run --fuzz-dir fuzz \
	        --sanitizer none --features libfuzzer "$$target" \
	        "$(CURDIR)/target/fuzz/corpus/$$target" "$(CURDIR)/fuzz/corpus/$$target" -- \
	        -max_total_time=$(or $(FOR),60) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1; \
	done

test-contract: prerequisites ## the service against its OpenAPI document, by schemathesis (python3-venv, curl; minutes); CARTGATE_SEED=
	@tests/contract/fetch.sh
	cargo build --locked --package cartgate-backend
	cargo test --locked --package cartgate-tests --test contract -- --ignored --nocapture --test-threads 1

test-browser: wasm envoy ## the legacy frontend in Chromium, with pictures (chromium, fonts-noto-cjk)
	cargo build --locked --package cartgate-backend
	cargo test --locked --package cartgate-tests --test legacy_browser -- --ignored

test-istio: $(ISTIO_VERSIONS:%=test-istio-%) ## istio/ in a mesh, with each istiod that we support (Go; the first time minutes)

test-istio-%: wasm wasm-crash istio-%
	@tests/go/build.sh ratelimit "$(TOOLS)"
	cargo build --locked --package cartgate-backend
	$(call WITH_ISTIO,$*) cargo test --locked --package cartgate-tests --test istio -- --include-ignored \
	    --test-threads 2

# istiod, its proxies' agent and the Envoy that they are released with.
istio-%: prerequisites
	@envoy/fetch.sh $(ENVOY_OF_ISTIO_$*)
	@tests/go/build.sh istio-$* "$(TOOLS)"
WITH_ISTIO = ISTIO="$(CURDIR)/.tools/istio-$1" ENVOY="$(CURDIR)/.tools/envoy-$(ENVOY_OF_ISTIO_$1)"

test-manifests: build envoy ## what istio/ ships: manifests, rules, dashboard, images; without a cluster (Go, buildah)
	@istio/check.sh "$(TOOLS)"

test-bare-root: ## the two commands in a bare Debian root (as root, with debootstrap; minutes)
	tests/bare-root.sh

bench-engine: bench-programs ## the engine's figures beside PostgreSQL's; minutes; ARGS="--help"
	@target/release/bench engine $(ARGS)

bench-redis: bench-programs ## the engine on Redis, beside one script a reservation; ARGS="--help"
	@target/release/bench redis $(ARGS)

bench-edge: bench-programs ratelimit ## what the filter costs in Envoy, beside others' filters; ARGS="--help"
	@target/release/bench edge $(ARGS)

bench-edge-memory: bench-programs ## Envoy's memory under a flood of invented SKUs; minutes
	@target/release/bench edge --memory $(ARGS)

bench-control: bench-programs ## how soon hot items are noticed and limited at four edges; ARGS="--help"
	@target/release/bench control $(ARGS)

bench-istio: bench-programs ratelimit istio-$(lastword $(ISTIO_VERSIONS)) ## a limit at a mesh's gateway: ours, Istio's own, none; ARGS="--help"
	@$(call WITH_ISTIO,$(lastword $(ISTIO_VERSIONS))) target/release/bench istio $(ARGS)

bench-api: bench-programs ## stock in bulk; what tokens and traces cost; ARGS="--help"
	@target/release/bench api $(ARGS)

bench-smoke: bench-programs ratelimit ## each benchmark for a second, so that none rots
	@target/release/bench engine --smoke
	@target/release/bench redis --smoke
	@target/release/bench edge --smoke
	@target/release/bench edge --memory --smoke
	@target/release/bench control --smoke
	@target/release/bench api --smoke

# The parts of the above, none of which does needless work.

wasm: prerequisites
	@filter/build.sh

# A crash that tests can bring about.
wasm-crash: prerequisites
	@filter/build.sh --crash

envoy: prerequisites
	@envoy/fetch.sh

bench-programs: prerequisites bench-prerequisites wasm envoy
	cargo build --locked --release --package cartgate-backend --package cartgate-tests \
	    --bin cartgate --bin bench --bin conventional --bin lanes

# What the edge is compared with. Without Go that row is missing, and the table says so.
ratelimit:
	@[ "$${RATELIMIT-}" ] || tests/go/build.sh ratelimit "$(TOOLS)" || true

# Built once per version and kept outside the tree; `--debug` halves the time that takes.
cargo-deny: prerequisites
	@PATH="$(TOOLS)/bin:$$PATH"; unset CARGO_TARGET_DIR; \
	[ "$$(cargo-deny --version 2>&1)" = "cargo-deny $(DENY_VERSION)" ] || \
	    cargo install --quiet --debug --locked --root "$(TOOLS)" cargo-deny@$(DENY_VERSION)

cargo-fuzz: prerequisites
	@PATH="$(TOOLS)/bin:$$PATH"; unset CARGO_TARGET_DIR; \
	[ "$$(cargo-fuzz --version 2>&1)" = "cargo-fuzz $(FUZZ_VERSION)" ] || \
	    cargo install --quiet --debug --locked --root "$(TOOLS)" cargo-fuzz@$(FUZZ_VERSION)

# What only the system can install is looked for before any work, and named in one line to paste,
# alone on stdout. Nothing here calls sudo.
prerequisites:
	@packages=; rust=yes; \
	case "$$(cc -print-file-name=crt1.o 2>/dev/null)" in /*) ;; *) packages="gcc libc6-dev" ;; esac; \
	packages="$$packages $$(envoy/fetch.sh --missing)"; \
	for server in $(SERVERS); do command -v "$$server" >/dev/null || packages="$$packages $$server"; done; \
	if command -v rustup >/dev/null && command -v cargo >/dev/null; then \
	    packages="$$packages $$(filter/build.sh --missing)"; \
	else \
	    rust=; echo "Missing: Rust by rustup (https://rustup.rs)." >&2; \
	fi; \
	$(TO_PASTE); \
	[ "$$rust" ] && [ $$# = 0 ]

# Servers that tests start, called as their packages are; `REDIS_SERVER=/path/to/valkey-server make
# test` uses one of yours.
test test-istio-% test-faults test-prerequisites: SERVERS := $(if $(REDIS_SERVER),,redis-server)

test-manifests manifests-prerequisites: SERVERS := redis-server buildah

run drill: SERVERS := $(if $(REDIS_SERVER),,$(if $(filter redis,$(STORE)),redis-server))

test-prerequisites manifests-prerequisites: prerequisites

bench-prerequisites:
	@packages=; \
	set -- /usr/lib/postgresql/*/bin/pgbench; [ -x "$$1" ] || packages=postgresql; \
	command -v strace >/dev/null || packages="$$packages strace"; \
	command -v redis-server >/dev/null || packages="$$packages redis-server"; \
	$(TO_PASTE); \
	[ $$# = 0 ]

# Shell: how to install $packages, which become the arguments.
define TO_PASTE
set -- $$packages; \
	if [ $$# -gt 0 ] && command -v apt-get >/dev/null; then \
	    echo "Missing: packages of the system. Paste this line, then try again:" >&2; \
	    sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo "; \
	    echo "$${sudo}apt-get update && $${sudo}apt-get install -y $$*"; \
	elif [ $$# -gt 0 ]; then \
	    echo "Missing, by the names Debian gives them: $$*" >&2; \
	fi
endef
