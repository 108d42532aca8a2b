# SPDX-License-Identifier: MIT
"""Where the programs of a path run: all on loopback, or on the two sides of an emulated path.

near is the dialing side, far the serving side with the hub. On an emulated path each side is a network namespace
of its own; bench/emulated_path.c makes both and moves the packets between them.
"""

import ctypes
import os
import socket
import time

from proc import Broken, Group, find, until

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Place:
    """Loopback of this machine."""

    name, text = "loop", "loopback"
    host = "127.0.0.1"  # of the far side, as the near side reaches it
    rate_mbit = None

    def inside(self, _side):
        """The words before a program's own that make it run on that side."""
        return []

    def socket(self, _side):
        return socket.socket()

    def free_port(self, side):
        with self.socket(side) as probe:
            probe.bind(("0.0.0.0", 0))
            return probe.getsockname()[1]

    def wait_port(self, group, side, host, port):
        """Until something accepts there, while the programs of the group live."""

        def look():
            group.check()
            with self.socket(side) as probe:
                return probe.connect_ex((host, port)) == 0

        until(f"{host}:{port} accepts", look)

    def cpu(self):
        return 0.0

    def stop(self):
        pass


class EmulatedPath(Place):
    """Two namespaces, round_ms apart, with a rate each way when given."""

    host = "10.77.0.2"

    def __init__(self, name, folder, build, round_ms, rate_mbit=None, queue_kb=None):
        self.name, self.rate_mbit = name, rate_mbit
        self.text = f"an emulated path of {round_ms} ms round trip"
        words = ["--delay-us", int(round_ms * 500)]
        if rate_mbit:
            self.text += f" and {rate_mbit} Mbit/s, with a queue of {queue_kb} KB"
            words += ["--rate", int(rate_mbit * 1e6), "--queue", queue_kb * 1000]
        if not find("nsenter"):
            raise Broken("nsenter is not installed")
        self.group = Group(folder)
        try:
            self.group.start("emulated-path", [build / "bench" / "emulated_path", *words])
            pid, *descriptors = self.group.expect("emulated-path", r"^ready (\d+) (\d+) (\d+)$").groups()
        except BaseException:
            self.stop()
            raise
        self.space = {side: f"/proc/{pid}/fd/{number}" for side, number in zip(("near", "far"), descriptors)}

    def inside(self, side):
        return ["nsenter", f"--net={self.space[side]}", "--"]

    def socket(self, side):
        """A socket belongs to the namespace that it was made in, whoever uses it."""
        own, other = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(self.space[side], os.O_RDONLY)
        try:
            if _libc.setns(other, CLONE_NEWNET) != 0:
                raise Broken(f"setns: {os.strerror(ctypes.get_errno())}")
            try:
                return socket.socket()
            finally:
                _libc.setns(own, CLONE_NEWNET)
        finally:
            os.close(own)
            os.close(other)

    def cpu(self):
        return sum(own + ended for _, own, ended in self.group.cpu().values())

    def stop(self):
        self.group.stop()


def why_not_emulated(folder, build):
    """Why no path can be emulated here, or None."""
    if os.geteuid() != 0:
        return "network namespaces and TUN devices need root"
    try:
        path = EmulatedPath("trial", folder / f"trial-{time.monotonic_ns()}", build, 0)
        path.stop()
    except (Broken, OSError) as broken:
        return f"no path could be emulated: {broken}"
    return None
