"""One classifier per domain, each with its own encoder, behind the interface of a single one: teacher or baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from hrkd.errors import CheckpointError
from hrkd.models.attention_scores import AttentionRecord
from hrkd.models.classifier import ClassifierConfig, ClassifierOutput, MultiDomainClassifier


class PerDomainClassifier(nn.Module):
    """Sends each row to its domain's own model.

    Args:
        members: One model per domain, in domain order, of one shape; each knows all domains and is asked for its own.

    Raises:
        CheckpointError: The members differ in depth, width or heads, so no student layer could imitate all of them.
    """

    def __init__(self, members: Sequence[MultiDomainClassifier]) -> None:
        super().__init__()
        shapes = {
            (member.num_layers, member.hidden_size, int(member.encoder_config.num_attention_heads))
            for member in members
        }
        if len(shapes) > 1:
            raise CheckpointError(
                f"the classifiers per domain differ in (layers, width, heads): {sorted(shapes)}",
                hint="bring classifiers of one architecture",
            )
        self.members = nn.ModuleList(members)
        self.config: ClassifierConfig = members[0].config
        self.encoder_config: PretrainedConfig = members[0].encoder_config
        self.num_domains = len(members)
        self.num_layers = members[0].num_layers
        self.hidden_size = members[0].hidden_size

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        domain_ids: Tensor,
        *,
        hidden_states: bool = False,
        attention_layers: Sequence[int] = (),
    ) -> ClassifierOutput:
        """Classify a batch that may mix domains; see :meth:`MultiDomainClassifier.forward`.

        Raises:
            ValueError: A domain id is unknown; there is no shared encoder to average over.
        """
        if bool((domain_ids < 0).any()):
            raise ValueError("one classifier per domain cannot answer for an unknown domain")
        outputs, rows = [], []
        for domain in domain_ids.unique().tolist():
            own = (domain_ids == domain).nonzero().squeeze(1)
            rows.append(own)
            outputs.append(
                self.members[domain](
                    input_ids[own],
                    attention_mask[own],
                    domain_ids[own],
                    hidden_states=hidden_states,
                    attention_layers=attention_layers,
                )
            )
        order = torch.cat(rows).argsort()

        def join(parts: Sequence[Tensor]) -> Tensor:
            return torch.cat(list(parts))[order]

        return ClassifierOutput(
            join([output.logits for output in outputs]),
            tuple(map(join, zip(*(output.hidden_states for output in outputs)))),
            tuple(
                AttentionRecord(*map(join, zip(*records))) for records in zip(*(output.attention for output in outputs))
            ),
        )
