"""JPEG decoding where the model is."""

import torch
from mmpretrain.models import ClsDataPreprocessor
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from lift_mm.registry import MODELS


@MODELS.register_module()
class JPEGDataPreprocessor(ClsDataPreprocessor):
    """Decode, crop, resize, mirror and normalise on the model's device.

    It ends the work of a ``lift_mm.LoadCrop`` of mode ``'device'``, which
    leaves JPEGs as they are; images that come decoded are only normalised,
    as by mmpretrain's ``ClsDataPreprocessor``. ::

        train_pipeline = [
            dict(type='lift_mm.LoadCrop', mode='device', crop=...),
            dict(type='lift_mm.RandomFlip'),
            dict(type='PackInputs', algorithm_keys=['crop']),
        ]
        train_dataloader = dict(collate_fn=dict(type='pseudo_collate'))
        data_preprocessor = dict(type='lift_mm.JPEGDataPreprocessor')

    Files differ in length, so a batch is a list: ``pseudo_collate``.

    Args:
        **kwargs: Those of ``ClsDataPreprocessor``; ``to_rgb=True``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Turn a batch of files and images into one tensor.

        Args:
            data: ``inputs``, a list of JPEG files (bytes,) and images
                (3, H, W), blue first; and ``data_samples``. Or what the
                parent class takes.
            training: Whether to mix images, if ``batch_augments`` are set.

        Returns:
            ``inputs`` of shape (B, 3, H, W), and ``data_samples``.

        Raises:
            ValueError: A file comes without its crop, or is broken.
        """
        inputs = list(data['inputs'])
        places = [i for i, one in enumerate(inputs) if one.ndim == 1]
        if not places:
            return super().forward(data, training)
        samples = data.get('data_samples') or [{}] * len(inputs)
        if any('crop' not in samples[place] for place in places):
            raise ValueError(
                'A JPEG comes without its crop; give PackInputs the key '
                "`algorithm_keys=['crop']`, or choose another `mode` of "
                'lift_mm.LoadCrop.'
            )
        # Without CUDA torchvision decodes on the CPU alone.
        device = self.device if self.device.type == 'cuda' else 'cpu'
        files = [inputs[place].cpu() for place in places]
        try:
            decoded = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
        except RuntimeError:
            paths = [samples[place].get('img_path') for place in places]
            _refuse_broken(files, paths)
            raise
        for place, image in zip(places, decoded, strict=True):
            inputs[place] = _crop(image, samples[place])
        batch = torch.stack(self.cast_data(inputs))
        return super().forward(dict(data, inputs=batch), training)


def _refuse_broken(files: list[Tensor], paths: list[str | None]) -> None:
    """Name the first file that cannot be decoded by itself."""
    for file, path in zip(files, paths, strict=True):
        try:
            decode_jpeg(file, mode=ImageReadMode.RGB)
        except RuntimeError as error:
            reason = str(error).rsplit(', ', 1)[-1]  # without torch's line
            raise ValueError(
                f'The image {path!r} cannot be decoded ({reason}); replace '
                'it, or set the dataset key `skip_broken=True`.'
            ) from error


def _crop(image: Tensor, sample) -> Tensor:
    """Crop, resize and mirror a decoded image; blue first, as mmcv loads."""
    image = resized_crop(
        image,
        *sample.crop['box'],
        size=list(sample.img_shape[:2]),
        interpolation=InterpolationMode(sample.crop['interpolation']),
        antialias=True,
    )
    return image.flip((0, 2) if sample.get('flip') else 0)
