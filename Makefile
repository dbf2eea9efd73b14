# Two commands do all the set-up: `make run` and `make test`. `make help` lists the rest.

CARGO       ?= cargo
# Guests share one target directory, so that wit-bindgen is built once for the SDK, the samples and the hostile set.
GUESTS      := $(CURDIR)/target/guests
GUEST       := CARGO_TARGET_DIR=$(GUESTS) $(CARGO)
WASM        := $(GUESTS)/wasm32-wasip2/release
BASIN       := $(CURDIR)/target/debug/basin
DEMO        ?= $(CURDIR)/run
CRASH_CYCLES ?= 200
BENCH_DIRECTORY ?= /tmp
QUEUE       ?= 100000
SEEDS       ?= 0..100000

.DEFAULT_GOAL := help
.PHONY: help setup guests hostile server run test check-style unit e2e crash crash-short simulate test-peers rivals bench bench-quick bench-idle bench-queue fuzz powercut clean-run

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: # Installs what a fresh machine lacks: the guest target of the Rust toolchain.
	@rustup target list --installed | grep -qx wasm32-wasip2 || { echo "==> installing the rustup target wasm32-wasip2"; rustup target add wasm32-wasip2; }

guests: setup ## Build the sample sinks (components for wasm32-wasip2)
	@echo "==> building the sample sinks"
	cd sample-sinks && $(GUEST) build --release --target wasm32-wasip2

hostile: setup
	@echo "==> building the sinks that misbehave on purpose, and the one that does what it is told"
	cd tests/hostile && $(GUEST) build --release --target wasm32-wasip2
	cd tests/scripted && $(GUEST) build --release --target wasm32-wasip2

server: ## Build the server (the first time takes some minutes: wasmtime)
	@echo "==> building the server"
	$(CARGO) build -p basin

run: setup server guests ## Start a server on loopback with the sample sinks; mail goes in and comes out
	@BASIN_SAMPLES=$(WASM) $(BASIN) serve --demo $(DEMO)

test: check-style unit e2e crash-short ## Do all set-up that tests need and run them

check-style: setup
	@echo "==> format and lints"
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	cd guest-sdk/rust && $(CARGO) fmt --check
	cd sample-sinks && $(CARGO) fmt --all --check

unit: setup guests hostile
	@echo "==> tests of the Rust SDK and the samples, natively"
	cd guest-sdk/rust && $(GUEST) test --quiet
	cd sample-sinks && $(GUEST) test --quiet
	@echo "==> tests of the server's crates"
	BASIN_WASM=$(WASM) $(CARGO) test -p basin-core -p basin-spool -p basin-sinks -p basin-outbound -p basin --no-fail-fast
	@echo "==> a few thousand worlds under a virtual clock"
	$(CARGO) test -p basin-simulation
	@echo "==> the session against a model of SMTP, and every seed of the fuzzers"
	$(CARGO) test -p basin-fuzzing

e2e: server guests hostile
	@echo "==> tests over the wire, of the contract and of the tree"
	BASIN_BIN=$(BASIN) BASIN_WASM=$(WASM) $(CARGO) test -p basin-tests --no-fail-fast

crash-short: server guests
	@echo "==> 20 cycles of kill -9 under load"
	BASIN_BIN=$(BASIN) BASIN_WASM=$(WASM) $(CARGO) run -q -p basin-tests --bin crash -- --cycles 20

crash: server guests ## 200 cycles of kill -9 under load; nothing acknowledged may be lost
	BASIN_BIN=$(BASIN) BASIN_WASM=$(WASM) $(CARGO) run -q -p basin-tests --bin crash -- --cycles $(CRASH_CYCLES)

simulate: ## Worlds of the seeds SEEDS=0..1000000: all machines, a disk and servers that fail, a virtual clock (release build)
	$(CARGO) run --release -q -p basin-simulation --bin simulate -- $(SEEDS)

fuzz: ## Fuzz parsers and sessions, FUZZ_SECONDS=60 for each target
	fuzz/run.sh

powercut: server guests ## Simulated power cut: file-system shutdown on a loop mount (Linux, root)
	BASIN_BIN=$(BASIN) $(CARGO) run -q -p basin-tests --bin powercut

test-peers: server guests hostile ## Real peers from Debian: Postfix, Exim, OpenSMTPD, Dovecot, swaks
	$(CARGO) build -p basin-test-dns
	BASIN_BIN=$(BASIN) BASIN_WASM=$(WASM) tests/peers/run.sh

rivals: server hostile ## Filters that misbehave, on Postfix, Haraka, OpenSMTPD and here; writes a table into docs/security.md
	BASIN_BIN=$(BASIN) BASIN_WASM=$(WASM) tests/rivals/run.sh

bench: setup guests hostile ## Measure speed and memory beside a null SMTP server (release build)
	$(CARGO) build --release -p basin -p basin-tests --bins
	BASIN_BIN=$(CURDIR)/target/release/basin BASIN_WASM=$(WASM) target/release/bench

bench-quick: setup guests hostile
	$(CARGO) build --release -p basin -p basin-tests --bins
	BASIN_BIN=$(CURDIR)/target/release/basin BASIN_WASM=$(WASM) target/release/bench --quick

bench-idle: setup ## Measure 10,000 idle sessions, 1,000 slow ones and endless lines (release build)
	$(CARGO) build --release -p basin -p basin-tests --bins
	BASIN_BIN=$(CURDIR)/target/release/basin target/release/bench --idle

bench-queue: ## Measure a queue of QUEUE messages (default 100,000): open, scan, lists, delivery beside lists
	$(CARGO) run --release -p basin-spool --example queue_bench -- $(BENCH_DIRECTORY) $(QUEUE)

clean-run: ## Forget the state of `make run`
	rm -rf $(DEMO) next
