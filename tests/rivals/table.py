#!/usr/bin/env python3
"""Makes the table of docs/security.md from what watch.py saw: table.py SEEN-FOLDER PAGE.

Every cell says what was seen and nothing else; a case that was not run has no row.
"""

import json
import os
import pathlib
import re
import sys

BEGIN, END = "<!-- made by make rivals -->", "<!-- end of what make rivals made -->"
SERVERS = {"postfix": "Postfix", "haraka": "Haraka", "opensmtpd": "OpenSMTPD", "basin": "Basin"}
MISBEHAVIOURS = {
    "loop": "computes without end",
    "throw": "throws, or panics",
    "throw-later": "throws in a callback",
    "exit": "exits its process",
    "hang": "waits for ever",
    "memory": "allocates without end",
}
# Of a log line; the end of a long one is seldom the news.
LOG_CHARACTERS = 150
LOG_LINES = 2
# Of a core; less is what any server does for itself.
BUSY = 0.1
COLUMNS = ["the filter", "server", "its client got", "other mail meanwhile", "processes", "memory", "the next messages", "log"]


def duration(value):
    if value < 0.1:
        return "0.1 s"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def after(value):
    """Shorter times than these say more of the machine than of the server."""
    return f"within {duration(value)}" if value < 0.1 else f"after {duration(value)}"


def reply(seen, bound):
    if seen["reply"] is None:
        return f"no answer in {bound:.0f} s"
    if seen["reply"].startswith("connection"):
        return f"{seen['reply']} {after(seen['seconds'])}"
    return f"`{without_ids(seen['reply'])}` {after(seen['seconds'])}"


def without_ids(text):
    """Queue ids, session ids and process ids are of no use to a reader; nor are the folders of a test run."""
    text = re.sub(r"(?<=[\s(])/\S*/", "", text)
    text = re.sub(r"\bpid \d+", "pid ..", text)
    text = re.sub(r"\b[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}(\.\d+)?\b", "..", text)
    return re.sub(r"\b(?=\w*\d)(?=\w*[A-Fa-f])[0-9A-Fa-f]{8,}(-[0-9a-f]{16})?\b", "..", text)


def others(seen):
    beside = seen["beside"]
    counts = {"250": beside["accepted"]}
    for what, count in beside["others"].items():
        kind = what[:3] if what[:3].isdigit() else what if what.startswith("connection") else "no answer"
        counts[kind] = counts.get(kind, 0) + count
    text = ", ".join(f"{count} {'x' if kind.startswith('connection') else 'got'} {kind}" for kind, count in counts.items())
    text += f" in {duration(seen['watched'])}"
    if beside["accepted"]:
        text += f"; slowest 250 {after(beside['slowest'])} ({after(seen['quiet']['slowest'])} in the 3 s before)"
    if beside["waiting"]:
        text += f"; {beside['waiting']} of 4 connections still waited, the longest for {duration(beside['waited'])}"
    return text


def processes(seen):
    def state(at):
        parts = [f"{name} {'lives' if lives else 'is dead'}" for name, lives in at.items() if lives is not None]
        return ", ".join(parts)

    text = state(seen["lived"])
    if seen["killed_for_memory"]:
        processes_killed = "1 process" if seen["killed_for_memory"] == 1 else f"{seen['killed_for_memory']} processes"
        text += f"; the kernel killed {processes_killed} for memory"
    if seen["busy_after"] >= BUSY:
        text += f"; {seen['busy_after'] * 100:.0f} % of a core used after all clients had gone"
    return text


def memory(seen):
    def part(name):
        return f"{seen['at_rest'][name]:.0f} to {seen['peak'][name]:.0f} MiB"

    return part("server") if not seen["peak"]["filter"] else f"server {part('server')}; filter {part('filter')}"


def next_messages(server, seen):
    def one(message):
        answer = message["reply"]
        answer = "no answer in 10 s" if answer is None else answer if answer.startswith("connection") else answer[:3]
        return f"{answer}, filter {'called' if message['called'] else 'not called'}"

    # At Basin a rule keeps ordinary mail from the sink; the other filters see all of it.
    ordinary = one(seen["next"]) if server != "basin" else one(seen["next"]).split(",")[0]
    return f"ordinary: {ordinary}; the same again: {one(seen['again'])}"


def log(seen):
    if not seen["log"]:
        return "nothing"
    lines = dict.fromkeys(without_ids(line) for line in seen["log"])
    cut = [line if len(line) <= LOG_CHARACTERS else line[:LOG_CHARACTERS] + " ..." for line in lines]
    return "; ".join(f"`{line}`" for line in cut[:LOG_LINES])


def rows(folder):
    for how, what in MISBEHAVIOURS.items():
        for server, name in SERVERS.items():
            path = folder / f"{server}-{how}.json"
            if path.exists():
                seen = json.loads(path.read_text(encoding="utf-8"))
                cells = [what, name, reply(seen["victim"], seen["bound"]), others(seen), processes(seen), memory(seen)]
                cells += [next_messages(server, seen), log(seen)]
                yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page(folder):
    dates = sorted({json.loads(path.read_text(encoding="utf-8"))["date"] for path in folder.glob("*.json")})
    yield f"Seen on {' and '.join(dates)}, on a machine with {os.cpu_count()} cores:"
    yield ""
    for server in [*SERVERS, "box"]:
        about = folder / f"{server}.about"
        if about.exists():
            yield f"* {about.read_text(encoding='utf-8').strip()}"
    yield ""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    yield from rows(folder)


def main():
    folder, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    made = "\n".join(page(folder))
    print(made)
    text = target.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{target} lacks the comments that the table stands between")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    target.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
