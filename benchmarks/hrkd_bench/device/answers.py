"""A device's answers against this machine's, text by text: what remains to be checked where times mean nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import BenchError
from hrkd_bench.claims.accuracy import accuracy_of
from hrkd_bench.device.merge import Measured
from hrkd_bench.document.parts import Accuracy, Part
from hrkd_bench.runtime import Classifier
from hrkd_bench.subjects import Subject

Logits = NDArray[np.float64]


class AnswerComparison(Part):
    """One bundle, on the device and here.

    Attributes:
        texts: How many were answered.
        agreement: Share of texts with the same label.
        different: Positions in `eval.jsonl` of the others.
        largest_logit_difference: Over all texts and labels.
        mean_logit_difference: Likewise.
        same_tokens: Whether every text has as many tokens on both.
        largest_margin_of_different: Largest gap between the two best logits here among texts whose label differs; None
            where none does. A large one would be an error, not rounding.
        device: Accuracy there.
        here: Accuracy here.
    """

    name: str
    texts: int
    agreement: float
    different: list[int]
    largest_logit_difference: float
    mean_logit_difference: float
    same_tokens: bool
    largest_margin_of_different: float | None
    device: Accuracy
    here: Accuracy


def compare_answers(measured: Measured) -> list[AnswerComparison]:
    """Answer the same texts here, and compare.

    Raises:
        BenchError: The device's answers have another shape.
    """
    return [
        _compare(subject, logits, tokens, measured)
        for subject, (logits, tokens) in zip(measured.subjects, _answers(measured), strict=True)
    ]


def _answers(measured: Measured) -> list[tuple[Logits, list[int]]]:
    result = measured.result
    if result.answers is None:
        samples = [measurement.samples for measurement in measured.session().measurements]
        return [(one.logits, one.tokens.tolist()) for one in samples]
    shape = (len(measured.positions), len(measured.truth.label_names))
    found = []
    for answers in result.answers:
        if [len(row) for row in answers.logits] != [shape[1]] * shape[0] or len(answers.tokens) != shape[0]:
            raise BenchError(f"the device did not answer {shape[0]} texts with {shape[1]} logits", hint="measure again")
        found.append((np.asarray(answers.logits, dtype=np.float64), answers.tokens))
    if len(found) != len(measured.subjects):
        raise BenchError(f"the device answered for {len(found)} bundles, not {len(measured.subjects)}")
    return found


def _compare(subject: Subject, there: Logits, tokens: list[int], measured: Measured) -> AnswerComparison:
    classifier = Classifier.load(subject.path, threads=measured.config.threads)
    examples = [measured.texts.examples[position] for position in measured.positions]
    encodeds = [classifier.tokenize(example.text, example.text_pair) for example in examples]
    here = np.asarray(
        [
            classifier.run(encoded, classifier.domain_id(example.domain))
            for encoded, example in zip(encodeds, examples, strict=True)
        ],
        dtype=np.float64,
    )
    differs = np.argmax(there, axis=1) != np.argmax(here, axis=1)
    best = np.sort(here, axis=1)
    margins = best[differs, -1] - best[differs, -2]
    return AnswerComparison(
        name=subject.name,
        texts=len(examples),
        agreement=float(np.mean(~differs)),
        different=measured.positions[differs].tolist(),
        largest_logit_difference=float(np.abs(there - here).max()),
        mean_logit_difference=float(np.abs(there - here).mean()),
        same_tokens=tokens == [len(encoded) for encoded in encodeds],
        largest_margin_of_different=float(margins.max()) if differs.any() else None,
        device=accuracy_of(there, measured.truth),
        here=accuracy_of(here, measured.truth),
    )
