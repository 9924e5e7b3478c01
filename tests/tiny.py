"""Builders of tiny real inputs: a random BERT with a WordPiece tokenizer, and a learnable two-class text set.

Everything is made from a seed in milliseconds, so the whole chain can run offline in the default test tier.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

POSITIVE = ("good", "great", "lovely", "fine", "happy")
NEGATIVE = ("bad", "awful", "poor", "sad", "broken")
FILLER = ("the", "a", "film", "book", "phone", "was", "is", "very", "really", "plot", "price", "and", "story", "it")
DOMAINS = ("books", "films", "phones")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def make_sentence(generator: random.Random, label: str, longest: int = 14) -> str:
    """Return filler words with one or two words that give the label away."""
    words = generator.choices(FILLER, k=generator.randint(2, longest))
    for _ in range(generator.randint(1, 2)):
        words.insert(generator.randrange(len(words) + 1), generator.choice(POSITIVE if label == "pos" else NEGATIVE))
    return " ".join(words)


def make_rows(per_domain: int = 80, seed: int = 0, domains: tuple[str, ...] = DOMAINS) -> list[dict[str, str]]:
    """Return distinct labelled rows, both labels in every domain."""
    generator = random.Random(seed)
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    for domain in domains:
        count = 0
        while count < per_domain:
            label = ("neg", "pos")[count % 2]
            text = make_sentence(generator, label)
            if text not in seen:
                seen.add(text)
                rows.append({"text": text, "label": label, "domain": domain})
                count += 1
    return rows


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_tokenizer(folder: Path) -> None:
    """Write a real WordPiece tokenizer (fast format) whose vocabulary covers the tiny texts and single letters."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = [*SPECIAL, *POSITIVE, *NEGATIVE, *FILLER]
    vocabulary += [piece for piece in (*letters, *(f"##{letter}" for letter in letters)) if piece not in vocabulary]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    ids = {piece: number for number, piece in enumerate(vocabulary)}
    pieces = Tokenizer(models.WordPiece(ids, unk_token=SPECIAL[1]))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece()
    separator, start = ((name, ids[name]) for name in ("[SEP]", "[CLS]"))
    pieces.post_processor = processors.BertProcessing(separator, start)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    BertTokenizerFast(tokenizer_object=pieces, model_max_length=64, **names).save_pretrained(folder)


def swap_words(folder: Path, one: str, other: str) -> None:
    """Give two word pieces of a tokenizer folder each other's ids."""
    path = folder / "tokenizer.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    ids = value["model"]["vocab"]
    ids[one], ids[other] = ids[other], ids[one]
    path.write_text(json.dumps(value), encoding="utf-8")


def make_encoder(folder: Path, *, layers: int = 4, hidden_size: int = 32, heads: int = 4, seed: int = 0) -> Path:
    """Write a random BERT encoder with its tokenizer, as `save_pretrained` lays it out."""
    import torch
    from transformers import BertConfig, BertModel

    make_tokenizer(folder)
    vocab_size = len((folder / "vocab.txt").read_text(encoding="utf-8").split())
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * hidden_size,
        max_position_embeddings=64,
        initializer_range=0.05,
    )
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    return folder
