# SPDX-License-Identifier: MIT OR Apache-2.0
# Two commands are enough: make demo, make test. `make help` lists the rest.

.DEFAULT_GOAL := help
CARGO ?= cargo
CARGO_FLAGS ?= --locked
# tools/deps may have found a toolchain beside the PATH.
-include build/deps.mk

.PHONY: help deps demo test lint bench conformance conformance-agent test-agent test-run test-rust test-stress test-lab test-kernel test-examples examples fuzz \
	clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort | expand -t 18

include capi/build.mk
include python/build.mk
include go/build.mk
include bpf/build.mk

deps:  ## checks what building and testing need, and installs it where it can (Debian, Ubuntu)
	tools/deps

demo: deps  ## a two-path connection, seen from four languages, and a handover: in a private network
	$(MAKE) examples wheel
	$(VENV)/bin/python examples/demo/demo.py

test: deps  ## everything: core, C, Python, Go, command, lab, conformance, examples
	$(MAKE) test-rust test-stress test-c test-python test-go test-bpf test-agent test-run conformance conformance-agent test-examples test-lab

CORE_TESTS := $(basename $(notdir $(wildcard core/tests/*.rs)))

test-rust:  ## the core and the command
	$(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi --lib $(addprefix --test ,$(filter-out stress_%,$(CORE_TESTS)))
	$(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi --doc
	$(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi-cli -p mptcpapi-conformance -p mptcpapi-examples

# Thousands of operations on a real kernel, on whatever else the machine does: a failure is told, and tried up to twice more.
test-stress:  ## soak, storms, races, kills; MPTCPAPI_SOAK=1 for the long form
	for name in $(filter stress_%,$(CORE_TESTS)); do \
	    for attempt in 1 2 3; do \
	        $(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi --test $$name && continue 2; \
	        echo "*** $$name failed, attempt $$attempt of 3"; done; exit 1; done

conformance: conformance-c conformance-go wheel  ## the same questions to four languages
	$(CARGO) build $(CARGO_FLAGS) -q -p mptcpapi-conformance -p mptcpapi-cli
	cd tests/conformance && MPTCPAPI_PYTHON=$(abspath $(VENV))/bin/python $(abspath $(VENV))/bin/pytest -q

test-agent: wheel  ## the agent: clients that keep to nothing, kills, repair; as root
	$(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi-agent
	$(CARGO) build $(CARGO_FLAGS) -q -p mptcpapi-cli
	cd tests/agent && $(abspath $(VENV))/bin/pytest -q

test-run: lib wheel  ## mptcpapi run, and programs written for the paper's options; as root for all of it
	$(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi-run
	$(CARGO) build $(CARGO_FLAGS) -q -p mptcpapi-cli
	cd tests/run && $(abspath $(VENV))/bin/pytest -q

conformance-agent: conformance-c conformance-go wheel  ## the same by an ordinary user, through the agent, from other network namespaces
	$(CARGO) build $(CARGO_FLAGS) -q -p mptcpapi-conformance -p mptcpapi-cli
	cd tests/conformance && MPTCPAPI_PYTHON=$(abspath $(VENV))/bin/python $(abspath $(VENV))/bin/pytest -q --agent

test-lab: $(VENV_TOOLS)  ## the virtual network itself
	cd tests/lab && $(abspath $(VENV))/bin/pytest -q

test-kernel:  ## the core on other kernels (Debian's 6.1 and 6.12) under QEMU; KERNEL_ARGS="--kernel 6.1"
	tools/test-kernel $(KERNEL_ARGS)

examples: lib go-lib wheel  ## the example programs, into build/examples
	mkdir -p build/examples
	for name in $(basename $(notdir $(wildcard examples/c/*.c))); do \
	    $(CC) -std=c99 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -Iinclude -o build/examples/$$name-c examples/c/$$name.c \
	        build/libmptcpapi.a $(CAPI_LIBS) || exit 1; done
	$(CC) -std=gnu99 -O2 -Wall -Wextra -Werror -Iinclude/compat -o build/examples/paper examples/paper/second_path.c
	for name in $(notdir $(patsubst %/main.go,%,$(wildcard examples/go/*/main.go))); do \
	    (cd examples/go && go build -o ../../build/examples/$$name-go ./$$name) || exit 1; done
	$(CARGO) build $(CARGO_FLAGS) --release -q -p mptcpapi-examples
	for name in $(basename $(notdir $(wildcard examples/rust/src/bin/*.rs))); do \
	    install -m 755 $(or $(CARGO_TARGET_DIR),target)/release/$$name build/examples/$$name-rust || exit 1; done

test-examples: examples  ## the example programs and the README's, run in the lab
	cd examples && $(abspath $(VENV))/bin/pytest -q

bench: examples  ## ratios to hand-written code, measured side by side, into bench/RESULTS.md and bench/CONTROL.md
	$(VENV)/bin/python bench/run
	$(VENV)/bin/python bench/control/run

fuzz:  ## every decoder under libFuzzer for FUZZ_SECONDS each (nightly Rust and cargo-fuzz)
	fuzz/run

lint: lint-python lint-go check-c  ## formatters and linters of every language
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy $(CARGO_FLAGS) -q --workspace --all-targets -- -D warnings
	$(VENV)/bin/ruff check tests examples bench tools/test-kernel tools/kernel
	$(VENV)/bin/ruff format --check tests examples bench tools/test-kernel tools/kernel
	shellcheck tools/deps .ci/run

clean:  ## everything that was built
	rm -rf build target .venv go/internal/capi/lib/linux_*/*.a
