// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// patience is for what must happen; a test that passes does not wait so long.
const patience = 10 * time.Second

// TestMain runs this program again inside the lab, where there are a peer and five paths: more than a view has room for at
// first.
func TestMain(m *testing.M) {
	if os.Getenv("MPTCPAPI_LAB") == "1" {
		os.Exit(m.Run())
	}
	lab, err := filepath.Abs("../tests/lab/lab")
	if err == nil {
		err = exec.Command(lab, "run", "--", "true").Run()
	}
	if err != nil {
		whyNoLab = fmt.Sprintf("the lab cannot be had: %v", err)
		fmt.Fprintln(os.Stderr, "SKIPPING what needs the network:", whyNoLab)
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	again := exec.Command(lab, append([]string{"run", "--endpoints", "--peer", "--paths", "5", "--", self}, os.Args[1:]...)...)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := again.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// whyNoLab is empty in the lab.
var whyNoLab string

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("MPTCPAPI_EXPECT_ALL") == "1" {
		t.Fatal("MPTCPAPI_EXPECT_ALL=1, and yet: " + why)
	}
	t.Skip(why)
}

func needLab(t testing.TB) {
	t.Helper()
	if whyNoLab != "" {
		skip(t, whyNoLab)
	}
}

// lab runs one of the lab's commands: lab(t, "cut", "2").
func lab(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("lab", args...).CombinedOutput(); err != nil {
		t.Fatalf("lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func labPort(t testing.TB) int {
	t.Helper()
	port, err := strconv.Atoi(os.Getenv("LAB_PORT"))
	if err != nil {
		t.Fatal("no LAB_PORT: ", err)
	}
	return port
}

// server is the MPTCP peer's address on path 1; plainServer is that of the plain TCP peer.
func server(t testing.TB) string {
	return net.JoinHostPort(os.Getenv("LAB_SERVER_1"), strconv.Itoa(labPort(t)))
}

func server6(t testing.TB) string {
	return net.JoinHostPort(os.Getenv("LAB_SERVER6_1"), strconv.Itoa(labPort(t)))
}

func plainServer(t testing.TB) string {
	return net.JoinHostPort(os.Getenv("LAB_SERVER_1"), strconv.Itoa(labPort(t)+1))
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial connects to address and tells the peer what to do.
func dial(t testing.TB, address, behaviour string) *net.TCPConn {
	t.Helper()
	conn, err := mptcpapi.Dial(soon(t), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintln(conn, behaviour); err != nil {
		t.Fatal(err)
	}
	return conn
}

func from(t testing.TB, conn syscall.Conn) *mptcpapi.Conn {
	t.Helper()
	view, err := mptcpapi.From(conn)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// echo sends text and reads it back: then the handshake is complete at both ends.
func echo(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil {
		t.Fatal(err)
	}
	if string(back) != text {
		t.Fatalf("sent %q, got back %q", text, back)
	}
}

// allPaths is a connection with a live subflow on each path of the lab: two, unless the lab was made by hand.
func allPaths(t testing.TB) (*net.TCPConn, *mptcpapi.Conn) {
	t.Helper()
	needLab(t)
	paths, err := strconv.Atoi(os.Getenv("LAB_PATHS"))
	if err != nil {
		t.Fatal("no LAB_PATHS: ", err)
	}
	conn := dial(t, server(t), "echo")
	echo(t, conn, "over all paths")
	view := from(t, conn)
	until(t, "a subflow on each path", func() bool {
		subflows, err := view.Subflows()
		return err == nil && len(subflows) == paths
	})
	return conn, view
}

func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// openFiles and goroutines, to see that nothing is left behind.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// nothingLeft is true of work that leaves no goroutine and no open file behind. The library keeps a netlink socket for each
// of its uses at the same time: a leak is what grows again, and again.
func nothingLeft(t *testing.T, work func()) {
	t.Helper()
	for round := 1; ; round++ {
		files, goroutines := openFiles(t), runtime.NumGoroutine()
		work()
		// A goroutine that has said its last word may still be on its way out.
		until(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= goroutines })
		now := openFiles(t)
		if now <= files || t.Failed() {
			return
		}
		if round == 3 {
			t.Errorf("%d files were open before, now %d", files, now)
			return
		}
	}
}
