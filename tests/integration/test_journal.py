"""The monitor dies at any moment, and nothing is lost: killed after each write of its journal, restarted under a fleet."""
import concurrent.futures
import http.server
import json
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from conftest import Monitor, wait_until

SHIM = pathlib.Path(__file__).with_name("kill_shim.c")
# Runs side by side. Most of a run's time is the ladder's back-off (5 s, then 10 s), so they cost little but memory.
AT_ONCE = 60
# The ladder with all kinds of steps. Each attempt only says that it was made; nothing comes back to life.
LADDER = """
policies:
  - match: {{id: dying}}
    recovery:
      - restart: {{with: exec, command: ["{script}"], attempts: 2, verify_within: 300ms}}
      - replace: {{with: exec, command: ["{script}"], verify_within: 300ms, allow_two: true}}
      - alert: {{to: [oncall]}}
  - match: {{id: living}}
    recovery:
      - restart: {{with: exec, command: ["{script}"]}}
alerts: {{oncall: {{webhook: {{url: "{url}"}}}}}}
"""
STEPS = [("restart", "exec"), ("restart", "exec"), ("replace", "exec")]


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    made = tmp_path_factory.mktemp("shim") / "kill_shim.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", made, SHIM, "-ldl"], check=True)
    return made


@pytest.fixture(scope="module")
def receiver():
    """Keeps every body that comes in, by path."""
    bodies = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.setdefault(self.path, []).append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bodies = bodies
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Living:
    """Agents that beat all along, each time at the monitor that is up then, as `living` or `living0`, `living1`, ..."""

    def __init__(self, ids, interval_ms):
        self.ids, self.interval_ms, self.monitor, self.sequence = ids, interval_ms, None, 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over.wait(0.25):
            self.sequence += 1
            for agent_id in self.ids:
                try:
                    self.monitor and self.monitor.beat(agent_id, instanceId="first", sequence=self.sequence, intervalMs=self.interval_ms)
                except OSError:
                    pass  # Down, or dying: the next beat tells.

    def stop(self):
        self.is_over.set()
        self.thread.join()


class Run:
    """One ladder in a directory of its own, its monitor killed after the journal's write number `kill_after`."""

    def __init__(self, directory, shim, receiver, name, kill_after=None):
        self.directory, self.receiver, self.path = directory, receiver, f"/{name}"
        directory.mkdir()
        self.made, self.count = directory / "made", directory / "count"
        self.script = directory / "attempt.sh"
        self.script.write_text(f'#!/bin/sh\necho "$DEFIB_AGENT_ID $DEFIB_INCIDENT $DEFIB_ATTEMPT" >>{self.made}\n')
        self.script.chmod(0o755)
        self.shim = {"LD_PRELOAD": str(shim), "DEFIB_SHIM_COUNT": str(self.count)}
        if kill_after:
            self.shim["DEFIB_SHIM_KILL_AFTER"] = str(kill_after)
        self.monitor = None
        self.is_late = False  # The agent was heard, and the monitor killed before it was on disk.

    def start(self, env):
        """False where the monitor was killed before it came up."""
        try:
            self.monitor = Monitor(self.directory, LADDER.format(script=self.script, url=self.receiver.url + self.path),
                                   data_dir=self.directory / "data", env=env)
        except AssertionError:
            assert "DEFIB_SHIM_KILL_AFTER" in env, "the monitor did not come back"
            return False
        return True

    def attempts_made(self):
        return [line.split() for line in self.made.read_text().splitlines()] if self.made.exists() else []

    def firing(self):
        return [b for b in self.receiver.bodies.get(self.path, []) if b["status"] == "firing"]

    def beat_once(self):
        """The dying agent's beats, until one is heard. False where the monitor died meanwhile."""
        while self.monitor.process.poll() is None:
            try:
                if self.monitor.beat("dying", instanceId="i1", sequence=time.monotonic_ns(), intervalMs=150)[0] == 200:
                    return True
            except OSError:
                time.sleep(0.01)
        return False

    def committed(self):
        """(agents, incidents) that a reader of the files finds, without touching them: what was on disk at the kill."""
        copy = self.directory / "copy"
        shutil.copytree(self.directory / "data", copy)
        with sqlite3.connect(copy / "journal.db") as database:
            agents = {row[0] for row in database.execute("SELECT id FROM agents")}
            return agents, {row[0] for row in database.execute("SELECT id FROM incidents")}

    def is_told(self):
        return any(i["phase"] == "told" for i in self.monitor.incidents("dying")) and self.firing()


def run_unharmed(run):
    assert run.start(run.shim)
    living = Living(["living"], 10_000)
    living.monitor = run.monitor
    try:
        assert run.beat_once()
        wait_until("the ladder ends", run.is_told, 60)
        writes = int(run.count.read_text())
    finally:
        living.stop()
        assert run.monitor.stop() == 0
    return writes


def run_killed(run):
    """What was found wrong, as sentences."""
    living = Living(["living"], 10_000)
    wrong = []
    try:
        agents, incidents = set(), set()
        if run.start(run.shim):
            living.monitor = run.monitor
            is_heard = run.beat_once()
            run.monitor.process.wait(90)
            if run.monitor.process.returncode != -signal.SIGKILL:
                wrong.append(f"the monitor ended with {run.monitor.process.returncode}: {run.monitor.log[-5:]}")
            agents, incidents = run.committed()
            run.is_late = is_heard and "dying" not in agents
        made_before = {(int(i), int(n)) for _, i, n in run.attempts_made()}
        told_before = {b["incident"]["id"] for b in run.firing()}

        assert run.start({})
        living.monitor = run.monitor
        known = {a["agentId"] for a in run.monitor.get("/v1/agents")["agents"]}
        found = {i["id"]: i for i in run.monitor.get("/v1/incidents")["incidents"]}
        if not agents <= known:
            wrong.append(f"agents lost: {agents - known}")
        # An attempt is on disk before it is made, an incident before anybody is told: whatever the world saw must be known.
        if lost := (incidents | told_before | {i for i, _ in made_before}) - set(found):
            wrong.append(f"incidents lost: {lost}")
        for i, n in made_before:
            if i in found and n not in [a["n"] for a in found[i]["attempts"]]:
                wrong.append(f"attempt {n} of incident {i} was made and is not known")

        # One whose first beat came too late for the disk beats on, as a living agent does, and dies after it.
        if "dying" not in agents:
            assert run.beat_once()
        wait_until("the ladder ends", run.is_told, 60)
        ladders = run.monitor.incidents("dying")
        if len(ladders) != 1:
            wrong.append(f"{len(ladders)} incidents")
        ladder = ladders[0]
        attempts = ladder["attempts"]
        if [(a["step"], a["with"]) for a in attempts] != STEPS or any(a["isPending"] for a in attempts):
            wrong.append(f"the ladder was {attempts}")
        lines = run.attempts_made()
        if len(lines) != len({tuple(line) for line in lines}):
            wrong.append(f"an attempt was made twice: {lines}")
        if any(line[0] != "dying" for line in lines) or run.monitor.incidents("living"):
            wrong.append("the living agent was not left alone")
        # Only the one that was on disk and not yet made at the kill may never have been made: whether it was, nobody knows.
        at_restart = found.get(ladder["id"], {"attempts": []})["attempts"]
        unsure = at_restart[-1]["n"] if at_restart else 0
        for n in {a["n"] for a in attempts} - {int(line[2]) for line in lines} - {unsure}:
            wrong.append(f"attempt {n} is said to be made and was not")
        if {b["incident"]["id"] for b in run.firing()} != {ladder["id"]}:
            wrong.append("the alert is about another incident")
        if run.monitor.state("living") != "healthy":
            wrong.append(f"the living agent is {run.monitor.state('living')}")
    except AssertionError as error:
        wrong.append(str(error))
    finally:
        living.stop()
        if run.monitor and run.monitor.process.poll() is None and run.monitor.stop() != 0:
            wrong.append("the restarted monitor did not end well")
    return wrong


def test_killed_after_each_write_of_the_longest_ladder(shim, receiver, tmp_path):
    writes = run_unharmed(Run(tmp_path / "unharmed", shim, receiver, "unharmed"))
    print(f"the longest ladder made {writes} writes to the journal")
    assert writes > 20
    runs = {k: Run(tmp_path / f"k{k}", shim, receiver, f"k{k}", k) for k in range(1, writes + 1)}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = {k: found for k, found in zip(runs, pool.map(run_killed, runs.values())) if found}
    print(f"{sum(run.is_late for run in runs.values())} times the first beat of an agent was answered and not yet on disk")
    assert not wrong, f"{len(wrong)} of {writes}: " + json.dumps(wrong, indent=1)


POLICY = "policies: [{match: {id: '*'}, recovery: [{restart: {with: exec, command: ['false']}}]}]"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_fails_nobody_who_lives_and_finds_who_died_meanwhile(make_monitor, tmp_path, how):
    data = tmp_path / "data"
    living = Living([f"living{i}" for i in range(10)], 1000)
    first = make_monitor(POLICY, data_dir=data)
    living.monitor = first
    try:
        wait_until("ten agents are heard", lambda: first.get("/health/agents")["healthy"] == 10)
        first.beat("stopped", instanceId="i1", sequence=1, intervalMs=1000)
        first.beat("stopped", instanceId="i1", sequence=2, status="stopped")
        first.beat("dies", instanceId="i1", sequence=1, intervalMs=1000, currentTask="sorting socks")
        # Records keep their order: with the last one on disk all are.
        wait_until("it is on disk", lambda: "dies" in agents_on_disk(data))
        assert first.stop(how) == (0 if how == signal.SIGTERM else -how)
        time.sleep(4)  # Longer than it takes to fail: a monitor that does not know of its own downtime fails all ten.
        second = make_monitor(POLICY, data_dir=data)
        living.monitor = second
        second.wait_for_state("dies", "failed")
        assert second.incidents("dies")[0]["verdict"] == "silence"
        assert second.get("/v1/agents/dies")["currentTask"] == "sorting socks"
        assert second.state("stopped") == "stopped"
        wait_until("the living beat on", lambda: second.get("/health/agents")["healthy"] == 10)
        for agent_id in living.ids:
            assert second.incidents(agent_id) == []
        failed = {line.split()[2] for line in second.log if "has failed" in line}
        assert failed == {"dies"}
        assert {i["agentId"] for i in second.get("/v1/incidents")["incidents"]} == {"dies"}
    finally:
        living.stop()


def agents_on_disk(data):
    with sqlite3.connect(f"file:{data}/journal.db?mode=ro", uri=True) as database:
        return {row[0] for row in database.execute("SELECT id FROM agents")}


def test_restarts_do_not_reset_an_interval_of_thirty_hours(make_monitor, tmp_path):
    data, thirty_hours = tmp_path / "data", 30 * 3600 * 1000

    def missing_in(monitor):
        why = monitor.get("/v1/agents/nightly/why")
        assert "1 d 6 h" in json.dumps(why["facts"])
        return next(n["inMs"] for n in why["next"] if n["state"] == "missing")

    monitor = make_monitor(POLICY, data_dir=data)
    monitor.beat("nightly", instanceId="i1", sequence=1, intervalMs=thirty_hours)
    begun, before = time.monotonic(), missing_in(monitor)
    # What was heard is written every 10 s, and what a monitor can't know it counts as its own blindness: of 22 s that it
    # was up, at least the first 8 count (22, less a checkpoint's period of 11, an alive mark's of 1, and a busy machine).
    time.sleep(22)
    for how in [signal.SIGKILL, signal.SIGTERM]:
        monitor.stop(how)
        monitor = make_monitor(POLICY, data_dir=data)
    passed, counted = (time.monotonic() - begun) * 1000, before - missing_in(monitor)
    assert 8_000 <= counted <= passed + 100
    assert monitor.state("nightly") == "healthy"
