"""Official models, written without vgray: state dicts with their keys, and what they compute."""

import math
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

Head = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
Body = Callable[[Tensor], tuple[Tensor, Tensor]]

# --- backbones: official key -> tensor, and what they make of images ---------------------------


def draw_statistics(network: nn.Module) -> nn.Module:
    """Give BatchNorm statistics and weights as after a training, so that none can be forgotten."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def without_token(network: nn.Module) -> Body:
    return lambda x: (network(x), x)


def children(name: str, dropped: int) -> tuple[dict[str, Tensor], Body]:
    """torchvision's children in a Sequential: CosPlace, EigenPlaces, the benchmark, BoQ."""
    network = draw_statistics(torchvision.models.get_model(name))
    layers = nn.Sequential(*list(network.children())[:-dropped])
    return layers.state_dict(), without_token(layers)


def vgg16(dropped: int) -> tuple[dict[str, Tensor], Body]:
    features = torchvision.models.get_model("vgg16", init_weights=False).features
    layers = nn.Sequential(*list(features.children())[:-dropped]).eval()
    for layer in layers:
        if isinstance(layer, nn.Conv2d):  # torch's own initialisation makes all images alike
            nn.init.kaiming_normal_(layer.weight)
    return layers.state_dict(), without_token(layers)


def gsv_resnet(name: str, cropped: list[int]) -> tuple[dict[str, Tensor], Body]:
    """torchvision's ResNet in ``model`` with layers set to None: GSV-Cities, MixVPR."""
    network = draw_statistics(torchvision.models.get_model(name))
    network.fc = None
    layers = [layer for layer in range(1, 5) if layer not in cropped]
    for layer in cropped:
        setattr(network, f"layer{layer}", None)
    parts = [network.conv1, network.bn1, network.relu, network.maxpool]
    body = nn.Sequential(*parts, *(getattr(network, f"layer{layer}") for layer in layers))
    state = {f"model.{key}": tensor for key, tensor in network.state_dict().items()}
    return state, without_token(body)


# --- heads: official key -> tensor, and the descriptor of a map and a token --------------------


def drawn(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Random tensors; ``__`` in a name is a dot in the key, and a leading ``_`` is left out."""
    return {
        name.removeprefix("_").replace("__", "."): torch.randn(shape) / math.sqrt(shape[-1])
        for name, shape in shapes.items()
    }


def unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=1)


def mixvpr(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    x = x.flatten(2)
    for i in range(len({key.split(".")[1] for key in h if key.startswith("mix.")})):
        at = f"mix.{i}.mix"
        y = functional.layer_norm(x, x.shape[2:], h[f"{at}.0.weight"], h[f"{at}.0.bias"])
        y = functional.linear(y, h[f"{at}.1.weight"], h[f"{at}.1.bias"]).relu()
        x = x + functional.linear(y, h[f"{at}.3.weight"], h[f"{at}.3.bias"])
    x = functional.linear(x.mT, h["channel_proj.weight"], h["channel_proj.bias"]).mT
    return unit(functional.linear(x, h["row_proj.weight"], h["row_proj.bias"]).flatten(1))


def mixvpr_head(channels: int, locations: int, hidden: int) -> dict[str, Tensor]:
    mixers: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        mixers |= {
            f"mix__{i}__mix__0__weight": (locations,), f"mix__{i}__mix__0__bias": (locations,),
            f"mix__{i}__mix__1__weight": (hidden, locations), f"mix__{i}__mix__1__bias": (hidden,),
            f"mix__{i}__mix__3__weight": (locations, hidden),
            f"mix__{i}__mix__3__bias": (locations,),
        }  # fmt: skip
    return drawn(
        **mixers,
        channel_proj__weight=(24, channels), channel_proj__bias=(24,),
        row_proj__weight=(2, locations), row_proj__bias=(2,),
    )  # fmt: skip


def convap(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    x = functional.conv2d(x, h["channel_pool.weight"], h["channel_pool.bias"])
    return unit(functional.adaptive_avg_pool2d(x, (2, 2)).flatten(1))


def mean_of(x: Tensor, p: Tensor) -> Tensor:
    return x.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)


def cosplace(p: str, fc: str) -> Head:
    def head(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
        pooled = mean_of(unit(x), h[p])
        return unit(functional.linear(pooled, h[f"{fc}.weight"], h[f"{fc}.bias"]))

    return head


def gem_of_normalised(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    return unit(mean_of(unit(x), h["1.p"]))


def gem(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    return unit(mean_of(x, h["0.p"]))


def netvlad(
    h: dict[str, Tensor], x: Tensor, token: Tensor, at: str = "", mask: Tensor | float = 1.0
) -> Tensor:
    x = unit(x)
    shares = functional.conv2d(x, h[f"{at}conv.weight"]).flatten(2).softmax(1) * mask
    residuals = x.flatten(2)[:, None] - h[f"{at}centroids"][None, :, :, None]
    return unit(functional.normalize((shares[:, :, None] * residuals).sum(3), dim=2).flatten(1))


def netvlad_and_fc(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    return unit(functional.linear(netvlad(h, x, token, "0."), h["1.weight"], h["1.bias"]))


def netvlad_of_tokens(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    x = unit(x.flatten(2))
    shares = functional.conv1d(x, h["conv.weight"]).softmax(1)
    residuals = x[:, None] - h["centroids"][None, :, :, None]
    return unit(functional.normalize((shares[:, :, None] * residuals).sum(3), dim=2).flatten(1))


def crn(h: dict[str, Tensor], x: Tensor, token: Tensor, at: str = "") -> Tensor:
    x = unit(x)
    small = functional.avg_pool2d(x, 3, stride=2, ceil_mode=True)
    context = [
        functional.conv2d(
            small, h[f"{at}crn.filter_{k}_{k}.weight"], h[f"{at}crn.filter_{k}_{k}.bias"],
            padding=k // 2,
        )
        for k in (3, 5, 7)
    ]  # fmt: skip
    context = torch.cat(context, 1).relu()
    mask = functional.conv2d(context, h[f"{at}crn.acc_w.weight"], h[f"{at}crn.acc_w.bias"]).relu()
    mask = functional.interpolate(mask, scale_factor=2, mode="bilinear").flatten(2)
    return netvlad(h, x, token, at, mask)


def crn_and_fc(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    return unit(functional.linear(crn(h, x, token, "0."), h["1.weight"], h["1.bias"]))


def crn_head(clusters: int, channels: int, at: str = "") -> dict[str, Tensor]:
    head = drawn(
        centroids=(clusters, channels), conv__weight=(clusters, channels, 1, 1),
        crn__acc_w__weight=(1, 84, 1, 1), crn__acc_w__bias=(1,),
        crn__filter_3_3__weight=(32, channels, 3, 3), crn__filter_3_3__bias=(32,),
        crn__filter_5_5__weight=(32, channels, 5, 5), crn__filter_5_5__bias=(32,),
        crn__filter_7_7__weight=(20, channels, 7, 7), crn__filter_7_7__bias=(20,),
    )  # fmt: skip
    return prefixed(head, at)


def salad(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    def perceptron(key: str) -> Tensor:
        hidden = functional.conv2d(x, h[f"{key}.0.weight"], h[f"{key}.0.bias"]).relu()
        return functional.conv2d(hidden, h[f"{key}.3.weight"], h[f"{key}.3.bias"]).flatten(2)

    local, scores = perceptron("cluster_features"), perceptron("score")
    batch, m, n = scores.shape
    plan = torch.cat([scores, h["dust_bin"].expand(batch, 1, n)], 1).double().exp()
    mass = torch.tensor([1.0] * m + [n - m], dtype=torch.float64)
    for _ in range(3):
        plan = plan * (mass / plan.sum(2))[:, :, None]
        plan = plan / plan.sum(1, keepdim=True)
    clusters = functional.normalize(local @ plan[:, :m].float().mT, dim=1).flatten(1)
    scene = functional.linear(token, h["token_features.0.weight"], h["token_features.0.bias"])
    scene = functional.linear(
        scene.relu(), h["token_features.2.weight"], h["token_features.2.bias"]
    )
    return unit(torch.cat([unit(scene), clusters], 1))


SALAD_HEAD = {
    "token_features__0__weight": (512, 384), "token_features__0__bias": (512,),
    "token_features__2__weight": (20, 512), "token_features__2__bias": (20,),
    "cluster_features__0__weight": (512, 384, 1, 1), "cluster_features__0__bias": (512,),
    "cluster_features__3__weight": (10, 512, 1, 1), "cluster_features__3__bias": (10,),
    "score__0__weight": (512, 384, 1, 1), "score__0__bias": (512,),
    "score__3__weight": (6, 512, 1, 1), "score__3__bias": (6,),
}  # fmt: skip


class OfficialBoQ(nn.Module):
    """Bag-of-Queries of torch's own layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        d, queries, layers, rows = 128, 10, 3, 6
        self.proj_c = nn.Conv2d(channels, d, 3, padding=1)
        self.norm_input = nn.LayerNorm(d)
        self.boqs = nn.ModuleList()
        for _ in range(layers):
            block = nn.Module()
            block.encoder = nn.TransformerEncoderLayer(d, d // 64, 4 * d, 0.0, batch_first=True)
            block.queries = nn.Parameter(torch.randn(1, queries, d))
            block.self_attn = nn.MultiheadAttention(d, d // 64, batch_first=True)
            block.norm_q = nn.LayerNorm(d)
            block.cross_attn = nn.MultiheadAttention(d, d // 64, batch_first=True)
            block.norm_out = nn.LayerNorm(d)
            self.boqs.append(block)
        self.fc = nn.Linear(layers * queries, rows)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_input(self.proj_c(x).flatten(2).mT)
        answers = []
        for block in self.boqs:
            x = block.encoder(x)
            q = block.queries.expand(len(x), -1, -1)
            q = block.norm_q(q + block.self_attn(q, q, q)[0])
            answers.append(block.norm_out(block.cross_attn(q, x, x)[0]))
        return unit(self.fc(torch.cat(answers, 1).mT).flatten(1))


def boq(h: dict[str, Tensor], x: Tensor, token: Tensor) -> Tensor:
    official = OfficialBoQ(x.shape[1]).eval()
    official.load_state_dict(h)
    return official(x)


# --- a whole model -----------------------------------------------------------------------------


def smallest_model() -> dict[str, Tensor]:
    """Conv-AP of GSV-Cities on the first layer of a ResNet-18, which makes a small file."""
    torch.manual_seed(0)
    backbone, _ = gsv_resnet("resnet18", [2, 3, 4])
    head = drawn(channel_pool__weight=(3, 64, 1, 1), channel_pool__bias=(3,))
    state = {f"backbone.{key}": tensor for key, tensor in backbone.items()}
    return {**state, **prefixed(head, "aggregator.")}


def prefixed(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {"".join(prefixes) + key: tensor for key, tensor in state.items()}
