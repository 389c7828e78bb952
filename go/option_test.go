// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"context"
	"errors"
	"math"
	"net"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

const (
	tcp           = syscall.IPPROTO_TCP
	congestion    = syscall.TCP_CONGESTION
	userTimeout   = 18 // TCP_USER_TIMEOUT, which package syscall has not
	noSuchOption  = 9999
	noSuchSubflow = 77
)

// withBpf has the program loaded, in the lab only, until the test ends.
func withBpf(t *testing.T) {
	t.Helper()
	needLab(t)
	if out, err := exec.Command("lab", "load-bpf").CombinedOutput(); err != nil {
		skip(t, "NO BPF: "+string(out))
	}
	t.Cleanup(func() { lab(t, "unload-bpf") })
	if features, err := mptcpapi.Probe(); err != nil || !features.SubflowOptions {
		t.Fatalf("%+v, %v", features, err)
	}
}

func congestionOf(t testing.TB, view *mptcpapi.Conn) (names []string) {
	t.Helper()
	subflows, err := view.SubflowsDetail()
	if err != nil {
		t.Fatal(err)
	}
	for _, subflow := range subflows {
		names = append(names, subflow.Congestion)
	}
	return names
}

func TestOptionsThatNeedNoBpf(t *testing.T) {
	_, view := allPaths(t)
	for _, size := range []int{16, 1024, math.MaxInt32} {
		name, err := view.GetsockoptBytes(1, tcp, congestion, size)
		if err != nil || string(name) != "reno"+strings.Repeat("\x00", 12) {
			t.Errorf("%q, %v", name, err)
		}
	}
	if name, err := view.GetsockoptBytes(1, tcp, congestion, 2); err != nil || string(name) != "re" {
		t.Errorf("%q, %v", name, err)
	}
	if name, err := view.GetsockoptBytes(1, tcp, congestion, 0); err != nil || len(name) != 0 {
		t.Errorf("%q, %v", name, err)
	}
	if mss, err := view.GetsockoptInt(2, tcp, syscall.TCP_MAXSEG); err != nil || mss < 1000 {
		t.Error(mss, err)
	}
	if tos, err := view.GetsockoptInt(1, syscall.IPPROTO_IP, syscall.IP_TOS); err != nil || tos != 0 {
		t.Error(tos, err)
	}
	if info, err := view.GetsockoptBytes(1, tcp, syscall.TCP_INFO, 4096); err != nil || len(info) < 200 || info[0] != 1 {
		t.Error(info, err)
	}
}

func TestOptionErrors(t *testing.T) {
	conn, view := allPaths(t)
	big := math.MaxInt32
	get := func(id uint32, level, name, size int) error {
		_, err := view.GetsockoptBytes(id, level, name, size)
		return err
	}
	for _, c := range []struct {
		err   error
		kind  mptcpapi.ErrorKind
		errno syscall.Errno
		op    string
	}{
		{get(1, tcp, noSuchOption, 4), mptcpapi.ErrOs, syscall.ENOPROTOOPT, "subflow_option"},
		{get(1, tcp, big+1, 4), mptcpapi.ErrOs, syscall.ENOPROTOOPT, "subflow_option"},
		{get(1, -big-2, congestion, 4), mptcpapi.ErrOs, syscall.ENOPROTOOPT, "subflow_option"},
		{get(1, tcp, congestion, -1), mptcpapi.ErrOs, syscall.EINVAL, "subflow_option"},
		{get(1, tcp, congestion, big+1), mptcpapi.ErrOs, syscall.EINVAL, "subflow_option"},
		{get(noSuchSubflow, tcp, congestion, 4), mptcpapi.ErrNoSuchSubflow, syscall.ENOENT, "subflow_option"},
		{get(0, tcp, congestion, 4), mptcpapi.ErrNoSuchSubflow, syscall.ENOENT, "subflow_option"},
		{get(1, tcp, userTimeout, 4), mptcpapi.ErrUnsupported, syscall.ENOSYS, "subflow_option"},
		{view.SetsockoptInt(1, tcp, syscall.TCP_NODELAY, 1), mptcpapi.ErrUnsupported, syscall.ENOSYS, "set_subflow_option"},
		{view.SetsockoptBytes(1, tcp, syscall.TCP_NODELAY, nil), mptcpapi.ErrOs, syscall.EINVAL, "set_subflow_option"},
		{view.SetsockoptBytes(1, tcp, syscall.TCP_NODELAY, []byte{1}), mptcpapi.ErrOs, syscall.EINVAL, "set_subflow_option"},
		{view.SetsockoptString(1, tcp, congestion, ""), mptcpapi.ErrOs, syscall.EINVAL, "set_subflow_option"},
		{view.SetOption(tcp, noSuchOption, mptcpapi.IntValue(1)), mptcpapi.ErrOs, syscall.ENOPROTOOPT, "set_option"},
		{view.SetOption(tcp, congestion, []byte("nothere")), mptcpapi.ErrOs, syscall.ENOENT, "set_option"},
	} {
		var opError *mptcpapi.OpError
		if !errors.As(c.err, &opError) || opError.Kind != c.kind || opError.Op != c.op {
			t.Errorf("%+v", c.err)
		}
		if !errors.Is(c.err, c.errno) {
			t.Errorf("%v, not %v", c.err, c.errno)
		}
		if c.kind == mptcpapi.ErrUnsupported && !strings.Contains(opError.Hint, "mptcpapi load-bpf") {
			t.Errorf("%+v", opError)
		}
	}
	conn.Close()
	for _, err := range append(view.SetOptions(make([]mptcpapi.SubflowOption, 2)), get(1, tcp, congestion, 4),
		view.SetsockoptInt(1, tcp, congestion, 1), view.SetOption(tcp, congestion, nil)) {
		if !errors.Is(err, net.ErrClosed) || !errors.Is(err, syscall.EBADF) {
			t.Errorf("%+v", err)
		}
	}
}

func TestSetOptions(t *testing.T) {
	withBpf(t)
	_, view := allPaths(t)
	if err := view.SetsockoptString(2, tcp, congestion, "cubic"); err != nil {
		t.Fatal(err)
	}
	if err := view.SetsockoptInt(3, tcp, userTimeout, 7000); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint32]int{1: 0, 2: 0, 3: 7000} {
		if timeout, err := view.GetsockoptInt(id, tcp, userTimeout); err != nil || timeout != want {
			t.Error(id, timeout, err)
		}
	}
	errs := view.SetOptions([]mptcpapi.SubflowOption{
		{Subflow: 3, Level: tcp, Name: congestion, Value: []byte("cubic")},
		{Subflow: 3, Level: tcp, Name: congestion, Value: []byte("nothere")},
		{Subflow: noSuchSubflow, Level: tcp, Name: congestion, Value: []byte("cubic")},
		{Subflow: 1, Level: tcp, Name: noSuchOption, Value: mptcpapi.IntValue(1)},
		{Subflow: 1, Level: tcp, Name: userTimeout, Value: mptcpapi.IntValue(5)},
		{Subflow: 1, Level: tcp, Name: userTimeout},
	})
	kinds := []mptcpapi.ErrorKind{0, mptcpapi.ErrOs, mptcpapi.ErrNoSuchSubflow, mptcpapi.ErrOs, 0, mptcpapi.ErrOs}
	errnos := []syscall.Errno{0, syscall.ENOENT, syscall.ENOENT, syscall.ENOPROTOOPT, 0, syscall.EINVAL}
	for i, err := range errs {
		if kinds[i] == 0 && err == nil {
			continue
		}
		if !errors.Is(err, kinds[i]) || !errors.Is(err, errnos[i]) {
			t.Errorf("%d: %+v", i, err)
		}
	}
	if names := congestionOf(t, view); !reflect.DeepEqual(names, []string{"reno", "cubic", "cubic", "reno", "reno"}) {
		t.Error(names)
	}
	// The whole connection, but for those that have a value of their own.
	if err := view.SetOption(tcp, congestion, []byte("reno")); err != nil {
		t.Fatal(err)
	}
	if names := congestionOf(t, view); !reflect.DeepEqual(names, []string{"reno", "cubic", "cubic", "reno", "reno"}) {
		t.Error(names)
	}
	if errs := view.SetOptions(nil); len(errs) != 0 {
		t.Error(errs)
	}
}

func TestOpenWithOptions(t *testing.T) {
	withBpf(t)
	_, view := dialApp(t)
	open := second(t)
	open.Options = []mptcpapi.SubflowOption{
		{Level: tcp, Name: congestion, Value: []byte("cubic")},
		{Subflow: noSuchSubflow, Level: syscall.IPPROTO_IP, Name: syscall.IP_TOS, Value: mptcpapi.IntValue(0x28)},
	}
	opened, err := view.OpenSubflow(soon(t), open)
	if err != nil {
		t.Fatal(err)
	}
	subflows, err := view.SubflowsDetail()
	if err != nil || len(subflows) != 2 {
		t.Fatal(subflows, err)
	}
	if s := subflows[1]; s.Id != opened.Id || s.Congestion != "cubic" || s.Tos != 0x28 || s.Backup {
		t.Errorf("%+v", s)
	}
	for name, errno := range map[int]syscall.Errno{congestion: syscall.ENOENT, noSuchOption: syscall.ENOPROTOOPT} {
		open.Options = []mptcpapi.SubflowOption{{Level: tcp, Name: name, Value: []byte("nothere")}}
		if _, err := view.OpenSubflow(soon(t), open); !errors.Is(err, errno) {
			t.Error(err)
		}
	}
	until(t, "no subflow without its options", func() bool { return len(ids(t, view)) == 2 })
}

func TestOpenWithOptionsWithoutBpf(t *testing.T) {
	_, view := dialApp(t)
	open := second(t)
	open.Options = []mptcpapi.SubflowOption{{Level: tcp, Name: congestion, Value: []byte("cubic")}}
	if _, err := view.OpenSubflow(context.Background(), open); !errors.Is(err, mptcpapi.ErrUnsupported) {
		t.Error(err)
	}
	until(t, "no subflow without its options", func() bool { return len(ids(t, view)) == 1 })
}

func TestOptionsFromManyGoroutines(t *testing.T) {
	withBpf(t)
	_, view := allPaths(t)
	if err := view.SetsockoptInt(1, tcp, userTimeout, 1); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, func() {
		var all sync.WaitGroup
		for id := uint32(1); id <= 4; id++ {
			all.Add(1)
			go func(id uint32) {
				defer all.Done()
				for value := 1; value <= 20; value++ {
					option := mptcpapi.SubflowOption{Subflow: id, Level: tcp, Name: userTimeout, Value: mptcpapi.IntValue(value)}
					set := view.SetOptions([]mptcpapi.SubflowOption{option})
					if got, err := view.GetsockoptInt(id, tcp, userTimeout); set[0] != nil || err != nil || got != value {
						t.Error(id, value, got, set, err)
					}
				}
			}(id)
		}
		all.Wait()
	})
}
