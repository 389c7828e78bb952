# SPDX-License-Identifier: MIT OR Apache-2.0
"""The example programs and those of the README, run in the lab."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
sys.path[:0] = [str(TOP / "tests/lab"), str(HERE / "demo")]

from lab import Lab, LabError, command_path, wait_until  # noqa: E402
from paper import run_program  # noqa: E402
from peer import sha256_of_source  # noqa: E402
from unprivileged import an_agent, as_nobody  # noqa: E402

BUILT = TOP / "build/examples"
LANGUAGES = ("c", "python", "go", "rust")


def program(name: str, language: str) -> list[str]:
    if language == "python":
        return [sys.executable, str(HERE / f"python/{name}.py")]
    return [str(BUILT / f"{name}-{language}")]


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    marker = request.node.get_closest_marker("lab")
    try:
        made = Lab(**(marker.kwargs if marker else {}))
    except LabError as error:
        if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
            raise
        pytest.skip(f"no lab here: {error}")
    with made:
        made.start_peer()
        yield made


def run(lab: Lab, argv: list[str]) -> str:
    process = lab.run_client(argv, stdout=subprocess.PIPE, text=True)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return str(output)


@pytest.mark.parametrize("language", LANGUAGES)
def test_subflows(lab: Lab, language: str) -> None:
    server, port = lab.server_address(1), "5201"
    arguments = [f"{server}:{port}"] if language in ("go", "rust") else [server, port]
    assert lab.server_address(1) in run(lab, [*program("subflows", language), *arguments])


def test_the_same_table_in_every_language(lab: Lab) -> None:
    import mptcpapi

    with lab.enter():
        sock = mptcpapi.create_connection((lab.server_address(1), 5201), timeout=5)
    with sock:
        sock.sendall(b"hold\n")
        sock.recv(1)
        wait_until(lambda: len(mptcpapi.Connection(sock).subflows()) == 2, "two subflows")
        number = sock.fileno()
        shown = {
            subprocess.run(
                [*program("table", language), str(number)],
                pass_fds=[number],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for language in LANGUAGES
        }
    assert len(shown) == 1
    assert len(shown.pop().splitlines()) == 2


def test_events_in_a_tokio_program(lab: Lab) -> None:
    lines = run(lab, [*program("watch_tokio", "rust"), f"{lab.server_address(1)}:5201"]).splitlines()
    assert lines[-1] == "subflow_established subflow Some(2)", lines


@pytest.mark.lab(endpoints=False, rate="50mbit")
@pytest.mark.parametrize("failure", ["link", "cut"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_handover(lab: Lab, language: str, failure: str) -> None:
    """The stream survives the loss of its only path, whole."""
    size = 12_000_000
    arguments = [lab.server_address(1), "5201", lab.client_address(2), lab.server_address(2), str(size)]
    process = lab.run_client([*program("handover", language), *arguments], stdout=subprocess.PIPE, text=True)
    time.sleep(0.7)
    lab.link(1, up=False) if failure == "link" else lab.cut(1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    result = json.loads(output)
    assert result["bytes"] == size and result["sha256"] == sha256_of_source(size)
    assert result["noticed"] == ("link_down" if failure == "link" else "stalled")
    assert result["subflows_at_the_end"] == 1


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's."""
    monkeypatch.setenv("MPTCPAPI_COMMAND", str(Path(sys.executable).with_name("mptcpapi")))


@pytest.fixture
def bpf(lab: Lab) -> None:
    try:
        lab.load_bpf()
    except LabError as error:
        if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
            raise
        pytest.skip(f"NO BPF: {error}")


COUNTERS = """
table inet seen {
  counter path1_ef {}
  counter path1_other {}
  counter path2_cs1 {}
  counter path2_other {}
  chain in {
    type filter hook input priority 0;
    tcp flags syn return
    iifname "path1" ip dscp ef counter name path1_ef return
    iifname "path1" counter name path1_other
    iifname "path2" ip dscp cs1 counter name path2_cs1 return
    iifname "path2" counter name path2_other
  }
}
"""


def bytes_seen(lab: Lab, counter: str) -> int:
    """What has come to the server."""
    text = lab.server.run(["nft", "list", "counter", "inet", "seen", counter])
    return int(re.search(r"bytes (\d+)", text)[1])  # type: ignore[index]


def subflows_of_ss(lab: Lab) -> list[dict[str, str | None]]:
    """What ss says of each path's subflow."""
    words = {"tos": r"\btos:(\S+)", "limit": r"\bpacing_rate \d+bps/(\d+)bps", "name": r"\b(reno|cubic|bbr)\b"}
    lines = lab.client.run(["ss", "-tinemOH", "--tos", "dport", "=", ":5201"]).splitlines()
    lines.sort(key=lambda line: line.split()[3])  # by local address: the queues' lengths come before it
    found = [{name: re.search(pattern, line) for name, pattern in words.items()} for line in lines]
    return [{name: match and match[1] for name, match in matches.items()} for matches in found]


@pytest.mark.parametrize("language", LANGUAGES)
def test_options(lab: Lab, bpf: None, language: str) -> None:
    """Each subflow has its own, by the program's word, by that of ss, and in the packets that arrive."""
    allowed = lab.client.run(["sysctl", "-n", "net.ipv4.tcp_allowed_congestion_control"]).split()
    other = next((name for name in allowed if name != "reno"), "reno")
    lab.nft_server(COUNTERS)
    arguments = [lab.server_address(1), "5201", "60"]
    with lab.run_client([*program("options", language), *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert [process.stdout.readline().rstrip() for _ in range(4)] == [
            "before  1  10.77.1.1  tos 0x00  no limit  reno",
            "before  2  10.77.2.1  tos 0x00  no limit  reno",
            "after   1  10.77.1.1  tos 0xb8  1000000 B/s  reno",
            f"after   2  10.77.2.1  tos 0x20  no limit  {other}",
        ]
        wait_until(lambda: sum(bytes_seen(lab, name) for name in ("path1_ef", "path2_cs1")) > 4_000_000, "all data")
        first, second = subflows_of_ss(lab)
        process.kill()
    assert first == {"tos": "0xb8", "limit": "8000000", "name": "reno"}
    # Where only one algorithm is allowed, the class still tells that the second one's options were set.
    assert second == {"tos": "0x20", "limit": None, "name": other}
    # Before, the request and the acknowledgement of the handshake; after, much.
    assert bytes_seen(lab, "path1_ef") > 20_000 and bytes_seen(lab, "path1_other") < 1000
    assert bytes_seen(lab, "path2_cs1") > 20_000 and bytes_seen(lab, "path2_other") < 1000


@pytest.fixture
def agent(command: None) -> Iterator[Path]:
    """In the network namespace of the tests; it needs rights there that an ordinary user has not."""
    with contextlib.ExitStack() as stack:
        try:
            place = stack.enter_context(an_agent())
        except RuntimeError as error:
            if os.environ.get("MPTCPAPI_EXPECT_ALL") == "1":
                raise
            pytest.skip(f"NO AGENT: {error}")
        yield place


@pytest.mark.lab(endpoints=False)
def test_second_path_of_an_ordinary_user(lab: Lab, agent: Path) -> None:
    """As in a container: the agent is in another network namespace."""
    assert "the agent" in as_nobody(lab, None)
    lines = as_nobody(lab, agent).splitlines()
    assert lines[0] == f"uid 65534 opened subflow 2 from {lab.client_address(2)}"
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]


@pytest.mark.lab(endpoints=False)
def test_program_for_the_paper(lab: Lab) -> None:
    """Alone it finds no such options; as it is in the demo, each of its calls is told."""
    assert run_program(lab, []) == "MPTCP_GET_SUB_IDS: Protocol not available\n"
    lines = run_program(lab, [command_path(), "run", "--trace", "--"]).splitlines()
    words = [re.sub(r"rtt \d+ us", "rtt", line) for line in lines if line.startswith(("the peer", "subflow"))]
    assert words == [
        "the peer says: hello by the first path",
        "subflow 2 from 10.77.2.1, rtt",
        "subflow 1 from 10.77.1.1, rtt",
        "the peer says: and by the second one",
        "subflow 2 from 10.77.2.1, rtt",
    ]
    calls = [name for line in lines if (name := re.search(r"MPTCP_(?:GET_SUB_TUPLE|OPEN_\w+|CLOSE_\w+|SUB_\w+)", line))]
    of_one = ["MPTCP_GET_SUB_TUPLE", "MPTCP_SUB_GETSOCKOPT"]
    assert [name[0] for name in calls] == ["MPTCP_OPEN_SUB_TUPLE", *of_one, *of_one, "MPTCP_CLOSE_SUB_ID", *of_one]


def readme_block(kind: str, which: int = 0) -> str:
    return re.findall(rf"```{kind}\n(.*?)```", (TOP / "README.md").read_text(), re.DOTALL)[which]


def localised(code: str, lab: Lab) -> str:
    """The README's program against the lab's peer, which wants to be told what to do first."""
    server = lab.server_address(1)
    code = code.replace('("server.example", 443)', f'("{server}", 5201)').replace(
        "server.example:443", f"{server}:5201"
    )
    code = code.replace("htons(443)", "htons(5201)").replace('"192.0.2.1"', f'"{server}"')
    return code.replace('"hello\\n", 6) != 6', '"echo\\nhello\\n", 11) != 11').replace("hello\\n", "echo\\nhello\\n", 1)


@pytest.mark.lab(endpoints=False)
def test_readme_python(lab: Lab) -> None:
    output = run(lab, [sys.executable, "-c", localised(readme_block("python"), lab)])
    assert output.splitlines()[-1] == "mptcp [2]"


@pytest.mark.lab(endpoints=False)
def test_readme_options(lab: Lab, bpf: None) -> None:
    assert run(lab, [sys.executable, "-c", localised(readme_block("python", 1), lab)]) == "1 0x0\n2 0xb8\n"


@pytest.mark.lab(endpoints=False)
def test_readme_c(lab: Lab, tmp_path: Path) -> None:
    source, built = tmp_path / "readme.c", tmp_path / "readme"
    source.write_text(localised(readme_block("c"), lab).replace('"echo\\necho\\n', '"echo\\n'))
    library = [str(TOP / "build/libmptcpapi.a"), "-lpthread", "-ldl"]
    subprocess.run(
        ["cc", "-Wall", "-Werror", f"-I{TOP / 'include'}", str(source), "-o", str(built), *library], check=True
    )
    assert len(run(lab, [str(built)]).splitlines()) == 2


@pytest.mark.timeout(900)  # the library and all that it needs is built from nothing
@pytest.mark.lab(endpoints=False)
def test_readme_rust(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.rs").write_text(localised(readme_block("rust"), lab))
    dependency = f'[dependencies]\nmptcpapi = {{ path = "{TOP / "core"}" }}\n'
    package = '[package]\nname = "readme"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n'
    (tmp_path / "Cargo.toml").write_text(package + dependency)
    (tmp_path / "Cargo.lock").write_bytes((TOP / "Cargo.lock").read_bytes())
    subprocess.run(
        ["cargo", "build", "-q"], cwd=tmp_path, check=True, env={**os.environ, "CARGO_TARGET_DIR": str(tmp_path / "t")}
    )
    assert run(lab, [str(tmp_path / "t/debug/readme")]).splitlines()[-1] == "mptcp 1"


@pytest.mark.timeout(900)
@pytest.mark.lab(endpoints=False)
def test_readme_go(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(localised(readme_block("go"), lab))
    module = "github.com/mptcpapi/mptcpapi/go"
    (tmp_path / "go.mod").write_text(
        f"module readme\n\ngo 1.19\n\nrequire {module} v0.0.0\n\nreplace {module} => {TOP / 'go'}\n"
    )
    subprocess.run(
        ["go", "build", "-o", "readme", "."], cwd=tmp_path, check=True, env={**os.environ, "GOFLAGS": "-mod=mod"}
    )
    assert len(run(lab, [str(tmp_path / "readme")]).splitlines()) == 2
