"""`python -m mgnet_models SCRIPT`: the script and every process that it starts know the names, and nothing else changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAME = "mgnet_2_2_c32_bl"
KNOWS = f"import timm; print(timm.is_model('{NAME}'))"


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mgnet_models", str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


STARTS = {
    "as bulk_runner.py starts them": f"""
import os, subprocess, sys
print(subprocess.check_output([os.getenv("PYTHON_EXEC", sys.executable), "-u", "-c", {KNOWS!r}], text=True).strip())
""",
    "spawned": f"""
import multiprocessing, timm
def work(queue):
    queue.put(timm.is_model("{NAME}"))
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=work, args=(queue,))
    process.start()
    print(queue.get(timeout=120))
    process.join()
""",
    "by a shell": f"""
import shlex, subprocess, sys
command = shlex.join([sys.executable, "-c", {KNOWS!r}])
print(subprocess.check_output(command, shell=True, text=True).strip())
""",
}
# Each starts Python with PyTorch twice.
FIRST, *OTHERS = STARTS


@pytest.mark.parametrize("how", [FIRST, *(pytest.param(how, marks=pytest.mark.nightly) for how in OTHERS)])
def test_processes_that_a_script_starts_know_the_names(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(STARTS[how])
    done = run(script)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_a_sitecustomize_and_a_path_of_the_user_still_count(tmp_path: Path) -> None:
    folder = tmp_path / "user"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import os; os.environ['SITE_OF_THE_USER'] = 'ran'")
    (folder / "their_module.py").write_text("value = 7")
    script = tmp_path / "script.py"
    # A process that needs no timm imports nothing of ours.
    child = "import os, sys, their_module as m; print(os.environ.get('SITE_OF_THE_USER'), m.value, 'torch' in sys.modules)"
    script.write_text(
        f"import os, subprocess, sys\nos.environ.pop('SITE_OF_THE_USER', None)\n"
        f"print(subprocess.check_output([sys.executable, '-c', {child!r}], text=True))"
    )
    done = run(script, PYTHONPATH=str(folder))
    assert done.stdout.split() == ["ran", "7", "False"], done.stderr


def test_the_exit_code_and_the_arguments_are_those_of_the_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)")
    done = run(script, "--model", NAME)
    assert done.returncode == 7
    assert done.stdout.strip() == f"['--model', '{NAME}']"
    missing = run(tmp_path / "missing.py")
    assert missing.returncode == 2
    assert "there is no script" in missing.stderr
