// SPDX-License-Identifier: MIT OR Apache-2.0

// Command options gives each of two subflows options of its own, and sends over them: options HOST PORT [SECONDS].
//
// The first is for urgent packets (EF), at most 1 MB/s of them; the other one for bulk (CS1), with another congestion
// control.
// Needs "mptcpapi load-bpf", once.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

const maxPacingRate = 47 // SO_MAX_PACING_RATE is not in package syscall

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: options HOST PORT [SECONDS]")
	}
	conn, err := mptcpapi.Dial(context.Background(), "tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	check(err)
	defer conn.Close()
	connection, err := mptcpapi.From(conn)
	check(err)
	_, err = fmt.Fprintln(conn, "sink")
	check(err)
	subflows := list(connection)
	for ; len(subflows) < 2; subflows = list(connection) { // the kernel opens the second one once data has flowed
		time.Sleep(10 * time.Millisecond)
	}

	show("before", connection)
	first, second := subflows[0].Id, subflows[1].Id
	other := anotherCongestionControl(congestion(connection, second))
	for _, err := range connection.SetOptions([]mptcpapi.SubflowOption{
		{Subflow: first, Level: syscall.IPPROTO_IP, Name: syscall.IP_TOS, Value: mptcpapi.IntValue(0xb8)},
		{Subflow: first, Level: syscall.SOL_SOCKET, Name: maxPacingRate, Value: mptcpapi.IntValue(1000000)},
		{Subflow: second, Level: syscall.IPPROTO_IP, Name: syscall.IP_TOS, Value: mptcpapi.IntValue(0x20)},
		{Subflow: second, Level: syscall.IPPROTO_TCP, Name: syscall.TCP_CONGESTION, Value: []byte(other)},
	}) {
		check(err)
	}
	show("after ", connection)

	_, err = conn.Write(make([]byte, 4000000))
	check(err)
	if len(os.Args) > 3 {
		pause, err := time.ParseDuration(os.Args[3] + "s")
		check(err)
		time.Sleep(pause)
	}
}

func show(when string, connection *mptcpapi.Conn) {
	for _, s := range list(connection) {
		tos, err := connection.GetsockoptInt(s.Id, syscall.IPPROTO_IP, syscall.IP_TOS)
		check(err)
		value, err := connection.GetsockoptBytes(s.Id, syscall.SOL_SOCKET, maxPacingRate, 8)
		check(err)
		limit := "no limit"
		if rate := *(*uint64)(unsafe.Pointer(&value[0])); rate != math.MaxUint64 {
			limit = fmt.Sprint(rate, " B/s")
		}
		name := congestion(connection, s.Id)
		fmt.Printf("%s  %d  %s  tos 0x%02x  %s  %s\n", when, s.Id, s.Local.Addr(), tos, limit, name)
	}
}

func list(connection *mptcpapi.Conn) []mptcpapi.Subflow {
	subflows, err := connection.Subflows()
	check(err)
	return subflows
}

func congestion(connection *mptcpapi.Conn, id uint32) string {
	value, err := connection.GetsockoptBytes(id, syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, 16)
	check(err)
	return string(bytes.TrimRight(value, "\x00"))
}

// anotherCongestionControl is one that needs no privilege; the same if there is no other.
func anotherCongestionControl(than string) string {
	allowed, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	check(err)
	for _, name := range strings.Fields(string(allowed)) {
		if name != than {
			return name
		}
	}
	return than
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
