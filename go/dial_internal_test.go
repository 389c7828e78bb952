// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func addresses(t *testing.T, variables ...string) []netip.AddrPort {
	t.Helper()
	if os.Getenv("MPTCPAPI_LAB") != "1" {
		if os.Getenv("MPTCPAPI_EXPECT_ALL") == "1" {
			t.Fatal("MPTCPAPI_EXPECT_ALL=1, and yet there is no lab")
		}
		t.Skip("there is no lab")
	}
	var all []netip.AddrPort
	for _, variable := range variables {
		all = append(all, netip.MustParseAddrPort(net.JoinHostPort(os.Getenv(variable), os.Getenv("LAB_PORT"))))
	}
	return all
}

func nobody(ip string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), 1)
}

func lab(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("lab", args...).CombinedOutput(); err != nil {
		t.Fatalf("lab %v: %v\n%s", args, err, out)
	}
}

func TestInTurn(t *testing.T) {
	all := append([]netip.AddrPort{nobody("127.0.0.1")}, addresses(t, "LAB_SERVER_1")...)
	d := dialer{network: "tcp"}
	conn, err := d.inTurn(context.Background(), all)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "hold")
	if conn.RemoteAddr().String() != all[1].String() {
		t.Errorf("connected to %v", conn.RemoteAddr())
	}
	_, err = d.inTurn(context.Background(), []netip.AddrPort{nobody("127.0.0.1"), nobody("127.0.0.2")})
	if want := "dial tcp 127.0.0.1:1: connect: connection refused"; err == nil || err.Error() != want {
		t.Errorf("%v, not the error of the first", err)
	}
}

// The first address does not answer: the second one gets its share of the time.
func TestDeadlineIsShared(t *testing.T) {
	all := addresses(t, "LAB_SERVER_2", "LAB_SERVER_1")
	lab(t, "cut", "2")
	defer lab(t, "heal", "2")
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
	defer cancel()
	d := dialer{network: "tcp"}
	conn, err := d.inTurn(ctx, all)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(conn, "hold")
	conn.Close()
}

func TestBesideEachOther(t *testing.T) {
	live4, live6 := addresses(t, "LAB_SERVER_1"), addresses(t, "LAB_SERVER6_1")
	hole := addresses(t, "LAB_SERVER_2")
	lab(t, "cut", "2")
	defer lab(t, "heal", "2")
	refused := []netip.AddrPort{nobody("127.0.0.1")}
	d := dialer{network: "tcp"}
	goroutines := runtime.NumGoroutine()
	for name, c := range map[string]struct{ first, second, want []netip.AddrPort }{
		"the first is silent":   {hole, live6, live6},
		"the first refuses":     {refused, live6, live6},
		"both answer":           {live6, live4, live6},
		"the second is useless": {live4, hole, live4},
	} {
		conn, err := d.beside(context.Background(), c.first, c.second)
		if err != nil {
			t.Fatal(name, err)
		}
		if conn.RemoteAddr().String() != c.want[0].String() {
			t.Errorf("%s: connected to %v", name, conn.RemoteAddr())
		}
		fmt.Fprintln(conn, "hold")
		conn.Close()
	}
	_, err := d.beside(context.Background(), refused, []netip.AddrPort{nobody("::1")})
	if want := "dial tcp 127.0.0.1:1: connect: connection refused"; err == nil || err.Error() != want {
		t.Errorf("%v, not the error of the first", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := d.beside(ctx, hole, hole); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, c := range []struct{ network, address, want string }{
		{"tcp", "1.2.3.4:80", "1.2.3.4:80"},
		{"tcp", "[::ffff:1.2.3.4]:80", "1.2.3.4:80"},
		{"tcp", "[2001:db8::1]:80", "[2001:db8::1]:80"},
		{"tcp", ":80", "0.0.0.0:80"},
		{"tcp4", ":80", "0.0.0.0:80"},
		{"tcp6", ":80", "[::]:80"},
		{"tcp6", "[fe80::1%lo]:0", "[fe80::1%lo]:0"},
	} {
		found, err := resolve(context.Background(), c.network, c.address)
		if err != nil || len(found) != 1 || found[0].String() != c.want {
			t.Errorf("%v: %v, %v", c, found, err)
		}
	}
}

func TestSockaddrWithZone(t *testing.T) {
	for _, zone := range []string{"lo", "1"} {
		to, family := sockaddr(netip.MustParseAddrPort("[fe80::1%" + zone + "]:80"))
		six, ok := to.(*syscall.SockaddrInet6)
		if family != syscall.AF_INET6 || !ok || six.ZoneId != 1 || six.Port != 80 {
			t.Errorf("zone %s: %+v", zone, to)
		}
	}
}
