"""A model card: the README.md beside a model file, for people."""

from pathlib import Path

import yaml

from facever.config.training import TrainConfig
from facever.environment import describe_commit, describe_versions
from facever.files import whole_file
from facever.stages.training.held_out import HeldOut
from facever.stages.training.run_folder import precisions_of_starts
from facever.stages.training.setup import PreparedRun
from facever.training.fine_tuning import read_initial

CARD_FILE = "README.md"

_SETTINGS = (
    "network",
    "heads",
    "optimiser",
    "schedule",
    "batch_size",
    "accumulate",
    "ema",
    "frozen",
    "augmentation",
    "mean",
    "mirror",
    "seed",
)


def write_card(
    config: TrainConfig, run: PreparedRun, model: Path, held_out: HeldOut | None
) -> None:
    """Write the card of a run that ended.

    Args:
        config: The run's config.
        run: The run as it was set up.
        model: The model file.
        held_out: What was measured on the held-out people; None if nobody is held out.
    """
    split = run.split
    versions = [f"{name} {number}" for name, number in describe_versions().items()]
    commit = describe_commit()
    num_weights = sum(weight.numel() for weight in run.network.parameters())
    settings = config.model_dump(mode="json", include=set(_SETTINGS))
    ordered = {name: settings[name] for name in _SETTINGS}
    text = f"""# {config.network.name} trained on {config.data.name}

A face embedding of {run.network.embedding_size} dimensions, {num_weights:,} weights.
`facever evaluate` and `facever gallery` take `{model.name}`; in Python:
`facever.load("{model.name}")`.

## Data

- {config.data.name}: {len(split.rows):,} crops of {split.num_classes:,} people.
- Licence of the data: {config.data.licence}.{_origin(config)}{_teacher(run)}
- Held out: {len(split.held_out):,} crops of people who are not in training.

## Results on the held-out people

{_results(held_out)}

They come from the same source as the training data. How well strangers of another
source are told apart is for `facever evaluate` to say.

## Settings

{run.schedule.steps:,} steps of {config.batch_size} crops{_classmates(config)}.
In training the network computed with {" and ".join(precisions_of_starts(config.out))}.

```yaml
{yaml.safe_dump(ordered, sort_keys=False).rstrip()}
```

## Made with

{", ".join(versions)}{f"; commit {commit}" if commit else ""}
"""
    with whole_file(config.out / CARD_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _results(held_out: HeldOut | None) -> str:
    if held_out is None:
        return "Nobody was held out, so nothing was measured and no threshold is set."
    found = held_out.found
    pairs = f"{found.num_genuine:,} genuine and {found.num_impostor:,} impostor pairs"
    if found.threshold is None or found.tar is None:
        return f"AUC {found.auc:.4f} over {pairs}. No threshold: {found.note}."
    return (
        f"AUC {found.auc:.4f} over {pairs}; {found.tar:.2%} of the genuine ones are "
        f"accepted at a false accept rate of {found.target_far:g}, above the "
        f"threshold {found.threshold:.4f}, which was set on these same pairs: on "
        f"{held_out.set_on}."
    )


def _origin(config: TrainConfig) -> str:
    """Whose weights it started from: their data and licence hold on."""
    if config.init is None:
        return ""
    initial = read_initial(config.init)
    return f"\n- It started from {initial.origin}, fingerprint {initial.fingerprint}."


def _teacher(run: PreparedRun) -> str:
    """Whose embeddings it learned: what that one was trained on has a part in it."""
    if run.teacher is None:
        return ""
    return (
        f"\n- It was taught by {run.teacher.origin}, fingerprint "
        f"{run.teacher.fingerprint}, and so by data beyond these crops."
    )


def _classmates(config: TrainConfig) -> str:
    count = config.data.photos_per_identity
    return "" if count is None else f", {count} of a person side by side"
