"""Official transformers, written without vgray: state dicts with their keys, and their features."""

import torch
from official_models import Body
from torch import Tensor
from torch.nn import functional


def dinov2(prefix: str, registers: int, norm: bool) -> tuple[dict[str, Tensor], Body]:
    """DINOv2 ViT-S/14, as its own code names and computes it: salad, Bag-of-Queries."""
    c, hidden = 384, 4 * 384
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, c), "pos_embed": (1, 1 + 37 * 37, c), "mask_token": (1, c),
        "patch_embed.proj.weight": (c, 3, 14, 14), "patch_embed.proj.bias": (c,),
        "norm.weight": (c,), "norm.bias": (c,),
    }  # fmt: skip
    if registers:
        shapes["register_tokens"] = (1, registers, c)
    for i in range(12):
        shapes |= {
            f"blocks.{i}.{key}": shape
            for key, shape in {
                "norm1.weight": (c,), "norm1.bias": (c,), "norm2.weight": (c,), "norm2.bias": (c,),
                "attn.qkv.weight": (3 * c, c), "attn.qkv.bias": (3 * c,),
                "attn.proj.weight": (c, c), "attn.proj.bias": (c,), "ls1.gamma": (c,),
                "mlp.fc1.weight": (hidden, c), "mlp.fc1.bias": (hidden,),
                "mlp.fc2.weight": (c, hidden), "mlp.fc2.bias": (c,), "ls2.gamma": (c,),
            }.items()
        }  # fmt: skip
    s = {key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}

    def normed(x: Tensor, key: str) -> Tensor:
        return functional.layer_norm(x, (c,), s[f"{key}.weight"], s[f"{key}.bias"], 1e-6)

    def linear(x: Tensor, key: str) -> Tensor:
        return functional.linear(x, s[f"{key}.weight"], s[f"{key}.bias"])

    def body(images: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.conv2d(
            images, s["patch_embed.proj.weight"], s["patch_embed.proj.bias"], stride=14
        )
        batch, _, h, w = x.shape
        grid = s["pos_embed"][:, 1:].reshape(1, 37, 37, c).permute(0, 3, 1, 2)
        how = (
            {"size": (h, w), "antialias": True}
            if registers
            else {"scale_factor": ((h + 0.1) / 37, (w + 0.1) / 37)}
        )
        grid = functional.interpolate(grid, mode="bicubic", **how)
        x = (x + grid).flatten(2).mT
        token = (s["cls_token"] + s["pos_embed"][:, :1]).expand(batch, -1, -1)
        extra = [s["register_tokens"].expand(batch, -1, -1)] if registers else []
        x = torch.cat([token, *extra, x], 1)
        for i in range(12):
            qkv = linear(normed(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv")
            q, k, v = qkv.unflatten(2, (3, c // 64, 64)).permute(2, 0, 3, 1, 4)
            attended = ((q @ k.mT / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
            x = x + s[f"blocks.{i}.ls1.gamma"] * linear(attended, f"blocks.{i}.attn.proj")
            inner = functional.gelu(linear(normed(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
            x = x + s[f"blocks.{i}.ls2.gamma"] * linear(inner, f"blocks.{i}.mlp.fc2")
        if norm:
            x = normed(x, "norm")
        return x[:, 1 + registers :].mT.unflatten(2, (h, w)), x[:, 0]

    return {f"{prefix}.{key}": tensor for key, tensor in s.items()}, body


def cct(blocks: int, side: int) -> tuple[dict[str, Tensor], Body]:
    """CCT-14/7x2 of the benchmark, cut to ``blocks``, for images of ``side`` * 16 pixels."""
    c, hidden = 384, 3 * 384
    shapes: dict[str, tuple[int, ...]] = {
        "tokenizer.conv_layers.0.0.weight": (64, 3, 7, 7),
        "tokenizer.conv_layers.1.0.weight": (c, 64, 7, 7),
        "classifier.positional_emb": (1, side * side, c),
        "classifier.attention_pool.weight": (1, c), "classifier.attention_pool.bias": (1,),
        "classifier.norm.weight": (c,), "classifier.norm.bias": (c,),
    }  # fmt: skip
    for i in range(blocks):
        shapes |= {
            f"classifier.blocks.{i}.{key}": shape
            for key, shape in {
                "pre_norm.weight": (c,), "pre_norm.bias": (c,), "norm1.weight": (c,),
                "norm1.bias": (c,), "self_attn.qkv.weight": (3 * c, c),
                "self_attn.proj.weight": (c, c), "self_attn.proj.bias": (c,),
                "linear1.weight": (hidden, c), "linear1.bias": (hidden,),
                "linear2.weight": (c, hidden), "linear2.bias": (c,),
            }.items()
        }  # fmt: skip
    s = {key: torch.randn(shape) * 0.05 for key, shape in shapes.items()}
    for key in s:  # they are in the residual path, which else would forget the image
        if key.endswith(("norm.weight", "norm1.weight")):
            s[key] += 1

    def normed(x: Tensor, key: str) -> Tensor:
        key = f"classifier.{key}"
        return functional.layer_norm(x, (c,), s[f"{key}.weight"], s[f"{key}.bias"])

    def linear(x: Tensor, key: str) -> Tensor:
        key = f"classifier.{key}"
        return functional.linear(x, s[f"{key}.weight"], s.get(f"{key}.bias"))

    def body(images: Tensor) -> tuple[Tensor, Tensor]:
        x = images
        for i in range(2):
            weight = s[f"tokenizer.conv_layers.{i}.0.weight"]
            x = functional.conv2d(x, weight, stride=2, padding=3).relu()
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        x = x.flatten(2).mT + s["classifier.positional_emb"]
        for i in range(blocks):
            qkv = linear(normed(x, f"blocks.{i}.pre_norm"), f"blocks.{i}.self_attn.qkv")
            q, k, v = qkv.unflatten(2, (3, 6, c // 6)).permute(2, 0, 3, 1, 4)
            attended = ((q @ k.mT / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
            x = x + linear(attended, f"blocks.{i}.self_attn.proj")
            x = normed(x, f"blocks.{i}.norm1")
            inner = functional.gelu(linear(x, f"blocks.{i}.linear1"))
            x = x + linear(inner, f"blocks.{i}.linear2")
        x = normed(x, "norm")
        return x.mT.unflatten(2, (side, side)), x[:, 0]

    return s, body
