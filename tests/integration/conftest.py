"""Real monitors, real clients, real processes. Every port is free, every process is ended by its own pid."""
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFIB = ROOT / "build/release/defib"


def wait_until(what, predicate, seconds=20.0):
    """Calls predicate until it is true; returns what it returned. Fails with `what` once the time is up."""
    end = time.monotonic() + seconds
    while True:
        found = predicate()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Monitor:
    """A `defib monitor` of its own, with its log kept."""

    def __init__(self, directory, config="", data_dir="memory", env=None, flags=(), command=None):
        self.directory = pathlib.Path(directory)
        self.data_dir = str(data_dir)
        self.config = self.directory / "defib.yaml"
        self.config.write_text(config)
        self.env = {**os.environ, **(env or {})}
        self.flags = list(flags)
        self.command = command or [str(DEFIB)]
        self.log = []
        self.process = None
        self.start()

    def start(self, is_expected_to_live=True):
        self.process = subprocess.Popen(
            [*self.command, "monitor", "--config", str(self.config), "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0",
             "--data-dir", self.data_dir, *self.flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.env,
            start_new_session=True)
        ports = {}
        is_up = threading.Event()

        def read(stream):
            for line in stream:
                self.log.append(line.rstrip("\n"))
                found = re.search(r"watching: http://[^:]+:(\d+)/.*redis://[^:]+:(\d+)", line)
                if found:
                    ports.update(http=int(found.group(1)), agents=int(found.group(2)))
                    is_up.set()
            is_up.set()

        self.reader = threading.Thread(target=read, args=(self.process.stderr,), daemon=True)
        self.reader.start()
        assert is_up.wait(30), "the monitor did not come up:\n" + "\n".join(self.log)
        if not ports:
            assert not is_expected_to_live, "the monitor ended at its start:\n" + "\n".join(self.log)
            return
        self.http_port, self.agents_port = ports["http"], ports["agents"]
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.redis_url = f"redis://127.0.0.1:{self.agents_port}"

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(30)
        self.reader.join(10)
        return code

    def request(self, method, path, body=None, headers=None):
        """(status, parsed JSON or text)"""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method,
                                         headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except json.JSONDecodeError:
            return status, text

    def get(self, path):
        status, body = self.request("GET", path)
        assert status == 200, f"GET {path}: {status} {body}"
        return body

    def beat(self, agent_id, **fields):
        return self.request("POST", "/v1/heartbeats", {"agentId": agent_id, "agentType": "test", "status": "healthy", **fields})

    def state(self, agent_id):
        status, body = self.request("GET", f"/health/agents/{agent_id}")
        return body["state"] if status == 200 else None

    def wait_for_state(self, agent_id, state, seconds=20.0):
        wait_until(f"{agent_id} is {state} (log: {self.log[-5:]})", lambda: self.state(agent_id) == state, seconds)

    def incidents(self, agent_id, state="all"):
        return [i for i in self.get(f"/v1/incidents?state={state}")["incidents"] if i["agentId"] == agent_id]

    def wait_for_outcome(self, agent_id, outcome, seconds=30.0):
        return wait_until(f"an incident of {agent_id} ends as {outcome}: {self.incidents(agent_id)}",
                          lambda: next((i for i in self.incidents(agent_id) if i["outcome"] == outcome), None), seconds)


@pytest.fixture
def make_monitor(tmp_path):
    made = []

    def make(config="", **options):
        directory = tmp_path / f"monitor{len(made)}"
        directory.mkdir()
        made.append(Monitor(directory, config, **options))
        return made[-1]

    yield make
    for monitor in made:
        if monitor.process.poll() is None:
            monitor.stop()


@pytest.fixture
def monitor(make_monitor):
    """With short times: one beat a second, failed after 3.1 s."""
    return make_monitor("policies: [{match: {id: '*'}, interval: 1s, recovery: []}]")


@pytest.fixture
def processes():
    """Processes that a test starts; whatever is left is ended with its group."""
    started = []

    def start(command, **options):
        process = subprocess.Popen([str(part) for part in command], start_new_session=True,
                                   **{"stdin": subprocess.DEVNULL, **options})
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(10)
