"""A filter for OpenSMTPD that goes wrong at the end of a message for victim@: opensmtpd.py HOW CALLS-FILE."""

import sys

from misbehave import misbehave, was_called

HOW, CALLS = sys.argv[1:3]
recipients = {}


def say(*lines):
    for line in lines:
        print(line, flush=True)


for line in sys.stdin:
    words = line.rstrip("\n").split("|")
    if words[:2] == ["config", "ready"]:
        say("register|report|smtp-in|tx-begin", "register|report|smtp-in|tx-rcpt", "register|filter|smtp-in|commit", "register|ready")
    elif words[0] == "report" and words[4] == "tx-begin":
        recipients[words[5]] = []
    elif words[0] == "report" and words[4] == "tx-rcpt":
        recipients.setdefault(words[5], []).append(words[-1])
    elif words[0] == "filter":
        session, token = words[5:7]
        if was_called(CALLS, recipients.get(session, [])):
            misbehave(HOW)
        say(f"filter-result|{session}|{token}|proceed")
