// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo && linux

package mptcpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"syscall"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

func Example() {
	conn, err := mptcpapi.Dial(context.Background(), "tcp", "server.example:443")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	view, err := mptcpapi.From(conn)
	if err != nil {
		log.Fatal(err)
	}
	subflows, err := view.Subflows()
	if errors.Is(err, mptcpapi.ErrFellBack) {
		log.Fatal("the server does not speak MPTCP")
	} else if err != nil {
		log.Fatal(err)
	}
	for _, s := range subflows {
		fmt.Println(s.Id, s.Local, s.Remote, s.RttUs)
	}
}

// A view never panics and never guesses: what is not an MPTCP connection is an error.
func ExampleFrom() {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		log.Fatal(err)
	}
	defer socket.Close()
	view, err := mptcpapi.From(socket)
	if errors.Is(err, mptcpapi.ErrUnsupported) {
		return // built without cgo
	} else if err != nil {
		log.Fatal(err)
	}
	_, err = view.Subflows()
	fmt.Println(errors.Is(err, mptcpapi.ErrNotMptcp), errors.Is(err, syscall.EOPNOTSUPP))
	// Output: true true
}

func ExampleConn_AppendSubflows() {
	var view *mptcpapi.Conn // from From
	var subflows []mptcpapi.Subflow
	for {
		var err error
		if subflows, err = view.AppendSubflows(subflows[:0]); err != nil {
			break // net.ErrClosed, once the connection is closed
		}
		for _, s := range subflows {
			fmt.Println(s)
		}
	}
}
