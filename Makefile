# Two commands matter: `make demo` and `make test`. Everything else is a part of them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE := core server plugins/meta_graph plugins/sms_twilio plugins/whatsapp plugins/messenger \
	plugins/instagram plugins/email_sendgrid
STAMP := $(VENV)/.installed
NODE_STAMP := $(VENV)/.node-installed
PACKAGES := core/waypost server/waypost_server plugins/meta_graph/waypost_meta_graph \
	plugins/sms_twilio/waypost_sms_twilio plugins/whatsapp/waypost_whatsapp \
	plugins/messenger/waypost_messenger plugins/instagram/waypost_instagram \
	plugins/email_sendgrid/waypost_email_sendgrid examples/telegram/waypost_telegram \
	examples/audit_trail/waypost_audit_trail examples/line_channel/waypost_line
PORT ?= 8080
TESTS ?= tests plugins examples

.PHONY: help setup demo test lint types imports check bench docs lock clean

help: ## Show this list.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): requirements/lock.txt $(addsuffix /pyproject.toml,$(WORKSPACE))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Waypost into $(VENV) (once; a second call is quick) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ./,$(WORKSPACE))
	@touch $@

setup: $(STAMP) ## Create the virtual environment with everything pinned.

demo: $(STAMP) ## Start a gateway and the providers' simulators, send and deliver real messages.
	@$(BIN)/waypost demo --port $(PORT) $(if $(ONCE),--once) $(if $(JSON),--json)

$(NODE_STAMP): $(STAMP) tests/acceptance/node/package-lock.json
	@cd tests/acceptance/node && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --loglevel=error --no-audit --no-fund
	@touch $@

test: $(STAMP) $(NODE_STAMP) ## Run every test, on SQLite and on a real PostgreSQL.
	@$(BIN)/python -m pytest $(TESTS) -n 2 --dist loadgroup

lint: $(STAMP) ## ruff and spelling.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell

types: $(STAMP) ## mypy, strict.
	@$(BIN)/mypy $(PACKAGES)

imports: $(STAMP) ## The arrows between the rooms.
	@$(BIN)/lint-imports

check: lint types imports ## Lint, types and import contracts.

bench: $(STAMP) ## Measure, interleaved with the baselines.
	@$(BIN)/python -m benchmarks

docs: $(STAMP) ## Write the generated tables of the documentation again.
	@$(BIN)/python docs/generate.py

lock: ## Resolve the pinned versions again (needs uv).
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	  requirements/workspace.in requirements/test.in -o requirements/lock.txt \
	  $(addprefix --no-emit-package ,waypost waypost-server waypost-meta-graph waypost-whatsapp waypost-messenger waypost-instagram waypost-sms-twilio waypost-email-sendgrid)

clean: ## Remove the virtual environment and caches.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache tests/acceptance/node/node_modules
