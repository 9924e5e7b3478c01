"""What `hrkd run` refuses before anything is trained, although only a late stage would stumble over it."""

from __future__ import annotations

from pathlib import Path

from hrkd.artifact import read_stage
from hrkd.data.check import check_dataset
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.errors import ArtifactError, MissingExtraError, RecipeError
from hrkd.models import ClassifierConfig, MultiDomainClassifier, Teacher, load_tokenizer
from hrkd.models.encoder import build_encoder, read_config, resolve_base
from hrkd.models.student import build_student
from hrkd.models.tokenizers import check_same_tokenizer
from hrkd.recipe import ExportConfig, Quantization, Recipe, TeacherConfig
from hrkd.run_folder import RunFolder
from hrkd.training.general_texts import general_texts
from hrkd.training.objective import DistillationObjective
from hrkd_cli.data import token_counter
from hrkd_cli.extras import is_installed
from hrkd_cli.output import Output
from hrkd_export.runtime_versions import check_operators, newest_opset
from hrkd_export.target import resolve_target


def check_before_work(recipe: Recipe, run: RunFolder, output: Output, *, overwrite: bool) -> None:
    """Check data, pretrained models, shapes and the run folder, and say what the data is.

    Raises:
        DataError: The data cannot be used.
        CheckpointError: The teacher's base or the adopted classifier does not exist or is no encoder.
        RecipeError: The student does not fit the teacher.
        ExportError: There is no such target, or no such version of the runtime.
        MissingExtraError: The engine of the export is not installed.
        ArtifactError: A student would be left over from another teacher.
    """
    if recipe.student.per_domain:
        raise RecipeError(
            "`student.per_domain` makes one model per domain, which is a baseline and no single graph to export",
            hint="use `hrkd teacher` and `hrkd distill` for it",
        )
    sources = _sources(recipe.teacher)
    folders = [resolve_base(source) for source in sources]
    if read_stage(run.teacher) is None and run.student.exists() and not overwrite:
        raise ArtifactError(
            f"`{run.student}` exists without its teacher, and a new teacher would not be the one it learned from",
            hint="choose another `name` in the recipe, or pass --overwrite to replace it",
        )
    _check_export(recipe.export)
    dataset = load_dataset(recipe.data)
    if len(folders) == 1:
        _check_student(recipe, Path(folders[0]), dataset)
    report = check_dataset(dataset, token_counter(sources[0], output), recipe.data.max_length)
    output.note(f"data: {report.source}, {report.size} examples of {len(report.domains)} domains")
    for problem in report.problems():
        output.note(f"data: {problem}")


def _check_export(config: ExportConfig) -> None:
    """Refuse a target or a runtime that does not exist, and an engine that is not installed."""
    newest_opset(config.opset, config.runtime_version)
    check_operators(config.quantize, config.runtime_version)
    if config.quantize is None:
        return
    resolve_target(config.target, config.targets)
    if config.quantize is Quantization.INT8_OPENVINO and not (is_installed("nncf") and is_installed("openvino")):
        raise MissingExtraError("quantising for OpenVINO", "openvino")


def _sources(teacher: TeacherConfig) -> list[str]:
    """Return the pretrained models that the teacher comes from."""
    if isinstance(teacher.adopt, dict):
        return list(teacher.adopt.values())
    return [str(teacher.adopt or teacher.base)]


def _check_student(recipe: Recipe, base: Path, dataset: DomainDataset) -> None:
    """Build teacher, student and objective without weights: their own checks say whether they fit each other."""
    import torch

    names = ClassifierConfig(dataset.domain_names, dataset.label_names, recipe.data.max_length)
    checkpoint = recipe.student.checkpoint
    with torch.device("meta"):
        teacher = MultiDomainClassifier(build_encoder(read_config(base)), names)
        student: Teacher
        if checkpoint is None:
            student = build_student(teacher, recipe.student)
        else:
            student = MultiDomainClassifier(build_encoder(read_config(Path(resolve_base(checkpoint)))), names)
        DistillationObjective(teacher, student, recipe.method)
    if checkpoint is not None and not recipe.student.own_tokenizer:
        check_same_tokenizer(load_tokenizer(str(base)), checkpoint)
    if recipe.student.general is not None:
        general_texts(recipe.student.general, dataset, on_disk=recipe.data.on_disk)
