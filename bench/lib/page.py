# SPDX-License-Identifier: MIT
"""The Markdown page of a run."""

import re

HOW = """## How to read it

- A cell is the median over the rounds, with the quartiles in brackets. In a round each measure goes over all paths in
  turn, each round begins with another path. A ratio is the median of the quotients within each round, so it holds
  better than its two figures.
- Before anything is measured, each path carries one payload there and back whose BLAKE2b is compared at both ends. In
  bulk, numbered blocks prove that nothing was lost, doubled or moved.
- Throughput counts a byte when the far program has it and said so. MB is 10^6, GB 10^9 bytes. "Both" is the sum of
  the two directions.
- cbx takes no pacing congestion control for connections over loopback, of programs and of its own; the other programs
  take the system's. Where that is bbr, its timers are part of what they cost; elsewhere there is no difference.
- CPU is that of all processes of the path and their children, in user and system, without the two ends of
  the load; the work that the kernel does for the ends' own sockets is theirs. `raw` has no process between.
- A round trip is one message and its echo on an open stream, one after the other. Percentiles are those of a round;
  p99 is there from 100 samples on, p99.9 from 1,000. Beside bulk: two uploads and two downloads over the same path.
- Dial to first byte begins before `connect` and ends with the first byte of the server's answer to a request
  of 20 bytes, with SOCKS5's two exchanges where the path has them.
- Fairness is Jain's index over the bytes that each of 64 downloads brought between a quarter of the time and its end.
- An emulated path is a pair of TUN devices in two network namespaces and a program between them that delays packets: dialer on
  one side, hub and target on the other. It takes CPU of the same cores. Keystrokes are timed from when they were due.
- Memory is the sum of Pss (shared pages divided among those who share them) of all processes of the path, started
  afresh and alone. An idle stream's is the growth of that by so many streams that have carried one request.
"""


def number(value):
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(figure, suffix="", scale=1.0):
    if figure is None:
        return "–"
    low, middle, high = (number(figure[key] * scale) for key in ("q1", "median", "q3"))
    return f"{middle}{suffix} ({low}–{high})" if len(figure["values"]) > 1 else f"{middle}{suffix}"


def table(head, rows):
    if not rows:
        return ""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(word) for word in row) + " |" for row in rows]) + "\n"


def figures_table(scene, columns):
    """A row per path; columns: (head, "measure.figure", scale). Columns that nobody has are left out."""
    rows = scene["figures"]
    columns = [column for column in columns if any(figures.get(column[1]) for figures in rows.values())]
    if not columns:
        return ""
    body = []
    for path, figures in rows.items():
        cells = [
            "–" if path == "raw" and key.endswith("cpu_s_gb") else cell(figures.get(key), "", scale)
            for _, key, scale in columns
        ]
        body.append([path, *cells])
    return table(["path", *(head for head, _, _ in columns)], body)


BULK = ("up-1", "down-1", "both-1", "up-16", "down-16", "both-16")
PERCENTILES = (("p50", "p50_us"), ("p90", "p90_us"), ("p99", "p99_us"), ("p99.9", "p999_us"))


def loop_parts(scene):
    yield "## Bulk on loopback\n\nMB/s.\n", figures_table(
        scene, [(name, f"{name}.mb_s", 1) for name in BULK] + [("64 downloads", "fair-64.mb_s", 1)]
    )
    yield "CPU seconds per GB, all processes of the path; fairness of 64 downloads.\n", figures_table(
        scene, [(name, f"{name}.cpu_s_gb", 1) for name in BULK] + [("Jain's index", "fair-64.jain", 1)]
    )
    columns = [(f"64 B {text}", f"ping-64.{key}", 1) for text, key in PERCENTILES]
    columns += [(f"16 KiB {text}", f"ping-16384.{key}", 1) for text, key in PERCENTILES]
    yield "## Round trips on loopback\n\nMicroseconds, on an idle path.\n", figures_table(scene, columns)
    columns = [(f"64 B {text}", f"ping-busy.{key}", 1) for text, key in PERCENTILES[:3]]
    columns += [("the four streams, MB/s", "ping-busy.beside_mb_s", 1)]
    yield "Microseconds, beside four bulk streams.\n", figures_table(scene, columns)
    columns = [(f"{text}, ms", f"dial.{key}", 0.001) for text, key in PERCENTILES[:3]]
    yield "## Dials on loopback\n\nDial to first byte, and dials by 8 at a time.\n", figures_table(
        scene, columns + [("dials a second", "dials.per_s", 1)]
    )


def emulated_parts(scene):
    columns = [(f"{name}, MB/s", f"{name}.mb_s", 1) for name in ("up-1", "down-1", "up-16")]
    columns += [("64 B p50, ms", "ping-64.p50_us", 0.001), ("64 B p99, ms", "ping-64.p99_us", 0.001)]
    columns += [("dial p50, ms", "dial.p50_us", 0.001), ("keys p50, ms", "keys.p50_us", 0.001)]
    columns += [("keys p90, ms", "keys.p90_us", 0.001), ("keys p99, ms", "keys.p99_us", 0.001)]
    columns += [("the upload's share, %", "keys.share", 100)]
    title = "## Keystrokes beside an upload, on" if "Mbit" in scene["place"] else "## Over"
    yield f"{title} {scene['place']}\n", figures_table(scene, columns)


def ratio_table(scene):
    """Each cbx path over each other one, where it says most."""
    keys = ("up-1.mb_s", "down-1.mb_s", "up-1.cpu_s_gb", "ping-64.p50_us", "ping-64.p99_us", "dial.p50_us")
    heads = ("up-1", "down-1", "CPU up-1", "64 B p50", "64 B p99", "dial p50")
    rows = []
    for pair, figures in scene["ratios"].items():
        path, base = pair.split("/")
        if path.startswith("cbx") and not base.startswith("cbx"):
            cells = ["–" if base == "raw" and "cpu" in key else cell(figures.get(key), "×") for key in keys]
            rows.append([path, base, *cells])
    return table(["path", "over", *heads], rows)


def aims_table(data):
    rows = []
    for aim in data["aims"]:
        unit = aim["unit"] if aim["unit"] in "×%" else f" {aim['unit']}"
        sign = "≥" if aim["more_is_better"] else "≤"
        shown = ((re.sub(r"\.(mb_s|cpu_s_gb)$|_us$", "", label), value) for label, value in aim["found"].items())
        found = "; ".join(f"{label} {cell(value, unit)}" for label, value in shown if value)
        limits = (f"{sign} {number(aim[key])}{unit}" for key in ("at_least", "goal"))
        rows.append([aim["text"], *limits, found or "–", f"**{aim['verdict']}**"])
    return table(["measure", "at least", "goal", "found", ""], rows)


def cpu_table(scene):
    rows = []
    measures = [name for name in BULK if any(name in by_measure for by_measure in scene["cpu_by_process"].values())]
    for name, by_measure in scene["cpu_by_process"].items():
        for label in sorted({label for spent in by_measure.values() for label in spent}):
            rows.append([name, label, *(f"{by_measure.get(key, {}).get(label, 0):.2f}" for key in measures)])
    return table(["path", "process", *measures], rows) if measures else ""


def mib(kilobytes):
    return "not readable" if kilobytes is None else f"{kilobytes / 1024:.1f}"


def memory_table(data):
    rows = []
    for name, found in data.get("memory", {}).items():
        if "error" in found:
            rows.append([name, "failed", "", found["error"].replace("|", "/")])
            continue
        parts = []
        for label, entry in found["by_process"].items():
            several = f" ({entry['processes']})" if entry["processes"] > 1 else ""
            parts.append(f"{label}{several} {mib(entry['pss_kb'])}")
        rows.append([name, mib(found["pss_kb"]), f"{found['bytes_before'] / 1e9:.1f} GB", ", ".join(parts)])
    return table(["path", "MiB, sum of Pss", "after", "of which"], rows)


def idle_table(data):
    rows = []
    for name, found in data.get("idle", {}).items():
        if "error" in found:
            rows.append([name, "failed", found["error"].replace("|", "/")])
        else:
            parts = [f"{label} {number(value)}" for label, value in found["by_process"].items()]
            rows.append([name, f"{found['streams']:,}", ", ".join(parts)])
    return table(["path", "streams", "bytes a stream, by process"], rows)


def scale_part(data):
    found = data.get("scale")
    if not found:
        return ""
    columns = ("agents", "hub_bytes_agent", "agent_bytes", "hub_idle_us", "agent_idle_us")
    columns += ("update_hub_us", "update_agents_us", "update_bytes")
    heads = ["agents", "hub, bytes an agent", "agent, bytes", "hub, idle, µs CPU an agent and minute"]
    heads += ["agent, idle, µs CPU a minute", "one peer comes or goes: hub, µs CPU a peer told", "peers, µs CPU each"]
    rows = [[number(row[key]) if key != "agents" else row[key] for key in columns] for row in found["steps"]]
    return table([*heads, "bytes a peer told"], rows)


def micro_part(data):
    rows = [
        [row["name"], row["size"] or "–", f"{row['per_s']:,.0f}", f"{row['mb_s']:,.0f}" if row["size"] and "borrowed" not in row["name"] else "–"]
        for row in data.get("micro") or []
    ]
    return table(["what", "payload, bytes", "a second", "MB/s of payload"], rows)


def size_table(data):
    rows = [
        [name, f"{entry['bytes'] / 1024:,.0f}", f"{entry['stripped'] / 1024:,.0f}" if entry["stripped"] else "–"]
        for name, entry in data["binaries"].items()
    ]
    return table(["program", "KiB", "KiB stripped"], rows)


def path_table(data):
    about = {name: entry for scene in reversed(data["scenes"].values()) for name, entry in scene["paths"].items()}
    rows = [[name, entry["title"], entry["ciphers"], entry["sealed"]] for name, entry in about.items()]
    return table(["path", "what it is", "ciphers", "what is sealed"], rows)


def disturbance(data):
    other, stolen = data["others_share"], data["stolen_share"]
    return (
        f"Other programs took {other['median']:.0%} of the cores in the median run and {other['max']:.0%} in the "
        f"worst; the hypervisor took {stolen['median']:.0%} and {stolen['max']:.0%}. Above some 5% read ratios, not figures."
    )


def failures(data):
    for name, scene in data["scenes"].items():
        for path, by_measure in scene["results"].items():
            for measure, runs in by_measure.items():
                count = sum("error" in run for run in runs)
                if count:
                    why = next(run["error"] for run in runs if "error" in run)
                    yield f"- **Failed**: {measure} of {path} on {name}, {count} of {len(runs)} runs: {why}"


def head(data):
    machine, run = data["machine"], data["run"]
    scenes = data["scenes"].values()
    versions = {
        f"{name} {text}" for scene in scenes for entry in scene["paths"].values() for name, text in entry["versions"].items()
    }
    parts = [
        "# Benchmark results\n",
        "Written by `bench/run`; every figure comes from the run named here.\n",
        f"- **Run**: {run['date']}, `bench/run {run['arguments']}`, rounds: {run['rounds']}, {run['seconds']:.0f} s in all",
        f"- **Machine**: {machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']} MB; "
        f"{machine['system']}, Linux {machine['kernel']}, TCP with {machine.get('congestion', '?')}; all programs on this one machine",
        f"- **Versions**: commit {data['commit']}; {'; '.join(sorted(versions))}",
        f"- **Built with**: `{data['flags']}`",
        f"- **Quiet?** Load average {machine['load_before']} before. {disturbance(data)}",
    ]
    parts += [f"- **Not here**: {name}: {why}" for name, why in data["skipped"].items()]
    return [*parts, *failures(data), ""]


def page(data, plots):
    """plots: {title: path of an SVG beside the page}"""
    parts = [*head(data), path_table(data)]
    loop = data["scenes"].get("loop")
    parts += ["## Aims\n", aims_table(data)]
    if loop:
        for title, body in loop_parts(loop):
            if body:
                parts += [title, body]
        shown = ratio_table(loop)
        if shown:
            parts += ["## cbx over the others\n\nIn bulk more is better, else less.\n", shown]
    for name, scene in data["scenes"].items():
        if name != "loop":
            for title, body in emulated_parts(scene):
                parts += [title, body]
    if loop and cpu_table(loop):
        parts += ["## Where the CPU goes\n\nSeconds per GB of each process, all rounds together.\n", cpu_table(loop)]
    sections = [
        ("## Memory after bulk\n", memory_table(data)),
        ("## Idle streams\n", idle_table(data)),
        ("## A hub with many agents, in the simulator\n", scale_part(data)),
        ("## By themselves\n\nOne core, no I/O.\n", micro_part(data)),
        ("## Programs\n", size_table(data)),
    ]
    for title, body in sections:
        if body:
            parts += [title, body]
    if plots:
        parts += ["## Plots\n", *(f"![{title}]({path})\n" for title, path in plots.items())]
    return "\n".join([*parts, HOW])
