# SPDX-License-Identifier: MIT OR Apache-2.0
# The Go module: test, lint, conformance command. Needs capi/build.mk beside it (make -f capi/build.mk -f go/build.mk test-go).

BUILD ?= build
# The oldest Go that is promised (Debian 12's) is tested too, where it is installed.
GO ?= go
GO_FLOOR := /usr/lib/go-1.19/bin/go
GO_VERSIONS ?= $(GO) $(wildcard $(GO_FLOOR))
# Nothing is downloaded: there is nothing beyond the standard library.
GO_ENV := GOPROXY=off GOFLAGS=-buildvcs=false GOTOOLCHAIN=local
GO_MODULES := go examples/go tests/conformance/cmd/go
GO_STAGE := $(abspath $(BUILD))/go-stage

.PHONY: test-go test-go-system lint-go conformance-go go-generate

# Go does not see that the static library has changed: -count=1, so that no old result is shown.
test-go: go-lib test-go-system  ## the Go module with every Go there is, plain and -race, and without cgo
	cd go && for go in $(GO_VERSIONS); do \
	    $$go version && $(GO_ENV) $$go test -count=1 ./... && $(GO_ENV) $$go test -count=1 -race ./... && \
	    $(GO_ENV) CGO_ENABLED=0 $$go test -count=1 ./... || exit 1; \
	done

# Against the shared library as it is installed. The tests of the build itself are about the static one.
test-go-system:
	if command -v pkg-config >/dev/null; then \
	    $(MAKE) install PREFIX=$(GO_STAGE) LIBDIR=$(GO_STAGE)/lib DESTDIR= && cd go && \
	    for go in $(GO_VERSIONS); do \
	        $(GO_ENV) PKG_CONFIG_PATH=$(GO_STAGE)/lib/pkgconfig LD_LIBRARY_PATH=$(GO_STAGE)/lib MPTCPAPI_GO_INSTALLED=1 \
	            $$go test -count=1 -tags mptcpapi_system . || exit 1; \
	    done; \
	else \
	    echo "SKIPPING Go with the installed library: there is no pkg-config" >&2; test "$$MPTCPAPI_EXPECT_ALL" != 1; \
	fi

lint-go: go-lib  ## gofmt and go vet
	@test -z "$$(gofmt -l $(GO_MODULES))" || { echo "not as gofmt would have it:"; gofmt -l $(GO_MODULES); exit 1; }
	$(foreach module,$(GO_MODULES),(cd $(module) && $(GO_ENV) $(GO) vet ./...) &&) true
	cd go && $(GO_ENV) CGO_ENABLED=0 $(GO) vet ./...
	cd go && $(GO_ENV) $(GO) run ./internal/gen -check

# Removed first, as Go would take it for current when only the static library has changed.
conformance-go: go-lib  ## the conformance command in Go, build/conformance-go
	rm -f $(BUILD)/conformance-go
	cd tests/conformance/cmd/go && $(GO_ENV) $(GO) build -o $(abspath $(BUILD))/conformance-go .

go-generate: go-lib  ## writes the Go constants from the C header
	cd go && $(GO_ENV) $(GO) generate ./...
