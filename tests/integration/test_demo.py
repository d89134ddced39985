"""The demo behind `make run`: it keeps its promises, and Ctrl-C leaves nothing behind."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import ROOT, wait_until

RUN = ROOT / "examples/quickstart/run.sh"


def free_ports(count):
    """Held all at once, so that no two are the same."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def processes_of(demo_dir):
    """Pids whose environment or command line names the demo's directory."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if demo_dir in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:
            pass
    return found


class Demo:
    def __init__(self, http, agents):
        self.url = f"http://127.0.0.1:{http}"
        self.output = ""
        env = {**os.environ, "DEFIB_DEMO_HTTP": f"127.0.0.1:{http}", "DEFIB_DEMO_AGENTS": f"127.0.0.1:{agents}"}
        env.pop("DEFIB_URL", None)
        # A session of its own, so that its group is what a terminal's Ctrl-C reaches.
        self.process = subprocess.Popen([RUN], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.output += re.sub(r"\x1b\[[0-9;]*m", "", line)

    def demo_dir(self):
        """As it stands in the environment of what the demo started."""
        for pid in pathlib.Path("/proc").iterdir():
            try:
                status = (pid / "stat").read_text().rsplit(")", 1)[1].split()
                if int(status[1]) == self.process.pid:
                    found = re.search(rb"DEFIB_DEMO_DIR=([^\0]+)", (pid / "environ").read_bytes())
                    if found:
                        return found.group(1)
            except (OSError, ValueError, IndexError):
                pass
        return None

    def wait_for(self, words, seconds):
        wait_until(f"the demo says {words!r}: {self.output[-2000:]}",
                   lambda: words in self.output or (self.process.poll() is not None and pytest.fail(self.output)), seconds)

    def interrupt(self, times=1):
        """As Ctrl-C does."""
        for _ in range(times):
            os.killpg(self.process.pid, signal.SIGINT)
            time.sleep(0.05)
        code = self.process.wait(30)
        self.reader.join(10)
        return code


@pytest.fixture
def demo():
    made = Demo(*free_ports(2))
    yield made
    if made.process.poll() is None:
        # TERM lets it end what it started, each in a session of its own.
        made.process.terminate()
        made.process.wait(30)


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def is_gone(url):
    try:
        urllib.request.urlopen(url, timeout=5).close()
        return False
    except (urllib.error.URLError, ConnectionError):
        return True


def test_the_night_goes_well_and_ctrl_c_leaves_nothing_behind(demo):
    demo.wait_for("Four agents are watched. The page: " + demo.url, 30)
    directory = wait_until("its directory", demo.demo_dir)
    demo.wait_for("Killing researcher", 20)
    demo.wait_for("Freezing crawler", 20)
    demo.wait_for("Both are back, importer ended cleanly, nobody had to get up", 60)
    with urllib.request.urlopen(demo.url + "/health/agents", timeout=10) as answer:
        health = answer.read().decode()
    assert '"stopped":1' in health.replace(" ", "") and '"failed":0' in health.replace(" ", "")
    assert demo.output.count("recovered") >= 2
    # The monitor, researcher, crawler with its runner, and the loop of pings; importer has ended.
    running = processes_of(directory)
    assert len(running) >= 5
    assert demo.interrupt() == 0
    assert "Ending everything that was started" in demo.output
    wait_until("all of it is gone", lambda: not processes_of(directory), 10)
    assert not {pid for pid in running if is_alive(pid)}
    assert is_gone(demo.url)
    assert not pathlib.Path(os.fsdecode(directory)).exists()


def test_an_impatient_ctrl_c_in_the_middle_of_it_leaves_nothing_behind_either(demo):
    demo.wait_for("Freezing crawler", 40)
    directory = wait_until("its directory", demo.demo_dir)
    assert demo.interrupt(times=2) == 0
    wait_until("all of it is gone", lambda: not processes_of(directory), 10)
    assert is_gone(demo.url)


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        [agents] = free_ports(1)
        demo = Demo(taken.getsockname()[1], agents)
        assert demo.process.wait(60) == 1
        demo.reader.join(10)
        assert "did not start" in demo.output and "in use" in demo.output


def test_a_monitor_that_is_here_already_is_left_alone(monitor):
    demo = Demo(monitor.http_port, free_ports(1)[0])
    assert demo.process.wait(60) == 1
    demo.reader.join(10)
    assert "already" in demo.output and "DEFIB_DEMO_HTTP" in demo.output
    assert monitor.get("/health/agents")["total"] == 0
