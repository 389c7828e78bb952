// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo || !linux

package mptcpapi_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
	"github.com/mptcpapi/mptcpapi/go/paper"
)

// Without cgo every call says so, and none panics.
func TestStub(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx := context.Background()
	address := listener.Addr().String()
	calls := map[string]func() error{
		"dial":   func() error { _, err := mptcpapi.Dial(ctx, "tcp", address); return err },
		"listen": func() error { _, err := mptcpapi.Listen(ctx, "tcp", "127.0.0.1:0"); return err },
		"connection": func() error {
			view, err := mptcpapi.From(listener.(*net.TCPListener))
			if view != nil {
				t.Error("there is a view")
			}
			return err
		},
		"features":    func() error { _, err := mptcpapi.Probe(); return err },
		"get_sub_ids": func() error { _, err := paper.GetSubIDs(listener.(*net.TCPListener)); return err },
		"getsockopt": func() error {
			_, err := paper.Getsockopt(listener.(*net.TCPListener), paper.MPTCP_GET_SUB_IDS, make([]byte, 64))
			return err
		},
	}
	for op, call := range calls {
		err := call()
		var opError *mptcpapi.OpError
		if !errors.As(err, &opError) || opError.Op != op {
			t.Errorf("%s: %+v", op, err)
			continue
		}
		if !errors.Is(err, mptcpapi.ErrUnsupported) || !errors.Is(err, syscall.ENOSYS) ||
			!strings.Contains(opError.Hint, "built without cgo") || !strings.Contains(err.Error(), opError.Hint) {
			t.Errorf("%s: %v", op, err)
		}
	}
	var view *mptcpapi.Conn
	if _, err := view.Subflows(); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
	if paper.StockOptions(true) || paper.StockOptions(true) {
		t.Error("stock options without a library")
	}
	if mptcpapi.Version() != "" || mptcpapi.StatusMptcp.String() != "mptcp" {
		t.Error("version or words")
	}
}
