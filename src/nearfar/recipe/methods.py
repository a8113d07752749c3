"""The methods that learn from pictures, with the keys of their papers. The docstrings are their documentation.

Projectors and predictors are a tenth as wide as in the papers, which trained ResNet-50 on a million pictures; the docstrings say
what was published.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from nearfar.recipe.settings import Count, Fraction, Settings

Sharpness = Annotated[float, Strict(), Field(gt=0.0, le=10.0)]
Weight = Annotated[float, Strict(), Field(ge=0.0, le=10_000.0)]
Share = Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


class _OfPictures(Settings):
    """What a method asks of the rest of the recipe."""

    least_views: ClassVar[int] = 2
    """Views of full size of each picture; exactly so many, unless it is 1."""
    takes_crops: ClassVar[bool] = False
    """Whether smaller views besides are of use."""
    needs_labels: ClassVar[bool] = False
    """Whether it learns nothing without labels."""


class SimClr(_OfPictures):
    """Two views of a picture find each other among all other views of the batch (SimCLR, arXiv:2002.05709)."""

    kind: Literal["simclr"]
    temperature: Sharpness = 0.2
    """Divides the cosines; the paper has 0.5 for CIFAR-10, 0.1 for large batches."""
    projector: Widths = (256, 128)
    """Width of each layer after the encoder; the last is what the loss compares. The paper has 2048, 128."""


class MocoV2(_OfPictures):
    """A view finds the other view, embedded by a slow copy, among a queue of past ones (MoCo v2, arXiv:2003.04297)."""

    kind: Literal["moco_v2"]
    temperature: Sharpness = 0.2
    """Divides the cosines; as in the paper."""
    momentum: Fraction = 0.99
    """Share of its weights that the slow copy keeps at each step. The paper has 0.999 for a million steps; it should forget
    within a small part of the run."""
    queue: Count = 4_096
    """Keys of past steps that are negatives; the paper has 65,536. More than there are pictures is of no use."""
    symmetric: bool = False
    """Whether each view looks for the other, at twice the cost, or only the first for the second, as in the paper."""
    projector: Widths = (256, 128)
    """Width of each layer after the encoder, without BatchNorm; the paper has 2048, 128."""


class MocoV3(_OfPictures):
    """A prediction from a view finds the other view, embedded by a slow copy, in the batch (MoCo v3, arXiv:2104.02057)."""

    kind: Literal["moco_v3"]
    temperature: Sharpness = 0.2
    """Divides the cosines; the paper has 0.2 for transformers, 1.0 for ResNet-50."""
    momentum: Fraction = 0.99
    """Share of its weights that the slow copy keeps at the first step, from where it grows to 1; as in the paper."""
    projector: Widths = (512, 128)
    """Width of each layer after the encoder; the paper has 4096, 256."""
    predictor: Count = 512
    """Width of the hidden layer of the predictor; the paper has 4096."""


class Byol(_OfPictures):
    """Each view predicts what a slow copy of the encoder makes of the other; no negatives (BYOL, arXiv:2006.07733)."""

    kind: Literal["byol"]
    momentum: Fraction = 0.99
    """Share of its weights that the slow copy keeps at the first step, from where it grows to 1. The paper has 0.996 for
    1000 epochs, 0.99 for 300."""
    projector: Widths = (512, 128)
    """Width of each layer after the encoder; the paper has 4096, 256."""
    predictor: Count = 512
    """Width of the hidden layer of the predictor; the paper has 4096."""


class Swav(_OfPictures):
    """Each view predicts to which prototypes the other views were assigned; takes local crops (SwAV, arXiv:2006.09882)."""

    takes_crops: ClassVar[bool] = True

    kind: Literal["swav"]
    prototypes: Annotated[int, Strict(), Field(ge=2, le=10**6)] = 128
    """Directions that pictures are assigned to, all alike often: no more than pictures a step, or set `queue`. The paper has 3000."""
    temperature: Sharpness = 0.1
    """Divides the scores of the prediction; as in the paper."""
    epsilon: Sharpness = 0.05
    """Divides the scores of the assignment; the smaller, the harder it is. As in the paper."""
    sinkhorn_iterations: Count = 3
    """Rounds that make the use of the prototypes even; as in the paper."""
    freeze_prototypes: Share = 0.02
    """Share of the steps in which the prototypes do not move yet; the paper has the first epoch."""
    queue: Annotated[int, Strict(), Field(ge=0, le=10**7)] = 0
    """Pictures of past steps that are assigned along with those of the step, for batches that are small beside `prototypes`; the
    paper has 3840."""
    queue_start: Share = 0.1
    """Share of the steps before the queue begins to fill; it counts once it is full."""
    projector: Widths = (256, 128)
    """Width of each layer after the encoder; the paper has 2048, 128."""


class SimSiam(_OfPictures):
    """Each view predicts the other, whose gradient is stopped; neither negatives nor a copy (SimSiam, arXiv:2011.10566)."""

    kind: Literal["simsiam"]
    projector: Widths = (256, 256, 256)
    """Width of each layer after the encoder; the paper has 2048 three times."""
    predictor: Count = 64
    """Width of the hidden layer of the predictor, a quarter of the projector's last; the paper has 512."""


class BarlowTwins(_OfPictures):
    """Each feature agrees between two views and correlates with no other feature (Barlow Twins, arXiv:2103.03230)."""

    kind: Literal["barlow_twins"]
    off_diagonal: Weight = 0.005
    """Weight of the correlations between features, lambda; as in the paper."""
    projector: Widths = (512, 512, 512)
    """Width of each layer after the encoder; the paper has 8192 three times. Wide ones do better, up to the batch and beyond."""


class VicReg(_OfPictures):
    """Views agree, each feature keeps its spread, no feature repeats another (VICReg, arXiv:2105.04906)."""

    kind: Literal["vicreg"]
    invariance: Weight = 25.0
    """Weight of the distance between the views; as in the paper."""
    variance: Weight = 25.0
    """Weight of the spread that a feature lacks; as in the paper."""
    covariance: Weight = 1.0
    """Weight of what features have in common; as in the paper."""
    projector: Widths = (512, 512, 512)
    """Width of each layer after the encoder; the paper has 8192 three times."""


class SupCon(_OfPictures):
    """All views of all pictures of a label find each other (SupCon, arXiv:2004.11362); a picture without a label only its own."""

    needs_labels: ClassVar[bool] = True

    kind: Literal["sup_con"]
    temperature: Sharpness = 0.1
    """Divides the cosines; as in the paper."""
    projector: tuple[Count, ...] = (256, 128)
    """Width of each layer after the encoder, without BatchNorm; the paper has 2048, 128. `[]` compares what the encoder gives, which
    is what ships."""


class Nnclr(_OfPictures):
    """The nearest neighbour of one view, among past pictures, finds the other view in the batch (NNCLR, arXiv:2104.14548)."""

    kind: Literal["nnclr"]
    temperature: Sharpness = 0.1
    """Divides the cosines; as in the paper."""
    queue: Count = 4_096
    """Past pictures among which neighbours are looked for, the support set; the paper has 98,304."""
    projector: Widths = (512, 512, 128)
    """Width of each layer after the encoder; the paper has 2048, 2048, 256."""
    predictor: Count = 512
    """Width of the hidden layer of the predictor; the paper has 4096."""


class DenseCl(_OfPictures):
    """MoCo v2 on pictures and, besides, on the places of their maps: for detection and segmentation (DenseCL, arXiv:2011.09157)."""

    kind: Literal["densecl"]
    temperature: Sharpness = 0.2
    """Divides the cosines; as in the paper."""
    momentum: Fraction = 0.99
    """Share of its weights that the slow copy keeps at each step; the paper has 0.999 for many more steps."""
    queue: Count = 4_096
    """Keys of past steps that are negatives of pictures; the paper has 65,536."""
    dense_queue: Count = 1_024
    """The same for places, each the mean over one picture. There are as many queries as places, so this is what costs most where
    the encoder is small; the paper has 65,536."""
    dense_weight: Share = 0.5
    """Weight of the loss of places, lambda; that of pictures has the rest. As in the paper."""
    grid: Annotated[int, Strict(), Field(ge=1, le=64)] = 7
    """Places along a side; a larger map is pooled down to it. The paper has 7."""
    projector: Widths = (256, 128)
    """Width of each layer after the encoder, for pictures and for places alike; the paper has 2048, 128."""


class InstanceDiscrimination(_OfPictures):
    """Each picture finds its own slot in a memory bank of the corpus (arXiv:1805.01978); one view a picture is enough."""

    least_views: ClassVar[int] = 1

    kind: Literal["instance_discrimination"]
    temperature: Sharpness = 0.1
    """Divides the cosines; the paper has 0.07."""
    momentum: Fraction = 0.5
    """Share of a slot that stays when its picture comes up again; as in the paper."""
    sample: Count | None = 4_096
    """Slots of other pictures that are negatives at a step; `null` takes all. The paper has 4096."""
    proximal: Weight = 0.0
    """Weight of the squared distance from the own slot, which calms training while slots are seldom visited."""
    projector: Widths = (128,)
    """Width of each layer after the encoder; as in the paper."""


class Classifier(_OfPictures):
    """A linear layer on the encoder learns the labels: fine-tuning, or linear evaluation where the encoder is frozen."""

    least_views: ClassVar[int] = 1
    needs_labels: ClassVar[bool] = True

    kind: Literal["classifier"]
    frozen: bool = False
    """Train the linear layer alone."""
    encoder_rate: Share = 0.1
    """The encoder's learning rate, as a share of the linear layer's."""
    label_smoothing: Fraction = 0.0
    """Share of the target that is spread over all labels (arXiv:1512.00567)."""


AudioMethodSettings = (
    SimClr | MocoV2 | MocoV3 | Byol | SimSiam | BarlowTwins | VicReg | SupCon | Nnclr | InstanceDiscrimination
)
"""Those of them that need no map of places and no crops: for recordings as well."""

ImageMethodSettings = (
    SimClr
    | MocoV2
    | MocoV3
    | Byol
    | Swav
    | SimSiam
    | BarlowTwins
    | VicReg
    | SupCon
    | Nnclr
    | DenseCl
    | InstanceDiscrimination
    | Classifier
)
