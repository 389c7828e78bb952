// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
	"github.com/mptcpapi/mptcpapi/go/paper"
)

var nowhere netip.AddrPort

func paperList(t testing.TB, conn syscall.Conn) (list []paper.SubStatus, ids []uint8) {
	t.Helper()
	list, err := paper.GetSubIDs(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range list {
		ids = append(ids, status.ID)
	}
	return list, ids
}

// established waits for so many subflows, and answers the list.
func established(t testing.TB, conn syscall.Conn, count int) (list []paper.SubStatus) {
	t.Helper()
	until(t, "established subflows", func() bool {
		list, _ = paperList(t, conn)
		for _, status := range list {
			if !status.FullyEstablished {
				return false
			}
		}
		return len(list) == count
	})
	return list
}

func paperOpen(t testing.TB, conn syscall.Conn, local, remote netip.AddrPort, lowPrio bool) uint8 {
	t.Helper()
	id, err := paper.OpenSubTuple(conn, local, remote, lowPrio)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func addrPortOf(address net.Addr) netip.AddrPort {
	both := address.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(both.Addr().Unmap(), both.Port())
}

func TestPaperOpenListClose(t *testing.T) {
	conn, _ := dialApp(t)
	first := paper.SubStatus{ID: 1, FullyEstablished: true, Attached: true}
	if list, _ := paperList(t, conn); !reflect.DeepEqual(list, []paper.SubStatus{first}) {
		t.Errorf("%+v", list)
	}
	if id := paperOpen(t, conn, path(t, "LAB_CLIENT_2"), nowhere, false); id != 2 {
		t.Error(id)
	}
	second := paper.SubStatus{ID: 2, Slave: true, FullyEstablished: true, Attached: true}
	if list := established(t, conn, 2); !reflect.DeepEqual(list, []paper.SubStatus{second, first}) {
		t.Errorf("%+v", list)
	}
	local, remote, err := paper.GetSubTuple(conn, 2)
	if err != nil || local.Addr() != path(t, "LAB_CLIENT_2").Addr() || remote != addrPortOf(conn.RemoteAddr()) {
		t.Error(local, remote, err)
	}
	local, remote, err = paper.GetSubTuple(conn, 1)
	if err != nil || local != addrPortOf(conn.LocalAddr()) || remote != addrPortOf(conn.RemoteAddr()) {
		t.Error(local, remote, err)
	}
	if err := paper.CloseSubID(conn, 1); err != nil {
		t.Fatal(err)
	}
	if _, ids := paperList(t, conn); !bytes.Equal(ids, []uint8{2}) {
		t.Error(ids)
	}
	echo(t, conn, "goes on")
	if id := paperOpen(t, conn, netip.AddrPortFrom(path(t, "LAB_CLIENT_1").Addr(), 20123), nowhere, true); id != 3 {
		t.Error(id)
	}
	if list := established(t, conn, 2); list[0].ID != 3 || !list[0].LowPrio || list[1].LowPrio {
		t.Errorf("%+v", list)
	}
	if local, _, err := paper.GetSubTuple(conn, 3); err != nil || local.Port() != 20123 {
		t.Error(local, err)
	}
}

func TestPaperAddresses(t *testing.T) {
	conn, _ := dialApp(t)
	peer := addrPortOf(conn.RemoteAddr())
	other := path(t, "LAB_SERVER_2")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(path(t, "LAB_CLIENT_2").Addr().As16()), 0)
	for i, c := range []struct{ local, remote, want netip.AddrPort }{
		{nowhere, nowhere, peer},
		{netip.AddrPortFrom(netip.IPv4Unspecified(), 0), other, netip.AddrPortFrom(other.Addr(), peer.Port())},
		{mapped, other, netip.AddrPortFrom(other.Addr(), peer.Port())},
		{netip.AddrPortFrom(netip.Addr{}, 20200), netip.AddrPortFrom(netip.Addr{}, peer.Port()), peer},
	} {
		id := paperOpen(t, conn, c.local, c.remote, false)
		local, remote, err := paper.GetSubTuple(conn, id)
		if err != nil || remote != c.want || c.local.Port() != 0 && local.Port() != c.local.Port() {
			t.Error(i, local, remote, err)
		}
	}
	established(t, conn, 5)
}

func TestPaperIPv6(t *testing.T) {
	needLab(t)
	conn, err := mptcpapi.Dial(soon(t), "tcp", server6(t), mptcpapi.WithControl(mptcpapi.ControlApp))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("echo\n"))
	echo(t, conn, "data has flowed")
	from := path(t, "LAB_CLIENT6_2")
	id := paperOpen(t, conn, from, nowhere, true)
	established(t, conn, 2)
	local, remote, err := paper.GetSubTuple(conn, id)
	if err != nil || local.Addr() != from.Addr() || remote != addrPortOf(conn.RemoteAddr()) {
		t.Error(local, remote, err)
	}
}

func TestPaperBeforeAnyData(t *testing.T) {
	needLab(t)
	conn, err := mptcpapi.Dial(soon(t), "tcp", server(t), mptcpapi.WithControl(mptcpapi.ControlApp))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	from := path(t, "LAB_CLIENT_2")
	if id := paperOpen(t, conn, from, nowhere, false); id != 2 {
		t.Error(id)
	}
	if list, _ := paperList(t, conn); len(list) != 2 || list[0] != (paper.SubStatus{ID: 2, Slave: true, Attached: true}) {
		t.Errorf("%+v", list)
	}
	if local, _, err := paper.GetSubTuple(conn, 2); err != nil || local != from {
		t.Error(local, err)
	}
	if err := paper.CloseSubID(conn, 1); err != nil {
		t.Error(err)
	}
	conn.Write([]byte("echo\n"))
	echo(t, conn, "data has flowed")
	if list := established(t, conn, 1); list[0].ID != 2 {
		t.Errorf("%+v", list)
	}
	echo(t, conn, "over the second")
}

// sockaddrIn is a struct sockaddr_in; the family is in the machine's order, which is the little one here.
func sockaddrIn(address netip.AddrPort) []byte {
	ip := address.Addr().As4()
	b := binary.LittleEndian.AppendUint16(nil, syscall.AF_INET)
	b = binary.BigEndian.AppendUint16(b, address.Port())
	return append(append(b, ip[:]...), make([]byte, 8)...)
}

func TestPaperBytes(t *testing.T) {
	conn, _ := dialApp(t)
	list := make([]byte, 64)
	if n, err := paper.Getsockopt(conn, paper.MPTCP_GET_SUB_IDS, list); err != nil || !bytes.Equal(list[:n], []byte{1, 0, 1, 6}) {
		t.Error(list[:n], err)
	}
	addresses := append(sockaddrIn(path(t, "LAB_CLIENT_2")), sockaddrIn(addrPortOf(conn.RemoteAddr()))...)
	for want, form := range map[byte][]byte{2: {0}, 3: {0, 1}} {
		request := append(form, addresses...)
		n, err := paper.Getsockopt(conn, paper.MPTCP_OPEN_SUB_TUPLE, request)
		if err != nil || n != len(request) || request[0] != 2 && request[0] != 3 {
			t.Error(want, n, request[0], err)
		}
	}
	established(t, conn, 3)
	local, remote, err := paper.GetSubTuple(conn, 2)
	if err != nil {
		t.Fatal(err)
	}
	tuple := make([]byte, 60)
	tuple[0] = 2
	want := append([]byte{2}, append(sockaddrIn(local), sockaddrIn(remote)...)...)
	if n, err := paper.Getsockopt(conn, paper.MPTCP_GET_SUB_TUPLE, tuple); err != nil || !bytes.Equal(tuple[:n], want) {
		t.Error(tuple[:n], err)
	}
	for _, request := range [][]byte{{2}, {3, 0, 0, 0, 2, 0, 0, 0}} {
		if _, err := paper.Getsockopt(conn, paper.MPTCP_CLOSE_SUB_ID, request); err != nil {
			t.Error(err)
		}
	}
	if _, ids := paperList(t, conn); !bytes.Equal(ids, []uint8{1}) {
		t.Error(ids)
	}
	// What is not the paper's goes to the kernel.
	name := make([]byte, 40)
	if n, err := paper.Getsockopt(conn, congestion, name); err != nil || string(bytes.TrimRight(name[:n], "\x00")) != "reno" {
		t.Errorf("%q %v", name[:n], err)
	}
	if err := paper.Setsockopt(conn, congestion, []byte("cubic")); err != nil {
		t.Error(err)
	}
	if value, err := paper.SubGetsockoptBytes(conn, 1, tcp, congestion, 5); err != nil || string(value) != "cubic" {
		t.Errorf("%q %v", value, err)
	}
}

func TestPaperErrors(t *testing.T) {
	conn, _ := dialApp(t)
	get := func(name, length int) error {
		_, err := paper.Getsockopt(conn, name, make([]byte, length))
		return err
	}
	open := func(local, remote netip.AddrPort) error {
		_, err := paper.OpenSubTuple(conn, local, remote, false)
		return err
	}
	option := func(id uint8, name, size int) error {
		_, err := paper.SubGetsockoptBytes(conn, id, tcp, name, size)
		return err
	}
	_, _, noTuple := paper.GetSubTuple(conn, 7)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(path(t, "LAB_CLIENT_2").Addr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// The request of a set, with the address 0.
	null := append([]byte{1, 0, 0, 0, tcp, 0, 0, 0, syscall.TCP_NODELAY, 0, 0, 0}, make([]byte, 20)...)
	null[24] = 4
	for i, c := range []struct {
		err   error
		errno syscall.Errno
		op    string
		id    uint32
	}{
		{get(paper.MPTCP_GET_SUB_IDS, 0), syscall.EINVAL, "get_sub_ids", 0},
		{get(paper.MPTCP_GET_SUB_IDS, 3), syscall.EINVAL, "get_sub_ids", 0},
		{get(paper.MPTCP_OPEN_SUB_TUPLE, 32), syscall.EINVAL, "open_sub_tuple", 0},
		{get(paper.MPTCP_CLOSE_SUB_ID, 1), syscall.EINVAL, "close_sub_id", 0},
		{get(paper.MPTCP_SUB_SETSOCKOPT, 32), syscall.ENOPROTOOPT, "sub_setsockopt", 0},
		{get(math.MaxInt32+1, 4), syscall.ENOPROTOOPT, "getsockopt", 0},
		{get(noSuchOption, 4), syscall.EOPNOTSUPP, "getsockopt", 0},
		{paper.Setsockopt(conn, paper.MPTCP_SUB_SETSOCKOPT, nil), syscall.EINVAL, "sub_setsockopt", 0},
		{paper.Setsockopt(conn, paper.MPTCP_SUB_SETSOCKOPT, null), syscall.EFAULT, "sub_setsockopt", 0},
		{paper.Setsockopt(conn, congestion, []byte("nothere")), syscall.ENOENT, "set_option", 0},
		{noTuple, syscall.EINVAL, "get_sub_tuple", 7},
		{paper.CloseSubID(conn, 0), syscall.EINVAL, "close_sub_id", 0},
		{paper.CloseSubID(conn, 255), syscall.EINVAL, "close_sub_id", 255},
		{open(addrPortOf(taken.Addr()), nowhere), syscall.EADDRINUSE, "open_sub_tuple", 0},
		{open(netip.MustParseAddrPort("192.0.2.1:0"), nowhere), syscall.EADDRNOTAVAIL, "open_sub_tuple", 0},
		{open(path(t, "LAB_CLIENT6_2"), nowhere), syscall.EAFNOSUPPORT, "open_sub_tuple", 0},
		{open(path(t, "LAB_CLIENT6_2"), path(t, "LAB_SERVER6_2")), syscall.EAFNOSUPPORT, "open_sub_tuple", 0},
		{option(7, congestion, 16), syscall.EINVAL, "sub_getsockopt", 7},
		{option(1, congestion, -1), syscall.EINVAL, "sub_getsockopt", 0},
		{option(1, math.MaxInt32+1, 4), syscall.ENOPROTOOPT, "sub_getsockopt", 0},
		{paper.SubSetsockoptInt(conn, 7, tcp, syscall.TCP_NODELAY, 1), syscall.EINVAL, "sub_setsockopt", 7},
	} {
		var opError *mptcpapi.OpError
		if !errors.As(c.err, &opError) || !errors.Is(c.err, c.errno) || opError.Op != c.op || opError.Subflow != c.id {
			t.Errorf("%d: %+v", i, c.err)
		}
	}
	if _, ids := paperList(t, conn); !bytes.Equal(ids, []uint8{1}) {
		t.Error(ids)
	}
	// All that the library has to say, not the errno alone.
	for err, hint := range map[error]string{
		open(path(t, "LAB_CLIENT6_2"), nowhere): "make it AF_INET6", noTuple: "no subflow of this connection has this id",
	} {
		var opError *mptcpapi.OpError
		if !errors.As(err, &opError) || !strings.Contains(opError.Hint, hint) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%v", err)
		}
	}
	if !errors.Is(noTuple, mptcpapi.ErrNoSuchSubflow) {
		t.Error(noTuple)
	}
}

func TestPaperWithoutConnection(t *testing.T) {
	needLab(t)
	closed := dial(t, server(t), "echo")
	closed.Close()
	// Of MPTCP, where package net makes such (Go 1.24), but without a connection.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	fellBack := dial(t, plainServer(t), "echo")
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for errno, conns := range map[syscall.Errno][]syscall.Conn{
		syscall.EBADF: {closed}, syscall.ENOTSOCK: {file}, syscall.EINVAL: {nil, (*net.TCPConn)(nil)},
		syscall.EOPNOTSUPP: {listener.(*net.TCPListener), fellBack},
	} {
		for _, conn := range conns {
			_, listed := paper.GetSubIDs(conn)
			_, opened := paper.OpenSubTuple(conn, nowhere, nowhere, false)
			_, got := paper.SubGetsockoptInt(conn, 1, tcp, congestion)
			_, raw := paper.Getsockopt(conn, paper.MPTCP_GET_SUB_IDS, make([]byte, 64))
			for _, err := range []error{listed, opened, got, raw, paper.CloseSubID(conn, 1),
				paper.SubSetsockoptInt(conn, 1, tcp, syscall.TCP_NODELAY, 1)} {
				if !errors.Is(err, errno) {
					t.Errorf("%v: %+v", errno, err)
				}
				if errno == syscall.EBADF && !errors.Is(err, net.ErrClosed) {
					t.Errorf("%+v", err)
				}
			}
		}
	}
}

func TestPaperKernelPathManager(t *testing.T) {
	needLab(t)
	conn := dial(t, server(t), "echo")
	echo(t, conn, "data has flowed")
	if _, err := paper.OpenSubTuple(conn, path(t, "LAB_CLIENT_3"), nowhere, false); !errors.Is(err, syscall.EOPNOTSUPP) ||
		!errors.Is(err, mptcpapi.ErrKernelPathManager) {
		t.Error(err)
	}
}

func TestPaperOptions(t *testing.T) {
	withBpf(t)
	conn, _ := dialApp(t)
	paperOpen(t, conn, path(t, "LAB_CLIENT_2"), nowhere, false)
	established(t, conn, 2)
	if err := paper.SubSetsockoptInt(conn, 2, syscall.IPPROTO_IP, syscall.IP_TOS, 0x28); err != nil {
		t.Error(err)
	}
	if err := paper.SubSetsockoptBytes(conn, 2, tcp, congestion, []byte("cubic")); err != nil {
		t.Error(err)
	}
	if err := paper.SubSetsockoptInt(conn, 1, tcp, userTimeout, 7000); err != nil {
		t.Error(err)
	}
	// The whole connection is told; the second one keeps what is its own.
	if err := paper.Setsockopt(conn, congestion, []byte("reno")); err != nil {
		t.Error(err)
	}
	for id, want := range map[uint8]struct {
		tos, timeout int
		name         string
	}{1: {0, 7000, "reno\x00"}, 2: {0x28, 0, "cubic"}} {
		tos, err := paper.SubGetsockoptInt(conn, id, syscall.IPPROTO_IP, syscall.IP_TOS)
		timeout, err2 := paper.SubGetsockoptInt(conn, id, tcp, userTimeout)
		name, err3 := paper.SubGetsockoptBytes(conn, id, tcp, congestion, 5)
		if err != nil || err2 != nil || err3 != nil || tos != want.tos || timeout != want.timeout || string(name) != want.name {
			t.Error(id, tos, err, timeout, err2, string(name), err3)
		}
	}
	if info, err := paper.SubGetsockoptBytes(conn, 2, tcp, syscall.TCP_INFO, math.MaxInt32); err != nil || len(info) < 200 || info[0] != 1 {
		t.Error(info, err)
	}
	if value, err := paper.SubGetsockoptBytes(conn, 2, tcp, congestion, 0); err != nil || len(value) != 0 {
		t.Error(value, err)
	}
}

// One of several subflows has no option of its own without the program.
func TestPaperOptionsWithoutBpf(t *testing.T) {
	conn, _ := dialApp(t)
	paperOpen(t, conn, path(t, "LAB_CLIENT_2"), nowhere, false)
	established(t, conn, 2)
	if err := paper.SubSetsockoptInt(conn, 2, syscall.IPPROTO_IP, syscall.IP_TOS, 0x28); !errors.Is(err, syscall.ENOPROTOOPT) {
		t.Error(err)
	}
	if tos, err := paper.SubGetsockoptInt(conn, 2, syscall.IPPROTO_IP, syscall.IP_TOS); err != nil || tos != 0 {
		t.Error(tos, err)
	}
}

func TestPaperStockOptions(t *testing.T) {
	conn, _ := dialApp(t)
	info := func() error {
		_, err := paper.Getsockopt(conn, paper.MPTCP_INFO, make([]byte, 56))
		return err
	}
	if paper.StockOptions(false) || info() == nil {
		t.Error("they are on")
	}
	if paper.StockOptions(true) {
		t.Error("they were on")
	}
	defer func() {
		if !paper.StockOptions(false) || info() == nil {
			t.Error("they are not off again")
		}
	}()
	name := make([]byte, 16)
	if n, err := paper.Getsockopt(conn, paper.MPTCP_SCHEDULER, name); err != nil || n != 16 || string(name[:8]) != "default\x00" {
		t.Errorf("%q %v", name[:n], err)
	}
	if err := info(); err != nil {
		t.Error(err)
	}
	if err := paper.Setsockopt(conn, paper.MPTCP_ENABLED, mptcpapi.IntValue(1)); !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}
}

func TestPaperLeavesNothingOpen(t *testing.T) {
	conn, _ := dialApp(t)
	round := func() {
		id := paperOpen(t, conn, path(t, "LAB_CLIENT_2"), nowhere, false)
		paperList(t, conn)
		// The peer rejects one where it still has too many that are on their way out.
		if err := paper.CloseSubID(conn, id); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
	round()
	nothingLeft(t, func() {
		for i := 0; i < 40; i++ {
			round()
		}
	})
}

func TestPaperFromManyGoroutines(t *testing.T) {
	conn, _ := dialApp(t)
	var opened []int
	var all sync.WaitGroup
	var mu sync.Mutex
	for i := 0; i < 4; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := 0; j < 3; j++ {
				id, err := paper.OpenSubTuple(conn, path(t, "LAB_CLIENT_2"), nowhere, false)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				opened = append(opened, int(id))
				mu.Unlock()
				if _, err := paper.GetSubIDs(conn); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
	sort.Ints(opened)
	if !reflect.DeepEqual(opened, []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}) {
		t.Error(opened)
	}
}
