"""The tables of the papers LIFT and LIFT+, as data.

The numbers are those that other publications and public pages quote, each
with its source; none is filled in from memory. A row without a number has
none that could be traced.
"""

from .tables import MEASURES, Row, Table
from .variants import VARIANTS, imagenet_lt

PWC = 'Papers with Code, entry of LIFT'
# Its numbers of ViT-B/16 on ImageNet-LT and Places-LT are those with TTE.
PWC_LARGE = f'{PWC}; taken to be with TTE, which it does not say'
PWC_CIFAR = f'{PWC}; does not say whether with TTE'
RETFORMER = 'quoted in RetFormer'
SOUPS = 'quoted in LT-Soups (arXiv 2511.10683)'
ISSUE_13 = 'shijxcs/LIFT, issue 13'
USER = 'independent run of mniguy/LIFT-plus, 5 seeds'


def _row(name, config, numbers=(), source='', **more) -> Row:
    published = dict(zip(MEASURES, numbers))
    path = f'configs/{config}.py'
    return Row(name, path, published=published, source=source, **more)


def _both(name, config, plain=(), ensembled=()) -> tuple[Row, Row]:
    """Give a method without and with test-time ensembling."""
    return (
        _row(name, config, *plain),
        _row(f'{name} + TTE', config, *ensembled, tta=True),
    )


def _main(data, zero=(), probe=(), full=(), lift=(), tte=()) -> tuple:
    """Give the rows of a main table; each number with its source."""
    zero_shot = f'zero_shot/vit-b16_{data}'
    return (
        _row('zero-shot + TTE', zero_shot, *zero, trains=False, tta=True),
        _row('linear probe', f'linear_probe/vit-b16_{data}', *probe),
        _row('full fine-tuning', f'full_finetune/vit-b16_{data}', *full),
        *_both('LIFT', f'lift/vit-b16_{data}', lift, tte),
    )


def _cifar(folder: str, accuracies: dict, source: str) -> tuple:
    return tuple(
        _row(
            f'imbalance {ratio}',
            f'{folder}/vit-b16_cifar100-lt-ir{ratio}',
            (accuracy,),
            source,
        )
        for ratio, accuracy in accuracies.items()
    )


TABLES = {
    'demo': Table(
        'Fashion-MNIST-LT with the embedded mini-clip',
        (
            _row('zero-shot', 'demo/zero-shot_fashion-mnist-lt', trains=False),
            _row('linear probe', 'demo/linear-probe_fashion-mnist-lt'),
            _row('full fine-tuning', 'demo/full-finetune_fashion-mnist-lt'),
            *_both('LIFT', 'demo/lift_fashion-mnist-lt'),
        ),
    ),
    'imagenet-lt': Table(
        'LIFT on ImageNet-LT, CLIP ViT-B/16',
        _main(
            'imagenet-lt',
            ((68.3, 69.2, 67.6, 67.7), f'{ISSUE_13}; groups {RETFORMER}'),
            ((74.2,), SOUPS),
            ((73.9,), SOUPS),
            ((77.0,), SOUPS),
            ((78.3, 81.3, 77.4, 73.4), f'{PWC}; groups {RETFORMER}'),
        ),
    ),
    'places-lt': Table(
        'LIFT on Places-LT, CLIP ViT-B/16',
        _main(
            'places-lt',
            probe=((48.8,), SOUPS),
            full=((46.6,), SOUPS),
            lift=((51.5, 51.3, 52.2, 50.5), RETFORMER),
            tte=((52.2,), PWC),
        ),
    ),
    'inaturalist2018': Table(
        'LIFT on iNaturalist 2018, CLIP ViT-B/16',
        _main(
            'inaturalist2018',
            probe=((60.4,), SOUPS),
            full=((76.1,), SOUPS),
            lift=((79.1,), SOUPS),
        ),
    ),
    'cifar100-lt': Table(
        'LIFT on CIFAR-100-LT, CLIP ViT-B/16',
        _cifar('lift', {100: 81.7, 50: 83.1, 10: 84.9}, PWC_CIFAR),
    ),
    'imagenet21k': Table(
        'LIFT on CIFAR-100-LT, ViT-B/16 of ImageNet-21k',
        _cifar('imagenet21k', {100: 89.1, 50: 90.2, 10: 91.3}, PWC_CIFAR),
    ),
    'backbones': Table(
        'LIFT with other CLIP models',
        (
            *_both(
                'ViT-L/14, ImageNet-LT',
                'lift/vit-l14_imagenet-lt',
                ensembled=((82.9,), PWC_LARGE),
            ),
            *_both(
                'ViT-L/14, Places-LT',
                'lift/vit-l14_places-lt',
                ensembled=((53.7,), PWC_LARGE),
            ),
            *_both(
                'ViT-L/14@336, iNat 2018', 'lift/vit-l14-336_inaturalist2018'
            ),
            *_both('ResNet-50, ImageNet-LT', 'lift/rn50_imagenet-lt'),
            *_both('ResNet-50, Places-LT', 'lift/rn50_places-lt'),
        ),
    ),
    'lift-plus': Table(
        'LIFT+, CLIP ViT-B/16',
        (
            *_both(
                'ImageNet-LT',
                'lift_plus/vit-b16_imagenet-lt',
                ensembled=((78.32, 81.19, 77.37, 73.51), USER),
            ),
            *_both(
                'Places-LT',
                'lift_plus/vit-b16_places-lt',
                ensembled=((52.10, 51.37, 53.00, 51.40), USER),
            ),
            *_both('iNaturalist 2018', 'lift_plus/vit-b16_inaturalist2018'),
        ),
    ),
    'ablation': Table(
        'LIFT step by step on ImageNet-LT, CLIP ViT-B/16 (LIFT, table 5)',
        (
            *imagenet_lt(
                {
                    'linear probe, CE': 'ablations/lp-ce',
                    '+ AdaptFormer': 'ablations/adaptformer-ce',
                    '+ LA': 'ablations/init-none',
                }
            ),
            _row('+ text init', 'lift/vit-b16_imagenet-lt', (77.0,), SOUPS),
            _row('+ TTE', 'lift/vit-b16_imagenet-lt', (78.3,), PWC, tta=True),
        ),
    ),
    **VARIANTS,
}
