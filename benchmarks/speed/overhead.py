"""What the runtime adds to the engine and the tokenizer: `Classifier` against bare `encode` and `run`.

    PYTHONPATH=benchmarks python -m speed.overhead runs/demo/bundles/int8

Writes benchmarks/speed/results/overhead.json: both medians at 32 tokens on one thread, taken in turns text by text, and
their ratio with its 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hrkd.artifact import write_json
from hrkd.bundle import EVAL, MODEL, TOKENIZER, open_bundle
from hrkd.engines.onnx_runtime import disabled_fusions, session_options
from hrkd_bench.claims.latency import speedup_interval
from hrkd_bench.machine.processor import read_processor
from hrkd_bench.runtime import Classifier

RESULT = Path(__file__).parent / "results" / "overhead.json"
TOKENS, TEXTS, ROUNDS, WARM_UP = 32, 40, 50, 5


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    bundle = parser.parse_args().bundle
    classifier = Classifier.load(bundle, threads=1)
    domain, texts = classifier.domain_names[0], texts_of(bundle, classifier)
    ways: tuple[Callable[[str], object], ...] = (lambda text: classifier([text], domain), bare(bundle))
    times = np.array([in_turns(ways, text, number % 2 == 0) for number in range(ROUNDS) for text in texts])
    ours, theirs = times[WARM_UP * len(texts) :].T
    ratio = speedup_interval(ours, theirs)  # how many times faster the bare way is
    result = {
        "schema_version": 1,
        "processor": read_processor().model,
        "tokens": TOKENS,
        "answers": len(ours),
        "runtime_ms": float(np.median(ours)),
        "bare_ms": float(np.median(theirs)),
        "ratio": {"value": ratio.value, "low": ratio.low, "high": ratio.high},
    }
    write_json(RESULT, result)
    print(json.dumps(result, indent=2))  # noqa: T201 - a script


def texts_of(bundle: Path, classifier: Classifier) -> Sequence[str]:
    """Return real texts of about 32 tokens: those of the bundle nearest to it, the same for both ways."""
    lines = (bundle / EVAL).read_text(encoding="utf-8").split("\n")
    texts = [json.loads(line)["text"] for line in lines if line]
    return sorted(texts, key=lambda text: abs(len(classifier.tokenize(text)) - TOKENS))[:TEXTS]


def bare(bundle: Path) -> Callable[[str], object]:
    """Return the least that answers: the tokenizer and the session, with the bundle's settings."""
    import onnxruntime

    manifest = open_bundle(bundle)
    tokenizer = Tokenizer.from_file(str(bundle / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(manifest.max_length)
    session = onnxruntime.InferenceSession(
        str(bundle / MODEL),
        session_options(manifest.session, 1),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=disabled_fusions(manifest.session),
    )
    domain = np.zeros(1, dtype=np.int64)

    def answer(text: str) -> object:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "domain_id": domain}
        return session.run(["logits"], feeds)[0].argmax()

    return answer


def in_turns(ways: Sequence[Callable[[str], object]], text: str, forwards: bool) -> list[float]:
    """Return the milliseconds of each way, whoever goes first: who comes second finds the text in the caches."""
    order = range(len(ways)) if forwards else reversed(range(len(ways)))
    taken = {which: take(ways[which], text) for which in order}
    return [taken[which] for which in range(len(ways))]


def take(way: Callable[[str], object], text: str) -> float:
    """Return the milliseconds of one answer."""
    start = time.perf_counter_ns()
    way(text)
    return (time.perf_counter_ns() - start) / 1e6


if __name__ == "__main__":
    main()
