"""Model configs by open_clip's names, and what reading them imports."""

import subprocess
import sys

import open_clip
import pytest
from parity_models import ARCH, clip_file

from lift_mm.clip.arch import model_config


def test_every_config_is_open_clips():
    names = open_clip.list_models()
    assert {'ViT-B-16', 'RN50', 'ViT-L-14-336'} <= set(names)
    for name in names:
        assert model_config(name) == open_clip.get_model_config(name), name


def test_a_config_that_was_added(tmp_path):
    name = 'lift_mm-test-arch'
    path = tmp_path / f'{name}.json'
    path.write_text('{"embed_dim": 1, "vision_cfg": {}, "text_cfg": {}}')
    with pytest.raises(ValueError, match='no model'):
        model_config(name)
    open_clip.add_model_config(path)
    assert model_config(name)['embed_dim'] == 1


def test_a_tower_from_a_file_needs_no_open_clip(tmp_path):
    """Its import brings timm and takes longer than the tower."""
    code = (
        'import sys\n'
        'from lift_mm.clip.arch import model_config\n'
        'from lift_mm.models import CLIPViT\n'
        f'CLIPViT({ARCH!r}, {clip_file(tmp_path)!r})\n'
        "assert model_config('ViT-B-16')['embed_dim'] == 512\n"
        "assert not {'open_clip', 'timm'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, '-c', code], check=True)
