// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mptcpapi/mptcpapi/go/paper"
)

// The fourth table of the contract.
func init() {
	commands["paperids"] = command{1, paperIds}
	commands["papertuple"] = command{2, paperTuple}
	commands["paperopen"] = command{-1, paperOpen}
	commands["paperclose"] = command{2, paperClose}
	commands["papergetopt"] = command{5, paperGetOption}
	commands["papersetopt"] = command{5, paperSetOption}
	commands["paperbytes"] = command{-2, paperBytes}
}

// paperSlot is the socket, and the id where there is one.
func paperSlot(words []string) (s socket, id uint8, err error) {
	s, ok := slots[words[0]]
	if !ok {
		return nil, 0, errUsage
	}
	if len(words) > 1 {
		number, err := strconv.ParseUint(words[1], 10, 8)
		if err != nil {
			return nil, 0, errUsage
		}
		id = uint8(number)
	}
	return s, id, nil
}

func paperIds(words []string) (interface{}, error) {
	s, _, err := paperSlot(words)
	if err != nil {
		return nil, err
	}
	list, err := paper.GetSubIDs(s)
	if err != nil {
		return nil, err
	}
	all := make([]object, len(list))
	for i, status := range list {
		all[i] = object{
			"id": status.ID, "slave": status.Slave, "fully_established": status.FullyEstablished,
			"attached": status.Attached, "low_prio": status.LowPrio, "pre_established": status.PreEstablished,
		}
	}
	return all, nil
}

func paperTuple(words []string) (interface{}, error) {
	s, id, err := paperSlot(words)
	if err != nil {
		return nil, err
	}
	local, remote, err := paper.GetSubTuple(s, id)
	return object{"local": local.String(), "remote": remote.String(), "id": id}, err
}

func paperOpen(words []string) (interface{}, error) {
	s, _, err := paperSlot(words[:1])
	if err != nil {
		return nil, err
	}
	addresses, lowPrio := map[string]netip.AddrPort{}, false
	for _, word := range words[1:] {
		name, text, _ := strings.Cut(word, "=")
		if name == "low_prio" {
			lowPrio = text == "1"
		} else if addresses[name], err = addressOf(text); err != nil {
			return nil, err
		}
	}
	return orError(paper.OpenSubTuple(s, addresses["local"], addresses["remote"], lowPrio))
}

func orError(id uint8, err error) (interface{}, error) { return id, err }

func paperClose(words []string) (interface{}, error) {
	s, id, err := paperSlot(words)
	if err != nil {
		return nil, err
	}
	return nil, paper.CloseSubID(s, id)
}

func paperGetOption(words []string) (interface{}, error) {
	s, id, err := paperSlot(words)
	if err != nil {
		return nil, err
	}
	option, err := optionOf(strings.Join(words[1:4], ",") + ",str:")
	if err != nil {
		return nil, err
	}
	if words[4] == "int" {
		return paper.SubGetsockoptInt(s, id, option.Level, option.Name)
	}
	size, err := strconv.Atoi(words[4])
	if err != nil {
		return nil, errUsage
	}
	value, err := paper.SubGetsockoptBytes(s, id, option.Level, option.Name, size)
	return hex.EncodeToString(value), err
}

func paperSetOption(words []string) (interface{}, error) {
	s, id, err := paperSlot(words)
	if err != nil {
		return nil, err
	}
	option, err := optionOf(strings.Join(words[1:], ","))
	if err != nil {
		return nil, err
	}
	return nil, paper.SubSetsockoptBytes(s, id, option.Level, option.Name, option.Value)
}

func paperBytes(words []string) (interface{}, error) {
	s, _, err := paperSlot(words[:1])
	if err != nil {
		return nil, err
	}
	name, err := strconv.Atoi(words[1])
	if err != nil {
		return nil, errUsage
	}
	data, err := hex.DecodeString(strings.Join(words[2:], ""))
	if err != nil {
		return nil, errUsage
	}
	length, err := paper.Getsockopt(s, name, data)
	if err != nil {
		return nil, err
	}
	return hex.EncodeToString(data[:length]), nil
}
