#!/usr/bin/env python3
"""The rules of the house that a compiler does not know.

No clock or random source outside proxy/loop.cc, no include against the order
conf <- balancer <- health <- proxy <- admin, no libuv below proxy, no file with
FIXME, no test whose name CTest would take apart.
"""
import os
import re
import subprocess
import sys

ROOT = os.environ.get("SLUICE_SOURCE") or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYERS = ["conf", "balancer", "health", "proxy", "admin"]
CLOCKS = re.compile(
    r"\b(uv_hrtime|uv_now|uv_random|clock_gettime|gettimeofday|getrandom|arc4random|random_device"
    r"|(system|steady|high_resolution)_clock::now|std::rand|srand|mt19937)\b|\btime\(\s*(nullptr|NULL|0)\s*\)")
TEST_CASE = re.compile(r'TEST_CASE\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')
# The composition root may see everything.
ROOTS = {"proxy/main.cc"}


def tracked():
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"],
                             capture_output=True, text=True)
    if listing.returncode == 0:
        return listing.stdout.split("\n")[:-1]
    found = []
    for folder, _, names in os.walk(ROOT):
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return found


def problems_of(path, text):
    layer = path.split("/")[0]
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{number}: "
        if re.search(r"\bFIX" r"ME\b", line):
            yield where + "an open end"
        if layer not in LAYERS:
            continue
        include = re.match(r'\s*#include ["<]([^">]+)[">]', line)
        if include and path not in ROOTS:
            target = include.group(1).split("/")[0]
            if target in LAYERS and LAYERS.index(target) > LAYERS.index(layer):
                yield where + f"{layer} includes {target}, against the order {' <- '.join(LAYERS)}"
            if include.group(1) == "uv.h" and LAYERS.index(layer) < LAYERS.index("proxy"):
                yield where + f"{layer} knows libuv"
        if path != "proxy/loop.cc" and CLOCKS.search(re.sub(r"//.*", "", line)):
            yield where + "a clock or a random source outside proxy/loop.cc"


def bad_test_names(path, text):
    for match in TEST_CASE.finditer(text):
        name = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', match.group(1)))
        if re.search(r"[\[\];\\]", name):
            yield f"{path}: the test's name \"{name}\" has a bracket, a semicolon or a backslash, which split CMake's lists"


def main():
    passed, failed = 0, 0
    for path in tracked():
        if not path.endswith((".cc", ".h")):
            continue
        full = os.path.join(ROOT, path)
        if not os.path.isfile(full):
            continue
        with open(full, encoding="utf-8") as file:
            text = file.read()
        found = list(problems_of(path, text)) + list(bad_test_names(path, text))
        for problem in found:
            print(problem)
        passed, failed = (passed, failed + 1) if found else (passed + 1, failed)
    if passed == 0:
        print("no source was found")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
