// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"fmt"
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// Status is what a socket is now. It is never judged by TCP_INFO, which describes the first subflow even when that one is
// dead.
type Status int

const (
	// StatusUnconnected is an MPTCP socket without a connection: fresh, connecting, listening, or its connection is over.
	StatusUnconnected Status = capi.StatusUnconnected
	// StatusMptcp is a connection that speaks MPTCP.
	StatusMptcp Status = capi.StatusMptcp
	// StatusFallback is an MPTCP socket whose connection speaks plain TCP: the peer or the path did not carry MPTCP.
	StatusFallback Status = capi.StatusFallback
	// StatusTcp is a plain TCP socket (protocol 6), such as one accepted from a plain TCP peer.
	StatusTcp Status = capi.StatusTcp
)

var statusNames = [...]string{
	StatusUnconnected: "unconnected",
	StatusMptcp:       "mptcp",
	StatusFallback:    "fallback",
	StatusTcp:         "tcp",
}

// String is the word used in every language: "unconnected", "mptcp", "fallback", "tcp".
func (s Status) String() string {
	if s >= 0 && int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", int(s))
}

// PathManager is who decides which subflows a connection has. It is fixed when the socket is made; of an accepted one,
// at the handshake.
type PathManager uint32

const (
	// PathManagerUnknown: it cannot be known. There is no connection, it is in another network namespace, or the kernel is
	// older than 6.9.
	PathManagerUnknown PathManager = capi.PathManagerUnknown
	// PathManagerKernel: the kernel, by the endpoints and limits of the network namespace.
	PathManagerKernel PathManager = capi.PathManagerKernel
	// PathManagerUserspace: programs, that is the application through this library, or a daemon.
	PathManagerUserspace PathManager = capi.PathManagerUserspace
)

var pathManagerNames = [...]string{
	PathManagerUnknown:   "unknown",
	PathManagerKernel:    "kernel",
	PathManagerUserspace: "userspace",
}

// String is the word used in every language: "unknown", "kernel", "userspace".
func (p PathManager) String() string {
	if int64(p) < int64(len(pathManagerNames)) {
		return pathManagerNames[p]
	}
	return fmt.Sprintf("PathManager(%d)", uint32(p))
}

// Info is a connection as a whole; all counters are from one moment.
type Info struct {
	// Token is the local token; 0 without a connection. Public knowledge, no secret: any user can see it.
	Token uint32
	// Subflows is how many live subflows there are, the initial one included.
	Subflows uint32
	// BytesSent counts the bytes of the application's stream that were sent, without repeats. Like the next three it is of
	// the whole connection since Linux 6.5, and on older kernels the sum over the live subflows.
	BytesSent uint64
	// BytesReceived counts the bytes of the stream that arrived.
	BytesReceived uint64
	// BytesAcked counts the bytes of the stream that the peer acknowledged.
	BytesAcked uint64
	// BytesRetrans counts the bytes sent again, on whatever subflow.
	BytesRetrans uint64
	// Retransmits is how often the connection itself sent data again on another subflow; not the subflows' own
	// retransmissions.
	Retransmits uint32
	// Fallback is true of a connection that is falling back to TCP. Once it has, asking for Info is ErrFellBack.
	Fallback bool
	// ServerSide is true where the peer opened the connection.
	ServerSide bool
	// ServerSideKnown is false where ServerSide cannot be known (any more): the initial subflow is gone, or the kernel does
	// not show it (before 6.15 without CAP_NET_ADMIN).
	ServerSideKnown bool
	// PathManager is who runs the subflows of this connection.
	PathManager PathManager
}

func infoOf(c *capi.Info) Info {
	return Info{
		Token:           c.Token,
		Subflows:        c.Subflows,
		BytesSent:       c.BytesSent,
		BytesReceived:   c.BytesReceived,
		BytesAcked:      c.BytesAcked,
		BytesRetrans:    c.BytesRetrans,
		Retransmits:     c.Retransmits,
		Fallback:        c.Fallback != 0,
		ServerSide:      c.ServerSide > 0,
		ServerSideKnown: c.ServerSide >= 0,
		PathManager:     PathManager(c.PathManager),
	}
}

// Features is what this kernel offers to this process in the network namespace of the calling thread.
type Features struct {
	// Mptcp: MPTCP sockets can be made.
	Mptcp bool
	// SocketErrno is the errno with which the kernel refuses them; 0 where it does not.
	SocketErrno syscall.Errno
	// Info: connections can be read (MPTCP_INFO, Linux 5.16).
	Info bool
	// FullInfo: subflows have the kernel's own ids, and one call lists them (MPTCP_FULL_INFO, Linux 6.5).
	FullInfo bool
	// Detail: sock_diag answers, so Conn.SubflowsDetail works.
	Detail bool
	// PathManagerKnown: the path manager of a connection can be told (Linux 6.9).
	PathManagerKnown bool
	// NetAdmin: this process may control the connections of its network namespace (CAP_NET_ADMIN there).
	NetAdmin bool
	// SubflowOptions: the BPF program is loaded that reads and sets options of one subflow (mptcpapi load-bpf).
	SubflowOptions bool
	// Agent: an agent answers, which controls connections for processes without privilege (mptcpapi agent).
	Agent bool
	// PathManager is the one that new connections of this network namespace get.
	PathManager PathManager
	// Hint is what to do about a refusal to make MPTCP sockets; empty where there is none.
	Hint string
}

// Probe tries each feature once. It sends no packet, changes nothing and needs no privilege. Any kernel will do: what it
// lacks is a field that is false.
//
// Errors: EMFILE and the like, as *OpError; ErrUnsupported in a program built without cgo.
func Probe() (Features, error) {
	var c capi.Features
	var detail capi.Error
	if capi.Probe(&c, &detail) < 0 {
		return Features{}, opError(&detail)
	}
	return Features{
		Mptcp:            c.Mptcp != 0,
		SocketErrno:      syscall.Errno(c.SocketErrno),
		Info:             c.Info != 0,
		FullInfo:         c.FullInfo != 0,
		Detail:           c.Detail != 0,
		PathManagerKnown: c.PathManagerKnown != 0,
		NetAdmin:         c.NetAdmin != 0,
		SubflowOptions:   c.SubflowOptions != 0,
		Agent:            c.Agent != 0,
		PathManager:      PathManager(c.PathManager),
		Hint:             capi.Text(c.Hint[:]),
	}, nil
}

// Version is the version of the library that is linked, such as "0.1.0"; empty in a program built without cgo.
func Version() string {
	return capi.LibraryVersion()
}
