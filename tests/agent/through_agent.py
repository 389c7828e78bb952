# SPDX-License-Identifier: MIT OR Apache-2.0
"""Plugin for the conformance suite: every command runs as nobody, without a right, and an agent in another network
namespace (this process's own) does for it what it may not do.

    PYTHONPATH=tests/agent pytest -p through_agent tests/conformance

Left out are the tests of what cannot be done without an agent, of what the caller itself may do, and of socket options:
those are checked against the rights of the caller, in which an agent has no part.
"""

from __future__ import annotations

import os

import pytest
from running import Agent

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
NOT_THE_AGENTS = ("without_privilege", "test_version_and_features", "test_options.py")
running: list[Agent] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if any(word in item.nodeid for word in NOT_THE_AGENTS)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    if os.geteuid() != 0:
        pytest.exit("needs root: an agent serves namespaces of others", 1)
    import command  # the suite's own, found by its conftest

    for language, argv in command.PROGRAMS.items():
        command.PROGRAMS[language] = [*NOBODY, *argv]
    running.append(Agent())
    os.environ["MPTCPAPI_AGENT"] = running[0].socket


def pytest_unconfigure() -> None:
    for agent in running:
        agent.stop()
