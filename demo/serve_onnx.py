"""Classify a picture with onnxruntime, Pillow and numpy alone.

python demo/serve_onnx.py model.onnx photo.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepare(path: str, facts: dict) -> np.ndarray:
    """Do to a picture what the file says; gives (1, 3, H, W)."""
    image = Image.open(path)
    if image.mode == 'LA' or image.mode[0] in 'IF':
        sys.exit(f'{path} is grey with alpha or of more than 8 bits.')
    image = ImageOps.exif_transpose(image).convert('RGB')
    for step in facts['steps']:
        width, height = image.size
        if step.get('library', 'pillow') != 'pillow':
            sys.exit(f'Pillow cannot resize as {step["library"]} does.')
        if step['op'] == 'center_crop':
            left = max(0, round((width - step['width']) / 2))
            top = max(0, round((height - step['height']) / 2))
            right = min(width, left + step['width'])
            bottom = min(height, top + step['height'])
            image = image.crop((left, top, right, bottom))
            continue
        if step['op'] == 'resize_edge':
            named = dict(width=width, height=height)
            named |= dict(short=min(named.values()), long=max(named.values()))
            edge = named[step['edge']]
            size = [int(step['size'] * side / edge) for side in image.size]
        else:
            size = step['width'], step['height']
        method = Image.Resampling[step['interpolation'].upper()]
        image = image.resize(size, method)
    pixels = np.asarray(image, dtype=facts['dtype'])
    return pixels.transpose(2, 0, 1)[None]


def main(model: str, picture: str) -> None:
    session = onnxruntime.InferenceSession(model)
    facts = session.get_modelmeta().custom_metadata_map
    images = prepare(picture, json.loads(facts['preprocessing']))
    (logits,) = session.run(['logits'], {'images': images})[0]
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    names = json.loads(facts.get('classes', 'null')) or range(len(scores))
    for label in np.argsort(-scores)[:5]:
        print(f'{scores[label]:.6f}  {names[label]}')


if __name__ == '__main__':
    main(*sys.argv[1:])
