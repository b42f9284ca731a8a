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


# Without layer4, and up to layer2 frozen: MixVPR, and the deep visual geo-localization benchmark.
LAYER3 = {"crop_last": 1, "train_from": 3}
# Everything learns, in a whole ResNet, without layer4, or without layer3 and layer4.
WHOLE, CUT, CUT_2 = ({"crop_last": crop, "train_from": 0} for crop in range(3))
# Of a transformer's twelve blocks the last four learn, or the last two.
LAST_4, LAST_2 = {"train_from": 9}, {"train_from": 11, "final_norm": False}

# The papers' by recall@1 on MSLS val, then the studies' by recall@1 on the test queries of SF-XS.
# Everything learns where freezing is not printed: bracco2024, and the benchmark's transformers.
PUBLISHED: list[dict[str, Any]] = [
    # Bag-of-Queries, DINOv2: 93.8
    _setting("dinov2_vitb14", "boq", LAST_2, proj_channels=384, num_queries=64, row_dim=32),
    _setting("dinov2_vitb14", "salad", LAST_4),  # SALAD: 92.2
    # Bag-of-Queries, ResNet-50, of which layer2 and layer3 learn: 91.2
    _setting(
        "resnet50", "boq", {"crop_last": 1, "train_from": 2},
        proj_channels=512, num_queries=64, row_dim=32,
    ),
    _setting("resnet50", "mixvpr", LAYER3, out_channels=1024, mix_depth=4, out_rows=4),  # 88.2
    # GSV-Cities, ConvAP on the whole network, up to layer2 frozen: 83.5
    _setting(
        "resnet50", "convap", {"crop_last": 0, "train_from": 3}, out_channels=1024, s1=2, s2=2
    ),
    # bracco2024, Figure 1: 53.1; curello2023, optimizers: 51.7, removed layers, 4: 41.1
    _setting("resnet18", "mixvpr", CUT, out_channels=256, mix_depth=4, out_rows=4),
    _setting("resnet18", "convap", CUT, out_channels=256, s1=2, s2=2),  # bracco2024, Figure 1: 41.2
    # alidousti2023, Table 6: 36.6; cut and frozen as the benchmark does by default, not printed
    _setting("resnet18", "netvlad", LAYER3, clusters_num=64),
    # curello2023, removed layers, none: 33.0
    _setting("resnet18", "mixvpr", WHOLE, out_channels=512, mix_depth=4, out_rows=4),
    # curello2023, aggregators: 32.8, 31.0
    _setting("resnet18", "convap", WHOLE, out_channels=512, s1=2, s2=2),
    _setting("resnet18", "gem", WHOLE),
    # curello2023, removed layers, 3 and 4: 30.8
    _setting("resnet18", "mixvpr", CUT_2, out_channels=128, mix_depth=4, out_rows=4),
    # curello2023, baseline and aggregators: 30.6, 30.1
    _setting("resnet18", "avg", WHOLE),
    _setting("resnet18", "cosplace", WHOLE, out_dim=512),
    # dashti2024, Table 3: 28.8, cut at "con3", which may also mean CUT_2;
    # bracco2024, Figure 1: 20.7
    _setting("resnet18", "gem", CUT),
    _setting("resnet18", "avg", CUT),  # bracco2024, Figure 1: 12.8
    _setting("resnet18", "gem", LAYER3),  # alidousti2023, Table 6: 12.0, as above
    # The benchmark, trained on MSLS: 85.1, 77.8, 77.7, 74.6, 69.3
    _setting("cct14_7x2_384", "netvlad", {"train_from": 0}, clusters_num=64),
    _setting("resnet50", "crn", LAYER3, clusters_num=64),
    _setting("resnet101", "netvlad", LAYER3, clusters_num=64),
    _setting("vgg16", "netvlad", {"train_from": 4}, clusters_num=64),
    _setting("vit_b_16", "cls", {"train_from": 0}),
]  # fmt: skip

RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
WITH_TOKEN = [
    "vit_b_16", "dinov2_vits14", "dinov2_vits14_reg", "dinov2_vitb14", "dinov2_vitb14_reg",
]  # fmt: skip
# How late the first block that learns may be; of VGG-16 the benchmark trains only the last one.
LATEST = {
    "vgg16": 4, "efficientnet_b0": 6, "mobilenet_v3_large": 11, "convnext_tiny": 3, "swin_t": 3,
    "cct14_7x2_224": 10, "cct14_7x2_384": 10,
}  # fmt: skip
NAMES = [*RESNETS, *LATEST, *WITH_TOKEN]


def suggest(trial: Any) -> None:
    """Draw a backbone, where it is cut, which of its blocks learn, and what pools a token."""
    name = trial.suggest_categorical("backbone.name", NAMES)
    suggest_blocks(trial, name)
    if name in WITH_TOKEN:
        trial.suggest_categorical("aggregator.name", ["gem", "salad", "cls"])


def suggest_blocks(trial: Any, name: str) -> None:
    """Draw where one backbone is cut, and which of its blocks learn."""
    if name in RESNETS:
        crop_last = trial.suggest_int("backbone.crop_last", 0, 2)
        trial.suggest_int("backbone.train_from", 0, min(3, 4 - crop_last))
    elif name in LATEST:
        trial.suggest_int("backbone.train_from", 0, LATEST[name])
    else:
        trial.suggest_int("backbone.train_from", 7, 12)
