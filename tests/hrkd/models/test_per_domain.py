"""A teacher that is one classifier per domain: it answers as its members do, is stored whole, and can be distilled."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification

from hrkd.artifact import read_stage, verify_files
from hrkd.bundle import parse_eval
from hrkd.errors import CheckpointError, RecipeError
from hrkd.evaluation import evaluate
from hrkd.model_folder import MEMBERS, is_per_domain
from hrkd.models import (
    ClassifierConfig,
    MultiDomainClassifier,
    PerDomainClassifier,
    load_classifier,
    load_teacher,
    load_tokenizer,
    save_classifier,
)
from hrkd.models.adopt import adopt_per_domain
from hrkd.recipe import Recipe, StudentConfig
from hrkd.recipe_file import parse_recipe
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from tiny import DOMAINS

LABELS = ("neg", "pos")
CONFIG = ClassifierConfig(DOMAINS, LABELS, 24, separator_id=3)
TEXTS = ["the film was very good", "bad", "the price is awful and the phone is broken", "a sad story"]
DOMAIN_IDS = [2, 0, 2, 1]

Sources = Mapping[str, str]


@pytest.fixture(scope="module")
def make_source(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Callable[..., Path]:
    """Return a builder of ordinary fine-tuned classifiers with the tiny tokenizer."""

    def build(seed: int, **changes: int) -> Path:
        folder = tmp_path_factory.mktemp("classifier")
        shutil.copytree(tiny_encoder, folder, dirs_exist_ok=True)
        config = BertConfig.from_pretrained(tiny_encoder, num_labels=2, initializer_range=0.2)
        for name, value in changes.items():
            setattr(config, name, value)
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(folder)
        return folder

    return build


@pytest.fixture(scope="module")
def sources(make_source: Callable[..., Path]) -> Sources:
    return {name: str(make_source(seed)) for seed, name in enumerate(DOMAINS)}


@pytest.fixture(scope="module")
def inputs(tiny_encoder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch = load_tokenizer(tiny_encoder)(TEXTS, padding=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask, torch.tensor(DOMAIN_IDS)


@pytest.fixture
def teacher(sources: Sources) -> PerDomainClassifier:
    return adopt_per_domain(sources, CONFIG)


class TestAnswers:
    @torch.no_grad()
    def test_each_row_gets_the_original_classifiers_logits(
        self, teacher: PerDomainClassifier, sources: Sources, inputs: tuple[torch.Tensor, ...]
    ) -> None:
        """Rows that come back in another order, or from another domain's model, give plausible logits."""
        ids, mask, domains = inputs
        logits = teacher(ids, mask, domains).logits
        for row, domain in enumerate(DOMAIN_IDS):
            original = BertForSequenceClassification.from_pretrained(sources[DOMAINS[domain]]).eval()
            torch.testing.assert_close(logits[row], original(input_ids=ids, attention_mask=mask).logits[row])

    @torch.no_grad()
    def test_domains_follow_the_data_and_not_the_recipe(
        self, teacher: PerDomainClassifier, sources: Sources, inputs: tuple[torch.Tensor, ...]
    ) -> None:
        """Taken in the order they are written, the members answer for each other's domains."""
        reordered = adopt_per_domain(dict(reversed(sources.items())), CONFIG)
        torch.testing.assert_close(reordered(*inputs).logits, teacher(*inputs).logits)

    @torch.no_grad()
    def test_hidden_states_and_attention_are_the_members(
        self, teacher: PerDomainClassifier, inputs: tuple[torch.Tensor, ...]
    ) -> None:
        """The student imitates these; a row of another text is imitated just as readily."""
        ids, mask, domains = inputs
        output = teacher(*inputs, hidden_states=True, attention_layers=(2, 4))
        assert (len(output.hidden_states), len(output.attention)) == (teacher.num_layers + 1, 2)
        for row, domain in enumerate(DOMAIN_IDS):
            one = slice(row, row + 1)
            own = teacher.members[domain](
                ids[one], mask[one], domains[one], hidden_states=True, attention_layers=(2, 4)
            )
            for joined, expected in zip(
                (*output.hidden_states, *output.attention[0], *output.attention[1]),
                (*own.hidden_states, *own.attention[0], *own.attention[1]),
            ):
                torch.testing.assert_close(joined[one], expected)

    def test_an_unknown_domain_is_refused(self, teacher: PerDomainClassifier, inputs: tuple[torch.Tensor, ...]) -> None:
        """Index -1 would quietly ask the last domain's model."""
        with pytest.raises(ValueError, match="unknown domain"):
            teacher(inputs[0], inputs[1], torch.tensor([0, -1, 1, 2]))


class TestRefusals:
    def test_domains_must_be_exactly_the_datas(self, sources: Sources) -> None:
        """A missing domain would be answered by nobody, a misspelt one never asked."""
        fewer = {name: sources[name] for name in DOMAINS[:2]}
        with pytest.raises(CheckpointError, match=r"names the domains \['books', 'films'\]"):
            adopt_per_domain(fewer, CONFIG)
        with pytest.raises(CheckpointError, match="names the domains"):
            adopt_per_domain({**fewer, "phone": sources["phones"]}, CONFIG)

    @pytest.mark.parametrize("change", [{"num_hidden_layers": 2}, {"hidden_size": 16}, {"num_attention_heads": 2}])
    def test_shapes_must_be_equal(
        self, sources: Sources, make_source: Callable[..., Path], change: dict[str, int]
    ) -> None:
        """No student layer can imitate layers of several widths; it would fail in the middle of a step."""
        with pytest.raises(CheckpointError, match=r"differ in \(layers, width, heads\)"):
            adopt_per_domain({**sources, "films": str(make_source(9, **change))}, CONFIG)

    def test_tokenizers_must_be_equal(self, sources: Sources, make_source: Callable[..., Path]) -> None:
        """The student reads one tokenizer's ids; to the other member they are other words."""
        other = make_source(9)
        tokenizer = Tokenizer.from_file(str(other / "tokenizer.json"))
        tokenizer.add_tokens(["extra"])
        tokenizer.save(str(other / "tokenizer.json"))
        with pytest.raises(CheckpointError, match="`books` and `films` have different tokenizers"):
            adopt_per_domain({**sources, "films": str(other)}, CONFIG)

    def test_one_missing_member_is_named(self, sources: Sources, tmp_path: Path) -> None:
        """Two of three are no teacher."""
        with pytest.raises(CheckpointError, match="absent"):
            adopt_per_domain({**sources, "films": str(tmp_path / "absent")}, CONFIG)

    def test_a_damaged_tokenizer_is_an_error_of_the_user(
        self, sources: Sources, make_source: Callable[..., Path]
    ) -> None:
        """The library raises a bare Exception, which looks like a bug of ours."""
        damaged = make_source(9)
        (damaged / "tokenizer.json").write_text("{", encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"tokenizer of .* cannot be loaded"):
            adopt_per_domain({**sources, "films": str(damaged)}, CONFIG)


class TestStorage:
    @torch.no_grad()
    def test_loads_equal(
        self, teacher: PerDomainClassifier, inputs: tuple[torch.Tensor, ...], tiny_encoder: Path, tmp_path: Path
    ) -> None:
        """Members that come back in another order, or all as the first, still answer."""
        save_classifier(teacher, load_tokenizer(tiny_encoder), tmp_path)
        loaded = load_teacher(tmp_path)
        assert isinstance(loaded, PerDomainClassifier)
        assert not loaded.training
        assert loaded.config == teacher.config
        torch.testing.assert_close(loaded(*inputs).logits, teacher(*inputs).logits)

    def test_is_not_loaded_as_one_model(self, teacher: PerDomainClassifier, tiny_encoder: Path, tmp_path: Path) -> None:
        """Exported as one graph, it would be the first domain's model for all domains."""
        save_classifier(teacher, load_tokenizer(tiny_encoder), tmp_path)
        assert is_per_domain(tmp_path)
        with pytest.raises(CheckpointError, match="one classifier per domain"):
            load_classifier(tmp_path)
        assert isinstance(load_classifier(tmp_path / MEMBERS / "1"), MultiDomainClassifier)

    def test_a_missing_member_is_refused(
        self, teacher: PerDomainClassifier, tiny_encoder: Path, tmp_path: Path
    ) -> None:
        """A folder that was copied in part must not shift the other members to other domains."""
        save_classifier(teacher, load_tokenizer(tiny_encoder), tmp_path)
        shutil.rmtree(tmp_path / MEMBERS / "1")
        with pytest.raises(CheckpointError, match="does not exist"):
            load_teacher(tmp_path)


@pytest.fixture
def recipe(sources: Sources, tiny_data: Path) -> Recipe:
    training = {"epochs": 1, "learning_rate": 3e-3, "batch_size": 8, "precision": "fp32"}
    return parse_recipe(
        {
            "name": "per-domain",
            "data": {"source": "files", "path": str(tiny_data), "max_length": 24},
            "teacher": {"adopt": dict(sources)},
            "student": {"layers": 2, "init": "random"},
            "training": training,
        }
    )


def test_a_student_is_distilled_from_it(recipe: Recipe, sources: Sources, tmp_path: Path) -> None:
    """Every part works alone; only the whole shows that a student gets each domain's own teacher."""
    run = RunFolder.create(tmp_path, recipe)
    train_teacher(recipe, run)
    record = distill(recipe, run)
    verify_files(run.student, record.files)
    student = load_classifier(run.student)
    assert (student.num_layers, student.num_domains) == (2, 3)
    assert record.details["history"]
    taught = parse_eval(run.student / "eval.jsonl", LABELS, DOMAINS)
    tokenizer = load_tokenizer(run.student)
    for domain in DOMAINS:
        example = next(row for row in taught if row.domain == domain)
        original = BertForSequenceClassification.from_pretrained(sources[domain]).eval()
        with torch.no_grad():
            logits = original(**tokenizer(example.text, return_tensors="pt")).logits[0]
        assert example.teacher_logits == pytest.approx(logits.tolist(), abs=1e-5)
    assert evaluate(run.teacher).agreement_with_teacher == 1.0


def test_its_layers_cannot_be_copied(recipe: Recipe, tmp_path: Path) -> None:
    """Copied from the first member alone, the student would start as one domain's model without a word."""
    run = RunFolder.create(tmp_path, recipe)
    train_teacher(recipe, run)
    copying = recipe.model_copy(update={"student": StudentConfig(layers=2)})
    with pytest.raises(RecipeError, match="no shared layers"):
        distill(copying, run)
    assert read_stage(run.student) is None
