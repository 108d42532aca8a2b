# SPDX-License-Identifier: MIT
"""Somebody else's stream, which goes on whatever a test does to the hub or to another peer."""

import os
import select
import threading
import time

from conftest import Pair
from world import until

LINE = 64
PATIENCE = 15.0  # seconds without a byte that count as stopped: the machine may be busy


class Bystander:
    """Lines through a real `dial` to web's echo and back, one after the other, in a thread."""

    def __init__(self, pair):
        self.child = pair.cli.dial_open("web.cbx:8080")
        self.count, self.error = 0, None
        self.stopped = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        pair.world.closers.append(self.stop)
        self.thread.start()

    def stop(self):
        self.stopped = True
        self.thread.join(PATIENCE + 5)

    def _echo(self, line):
        self.child.stdin.write(line)
        back, end = b"", time.monotonic() + PATIENCE
        while len(back) < len(line):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.child.stdout], [], [], left)[0], "no echo"
            part = os.read(self.child.stdout.fileno(), len(line) - len(back))
            assert part, "the stream ended"
            back += part
        assert back == line, (back, line)

    def _run(self):
        try:
            while not self.stopped:
                self._echo(b"%*d\n" % (LINE - 1, self.count))
                self.count += 1
                time.sleep(0.005)
        except Exception as error:
            self.error = error

    def goes_on(self):
        """Three more lines from now on."""
        wanted = self.count + 3

        def look():
            assert self.error is None, f"the bystander's stream broke: {self.error!r}"
            return self.count >= wanted

        until("the bystander's stream goes on", look, PATIENCE)


class Watched(Pair):
    """A pair with a bystander, and counters to compare."""

    def start(self, expose=()):
        super().start(expose)
        self.bystander = Bystander(self)
        self.bystander.goes_on()
        return self

    def unharmed(self):
        for process in (self.hub.process, self.web.process, self.cli.process):
            assert process.running(), f"{process.name} ended: {process.stderr()}"
        self.bystander.goes_on()

    def hub_counters(self):
        status = self.hub.json("status")
        return {**status["door"], **status["counters"], **status["counters"]["refused"]}

    def agent_counters(self, agent):
        return agent.status()["mesh"]["counters"]


class Counted:
    """with Counted(read, "name", …): each of these counters has grown at the end."""

    def __init__(self, read, *names):
        self.read, self.names = read, names

    def __enter__(self):
        self.before = self.read()
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            for name in self.names:
                until(f"{name} is counted", lambda: self.read().get(name, 0) > self.before.get(name, 0), 5)
