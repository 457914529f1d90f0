"""Host path: worker processes decode the images that the plan names, with the plan's seed for every image."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tailwise.core.errors import DataError
from tailwise.core.types import Batch
from tailwise.data.auto_item import auto_augment_item
from tailwise.data.images import centre_square, open_image
from tailwise.data.index import Pool
from tailwise.data.plan import EpochPlan, StreamPlan
from tailwise.data.prefetch import prefetch
from tailwise.data.rgb import UnreadableImage
from tailwise.data.source import DeviceDraws
from tailwise.data.transforms import ItemTransform

#: Operations and strengths of AutoAugment, and whether the device will mirror the image.
Auto = tuple[list[int], list[float], bool]
Item = tuple[int, int, Auto | None]


class _Images(Dataset[Tensor]):
    """Batches of decoded images by (position in the pool, item seed, AutoAugment)."""

    def __init__(self, pool: Pool, size: int, transform: ItemTransform | None, zoom: float = 1.0) -> None:
        self.pool, self.size, self.transform, self.zoom = pool, size, transform, zoom

    def __getitems__(self, items: list[Item]) -> Tensor:
        """uint8 ``[B,size,size,3]``, written image by image, so that there is nothing left to collate."""
        batch = torch.empty(len(items), self.size, self.size, 3, dtype=torch.uint8)
        for into, item in zip(batch, items, strict=True):
            into.copy_(self._image(*item))
        return batch

    def _image(self, position: int, seed: int, auto: Auto | None) -> Tensor:
        if self.transform is None:
            return torch.from_numpy(np.array(centre_square(self.pool, position, self.size, self.zoom)))
        image = self.transform(open_image(self.pool, position), seed)
        return (image if auto is None else auto_augment_item(image, *auto)).permute(1, 2, 0)


# Each loader below has a generator of its own: otherwise it would draw a seed from torch's global one at every epoch,
# and networks that draw (dropout) would see other numbers on the host path than on the resident path.


class _Rows(Sampler[list[Item]]):
    """The rows of the plan in use; set before each epoch."""

    def __init__(self) -> None:
        self.rows: list[list[Item]] = []

    def __iter__(self) -> Iterator[list[Item]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class HostSource:
    """Training images decoded batch by batch in worker processes.

    Args:
        pool: Where the images lie.
        positions: int64 ``[N]``, the training index's positions in the pool.
        labels: int64 ``[N]``.
        size: Height and width of the images handed out.
        transform: Random per-image transform, or None for resize and centre crop only. With it, the workers also do
            the plan's AutoAugment; without, the device does it after the crop.
        workers: Processes; 0 decodes in this one. The batches do not depend on it.
        device: Where the batches go.
    """

    def __init__(
        self,
        pool: Pool,
        positions: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        size: int,
        transform: ItemTransform | None,
        workers: int,
        device: torch.device,
    ) -> None:
        self.positions, self.labels, self.device = positions, labels, device
        self.rows, self.transforms = _Rows(), transform is not None
        self.loader: DataLoader[Tensor] = DataLoader(
            _Images(pool, size, transform),
            batch_sampler=self.rows,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),
            worker_init_fn=_start_worker,
        )

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        shown = plan
        if self.transforms:
            # The workers do it; images that are cropped on the device get it there.
            shown = EpochPlan({name: part.without_auto_augment() for name, part in plan.streams.items()}, plan.draws)
        draws = DeviceDraws(shown, self.labels, self.device)
        self.rows.rows = [self._row(plan, step) for step in range(start, plan.steps)]
        for step, images in enumerate(prefetch(_readable(self.loader), self.device), start):
            by_stream: dict[str, Tensor] = {}
            images, first = images.permute(0, 3, 1, 2), 0
            for name, part in plan.streams.items():
                by_stream[name] = images[first : first + part.index.shape[1]]
                first += part.index.shape[1]
            yield draws.batch(step, by_stream)

    def _row(self, plan: EpochPlan, step: int) -> list[Item]:
        items: list[Item] = []
        for part in plan.streams.values():
            positions: list[int] = self.positions[part.index[step]].tolist()
            seeds: list[int] = part.item_seed[step].tolist()
            items.extend(zip(positions, seeds, self._auto(part, step), strict=True))
        return items

    def _auto(self, part: StreamPlan, step: int) -> list[Auto | None]:
        if not self.transforms or part.auto_operation is None or part.auto_magnitude is None:
            return [None] * part.index.shape[1]
        flips: list[bool] = part.flip[step].tolist()
        operations, magnitudes = part.auto_operation[step].tolist(), part.auto_magnitude[step].tolist()
        return list(zip(operations, magnitudes, flips, strict=True))


def _readable(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches, with a message instead of a traceback for a file that was readable when the run began.

    Raises:
        DataError: Names the file. Torch hands on an exception of a worker as a RuntimeError around its text.
    """
    try:
        yield from batches
    except (UnreadableImage, RuntimeError) as error:
        found = str(error).strip().splitlines()[-1]
        if "UnreadableImage" in str(error) or isinstance(error, UnreadableImage):
            raise DataError(
                f"an image became unreadable while training: {found.split('UnreadableImage: ')[-1]}"
            ) from error
        raise


def evaluation_batches(
    pool: Pool,
    positions: NDArray[np.int64],
    *,
    size: int,
    batch: int,
    workers: int,
    device: torch.device,
    zoom: float = 1.0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images uint8 ``[B,3,size,size]`` and labels ``[B]`` of an evaluation split, decoded by workers, in order."""
    items: list[Item] = [(int(position), 0, None) for position in positions]
    rows = _Rows()
    rows.rows = [items[first : first + batch] for first in range(0, len(items), batch)]
    loader: DataLoader[Any] = DataLoader(
        _Images(pool, size, None, zoom),
        batch_sampler=rows,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
        generator=torch.Generator(),
    )
    for row, images in zip(rows.rows, prefetch(_readable(loader), device), strict=True):
        labels = torch.from_numpy(pool.labels[[position for position, *_ in row]])
        # In the memory format of the resident path, so that the network computes the same numbers.
        yield images.permute(0, 3, 1, 2).contiguous(), labels.to(device)


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(number: int) -> None:
    del number
    # Ctrl-C reaches every process of a terminal; only the main one shall answer it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    # A worker inherits hundreds of thousands of objects that never die. Looking through them for garbage again and
    # again would take a fifth of its time.
    gc.freeze()
