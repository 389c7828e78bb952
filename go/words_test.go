// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"testing"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// The words are Go's own, so that they are there without cgo; they must be the library's.
func TestWordsAreTheLibrarys(t *testing.T) {
	for number := uint32(0); number < 20; number++ {
		if have, want := TCPState(number).String(), capi.StateName(number); have != want {
			t.Errorf("state %d: %q, the library says %q", number, have, want)
		}
		same := func(have, want string, known bool) {
			t.Helper()
			if known && have != want {
				t.Errorf("%d: %q, the library says %q", number, have, want)
			}
		}
		status, pathManager, kind := capi.StatusName(int(number)), capi.PathManagerName(number), capi.ErrorName(number)
		same(Status(number).String(), status, status != "unknown")
		same(PathManager(number).String(), pathManager, pathManager != "unknown" || number == 0)
		same(ErrorKind(number).Name(), kind, kind != "unknown" && kind != "None")
	}
	if Status(-1).String() != "Status(-1)" || PathManager(9).String() != "PathManager(9)" ||
		ErrorKind(99).Name() != "ErrorKind(99)" || ErrorKind(99).Error() == "" {
		t.Error("numbers without a word")
	}
	if Version() != capi.Version {
		t.Errorf("library %s, header %s", Version(), capi.Version)
	}
}

// Every field of the C struct reaches the Go struct, and none of it the wrong one.
func TestDecode(t *testing.T) {
	c := capi.Subflow{
		Id: 1, State: 3, RttUs: 4, RttvarUs: 5, SndCwnd: 6, Mss: 7, BytesSent: 8, BytesAcked: 9, BytesReceived: 10,
		BytesRetrans: 11, DeliveryRate: 12, Retransmits: 13, Unacked: 14, LastAckMs: 15, Initial: 1, Flags: capi.Detail,
		LocalId: 16, RemoteId: 17, Tos: 18, FullyEstablished: 1,
	}
	copy(c.Congestion[:], "cubic")
	copy(c.Interface[:], "a name of 15 by")
	c.Local = capi.Sockaddr{Family: syscall.AF_INET, Port: [2]byte{1, 2}, Ip4: [4]byte{10, 0, 0, 1}}
	c.Remote = capi.Sockaddr{Family: syscall.AF_INET6, Ip6: netip.MustParseAddr("fe80::2").As16(), Scope: 3}
	binary.BigEndian.PutUint16(c.Remote.Port[:], 443)
	want := Subflow{
		Id: 1, Local: netip.MustParseAddrPort("10.0.0.1:258"), Remote: netip.MustParseAddrPort("[fe80::2%3]:443"),
		State: 3, RttUs: 4, RttvarUs: 5, SndCwnd: 6, Mss: 7, BytesSent: 8, BytesAcked: 9, BytesReceived: 10,
		BytesRetrans: 11, DeliveryRate: 12, Retransmits: 13, Unacked: 14, LastAckMs: 15, Initial: true, Detailed: true,
		LocalId: 16, RemoteId: 17, Tos: 18, FullyEstablished: true, Congestion: "cubic", Interface: "a name of 15 by",
	}
	var have Subflow
	var known names
	have.decode(&c, &known)
	if have != want {
		t.Errorf("\n%+v instead of\n%+v", have, want)
	}
	c.FullyEstablished, c.Backup, c.Initial = 0, 1, 0
	have.decode(&c, &known)
	if have.FullyEstablished || !have.Backup || have.BackupByPeer || have.Initial {
		t.Errorf("%+v", have)
	}
	c.Backup, c.BackupByPeer, c.Local.Family = 0, 1, 0
	have.decode(&c, &known)
	if have.Backup || !have.BackupByPeer || have.Local.IsValid() {
		t.Errorf("%+v", have)
	}
	for i := 0; i < 1000; i++ {
		binary.BigEndian.PutUint32(c.Interface[:], 0x41414141+uint32(i%64)+uint32(i/64)<<8)
		have.decode(&c, &known)
		if have.Interface[:4] != string(c.Interface[:4]) || len(known) > 64 {
			t.Fatalf("%q, %d names are kept", have.Interface, len(known))
		}
	}
}

func TestDecodeInfo(t *testing.T) {
	c := capi.Info{
		Token: 1, Subflows: 2, Retransmits: 3, BytesSent: 4, BytesReceived: 5, BytesAcked: 6, BytesRetrans: 7,
		PathManager: 2, Fallback: 1, ServerSide: 1,
	}
	want := Info{
		Token: 1, Subflows: 2, Retransmits: 3, BytesSent: 4, BytesReceived: 5, BytesAcked: 6, BytesRetrans: 7,
		PathManager: PathManagerUserspace, Fallback: true, ServerSide: true, ServerSideKnown: true,
	}
	if have := infoOf(&c); have != want {
		t.Errorf("%+v", have)
	}
	c.ServerSide, want.ServerSide = 0, false
	if have := infoOf(&c); have != want {
		t.Errorf("%+v", have)
	}
	c.ServerSide, want.ServerSideKnown = -1, false
	if have := infoOf(&c); have != want {
		t.Errorf("%+v", have)
	}
}

func TestProbe(t *testing.T) {
	features, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if features.Mptcp != (features.SocketErrno == 0) || features.Mptcp != (features.Hint == "") {
		t.Errorf("%+v", features)
	}
	if !features.Mptcp {
		t.Skipf("no MPTCP here: %v", features.Hint)
	}
	if features.FullInfo && !features.Info {
		t.Errorf("%+v", features)
	}
}
