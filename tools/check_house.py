#!/usr/bin/env python3
"""The house polices itself: the include rule, purity of the core, sizes, tests that the build does not run.

Run by the tests; prints each breach as FILE:LINE: what, and what is allowed. Exit 1 where there is one.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The include rule (src/README.md): which rooms a room may include. "core" alone means all of it; SEAMS are the
# headers of core that edges may see.
SEAMS = {"core/types.h", "core/event.h", "core/effect.h", "core/policy.h", "core/view.h"}
EDGES = {"ingest", "act", "notify", "store", "api", "run"}
ALLOWED = {
    "base": set(),
    "core": {"base"},
    "wire": {"base"},
    "net": {"base"},
    "sim": {"base", "core"},
    "testing": {"base", "core", "sim"},
    "app": {"base", "core", "wire", "net", "sim"} | EDGES,
    **{room: {"base", "net", "wire"} for room in EDGES},
}
SEES_SEAMS = EDGES | {"wire"}

# Not in the core, the simulator included: whatever makes one seed give two runs.
IMPURE = re.compile(
    r"#include <(thread|mutex|atomic|random|filesystem|fstream|unistd\.h|condition_variable|future)>"
    r"|system_clock|steady_clock|high_resolution_clock|clock_gettime|random_device|\brand\(\)|\btime\(nullptr\)")
LINES_MAX = 800


def files():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def check_source(path, breaches):
    relative = path.relative_to(ROOT)
    parts = relative.parts
    text = path.read_text(encoding="utf-8")
    if text.count("\n") > LINES_MAX:
        breaches.append(f"{relative}:1: {text.count(chr(10))} lines; {LINES_MAX} are the most")
    if parts[0] != "src" or len(parts) < 3:
        return
    room = parts[1]
    for number, line in enumerate(text.splitlines(), 1):
        include = re.match(r'#include "([^"]+)"', line)
        if include:
            target = include.group(1).split("/")[0]
            is_seam = include.group(1) in SEAMS and room in SEES_SEAMS
            if target != room and target not in ALLOWED[room] and not is_seam:
                breaches.append(f"{relative}:{number}: {room} may not include {include.group(1)}; see the include rule in src/README.md")
        if room in ("base", "core", "sim") and not relative.name.endswith("_test.cc") and relative.name != "main.cc" and IMPURE.search(line.split("//")[0]):
            breaches.append(f"{relative}:{number}: no clock, thread, file or unseeded random in {room}: {line.strip()}")
        if re.search(r"\bFIXME\b|\bXXX\b", line):
            breaches.append(f"{relative}:{number}: a mark for one's own desk: {line.strip()}")


def check_tests_are_built(paths, breaches):
    lists = "\n".join(p.read_text() for p in paths if p.name == "CMakeLists.txt")
    for path in paths:
        if path.name.endswith(("_test.cc", "_fuzz.cc")) and path.name not in lists:
            breaches.append(f"{path.relative_to(ROOT)}:1: no CMakeLists.txt names it: the build does not run it")
    for path in paths:
        if re.search(r"\bDISABLED_|GTEST_SKIP|pytest\.mark\.skip|it\.skip", path.read_text(errors="ignore") if path.suffix in (".cc", ".py", ".ts", ".mjs") and path.name != "check_house.py" else ""):
            breaches.append(f"{path.relative_to(ROOT)}:1: a test is skipped; mend it or delete it")


def main():
    paths = files()
    breaches = []
    for path in paths:
        if path.suffix in (".cc", ".h"):
            check_source(path, breaches)
    check_tests_are_built(paths, breaches)
    beast = [p for p in paths if p.suffix in (".cc", ".h") and "#include <boost/beast" in p.read_text()]
    if len(beast) > 5:
        breaches.append(f"{beast[5].relative_to(ROOT)}:1: a sixth unit that includes Beast; each costs 17 s")
    print("\n".join(breaches) if breaches else f"house rules hold in {len(paths)} files")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
