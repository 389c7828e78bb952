# SPDX-License-Identifier: MIT OR Apache-2.0
# The BPF programs. Their objects are committed, so that nobody needs clang to build the rest.

# The version that the object was made with, where it is there.
BPF_CLANG_MAJOR := $(shell cat bpf/clang-version)
CLANG ?= $(or $(shell command -v clang-$(BPF_CLANG_MAJOR)),clang)
LLVM_STRIP ?= $(or $(shell command -v llvm-strip-$(BPF_CLANG_MAJOR)),llvm-strip)
BPF_CFLAGS := -target bpf -mcpu=v3 -std=c11 -O2 -g -Wall -Wextra -Werror -ffreestanding -ffile-prefix-map=$(CURDIR)=.
# Inside the crate that loads them: source packages of that one have nothing else.
BPF_OBJECTS := cli/src/load_bpf/subflow_option.o cli/src/load_bpf/subflow_syn.o
BPF_BUILT := $(patsubst cli/src/load_bpf/%,build/%,$(BPF_OBJECTS))
BPF_SOURCES := $(wildcard bpf/*.c bpf/*.h)
CLANG_MAJOR = $(shell $(CLANG) -dumpversion 2>/dev/null | cut -d. -f1)

.PHONY: bpf check-bpf test-bpf

bpf: $(BPF_BUILT)  ## the BPF programs for options of one subflow (clang), into cli/src/load_bpf
	install -m 644 $^ cli/src/load_bpf
	echo $(CLANG_MAJOR) >bpf/clang-version

$(BPF_BUILT): build/%.o: bpf/%.c $(BPF_SOURCES) bpf/build.mk
	@mkdir -p build
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
	$(LLVM_STRIP) -g $@

# Another clang makes another object of the same source, which says nothing.
check-bpf:  ## whether those objects are what the sources say, by the same clang
	@if [ "$(CLANG_MAJOR)" = "$(BPF_CLANG_MAJOR)" ]; then \
	    $(MAKE) --no-print-directory $(BPF_BUILT) && \
	    for object in $(notdir $(BPF_OBJECTS)); do cmp build/$$object cli/src/load_bpf/$$object || exit 1; done; \
	else \
	    echo "SKIPPED check-bpf: it takes clang $(BPF_CLANG_MAJOR), this is $(or $(CLANG_MAJOR),none)" >&2; \
	    [ "$$MPTCPAPI_EXPECT_ALL" != 1 ]; \
	fi

test-bpf: check-bpf $(VENV_TOOLS)  ## the BPF programs asked directly, in a lab; as root
	$(CARGO) build $(CARGO_FLAGS) -q -p mptcpapi-cli
	cd tests/bpf && $(abspath $(VENV))/bin/pytest -q
