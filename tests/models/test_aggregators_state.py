"""What an aggregator's weights are called, shaped and begin with: as published ones."""

from collections.abc import Callable

import pytest
import torch

from vgray.models.aggregators import (
    AGGREGATORS,
    CRN,
    RMAC,
    SALAD,
    Aggregator,
    Average,
    BoQ,
    ClassToken,
    ConvAP,
    CosPlace,
    GeM,
    Maximum,
    MixVPR,
    NetVLAD,
    SequencePool,
)

# Of the published implementations.
DEFAULTS: dict[str, tuple[Callable[[], Aggregator], dict[str, tuple[int, ...]]]] = {
    "avg": (Average, {}),
    "max": (Maximum, {}),
    "rmac": (RMAC, {}),
    "gem": (GeM, {"p": (1,)}),
    "netvlad": (NetVLAD, {"centroids": (64, 128), "conv.weight": (64, 128, 1, 1)}),
    "crn": (
        CRN,
        {
            "centroids": (64, 128),
            "conv.weight": (64, 128, 1, 1),
            "crn.filter_3_3.weight": (32, 128, 3, 3),
            "crn.filter_3_3.bias": (32,),
            "crn.filter_5_5.weight": (32, 128, 5, 5),
            "crn.filter_5_5.bias": (32,),
            "crn.filter_7_7.weight": (20, 128, 7, 7),
            "crn.filter_7_7.bias": (20,),
            "crn.acc_w.weight": (1, 84, 1, 1),
            "crn.acc_w.bias": (1,),
        },
    ),
    "cosplace": (
        lambda: CosPlace(in_dim=512, out_dim=128),
        {"gem.p": (1,), "fc.weight": (128, 512), "fc.bias": (128,)},
    ),
    "convap": (
        lambda: ConvAP(in_channels=256),
        {"channel_pool.weight": (512, 256, 1, 1), "channel_pool.bias": (512,)},
    ),
    "mixvpr": (
        MixVPR,
        {
            "mix.0.mix.0.weight": (400,),
            "mix.0.mix.0.bias": (400,),
            "mix.0.mix.1.weight": (400, 400),
            "mix.0.mix.1.bias": (400,),
            "mix.0.mix.3.weight": (400, 400),
            "mix.0.mix.3.bias": (400,),
            "channel_proj.weight": (512, 1024),
            "channel_proj.bias": (512,),
            "row_proj.weight": (4, 400),
            "row_proj.bias": (4,),
        },
    ),
    "boq": (
        BoQ,
        {
            "proj_c.weight": (512, 1024, 3, 3),
            "proj_c.bias": (512,),
            "norm_input.weight": (512,),
            "norm_input.bias": (512,),
            "fc.weight": (32, 64),
            "fc.bias": (32,),
        }
        | {
            f"boqs.{i}.{key}": shape
            for i in range(2)
            for key, shape in {
                "queries": (1, 32, 512),
                **{
                    f"{attention}.{key}": shape
                    for attention in ("encoder.self_attn", "self_attn", "cross_attn")
                    for key, shape in {
                        "in_proj_weight": (1536, 512),
                        "in_proj_bias": (1536,),
                        "out_proj.weight": (512, 512),
                        "out_proj.bias": (512,),
                    }.items()
                },
                "encoder.linear1.weight": (2048, 512),
                "encoder.linear1.bias": (2048,),
                "encoder.linear2.weight": (512, 2048),
                "encoder.linear2.bias": (512,),
                **{
                    f"{norm}.{key}": (512,)
                    for norm in ("encoder.norm1", "encoder.norm2", "norm_q", "norm_out")
                    for key in ("weight", "bias")
                },
            }.items()
        },
    ),
    "salad": (
        SALAD,
        {
            "dust_bin": (),
            "token_features.0.weight": (512, 1536),
            "token_features.0.bias": (512,),
            "token_features.2.weight": (256, 512),
            "token_features.2.bias": (256,),
            "cluster_features.0.weight": (512, 1536, 1, 1),
            "cluster_features.0.bias": (512,),
            "cluster_features.3.weight": (128, 512, 1, 1),
            "cluster_features.3.bias": (128,),
            "score.0.weight": (512, 1536, 1, 1),
            "score.0.bias": (512,),
            "score.3.weight": (64, 512, 1, 1),
            "score.3.bias": (64,),
        },
    ),
    "cls": (ClassToken, {}),
    "seqpool": (
        lambda: SequencePool(in_dim=384),
        {"attention_pool.weight": (1, 384), "attention_pool.bias": (1,)},
    ),
}


def test_keys_shapes_and_defaults_are_the_published_ones() -> None:
    seen = 0
    for name, (build_default, expected) in DEFAULTS.items():
        with torch.device("meta"):
            state = build_default().state_dict()
        assert {key: tuple(value.shape) for key, value in state.items()} == expected, name
        seen += 1
    assert seen == len(AGGREGATORS)


def test_what_training_begins_with() -> None:
    torch.manual_seed(0)
    crn = CRN(3, 16).crn
    assert not any(p.requires_grad for p in crn.acc_w.parameters())
    assert crn.acc_w.weight.unique().tolist() == [1]
    for layer in (crn.filter_3_3, crn.filter_5_5, crn.filter_7_7):
        fan = (layer.in_channels + layer.out_channels) * layer.kernel_size[0] ** 2
        assert layer.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.05)
        assert layer.bias.abs().max() == 0
    mixvpr = MixVPR(64, 8, 8, 64)
    for index in (1, 3):
        assert mixvpr.mix[0].mix[index].weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert mixvpr.mix[0].mix[index].bias.abs().max() == 0
    assert mixvpr.channel_proj.weight.std().item() == pytest.approx(0.072, rel=0.05)
    assert mixvpr.channel_proj.bias.abs().max() > 0
    assert (mixvpr.in_h, mixvpr.in_w) == (8, 8)
    assert SALAD().dust_bin.item() == 1
    assert GeM(p=5).p.item() == CosPlace(2, 2).gem.p.item() + 2 == 5
