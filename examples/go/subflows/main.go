// SPDX-License-Identifier: MIT OR Apache-2.0

// Command subflows connects to HOST:PORT over MPTCP and prints the subflows of the connection.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"text/tabwriter"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: subflows HOST:PORT")
	}
	conn, err := mptcpapi.Dial(context.Background(), "tcp", os.Args[1])
	check(err)
	defer conn.Close()
	// The kernel makes further subflows when the first data has been exchanged.
	fmt.Fprintln(conn, "hold")
	time.Sleep(200 * time.Millisecond)

	view, err := mptcpapi.From(conn)
	check(err)
	subflows, err := view.Subflows()
	check(err)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "id\tlocal\tremote\tstate\trtt us\tsent\treceived")
	for _, s := range subflows {
		fmt.Fprintln(table, s.Id, "\t", s.Local, "\t", s.Remote, "\t", s.State, "\t", s.RttUs, "\t", s.BytesSent, "\t", s.BytesReceived)
	}
	check(table.Flush())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
