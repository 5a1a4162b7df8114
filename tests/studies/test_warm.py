"""Trials that are forked from one process: each is a process of its own, and none harms another."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer.studies.trial import STATUS
from fer.studies.warm import WarmServer, words_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks trials")

PROGRAM = """\
import json, os, random, signal, sys, threading, time
do = sys.argv[1]
if do == "show":
    print(json.dumps({
        "words": sys.argv[1:], "name": __name__, "spec": __spec__.name, "folder": os.getcwd(),
        "path": sys.path[0], "seen": os.environ.get("SEEN"), "own": "json" in sys.modules,
        "descriptors": sorted(os.listdir("/proc/self/fd"), key=int),
        "tasks": len(os.listdir("/proc/self/task")), "threads": threading.active_count(),
        "handlers": [str(signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)],
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "leads": os.getpid() == os.getsid(0),
        "random": random.random(), "left": getattr(json, "left", None),
    }))
    json.left = "by a program"
elif do == "exit":
    import atexit
    atexit.register(print, "goodbye")
    sys.exit(3)
elif do == "late":
    import atexit
    class Leaked:
        def __del__(self, write=os.write):
            write(2, b"leaked\\n")
    sys.kept = Leaked()  # until the interpreter itself ends
    atexit.register(os.write, 2, b"goodbye\\n")
    sys.exit(3)
elif do == "error":
    raise ValueError("it went wrong")
elif do == "text":
    sys.exit("in words")
elif do == "_exit":
    os._exit(4)
elif do == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif do == "memory":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    bytearray(1 << 31)
elif do == "sleep":
    signal.signal(signal.SIGTERM, lambda *_: (print("asked", flush=True), sys.exit(0)))
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def program(tmp_path):
    """The name of the program, which is in the working directory."""
    (tmp_path / "acts.py").write_text(PROGRAM)
    return "acts"


class Trials:
    """Programs that are started by a server; the log and the end of each are in files of its own."""

    def __init__(self, server, program):
        self.server, self.command, self.number = server, [sys.executable, "-m", program], 0

    def start(self, *words, command=None, **environment):
        self.number += 1
        folder = Path(f"trial-{self.number}")
        folder.mkdir()
        with (folder / "log").open("wb") as log, (folder / "lock").open("wb") as lock:
            everything = {**os.environ, **environment}
            process = self.server.start(
                command or [*self.command, *words], (log, log, lock), everything, folder / STATUS, patience=2
            )
        return folder, process

    def run(self, *words, **environment):
        folder, process = self.start(*words, **environment)
        wait_for(lambda: process.poll() is not None)
        return folder, process.returncode


@pytest.fixture
def trials(program):
    with WarmServer(["json"], program) as server:
        yield Trials(server, program)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def end_of(folder):
    return json.loads((folder / STATUS).read_text())


def shown(folder):
    return json.loads((folder / "log").read_text())


def test_a_program_is_as_if_python_had_started_it(trials, tmp_path):
    folder, status = trials.run("show", "a word", "--option=1", SEEN="yes")
    found = shown(folder)
    assert (status, end_of(folder)) == (0, {"orphaned": False, "status": 0})
    assert found["words"] == ["show", "a word", "--option=1"]
    assert (found["name"], found["spec"]) == ("__main__", "acts")
    assert found["folder"] == found["path"] == str(tmp_path)
    assert (found["seen"], found["own"]) == ("yes", True)
    assert (found["tasks"], found["threads"]) == (1, 1)
    # What started the tests in the background may ignore SIGINT; so does every Python below it.
    assert found["handlers"] == ["0", str(signal.getsignal(signal.SIGINT)), "0"]
    assert (found["blocked"], found["leads"]) == (0, False)
    # Input, log twice, and the folder that is being listed: nothing of the server's, and no lock.
    assert found["descriptors"] == ["0", "1", "2", "3"]


def test_what_is_missed_after_the_exit_is_not_in_the_log(trials):
    """Extension modules write on stderr what the garbage collector was told to skip."""
    folder, _ = trials.run("late")
    assert (end_of(folder)["status"], (folder / "log").read_text()) == (3, "goodbye\n")


def test_a_program_leaves_nothing_to_the_next_one(trials):
    first, second = (shown(trials.run("show", SEEN=value)[0]) for value in ("yes", "no"))
    assert (first["seen"], second["seen"]) == ("yes", "no")
    assert first["left"] is second["left"] is None
    assert first["random"] != second["random"]
    assert trials.server._process.poll() is None


@pytest.mark.parametrize(
    ("act", "status", "said"),
    [
        pytest.param("exit", 3, "goodbye\n", id="a status, after what is left for the exit"),
        pytest.param("error", 1, "ValueError: it went wrong\n", id="an error"),
        pytest.param("text", 1, "in words\n", id="a text instead of a status"),
        pytest.param("_exit", 4, "", id="at once"),
        pytest.param("die", -signal.SIGKILL, "", id="killed"),
        pytest.param("memory", 1, "MemoryError\n", id="out of memory"),
    ],
)
def test_an_end_is_told_and_harms_no_other(act, status, said, trials):
    other, running = trials.start("sleep")
    wait_for(lambda: (other / "log").read_text() == "ready\n")
    folder, returned = trials.run(act)
    assert (returned, end_of(folder)) == (0, {"orphaned": False, "status": status})
    assert (folder / "log").read_text().endswith(said)
    assert running.poll() is None
    os.killpg(running.pid, signal.SIGTERM)
    wait_for(lambda: running.poll() is not None)
    assert end_of(other) == {"orphaned": False, "status": 0}
    assert (other / "log").read_text() == "ready\nasked\n"


def test_a_group_that_is_killed_has_the_signal_as_its_status(trials):
    folder, process = trials.start("sleep")
    wait_for(lambda: (folder / "log").read_text() == "ready\n")
    os.killpg(process.pid, signal.SIGKILL)
    wait_for(lambda: process.poll() is not None)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / STATUS).exists()


@pytest.mark.slow
def test_many_programs_run_at_once_and_leave_the_server_as_it_was(trials):
    trials.run("_exit")
    server = trials.server._process.pid

    def state():
        status = Path(f"/proc/{server}/status").read_text().splitlines()
        memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return *(len([*Path(f"/proc/{server}/{kind}").iterdir()]) for kind in ("fd", "task")), memory

    before = state()
    for _ in range(4):
        for process in [trials.start("_exit")[1] for _ in range(10)]:
            wait_for(lambda process=process: process.poll() is not None)
    after = state()
    assert after[:2] == before[:2]
    assert before[1] == 1
    assert after[2] < before[2] + 500  # KiB
    children = Path(f"/proc/{server}/task/{server}/children").read_text()
    assert children == ""


SWEEP = """\
import os, sys, time
from pathlib import Path
from fer.studies.warm import WarmServer
with WarmServer(["json"], "acts") as server, open("log", "wb") as log, open("lock", "wb") as lock:
    command = [sys.executable, "-m", "acts", "sleep"]
    process = server.start(command, (log, log, lock), os.environ, Path("status"), 2)
    time.sleep(600)
"""


def test_a_program_whose_sweep_is_killed_is_asked_to_end(program):
    sweep = subprocess.Popen([sys.executable, "-c", SWEEP])
    wait_for(lambda: Path("log").exists() and Path("log").read_text() == "ready\n")
    sweep.kill()
    sweep.wait()
    wait_for(lambda: Path("status").exists())
    assert json.loads(Path("status").read_text()) == {"orphaned": True, "status": 0}
    assert Path("log").read_text() == "ready\nasked\n"


def test_where_the_server_was_killed_its_programs_end_and_the_next_one_is_not_forked(trials, caplog):
    folder, process = trials.start("sleep")
    wait_for(lambda: (folder / "log").read_text() == "ready\n")
    trials.server._process.kill()
    wait_for(lambda: process.poll() is not None)
    assert process.returncode == -signal.SIGKILL  # nobody knows it; the file does
    assert end_of(folder) == {"orphaned": True, "status": 0}
    with caplog.at_level(logging.DEBUG, "fer.studies"):
        assert [trials.start("exit")[1] for _ in range(2)] == [None, None]
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("trials are started as new processes: ")


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        pytest.param(["no_such_module"], "has ended", id="what it should import is missing"),
        pytest.param(["threaded"], "has ended", id="what it imports starts a thread"),
        pytest.param(["torch"], "has ended", id="what it imports uses CUDA"),
        pytest.param([], "", id="it should import nothing"),
    ],
)
def test_where_nothing_can_be_forked_that_is_a_debug_message(modules, reason, program, caplog):
    Path("threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    Path("torch.py").write_text(  # with the flag that torch sets in a fork, if CUDA was used before
        "import os\nclass cuda:\n    parent = os.getpid()\n    @staticmethod\n"
        "    def _is_in_bad_fork():\n        return os.getpid() != cuda.parent\n"
    )
    with caplog.at_level(logging.DEBUG, "fer.studies"), WarmServer(modules, program) as server:
        assert Trials(server, program).start("show")[1] is None
    assert [message.partition(": ")[2] for message in caplog.messages] == (
        [f"the process that forks them {reason}"] if reason else []
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["python", "-m", "acts"], id="another Python"),
        pytest.param([sys.executable, "acts.py"], id="a file"),
        pytest.param([sys.executable, "-m", "acts2"], id="another module"),
        pytest.param(["/usr/bin/env", "A=1", sys.executable, "-m", "acts"], id="variables of its own"),
        pytest.param([], id="no word"),
    ],
)
def test_other_commands_are_not_forked(command):
    assert words_of(command, "acts") is None
    assert words_of(["/usr/bin/env", sys.executable, "-m", "acts", "x"], "acts") == ["x"]
