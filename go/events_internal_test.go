// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi

import (
	"net/netip"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

func TestEventWordsAreTheLibrarys(t *testing.T) {
	known := 0
	for number := uint32(0); number < 20; number++ {
		for _, word := range []struct{ have, want string }{
			{EventKind(number).String(), capi.EventName(number)},
			{PathEventKind(number).String(), capi.PathEventName(number)},
			{EventSource(number).String(), capi.SourceName(int(number))},
		} {
			if word.want != "unknown" {
				known++
			}
			if word.want != "unknown" && word.have != word.want {
				t.Errorf("%d: %q, the library says %q", number, word.have, word.want)
			}
		}
	}
	if want := len(eventKindNames) + len(pathEventKindNames) + len(eventSourceNames) - 3; known != want {
		t.Errorf("the library knows %d words, Go %d", known, want)
	}
	if EventKind(0).String() != "EventKind(0)" || PathEventKind(99).String() != "PathEventKind(99)" {
		t.Error("numbers without a word")
	}
}

func TestDecodeEvents(t *testing.T) {
	c := capi.Event{Kind: capi.EventSubflowClosed, Token: 1, Subflow: 2, Error: 104, ResetReason: 3, AddressId: -1, Backup: -1,
		Polled: 1}
	c.Local = capi.Sockaddr{Family: syscall.AF_INET, Port: [2]byte{1, 2}, Ip4: [4]byte{10, 0, 0, 1}}
	c.Remote = capi.SockaddrOf(netip.MustParseAddrPort("[fe80::2%7]:443"))
	c.Last.Id, c.Last.RttUs = 2, 55
	var known names
	want := Event{Kind: EventSubflowClosed, Token: 1, Subflow: 2, Local: netip.MustParseAddrPort("10.0.0.1:258"),
		Remote: netip.MustParseAddrPort("[fe80::2%7]:443"), Errno: syscall.ECONNRESET, ResetReason: 3, AddressId: -1,
		Last: &Subflow{Id: 2, RttUs: 55}, Polled: true}
	if have := eventOf(&c, &known); !reflect.DeepEqual(have, want) {
		t.Errorf("\n%+v instead of\n%+v", have, want)
	}
	c = capi.Event{Kind: capi.EventPriorityChanged, Token: 1, ResetReason: -1, AddressId: 5, Backup: 1}
	want = Event{Kind: EventPriorityChanged, Token: 1, ResetReason: -1, AddressId: 5, Backup: true}
	if have := eventOf(&c, &known); !reflect.DeepEqual(have, want) {
		t.Errorf("\n%+v instead of\n%+v", have, want)
	}
	p := capi.PathEvent{Kind: capi.PathEventStalled, Subflow: 3, Local: capi.SockaddrOf(netip.MustParseAddrPort("10.0.0.1:0"))}
	copy(p.Interface[:], "path1")
	if have := pathEventOf(&p); have != (PathEvent{PathStalled, 3, netip.MustParseAddr("10.0.0.1"), "path1"}) {
		t.Errorf("%+v", have)
	}
	if capi.SockaddrOf(netip.AddrPort{}) != (capi.Sockaddr{}) {
		t.Error("the zero address is not given")
	}
}

func TestStallLimit(t *testing.T) {
	for stall, want := range map[time.Duration]int{
		0: -1, -1: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 50 * time.Millisecond: 50, 1 << 62: 1<<31 - 1,
		1<<63 - 1: 1<<31 - 1,
	} {
		if have := stallLimit(stall); have != want {
			t.Errorf("%d: %d instead of %d", stall, have, want)
		}
	}
}
