"""What a network is made of: backbone, attention, aggregator, projection, scales."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, field_validator

from vgray.recipe.settings import PositiveFloat, Settings
from vgray.settings import known_names

Channels: TypeAlias = Annotated[int, Field(ge=1, le=65536)] | None
"""Channels of the feature map that comes in; left out, they are what the backbone gives."""
Side: TypeAlias = Annotated[int, Field(ge=1, le=4096)] | None
"""Height or width of the feature map that comes in; left out, it is what the backbone gives."""

# --- backbone ----------------------------------------------------------------------------------


class _Backbone(Settings):
    name: str
    weights: str = "pretrained"
    """``pretrained`` (published, downloaded), ``none`` (random), or a .safetensors or .pth file."""
    crop_last: int = Field(0, ge=0)
    """How many blocks are left out at the end; of a ResNet 1 crops before layer4."""
    train_from: int = Field(0, ge=0)
    """The first block that learns; the ones before it keep their weights."""

    @field_validator("weights")
    @classmethod
    def _imagenet_is_pretrained(cls, weights: str) -> str:
        # The word of recipes made before there were networks pretrained on anything else.
        return "pretrained" if weights == "imagenet" else weights


class _BatchNormed(_Backbone):
    update_frozen_statistics: bool = True
    """Whether BatchNorm statistics follow the images in blocks that do not learn, as published."""


class ResNet(_BatchNormed):
    """ResNet of torchvision; its blocks are the stem (0) and layer1 to layer4 (1 to 4)."""

    name: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet18"
    crop_last: int = Field(1, ge=0)
    """1 crops before layer4, as the published trainings do; 2 before layer3."""


class MobileNet(_BatchNormed):
    """EfficientNet or MobileNetV3 of torchvision; a block is a stage."""

    name: Literal[
        "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
        "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
        "mobilenet_v3_small", "mobilenet_v3_large",
    ] = "efficientnet_b0"  # fmt: skip


class PlainNet(_Backbone):
    """A torchvision network without BatchNorm; a block is a stage."""

    name: Literal[
        "vgg16", "convnext_tiny", "convnext_small", "convnext_base", "swin_t", "swin_s", "swin_b"
    ] = "vgg16"


class Transformer(_Backbone):
    """Vision transformer; its blocks are the embedding (0) and the transformer's own (from 1)."""

    name: Literal[
        "vit_b_16", "dinov2_vits14", "dinov2_vitb14", "dinov2_vits14_reg", "dinov2_vitb14_reg",
        "cct14_7x2_224", "cct14_7x2_384",
    ] = "vit_b_16"  # fmt: skip
    final_norm: bool = True
    """Whether the last block's output is normalised; Bag-of-Queries leaves it as it is."""


class Timm(_BatchNormed):
    """Any model of timm that gives feature maps: ``timm/<model>``."""

    name: str = Field("timm/resnet18", pattern=r"^timm/.+")


def _backbone_class(values: Any) -> str | None:
    name = values.get("name") if isinstance(values, dict) else getattr(values, "name", None)
    if name is None:
        return None
    if str(name).startswith("timm/"):
        return Timm.__name__
    known = (ResNet, MobileNet, PlainNet, Transformer)
    return next((cls.__name__ for cls in known if name in known_names(cls)), str(name))


Backbone: TypeAlias = Annotated[
    Annotated[ResNet, Tag(ResNet.__name__)]
    | Annotated[MobileNet, Tag(MobileNet.__name__)]
    | Annotated[PlainNet, Tag(PlainNet.__name__)]
    | Annotated[Transformer, Tag(Transformer.__name__)]
    | Annotated[Timm, Tag(Timm.__name__)],
    Discriminator(_backbone_class),
]

# --- attention ---------------------------------------------------------------------------------


class NoAttention(Settings):
    """The feature map as the backbone gives it."""

    name: Literal["none"] = "none"


class CBAM(Settings):
    """Convolutional block attention: channels first, then locations."""

    name: Literal["cbam"] = "cbam"
    reduction: int = Field(16, ge=1, le=4096)
    kernel_size: Literal[1, 3, 5, 7, 9, 11] = 7


class NonLocal(Settings):
    """Non-local block (embedded Gaussian)."""

    name: Literal["non_local"] = "non_local"
    reduction: int = Field(2, ge=1, le=4096)


class SecondOrderAttention(Settings):
    """SOLAR's second-order attention block."""

    name: Literal["soa"] = "soa"
    reduction: int = Field(4, ge=1, le=4096)


class AdaptiveAttention(Settings):
    """AdAGeo's attention: the activation map of the most probable class."""

    name: Literal["adageo"] = "adageo"
    num_classes: int = Field(1000, ge=1, le=100_000)


Attention: TypeAlias = Annotated[
    NoAttention | CBAM | NonLocal | SecondOrderAttention | AdaptiveAttention,
    Field(discriminator="name"),
]

# --- aggregator --------------------------------------------------------------------------------


class Average(Settings):
    """Mean of the feature map (SPoC)."""

    name: Literal["avg"] = "avg"


class Maximum(Settings):
    """Maximum of the feature map (MAC)."""

    name: Literal["max"] = "max"


class RMAC(Settings):
    """Sum of the maxima of regions on several scales."""

    name: Literal["rmac"] = "rmac"
    levels: int = Field(3, ge=1, le=10)


class GeM(Settings):
    """Generalised mean with a learned exponent."""

    name: Literal["gem"] = "gem"
    p: float = Field(3.0, ge=1, le=100)
    eps: PositiveFloat = 1e-6


class _Clusters(Settings):
    name: str
    clusters_num: int = Field(64, ge=2, le=1024)
    dim: Channels = None
    normalize_input: bool = True


class NetVLAD(_Clusters):
    """Residuals to learned clusters, found by k-means before training."""

    name: Literal["netvlad"] = "netvlad"


class CRN(_Clusters):
    """NetVLAD with contextual reweighting."""

    name: Literal["crn"] = "crn"


class CosPlace(Settings):
    """GeM of normalised features, and a linear layer."""

    name: Literal["cosplace"] = "cosplace"
    in_dim: Channels = None
    out_dim: int = Field(512, ge=2, le=65536)


class ConvAP(Settings):
    """A 1x1 convolution, averaged in ``s1`` x ``s2`` cells."""

    name: Literal["convap"] = "convap"
    in_channels: Channels = None
    out_channels: int = Field(512, ge=1, le=65536)
    s1: int = Field(2, ge=1, le=64)
    s2: int = Field(2, ge=1, le=64)


class MixVPR(Settings):
    """Feature mixing; made for one size of the feature map."""

    name: Literal["mixvpr"] = "mixvpr"
    in_channels: Channels = None
    in_h: Side = None
    in_w: Side = None
    out_channels: int = Field(512, ge=1, le=65536)
    mix_depth: int = Field(4, ge=1, le=32)
    mlp_ratio: float = Field(1.0, gt=0, le=16)
    out_rows: int = Field(4, ge=1, le=4096)


class BoQ(Settings):
    """Bag of learned queries; heads of 64 channels each."""

    name: Literal["boq"] = "boq"
    in_channels: Channels = None
    proj_channels: int = Field(512, ge=64, le=8192, multiple_of=64)
    num_queries: int = Field(32, ge=1, le=4096)
    num_layers: int = Field(2, ge=1, le=32)
    row_dim: int = Field(32, ge=1, le=4096)


class SALAD(Settings):
    """Optimal transport of local features to clusters, beside the class token."""

    name: Literal["salad"] = "salad"
    num_channels: Channels = None
    num_clusters: int = Field(64, ge=1, le=1024)
    cluster_dim: int = Field(128, ge=1, le=8192)
    token_dim: int = Field(256, ge=1, le=65536)
    dropout: float = Field(0.3, ge=0, lt=1)


class ClassToken(Settings):
    """The transformer's class token."""

    name: Literal["cls"] = "cls"


class SequencePool(Settings):
    """Mean of the locations, weighted by learned attention (Compact Transformers)."""

    name: Literal["seqpool"] = "seqpool"
    in_dim: Channels = None


Aggregator: TypeAlias = Annotated[
    Average | Maximum | RMAC | GeM | NetVLAD | CRN | CosPlace | ConvAP | MixVPR | BoQ | SALAD
    | ClassToken | SequencePool,
    Field(discriminator="name"),
]  # fmt: skip

# --- behind the aggregator ---------------------------------------------------------------------


class Projection(Settings):
    """A linear layer behind the aggregator."""

    dim: int = Field(512, ge=2, le=65536)


class _Scales(Settings):
    name: str
    scales: tuple[Annotated[float, Field(ge=0.1, le=4)], ...] = Field(
        (1.0, 0.7071, 0.5), min_length=1, max_length=16
    )
    """Of the image's sides; the default is cnnimageretrieval-pytorch's."""


class ScaleAverage(_Scales):
    """The mean of the descriptors of all scales."""

    name: Literal["average"] = "average"


class ScalePowerMean(_Scales):
    """The generalised mean of the descriptors of all scales."""

    name: Literal["power_mean"] = "power_mean"
    p: float = Field(3.0, ge=1, le=100)


class ScaleConcatenation(_Scales):
    """The descriptors of all scales side by side."""

    name: Literal["concatenate"] = "concatenate"


MultiScale: TypeAlias = Annotated[
    ScaleAverage | ScalePowerMean | ScaleConcatenation, Field(discriminator="name")
]
