"""The folder of a training run: what lies there under which name."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from facever.config.reading import load_config
from facever.config.training import TrainConfig
from facever.data.batches.people_list import read_people_list
from facever.data.store.crop_store import CropStore
from facever.environment import describe_commit, describe_machine, describe_versions
from facever.errors import ConfigError, FaceverError
from facever.files import append_line, whole_file
from facever.training.fine_tuning import read_initial

MODEL_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.pt"
CONFIG_FILE = "config.yaml"
LOG_FILE = "log.jsonl"
STARTS_FILE = "starts.jsonl"
TENSORBOARD_FOLDER = "tensorboard"

# Options that came after the first checkpoints were written. At its default an option
# leaves the fingerprint as it was, so that those runs still go on.
_LATER = {
    "": ("accumulate", "ema", "init", "frozen"),
    "optimiser": ("name", "betas", "clip", "decay_all"),
    "schedule": ("plateau",),
}


def write_config(config: TrainConfig) -> None:
    """Write the config as it was used, with every default spelled out."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    with whole_file(config.out / CONFIG_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def record_start(folder: Path, step: int, num_processes: int) -> None:
    """Add a line on what a run starts with: versions, commit and machine.

    Args:
        folder: Of the run.
        step: That it goes on from; 0 at the first start.
        num_processes: Of the job.
    """
    line = {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": describe_versions(),
        "commit": describe_commit(),
        "machine": describe_machine(),
        "processes": num_processes,
    }
    append_line(folder / STARTS_FILE, json.dumps(line))


def cut_log(path: Path, step: int) -> None:
    """Drop the lines of steps that a killed run logged after its last checkpoint."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            continue
    with whole_file(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def check_same_run(config: TrainConfig) -> None:
    """Refuse to go on with a run of another config, before anything is read.

    Raises:
        ConfigError: If the folder's checkpoint is of another, naming what differs.
    """
    if not (config.out / CHECKPOINT_FILE).exists():
        return
    try:
        earlier = load_config(TrainConfig, config.out / CONFIG_FILE)
    except FaceverError:  # Of another version, or lost: the checkpoint itself tells.
        return
    old, new = (dict(_leaves(_deciding(each), "")) for each in (earlier, config))
    changed = [
        f"{key}={old.get(key)} and not {new.get(key)}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ConfigError(
            f"{config.out} holds a run with {', '.join(changed[:3])}{more}; set "
            "out=... to a new folder, or delete the old run to start over"
        )


def _leaves(content: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Keys with dots between, as on the command line, and plain values."""
    if isinstance(content, dict | list) and content:
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, content


def run_fingerprint(config: TrainConfig, store: CropStore) -> str:
    """What must be equal for a checkpoint to be gone on from."""
    content = _deciding(config)
    if config.init is not None:  # The weights themselves, not their place.
        content["init"] = read_initial(config.init).fingerprint
    content["crops"] = [store.fingerprint, len(store)]
    # The list itself, not its place; without one, as before there were such lists.
    if config.data.people is not None:
        people = read_people_list(config.data.people)
        content["people"] = [sorted(people.train), sorted(people.held_out)]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _deciding(config: TrainConfig) -> dict[str, Any]:
    """The options that decide the weights, but for what their files hold."""
    free = {
        "out",
        "log_every",
        "checkpoint_every",
        "keep_last",
        "milestones",
        "device",
        "precision",
        "compile",
        "tensorboard",
    }
    if config.schedule.shape != "plateau":
        free.add("validate_every")
    content = config.model_dump(mode="json", exclude=free)
    for place in ("crops", "people", "workers", "resident", "name", "licence"):
        content["data"].pop(place)
    for section, names in _LATER.items():
        options = getattr(config, section) if section else config
        part = content[section] if section else content
        for name in names:
            if getattr(options, name) == type(options).model_fields[name].default:
                part.pop(name)
    content.pop("init", None)
    return content
