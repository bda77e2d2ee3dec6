"""Tables of the papers that vary one thing on ImageNet-LT, CLIP ViT-B/16.

Their rows are known, their numbers could not be traced.
"""

from dataclasses import replace

from .tables import Row, Table

LIFT = 'configs/lift/vit-b16_imagenet-lt.py'


def imagenet_lt(stems: dict[str, str], tta: bool = False) -> tuple[Row, ...]:
    """Give rows of configs that differ in one thing.

    Args:
        stems: Name of a row -> ``folder/variant``, or a folder alone.
        tta: As of :class:`Row`.
    """
    rows = []
    for name, stem in stems.items():
        folder, _, variant = stem.partition('/')
        model = f'vit-b16-{variant}' if variant else 'vit-b16'
        path = f'configs/{folder}/{model}_imagenet-lt.py'
        rows.append(Row(name, path, tta=tta))
    return tuple(rows)


def _numbers(label: str, stem: str, values: str) -> dict[str, str]:
    return {f'{label}{v}': f'ablations/{stem}{v}' for v in values.split()}


VARIANTS = {
    'tuners': Table(
        'Ways of tuning (LIFT, table 6)',
        imagenet_lt(
            {
                'linear probe': 'linear_probe',
                'full': 'full_finetune',
                'arbitrary': 'tuners/masked',
                'BitFit': 'tuners/bitfit',
                'LayerNorm': 'tuners/norm',
                'VPT shallow': 'tuners/vpt-shallow',
                'VPT deep': 'tuners/vpt-deep',
                'Adapter': 'tuners/adapter',
                'LoRA': 'tuners/lora',
                'SSF': 'tuners/ssf',
                'SSF of the attention': 'tuners/ssf-attn',
                'SSF of the MLP': 'tuners/ssf-mlp',
                'SSF of the norms': 'tuners/ssf-norm',
                'AdaptFormer': 'tuners/adaptformer',
            }
        ),
    ),
    'inits': Table(
        'Starts of the head, with TTE (LIFT, table 7)',
        imagenet_lt(
            {
                'random': 'ablations/init-none',
                'linear probe': 'ablations/init-linear-probe',
                'class mean': 'ablations/init-class-mean',
                'text': 'lift',
            },
            tta=True,
        ),
    ),
    'tte': Table(
        'Kinds of test-time ensembling (LIFT, table 12)',
        (
            *imagenet_lt({'none': 'lift'}),
            *imagenet_lt({'five crops': 'lift'}, tta=True),
            *(
                # LIFT's own training, tested in another way.
                replace(row, config=LIFT, test_config=row.config)
                for row in imagenet_lt(
                    {
                        'ten crops': 'ablations/tte-ten-crop',
                        '5 random crops': 'ablations/tte-random-5',
                        '10 random crops': 'ablations/tte-random-10',
                        '20 random crops': 'ablations/tte-random-20',
                    },
                    tta=True,
                )
            ),
        ),
    ),
    'prompts': Table(
        'Prompts of the text init (LIFT, table 13)',
        imagenet_lt(
            {
                'none': 'ablations/init-none',
                'class name': 'ablations/prompt-classname',
                'a photo of a': 'lift',
                '80 templates': 'ablations/prompt-ensemble',
                'descriptions': 'ablations/prompt-descriptor',
            }
        ),
    ),
    'epochs': Table(
        'Length of the training (LIFT, table 14)',
        imagenet_lt(
            {
                **_numbers('', 'epochs-', '5'),
                '10': 'lift',
                **_numbers('', 'epochs-', '20 30'),
            }
        ),
    ),
    'classifiers': Table(
        'Classifiers (LIFT, table 15)',
        imagenet_lt(
            {
                'linear': 'ablations/classifier-linear',
                'L2 norm': 'ablations/classifier-l2norm',
                'LayerNorm': 'ablations/classifier-layernorm',
                **_numbers('cosine, scale ', 'scale-', '15 20'),
                'cosine, scale 25': 'lift',
                **_numbers('cosine, scale ', 'scale-', '30 35'),
            }
        ),
    ),
    'losses': Table(
        'Losses (LIFT, table 16)',
        imagenet_lt(
            {
                'CE': 'ablations/loss-ce',
                'focal': 'ablations/loss-focal',
                'LDAM': 'ablations/loss-ldam',
                'class-balanced': 'ablations/loss-cb',
                'generalized re-weight': 'ablations/loss-grw',
                'LADE': 'ablations/loss-lade',
                'balanced softmax': 'ablations/loss-bs',
                'logit-adjusted': 'lift',
            }
        ),
    ),
    'partial': Table(
        'The last blocks alone (LIFT, figures 4 and 10)',
        imagenet_lt(
            {
                **{
                    f'full, last {k}': f'partial/full-last{k}'
                    for k in (1, 2, 3, 6, 9)
                },
                'full, all': 'full_finetune',
                **{
                    f'AdaptFormer, last {k}': f'partial/adaptformer-last{k}'
                    for k in (1, 3, 6, 9)
                },
                'AdaptFormer, all': 'lift',
            }
        ),
    ),
    'mda': Table(
        'Growth of the smallest crop in LIFT+',
        imagenet_lt(
            {
                'none': 'ablations/lift-plus-mda-none',
                'min': 'ablations/lift-plus-mda-min',
                'linear': 'ablations/lift-plus-mda-linear',
                'concave': 'ablations/lift-plus-mda-concave',
                'max': 'ablations/lift-plus-mda-max',
                'convex': 'lift_plus',
            }
        ),
    ),
    'lift-plus-epochs': Table(
        'Length of the training of LIFT+',
        imagenet_lt(
            {
                '5': 'lift_plus',
                **_numbers('', 'lift-plus-epochs-', '10 20 50'),
            }
        ),
    ),
}
