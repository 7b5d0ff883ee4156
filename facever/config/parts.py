"""What training runs and small-image tables share: networks, heads, SGD, schedules."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StrictModel(BaseModel):
    """Refuses unknown keys; its values stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkConfig(BaseModel):
    """A network of ``models.NETWORKS``; further keys are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = "resnet27"


class HeadConfig(BaseModel):
    """A head of ``heads.HEADS``; further keys are its keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str
    weight: float = Field(1.0, ge=0)
    sample: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the classes that a batch meets, the own ones always: for "
        "heads with class vectors and millions of people",
    )


class SGDConfig(StrictModel):
    """SGD, as the papers train."""

    learning_rate: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    nesterov: bool = False

    @model_validator(mode="after")
    def _check_nesterov(self) -> "SGDConfig":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got 0")
        return self


class ScheduleConfig(StrictModel):
    """How long to train and how the learning rate falls.

    The default is the IE paper's: 28,000 steps, divided by 10 at 16,000 and 24,000.
    ``factor`` scales all of them for shorter runs.
    """

    steps: int = Field(28_000, ge=1)
    drops: tuple[int, ...] = (16_000, 24_000)
    warmup: int = Field(
        0, ge=0, description="Steps of linear rise at the start, of any shape"
    )
    gamma: float = Field(1e-4, ge=0, description="A constant of the shape inverse.")
    power: float = Field(0.75, ge=0, description="A constant of the shape inverse.")
    factor: float = Field(1.0, gt=0, description="On steps, drops and warmup")
