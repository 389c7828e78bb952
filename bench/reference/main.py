# SPDX-License-Identifier: MIT OR Apache-2.0
"""The hand-written Python code as a measured program."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import listing
import program

program.serve(
    list=lambda fd: partial(listing.subflows, fd),
    list_tuples=lambda fd: partial(listing.subflow_tuples, fd),
)
