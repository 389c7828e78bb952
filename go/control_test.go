// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// dialApp is a connection that the application controls, and on which data has flowed.
func dialApp(t testing.TB) (*net.TCPConn, *mptcpapi.Conn) {
	t.Helper()
	needLab(t)
	warmUp.Do(func() {
		// The library keeps a socket for requests, and one for the events of opens that take time.
		_, view := dialCold(t)
		nobody := netip.AddrPortFrom(path(t, "LAB_SERVER_2").Addr(), 9)
		if _, err := view.OpenSubflow(soon(t), mptcpapi.Open{Remote: nobody}); !errors.Is(err, mptcpapi.ErrRefused) {
			t.Fatal(err)
		}
	})
	return dialCold(t)
}

func dialCold(t testing.TB) (*net.TCPConn, *mptcpapi.Conn) {
	t.Helper()
	needLab(t)
	conn, err := mptcpapi.Dial(soon(t), "tcp", server(t), mptcpapi.WithControl(mptcpapi.ControlApp))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintln(conn, "echo")
	echo(t, conn, "data has flowed")
	return conn, from(t, conn)
}

var warmUp sync.Once

// path is the address of a host of the lab on a path, as "LAB_CLIENT_2" names it; the port is left open.
func path(t testing.TB, variable string) netip.AddrPort {
	t.Helper()
	address, err := netip.ParseAddr(os.Getenv(variable))
	if err != nil {
		t.Fatal(variable, err)
	}
	return netip.AddrPortFrom(address, 0)
}

func second(t testing.TB) mptcpapi.Open {
	return mptcpapi.Open{Local: path(t, "LAB_CLIENT_2"), Remote: path(t, "LAB_SERVER_2")}
}

func ids(t testing.TB, view *mptcpapi.Conn) (all []uint32) {
	t.Helper()
	subflows, err := view.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	for _, subflow := range subflows {
		all = append(all, subflow.Id)
	}
	return all
}

// synSent counts the sockets of the namespace that wait for the answer to a SYN.
func synSent(t testing.TB) int {
	t.Helper()
	count := 0
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if fields := strings.Fields(line); len(fields) > 3 && fields[3] == "02" {
				count++
			}
		}
	}
	return count
}

func TestOpenAndClose(t *testing.T) {
	conn, view := dialApp(t)
	opened, err := view.OpenSubflow(context.Background(), second(t))
	if err != nil {
		t.Fatal(err)
	}
	if opened.Id != 2 || opened.Local.Addr() != path(t, "LAB_CLIENT_2").Addr() || opened.State != mptcpapi.TCPEstablished {
		t.Errorf("%+v", opened)
	}
	if err := view.SetBackup(opened.Id, true); err != nil {
		t.Error(err)
	}
	if detail, err := view.SubflowsDetail(); err != nil || len(detail) != 2 || !detail[1].Backup || detail[0].Backup {
		t.Errorf("%+v, %v", detail, err)
	}
	if err := view.CloseSubflow(1); err != nil {
		t.Error(err)
	}
	echo(t, conn, "on the other one")
	again, err := view.OpenSubflow(soon(t), mptcpapi.Open{Interface: "path3", Remote: path(t, "LAB_SERVER_3"), Backup: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := view.ResetSubflow(opened.Id); err != nil {
		t.Error(err)
	}
	if have := ids(t, view); len(have) != 1 || have[0] != again.Id {
		t.Error(have)
	}
	echo(t, conn, "on the third")
	id, err := view.Announce(netip.AddrPortFrom(path(t, "LAB_CLIENT_4").Addr(), 7000))
	if err != nil {
		t.Error(err)
	}
	if err := view.Withdraw(id); err != nil {
		t.Error(err)
	}
	if err := view.AbandonSubflow(again.Id); err != nil || len(ids(t, view)) != 0 {
		t.Error(err)
	}
}

func TestControlErrors(t *testing.T) {
	conn, view := dialApp(t)
	late, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	nobody := netip.AddrPortFrom(path(t, "LAB_SERVER_2").Addr().Next().Next().Next(), 0)
	background := context.Background()
	open := func(ctx context.Context, wanted mptcpapi.Open) error {
		_, err := view.OpenSubflow(ctx, wanted)
		return err
	}
	announce := func(address netip.AddrPort) error { _, err := view.Announce(address); return err }
	ended := func(ctx context.Context) context.Context { <-ctx.Done(); return ctx }
	closedPort := netip.AddrPortFrom(path(t, "LAB_SERVER_2").Addr(), 9)
	for name, c := range map[string]struct {
		err  error
		want []error
	}{
		"refused":   {open(background, mptcpapi.Open{Remote: closedPort}), []error{mptcpapi.ErrRefused, syscall.ECONNREFUSED}},
		"late":      {open(late, mptcpapi.Open{Remote: nobody}), []error{mptcpapi.ErrTimedOut, context.DeadlineExceeded, syscall.ETIMEDOUT}},
		"ended":     {open(ended(late), mptcpapi.Open{}), []error{mptcpapi.ErrTimedOut, context.DeadlineExceeded, syscall.ETIMEDOUT}},
		"foreign":   {open(background, mptcpapi.Open{Local: nobody}), []error{mptcpapi.ErrOs, syscall.EADDRNOTAVAIL}},
		"family":    {open(background, mptcpapi.Open{Local: netip.MustParseAddrPort("[::1]:0")}), []error{syscall.EINVAL}},
		"interface": {open(background, mptcpapi.Open{Interface: "nothere0"}), []error{syscall.ENODEV}},
		"long name": {open(background, mptcpapi.Open{Interface: strings.Repeat("x", 99)}), []error{syscall.EINVAL}},
		"no ctx":    {open(nil, mptcpapi.Open{}), []error{syscall.EINVAL}},
		"close":     {view.CloseSubflow(99), []error{mptcpapi.ErrNoSuchSubflow, syscall.ENOENT}},
		"reset":     {view.ResetSubflow(99), []error{mptcpapi.ErrNoSuchSubflow}},
		"abandon":   {view.AbandonSubflow(99), []error{mptcpapi.ErrNoSuchSubflow}},
		"backup":    {view.SetBackup(99, true), []error{mptcpapi.ErrNoSuchSubflow}},
		"withdraw":  {view.Withdraw(250), []error{syscall.ENOENT}},
		"announce":  {announce(netip.AddrPort{}), []error{syscall.EINVAL}},
	} {
		for _, want := range c.want {
			if !errors.Is(c.err, want) {
				t.Errorf("%s: %v is not %v", name, c.err, want)
			}
		}
		var opError *mptcpapi.OpError
		if !errors.As(c.err, &opError) || opError.Op == "" {
			t.Errorf("%s: %#v", name, c.err)
		}
	}
	if synSent(t) != 0 || len(ids(t, view)) != 1 {
		t.Error("something is left")
	}
	echo(t, conn, "still here")
}

// calls are all that controls or watches.
func calls(view *mptcpapi.Conn) map[string]func() error {
	background := context.Background()
	return map[string]func() error{
		"open":      func() error { _, err := view.OpenSubflow(background, mptcpapi.Open{}); return err },
		"close":     func() error { return view.CloseSubflow(1) },
		"reset":     func() error { return view.ResetSubflow(1) },
		"abandon":   func() error { return view.AbandonSubflow(1) },
		"backup":    func() error { return view.SetBackup(1, true) },
		"announce":  func() error { _, err := view.Announce(netip.MustParseAddrPort("127.0.0.1:0")); return err },
		"withdraw":  func() error { return view.Withdraw(1) },
		"events":    func() error { _, err := view.Events(background); return err },
		"source":    func() error { _, err := view.EventSource(); return err },
		"pathwatch": func() error { _, err := view.PathEvents(background, mptcpapi.PathOptions{}); return err },
	}
}

func controlFails(t *testing.T, view *mptcpapi.Conn, want ...error) {
	t.Helper()
	for name, call := range calls(view) {
		err := call()
		for _, want := range want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v is not %v", name, err, want)
			}
		}
	}
}

func TestNothingToControl(t *testing.T) {
	nothingLeft(t, func() {
		controlFails(t, nil, syscall.EINVAL)
		controlFails(t, new(mptcpapi.Conn), syscall.EINVAL)
		plain, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.DialTCP("tcp4", nil, plain.Addr().(*net.TCPAddr))
		if err != nil {
			t.Fatal(err)
		}
		controlFails(t, from(t, tcp), mptcpapi.ErrNotMptcp, syscall.EOPNOTSUPP)
		fell, err := mptcpapi.Dial(soon(t), "tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		other, err := plain.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		plain.Close()
		tcp.Close()
		view := from(t, fell)
		if features, err := mptcpapi.Probe(); err == nil && features.Mptcp {
			controlFails(t, view, mptcpapi.ErrFellBack, syscall.EOPNOTSUPP)
		}
		other.Close()
		fell.Close()
		controlFails(t, view, syscall.EBADF, net.ErrClosed)
	})
}

func TestControlUnderTheKernelsPathManager(t *testing.T) {
	needLab(t)
	conn := dial(t, server(t), "echo")
	echo(t, conn, "data has flowed")
	view := from(t, conn)
	for _, name := range []string{"open", "backup", "announce", "withdraw"} {
		err := calls(view)[name]()
		if !errors.Is(err, mptcpapi.ErrKernelPathManager) || !errors.Is(err, syscall.EACCES) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestControlWithoutPrivilege(t *testing.T) {
	conn, view := dialApp(t)
	withoutCapabilities(t, func() {
		for _, name := range []string{"open", "close", "reset", "backup", "announce", "withdraw"} {
			err := calls(view)[name]()
			if !errors.Is(err, mptcpapi.ErrPermissionDenied) || !errors.Is(err, syscall.EPERM) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	echo(t, conn, "still here")
}

// withoutCapabilities runs f in a thread that has lost its effective capabilities.
func withoutCapabilities(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := struct {
		version uint32
		pid     int32
	}{version: 0x20080522}
	type sets struct{ effective, permitted, inheritable uint32 }
	var had [2]sets
	set := func(call uintptr, data *[2]sets) {
		_, _, errno := syscall.RawSyscall(call, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(data)), 0)
		if errno != 0 {
			t.Fatal("capabilities: ", errno)
		}
	}
	set(syscall.SYS_CAPGET, &had)
	without := had
	without[0].effective, without[1].effective = 0, 0
	set(syscall.SYS_CAPSET, &without)
	defer set(syscall.SYS_CAPSET, &had)
	f()
}

// Whenever ctx ends, nothing half-open stays behind.
func TestOpenIsCalledOff(t *testing.T) {
	_, view := dialApp(t)
	for _, silent := range []bool{true, false} {
		if silent {
			lab(t, "cut", "2")
		} else {
			lab(t, "heal", "2")
		}
		files, goroutines := openFiles(t), runtime.NumGoroutine()
		var all sync.WaitGroup
		for i := 0; i < 40; i++ {
			most := 4 * time.Millisecond
			if silent {
				most = 30 * time.Millisecond
			}
			moment := time.Duration(rand.Int63n(int64(most)))
			all.Add(1)
			callOff := func(deadline bool) {
				defer all.Done()
				ctx, cancel := context.WithCancel(context.Background())
				want := context.Canceled
				if deadline {
					ctx, cancel = context.WithTimeout(context.Background(), moment)
					want = context.DeadlineExceeded
				} else {
					time.AfterFunc(moment, cancel)
				}
				defer cancel()
				opened, err := view.OpenSubflow(ctx, second(t))
				switch {
				case err == nil && !silent:
					err = view.ResetSubflow(opened.Id)
				case errors.Is(err, want), !silent && errors.Is(err, mptcpapi.ErrRefused):
					// The peer may have reached its limit.
					err = nil
				}
				if err != nil {
					t.Errorf("after %v: %v", moment, err)
				}
			}
			// Half of them at the same time as others.
			if i%4 < 2 {
				callOff(i%2 == 0)
			} else {
				go callOff(i%2 == 0)
			}
		}
		all.Wait()
		until(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= goroutines })
		// The library keeps some netlink sockets to use them again.
		if now := openFiles(t); now > files+10 {
			t.Errorf("%d files were open before, now %d", files, now)
		}
		if have := ids(t, view); len(have) != 1 || have[0] != 1 {
			t.Errorf("silent %v: subflows %v", silent, have)
		}
		if count := synSent(t); count != 0 {
			t.Errorf("silent %v: %d half-open", silent, count)
		}
	}
}

func TestCloseWhileOpening(t *testing.T) {
	conn, view := dialApp(t)
	lab(t, "cut", "2")
	defer lab(t, "heal", "2")
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := view.OpenSubflow(ctx, second(t))
		failed <- err
	}()
	until(t, "the SYN is sent", func() bool { return synSent(t) > 0 })
	// Does not wait for the peer.
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("a silent path was opened")
	}
	if synSent(t) != 0 {
		t.Error("half-open")
	}
}
