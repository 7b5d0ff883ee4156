"""What training runs and small-image tables share: networks, heads, SGD, schedules."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class StrictModel(BaseModel):
    """Refuses unknown keys; its values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkConfig(BaseModel):
    """The network to train. Further keys are the options of that network."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = Field("resnet27", description="The name of the network.")


class HeadConfig(BaseModel):
    """A head, which is a loss. Further keys are the options of that head."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str = Field(description="The name of the head.")
    weight: float = Field(
        1.0, ge=0, description="What the head's loss is multiplied by in the sum."
    )
    sample: float = Field(
        1.0,
        gt=0,
        le=1,
        description="The share of all classes that a batch is compared with; the "
        "classes of the batch are always among them. A share below 1 saves time and "
        "memory with millions of people. Only heads that learn a vector for each class "
        "can take one.",
    )


class SGDConfig(StrictModel):
    """Stochastic gradient descent."""

    learning_rate: float = Field(
        0.1, gt=0, description="The highest learning rate of the schedule."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="The momentum of SGD.")
    weight_decay: float = Field(
        5e-4,
        ge=0,
        description="The weight decay. Biases, normalisation and the centers of "
        "classes do not decay.",
    )
    nesterov: bool = Field(
        False, description="Whether the momentum of SGD is Nesterov's."
    )

    @model_validator(mode="after")
    def _check_nesterov(self) -> "SGDConfig":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got 0")
        return self


class ScheduleConfig(StrictModel):
    """How long to train and how the learning rate runs.

    The default is the IE paper's: 28,000 steps, divided by 10 at 16,000 and 24,000.
    """

    steps: int = Field(28_000, ge=1, description="The number of steps of the run.")
    drops: tuple[int, ...] = Field(
        (16_000, 24_000),
        description="The steps at which the learning rate is divided by 10, for the "
        "shape drops.",
    )
    warmup: int = Field(
        0,
        ge=0,
        description="The number of steps at the start during which the rate rises in a "
        "straight line, whatever the shape.",
    )
    gamma: float = Field(
        1e-4,
        ge=0,
        description="The gamma of the shape inverse, whose rate is "
        "learning_rate (1 + gamma step) ** -power.",
    )
    power: float = Field(0.75, ge=0, description="The power of the shape inverse.")
    factor: float = Field(
        1.0,
        gt=0,
        description="What steps, drops and warmup are multiplied by, for a shorter or "
        "longer run of the same course. The annealing of heads counts steps and stays "
        "as it is: set its gamma for the run.",
    )
