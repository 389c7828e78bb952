// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// backlog is more than enough: the kernel cuts it to net.core.somaxconn.
const backlog = 65535

func listen(ctx context.Context, network, address string) (net.Listener, error) {
	addresses, err := resolve(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	listener, err := listenOn(network, localAddress(addresses))
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: tcpAddr(localAddress(addresses)), Err: err}
	}
	return listener, nil
}

// localAddress is the address of a name to listen on: as package net does, IPv4 if there is one.
func localAddress(addresses []netip.AddrPort) netip.AddrPort {
	for _, address := range addresses {
		if address.Addr().Is4() {
			return address
		}
	}
	return addresses[0]
}

func listenOn(network string, address netip.AddrPort) (net.Listener, error) {
	if network == "tcp" && address.Addr().IsUnspecified() {
		both := netip.AddrPortFrom(netip.IPv6Unspecified(), address.Port())
		listener, err := listenSocket(both, 0)
		noIpv6 := errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
		if !noIpv6 {
			return listener, err
		}
		address = netip.AddrPortFrom(netip.IPv4Unspecified(), address.Port())
	}
	return listenSocket(address, 1)
}

// listenSocket listens on one address; an IPv6 one is for IPv4 too where ipv6Only is 0.
func listenSocket(address netip.AddrPort, ipv6Only int) (net.Listener, error) {
	local, family := sockaddr(address)
	file, err := newSocket(family, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var failure error
	err = raw.Control(func(fd uintptr) { failure = bindAndListen(int(fd), family, ipv6Only, local) })
	if err == nil {
		err = failure
	}
	if err != nil {
		return nil, err
	}
	return net.FileListener(file)
}

func bindAndListen(fd, family, ipv6Only int, local syscall.Sockaddr) error {
	if family == syscall.AF_INET6 {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, ipv6Only); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, local); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("listen", syscall.Listen(fd, backlog))
}
