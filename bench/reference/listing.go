// SPDX-License-Identifier: MIT OR Apache-2.0

// The listing by hand in pure Go: one raw MPTCP_FULL_INFO into arrays that are used again, then the fields that are
// wanted. A measured program: program.h has the protocol.
package main

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	solMptcp    = 284
	fullInfo    = 4
	maxSubflows = 64
)

type fullInfoHead struct {
	sizeTcpinfoKernel, sizeTcpinfoUser uint32
	sizeSfinfoKernel, sizeSfinfoUser   uint32
	numSubflows, sizeArraysUser        uint32
	subflowInfo, tcpInfo               uint64
}

type subflowInfo struct {
	id, _         uint32
	local, remote sockaddr
}

// sockaddr is a sockaddr_storage: IPv4 has its address where IPv6 has the flow label.
type sockaddr struct {
	family uint16
	port   [2]byte
	ip4    [4]byte
	ip6    [16]byte
	_      [104]byte
}

// tcpInfo is tcp_info up to the last field that is wanted.
type tcpInfo struct {
	state, _, _, _, _, _, _, _              uint8
	rto, ato, sndMss, rcvMss                uint32
	unacked, sacked, lost, retrans, fackets uint32
	lastDataSent, lastAckSent               uint32
	lastDataRecv, lastAckRecv               uint32
	pmtu, rcvSsthresh, rtt, rttvar          uint32
	sndSsthresh, sndCwnd, advmss            uint32
	reordering, rcvRtt, rcvSpace            uint32
	totalRetrans                            uint32
	pacingRate, maxPacingRate               uint64
	bytesAcked, bytesReceived               uint64
	segsOut, segsIn, notsentBytes, minRtt   uint32
	dataSegsIn, dataSegsOut                 uint32
	deliveryRate, busyTime                  uint64
	rwndLimited, sndbufLimited              uint64
	delivered, deliveredCe                  uint32
	bytesSent, bytesRetrans                 uint64
}

type subflow struct {
	id                                   uint32
	local, remote                        netip.AddrPort
	state                                uint8
	initial                              bool
	rttUs, rttvarUs, sndCwnd, mss        uint32
	retransmits, unacked, lastAckMs      uint32
	bytesSent, bytesAcked, bytesReceived uint64
	bytesRetrans, deliveryRate           uint64
}

// lister keeps the memory for the kernel's answer.
type lister struct {
	head     fullInfoHead
	tcp      [maxSubflows]tcpInfo
	subflows [maxSubflows]subflowInfo
}

func (l *lister) appendSubflows(fd int, buf []subflow) ([]subflow, error) {
	l.head = fullInfoHead{
		sizeTcpinfoUser: uint32(unsafe.Sizeof(l.tcp[0])),
		sizeSfinfoUser:  uint32(unsafe.Sizeof(l.subflows[0])),
		sizeArraysUser:  maxSubflows,
		subflowInfo:     uint64(uintptr(unsafe.Pointer(&l.subflows))),
		tcpInfo:         uint64(uintptr(unsafe.Pointer(&l.tcp))),
	}
	length := uint32(unsafe.Sizeof(l.head))
	// The call never blocks, so the scheduler need not hear of it.
	_, _, errno := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), solMptcp, fullInfo,
		uintptr(unsafe.Pointer(&l.head)), uintptr(unsafe.Pointer(&length)), 0)
	runtime.KeepAlive(l)
	if errno != 0 {
		return buf, errno
	}
	if l.head.sizeTcpinfoUser != uint32(unsafe.Sizeof(l.tcp[0])) || l.head.sizeSfinfoUser != uint32(unsafe.Sizeof(l.subflows[0])) {
		return buf, syscall.EPROTO
	}
	if l.head.numSubflows > maxSubflows {
		return buf, syscall.E2BIG
	}
	for i := range l.tcp[:l.head.numSubflows] {
		if isLive(l.tcp[i].state) {
			if len(buf) == cap(buf) {
				buf = append(buf, subflow{})[:len(buf)]
			}
			buf = buf[:len(buf)+1]
			buf[len(buf)-1].decode(&l.subflows[i], &l.tcp[i])
		}
	}
	return buf, nil
}

// isLive: established, or closed by the peer only.
func isLive(state uint8) bool {
	return state == 1 || state == 8
}

func (s *subflow) decode(info *subflowInfo, tcp *tcpInfo) {
	s.id = info.id
	s.initial = info.id == 1
	s.local = info.local.addrPort()
	s.remote = info.remote.addrPort()
	s.state = tcp.state
	s.rttUs = tcp.rtt
	s.rttvarUs = tcp.rttvar
	s.sndCwnd = tcp.sndCwnd
	s.mss = tcp.sndMss
	s.retransmits = tcp.totalRetrans
	s.unacked = tcp.unacked
	s.lastAckMs = tcp.lastAckRecv
	s.bytesSent = tcp.bytesSent
	s.bytesAcked = tcp.bytesAcked
	s.bytesReceived = tcp.bytesReceived
	s.bytesRetrans = tcp.bytesRetrans
	s.deliveryRate = tcp.deliveryRate
}

func (a *sockaddr) addrPort() netip.AddrPort {
	port := uint16(a.port[0])<<8 | uint16(a.port[1])
	if a.family == syscall.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4(a.ip4), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.ip6), port)
}

func (s *subflow) line() string {
	state, initial := "another state", 0
	if s.state == 1 {
		state = "established"
	}
	if s.initial {
		initial = 1
	}
	return fmt.Sprintf("%d,%s,%s,%s,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d ", s.id, s.local, s.remote, state, s.rttUs,
		s.rttvarUs, s.sndCwnd, s.mss, s.bytesSent, s.bytesAcked, s.bytesReceived, s.bytesRetrans, s.retransmits, s.unacked,
		s.deliveryRate, initial)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func measure(l *lister, fd, calls int) (time.Duration, int) {
	subflows := make([]subflow, 0, maxSubflows)
	var err error
	// The caches have forgotten us while other programs ran.
	for call := 0; call <= calls/8; call++ {
		subflows, err = l.appendSubflows(fd, subflows[:0])
		must(err)
	}
	start := time.Now()
	for call := 0; call < calls; call++ {
		subflows, err = l.appendSubflows(fd, subflows[:0])
		must(err)
	}
	return time.Since(start), len(subflows)
}

func main() {
	l := new(lister)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var fd, calls int
		if _, err := fmt.Sscanf(in.Text(), "show list %d", &fd); err == nil {
			subflows, err := l.appendSubflows(fd, nil)
			must(err)
			for i := range subflows {
				fmt.Print(subflows[i].line())
			}
			fmt.Println()
			continue
		}
		_, err := fmt.Sscanf(in.Text(), "list %d %d", &fd, &calls)
		must(err)
		elapsed, count := measure(l, fd, calls)
		fmt.Println(elapsed.Nanoseconds(), count)
	}
}
