# SPDX-License-Identifier: MIT
"""Plots of a run: SVG by gnuplot, data and all in one script each."""

import subprocess

from proc import find

STYLE = """set terminal svg size 900,420 font 'sans,12' background '#ffffff'
set output '{file}'
set title '{title}'
set style data histograms
set style histogram errorbars gap 1 lw 1
set style fill solid 0.8 border -1
set bars small
set grid ytics lc rgb '#dddddd'
set xtics rotate by -30 nomirror noenhanced
set key top right noenhanced
set ylabel '{unit}'
"""

# (file, title, unit, scene, [(legend, "measure.figure", scale)], logarithmic)
BARS = (
    ("bulk", "bulk over one stream, loopback", "MB/s", "loop", [("up", "up-1.mb_s", 1), ("down", "down-1.mb_s", 1)], True),
    (
        "cpu",
        "CPU of the whole path",
        "seconds per GB",
        "loop",
        [("up", "up-1.cpu_s_gb", 1), ("down", "down-1.cpu_s_gb", 1)],
        False,
    ),
    (
        "round-trip",
        "round trip of 64 B, loopback",
        "µs",
        "loop",
        [("p50", "ping-64.p50_us", 1), ("p99", "ping-64.p99_us", 1), ("p99 beside 4 bulk streams", "ping-busy.p99_us", 1)],
        True,
    ),
    ("dial", "dial to first byte, loopback", "ms", "loop", [("p50", "dial.p50_us", 0.001)], True),
    (
        "rtt-100",
        "bulk over one stream at 100 ms round trip",
        "MB/s",
        "rtt-100",
        [("up", "up-1.mb_s", 1), ("down", "down-1.mb_s", 1)],
        False,
    ),
    (
        "keys",
        "64 B each 50 ms beside an upload, 20 Mbit/s, 20 ms",
        "ms",
        "keys",
        [("p50", "keys.p50_us", 0.001), ("p99", "keys.p99_us", 0.001)],
        True,
    ),
)


def bars(scene, series):
    """The data of a plot, or None: a line a path with median and quartiles of each series."""
    lines = []
    for path, figures in scene["figures"].items():
        if path == "raw" and "cpu" in series[0][1]:
            continue
        words = [f'"{path}"']
        for _, key, scale in series:
            found = figures.get(key)
            words += [f"{found[name] * scale:g}" for name in ("median", "q1", "q3")] if found else ["?", "?", "?"]
        if any(word != "?" for word in words[1:]):
            lines.append(" ".join(words))
    return "\n".join(lines) if lines else None


def draw(script):
    done = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, check=False)
    return done.returncode == 0


def plot_bars(folder, data):
    for name, title, unit, scene, series, logarithmic in BARS:
        rows = bars(data["scenes"][scene], series) if scene in data["scenes"] else None
        if not rows:
            continue
        columns = [
            f"$data using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}:xtic(1) title '{legend}'" for i, (legend, _, _) in enumerate(series)
        ]
        script = STYLE.format(file=folder / f"{name}.svg", title=title, unit=unit)
        script += "set logscale y\n" if logarithmic else "set yrange [0:*]\n"
        script += f"set datafile missing '?'\n$data << EOD\n{rows}\nEOD\nplot {', '.join(columns)}\n"
        if draw(script):
            yield title, name


def plot_scale(folder, data):
    if not data.get("scale"):
        return
    title = "one peer comes or goes: CPU by how many are attached"
    rows = "\n".join(f"{row['agents']} {row['update_hub_us']} {row['update_agents_us']}" for row in data["scale"]["steps"])
    script = STYLE.format(file=folder / "scale.svg", title=title, unit="µs for each peer told")
    script += "set style data linespoints\nset xlabel 'agents'\nset logscale x\nset yrange [0:*]\n"
    script += f"$data << EOD\n{rows}\nEOD\nplot $data using 1:2 title 'hub', $data using 1:3 title 'the peer'\n"
    if draw(script):
        yield title, "scale"


def write(folder, data):
    """{title: file name} of what was drawn into folder; empty without gnuplot."""
    if not find("gnuplot"):
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):  # of another run
        old.unlink()
    drawn = [*plot_bars(folder, data), *plot_scale(folder, data)]
    return {title: f"{folder.name}/{name}.svg" for title, name in drawn}
