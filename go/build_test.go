// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// gotool runs the go command that built this test.
func gotool(t *testing.T, directory string, environment []string, args ...string) string {
	t.Helper()
	if os.Getenv("MPTCPAPI_GO_INSTALLED") == "1" {
		t.Skip("not of interest to a test of the installed library")
	}
	command := exec.Command(filepath.Join(runtime.GOROOT(), "bin", "go"), args...)
	command.Dir = directory
	command.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-buildvcs=false")
	command.Env = append(command.Env, environment...)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("go %s: %v\n%s%s", strings.Join(args, " "), err, &problems, &out)
	}
	return out.String()
}

func inCheckout(t *testing.T, path string) string {
	t.Helper()
	path = filepath.Join("..", path)
	if _, err := os.Stat(path); err != nil {
		skip(t, "this is not a checkout: "+err.Error())
	}
	return path
}

func TestConstantsAreCurrent(t *testing.T) {
	gotool(t, ".", nil, "run", "./internal/gen", "-check")
	for _, name := range []string{"mptcpapi.h", "mptcpapi_paper.h"} {
		original, err := os.ReadFile(inCheckout(t, "include/"+name))
		if err != nil {
			t.Fatal(err)
		}
		if copied, err := os.ReadFile("internal/capi/" + name); err != nil || !bytes.Equal(original, copied) {
			t.Errorf("internal/capi/%s is not include/%s: make go-lib, then go generate (%v)", name, name, err)
		}
	}
}

func TestWithoutCgo(t *testing.T) {
	without := []string{"CGO_ENABLED=0"}
	out := gotool(t, ".", without, "test", "-count=1", "-run", "TestStub", "-v", ".")
	if !strings.Contains(out, "--- PASS: TestStub") {
		t.Errorf("the stub was not tested:\n%s", out)
	}
	gotool(t, ".", without, "vet", "./...")
	for _, system := range []string{"darwin", "windows", "freebsd"} {
		gotool(t, ".", []string{"CGO_ENABLED=0", "GOOS=" + system}, "build", "./...")
	}
	for directory, name := range map[string]string{".": "func Dial(", "./paper": "func GetSubIDs("} {
		with, stub := gotool(t, ".", nil, "doc", "-all", directory), gotool(t, ".", without, "doc", "-all", directory)
		if with != stub || !strings.Contains(with, name) {
			t.Errorf("the API without cgo is not the same; with:\n%s\nwithout:\n%s", with, stub)
		}
	}
}

// TestVendor: a program in another module keeps the header and the library when it vendors this one.
func TestVendor(t *testing.T) {
	module, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.org/program\n\ngo 1.19\n\nrequire github.com/mptcpapi/mptcpapi/go v0.0.0\n\n"+
		"replace github.com/mptcpapi/mptcpapi/go => "+module+"\n")
	write("main.go", `package main

import (
	"fmt"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
	"github.com/mptcpapi/mptcpapi/go/paper"
)

func main() {
	_, err := mptcpapi.Probe()
	fmt.Println(mptcpapi.Version(), paper.StockOptions(false), err)
}
`)
	gotool(t, directory, nil, "mod", "vendor")
	program := filepath.Join(directory, "program")
	gotool(t, directory, []string{"GOFLAGS=-mod=vendor -buildvcs=false"}, "build", "-o", program, ".")
	if out, err := exec.Command(program).Output(); err != nil || !strings.HasSuffix(string(out), " <nil>\n") {
		t.Errorf("%s, %v", out, err)
	}
}

func TestExamples(t *testing.T) {
	needLab(t)
	directory := inCheckout(t, "examples/go")
	built := t.TempDir()
	gotool(t, directory, nil, "build", "-o", built, "./...")
	var out, problems bytes.Buffer
	command := exec.Command(filepath.Join(built, "subflows"), server(t))
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &problems)
	}
	if !strings.Contains(out.String(), os.Getenv("LAB_CLIENT_1")) || !strings.Contains(out.String(), server(t)) {
		t.Errorf("no subflow is shown:\n%s", &out)
	}
}

func TestConformanceCommand(t *testing.T) {
	needLab(t)
	directory := inCheckout(t, "tests/conformance/cmd/go")
	program := filepath.Join(t.TempDir(), "conformance")
	gotool(t, directory, nil, "build", "-o", program, ".")
	command := exec.Command(program)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	for _, c := range []struct{ words, want string }{
		{"connect 1 " + os.Getenv("LAB_SERVER_1") + " " + os.Getenv("LAB_PORT"), `{"ok":null}`},
		{"status 1", `{"ok":"mptcp"}`},
		{"nonsense", `{"error":{"kind":"Usage",`},
		{"send 1 hold", `{"ok":null}`},
		{"subflows 1", `"congestion":null`},
		{"detail 1", `"congestion":"reno"`},
		{"make 2 udp", `{"ok":null}`},
		{"subflows 2", `{"error":{"kind":"NotMptcp","errno":95,"subflow":null,"operation":"subflows","hint":`},
		{"close 1", `{"ok":null}`},
		{"info 1", `{"error":{"kind":"Os","errno":9,"subflow":null,"operation":"info","hint":false}}`},
	} {
		fmt.Fprintln(in, c.words)
		answer, err := answers.ReadString('\n')
		if err != nil || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %s%v", c.words, answer, err)
		}
	}
	in.Close()
	if rest, err := io.ReadAll(answers); err != nil || len(rest) != 0 || command.Wait() != nil {
		t.Errorf("%q, %v", rest, err)
	}
}
