"""One table of LFW accuracies: the same embeddings under every project's rule.

    python eval/lfw_rules.py --embeddings lfw-mobilefacenet-128d.npz --pairs pairs.txt

Judges the 6,000 pairs of View 2 by each rule of ``facever.verification.rules`` and
writes the table to a json, in a few seconds.
"""

import argparse
import hashlib
import json
from pathlib import Path

from facever.environment import describe_machine, describe_versions
from facever.inference.embeddings_file import read_embeddings
from facever.verification.protocols import read_lfw_pairs
from facever.verification.rules import MISSING_RULE, RuleResult, judge_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("eval/reference/lfw-mobilefacenet-rules.json"),
    )
    options = parser.parse_args()

    stored = read_embeddings(options.embeddings)
    pairs = read_lfw_pairs(options.pairs)
    results = judge_all(stored.embeddings, stored.images, pairs)
    print(f"{'rule':12} {'accuracy %':>10} {'spread':>7} {'thresholds':>16}")
    for result in results.values():
        print(_row(result))
    table = {
        "protocol": f"LFW View 2, {len(pairs):,} pairs, {pairs.num_folds} folds",
        "embeddings": _identify(options.embeddings),
        "pairs": _identify(options.pairs),
        "missing": {
            "rule": MISSING_RULE,
            "num_pairs": results["exact"].num_missing_pairs,
        },
        "rules": {name: _describe(result) for name, result in results.items()},
        "machine": describe_machine(),
        "versions": describe_versions(),
    }
    options.out.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _row(result: RuleResult) -> str:
    spread = "" if result.spread is None else f"{100 * result.spread:.3f}"
    thresholds = f"{result.thresholds.min():.4f}..{result.thresholds.max():.4f}"
    notes = [result.rule.measure]
    if result.spread is not None:
        notes.append(f"± {result.rule.spread_kind}")
    if result.rule.biased:
        notes.append("BIASED: threshold chosen on the tested pairs")
    numbers = f"{100 * result.accuracy:10.3f} {spread:>7} {thresholds:>16}"
    return f"{result.name:12} {numbers}  {', '.join(notes)}"


def _describe(result: RuleResult) -> dict[str, object]:
    rule = result.rule
    return {
        "accuracy": result.accuracy,
        "spread": result.spread,
        "spread_kind": rule.spread_kind,
        "biased": rule.biased,
        "measure": rule.measure,
        "thresholds": result.thresholds.tolist(),
        "accuracies": result.accuracies.tolist(),
        "description": rule.description,
        "source": rule.source,
    }


def _identify(path: Path) -> dict[str, str]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest}


if __name__ == "__main__":
    main()
