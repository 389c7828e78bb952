// SPDX-License-Identifier: MIT OR Apache-2.0

// The same work through the Go package. A measured program: program.h has the protocol.
package main

import (
	"bufio"
	"fmt"
	"os"
	"testing"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

func line(s *mptcpapi.Subflow) string {
	initial := 0
	if s.Initial {
		initial = 1
	}
	return fmt.Sprintf("%d,%s,%s,%s,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d,%d ", s.Id, s.Local, s.Remote, s.State, s.RttUs,
		s.RttvarUs, s.SndCwnd, s.Mss, s.BytesSent, s.BytesAcked, s.BytesReceived, s.BytesRetrans, s.Retransmits, s.Unacked,
		s.DeliveryRate, initial)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// views keeps one view per descriptor: From takes whatever lends one.
type views map[int]*mptcpapi.Conn

func (v views) of(fd int) *mptcpapi.Conn {
	if v[fd] == nil {
		view, err := mptcpapi.From(os.NewFile(uintptr(fd), "connection"))
		must(err)
		v[fd] = view
	}
	return v[fd]
}

func measure(view *mptcpapi.Conn, calls int) (time.Duration, int) {
	var subflows []mptcpapi.Subflow
	var err error
	// The caches have forgotten us while other programs ran.
	for call := 0; call <= calls/8; call++ {
		subflows, err = view.AppendSubflows(subflows[:0])
		must(err)
	}
	start := time.Now()
	for call := 0; call < calls; call++ {
		subflows, err = view.AppendSubflows(subflows[:0])
		must(err)
	}
	return time.Since(start), len(subflows)
}

// allocations counts those of one call with a slice that is used again.
func allocations(view *mptcpapi.Conn) float64 {
	subflows, err := view.AppendSubflows(nil)
	must(err)
	return testing.AllocsPerRun(1000, func() {
		subflows, err = view.AppendSubflows(subflows[:0])
		must(err)
	})
}

func main() {
	known := views{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var fd, calls int
		if _, err := fmt.Sscanf(in.Text(), "show list %d", &fd); err == nil {
			subflows, err := known.of(fd).Subflows()
			must(err)
			for i := range subflows {
				fmt.Print(line(&subflows[i]))
			}
			fmt.Println()
		} else if _, err := fmt.Sscanf(in.Text(), "allocations %d", &fd); err == nil {
			fmt.Println(allocations(known.of(fd)))
		} else {
			_, err := fmt.Sscanf(in.Text(), "list %d %d", &fd, &calls)
			must(err)
			elapsed, count := measure(known.of(fd), calls)
			fmt.Println(elapsed.Nanoseconds(), count)
		}
	}
}
