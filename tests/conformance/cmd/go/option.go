// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	mptcpapi "github.com/mptcpapi/mptcpapi/go"
)

// The third table of the contract.
func init() {
	commands["getopt"] = command{5, getOption}
	commands["setopt"] = command{5, setOption}
	commands["setopts"] = command{-2, setOptions}
	commands["setconn"] = command{4, setConnection}
}

// optionOf is of ID,LEVEL,NAME,VALUE.
func optionOf(word string) (option mptcpapi.SubflowOption, err error) {
	parts := strings.SplitN(word, ",", 4)
	if len(parts) != 4 {
		return option, errUsage
	}
	id, errId := strconv.ParseUint(parts[0], 10, 32)
	level, errLevel := strconv.Atoi(parts[1])
	name, errName := strconv.Atoi(parts[2])
	value, errValue := valueOf(parts[3])
	if errId != nil || errLevel != nil || errName != nil || errValue != nil {
		return option, errUsage
	}
	return mptcpapi.SubflowOption{Subflow: uint32(id), Level: level, Name: name, Value: value}, nil
}

func valueOf(word string) ([]byte, error) {
	kind, text, _ := strings.Cut(word, ":")
	switch kind {
	case "int":
		number, err := strconv.Atoi(text)
		return mptcpapi.IntValue(number), err
	case "bytes":
		return hex.DecodeString(text)
	case "str":
		return []byte(text), nil
	}
	return nil, errUsage
}

func getOption(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	option, err := optionOf(strings.Join(words[1:4], ",") + ",str:")
	if err != nil {
		return nil, err
	}
	if words[4] == "int" {
		return v.GetsockoptInt(option.Subflow, option.Level, option.Name)
	}
	size, err := strconv.Atoi(words[4])
	if err != nil {
		return nil, errUsage
	}
	value, err := v.GetsockoptBytes(option.Subflow, option.Level, option.Name, size)
	return hex.EncodeToString(value), err
}

func setOption(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	o, err := optionOf(strings.Join(words[1:], ","))
	if err != nil {
		return nil, err
	}
	switch kind, text, _ := strings.Cut(words[4], ":"); kind {
	case "int":
		number, _ := strconv.Atoi(text)
		return nil, v.SetsockoptInt(o.Subflow, o.Level, o.Name, number)
	case "str":
		return nil, v.SetsockoptString(o.Subflow, o.Level, o.Name, text)
	}
	return nil, v.SetsockoptBytes(o.Subflow, o.Level, o.Name, o.Value)
}

func setOptions(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	options := make([]mptcpapi.SubflowOption, len(words)-1)
	for i, word := range words[1:] {
		if options[i], err = optionOf(word); err != nil {
			return nil, err
		}
	}
	outcomes := make([]interface{}, len(options))
	for i, err := range v.SetOptions(options) {
		var failed *mptcpapi.OpError
		if !errors.As(err, &failed) {
			continue
		}
		// Where none could be tried, every one has the error of the call, which is of no subflow.
		if failed.Subflow == 0 {
			return nil, err
		}
		outcomes[i] = object{
			"kind": failed.Kind.Name(), "errno": int(failed.Errno), "subflow": orNull(failed.Subflow != 0, failed.Subflow),
		}
	}
	return outcomes, nil
}

func setConnection(words []string) (interface{}, error) {
	v, err := view(words[0])
	if err != nil {
		return nil, err
	}
	o, err := optionOf("0," + strings.Join(words[1:], ","))
	if err != nil {
		return nil, err
	}
	return nil, v.SetOption(o.Level, o.Name, o.Value)
}
