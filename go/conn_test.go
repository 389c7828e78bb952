// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

func TestSubflowsOverAllPaths(t *testing.T) {
	conn, view := allPaths(t)
	status, err := view.Status()
	if err != nil || status != mptcpapi.StatusMptcp {
		t.Fatalf("status %v, %v", status, err)
	}
	subflows, err := view.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	var locals []string
	for i, s := range subflows {
		locals = append(locals, s.Local.Addr().String())
		if s.Id == 0 || i > 0 && s.Id <= subflows[i-1].Id {
			t.Errorf("subflow %d has the id %d: not the oldest first", i, s.Id)
		}
		if s.Initial != (s.Id == 1) || s.State != mptcpapi.TCPEstablished || s.Remote.String() != server(t) {
			t.Errorf("%+v", s)
		}
		if s.RttUs == 0 || s.SndCwnd == 0 || s.Mss == 0 {
			t.Errorf("statistics are missing: %+v", s)
		}
		if s.Detailed || s.LocalId != -1 || s.RemoteId != -1 || s.Congestion != "" || s.Interface != "" {
			t.Errorf("detail where none was asked for: %+v", s)
		}
	}
	first := subflows[0]
	if !first.Initial || first.Local.String() != conn.LocalAddr().String() {
		t.Errorf("the initial subflow is %v, the connection is from %v", first, conn.LocalAddr())
	}
	// What dial and echo sent, and what came back, without the peer's first line.
	if first.BytesSent < uint64(len("echo\nover all paths")) || first.BytesReceived < uint64(len("over all paths")) {
		t.Errorf("the initial subflow carried too little: %+v", first)
	}
	for i := range subflows {
		if want := os.Getenv(fmt.Sprint("LAB_CLIENT_", i+1)); !contains(locals, want) {
			t.Errorf("no subflow from %s, only from %v", want, locals)
		}
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

func TestInfo(t *testing.T) {
	_, view := allPaths(t)
	subflows, err := view.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	info, err := view.Info()
	if err != nil {
		t.Fatal(err)
	}
	sent, received := uint64(len("echo\nover all paths")), uint64(len("over all paths"))
	if info.Token == 0 || int(info.Subflows) != len(subflows) || info.BytesSent != sent || info.BytesReceived != received {
		t.Errorf("%+v", info)
	}
	if info.Fallback || !info.ServerSideKnown || info.ServerSide || info.PathManager != mptcpapi.PathManagerKernel {
		t.Errorf("%+v", info)
	}
}

func TestDetail(t *testing.T) {
	conn, view := allPaths(t)
	subflows, err := view.SubflowsDetail()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := view.Subflows()
	if err != nil || len(plain) != len(subflows) {
		t.Fatalf("%d subflows, with detail %d, %v", len(plain), len(subflows), err)
	}
	ids := map[int16]bool{}
	for i, s := range subflows {
		if !s.Detailed || s.Id != plain[i].Id || s.Local != plain[i].Local || s.Remote != plain[i].Remote {
			t.Errorf("%+v", s)
		}
		if s.Congestion != "reno" || s.Backup || s.BackupByPeer || s.LocalId < 0 || s.RemoteId != 0 || ids[s.LocalId] {
			t.Errorf("%+v", s)
		}
		ids[s.LocalId] = true
	}
	if subflows[0].LocalId != 0 || !subflows[0].FullyEstablished || subflows[0].Tos != 0 || subflows[0].Interface != "" {
		t.Errorf("%+v", subflows[0])
	}

	const tos = 0x20
	control(t, conn, func(fd int) error { return syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, syscall.IP_TOS, tos) })
	for _, s := range mustDetail(t, view) {
		if s.Tos != tos {
			t.Errorf("TOS %d after it was set to %d: %+v", s.Tos, tos, s)
		}
	}
}

func TestDetailOfBackupAndInterface(t *testing.T) {
	needLab(t)
	out, err := exec.Command("ip", "mptcp", "endpoint", "show").Output()
	if err != nil {
		t.Fatal(err)
	}
	// The first path with an endpoint: its subflows are a backup from now on.
	line := strings.Fields(strings.SplitN(string(out), "\n", 2)[0])
	ip(t, "mptcp endpoint change id "+line[2]+" backup")
	defer ip(t, "mptcp endpoint change id "+line[2]+" nobackup")
	_, view := allPaths(t)
	for _, s := range mustDetail(t, view) {
		if is := s.Local.Addr().String() == line[0]; s.Backup != is || s.BackupByPeer {
			t.Errorf("backup %v, by the peer %v; the backup is %s: %v", s.Backup, s.BackupByPeer, line[0], s)
		}
	}
}

func ip(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", command, err, out)
	}
}

func mustDetail(t *testing.T, view *mptcpapi.Conn) []mptcpapi.Subflow {
	t.Helper()
	subflows, err := view.SubflowsDetail()
	if err != nil {
		t.Fatal(err)
	}
	return subflows
}

func control(t *testing.T, conn syscall.Conn, call func(fd int) error) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failure error
	if err := raw.Control(func(fd uintptr) { failure = call(int(fd)) }); err != nil || failure != nil {
		t.Fatal(err, failure)
	}
}

func TestIPv6(t *testing.T) {
	needLab(t)
	conn := dial(t, server6(t), "echo")
	echo(t, conn, "six")
	subflows, err := from(t, conn).Subflows()
	if err != nil || len(subflows) == 0 {
		t.Fatal(subflows, err)
	}
	if s := subflows[0]; s.Local.String() != conn.LocalAddr().String() || s.Remote.String() != server6(t) {
		t.Errorf("%v, but the connection is %v -> %v", s, conn.LocalAddr(), conn.RemoteAddr())
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	_, view := allPaths(t)
	listed, err := view.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	kept := mptcpapi.Subflow{Id: 4711}
	for _, room := range []int{1, 2, 1 + len(listed), 100} {
		buf := append(make([]mptcpapi.Subflow, 0, room), kept)
		longer, err := view.AppendSubflows(buf)
		if err != nil || len(longer) != 1+len(listed) || longer[0] != kept {
			t.Fatalf("room %d: %v, %v", room, longer, err)
		}
		for i, s := range longer[1:] {
			if s.Id != listed[i].Id || s.Local != listed[i].Local {
				t.Errorf("room %d: %v instead of %v", room, s, listed[i])
			}
		}
		if shared := &longer[0] == &buf[0]; shared != (room > len(listed)) {
			t.Errorf("room %d for %d: memory used again is %v", room, 1+len(listed), shared)
		}
	}
	// A buffer that was used for something longer must not show through.
	old := make([]mptcpapi.Subflow, len(listed))
	for i := range old {
		old[i] = mptcpapi.Subflow{Detailed: true, Backup: true, Congestion: "old", Interface: "old", LocalId: 9, Tos: 9}
	}
	fresh, err := view.AppendSubflows(old[:0])
	if err != nil || fresh[0].Detailed || fresh[0].Backup || fresh[0].Congestion != "" || fresh[0].Interface != "" ||
		fresh[0].LocalId != -1 || fresh[0].Tos != 0 {
		t.Errorf("%+v, %v", fresh, err)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	_, view := allPaths(t)
	buf, err := view.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	allocations := testing.AllocsPerRun(1000, func() {
		buf, err = view.AppendSubflows(buf[:0])
	})
	if err != nil || allocations != 0 {
		t.Errorf("%v allocations, %v", allocations, err)
	}
	if allocations = testing.AllocsPerRun(1000, func() { _, err = view.Info() }); err != nil || allocations != 0 {
		t.Errorf("%v allocations by Info, %v", allocations, err)
	}
	if allocations = testing.AllocsPerRun(1000, func() { _, err = view.Status() }); err != nil || allocations != 0 {
		t.Errorf("%v allocations by Status, %v", allocations, err)
	}
}

// Many goroutines look while the connection works and is closed under them.
func TestConcurrentUse(t *testing.T) {
	conn, view := allPaths(t)
	subflows, err := view.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	look := func(look func() error) {
		all.Add(1)
		go func() {
			defer all.Done()
			for {
				err := look()
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	var looked sync.WaitGroup
	for i := 0; i < 4; i++ {
		var buf []mptcpapi.Subflow
		looks := 0
		looked.Add(1)
		look(func() (err error) {
			if buf, err = view.AppendSubflows(buf[:0]); err == nil && len(buf) != len(subflows) {
				return fmt.Errorf("%d subflows", len(buf))
			}
			if looks++; looks == 200 {
				looked.Done()
			}
			return err
		})
		look(func() error { _, err := view.SubflowsDetail(); return err })
		look(func() error { _, err := view.Info(); return err })
		look(func() error { _, err := view.Status(); return err })
	}
	for i := 0; i < 50; i++ {
		echo(t, conn, "while others look")
	}
	looked.Wait()
	conn.Close()
	all.Wait()
}

// A view reads the same descriptor as the connection, and leaves it as it is.
func TestViewLeavesConnectionAlone(t *testing.T) {
	conn, _ := allPaths(t)
	nothingLeft(t, func() {
		view := from(t, conn)
		for i := 0; i < 10; i++ {
			if _, err := view.Subflows(); err != nil {
				t.Fatal(err)
			}
		}
	})
	// Were the descriptor blocking, this would hang.
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	echo(t, conn, "still alive")
}

func TestViewOfFile(t *testing.T) {
	conn, _ := allPaths(t)
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if subflows, err := from(t, file).Subflows(); err != nil || len(subflows) < 2 {
		t.Error(subflows, err)
	}
}

// Seen from the server, whose socket is an IPv6 one: the addresses are IPv4's in the IPv6 form.
func TestServerSideAndMappedAddresses(t *testing.T) {
	needLab(t)
	client, accepted := pair(t, "tcp", "127.0.0.1")
	view := from(t, accepted)
	info, err := view.Info()
	if err != nil || !info.ServerSideKnown || !info.ServerSide {
		t.Errorf("%+v, %v", info, err)
	}
	for _, list := range []func() ([]mptcpapi.Subflow, error){view.Subflows, view.SubflowsDetail} {
		subflows, err := list()
		if err != nil || len(subflows) == 0 {
			t.Fatal(subflows, err)
		}
		local, remote := unmap(subflows[0].Local), unmap(subflows[0].Remote)
		if local != accepted.LocalAddr().String() || remote != client.LocalAddr().String() {
			t.Errorf("%v -> %v, but %v -> %v", local, remote, accepted.LocalAddr(), client.LocalAddr())
		}
	}
}

func unmap(address netip.AddrPort) string {
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port()).String()
}
