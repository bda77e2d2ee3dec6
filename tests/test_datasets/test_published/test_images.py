"""Looking for files."""

import pytest

from lift_mm.datasets.published import missing_images


@pytest.mark.parametrize('jobs', [1, 16])
@pytest.mark.parametrize('listing', [False, True])
def test_missing_images(tmp_path, listing, jobs, capsys):
    paths = [f'{folder}/no {n}.jpg' for folder in 'abc' for n in range(40)]
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert missing_images(tmp_path, paths, listing, jobs) == []
    assert missing_images(tmp_path, [], listing, jobs) == []
    (tmp_path / 'a/no 7.jpg').unlink()
    (tmp_path / 'b/no 0.jpg').unlink()
    (tmp_path / 'b/no 0.jpg').mkdir()  # a folder is no image
    wanted = ['a/no 7.jpg', 'b/no 0.jpg', 'd/1.jpg', 'a/no 1.jpg/x', 'top']
    assert not capsys.readouterr().out
    found = missing_images(tmp_path, paths + wanted[2:], listing, jobs, True)
    assert found == wanted
    assert capsys.readouterr().out.startswith('Looking for images: ')
