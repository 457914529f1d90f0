"""The schema of a recipe: frozen, typed, complete. Its hash is the key of its results.

Fields marked :func:`~tailwise.core.spec.unhashed` say where and how a run happens (folders, device, workers, seed,
labels for people); two recipes that differ only there compute the same thing.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any, Literal

import tyro

from tailwise.augment.auto_policy import AutoPolicy, policies
from tailwise.augment.base import FeatureAug, Generate, Mix, View
from tailwise.core.checks import at_least, within
from tailwise.core.spec import frozen, hashed_if_set, spec_hash, unhashed
from tailwise.engine.schedule import MultiStep, Schedule
from tailwise.evaluation.shots import SHOT_PROTOCOLS
from tailwise.heads.base import Head
from tailwise.heads.linear import Linear
from tailwise.objectives.base import Objective
from tailwise.objectives.classification import Classification
from tailwise.posthoc.base import PostHoc
from tailwise.samplers.base import Sampler
from tailwise.samplers.power import Power

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _flag(alias: str) -> Any:
    return tyro.conf.arg(aliases=[alias])


@frozen
class Data:
    """Which images, how long-tailed, and how they reach the network."""

    name: str = "digits"
    """A registered data set; `folder` and `list` read your own images."""
    location: str | None = unhashed(None)
    """The folder or the list file of training images, for `folder` and `list`."""
    root: Annotated[str | None, _flag("--root")] = unhashed(None)
    """Where the files of CIFAR, or the images of a list, lie."""
    eval_split: Literal["auto", "val", "test"] = "auto"
    """The split that is evaluated; auto: test where there is one, else val."""
    eval_list: Annotated[str | None, _flag("--eval-list")] = unhashed(None)
    """The list file of evaluation images; found beside the training list by name when not given."""
    imbalance_factor: Annotated[float | None, _flag("--imbalance")] = None
    """Cut the training set to this ratio of largest to smallest class; none keeps every image."""
    profile: Annotated[Literal["exponential", "step", "pareto"], _flag("--profile")] = "exponential"
    """Shape of the class sizes when an imbalance factor is given."""
    max_per_class: int | None = None
    """Size of the largest class when an imbalance factor is given; none: all it has."""
    subset_seed: int = 0
    """Chooses the images of the long-tailed subset; 0 gives LDAM-DRW's subset."""
    subset: Annotated[str | None, _flag("--subset")] = unhashed(None)
    """An index file saved earlier (every run writes one); replaces the imbalance factor."""
    strict: Annotated[bool, _flag("--strict"), tyro.conf.FlagCreatePairsOff] = unhashed(False)
    """Refuse to start when an image cannot be read, instead of going on without it."""
    image_size: Annotated[int, _flag("--image-size")] = 32
    """Height and width in pixels; larger images are resized on the short side and cropped in the middle."""
    eval_zoom: float = 1.0
    """At evaluation the short side is made this much larger than image_size and the centre is kept."""
    augmentation: Literal["pad_crop", "random_resized_crop", "none"] = "pad_crop"
    """pad_crop on the device; random_resized_crop and jitter in the loader's workers, or on the device with a pack."""
    padding: int = 4
    """Pixels of black border before the crop of pad_crop."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    color_jitter: float = 0.0
    """Brightness, contrast and saturation range of random_resized_crop."""
    auto_augment: AutoPolicy | None = hashed_if_set(None)
    """AutoAugment with the policy learned on CIFAR-10 or on ImageNet, after crop, flip and colours."""
    mean: tuple[float, float, float] = CIFAR_MEAN
    """Channel means that are subtracted, in [0, 1]."""
    std: tuple[float, float, float] = CIFAR_STD
    """Channel deviations that are divided by, in [0, 1]."""
    path: Annotated[Literal["auto", "host", "resident"], _flag("--path")] = unhashed("auto")
    """resident: decode once and keep all images on the device; host: decode in workers, batch by batch."""
    workers: Annotated[int, _flag("--workers")] = unhashed(2)
    """Processes (host) or threads (resident) that decode images; results do not depend on it."""
    pack: Annotated[str | None, _flag("--pack")] = unhashed(None)
    """A folder made by `tailwise data pack`; images are read from it instead of being decoded."""
    pixels: str | None = None
    """Mode and size of packed images that differ from decoded ones (short-256); filled in when a run starts."""
    fingerprint: str | None = None
    """Checksum of the images and labels used; filled in when a run starts."""

    def __post_init__(self) -> None:
        at_least("image_size", self.image_size, 4)
        at_least("eval_zoom", self.eval_zoom, 1)
        at_least("padding", self.padding, 0)
        at_least("workers", self.workers, 0)
        at_least("subset_seed", self.subset_seed, 0)
        within("flip", self.flip, 0, 1)
        at_least("color_jitter", self.color_jitter, 0)
        if self.auto_augment is not None:
            policies(self.auto_augment)
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, got {self.std}")
        if self.max_per_class is not None:
            at_least("max_per_class", self.max_per_class, 1)


@frozen
class Backbone:
    """The feature extractor."""

    name: str = "resnet32"
    """One of ours, or any timm model."""
    width: float = 1.0
    """Factor of the channel numbers (our own networks)."""
    pretrained: bool = False
    """Start from timm's published weights."""
    weights: str | None = None
    """Start from a local file of weights."""
    experts: int | None = hashed_if_set(None)
    """Number of experts of a network that has some (ride_resnet32 and others); none: three."""
    reduced: bool = hashed_if_set(True)
    """Whether the experts' own stages are narrower than those of the ordinary network."""

    def __post_init__(self) -> None:
        if self.experts is not None:
            at_least("experts", self.experts, 1)
        if not 0 < self.width <= 64:
            raise ValueError(f"width must be above 0 and at most 64, got {self.width}")


@frozen
class Optim:
    """The optimiser and its learning-rate schedule."""

    kind: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    """Base learning rate for the recipe's batch."""
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 2e-4
    """On every parameter, BatchNorm and biases included, as all four papers' code has it."""
    schedule: Schedule = MultiStep()
    lr_factors: dict[str, float] = hashed_if_set({})
    """Factors of the rate for some parameters: regular expression from the start of their names -> factor; the first
    that fits counts."""

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, got {self.lr}")
        for pattern, factor in self.lr_factors.items():
            if not 0 < factor < float("inf"):
                raise ValueError(f"lr_factors[{pattern!r}] must be a positive number, got {factor}")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"lr_factors has {pattern!r}, which is no regular expression; {error}") from error
        within("momentum", self.momentum, 0, 1)
        at_least("weight_decay", self.weight_decay, 0)


@frozen
class Stream:
    """One source of training images inside a step."""

    sampler: Sampler = Power()
    batch: int = 128
    """Images a step over all processes together."""
    generate: Generate | None = hashed_if_set(None)
    """Images made from training images, which some draws show in place of the images themselves."""
    four_turns: bool = hashed_if_set(False)
    """Show every image in all four quarter turns, under its own label: four times the batch goes through."""

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 1)
        self.sampler.check_batch(self.batch)

    @property
    def images(self) -> int:
        """Images of a step that go through the network, over all processes."""
        return self.batch * (4 if self.four_turns else 1)


def _one_stream() -> dict[str, Stream]:
    return {"main": Stream()}


@frozen
class Stage:
    """A stretch of training with fixed components. Nothing inside it reads the epoch; time is the list of stages."""

    epochs: int = 200
    steps: int | None = None
    """Length in steps instead of epochs."""
    steps_per_epoch: int | None = None
    """Steps of an epoch; none: training images / batch of the first stream."""
    last_batch: Literal["drop", "fill"] = "drop"
    """drop the images that do not fill a batch (BagofTricks, ResLT), or fill it from the next permutation."""
    streams: dict[str, Stream] = field(default_factory=_one_stream)
    images: Literal["augmented", "plain"] = hashed_if_set("augmented")
    """plain: no random crop, flip or colours in this stage, whatever the data's augmentation."""
    mix: Mix | None = None
    views: tuple[View, ...] = ()
    feature_aug: FeatureAug | None = None
    objective: tuple[Objective, ...] = (Classification(),)
    trainable: str = "all"
    """all, head, or a regular expression over parameter names."""
    frozen_bn: Literal["train", "eval"] = "eval"
    """Mode of BatchNorm layers whose parameters are frozen; train lets their statistics move (classifier-balancing)."""
    reset: tuple[Literal["head", "backbone"], ...] = ()
    """Parts that start anew from their initialisation."""
    start_from: str | None = None
    """A model.safetensors file to load before the stage; none: go on with the current weights."""
    optim: Optim | None = None
    """None carries the optimiser and its schedule on from the stage before."""

    def __post_init__(self) -> None:
        at_least("epochs", self.epochs, 1)
        if self.steps is not None:
            at_least("steps", self.steps, 1)
        if self.steps_per_epoch is not None:
            at_least("steps_per_epoch", self.steps_per_epoch, 1)
        if not self.streams:
            raise ValueError("a stage needs at least one stream")
        if not self.objective:
            raise ValueError("a stage needs at least one objective")
        bad = [name for name in self.streams if not name.isidentifier() or name == "mix"]
        if bad:
            raise ValueError(f"a stream's name must be a plain word other than mix, got {bad[0]!r}")
        known = [*self.streams, *(view.stream for view in self.views)]
        if len(set(known)) < len(known):
            raise ValueError(f"streams and views need a name each, got {', '.join(known)}")
        turned = [name for name, stream in self.streams.items() if stream.four_turns]
        if turned and (self.views or self.feature_aug is not None):
            raise ValueError(
                f"stream {turned[0]!r} shows four turns of its images, which goes with no view or feature_aug"
            )
        for objective in self.objective:
            for name in objective.streams:
                if name not in known:
                    raise ValueError(f"an objective reads stream {name!r}; the stage has {', '.join(known)}")
        try:
            re.compile(self.trainable)
        except re.error as error:
            raise ValueError(f"trainable must be all, head or a regular expression; {error}") from error

    @property
    def images_per_step(self) -> int:
        """Images of a step that go through the network, over all streams, views and processes."""
        shown = sum(stream.images for stream in self.streams.values())
        for _ in self.views:
            shown += sum(stream.batch for stream in self.streams.values())
        return shown


@frozen
class Evaluate:
    """When and how the evaluation split is measured."""

    every: int = 10
    """Epochs between evaluations."""
    last: int = 5
    """The last epochs, each of which is evaluated."""
    select: Literal["last", "best_on_test"] = "last"
    """The record that tables print; best_on_test looks at the test images and is shown for comparison only."""
    shots: str = "kang"
    """Named rule for many, medium and few shot."""
    batch: int = 1000
    """Images a step; no influence on the numbers."""
    posthoc: tuple[PostHoc, ...] = hashed_if_set(())
    """Changes of the classifier, each measured beside the network as it was trained."""

    def __post_init__(self) -> None:
        at_least("every", self.every, 1)
        at_least("last", self.last, 1)
        at_least("batch", self.batch, 1)
        if self.shots not in SHOT_PROTOCOLS:
            raise ValueError(f"shots must be one of {', '.join(SHOT_PROTOCOLS)}, got {self.shots!r}")
        labels = [posthoc.label for posthoc in self.posthoc]
        if len(set(labels)) < len(labels):
            raise ValueError(f"posthoc has a change twice: {', '.join(labels)}")


@frozen
class Run:
    """How a run happens on this machine; nothing here changes a result beyond rounding."""

    device: Annotated[Literal["auto", "cpu", "cuda"], _flag("--device")] = "auto"
    devices: Annotated[int | None, _flag("--devices")] = None
    """Processes on each machine, one for each GPU; none: those that torchrun or SLURM started, else one."""
    nodes: Annotated[int, _flag("--nodes")] = 1
    """Machines, when neither torchrun nor SLURM starts the processes."""
    strategy: Annotated[Literal["auto", "ddp", "ddp_find_unused_parameters_true"], _flag("--strategy")] = "auto"
    """How processes exchange gradients; the weights are never sharded, because a checkpoint holds the whole model."""
    folder: str | None = None
    """Where `train` writes the run; --out wins over it."""
    threads: Annotated[int | None, _flag("--threads")] = None
    """Threads on a CPU; none: one for images up to 16 pixels, else PyTorch's own number."""
    executor: Annotated[Literal["auto", "eager", "compiled", "captured"], _flag("--executor")] = "auto"
    """captured: the whole step as one CUDA graph; compiled: compiled step by step; auto: captured where it can be."""
    at_once: Annotated[int | None, _flag("--at-once")] = None
    """Most runs of `compare` or `--seeds` that train side by side; none: by the GPU's memory, one on a CPU."""
    class_losses: Annotated[bool, _flag("--class-losses"), tyro.conf.FlagCreatePairsOff] = False
    """Also log the training loss of every class, after each epoch."""
    features: Annotated[Literal["auto", "images"], _flag("--features")] = "auto"
    """auto: a stage of plain images and a frozen backbone reads maps computed once; images: it runs the backbone."""
    log_every: int = 50
    """Steps between looks at the loss."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints; 0 saves after every step."""
    tensorboard: Annotated[bool, _flag("--tensorboard"), tyro.conf.FlagCreatePairsOff] = False
    """Also write TensorBoard files (needs the tensorboard extra)."""
    examples: Annotated[int, _flag("--examples")] = 3
    """Test images of each of the weakest classes that the page shows, with class activation maps; 0 keeps none."""

    def __post_init__(self) -> None:
        at_least("log_every", self.log_every, 1)
        at_least("examples", self.examples, 0)
        at_least("nodes", self.nodes, 1)
        if self.devices is not None:
            at_least("devices", self.devices, 1)
        if self.at_once is not None:
            at_least("at_once", self.at_once, 1)
        if self.threads is not None:
            at_least("threads", self.threads, 1)
        at_least("checkpoint_seconds", self.checkpoint_seconds, 0)


@frozen
class Recipe:
    """Everything that determines a number, and how to run it."""

    name: str = unhashed("ce")
    """What tables and folders call it."""
    variant: str = unhashed("paper")
    """paper: as printed; official: as the authors' code runs; own: neither."""
    notes: str = unhashed("")
    data: Data = Data()
    backbone: Backbone = Backbone()
    head: Head = Linear()
    stages: tuple[Stage, ...] = (Stage(optim=Optim()),)
    evaluate: Evaluate = Evaluate()
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated and saved."""
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    """bf16 and fp16 (with a scaled loss, GPUs only) are autocast; losses stay in fp32. fp64 is float64 throughout."""
    seed: int = unhashed(0)
    """Initial weights, sampling and augmentation."""
    run: Run = unhashed(Run())

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a recipe needs at least one stage")
        if self.stages[0].optim is None:
            raise ValueError("the first stage needs an optim; later ones may carry it on")
        for number, stage in enumerate(self.stages):
            if stage.reset and stage.optim is None:
                raise ValueError(f"stage {number} resets its {stage.reset[0]}, so it needs an optim of its own")
        at_least("seed", self.seed, 0)
        if self.ema is not None:
            within("ema", self.ema, 0, 1)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits over everything that determines a number, the seed left out."""
        return spec_hash(self)

    @property
    def epochs(self) -> int:
        """Epochs of all stages together, those not counted whose length is given in steps."""
        return sum(stage.epochs for stage in self.stages if stage.steps is None)
