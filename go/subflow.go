// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// TCPState is a TCP state by the kernel's number. Numbers unknown here are kept.
type TCPState uint32

// The kernel's states. A listing has only live subflows: TCPEstablished, TCPFinWait1, TCPFinWait2, TCPCloseWait, TCPLastAck
// and TCPClosing.
const (
	// TCPEstablished: data can flow both ways.
	TCPEstablished TCPState = 1
	// TCPSynSent: the SYN is sent.
	TCPSynSent TCPState = 2
	// TCPSynRecv: a SYN has arrived.
	TCPSynRecv TCPState = 3
	// TCPFinWait1: closed on this side, not yet acknowledged.
	TCPFinWait1 TCPState = 4
	// TCPFinWait2: closed on this side, waiting for the peer's FIN.
	TCPFinWait2 TCPState = 5
	// TCPTimeWait: closed by both, waiting for stray packets.
	TCPTimeWait TCPState = 6
	// TCPClose: dead, or never connected.
	TCPClose TCPState = 7
	// TCPCloseWait: closed by the peer.
	TCPCloseWait TCPState = 8
	// TCPLastAck: closed by both, the last acknowledgement is awaited.
	TCPLastAck TCPState = 9
	// TCPListen: a listening socket.
	TCPListen TCPState = 10
	// TCPClosing: closed by both at once.
	TCPClosing TCPState = 11
	// TCPNewSynRecv: a SYN has arrived, and there is no socket for it yet.
	TCPNewSynRecv TCPState = 12
)

var stateNames = [...]string{
	0:              "unknown",
	TCPEstablished: "established",
	TCPSynSent:     "syn_sent",
	TCPSynRecv:     "syn_recv",
	TCPFinWait1:    "fin_wait1",
	TCPFinWait2:    "fin_wait2",
	TCPTimeWait:    "time_wait",
	TCPClose:       "close",
	TCPCloseWait:   "close_wait",
	TCPLastAck:     "last_ack",
	TCPListen:      "listen",
	TCPClosing:     "closing",
	TCPNewSynRecv:  "new_syn_recv",
}

// String is the kernel's name in small letters ("established", "fin_wait1", ...); "unknown" for a number without one.
func (s TCPState) String() string {
	if int64(s) < int64(len(stateNames)) {
		return stateNames[s]
	}
	return stateNames[0]
}

// Subflow is one live subflow of a connection, as the kernel described it at one moment.
//
// The fields up to Initial are from one moment for all subflows of a listing. Those behind Detailed are only filled by
// Conn.SubflowsDetail.
type Subflow struct {
	// Id is the kernel's subflow_id: 1 is the initial subflow, no number is used twice in a connection. It is local: the
	// peer has other numbers for the same subflows. Not the address id.
	Id uint32
	// Local is the address on this host. IPv4 over an IPv6 socket is shown as the kernel has it, mostly as ::ffff:a.b.c.d;
	// netip.Addr.Unmap makes it comparable.
	Local netip.AddrPort
	// Remote is the peer's address.
	Remote netip.AddrPort
	// State is the kernel's TCP state.
	State TCPState
	// RttUs is the smoothed round-trip time in microseconds (tcpi_rtt).
	RttUs uint32
	// RttvarUs is the mean deviation of the round-trip time in microseconds (tcpi_rttvar).
	RttvarUs uint32
	// SndCwnd is the congestion window in segments.
	SndCwnd uint32
	// Mss is the segment size for sending in bytes (tcpi_snd_mss).
	Mss uint32
	// BytesSent counts the bytes sent, with those sent again.
	BytesSent uint64
	// BytesAcked counts the bytes that the peer acknowledged.
	BytesAcked uint64
	// BytesReceived counts the bytes received.
	BytesReceived uint64
	// BytesRetrans counts the bytes sent again.
	BytesRetrans uint64
	// Retransmits counts the segments sent again since the beginning (tcpi_total_retrans).
	Retransmits uint32
	// Unacked is the number of segments sent and not yet acknowledged.
	Unacked uint32
	// DeliveryRate is the latest delivery rate in bytes per second.
	DeliveryRate uint64
	// LastAckMs is how many milliseconds ago the last acknowledgement arrived (tcpi_last_ack_recv).
	LastAckMs uint32
	// Initial is true of the subflow that began the connection.
	Initial bool

	// Detailed is true where the fields below are filled. Else they are zero, and the address ids -1.
	Detailed bool
	// Backup: this side asked the peer to use the subflow as a backup only.
	Backup bool
	// BackupByPeer: the peer asked this side to use the subflow as a backup only.
	BackupByPeer bool
	// LocalId is the address id of the local address (RFC 8684 section 3.2); -1 where unknown.
	LocalId int16
	// RemoteId is the address id of the peer's address; -1 where unknown.
	RemoteId int16
	// FullyEstablished: the peer is known to have completed the MPTCP handshake on this subflow.
	FullyEstablished bool
	// Congestion is the congestion control in use, such as "cubic".
	Congestion string
	// Tos is the TOS byte of its IPv4 packets, the traffic class of its IPv6 packets.
	Tos uint8
	// Interface is the network interface that the subflow is bound to; empty where it is not bound to any.
	Interface string
}

// A names cache keeps strings that come again and again, so that a listing need not make them anew.
type names map[string]string

// of is the text up to the first zero byte.
func (n *names) of(text *[16]byte) string {
	if text[0] == 0 {
		return ""
	}
	return n.keep(text[:])
}

func (n *names) keep(text []byte) string {
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	if known, ok := (*n)[string(text)]; ok {
		return known
	}
	// There are few congestion controls and interfaces; this only holds up the growth where interfaces come and go.
	const most = 64
	if *n == nil || len(*n) >= most {
		*n = make(names)
	}
	name := string(text)
	(*n)[name] = name
	return name
}

// decode fills in one subflow from the library's. Field by field: a composite literal would be built on the side and copied.
func (s *Subflow) decode(c *capi.Subflow, n *names) {
	s.Id = c.Id
	s.Local = c.Local.AddrPort()
	s.Remote = c.Remote.AddrPort()
	s.State = TCPState(c.State)
	s.RttUs = c.RttUs
	s.RttvarUs = c.RttvarUs
	s.SndCwnd = c.SndCwnd
	s.Mss = c.Mss
	s.BytesSent = c.BytesSent
	s.BytesAcked = c.BytesAcked
	s.BytesReceived = c.BytesReceived
	s.BytesRetrans = c.BytesRetrans
	s.Retransmits = c.Retransmits
	s.Unacked = c.Unacked
	s.DeliveryRate = c.DeliveryRate
	s.LastAckMs = c.LastAckMs
	s.Initial = c.Initial != 0
	s.Detailed = c.Flags&capi.Detail != 0
	s.Backup = c.Backup != 0
	s.BackupByPeer = c.BackupByPeer != 0
	s.LocalId = c.LocalId
	s.RemoteId = c.RemoteId
	s.FullyEstablished = c.FullyEstablished != 0
	s.Congestion = n.of(&c.Congestion)
	s.Tos = c.Tos
	s.Interface = n.of(&c.Interface)
}

// String is the subflow in one line, for logs: its id, addresses, state and round-trip time.
func (s Subflow) String() string {
	return fmt.Sprintf("%d %s -> %s %s rtt %d us", s.Id, s.Local, s.Remote, s.State, s.RttUs)
}
