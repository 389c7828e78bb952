# SPDX-License-Identifier: MIT OR Apache-2.0
"""The conformance command in Python; the contract is in tests/conformance/README.md."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import mptcpapi
from mptcpapi import paper

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
SECONDS = 5

slots: dict[str, Any] = {}
monitors: dict[str, mptcpapi.Monitor] = {}
watches: dict[str, mptcpapi.PathWatch] = {}


def connection(slot: str) -> mptcpapi.Connection:
    return mptcpapi.Connection(slots[slot])


def put(slot: str, thing: Any) -> None:
    """The slot names this from now on."""
    with contextlib.suppress(KeyError):
        slots[slot].close()
    slots[slot] = thing


def features() -> dict[str, Any]:
    return {**mptcpapi.features().as_dict(), "hint": bool(mptcpapi.features().hint)}


def connect(slot: str, host: str, port: str, control: Literal["default", "app"] = "default") -> None:
    put(slot, mptcpapi.create_connection((host, int(port)), timeout=SECONDS, control=control))


def begin(slot: str, host: str, port: str) -> None:
    sock = mptcpapi.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect((host, int(port)))
    put(slot, sock)


def listen(slot: str, host: str, port: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    put(slot, mptcpapi.create_server((host, int(port)), family=family))
    return int(slots[slot].getsockname()[1])


def accept(slot: str, other: str) -> None:
    put(other, slots[slot].accept()[0])


def receive(slot: str, count: str) -> str:
    data = b""
    while len(data) < int(count) and (more := slots[slot].recv(int(count) - len(data))):
        data += more
    return data.decode()


def make(slot: str, kind: str) -> None:
    makers: dict[str, Callable[[], Any]] = {
        "file": Path("/dev/null").open,
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "unix": lambda: socket.socketpair()[0],
        "tcp": socket.socket,
    }
    put(slot, makers[kind]())


def texts(value: mptcpapi.Subflow | mptcpapi.Event | mptcpapi.PathEvent) -> dict[str, Any]:
    """The fields, addresses as text."""
    fields = value.as_dict()
    for name in {"local", "remote"} & {name for name in fields if fields[name] is not None}:
        fields[name] = str(fields[name])
    return fields


def listing(slot: str, detail: bool) -> list[dict[str, Any]]:
    return [texts(subflow) for subflow in connection(slot).subflows(detail=detail)]


def value(word: str) -> int | bytes | str:
    """VALUE of the contract."""
    kind, _, text = word.partition(":")
    makers: dict[str, Callable[[str], int | bytes | str]] = {"int": int, "bytes": bytes.fromhex, "str": str}
    return makers[kind](text)


def get_option(slot: str, subflow: str, level: str, name: str, length: str) -> int | str:
    option = int(subflow), int(level), int(name)
    if length == "int":
        return connection(slot).getsockopt(*option)
    return connection(slot).getsockopt(*option, int(length)).hex()


def set_options(slot: str, *words: str) -> list[dict[str, Any] | None]:
    parts = [word.split(",", 3) for word in words]
    wanted = [(int(subflow), int(level), int(name), value(text)) for subflow, level, name, text in parts]
    outcomes = connection(slot).setsockopts(wanted)
    shown = ("kind", "errno", "subflow")
    return [{name: failure(each, "setopts")[name] for name in shown} if each else None for each in outcomes]


def open_subflow(slot: str, *words: str) -> dict[str, Any]:
    parts = [word.removeprefix("option=").split(",", 2) for word in words if word.startswith("option=")]
    options: dict[str, Any] = dict(word.split("=", 1) for word in words if not word.startswith("option="))
    options["options"] = [(int(level), int(name), value(text)) for level, name, text in parts]
    if "backup" in options:
        options["backup"] = options["backup"] == "1"
    if "timeout" in options:
        options["timeout"] = float(options["timeout"])
    return texts(connection(slot).open_subflow(**options))


def monitor(slot: str) -> None:
    monitors[slot] = connection(slot).events()


def event(slot: str, milliseconds: str) -> dict[str, Any] | None:
    told = monitors[slot].next(int(milliseconds) / 1000)
    if told is None:
        return None
    return {**texts(told), "last": texts(told.last) if told.last else None}


def path_watch(slot: str, stall: str, expect_data: str) -> None:
    limit = int(stall) / 1000 or None
    watches[slot] = connection(slot).path_watch(limit, expect_data=expect_data == "1")


def path_event(slot: str, milliseconds: str) -> dict[str, Any] | None:
    told = watches[slot].next(int(milliseconds) / 1000)
    return texts(told) if told else None


def paper_tuple(slot: str, subflow: str) -> dict[str, Any]:
    local, remote = paper.get_sub_tuple(slots[slot], int(subflow))
    return {"local": str(local), "remote": str(remote), "id": int(subflow)}


def paper_open(slot: str, *words: str) -> int:
    options: dict[str, Any] = dict(word.split("=", 1) for word in words)
    options["low_prio"] = options.get("low_prio") == "1"
    return paper.open_sub_tuple(slots[slot], **options)


def paper_get_option(slot: str, subflow: str, level: str, name: str, length: str) -> int | str:
    option = int(subflow), int(level), int(name)
    if length == "int":
        return paper.sub_getsockopt(slots[slot], *option)
    return paper.sub_getsockopt(slots[slot], *option, int(length)).hex()


COMMANDS: dict[str, Callable[..., Any]] = {
    "version": lambda: mptcpapi.__version__,
    "features": features,
    "connect": connect,
    "socket": lambda slot, family: put(slot, mptcpapi.socket(FAMILIES[family])),
    "begin": begin,
    "listen": listen,
    "accept": accept,
    "send": lambda slot, text: slots[slot].sendall(text.encode()),
    "recv": receive,
    "sendzeros": lambda slot, count: slots[slot].sendall(bytes(int(count))),
    "shutdown": lambda slot: slots[slot].shutdown(socket.SHUT_WR),
    "close": lambda slot: slots[slot].close(),
    "make": make,
    "status": lambda slot: connection(slot).status,
    "info": lambda slot: connection(slot).info().as_dict(),
    "subflows": lambda slot: listing(slot, detail=False),
    "detail": lambda slot: listing(slot, detail=True),
    "connectapp": lambda slot, host, port: connect(slot, host, port, control="app"),
    "open": open_subflow,
    "closesubflow": lambda slot, subflow: connection(slot).close_subflow(int(subflow)),
    "resetsubflow": lambda slot, subflow: connection(slot).close_subflow(int(subflow), reset=True),
    "abandon": lambda slot, subflow: connection(slot).abandon_subflow(int(subflow)),
    "backup": lambda slot, subflow, on: connection(slot).set_backup(int(subflow), on == "1"),
    "announce": lambda slot, address: connection(slot).announce(address),
    "withdraw": lambda slot, address_id: connection(slot).withdraw(int(address_id)),
    "monitor": monitor,
    "monitoradd": lambda slot, other: monitors[slot].add(connection(other)),
    "monitorremove": lambda slot, token: monitors[slot].remove(int(token)),
    "source": lambda slot: monitors[slot].source,
    "event": event,
    "pathwatch": path_watch,
    "pathevent": path_event,
    "getopt": get_option,
    "setopt": lambda slot, subflow, level, name, text: connection(slot).setsockopt(
        int(subflow), int(level), int(name), value(text)
    ),
    "setopts": set_options,
    "setconn": lambda slot, level, name, text: connection(slot).set_option(int(level), int(name), value(text)),
    "paperids": lambda slot: [status._asdict() for status in paper.get_sub_ids(slots[slot])],
    "papertuple": paper_tuple,
    "paperopen": paper_open,
    "paperclose": lambda slot, subflow: paper.close_sub_id(slots[slot], int(subflow)),
    "papergetopt": paper_get_option,
    "papersetopt": lambda slot, subflow, level, name, text: paper.sub_setsockopt(
        slots[slot], int(subflow), int(level), int(name), value(text)
    ),
    "paperbytes": lambda slot, name, text="": paper.getsockopt(slots[slot], int(name), bytes.fromhex(text)).hex(),
}


def failure(error: OSError, name: str) -> dict[str, Any]:
    return {
        "kind": type(error).__name__ if isinstance(error, mptcpapi.MptcpError) else "Os",
        "errno": error.errno,
        "subflow": getattr(error, "subflow", None),
        "operation": getattr(error, "operation", name),
        "hint": bool(getattr(error, "hint", "")),
    }


def answer(line: str) -> dict[str, Any]:
    name, *words = line.split()
    usage = {"error": {"kind": "Usage", "errno": None, "subflow": None, "operation": name, "hint": False}}
    if name not in COMMANDS:
        return usage
    try:
        return {"ok": COMMANDS[name](*words)}
    except OSError as error:
        return {"error": failure(error, name)}
    except ValueError:
        return usage


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    main()
