"""Recovery against real scripts, real processes and a real receiver of alerts."""
import http.server
import json
import os
import signal
import socket
import sys
import textwrap
import threading
import time

import pytest

from conftest import wait_until

# An agent with an instance id that beats by HTTP every 200 ms.  usage: beat.py URL ID [BEATS]
BEATING_AGENT = textwrap.dedent("""
    import json, os, socket, sys, time, urllib.request
    url, agent, left = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else -1
    instance, sequence = os.environ.get("DEFIB_INSTANCE") or f"i{os.getpid()}", 0
    while left != 0:
        sequence, left = sequence + 1, left - 1
        body = {"agentId": agent, "instanceId": instance, "sequence": sequence, "intervalMs": 200, "pid": os.getpid(),
                "host": socket.gethostname(), "timestamp": int(time.time() * 1000), "currentTask": "sorting socks"}
        try:
            urllib.request.urlopen(urllib.request.Request(url + "/v1/heartbeats", json.dumps(body).encode(), {"Content-Type": "application/json"}))
        except OSError:
            pass
        time.sleep(0.2)
""")


@pytest.fixture
def agent(tmp_path):
    path = tmp_path / "beat.py"
    path.write_text(BEATING_AGENT)
    return path


def script(tmp_path, name, body):
    path = tmp_path / name
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return path


def ladder(steps, alerts=""):
    return f"policies: [{{match: {{id: '*'}}, interval: 1s, recovery: [{steps}]}}]\n{alerts}"


def kill_pid_in(path):
    if path.exists():
        try:
            os.kill(int(path.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


class Receiver:
    """A webhook's receiver that refuses the first `failures` posts with 503."""

    def __init__(self, failures=0):
        outer = self
        self.bodies, self.failures = [], failures

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_refused, outer.failures = outer.failures > 0, outer.failures - 1
                if not is_refused:
                    outer.bodies.append(body)
                self.send_response(503 if is_refused else 204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/SECRET"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver():
    made = Receiver(failures=1)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_script_that_backgrounds_the_agent_works_and_hands_the_task_over(make_monitor, processes, agent, tmp_path):
    pid_file, seen = tmp_path / "pid", tmp_path / "seen"
    restart = script(tmp_path, "restart.sh", f"""
echo "$1 $DEFIB_AGENT_ID $AGENT_ID $DEFIB_TASK" >{seen}
{sys.executable} {agent} $URL "$1" &
echo $! >{pid_file}
""")
    monitor = make_monitor(ladder(f'{{restart: {{with: exec, command: ["{restart}", "{{agentId}}"], verify_within: 10s}}}}'),
                           env={"URL": "http://unset"})
    # The script learns the port only now; it reads it from a file that its environment names.
    restart.write_text(restart.read_text().replace("$URL", monitor.url))
    first = processes([sys.executable, agent, monitor.url, "worker"])
    monitor.wait_for_state("worker", "healthy")
    first.kill()
    first.wait()
    incident = monitor.wait_for_outcome("worker", "recovered")
    try:
        assert [a["result"] for a in incident["attempts"]] == ["verified"]
        assert incident["verdict"] == "silence"
        assert seen.read_text().split() == ["worker", "worker", "worker", "sorting", "socks"]
        assert monitor.state("worker") == "healthy"
        os.kill(int(pid_file.read_text()), 0)
    finally:
        kill_pid_in(pid_file)


def test_exit_zero_proves_nothing_and_a_person_is_told_until_it_is_delivered(make_monitor, receiver):
    monitor = make_monitor(ladder('{restart: {with: exec, command: ["true"], attempts: 1, verify_within: 500ms}}, {alert: {to: [oncall]}}',
                                  f"alerts: {{oncall: {{webhook: {{url: '{receiver.url}'}}}}}}"))
    monitor.beat("gone", instanceId="i1", sequence=1, intervalMs=200, currentTask="sorting socks")
    body = wait_until("the alert is delivered", lambda: receiver.bodies and receiver.bodies[0], 30)
    assert body["version"] == 1 and body["status"] == "firing" and body["severity"] == "critical"
    assert body["incident"]["agentId"] == "gone"
    assert [(a["step"], a["with"], a["result"]) for a in body["incident"]["attempts"]] == [("restart", "exec", "failed")]
    assert body["agent"]["currentTask"] == "sorting socks" and "sorting socks" in body["message"]
    assert body["links"] and body["actionRequired"] and body["lastHeartbeat"].endswith("Z")
    assert not any("SECRET" in line for line in monitor.log)
    # Back by itself, as another instance: resolved, since the alert had gone out.
    monitor.beat("gone", instanceId="i2", sequence=1, intervalMs=200)
    resolved = wait_until("the resolve is delivered", lambda: next((b for b in receiver.bodies if b["status"] == "resolved"), None), 30)
    assert resolved["id"] != body["id"]


def test_replace_starts_only_once_the_old_one_is_proven_gone_and_fences_it(make_monitor, processes, agent, tmp_path):
    pid_file = tmp_path / "pid"
    replace = script(tmp_path, "replace.sh", "")
    monitor = make_monitor(ladder(f'{{restart: {{with: exec, command: ["false"], attempts: 1}}}}, {{replace: {{with: exec, command: ["{replace}", "{{agentId}}"], verify_within: 10s}}}}'))
    replace.write_text(f"#!/bin/sh\n{sys.executable} {agent} {monitor.url} $1 &\necho $! >{pid_file}\n")
    first = processes([sys.executable, agent, monitor.url, "worker"])
    monitor.wait_for_state("worker", "healthy")
    old = monitor.get("/v1/agents/worker")
    first.kill()
    first.wait()
    try:
        incident = monitor.wait_for_outcome("worker", "recovered", 40)
        assert [(a["step"], a["result"]) for a in incident["attempts"]] == [("restart", "failed"), ("replace", "verified")]
        # The old instance comes back: it is told to stop, and does not count.
        status, body = monitor.beat("worker", instanceId=old["instanceId"], sequence=old["sequence"] + 100, intervalMs=200)
        assert status == 400 and "fenced" in json.dumps(body)
        assert monitor.get("/v1/agents/worker")["instanceId"] != old["instanceId"]
    finally:
        kill_pid_in(pid_file)


def test_replace_is_refused_where_nobody_can_tell_that_the_old_one_is_gone(make_monitor):
    monitor = make_monitor(ladder('{replace: {with: exec, command: ["touch", "/nonexistent/never"]}}'))
    monitor.beat("far", instanceId="i1", sequence=1, intervalMs=200, host="another-host", pid=1)
    incident = wait_until("the attempt is refused", lambda: next((i for i in monitor.incidents("far") if i["attempts"] and not i["attempts"][0]["isPending"]), None))
    assert incident["attempts"][0]["result"] == "failed"
    assert "allow_two" in incident["attempts"][0]["detail"]


def test_an_old_instance_that_beats_again_stops_the_ladder(make_monitor, tmp_path):
    ran = tmp_path / "ran"
    slow = script(tmp_path, "slow.sh", f"echo x >>{ran}\n")
    monitor = make_monitor(ladder(f'{{restart: {{with: exec, command: ["{slow}"], attempts: 3, verify_within: 5s}}}}'))
    monitor.beat("back", instanceId="i1", sequence=1, intervalMs=200)
    wait_until("the script ran", ran.exists)
    wait_until("it waits for proof", lambda: monitor.incidents("back")[0]["phase"] == "verifying")
    time.sleep(0.5)
    monitor.beat("back", instanceId="i1", sequence=2, intervalMs=200)
    assert monitor.wait_for_outcome("back", "self, restart did not take")["attempts"][0]["result"] == "failed"
    assert ran.read_text() == "x\n"


def test_fifty_hanging_commands_do_not_delay_a_verdict(make_monitor, tmp_path):
    hang = script(tmp_path, "hang.sh", "exec sleep 30\n")
    monitor = make_monitor("fleet_limits: {at_once: 100, per_minute: 1000}\nguard: {share: 100%, at_least: 1000}\n" +
                           ladder(f'{{restart: {{with: exec, command: ["{hang}"], timeout: 20s}}}}'))
    for i in range(50):
        monitor.beat(f"hung{i}", instanceId="i", sequence=1, intervalMs=100)
    wait_until("fifty commands hang", lambda: sum(i["phase"] == "acting" for i in monitor.get("/v1/incidents?state=open&limit=100")["incidents"]) == 50)
    lateness = []
    for i in range(5):
        monitor.beat(f"probe{i}", instanceId="i", sequence=1, intervalMs=300)
        heard = monitor.get(f"/v1/agents/probe{i}")["lastHeartbeat"]
        incident = wait_until("the verdict", lambda: monitor.incidents(f"probe{i}"))[0]
        lateness.append(incident["openedAt"] - heard - (3 * 300 + 50))
    # Judged by the monitor's own stamps. The commands hang for 20 s; a blocked loop would show as seconds.
    assert sorted(lateness)[2] < 300, lateness
    assert monitor.get("/healthz")["status"] == "ok"


def test_recovering_a_healthy_agent_by_hand_needs_force(make_monitor, tmp_path):
    ran = tmp_path / "ran"
    touch = script(tmp_path, "touch.sh", f"touch {ran}\n")
    monitor = make_monitor(ladder(f'{{restart: {{with: exec, command: ["{touch}"], verify_within: 2s}}}}'))
    monitor.beat("well", instanceId="i1", sequence=1, intervalMs=5000)
    status, body = monitor.request("POST", "/v1/agents/well/recover", {})
    assert status == 409 and body["code"] and body["hint"]
    assert not ran.exists()
    assert monitor.request("POST", "/v1/agents/well/recover", {"force": True})[0] == 200
    wait_until("the command ran", ran.exists)
    monitor.beat("well", instanceId="i2", sequence=1, intervalMs=5000)
    assert monitor.wait_for_outcome("well", "recovered")["verdict"] == "manual"


def test_a_reload_with_mistakes_changes_nothing(make_monitor):
    monitor = make_monitor("policies: [{match: {id: '*'}, interval: 7s, recovery: []}]")
    monitor.beat("a", sequence=1)
    monitor.config.write_text("policies: [{match: {id: '*'}, intervall: 1s}]")
    monitor.process.send_signal(signal.SIGHUP)
    wait_until("the mistake is told", lambda: any("interval" in line and ":1:" in line for line in monitor.log))
    assert monitor.get("/v1/agents/a")["intervalMs"] == 7000
    monitor.config.write_text("policies: [{match: {id: '*'}, interval: 9s, recovery: []}]")
    monitor.process.send_signal(signal.SIGHUP)
    wait_until("the milder interval holds at once", lambda: monitor.get("/v1/agents/a")["intervalMs"] == 9000)


def test_two_monitors_do_not_share_a_data_directory(make_monitor, tmp_path):
    make_monitor("", data_dir=tmp_path / "data")
    with pytest.raises(AssertionError, match="(?i)another|held|lock"):
        make_monitor("", data_dir=tmp_path / "data")


def test_hanging_receivers_do_not_delay_a_verdict(make_monitor):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monitor = make_monitor(ladder("{alert: {}}", f"alerts: {{oncall: {{webhook: {{url: 'http://127.0.0.1:{port}/'}}}}}}"))
        monitor.beat("a", instanceId="i", sequence=1, intervalMs=200)
        monitor.wait_for_state("a", "failed")
        started = time.monotonic()
        assert monitor.get("/health/agents/a")["state"] == "failed"
        assert time.monotonic() - started < 2
