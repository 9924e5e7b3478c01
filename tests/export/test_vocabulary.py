"""A smaller vocabulary and position table leave the answers as they are, and what they cost is counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hrkd.data.dataset import Examples
from hrkd.errors import ExportError
from hrkd.models import MultiDomainClassifier
from hrkd_export.session import open_session, run_session
from hrkd_export.to_onnx import export_onnx
from hrkd_export.tokenizer_surgery import describe, select_pieces
from hrkd_export.vocabulary import Trimmed, cut_positions, trim_vocabulary
from tiny import DOMAINS, SPECIAL, make_rows
from tiny_families import CONFIG, FAMILY_NAMES, families, family_encoder, family_teacher

# DeBERTa's own code
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
USED = ("good", "bad", "film", "book", "##s", "##ly", "the", "great")
UNUSED = ("filmic", "phonebook", "##ism", "goodness", "##ness", "ka")
ODD = ("m", "##aß")
"""The only piece with this letter is not a single character."""
BERT_ORDER = ("[unused0]", *SPECIAL)
MPNET_ORDER = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
TEXTS = (
    "the good films",
    "bad book",
    "the film the books goodly",
    "greatly zany",
    "maß",
    "kaß",
    "film ☃ [SEP] film",
    "",
)
"""`kaß` breaks off behind `ka`; without that piece it would become `k ##aß`."""
UNKNOWN = "[UNK]"
UNIGRAM = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]


def fast(backend: Tokenizer, tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    """Wrap a tokenizer; ``tokens`` are padding, unknown, start and separator."""
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), tokens, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)


def word_piece(specials: Sequence[str] = BERT_ORDER, processor: str = "bert") -> PreTrainedTokenizerFast:
    """Return a WordPiece tokenizer whose special tokens do not stand first, with pieces that no text uses."""
    pieces = [*specials, *UNUSED[:3], *USED, *LETTERS, *(f"##{letter}" for letter in LETTERS), *UNUSED[3:], ODD[1]]
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    padding, start, separator = ("[PAD]", "[CLS]", "[SEP]") if "[PAD]" in ids else ("<pad>", "<s>", "</s>")
    backend = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    ends = ((separator, ids[separator]), (start, ids[start]))
    around = {
        "bert": processors.BertProcessing(*ends),
        "roberta": processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False),
        "template": processors.TemplateProcessing(
            single=f"{start} $A {separator}", pair=f"{start} $A {separator} $B:1 {separator}:1", special_tokens=ends
        ),
    }
    backend.post_processor = processors.Sequence([around[processor]]) if processor == "template" else around[processor]
    return fast(backend, (padding, "[UNK]", start, separator))


def unigram(pieces: Sequence[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """Return a Unigram tokenizer as XLM-RoBERTa has it; the least probable piece is one that no text uses."""
    scores = dict([*UNIGRAM, ("▁never", -40.0), ("▁", -2.0), *((letter, -8.0) for letter in LETTERS), *pieces])
    backend = Tokenizer(models.Unigram(list(scores.items()), unk_id=3, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return fast(backend, ("<pad>", "<unk>", "<s>", "</s>"))


def sentence_pieces() -> PreTrainedTokenizerFast:
    return unigram([("▁the", -3.0), ("▁film", -4.0), ("▁filmic", -5.0), ("good", -4.5), ("bad", -4.5), ("s", -4.0)])


def make_classifier(name: str, tokenizer: PreTrainedTokenizerFast, *, pairs: bool = False) -> MultiDomainClassifier:
    """Return a random classifier of a family that fits the tokenizer."""
    config = families()[name].config
    config.vocab_size = len(tokenizer)
    config.pad_token_id = tokenizer.pad_token_id
    names = replace(CONFIG, separator_id=tokenizer.sep_token_id, text_pairs=pairs)
    classifier = MultiDomainClassifier(family_encoder(config, attention="eager"), names)
    torch.nn.init.normal_(classifier.head_weight, std=0.5)
    return classifier.eval()


def make_examples(texts: Sequence[str], pairs: Sequence[str] | None = None) -> Examples:
    """Return examples whose domains take turns."""
    domains = np.arange(len(texts)) % len(DOMAINS)
    return Examples(tuple(texts), None if pairs is None else tuple(pairs), np.zeros(len(texts), np.int64), domains)


@torch.inference_mode()
def logits_of(classifier: MultiDomainClassifier, tokenizer: PreTrainedTokenizerFast, examples: Examples) -> np.ndarray:
    pairs = None if examples.text_pairs is None else list(examples.text_pairs)
    batch = tokenizer(list(examples.texts), pairs, padding=True, truncation=True, max_length=32, return_tensors="pt")
    return classifier(batch["input_ids"], batch["attention_mask"], torch.from_numpy(examples.domains)).logits.numpy()


def trim(
    classifier: MultiDomainClassifier,
    tokenizer: PreTrainedTokenizerFast,
    train: Sequence[str] = TEXTS,
    validation: Sequence[str] = TEXTS,
    *,
    max_pieces: int | None = None,
) -> Trimmed:
    examples = (make_examples(train), make_examples(validation))
    return trim_vocabulary(classifier, tokenizer, *examples, DOMAINS, max_pieces=max_pieces)


def pieces_of(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[str]]:
    return [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in texts]


CASES = [
    *((name, word_piece) for name in ("bert", "distilbert", "electra", "electra-factorized", "deberta")),
    ("mpnet", lambda: word_piece(MPNET_ORDER, "roberta")),
    ("roberta", sentence_pieces),
    ("deberta-v3", sentence_pieces),
]


@pytest.mark.parametrize(("name", "make"), CASES, ids=[name for name, _ in CASES])
def test_training_texts_keep_their_pieces_and_logits(name: str, make) -> None:
    """Prevents rows that belong to other pieces, or pieces that fall apart because a longer one is gone."""
    tokenizer = make()
    classifier = make_classifier(name, tokenizer)
    train = make_examples([*TEXTS, *(row["text"] for row in make_rows(per_domain=10))])
    trimmed = trim_vocabulary(classifier, tokenizer, train, train, DOMAINS, max_pieces=None)
    assert trimmed.facts.pieces < trimmed.facts.pieces_before == len(tokenizer)
    assert pieces_of(trimmed.tokenizer, train.texts) == pieces_of(tokenizer, train.texts)
    expected = logits_of(classifier, tokenizer, train)
    np.testing.assert_allclose(logits_of(trimmed.classifier, trimmed.tokenizer, train), expected, atol=1e-6)


def test_unused_pieces_go_and_nothing_else() -> None:
    """Prevents a table that keeps its size, and a missing character that turns unseen words into unknown ones."""
    tokenizer = word_piece()
    trimmed = trim(make_classifier("bert", tokenizer), tokenizer)
    gone = set(tokenizer.get_vocab()) - set(trimmed.tokenizer.get_vocab())
    assert gone == {"[unused0]", *UNUSED} - {"ka"} | {"[MASK]"}  # this tokenizer does not call it special
    assert sorted(trimmed.tokenizer.get_vocab().values()) == list(range(trimmed.facts.pieces))
    rows = trimmed.classifier.encoder.get_input_embeddings().weight.shape[0]
    assert rows == trimmed.classifier.encoder_config.vocab_size == trimmed.facts.pieces
    assert trimmed.tokenizer.unk_token not in pieces_of(trimmed.tokenizer, ["goodness filmic phonebook quartz"])[0]


def test_special_tokens_are_read_again_everywhere() -> None:
    """Prevents a separator, padding or unknown id of the old vocabulary in the tokenizer or in the model."""
    tokenizer = word_piece()
    classifier = make_classifier("bert", tokenizer, pairs=True)
    trimmed = trim(classifier, tokenizer)
    new = trimmed.tokenizer
    assert (tokenizer.pad_token_id, new.pad_token_id) == (1, 0)
    for name in ("pad_token", "unk_token", "cls_token", "sep_token"):
        assert getattr(new, name) == getattr(tokenizer, name)
        assert getattr(new, f"{name}_id") == new.get_vocab()[getattr(new, name)]
    assert trimmed.classifier.config == replace(classifier.config, separator_id=new.sep_token_id)
    assert trimmed.classifier.encoder_config.pad_token_id == new.pad_token_id
    assert trimmed.classifier.encoder.get_input_embeddings().padding_idx == new.pad_token_id


def test_text_pairs_count_and_keep_their_token_types() -> None:
    """Prevents pieces that only second texts use from going, and token types of a separator that no longer exists."""
    tokenizer = word_piece()
    classifier = make_classifier("bert", tokenizer, pairs=True)
    train = make_examples(["the film", "good", "bad"], ["phonebook", "goodness", "books"])
    trimmed = trim_vocabulary(classifier, tokenizer, train, train, DOMAINS, max_pieces=None)
    assert {"phonebook", "goodness", "book"} <= set(trimmed.tokenizer.get_vocab())
    expected = logits_of(classifier, tokenizer, train)
    np.testing.assert_allclose(logits_of(trimmed.classifier, trimmed.tokenizer, train), expected, atol=1e-6)
    blind = trimmed.classifier
    blind.config = replace(blind.config, separator_id=tokenizer.sep_token_id)
    assert np.abs(logits_of(blind, trimmed.tokenizer, train) - expected).max() > 1e-3


def test_texts_count_in_full_length() -> None:
    """Prevents the truncation that training leaves in a tokenizer from deciding which pieces stay."""
    tokenizer = word_piece()
    tokenizer.backend_tokenizer.enable_truncation(3)
    trimmed = trim(make_classifier("bert", tokenizer), tokenizer, ["the film the film phonebook"])
    assert "phonebook" in trimmed.tokenizer.get_vocab()


def test_word_that_broke_off_stays_unknown() -> None:
    """Prevents a word from becoming known because the piece at which it broke off is gone."""
    tokenizer = word_piece()
    trimmed = trim(make_classifier("bert", tokenizer), tokenizer)
    assert pieces_of(tokenizer, ["kaß", "maß"]) == [["[CLS]", "[UNK]", "[SEP]"], ["[CLS]", *ODD, "[SEP]"]]
    assert pieces_of(trimmed.tokenizer, ["kaß", "maß"]) == pieces_of(tokenizer, ["kaß", "maß"])


def test_cost_of_an_unknown_character_stays() -> None:
    """Prevents Unigram from preferring an unknown character, whose cost is counted from the least probable piece."""
    tokenizer = unigram([("aßb", -20.0), ("a", -1.0), ("bcd", -1.0)])
    texts = ["aßbcd", "bcd a"]
    before = pieces_of(tokenizer, texts)
    assert "aßb" in before[0]
    trimmed = trim(make_classifier("roberta", tokenizer), tokenizer, texts, texts)
    assert pieces_of(trimmed.tokenizer, texts) == before


def test_arguments_stay_as_they_are() -> None:
    """Prevents the fp32 reference, made from the same objects later, from being cut as well; no dice are rolled."""
    tokenizer = word_piece()
    classifier = make_classifier("bert", tokenizer)
    examples, state = make_examples(TEXTS), torch.random.get_rng_state()
    before = (logits_of(classifier, tokenizer, examples), tokenizer.backend_tokenizer.to_str())
    names, encoder = classifier.config, classifier.encoder_config.to_dict()
    cut_positions(trim(classifier, tokenizer).classifier, 16)
    assert tokenizer.backend_tokenizer.to_str() == before[1]
    np.testing.assert_array_equal(logits_of(classifier, tokenizer, examples), before[0])
    assert (classifier.config, classifier.encoder_config.to_dict()) == (names, encoder)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("processor", ["bert", "roberta", "template"])
def test_rest_of_the_tokenizer_stays(processor: str) -> None:
    """Prevents another normaliser, or special tokens with old ids around every text."""
    tokenizer = word_piece(processor=processor)
    tokenizer.backend_tokenizer.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    new = trim(make_classifier("bert", tokenizer), tokenizer).tokenizer
    old_json, new_json = (json.loads(each.backend_tokenizer.to_str()) for each in (tokenizer, new))
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        assert new_json[part] == old_json[part]
    assert new_json["padding"]["pad_id"] == new.pad_token_id
    old_pair, new_pair = (each.convert_ids_to_tokens(each("good", "bad")["input_ids"]) for each in (tokenizer, new))
    assert new_pair == old_pair
    assert (new_pair[0], new_pair.count("[SEP]")) == ("[CLS]", 3 if processor == "roberta" else 2)


def test_limit_keeps_the_most_frequent_pieces() -> None:
    """Prevents a limit that is missed, that drops frequent pieces, or that depends on the order of the texts."""
    tokenizer = word_piece()
    classifier = make_classifier("bert", tokenizer)
    smallest = trim(classifier, tokenizer, [""], [""]).facts.pieces
    texts = ["bad", "book good", "the the book", "great film"]  # good, bad, film and great once each, in this order
    order = ("book", "the", "good", "bad", "film", "great")
    ids = tokenizer.get_vocab()
    assert sorted(order[2:], key=ids.__getitem__) == list(order[2:])
    for room in range(len(order) + 1):
        trimmed = trim(classifier, tokenizer, texts, texts, max_pieces=smallest + room)
        assert trimmed.facts.pieces == smallest + room
        assert set(order) & set(trimmed.tokenizer.get_vocab()) == set(order[:room])
    assert trim(classifier, tokenizer, texts, texts, max_pieces=500).facts.pieces == smallest + len(order)


def test_limit_below_the_characters_is_refused_with_the_smallest_possible_one() -> None:
    """Prevents a vocabulary without all characters, and a search for the number that would do."""
    tokenizer = word_piece()
    classifier = make_classifier("bert", tokenizer)
    smallest = trim(classifier, tokenizer, [""], [""]).facts.pieces
    with pytest.raises(ExportError, match=f"alone are {smallest}") as caught:
        trim(classifier, tokenizer, max_pieces=smallest - 1)
    assert caught.value.hint == f"set `--max-vocab {smallest}` or more"
    assert trim(classifier, tokenizer, max_pieces=smallest).facts.pieces == smallest


def test_unknown_rate_is_counted_by_domain_on_validation_texts() -> None:
    """Prevents a rate over training texts, over all domains together, or thinned by special tokens."""
    tokenizer = word_piece()
    validation = ["good ☃", "[SEP] film the ☃ maß", "zaß"]
    facts = trim(make_classifier("bert", tokenizer), tokenizer, ["good"], validation).facts
    # m ##aß are two pieces; without ##aß, which training does not use, the word becomes unknown.
    assert facts.unknown_rate_before == pytest.approx({"books": 1 / 2, "films": 1 / 5, "phones": 0.0})
    # film and the fall apart into four and three letters.
    assert facts.unknown_rate == pytest.approx({"books": 1 / 2, "films": 2 / 9, "phones": 1.0})


def test_byte_pair_encoding_is_refused() -> None:
    """Prevents a vocabulary whose merge rules lead to pieces that are gone."""
    ids = {piece: number for number, piece in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "ab"))}
    tokenizer = fast(Tokenizer(models.BPE(ids, [("a", "b")], unk_token=UNKNOWN)), ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    with pytest.raises(ExportError, match="of a BPE tokenizer cannot be trimmed") as caught:
        trim(make_classifier("bert", tokenizer), tokenizer, ["ab"], ["ab"])
    assert "without `--trim-vocab`" in str(caught.value.hint)


def test_bytes_stay_where_unknown_characters_become_bytes() -> None:
    """Prevents a vocabulary that could write every text from meeting unknown pieces after trimming."""
    tokenizer = unigram([("▁film", -4.0), *((f"<0x{byte:02X}>", -30.0) for byte in range(256))])
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    description["model"]["byte_fallback"] = True
    tokenizer = fast(Tokenizer.from_str(json.dumps(description)), ("<pad>", "<unk>", "<s>", "</s>"))
    trimmed = trim(make_classifier("roberta", tokenizer), tokenizer, ["film"], ["☃"])
    assert trimmed.facts.unknown_rate == dict.fromkeys(DOMAINS, 0.0)
    assert pieces_of(trimmed.tokenizer, ["☃"]) == pieces_of(tokenizer, ["☃"])


def test_promise_is_checked_on_the_training_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a rule of a tokenizer that nobody thought of from changing texts without a word."""
    monkeypatch.setattr("hrkd_export.vocabulary.hidden_ids", lambda *_: set())
    tokenizer = word_piece()
    with pytest.raises(ExportError, match="the training text 'kaß' gets other pieces"):
        trim(make_classifier("bert", tokenizer), tokenizer)


def test_ids_that_the_tokenizer_gives_itself_are_refused() -> None:
    """Prevents an added token that gets another id, and so another token's row, when the file is read."""
    tokenizer = word_piece()
    tokenizer.add_tokens(["newest"])
    description = describe(tokenizer)
    description["added_tokens"][-1]["id"] = len(tokenizer)
    with pytest.raises(ExportError, match="does not accept a smaller vocabulary"):
        select_pieces(tokenizer, description, range(len(tokenizer) + 1))


@pytest.mark.parametrize("name", ["roberta", "mpnet"])
def test_positions_that_hang_on_the_padding_id_stay(name: str) -> None:
    """Prevents a RoBERTa whose every position moves by as many rows as the padding's id does."""
    tokenizer = word_piece(("[unused1]", *BERT_ORDER))
    classifier = make_classifier(name, tokenizer)
    trimmed = trim(classifier, tokenizer)
    assert trimmed.facts.pieces < trimmed.facts.pieces_before
    expected = logits_of(classifier, tokenizer, make_examples(TEXTS))
    actual = logits_of(trimmed.classifier, trimmed.tokenizer, make_examples(TEXTS))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_tokenizer_of_another_model_is_refused() -> None:
    """Prevents an index error without a word about what does not fit."""
    tokenizer = word_piece()
    classifier = make_classifier("bert", word_piece())
    tokenizer.add_tokens(["newest"])
    with pytest.raises(ExportError, match=f"id {len(tokenizer) - 1}, the model's word table only"):
        trim(classifier, tokenizer)


@pytest.mark.parametrize("name", [name for name in FAMILY_NAMES if not name.startswith("deberta")])
@pytest.mark.parametrize("max_length", [8, 31])
def test_positions_end_behind_the_longest_text(name: str, max_length: int) -> None:
    """Prevents a table that is one row short, or not cut, in families that count from behind the padding's id."""
    classifier = family_teacher(name)
    cut = cut_positions(classifier, max_length)
    offset = 2 if name in ("roberta", "mpnet") else 0
    assert cut.encoder.embeddings.position_embeddings.weight.shape[0] == max_length + offset
    assert cut.encoder_config.max_position_embeddings == max_length + offset
    assert (cut.config.max_length, classifier.encoder_config.max_position_embeddings) == (max_length, 40)
    generator = torch.Generator().manual_seed(7)
    for tokens in (1, max_length - 1, max_length):
        ids = torch.randint(5, 60, (3, tokens), generator=generator)
        inputs = (ids, torch.ones_like(ids), torch.tensor([0, 2, -1]))
        with torch.inference_mode():
            torch.testing.assert_close(cut(*inputs).logits, classifier(*inputs).logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["deberta", "deberta-v3"])
@pytest.mark.parametrize("absolute_as_well", [False, True])
def test_relative_positions_stay(name: str, absolute_as_well: bool) -> None:
    """Prevents other distances in a model whose number of positions bounds them."""
    config = families()[name].config
    config.position_biased_input = absolute_as_well
    classifier = MultiDomainClassifier(family_encoder(config), CONFIG)
    assert cut_positions(classifier, 8) is classifier


def test_nothing_is_rebuilt_where_nothing_can_be_cut() -> None:
    """Prevents a table that grows, with random rows, when the limit is above its length."""
    classifier = family_teacher("bert")
    assert cut_positions(classifier, 40) is classifier
    assert cut_positions(classifier, 100) is classifier


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_exports_as_before(name: str, tmp_path: Path) -> None:
    """Prevents a cut model that runs in torch but whose graph has another answer, or none."""
    tokenizer = word_piece() if name == "bert" else word_piece(MPNET_ORDER, "roberta")
    classifier = make_classifier(name, tokenizer)
    trimmed = trim(classifier, tokenizer)
    export_onnx(cut_positions(trimmed.classifier, 32), tmp_path / "model.onnx", opset=17)
    session, examples = open_session(tmp_path / "model.onnx"), make_examples([*TEXTS, "good " * 40])
    batch = trimmed.tokenizer(list(examples.texts), padding=True, truncation=True, max_length=32, return_tensors="np")
    actual = run_session(session, batch["input_ids"], batch["attention_mask"], examples.domains)
    np.testing.assert_allclose(actual, logits_of(classifier, tokenizer, examples), atol=1e-5)
