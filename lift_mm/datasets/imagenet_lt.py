"""ImageNet-LT."""

from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES

from lift_mm.registry import DATASETS

from .long_tail_list import LongTailList


@DATASETS.register_module()
class ImageNetLT(LongTailList):
    """ImageNet-LT (Liu et al., "Large-Scale Long-Tailed Recognition in an
    Open World", CVPR 2019): 115,846 training images in 1000 classes of 1280
    to 5 images, tested on the 50,000 validation images of ILSVRC 2012.

    The class names are the curated ones of the CLIP authors; the label is
    the rank of the WordNet id. Two pairs of classes share a name. ::

        data/imagenet/
        ├── ImageNet_LT_train.txt, ImageNet_LT_val.txt, ImageNet_LT_test.txt
        ├── train/n01440764/*.JPEG ...
        └── val/n01440764/*.JPEG ...

    Args:
        data_root: Root folder of lists and images.
        ann_file: The list, relative to ``data_root``.
        **kwargs: Keys of :class:`LongTailList`.
    """

    METAINFO = {'classes': IMAGENET_SIMPLE_CATEGORIES}

    def __init__(
        self,
        data_root: str = 'data/imagenet',
        ann_file: str = 'ImageNet_LT_train.txt',
        **kwargs,
    ) -> None:
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def list_hint(self) -> str:
        """Name the release of the lists."""
        return (
            'It is ImageNet_LT_train.txt (or _val, _test) of the ImageNet-LT '
            'release that belongs to OLTR, "Large-Scale Long-Tailed '
            'Recognition in an Open World".'
        )

    def missing_hint(self, path: str) -> str:
        """Name the archive of ILSVRC 2012 that holds the image."""
        parts = path.replace('\\', '/').split('/')
        if 'train' in parts[-3:-1]:
            return (
                'Training images come from ILSVRC2012_img_train.tar, '
                'unpacked to one folder for each WordNet id.'
            )
        if 'val' in parts[-3:-1]:
            return (
                'Test images come from ILSVRC2012_img_val.tar, sorted into '
                'one folder for each WordNet id.'
            )
        return ''
