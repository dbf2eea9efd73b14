#!/usr/bin/env python3
"""Sends one message to the filter that goes wrong and ordinary mail beside it; prints what was seen as JSON.

The filter goes wrong at mail for victim@DOMAIN alone. Four connections send mail for other@DOMAIN meanwhile: three that
stay open and one that connects anew for each message.
"""

import argparse
import json
import re
import socket
import threading
import time
import urllib.request

from processes import Processes

# What the other connections are watched for before the message, so that there is something to compare with.
QUIET_SECONDS = 3
# They are watched at least as long once it is sent, however soon it is answered.
LEAST_SECONDS = 5
# What a message after it may take: long enough to see whether the filter is called.
NEXT_SECONDS = 10
# Over how long the work that is left behind is measured.
AFTERMATH_SECONDS = 3
PAUSE_SECONDS = 0.2
KEPT_CONNECTIONS = 3

MESSAGE = (
    "From: <sender@client.example>\r\nTo: <{to}>\r\nSubject: a message\r\n"
    "Date: Fri, 01 Jan 2027 00:00:00 +0000\r\nMessage-ID: <{id}@client.example>\r\n\r\nHello.\r\n.\r\n"
)


class Closed(Exception):
    """The connection ended where a reply was due."""


class Client:
    """One connection; every reply is due within `patience` seconds."""

    def __init__(self, port, patience):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=patience)
        self.buffer = b""
        self.reply()
        self.command("EHLO client.example")

    def reply(self):
        lines = []
        while True:
            while b"\n" not in self.buffer:
                octets = self.socket.recv(4096)
                if not octets:
                    raise Closed()
                self.buffer += octets
            line, self.buffer = self.buffer.split(b"\n", 1)
            lines.append(line.decode("utf-8", "replace").strip())
            if lines[-1][3:4] != "-":
                return lines[-1]

    def command(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def deliver(self, recipient):
        """The reply to the message, or the first that refuses a step of it."""
        for line, wanted in [
            ("MAIL FROM:<sender@client.example>", "2"),
            (f"RCPT TO:<{recipient}>", "2"),
            ("DATA", "3"),
        ]:
            reply = self.command(line)
            if not reply.startswith(wanted):
                if not reply.startswith("421"):
                    self.command("RSET")
                return f"{reply} (to {line.split(':')[0].split()[0]})"
        self.socket.sendall(MESSAGE.format(to=recipient, id=time.monotonic_ns()).encode())
        return self.reply()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


def attempt(deliver):
    """A reply, or what came in its place, and after how many seconds."""
    start = time.monotonic()
    try:
        outcome = deliver()
    except ConnectionRefusedError:
        outcome = "connection refused"
    except TimeoutError:
        outcome = None
    except (Closed, OSError):
        outcome = "connection closed"
    return outcome, time.monotonic() - start


class Sender(threading.Thread):
    """Sends ordinary mail, one message after the other, and notes when each began, what came of it and how long it took."""

    def __init__(self, port, recipient, is_kept, patience):
        super().__init__(daemon=True)
        self.port, self.recipient, self.is_kept, self.patience = port, recipient, is_kept, patience
        self.ended = threading.Event()
        self.client = None
        self.under_way = None
        self.seen = []

    def run(self):
        while not self.ended.is_set():
            self.under_way = time.monotonic()
            outcome, seconds = attempt(self.one)
            if not self.ended.is_set():
                self.seen.append((self.under_way, outcome, seconds))
            self.under_way = None
            if self.client and (not self.is_kept or outcome in (None, "connection closed") or outcome.startswith("421")):
                self.client.close()
                self.client = None
            self.ended.wait(PAUSE_SECONDS)

    def one(self):
        if self.client is None:
            self.client = Client(self.port, self.patience)
        return self.client.deliver(self.recipient)

    def end(self):
        """Ends it; what it still waits for, and since when."""
        waiting = self.under_way
        self.ended.set()
        if self.client:
            self.client.close()
        return waiting


def code_of(outcome):
    return "nothing" if outcome is None else outcome


def beside(senders, since, until, waiting):
    """What came of ordinary mail that was under way in this time."""
    accepted, slowest, others = 0, 0.0, {}
    for start, outcome, seconds in (seen for sender in senders for seen in sender.seen):
        if start > until or start + seconds < since:
            continue
        if outcome is not None and outcome.startswith("250"):
            accepted += 1
            slowest = max(slowest, seconds)
        else:
            # A queue id or a process id would make each a kind of its own.
            kind = re.sub(r"\b[0-9A-Fa-f-]{6,}[.0-9]*\b", "..", code_of(outcome))
            others[kind] = others.get(kind, 0) + 1
    held = [until - start for start in waiting if start is not None and until - start > 1]
    return {"accepted": accepted, "slowest": slowest, "others": others, "waiting": len(held), "waited": max(held, default=0)}


def calls(arguments):
    """How often the filter was called, as itself or the server counts."""
    try:
        if arguments.metrics:
            with urllib.request.urlopen(f"http://127.0.0.1:{arguments.metrics}/metrics", timeout=5) as page:
                lines = page.read().decode().splitlines()
            counts = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("basin_sink_invocations_total{")]
            return sum(int(float(count)) for count in counts)
        with open(arguments.calls, encoding="utf-8") as file:
            return len(file.readlines())
    except OSError:
        return 0


def next_message(arguments, recipient):
    """A message on a new connection: its reply and whether the filter was called for it."""
    before = calls(arguments)
    outcome, seconds = attempt(lambda: Client(arguments.port, NEXT_SECONDS).deliver(recipient))
    time.sleep(0.2)
    return {"reply": outcome, "seconds": seconds, "called": calls(arguments) > before}


def log_lines(path, since, until, pattern):
    """Lines between these octets that the pattern is found in, from where it is; each once."""
    with open(path, "rb") as file:
        file.seek(since)
        text = file.read(until - since).decode("utf-8", "replace")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    found = [match.group(0) for match in (re.search(pattern, line) for line in text.splitlines()) if match]
    return list(dict.fromkeys(found))[:6]


def size_of(path):
    with open(path, "rb") as file:
        return file.seek(0, 2)


def watch(arguments):
    bound, port, domain = arguments.bound, arguments.port, arguments.domain
    processes = Processes(arguments.server_pid, arguments.filter_pid, arguments.filter_name, arguments.has_worker, arguments.box)
    senders = [Sender(port, f"other@{domain}", number < KEPT_CONNECTIONS, bound) for number in range(KEPT_CONNECTIONS + 1)]
    victim = Client(port, bound)
    for sender in senders:
        sender.start()
    time.sleep(QUIET_SECONDS)
    at_rest = processes.peak()
    log_offset = size_of(arguments.log)
    started = time.monotonic()
    reply, seconds = attempt(lambda: victim.deliver(f"victim@{domain}"))
    time.sleep(max(0.0, started + LEAST_SECONDS - time.monotonic()))
    ended = time.monotonic()
    waiting = [sender.end() for sender in senders]
    victim.close()
    for sender in senders:
        sender.join(1)
    lived = processes.lived()
    killed = processes.killed_for_memory()
    left_over = processes.cpu_seconds()
    time.sleep(AFTERMATH_SECONDS)
    left_over = processes.cpu_seconds() - left_over
    log = log_lines(arguments.log, log_offset, size_of(arguments.log), arguments.log_pattern)
    peak = processes.peak()
    seen = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "bound": bound,
        "quiet": beside(senders, started - QUIET_SECONDS, started, []),
        "victim": {"reply": reply, "seconds": seconds},
        "watched": ended - started,
        "beside": beside(senders, started, ended, waiting),
        "lived": lived,
        "at_rest": at_rest,
        "busy_after": left_over / AFTERMATH_SECONDS,
        "next": next_message(arguments, f"other@{domain}"),
        "again": next_message(arguments, f"victim@{domain}"),
        "lived_at_end": processes.lived(),
        "peak": peak,
        "killed_for_memory": killed,
        "log": log,
    }
    processes.end()
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--bound", type=float, required=True, help="seconds that a reply is waited for")
    parser.add_argument("--server-pid", type=int, required=True)
    parser.add_argument("--filter-pid", type=int, help="of a filter that the server did not start")
    parser.add_argument("--filter-name", help="what the command line of the filter's process has")
    parser.add_argument("--has-worker", action="store_true", help="the server's one child runs the filter")
    parser.add_argument("--box", default="", help="the control group of both, where there is one")
    parser.add_argument("--log", required=True)
    parser.add_argument("--log-pattern", required=True)
    parser.add_argument("--calls", help="a file that the filter writes a line to at each call")
    parser.add_argument("--metrics", type=int, help="the port of a Basin that counts calls")
    print(json.dumps(watch(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
