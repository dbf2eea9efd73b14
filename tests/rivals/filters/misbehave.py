"""Five ways in which a filter can go wrong, for the filters written in Python."""

import os
import time

A_DAY_SECONDS = 24 * 60 * 60
BLOCK_OCTETS = 1 << 20


def misbehave(how):
    if how == "loop":
        while True:
            pass
    elif how == "throw":
        raise RuntimeError("this filter fails on purpose")
    elif how == "exit":
        os._exit(3)
    elif how == "hang":
        time.sleep(A_DAY_SECONDS)
    elif how == "memory":
        kept = []
        while True:
            # Filled, so that the memory is real.
            kept.append(b"\1" * BLOCK_OCTETS)


def was_called(calls, recipients):
    """Notes a call where the script counts them; says whether this message is the one to go wrong at."""
    with open(calls, "a", encoding="utf-8") as file:
        file.write(" ".join(recipients) + "\n")
    return any("victim@" in recipient for recipient in recipients)
