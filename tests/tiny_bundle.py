"""Builder of a tiny real bundle: a hand-made ONNX graph and a WordPiece tokenizer, without torch, in milliseconds.

The graph keeps a bundle's contract (three inputs, masked tokens do not count, ``domain_id = -1`` averages the heads'
probabilities), so that what runs it is tested for real.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hrkd.artifact import write_text
from hrkd.bundle import (
    CARD,
    MODEL,
    TOKENIZER,
    EvalExample,
    GraphFacts,
    Invariance,
    Manifest,
    ReferenceMetrics,
    describe_files,
    write_eval,
    write_manifest,
)
from hrkd.bundle_card import render_card
from tiny import FILLER, NEGATIVE, POSITIVE, SPECIAL, make_rows

VOCABULARY = (*SPECIAL, *POSITIVE, *NEGATIVE, *FILLER)
LABELS = ("neg", "pos")
ADVICE = "Batches and padding are safe."


def make_bundle(
    folder: Path,
    *,
    name: str = "tiny",
    role: Literal["teacher", "student"] = "student",
    precision: Literal["fp32", "int8"] = "fp32",
    domain_names: Sequence[str] = ("books", "films"),
    per_domain: int = 20,
    noise: float = 0.0,
    session: dict[str, Any] | None = None,
    max_length: int = 16,
    padding_bytes: int = 0,
    text_pairs: bool = False,
) -> Manifest:
    """Write a bundle that classifies the texts of :mod:`tiny`.

    Args:
        folder: Must not exist yet.
        name: Name in the manifest.
        role: Role in the manifest.
        precision: Precision in the manifest; the graph is float32 anyway.
        domain_names: Domains of the heads and of the evaluation texts.
        per_domain: Evaluation texts of each domain.
        noise: Standard deviation of noise on the token weights: more of it, more mistakes.
        session: Session settings of the manifest.
        max_length: Longest input in tokens.
        padding_bytes: Unused weights in the graph, to make bundles of different sizes.
        text_pairs: Whether the manifest asks for pairs; the evaluation texts are single ones anyway.
    """
    folder.mkdir(parents=True)
    weights = token_weights(noise)
    biases = head_biases(len(domain_names))
    write_graph(folder / MODEL, weights, biases, padding_bytes)
    write_tokenizer(folder / TOKENIZER)
    write_eval(folder, make_examples(domain_names, per_domain))
    manifest = Manifest(
        name=name,
        role=role,
        precision=precision,
        quantization=None if precision == "fp32" else precision,
        engine="onnxruntime",
        target="avx2",
        backend=None,
        domain_names=tuple(domain_names),
        label_names=LABELS,
        max_length=max_length,
        text_pairs=text_pairs,
        parents={},
        recipe_hash=None,
        method={},
        versions={},
        graph=GraphFacts(opset=17, ir_version=8, operators={}, quantized_bytes=0, float_bytes=0),
        fusions={},
        reference=ReferenceMetrics(average=1.0, worst=1.0, domains={}, agreement_with_teacher=1.0),
        flips=None,
        invariance=Invariance(texts=0, padded_flips=0.0, batched_flips=0.0, largest_change=0.0, advice=ADVICE),
        validation=None,
        guard=None,
        vocabulary=None,
        session=session if session is not None else {"allow_spinning": "0"},
        files=describe_files(folder),
    )
    write_text(folder / CARD, render_card(manifest))
    manifest = replace(manifest, files=describe_files(folder))
    write_manifest(folder, manifest)
    return manifest


def token_weights(noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return what each token says for each label, shape (V, C)."""
    weights = np.zeros((len(VOCABULARY), len(LABELS)), dtype=np.float32)
    for words, label in ((NEGATIVE, 0), (POSITIVE, 1)):
        weights[[VOCABULARY.index(word) for word in words], label] = 1.0
    weights[VOCABULARY.index("[PAD]"), 0] = 5.0  # padding that is not masked must show
    return weights + np.random.default_rng(seed).normal(0.0, noise, weights.shape).astype(np.float32)


def head_biases(num_domains: int) -> np.ndarray:
    """Return the heads' biases, shape (K, C): each later domain leans more towards the first label."""
    biases = np.zeros((num_domains, len(LABELS)), dtype=np.float32)
    biases[:, 0] = 0.25 * np.arange(num_domains)
    return biases


def make_examples(domain_names: Sequence[str], per_domain: int) -> list[EvalExample]:
    """Return evaluation texts; the teacher is wrong about every tenth."""
    examples = []
    for number, row in enumerate(make_rows(per_domain, domains=tuple(domain_names))):
        right = LABELS.index(row["label"])
        taught = 1 - right if number % 10 == 9 else right
        logits = tuple(2.0 if label == taught else -2.0 for label in range(len(LABELS)))
        examples.append(EvalExample(**row, teacher_logits=logits))
    random.Random(0).shuffle(examples)
    return examples


def write_tokenizer(path: Path) -> None:
    """Write a BERT-like WordPiece tokenizer over the tiny texts' words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {token: number for number, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(path))


def write_graph(path: Path, weights: np.ndarray, biases: np.ndarray, padding_bytes: int = 0) -> None:
    """Write logits = masked sum of token weights + the domain's bias; mean head probabilities for domain -1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "weights": weights,
        "biases": biases,
        "zero": np.asarray(0, dtype=np.int64),
        "first_axis": np.asarray([1], dtype=np.int64),
        "last_axis": np.asarray([-1], dtype=np.int64),
    }
    if padding_bytes:
        constants["padding"] = np.zeros(padding_bytes, dtype=np.uint8)
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["token_scores"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["wide_mask"]),
        helper.make_node("Mul", ["token_scores", "wide_mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "first_axis"], ["pooled"], keepdims=0),
        helper.make_node("Max", ["domain_id", "zero"], ["known_id"]),
        helper.make_node("Gather", ["biases", "known_id"], ["own_bias"]),
        helper.make_node("Add", ["pooled", "own_bias"], ["own"]),
        helper.make_node("Unsqueeze", ["pooled", "first_axis"], ["wide_pooled"]),
        helper.make_node("Add", ["wide_pooled", "biases"], ["all_heads"]),
        helper.make_node("Softmax", ["all_heads"], ["all_probabilities"], axis=-1),
        helper.make_node("ReduceMean", ["all_probabilities"], ["mean_probabilities"], axes=[1], keepdims=0),
        helper.make_node("Log", ["mean_probabilities"], ["mean"]),
        helper.make_node("Less", ["domain_id", "zero"], ["is_unknown"]),
        helper.make_node("Unsqueeze", ["is_unknown", "last_axis"], ["wide_unknown"]),
        helper.make_node("Where", ["wide_unknown", "mean", "own"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "sequence"]),
            helper.make_tensor_value_info("domain_id", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
