"""The model as it is shipped: its vocabulary and positions cut, its tokenizer as a file, and its texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from hrkd.bundle import TOKENIZER, EvalExample, Vocabulary
from hrkd.data.dataset import DomainDataset
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_classifier, load_tokenizer
from hrkd.recipe import ExportConfig, Recipe
from hrkd_export.evaluation_texts import read_checkpoint_examples, sample_examples
from hrkd_export.parity import check_tokenizer
from hrkd_export.shared_rows import share_rows, word_rows
from hrkd_export.texts import GraphTexts, load_development
from hrkd_export.vocabulary import cut_positions, trim_vocabulary


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """What is exported.

    Attributes:
        classifier: With the vocabulary and positions that are shipped.
        tokenizer: Its training tokenizer.
        shipped: The same, as written into the bundle.
        vocabulary: What trimming did; None where nothing was trimmed.
        examples: Evaluation texts of the bundle.
        development: Training and validation texts; None where nothing needs them.
    """

    classifier: MultiDomainClassifier
    tokenizer: PreTrainedTokenizerFast
    shipped: Tokenizer
    vocabulary: Vocabulary | None
    examples: list[EvalExample]
    development: DomainDataset | None

    @classmethod
    def prepare(
        cls,
        checkpoint: Path,
        folder: Path,
        config: ExportConfig,
        recipe: Recipe | None,
        *,
        calibrates: bool,
        message: Callable[[str], None],
    ) -> Self:
        """Load a model folder and write the shipped tokenizer.

        Args:
            checkpoint: Model folder.
            folder: Receives the tokenizer file.
            config: Says what is cut.
            recipe: Of the run; leads to training and validation texts.
            calibrates: Whether the quantiser needs training texts.
            message: Receives one line per step.

        Raises:
            CheckpointError: ``checkpoint`` is not a complete model folder.
            ExportError: The vocabulary cannot be cut, or the tokenizer file reads texts in another way.
            RecipeError: Training or validation texts are needed, and no recipe leads to them.
        """
        classifier = load_classifier(checkpoint, attention="eager")
        tokenizer, names = load_tokenizer(checkpoint), classifier.config
        examples = read_checkpoint_examples(checkpoint, names)
        needs_texts = (
            config.trims or config.max_rows is not None or config.max_drop_per_domain is not None or calibrates
        )
        development = load_development(recipe, names, examples) if needs_texts else None
        vocabulary = None
        if config.trims and development is not None:
            texts = (development.train, development.validation, names.domain_names)
            trimmed = trim_vocabulary(classifier, tokenizer, *texts, max_pieces=config.max_vocab)
            classifier, tokenizer, vocabulary = trimmed.classifier, trimmed.tokenizer, trimmed.facts
            message(f"vocabulary: {vocabulary.pieces} of {vocabulary.pieces_before} pieces stay")
        classifier = cut_positions(classifier, names.max_length)
        if config.max_rows is not None and development is not None:
            classifier = share_rows(classifier, tokenizer, tuple(development.train.all_texts()), config.max_rows)
            vocabulary = with_rows(vocabulary, len(tokenizer), len(word_rows(classifier)))
            message(f"word embedding: {vocabulary.rows} rows for {vocabulary.pieces} pieces")
        kept = sample_examples(examples, config.eval_examples_per_domain)
        shipped = write_tokenizer(tokenizer, folder / TOKENIZER)
        check_tokenizer(tokenizer, shipped, kept, names.max_length, text_pairs=names.text_pairs)
        return cls(classifier, tokenizer, shipped, vocabulary, kept, development)

    @property
    def names(self) -> ClassifierConfig:
        """Labels, domains and maximum length."""
        return self.classifier.config

    @property
    def padding_id(self) -> int:
        """Of the tokenizer."""
        return self.tokenizer.pad_token_id or 0

    def evaluation(self) -> GraphTexts:
        """Return the bundle's evaluation texts, tokenised."""
        return GraphTexts.of_evaluation(self.examples, self.shipped, self.names)

    def validation(self) -> GraphTexts | None:
        """Return the validation texts, tokenised."""
        if self.development is None:
            return None
        return GraphTexts.of_examples(self.development.validation, self.shipped, self.names)

    def calibration(self, per_domain: int) -> GraphTexts | None:
        """Return a few training texts of every domain, tokenised."""
        if self.development is None:
            return None
        return GraphTexts.of_examples(self.development.train, self.shipped, self.names).sample(per_domain)


def with_rows(vocabulary: Vocabulary | None, pieces: int, rows: int) -> Vocabulary:
    """Return what was done to the vocabulary, with the number of rows that are left."""
    if vocabulary is None:
        vocabulary = Vocabulary(pieces_before=pieces, pieces=pieces, unknown_rate_before={}, unknown_rate={})
    return replace(vocabulary, rows=rows)


def write_tokenizer(tokenizer: PreTrainedTokenizerFast, path: Path) -> Tokenizer:
    """Write what the training tokenizer runs as a `tokenizers` file, and return it as read back from there.

    The checkpoint's own tokenizer.json is not copied: `transformers` may change the tokenizer while loading it.
    Truncation and padding are cleared, because they are the runtime's to set.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.save(str(path), pretty=False)
    return Tokenizer.from_file(str(path))
