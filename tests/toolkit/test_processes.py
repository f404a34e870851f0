import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from toolkit.processes import run_program

CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {!r}]).wait()"


def python(code, **options):
    return run_program([sys.executable, "-c", code], **options)


def test_what_it_prints_and_how_it_ends(tmp_path):
    code = "import sys, os; print(input(), os.getcwd()); print('no', file=sys.stderr); sys.exit(3)"
    done = python(code, given="hello\n", folder=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (f"hello {tmp_path}\n", "no\n", 3)
    assert python("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"
    told = python("import os; print(os.environ.get('A'), 'HOME' in os.environ)", env={"A": "b"})
    assert told.stdout == "b False\n"


def test_its_temporary_files_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import tempfile, os; print(tempfile.mkdtemp(), flush=True); os.kill(os.getpid(), 9)"
    done = python(code)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_exception_ends_it_and_all_that_it_started(monkeypatch):
    found = []

    def look_and_leave(process, given):
        started = psutil.Process(process.pid)
        while len(family := started.children(recursive=True)) < 1:
            time.sleep(0.01)
        found.extend([started, *family])
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", look_and_leave)
    with pytest.raises(KeyboardInterrupt):
        python(CHILD.format("import time; time.sleep(300)"))
    assert len(found) == 2
    assert psutil.wait_procs(found, timeout=5)[1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a child of that")
def test_a_process_can_end_with_the_one_that_started_it():
    child = (
        "import time; from toolkit.processes import end_with_parent; end_with_parent(); "
        "print(1, flush=True); time.sleep(300)"
    )
    code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert psutil.wait_procs([child], timeout=5)[1] == []


def test_a_program_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        run_program(["/nowhere/program"])
