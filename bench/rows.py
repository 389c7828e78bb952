# SPDX-License-Identifier: MIT OR Apache-2.0
"""What is measured, against what, and the bar: one line per ratio in the report.

To add a measurement: give the programs a new kind of work (program.h), or write a function that yields samples like
`measure.interleaved`, and add its rows here.
"""

from __future__ import annotations

from dataclasses import dataclass

SUBFLOWS = (1, 2, 8, 64)


@dataclass(frozen=True)
class Side:
    """One side of a ratio: a program and the work that it is asked for."""

    program: str
    work: str = "list"


@dataclass(frozen=True)
class Row:
    """Ours against the reference: the ratio of their times, and the most it may be."""

    title: str
    ours: Side
    reference: Side
    bar: float | None
    subflows: tuple[int, ...] = SUBFLOWS


@dataclass(frozen=True)
class Table:
    """Rows that are measured together, in turn, on one connection."""

    title: str
    text: str
    rows: tuple[Row, ...]


PYTHON_READ = Side("python", "read_list")
C, C_NEW, C_DETAIL = (Side("reference-c", work) for work in ("list", "list_new", "detail"))
GO, PYTHON = Side("reference-go"), Side("reference-python")
AGAIN = "hand-written C against itself (noise)"

LISTING = Table(
    "Listing the subflows",
    "One call that lists all subflows, without detail.",
    (
        Row(AGAIN, Side("reference-c-again"), C, None),
        Row("C: mptcpapi_subflows", Side("c"), C, 1.05),
        Row("Rust: subflows_into, a vector used again", Side("rust"), C, 1.05),
        Row("Rust: subflows, a new vector (of C: a new array)", Side("rust", "list_new"), C_NEW, 1.05),
        Row("Go: AppendSubflows, a slice used again", Side("go"), GO, 1.2),
        Row("Python: subflows()", Side("python"), PYTHON, 1 / 1.8),
        Row("Python: subflows(), and every field read", PYTHON_READ, Side("reference-python", "read_list"), 1 / 1.8),
        Row("Python: subflows(), against named tuples", Side("python"), Side("reference-python", "list_tuples"), None),
        Row("the same, and every field read", PYTHON_READ, Side("reference-python", "read_list_tuples"), None),
        Row("Python against our C: subflows()", Side("python"), Side("c"), 1.6, (8,)),
    ),
)

DETAIL = Table(
    "Listing the subflows with detail",
    "The listing, and one exact sock_diag look-up per subflow.",
    (
        Row(AGAIN, Side("reference-c-again", "detail"), C_DETAIL, None),
        Row("C: mptcpapi_subflows, MPTCPAPI_DETAIL", Side("c", "detail"), C_DETAIL, 1.1),
        Row("Rust: subflows_detail", Side("rust", "detail"), C_DETAIL, 1.1),
    ),
)

TABLES = (LISTING, DETAIL)


def sides(table: Table, subflows: int, programs: set[str]) -> list[Side]:
    """All sides that take part, each once."""
    pairs = [(row.ours, row.reference) for row in table.rows if subflows in row.subflows]
    return list(dict.fromkeys(side for pair in pairs if {one.program for one in pair} <= programs for side in pair))
