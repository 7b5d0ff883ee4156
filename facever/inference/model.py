"""A model in memory: a network, and all that it takes to use it rightly."""

from dataclasses import dataclass, replace

from facever.choices import Mirror
from facever.errors import ParameterError
from facever.faces.templates import Template
from facever.inference.header import ModelHeader
from facever.inference.network import Network


@dataclass(frozen=True)
class LoadedModel:
    """A model file in memory.

    Attributes:
        network: Computes features from crops.
        header: What the file says of itself.
        fingerprint: SHA-256 of everything that decides the embeddings, by which
            galleries and reports know the model; a new threshold leaves it as it is.
    """

    network: Network
    header: ModelHeader
    fingerprint: str

    @property
    def template(self) -> Template:
        """The crops that it takes."""
        template = self.header.find_template()
        assert template is not None
        return template

    @property
    def feature_size(self) -> int:
        """Dimensions of what the embedder gives, after the mirror rule."""
        copies = 2 if self.header.mirror == "concat" else 1
        return copies * self.header.embedding_size

    def with_mirror(self, mirror: Mirror | None) -> "LoadedModel":
        """The same model under another mirror rule; None keeps the file's.

        The threshold was set for the file's rule, so another rule has none. Its
        fingerprint is another too: its embeddings must not meet those of the file's.

        Raises:
            ParameterError: If the rule is unknown.
        """
        if mirror is None or mirror == self.header.mirror:
            return self
        if mirror not in ("sum", "concat", "none"):
            raise ParameterError(f"mirror must be sum, concat or none, got {mirror!r}")
        header = replace(
            self.header,
            mirror=mirror,
            threshold=None,
            threshold_far=None,
            thresholds=[],
            threshold_set_on=None,
            threshold_checked_on=None,
        )
        fingerprint = f"{self.fingerprint}+mirror={mirror}"
        return replace(self, header=header, fingerprint=fingerprint)
