// SPDX-License-Identifier: MIT OR Apache-2.0

package paper

import (
	"net/netip"
	"strconv"
	"syscall"
)

// peerOf is where the connection goes; not valid where there is none.
func peerOf(fd int) netip.AddrPort {
	peer, err := syscall.Getpeername(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch peer := peer.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(peer.Addr), uint16(peer.Port))
	case *syscall.SockaddrInet6:
		ip := netip.AddrFrom16(peer.Addr).Unmap()
		if peer.ZoneId != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(peer.ZoneId), 10))
		}
		return netip.AddrPortFrom(ip, uint16(peer.Port))
	}
	return netip.AddrPort{}
}
