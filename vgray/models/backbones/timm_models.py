"""Any model of timm that gives maps of features."""

import contextlib
import copy
import difflib
import functools
import inspect
import io
import logging
from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn

from vgray.errors import UserError
from vgray.models.backbones.base import Backbone, Features, require_blocks, require_multiple
from vgray.models.state_dicts import strip_prefixes
from vgray.models.weights import read_weights_file, require_finite, some
from vgray.recipe.fit import nearest_sizes


class Timm(Backbone):
    """``timm/<model>``: (B, 3, H, W) -> the last map that is kept, maybe a class token.

    Blocks are the stages that timm lists as features, each with all that comes before it; of a
    plain vision transformer they are the embedding (0) and its own blocks (from 1), and the output
    is normalised. A model made for one image size is made for ``image_size``.

    Args:
        name: ``timm/`` and a name of ``timm.list_models()``, with or without a pretrained tag.
        image_size: height and width in pixels.
        weights: ``pretrained`` (timm's, downloaded), ``none`` (random), or a .safetensors, .pth,
            .pt or .ckpt file with timm's keys.
        crop_last: how many blocks are left out at the end.
        train_from: the first block that learns.
        update_frozen_statistics: whether BatchNorm statistics of the blocks before it update.

    Raises:
        UserError: there is no such model, it gives no maps, it is none for this image size, it has
            fewer blocks, or the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        weights: str,
        crop_last: int = 0,
        train_from: int = 0,
        update_frozen_statistics: bool = True,
    ) -> None:
        super().__init__()
        self._name = name
        model_name = name.removeprefix("timm/")
        options = _sizing(name, model_name, image_size)
        with torch.device("meta"):
            model = _create(model_name, options)
        if not hasattr(model, "prune_intermediate_layers"):
            raise UserError(
                f"backbone.name: timm's {model_name} gives no feature maps (it lacks "
                "forward_intermediates); take another model"
            )
        features: list[dict[str, Any]] = list(model.feature_info)
        prefix: int = getattr(model, "num_prefix_tokens", -1)
        is_vit = prefix >= 0 and features[0]["module"] == "blocks.0"
        require_blocks(name, len(features) + is_vit, crop_last, train_from)
        if is_vit:
            patch_size = getattr(getattr(model, "patch_embed", None), "patch_size", None)
            if patch_size is None:
                raise UserError(
                    f"backbone.name: timm's {model_name} does not say how large its patches are; "
                    "take another model"
                )
            self.size_multiple = patch_size if isinstance(patch_size, int) else patch_size[0]
            has_token = prefix > 0 and getattr(model, "cls_token", None) is not None
            gives = inspect.signature(model.forward_intermediates).parameters
            self.has_token = has_token and "return_prefix_tokens" in gives
            require_multiple(name, image_size, self.size_multiple)
        self.mean, self.std = model.pretrained_cfg["mean"], model.pretrained_cfg["std"]
        last = len(features) - 1 - crop_last
        self.out_channels = int(features[last]["num_chs"])
        self._fixed_size = None
        if "img_size" in options and "dynamic_img_size" not in options:
            self._fixed_size = image_size
        self.model = _with_weights(model_name, options, model, weights)
        # Stages end with the modules that timm names; the embedding ends where blocks begin.
        ends = [feature["module"] for feature in features[: last + 1]]
        if is_vit:
            parts = [part for part, _ in model.named_children()]
            ends.insert(0, parts[parts.index("blocks") - 1])
        everything = train_from == len(ends)
        frozen = list(self.model.modules()) if everything else _up_to(self.model, ends[:train_from])
        self._freeze(frozen, update_frozen_statistics)
        # A hierarchical model normalises its last map only.
        self._norm = hasattr(model, "norm") and (is_vit or crop_last == 0)
        self._indices = self.model.prune_intermediate_layers(
            [last], prune_norm=not self._norm, prune_head=True
        )

    def dry_run(self, image_size: tuple[int, int]) -> Features:
        """Return the features of one black image, whose shapes the next part must fit.

        Raises:
            UserError: the model cannot describe images of this size, or a block that learns runs
                before one that does not.
        """
        ran: list[nn.Module] = []
        own = (m for m in self.model.modules() if any(True for _ in m.parameters(recurse=False)))
        hooks = [m.register_forward_pre_hook(lambda m, _: ran.append(m)) for m in own]
        try:
            features = super().dry_run(image_size)
        except Exception as error:  # only running it tells its sizes, and each model in its way
            raise UserError(
                f"image_size: {self._name} cannot describe images of {image_size[0]}x"
                f"{image_size[1]} ({_line(error)}); {nearest_sizes(image_size, 32)}, or give the "
                "size that it was made for"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        learn = [any(p.requires_grad for p in m.parameters(recurse=False)) for m in ran]
        if learn != sorted(learn):
            raise UserError(
                f"backbone.train_from: {self._name} does not run its blocks one after another, so "
                "that the first ones cannot be frozen; give 0, or freeze all blocks"
            )
        return features

    def forward(self, images: Tensor) -> Features:
        """Normalised images (B, 3, H, W) -> features.

        Raises:
            ValueError: images of a size that the model was not made for.
        """
        self._require_size(images)
        if self._fixed_size not in (None, tuple(images.shape[2:])):
            raise ValueError(
                f"found images of {images.shape[2]}x{images.shape[3]}; this model is made for "
                f"{self._fixed_size}; give them that size"
            )
        prefix = {"return_prefix_tokens": True} if self.has_token else {}
        (last,) = self.model.forward_intermediates(
            images,
            indices=self._indices,
            norm=self._norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
            **prefix,
        )
        if not self.has_token:
            return Features(last, None)
        map_, tokens = last
        return Features(map_, tokens[:, 0])


def _sizing(name: str, model_name: str, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return the arguments that make a model of a fixed size one of ``image_size``."""
    if not timm.is_model(model_name):
        close = difflib.get_close_matches(model_name, timm.list_models(), n=5)
        near = f"the nearest are {', '.join(close)}" if close else "see timm.list_models()"
        raise UserError(f"backbone.name: found '{name}', which timm has not; {near}")
    try:
        published = timm.get_pretrained_cfg(model_name)
    except RuntimeError as error:
        raise _cannot_build(model_name, {}, error) from None
    if published is None or not published.fixed_input_size:
        return {}
    sized: dict[str, Any] = {"img_size": image_size}
    try:
        with torch.device("meta"):
            timm.create_model(model_name, num_classes=0, dynamic_img_size=True, **sized)
    except TypeError:  # it is no argument of this model, which then takes one size only
        return sized
    return {**sized, "dynamic_img_size": True}


def _create(model_name: str, options: dict[str, Any], **weights: Any) -> Any:
    try:
        return timm.create_model(model_name, num_classes=0, **options, **weights)
    except Exception as error:  # timm raises whatever its models do; none of it is ours
        raise _cannot_build(model_name, options, error) from None


def _cannot_build(model_name: str, options: dict[str, Any], error: Exception) -> UserError:
    sized = f" for images of {options['img_size']}" if options else ""
    return UserError(
        f"backbone.name: timm cannot build {model_name}{sized} ({_line(error)}); "
        "take another model or image_size"
    )


def _with_weights(
    model_name: str, options: dict[str, Any], on_meta: nn.Module, weights: str
) -> Any:
    if weights == "none":
        return _create(model_name, options)
    if weights == "pretrained":
        return copy.deepcopy(_download(model_name, tuple(options.items())))
    what = f"backbone.weights={weights}"
    needed = on_meta.state_dict()
    state = strip_prefixes(read_weights_file(weights), needed)
    missing = [n for n in needed if n not in state and not n.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"{what}: does not fit the backbone; missing {some(missing)}, found {some(state)}; "
            f"give a state dict with the keys of timm's {model_name}"
        )
    require_finite({key: state[key] for key in needed if key in state}, what)
    try:
        return timm.create_model(
            model_name,
            pretrained=True,
            pretrained_cfg_overlay={"state_dict": dict(state)},
            num_classes=0,
            **options,
        )
    except Exception as error:  # as above
        raise UserError(
            f"{what}: does not fit timm's {model_name} ({_line(error)}); give weights of this model"
        ) from None


@functools.lru_cache(maxsize=1)
def _download(model_name: str, options: tuple[tuple[str, Any], ...]) -> nn.Module:
    """Return a model with timm's weights, kept for the next trial; not to be trained itself."""
    try:
        with _quiet("huggingface_hub"), contextlib.redirect_stderr(io.StringIO()):
            model: nn.Module = timm.create_model(
                model_name, pretrained=True, num_classes=0, **dict(options)
            )
            return model
    except Exception as error:  # no network, no disk, no such weights: the same remedy
        raise UserError(
            f"backbone.weights=pretrained: those of timm's {model_name} cannot be downloaded "
            f"({_line(error)}); fetch them on a machine with a network and give the file, or "
            "backbone.weights=none for random weights"
        ) from None


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger's warnings about each new attempt off the screen."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _up_to(model: nn.Module, ends: list[str]) -> list[nn.Module]:
    """Return all modules of ``model``, in its order, up to the end of the last one named."""
    if not ends:
        return []
    names = [name for name, _ in model.named_modules()]
    inside = [i for i, name in enumerate(names) if f"{name}.".startswith(f"{ends[-1]}.")]
    if not inside:
        raise UserError(
            f"backbone.train_from: found {len(ends)}, but timm does not say which parameters of "
            "this model come before that block; give 0, or freeze all blocks"
        )
    return list(model.modules())[: inside[-1] + 1]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
