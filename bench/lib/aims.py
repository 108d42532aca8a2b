# SPDX-License-Identifier: MIT
"""What cbx is to reach, and what a run found.

An aim compares a path with another, within the rounds of one scene, or looks at one figure. Several figures of one
aim (upload and download) are judged by the worst.
"""

from figures import ratio, spread

BULK = ("up-1.mb_s", "down-1.mb_s")
KIB = 1024


def over(scene, path, base, figures, base_figures=None):
    """A function of the run's data: {label: spread of ratios}; base is (path)."""

    def look(data):
        results = data["scenes"].get(scene, {}).get("results", {})
        found = {}
        for figure, other in zip(figures, base_figures or figures):
            one, two = figure.split("."), other.split(".")
            found[figure] = ratio(results, (path, *one), (base, *two))
        return found

    return look


def keys(figure, scale):
    def look(data):
        paths = data["scenes"].get("keys", {}).get("figures", {})
        found = {}
        for path in ("cbx-ssh", "cbx-relay"):
            values = paths.get(path, {}).get(f"keys.{figure}")
            found[path] = values and spread([value * scale for value in values["values"]])
        return found

    return look


def idle(labels):
    def look(data):
        found = data.get("idle", {}).get("cbx-relay") or data.get("idle", {}).get("cbx-ssh") or {}
        by_process = found.get("by_process", {})
        return {label: spread([by_process[label]]) if label in by_process else None for label in labels}

    return look


def memory(data):
    found = data.get("memory", {}).get("cbx-relay") or {}
    kilobytes = found.get("pss_kb")
    return {"sum of Pss": spread([kilobytes / KIB]) if kilobytes else None}


# (text, what to look at, at least, goal, unit, whether more is better)
AIMS = (
    ("relay bulk vs OpenSSH chain, aes128-gcm", over("loop", "cbx-relay", "ssh-gcm", BULK), 1.5, 1.8, "×", True),
    ("relay bulk vs OpenSSH chain, default", over("loop", "cbx-relay", "ssh", BULK), 2.5, 3, "×", True),
    ("relay bulk vs bore", over("loop", "cbx-relay", "bore", BULK), 0.95, 1.1, "×", True),
    ("relay bulk vs rathole, noise", over("loop", "cbx-relay", "rathole-noise", BULK), 2, 2.4, "×", True),
    ("relay bulk vs three plain relays", over("loop", "cbx-relay", "plain", BULK), 0.72, 0.85, "×", True),
    ("direct bulk vs OpenSSH chain, aes128-gcm", over("loop", "cbx-direct", "ssh-gcm", BULK), 1.7, 2, "×", True),
    (
        "CPU seconds per GB, relay vs OpenSSH chain, aes128-gcm",
        over("loop", "cbx-relay", "ssh-gcm", ("up-1.cpu_s_gb", "down-1.cpu_s_gb")),
        0.6,
        0.5,
        "×",
        False,
    ),
    (
        "64 B round trip p50, relay vs OpenSSH chain, aes128-gcm",
        over("loop", "cbx-relay", "ssh-gcm", ("ping-64.p50_us",)),
        0.65,
        0.5,
        "×",
        False,
    ),
    (
        "64 B round trip p50, relay vs three socat",
        over("loop", "cbx-relay", "socat", ("ping-64.p50_us",)),
        1.0,
        0.8,
        "×",
        False,
    ),
    (
        "64 B round trip p99 beside 4 bulk streams vs idle, relay",
        over("loop", "cbx-relay", "cbx-relay", ("ping-busy.p99_us",), ("ping-64.p99_us",)),
        6,
        4,
        "×",
        False,
    ),
    (
        "dial to first byte, relay vs frp",
        over("loop", "cbx-relay", "frp", ("dial.p50_us", "dial.p99_us")),
        0.8,
        0.6,
        "×",
        False,
    ),
    ("keystrokes beside a full upload, p99", keys("p99_us", 0.001), 150, 100, " ms", False),
    ("the upload's share of that path", keys("share", 100), 85, 90, "%", True),
    (
        "bulk at 100 ms round trip, relay vs raw TCP",
        over("rtt-100", "cbx-relay", "raw", BULK),
        0.7,
        0.9,
        "×",
        True,
    ),
    ("idle stream at an agent", idle(("agent web", "agent cli")), 3 * KIB, 2 * KIB, " B", False),
    ("idle stream at the hub", idle(("cbx-hub",)), KIB, 512, " B", False),
    ("memory of the whole path after bulk, relay", memory, 40, 25, " MiB", False),
)


def verdict(found, least, goal, more):
    if not found or None in found.values():
        return "not measured"
    worst = (min if more else max)(entry["median"] for entry in found.values())
    for limit, word in ((goal, "goal"), (least, "at least")):
        if worst >= limit if more else worst <= limit:
            return word
    return "missed"


def judge(data):
    judged = []
    for text, look, least, goal, unit, more in AIMS:
        found = look(data)
        judged.append(
            {
                "text": text,
                "at_least": least,
                "goal": goal,
                "unit": unit.strip(),
                "more_is_better": more,
                "found": found,
                "verdict": verdict(found, least, goal, more),
            }
        )
    return judged
