# SPDX-License-Identifier: MIT
"""What is measured on each path, and the rounds.

A measure runs the load's client once through one path and gives figures: numbers with a name. In a
round each measure goes over all paths before the next measure begins, and each round begins with
another path, so that what else the machine does hits all paths alike. A ratio of two paths is made
within a round, from runs that are seconds apart.
"""

import json
import subprocess
import sys
import time

from proc import CORES, Broken, cpu_spent, machine_busy

GB = 1e9
SHARE_SECONDS = 0.4  # /proc/stat counts hundredths: over less time its shares mean nothing


class Measure:
    """One run of the load's client. figures: {name: (text, unit, whether more is better)}."""

    def __init__(self, name, words, seconds, figures):
        self.name, self.words, self.seconds, self.figures = name, words, seconds, figures


def bulk(direction, streams, seconds):
    name = f"{direction}-{streams}"
    text = f"{direction}load, {streams} stream{'s' if streams > 1 else ''}"
    words = [direction, "--streams", streams, "--ms", int(seconds * 1000)]
    figures = {
        "mb_s": (text, "MB/s", True),
        "cpu_s_gb": (f"CPU of the path, {text}", "s/GB", False),
    }
    return Measure(name, words, seconds, figures)


def round_trip(size, seconds):
    text = f"round trip {size} B" if size < 1024 else f"round trip {size // 1024} KiB"
    figures = {
        f"{key}_us": (f"{text}, {shown}", "µs", False)
        for key, shown in (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"))
    }
    return Measure(f"ping-{size}", ["ping", "--size", size, "--ms", int(seconds * 1000)], seconds, figures)


def dialing(count):
    shown = ["p50", "p90"] + (["p99"] if count >= 100 else [])  # as the client prints them
    figures = {f"{key}_us": (f"dial to first byte, {key}", "µs", False) for key in shown}
    return Measure("dial", ["dial", "--count", count], count * 0.05, figures)


def measures(full):
    seconds = 3.0 if full else 0.8
    found = [bulk(way, streams, seconds) for streams in (1, 16) for way in ("up", "down")]
    found += [round_trip(64, seconds * 0.75), round_trip(16384, seconds * 0.75)]
    return [*found, dialing(100 if full else 15)]


class Bench:
    """The load's server and the client that goes through paths to it."""

    def __init__(self, load, group):
        self.load, self.group = load, group
        group.start("load", [load, "serve", "127.0.0.1:0"])
        self.port = int(group.expect("load", r"^listening (\d+)$").group(1))

    def client(self, path, words, seconds):
        argv = [str(word) for word in [self.load, *words, *path.client()]]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=60 + 3 * seconds, check=False, env=path.group.environment
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"{path.name}: {' '.join(argv[1:])}: hangs") from None
        if done.returncode != 0:
            path.group.check()
            raise Broken(f"{path.name}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)

    def run(self, path, measure):
        """The figures of one run, with CPU seconds by process and what strangers took meanwhile."""
        started, (busy, stolen) = time.monotonic(), machine_busy()
        before, own_before = path.group.cpu(), self.group.cpu()
        result = self.client(path, measure.words, measure.seconds)
        cpu, by_process = cpu_spent(before, path.group.cpu())
        server_cpu, _ = cpu_spent(own_before, self.group.cpu())
        busy_after, stolen_after = machine_busy()
        elapsed = time.monotonic() - started
        commands = result.pop("children_cpu")  # --command: programs of the path that the client started
        cpu += commands
        if commands:
            by_process["command"] = commands
        load = result.pop("cpu") + server_cpu
        result.update(cpu_s=round(cpu, 3), cpu_by_process=by_process, load_cpu_s=round(load, 3))
        if elapsed >= SHARE_SECONDS:
            others = max(0.0, busy_after - busy - cpu - load)
            result["others_share"] = round(others / (elapsed * CORES), 3)
            result["stolen_share"] = round((stolen_after - stolen) / (elapsed * CORES), 3)
        if "bytes" in result:
            result["mb_s"] = round(result["bytes"] / result["seconds"] / 1e6, 1)
            result["cpu_s_gb"] = round(cpu / (result["bytes"] / GB), 3)
        return result

    def warm(self, paths):
        for path in paths:
            for words in (["up", "--ms", 200], ["down", "--ms", 200], ["ping", "--ms", 50]):
                self.client(path, words, 1)

    def rounds(self, paths, wanted, count):
        """{path: {measure: [result or {"error"} per round]}}"""
        results = {path.name: {measure.name: [] for measure in wanted} for path in paths}
        for number in range(count):
            turn = number % len(paths)
            for measure in wanted:
                for path in paths[turn:] + paths[:turn]:
                    try:
                        result = self.run(path, measure)
                    except Broken as broken:
                        result = {"error": str(broken)}
                        print(f"bench: {broken}", file=sys.stderr)
                    results[path.name][measure.name].append(result)
            print(f"bench: round {number + 1} of {count} done", file=sys.stderr)
        return results

    def memory(self, path, seconds):
        """The path alone on the machine, after bulk both ways; shared pages are shared with none."""
        moved = 0
        for way in ("up", "down"):
            moved += self.client(path, [way, "--streams", 16, "--ms", int(seconds * 1000)], seconds)["bytes"]
        time.sleep(0.5)
        by_process = path.group.memory()
        known = [entry["pss_kb"] for entry in by_process.values()]
        return {
            "bytes_before": moved,
            "pss_kb": None if None in known else sum(known),
            "rss_kb": sum(entry["rss_kb"] for entry in by_process.values()),
            "by_process": by_process,
        }
