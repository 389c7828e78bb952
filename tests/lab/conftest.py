# SPDX-License-Identifier: MIT OR Apache-2.0
"""A shell starts what runs in the background with Ctrl-C ignored, and that is inherited."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
