"""What the README shows must work as it stands there."""
import re
import subprocess
import sys

from conftest import DEFIB, ROOT, Monitor

README = (ROOT / "README.md").read_text()


def block(language):
    return re.search(rf"```{language}\n(.*?)```", README, re.S).group(1)


def test_the_configuration_is_good(tmp_path):
    path = tmp_path / "defib.yaml"
    path.write_text(block("yaml"))
    done = subprocess.run([DEFIB, "check-config", path], capture_output=True, text=True, timeout=20,
                          env={"ALERT_URL": "http://127.0.0.1:9/", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_python_agent_is_heard(make_monitor, processes):
    monitor: Monitor = make_monitor("")
    processes([sys.executable, "-c", block("python").replace("redis://127.0.0.1:7379", monitor.redis_url)])
    monitor.wait_for_state("planner", "healthy")
    assert monitor.get("/v1/agents/planner")["currentTask"] == "planning the week"


def test_the_command_lines_are_understood(make_monitor):
    monitor: Monitor = make_monitor("")

    def defib(*words):
        return subprocess.run([DEFIB, *words, "--server", monitor.url], capture_output=True, text=True, timeout=20)

    assert defib("ping", "--id", "backup", "--interval", "1d", "--exit-code", "0").returncode == 0
    for words in [("agents",), ("why", "backup"), ("incidents",), ("agents", "--json"), ("why", "backup", "--json")]:
        done = defib(*words)
        assert done.returncode == 0, done.stderr
    assert defib("recover", "backup").returncode == 1
    assert defib("ack", "7").returncode == 1
