"""`hrkd doctor` finds what does not work by trying it."""

from __future__ import annotations

import json
from email.message import Message

import pytest

from hrkd_cli.doctor import accelerators, machine, packages


class Distribution:
    """As much of an installed package as the check reads."""

    def __init__(self, version: str, requires: list[str], extras: tuple[str, ...] = ()) -> None:
        self.version, self.requires, self.metadata = version, requires, Message()
        for extra in extras:
            self.metadata["Provides-Extra"] = extra


def test_this_installation_is_sound(hrkd) -> None:
    """Prevents a false alarm where everything works, and a document that no program can read."""
    result = hrkd("doctor", "--json")
    assert result.code == 0, result.out
    findings = json.loads(result.out)["findings"]
    assert {"python", "processor", "cpus", "memory", "disk", "packages", "torch"} <= {row["topic"] for row in findings}
    assert not [row for row in findings if row["status"] == "problem"]
    assert any("CPUExecutionProvider loads" in row["text"] for row in findings)


def test_a_problem_is_the_exit_code(hrkd, monkeypatch) -> None:
    """Prevents a script from going on, on a machine for which there is no onnxruntime."""
    monkeypatch.setattr(machine.platform, "machine", lambda: "armv7l")
    result = hrkd("doctor")
    assert result.code == 2
    assert "armv7l is 32-bit" in result.out
    assert "64-bit operating system" in result.out


def test_a_provider_that_is_listed_but_does_not_load_is_told(monkeypatch) -> None:
    """Prevents `CUDAExecutionProvider` from looking fine because onnxruntime falls back in silence."""
    import onnxruntime

    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    found = {finding.text.split()[0]: finding for finding in accelerators.findings() if "Provider" in finding.text}
    assert found["CUDAExecutionProvider"].status == "note"
    assert "does not load" in found["CUDAExecutionProvider"].text
    assert found["CPUExecutionProvider"].status == "ok"


@pytest.fixture
def installed(monkeypatch) -> dict[str, Distribution]:
    found = {
        "root": Distribution("1", ["middle>=2", 'gpu-thing>=1; extra == "gpu"', 'absent; extra == "gpu"'], ("gpu",)),
        "middle": Distribution("2.5", ["leaf[fast]<4", 'leaf<1; python_version < "3"']),
        "leaf": Distribution("3", ['quick==1; extra == "fast"']),
        "quick": Distribution("1", []),
        "gpu-thing": Distribution("1.2", []),
    }
    monkeypatch.setattr(packages, "_find", found.get)
    return found


def test_packages_that_fit_are_no_conflict(installed) -> None:
    """Prevents requirements of other Pythons and of packages that are not there from counting."""
    assert list(packages.conflicting_requirements("root")) == []


@pytest.mark.parametrize(
    ("name", "version", "sentence"),
    [
        ("middle", "1.9", "root 1 needs middle>=2, found 1.9"),
        ("gpu-thing", "0.9", "root 1 needs gpu-thing>=1, found 0.9"),
        ("quick", "2", "leaf 3 needs quick==1, found 2"),
    ],
)
def test_a_version_that_another_package_refuses_is_named(name, version, sentence, installed) -> None:
    """Prevents a conflict from going unseen below an extra, or two packages deep."""
    installed[name].version = version
    assert list(dict.fromkeys(packages.conflicting_requirements("root"))) == [sentence]
