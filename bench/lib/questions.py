# SPDX-License-Identifier: MIT
"""The questions, by the names that --only takes, and how long each takes in a quick and in a full run."""

from measures import bulk, dial_rate, dialing, fairness, keystrokes, round_trip, round_trip_busy
from paths import PATH_CLASSES
from peers import PEER_CLASSES

PATHS = {cls.name: cls for cls in (*PATH_CLASSES, *PEER_CLASSES)}

# On loopback, interleaved over all paths: name → a function of the seconds of a run and whether it is full.
LOOP = {
    "up-1": lambda s, full: bulk("up", 1, s),
    "down-1": lambda s, full: bulk("down", 1, s),
    "both-1": lambda s, full: bulk("both", 1, s),
    "up-16": lambda s, full: bulk("up", 16, s),
    "down-16": lambda s, full: bulk("down", 16, s),
    "both-16": lambda s, full: bulk("both", 16, s),
    "fair-64": lambda s, full: fairness(64, 2 * s),
    "ping-64": lambda s, full: round_trip(64, 0.7 * s),
    "ping-16384": lambda s, full: round_trip(16384, 0.7 * s),
    "ping-busy": lambda s, full: round_trip_busy(1.6 * s),
    "dial": lambda s, full: dialing(200 if full else 100, 1.2 * s),
    "dials": lambda s, full: dial_rate(1000 if full else 300, s),
}
QUICK = ("up-1", "down-1", "both-1", "up-16", "ping-64", "ping-16384", "ping-busy", "dial", "dials")

# On an emulated path: round trip in ms, and the measures there.
RTTS = {"rtt-0": 0, "rtt-20": 20, "rtt-100": 100}
QUICK_RTTS = ("rtt-100",)
KEYS_PATH = {"round_ms": 20, "rate_mbit": 20, "queue_kb": 250}  # the queue: 100 ms
KEYS_PATHS = ("ssh-gcm", "cbx-ssh", "cbx-relay")
IDLE_PATHS = ("ssh-gcm", "cbx-ssh", "cbx-relay", "cbx-direct")

ALONE = {
    "keys": "keystrokes beside a full upload, on an emulated path of 20 Mbit/s and 20 ms",
    "idle": "memory of streams that stand, by process",
    "memory": "memory of the whole path after bulk, alone on the machine",
    "scale": "a hub with many attached agents, in the simulator",
    "micro": "frames, seals and the switch by themselves",
}
QUESTIONS = (*LOOP, *RTTS, *ALONE)


class Size:
    """How much of each question."""

    def __init__(self, given):
        full = given.full
        self.full = full
        self.seconds = given.seconds or (0.8 if full else 0.25)
        self.rounds = given.rounds or (5 if full else 3)
        self.emulated_rounds = given.rounds or (2 if full else 1)
        self.idle = given.idle or (10000 if full else 2000)
        self.memory_gb = given.memory_gb
        self.agents = 1000 if full else 300
        self.asked = tuple(given.questions)

    def wants(self, name):
        quick_too = name in QUICK or name in QUICK_RTTS or name in ALONE
        return name in self.asked if self.asked else self.full or quick_too

    def loop(self):
        return [make(self.seconds, self.full) for name, make in LOOP.items() if self.wants(name)]

    def emulated(self, round_ms):
        """Longer where the round trip is: a window needs many of them to open."""
        seconds = (1.5 + round_ms / 40) * self.seconds / (0.8 if self.full else 0.25)
        found = [bulk("up", 1, seconds), bulk("down", 1, seconds)]
        if self.full:
            found += [bulk("up", 16, seconds), round_trip(64, 1.0), dialing(40, 1.5)]
        return found

    def keys(self):
        return [keystrokes(8.0 if self.full else 5.2)]

    def memory_bytes(self, name):
        """100 GB through the path that is meant for bulk, of a full run; some through the others."""
        if self.memory_gb:
            return self.memory_gb * 1e9
        if self.full:
            return 100e9 if name == "cbx-relay" else 2e9
        return 0.2e9
