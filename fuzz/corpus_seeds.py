#!/usr/bin/env python3
"""Turns the cases of tests/wire/corpus.jsonl into inputs for fuzzing:
corpus_seeds.py FOLDER writes them to FOLDER/fuzz_request and FOLDER/fuzz_response,
so that a run begins with everything that is already known to be odd."""

import json
import sys
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[1] / "tests/wire/corpus.jsonl"
LONGEST = 4096
READ_SIZE = b"\x02"  # of the run that cuts: see the targets
ASKINGS = {"HEAD": b"\x01", "PUT": b"\x02"}


def octets(steps):
    def one(step):
        if isinstance(step, str):
            return step
        return step["repeat"] * step["times"] if "repeat" in step else ""

    return "".join(map(one, steps)).encode("latin-1")


def inputs(case):
    yield "fuzz_request", READ_SIZE + octets(case["send"])
    if "origin" in case:
        asking = ASKINGS.get(octets(case["send"]).split(b" ")[0].decode(), b"\x00")
        if b"pgrade:" in octets(case["send"]):
            asking = b"\x03"
        end = b"\x01" if {"close": True} in case["origin"] else b"\x00"
        yield "fuzz_response", asking + end + READ_SIZE + octets(case["origin"])


def main(folder):
    for line in CORPUS.read_text().splitlines():
        case = json.loads(line)
        for target, content in inputs(case):
            if len(content) <= LONGEST:
                path = Path(folder, target, case["name"].replace("/", "-"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1])
