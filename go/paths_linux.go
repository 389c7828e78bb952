// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// pathWatch is one call of PathEvents.
type pathWatch struct {
	ctx    context.Context
	watch  capi.PathWatch
	file   *os.File // the watch's descriptor, in Go's poller
	events chan PathEvent
}

func (c *Conn) pathEvents(ctx context.Context, op string, options PathOptions) (<-chan PathEvent, error) {
	flags := 0
	if options.ExpectData {
		flags = capi.ExpectData
	}
	w := &pathWatch{ctx: ctx, events: make(chan PathEvent)}
	err := c.control(op, func(fd int, e *capi.Error) int {
		return w.watch.New(fd, stallLimit(options.Stall), flags, e)
	})
	if err != nil {
		return nil, err
	}
	file, raw, err := pollable(op, w.watch.Fd())
	if err != nil {
		w.watch.Free()
		return nil, err
	}
	w.file = file
	go w.run(raw)
	return w.events, nil
}

// stallLimit is the limit for the library: in milliseconds, -1 for its default, 0 for none.
func stallLimit(stall time.Duration) int {
	switch {
	case stall == 0:
		return -1
	case stall < 0:
		return 0
	case stall > math.MaxInt32*time.Millisecond:
		return math.MaxInt32
	default:
		return int((stall + time.Millisecond - 1) / time.Millisecond)
	}
}

// run hands the events out until the connection is over or ctx ends.
func (w *pathWatch) run(raw syscall.RawConn) {
	ended := make(chan struct{})
	stop := afterDone(w.ctx, func() {
		defer close(ended)
		// Wakes Read. It could only fail on a closed file.
		_ = w.file.SetReadDeadline(time.Unix(1, 0))
	})
	_ = raw.Read(func(uintptr) bool { return !w.handOut() })
	if !stop() {
		<-ended
	}
	w.watch.Free()
	w.file.Close()
	close(w.events)
}

// handOut hands out what there is; false when the connection is over or ctx has ended.
func (w *pathWatch) handOut() bool {
	var event capi.PathEvent
	for w.watch.Next(&event) > 0 {
		select {
		case w.events <- pathEventOf(&event):
			if event.Kind == capi.PathEventClosed {
				return false
			}
		case <-w.ctx.Done():
			return false
		}
	}
	return w.ctx.Err() == nil
}
