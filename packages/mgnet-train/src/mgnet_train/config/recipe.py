"""A recipe: everything that decides how a network is trained, as one frozen value.

Two runs with the same recipe hash, model, data set and seed are the same experiment.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mgnet_train.canonical import canonical_hash
from mgnet_train.errors import UserError, unknown

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """How to train. Epochs are counted from 0; sizes are in pixels; `batch_size` is the global batch."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="the recipe's name")
    epochs: int = Field(gt=0, description="passes over the training images")
    batch_size: int = Field(gt=1, description="images in a step, over all processes")
    accumulate: int = Field(default=1, gt=0, description="parts a step's batch is computed in, to save memory")
    lr: float = Field(gt=0, description="learning rate before any drop")
    schedule: Literal["steps", "cosine"] = Field(default="steps", description="how the learning rate falls")
    milestones: tuple[int, ...] = Field(default=(), description="epochs at whose start the rate drops, as 30,60,90")
    drop: float = Field(default=0.1, gt=0, le=1, description="factor of each drop")
    warmup_epochs: int = Field(default=0, ge=0, description="epochs of linear warm-up")
    momentum: Fraction = Field(default=0.9, description="momentum of SGD")
    nesterov: bool = Field(default=False, description="Nesterov's form of the momentum")
    weight_decay: float = Field(ge=0, description="L2 decay")
    decay_norm_and_bias: bool = Field(default=True, description="decay BatchNorm's weights and all biases too")
    init: Literal["torch", "kaiming"] = Field(description="start of the convolutions: PyTorch's, or Kaiming normal fan-out")
    pad: int = Field(default=0, ge=0, description="random shift by up to this many pixels, zeros moving in")
    flip: bool = Field(default=False, description="mirror half of the images, left to right")
    crop: Literal["whole", "resized"] = Field(default="whole", description="the whole image, or RandomResizedCrop to 224")
    label_smoothing: Fraction = Field(default=0.0, description="label smoothing of the training loss")
    mixup: float = Field(default=0.0, ge=0, description="alpha of mixup's Beta distribution; 0 is off")
    ema_decay: Fraction = Field(default=0.0, description="decay of the averaged weights that are tested; 0 is off")
    batchnorm: Literal["averaged", "sync"] = Field(
        default="averaged", description="several processes: own batch statistics with averaged buffers, or SyncBatchNorm"
    )
    precision: Literal["auto", "exact", "fast"] = Field(default="auto", description="tier; auto is exact on CPU, fast on CUDA")
    layout: Literal["auto", "channels_last", "contiguous"] = Field(
        default="auto", description="memory layout, rounding only; auto is channels_last, but contiguous for exact on CUDA"
    )
    convolution: Literal["auto", "direct", "winograd"] = Field(
        default="auto", description="how wide 3x3 convolutions are computed, rounding only; auto is winograd on CPU"
    )
    memory: Literal["default", "lean", "leaner", "deep"] = Field(
        default="default", description="what a MgNet keeps for the backward pass; less of it takes more time"
    )
    form: Literal["residual", "literal"] = Field(default="residual", description="which form of a MgNet is executed")

    @field_validator("milestones", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if any(later <= earlier for earlier, later in zip((0, *self.milestones), self.milestones)):
            raise ValueError(f"milestones={self.milestones} must be positive and increasing")
        if self.schedule == "cosine" and self.milestones:
            raise ValueError(f"milestones={self.milestones} have no meaning for schedule=cosine")
        if self.form == "literal" and self.memory != "default":
            raise ValueError(f"memory={self.memory} is of the residual form: use form=residual")
        if self.batchnorm == "sync" and self.memory != "default":
            raise ValueError(f"memory={self.memory} repeats a BatchNorm of one process: use batchnorm=averaged")
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} leaves fewer than 2 images of batch_size={self.batch_size} in a part")
        return self

    @property
    def sha256(self) -> str:
        """The hash of every field that acts; the name does not."""
        return canonical_hash(self.model_dump(mode="json", exclude={"name"}))

    def with_overrides(self, overrides: dict[str, str]) -> Recipe:
        """The recipe with some fields given as text; the name then says that it is changed.

        Raises UserError for a field that does not exist or a value that it does not take.
        """
        for field in overrides:
            if field not in type(self).model_fields or field == "name":
                raise unknown("recipe field", field, set(type(self).model_fields) - {"name"})
        changed = _validated({**self.model_dump(), **overrides})
        if changed == self:
            return self
        return changed.model_copy(update={"name": self.name.removesuffix("+") + "+"})

    def resolved(self, device: str) -> Recipe:
        """The recipe with no `auto` left, for a device type (`cpu` or `cuda`)."""
        precision, layout, convolution = self.precision, self.layout, self.convolution
        if precision == "auto":
            precision = "exact" if device == "cpu" else "fast"
        if layout == "auto":  # float32 convolutions on CUDA gain nothing from channels_last
            layout = "contiguous" if precision == "exact" and device == "cuda" else "channels_last"
        if convolution == "auto":
            convolution = "winograd" if device == "cpu" else "direct"
        return self.model_copy(update={"precision": precision, "layout": layout, "convolution": convolution})


def _validated(values: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        place = f"recipe field {field}={first['input']!r}: " if field else "recipe: "
        raise UserError(place + first["msg"].removeprefix("Value error, ")) from None
