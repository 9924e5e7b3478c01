"""The models: a shared encoder with one classification head per domain, as teacher and as student."""

from __future__ import annotations

from hrkd.models.attention_scores import AttentionRecord
from hrkd.models.classifier import ClassifierConfig, ClassifierOutput, MultiDomainClassifier
from hrkd.models.per_domain import PerDomainClassifier
from hrkd.models.storage import Teacher, load_classifier, load_teacher, load_tokenizer, save_classifier
from hrkd.models.tokenizers import same_tokenizer

__all__ = [
    "AttentionRecord",
    "ClassifierConfig",
    "ClassifierOutput",
    "MultiDomainClassifier",
    "PerDomainClassifier",
    "Teacher",
    "load_classifier",
    "load_teacher",
    "load_tokenizer",
    "same_tokenizer",
    "save_classifier",
]
