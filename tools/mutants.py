#!/usr/bin/env python3
"""Plants one fault after another in a copy of the core and expects a scenario or the simulator to turn red.

tools/mutants.toml lists the faults, at least one a rule. The copy is built in build/mutants; the working tree
is never touched. Exit 0: every mutant was caught; 1: one survived, or its fragment is no longer in the source.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "mutants"
ROOMS = ["base", "core", "sim", "testing"]

CMAKE = """cmake_minimum_required(VERSION 3.25)
project(mutants LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
add_compile_options(-O1 -g0 -w)
include_directories(src)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(GTest REQUIRED)
find_package(Boost 1.81 REQUIRED)
file(GLOB SOURCES src/base/*.cc src/core/*.cc src/sim/*.cc src/testing/*.cc)
list(FILTER SOURCES EXCLUDE REGEX "_test\\\\.cc$|sim/main\\\\.cc$")
add_library(engine STATIC ${SOURCES})
target_link_libraries(engine PUBLIC fmt::fmt Boost::headers)
add_executable(defib_sim src/sim/main.cc)
target_link_libraries(defib_sim engine CLI11::CLI11)
add_executable(scenario_test tests/scenario_test.cc)
target_compile_definitions(scenario_test PRIVATE DEFIB_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
target_link_libraries(scenario_test engine GTest::gtest_main)
"""


def make_tree():
    """Copies what is needed, leaving files that did not change alone so that little is rebuilt."""
    TREE.mkdir(parents=True, exist_ok=True)
    for room in ROOMS:
        sync(ROOT / "src" / room, TREE / "src" / room)
    sync(ROOT / "tests" / "scenarios", TREE / "tests" / "scenarios")
    put(TREE / "tests" / "scenario_test.cc", (ROOT / "tests" / "scenario_test.cc").read_text())
    put(TREE / "CMakeLists.txt", CMAKE)
    run(["cmake", "-S", str(TREE), "-B", str(TREE / "out"), "-G", "Ninja"], 120)


def sync(source, target):
    target.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in source.iterdir() if path.is_file()}
    for path in target.iterdir():
        if path.name not in names:
            path.unlink()
    for name in names:
        put(target / name, (source / name).read_text())


def put(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def run(command, seconds):
    """Returns (exit code, output); a command that takes too long counts as red."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, errors="replace")
        return done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        return 124, "took longer than %d s" % seconds


def build(jobs):
    code, output = run(["ninja", "-C", str(TREE / "out"), "-j", str(jobs)], 900)
    return code == 0, output


def judge(seconds):
    """Who turns red: a scenario, else the simulator; '' where nobody does."""
    code, output = run([str(TREE / "out" / "scenario_test"), "--gtest_brief=1"], 120)
    if code != 0:
        failed = re.findall(r"FAILED  \] Files/Scenario\.ComesOutAsWritten/(\w+)", output)
        first = failed[0] if failed else "crash"
        return "scenario %s%s" % (first, " and %d more" % (len(failed) - 1) if len(failed) > 1 else "")
    code, output = run([str(TREE / "out" / "defib_sim"), "--seconds", str(seconds)], seconds + 60)
    if code == 0:
        return ""
    promise = re.search(r"broken promise: (.*)", output)
    return "sim: %s" % (promise.group(1) if promise else "crash")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a regular expression of the names to plant")
    parser.add_argument("--seconds", type=int, default=60, help="of simulator for a mutant")
    parser.add_argument("-j", type=int, default=2, help="build jobs")
    flags = parser.parse_args()
    mutants = tomllib.loads((ROOT / "tools" / "mutants.toml").read_text())["mutant"]
    make_tree()
    is_built, output = build(flags.j)
    if not is_built:
        sys.exit("the copy does not build:\n" + output[-3000:])
    print("%-44s %-8s %-60s %7s" % ("mutant", "rule", "caught by", "seconds"), flush=True)
    healthy = judge(min(flags.seconds, 10))
    if healthy:
        sys.exit("without any mutant this is red already: " + healthy)
    survivors = 0
    for mutant in mutants:
        if flags.only and not re.search(flags.only, mutant["name"]):
            continue
        survivors += not plant(mutant, flags)
    print("%d survived" % survivors)
    sys.exit(1 if survivors else 0)


def plant(mutant, flags):
    path = TREE / "src" / mutant["file"]
    original = path.read_text()
    begin = time.monotonic()
    if original.count(mutant["find"]) != 1:
        caught = "NOT PLANTED: its fragment stands %d times in the source" % original.count(mutant["find"])
        is_caught = False
    else:
        path.write_text(original.replace(mutant["find"], mutant["replace"]))
        is_built, output = build(flags.j)
        caught = judge(flags.seconds) if is_built else "NOT BUILT: " + (re.findall(r"error: .*", output) or ["?"])[0]
        is_caught = is_built and bool(caught)
        path.write_text(original)
    print("%-44s %-8s %-60s %7.1f" % (mutant["name"], mutant["rule"], caught or "SURVIVED", time.monotonic() - begin),
          flush=True)
    return is_caught


if __name__ == "__main__":
    main()
