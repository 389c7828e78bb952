// SPDX-License-Identifier: MIT OR Apache-2.0

// The same steps as steps.c, by Go's own system calls: no libc is asked. As in 2016, the numbers and layouts are the
// program's own: steps HOST PORT LOCAL2 REMOTE2
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	getSubIds   = 66
	closeSubId  = 67
	getSubTuple = 68
	openTuple   = 69
	getOption   = 71
	setOption   = 72

	flagEstablished = 0x02
	sizeofSockaddr  = 16
	contentSize     = 65536
	tcpUserTimeout  = 18
)

type status struct {
	id    byte
	flags byte
}

// request is struct mptcp_sub_getsockopt.
type request struct {
	id      byte
	level   int32
	optname int32
	optval  unsafe.Pointer
	optlen  *uint32
}

// setRequest is struct mptcp_sub_setsockopt.
type setRequest struct {
	id      byte
	level   int32
	optname int32
	optval  unsafe.Pointer
	optlen  uint32
}

// connection borrows the descriptor for each call.
type connection struct {
	raw    syscall.RawConn
	stream *net.TCPConn
}

func (c connection) getsockopt(name uintptr, value unsafe.Pointer, length *uint32) error {
	var errno syscall.Errno
	err := c.raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, name, uintptr(value),
			uintptr(unsafe.Pointer(length)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

func (c connection) setsockopt(name uintptr, value unsafe.Pointer, length uintptr) error {
	var errno syscall.Errno
	err := c.raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_SETSOCKOPT, fd, syscall.IPPROTO_TCP, name, uintptr(value), length, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return err
}

func (c connection) list() []status {
	for room := 1; ; room *= 2 {
		buffer := make([]byte, 2+2*room)
		length := uint32(len(buffer))
		err := c.getsockopt(getSubIds, unsafe.Pointer(&buffer[0]), &length)
		if err == syscall.EINVAL {
			continue
		}
		check("list", err)
		found := make([]status, buffer[0])
		for i := range found {
			found[i] = status{buffer[2+2*i], buffer[3+2*i]}
		}
		return found
	}
}

func words(all []status) string {
	var text strings.Builder
	for _, s := range all {
		fmt.Fprintf(&text, " %d", s.id)
	}
	return text.String()
}

func (c connection) waitEstablished(count int) {
	for {
		all, established := c.list(), 0
		for _, s := range all {
			if s.flags&flagEstablished != 0 {
				established++
			}
		}
		if established >= count {
			fmt.Printf("established%s\n", words(all))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func sockaddr(host string) []byte {
	encoded := make([]byte, sizeofSockaddr)
	binary.LittleEndian.PutUint16(encoded, syscall.AF_INET)
	copy(encoded[4:], net.ParseIP(host).To4())
	return encoded
}

func (c connection) printTuple(id byte) {
	var buffer [1 + 2*28]byte
	buffer[0] = id
	length := uint32(len(buffer))
	check("tuple", c.getsockopt(getSubTuple, unsafe.Pointer(&buffer[0]), &length))
	if length != 1+2*sizeofSockaddr {
		log.Fatalf("a tuple of %d bytes", length)
	}
	local, remote := buffer[1:1+sizeofSockaddr], buffer[1+sizeofSockaddr:length]
	note := ""
	if binary.BigEndian.Uint16(local[2:]) == 0 {
		note = " from no port"
	}
	fmt.Printf("tuple %d %s %s:%d%s\n", buffer[0], net.IP(local[4:8]), net.IP(remote[4:8]),
		binary.BigEndian.Uint16(remote[2:]), note)
}

func (c connection) open(local, remote string) byte {
	buffer := append([]byte{0}, append(sockaddr(local), sockaddr(remote)...)...)
	length := uint32(len(buffer))
	check("open", c.getsockopt(openTuple, unsafe.Pointer(&buffer[0]), &length))
	fmt.Printf("open %d\n", buffer[0])
	return buffer[0]
}

func (c connection) printOption(what string, id byte, level, name int32) {
	value, length := int32(-1), uint32(4)
	asked := request{id, level, name, unsafe.Pointer(&value), &length}
	size := uint32(unsafe.Sizeof(asked))
	check(what, c.getsockopt(getOption, unsafe.Pointer(&asked), &size))
	fmt.Printf("%s %d is %d of %d bytes\n", what, id, value, length)
}

func (c connection) setOption(what string, id byte, level, name, value int32) {
	asked := setRequest{id, level, name, unsafe.Pointer(&value), 4}
	check(what, c.setsockopt(setOption, unsafe.Pointer(&asked), unsafe.Sizeof(asked)))
	fmt.Printf("%s %d set\n", what, id)
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func (c connection) printInfo(id byte) {
	var info syscall.TCPInfo
	length := uint32(unsafe.Sizeof(info))
	asked := request{id, syscall.IPPROTO_TCP, syscall.TCP_INFO, unsafe.Pointer(&info), &length}
	size := uint32(unsafe.Sizeof(asked))
	check("info", c.getsockopt(getOption, unsafe.Pointer(&asked), &size))
	fmt.Printf("info %d state %d rtt %s mss %s\n", id, info.State, yes(info.Rtt > 0), yes(info.Snd_mss > 0))
}

func (c connection) exchange(seed int) {
	sent, got := make([]byte, contentSize), make([]byte, contentSize)
	for i := range sent {
		sent[i] = byte(i*31 + i/251 + seed)
	}
	_, err := c.stream.Write(sent)
	check("send", err)
	_, err = io.ReadFull(c.stream, got)
	check("receive", err)
	word := "WRONG"
	if bytes.Equal(sent, got) {
		word = "right"
	}
	fmt.Printf("echo %d %s\n", contentSize, word)
}

func check(what string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

// look waits until somebody has looked at the kernel's own tables.
func look(answers *bufio.Reader) {
	fmt.Println("look")
	_, err := answers.ReadString('\n')
	check("nobody has looked", err)
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Fatalf("usage: %s HOST PORT LOCAL2 REMOTE2", os.Args[0])
	}
	port, err := strconv.Atoi(os.Args[2])
	check("port", err)
	stream, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.ParseIP(os.Args[1]), Port: port})
	check("connect", err)
	raw, err := stream.SyscallConn()
	check("raw", err)
	reader := bufio.NewReader(os.Stdin)
	c := connection{raw, stream}
	c.waitEstablished(1)
	fmt.Printf("list%s\n", words(c.list()))
	c.printTuple(1)
	second := c.open(os.Args[3], os.Args[4])
	fmt.Printf("list%s\n", words(c.list()))

	_, err = stream.Write([]byte("echo\n"))
	check("send", err)
	c.exchange(1)
	c.waitEstablished(2)
	c.printTuple(second)

	c.printOption("tos", second, syscall.IPPROTO_IP, syscall.IP_TOS)
	c.setOption("tos", second, syscall.IPPROTO_IP, syscall.IP_TOS, 0xb8)
	c.printOption("tos", second, syscall.IPPROTO_IP, syscall.IP_TOS)
	c.printOption("tos", 1, syscall.IPPROTO_IP, syscall.IP_TOS)
	c.setOption("user_timeout", second, syscall.IPPROTO_TCP, tcpUserTimeout, 12345)
	c.printOption("user_timeout", second, syscall.IPPROTO_TCP, tcpUserTimeout)
	c.printOption("user_timeout", 1, syscall.IPPROTO_TCP, tcpUserTimeout)
	c.printInfo(1)
	c.printInfo(second)

	look(reader)
	which, size := byte(1), uint32(1)
	check("close", c.getsockopt(closeSubId, unsafe.Pointer(&which), &size))
	fmt.Println("close 1")
	fmt.Printf("list%s\n", words(c.list()))
	c.exchange(2)
	fmt.Printf("list%s\n", words(c.list()))
	look(reader)
	check("end", stream.Close())
}
