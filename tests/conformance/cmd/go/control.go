// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// The second table of the contract.
func init() {
	for name, command := range map[string]command{
		"connectapp":    {3, connectApp},
		"open":          {-1, open},
		"closesubflow":  {2, withId((*mptcpapi.Conn).CloseSubflow)},
		"resetsubflow":  {2, withId((*mptcpapi.Conn).ResetSubflow)},
		"abandon":       {2, withId((*mptcpapi.Conn).AbandonSubflow)},
		"backup":        {3, backup},
		"announce":      {2, announce},
		"withdraw":      {2, withdraw},
		"monitor":       {1, monitor},
		"monitoradd":    {2, noSuchCommand},
		"monitorremove": {2, noSuchCommand},
		"source":        {1, source},
		"event":         {2, event},
		"pathwatch":     {3, pathWatch},
		"pathevent":     {2, pathEvent},
	} {
		commands[name] = command
	}
}

func connectApp(words []string) (interface{}, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	address := net.JoinHostPort(words[1], words[2])
	c, err := mptcpapi.Dial(ctx, "tcp", address, mptcpapi.WithControl(mptcpapi.ControlApp))
	if err != nil {
		return nil, err
	}
	put(words[0], c)
	return nil, nil
}

// addressOf is an address with a port, or without.
func addressOf(word string) (netip.AddrPort, error) {
	if address, err := netip.ParseAddrPort(word); err == nil {
		return address, nil
	}
	ip, err := netip.ParseAddr(word)
	if err != nil {
		return netip.AddrPort{}, errUsage
	}
	return netip.AddrPortFrom(ip, 0), nil
}

func open(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	var wanted mptcpapi.Open
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "local":
			wanted.Local, err = addressOf(value)
		case "remote":
			wanted.Remote, err = addressOf(value)
		case "backup":
			wanted.Backup = value == "1"
		case "interface":
			wanted.Interface = value
		case "timeout":
			limit, failure := time.ParseDuration(value + "s")
			timed, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			ctx, err = timed, failure
		case "option":
			var option mptcpapi.SubflowOption
			option, err = optionOf("0," + value)
			wanted.Options = append(wanted.Options, option)
		default:
			err = errUsage
		}
		if err != nil {
			return nil, errUsage
		}
	}
	subflow, err := v.OpenSubflow(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return subflowObject(&subflow), nil
}

// withId is a call that takes a subflow's id.
func withId(call func(*mptcpapi.Conn, uint32) error) func(words []string) (interface{}, error) {
	return func(words []string) (interface{}, error) {
		v, id, err := viewAndNumber(words, 32)
		if err != nil {
			return nil, err
		}
		return nil, call(v, uint32(id))
	}
}

func viewAndNumber(words []string, bits int) (*mptcpapi.Conn, uint64, error) {
	n, err := strconv.ParseUint(words[1], 10, bits)
	if err != nil {
		return nil, 0, errUsage
	}
	v, err := view(words[0])
	return v, n, err
}

func backup(words []string) (interface{}, error) {
	v, id, err := viewAndNumber(words, 32)
	if err != nil {
		return nil, err
	}
	return nil, v.SetBackup(uint32(id), words[2] == "1")
}

func announce(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	address, err := addressOf(words[1])
	if err != nil {
		return nil, err
	}
	return v.Announce(address)
}

func withdraw(words []string) (interface{}, error) {
	v, id, err := viewAndNumber(words, 8)
	if err != nil {
		return nil, err
	}
	return nil, v.Withdraw(uint8(id))
}

var (
	monitors = map[string]<-chan mptcpapi.Event{}
	watches  = map[string]<-chan mptcpapi.PathEvent{}
)

func monitor(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	events, err := v.Events(context.Background())
	if err != nil {
		return nil, err
	}
	monitors[words[0]] = events
	return nil, nil
}

func source(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	s, err := v.EventSource()
	return s.String(), err
}

// milliseconds is a channel that ends a wait.
func milliseconds(word string) (<-chan time.Time, error) {
	n, err := count(word)
	return time.After(time.Duration(n) * time.Millisecond), err
}

func event(words []string) (interface{}, error) {
	events, ok := monitors[words[0]]
	late, err := milliseconds(words[1])
	if err != nil || !ok {
		return nil, errUsage
	}
	select {
	case e, ok := <-events:
		if ok {
			return eventObject(&e), nil
		}
		// After the last event there is no other.
		<-late
	case <-late:
	}
	return nil, nil
}

func eventObject(e *mptcpapi.Event) object {
	var last interface{}
	if e.Last != nil {
		last = subflowObject(e.Last)
	}
	return object{
		"kind": e.Kind.String(), "token": e.Token, "subflow": orNull(e.Subflow != 0, e.Subflow),
		"local": orNull(e.Local.IsValid(), e.Local.String()), "remote": orNull(e.Remote.IsValid(), e.Remote.String()),
		"errno": int(e.Errno), "reset_reason": orNull(e.ResetReason >= 0, e.ResetReason),
		"address_id": orNull(e.AddressId >= 0, e.AddressId),
		"backup":     orNull(e.Kind == mptcpapi.EventPriorityChanged, e.Backup), "last": last, "polled": e.Polled,
	}
}

func pathWatch(words []string) (interface{}, error) {
	v, limit, err := viewAndNumber(words, 31)
	if err != nil {
		return nil, err
	}
	options := mptcpapi.PathOptions{Stall: time.Duration(limit) * time.Millisecond, ExpectData: words[2] == "1"}
	if limit == 0 {
		options.Stall = -1
	}
	events, err := v.PathEvents(context.Background(), options)
	if err != nil {
		return nil, err
	}
	watches[words[0]] = events
	return nil, nil
}

func pathEvent(words []string) (interface{}, error) {
	events, ok := watches[words[0]]
	late, err := milliseconds(words[1])
	if err != nil || !ok {
		return nil, errUsage
	}
	select {
	case e, open := <-events:
		if !open {
			return nil, nil
		}
		return object{
			"kind": e.Kind.String(), "subflow": orNull(e.Subflow != 0, e.Subflow),
			"local": orNull(e.Local.IsValid(), e.Local.String()), "interface": orNull(e.Interface != "", e.Interface),
		}, nil
	case <-late:
		return nil, nil
	}
}
