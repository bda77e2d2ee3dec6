"""Make ``mini-clip``, a CLIP model small enough for a demo on a CPU.

The sub-commands, in the order of their use::

    prepare   Tiny-ImageNet-200 -> 32x32 images, caption table, model config
    train     run open_clip's own trainer on them
    export    trainer checkpoint -> compact safetensors and json
    evaluate  zero-shot accuracy of the exported files

See README.md next to this file for the exact commands.
"""

import argparse
import csv
import io
import json
import os
import random
import zipfile
from pathlib import Path

CAPTIONS = Path(__file__).with_name('mini_clip_captions.txt')
FASHION = (
    't-shirt',
    'trouser',
    'pullover',
    'dress',
    'coat',
    'sandal',
    'shirt',
    'sneaker',
    'bag',
    'ankle boot',
)
ONE_TEMPLATE = 'a photo of a {}.'
MIXED = (
    'a {name}, a kind of {kind}.',
    'a photo of a {name}, a {kind}.',
    '{name}, {kind}',
)
# Share of the mirrored images that become grey negatives: catalogue photos
# of clothes on white then look like the clothes of Fashion-MNIST.
NEGATIVES, NEGATIVE_CLOTHES = 0.15, 0.5
CLOTHES = {'clothing', 'footwear', 'sock', 'bag'}
EXTENSIONS = ('.jpeg', '.jpg', '.png', '.bmp', '.webp')
MODEL = dict(
    embed_dim=128,
    quick_gelu=False,
    vision_cfg=dict(
        image_size=32, patch_size=4, width=192, layers=5, head_width=64
    ),
    text_cfg=dict(
        context_length=32, vocab_size=49408, width=128, heads=4, layers=2
    ),
)


def templates():
    """Return the 80 prompt templates of OpenAI as functions."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return list(OPENAI_IMAGENET_TEMPLATES)


def read_classes(path=CAPTIONS):
    """Read the caption file: (WordNet id, names, kinds) per class."""
    rows = []
    for line in Path(path).read_text(encoding='utf-8').splitlines():
        if line.strip() and not line.startswith('#'):
            wnid, names, kinds = line.split(' | ')
            rows.append(
                (
                    wnid.strip(),
                    [n.strip() for n in names.split(',')],
                    [k.strip() for k in kinds.split(',')],
                )
            )
    return rows


def caption(names, kinds, rng, forms):
    """Draw one caption for an image of a class."""
    name = names[0] if rng.random() < 0.7 else rng.choice(names)
    kind = rng.choice(kinds)
    draw = rng.random()
    if draw < 0.15:
        return ONE_TEMPLATE.format(name)
    if draw < 0.25:
        return rng.choice((name, 'a ' + name))
    if draw < 0.35:
        return rng.choice(MIXED).format(name=name, kind=kind)
    if draw < 0.50:
        return rng.choice(forms)(kind)
    if draw < 0.53:
        return kind
    return rng.choice(forms)(name)


# --------------------------------------------------------------------------
# prepare


def shrink(source, target, size, mirror=None, negative=False):
    """Save an image as a small RGB PNG, and its mirror image if asked.

    The mirror image is made a grey negative for ``negative``.
    """
    from PIL import Image, ImageOps

    with Image.open(source) as image:
        image = image.convert('RGB')
    if image.size != (size, size):
        image = image.resize((size, size), Image.LANCZOS)
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target, format='PNG', compress_level=1)
    if mirror is not None:
        image = ImageOps.mirror(image)
        if negative:
            image = ImageOps.invert(image.convert('L')).convert('RGB')
        image.save(mirror, format='PNG', compress_level=1)


def prepare(args):
    """Write the images, the caption table and the model config."""
    root, out = Path(args.tiny_imagenet), Path(args.out)
    size = MODEL['vision_cfg']['image_size']
    classes = read_classes()
    rng = random.Random(args.seed)
    forms = templates()
    pairs = []
    for wnid, names, kinds in classes:
        share = NEGATIVE_CLOTHES if CLOTHES & set(kinds) else NEGATIVES
        for source in sorted((root / 'train' / wnid / 'images').iterdir()):
            if source.suffix.lower() not in EXTENSIONS:
                continue
            plain = out / 'train' / wnid / f'{source.stem}.png'
            mirror = plain.with_name(f'{source.stem}_mirror.png')
            shrink(source, plain, size, mirror, rng.random() < share)
            pairs += [(image, names, kinds) for image in (plain, mirror)]
    with open(root / 'val' / 'val_annotations.txt') as lines:
        for line in lines:
            name, wnid = line.split('\t')[:2]
            shrink(
                root / 'val' / 'images' / name,
                out / 'val' / wnid / f'{Path(name).stem}.png',
                size,
            )
    with open(
        out / 'captions.tsv', 'w', newline='', encoding='utf-8'
    ) as handle:
        table = csv.writer(handle, delimiter='\t')
        table.writerow(('filepath', 'title'))
        for image, names, kinds in pairs:
            table.writerow(
                (image.resolve(), caption(names, kinds, rng, forms))
            )
    (out / 'classes.txt').write_text(
        ''.join(f'{wnid}\t{names[0]}\n' for wnid, names, _ in classes)
    )
    (out / 'model').mkdir(exist_ok=True)
    (out / 'model' / 'open_clip_config.json').write_text(
        json.dumps(dict(model_cfg=MODEL, preprocess_cfg={}), indent=2)
    )
    print(f'{len(pairs)} image-caption pairs of {len(classes)} classes')


# --------------------------------------------------------------------------
# train


def train(args):
    """Run open_clip's trainer with two additions for a short CPU run.

    PyTorch's fused attention for the CPU is slow on short sequences and
    is switched off; the last epochs see all patches of an image
    (``--force-patch-dropout`` holds for the others).
    """
    import torch
    from open_clip_train import main as trainer

    torch.backends.cuda.enable_flash_sdp(False)
    one_epoch = trainer.train_one_epoch

    def train_one_epoch(
        model,
        data,
        loss,
        epoch,
        optimizer,
        scaler,
        scheduler,
        dist_model,
        options,
        **kwargs,
    ):
        if epoch >= options.epochs - args.unmasked_epochs:
            for module in model.modules():
                if type(module).__name__ == 'PatchDropout':
                    module.prob = 0.0
        return one_epoch(
            model,
            data,
            loss,
            epoch,
            optimizer,
            scaler,
            scheduler,
            dist_model,
            options,
            **kwargs,
        )

    trainer.train_one_epoch = train_one_epoch
    return trainer.main([a for a in args.trainer if a != '--'])


# --------------------------------------------------------------------------
# export


def token_ids():
    """Return the ids of all tokens that any caption of the demo needs."""
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    phrases = list(FASHION)
    texts = []
    for _, names, kinds in read_classes():
        phrases += names + kinds
        texts += [
            form.format(name=name, kind=kind)
            for form in MIXED
            for name in names
            for kind in kinds
        ]
    texts += [form(phrase) for form in templates() for phrase in phrases]
    texts += phrases + ['a ' + phrase for phrase in phrases]
    ids = {0, tokenizer.sot_token_id, tokenizer.eot_token_id}
    for text in texts:
        ids.update(tokenizer.encode(text))
    return sorted(ids)


def export(args):
    """Write a trainer checkpoint as fp16 with only the rows in use."""
    import torch
    from safetensors.torch import save_file

    if args.checkpoint == 'random':
        from open_clip.model import CLIP

        torch.manual_seed(0)
        state = CLIP(**MODEL).state_dict()
    else:
        state = torch.load(
            args.checkpoint, map_location='cpu', weights_only=True
        )['state_dict']
    ids = torch.tensor(token_ids(), dtype=torch.int32)
    tensors = {key: value.half().contiguous() for key, value in state.items()}
    rows = tensors.pop('token_embedding.weight')[ids.long()]
    tensors['token_embedding.rows'] = rows.contiguous()
    tensors['token_embedding.ids'] = ids
    for key, value in tensors.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(f'{key} is not finite in fp16')
    out = Path(args.out)
    for path, write in (
        (
            out / 'mini-clip.safetensors',
            lambda p: save_file(tensors, p, {'format': 'pt'}),
        ),
        (
            out / 'mini-clip.json',
            lambda p: p.write_text(json.dumps(MODEL, indent=2) + '\n'),
        ),
    ):
        temporary = path.with_name(path.name + '.tmp')
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        print(f'{path.name}: {path.stat().st_size / 1e6:.2f} MB')
    print(f'{len(ids)} of {MODEL["text_cfg"]["vocab_size"]} token rows')


# --------------------------------------------------------------------------
# evaluate


def load_mini_clip(folder):
    """Build the open_clip model from the two exported files.

    Tokens without a stored row get a zero embedding.
    """
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import load_file

    folder = Path(folder)
    config = json.loads((folder / 'mini-clip.json').read_text())
    tensors = load_file(folder / 'mini-clip.safetensors')
    ids = tensors.pop('token_embedding.ids').long()
    rows = tensors.pop('token_embedding.rows').float()
    weight = torch.zeros(config['text_cfg']['vocab_size'], rows.shape[1])
    weight[ids] = rows
    tensors = {key: value.float() for key, value in tensors.items()}
    tensors['token_embedding.weight'] = weight
    model = CLIP(**config)
    model.load_state_dict(tensors)
    return model.eval(), config


def text_classifier(model, config, names, forms):
    """Average the text features of every name over the templates."""
    import torch
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer(
        context_length=config['text_cfg']['context_length']
    )
    rows = []
    for name in names:
        tokens = tokenizer([form(name) for form in forms])
        feature = model.encode_text(tokens, normalize=True).mean(0)
        rows.append(feature / feature.norm())
    return torch.stack(rows)


def folder_images(root, order):
    """List (path, label) of a class-per-folder data set."""
    return [
        (path, label)
        for label, name in enumerate(order)
        for path in sorted((Path(root) / name).iterdir())
    ]


def zip_images(path, split, order):
    """List (file object, label) of one split in the Fashion-MNIST zip."""
    items = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            parts = name.split('/')
            if parts[0] == split and name.endswith('.png'):
                items.append(
                    (io.BytesIO(archive.read(name)), order.index(parts[1]))
                )
    return items


def accuracy(model, config, items, classifiers):
    """Measure the top-1 accuracy in per cent for every classifier."""
    import torch
    from open_clip import image_transform
    from PIL import Image

    transform = image_transform(
        config['vision_cfg']['image_size'], is_train=False
    )
    hits = [0] * len(classifiers)
    for start in range(0, len(items), 250):
        part = items[start : start + 250]
        images = torch.stack([transform(Image.open(f)) for f, _ in part])
        labels = torch.tensor([label for _, label in part])
        features = model.encode_image(images, normalize=True)
        for i, weights in enumerate(classifiers):
            found = (features @ weights.T).argmax(1)
            hits[i] += int((found == labels).sum())
    return [100 * hit / len(items) for hit in hits]


def evaluate(args):
    """Print zero-shot top-1 accuracies."""
    import torch

    torch.set_grad_enabled(False)
    model, config = load_mini_clip(args.model)
    sets = []
    if args.val:
        classes = read_classes()
        sets.append(
            (
                'Tiny-ImageNet val',
                [c[1][0] for c in classes],
                folder_images(args.val, [c[0] for c in classes]),
            )
        )
    if args.fashion_mnist:
        order = [name.replace(' ', '_') for name in FASHION]
        sets.append(
            (
                'Fashion-MNIST-LT test',
                FASHION,
                zip_images(args.fashion_mnist, 'test', order),
            )
        )
    prompts = (
        ('1 template', [ONE_TEMPLATE.format]),
        ('80 templates', templates()),
    )
    for title, names, items in sets:
        weights = [
            text_classifier(model, config, names, forms)
            for _, forms in prompts
        ]
        scores = accuracy(model, config, items, weights)
        for (label, _), score in zip(prompts, scores, strict=True):
            print(
                f'{title} ({len(items)} images, {len(names)} classes), '
                f'{label}: {score:.2f} %'
            )


def main():
    """Parse the command line and run one sub-command."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest='command', required=True)

    part = commands.add_parser('prepare', help=prepare.__doc__)
    part.add_argument(
        'tiny_imagenet', help='the unpacked folder tiny-imagenet-200'
    )
    part.add_argument('out', help='folder for the training data')
    part.add_argument('--seed', type=int, default=0)
    part.set_defaults(run=prepare)

    part = commands.add_parser(
        'train', help='run open_clip_train.main with the given options'
    )
    part.add_argument(
        '--unmasked-epochs',
        type=int,
        default=2,
        help='number of last epochs without patch dropout',
    )
    part.add_argument(
        'trainer',
        nargs=argparse.REMAINDER,
        help='-- and the options of open_clip_train.main',
    )
    part.set_defaults(run=train)

    part = commands.add_parser('export', help=export.__doc__)
    part.add_argument(
        'checkpoint', help='epoch_N.pt of the trainer, or "random"'
    )
    part.add_argument('out', help='folder for the two files')
    part.set_defaults(run=export)

    part = commands.add_parser('evaluate', help=evaluate.__doc__)
    part.add_argument('model', help='folder with the two exported files')
    part.add_argument('--val', help='folder "val" made by prepare')
    part.add_argument('--fashion-mnist', help='fashion-mnist-lt.zip')
    part.set_defaults(run=evaluate)

    args = parser.parse_args()
    args.run(args)


if __name__ == '__main__':
    main()
