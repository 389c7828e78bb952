// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// EventKind is what has happened to a connection.
type EventKind uint32

const (
	// EventEstablished: data has flowed, so the connection can be joined now.
	EventEstablished EventKind = capi.EventEstablished
	// EventSubflowEstablished: a subflow has come.
	EventSubflowEstablished EventKind = capi.EventSubflowEstablished
	// EventSubflowClosed: a subflow has gone.
	EventSubflowClosed EventKind = capi.EventSubflowClosed
	// EventPriorityChanged: the peer wants a subflow to be a backup, or not any more.
	EventPriorityChanged EventKind = capi.EventPriorityChanged
	// EventAddressAnnounced: the peer offers an address.
	EventAddressAnnounced EventKind = capi.EventAddressAnnounced
	// EventAddressRemoved: the peer takes an address back.
	EventAddressRemoved EventKind = capi.EventAddressRemoved
	// EventFallback: the connection speaks plain TCP from now on. The last event of a connection.
	EventFallback EventKind = capi.EventFallback
	// EventClosed: the connection is over. The last event of a connection.
	EventClosed EventKind = capi.EventClosed
	// EventResynced: the kernel dropped events; what had changed was found out by a listing and told as ordinary events
	// before this one.
	EventResynced EventKind = capi.EventResynced
)

var eventKindNames = [...]string{
	EventEstablished:        "established",
	EventSubflowEstablished: "subflow_established",
	EventSubflowClosed:      "subflow_closed",
	EventPriorityChanged:    "priority_changed",
	EventAddressAnnounced:   "address_announced",
	EventAddressRemoved:     "address_removed",
	EventFallback:           "fallback",
	EventClosed:             "closed",
	EventResynced:           "resynced",
}

// String is the word used in every language: "subflow_established" and so on.
func (k EventKind) String() string {
	return nameOf("EventKind", eventKindNames[:], uint32(k))
}

// nameOf is the word for a number; those without one are shown as such.
func nameOf(kind string, names []string, number uint32) string {
	if int64(number) < int64(len(names)) && names[number] != "" {
		return names[number]
	}
	return fmt.Sprintf("%s(%d)", kind, number)
}

// EventSource is where the events of a connection come from.
type EventSource uint32

const (
	// EventsFromNetlink: the kernel tells of each change (generic netlink mptcp_pm_events). Needs CAP_NET_ADMIN in the
	// network namespace.
	EventsFromNetlink EventSource = capi.SourceNetlink
	// EventsFromPolling: listings are compared ten times a second. What comes and goes in between is not seen, and reasons
	// are unknown. All that is left without privilege.
	EventsFromPolling EventSource = capi.SourcePolling
)

var eventSourceNames = [...]string{EventsFromNetlink: "netlink", EventsFromPolling: "polling"}

// String is the word used in every language: "netlink", "polling".
func (s EventSource) String() string {
	return nameOf("EventSource", eventSourceNames[:], uint32(s))
}

// Event is one event of one connection.
type Event struct {
	// Kind is what has happened. A newer library may tell kinds that have no constant here.
	Kind EventKind
	// Token is the local token of the connection.
	Token uint32
	// Subflow is the subflow's id; 0 of events of no subflow, and of one that came and went before it could be listed.
	Subflow uint32
	// Local is the subflow's local address; not valid where there is none.
	Local netip.AddrPort
	// Remote is the subflow's remote address, or the announced address; not valid where there is none.
	Remote netip.AddrPort
	// Errno is why a subflow closed, as ECONNABORTED (closed here) or ECONNRESET (by the peer); 0 where unknown.
	Errno syscall.Errno
	// ResetReason is the reason of the peer's reset (RFC 8684 section 3.6); -1 where there is none.
	ResetReason int32
	// AddressId is the peer's address id, of announcements; -1 of other events.
	AddressId int16
	// Backup is what the peer asked for, of EventPriorityChanged.
	Backup bool
	// Last has the last statistics that were seen of a closed subflow; nil where there are none.
	Last *Subflow
	// Polled: found by comparing two listings, not told by the kernel. The event is older than that by up to 100 ms.
	Polled bool
}

// Events tells what happens to the connection from now on. The connection must be connected, or connecting.
//
// The channel is closed when ctx ends, and behind the last event: EventClosed or EventFallback. No event is lost between
// the return of Events and the first receive, and none where the reader is slow: what it has not received is kept in memory
// without a limit, so receive until the channel is closed, or end ctx. Events of other connections do not wait for it.
// Where the kernel itself drops events, EventResynced tells. Each call has a channel of its own with all events.
//
// The connection is not kept open. It may be closed, and then there is EventClosed.
//
// All connections of a process share one netlink socket and one goroutine per network namespace, from the first call
// until the last channel is closed; the goroutine waits in Go's poller and holds no thread. Each reader that lags behind
// has one more, until it has caught up. Before Go 1.21 each context takes one too.
//
// Needs no privilege, but see Conn.EventSource. Linux 5.16.
//
// Errors: ErrNotReady on an unconnected or listening socket; ErrNotMptcp; ErrFellBack; EMFILE and the like; EBADF and
// net.ErrClosed where the connection is closed; the error of a ctx that has ended.
//
// Source: generic netlink mptcp_pm_events; without CAP_NET_ADMIN, MPTCP_FULL_INFO.
func (c *Conn) Events(ctx context.Context) (<-chan Event, error) {
	const op = "monitor"
	if err := c.usableUntil(ctx, op); err != nil {
		return nil, err
	}
	return c.events(ctx, op)
}

// EventSource is where the events of this connection come from, or would. Cheap while the connection is watched.
//
// Errors: as Events.
func (c *Conn) EventSource() (EventSource, error) {
	const op = "monitor"
	if err := c.usable(op); err != nil {
		return 0, err
	}
	return c.eventSource(op)
}

// eventOf translates the library's event.
func eventOf(c *capi.Event, n *names) Event {
	event := Event{
		Kind:        EventKind(c.Kind),
		Token:       c.Token,
		Subflow:     c.Subflow,
		Local:       c.Local.AddrPort(),
		Remote:      c.Remote.AddrPort(),
		Errno:       syscall.Errno(c.Error),
		ResetReason: c.ResetReason,
		AddressId:   c.AddressId,
		Backup:      c.Backup > 0,
		Polled:      c.Polled != 0,
	}
	if c.Last.Id != 0 {
		event.Last = new(Subflow)
		event.Last.decode(&c.Last, n)
	}
	return event
}

// String is the event in one line, for logs.
func (e Event) String() string {
	text := e.Kind.String()
	if e.Subflow != 0 {
		text += fmt.Sprintf(" %d", e.Subflow)
	}
	if e.Local.IsValid() {
		text += " " + e.Local.String() + " ->"
	}
	if e.Remote.IsValid() {
		text += " " + e.Remote.String()
	}
	if e.AddressId >= 0 {
		text += fmt.Sprintf(" address id %d", e.AddressId)
	}
	if e.Errno != 0 {
		text += " (" + e.Errno.Error() + ")"
	}
	return text
}
