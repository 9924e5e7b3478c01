"""What a distillation works on, loaded and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from transformers import PreTrainedTokenizerFast

from hrkd.data.dataset import DomainDataset
from hrkd.models import Teacher, load_tokenizer
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.observer import Observer


class Readers(NamedTuple):
    """The tokenizers of teacher and student; one and the same unless the recipe says otherwise."""

    teacher: PreTrainedTokenizerFast
    student: PreTrainedTokenizerFast

    @classmethod
    def of(cls, recipe: Recipe, teacher_folder: Path) -> Self:
        """Load both."""
        teacher = load_tokenizer(teacher_folder)
        own = recipe.student.own_tokenizer
        return cls(teacher, load_tokenizer(str(recipe.student.checkpoint)) if own else teacher)


@dataclass(frozen=True, slots=True)
class DistillationInputs:
    """Everything that the stages of a distillation share.

    Attributes:
        recipe: Sections ``data``, ``student``, ``method`` and ``training`` decide.
        run: Where results go; locked.
        dataset: The texts.
        teacher: Model to imitate.
        teacher_folder: Where it came from; caches of its answers stand beside it.
        readers: Tokenizers.
        observer: Told about progress.
        resume: Whether to go on from checkpoints.
        overwrite: Whether results of other inputs may be replaced.
    """

    recipe: Recipe
    run: RunFolder
    dataset: DomainDataset
    teacher: Teacher
    teacher_folder: Path
    readers: Readers
    observer: Observer
    resume: bool
    overwrite: bool
