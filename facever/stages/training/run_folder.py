"""The folder of a training run: what lies there under which name."""

import hashlib
import json
from collections.abc import Iterator, Mapping
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
from facever.training.checkpoint import CHECKPOINT_FILE
from facever.training.fine_tuning import read_initial

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
LOG_FILE = "log.jsonl"
STARTS_FILE = "starts.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
_STEPS = "schedule.steps"

# Options that may change when a run goes on: places of files, how often something is
# written, and where and with which numbers to compute.
_FREE_OPTIONS: Any = {
    "data": {"crops", "people", "workers", "resident", "name", "licence"},
    "init": True,
    "teacher": True,
    "out": True,
    "log_every": True,
    "checkpoint_every": True,
    "keep_last": True,
    "milestones": True,
    "device": True,
    "precision": True,
    "compile": True,
    "tensorboard": True,
}


def write_config(config: TrainConfig) -> None:
    """Write the config as it was used, with every default spelled out."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    with whole_file(config.out / CONFIG_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def record_start(folder: Path, step: int, num_processes: int, precision: str) -> None:
    """Add a line on what a run starts with: versions, commit, machine and precision.

    Args:
        folder: The run's folder.
        step: The step from which the run goes on; 0 at the first start.
        num_processes: Number of processes of the job.
        precision: The numbers that the network computes with, bf16 or fp32.
    """
    line = {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": describe_versions(),
        "commit": describe_commit(),
        "machine": describe_machine(),
        "processes": num_processes,
        "precision": precision,
    }
    append_line(folder / STARTS_FILE, json.dumps(line))


def precisions_of_starts(folder: Path) -> list[str]:
    """The numbers of all starts of a run: bf16, fp32, or both.

    Empty for a run of an earlier version, whose starts do not say.
    """
    lines = (folder / STARTS_FILE).read_text(encoding="utf-8").splitlines()
    found = (json.loads(line).get("precision") for line in lines)
    return [name for name in dict.fromkeys(found) if name]


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


def check_same_run(config: TrainConfig) -> TrainConfig | None:
    """Refuse to go on with a run of another config, before anything is read.

    A run that is finished may be given more steps.

    Returns:
        The config that the run had before, if this one gives it more steps; else None.

    Raises:
        ConfigError: If the folder's checkpoint is of another config; the message names
            what differs.
    """
    if not (config.out / CHECKPOINT_FILE).exists():
        return None
    try:
        earlier = load_config(TrainConfig, config.out / CONFIG_FILE)
    except FaceverError:  # Lost or damaged: the checkpoint's fingerprint decides.
        return None
    old, new = (
        dict(_leaves(_deciding_options(each), "")) for each in (earlier, config)
    )
    is_finished = (config.out / MODEL_FILE).exists()
    has_more = config.schedule.steps > earlier.schedule.steps
    if is_finished and has_more and _differ_in(old, new) == {_STEPS}:
        return earlier
    changed = [
        f"{key}={old.get(key)} and not {new.get(key)}"
        for key in {**old, **new}
        if key in _differ_in(old, new)
    ]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ConfigError(
            f"{config.out} holds a run with {', '.join(changed[:3])}{more}; set "
            "out=... to a new folder, or delete the old run to start over"
        )
    return None


def _differ_in(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    return {key for key in {**old, **new} if old.get(key) != new.get(key)}


def _leaves(content: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Keys with dots between, as on the command line, and plain values."""
    if isinstance(content, dict | list) and content:
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, content


def run_fingerprint(
    config: TrainConfig, store: CropStore, teacher: str | None = None
) -> str:
    """A hash of everything that must be the same for a run to go on.

    Args:
        config: The run's config.
        store: Its crops.
        teacher: The fingerprint of the teacher, where there is one.
    """
    content = _deciding_options(config)
    # Runs from before these were known have the same hash where they do nothing.
    for option in ("mixup", "cutmix"):
        if not content["augmentation"][option]:
            del content["augmentation"][option]
    # What the files hold decides, not where they lie.
    content["crops"] = [store.fingerprint, len(store)]
    if config.init is not None:
        content["init"] = read_initial(config.init).fingerprint
    if teacher is not None:
        content["teacher"] = teacher
    if config.data.people is not None:
        people = read_people_list(config.data.people)
        content["people"] = [sorted(people.train), sorted(people.held_out)]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _deciding_options(config: TrainConfig) -> dict[str, Any]:
    """The options that decide the weights, without the places of files."""
    content = config.model_dump(mode="json", exclude=_FREE_OPTIONS)
    if config.schedule.shape != "plateau":
        del content["validate_every"], content["schedule"]["plateau"]
    return content
