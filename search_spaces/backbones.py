"""Which backbone, cut where, and how much of it should learn?

Convolutional networks are pooled by GeM; transformers with a class token also by SALAD, or by the
token alone. Compose with ``optimizers``: a transformer wants smaller steps than a ResNet.
"""

from typing import Any

BASE: dict[str, Any] = {"aggregator.name": "gem"}


def _setting(
    backbone: str, aggregator: str, cut: dict[str, Any], **more: float | bool
) -> dict[str, Any]:
    settings = {"backbone.name": backbone, "aggregator.name": aggregator}
    settings |= {f"backbone.{key}": value for key, value in cut.items()}
    return settings | {f"aggregator.{key}": value for key, value in more.items()}


# GSV-Cities and the deep visual geo-localization benchmark: layer4 left out, up to layer2 frozen.
GSV = {"crop_last": 1, "train_from": 3}
# Of a transformer's twelve blocks the last four learn, or the last two.
LAST_4, LAST_2 = {"train_from": 9}, {"train_from": 11, "final_norm": False}

# The papers' by recall@1 on MSLS val, then the studies' by recall@1 on the test queries of SF-XS.
PUBLISHED: list[dict[str, Any]] = [
    # Bag-of-Queries, DINOv2: 93.8
    _setting("dinov2_vitb14", "boq", LAST_2, proj_channels=384, num_queries=64, row_dim=32),
    _setting("dinov2_vitb14", "salad", LAST_4),  # SALAD: 92.2
    # Bag-of-Queries, ResNet-50: 91.2
    _setting("resnet50", "boq", GSV, proj_channels=512, num_queries=64, row_dim=32),
    _setting("resnet50", "mixvpr", GSV, out_channels=1024, mix_depth=4, out_rows=4),  # MixVPR: 88.2
    _setting("resnet50", "convap", GSV, out_channels=1024, s1=2, s2=2),  # ConvAP: 83.5
    # bracco2024, Figure 1: 53.1
    _setting("resnet18", "mixvpr", GSV, out_channels=256, mix_depth=4, out_rows=4),
    # curello2023, removed layers, 4: 41.1
    _setting("resnet18", "mixvpr", {"crop_last": 1}, out_channels=256, mix_depth=4, out_rows=4),
    _setting("resnet18", "netvlad", GSV, clusters_num=64),  # alidousti2023, Table 6: 36.6
    # curello2023, removed layers, none: 33.0
    _setting("resnet18", "mixvpr", {"crop_last": 0}, out_channels=512, mix_depth=4, out_rows=4),
    _setting("resnet18", "gem", {"crop_last": 0}),  # curello2023, aggregators: 31.0
    # curello2023, removed layers, 3 and 4: 30.8
    _setting("resnet18", "mixvpr", {"crop_last": 2}, out_channels=128, mix_depth=4, out_rows=4),
    _setting("resnet18", "gem", {"crop_last": 1}),  # dashti2024, Table 3: 28.8
    _setting("resnet18", "gem", GSV),  # bracco2024, Figure 1: 20.7; alidousti2023, Table 6: 12.0
    # The benchmark, trained on MSLS: 85.1, 77.8, 77.7, 74.6, 69.3
    _setting("cct14_7x2_384", "netvlad", {}, clusters_num=64),
    _setting("resnet50", "crn", GSV, clusters_num=64),
    _setting("resnet101", "netvlad", GSV, clusters_num=64),
    _setting("vgg16", "netvlad", {}, clusters_num=64),
    _setting("vit_b_16", "cls", {}),
]

RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
WITH_TOKEN = [
    "vit_b_16", "dinov2_vits14", "dinov2_vits14_reg", "dinov2_vitb14", "dinov2_vitb14_reg",
]  # fmt: skip
# How late the first block that learns may be; each leaves a third of the network or more.
LATEST = {
    "vgg16": 3, "efficientnet_b0": 6, "mobilenet_v3_large": 11, "convnext_tiny": 3, "swin_t": 3,
    "cct14_7x2_224": 10, "cct14_7x2_384": 10,
}  # fmt: skip


def suggest(trial: Any) -> None:
    """Draw a backbone, where it is cut, which of its blocks learn, and what pools a token."""
    name = trial.suggest_categorical("backbone.name", [*RESNETS, *LATEST, *WITH_TOKEN])
    if name in RESNETS:
        trial.suggest_int("backbone.crop_last", 0, 2)
        trial.suggest_int("backbone.train_from", 0, 2)
    elif name in LATEST:
        trial.suggest_int("backbone.train_from", 0, LATEST[name])
    else:
        trial.suggest_int("backbone.train_from", 7, 12)
        trial.suggest_categorical("aggregator.name", ["gem", "salad", "cls"])
