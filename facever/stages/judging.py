"""How a user wants pairs to be compared and judged."""

from dataclasses import dataclass

from facever.errors import ParameterError
from facever.stages.features import Features
from facever.verification.evaluation import (
    Evaluation,
    MissingRule,
    evaluate_pairs,
)
from facever.verification.markup import Setting
from facever.verification.pair_scores import Measure
from facever.verification.pca import default_num_components
from facever.verification.protocols import PairList
from facever.verification.rule_judging import RuleResult, judge, judge_all
from facever.verification.rules import RULES


@dataclass(frozen=True)
class Judging:
    """How pairs are compared and judged.

    Attributes:
        pca: Whether to compare after a PCA too. It is fitted for each fold on the
            others, and its number is the headline then.
        pca_components: Dimensions to keep, by default half of the embedding size.
        whiten: Scale the PCA's components to variance 1.
        subtract_mean: Subtract the other folds' mean in the comparison without a PCA.
        measure: ``cosine`` or ``euclidean``.
        missing: What becomes of pairs with a missing photo: ``reject``, ``lowest`` or
            ``error``, see ``evaluate_pairs``.
        protocol: ``exact``, another project's rule in ``RULES``, or ``all`` of them; a
            table shows the others beside our own.
    """

    pca: bool = True
    pca_components: int | None = None
    whiten: bool = False
    subtract_mean: bool = False
    measure: Measure = "cosine"
    missing: MissingRule = "reject"
    protocol: str = "exact"

    def check(self) -> None:
        """Refuse what does not go together, with a ParameterError."""
        if self.pca_components is not None and (
            not self.pca or self.pca_components < 1
        ):
            raise ParameterError(
                "pca_components must be at least 1, and not given without PCA, got "
                f"{self.pca_components}"
            )
        if self.whiten and not self.pca:
            raise ParameterError("whiten needs a PCA")
        if self.protocol not in (*RULES, "all"):
            raise ParameterError(
                f"protocol must be {', '.join(RULES)} or all, got {self.protocol!r}"
            )

    def evaluate(self, features: Features, pairs: PairList) -> dict[str, Evaluation]:
        """The comparisons by name, the headline first."""
        plain = f"{self.measure}, mean subtracted" * self.subtract_mean or self.measure
        choices: dict[str, int | None] = {plain: None}
        if self.pca:
            size = features.embeddings.shape[1]
            kept = self.pca_components or default_num_components(size)
            white = " whitened" if self.whiten else ""
            choices = {f"PCA to {kept}{white}, {self.measure}": kept, **choices}
        return {
            name: evaluate_pairs(
                features.embeddings,
                features.images,
                pairs,
                kept,
                measure=self.measure,
                whiten=self.whiten and kept is not None,
                subtract_mean=self.subtract_mean,
                missing_rule=self.missing,
            )
            for name, kept in choices.items()
        }

    def other_rules(self, features: Features, pairs: PairList) -> dict[str, RuleResult]:
        """What the protocol asks for beside our own rule."""
        if self.protocol == "exact":
            return {}
        arguments = features.embeddings, features.images, pairs
        if self.protocol == "all":
            return judge_all(*arguments)
        return {name: judge(*arguments, name) for name in ("exact", self.protocol)}

    def settings(self, size: int) -> dict[str, Setting]:
        """What a report says of it."""
        kept = self.pca_components or default_num_components(size)
        pca = (
            f"to {kept} of {size} dimensions, fitted for each fold on the photos of "
            f"the others{', whitened' if self.whiten else ''}"
        )
        return {
            "embedding_size": size,
            "similarity": self.measure,
            "pca": pca if self.pca else None,
            "thresholds": "all midpoints between neighbouring scores of the other "
            "folds, the mean of the best ones",
            "missing_photos": {
                "reject": "their pairs score lowest and are rejected",
                "lowest": "their pairs score as the least similar pair does",
                "error": "none is allowed",
            }[self.missing],
        }


EXACT = Judging()
