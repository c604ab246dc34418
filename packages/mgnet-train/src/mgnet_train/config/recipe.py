"""A recipe: what is trained, and how: schedule, optimizer, augmentation. One frozen value with a hash.

Two runs with the same recipe hash, model, data set and seed are the same experiment, on whatever device and with whatever
execution (`mgnet_train.config.execution`) they are computed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mgnet_records.errors import InputError, unknown
from mgnet_records.run_result import recipe_sha256

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """How to train. Epochs are counted from 0; sizes are in pixels; `batch_size` is the global batch."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="the recipe's name")
    epochs: int = Field(gt=0, description="passes over the training images")
    batch_size: int = Field(gt=1, description="images of a training step, over all processes")
    accumulate: int = Field(default=1, gt=0, description="micro-batches that a batch is computed in, to save memory")
    lr: float = Field(gt=0, description="learning rate before any drop")
    schedule: Literal["steps", "cosine"] = Field(default="steps", description="how the learning rate falls")
    milestones: tuple[int, ...] = Field(default=(), description="epochs at whose start the rate drops, as 30,60,90")
    drop: float = Field(default=0.1, gt=0, le=1, description="factor of each drop")
    warmup_epochs: int = Field(default=0, ge=0, description="epochs of linear warm-up")
    momentum: Fraction = Field(default=0.9, description="momentum of SGD")
    nesterov: bool = Field(default=False, description="Nesterov momentum")
    weight_decay: float = Field(ge=0, description="weight decay (L2)")
    decay_norm_and_bias: bool = Field(default=True, description="weight decay on BatchNorm's scales and shifts and on biases too")
    init: Literal["torch", "kaiming"] = Field(
        description="weight initialization: PyTorch's, or Kaiming normal with fan-out for convolutions"
    )
    pad: int = Field(default=0, ge=0, description="random crop of the image padded with this many zero pixels on each side")
    flip: bool = Field(default=False, description="random horizontal flip")
    crop: Literal["whole", "resized"] = Field(default="whole", description="the whole image, or RandomResizedCrop to 224")
    label_smoothing: Fraction = Field(default=0.0, description="label smoothing of the training loss")
    mixup: float = Field(default=0.0, ge=0, description="mixup: alpha of the Beta distribution; 0 is off")
    ema_decay: Fraction = Field(default=0.0, description="decay of the moving average of the weights, which is tested; 0 is off")
    batchnorm: Literal["averaged", "sync"] = Field(
        default="averaged",
        description="of several processes: own batch statistics, with averaged running statistics, or SyncBatchNorm",
    )

    @field_validator("milestones", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if any(later <= earlier for earlier, later in zip((0, *self.milestones), self.milestones)):
            raise ValueError(f"milestones={self.milestones} must be positive and increasing")
        if self.schedule == "cosine" and self.milestones:
            raise ValueError(f"milestones={self.milestones} have no meaning for schedule=cosine: leave them out")
        if self.batch_size < 2 * self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate} leaves fewer than 2 images of batch_size={self.batch_size} in a "
                f"micro-batch: use at most {self.batch_size // 2}"
            )
        return self

    @property
    def sha256(self) -> str:
        """The hash of every field but the name, which changes nothing."""
        return recipe_sha256(self.model_dump(mode="json"))

    def with_overrides(self, overrides: dict[str, str]) -> Recipe:
        """The recipe with some fields given as text; the name then says that it is changed.

        Raises InputError for a field that does not exist or a value that it does not take.
        """
        for field in overrides:
            if field not in type(self).model_fields or field == "name":
                raise unknown("recipe field", field, set(type(self).model_fields) - {"name"})
        changed = _validated({**self.model_dump(), **overrides})
        if changed == self:
            return self
        return changed.model_copy(update={"name": self.name.removesuffix("+") + "+"})


def _validated(values: dict[str, Any]) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        place = f"recipe field {field}={first['input']!r}: " if field else "recipe: "
        raise InputError(place + first["msg"].removeprefix("Value error, ")) from None
