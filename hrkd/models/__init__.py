"""The models: a shared encoder with one classification head per domain, as teacher and as student."""

from __future__ import annotations

from hrkd.models.classifier import ClassifierConfig, ClassifierOutput, MultiDomainClassifier
from hrkd.models.storage import load_classifier, load_tokenizer, save_classifier

__all__ = [
    "ClassifierConfig",
    "ClassifierOutput",
    "MultiDomainClassifier",
    "load_classifier",
    "load_tokenizer",
    "save_classifier",
]
