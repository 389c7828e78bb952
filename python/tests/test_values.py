# SPDX-License-Identifier: MIT OR Apache-2.0
"""Subflow, Info, Features, addresses, words and errors as Python values."""

from __future__ import annotations

import copy
import ipaddress
import json
import pickle
import socket
from typing import Any

import pytest
from conftest import Pair
from lab import Lab

import mptcpapi
from mptcpapi import Address, Connection


@pytest.fixture(params=["Subflow", "Info", "Features"])
def value(request: pytest.FixtureRequest, pair: Pair) -> Any:
    match request.param:
        case "Subflow":
            return Connection(pair.client).subflows(detail=True)[0]
        case "Info":
            return Connection(pair.client).info()
    return mptcpapi.features()


def test_fields(value: Any) -> None:
    """The fields by name are the same in the properties, __match_args__, as_dict() and repr()."""
    properties = [name for name in dir(value) if not name.startswith("_") and name != "as_dict"]
    fields = value.as_dict()
    assert list(fields) == list(value.__match_args__)
    assert sorted(fields) == properties
    assert fields == {name: getattr(value, name) for name in properties}
    assert repr(value) == f"{type(value).__name__}({', '.join(f'{k}={v!r}' for k, v in fields.items())})"
    assert json.loads(json.dumps(fields)).keys() == fields.keys()


def test_frozen(value: Any) -> None:
    for name in (*value.__match_args__, "another"):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)
        with pytest.raises(AttributeError):
            delattr(value, name)
    with pytest.raises(TypeError):
        type(value)()


def test_copies_and_pickles(value: Any) -> None:
    assert copy.copy(value) is value
    assert copy.deepcopy([value])[0] is value
    with pytest.raises(TypeError, match="as_dict"):
        pickle.dumps(value)
    assert pickle.loads(pickle.dumps(value.as_dict())) == value.as_dict()


def test_equality(pair: Pair, lab: Lab) -> None:
    connection = Connection(pair.client)
    first, second = connection.subflows()
    assert first != second
    assert first == first
    assert first != "first"
    assert len({first, second, first}) == 2
    lab.cut(1)
    lab.cut(2)
    assert mptcpapi.features() == mptcpapi.features()
    assert hash(mptcpapi.features()) == hash(mptcpapi.features())
    one, other = connection.info(), connection.info()
    assert one == other
    assert hash(one) == hash(other)
    with lab.enter("server"):
        assert Connection(pair.server).info() != one


def test_matching(pair: Pair) -> None:
    match Connection(pair.client).subflows()[0]:
        case mptcpapi.Subflow(id=1, local=Address(host, port), state="established"):
            assert (host, port) == pair.client.getsockname()
        case other:
            pytest.fail(repr(other))


def test_addresses() -> None:
    four, six = Address("10.0.0.1", 443), Address("2001:db8::1", 443)
    assert four == ("10.0.0.1", 443)
    assert hash(four) == hash(("10.0.0.1", 443))
    assert four.ip == ipaddress.IPv4Address("10.0.0.1")
    assert six.ip == ipaddress.IPv6Address("2001:db8::1")
    assert Address("fe80::1%2", 1).ip == ipaddress.IPv6Address("fe80::1%2")
    assert (str(four), str(six)) == ("10.0.0.1:443", "[2001:db8::1]:443")
    assert repr(four) == "Address(host='10.0.0.1', port=443)"
    assert pickle.loads(pickle.dumps(four)) == four


def test_addresses_are_made_once(pair: Pair) -> None:
    connection = Connection(pair.client)
    assert connection.subflows()[0].local is connection.subflows()[0].local
    assert type(connection.subflows()[0].local) is Address


def test_words() -> None:
    status = mptcpapi.Status.MPTCP
    assert status == "mptcp"
    assert f"{status:>6}" == " mptcp"
    assert str(status) == "mptcp"
    assert mptcpapi.Status("fallback") is mptcpapi.Status.FALLBACK
    assert json.dumps(mptcpapi.PathManager.KERNEL) == '"kernel"'
    assert pickle.loads(pickle.dumps(status)) is status
    assert {*mptcpapi.Status} == {"unconnected", "mptcp", "fallback", "tcp"}
    assert {*mptcpapi.PathManager} == {"unknown", "kernel", "userspace"}


def test_errors() -> None:
    with socket.socket() as tcp, pytest.raises(mptcpapi.MptcpError) as caught:
        Connection(tcp).info()
    error = caught.value
    assert isinstance(error, OSError)
    assert (error.operation, error.subflow, error.kernel_message) == ("info", None, None)
    assert error.hint in str(error)
    assert "os error" not in str(error)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is mptcpapi.NotMptcp
        assert (other.errno, str(other), other.operation, other.hint) == (95, str(error), "info", error.hint)


def test_error_families() -> None:
    assert issubclass(mptcpapi.PermissionDenied, PermissionError)
    assert issubclass(mptcpapi.Refused, ConnectionRefusedError)
    assert issubclass(mptcpapi.TimedOut, TimeoutError)
    names = [name for name in mptcpapi.__all__ if isinstance(getattr(mptcpapi, name), type)]
    errors = [name for name in names if issubclass(getattr(mptcpapi, name), OSError)]
    assert len(errors) == 10
    assert all(issubclass(getattr(mptcpapi, name), mptcpapi.MptcpError) for name in errors)
    bare = mptcpapi.NoSuchSubflow(2, "no such subflow")
    assert (bare.operation, bare.subflow, bare.kernel_message, bare.hint) == ("", None, None, "")


def test_features(lab: Lab) -> None:
    features = mptcpapi.features()
    assert (features.mptcp, features.socket_errno, features.hint) == (True, 0, "")
    assert features.path_manager is mptcpapi.PathManager.KERNEL
    lab.sysctl_client("net.mptcp.enabled", 0)
    features = mptcpapi.features()
    assert (features.mptcp, features.full_info) == (False, False)
    assert "net.mptcp.enabled" in features.hint


def test_connections_are_not_copied(pair: Pair) -> None:
    connection = Connection(pair.client)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="Connection"):
            attempt(connection)
    assert "fd=" in repr(connection)
