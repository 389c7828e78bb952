// SPDX-License-Identifier: MIT OR Apache-2.0

// Command handover is a download that survives its path:
//
//	handover HOST PORT SECOND_LOCAL SECOND_REMOTE BYTES [alone]
//
// When the path of the connection fails, a subflow is opened over another one and the dead one is left. With "alone",
// what the kernel does by itself.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// watch waits until the path of a subflow fails, and moves the connection to the second path. It answers what was noticed,
// or nil where ctx ended before.
func watch(ctx context.Context, conn *net.TCPConn, local, remote netip.Addr) (*string, error) {
	view, err := mptcpapi.From(conn)
	if err != nil {
		return nil, err
	}
	paths, err := view.PathEvents(ctx, mptcpapi.PathOptions{Stall: 50 * time.Millisecond, ExpectData: true})
	if err != nil {
		return nil, err
	}
	for event := range paths {
		if event.Subflow == 0 || event.Kind == mptcpapi.PathResumed {
			continue
		}
		noticed := time.Now()
		log.Printf("subflow %d: %v", event.Subflow, event.Kind)
		// Make, then break: the peer is told on the new path to leave the old one.
		opened, err := view.OpenSubflow(ctx, mptcpapi.Open{
			Local:  netip.AddrPortFrom(local, 0),
			Remote: netip.AddrPortFrom(remote, 0),
		})
		if err != nil {
			return nil, err
		}
		log.Printf("subflow %d opened after %.1f ms", opened.Id, ms(time.Since(noticed)))
		if err := view.AbandonSubflow(event.Subflow); err != nil {
			return nil, err
		}
		log.Printf("subflow %d left after %.1f ms", event.Subflow, ms(time.Since(noticed)))
		kind := event.Kind.String()
		return &kind, nil
	}
	return nil, nil
}

// download reads the stream to its end: its length, its hash, and the longest time without a byte.
func download(stream io.Reader) (total int, hash string, gap time.Duration, err error) {
	sum := sha256.New()
	buffer := make([]byte, 65536)
	var last time.Time
	for {
		count, err := stream.Read(buffer)
		if now := time.Now(); count > 0 {
			if waited := now.Sub(last); total > 0 && waited > gap {
				gap = waited
			}
			last = now
		}
		sum.Write(buffer[:count])
		total += count
		if err == io.EOF {
			return total, hex.EncodeToString(sum.Sum(nil)), gap, nil
		}
		if err != nil {
			return total, "", gap, err
		}
	}
}

func ms(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

func main() {
	log.SetFlags(0)
	alone := len(os.Args) == 7 && os.Args[6] == "alone"
	if len(os.Args) != 6 && !alone {
		log.Fatal("usage: handover HOST PORT SECOND_LOCAL SECOND_REMOTE BYTES [alone]")
	}
	local, err := netip.ParseAddr(os.Args[3])
	check(err)
	remote, err := netip.ParseAddr(os.Args[4])
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	control := mptcpapi.ControlApp
	if alone {
		control = mptcpapi.ControlDefault
	}
	conn, err := mptcpapi.Dial(ctx, "tcp", net.JoinHostPort(os.Args[1], os.Args[2]), mptcpapi.WithControl(control))
	check(err)
	_, err = fmt.Fprintf(conn, "source %s\n", os.Args[5])
	check(err)

	var noticed *string
	watched := make(chan error, 1)
	if alone {
		watched <- nil
	} else {
		go func() {
			var err error
			noticed, err = watch(ctx, conn, local, remote)
			watched <- err
		}()
	}
	total, hash, gap, err := download(conn)
	check(err)
	cancel()
	check(<-watched)
	left := 0
	if view, err := mptcpapi.From(conn); err == nil {
		subflows, _ := view.Subflows()
		left = len(subflows)
	}
	check(conn.Close())
	check(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"bytes": total, "sha256": hash, "longest_gap_ms": ms(gap), "noticed": noticed, "subflows_at_the_end": left,
	}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
