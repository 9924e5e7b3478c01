"""Run a bundle: numpy, tokenizers and onnxruntime are all it needs (or OpenVINO, for a bundle made for it).

::

    from hrkd_bench.runtime import Classifier

    classifier = Classifier.load("runs/demo/bundles/int8")
    classifier(["a fine little film"], domain="movies")[0].label
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from hrkd.bundle import MODEL, TOKENIZER, UNKNOWN_DOMAIN, Manifest, open_bundle
from hrkd.engines import Graph, Logits, open_graph, whole_number
from hrkd.errors import ArtifactError, BenchError, DataError, MissingExtraError, first_line
from hrkd_bench.machine.cpus import available_cpus

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Domains = str | Sequence[str | None] | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text.

    Attributes:
        label: The most probable label.
        domain: The domain whose head answered; None when all heads were averaged.
        probabilities: Probability of each label.
    """

    label: str
    domain: str | None
    probabilities: dict[str, float]


class Classifier:
    """A verified bundle, ready to answer. Made by :meth:`load`.

    Attributes:
        manifest: What the bundle says about itself.
        threads: Threads that one answer may use.
    """

    def __init__(self, manifest: Manifest, tokenizer: Tokenizer, graph: Graph, threads: int) -> None:
        self.manifest = manifest
        self.threads = threads
        self._tokenizer = tokenizer
        self._graph = graph
        self._pad_id = _pad_id(tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(manifest.max_length)

    @classmethod
    def load(cls, path: Path | str, *, threads: int | None = None) -> Self:
        """Verify and load a bundle.

        Args:
            path: The bundle's folder.
            threads: Threads for one answer. Left out, the manifest's number, at most what affinity and quota grant;
                without either, what they grant.

        Raises:
            ArtifactError: The bundle is incomplete, changed, of another schema, or cannot be loaded.
            BenchError: ``threads`` is less than 1.
            MissingExtraError: tokenizers, or the engine, is not installed.
        """
        folder = Path(path)
        manifest = open_bundle(folder)
        threads = _default_threads(manifest) if threads is None else threads
        if threads < 1:
            raise BenchError(f"a model cannot run on {threads} threads", hint="give 1 or more")
        tokenizer = _load_tokenizer(folder / TOKENIZER)
        graph = open_graph(folder / MODEL, manifest.engine, manifest.session, threads)
        return cls(manifest, tokenizer, graph, threads)

    @property
    def domain_names(self) -> tuple[str, ...]:
        """Name of each domain id."""
        return self.manifest.domain_names

    @property
    def label_names(self) -> tuple[str, ...]:
        """Name of each label id."""
        return self.manifest.label_names

    @property
    def size_bytes(self) -> int:
        """Bytes on disk that running needs."""
        return self.manifest.size_bytes

    def __call__(
        self, texts: Sequence[str], domain: Domains = None, *, text_pairs: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Classify texts, one after the other.

        Not in batches: a dynamically quantised graph scales its activations over the whole batch, so an answer would
        depend on the texts beside it.

        Args:
            texts: The texts; longer ones are cut to the bundle's maximum length.
            domain: Domain of all texts, or one per text; None averages the probabilities of all domains' heads.
            text_pairs: The second text of each pair, for a bundle trained on pairs.

        Raises:
            DataError: A text is not valid text, a domain is unknown, or the numbers of inputs differ.
            ArtifactError: The graph's answer is no number.
        """
        domains = self._check_inputs(texts, domain, text_pairs)
        pairs: Sequence[str | None] = text_pairs if text_pairs is not None else [None] * len(texts)
        encodeds = [self.tokenize(text, pair) for text, pair in zip(texts, pairs, strict=True)]
        ids = [self.domain_id(name) for name in domains]
        return [
            self._predict(self.run(encoded, domain_id), name)
            for encoded, domain_id, name in zip(encodeds, ids, domains, strict=True)
        ]

    def domain_id(self, name: str | None) -> int:
        """Return the id of a domain; None is the unknown domain.

        Raises:
            DataError: The bundle does not know the name.
        """
        if name is None:
            return UNKNOWN_DOMAIN
        if name not in self.domain_names:
            raise DataError(
                f"domain `{name}` is unknown to this bundle",
                hint=f"known domains: {', '.join(self.domain_names)}; leave it out when none of them fits",
            )
        return self.domain_names.index(name)

    def tokenize(self, text: str, text_pair: str | None = None) -> list[int]:
        """Return the token ids of one input, special tokens included, at most the bundle's maximum length.

        Raises:
            DataError: The text is not a string of valid Unicode.
            ArtifactError: The tokenizer is damaged in a way that loading it did not show.
        """
        try:
            return list(self._tokenizer.encode(text, text_pair).ids)
        except TypeError as error:
            raise DataError(
                f"{ascii(text)[:60]} is not valid text", hint="give strings; a lone surrogate is no character"
            ) from error
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust: no Exception, and nowhere to be imported from
                raise
            raise ArtifactError(
                f"the bundle's tokenizer is damaged: {first_line(error)}", hint="export the bundle again"
            ) from error

    def run(self, encoded: Sequence[int], domain_id: int) -> Logits:
        """Return the logits (C,) of one tokenised input, without padding."""
        logits: Logits = self.run_batch([encoded], [domain_id])[0]
        return logits

    def run_batch(self, encodeds: Sequence[Sequence[int]], domain_ids: Sequence[int]) -> Logits:
        """Return the logits (n, C) of several tokenised inputs, padded to the longest of them."""
        lengths = [len(encoded) for encoded in encodeds]
        input_ids = np.full((len(encodeds), max(lengths)), self._pad_id, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, (encoded, length) in enumerate(zip(encodeds, lengths, strict=True)):
            input_ids[row, :length] = encoded
            attention_mask[row, :length] = 1
        logits = self._graph.run(input_ids, attention_mask, np.asarray(domain_ids, dtype=np.int64))
        if logits.shape != (len(encodeds), len(self.label_names)):
            raise ArtifactError(
                f"the graph answers with the shape {logits.shape}, {len(encodeds)} text(s) and "
                f"{len(self.label_names)} labels give another",
                hint="export the bundle again",
            )
        return logits

    def _predict(self, logits: Logits, domain: str | None) -> Prediction:
        # Without numpy: right after a graph its code is out of the caches, and it takes four times as long (log).
        values = logits.tolist()
        largest = max(values)
        exponentials = [math.exp(value - largest) for value in values]
        total = sum(exponentials)
        if math.isnan(total):  # of NaN, of infinity, of nothing but -inf; where some are -inf, their probability is 0
            raise ArtifactError(
                f"the graph answers with {values!s:.80}, which is no answer", hint="export the bundle again"
            )
        named = {name: value / total for name, value in zip(self.label_names, exponentials, strict=True)}
        return Prediction(self.label_names[values.index(largest)], domain, named)

    def _check_inputs(
        self, texts: Sequence[str], domain: Domains, text_pairs: Sequence[str] | None
    ) -> Sequence[str | None]:
        """Refuse what would be answered wrongly in silence; return one domain per text."""
        for name, given in (("texts", texts), ("text_pairs", text_pairs)):
            if isinstance(given, str):
                raise DataError(f"`{name}` is one string, not a list of texts", hint="put it into a list: `[text]`")
        if (text_pairs is not None) != self.manifest.text_pairs:
            wanted = "pairs of texts" if self.manifest.text_pairs else "single texts"
            raise DataError(f"this bundle classifies {wanted}", hint="`text_pairs` holds the second texts")
        domains = [domain] * len(texts) if domain is None or isinstance(domain, str) else list(domain)
        for name, values in (("domains", domains), ("text_pairs", text_pairs)):
            if values is not None and len(values) != len(texts):
                raise DataError(f"{len(texts)} texts, but {len(values)} {name}")
        return domains


def _default_threads(manifest: Manifest) -> int:
    """Return the manifest's number of threads, at most what affinity and quota grant here."""
    granted = available_cpus()
    wanted = manifest.session.get("intra_op_num_threads")
    return granted if wanted is None else min(whole_number("intra_op_num_threads", wanted), granted)


def _load_tokenizer(path: Path) -> Tokenizer:
    # The threads of the tokenizer would compete with those of the model, and a fork would warn about them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("running a bundle", "edge") from error
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise ArtifactError(
            f"`{path}` is not a tokenizer: {first_line(error)}", hint="export the bundle again"
        ) from error


def _pad_id(tokenizer: Tokenizer) -> int:
    """Find the id that the tokenizer pads with: the mask hides it, but RoBERTa counts positions by it."""
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    known = (tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>"))
    return next((token_id for token_id in known if token_id is not None), 0)
