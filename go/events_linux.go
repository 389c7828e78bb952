// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// dispatchers are one per network namespace in which connections are watched. The lock guards all that belongs to them,
// their subscriptions too. Nothing waits while it is held.
var dispatchers struct {
	sync.Mutex
	all []*dispatcher
}

// dispatcher hands the events of one C monitor out to the subscriptions, from the first until the last.
type dispatcher struct {
	monitor       capi.Monitor
	file          *os.File // the monitor's descriptor, in Go's poller
	subscriptions map[uint32][]*subscription
	over          bool
	event         capi.Event
	names         names
}

func (c *Conn) events(ctx context.Context, op string) (<-chan Event, error) {
	s := newSubscription(ctx)
	dispatchers.Lock()
	defer dispatchers.Unlock()
	s.stop = afterDone(ctx, s.cancelled)
	if err := c.subscribe(op, s); err != nil {
		s.stop()
		s.over, s.closed = true, true
		return nil, err
	}
	return s.events, nil
}

func (c *Conn) eventSource(op string) (EventSource, error) {
	s := newSubscription(context.Background())
	s.stop = func() bool { return true }
	dispatchers.Lock()
	defer dispatchers.Unlock()
	if err := c.subscribe(op, s); err != nil {
		return 0, err
	}
	source := EventSource(s.dispatcher.monitor.Source())
	s.leave()
	return source, nil
}

// subscribe lets s have the events of the connection from now on.
func (c *Conn) subscribe(op string, s *subscription) error {
	var failure error
	if err := c.raw.Control(func(fd uintptr) { failure = subscribe(op, s, int(fd)) }); err != nil {
		return notLent(op, err)
	}
	return failure
}

func subscribe(op string, s *subscription, fd int) error {
	// What was there before is not for the new one.
	for _, d := range append([]*dispatcher(nil), dispatchers.all...) {
		d.drain()
	}
	var detail capi.Error
	token := tokenOf(fd)
	for _, d := range dispatchers.all {
		if token != 0 && len(d.subscriptions[token]) > 0 {
			d.add(token, s)
			return nil
		}
	}
	for _, d := range dispatchers.all {
		result := d.monitor.Add(fd, &token, &detail)
		if result == -int(syscall.EXDEV) {
			continue
		}
		if result < 0 {
			return opError(&detail)
		}
		d.add(token, s)
		// The call may have fetched events of others, which nobody is told of any more.
		d.drain()
		return nil
	}
	d, err := newDispatcher(op, fd)
	if err != nil {
		return err
	}
	d.add(tokenOf(fd), s)
	return nil
}

// tokenOf is 0 for a socket that is not connected: the monitor will say what is wrong.
func tokenOf(fd int) uint32 {
	var info capi.Info
	var detail capi.Error
	if capi.ReadInfo(fd, &info, &detail) < 0 {
		return 0
	}
	return info.Token
}

func newDispatcher(op string, fd int) (*dispatcher, error) {
	d := &dispatcher{subscriptions: make(map[uint32][]*subscription)}
	var detail capi.Error
	if d.monitor.New(fd, &detail) < 0 {
		return nil, opError(&detail)
	}
	file, raw, err := pollable(op, d.monitor.Fd())
	if err != nil {
		d.monitor.Free()
		return nil, err
	}
	d.file = file
	dispatchers.all = append(dispatchers.all, d)
	go d.run(raw)
	return d, nil
}

func (d *dispatcher) add(token uint32, s *subscription) {
	s.dispatcher, s.token = d, token
	d.subscriptions[token] = append(d.subscriptions[token], s)
}

// run waits for events, and ends when the dispatcher is over.
func (d *dispatcher) run(raw syscall.RawConn) {
	// Read calls this again whenever the descriptor has become readable, until it answers true. Its error can only be the
	// deadline that end sets.
	_ = raw.Read(func(uintptr) bool {
		dispatchers.Lock()
		defer dispatchers.Unlock()
		d.drain()
		return d.over
	})
	d.monitor.Free()
	d.file.Close()
}

// drain hands out all events there are. What the library cannot read now (ENOMEM), it reads when it wakes next.
func (d *dispatcher) drain() {
	for !d.over && d.monitor.Next(&d.event) > 0 {
		token := d.event.Token
		event := eventOf(&d.event, &d.names)
		last := event.Kind == EventClosed || event.Kind == EventFallback
		for _, s := range d.subscriptions[token] {
			s.put(event)
			if last {
				s.end()
			}
		}
		if last {
			d.forget(token)
		}
	}
}

// forget watches a connection no more; without any the dispatcher is over.
func (d *dispatcher) forget(token uint32) {
	d.monitor.Remove(token)
	delete(d.subscriptions, token)
	if len(d.subscriptions) > 0 {
		return
	}
	d.over = true
	for i, other := range dispatchers.all {
		if other == d {
			dispatchers.all = append(dispatchers.all[:i], dispatchers.all[i+1:]...)
			break
		}
	}
	// Wakes run.
	_ = d.file.SetReadDeadline(time.Unix(1, 0))
}

// subscription is one call of Events.
type subscription struct {
	ctx        context.Context
	stop       func() bool // ctx is of no interest any more
	events     chan Event
	dispatcher *dispatcher
	token      uint32
	// backlog is what events had no room for. While a goroutine sends it, everything new goes behind it.
	backlog []Event
	sending bool
	over    bool // nothing more will come
	closed  bool // events is closed
}

func newSubscription(ctx context.Context) *subscription {
	// Room for the few events that come at once in the life of a connection.
	return &subscription{ctx: ctx, events: make(chan Event, 8)}
}

func (s *subscription) put(event Event) {
	if s.over {
		return
	}
	if !s.sending {
		select {
		case s.events <- event:
			return
		default:
		}
		s.sending = true
		go s.send()
	}
	s.backlog = append(s.backlog, event)
}

// send sends the backlog, and ends with it.
func (s *subscription) send() {
	for {
		dispatchers.Lock()
		batch := s.backlog
		s.backlog = nil
		if len(batch) == 0 {
			s.sending = false
			s.closeIfDone()
			dispatchers.Unlock()
			return
		}
		dispatchers.Unlock()
		if !s.sendAll(batch) {
			s.cancelled()
		}
	}
}

// sendAll is false where ctx ends first.
func (s *subscription) sendAll(batch []Event) bool {
	for _, event := range batch {
		select {
		case s.events <- event:
		case <-s.ctx.Done():
			return false
		}
	}
	return true
}

// cancelled is called when ctx has ended.
func (s *subscription) cancelled() {
	dispatchers.Lock()
	defer dispatchers.Unlock()
	s.backlog = nil
	s.leave()
}

// leave takes the subscription away from its dispatcher.
func (s *subscription) leave() {
	if s.over {
		return
	}
	d := s.dispatcher
	rest := make([]*subscription, 0, len(d.subscriptions[s.token]))
	for _, other := range d.subscriptions[s.token] {
		if other != s {
			rest = append(rest, other)
		}
	}
	d.subscriptions[s.token] = rest
	if len(rest) == 0 {
		d.forget(s.token)
	}
	s.end()
}

// end closes the channel, behind what is still to be sent.
func (s *subscription) end() {
	s.over = true
	s.stop()
	s.closeIfDone()
}

func (s *subscription) closeIfDone() {
	if s.over && !s.sending && !s.closed {
		s.closed = true
		close(s.events)
	}
}
