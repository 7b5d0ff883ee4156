"""How a user wants pairs to be compared and judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facever.choices import Measure, MissingRule, Rule
from facever.errors import ParameterError, TooFewImagesError
from facever.progress import progress_bar
from facever.stages.evaluation.features import Features
from facever.verification.evaluation import Evaluation, evaluate_pairs
from facever.verification.groups.attributes import PairGroups, read_groups
from facever.verification.groups.comparison import (
    DEFAULT_GROUPS_FAR,
    GroupComparison,
    compare_groups,
    num_tests,
)
from facever.verification.pca import default_num_components
from facever.verification.protocols import PairList
from facever.verification.reporting.markup import Setting
from facever.verification.roc import too_few_impostors
from facever.verification.rules import RULES, RuleResult, judge, judge_all


@dataclass(frozen=True)
class Judged:
    """Pairs that were compared in one way or in several.

    Attributes:
        evaluations: All numbers by the name of the comparison, the headline first.
        warnings: What was left out, and why, a line each.
    """

    evaluations: dict[str, Evaluation]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judging:
    """How pairs are compared and judged.

    Attributes:
        pca: Whether to compare after a PCA too. It is fitted for each fold on the
            others, and its number is the headline then.
        pca_components: Number of dimensions that the PCA keeps, by default half of the
            embedding size; where there are too few images for the default, the PCA is
            left out.
        whiten: Whether to scale the PCA's components to variance 1.
        subtract_mean: Whether to subtract the other folds' mean in the comparison
            without a PCA.
        measure: How two embeddings are compared: ``cosine`` or ``euclidean``.
        missing: What becomes of pairs with a missing photo: ``reject``, ``lowest`` or
            ``error``, see ``evaluate_pairs``.
        rule: ``exact`` is our own rule alone; the name of another in ``RULES``, or
            ``all`` of them, adds a table with the numbers under that rule.
        groups: A CSV file of photos or people and their groups, see ``read_groups``,
            whose error rates are compared; None compares none.
        groups_far: The false accept rate over all impostor pairs that gives the groups'
            threshold, by default 0.001.
        quality: Names of qualities of photos, or CSV files of them, for the curves of
            errors against discarded photos; see ``find_qualities``.
    """

    pca: bool = True
    pca_components: int | None = None
    whiten: bool = False
    subtract_mean: bool = False
    measure: Measure = "cosine"
    missing: MissingRule = "reject"
    rule: Rule = "exact"
    groups: str | Path | None = None
    groups_far: float | None = None
    quality: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse options that exclude each other or are out of range.

        Raises:
            ParameterError: If an option is given that cannot be used there.
        """
        if self.pca_components is not None and (
            not self.pca or self.pca_components < 1
        ):
            raise ParameterError(
                "pca_components must be at least 1, and not given without PCA, got "
                f"{self.pca_components}"
            )
        if self.whiten and not self.pca:
            raise ParameterError("whiten needs a PCA; leave out --no-pca or --whiten")
        if self.rule not in (*RULES, "all"):
            raise ParameterError(
                f"rule must be {', '.join(RULES)} or all, got {self.rule!r}"
            )
        if self.groups_far is not None and (
            self.groups is None or not 0 < self.groups_far < 1
        ):
            raise ParameterError(
                "groups_far must be in (0, 1), and not given without groups, got "
                f"{self.groups_far}"
            )

    def evaluate(self, features: Features, pairs: PairList) -> Judged:
        """Compare the pairs as asked, with and without a PCA.

        Raises:
            TooFewImagesError: If there are too few images for the ``pca_components``
                given.
        """
        plain = f"{self.measure}, mean subtracted" * self.subtract_mean or self.measure
        found = {plain: self._evaluate(features, pairs, None)}
        if not self.pca:
            return Judged(found)
        kept = self._num_components(features.embeddings.shape[1])
        white = " whitened" if self.whiten else ""
        try:
            after_pca = self._evaluate(features, pairs, kept)
        except TooFewImagesError as error:
            if self.pca_components is not None:
                raise
            return Judged(found, (f"the PCA is left out: {error}",))
        return Judged({f"PCA to {kept}{white}, {self.measure}": after_pca, **found})

    def other_rules(self, features: Features, pairs: PairList) -> dict[str, RuleResult]:
        """The pairs under the rules that are asked for in addition to our own."""
        if self.rule == "exact":
            return {}
        arguments = features.embeddings, features.images, pairs
        if self.rule == "all":
            return judge_all(*arguments)
        return {name: judge(*arguments, name) for name in ("exact", self.rule)}

    def read_groups(self, pairs: PairList) -> PairGroups | None:
        """The groups of the pairs' photos, where a file is given.

        Raises:
            ParameterError: If there are too few impostor pairs for ``groups_far``.
            FaceverError: If the file cannot be read or is not of its form.
        """
        if self.groups is None:
            return None
        num_impostor = len(pairs) - int(np.count_nonzero(pairs.same))
        if note := too_few_impostors(num_impostor, self._groups_far):
            raise ParameterError(f"groups: {note}; give a higher groups_far")
        return read_groups(Path(self.groups), pairs)

    def compare_groups(
        self, evaluations: Mapping[str, Evaluation], groups: PairGroups | None
    ) -> GroupComparison | None:
        """The error rates of groups in the first evaluation."""
        if groups is None:
            return None
        name, headline = next(iter(evaluations.items()))
        with progress_bar("groups", num_tests(groups), "comparisons") as advance:
            return compare_groups(
                name, headline, groups, self._groups_far, advance=advance
            )

    @property
    def _groups_far(self) -> float:
        return DEFAULT_GROUPS_FAR if self.groups_far is None else self.groups_far

    def settings(
        self,
        size: int,
        evaluations: Mapping[str, Evaluation],
        fitted_on: str = "for each fold on the photos of the others",
    ) -> dict[str, Setting]:
        """What a report says about how pairs were compared.

        Args:
            size: Number of dimensions of an embedding.
            evaluations: The evaluations that ``evaluate`` returned.
            fitted_on: In words, which photos the PCA was fitted on.
        """
        has_pca = any(one.pca_components is not None for one in evaluations.values())
        pca = (
            f"to {self._num_components(size)} of {size} dimensions, fitted {fitted_on}"
            f"{', whitened' if self.whiten else ''}"
        )
        return {
            "embedding_size": size,
            "similarity": self.measure,
            "pca": pca if has_pca else None,
            "thresholds": "all midpoints between neighbouring scores of the other "
            "folds, the mean of the best ones",
            "missing_photos": {
                "reject": "their pairs score lowest and are rejected",
                "lowest": "their pairs score as the least similar pair does",
                "error": "none is allowed",
            }[self.missing],
        }

    def _num_components(self, size: int) -> int:
        return self.pca_components or default_num_components(size)

    def _evaluate(
        self, features: Features, pairs: PairList, num_components: int | None
    ) -> Evaluation:
        return evaluate_pairs(
            features.embeddings,
            features.images,
            pairs,
            num_components,
            measure=self.measure,
            whiten=self.whiten and num_components is not None,
            subtract_mean=self.subtract_mean,
            missing_rule=self.missing,
        )


EXACT = Judging()
"""Cosine with and without a PCA, by our own rule."""
