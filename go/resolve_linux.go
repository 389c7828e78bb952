// SPDX-License-Identifier: MIT OR Apache-2.0

package mptcpapi

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/mptcpapi/mptcpapi/go/internal/capi"
)

// ipNetworks are the networks of Dial and Listen, and what their addresses are called by the resolver.
var ipNetworks = map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"}

// resolve answers the addresses of host:port, in the resolver's order and at least one. IPv4 is never in the IPv6 form.
// Without a host it is the unspecified address: IPv4's, but for "tcp6".
func resolve(ctx context.Context, network, address string) ([]netip.AddrPort, error) {
	if ctx == nil {
		return nil, errors.New("nil context")
	}
	if _, ok := ipNetworks[network]; !ok {
		return nil, net.UnknownNetworkError(network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	ips, err := lookUp(ctx, network, host)
	if err != nil {
		return nil, err
	}
	addresses := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		ip = ip.Unmap()
		if network == "tcp" || ip.Is4() == (network == "tcp4") {
			addresses = append(addresses, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	if len(addresses) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return addresses, nil
}

func lookUp(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if host == "" && network == "tcp6" {
		return []netip.Addr{netip.IPv6Unspecified()}, nil
	}
	if host == "" {
		return []netip.Addr{netip.IPv4Unspecified()}, nil
	}
	// The resolver would lose the zone.
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, ipNetworks[network], host)
}

// sockaddr is the address for a system call, and its family.
func sockaddr(address netip.AddrPort) (to syscall.Sockaddr, family int) {
	if address.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}, syscall.AF_INET
	}
	six := &syscall.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}
	if zone := address.Addr().Zone(); zone != "" {
		six.ZoneId = capi.ZoneNumber(zone)
	}
	return six, syscall.AF_INET6
}

// tcpAddr is the address as package net writes it into errors.
func tcpAddr(address netip.AddrPort) net.Addr {
	return net.TCPAddrFromAddrPort(address)
}
