"""`defib run` and the monitor, both real: beats, ends, restarts, hangs, and what is left behind (nothing)."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from conftest import DEFIB, wait_until
from test_heal import Receiver, script

LADDER = """
policies:
  - match: {{id: "*"}}
    interval: 300ms
    recovery:
      - restart: {{with: runner, attempts: 2, verify_within: 5s}}
      - alert: {{to: [oncall]}}
    limits: {{recoveries: {recoveries}, per: 10m}}
alerts: {{oncall: {{webhook: {{url: "{url}"}}}}}}
"""


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def watching(make_monitor, receiver):
    """A monitor that restarts by runner; its receiver at `.receiver`."""
    def make(recoveries=5, **options):
        monitor = make_monitor(LADDER.format(recoveries=recoveries, url=receiver.url), **options)
        monitor.receiver = receiver
        return monitor

    return make


@pytest.fixture
def run(processes):
    def start(url, agent_id, *command, **options):
        return processes([DEFIB, "run", "--id", agent_id, "--interval", "300ms", "--url", url, "--", *command], **options)

    return start


@pytest.fixture(params=["redis", "http"])
def door(request):
    """The runner speaks through either door."""
    return lambda monitor: monitor.redis_url if request.param == "redis" else monitor.url


def wait_for_grant(monitor, agent_id):
    wait_until("the runner has its grant", lambda: any(f"the runner of {agent_id} may restart it" in line for line in monitor.log))
    # Said is not heard: a runner that beats by HTTP takes it with the answer to its next beat.
    time.sleep(0.7)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def pids_in(path, count):
    wait_until(f"{count} pids in {path.name}", lambda: path.exists() and len(path.read_text().split()) == count)
    return [int(pid) for pid in path.read_text().split()]


def test_beats_tell_cpu_and_memory_of_all_that_runs(watching, run, door):
    monitor = watching()
    # The work is done by a child of the child: 60 MB and a core that is never idle.
    work = "x = bytearray(60_000_000)\nwhile True: pass"
    run(door(monitor), "worker", "sh", "-c", f"'{sys.executable}' -c '{work}'; exit 1")

    def metrics():
        found = monitor.state("worker") and monitor.get("/v1/agents/worker")["metrics"]
        return found and found["memoryMB"] > 60 and found["cpuPercent"] > 5 and found

    assert wait_until("CPU and memory are told", metrics)["cpuPercent"] <= 101 * os.cpu_count()
    agent = monitor.get("/v1/agents/worker")
    assert agent["status"] == "healthy" and agent["intervalMs"] == 300 and agent["pid"] > 0


def test_a_crash_is_told_at_once_with_its_last_words_and_restarted_within_the_grant(watching, run, door, tmp_path):
    monitor = watching()
    starts, ends, crash = tmp_path / "starts", tmp_path / "ends", tmp_path / "crash"
    program = script(tmp_path, "program.sh", f"""
date +%s%N >>{starts}
[ -e {ends} ] && exec sleep 60
echo "reading page 41"
while [ ! -e {crash} ]; do sleep 0.05; done
echo "disk is on fire" >&2
date +%s%N >{ends}
exit 3
""")
    run(door(monitor), "worker", program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_grant(monitor, "worker")
    first = monitor.get("/v1/agents/worker")
    crash.touch()
    incident = monitor.wait_for_outcome("worker", "recovered")
    assert incident["verdict"] == "exit" and "3" in incident["evidence"]
    assert "reading page 41" in incident["outputTail"] and "disk is on fire" in incident["outputTail"]
    assert [(a["step"], a["with"], a["result"]) for a in incident["attempts"]] == [("restart", "runner", "verified")]
    assert incident["closedAt"] - incident["openedAt"] < 1000
    assert len(starts.read_text().split()) == 2
    back_after_ms = (int(starts.read_text().split()[1]) - int(ends.read_text())) / 1e6
    print(f"restarted {back_after_ms:.1f} ms after its last words")
    assert back_after_ms < 500
    second = monitor.get("/v1/agents/worker")
    assert second["instanceId"] != first["instanceId"] and second["state"] == "healthy"
    assert monitor.receiver.bodies == []


def test_a_crash_loop_past_the_limit_is_left_to_a_person(watching, run, tmp_path):
    monitor = watching(recoveries=3)
    starts = tmp_path / "starts"
    program = script(tmp_path, "program.sh", f"echo x >>{starts}\nsleep 1\necho out of memory\nexit 7\n")
    run(monitor.redis_url, "loops", program, stdout=subprocess.DEVNULL)
    body = wait_until("a person is told", lambda: next((b for b in monitor.receiver.bodies if b["status"] == "firing"), None), 60)
    assert body["severity"] == "critical" and "loops" in body["message"] and body["incident"]["verdict"] == "exit"
    told = wait_until("it is told", lambda: next((i for i in monitor.incidents("loops", "open") if i["phase"] == "told"), None))
    assert "flapping" in told["phaseReason"] or "flapping" in body["actionRequired"]
    assert "out of memory" in told["outputTail"]
    made = [a for i in monitor.incidents("loops") for a in i["attempts"]]
    assert [a["with"] for a in made] == ["runner"] * 3
    # The first start and three recoveries: the runner, too, leaves it at that.
    time.sleep(2)
    assert starts.read_text().split() == ["x"] * 4
    assert monitor.state("loops") == "failed"


def test_exit_zero_is_a_clean_stop(watching, run, door):
    monitor = watching()
    runner = run(door(monitor), "job", "sh", "-c", "sleep 1; exit 0")
    monitor.wait_for_state("job", "healthy")
    assert runner.wait(20) == 0
    monitor.wait_for_state("job", "stopped")
    time.sleep(2)  # Past three intervals: a stopped agent does not fail.
    assert monitor.state("job") == "stopped" and monitor.incidents("job") == []


@pytest.mark.parametrize("body, code", [("trap 'echo tidied >{said}; exit 0' TERM; echo >{ready}; while :; do sleep 0.05; done", 0),
                                        ("echo >{ready}; exec sleep 60", 128 + signal.SIGTERM)])
def test_term_is_passed_on_and_is_a_clean_stop(watching, run, door, tmp_path, body, code):
    monitor, said, ready = watching(), tmp_path / "said", tmp_path / "ready"
    runner = run(door(monitor), "job", "sh", "-c", body.format(said=said, ready=ready))
    monitor.wait_for_state("job", "healthy")
    wait_until("the program is ready", ready.exists)
    runner.terminate()
    assert runner.wait(20) == code
    assert code or said.read_text() == "tidied\n"
    monitor.wait_for_state("job", "stopped")
    time.sleep(2)
    assert monitor.state("job") == "stopped" and monitor.incidents("job") == []


def test_a_frozen_program_goes_silent_and_its_runner_restarts_it(watching, run, tmp_path):
    # Through Redis' door: over HTTP commands come only in the answers to beats, and for a frozen program there are none.
    monitor, pids = watching(), tmp_path / "pids"
    run(monitor.redis_url, "freezes", script(tmp_path, "program.sh", f"echo $$ >>{pids}\nexec sleep 60\n"))
    monitor.wait_for_state("freezes", "healthy")
    [first] = pids_in(pids, 1)
    os.kill(first, signal.SIGSTOP)
    wait_until("it is noticed", lambda: monitor.incidents("freezes"))
    incident = monitor.wait_for_outcome("freezes", "recovered", 40)
    assert incident["verdict"] == "silence"
    assert [(a["step"], a["with"], a["result"]) for a in incident["attempts"]] == [("restart", "runner", "verified")]
    [_, second] = pids_in(pids, 2)
    assert is_alive(second) and not is_alive(first)
    assert monitor.get("/v1/agents/freezes")["pid"] == second


def test_killing_the_runner_leaves_no_orphan_and_the_agent_fails(watching, run, tmp_path):
    monitor, pids = watching(), tmp_path / "pids"
    # A child, a grandchild that ignores TERM, and a daemon with a session of its own.
    runner = run(monitor.redis_url, "orphans", script(tmp_path, "program.sh", f"""
echo $$ >>{pids}
sh -c 'trap "" TERM HUP INT; echo $$ >>{pids}; while :; do sleep 0.1; done' &
setsid sh -c 'trap "" TERM HUP INT; echo $$ >>{pids}; while :; do sleep 0.1; done' &
wait
"""))
    monitor.wait_for_state("orphans", "healthy")
    left = pids_in(pids, 3)
    assert all(is_alive(pid) for pid in left)
    runner.kill()
    runner.wait()
    wait_until("all of it is gone", lambda: not any(is_alive(pid) for pid in left), 15)
    incident = wait_until("the agent fails", lambda: monitor.incidents("orphans"))[0]
    assert incident["verdict"] == "silence"
    monitor.wait_for_state("orphans", "failed")


def test_without_a_monitor_nothing_changes(processes):
    started = time.monotonic()
    runner = processes([DEFIB, "run", "--id", "alone", "--url", "redis://127.0.0.1:1", "--restart", "no", "--", "sh", "-c",
                        "cat; echo out; echo err >&2; exit 7"],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = runner.communicate("in\n", timeout=20)
    assert (runner.returncode, out) == (7, "in\nout\n")
    assert "err\n" in err
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_monitor_that_restarts_meanwhile_disturbs_nobody(watching, run, tmp_path, how):
    pids, data = tmp_path / "pids", tmp_path / "data"
    before = watching(data_dir=data)
    run(before.redis_url, "goes-on", script(tmp_path, "program.sh", f"echo $$ >>{pids}\nexec sleep 60\n"))
    wait_for_grant(before, "goes-on")
    first = before.get("/v1/agents/goes-on")
    before.stop(how)
    time.sleep(2)
    # At the same address, where the runner looks for it: the arguments are those that Monitor gives.
    same = script(tmp_path, "same.sh", f'exec {DEFIB} monitor --config "$3" --http 127.0.0.1:0 --agents 127.0.0.1:{before.agents_port} --data-dir "$9"\n')
    after = watching(data_dir=data, command=[str(same)])
    wait_until("it beats on", lambda: after.get("/v1/agents/goes-on")["sequence"] > first["sequence"] + 1, 30)
    again = after.get("/v1/agents/goes-on")
    assert again["state"] == "healthy" and again["instanceId"] == first["instanceId"]
    assert pids_in(pids, 1) == [again["pid"]]
    assert after.incidents("goes-on") == []
    # And it is as well watched as before.
    os.kill(again["pid"], signal.SIGKILL)
    incident = after.wait_for_outcome("goes-on", "recovered")
    assert incident["verdict"] == "exit" and incident["attempts"][0]["with"] == "runner"
    pids_in(pids, 2)
