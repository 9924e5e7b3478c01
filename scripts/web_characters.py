"""Rebuild `benchmarks/hrkd_bench/web/static/characters.json`: which characters the Python tokenizer drops or splits at.

`tokenizers` carries Unicode tables of its own, older than a browser's. The page must split texts as the Python runtime
does, so its tables are read off that library, character by character, and shipped as ranges. Takes about 20 s.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tokenizers import normalizers, pre_tokenizers

TARGET = Path(__file__).resolve().parents[1] / "benchmarks" / "hrkd_bench" / "web" / "static" / "characters.json"
LAST = 0x110000
SURROGATES = range(0xD800, 0xE000)
_OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}


def character_tables() -> dict[str, list[list[int]]]:
    """Return the inclusive ranges of code points of each kind."""
    characters = [chr(code) for code in range(LAST) if code not in SURROGATES]
    return {
        "removed": _ranges(_normalised_to(characters, "clean_text", "")),
        "blank": _ranges(_normalised_to(characters, "clean_text", " ")),
        "ideograph": _ranges(_with_spaces(characters)),
        "mark": _ranges(_normalised_to(characters, "strip_accents", "")),
        **{name: _ranges(found) for name, found in _split_at(characters).items()},
    }


def _normalised_to(characters: list[str], step: str, wanted: str) -> list[str]:
    """Return the characters that one step of the normaliser turns into ``wanted``."""
    normaliser = normalizers.BertNormalizer(**_OFF | {step: True})
    parts = normaliser.normalize_str("|".join(characters)).split("|")
    bar = characters.index("|")
    parts[bar : bar + 2] = ["|"]  # the separator itself was split in two
    return [character for character, part in zip(characters, parts, strict=True) if part == wanted]


def _with_spaces(characters: list[str]) -> list[str]:
    normaliser = normalizers.BertNormalizer(**_OFF | {"handle_chinese_chars": True})
    parts = normaliser.normalize_str("|".join(characters)).split("|")
    bar = characters.index("|")
    parts[bar : bar + 2] = ["|"]
    return [
        character
        for character, part in zip(characters, parts, strict=True)
        if part.strip(" ") == character and part.startswith(" ") and part != character
    ]


def _split_at(characters: list[str]) -> dict[str, list[str]]:
    """Return what the pre-tokenizer makes a word of its own, and what it drops between words."""
    text = "a" + "a".join(characters) + "a"  # between letters, so that only punctuation stands alone
    pieces = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)
    punctuation = [piece for piece, _ in pieces if len(piece) == 1 and piece != "a"]
    kept = set("".join(piece for piece, _ in pieces))
    return {"punctuation": punctuation, "separator": [character for character in characters if character not in kept]}


def _ranges(characters: list[str]) -> list[list[int]]:
    found: list[list[int]] = []
    for code in map(ord, characters):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def main() -> int:
    """Write the tables, or with --check compare them with the committed ones."""
    text = json.dumps(character_tables(), separators=(",", ":")) + "\n"
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
