// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// pair is a connection over loopback: the client's end, and that of a listener on all addresses.
func pair(t *testing.T, network, host string) (client, accepted *net.TCPConn) {
	t.Helper()
	listener, err := mptcpapi.Listen(soon(t), network, ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	client, err = mptcpapi.Dial(soon(t), network, net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	accepted = conn.(*net.TCPConn)
	go func() {
		// An echo, so that both ends know that the handshake is complete.
		text := make([]byte, 5)
		conn.Read(text)
		conn.Write(text)
	}()
	echo(t, client, "hello")
	return client, accepted
}

func TestListenAndDial(t *testing.T) {
	needLab(t)
	cases := []struct{ network, host, seen string }{
		{"tcp", "127.0.0.1", "127.0.0.1"},
		{"tcp", "::1", "::1"},
		{"tcp", "::ffff:127.0.0.1", "127.0.0.1"},
		{"tcp", "", "127.0.0.1"},
		{"tcp4", "127.0.0.1", "127.0.0.1"},
		{"tcp4", "localhost", "127.0.0.1"},
		{"tcp6", "::1", "::1"},
		{"tcp6", "", "::1"},
	}
	for _, c := range cases {
		t.Run(c.network+" "+c.host, func(t *testing.T) {
			client, accepted := pair(t, c.network, c.host)
			for _, conn := range []*net.TCPConn{client, accepted} {
				hasStatus(t, from(t, conn), mptcpapi.StatusMptcp)
				if ip := conn.RemoteAddr().(*net.TCPAddr).IP.String(); ip != c.seen {
					t.Errorf("the remote address is %s", ip)
				}
			}
			if client.RemoteAddr().String() != accepted.LocalAddr().String() ||
				client.LocalAddr().String() != accepted.RemoteAddr().String() {
				t.Error("the ends do not see the same addresses")
			}
		})
	}
}

// The socket is as package net makes them.
func TestSocketOptions(t *testing.T) {
	needLab(t)
	conn := dial(t, server(t), "echo")
	for _, option := range []struct{ level, name, want int }{
		{syscall.SOL_SOCKET, syscall.SO_PROTOCOL, 262},
		{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	} {
		control(t, conn, func(fd int) error {
			value, err := syscall.GetsockoptInt(fd, option.level, option.name)
			if err == nil && value != option.want {
				err = fmt.Errorf("option %d is %d", option.name, value)
			}
			return err
		})
	}
	control(t, conn, func(fd int) error {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFL, 0)
		descriptor, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.O_NONBLOCK == 0 || descriptor&syscall.FD_CLOEXEC == 0 {
			return fmt.Errorf("flags %x, %x, %v", flags, descriptor, errno)
		}
		return nil
	})
}

// What is written into errors and answered by Addr must be what package net says.
func TestSameAnswersAsNet(t *testing.T) {
	needLab(t)
	ctx := context.Background()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := listener.Addr().String()
	free := "127.0.0.1:1"
	defer listener.Close()

	for _, c := range []struct{ network, address string }{
		{"tcp", free}, {"tcp6", "[::1]:1"}, {"tcp6", "127.0.0.1:1"}, {"tcp4", "[::1]:1"}, {"tcp", "127.0.0.1"},
		{"tcp", "[::1"}, {"tcp", "127.0.0.1:70000"}, {"tcp", "127.0.0.1:nosuchservice"}, {"tcp", "240.0.0.1:1"},
		{"tcp", "[fe80::1%nosuchzone]:1"},
	} {
		_, want := net.Dial(c.network, c.address)
		conn, err := mptcpapi.Dial(ctx, c.network, c.address)
		if conn != nil || err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("dial %v:\n%v, net says\n%v", c, err, want)
		}
		var opError *net.OpError
		if !errors.As(err, &opError) {
			t.Errorf("dial %v: %T", c, err)
		}
	}
	for _, c := range []struct{ network, address string }{
		{"tcp", taken}, {"tcp", "240.0.0.1:0"}, {"tcp4", "[::1]:0"}, {"tcp", "nohost"}, {"tcp6", "127.0.0.1:0"},
	} {
		_, want := net.Listen(c.network, c.address)
		listener, err := mptcpapi.Listen(ctx, c.network, c.address)
		if listener != nil || err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("listen %v:\n%v, net says\n%v", c, err, want)
		}
	}
	for _, c := range []struct{ network, address string }{
		{"tcp", ":0"}, {"tcp", "0.0.0.0:0"}, {"tcp", "[::]:0"}, {"tcp4", ":0"}, {"tcp6", ":0"}, {"tcp6", "[::]:0"},
		{"tcp", "localhost:0"}, {"tcp", "[::ffff:127.0.0.1]:0"},
	} {
		theirs, err := net.Listen(c.network, c.address)
		if err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		ours, err := mptcpapi.Listen(ctx, c.network, c.address)
		if err != nil {
			t.Fatal(c, err)
		}
		ours.Close()
		if ours.Addr().(*net.TCPAddr).IP.String() != theirs.Addr().(*net.TCPAddr).IP.String() {
			t.Errorf("listen %v: %v, net %v", c, ours.Addr(), theirs.Addr())
		}
	}
	for _, network := range []string{"", "udp", "mptcp"} {
		var unknown net.UnknownNetworkError
		if _, err := mptcpapi.Dial(ctx, network, free); !errors.As(err, &unknown) {
			t.Errorf("dial %q: %v", network, err)
		}
		if _, err := mptcpapi.Listen(ctx, network, free); !errors.As(err, &unknown) {
			t.Errorf("listen %q: %v", network, err)
		}
	}
}

// A "tcp6" listener is for IPv6 only, as package net's: IPv4 may have the same port.
func TestTcp6IsIpv6Only(t *testing.T) {
	needLab(t)
	six, err := mptcpapi.Listen(soon(t), "tcp6", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	_, port, _ := net.SplitHostPort(six.Addr().String())
	four, err := mptcpapi.Listen(soon(t), "tcp4", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	four.Close()
}

func TestDialErrno(t *testing.T) {
	needLab(t)
	_, err := mptcpapi.Dial(soon(t), "tcp", "127.0.0.1:1")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	lab(t, "refuse", os.Getenv("LAB_PORT"))
	defer lab(t, "allow", os.Getenv("LAB_PORT"))
	nothingLeft(t, func() {
		if _, err := mptcpapi.Dial(soon(t), "tcp", server(t)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	})
}

// The application's own path manager is this connection's only.
func TestDialControlApp(t *testing.T) {
	needLab(t)
	for _, c := range []struct {
		options []mptcpapi.Option
		want    mptcpapi.PathManager
	}{
		{[]mptcpapi.Option{mptcpapi.WithControl(mptcpapi.ControlApp)}, mptcpapi.PathManagerUserspace},
		{[]mptcpapi.Option{mptcpapi.WithControl(mptcpapi.ControlDefault)}, mptcpapi.PathManagerKernel},
		{[]mptcpapi.Option{nil}, mptcpapi.PathManagerKernel},
	} {
		conn, err := mptcpapi.Dial(soon(t), "tcp", server(t), c.options...)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(conn, "echo")
		echo(t, conn, "who runs it?")
		if info, err := from(t, conn).Info(); err != nil || info.PathManager != c.want {
			t.Errorf("%+v, %v; not %v", info, err, c.want)
		}
		conn.Close()
	}
}

// TestWithoutPrivilege runs itself as nobody: reading works, control by the application is refused.
func TestWithoutPrivilege(t *testing.T) {
	needLab(t)
	const inside = "MPTCPAPI_TEST_WITHOUT_PRIVILEGE"
	if os.Getenv(inside) == "" {
		again := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), inside+"=1")
		again.Dir = "/"
		again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := again.CombinedOutput()
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPERM) {
			t.Skip("the user namespace of an ordinary user has no other user: ", err)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	features, err := mptcpapi.Probe()
	if err != nil || features.NetAdmin || !features.FullInfo || !features.Detail {
		t.Errorf("%+v, %v", features, err)
	}
	_, view := allPaths(t)
	for _, s := range mustDetail(t, view) {
		if s.Congestion == "" {
			t.Errorf("%+v", s)
		}
	}
	conn, err := mptcpapi.Dial(soon(t), "tcp", server(t), mptcpapi.WithControl(mptcpapi.ControlApp))
	var opError *mptcpapi.OpError
	if conn != nil || !errors.Is(err, mptcpapi.ErrPermissionDenied) || !errors.Is(err, syscall.EPERM) ||
		!errors.As(err, &opError) || opError.Op != "socket" {
		t.Errorf("%+v", err)
	}
}

// blackHole is an address from which nothing ever comes back.
func blackHole(t *testing.T) string {
	t.Helper()
	needLab(t)
	lab(t, "cut", "2")
	t.Cleanup(func() { lab(t, "heal", "2") })
	return net.JoinHostPort(os.Getenv("LAB_SERVER_2"), os.Getenv("LAB_PORT"))
}

func TestDialDeadline(t *testing.T) {
	hole := blackHole(t)
	nothingLeft(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, err := mptcpapi.Dial(ctx, "tcp", hole)
		var netError net.Error
		if !errors.As(err, &netError) || !netError.Timeout() {
			t.Fatalf("no time-out: %v", err)
		}
		for _, target := range []error{
			context.DeadlineExceeded, os.ErrDeadlineExceeded, mptcpapi.ErrTimedOut, syscall.ETIMEDOUT,
		} {
			if !errors.Is(err, target) {
				t.Errorf("%v is not %v", err, target)
			}
		}
		if want := "dial tcp " + hole + ": i/o timeout"; err.Error() != want {
			t.Errorf("%q, not %q", err, want)
		}
	})
}

func TestDialCancel(t *testing.T) {
	hole := blackHole(t)
	nothingLeft(t, func() {
		for _, delay := range []time.Duration{-1, 0, 20 * time.Millisecond} {
			ctx, cancel := context.WithCancel(context.Background())
			if delay < 0 {
				cancel()
			} else {
				time.AfterFunc(delay, cancel)
			}
			_, err := mptcpapi.Dial(ctx, "tcp", hole)
			var netError net.Error
			if !errors.Is(err, context.Canceled) || errors.As(err, &netError) && netError.Timeout() {
				t.Errorf("after %v: %v", delay, err)
			}
		}
	})
}

func TestDialEndedBefore(t *testing.T) {
	needLab(t)
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	if _, err := mptcpapi.Dial(ctx, "tcp", server(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	var none context.Context
	if _, err := mptcpapi.Dial(none, "tcp", server(t)); err == nil || !strings.Contains(err.Error(), "nil context") {
		t.Error(err)
	}
}

// The context is for connecting only; afterwards the connection has its own deadlines.
func TestDialOutlivesContext(t *testing.T) {
	needLab(t)
	nothingLeft(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		conn, err := mptcpapi.Dial(ctx, "tcp", server(t))
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintln(conn, "echo")
		echo(t, conn, "after the end of the context")
		conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	})
}

// While the context goes on, nothing waits for its end.
func TestDialLeavesNothingWithContext(t *testing.T) {
	needLab(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nothingLeft(t, func() {
		conn, err := mptcpapi.Dial(ctx, "tcp", server(t))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(conn, "hold")
		conn.Close()
		if _, err := mptcpapi.Dial(ctx, "tcp", "127.0.0.1:1"); err == nil {
			t.Error("connected to nobody")
		}
	})
}

func TestManyDials(t *testing.T) {
	needLab(t)
	nothingLeft(t, func() {
		done := make(chan error)
		const many = 32
		for i := 0; i < many; i++ {
			go func() {
				conn, err := mptcpapi.Dial(context.Background(), "tcp", server(t))
				if err == nil {
					fmt.Fprintln(conn, "hold")
					err = conn.Close()
				}
				done <- err
			}()
		}
		for i := 0; i < many; i++ {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestListenLeavesNothing(t *testing.T) {
	needLab(t)
	nothingLeft(t, func() {
		for i := 0; i < 5; i++ {
			listener, err := mptcpapi.Listen(context.Background(), "tcp", ":0")
			if err != nil {
				t.Fatal(err)
			}
			go listener.Close()
			if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
}
