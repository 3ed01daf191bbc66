# fapo: `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
DEMO_DIR ?= target/demo

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Optimize the structure-fault example offline: prompts first, then the missing second hop
	@$(CARGO) build --release -p fapo
	@rm -rf $(DEMO_DIR) && mkdir -p $(dir $(DEMO_DIR)) && cp -r examples/missing-hop $(DEMO_DIR)
	@target/release/fapo optimize $(DEMO_DIR)

.PHONY: build
build: ## Build the binary (release)
	$(CARGO) build --release -p fapo

# The Claude Code CLI that the tests drive. Without npm, or without its registry, those tests say that they were skipped.
CODEX := @openai/codex@0.169.0
CLAUDE_CODE := @anthropic-ai/claude-code@2.1.330
TOOLS_DIR := target/tools

.PHONY: tools
tools: ## Install the coding agents' programs for the tests, where npm is there
	@if [ -x $(TOOLS_DIR)/node_modules/@anthropic-ai/claude-code/bin/claude.exe ] && [ -f $(TOOLS_DIR)/node_modules/@openai/codex/bin/codex.js ]; then :; \
	elif ! command -v npm >/dev/null; then \
	  echo "npm is not installed: tests with the real coding agents will be skipped"; \
	else \
	  echo "installing $(CLAUDE_CODE) and $(CODEX) into $(TOOLS_DIR)"; mkdir -p $(TOOLS_DIR); \
	  npm install --silent --no-audit --no-fund --prefix $(TOOLS_DIR) $(CLAUDE_CODE) $(CODEX) >$(TOOLS_DIR)/npm.log 2>&1 \
	  || echo "npm could not install them (see $(TOOLS_DIR)/npm.log): tests with the real coding agents will be skipped"; \
	fi

PYTHON_CLIENT := target/python-client

.PHONY: python-client
python-client: ## Install the Python client for the tests, where pip and its index are there
	@if [ $(PYTHON_CLIENT)/installed -nt clients/python/setup.py ] && [ -z "$$(find clients/python/src proto -newer $(PYTHON_CLIENT)/installed -name '*.p*' -not -name '*_pb2*' -print -quit)" ]; then :; \
	elif ! command -v python3 >/dev/null; then \
	  echo "python3 is not installed: tests with the Python client will be skipped"; \
	else \
	  echo "installing clients/python into $(PYTHON_CLIENT)"; mkdir -p $(PYTHON_CLIENT); \
	  { python3 -m venv $(PYTHON_CLIENT) && $(PYTHON_CLIENT)/bin/pip install --quiet --disable-pip-version-check ./clients/python; } >$(PYTHON_CLIENT)/install.log 2>&1 \
	  && touch $(PYTHON_CLIENT)/installed \
	  || echo "it could not be installed (see $(PYTHON_CLIENT)/install.log): tests with the Python client will be skipped"; \
	fi

.PHONY: test
test: tools python-client ## Run every test: unit, property, conformance, end to end, faults, architecture
	$(CARGO) build -p fapo
	$(CARGO) test --workspace --no-fail-fast

CHAOS_SEED ?= 1
CHAOS_ROUNDS ?= 100
CHAOS_MINUTES ?= 20
CHAOS := $(CARGO) run -q -p fapo-e2e --example chaos -- --seed $(CHAOS_SEED) --rounds $(CHAOS_ROUNDS) --max-minutes $(CHAOS_MINUTES)
PLANTED_DIR := target/planted

.PHONY: chaos
chaos: ## A working cluster whose parts are killed, emptied and cut off (CHAOS_SEED, CHAOS_ROUNDS, CHAOS_MINUTES)
	$(CARGO) build -p fapo
	$(CHAOS)

.PHONY: chaos-planted
chaos-planted: ## The same with a bug planted on purpose, which must be found
	$(CARGO) build -p fapo
	$(CARGO) build -p fapo --features planted --target-dir $(PLANTED_DIR)
	@$(CHAOS) --fapo $(PLANTED_DIR)/debug/fapo; \
	case $$? in \
	  0) echo "the planted bug was not found"; exit 1 ;; \
	  1) echo "the planted bug was found" ;; \
	  *) echo "chaos could not run"; exit 1 ;; \
	esac

BUF := @bufbuild/buf@1.75.0
BUF_BIN := $(TOOLS_DIR)/node_modules/.bin/buf
PROTO_BASE := target/proto-base

# Wire and JSON compatibility is held against the protos of the merge base with `main`, taken out of git as files.
.PHONY: proto
proto: ## Protos: format, lint, and no breaking change against main (needs npm)
	@if [ ! -x $(BUF_BIN) ] && command -v npm >/dev/null; then \
	  echo "installing $(BUF) into $(TOOLS_DIR)"; mkdir -p $(TOOLS_DIR); \
	  npm install --silent --no-audit --no-fund --prefix $(TOOLS_DIR) $(BUF) >$(TOOLS_DIR)/buf.log 2>&1 || true; \
	fi; \
	if [ ! -x $(BUF_BIN) ]; then echo "buf cannot be had (npm, or its registry, is not there): the protos were not checked"; exit 0; fi; \
	set -e; \
	$(BUF_BIN) format proto --diff --exit-code; \
	$(BUF_BIN) lint proto; \
	base=$$(git merge-base HEAD main 2>/dev/null) || base=; \
	if [ -z "$$base" ] || ! git cat-file -e "$$base:proto" 2>/dev/null; then \
	  echo "there are no protos on main to compare with: breaking changes were not checked"; exit 0; \
	fi; \
	rm -rf $(PROTO_BASE) && mkdir -p $(PROTO_BASE) && git archive "$$base" proto | tar -x -C $(PROTO_BASE); \
	$(BUF_BIN) breaking proto --against $(PROTO_BASE)/proto

.PHONY: check
check: proto ## Formatting, clippy with warnings as errors, architecture, protos
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test -p fapo-e2e architecture

.PHONY: fmt
fmt: ## Format the code
	$(CARGO) fmt --all

.PHONY: bench
bench: ## Cases/s and CPU per model call beside langgraph; peak memory for 10k and 1M cases
	bench/run.sh

.PHONY: schema
schema: ## Regenerate docs/schema from the types
	$(CARGO) run -p fapo -- schema --out docs/schema

DEPLOY_VENV := $(TOOLS_DIR)/deploy-venv

.PHONY: compose-check
compose-check: ## Deployment files: compose, images, Kubernetes, collector, alerts and their tests, dashboards
	@if [ ! -x $(DEPLOY_VENV)/bin/hadolint ]; then \
	  echo "installing deploy/requirements.txt into $(DEPLOY_VENV)"; mkdir -p $(TOOLS_DIR); \
	  python3 -m venv $(DEPLOY_VENV) && $(DEPLOY_VENV)/bin/pip install --quiet --disable-pip-version-check -r deploy/requirements.txt; \
	fi
	@$(DEPLOY_VENV)/bin/python deploy/check.py

RPC_VENV := $(TOOLS_DIR)/rpc-venv

.PHONY: bad-input
bad-input: ## Bad input to every RPC and route of a real server
	@if [ ! -x $(RPC_VENV)/bin/python ]; then \
	  echo "installing tests/python/requirements.txt into $(RPC_VENV)"; mkdir -p $(TOOLS_DIR); \
	  python3 -m venv $(RPC_VENV) && $(RPC_VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt; \
	fi
	cargo build --locked -p fapo
	@$(RPC_VENV)/bin/python tests/python/bad_rpc.py target/debug/fapo
	@$(RPC_VENV)/bin/python tests/python/bad_http.py target/debug/fapo

.PHONY: ci
ci: check test ## What CI runs
