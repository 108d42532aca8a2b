# SPDX-License-Identifier: MIT
"""What a run of tests has left behind: processes, network namespaces, files. collect.py calls adopt(),
makes a Watch before the first test and asks it after the last one.

adopt() leaves a process above the run that adopts every orphan below it (PR_SET_CHILD_SUBREAPER) and reaps it, as an init
would. So a program that went its own way is found as a child of that one, whatever it did to its session, name or environment. With no process left no
port is listened on and no anonymous namespace is left either.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SETTLE_SECONDS = 5
OWNER = re.compile(r"cbx-(\d+)-")
OTHER_RUN = re.compile(r"cbx-e2e-|cbx-run-")
SHARED = ("/tmp", "/dev/shm", "/run", "/var/tmp")  # where only what is called cbx… can be ours


def adopt():
    """Forks: the run goes on in the child. The parent ends with it, and as it did."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    run = os.fork()
    if run == 0:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run hears it, too
    signal.signal(signal.SIGTERM, lambda *_: os.kill(run, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == run:
            os._exit(max(0, os.waitstatus_to_exitcode(status)) or int(status != 0))


def orphans():
    """Pid and command line of what the process above has adopted and still runs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if int(fields[1]) == os.getppid() and int(entry.name) != os.getpid() and fields[0] != "Z":
            found[int(entry.name)] = words or "?"
    return found


def namespaces():
    """But for those of other runs: their names hold the pid of a process that still runs, as none of ours does then."""
    folder = Path("/run/netns")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    owners = {name: OWNER.match(name) for name in names}
    return {name for name in names if not (owners[name] and Path("/proc", owners[name].group(1)).exists())}


def shared_files(run):
    """But for those of other runs of the tests, which may go on beside this one."""
    paths = (path for name in SHARED if Path(name).is_dir() for path in Path(name).glob("cbx*"))
    return {str(path) for path in paths if path.name.startswith(run) or not OTHER_RUN.match(path.name)}


def changed_files(root, build):
    """What git does not know or finds changed, but for what is below the build folder."""
    command = ["git", "-C", str(root), "status", "--porcelain", "--ignored", "--untracked-files=all", "-z"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return set()
    paths = (root / line[3:] for line in done.stdout.split("\0") if len(line) > 3)
    return {str(path) for path in paths if build not in (path, *path.parents) and root / "build" not in path.parents}


class Watch:
    def __init__(self, root, build):
        self.root, self.build = root, build
        # A folder of this run's own: whatever lies in it at the end was left by a test. Short, for unix sockets.
        self.folder = Path(tempfile.mkdtemp(prefix="cbx-run-"))
        self.folder.chmod(0o1777)
        self.before = self.look()
        os.environ["TMPDIR"] = str(self.folder)
        tempfile.tempdir = None

    def look(self):
        return {
            "network namespace": namespaces(),
            "file": shared_files(self.folder.name),
            "changed file": changed_files(self.root, self.build),
        }

    def processes(self):
        """What still runs after a moment; it is ended."""
        end = time.monotonic() + SETTLE_SECONDS
        while orphans() and time.monotonic() < end:
            time.sleep(0.1)
        left = orphans()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return [f"process {pid}: {words}" for pid, words in sorted(left.items())]

    def findings(self):
        """One line for each thing that is left. The run's own folder is removed."""
        found = self.processes()
        after = self.look()
        for kind, names in after.items():
            new = names - self.before[kind]
            found += [f"{kind} {name}" for name in sorted(new)]
        if not os.environ.get("CBX_KEEP"):
            found += [f"temporary file {path}" for path in sorted(self.folder.iterdir())]
            shutil.rmtree(self.folder, ignore_errors=True)
        return found
