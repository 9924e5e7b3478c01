"""A tokenizer with fewer pieces, cut at its JSON description: everything but ids and pieces stays as it was.

Two kinds of tokenizer can lose pieces that no text uses without any other text changing: WordPiece takes the longest
piece that fits, Unigram the most probable sequence, and neither choice can fall on another piece because a loser of it
is gone. Byte-pair encoding builds each piece from smaller ones that may stand in no text, so it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from hrkd.errors import ExportError

Description = dict[str, Any]
"""A tokenizer's JSON."""
WORD_PIECE, UNIGRAM = "WordPiece", "Unigram"
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
WITHOUT_TRIMMING = "export without `--trim-vocab` and `--max-vocab`"
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def describe(tokenizer: PreTrainedTokenizerFast) -> Description:
    """Return a tokenizer's JSON.

    Raises:
        ExportError: It is of a kind whose vocabulary cannot be cut.
    """
    description: Description = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = description["model"]["type"]
    if kind not in (WORD_PIECE, UNIGRAM):
        raise ExportError(
            f"the vocabulary of a {kind} tokenizer cannot be trimmed, only that of {WORD_PIECE} and {UNIGRAM} ones",
            hint=WITHOUT_TRIMMING,
        )
    return description


def unknown_id(description: Description) -> int | None:
    """Return the id that stands for what the vocabulary cannot write; None where nothing does."""
    model = description["model"]
    if model["type"] == UNIGRAM:
        return None if model["unk_id"] is None else int(model["unk_id"])
    return _model_ids(model).get(model["unk_token"])


def special_ids(tokenizer: PreTrainedTokenizerFast, description: Description) -> set[int]:
    """Return the ids that the tokenizer itself needs, whatever the texts are."""
    kept = set(tokenizer.all_special_ids) | {token["id"] for token in description["added_tokens"]}
    kept |= {ids[position] for ids, position in _id_places(description["post_processor"])}
    if description["padding"] is not None:
        kept.add(description["padding"]["pad_id"])
    unknown = unknown_id(description)
    return kept if unknown is None else kept | {unknown}


def character_ids(description: Description) -> set[int]:
    """Return the ids of the pieces of one character, by which every word in known characters stays representable.

    To these belong a Unigram model's bytes, if it falls back on them, and its least probable piece: the cost of an
    unknown character is counted from that one's.
    """
    model = description["model"]
    ids = _model_ids(model)
    prefix = model["continuing_subword_prefix"] if model["type"] == WORD_PIECE else ""
    kept = {number for piece, number in ids.items() if len(piece) == 1 or len(piece.removeprefix(prefix)) == 1}
    if model["type"] == UNIGRAM:
        scores = [score for _, score in model["vocab"]]
        kept.add(scores.index(min(scores)))
        if model.get("byte_fallback"):
            kept |= {number for piece, number in ids.items() if _BYTE_PIECE.fullmatch(piece)}
    return kept


def hidden_ids(tokenizer: PreTrainedTokenizerFast, description: Description, texts: Iterable[str]) -> set[int]:
    """Return ids that take part in tokenising ``texts`` without standing in the result.

    WordPiece gives up on a word at the first place where no piece fits, and drops the pieces that it had found before.
    Without these it would find shorter ones and might get through.

    Args:
        tokenizer: Of ``description``.
        description: Its JSON.
        texts: Those that hold an unknown piece.
    """
    model, backend = description["model"], tokenizer.backend_tokenizer
    if model["type"] != WORD_PIECE:
        return set()
    ids, prefix = _model_ids(model), model["continuing_subword_prefix"]
    return {
        number
        for text in texts
        for word in _words(backend, text)
        if len(word) <= model["max_input_chars_per_word"]
        for number in _longest_matches(word, ids, prefix)
    }


def select_pieces(
    tokenizer: PreTrainedTokenizerFast, description: Description, kept: Sequence[int]
) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows only the pieces ``kept``, the first of them as id 0.

    Args:
        tokenizer: Of ``description``; stays as it is.
        description: Its JSON.
        kept: Old ids in rising order, with all of :func:`special_ids`.

    Raises:
        ExportError: The tokenizer has a rule of its own about ids, so that it comes out otherwise than written.
    """
    new_ids = {old: new for new, old in enumerate(kept)}
    cut = json.loads(json.dumps(description))
    _renumber(cut, new_ids)
    backend = Tokenizer.from_str(json.dumps(cut))
    result = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        name_or_path=tokenizer.name_or_path,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        add_prefix_space=getattr(tokenizer, "add_prefix_space", False),
        **{name: str(getattr(tokenizer, name)) for name in NAMED_TOKENS if getattr(tokenizer, name, None) is not None},
    )
    written = json.loads(result.backend_tokenizer.to_str())
    if any(written[part] != cut[part] for part in cut.keys() - {"truncation", "padding"}):
        raise ExportError(
            f"the tokenizer `{tokenizer.name_or_path}` does not accept a smaller vocabulary as it is written",
            hint=WITHOUT_TRIMMING,
        )
    return result


def _model_ids(model: Description) -> dict[str, int]:
    if model["type"] == UNIGRAM:
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    ids: dict[str, int] = model["vocab"]
    return ids


def _id_places(processor: Description | None) -> Iterator[tuple[list[Any], int]]:
    """Yield where the ids stand that a post-processor puts around texts: a list of the JSON and a position in it."""
    match processor:
        case {"type": "Sequence", "processors": processors}:
            for inner in processors:
                yield from _id_places(inner)
        case {"type": "TemplateProcessing", "special_tokens": tokens}:
            for token in tokens.values():
                yield from ((token["ids"], position) for position in range(len(token["ids"])))
        case {"type": "BertProcessing" | "RobertaProcessing", "sep": separator, "cls": start}:
            yield from ((separator, 1), (start, 1))


def _renumber(description: Description, new_ids: dict[int, int]) -> None:
    """Drop all pieces without a new id, and write the new ids wherever the JSON has one."""
    model = description["model"]
    if model["type"] == UNIGRAM:
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new_ids]
        model["unk_id"] = new_ids.get(model["unk_id"])
    else:
        model["vocab"] = {piece: new_ids[old] for piece, old in model["vocab"].items() if old in new_ids}
    for token in description["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    for ids, position in _id_places(description["post_processor"]):
        ids[position] = new_ids[ids[position]]
    if description["padding"] is not None:
        description["padding"]["pad_id"] = new_ids[description["padding"]["pad_id"]]


def _words(backend: Tokenizer, text: str) -> Iterator[str]:
    """Yield the words of a text as the model gets them."""
    if backend.normalizer is not None:
        text = backend.normalizer.normalize_str(text)
    words = [(text, None)] if backend.pre_tokenizer is None else backend.pre_tokenizer.pre_tokenize_str(text)
    yield from (word for word, _ in words)


def _longest_matches(word: str, ids: dict[str, int], prefix: str) -> Iterator[int]:
    """Yield the ids that the longest-match rule finds, up to the first place where nothing fits."""
    start = 0
    while start < len(word):
        lead = prefix if start else ""
        ends = (end for end in range(len(word), start, -1) if lead + word[start:end] in ids)
        end = next(ends, None)
        if end is None:
            return
        yield ids[lead + word[start:end]]
        start = end
