#!/usr/bin/env bash
# Prove that what is shipped works on a device: build the wheel, install `hrkd[edge]` from it into an empty environment
# with the pins of requirements/edge.txt, and measure a tiny bundle there, without torch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${VENV:-.venv}/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "wheel smoke: building the wheel" >&2
"$python" -m build --no-isolation --wheel --outdir "$work/dist" . >"$work/build.log" 2>&1 || {
    cat "$work/build.log" >&2
    exit 1
}
# The bundle is made by the development environment: a device only ever reads one.
PYTHONPATH=tests "$python" - "$work/bundle" <<'PY'
import sys
from pathlib import Path
from tiny_bundle import make_bundle

make_bundle(Path(sys.argv[1]))
PY

echo "wheel smoke: installing hrkd[edge] into an empty environment" >&2
"$python" -m venv "$work/edge"
edge=$work/edge/bin
pip=("$edge/python" -m pip install --disable-pip-version-check --no-input -qq --no-deps)
"${pip[@]}" --require-hashes -r requirements/edge.txt
"${pip[@]}" "$work"/dist/hrkd-*.whl
"$edge/python" -m pip check --disable-pip-version-check

# From here on nothing of the checkout may be importable.
cd "$work"
"$edge/hrkd" --version
"$edge/hrkd" --help >/dev/null
"$edge/hrkd" recipe list
"$edge/hrkd" recipe validate demo >/dev/null
"$edge/hrkd" bench bundle --max-texts 20 --output bench.json
"$edge/hrkd" bench bundle --max-texts 20 --profile 1-core --output profile.json
"$edge/hrkd" bench pack bundle --max-texts 20 --output runner.pyz
"$edge/python" runner.pyz --output device.json
"$edge/hrkd" bench merge device.json bundle --output merged.json
"$edge/python" - <<'PY'
import importlib.util
import json

present = [name for name in ("torch", "transformers", "optimum", "onnx") if importlib.util.find_spec(name)]
assert not present, f"the edge environment holds {present}"
with open("bench.json", encoding="utf-8") as stream:
    document = json.load(stream)
assert document["schema_version"] == 1, document["schema_version"]
result = document["results"][0]
for key in ("name", "role", "engine", "precision", "size_bytes", "threads", "cold_start_ms", "peak_rss_bytes",
            "throughput_per_s", "agreement_with_teacher", "valid", "model_sha256"):
    assert key in result, key
for part in ("end_to_end", "tokenize", "run"):
    assert set(result["latency_ms"][part]) >= {"p50", "p90", "p95", "p99", "n"}, part
assert set(result["accuracy"]) >= {"average", "worst", "domains"}
assert result["engine"] == "onnxruntime"
PY
if "$edge/hrkd" run demo 2>error.txt; then
    echo "wheel smoke: \`hrkd run\` did not notice that torch is missing" >&2
    exit 1
fi
grep -q "hrkd\[export,report\]" error.txt || { cat error.txt >&2; exit 1; }
echo "wheel smoke: passed" >&2
