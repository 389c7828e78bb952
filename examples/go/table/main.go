// SPDX-License-Identifier: MIT OR Apache-2.0

// Command table prints the subflows of a connection that was made elsewhere and inherited as a descriptor: table FD
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

func main() {
	number, err := strconv.Atoi(os.Args[len(os.Args)-1])
	check(err)
	view, err := mptcpapi.From(os.NewFile(uintptr(number), "connection"))
	check(err)
	subflows, err := view.Subflows()
	check(err)
	for _, s := range subflows {
		rtt := float64(s.RttUs) / 1000
		fmt.Printf("%3d  %-21v  %-21v  %-11v  %7.2f ms  %11d\n", s.Id, s.Local, s.Remote, s.State, rtt, s.BytesReceived)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
