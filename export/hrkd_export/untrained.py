"""Untrained students for `hrkd plan`: random weights, but otherwise what training and export would make.

Latency and size do not depend on what the weights are, as long as no two biases are equal: equal or zero tensors would
be merged or dropped by the graph's optimisations, and trained ones are neither.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from hrkd.artifact import hash_of
from hrkd.bundle import TOKENIZER, EvalExample, Manifest, write_eval
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.errors import ExportError
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_tokenizer, save_classifier
from hrkd.models.encoder import build_encoder, read_config
from hrkd.models.shape import student_shape
from hrkd.models.student import build_student
from hrkd.plan_shape import FP32, Parameters, Shape
from hrkd.recipe import ExportConfig, Quantization, Recipe, StudentConfig, StudentInit
from hrkd.training.objective import DistillationObjective
from hrkd.training.prepare import classifier_config
from hrkd_export.embedding_tables import cut_positions
from hrkd_export.evaluation_texts import sample_examples
from hrkd_export.export import export_bundle
from hrkd_export.inputs import library_versions
from hrkd_export.model import write_tokenizer
from hrkd_export.plan_inputs import NUMBERS, config_of, evaluation_examples, precision_of, shape_of, teacher_folder
from hrkd_export.quantizers.registry import way_of
from hrkd_export.target import resolve_target
from hrkd_export.tokenizer_surgery import describe
from hrkd_export.vocabulary import trim_vocabulary

_SEED = 0
_BIAS_SPREAD = 0.02
VERSION = 1
"""Part of every key: raise it when an untrained student comes out otherwise."""


@dataclass(frozen=True, slots=True)
class VocabularyFacts:
    """What a vocabulary means for size and speed.

    Attributes:
        pieces: Of the tokenizer.
        rows: Of the word embedding.
        tokenizer_bytes: Of its file.
        tokens: Tokens of each evaluation text, special ones included, cut to the maximum length.
    """

    pieces: int
    rows: int
    tokenizer_bytes: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StudentSource:
    """What all students of a recipe have in common.

    Attributes:
        recipe: The recipe.
        dataset: Its texts.
        teacher: Configuration of the teacher's encoder.
        tokenizer: The teacher's.
        names: Labels, domains and maximum length.
        examples: Evaluation texts that the bundle of a real run would carry; the teacher's logits are made up.
    """

    recipe: Recipe
    dataset: DomainDataset
    teacher: PretrainedConfig
    tokenizer: PreTrainedTokenizerFast
    names: ClassifierConfig
    examples: list[EvalExample]

    @classmethod
    def of(cls, recipe: Recipe, teacher: Path | None = None) -> Self:
        """Load texts, tokenizer and the teacher's configuration, not its weights.

        Args:
            recipe: Whose student is planned.
            teacher: Model folder of a teacher; the recipe's base or adopted classifier when left out.

        Raises:
            DataError: The texts cannot be used.
            CheckpointError: The teacher cannot be found.
        """
        dataset = load_dataset(recipe.data)
        folder = teacher or teacher_folder(recipe)
        tokenizer = load_tokenizer(folder)
        names = classifier_config(dataset, tokenizer, recipe.data.max_length)
        examples = sample_examples(evaluation_examples(dataset), recipe.export.eval_examples_per_domain)
        return cls(recipe, dataset, read_config(folder), tokenizer, names, examples)

    def own_shape(self) -> Shape | None:
        """Return the shape that the recipe's own student has; None where a checkpoint decides it."""
        if self.recipe.student.init is StudentInit.CHECKPOINT:
            return None
        config = student_shape(self.teacher, self.recipe.student)
        return shape_of(config, precision_of(self.recipe.export))

    def can_cut(self) -> bool:
        """Return whether the vocabulary can be cut further than the recipe says."""
        config = self.recipe.export
        if config.max_vocab is not None or config.max_rows is not None:
            return False
        try:
            describe(self.tokenizer)
        except ExportError:
            return False
        return True

    def parameters(self, shape: Shape, rows: int) -> Parameters:
        """Count a student's weights without making them.

        Args:
            shape: Of the student.
            rows: Of its word embedding.
        """
        config = student_shape(self.teacher, config_of(shape))
        config.vocab_size = rows
        with torch.device("meta"):
            classifier = MultiDomainClassifier(build_encoder(config, attention="eager"), self.names)
            classifier = cut_positions(classifier, self.names.max_length)
        modules = list(classifier.modules())
        tables = sum(module.weight.numel() for module in modules if isinstance(module, nn.Embedding))
        linear = [module for module in modules if isinstance(module, nn.Linear)]
        matrices = sum(module.weight.numel() for module in linear)
        everything = sum(parameter.numel() for parameter in classifier.parameters())
        return Parameters(
            tables, matrices, everything - tables - matrices, sum(module.out_features for module in linear)
        )

    def vocabulary(self, most: int | None, positions: Sequence[int]) -> VocabularyFacts:
        """Cut the vocabulary as an export would and count.

        Args:
            most: Most pieces to keep; None: as the recipe says.
            positions: Which of ``examples`` are measured.

        Raises:
            ExportError: The tokenizer cannot be cut, or not so far.
        """
        config = self.export_config(Shape(1, 1, 1, 1, most))
        _, tokenizer = self._trimmed(self._random(StudentConfig(layers=1)), config)
        with TemporaryDirectory(prefix="hrkd-plan-") as name:
            path = Path(name) / TOKENIZER
            shipped = write_tokenizer(tokenizer, path)
            size = path.stat().st_size
        shipped.enable_truncation(self.names.max_length)
        chosen = [self.examples[position] for position in positions]
        tokens = tuple(len(shipped.encode(example.text, example.text_pair).ids) for example in chosen)
        rows = len(tokenizer) if config.trims else int(self.teacher.vocab_size)
        return VocabularyFacts(len(tokenizer), min(rows, config.max_rows or rows), size, tokens)

    def student(self, shape: Shape) -> StudentConfig:
        """Return the recipe's section for a student of this shape, begun from the teacher as far as that goes.

        Raises:
            RecipeError: The recipe's objective cannot teach such a student.
        """
        given = self.recipe.student
        same_width = (shape.hidden_size, shape.intermediate_size) == shape_of(self.teacher, FP32).encoder[1::2]
        init = StudentInit.TEACHER_LAYERS if same_width else StudentInit.PRUNED_TEACHER
        layers = given.teacher_layers if given.teacher_layers and len(given.teacher_layers) == shape.layers else None
        config = given.model_copy(
            update={
                **config_of(shape).model_dump(include={*NUMBERS}),
                "preset": None,
                "checkpoint": None,
                "own_tokenizer": False,
                "per_domain": False,
                "init": StudentInit.RANDOM if given.init is StudentInit.RANDOM else init,
                "teacher_layers": None if given.init is StudentInit.RANDOM else layers,
            }
        )
        with torch.device("meta"):
            teacher = MultiDomainClassifier(build_encoder(copy.deepcopy(self.teacher)), self.names)
            DistillationObjective(teacher, build_student(teacher, config), self.recipe.method)
        return config

    def export_config(self, shape: Shape) -> ExportConfig:
        """Return how the recipe would export a student of this shape."""
        changes = {"quantize": None if shape.precision == FP32 else Quantization(shape.precision)}
        if shape.vocabulary is None:
            return self.recipe.export.model_copy(update=changes)
        return self.recipe.export.model_copy(update={**changes, "max_vocab": shape.vocabulary})

    def key(self, shape: Shape, positions: Sequence[int]) -> str:
        """Return one hash over everything that decides the bundle of :meth:`build`."""
        config = self.export_config(shape)
        target = resolve_target(config.target, config.targets) if config.quantize else None
        return hash_of(
            {
                "version": VERSION,
                "encoder": shape.encoder,
                "export": config.model_dump(mode="json", exclude={"target", "targets"}),
                "target": target.model_dump(mode="json") if target else None,
                "teacher": self.teacher.to_dict(),
                "tokenizer": self.tokenizer.backend_tokenizer.to_str(),
                "data": self.dataset.fingerprint(),
                "names": [self.names.max_length, self.names.activation],
                "positions": list(positions),
                "libraries": library_versions(),
            }
        )

    def build(self, shape: Shape, positions: Sequence[int], bundle: Path, message: Callable[[str], None]) -> Manifest:
        """Export an untrained student through the real exporter.

        Args:
            shape: Of the student.
            positions: Which of ``examples`` are measured.
            bundle: Folder to make.
            message: Receives one line per step.

        Raises:
            ExportError: It cannot be exported.
        """
        config = self.export_config(shape)
        classifier, tokenizer = self._trimmed(self._random(config_of(shape)), config)
        # A guard would keep layers of a student in float that knows nothing, and cutting twice would count twice.
        changes = {"trim_vocab": False, "max_vocab": None, "max_drop_per_domain": None, "max_size_mb": None}
        config = config.model_copy(update=changes)
        bundle.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".untrained-", suffix=".tmp", dir=bundle.parent) as name:
            folder = Path(name)
            save_classifier(classifier, tokenizer, folder / "student")
            write_eval(folder / "student", self._written_examples(config, positions))
            finished = folder / "bundle"
            manifest = export_bundle(folder / "student", finished, config, recipe=self.recipe, message=message)
            finished.rename(bundle)
        return manifest

    def _random(self, config: StudentConfig) -> MultiDomainClassifier:
        """Return a student with random weights, the same ones every time."""
        shape = student_shape(self.teacher, config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            classifier = MultiDomainClassifier(build_encoder(shape, attention="eager"), self.names)
            with torch.no_grad():
                for parameter in classifier.parameters():
                    if parameter.dim() == 1 or parameter is classifier.head_bias:
                        parameter.add_(torch.randn_like(parameter) * _BIAS_SPREAD)
        return classifier.eval()

    def _trimmed(
        self, classifier: MultiDomainClassifier, config: ExportConfig
    ) -> tuple[MultiDomainClassifier, PreTrainedTokenizerFast]:
        if not config.trims:
            return classifier, self.tokenizer
        texts = (self.dataset.train, self.dataset.validation, self.dataset.domain_names)
        trimmed = trim_vocabulary(classifier, self.tokenizer, *texts, max_pieces=config.max_vocab)
        return trimmed.classifier, trimmed.tokenizer

    def _written_examples(self, config: ExportConfig, positions: Sequence[int]) -> list[EvalExample]:
        """Return all test texts where the export compares them with the recipe's, or else only the measured ones."""
        calibrates = config.quantize is not None and way_of(config.quantize).calibrates
        if calibrates or config.max_rows is not None:
            return evaluation_examples(self.dataset)
        return [self.examples[position] for position in positions]
