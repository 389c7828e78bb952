# SPDX-License-Identifier: MIT OR Apache-2.0
# libmptcpapi: build, install, test. Included by the Makefile; works alone too (make -f capi/build.mk lib).
# rustc cannot version C symbols through a linker script, so the shared library is linked here from the static one.

.DEFAULT_GOAL ?= lib
CARGO ?= cargo
CARGO_FLAGS ?= --locked
OBJCOPY ?= objcopy
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
BUILD ?= build

CAPI_VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
CAPI_SONAME := libmptcpapi.so.0
CAPI_SO := libmptcpapi.so.$(CAPI_VERSION)
CAPI_RAW := $(or $(CARGO_TARGET_DIR),target)/release/libmptcpapi_c.a
# Until glibc 2.34 these were libraries of their own. The unwinder comes with every C compiler.
CAPI_LIBS := -lpthread -ldl
CAPI_SYMBOLS := $(shell sed -n 's/^ *\(mptcpapi_[a-z_]*\);$$/\1/p' capi/mptcpapi.map)
# NAME:PAGE for each further name of a manual page.
CAPI_MAN_ALIASES := $(foreach page,$(wildcard capi/man/*.3),$(patsubst %,%:$(basename $(notdir $(page))),\
	$(filter-out $(basename $(notdir $(page))),$(shell sed -n '/^\.SH NAME/{n;s/ \\-.*//;s/,//g;p;}' $(page)))))
# They stand beside mptcpapi_paper.h's folder in the checkout as when they are installed: they include it by that way.
CAPI_COMPAT := linux/tcp.h netinet/tcp.h
GO_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,amd64,$(shell uname -m)))
GO_CAPI := go/internal/capi
# A module is fetched without what is outside of its folder.
GO_HEADERS := mptcpapi.h mptcpapi_paper.h

.PHONY: lib go-lib install uninstall header check-c test-c conformance-c capi-staticlib

lib: $(BUILD)/$(CAPI_SO) $(BUILD)/libmptcpapi.a  ## the C library, shared and static, into build/

# Cargo knows whether there is anything to do.
capi-staticlib:
	$(CARGO) build $(CARGO_FLAGS) --release -p mptcpapi-capi

$(CAPI_RAW): capi-staticlib ;

# Half of a small Rust library is std's reader of debug information, which prints a backtrace after a panic. Panics are
# caught at the boundary, and told as errors, so the printer is replaced by a function that prints nothing; the linker
# then drops the reader. Where std has no such symbol, the library only stays larger.
$(BUILD)/std-no-backtrace.a: $(CAPI_RAW) capi/no_backtrace.c
	@mkdir -p $(BUILD)
	printer=$$(readelf -sW $< 2>/dev/null | awk '/GLOBAL/ && /BacktraceLock5print/ && /DisplayBacktrace/ && /3fmt$$/ {print $$8; exit}'); \
	$(OBJCOPY) $${printer:+--weaken-symbol=$$printer} $< $@ && \
	$(CC) -O2 -fPIC -Wall -Werror -DPRINTER="\"$${printer:-mptcpapi_no_printer_found}\"" -c capi/no_backtrace.c -o $(BUILD)/no_backtrace.o

$(BUILD)/$(CAPI_SO): $(BUILD)/std-no-backtrace.a capi/mptcpapi.map
	$(CC) -shared -o $@ $(BUILD)/no_backtrace.o -Wl,--whole-archive $< -Wl,--no-whole-archive \
		-Wl,--version-script=capi/mptcpapi.map -Wl,-soname,$(CAPI_SONAME) \
		-Wl,--gc-sections -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,noseparate-code -Wl,--strip-debug $(LDFLAGS) $(CAPI_LIBS)
	ln -sf $(CAPI_SO) $(BUILD)/$(CAPI_SONAME)
	ln -sf $(CAPI_SONAME) $(BUILD)/libmptcpapi.so

# A raw Rust archive shows all of Rust's symbols: two of them do not link into one program. So it becomes one object
# that shows only ours. Its bitcode goes, as a linker plugin of another LLVM stumbles over it.
$(BUILD)/libmptcpapi.a: $(BUILD)/std-no-backtrace.a capi/mptcpapi.map
	$(LD) -r --gc-sections --force-group-allocation $(addprefix -u ,$(CAPI_SYMBOLS)) \
		$(BUILD)/no_backtrace.o --whole-archive $< -o $(BUILD)/mptcpapi.o
	$(OBJCOPY) --wildcard --keep-global-symbol='mptcpapi_*' --strip-debug \
		--remove-section=.llvmbc --remove-section=.llvmcmd $(BUILD)/mptcpapi.o
	rm -f $@
	$(AR) rcsD $@ $(BUILD)/mptcpapi.o
	rm $(BUILD)/mptcpapi.o

go-lib: $(BUILD)/libmptcpapi.a  ## the static library into the Go module
	mkdir -p $(GO_CAPI)/lib/linux_$(GO_ARCH)
	install -m 644 $< $(GO_CAPI)/lib/linux_$(GO_ARCH)/libmptcpapi.a

header:  ## writes include/mptcpapi.h from the Rust sources, and the copies that the Go module needs
	$(CARGO) run $(CARGO_FLAGS) -q -p xtask -- header
	install -m 644 $(GO_HEADERS:%=include/%) $(GO_CAPI)/

install: lib  ## PREFIX= DESTDIR= LIBDIR=: header, libraries, pkg-config file, manual pages
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/share/man/man3
	install -m 644 include/mptcpapi.h include/mptcpapi_paper.h $(DESTDIR)$(PREFIX)/include/
	install -d $(foreach folder,linux netinet,$(DESTDIR)$(PREFIX)/include/mptcpapi-compat/$(folder))
	$(foreach header,$(CAPI_COMPAT),install -m 644 include/compat/$(header) \
		$(DESTDIR)$(PREFIX)/include/mptcpapi-compat/$(header) &&) true
	install -m 755 $(BUILD)/$(CAPI_SO) $(DESTDIR)$(LIBDIR)/
	ln -sf $(CAPI_SO) $(DESTDIR)$(LIBDIR)/$(CAPI_SONAME)
	ln -sf $(CAPI_SONAME) $(DESTDIR)$(LIBDIR)/libmptcpapi.so
	install -m 644 $(BUILD)/libmptcpapi.a $(DESTDIR)$(LIBDIR)/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(CAPI_VERSION)|' \
		-e 's|@LIBS_PRIVATE@|$(CAPI_LIBS)|' capi/mptcpapi.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/mptcpapi.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/mptcpapi.pc
	install -m 644 capi/man/*.3 $(DESTDIR)$(PREFIX)/share/man/man3/
	$(foreach alias,$(CAPI_MAN_ALIASES),echo '.so man3/$(lastword $(subst :, ,$(alias))).3' \
		> $(DESTDIR)$(PREFIX)/share/man/man3/$(firstword $(subst :, ,$(alias))).3 &&) true
	$(if $(DESTDIR),,@echo "now run ldconfig, as root")

uninstall:  ## what install has put there
	rm -f $(DESTDIR)$(PREFIX)/include/mptcpapi.h $(DESTDIR)$(PREFIX)/include/mptcpapi_paper.h
	rm -rf $(DESTDIR)$(PREFIX)/include/mptcpapi-compat
	rm -f $(DESTDIR)$(LIBDIR)/pkgconfig/mptcpapi.pc
	rm -f $(DESTDIR)$(LIBDIR)/libmptcpapi.a $(DESTDIR)$(LIBDIR)/libmptcpapi.so
	rm -f $(DESTDIR)$(LIBDIR)/$(CAPI_SONAME) $(DESTDIR)$(LIBDIR)/$(CAPI_SO)
	rm -f $(patsubst %,$(DESTDIR)$(PREFIX)/share/man/man3/%.3,$(CAPI_SYMBOLS))

conformance-c: $(BUILD)/conformance-c  ## the conformance command in C

CONFORMANCE_C := $(wildcard tests/conformance/cmd/c/*.c)

$(BUILD)/conformance-c: $(CONFORMANCE_C) $(wildcard tests/conformance/cmd/c/*.h) include/mptcpapi.h $(BUILD)/libmptcpapi.a
	$(CC) -std=c99 -D_GNU_SOURCE -O1 -g -Wall -Wextra -pedantic -Werror -Iinclude -o $@ $(CONFORMANCE_C) \
		$(BUILD)/libmptcpapi.a $(CAPI_LIBS)

check-c: lib  ## headers, symbols and versions are what the sources say
	$(CARGO) run $(CARGO_FLAGS) -q -p xtask -- header --check
	@for header in $(GO_HEADERS); do cmp include/$$header $(GO_CAPI)/$$header || { echo "make header writes it"; exit 1; }; done
	$(CARGO) run $(CARGO_FLAGS) -q -p xtask -- versions --check
	$(CARGO) run $(CARGO_FLAGS) -q -p xtask -- symbols --check $(BUILD)/$(CAPI_SO)

test-c: check-c  ## the C tests: plain, with sanitizers, with valgrind; against a staged install
	$(CARGO) test $(CARGO_FLAGS) -q -p mptcpapi-capi -p xtask
	MAKE='$(MAKE)' tests/c/run.sh
