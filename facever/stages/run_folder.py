"""The folder of a training run: what lies there under which name."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import yaml

from facever.config.training import TrainConfig
from facever.data.crops import CropStore
from facever.data.people_list import read_people_list
from facever.environment import (
    describe_commit,
    describe_machine,
    describe_versions,
)
from facever.files import append_line, whole_file
from facever.inference.model_file import load_model

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


def run_fingerprint(config: TrainConfig, store: CropStore) -> str:
    """What must be equal for a checkpoint to be gone on from."""
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
    for free_of_data in ("crops", "workers", "resident"):
        content["data"].pop(free_of_data)
    for section, names in _LATER.items():
        options = getattr(config, section) if section else config
        place = content[section] if section else content
        for name in names:
            if getattr(options, name) == type(options).model_fields[name].default:
                place.pop(name)
    if config.init is not None:  # The weights themselves, not their place.
        content["init"] = load_model(config.init).fingerprint
    content["crops"] = [store.fingerprint, len(store)]
    # The list itself, not its place; without one, as before there were such lists.
    content["data"].pop("people")
    if config.data.people is not None:
        people = read_people_list(config.data.people)
        content["people"] = [sorted(people.train), sorted(people.held_out)]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
