# Keyturn's verbs. Each does its own set-up; a Rust toolchain, Python 3 and make are all that must be there.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
TOOLS := $(CURDIR)/target/tools
FUNCTIONS := request keys rotation
# The package of each: `keyturn-keys` is the library that both share.
PACKAGE_request := keyturn-request
PACKAGE_keys := keyturn-keys-api
PACKAGE_rotation := keyturn-rotation-function
CARGO_DENY := 0.20.2
# `make build TARGET=aarch64-unknown-linux-gnu` builds for that processor; empty is this machine's.
TARGET ?=
# The processor that `make build` builds for.
PROCESSOR = $(if $(TARGET),$(firstword $(subst -, ,$(TARGET))),$(shell uname -m))
# Arguments of `make run` and `make bench`: `make run ARGS='--port 8080'`, `make bench ARGS=--quick`.
ARGS ?=
# The port of `make watch`.
WATCH_PORT ?= 9000
# How functions answer under `make watch`: `cargo lambda invoke` shows buffered answers only, function URLs stream too.
WATCH_MODE ?= buffered

# make says here whether a person is watching; $(shell) cannot, its output is a pipe.
BOLD := $(if $(MAKE_TERMOUT),$(shell printf '\033[1m'))
PLAIN := $(if $(MAKE_TERMOUT),$(shell printf '\033[0m'))

.PHONY: help run test prove-rotation lint build watch bench instructions size venv fmt requirements

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  $(BOLD)make %-14s$(PLAIN) %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  make build TARGET=aarch64-unknown-linux-gnu   for deployment on arm64, from any machine\n'
	@printf '  make run ARGS='"'"'--port 8080'"'"'                   arguments for keyturn\n'

run: ## Serve the gateway on 127.0.0.1:4000, with keys kept in .keyturn/
	@cargo run --bin keyturn -- serve $(ARGS)

test: $(VENV)/.tests ## Run every test, end-to-end ones included
	cargo build --workspace --bins
	cargo test --workspace

prove-rotation: $(VENV)/.tests ## Rotate credentials under load and faults for minutes: ARGS='--minutes 10 --seed 2'
	cargo build --workspace --bins
	PROVE_ARGS="$(ARGS)" cargo test --package keyturn-tests --test prove -- --ignored --nocapture

lint: $(VENV)/.tests $(TOOLS)/.cargo-deny ## Check formatting, lints, dependencies, the template and the Python tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	PATH="$(TOOLS)/bin:$$PATH" cargo deny check bans licenses sources
	$(BIN)/cfn-lint template.yaml
	$(BIN)/ruff check --no-cache tests/python
	$(BIN)/ruff format --no-cache --check tests/python
	@$(MAKE) size

build: $(if $(TARGET),$(VENV)/.watch) ## Build each function's package into target/lambda/<function>/, and its zip
ifeq ($(TARGET),)
	$(foreach function,$(FUNCTIONS),cargo build --release --package $(PACKAGE_$(function)) --bin $(function) &&) true
	@for function in $(FUNCTIONS); do \
	    mkdir -p "target/lambda/$$function"; \
	    cp -f "target/release/$$function" "target/lambda/$$function/bootstrap"; \
	done
else
	$(foreach function,$(FUNCTIONS),PATH="$(BIN):$$PATH" cargo lambda build --release --target $(TARGET) \
	    --package $(PACKAGE_$(function)) --bin $(function) &&) true
endif
	@for function in $(FUNCTIONS); do cp config.yaml "target/lambda/$$function/"; done
	@for function in $(FUNCTIONS); do \
	    cd "$(CURDIR)/target/lambda/$$function"; \
	    $(PYTHON) -m zipfile -c "../$$function.zip" *; \
	    printf 'target/lambda/%s/bootstrap: %s bytes; %s.zip: %s\n' \
	        "$$function" "$$(wc -c < bootstrap)" "$$function" "$$(wc -c < "../$$function.zip")"; \
	done

watch: $(VENV)/.watch ## Serve the functions as Lambda does, for `cargo lambda invoke`
	cargo build --workspace --bins
	PATH="$(BIN):$$PATH" KEYTURN_CONFIG="$(CURDIR)/config.yaml" KEYTURN_MASTER_KEY=sk-1234 KEYTURN_RESPONSE_MODE=$(WATCH_MODE) \
	    cargo lambda watch --invoke-address 127.0.0.1 --invoke-port $(WATCH_PORT) --ignore-changes

bench: build $(VENV)/.tests ## Measure the gateway beside the least that does its job, and its peers
	cargo build --release --package keyturn-limit --package keyturn-local
	cargo run --quiet --profile bench-harness --package keyturn-bench --bin bench -- $(ARGS)

instructions: build ## Count the instructions of the init phase and of warm requests; fails above the record
	cargo run --quiet --package keyturn-bench --bin instructions -- $(ARGS)

size: build ## Hold the packages' sizes, and what the init phase does, to the record
	@while read -r processor file most; do \
	    case "$$processor" in any|$(PROCESSOR)) ;; *) continue ;; esac; \
	    bytes=$$(wc -c < "$$file"); \
	    if [ "$$bytes" -gt "$$most" ]; then \
	        echo "$$file: $$bytes bytes, at most $$most are allowed (tests/bench/size.txt); $$(rustc --version)"; \
	        exit 1; \
	    fi; \
	done < tests/bench/size.txt
ifeq ($(TARGET),)
	@if command -v valgrind > /dev/null; then \
	    cargo run --quiet --package keyturn-bench --bin instructions -- --only init; \
	else \
	    echo 'valgrind is not installed (apt-get install valgrind): the init phase was not counted'; \
	fi
endif

venv: $(VENV)/.tests ## Make the Python environment of the tests

fmt: $(VENV)/.tests ## Format everything
	cargo fmt --all
	$(BIN)/ruff check --no-cache --fix-only --quiet tests/python
	$(BIN)/ruff format --no-cache --quiet tests/python

requirements: ## Pin the newest Python packages anew, with hashes (needs uv)
	cd tests && for name in requirements requirements-watch; do \
	    uv pip compile --quiet --universal --generate-hashes --no-header --upgrade --python-version 3.11 \
	        $$name.in --output-file $$name.txt; \
	done

$(VENV)/bin/python:
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.tests: tests/requirements.txt | $(VENV)/bin/python
$(VENV)/.watch: tests/requirements-watch.txt | $(VENV)/bin/python

# Installed anew when what is pinned changes. `pip` draws its progress bar on a terminal only.
$(VENV)/.tests $(VENV)/.watch:
	@echo "Installing $<"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar $(if $(BOLD),on,off) \
	    --require-hashes --only-binary :all: --requirement $<
	@touch $@

# The one on PATH if there is one, else our own.
$(TOOLS)/.cargo-deny:
	@mkdir -p $(TOOLS)
	@command -v cargo-deny > /dev/null || cargo install --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY)
	@touch $@
