"""What the benchmark of the training step lets take turns.

Each thing to time is a function that gives the seconds of its parts by name;
``step`` is the whole of it.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from measure import Clock
from straightforward import Product, StraightforwardViT
from torch import Tensor, nn

STRAIGHTFORWARD = 'straightforward'
PARTS = ('forward', 'backward', 'optimizer')
# What a variant's name is made of, and the keys of the config behind it.
OPTIONS = {
    'default': {},
    'fast=False': dict(fast=False),
    'recompute=mlp': dict(recompute='mlp'),
    'recompute=block': dict(recompute='block'),
    'mlp': dict(recompute='mlp'),
    'block': dict(recompute='block'),
    'compile': dict(compile=True),
    'bfloat16': dict(frozen_dtype='bfloat16'),
    'float16': dict(frozen_dtype='float16'),
}


def class_counts(num_classes: int) -> list[int]:
    """Make up a long tail from 1280 images to 5, as ImageNet-LT has it."""
    ratio = (5 / 1280) ** (1 / max(num_classes - 1, 1))
    return [round(1280 * ratio**i) for i in range(num_classes)]


def build_ours(args: argparse.Namespace, variant: str) -> nn.Module:
    """Build a LongTailClassifier; every call draws the same weights."""
    from lift_mm.clip.arch import model_config, vision_config
    from lift_mm.registry import MODELS

    options: dict = {}
    for option in variant.split('+'):
        options |= OPTIONS[option]
    whole = {'compile': options.pop('compile')} if 'compile' in options else {}
    torch.manual_seed(0)
    net = MODELS.build(
        dict(
            type='LongTailClassifier',
            backbone=dict(
                type='lift_mm.TunedBackbone',
                backbone=dict(
                    type='lift_mm.CLIPViT',
                    arch=args.arch,
                    img_size=args.image,
                    quick_gelu=True,
                ),
                tuners=[dict(type='AdaptFormer', hidden_dims=args.bottleneck)],
                **options,
            ),
            head=dict(
                type='lift_mm.CosineHead',
                num_classes=args.num_classes,
                in_channels=vision_config(model_config(args.arch))['width'],
                loss=dict(
                    type='lift_mm.LogitAdjustedLoss',
                    class_counts=class_counts(args.num_classes),
                ),
            ),
            **whole,
        )
    )
    with torch.no_grad():  # a fresh branch gives zero: nothing to compare
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    return net.train()


def sizes(net: nn.Module, args: argparse.Namespace) -> dict[str, int]:
    """Read off a LongTailClassifier what ``StraightforwardViT`` takes."""
    vit = net.backbone
    return dict(
        width=vit.embed_dims,
        layers=vit.num_layers,
        heads=vit.layers[0].attn.num_heads,
        patch=vit.patch_embed.projection.kernel_size[0],
        image=args.image,
        bottleneck=args.bottleneck,
        num_classes=args.num_classes,
    )


def make_batch(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Give images and labels, the same at every call."""
    rng = torch.Generator().manual_seed(1)
    shape = (args.batch_size, 3, args.image, args.image)
    images = torch.randn(shape, generator=rng)
    labels = torch.randint(args.num_classes, shape[:1], generator=rng)
    return images.to(args.device), labels.to(args.device)


class Step:
    """A training step with SGD as in LIFT.

    Args:
        net: The model.
        loss: Computes its loss.
        wrapper: Config of mmengine's optimizer wrapper.
        **kernels: Which of torch's implementations of SGD steps.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: Callable[[], Tensor],
        wrapper: dict,
        **kernels,
    ) -> None:
        from mmengine.logging import MMLogger
        from mmengine.optim import build_optim_wrapper

        # Building says how much learns, once for each variant.
        MMLogger.get_current_instance().setLevel('WARNING')
        self.net, self.compute = net, loss
        sgd = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.wrapper = build_optim_wrapper(
            net,
            dict(
                wrapper,
                constructor='lift_mm.TunedOptimWrapperConstructor',
                optimizer=dict(sgd, **kernels),
            ),
        )
        self.device = next(net.parameters()).device

    def loss(self) -> Tensor:
        """Compute the loss, with a graph."""
        with self.wrapper.optim_context(self.net):
            return self.compute()

    def __call__(self) -> dict[str, float]:
        clock = Clock(self.device)
        loss = self.loss()
        self.value = loss.detach()
        clock.mark()
        self.wrapper.backward(loss)
        clock.mark()
        self.wrapper.step()
        self.wrapper.zero_grad()
        clock.mark()
        parts = dict(zip(PARTS, clock.intervals()))
        return dict(parts, step=sum(parts.values()))


def build_step(args: argparse.Namespace, name: str) -> Step:
    """Build the step of a variant, or the straightforward one."""
    if args.threads:
        torch.set_num_threads(args.threads)
    if name == STRAIGHTFORWARD:
        return _straightforward(args)
    from mmpretrain.structures import DataSample

    net = build_ours(args, name).to(args.device)
    images, labels = make_batch(args)
    samples = [DataSample().set_gt_label(x) for x in labels.split(1)]
    kind = 'AmpOptimWrapper' if args.half else 'OptimWrapper'
    return Step(
        net,
        lambda: net(images, samples, mode='loss')['loss'],
        dict(type=kind),
    )


def _straightforward(args: argparse.Namespace) -> Step:
    ours = build_ours(args, 'default')
    net = StraightforwardViT(**sizes(ours, args))
    net.load_from(ours)
    net.to(args.device)
    images, labels = make_batch(args)
    counts = torch.tensor(class_counts(args.num_classes), device=args.device)
    prior = (counts / counts.sum()).log()
    wrapper = dict(type='OptimWrapper')
    if args.half:  # the scale of the loss is part of float16
        wrapper = dict(
            type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic'
        )
    return Step(
        net,
        lambda: F.cross_entropy(net(images) + prior, labels),
        wrapper,
        foreach=None,  # torch's own choice, which is not the fused one
    )


def plain_forward(args: argparse.Namespace, dtype: torch.dtype) -> Callable:
    """Give the forward pass of the plain frozen tower, without a graph."""
    from lift_mm.models import CLIPViT

    net = CLIPViT(args.arch, img_size=args.image, quick_gelu=True)
    net.to(args.device).eval()
    images, _ = make_batch(args)

    @torch.no_grad()
    def forward() -> dict[str, float]:
        clock = Clock(images.device)
        with torch.autocast(args.device, dtype, enabled=args.half):
            net(images)
        clock.mark()
        (spent,) = clock.intervals()
        return dict(forward=spent, step=spent)

    return forward


def bare_products(
    work: Sequence[Product], device: str, dtype: torch.dtype
) -> Callable:
    """Give a function that does matrix products and nothing else."""
    jobs = []
    for job in work:
        shapes = (job.m, job.k), (job.k, job.n), (job.m, job.n)
        jobs.append(
            [
                torch.randn(job.batch, *shape, device=device).to(dtype)
                for shape in shapes
            ]
        )

    def multiply() -> dict[str, float]:
        clock = Clock(torch.device(device))
        for job, (a, b, out) in zip(work, jobs):
            for _ in range(job.times):
                torch.bmm(a, b, out=out)
        clock.mark()
        (spent,) = clock.intervals()
        return dict(step=spent)

    return multiply
