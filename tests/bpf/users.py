# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs a function in a child process as somebody else."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

NOBODY = 65534


def become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def in_child(function: Callable[[], T]) -> T:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            content = pickle.dumps((True, function()))
        except BaseException:
            content = pickle.dumps((False, traceback.format_exc()))
        os.write(writing, content)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        content = stream.read()
    os.waitpid(child, 0)
    done, result = pickle.loads(content)
    assert done, result
    return result


def as_user(user: int, function: Callable[[], T]) -> T:
    def run() -> T:
        become(user)
        return function()

    return in_child(run)
