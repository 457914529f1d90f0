"""A main head and heads of auxiliary tasks on the same features (zhang2019balance, Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tailwise.augment.rotation import TURNS
from tailwise.core.checks import at_least
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule
from tailwise.heads.linear import Linear


class MultiModule(HeadModule):
    """The main head and the auxiliary ones; all of them but the main one are left out of what predicts.

    Args:
        main: The head that predicts.
        num_features: ``D``, of the backbone.
        hidden: Width of the layer between pooling and heads, or None.
        widths: Outputs of the linear layer of each auxiliary head, by name.
    """

    def __init__(self, main: HeadModule, num_features: int, hidden: int | None, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.main = main
        self.shared = None if hidden is None else nn.Linear(num_features, hidden)
        self.extra = nn.ModuleDict({name: nn.Linear(hidden or num_features, width) for name, width in widths.items()})

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """The outputs of the main head, and ``[B, C]`` or ``[B, 4]`` by the name of each auxiliary one."""
        pooled = self.embed(self.pool(maps))
        # A main head may want maps; with a layer in between there are none.
        outputs = self.main(maps if self.shared is None else pooled)
        return {**outputs, **{name: layer(pooled) for name, layer in self.extra.items()}}

    @classmethod
    def forward_stacked(cls, heads: Sequence[HeadModule], maps: Tensor) -> dict[str, Tensor]:
        """What :meth:`forward` gives for each head along dimension 1; one batched matrix product for each layer."""
        modules = [head for head in heads if type(head) is MultiModule]
        kinds = {(type(module.main), tuple(module.extra), module.shared is None) for module in modules}
        if len(modules) < len(heads) or len(kinds) > 1:
            return super().forward_stacked(heads, maps)
        features = cls.pool_stacked(maps).transpose(0, 1)
        shared = [module.shared for module in modules if module.shared is not None]
        if shared:
            features = _layers(shared, features).relu()
        mains = [module.main for module in modules]
        outputs = type(mains[0]).forward_stacked(mains, features.transpose(0, 1) if shared else maps)
        for name in modules[0].extra:
            layers = [cast(nn.Linear, module.extra[name]) for module in modules]
            outputs[name] = _layers(layers, features).transpose(0, 1)
        return outputs

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the main head, then the auxiliary ones."""
        return (*self.main.names, *self.extra)

    @property
    def classifier_weight(self) -> Tensor:
        """That of the main head, ``[C, D]``; with a layer in between, ``D`` is its width."""
        return self.main.classifier_weight

    @property
    def fc(self) -> nn.Module | None:
        """The main head's linear layer, for changes of the classifier after training; None where it has none."""
        return cast("nn.Module | None", getattr(self.main, "fc", None))

    def predict(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The logits of the main head, ``[B, C]``; the auxiliary ones are not read."""
        return self.main.predict(outputs)

    def embed(self, pooled: Tensor) -> Tensor:
        """What the heads read: the pooled features ``[B, D]``, after the layer in between where there is one."""
        return pooled if self.shared is None else self.shared(pooled).relu()

    def for_inference(self) -> HeadModule:
        """The same prediction without auxiliary heads, on the same tensors: the main head, where nothing is before."""
        if self.shared is None:
            return self.main.for_inference()
        bare = MultiModule(self.main.for_inference(), self.shared.in_features, None, {})
        bare.shared = self.shared
        return bare.train(self.training)

    def for_export(self) -> HeadModule:
        """What the main head exports; with a layer in between, as :meth:`for_inference`."""
        return self.main.for_export() if self.shared is None else self.for_inference()

    def keep_extractor(self, before: HeadModule) -> None:
        """Takes the layer in between from the head that this one replaces: it belongs to the features."""
        if self.shared is not None and isinstance(before, MultiModule) and before.shared is not None:
            self.shared.load_state_dict(before.shared.state_dict())


@register("multi", paper="zhang2019balance")
@frozen
class Multi(Head):
    r"""The main head :math:`h` and those of the auxiliary tasks, which only shape the features.

    ``auxiliary`` (:math:`h_a`) tells the classes apart under another sampling, ``rotation`` (:math:`h_s`) the four
    turns. At test time only :math:`h` is used; :meth:`MultiModule.for_inference` gives the head without the others.

    Args:
        main: The head that predicts.
        auxiliary: Whether there is a linear head ``auxiliary`` with an output for each class.
        rotation: Whether there is a linear head ``rotation`` with four outputs.
        hidden: Width of a linear layer with a rectifier between pooling and all heads; None: no such layer. The paper
            has 512 and takes it from liu2019large; that a rectifier follows is in that code, not in the paper.

    Raises:
        ValueError: ``hidden`` is below 1.
    """

    main: Head = Linear()
    auxiliary: bool = True
    rotation: bool = False
    hidden: int | None = None

    def __post_init__(self) -> None:
        """Checks the width."""
        if self.hidden is not None:
            at_least("hidden", self.hidden, 1)

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> MultiModule:
        """A new module.

        Raises:
            ValueError: The main head has an output of the name of an auxiliary one.
        """
        main = self.main.build(self.hidden or num_features, num_classes, stats)
        wanted = {"auxiliary": num_classes if self.auxiliary else 0, "rotation": TURNS if self.rotation else 0}
        widths = {name: width for name, width in wanted.items() if width}
        taken = [name for name in widths if name in main.names]
        if taken:
            raise ValueError(f"the main head {self.main.name!r} has an output named {taken[0]!r} of its own")
        return MultiModule(main, num_features, self.hidden, widths)


def _layers(layers: Sequence[nn.Linear], features: Tensor) -> Tensor:
    """Each layer on the features of its network: ``[K, B, D]`` -> ``[K, B, C]``."""
    weight = torch.stack([layer.weight for layer in layers]).transpose(1, 2)
    return torch.baddbmm(torch.stack([layer.bias for layer in layers]).unsqueeze(1), features, weight)
