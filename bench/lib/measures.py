# SPDX-License-Identifier: MIT
"""What is measured on each path, and the rounds.

A measure runs the load's client once through one path and gives figures: numbers with a name. In a
round each measure goes over all paths before the next measure begins, and each round begins with
another path, so that what else the machine does hits all paths alike. A ratio of two paths is made
within a round, from runs that are seconds apart.
"""

import json
import select
import subprocess
import sys
import time

from proc import CORES, Broken, cpu_spent, machine_busy

GB = 1e9
SHARE_SECONDS = 0.4  # /proc/stat counts hundredths: over less time its shares mean nothing
CHECK_BYTES = 8 * 1024 * 1024
CHECK_BYTES_EMULATED = 512 * 1024
BEGAN = time.monotonic()


def progress(text):
    print(f"bench: {time.monotonic() - BEGAN:4.0f} s  {text}", file=sys.stderr, flush=True)


class Measure:
    """One run of the load's client. figures: {name: (text, unit, whether more is better)}."""

    def __init__(self, name, words, seconds, figures):
        self.name, self.words, self.seconds, self.figures = name, words, seconds, figures


def milliseconds(seconds):
    return ["--ms", max(1, int(seconds * 1000))]


def bulk(way, streams, seconds):
    text = {"up": "upload", "down": "download", "both": "both ways at once"}[way]
    text += f", {streams} stream" + ("s" if streams > 1 else "") + (" each" if way == "both" else "")
    figures = {"mb_s": (text, "MB/s", True), "cpu_s_gb": (f"CPU of the path, {text}", "s/GB", False)}
    return Measure(f"{way}-{streams}", [way, "--streams", streams, *milliseconds(seconds)], seconds, figures)


def fairness(streams, seconds):
    text = f"{streams} greedy downloads"
    figures = {"jain": (f"{text}, Jain's index", "1 is even", True), "mb_s": (text, "MB/s", True)}
    return Measure(f"fair-{streams}", ["down", "--streams", streams, *milliseconds(seconds)], seconds, figures)


def percentiles(text, keys=("p50", "p90", "p99", "p999")):
    return {f"{key}_us": (f"{text}, {key.replace('999', '99.9')}", "µs", False) for key in keys}


def round_trip(size, seconds):
    text = f"round trip {size} B" if size < 1024 else f"round trip {size // 1024} KiB"
    return Measure(f"ping-{size}", ["ping", "--size", size, *milliseconds(seconds)], seconds, percentiles(text))


def round_trip_busy(seconds):
    words = ["ping", "--size", 64, "--beside-up", 2, "--beside-down", 2, "--lead", 150, *milliseconds(seconds)]
    text = "round trip 64 B beside 4 bulk streams"
    figures = percentiles(text, ("p50", "p90", "p99")) | {"beside_mb_s": ("the 4 streams meanwhile", "MB/s", True)}
    return Measure("ping-busy", words, seconds + 0.5, figures)


def dialing(count, seconds):
    figures = percentiles("dial to first byte", ("p50", "p90", "p99"))
    return Measure("dial", ["dial", "--count", count, *milliseconds(seconds)], seconds, figures)


def dial_rate(count, seconds):
    words = ["dials", "--streams", 8, "--count", count, *milliseconds(seconds)]
    return Measure("dials", words, seconds, {"per_s": ("dials, 8 at a time", "1/s", True)})


def keystrokes(seconds):
    words = ["keys", "--size", 64, "--gap", 50, "--beside-up", 1, "--lead", 1000, *milliseconds(seconds)]
    text = "64 B each 50 ms beside an upload"
    figures = percentiles(text, ("p50", "p90", "p99")) | {"share": ("the upload's share of the path", "of 1", True)}
    return Measure("keys", words, seconds + 3, figures)


def derive(result, cpu, rate_mbit):
    """Adds to what the client printed the figures that follow from it."""
    if "bytes" in result:
        result["mb_s"] = round(result["bytes"] / result["seconds"] / 1e6, 1)
        result["cpu_s_gb"] = round(cpu / (result["bytes"] / GB), 3)
    elif "seconds" in result:
        result["per_s"] = round(result["count"] / result["seconds"], 1)
    if "beside" in result:
        speed = result["beside"]["bytes"] / result["beside"]["seconds"] / 1e6
        result["beside_mb_s"] = round(speed, 1)
        if rate_mbit:
            result["share"] = round(speed * 8 / rate_mbit, 3)


class Bench:
    """The load's server on the far side of a place, and the client that goes through paths to it."""

    def __init__(self, load, group, place):
        self.load, self.group, self.place = load, group, place
        address = "127.0.0.1:0" if place.name == "loop" else "0.0.0.0:0"
        group.start("load", [*place.inside("far"), load, "serve", address])
        self.port = int(group.expect("load", r"^listening (\d+)$").group(1))

    def words(self, path, words):
        return [str(word) for word in [*self.place.inside("near"), self.load, *words, *path.client()]]

    def client(self, path, words, seconds):
        return self.client_then(path, words, seconds, lambda: None)[0]

    def client_then(self, path, words, seconds, look):
        """What the client printed, and what look() says while its bulk connections still stand."""
        what = f"{path.name}: {' '.join(str(word) for word in words)}"
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        with subprocess.Popen(self.words(path, words), text=True, env=path.group.environment, **pipes) as client:
            try:
                printed, _, _ = select.select([client.stdout], [], [], 60 + 3 * seconds)
                line = client.stdout.readline() if printed else ""
                seen = look()
                _, said = client.communicate(timeout=30)
            except (subprocess.TimeoutExpired, KeyboardInterrupt, SystemExit):
                client.kill()
                raise
            if not printed:
                raise Broken(f"{what}: hangs")
            if client.returncode != 0:
                path.group.check()
                raise Broken(f"{what}: {said.strip()[-300:]}")
            return json.loads(line), seen

    def own_cpu(self):
        """Of the load's server and, on an emulated path, of what moves the packets."""
        return sum(own + ended for _, own, ended in self.group.cpu().values()) + self.place.cpu()

    def run(self, path, measure):
        """The figures of one run, with CPU seconds by process and what strangers took meanwhile."""
        started, (busy, stolen) = time.monotonic(), machine_busy()
        before, own_before = path.group.cpu(), self.own_cpu()
        result, after = self.client_then(path, measure.words, measure.seconds, path.group.cpu)
        cpu, by_process = cpu_spent(before, after)
        load = self.own_cpu() - own_before
        busy_after, stolen_after = machine_busy()
        elapsed = time.monotonic() - started
        commands = result.pop("children_cpu")  # --command: programs of the path that the client started
        cpu += commands
        if commands:
            by_process["command"] = commands
        load += result.pop("cpu")
        result.update(cpu_s=round(cpu, 3), cpu_by_process=by_process, load_cpu_s=round(load, 3))
        if elapsed >= SHARE_SECONDS:
            others = max(0.0, busy_after - busy - cpu - load)
            result["others_share"] = round(others / (elapsed * CORES), 3)
            result["stolen_share"] = round((stolen_after - stolen) / (elapsed * CORES), 3)
        derive(result, cpu, self.place.rate_mbit)
        return result

    def check(self, path):
        """One payload there and back with its checksum at each end, before anything is measured."""
        size = CHECK_BYTES if self.place.name == "loop" else CHECK_BYTES_EMULATED
        return self.client(path, ["check", "--size", size], 10)["blake2b"]

    def rounds(self, paths, wanted, count):
        """{path: {measure: [result or {"error"} per round]}}"""
        results = {path.name: {measure.name: [] for measure in wanted} for path in paths}
        for number in range(count):
            turn = number % len(paths)
            for measure in wanted:
                progress(f"{self.place.text}: round {number + 1} of {count}, {measure.name}")
                for path in paths[turn:] + paths[:turn]:
                    try:
                        result = self.run(path, measure)
                    except Broken as broken:
                        result = {"error": str(broken)}
                        print(f"bench: {broken}", file=sys.stderr)
                    results[path.name][measure.name].append(result)
        return results

    def memory(self, path, target_bytes):
        """The path alone on the machine, after bulk both ways; shared pages are shared with none."""
        moved, ways = 0, ["up", "down"]
        while moved < target_bytes or ways[0] == "down":
            moved += self.client(path, [ways[0], "--streams", 16, "--ms", 2000 if target_bytes > 4e9 else 500], 5)["bytes"]
            ways.reverse()
        time.sleep(0.5)
        by_process = path.group.memory()
        return {"bytes_before": moved, **memory_sum(by_process), "by_process": by_process}

    def idle(self, path, count):
        """What streams cost that only stand: differences of Pss by process, in bytes a stream."""
        self.client(path, ["dials", "--streams", 8, "--count", 200], 5)
        time.sleep(1)
        before = path.group.memory()
        self.group.start("hold", self.words(path, ["hold", "--count", count]))
        try:
            held = int(self.group.expect("hold", r"^held (\d+)$", 30 + count / 50).group(1))
            time.sleep(2)
            after = path.group.memory()
        finally:
            self.group.end("hold")
        found = {"streams": held, "by_process": {}}
        for label, entry in after.items():
            old = before.get(label, {"pss_kb": 0})
            if entry["pss_kb"] is not None and old["pss_kb"] is not None:
                found["by_process"][label] = round((entry["pss_kb"] - old["pss_kb"]) * 1024 / held, 1)
        return found


def memory_sum(by_process):
    known = [entry["pss_kb"] for entry in by_process.values()]
    return {
        "pss_kb": None if None in known else sum(known),
        "rss_kb": sum(entry["rss_kb"] for entry in by_process.values()),
    }
