"""Missing and broken image files, found early and named."""

import os.path as osp
from io import BytesIO
from multiprocessing.pool import ThreadPool
from os import cpu_count

import numpy as np
from mmengine import dist
from mmengine.fileio import get, get_file_backend
from mmengine.logging import MMLogger
from PIL import UnidentifiedImageError

from lift_mm.clip.names import read_class_names
from lift_mm.progress import track

from .base import LongTailMixin
from .decoding import to_rgb
from .image_modes import open_image
from .paths import refuse_outside

_SAMPLE = 2000  # files looked at by check_files='sample'
_LONG = 5000  # files; more deserve a progress bar


def broken_reason(path: str) -> str:
    """Decode an image completely and say what is wrong with it.

    Args:
        path: Image file, or any address that mmengine's ``fileio`` reads.

    Returns:
        The reason in words; an empty string for a sound image.
    """
    try:
        data = get(path)
        if not data:
            return 'the file is empty'
        with open_image(BytesIO(data)) as image:
            to_rgb(image, upright=True)
    except UnidentifiedImageError:  # which shows the address of the bytes
        return 'cannot identify the kind of image'
    # Decoders raise nearly everything, even SyntaxError and struct.error.
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return ''


class ImageFilesMixin(LongTailMixin):
    """A long-tail dataset whose images are files (key ``img_path``).

    Args:
        check_files: Look at construction whether the images are there:
            ``'sample'`` up to 2000 of them, spread evenly over the list,
            ``'all'`` or ``'none'``.
        skip_broken: Decode every image once at construction and leave out
            those that cannot be read, with one warning. In a distributed
            run each rank decodes a share, and all leave out the same ones.
            Without it a broken image stops the run when its turn comes.
        allow_outside: Take images outside of the root folder, too: absolute
            paths and ``..`` in a list, and folders behind links. The root
            itself may always be a link.
        **kwargs: Further keys of the dataset.

    Raises:
        ValueError: Images are missing or broken, or lie outside of the root
            folder; the message names one.
    """

    def __init__(
        self,
        *args,
        check_files: str = 'sample',
        skip_broken: bool = False,
        allow_outside: bool = False,
        **kwargs,
    ) -> None:
        if check_files not in ('sample', 'all', 'none'):
            raise ValueError(
                f'check_files={check_files!r} is unknown; the dataset key '
                "`check_files` can be 'sample', 'all' or 'none'."
            )
        self.check_files = check_files
        self.skip_broken = skip_broken
        self.allow_outside = allow_outside
        super().__init__(*args, **kwargs)

    def missing_hint(self, path: str) -> str:
        """Say where a missing image usually comes from.

        Args:
            path: The path that does not exist.

        Returns:
            A sentence for the end of the message, or an empty string.
        """
        return ''

    def read_names(self, path: str) -> list[str]:
        """Read the class names that lie beside the images.

        Args:
            path: The file, which was not chosen by the config: a link to
                another folder needs ``allow_outside``, too.
        """
        if not self.allow_outside:
            refuse_outside(path, osp.dirname(path) or '.')
        return read_class_names(path)

    def filter_data(self) -> list[dict]:
        """Check names, labels and files; leave out what is broken."""
        data_list = super().filter_data()
        self._refuse_missing(data_list)
        return self._sound(data_list) if self.skip_broken else data_list

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline, and name the file where it is to blame.

        Args:
            idx: Place of the image.

        Raises:
            ValueError: The image cannot be read.
        """
        try:
            return super().prepare_data(idx)
        except Exception as error:
            path = self.get_data_info(idx)['img_path']
            reason = broken_reason(path)
            if not reason:  # the image is fine: a mistake of the pipeline
                raise
            raise ValueError(
                f'The image {path!r} cannot be read ({reason}); replace it, '
                'or set the dataset key `skip_broken=True` to leave out '
                'all broken images.'
            ) from error

    def _refuse_missing(self, data_list: list[dict]) -> None:
        if self.check_files == 'none':
            return
        size = len(data_list)
        checked = size if self.check_files == 'all' else min(size, _SAMPLE)
        places = np.linspace(0, size - 1, checked).round().astype(int)
        paths = [data_list[place]['img_path'] for place in places]
        backend = get_file_backend(paths[0], enable_singleton=True)
        looked = track(
            paths, 'Looking for images', checked, show=checked > _LONG
        )
        missing = [path for path in looked if not backend.isfile(path)]
        if missing:
            raise ValueError(
                f'There is no image {missing[0]!r}: {len(missing)} of '
                f'{checked} checked files of {self._origin()} are missing; '
                'check the dataset keys `data_root` and `data_prefix`. '
                f'{self.missing_hint(missing[0])}'.rstrip()
            )

    def _sound(self, data_list: list[dict]) -> list[dict]:
        rank, ranks = dist.get_rank(), dist.get_world_size()
        share = range(rank, len(data_list), ranks)
        paths = [data_list[place]['img_path'] for place in share]
        found = []
        with ThreadPool(min(16, cpu_count() or 1)) as pool:
            reasons = pool.imap(broken_reason, paths, chunksize=16)
            reasons = track(
                reasons,
                'Decoding images',
                len(paths),
                show=len(paths) > _LONG,
            )
            for place, reason in zip(share, reasons, strict=True):
                if reason:
                    found.append((place, reason))
        shares = dist.all_gather_object(found)
        broken = dict(sorted(pair for part in shares for pair in part))
        if not broken:
            return data_list
        names = [
            f'{data_list[place]["img_path"]!r} ({reason})'
            for place, reason in list(broken.items())[:10]
        ]
        more = f' and {len(broken) - 10} more' if len(broken) > 10 else ''
        MMLogger.get_current_instance().warning(
            f'{len(broken)} of {len(data_list)} images of {self._origin()} '
            f'are broken and left out: {", ".join(names)}{more}.'
        )
        sound = [
            item for place, item in enumerate(data_list) if place not in broken
        ]
        if not sound:
            raise ValueError(
                f'All {len(data_list)} images of {self._origin()} are '
                'broken; check the dataset key `data_root`.'
            )
        return sound
