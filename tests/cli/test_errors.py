"""The error funnel: the user's errors become one message and an exit code, bugs keep their traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hrkd_cli.main
from hrkd import errors
from hrkd_cli import extras

STAGES = {
    "data": "hrkd_cli.pipeline.check_before_work",
    "teacher": "hrkd_cli.pipeline.train_teacher",
    "distill": "hrkd_cli.pipeline.distill",
    "export": "hrkd_cli.pipeline.export_stage",
    "bench": "hrkd_cli.pipeline.bench_stage",
    "report": "hrkd_cli.pipeline.write_report",
}
HRKD_ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.HrkdError) and error is not errors.MissingExtraError
]


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `hrkd recipe list` fail."""

    def fail() -> list[str]:
        raise error

    monkeypatch.setattr("hrkd_cli.recipes.shipped_recipes", fail)


@pytest.mark.parametrize("kind", HRKD_ERRORS, ids=lambda kind: kind.__name__)
def test_user_errors_become_a_message_and_a_hint(kind, monkeypatch, hrkd) -> None:
    """Prevents a traceback for what the user can act on, and a success code after an error."""
    fail_with(monkeypatch, kind("`x` is wrong", hint="make it right"))
    result = hrkd("recipe", "list")
    assert result.code == kind.exit_code
    assert (result.out, result.err) == ("", "error: `x` is wrong\nhint: make it right\n")


def test_exit_codes_are_the_documented_ones() -> None:
    """Prevents a changed number that scripts rely on."""
    assert {kind.exit_code for kind in HRKD_ERRORS} == {2, 3, 130}
    assert errors.BudgetMissed.exit_code == 3
    assert errors.Interrupted.exit_code == 130


@pytest.mark.parametrize(
    "bug",
    [
        ValueError("bug"),
        KeyError("bug"),
        RuntimeError("bug"),
        OSError(errno.EACCES, "no"),
        OSError(errno.ENOENT, "no", "packaged.txt"),
    ],
)
def test_bugs_keep_their_traceback(bug: Exception, monkeypatch, hrkd) -> None:
    """Prevents a funnel so wide that it hides defects behind a polite line."""
    fail_with(monkeypatch, bug)
    with pytest.raises(type(bug)):
        hrkd("recipe", "list")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said(code: int, monkeypatch, hrkd) -> None:
    """Prevents a traceback when the disk is full, which looks like a bug and hides what to do."""
    fail_with(monkeypatch, OSError(code, "full", "runs/demo/model.safetensors"))
    result = hrkd("recipe", "list")
    assert result.code == 2
    assert "no space left on device while writing `runs/demo/model.safetensors`" in result.err
    assert "finished stages are kept" in result.err


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST])
def test_a_path_that_the_system_refuses_is_said(code: int, monkeypatch, hrkd) -> None:
    """Prevents a traceback for a folder without permissions, which only the user can change."""
    fail_with(monkeypatch, OSError(code, "refused", "runs/demo"))
    result = hrkd("recipe", "list")
    assert result.code == 2
    assert result.err == "error: `runs/demo` cannot be used: refused\nhint: check the path and its permissions\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_below_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents `hrkd ... --json > file` on a full disk from ending as a success with an empty file."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(hrkd_command("recipe", "list"), stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: no space left on device")


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_in_each_stage(stage: str, monkeypatch, tmp_path: Path, tiny_recipe: Path, hrkd) -> None:
    """Prevents a stage in which Ctrl-C gives a traceback, or a word that lets the user fear for what is finished."""
    for name, target in STAGES.items():
        monkeypatch.setattr(target, interrupt if name == stage else nothing)
    result = hrkd("run", tiny_recipe, "--runs-dir", tmp_path / "runs", "--quiet")
    assert result.code == 130
    assert result.err == "error: interrupted\nhint: finished stages are kept; the same command goes on from there\n"


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def nothing(*_: object, **__: object) -> None:
    return None


def test_a_real_interrupt_is_quiet() -> None:
    """Prevents what only a process shows: a traceback printed by Python itself on SIGINT."""
    code = (
        "import sys, time, hrkd_cli.recipes, hrkd_cli.main\n"
        "def wait():\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "hrkd_cli.recipes.shipped_recipes = wait\n"
        "sys.exit(hrkd_cli.main.main(['recipe', 'list']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert err.startswith(b"error: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently")
def test_a_closed_pipe_is_quiet() -> None:
    """Prevents `hrkd recipe show demo | head -1` from printing a traceback."""
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(hrkd_command("recipe", "show", "demo"), stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert result.stderr == ""


@pytest.mark.parametrize(("module", "extra"), [("torch", "train"), ("onnxruntime", "edge"), ("jinja2", "report")])
def test_a_missing_extra_is_named(module: str, extra: str, monkeypatch, hrkd) -> None:
    """Prevents `No module named torch` from reaching somebody who only has to install an extra."""
    monkeypatch.setattr(extras, "is_installed", lambda name: name != module)
    fail_with(monkeypatch, ModuleNotFoundError(f"No module named '{module}'", name=module))
    result = hrkd("recipe", "list")
    assert result.code == 2
    assert f"hint: pip install 'hrkd[{extra}]'\n" in result.err


@pytest.mark.parametrize("module", ["hrkd.nowhere", "hrkd_bench.nowhere", "torch.nowhere", "nowhere", None])
def test_other_missing_modules_are_bugs(module: str | None, monkeypatch, hrkd) -> None:
    """Prevents a wrong import of our own, or in an installed library, from being blamed on the installation."""
    fail_with(monkeypatch, ModuleNotFoundError("No module", name=module))
    with pytest.raises(ModuleNotFoundError):
        hrkd("recipe", "list")


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (("run", "demo"), "torch", "export"),
        (("run", "demo"), "matplotlib", "report"),
        (("teacher", "demo"), "transformers", "train"),
        (("distill", "demo"), "torch", "train"),
        (("evaluate", "x"), "torch", "train"),
        (("export", "x", "--onnx"), "onnx", "export"),
        (("bench", "x"), "onnxruntime", "edge"),
        (("bench", "x", "--report", "r.html"), "jinja2", "report"),
        (("report", "x"), "matplotlib", "report"),
    ],
)
def test_extras_are_checked_before_anything_is_imported(arguments, module, extra, monkeypatch, hrkd) -> None:
    """Prevents a command that works for minutes before it finds that a later stage's library is missing."""
    monkeypatch.setattr(extras, "is_installed", lambda name: name != module)
    result = hrkd(*arguments)
    assert result.code == 2
    assert result.err == (
        f"error: `hrkd {arguments[0]}` needs packages that are not installed\nhint: pip install 'hrkd[{extra}]'\n"
    )


def test_both_runtimes_are_refused(monkeypatch, hrkd) -> None:
    """Prevents a broken onnxruntime: both wheels write into one folder, and the winner is a matter of order."""
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: name)
    result = hrkd("bench", "x")
    assert result.code == 2
    assert "`onnxruntime` and `onnxruntime-gpu` are both installed" in result.err


def test_main_returns_zero_on_success(hrkd) -> None:
    """Prevents a funnel that turns every end into an error."""
    assert hrkd("recipe", "list").code == 0
    assert hrkd_cli.main.main(["--help"]) == 0


def hrkd_command(*arguments: str) -> list[str]:
    """Return the command line in a process of its own."""
    return [sys.executable, "-c", "import sys; from hrkd_cli.main import main; sys.exit(main())", *arguments]
