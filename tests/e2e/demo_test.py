"""`sluice demo`: the story that it tells, and what is left of it."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "wire"))

from harness import binary, equal, expect, main


def demo(folder, **more):
    return subprocess.run([binary(), "demo", "--fast"], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "TMPDIR": folder, **more})


def in_order(rows):
    return [row for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]


def test_the_split_moves_there_and_back_and_a_bad_candidate_is_taken_out():
    with tempfile.TemporaryDirectory() as folder:
        done = demo(folder)
        equal((done.returncode, done.stderr), (0, ""), "the exit code, and complaints")
        splits = in_order(re.findall(r"^split +([\d.]+) %", done.stdout, re.MULTILINE))
        story = ["10.0", "50.0", "100.0", "0.0", "10.0", "50.0", "0.0"]
        equal(splits[-len(story):], story, "the splits")
        expect("TRIPPED" in done.stdout, "no trip")
        errors = set(re.findall(r"errors +(\d+)", done.stdout))
        equal(errors, {"0"}, "errors that clients saw")
        equal(os.listdir(folder), [], "what is left in the temporary folder")


def test_no_place_for_its_files_is_one_clear_line():
    done = demo("/nonexistent")
    equal(done.returncode, 1, "the exit code")
    expect("no temporary folder" in done.stderr and done.stderr.count("\n") == 1, f"it says {done.stderr}")


if __name__ == "__main__":
    sys.exit(main(globals()))
