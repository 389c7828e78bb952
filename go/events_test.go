// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

func receive(t testing.TB, events <-chan mptcpapi.Event) mptcpapi.Event {
	t.Helper()
	select {
	case event, ok := <-events:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return event
	case <-time.After(patience):
		t.Fatal("no event")
		return mptcpapi.Event{}
	}
}

func next(t testing.TB, events <-chan mptcpapi.Event, kind mptcpapi.EventKind) mptcpapi.Event {
	t.Helper()
	event := receive(t, events)
	if event.Kind != kind {
		t.Fatalf("%v instead of %v", event, kind)
	}
	return event
}

// ends reads the channel until it is closed, and answers the kind of the last event.
func ends(t testing.TB, events <-chan mptcpapi.Event) (last mptcpapi.EventKind) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return last
			}
			last = event.Kind
		case <-late:
			t.Fatal("the channel is not closed")
		}
	}
}

func watched(t testing.TB, ctx context.Context, view *mptcpapi.Conn) <-chan mptcpapi.Event {
	t.Helper()
	events, err := view.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestEvents(t *testing.T) {
	dialApp(t)
	nothingLeft(t, func() {
		// Each round ends its connection.
		conn, view := dialApp(t)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		events, twin := watched(t, ctx, view), watched(t, context.Background(), view)
		if source, err := view.EventSource(); err != nil || source != mptcpapi.EventsFromNetlink {
			t.Error(source, err)
		}
		opened, err := view.OpenSubflow(soon(t), second(t))
		if err != nil {
			t.Fatal(err)
		}
		info, err := view.Info()
		if err != nil {
			t.Fatal(err)
		}
		for _, each := range []<-chan mptcpapi.Event{events, twin} {
			event := next(t, each, mptcpapi.EventSubflowEstablished)
			if event.Subflow != opened.Id || event.Local != opened.Local || event.Remote != opened.Remote ||
				event.Token != info.Token || event.Polled || event.Last != nil || event.AddressId != -1 {
				t.Errorf("%+v", event)
			}
		}
		cancel()
		if last := ends(t, events); last != 0 {
			t.Error(last, " behind the last event")
		}
		if err := view.CloseSubflow(opened.Id); err != nil {
			t.Error(err)
		}
		event := next(t, twin, mptcpapi.EventSubflowClosed)
		if event.Subflow != opened.Id || event.Last == nil || event.Last.Id != opened.Id || event.Last.Local != opened.Local {
			t.Errorf("%+v", event)
		}
		// The channel of a context that never ends: it is closed behind the last event, and does not keep the connection.
		conn.Close()
		if last := ends(t, twin); last != mptcpapi.EventClosed {
			t.Error(last)
		}
	})
}

func TestEventSourceLeavesNothing(t *testing.T) {
	_, view := dialApp(t)
	nothingLeft(t, func() {
		if source, err := view.EventSource(); err != nil || source.String() != "netlink" {
			t.Error(source, err)
		}
	})
}

func TestEventsWithoutPrivilege(t *testing.T) {
	nothingLeft(t, func() {
		// Each round ends its connection. Before it no subflow is to come any more: that would be an event.
		conn, view := allPaths(t)
		var events <-chan mptcpapi.Event
		withoutCapabilities(t, func() {
			events = watched(t, context.Background(), view)
			if source, err := view.EventSource(); err != nil || source != mptcpapi.EventsFromPolling {
				t.Error(source, err)
			}
		})
		conn.Close()
		event := receive(t, events)
		if event.Kind != mptcpapi.EventClosed || !event.Polled {
			t.Errorf("%+v", event)
		}
		ends(t, events)
	})
}

// openAndReset opens a subflow and closes it. The peer has a limit, and counts those that it has not
// done with.
func openAndReset(t testing.TB, view *mptcpapi.Conn) (opened mptcpapi.Subflow) {
	t.Helper()
	until(t, "the peer accepts a subflow", func() bool {
		var err error
		opened, err = view.OpenSubflow(soon(t), second(t))
		if err != nil && !errors.Is(err, mptcpapi.ErrRefused) {
			t.Fatal(err)
		}
		return err == nil
	})
	if err := view.ResetSubflow(opened.Id); err != nil {
		t.Fatal(err)
	}
	return opened
}

// A reader that does not read gets everything all the same, in order, and others do not wait for it.
func TestSlowReader(t *testing.T) {
	_, view := dialApp(t)
	_, quick := dialApp(t)
	nothingLeft(t, func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		slow, never, prompt := watched(t, ctx, view), watched(t, ctx, view), watched(t, ctx, view)
		quickly := watched(t, ctx, quick)
		var count int32
		seen := make(chan []mptcpapi.Event)
		go func() {
			var all []mptcpapi.Event
			for event := range prompt {
				all = append(all, event)
				atomic.AddInt32(&count, 1)
			}
			seen <- all
		}()
		open := make(map[netip.AddrPort]bool)
		for i := 0; i < 20; i++ {
			open[openAndReset(t, view).Local] = true
		}
		openAndReset(t, quick)
		next(t, quickly, mptcpapi.EventSubflowEstablished)
		var late []mptcpapi.Event
		for len(open) > 0 {
			event := receive(t, slow)
			late = append(late, event)
			if event.Kind == mptcpapi.EventSubflowClosed {
				delete(open, event.Local)
			}
		}
		until(t, "the prompt reader has them too", func() bool { return int(atomic.LoadInt32(&count)) >= len(late) })
		cancel()
		if have := <-seen; len(have) < len(late) || !reflect.DeepEqual(have[:len(late)], late) {
			t.Errorf("the slow reader has\n%v\nthe prompt one\n%v", late, have)
		}
		ends(t, never)
		ends(t, slow)
		ends(t, quickly)
	})
}

func TestEventsOfEndedContexts(t *testing.T) {
	_, view := dialApp(t)
	nothingLeft(t, func() {
		for i := 0; i < 1000; i++ {
			ctx, cancel := context.WithCancel(context.Background())
			events := watched(t, ctx, view)
			cancel()
			ends(t, events)
			if _, err := view.Events(ctx); err == nil {
				t.Fatal("the context had ended")
			}
		}
		// And all of them at the same time.
		ctx, cancel := context.WithCancel(context.Background())
		var all []<-chan mptcpapi.Event
		for i := 0; i < 1000; i++ {
			all = append(all, watched(t, ctx, view))
		}
		cancel()
		for _, events := range all {
			ends(t, events)
		}
	})
}

// subscribedSockets counts the netlink sockets of this process that are in a group of generic netlink.
func subscribedSockets(t testing.TB) int {
	t.Helper()
	mine := make(map[string]bool)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if link, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			mine[link] = true
		}
	}
	text, err := os.ReadFile("/proc/self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, line := range strings.Split(string(text), "\n")[1:] {
		fields := strings.Fields(line)
		if len(fields) < 10 {
			continue
		}
		protocol, groups, inode := fields[1], fields[3], fields[9]
		if protocol == "16" && strings.Trim(groups, "0") != "" && mine["socket:["+inode+"]"] {
			count++
		}
	}
	return count
}

func dispatcherGoroutines() int {
	for buffer := make([]byte, 1<<20); ; buffer = make([]byte, 2*len(buffer)) {
		if n := runtime.Stack(buffer, true); n < len(buffer) {
			return strings.Count(string(buffer[:n]), "(*dispatcher).run(")
		}
	}
}

// echoServer answers a byte with a byte, on as many connections as come.
func echoServer(t testing.TB) net.Listener {
	t.Helper()
	listener, err := mptcpapi.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	return listener
}

// Two thousand connections: one netlink socket, one goroutine, and every event reaches its channel.
func TestEventsOfManyConnections(t *testing.T) {
	_, first := dialApp(t)
	many := 2000
	if testing.Short() {
		many = 100
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < uint64(2*many+200) {
		skip(t, "too few descriptors")
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// Until the end of the test, however long that takes. The core may keep sockets for other uses.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watched(t, ctx, first)
	if have := subscribedSockets(t); have != 1 {
		t.Fatalf("%d subscribed sockets for the first", have)
	}
	listener := echoServer(t)
	defer listener.Close()
	type client struct {
		conn   *net.TCPConn
		view   *mptcpapi.Conn
		events <-chan mptcpapi.Event
	}
	clients := make([]client, many)
	for i := range clients {
		conn, err := mptcpapi.Dial(soon(t), "tcp", listener.Addr().String(), mptcpapi.WithControl(mptcpapi.ControlApp))
		if err != nil {
			t.Fatal(i, err)
		}
		defer conn.Close()
		view := from(t, conn)
		clients[i] = client{conn, view, watched(t, context.Background(), view)}
	}
	if have := subscribedSockets(t); have != 1 {
		t.Errorf("%d subscribed netlink sockets", have)
	}
	if have := dispatcherGoroutines(); have != 1 {
		t.Errorf("%d dispatchers", have)
	}
	for _, c := range clients {
		echo(t, c.conn, "!")
	}
	for i, c := range clients {
		event := next(t, c.events, mptcpapi.EventEstablished)
		if info, err := c.view.Info(); err != nil || info.Token != event.Token {
			t.Errorf("%d: %v of %d instead of %d: %v", i, event, event.Token, info.Token, err)
		}
	}
	for _, c := range clients {
		c.conn.Close()
	}
	for i, c := range clients {
		if last := ends(t, c.events); last != mptcpapi.EventClosed {
			t.Errorf("%d: the last is %v", i, last)
		}
	}
	if have := dispatcherGoroutines(); have != 1 {
		t.Errorf("%d dispatchers, and the first connection is still watched", have)
	}
}

func TestPathEvents(t *testing.T) {
	_, view := dialApp(t)
	opened, err := view.OpenSubflow(soon(t), second(t))
	if err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, func() {
		ctx, cancel := context.WithCancel(context.Background())
		paths, err := view.PathEvents(ctx, mptcpapi.PathOptions{})
		if err != nil {
			t.Fatal(err)
		}
		unread, err := view.PathEvents(ctx, mptcpapi.PathOptions{Stall: -1})
		if err != nil {
			t.Fatal(err)
		}
		lab(t, "link", "2", "down")
		defer lab(t, "link", "2", "up")
		event := <-paths
		if event.Kind != mptcpapi.PathLinkDown || event.Subflow != opened.Id || event.Interface != "path2" ||
			event.Local != path(t, "LAB_CLIENT_2").Addr() {
			t.Errorf("%+v", event)
		}
		cancel()
		for range paths {
		}
		// Nobody has read this one; it ends as well.
		time.Sleep(10 * time.Millisecond)
		for range unread {
		}
	})
}

func TestPathEventsOfEndedContexts(t *testing.T) {
	_, view := dialApp(t)
	nothingLeft(t, func() {
		for i := 0; i < 200; i++ {
			ctx, cancel := context.WithCancel(context.Background())
			paths, err := view.PathEvents(ctx, mptcpapi.PathOptions{Stall: time.Duration(i%3-1) * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				// Nothing but ctx wakes one without stalls: let it fall asleep.
				time.Sleep(5 * time.Millisecond)
			}
			cancel()
			for range paths {
			}
		}
	})
}
