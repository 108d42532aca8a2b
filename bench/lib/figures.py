# SPDX-License-Identifier: MIT
"""From results to figures with spread and ratios; what machine it was."""

import datetime
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path as File

from proc import find

ROOT = File(__file__).resolve().parents[2]


def spread(values):
    """{"median", "q1", "q3", "min", "max", "values"} of the runs that gave a value, or None."""
    if not values:
        return None
    digits = [round(value, 4) for value in values]
    several = len(values) > 1
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if several else [values[0]] * 3
    return {
        "median": round(middle, 4),
        "q1": round(low, 4),
        "q3": round(high, 4),
        "min": min(digits),
        "max": max(digits),
        "values": digits,
    }


def figures_of(results, measures):
    """{path: {"measure.figure": spread}}"""
    found = {}
    for path, by_measure in results.items():
        found[path] = {}
        for measure in measures:
            for figure in measure.figures:
                values = [result[figure] for result in by_measure[measure.name] if figure in result]
                found[path][f"{measure.name}.{figure}"] = spread(values)
    return found


def ratio(results, one, other):
    """The spread of quotients of the same round; one and other are (path, measure, figure)."""
    runs = zip(*(results.get(path, {}).get(measure, []) for path, measure, _ in (one, other)))
    return spread([a[one[2]] / b[other[2]] for a, b in runs if one[2] in a and b.get(other[2])])


def ratios_of(results, measures):
    """{"path/base": {"measure.figure": spread}} for each pair of paths."""
    found = {}
    for path in results:
        for base in results:
            if path != base:
                found[f"{path}/{base}"] = {
                    f"{measure.name}.{figure}": ratio(
                        results, (path, measure.name, figure), (base, measure.name, figure)
                    )
                    for measure in measures
                    for figure in measure.figures
                }
    return found


def cpu_by_process(results, measures):
    """{path: {measure: {label: seconds per GB}}} over all rounds of the bulk measures."""
    found = {}
    for path, by_measure in results.items():
        found[path] = {}
        for measure in measures:
            runs = [run for run in by_measure[measure.name] if run.get("bytes")]
            moved = sum(run["bytes"] for run in runs) / 1e9
            spent = {}
            for run in runs:
                for label, seconds in run["cpu_by_process"].items():
                    spent[label] = spent.get(label, 0) + seconds
            if moved:
                found[path][measure.name] = {label: round(spent[label] / moved, 3) for label in sorted(spent)}
    return found


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.MULTILINE)
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.read().split()[1]) // 1024
    with open("/etc/os-release", encoding="utf-8") as file:
        system = re.search(r'^PRETTY_NAME="?([^"\n]+)', file.read(), re.MULTILINE)
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="utf-8") as file:
        congestion = file.read().strip()
    return {
        "congestion": congestion,
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": memory,
        "system": system.group(1) if system else "unknown",
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit():
    """The commit that was measured, with a plus when files differ from it."""
    done = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def binaries(classes, build, folder):
    """{program: {"bytes", "stripped"}} of all programs of the paths."""
    found, strip = {}, find("strip")
    for word in dict.fromkeys(str(word) for cls in classes for word in cls.programs(build)):
        path = find(word)
        if path is None or path.endswith("/ssh-keygen") or "/bench/" in path:
            continue
        copy = folder / "stripped"
        done = subprocess.run([strip, "-o", copy, path], stderr=subprocess.DEVNULL, check=False) if strip else None
        found[File(path).name] = {
            "bytes": os.path.getsize(path),
            "stripped": os.path.getsize(copy) if done and done.returncode == 0 else None,
        }
    return found
