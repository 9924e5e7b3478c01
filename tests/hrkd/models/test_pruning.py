"""Students cut out of the teacher: exact at the teacher's width, by importance below it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from transformers import BertConfig

from hrkd.errors import RecipeError
from hrkd.models import MultiDomainClassifier, PerDomainClassifier
from hrkd.models.encoder import build_encoder
from hrkd.models.pruning import FAMILIES, head_importance
from hrkd.models.student import build_student
from hrkd.recipe import StudentConfig, StudentInit
from tiny_families import CONFIG, SIZES, families, family_inputs, family_teacher

PRUNABLE = tuple(name for name, family in families().items() if family.config.model_type in FAMILIES)
HIDDEN, HEADS, NEURONS = SIZES["hidden_size"], SIZES["num_attention_heads"], SIZES["intermediate_size"]
HEAD_SIZE = HIDDEN // HEADS


def pruned(teacher: MultiDomainClassifier, **shape: object) -> MultiDomainClassifier:
    config = StudentConfig(**{"layers": 4, **shape}, init=StudentInit.PRUNED_TEACHER)  # type: ignore[arg-type]
    student = build_student(teacher, config)
    assert isinstance(student, MultiDomainClassifier)
    return student.eval()


def logits(model: MultiDomainClassifier) -> Tensor:
    with torch.no_grad():
        return model(*family_inputs()).logits


@pytest.mark.parametrize("name", PRUNABLE)
def test_the_teachers_own_width_is_an_exact_copy(name: str) -> None:
    """Anything reordered in one place and not in another, or rescaled, shows here."""
    teacher = family_teacher(name)
    copied = build_student(teacher, StudentConfig(layers=2, teacher_layers=(1, 3))).eval()
    same = pruned(teacher, layers=2, teacher_layers=(1, 3))
    torch.testing.assert_close(logits(same), logits(copied), rtol=1e-6, atol=1e-6)
    for parameter, original in zip(same.parameters(), copied.parameters(), strict=True):
        assert torch.equal(parameter, original)


def silenced(hidden: Tensor, heads: Tensor, neurons: Tensor, pooled: Tensor) -> MultiDomainClassifier:
    """Return a BERT teacher in which only the given parts do anything: cutting the rest away changes nothing."""
    teacher = family_teacher("bert")
    state: Mapping[str, Tensor] = teacher.state_dict()
    keep = torch.zeros(HEADS, HEAD_SIZE)
    keep[heads] = 1.0
    with torch.no_grad():
        for key, value in state.items():
            if key.endswith("attention.output.dense.weight"):
                value.mul_(keep.flatten())
            if key.endswith("output.dense.weight") and "attention" not in key:
                value.mul_(torch.zeros(NEURONS).index_fill(0, neurons, 1.0))
            if key.endswith(("query.weight", "key.weight", "value.weight", "intermediate.dense.weight")):
                value.mul_(torch.zeros(HIDDEN).index_fill(0, hidden, 1.0))
        teacher.head_weight.mul_(torch.zeros(HIDDEN).index_fill(0, pooled, 1.0))
    return teacher


ALL = torch.arange(HIDDEN)


def test_silent_neurons_are_the_ones_to_go() -> None:
    """Kept in their place, as many working ones would be cut; the logits must not change at all."""
    working = torch.arange(3, NEURONS, 2)
    teacher = silenced(ALL, torch.arange(HEADS), working, ALL)
    torch.testing.assert_close(logits(pruned(teacher, intermediate_size=len(working))), logits(teacher))


def test_silent_features_of_heads_are_the_ones_to_go() -> None:
    """Scores of narrower heads are divided by a smaller root: without rescaling, attention gets flatter or sharper."""
    teacher = family_teacher("bert")
    state = teacher.state_dict()
    silent = torch.zeros(HEADS, HEAD_SIZE)
    silent[:, 1::2] = 1.0
    with torch.no_grad():
        for key, value in state.items():
            if ".self." in key:
                value[silent.flatten().bool()] = 0.0
    kept, hidden = pruned(teacher), ALL[: HIDDEN // 2]
    torch.testing.assert_close(logits(kept), logits(teacher))
    narrow = pruned(teacher, hidden_size=len(hidden))
    layer = narrow.encoder.encoder.layer[0].attention.self
    assert (layer.query.weight.norm(dim=1) > 0).all()
    assert (layer.value.weight.norm(dim=1) > 0).all()
    query = teacher.encoder.encoder.layer[0].attention.self.query.bias.view(HEADS, HEAD_SIZE)[:, ::2].flatten()
    torch.testing.assert_close(layer.query.bias, query / 2**0.5)


def test_silent_heads_are_the_ones_to_go() -> None:
    """By position, a working head goes and a silent one stays."""
    teacher = silenced(ALL, torch.tensor([1, 3]), torch.arange(NEURONS), ALL)
    narrow = pruned(teacher, hidden_size=HIDDEN // 2, attention_heads=2)
    for layer, original in zip(narrow.encoder.encoder.layer, teacher.encoder.encoder.layer, strict=True):
        expected = original.attention.self.value.bias.view(HEADS, HEAD_SIZE)[[1, 3]].flatten()
        torch.testing.assert_close(layer.attention.self.value.bias, expected)


def test_features_that_nobody_reads_are_the_ones_to_go() -> None:
    """One choice for the whole residual stream: embeddings, every layer and every norm must agree on it."""
    read, decisive = torch.arange(1, HIDDEN, 2), torch.arange(0, HIDDEN, 2)
    teacher = silenced(read, torch.arange(HEADS), torch.arange(NEURONS), decisive)
    with torch.no_grad():
        teacher.pooler.weight.mul_(torch.zeros(HIDDEN).index_fill(0, read, 1.0))
    narrow = pruned(teacher, hidden_size=len(read))
    own, original = narrow.state_dict(), teacher.state_dict()
    words = "encoder.embeddings.word_embeddings.weight"
    assert torch.equal(own[words], original[words][:, read])
    norms = [name for name in own if "LayerNorm" in name]
    assert len(norms) == 2 * (1 + 2 * 4)
    for name in norms:
        assert torch.equal(own[name], original[name][read])
    assert torch.equal(own["head_weight"], original["head_weight"][..., decisive])
    assert torch.equal(own["pooler.weight"], original["pooler.weight"][decisive][:, read])


def reordered(teacher: MultiDomainClassifier) -> MultiDomainClassifier:
    """Return the same function with heads, head features, neurons and hidden features in another order."""
    generator = torch.Generator().manual_seed(11)
    hidden, neurons = (torch.randperm(size, generator=generator) for size in (HIDDEN, NEURONS))
    heads = torch.randperm(HEADS, generator=generator)
    compared, mixed = (
        (heads.unsqueeze(1) * HEAD_SIZE + torch.randperm(HEAD_SIZE, generator=generator)).flatten() for _ in range(2)
    )
    rows = {"query": compared, "key": compared, "value": mixed, "intermediate.dense": neurons}
    columns = {"attention.output.dense": mixed, "output.dense": neurons}
    state = {}
    for name, value in teacher.state_dict().items():
        part, kind = name.rsplit(".", 1) if "." in name else (name, "")
        row = next((order for end, order in rows.items() if part.endswith(end)), hidden)
        column = next((order for end, order in columns.items() if part.endswith(end)), hidden)
        if "embeddings" in name or name == "head_weight":
            state[name] = value[..., hidden]
        elif name == "head_bias":
            state[name] = value
        else:
            state[name] = value[row][:, column] if kind == "weight" and value.dim() == 2 else value[row]
    other = MultiDomainClassifier(build_encoder(teacher.encoder_config), teacher.config).eval()
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize(
    "shape",
    [{"hidden_size": 16}, {"hidden_size": 16, "attention_heads": 2}, {"intermediate_size": 20}],
    ids=str,
)
def test_the_teachers_order_does_not_matter(shape: dict[str, int]) -> None:
    """Importance that depends on position is no importance."""
    teacher = family_teacher("bert")
    other = reordered(teacher)
    torch.testing.assert_close(logits(other), logits(teacher), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(pruned(other, **shape)), logits(pruned(teacher, **shape)), rtol=1e-4, atol=1e-4)


def test_a_heads_importance_is_that_of_its_whole_map() -> None:
    """A norm of the parts would count what the output map discards."""
    torch.manual_seed(0)
    value, output = torch.randn(3, 4, 7), torch.randn(3, 4, 7)
    expected = [torch.linalg.matrix_norm(own.T @ read).item() for own, read in zip(output, value, strict=True)]
    assert head_importance(value, output).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", PRUNABLE)
def test_every_family_gets_narrower(name: str) -> None:
    """A part that only one family has is forgotten: a projection, an embedding as wide as the layers."""
    teacher = family_teacher(name)
    narrow = pruned(teacher, layers=2, hidden_size=24, attention_heads=3, intermediate_size=40)
    assert logits(narrow).isfinite().all()
    words, original = (model.encoder.get_input_embeddings().weight for model in (narrow, teacher))
    assert words.shape[1] == (16 if name == "electra-factorized" else 24)
    assert set(words[7].tolist()) <= set(original[7].tolist())


def half_weak_teacher(seed: int) -> MultiDomainClassifier:
    """Return a teacher half of whose parts are ten times weaker, as trained ones are unequal: those can be spared."""
    teacher = family_teacher("bert")
    weak = torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(seed))[: HIDDEN // 2]
    stream = torch.ones(HIDDEN).index_fill(0, weak, 0.1)
    inner = torch.ones(NEURONS).index_fill(0, torch.arange(1, NEURONS, 2), 0.1)
    with torch.no_grad():
        for name, value in teacher.state_dict().items():
            if name.endswith(("query.weight", "key.weight", "value.weight", "intermediate.dense.weight")):
                value.mul_(stream).mul_(inner[: len(value), None])
            elif name.endswith(("query.bias", "key.bias", "value.bias", "intermediate.dense.bias")):
                value.mul_(inner[: len(value)])
            elif name.endswith("output.dense.weight"):
                value.mul_(stream[:, None])
            elif name.endswith("output.dense.bias") or "LayerNorm" in name or "embeddings" in name:
                value.mul_(stream)
        teacher.pooler.weight.mul_(stream)
        teacher.head_weight.mul_(inner[:HIDDEN])
    return teacher


def test_a_pruned_student_starts_closer_to_the_teacher_than_a_random_one() -> None:
    """The reason for pruning: if it were not so, `init: random` would do."""
    ids = torch.randint(5, 60, (100, 12), generator=torch.Generator().manual_seed(7))
    batch = ids, torch.ones_like(ids), torch.zeros(100, dtype=torch.long)  # one domain: its bias is no likeness

    def likeness(init: StudentInit, seed: int) -> float:
        teacher = half_weak_teacher(seed)
        student = build_student(teacher, StudentConfig(layers=4, hidden_size=16, init=init)).eval()
        with torch.no_grad():
            margins = torch.stack([model(*batch).logits.diff(dim=1).flatten() for model in (student, teacher)])
        return torch.corrcoef(margins)[0, 1].item()

    means = [
        sum(likeness(init, seed) for seed in range(3)) / 3 for init in (StudentInit.PRUNED_TEACHER, StudentInit.RANDOM)
    ]
    assert means[0] > means[1] + 0.3, means


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"hidden_size": 64}, r"`student.hidden_size` is 64, the teacher's is 32"),
        ({"attention_heads": 8}, r"`student.attention_heads` is 8, the teacher's is 4"),
        ({"attention_heads": 2}, r"head size .* is 16, the teacher's is 8"),
        ({"intermediate_size": 65}, r"`student.intermediate_size` is 65, the teacher's is 64"),
        ({"layers": 5}, r"the teacher has 4"),
    ],
)
def test_nothing_can_grow(shape: dict[str, int], message: str) -> None:
    """What the teacher does not have would be made up, or fail as an index error."""
    with pytest.raises(RecipeError, match=message):
        pruned(family_teacher("bert"), **shape)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # DeBERTa's own code
@pytest.mark.parametrize("name", sorted(set(families()) - set(PRUNABLE)))
def test_other_families_are_refused_by_name(name: str) -> None:
    """MPNet and DeBERTa share position weights by all layers, so heads cannot be chosen layer by layer."""
    teacher = family_teacher(name)
    with pytest.raises(RecipeError, match=f"`{teacher.encoder_config.model_type}` cannot be pruned"):
        pruned(teacher, hidden_size=16)


def test_a_projection_that_would_vanish_is_refused() -> None:
    """ELECTRA has none where embeddings and layers are equally wide; the teacher's would be dropped."""
    with pytest.raises(RecipeError, match="equals the teacher's embedding size"):
        pruned(family_teacher("electra-factorized"), hidden_size=16)
    pruned(family_teacher("electra-factorized"), hidden_size=24)


def test_a_teacher_of_one_classifier_per_domain_is_refused() -> None:
    """Pruned from the first member, the student would start as one domain's model without a word."""
    members = PerDomainClassifier([family_teacher("bert") for _ in CONFIG.domain_names])
    with pytest.raises(RecipeError, match="no shared layers"):
        build_student(members, StudentConfig(layers=2, init=StudentInit.PRUNED_TEACHER))


def test_shapes_can_be_checked_without_weights() -> None:
    """The checks before a run build everything without memory; a choice by value would fail there."""
    with torch.device("meta"):
        teacher = MultiDomainClassifier(build_encoder(BertConfig(**SIZES)), CONFIG)
        assert pruned(teacher, hidden_size=16).hidden_size == 16
