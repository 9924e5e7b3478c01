"""Fixtures shared by all tests: tiny inputs, made once per session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiny import make_encoder, make_rows, write_jsonl

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Keep torch from spinning on cores that other test processes use."""
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 4-layer, 32-wide BERT folder with tokenizer."""
    return make_encoder(tmp_path_factory.mktemp("encoder") / "tiny-bert")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file with three domains of 80 learnable texts each."""
    return write_jsonl(tmp_path_factory.mktemp("data") / "reviews.jsonl", make_rows())
