# SPDX-License-Identifier: MIT
"""Real processes: started, counted and ended by their recorded ids, and what /proc says of them.

A tree is a recorded process with all its descendants, so that the sshd processes which a hub or an
sshd starts are counted with it. CPU times include those of children that ended and were waited for:
a tree's sum loses nothing when a process of it ends.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import time

TICK = 1 / os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()


class Broken(Exception):
    """A path or a measurement that cannot go on, with a text for people."""


def find(program):
    """The program's absolute path (sshd wants that), or None."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def until(what, probe, seconds=15.0):
    """Calls probe until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while not (value := probe()):
        if time.monotonic() > end:
            raise Broken(f"not within {seconds:g} s: {what}")
        time.sleep(0.03)
    return value


_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
CPUCLOCK_SCHED = 2  # of the kernel's clock ids of processes: what clock_getcpuclockid(3) gives


def _bound():
    """In a child before it becomes the program: it ends when we do, however we end."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _stat(pid):
    """(command, parent, own ticks, ticks of waited-for children, start time), or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    rest = text[text.rindex(")") + 2 :].split()
    return name, int(rest[1]), int(rest[11]) + int(rest[12]), int(rest[13]) + int(rest[14]), rest[19]


def _own_cpu(pid, stat):
    """Seconds of all its threads, also of those that ended: by its clock, since /proc counts hundredths."""
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return stat[2] * TICK


class Group:
    """The processes of one path, or of the load. Their output lies in files of one folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.started = []  # (name, Popen)
        self.environment = {
            "PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin",
            "HOME": str(folder),  # nobody's own ~/.ssh comes in
            "LANG": "C",
        }

    def output(self, name, stream="out"):
        return (self.folder / f"{name}.{stream}").read_text(errors="replace")

    def start(self, name, argv):
        argv = [str(word) for word in argv]
        with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.err", "wb") as err:
            child = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for us: we end them in their order
                preexec_fn=_bound,
            )
        self.started.append((name, child))

    def run(self, argv, seconds=40):
        """Runs a command to its end and returns what it printed; Broken when it fails."""
        argv = [str(word) for word in argv]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                env=self.environment,
                cwd=self.folder,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"{' '.join(argv)}: not done within {seconds} s") from None
        if done.returncode != 0:
            raise Broken(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
        return done

    def check(self):
        for name, child in self.started:
            if child.poll() is not None:
                raise Broken(f"{name} ended ({child.returncode}): {self.output(name, 'err').strip()[-400:]}")

    def expect(self, name, pattern, seconds=15.0):
        """Waits for a line in a program's output; returns the match."""

        def look():
            self.check()
            return re.search(pattern, self.output(name), re.MULTILINE)

        return until(f"{name} says {pattern!r}", look, seconds)

    def tree(self):
        """{pid: (label, stat)} of all our processes. A label is the program's name as we call it, or
        the name of the descendant's command below that."""
        every = {int(pid): _stat(pid) for pid in os.listdir("/proc") if pid.isdigit()}
        children = {}
        for pid, stat in every.items():
            if stat:
                children.setdefault(stat[1], []).append(pid)
        found = {}
        for name, child in self.started:
            waiting = [(child.pid, name)]
            while waiting:
                pid, label = waiting.pop()
                if every.get(pid):
                    found[pid] = (label, every[pid])
                for below in children.get(pid, []):
                    command = every[below][0]
                    waiting.append((below, f"{name}: {command}" if command != name else name))
        return found

    def end(self, name):
        """Ends one of them."""
        for entry in [entry for entry in self.started if entry[0] == name]:
            entry[1].terminate()
            entry[1].wait(10)
            self.started.remove(entry)

    def cpu(self):
        """{pid: (label, own seconds, seconds of ended children)}"""
        return {pid: (label, _own_cpu(pid, stat), stat[3] * TICK) for pid, (label, stat) in self.tree().items()}

    def memory(self):
        """{label: {"processes", "pss_kb", "rss_kb"}}; Pss is None where /proc does not let us look."""
        found = {}
        for pid, (label, _) in self.tree().items():
            entry = found.setdefault(label, {"processes": 0, "pss_kb": 0, "rss_kb": 0})
            entry["processes"] += 1
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                    kb = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", file.read(), re.MULTILINE))
            except OSError:
                entry["pss_kb"] = None
                continue
            entry["rss_kb"] += int(kb.get("Rss", 0))
            if entry["pss_kb"] is not None:
                entry["pss_kb"] += int(kb.get("Pss", 0))
        return found

    def stop(self):
        """Ends what was started, last first, then whatever of the trees outlived it."""
        members = {pid: stat[4] for pid, (_, stat) in self.tree().items()}
        for _, child in reversed(self.started):
            if child.poll() is None:
                child.terminate()
        for _, child in self.started:
            try:
                child.wait(6)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.started.clear()
        end = time.monotonic() + 3
        while members and time.monotonic() < end:
            members = {pid: born for pid, born in members.items() if (_stat(pid) or [None])[-1] == born}
            time.sleep(0.02)
        for pid, born in members.items():
            if (_stat(pid) or [None])[-1] == born:  # still that process, and no other with its id
                os.kill(pid, signal.SIGKILL)


def cpu_spent(before, after):
    """The seconds between two Group.cpu(): the sum, and {label: seconds} of those that lived through."""
    total = sum(own + ended for _, own, ended in after.values())
    total -= sum(own + ended for _, own, ended in before.values())
    by_label = {}
    for pid, (label, own, _) in after.items():
        spent = own - (before[pid][1] if pid in before else 0)
        by_label[label] = by_label.get(label, 0) + spent
    return total, {label: spent for label, spent in by_label.items() if spent > 0}


def machine_busy():
    """(busy, stolen) seconds of all cores since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq) * TICK, steal * TICK
