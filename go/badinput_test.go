// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// fails checks that err is an *OpError of this kind and errno, and what errors.Is says of it.
func fails(t *testing.T, err error, op string, kind mptcpapi.ErrorKind, errno syscall.Errno) {
	t.Helper()
	var opError *mptcpapi.OpError
	if !errors.As(err, &opError) {
		t.Fatalf("%s: no OpError but %v", op, err)
	}
	if opError.Op != op || opError.Kind != kind || opError.Errno != errno {
		t.Errorf("%+v, not %s: %s, %v", opError, op, kind.Name(), errno)
	}
	if !errors.Is(err, kind) || !errors.Is(err, errno) || errors.Is(err, mptcpapi.ErrNoSuchSubflow) {
		t.Errorf("errors.Is is wrong of %v", err)
	}
}

// allFail checks the same of every method.
func allFail(t *testing.T, view *mptcpapi.Conn, kind mptcpapi.ErrorKind, errno syscall.Errno) {
	t.Helper()
	_, err := view.Status()
	fails(t, err, "status", kind, errno)
	readsFail(t, view, kind, errno)
}

func readsFail(t *testing.T, view *mptcpapi.Conn, kind mptcpapi.ErrorKind, errno syscall.Errno) {
	t.Helper()
	_, err := view.Info()
	fails(t, err, "info", kind, errno)
	_, err = view.Subflows()
	fails(t, err, "subflows", kind, errno)
	_, err = view.SubflowsDetail()
	fails(t, err, "subflows", kind, errno)
	buf := make([]mptcpapi.Subflow, 1, 8)
	buf, err = view.AppendSubflows(buf)
	fails(t, err, "subflows", kind, errno)
	if len(buf) != 1 {
		t.Errorf("the buffer has %d elements after an error", len(buf))
	}
}

// empty checks a view that is no error, but has no subflows.
func empty(t *testing.T, view *mptcpapi.Conn, want mptcpapi.Status) {
	t.Helper()
	if status, err := view.Status(); err != nil || status != want {
		t.Errorf("status %v, %v; not %v", status, err, want)
	}
	if subflows, err := view.Subflows(); err != nil || len(subflows) != 0 {
		t.Errorf("%v, %v", subflows, err)
	}
	if subflows, err := view.SubflowsDetail(); err != nil || len(subflows) != 0 {
		t.Errorf("%v, %v", subflows, err)
	}
	if info, err := view.Info(); err != nil || info.Subflows != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func hasStatus(t *testing.T, view *mptcpapi.Conn, want mptcpapi.Status) {
	t.Helper()
	if status, err := view.Status(); err != nil || status != want {
		t.Errorf("status %v, %v; not %v", status, err, want)
	}
}

func TestNil(t *testing.T) {
	_, err := mptcpapi.From(nil)
	fails(t, err, "connection", mptcpapi.ErrOs, syscall.EINVAL)
	var conn *net.TCPConn
	_, err = mptcpapi.From(conn)
	fails(t, err, "connection", mptcpapi.ErrOs, syscall.EINVAL)
	var file *os.File
	_, err = mptcpapi.From(file)
	fails(t, err, "connection", mptcpapi.ErrOs, syscall.EINVAL)
	var view *mptcpapi.Conn
	allFail(t, view, mptcpapi.ErrOs, syscall.EINVAL)
	allFail(t, new(mptcpapi.Conn), mptcpapi.ErrOs, syscall.EINVAL)
}

// lendsNothing is a connection that has no descriptor to lend.
type lendsNothing struct{}

func (lendsNothing) SyscallConn() (syscall.RawConn, error) { return nil, syscall.ENODEV }

func TestNoDescriptor(t *testing.T) {
	_, err := mptcpapi.From(lendsNothing{})
	fails(t, err, "connection", mptcpapi.ErrOs, syscall.ENODEV)
	if errors.Is(err, net.ErrClosed) {
		t.Error("it is not closed")
	}
}

func TestClosed(t *testing.T) {
	conn, before := allPaths(t)
	conn.Close()
	for _, view := range []*mptcpapi.Conn{before, from(t, conn)} {
		allFail(t, view, mptcpapi.ErrOs, syscall.EBADF)
		if _, err := view.Status(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("not net.ErrClosed: %v", err)
		}
	}
}

func TestFile(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	view := from(t, file)
	allFail(t, view, mptcpapi.ErrOs, syscall.ENOTSOCK)
	file.Close()
	allFail(t, view, mptcpapi.ErrOs, syscall.EBADF)
	if _, err := view.Status(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("not os.ErrClosed: %v", err)
	}
}

func TestOtherProtocols(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	allFail(t, from(t, udp), mptcpapi.ErrNotMptcp, syscall.EOPNOTSUPP)
	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "socket")})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	allFail(t, from(t, unix), mptcpapi.ErrNotMptcp, syscall.EOPNOTSUPP)
	conn, err := net.Dial("unix", unix.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	allFail(t, from(t, conn.(*net.UnixConn)), mptcpapi.ErrNotMptcp, syscall.EOPNOTSUPP)
}

func TestPlainTcp(t *testing.T) {
	listener := plainListener(t)
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, socket := range []syscall.Conn{listener, conn.(*net.TCPConn)} {
		hasStatus(t, from(t, socket), mptcpapi.StatusTcp)
		readsFail(t, from(t, socket), mptcpapi.ErrNotMptcp, syscall.EOPNOTSUPP)
	}
}

func TestUnconnected(t *testing.T) {
	needLab(t)
	listener, err := mptcpapi.Listen(soon(t), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	empty(t, from(t, listener.(*net.TCPListener)), mptcpapi.StatusUnconnected)

	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 262)
	if err != nil {
		t.Fatal(err)
	}
	fresh := os.NewFile(uintptr(fd), "fresh")
	defer fresh.Close()
	empty(t, from(t, fresh), mptcpapi.StatusUnconnected)

	lab(t, "cut", "2")
	defer lab(t, "heal", "2")
	to := &syscall.SockaddrInet4{Port: labPort(t)}
	copy(to.Addr[:], net.ParseIP(os.Getenv("LAB_SERVER_2")).To4())
	control(t, fresh, func(fd int) error {
		if err := syscall.Connect(fd, to); err != syscall.EINPROGRESS {
			return err
		}
		return nil
	})
	empty(t, from(t, fresh), mptcpapi.StatusUnconnected)
}

func TestFallbackAtStart(t *testing.T) {
	needLab(t)
	conn := dial(t, plainServer(t), "echo")
	echo(t, conn, "no MPTCP here")
	hasStatus(t, from(t, conn), mptcpapi.StatusFallback)
	readsFail(t, from(t, conn), mptcpapi.ErrFellBack, syscall.EOPNOTSUPP)
	if _, err := from(t, conn).Subflows(); errors.Is(err, mptcpapi.ErrNotMptcp) {
		t.Errorf("a fallback is not a plain TCP socket: %v", err)
	}
}

func TestAcceptedFromPlainTcp(t *testing.T) {
	needLab(t)
	listener, err := mptcpapi.Listen(soon(t), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	hasStatus(t, from(t, accepted.(*net.TCPConn)), mptcpapi.StatusTcp)
	readsFail(t, from(t, accepted.(*net.TCPConn)), mptcpapi.ErrNotMptcp, syscall.EOPNOTSUPP)
}

// A middlebox lets the handshake pass, but removes the MPTCP option from the data.
func TestFallbackInTheMiddle(t *testing.T) {
	needLab(t)
	lab(t, "strip", "--not-syn")
	defer lab(t, "unstrip")
	conn, err := mptcpapi.Dial(soon(t), "tcp", server(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	view := from(t, conn)
	hasStatus(t, view, mptcpapi.StatusMptcp)
	if subflows, err := view.Subflows(); err != nil || len(subflows) != 1 {
		t.Error(subflows, err)
	}
	if _, err := io.WriteString(conn, "echo\n"); err != nil {
		t.Fatal(err)
	}
	echo(t, conn, "not MPTCP any more")
	hasStatus(t, view, mptcpapi.StatusFallback)
	readsFail(t, view, mptcpapi.ErrFellBack, syscall.EOPNOTSUPP)
}

func TestHalfClosed(t *testing.T) {
	needLab(t)
	for _, side := range []string{"ours", "theirs"} {
		conn := dial(t, server(t), map[string]string{"ours": "hold", "theirs": "fin"}[side])
		conn.SetReadDeadline(time.Now().Add(patience))
		_, err := conn.Read(make([]byte, 1))
		if side == "ours" {
			if err == nil {
				err = conn.CloseWrite()
			}
		} else if err == io.EOF {
			err = nil
		}
		if err != nil {
			t.Fatal(side, err)
		}
		view := from(t, conn)
		if _, err := view.Status(); err != nil {
			t.Error(side, err)
		}
		if side == "theirs" {
			hasStatus(t, view, mptcpapi.StatusMptcp)
			if subflows, err := view.Subflows(); err != nil || len(subflows) == 0 {
				t.Error(subflows, err)
			}
		}
	}
}

// All subflows are gone, but the connection waits for another one.
func TestAllSubflowsDead(t *testing.T) {
	_, view := allPaths(t)
	kill := exec.Command("ss", "-K", "-tn", "dport", "=", strconv.Itoa(labPort(t)))
	if out, err := kill.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	until(t, "no subflow", func() bool {
		subflows, err := view.Subflows()
		return err == nil && len(subflows) == 0
	})
	empty(t, view, mptcpapi.StatusMptcp)
	if info, err := view.Info(); err != nil || info.Token == 0 || info.ServerSideKnown {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestResetByPeer(t *testing.T) {
	needLab(t)
	conn := dial(t, server(t), "reset")
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	empty(t, from(t, conn), mptcpapi.StatusUnconnected)
}

func TestErrorsInWords(t *testing.T) {
	listener := plainListener(t)
	_, err := from(t, listener).Subflows()
	var opError *mptcpapi.OpError
	if !errors.As(err, &opError) || opError.Hint == "" {
		t.Fatalf("%+v", err)
	}
	want := "mptcpapi: subflows: not an MPTCP socket; " + opError.Hint
	if err.Error() != want {
		t.Errorf("%q, not %q", err, want)
	}
	if opError.Timeout() || (&mptcpapi.OpError{Kind: mptcpapi.ErrTimedOut}).Timeout() != true {
		t.Error("Timeout is wrong")
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno != syscall.EOPNOTSUPP {
		t.Errorf("errno %v", errno)
	}
	byHand := &mptcpapi.OpError{Op: "close_subflow", Subflow: 3, Errno: syscall.EPERM, KernelMessage: "no", Hint: "ask"}
	want = "mptcpapi: close_subflow of subflow 3: operation not permitted (the kernel says: no); ask"
	if byHand.Error() != want || !errors.Is(byHand, os.ErrPermission) {
		t.Errorf("%q, not %q", byHand, want)
	}
}

// plainListener is made by hand, as package net listens for MPTCP since Go 1.24.
func plainListener(t *testing.T) *net.TCPListener {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 16); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.(*net.TCPListener)
}
