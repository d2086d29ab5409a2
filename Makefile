# The commands for contributors. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTO := jicofo/reservation/v1/reservation.proto
GEN := proxy/jicofo_reservation_proxy/gen
GO := backend_stub/go
JAVA := backend_stub/java
# axe-core finds what keeps people from reading a page; `make test-browser` downloads it.
AXE := $(VENV)/axe
ARGS ?=

# $(call need,TOOL,PACKAGE) fails with a message that names PACKAGE if TOOL is not in PATH.
need = command -v $(1) >/dev/null || { echo "make $@: $(1) is not found; install $(2)" >&2; exit 1; }

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

$(READY): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: wanted Python 3.11 or newer, got $(PYTHON); set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; takes about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# xds-protos has old copies of some files of opentelemetry-proto; the last one installed counts.
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --force-reinstall \
	  opentelemetry-proto
	@touch $@

.PHONY: run
run: $(READY) ## Run the proxy on 127.0.0.1:7777 with the built-in stub backend
	@exec $(BIN)/jicofo-reservation-proxy serve --state-dir .state $(ARGS)

.PHONY: test
test: $(READY) ## Run the tests, without Go, Java and a browser (6 minutes); ARGS='-k ids' runs only the tests with this word in their names
	@$(BIN)/pytest -n auto --dist loadfile -m 'not toolchain and not browser and not operations' $(ARGS)

.PHONY: test-stubs
test-stubs: $(READY) ## Build and test the Go and Java stubs (2 minutes); needs Go, a JDK and Maven
	@$(call need,go,Go 1.26 or newer)
	@$(call need,mvn,Maven 3.8 or newer)
	@$(call need,javac,a JDK of Java 17 or newer)
	@$(BIN)/pytest -m toolchain $(ARGS)

.PHONY: test-operations
test-operations: $(READY) ## Let Prometheus scrape a proxy, and test the alerts; needs Prometheus
	@$(call need,prometheus,Prometheus)
	@$(call need,promtool,Prometheus)
	@$(BIN)/pytest -m operations $(ARGS)

.PHONY: test-browser
test-browser: $(READY) ## Test the status page, and attacks of other pages, in a real browser; needs Chromium and npm
	@$(call need,chromium,Chromium)
	@$(call need,npm,npm)
	@mkdir -p $(AXE) && cd $(AXE) && { test -e package/axe.min.js \
	  || { npm pack --silent axe-core@4.10.3 && tar xzf axe-core-4.10.3.tgz; } >/dev/null; }
	@AXE=$(abspath $(AXE)/package/axe.min.js) $(BIN)/pytest -m browser $(ARGS)

.PHONY: test-all
test-all: test test-stubs ## Run `test` and `test-stubs` (9 minutes)

.PHONY: faults
faults: $(READY) ## Run the fault tests and the Hypothesis state machine at length; takes about 40 minutes
	@FAULTS=long $(BIN)/pytest tests/faults tests/model \
		tests/unit/reservations/test_recreation.py tests/unit/reservations/test_sharing.py $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## Send random requests to a running proxy for a minute; ARGS='--answers 500000 --seconds 1800' sends more
	@$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: bench
bench: $(READY) ## Compare the proxy with other bridges in one run (7 minutes); needs Go and the extra `bench` for all of them
	@$(BIN)/python benchmarks/bench.py $(ARGS)

.PHONY: bench-chart
bench-chart: $(READY) ## Write the results in benchmarks/results.json into its README and its chart
	@$(BIN)/python benchmarks/publish.py

.PHONY: bench-check
bench-check: $(READY) ## Fail if a POST needs more processor time than benchmarks/expected.json says (a minute); ARGS=--update writes it
	@$(BIN)/python benchmarks/check.py $(ARGS)

.PHONY: lint
lint: $(READY) ## Check the style, the types, the imports between packages, and the contract
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code
	@$(BIN)/buf breaking --against protos/baseline.json

.PHONY: format
format: $(READY) ## Format the Python code and the contract
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format
	@$(BIN)/buf format --write

.PHONY: stubs
stubs: $(READY) ## Generate the Python code from the contract
	@$(BIN)/python -m grpc_tools.protoc -Ijicofo_reservation_proxy/gen=protos \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=proxy --grpc_python_out=proxy --mypy_out=quiet:proxy --mypy_grpc_out=quiet:proxy \
	  jicofo_reservation_proxy/gen/$(PROTO)

.PHONY: stubs-go
stubs-go: $(READY) ## Generate the Go code of backend_stub/go from the contract
	@$(call need,go,Go 1.26 or newer)
	@cd $(GO) && $(abspath $(BIN))/buf generate

.PHONY: stubs-java
stubs-java: ## Generate the Java code in backend_stub/java/target/generated-sources
	@$(call need,mvn,Maven 3.8 or newer)
	@$(call need,javac,a JDK of Java 17 or newer)
	@mvn -q -B -f $(JAVA)/pom.xml generate-sources

.PHONY: descriptor-set
descriptor-set: $(READY) ## Write the contract as a descriptor set to build/reservation.binpb
	@mkdir -p build
	@$(BIN)/buf build --as-file-descriptor-set --output build/reservation.binpb

.PHONY: conformance-python
conformance-python: $(READY) ## Check the Python stub backend with the conformance kit
	@$(BIN)/python -m tests.backends python $(ARGS)

.PHONY: conformance-go
conformance-go: $(READY) ## Check the Go stub backend with the conformance kit
	@$(BIN)/python -m tests.backends go $(ARGS)

.PHONY: conformance-java
conformance-java: $(READY) ## Check the Java stub backend with the conformance kit
	@$(BIN)/python -m tests.backends java $(ARGS)

.PHONY: check-generated
check-generated: stubs stubs-go ## Fail if the committed generated code differs from the contract
	@git diff --exit-code -- $(GEN) $(GO)/gen \
	  || { echo "The generated code is out of date: run 'make stubs stubs-go' and commit the result." >&2; exit 1; }

.PHONY: baseline
baseline: $(READY) ## Store the contract as the baseline that later changes must not break
	@$(BIN)/buf build --exclude-source-info --output protos/baseline.json

.PHONY: docs
docs: $(READY) ## Generate docs/settings.md from the code
	@$(BIN)/python docs/generate.py

.PHONY: build
build: $(READY) ## Build the sdist and the wheel into dist/
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist

.PHONY: clean
clean: ## Remove everything that make can create again
	@rm -rf $(VENV) .state build dist $(JAVA)/target .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf *.egg-info
