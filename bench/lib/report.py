# SPDX-License-Identifier: MIT
"""From results to figures with spread, ratios, and the Markdown page."""

import datetime
import os
import platform
import re
import statistics
import subprocess
from pathlib import Path as File

ROOT = File(__file__).resolve().parents[2]


def spread(values):
    """{"median", "min", "max", "values"} of the runs that gave a value, or None."""
    if not values:
        return None
    digits = [round(value, 4) for value in values]
    return {
        "median": round(statistics.median(values), 4),
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


def ratios_of(results, measures):
    """{"path/base": {"measure.figure": spread}}: quotients of the same round, for each pair of paths."""
    found = {}
    for path in results:
        for base in results:
            if path == base:
                continue
            pair = found.setdefault(f"{path}/{base}", {})
            for measure in measures:
                runs = list(zip(results[path][measure.name], results[base][measure.name]))
                for figure in measure.figures:
                    pair[f"{measure.name}.{figure}"] = spread(
                        [a[figure] / b[figure] for a, b in runs if figure in a and b.get(figure)]
                    )
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
    return {
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


# ---- the page ----


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(figure, suffix=""):
    if figure is None:
        return "–"
    low, middle, high = (number(figure[key]) for key in ("min", "median", "max"))
    return f"{middle}{suffix} ({low}–{high})" if len(figure["values"]) > 1 else f"{middle}{suffix}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def figure_rows(measures):
    for measure in measures:
        for figure, (text, unit, more) in measure.figures.items():
            yield f"{measure.name}.{figure}", text, unit, more


def figure_table(data, measures):
    names = list(data["paths"])
    rows = []
    for key, text, unit, _ in figure_rows(measures):
        cells = [cell(data["figures"][name][key]) for name in names]
        if key.endswith("cpu_s_gb"):
            cells = ["–" if name == "raw" else shown for name, shown in zip(names, cells)]
        rows.append([f"{text}, {unit}", *cells])
    return table(["", *names], rows)


def ratio_table(data, measures):
    """Each cbx path over each other one, and whether more is better or less."""
    pairs = [key for key in data["ratios"] if key.startswith("cbx") and not key.split("/")[1].startswith("cbx")]
    if not pairs:
        return ""
    rows = []
    for key, text, _, more in figure_rows(measures):
        cells = [
            "–" if key.endswith("cpu_s_gb") and pair.endswith("/raw") else cell(data["ratios"][pair][key], "×")
            for pair in pairs
        ]
        rows.append([text, "more" if more else "less", *cells])
    return "## Ratios\n\n" + table(["", "better is", *pairs], rows)


def cpu_table(data):
    rows = []
    for name, by_measure in data["cpu_by_process"].items():
        labels = sorted({label for spent in by_measure.values() for label in spent})
        for label in labels:
            rows.append([name, label, *(f"{spent.get(label, 0):.2f}" for spent in by_measure.values())])
    measures = next((list(by_measure) for by_measure in data["cpu_by_process"].values() if by_measure), [])
    return table(["path", "process", *measures], rows)


def mib(kilobytes):
    return "not readable" if kilobytes is None else f"{kilobytes / 1024:.1f}"


def memory_table(data):
    rows = []
    for name, found in data["memory"].items():
        if "error" in found:
            rows.append([name, "failed", "", found["error"]])
            continue
        parts = []
        for label, entry in found["by_process"].items():
            several = f" ({entry['processes']})" if entry["processes"] > 1 else ""
            parts.append(f"{label}{several} {mib(entry['pss_kb'])}")
        rows.append([name, mib(found["pss_kb"]), f"{found['bytes_before'] / 1e9:.1f} GB", ", ".join(parts)])
    return table(["path", "MiB", "after", "of which"], rows)


def size_table(data):
    rows = [
        [name, f"{entry['bytes'] / 1024:,.0f}", f"{entry['stripped'] / 1024:,.0f}" if entry["stripped"] else "–"]
        for name, entry in data["binaries"].items()
    ]
    return table(["program", "KiB", "KiB stripped"], rows)


def path_table(data):
    rows = [
        [name, entry["title"], entry["ciphers"], entry["sealed"]]
        for name, entry in data["paths"].items()
    ]
    return table(["path", "what it is", "ciphers", "what is sealed"], rows)


def disturbance(data):
    other, stolen = data["others_share"], data["stolen_share"]
    return (
        f"Other programs took {other['median']:.0%} of the cores in the median run and {other['max']:.0%} in the "
        f"worst; the hypervisor took {stolen['median']:.0%} and {stolen['max']:.0%}. Above some 5% read ratios, not figures."
    )


HOW = """## How to read it

- Each cell is the median over the rounds, with least and greatest in brackets. In a round each measure goes over
  all paths in turn. A ratio is the median of the quotients within each round, so it holds better than its two figures.
- Throughput counts a byte when the far program has it and said so. MB is 10^6, GB 10^9 bytes.
- CPU is that of all processes of the path and their children, in user and system, without the two ends of
  the load; the work that the kernel does for the ends' own sockets is theirs. `raw` has no process between.
- A round trip is one message and its echo on an open, otherwise idle stream. Percentiles are those of a round; p99 is
  there from 100 samples on, p99.9 from 1,000.
- Dial to first byte begins before `connect` and ends with the first byte of the server's answer to a request
  of 16 bytes, with SOCKS5's two exchanges where the path has them.
- Memory is the sum of Pss (shared pages divided among those who share them) of all processes of
  the path, started afresh and alone, after bulk in both directions over 16 streams.
"""


def failures(data):
    """{"path measure": failed runs}"""
    counts = {
        f"{path} {measure}": sum("error" in run for run in runs)
        for path, by_measure in data["results"].items()
        for measure, runs in by_measure.items()
    }
    return {name: count for name, count in counts.items() if count}


def page(data, measures):
    machine_, run = data["machine"], data["run"]
    versions = sorted({f"{name} {text}" for entry in data["paths"].values() for name, text in entry["versions"].items()})
    parts = [
        "# Benchmark results\n",
        "Written by `bench/run`; every figure comes from the run named here.\n",
        f"- **Run**: {run['date']}, `bench/run {run['arguments']}`, {run['seconds']:.0f} s in all",
        f"- **Machine**: {machine_['cpu']}, {machine_['cores']} cores, {machine_['memory_mb']} MB; "
        f"{machine_['system']}, Linux {machine_['kernel']}; everything on loopback",
        f"- **Versions**: commit {data['commit']}; {'; '.join(versions)}",
        f"- **Built with**: `{data['flags']}`",
        f"- **Quiet?** Load average {machine_['load_before']} before. {disturbance(data)}\n",
        path_table(data),
    ]
    for name, why in data["skipped"].items():
        parts.append(f"Skipped: {name}: {why}.\n")
    for name, count in failures(data).items():
        parts.append(f"**Failed**: {name}, {count} of {run['rounds']} runs; the JSON says why.\n")
    parts += ["## Figures\n", figure_table(data, measures), ratio_table(data, measures)]
    parts += ["## Where the CPU goes\n\nSeconds per GB of each process, all rounds together.\n", cpu_table(data)]
    parts += ["## Memory\n\nSum of Pss.\n", memory_table(data), "## Programs\n", size_table(data), HOW]
    return "\n".join(parts)
