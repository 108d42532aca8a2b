# SPDX-License-Identifier: MIT
"""A whole run, as the object that --json writes."""

import json
import subprocess
import time

import aims
import figures
from measures import Bench, progress
from place import EmulatedPath, Place, why_not_emulated
from proc import Broken, Group
from questions import IDLE_PATHS, KEYS_PATH, KEYS_PATHS, PATHS, RTTS

VERSION = 2  # of the JSON's shape


class Run:
    def __init__(self, given, size, build, folder):
        self.given, self.size, self.build, self.folder = given, size, build, folder
        self.skipped = {}  # path or question → why
        self.failed = 0
        self.measures = {}  # scene → its measures, for the page
        asked = [PATHS[name] for name in given.paths] or [cls for cls in PATHS.values() if not cls.optional]
        self.classes = []
        for cls in asked:
            why = cls.missing(build)
            if why:
                self.skipped[cls.name] = why
            else:
                self.classes.append(cls)

    def start(self, cls, name, bench):
        path = cls(self.folder / name, self.build, bench.port, bench.place)
        try:
            path.start()
        except BaseException:
            path.stop()
            raise
        return path

    def broken(self, name, broken):
        self.failed += 1
        self.skipped[name] = f"failed: {broken}"
        progress(f"{name} failed: {broken}")

    def start_all(self, classes, bench):
        paths = []
        try:
            for cls in classes:
                progress(f"{bench.place.text}: starting {cls.name}")
                try:
                    paths.append(self.start(cls, f"{bench.place.name}-{cls.name}", bench))
                    paths[-1].checksum = bench.check(paths[-1])
                except Broken as broken:
                    self.broken(f"{cls.name} on {bench.place.name}", broken)
                    paths = [path for path in paths if path.name != cls.name or path.stop()]
        except BaseException:
            for path in paths:
                path.stop()
            raise
        return paths

    def scene(self, place, classes, wanted, rounds):
        """All paths at once in one place, in rounds."""
        load = Group(self.folder / f"{place.name}-load")
        paths = []
        try:
            bench = Bench(self.build / "bench" / "load", load, place)
            paths = self.start_all(classes, bench)
            about = {
                path.name: {
                    "title": path.title,
                    "ciphers": path.ciphers,
                    "sealed": path.sealed,
                    "versions": path.versions(),
                    "checksum": path.checksum,
                }
                for path in paths
            }
            results = bench.rounds(paths, wanted, rounds) if paths else {}
        finally:
            for path in paths:
                path.stop()
            load.stop()
        self.measures[place.name] = wanted
        every = [run for by_measure in results.values() for runs in by_measure.values() for run in runs]
        self.failed += sum("error" in run for run in every)
        return {
            "place": place.text,
            "rounds": rounds,
            "paths": about,
            "figures": figures.figures_of(results, wanted),
            "ratios": figures.ratios_of(results, wanted),
            "cpu_by_process": figures.cpu_by_process(results, wanted),
            "results": results,
        }

    def emulated(self, name, classes, wanted, **words):
        place = None
        try:
            place = EmulatedPath(name, self.folder / name, self.build, **words)
            return self.scene(place, classes, wanted, self.size.emulated_rounds)
        except Broken as broken:
            self.broken(name, broken)
            return None
        finally:
            if place:
                place.stop()

    def scenes(self):
        found, size = {}, self.size
        if size.loop():
            found["loop"] = self.scene(Place(), self.classes, size.loop(), size.rounds)
        emulated = [name for name in RTTS if size.wants(name)]
        keys = size.wants("keys")
        why = why_not_emulated(self.folder, self.build) if emulated or keys else None
        if why:
            self.skipped.update({name: why for name in [*emulated, *(["keys"] if keys else [])]})
            return found
        for name in emulated:
            classes = [cls for cls in self.classes if cls.emulated]
            found[name] = self.emulated(name, classes, size.emulated(RTTS[name]), round_ms=RTTS[name])
        if keys:
            classes = [cls for cls in self.classes if cls.name in KEYS_PATHS]
            found["keys"] = self.emulated("keys", classes, size.keys(), **KEYS_PATH)
        return {name: scene for name, scene in found.items() if scene}

    def alone(self, what, classes, measure):
        """Each path by itself on loopback: {path: what measure(bench, path) says}."""
        found = {}
        for cls in classes:
            progress(f"{what} of {cls.name}")
            load = Group(self.folder / f"{what}-{cls.name}-load")
            try:
                bench = Bench(self.build / "bench" / "load", load, Place())
                path = self.start(cls, f"{what}-{cls.name}", bench)
                try:
                    found[cls.name] = measure(bench, path)
                finally:
                    path.stop()
            except Broken as broken:
                found[cls.name] = {"error": str(broken)}
                self.failed += 1
                progress(f"{what} of {cls.name} failed: {broken}")
            finally:
                load.stop()
        return found

    def program(self, name, words):
        """What a program of bench/ prints: one JSON value."""
        progress(f"{name}: {' '.join(words)}")
        try:
            done = subprocess.run(
                [self.build / "bench" / name, *words], capture_output=True, text=True, timeout=900, check=False
            )
            if done.returncode == 0:
                return json.loads(done.stdout)
            why = f"exit {done.returncode}: {done.stderr.strip()[-300:]}"
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            why = str(error)
        self.broken(name, why)
        return None

    def others(self):
        """What scenes do not hold."""
        found, size = {}, self.size
        if size.wants("idle"):
            classes = [cls for cls in self.classes if cls.name in IDLE_PATHS]
            found["idle"] = self.alone(
                "idle", classes, lambda bench, path: bench.idle(path, min(size.idle, path.idle_max))
            )
        if size.wants("memory"):
            classes = [cls for cls in self.classes if cls.programs(self.build) and cls.name != "plain"]
            found["memory"] = self.alone(
                "memory", classes, lambda bench, path: bench.memory(path, size.memory_bytes(path.name))
            )
        if size.wants("scale"):
            found["scale"] = self.program("scale", [str(size.agents)])
        if size.wants("micro"):
            found["micro"] = self.program("micro", ["300" if size.full else "60"])
        return found

    def collect(self):
        began = time.monotonic()
        data = {"version": VERSION, "machine": figures.machine(), "commit": figures.commit()}
        flags = self.build / ".flags"
        words = flags.read_text().split() if flags.exists() else ["unknown"]
        data["flags"] = " ".join(word for word in words if not word.startswith("-W") or word.startswith("-Wl"))
        data["scenes"] = self.scenes()
        data.update(self.others())
        every = [
            run
            for scene in data["scenes"].values()
            for by_measure in scene["results"].values()
            for runs in by_measure.values()
            for run in runs
        ]
        for share in ("others_share", "stolen_share"):
            data[share] = figures.spread([run[share] for run in every if share in run] or [0.0])
            del data[share]["values"]
        data["aims"] = aims.judge(data)
        data["binaries"] = figures.binaries(self.classes, self.build, self.folder)
        data["skipped"], data["failed"] = self.skipped, self.failed
        data["run"] = {
            "date": figures.now(),
            "arguments": " ".join(self.given.words) or "--quick",
            "rounds": self.size.rounds,
            "seconds": round(time.monotonic() - began, 1),
        }
        return data
