"""`export_bundle` from a model folder to a bundle that a runtime can trust."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from hrkd.artifact import STAGE_RECORD, finish_stage
from hrkd.bundle import CARD, EVAL, MANIFEST, MODEL, EncoderShape, EvalExample, open_bundle, read_eval
from hrkd.errors import ArtifactError, CheckpointError, ExportError, HrkdError, MissingExtraError
from hrkd.models import load_classifier, load_tokenizer
from hrkd.recipe import ExportConfig, QuantizationBackend
from hrkd_export import export_bundle, inputs_hash
from hrkd_export.evaluation_texts import sample_examples
from hrkd_export.session import open_session, run_session

FP32 = ExportConfig(quantize=None)
INT8 = ExportConfig(target="avx512_vnni")


@pytest.fixture
def own_checkpoint(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "student"))


@pytest.fixture(scope="module")
def bundles(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An fp32 and an int8 bundle of the same checkpoint."""
    root = tmp_path_factory.mktemp("bundles")
    for name, config in (("fp32", FP32), ("int8", INT8)):
        export_bundle(checkpoint, root / name, config)
    return {"fp32": root / "fp32", "int8": root / "int8"}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_bundle_opens_and_says_what_it_is(bundles: dict[str, Path], precision: str) -> None:
    """Prevents a manifest that does not fit the files beside it."""
    folder = bundles[precision]
    manifest = open_bundle(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([MODEL, "tokenizer.json", EVAL, MANIFEST, CARD])
    assert (manifest.name, manifest.precision) == (f"student-{precision}", precision)
    assert (manifest.target, manifest.backend) == {"fp32": ("any", None), "int8": ("avx512_vnni", "optimum")}[precision]
    assert (manifest.max_length, manifest.text_pairs) == (48, False)
    assert {"torch", "transformers", "onnx", "onnxruntime", "optimum", "hrkd"} <= manifest.versions.keys()
    assert manifest.session["allow_spinning"] is False
    assert "intra_op_num_threads" not in manifest.session
    assert (manifest.graph.quantized_bytes > 0) == (precision == "int8")
    assert manifest.encoder == EncoderShape(layers=2, hidden_size=32, attention_heads=4, intermediate_size=64)
    assert len(read_eval(folder, manifest)) == 60


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_reference_numbers_are_those_of_the_shipped_graph(bundles: dict[str, Path], precision: str) -> None:
    """Prevents a device from being compared with numbers of another model, precision or domain order."""
    folder = bundles[precision]
    manifest = open_bundle(folder)
    tokenizer, session = Tokenizer.from_file(str(folder / "tokenizer.json")), open_session(folder / MODEL)
    correct: dict[str, list[bool]] = {name: [] for name in manifest.domain_names}
    agreed = []
    for example in read_eval(folder, manifest):
        ids = np.array([tokenizer.encode(example.text).ids])
        domain = np.array([manifest.domain_names.index(example.domain)])
        predicted = run_session(session, ids, np.ones_like(ids), domain)[0].argmax()
        correct[example.domain].append(manifest.label_names[predicted] == example.label)
        agreed.append(predicted == np.argmax(example.teacher_logits))
    expected = {name: float(np.mean(values)) for name, values in correct.items()}
    assert manifest.reference.domains == expected
    assert len(set(expected.values())) > 1
    assert manifest.reference.worst == min(expected.values())
    assert manifest.reference.agreement_with_teacher == np.mean(agreed)


def test_fp32_bundle_predicts_what_the_checkpoint_predicts(bundles: dict[str, Path], checkpoint: Path) -> None:
    """Prevents the whole path, tokenizer file and graph together, from differing where each part passed alone."""
    manifest = open_bundle(bundles["fp32"])
    shipped, session = (
        Tokenizer.from_file(str(bundles["fp32"] / "tokenizer.json")),
        open_session(bundles["fp32"] / MODEL),
    )
    classifier, tokenizer = load_classifier(checkpoint), load_tokenizer(checkpoint)
    for example in read_eval(bundles["fp32"], manifest)[::7]:
        ids = np.array([shipped.encode(example.text).ids])
        domain = np.array([manifest.domain_names.index(example.domain)])
        encoded = tokenizer(example.text, return_tensors="pt")
        with torch.inference_mode():
            expected = classifier(encoded["input_ids"], encoded["attention_mask"], torch.from_numpy(domain)).logits
        actual = run_session(session, ids, np.ones_like(ids), domain)
        np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)


def test_same_checkpoint_and_options_give_the_same_bundle(
    bundles: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    """Prevents times, paths or random names in the files: a rebuilt bundle must be provably the same."""
    elsewhere = Path(shutil.copytree(checkpoint, tmp_path / "copied-student"))
    again = export_bundle(elsewhere, tmp_path / "again", INT8)
    assert again.bundle_hash == open_bundle(bundles["int8"]).bundle_hash
    assert (tmp_path / "again" / MANIFEST).read_bytes() == (bundles["int8"] / MANIFEST).read_bytes()


def test_pair_model_becomes_a_bundle(pair_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents the second text from being dropped anywhere on the way."""
    manifest = export_bundle(pair_checkpoint, tmp_path / "bundle", INT8, role="teacher")
    assert manifest.text_pairs
    assert manifest.name == "teacher-int8"
    assert all(example.text_pair is not None for example in read_eval(tmp_path / "bundle", manifest))


def test_backends_report_themselves_and_agree(checkpoint: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    """Prevents the two libraries from giving different accuracy under the same settings."""
    config = INT8.model_copy(update={"backend": QuantizationBackend.ORT})
    manifest = export_bundle(checkpoint, tmp_path / "ort", config)
    assert manifest.backend == "ort"
    assert manifest.reference == open_bundle(bundles["int8"]).reference


def test_stage_record_gives_parent_and_method(own_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents a bundle that cannot be traced to the training stage that made its weights."""
    method = {"graph": "uniform", "temperature": 1.0, "layer_map": [1, 2]}
    record = finish_stage(own_checkpoint, "student", "inputs", {"method": method})
    manifest = export_bundle(own_checkpoint, tmp_path / "bundle", FP32)
    assert manifest.parents["checkpoint"] == record.output_hash
    assert manifest.parents["inputs"] == inputs_hash(own_checkpoint, FP32, "student")
    assert manifest.method == {"graph": "uniform", "temperature": 1.0}


def test_inputs_hash_changes_with_what_matters(own_checkpoint: Path) -> None:
    """Prevents a pipeline from skipping an export whose weights, options or role changed."""
    before = inputs_hash(own_checkpoint, INT8, "student")
    assert inputs_hash(own_checkpoint, INT8, "student") == before
    assert inputs_hash(own_checkpoint, INT8, "teacher") != before
    assert inputs_hash(own_checkpoint, INT8.model_copy(update={"target": "avx2"}), "student") != before
    (own_checkpoint / "model.safetensors").write_bytes(b"other weights")
    assert inputs_hash(own_checkpoint, INT8, "student") != before


def test_messages_name_every_step(checkpoint: Path, tmp_path: Path) -> None:
    """Prevents minutes of silence."""
    messages: list[str] = []
    export_bundle(checkpoint, tmp_path / "bundle", INT8, message=messages.append)
    assert [text.split()[0] for text in messages] == ["exporting", "verified", "quantising", "measuring"]


def make_example(text: str, domain: str, label: str) -> EvalExample:
    return EvalExample(text=text, label=label, domain=domain, teacher_logits=(0.0, 1.0))


def test_evaluation_texts_are_thinned_out_evenly() -> None:
    """Prevents a sample that leaves out a domain, or shifts the balance of labels inside one."""
    examples = [
        make_example(f"{domain} {n}", domain, "pos" if n % 4 == 0 else "neg") for n in range(40) for domain in "ab"
    ]
    examples += [make_example(f"c {n}", "c", "pos") for n in range(5)]
    kept = sample_examples(examples, 10)
    assert kept == sample_examples(examples, 10)
    counts = {key: sum((e.domain, e.label) == key for e in kept) for key in {(e.domain, e.label) for e in kept}}
    assert {key: counts[key] for key in [("c", "pos")]} == {("c", "pos"): 5}
    assert counts["a", "neg"] in (7, 8)
    assert counts["a", "pos"] + counts["a", "neg"] == counts["b", "pos"] + counts["b", "neg"] == 10
    assert kept == [example for example in examples if example in kept]


def test_thinned_out_bundle_has_the_configured_size(checkpoint: Path, tmp_path: Path) -> None:
    """Prevents the limit from being read and not applied."""
    manifest = export_bundle(checkpoint, tmp_path / "bundle", FP32.model_copy(update={"eval_examples_per_domain": 6}))
    examples = read_eval(tmp_path / "bundle", manifest)
    assert [sum(e.domain == name for e in examples) for name in manifest.domain_names] == [6, 6, 6]


def test_existing_bundle_is_kept_unless_told_otherwise(own_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents an old bundle from being lost, and any work from being done before the refusal."""
    output = tmp_path / "bundle"
    first = export_bundle(own_checkpoint, output, FP32)
    messages: list[str] = []
    with pytest.raises(ArtifactError, match="exists already"):
        export_bundle(own_checkpoint, output, INT8, message=messages.append)
    assert messages == []
    assert open_bundle(output).bundle_hash == first.bundle_hash
    assert export_bundle(own_checkpoint, output, INT8, overwrite=True).precision == "int8"
    assert open_bundle(output).precision == "int8"


def test_only_bundles_are_replaced(own_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents --overwrite with a mistyped path from deleting somebody's work."""
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").write_text("years")
    with pytest.raises(ArtifactError, match="is not a bundle"):
        export_bundle(own_checkpoint, precious, FP32, overwrite=True)
    assert (precious / "chapter.tex").read_text() == "years"
    for output in (own_checkpoint, own_checkpoint / "bundle", tmp_path):
        with pytest.raises(ArtifactError, match="inside each other"):
            export_bundle(own_checkpoint, output, FP32, overwrite=True)
    assert (own_checkpoint / "model.safetensors").is_file()


def test_failure_leaves_nothing_behind(own_checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    """Prevents half a bundle, or the loss of the old one, when a late step fails."""
    output = tmp_path / "bundle"
    first = export_bundle(own_checkpoint, output, FP32)

    def fail(*_arguments: object) -> None:
        raise ExportError("no luck")

    monkeypatch.setattr("hrkd_export.build.invariance", fail)
    with pytest.raises(ExportError, match="no luck"):
        export_bundle(own_checkpoint, output, INT8, overwrite=True)
    assert open_bundle(output).bundle_hash == first.bundle_hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "student"]


def test_missing_or_foreign_folder_is_refused(tmp_path: Path) -> None:
    """Prevents a traceback for a mistyped path or a plain Hugging Face folder."""
    with pytest.raises(CheckpointError, match="does not exist"):
        export_bundle(tmp_path / "nowhere", tmp_path / "bundle", FP32)
    (tmp_path / "plain").mkdir()
    with pytest.raises(CheckpointError, match=r"no classifier\.json"):
        export_bundle(tmp_path / "plain", tmp_path / "bundle", FP32)
    assert not (tmp_path / "bundle").exists()


def test_checkpoint_without_texts_is_refused(own_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents an unverified export: without texts there is nothing to compare on."""
    (own_checkpoint / EVAL).unlink()
    with pytest.raises(CheckpointError, match=r"has no eval\.jsonl"):
        export_bundle(own_checkpoint, tmp_path / "bundle", FP32)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"teacher_logits": [0.5]}, "line 3: 1 teacher logits for 2 labels"),
        ({"text_pair": "second"}, "example 3: the model takes one text"),
    ],
)
def test_texts_of_another_model_are_refused(own_checkpoint: Path, tmp_path: Path, change: dict, pattern: str) -> None:
    """Prevents reference numbers computed from texts that do not belong to the model."""
    lines = (own_checkpoint / EVAL).read_text(encoding="utf-8").splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    (own_checkpoint / EVAL).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(HrkdError, match=pattern):
        export_bundle(own_checkpoint, tmp_path / "bundle", FP32)


def test_changed_byte_in_the_checkpoint_is_noticed(own_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents damaged weights, which still load, from being shipped with the hash of the good ones."""
    finish_stage(own_checkpoint, "student", "inputs", {})
    assert (own_checkpoint / STAGE_RECORD).is_file()
    weights = bytearray((own_checkpoint / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (own_checkpoint / "model.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match=r"model\.safetensors` was changed"):
        export_bundle(own_checkpoint, tmp_path / "bundle", FP32)


def test_missing_library_is_named(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    """Prevents an import traceback on a machine that has only the edge runtime installed."""
    for module in [name for name in sys.modules if name.startswith("hrkd_export.")]:
        if module not in ("hrkd_export.export", "hrkd_export.inputs", "hrkd_export.target"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="needs packages") as caught:
        export_bundle(checkpoint, tmp_path / "bundle", FP32)
    assert "hrkd[export]" in str(caught.value)
