"""What daemons send, on record: each answer, item and error that a test's client receives is
written to a file in $SLOT_TEST_RECORD, for tests/openrpc/check.js to hold it against the document
of rpc.discover.  The first MAX of each kind that a process sees are enough."""

import collections
import json
import os
from pathlib import Path

MAX = 300
LONGEST = 1 << 16


class Record:
    """What one connection receives."""

    counts = collections.Counter()
    file = None

    def __init__(self):
        self.on = bool(os.environ.get("SLOT_TEST_RECORD"))
        self.methods = {}

    def sent(self, request, method):
        if self.on:
            self.methods.setdefault(request, method)

    def sent_raw(self, data):
        """Lines that a test wrote by hand, good or bad."""
        if not self.on or len(data) > LONGEST:
            return
        for line in data.split(b"\n"):
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(message, dict) and isinstance(message.get("id"), (int, str)):
                self.sent(message["id"], message.get("method"))

    def received(self, message):
        if self.on:
            self._received(message)

    def _received(self, message):
        if "method" in message:
            params = message.get("params", {})
            method = self.methods.get(params.get("stream"))
            self._keep(method, message["method"], notice=message["method"], params=params)
            return
        method = self.methods.pop(message["id"], None)
        if "error" in message:
            self._keep(method, message["error"].get("data", {}).get("kind"),
                       error=message["error"])
        else:
            self._keep(method, None, result=message["result"])

    @classmethod
    def _keep(cls, method, sort, **entry):
        cls.counts[method, sort] += 1
        # An id may stand twice in what a test writes by hand; then it isn't known whose this is.
        if cls.counts[method, sort] > MAX or (method is None and "error" not in entry):
            return
        if cls.file is None:
            path = Path(os.environ["SLOT_TEST_RECORD"]) / f"traffic-{os.getpid()}"
            cls.file = open(path, "a", encoding="utf-8", buffering=1)
        cls.file.write(json.dumps({"method": method, **entry}) + "\n")
