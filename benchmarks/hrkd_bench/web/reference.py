"""What the Python runtime answers, for the page to compare with: on its evaluation texts, and on hostile ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hrkd import __version__
from hrkd.artifact import read_json
from hrkd.bundle import TOKENIZER, UNKNOWN_DOMAIN, EvalExample
from hrkd.errors import BenchError
from hrkd_bench.claims.latency import FEWEST_SAMPLES
from hrkd_bench.runtime import Classifier

TOKENIZER_MODELS = ("BPE", "WordPiece")
"""Word splitters whose JavaScript version gives the ids of the Python one. Unigram does not: of two segmentations with
equal scores it takes the other."""
PROBES = (
    "",
    " \t\n\u00a0\u3000 ",
    "A plain sentence, with punctuation!",
    "Caf\u00e9 na\u00efve \u00c5ngstr\u00f6m e\u0301 \u0130stanbul",
    "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03a3\u0391\u03a3 \u1e9e \ufb01",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0645\u0631\u062d\u0628\u0627 \u0628\u0643\u061d",
    "\u4f60\u597d\u4e16\u754c \U00020000\U0002b740 \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4",
    "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \U0001fae8",
    "zero\u200bwidth \ufeffmark\u00ad soft \x00 nul \x85 next \u2028 line \ufffd",
    "[CLS] inside [SEP] and [MASK] <s> </s> <mask>",
    "\u166d \u08d3 \U00011a9a \u2e52 \u0904\u093c \U0001e000",
    "w" * 99 + " " + "w" * 101,
    "good film " * 1000,
)
"""Texts on which tokenizers differ: nothing, blanks, accents, a final sigma, right-to-left, ideographs beyond 16 bit,
emoji sequences, invisible characters, special tokens, characters younger or older than Unicode tables, long words and
texts."""


def check_tokenizer(bundle: Path) -> None:
    """Refuse a bundle whose tokenizer a browser cannot repeat.

    Raises:
        BenchError: Its model is of another kind than :data:`TOKENIZER_MODELS`.
    """
    value = read_json(bundle / TOKENIZER)
    model = value.get("model") if isinstance(value, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in TOKENIZER_MODELS:
        raise BenchError(
            f"the tokenizer of `{bundle}` is of kind {kind!r:.40}, which JavaScript does not cut as Python does",
            hint=f"kinds that work in the browser: {', '.join(TOKENIZER_MODELS)}",
        )


def page_facts(
    classifier: Classifier, examples: Sequence[EvalExample], progress: Callable[[str, int, int], None]
) -> dict[str, Any]:
    """Return the content of the page's `site.json`.

    Args:
        classifier: The bundle in the Python runtime.
        examples: Its evaluation texts; none where the page does not carry them.
        progress: Called with phase, done and total.
    """
    engine = classifier.manifest.engine
    return {
        "schema_version": 1,
        "hrkd": __version__,
        "bundle_hash": classifier.manifest.bundle_hash,
        "runtime": f"{engine} {version(engine)}",
        "fewest_samples": FEWEST_SAMPLES,
        "probes": [_probe(classifier, number) for number in range(len(PROBES))],
        "reference_logits": _reference(classifier, examples, progress) if examples else None,
    }


def _probe(classifier: Classifier, number: int) -> dict[str, Any]:
    text = PROBES[number]
    pair = PROBES[number - 1] if classifier.manifest.text_pairs else None
    encoded = classifier.tokenize(text, pair)
    logits = classifier.run(encoded, UNKNOWN_DOMAIN)
    return {"text": text, "text_pair": pair, "ids": encoded, "logits": _numbers(logits)}


def _reference(
    classifier: Classifier, examples: Sequence[EvalExample], progress: Callable[[str, int, int], None]
) -> list[list[float]]:
    answers = []
    for number, example in enumerate(examples):
        encoded = classifier.tokenize(example.text, example.text_pair)
        answers.append(_numbers(classifier.run(encoded, classifier.domain_id(example.domain))))
        progress("answering in Python", number + 1, len(examples))
    return answers


def _numbers(logits: np.ndarray) -> list[float]:
    if not np.isfinite(logits).all():
        raise BenchError("the bundle answers with NaN or infinity", hint="the model is broken; make it again")
    return [round(float(value), 6) for value in logits]
