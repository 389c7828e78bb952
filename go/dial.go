// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"net"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// Control is who is to run the subflows of a new connection.
type Control int

const (
	// ControlDefault: whoever the network namespace says; normally the kernel.
	ControlDefault Control = 0
	// ControlApp: this application, whatever the network namespace says. It needs CAP_NET_ADMIN in the network namespace, or
	// a namespace whose path manager is "userspace" already; without, Dial answers ErrPermissionDenied.
	ControlApp Control = capi.ControlApp
)

// Option is an option of Dial.
type Option func(*dialer)

// WithControl says who is to run the subflows. Where that cannot be had, Dial fails; it never falls back to the default.
func WithControl(control Control) Option {
	return func(d *dialer) { d.flags = int(control) }
}

// dialer is what one call of Dial was asked.
type dialer struct {
	network string
	// flags are those of the library's socket call.
	flags int
}

// Dial connects to address over MPTCP, as net.Dialer's DialContext does over TCP: the networks are "tcp", "tcp4" and "tcp6",
// the address is host:port, a name is looked up with net.DefaultResolver, its addresses are tried in turn within the
// deadline of ctx, both families beside each other if the first one does not answer at once (RFC 6555), and the
// connection has TCP_NODELAY and keep-alive on. Ending ctx afterwards does nothing to the connection.
//
// The connection speaks TCP where the peer or the path does not carry MPTCP, and where this kernel has no MPTCP for this
// process; Conn.Status tells. Needs no privilege, but for ControlApp. Any kernel will do, MPTCP needs Linux 5.6.
//
// Errors: *net.OpError with the errno inside, as net.Dial's: errors.Is(err, syscall.ECONNREFUSED). The end of ctx is
// context.Canceled, or a time-out that is ErrTimedOut, context.DeadlineExceeded and os.ErrDeadlineExceeded. What the
// library itself refused is an *OpError in it: ErrPermissionDenied for ControlApp, EMFILE and the like.
func Dial(ctx context.Context, network, address string, options ...Option) (*net.TCPConn, error) {
	d := dialer{network: network}
	for _, option := range options {
		if option != nil {
			option(&d)
		}
	}
	if err := unavailable("dial"); err != nil {
		return nil, err
	}
	return d.dial(ctx, address)
}

// Listen listens on address for MPTCP and plain TCP peers, as net.ListenConfig's Listen does for TCP: the networks are
// "tcp", "tcp4" and "tcp6"; without a host, or with the unspecified one, "tcp" listens on all addresses of both families;
// port 0 is the kernel's choice; SO_REUSEADDR is set. ctx ends the look-up of a name, nothing else.
//
// The listener is a *net.TCPListener, and the connections that it accepts are *net.TCPConn. Connections of peers that
// speak only TCP are plain TCP sockets: StatusTcp.
//
// Needs no privilege beyond what the port needs. Any kernel will do, MPTCP needs Linux 5.6.
//
// Errors: *net.OpError with the errno inside, as net.Listen's: errors.Is(err, syscall.EADDRINUSE).
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if err := unavailable("listen"); err != nil {
		return nil, err
	}
	return listen(ctx, network, address)
}
