"""Image files for the transforms."""

import pytest


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / 'image'
        path.write_bytes(data)
        return path

    return write
