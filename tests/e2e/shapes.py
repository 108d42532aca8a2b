# SPDX-License-Identifier: MIT
"""The shapes of PROTOCOL.md, "What commands answer", read from the document and held against output.

A shape is str, int, bool or any; "word" or "word"|"other"; [shape]; shape|null; or {"name": shape, "name"?: shape
of what may be missing, "*": shape of every other name}.
"""

import re

from world import ROOT

WORDS = {"str": str, "int": int, "bool": bool}
TOKENS = re.compile(r'\s*("(?:[^"\\])*"|[a-z]+|[][{}:,|?])')


def documented():
    """{"cbx-hub peers": shape, …}"""
    text = (ROOT / "common" / "PROTOCOL.md").read_text()
    section = text[text.index("## What commands answer") :]
    blocks = re.findall(r"^    (cbx-[a-z]+ [a-z]+) --json\n((?:     .*\n)+)", section, re.MULTILINE)
    return {command: Reader(shape).whole() for command, shape in blocks}


class Reader:
    def __init__(self, text):
        self.tokens = TOKENS.findall(text)
        assert re.sub(r"\s", "", "".join(self.tokens)) == re.sub(r"\s", "", text), f"not a shape: {text}"

    def whole(self):
        shape = self.shape()
        assert not self.tokens, self.tokens
        return shape

    def take(self, token=None):
        found = self.tokens.pop(0)
        assert token in (None, found), f"{found} where {token} should be"
        return found

    def shape(self):
        shape = self.one()
        if self.tokens and self.tokens[0] == "|" and not isinstance(shape, set):
            self.take("|")
            self.take("null")
            return (shape, None)
        return shape

    def one(self):
        token = self.take()
        if token == "[":
            inner = self.shape()
            self.take("]")
            return [inner]
        if token == "{":
            return self.members()
        if token in WORDS or token == "any":
            return token
        words = {token.strip('"')}
        while self.tokens and self.tokens[0] == "|":
            self.take("|")
            words.add(self.take().strip('"'))
        return words

    def members(self):
        found = {}
        while self.tokens[0] != "}":
            name = self.take().strip('"')
            optional = self.tokens[0] == "?"
            if optional:
                self.take("?")
            self.take(":")
            found[name] = (optional, self.shape())
            if self.tokens[0] == ",":
                self.take(",")
        self.take("}")
        return found


def differences(value, shape, where=""):
    """What of value the shape does not say, or the other way round."""
    if isinstance(shape, tuple):
        return [] if value is None else differences(value, shape[0], where)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where}: not an object"]
        found = [f"{where}.{name}: missing" for name, (optional, _) in shape.items() if not optional and name not in value and name != "*"]
        for name, inner in value.items():
            _, expected = shape.get(name, shape.get("*", (True, None)))
            found += [f"{where}.{name}: not documented"] if expected is None else differences(inner, expected, f"{where}.{name}")
        return found
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [text for i, inner in enumerate(value) for text in differences(inner, shape[0], f"{where}[{i}]")]
    if isinstance(shape, set):
        return [] if value in shape else [f"{where}: {value!r} is not one of {sorted(shape)}"]
    good = shape == "any" or (isinstance(value, WORDS[shape]) and not (shape == "int" and isinstance(value, bool)))
    return [] if good else [f"{where}: {value!r} is no {shape}"]
