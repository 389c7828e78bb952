// SPDX-License-Identifier: MIT OR Apache-2.0

package capi

import (
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"
)

// Sockaddr is struct sockaddr_storage, as far as sockaddr_in and sockaddr_in6 use it.
type Sockaddr struct {
	Family uint16
	Port   [2]byte // in network order
	Ip4    [4]byte // of sockaddr_in6: the flow label
	Ip6    [16]byte
	Scope  uint32
	_      [100]byte
}

// Bytes is the memory of the address: a struct sockaddr_in is the first 16 of them, a struct sockaddr_in6 the first 28.
func (c *Sockaddr) Bytes() []byte {
	return (*[unsafe.Sizeof(*c)]byte)(unsafe.Pointer(c))[:]
}

// SockaddrOf is the address for the library; of the zero AddrPort one without family.
func SockaddrOf(address netip.AddrPort) (c Sockaddr) {
	ip := address.Addr()
	switch {
	case ip.Is4():
		c.Family, c.Ip4 = syscall.AF_INET, ip.As4()
	case ip.Is6():
		c.Family, c.Ip6 = syscall.AF_INET6, ip.As16()
		if ip.Zone() != "" {
			c.Scope = ZoneNumber(ip.Zone())
		}
	}
	c.Port = [2]byte{byte(address.Port() >> 8), byte(address.Port())}
	return c
}

// AddrPort translates a socket address. Link-local IPv6 addresses get the number of their interface as zone: its name may
// belong to another network namespace.
func (c *Sockaddr) AddrPort() netip.AddrPort {
	var ip netip.Addr
	switch c.Family {
	case syscall.AF_INET:
		ip = netip.AddrFrom4(c.Ip4)
	case syscall.AF_INET6:
		ip = netip.AddrFrom16(c.Ip6)
		if c.Scope != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(c.Scope), 10))
		}
	}
	return netip.AddrPortFrom(ip, uint16(c.Port[0])<<8|uint16(c.Port[1]))
}

// ZoneNumber is the number of a zone, which is the name or the number of an interface. As in package net it is 0 where
// there is none: then the kernel says what is wrong.
func ZoneNumber(zone string) uint32 {
	if found, err := net.InterfaceByName(zone); err == nil {
		return uint32(found.Index)
	}
	number, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(number)
}
