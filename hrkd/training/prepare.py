"""From a data set to tokenised splits, and to the training on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerFast

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Collator, TokenizedExamples
from hrkd.data.dataset import DomainDataset, Split
from hrkd.device import Device
from hrkd.evaluation import score
from hrkd.metrics import DomainScores
from hrkd.models import ClassifierConfig, Teacher
from hrkd.recipe import TrainingConfig
from hrkd.run_folder import RunFolder
from hrkd.training.scoring import shared_logits
from hrkd.training.stage_plan import Stage


@dataclass(frozen=True, slots=True)
class PreparedData:
    """The splits of a data set, tokenised for one tokenizer and length limit."""

    dataset: DomainDataset
    train: TokenizedExamples
    validation: TokenizedExamples
    test: TokenizedExamples

    def stage(
        self,
        name: str,
        input_hash: str,
        run: RunFolder,
        model: Teacher,
        config: TrainingConfig,
        device: Device,
        seed: int,
    ) -> Stage:
        """Return the training of ``model`` on these data, validated on their validation split."""
        num_domains = len(self.dataset.domain_names)
        return Stage(
            name=name,
            input_hash=input_hash,
            state_folder=run.training_state(name),
            domain_names=self.dataset.domain_names,
            examples=self.train,
            batches=DomainBatches(self.dataset.train, self.train.lengths, config.batch_size, num_domains, seed),
            validate=lambda: self.validation_scores(model, device),
            config=config,
            device=device,
        )

    def validation_scores(self, model: Teacher, device: Device) -> DomainScores:
        """Score a model on the validation split."""
        return score(shared_logits(model, self.validation, device), self.validation, self.dataset.domain_names)


def with_unlabelled(dataset: DomainDataset) -> DomainDataset:
    """Return the data set with its unlabelled texts among the training texts: what a student learns from."""
    if dataset.unlabelled is None:
        return dataset
    return replace(dataset, splits={**dataset.splits, Split.TRAIN: dataset.train.join(dataset.unlabelled)})


def prepare_data(dataset: DomainDataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> PreparedData:
    """Tokenise all splits, texts cut to ``max_length`` tokens."""
    collator = Collator(tokenizer, max_length)
    train, validation, test = map(collator.encode, (dataset.train, dataset.validation, dataset.test))
    return PreparedData(dataset, train, validation, test)


def classifier_config(dataset: DomainDataset, tokenizer: PreTrainedTokenizerFast, max_length: int) -> ClassifierConfig:
    """Return the configuration of a classifier for a data set."""
    return ClassifierConfig(
        domain_names=dataset.domain_names,
        label_names=dataset.label_names,
        max_length=max_length,
        text_pairs=dataset.has_pairs,
        separator_id=int(tokenizer.sep_token_id or 0),
    )
