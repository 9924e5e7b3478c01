"""A device has numpy, onnxruntime and tokenizers, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_bundle import make_bundle

ROOT = Path(__file__).resolve().parents[2]
BLOCK = """
import json, sys
from importlib.abc import MetaPathFinder
ALLOWED = {"numpy", "onnxruntime", "tokenizers", "hrkd", "hrkd_bench"} | sys.stdlib_module_names
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
sys.meta_path.insert(0, Block())
"""
LOAD = """
from hrkd_bench.runtime import Classifier
print(json.dumps([answer.label for answer in Classifier.load(sys.argv[1])(["a good film", "a bad film"], "films")]))
"""
MEASURE = """
from pathlib import Path
import hrkd_bench.device.session, hrkd_bench.measurement.worker, hrkd_bench.measurement.measure
from hrkd_bench.subjects import subject_of
from hrkd_bench.examples import read_examples
subject = subject_of(Path(sys.argv[1]))
print(len(read_examples(subject.path, subject.label_names, subject.domain_names).examples))
"""


@pytest.mark.parametrize(("script", "expected"), [(LOAD, ["pos", "neg"]), (MEASURE, 40)])
def test_a_bundle_needs_three_libraries(tmp_path: Path, script: str, expected: object) -> None:
    """Prevents a compiled package that starts slowly, or does not exist for a device, from being needed there."""
    make_bundle(tmp_path / "bundle")
    paths = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'benchmarks')]!r}"
    result = subprocess.run(
        [sys.executable, "-P", "-c", f"{paths}\n{BLOCK}\n{script}", str(tmp_path / "bundle")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == expected
