"""Is a difference between groups more than chance? Groups dealt again at random.

If a group says nothing about errors, people could be in any other as well. So the
groups are *dealt* again, many times: every person stays whole, with all of his pairs,
and people exchange what they are. A person whose photos are in several groups (of
cameras, say) exchanges with those who are in as many, and which of his photos go into
which of the groups is drawn, too. The p-value is the share of deals that give a
difference as large as the real one, the real one counted among them.

Two groups are compared by dealing these two alone. The difference of their rates is
divided by its standard error in the same deal, as a test by permutation needs where the
groups are unlike in more than their rates (Janssen, 1997; Chung and Romano, 2013): the
error that people's own residuals give, or that of independent pairs if this is larger.
For false matches the pairs within one group are compared: after another deal other
pairs are within one. Where a list has hardly any pairs across two groups, of which one
is much smaller than the other, a deal leaves the smaller one hardly a pair, and says
nothing about it: then there is no test.

References:
    Janssen, Studentized permutation tests for non-i.i.d. hypotheses, 1997.
    Phipson and Smyth, Permutation p-values should never be zero, 2010.
    Chung and Romano, Exact and asymptotically robust permutation tests, 2013.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import csr_array

# Labels of so many members and deals at a time stay in the caches.
_BLOCK = 1 << 18

# A deal must leave a group this share of its pairs, or it is no likeness of the group.
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class Members:
    """The people of a list of pairs, once for each group that photos of them are in.

    Attributes:
        person: The person of each member.
        group: The group of each member; no two of one person are in one group.
    """

    person: Int64[np.ndarray, " members"]
    group: Int64[np.ndarray, " members"]

    def deal(
        self, num_deals: int, rng: np.random.Generator
    ) -> Iterator[Int64[np.ndarray, "members some"]]:
        """The group of each member in each deal, some deals at a time."""
        order = np.lexsort((self.group, self.person))
        _, starts, counts = np.unique(
            self.person[order], return_index=True, return_counts=True
        )
        # People who are in as many groups exchange them: rows of one width.
        hands = [
            order[starts[counts == width][:, None] + np.arange(width)]
            for width in np.unique(counts)
        ]
        step = max(1, _BLOCK // max(1, len(order)))
        for first in range(0, num_deals, step):
            size = min(step, num_deals - first)
            dealt = np.empty((len(order), size), np.int64)
            for rows in hands:
                everybody = np.tile(np.arange(len(rows)), (size, 1))
                groups = self.group[rows][rng.permuted(everybody, axis=1)]
                if rows.shape[1] > 1:
                    groups = rng.permuted(groups, axis=2)
                dealt[rows] = groups.transpose(1, 2, 0)
            yield dealt


@dataclass(frozen=True)
class GroupSums:
    """What each group has in each deal.

    Attributes:
        errors: Number of errors.
        pairs: Number of pairs.
        square: The variance of the number of errors, from people's residuals.
    """

    errors: Float64[np.ndarray, "groups deals"]
    pairs: Float64[np.ndarray, "groups deals"]
    square: Float64[np.ndarray, "groups deals"]

    @property
    def rates(self) -> Float64[np.ndarray, "groups deals"]:
        """Errors over pairs; NaN without a pair."""
        with np.errstate(invalid="ignore"):
            rates: Float64[np.ndarray, "groups deals"] = self.errors / self.pairs
        return rates

    def differences(self) -> Float64[np.ndarray, " deals"]:
        """How many standard errors the rates of two groups are apart; 0 if unknown."""
        with np.errstate(invalid="ignore", divide="ignore"):
            overall = self.errors.sum(axis=0) / self.pairs.sum(axis=0)
            independent = overall * (1 - overall) / self.pairs
            variance = np.maximum(independent, self.square / self.pairs**2).sum(axis=0)
            apart = np.abs(self.rates[0] - self.rates[1]) / np.sqrt(variance)
        return np.where(np.isfinite(apart), apart, 0.0)


@dataclass(frozen=True)
class MemberPairs:
    """How many pairs and errors there are of each two members, and of each alone.

    A member alone has the genuine pairs within one group.

    Attributes:
        num_members: Number of members.
        first: A member of each two, or the one alone.
        second: The other member, or the same.
        errors: Number of their errors.
        pairs: Number of their pairs, at least 1.
    """

    num_members: int
    first: Int64[np.ndarray, " couples"]
    second: Int64[np.ndarray, " couples"]
    errors: Float64[np.ndarray, " couples"]
    pairs: Float64[np.ndarray, " couples"]

    @classmethod
    def of(
        cls,
        wrong: Bool[np.ndarray, " pairs"],
        left: Int64[np.ndarray, " pairs"],
        right: Int64[np.ndarray, " pairs"],
        num_members: int,
    ) -> "MemberPairs":
        """Count the pairs by the members on them."""
        low, high = np.minimum(left, right), np.maximum(left, right)
        couples, place = np.unique(low * num_members + high, return_inverse=True)
        errors = np.bincount(place, wrong, len(couples))
        pairs = np.bincount(place, minlength=len(couples)).astype(np.float64)
        return cls(
            num_members, couples // num_members, couples % num_members, errors, pairs
        )

    def within(
        self, dealt: Int64[np.ndarray, "members deals"], num_groups: int
    ) -> GroupSums:
        """The pairs whose members are both in one group, for each deal."""
        found = [self._within(dealt == group) for group in range(num_groups)]
        errors, pairs, square = (np.array(each) for each in zip(*found, strict=True))
        return GroupSums(errors, pairs, square)

    def _within(
        self, inside: Bool[np.ndarray, "members deals"]
    ) -> tuple[Float64[np.ndarray, " deals"], ...]:
        members = inside.astype(np.float64)
        both = members[self.first]
        both *= members[self.second]
        num_errors, num_pairs, *once = self._sums_of_couples @ both
        errors, pairs = self._matrices
        wrong = np.flatnonzero(np.diff(errors.indptr))
        of_pairs = (pairs @ members) * members
        of_errors = (errors[wrong] @ members) * members[wrong]
        # A person's residual is errors - rate * pairs. Its square is taken apart, so
        # that most members, who have no error, are passed over once. What two members
        # have in common was counted for each of them.
        twice = (
            np.einsum("md,md->d", of_errors, of_errors),
            np.einsum("md,md->d", of_errors, of_pairs[wrong]),
            np.einsum("md,md->d", of_pairs, of_pairs),
        )
        squares = [one - other for one, other in zip(twice, once, strict=True)]
        with np.errstate(invalid="ignore"):
            rate = num_errors / num_pairs
        square = squares[0] - 2 * rate * squares[1] + rate**2 * squares[2]
        return num_errors, num_pairs, square

    @cached_property
    def _sums_of_couples(self) -> Float64[np.ndarray, "5 couples"]:
        """Errors and pairs; of two members also their squares and their product."""
        of_two = (self.first != self.second) * np.array(
            [self.errors**2, self.errors * self.pairs, self.pairs**2]
        )
        return np.concatenate([[self.errors, self.pairs], of_two])

    @cached_property
    def _matrices(self) -> tuple[csr_array, csr_array]:
        """Errors and pairs as symmetric matrices."""
        two = self.first != self.second
        ends = (
            np.append(self.first, self.second[two]),
            np.append(self.second, self.first[two]),
        )
        shape = self.num_members, self.num_members
        errors, pairs = (
            csr_array((np.append(each, each[two]), ends), shape=shape)
            for each in (self.errors, self.pairs)
        )
        errors.eliminate_zeros()
        return errors, pairs


@dataclass(frozen=True)
class DealtTest:
    """Whether two groups have different rates.

    Attributes:
        difference: The rate of the first less that of the second.
        p_value: Share of deals in which the two are as many standard errors apart, the
            real groups counted among them, so never 0.
    """

    difference: float
    p_value: float


def compare_two_groups(
    members: Members, pairs: MemberPairs, num_deals: int, seed: int
) -> DealtTest | None:
    """Compare the rates within two groups.

    Args:
        members: The members of both groups, which are 0 and 1.
        pairs: Their pairs.
        num_deals: Number of deals, at least 1.
        seed: Seed of the deals.

    Returns:
        The test; None where a group has no pair, or half of the deals leave it less
        than a quarter of its pairs.
    """
    real = pairs.within(members.group[:, None], 2)
    if not real.pairs.all():
        return None
    rng = np.random.default_rng(seed)
    # Deals that are alike in all that counts may differ in the last bit.
    bound = real.differences()[0] * (1 - 1e-9)
    as_far = 0
    num_pairs = []
    for labels in members.deal(num_deals, rng):
        dealt = pairs.within(labels, 2)
        as_far += int(np.count_nonzero(dealt.differences() >= bound))
        num_pairs.append(dealt.pairs)
    usual = np.median(np.concatenate(num_pairs, axis=1), axis=1)
    if (usual < _LEAST_SHARE * real.pairs[:, 0]).any():
        return None
    first, second = real.rates[:, 0].tolist()
    return DealtTest(first - second, (as_far + 1) / (num_deals + 1))
