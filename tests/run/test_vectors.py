# SPDX-License-Identifier: MIT OR Apache-2.0
"""Every documented case of the paper's options, byte for byte: under `mptcpapi run`, and by the library's two calls."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from typing import Any

import pytest
import served
from lab import Lab, command_path
from served import LIBRARY, PROGRAMS, TOP, WHO, as_user, missing

sys.path.insert(0, str(PROGRAMS))

from vectors import content_of  # noqa: E402

VECTORS = json.loads((TOP / "tests/vectors/paper.json").read_text())
NAMES: dict[str, str] = VECTORS["names"]
POINTERS = {"VALUE": bytes(8), "LENGTH": bytes(8)}
SCENARIOS = {scenario["name"]: scenario for scenario in VECTORS["scenarios"]}
PROGRAM = [sys.executable, "-I", str(PROGRAMS / "vectors.py")]
WAYS = {"run": [command_path(), "run", "--", *PROGRAM], "library": [*PROGRAM, str(LIBRARY)]}

lab, agent = served.lab, served.agent


def overlay(before: str | None, reply: str | None) -> str | None:
    """What is not replied stays as it was."""
    if before is None or reply is None:
        return before
    changed = content_of(reply, NAMES, {}).hex()
    return changed + before[len(changed) :]


def expected_length(step: dict[str, Any]) -> int:
    given = step["length"] if "length" in step else len(content_of(step["value"] or "", NAMES, POINTERS))
    return int(step.get("reply_length", given if given is not None else 0))


def number_of(error: str) -> int:
    return 0 if error == "ok" else int(getattr(errno, error))


def differences(step: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    """What is not as it should be, in words."""
    found = []
    if seen["errno"] != number_of(step["errno"]):
        found.append(f"{errno.errorcode.get(seen['errno'], 'ok')}, not {step['errno']}")
    for part, wanted in (("outer", step), ("inner", step.get("inner"))):
        if wanted is None:
            continue
        got = seen[part]
        value = overlay(got["before"], wanted.get("reply"))
        if wanted.get("more"):  # the rest of it is the kernel's
            value, got["value"] = wanted["reply"], got["value"][: len(wanted["reply"])]
        if got["value"] != value and "mapped" not in wanted:  # else as far as the kernel came
            found.append(f"{part} {got['value']}, not {value}")
        if got["length"] != expected_length(wanted):
            found.append(f"{part} length {got['length']}, not {expected_length(wanted)}")
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("who", WHO)
def test_vectors(lab: Lab, request: pytest.FixtureRequest, who: str, way: str, scenario: str) -> None:
    if way == "library" and not LIBRARY.exists():
        missing(f"no {LIBRARY}: `make lib` builds it")
    description = {**SCENARIOS[scenario], "names": NAMES}
    argv = [*as_user(who, request), *WAYS[way]]
    process = lab.run_client(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate(json.dumps(description))
    results = [json.loads(line) for line in output.splitlines()]
    wrong = [result["failed"] for result in results if "failed" in result]
    steps = [step for step in description["steps"] if "call" in step]
    answered = [result for result in results if "failed" not in result]
    for step, seen in zip(steps, answered, strict=False):
        wrong += [f"{step['name']} ({step['option']}): {what}" for what in differences(step, seen)]
    assert not wrong, "\n".join([f"{scenario}:", *wrong])
    assert (len(answered), process.returncode, errors) == (len(steps), 0, "")


def test_the_comparison_can_fail() -> None:
    step: dict[str, Any] = {"errno": "ok", "value": "aa*4", "reply": "01", "reply_length": 1}
    right: dict[str, Any] = {
        "errno": 0,
        "outer": {"before": "aaaaaaaa", "value": "01aaaaaa", "length": 1},
        "inner": None,
    }
    assert differences(step, right) == []
    for change in ({"value": "01aaaa00"}, {"value": "02aaaaaa"}, {"length": 4}):
        assert differences(step, {**right, "outer": {**right["outer"], **change}})
    assert differences(step, {**right, "errno": errno.EINVAL})
