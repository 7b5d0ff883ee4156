"""What the config of ``facever evaluate suite`` may say."""

from pydantic import Field, model_validator

from facever.choices import Measure, MissingRule
from facever.config.parts import StrictModel
from facever.config.tables import folder_name

COMPARED = "compared"
"""The folder, beside the models' own, in which a set's models stand side by side."""


class SetConfig(StrictModel):
    """A set of pairs, and where its photos are."""

    protocol: str = Field(
        "pairs",
        description="The command of facever evaluate that reads the set: lfw, pairs, "
        "cfp-ff, cfp-fp, bin or ytf.",
    )
    pairs: str = Field(
        description="The list of pairs; for bin the .bin file, for ytf splits.txt, for "
        "CFP the folder Protocol."
    )
    photos: str | None = Field(
        None, description="The folder of the photos, or for ytf of the frames."
    )
    crops: str | None = Field(
        None, description="A crop store of the photos, in the place of photos."
    )


class JudgingConfig(StrictModel):
    """How pairs are compared, for all models and sets."""

    pca: bool = Field(True, description="Whether to compare after a PCA, too.")
    measure: Measure = Field(
        "cosine", description="How two embeddings are compared: cosine or euclidean."
    )
    missing: MissingRule = Field(
        "reject",
        description="What becomes of a pair with a missing photo: reject, lowest or "
        "error.",
    )


class SuiteConfig(StrictModel):
    """Models and sets of pairs."""

    title: str = Field("Models on sets of pairs", description="The title of the page.")
    models: dict[str, str | dict[str, str]] = Field(
        min_length=1,
        description="Each model's name, and its file or the name of a ready model; or "
        "in the place of a file an .npz of embeddings for each set, by the set's name.",
    )
    sets: dict[str, SetConfig] = Field(
        min_length=1, description="Each set's name, and what it is."
    )
    baseline: str | None = Field(
        None,
        description="The model that the others are compared with, by default the "
        "first.",
    )
    judging: JudgingConfig = Field(
        JudgingConfig(), description="How pairs are compared and judged."
    )

    @model_validator(mode="after")
    def _check_names(self) -> "SuiteConfig":
        if self.baseline is not None and self.baseline not in self.models:
            raise ValueError(
                f"baseline must be one of the models ({', '.join(self.models)}), got "
                f"{self.baseline!r}"
            )
        for names in (self.models, self.sets):
            folders: dict[str, str] = {}
            for name in names:
                other = folders.setdefault(folder_name(name), name)
                if other != name:
                    raise ValueError(
                        f"{other!r} and {name!r} would share a folder: rename one"
                    )
        for name in self.models:
            if folder_name(name) == COMPARED:
                raise ValueError(
                    f"no model can be called {name!r}: the folder of that name holds "
                    "the models side by side"
                )
        for name, given in self.models.items():
            if isinstance(given, dict):
                unknown = [each for each in given if each not in self.sets]
                if unknown or not given:
                    raise ValueError(
                        f"models.{name} must name sets ({', '.join(self.sets)}), got "
                        f"{', '.join(unknown) or 'none'}"
                    )
        return self

    @property
    def baseline_model(self) -> str:
        """The model that the others are compared with."""
        return self.baseline or next(iter(self.models))
