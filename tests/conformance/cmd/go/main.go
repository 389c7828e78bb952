// SPDX-License-Identifier: MIT OR Apache-2.0

// The conformance command in Go; the contract is in tests/conformance/README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// timeLimit is that of connect.
const timeLimit = 5 * time.Second

// object is a JSON object.
type object map[string]interface{}

// failure is what goes into the answer under "error".
type failure struct {
	Kind      string  `json:"kind"`
	Errno     *int    `json:"errno"`
	Subflow   *uint32 `json:"subflow"`
	Operation string  `json:"operation"`
	Hint      bool    `json:"hint"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Println(answer(strings.Fields(lines.Text())))
	}
}

func answer(words []string) string {
	value, err := run(words)
	result := object{"ok": value}
	if err != nil {
		result = object{"error": describe(words, err)}
	}
	text, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var (
	errUsage         = errors.New("Usage")
	errNoSuchCommand = errors.New("NoSuchCommand")
)

func run(words []string) (interface{}, error) {
	if len(words) == 0 {
		return nil, errUsage
	}
	command, ok := commands[words[0]]
	given := len(words) - 1
	if !ok || given != command.words && (command.words >= 0 || given < -command.words) {
		return nil, errUsage
	}
	return command.run(words[1:])
}

func describe(words []string, err error) failure {
	var ours *mptcpapi.OpError
	if errors.As(err, &ours) {
		f := failure{Kind: ours.Kind.Name(), Errno: number(ours.Errno), Operation: ours.Op, Hint: ours.Hint != ""}
		if ours.Subflow != 0 {
			f.Subflow = &ours.Subflow
		}
		return f
	}
	f := failure{Kind: "Os"}
	if len(words) > 0 {
		f.Operation = words[0]
	}
	var errno syscall.Errno
	switch {
	case err == errUsage, err == errNoSuchCommand:
		f.Kind = err.Error()
	case errors.Is(err, mptcpapi.ErrTimedOut):
		f.Kind, f.Errno = mptcpapi.ErrTimedOut.Name(), number(syscall.ETIMEDOUT)
	case errors.Is(err, net.ErrClosed):
		f.Errno = number(syscall.EBADF)
	case errors.As(err, &errno):
		f.Errno = number(errno)
	default:
		fmt.Fprintln(os.Stderr, err)
	}
	return f
}

func number(errno syscall.Errno) *int {
	n := int(errno)
	return &n
}

// command is one line of the contract: how many words follow the name (-1: one or more), and what it does with them.
type command struct {
	words int
	run   func(words []string) (interface{}, error)
}

var commands = map[string]command{
	"version":   {0, func([]string) (interface{}, error) { return mptcpapi.Version(), nil }},
	"features":  {0, func([]string) (interface{}, error) { return features() }},
	"connect":   {3, connect},
	"socket":    {2, noSuchCommand},
	"begin":     {3, noSuchCommand},
	"listen":    {3, listen},
	"accept":    {2, accept},
	"send":      {2, func(words []string) (interface{}, error) { return send(words[0], []byte(words[1])) }},
	"sendzeros": {2, sendZeros},
	"recv":      {2, receive},
	"shutdown":  {1, shutdown},
	"close":     {1, closeSlot},
	"make":      {2, makeOther},
	"status":    {1, status},
	"info":      {1, info},
	"subflows":  {1, subflows},
	"detail":    {1, detail},
}

func noSuchCommand([]string) (interface{}, error) { return nil, errNoSuchCommand }

// socket is whatever a slot names.
type socket interface {
	syscall.Conn
	io.Closer
}

var slots = map[string]socket{}

func put(slot string, s socket) {
	if old, ok := slots[slot]; ok {
		old.Close()
	}
	slots[slot] = s
}

func conn(slot string) (*net.TCPConn, error) {
	if c, ok := slots[slot].(*net.TCPConn); ok {
		return c, nil
	}
	return nil, errUsage
}

func count(word string) (n int, err error) {
	if _, err := fmt.Sscan(word, &n); err != nil || n < 0 {
		return 0, errUsage
	}
	return n, nil
}

func connect(words []string) (interface{}, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	c, err := mptcpapi.Dial(ctx, "tcp", net.JoinHostPort(words[1], words[2]))
	if err != nil {
		return nil, err
	}
	put(words[0], c)
	return nil, nil
}

func listen(words []string) (interface{}, error) {
	listener, err := mptcpapi.Listen(context.Background(), "tcp", net.JoinHostPort(words[1], words[2]))
	if err != nil {
		return nil, err
	}
	put(words[0], listener.(*net.TCPListener))
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func accept(words []string) (interface{}, error) {
	listener, ok := slots[words[0]].(*net.TCPListener)
	if !ok {
		return nil, errUsage
	}
	c, err := listener.AcceptTCP()
	if err != nil {
		return nil, err
	}
	put(words[1], c)
	return nil, nil
}

func send(slot string, data []byte) (interface{}, error) {
	c, err := conn(slot)
	if err != nil {
		return nil, err
	}
	_, err = c.Write(data)
	return nil, err
}

func sendZeros(words []string) (interface{}, error) {
	n, err := count(words[1])
	if err != nil {
		return nil, err
	}
	return send(words[0], make([]byte, n))
}

func receive(words []string) (interface{}, error) {
	c, err := conn(words[0])
	if err != nil {
		return nil, err
	}
	n, err := count(words[1])
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(c, int64(n)))
	return string(data), err
}

func shutdown(words []string) (interface{}, error) {
	c, err := conn(words[0])
	if err != nil {
		return nil, err
	}
	return nil, c.CloseWrite()
}

func closeSlot(words []string) (interface{}, error) {
	if s, ok := slots[words[0]]; ok {
		return nil, s.Close()
	}
	return nil, errUsage
}

func makeOther(words []string) (interface{}, error) {
	var made socket
	var err error
	switch words[1] {
	case "file":
		made, err = os.Open(os.DevNull)
	case "udp":
		made, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	case "unix":
		made, err = unixSocket()
	case "tcp":
		// By hand: package net would listen for MPTCP.
		var fd int
		if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err == nil {
			made = os.NewFile(uintptr(fd), "tcp")
		}
	default:
		err = errUsage
	}
	if err != nil {
		return nil, err
	}
	put(words[0], made)
	return nil, nil
}

func unixSocket() (socket, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	files := [2]*os.File{os.NewFile(uintptr(pair[0]), "unix"), os.NewFile(uintptr(pair[1]), "unix")}
	defer files[0].Close()
	defer files[1].Close()
	c, err := net.FileConn(files[0])
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}

func view(slot string) (*mptcpapi.Conn, error) {
	if s, ok := slots[slot]; ok {
		return mptcpapi.From(s)
	}
	return nil, errUsage
}

func status(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	s, err := v.Status()
	return s.String(), err
}

func info(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	i, err := v.Info()
	if err != nil {
		return nil, err
	}
	return object{
		"token": i.Token, "subflows": i.Subflows, "bytes_sent": i.BytesSent, "bytes_received": i.BytesReceived,
		"bytes_acked": i.BytesAcked, "bytes_retrans": i.BytesRetrans, "retransmits": i.Retransmits, "fallback": i.Fallback,
		"server_side": orNull(i.ServerSideKnown, i.ServerSide), "path_manager": i.PathManager.String(),
	}, nil
}

func subflows(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	return objects(v.Subflows())
}

func detail(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	return objects(v.SubflowsDetail())
}

func objects(subflows []mptcpapi.Subflow, err error) (interface{}, error) {
	if err != nil {
		return nil, err
	}
	all := make([]object, len(subflows))
	for i := range subflows {
		all[i] = subflowObject(&subflows[i])
	}
	return all, nil
}

func subflowObject(s *mptcpapi.Subflow) object {
	return object{
		"id": s.Id, "local": s.Local.String(), "remote": s.Remote.String(), "state": s.State.String(), "rtt_us": s.RttUs,
		"rttvar_us": s.RttvarUs, "snd_cwnd": s.SndCwnd, "mss": s.Mss, "bytes_sent": s.BytesSent,
		"bytes_acked": s.BytesAcked, "bytes_received": s.BytesReceived, "bytes_retrans": s.BytesRetrans,
		"retransmits": s.Retransmits, "unacked": s.Unacked, "delivery_rate": s.DeliveryRate,
		"last_ack_ms": s.LastAckMs, "initial": s.Initial,
		"backup": orNull(s.Detailed, s.Backup), "backup_by_peer": orNull(s.Detailed, s.BackupByPeer),
		"fully_established": orNull(s.Detailed, s.FullyEstablished), "local_id": orNull(s.LocalId >= 0, s.LocalId),
		"remote_id": orNull(s.RemoteId >= 0, s.RemoteId), "congestion": orNull(s.Detailed, s.Congestion),
		"tos": orNull(s.Detailed, s.Tos), "interface": orNull(s.Interface != "", s.Interface),
	}
}

func orNull(known bool, value interface{}) interface{} {
	if known {
		return value
	}
	return nil
}

func features() (interface{}, error) {
	f, err := mptcpapi.Probe()
	if err != nil {
		return nil, err
	}
	return object{
		"mptcp": f.Mptcp, "socket_errno": int(f.SocketErrno), "info": f.Info, "full_info": f.FullInfo, "detail": f.Detail,
		"path_manager_known": f.PathManagerKnown, "net_admin": f.NetAdmin, "subflow_options": f.SubflowOptions, "agent": f.Agent,
		"path_manager": f.PathManager.String(),
		"hint":         f.Hint != "",
	}, nil
}
