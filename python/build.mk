# SPDX-License-Identifier: MIT OR Apache-2.0
# The Python package; included by the Makefile at the top, and run from there.

PYTHON ?= python3
VENV ?= .venv
# As seen from python/, where their configuration is.
PYTHON_SOURCES := . ../examples/python ../tests/conformance/cmd/python

# The stamps of what is in the virtual environment.
VENV_TOOLS := $(VENV)/.tools
VENV_PACKAGE := $(VENV)/.package

$(VENV_TOOLS): python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/pip install --quiet --group python/pyproject.toml:test --group python/pyproject.toml:lint
	touch $@

$(VENV_PACKAGE): $(VENV_TOOLS) Cargo.toml Cargo.lock $(shell find core/src agent/src cli/src run/src python/src python/mptcpapi core/Cargo.toml cli/Cargo.toml python/Cargo.toml -type f ! -name '*.pyc' 2>/dev/null)
	rm -f build/wheel/mptcpapi-*.whl
	$(VENV)/bin/pip wheel --quiet --no-deps --wheel-dir build/wheel ./python
	$(VENV)/bin/pip install --quiet --force-reinstall --no-deps build/wheel/mptcpapi-*.whl
	touch $@

.PHONY: wheel test-python lint-python demo-extras

wheel: $(VENV_PACKAGE)  ## the Python package, in build/wheel and in .venv
	@test "$$(stat --format=%s build/wheel/mptcpapi-*.whl)" -le 3000000 || { echo "the wheel is larger than 3 MB"; exit 1; }

demo-extras: $(VENV_TOOLS)  ## matplotlib, with which the demo draws build/handover.png
	$(VENV)/bin/pip install --quiet --group python/pyproject.toml:demo

# Never from python/: there the sources, which have no native module, would be imported.
test-python: wheel  ## the Python package
	$(CARGO) build $(CARGO_FLAGS) -q -p mptcpapi-cli
	$(VENV)/bin/pytest -c python/pyproject.toml python/tests $(PYTEST_ARGS)

lint-python: wheel  ## Python: formatter, linter, types, stubs
	cd python && $(abspath $(VENV))/bin/ruff check $(PYTHON_SOURCES)
	cd python && $(abspath $(VENV))/bin/ruff format --check $(PYTHON_SOURCES)
	$(VENV)/bin/mypy --config-file python/pyproject.toml python/mptcpapi
	MYPYPATH=tests/lab $(VENV)/bin/mypy --config-file python/pyproject.toml python/tests
	for file in $(wildcard examples/python/*.py) tests/conformance/cmd/python/main.py; do \
	    $(VENV)/bin/mypy --config-file python/pyproject.toml $$file || exit 1; done
	$(VENV)/bin/python -m mypy.stubtest --allowlist python/stubtest-allowlist.txt --ignore-unused-allowlist mptcpapi
