"""Whether two models read the same tokens."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from hrkd.errors import CheckpointError, RecipeError
from hrkd.models.storage import load_tokenizer

PROBES = (
    "The film was very good; I'd watch it again!",
    "VERY BAD: overpriced & broken...  (2 out of 10)\n\tnever again",
    "café naïve ÅNGSTRÖM “quotes” … ½ 日本語 привет 🙂",
    "https://example.org/a_b?c=1 antidisestablishmentarianism x86-64 lowercaseUPPERCASE",
    "",
)
"""Texts on which lower-casing, accents, spaces, punctuation, rare scripts and special tokens show."""


def same_tokenizer(teacher: PreTrainedTokenizerFast, student: PreTrainedTokenizerFast) -> bool:
    """Whether both turn every text into the same token ids: equal vocabularies, and equal encodings of hard texts.

    The encodings show what the vocabulary does not: normalisation, the merge rules, and the tokens around a text or a
    pair. Padding and truncation settings do not count.
    """
    if teacher.get_vocab() != student.get_vocab() or teacher.pad_token_id != student.pad_token_id:
        return False
    return _encodings(teacher) == _encodings(student)


def check_same_tokenizer(teacher: PreTrainedTokenizerFast, checkpoint: str) -> None:
    """Refuse a student checkpoint that reads other tokens than the teacher.

    Args:
        teacher: The teacher's tokenizer.
        checkpoint: `student.checkpoint` of the recipe.

    Raises:
        RecipeError: The tokenizers differ.
        CheckpointError: The checkpoint has no tokenizer to compare.
    """
    try:
        student = load_tokenizer(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(
            f"whether `student.checkpoint` {checkpoint} reads the teacher's tokens cannot be checked: {error.message}",
            hint="put the files of the tokenizer that it was pretrained with into its folder",
        ) from error
    if not same_tokenizer(teacher, student):
        raise other_tokenizer(checkpoint, f"{len(student)} word pieces", f"{len(teacher)} word pieces")


def other_tokenizer(checkpoint: str, found: str, expected: str) -> RecipeError:
    """Return the error that names the two ways out."""
    return RecipeError(
        f"`student.checkpoint` {checkpoint} has another tokenizer ({found}) than the teacher ({expected}): "
        "its tokens cannot be compared with the teacher's",
        hint="choose a checkpoint with the teacher's tokenizer, or set `student.own_tokenizer: true` to imitate the "
        "logits only, each model reading its own tokens",
    )


def _encodings(tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    singles = [tokenizer(text)["input_ids"] for text in PROBES]
    return [*singles, tokenizer(PROBES[0], PROBES[1])["input_ids"]]
