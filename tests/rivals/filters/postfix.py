"""A milter for Postfix that goes wrong at the end of a message for victim@: postfix.py HOW PORT CALLS-FILE."""

import sys

import Milter

from misbehave import misbehave, was_called

HOW, PORT, CALLS = sys.argv[1:4]


class Misbehaving(Milter.Base):
    def envfrom(self, sender, *parameters):
        self.recipients = []
        return Milter.CONTINUE

    def envrcpt(self, recipient, *parameters):
        self.recipients.append(recipient)
        return Milter.CONTINUE

    def eom(self):
        if was_called(CALLS, self.recipients):
            misbehave(HOW)
        return Milter.ACCEPT


Milter.factory = Misbehaving
Milter.runmilter("misbehaving", f"inet:{PORT}@127.0.0.1")
