"""Show in a browser what a model says of a picture, beside zero-shot CLIP.

The page needs no network, and only this machine reaches it unless --host or
--share say otherwise. It needs gradio: pip install 'lift_mm[web]'.
"""

import argparse
import copy
import os
import os.path as osp
import threading
import time
from collections.abc import Sequence

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmpretrain import get_model
from mmpretrain.registry import DATASETS
from mmpretrain.utils import progress

from lift_mm.apis import LongTailInferencer, set_class_names
from lift_mm.models.class_names import zero_shot_config

os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read at the import
try:
    import gradio as gr
except ImportError:  # --help does without
    gr = None

CSS = """
#picture img { width: 100%; height: 100%; object-fit: contain }
#tuned h2, #zero-shot h2 { overflow-wrap: anywhere }
"""
Answer = tuple[dict[str, float] | None, str]


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='the config of the training run')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='a checkpoint or published tuned file; without one, the model '
        'as it starts',
    )
    parser.add_argument('--port', type=int, default=7860)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='the address to listen at; 0.0.0.0 lets other machines in',
    )
    parser.add_argument(
        '--share',
        action='store_true',
        help='ask gradio for a public address, which goes over its servers',
    )
    parser.add_argument('--device', help='by default the fastest there is')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    args = parser.parse_args(args)
    for path in filter(None, (args.config, args.checkpoint)):
        if '://' not in path and not osp.isfile(path):
            parser.exit(2, f'error: there is no file "{path}"\n')
    return args


class Tuned:
    """The model of the config, on one view or on several."""

    def __init__(
        self, cfg: Config, checkpoint: str | None, device: str | None
    ) -> None:
        one = LongTailInferencer(cfg, checkpoint or True, device)
        several = LongTailInferencer(one.model, classes=one.classes, tte=True)
        self.inferencers = {False: one, True: several}
        self.classes = [*map(str, one.classes or ())]
        self.device = next(one.model.parameters()).device

    def __call__(self, path: str | None, tte: bool) -> Answer:
        return answer(self.inferencers[tte], path)


class ZeroShot:
    """CLIP's own classifier, for class names that anybody may change.

    Raises:
        ValueError: The model of the config is not on a CLIP.
    """

    def __init__(
        self, cfg: Config, classes: Sequence[str], device: torch.device
    ) -> None:
        cfg = copy.deepcopy(cfg)
        cfg.model = zero_shot_config(cfg.model, len(classes))
        self.model = get_model(cfg, device=device)
        self.names: list[str] = []
        self.inferencers = {
            tte: LongTailInferencer(self.model, classes=classes, tte=tte)
            for tte in (False, True)
        }
        self.lock = threading.Lock()  # visitors share the model

    @torch.no_grad()
    def __call__(self, path: str | None, tte: bool, lines: str) -> Answer:
        names = [line.strip() for line in lines.splitlines() if line.strip()]
        infer = self.inferencers[tte]
        with self.lock:
            try:
                if names != self.names:
                    set_class_names(self.model, names)
                    self.model.head.rows()  # kept, and not a picture's time
                    self.names = names
            except ValueError as error:
                return None, str(error)
            infer.classes = names
            return answer(infer, path)


def answer(infer: LongTailInferencer, path: str | None) -> Answer:
    """Give the best classes with their scores, and the line below them."""
    if path is None:
        return None, ''
    begin = time.perf_counter()
    try:
        result = infer(path)[0]
    except ValueError as error:  # without the folder of uploads
        return None, str(error).replace(path, osp.basename(path))
    seconds = time.perf_counter() - begin
    labels: dict[str, float] = {}
    for name, score in result['top']:
        name = str(name)
        while name in labels:  # two classes of one name; blanks are not seen
            name += ' '
        labels[name] = score
    return labels, f'{1000 * seconds:.0f} ms for this image'


def example_files(cfg: Config, number: int = 6) -> list[str]:
    """Give images of the test set, of classes that lie far apart."""
    try:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            data = DATASETS.build(cfg.test_dataloader.dataset)
        paths = [
            data.get_data_info(i).get('img_path') for i in range(len(data))
        ]
    except Exception as error:  # the page works without
        print(f'No examples: the test set cannot be read ({error}).')
        return []
    paths = [path for path in paths if path and '://' not in path]
    return paths[len(paths) // (2 * number) :: max(1, len(paths) // number)]


def build_page(
    tuned: Tuned,
    zero_shot: ZeroShot | None,
    shown: str,
    reason: str,
    examples: Sequence[str],
) -> 'gr.Blocks':
    """Put the page together.

    Args:
        tuned: The model of the config.
        zero_shot: The classifier beside it, if there is one.
        shown: Config and checkpoint, for the page.
        reason: Why there is no ``zero_shot``.
        examples: Images to click at.
    """
    with gr.Blocks(title='lift_mm', analytics_enabled=False) as page:
        gr.Textbox(shown, label='Model', max_lines=3, elem_id='model')
        with gr.Row():
            with gr.Column():
                picture = gr.Image(
                    label='Picture',
                    type='filepath',
                    sources=['upload', 'clipboard'],
                    height=280,
                    elem_id='picture',
                )
                # As uploaded: the model's own loader says what is broken.
                picture.preprocess = lambda file: file and file.path
                tte = gr.Checkbox(
                    label='Test-time ensembling',
                    info='the mean of several views',
                    elem_id='tte',
                )
            with gr.Column():
                bars = gr.Label(label='Tuned model', elem_id='tuned')
                line = _line('', 'tuned-line')
            with gr.Column():
                other = gr.Label(label='Zero-shot CLIP', elem_id='zero-shot')
                other_line = _line(reason, 'zero-shot-line')
                names = gr.Textbox(
                    '\n'.join(tuned.classes),
                    label='Classes of zero-shot CLIP, one a line',
                    lines=5,
                    max_lines=12,
                    visible=zero_shot is not None,
                    elem_id='names',
                )
        if examples:
            gr.Examples([[path] for path in examples], picture)
        # Of many changes the last one counts.
        follow = dict(trigger_mode='always_last', show_progress='minimal')
        gr.on(
            [picture.change, tte.change],
            tuned,
            [picture, tte],
            [bars, line],
            api_name='tuned',
            **follow,
        )
        if zero_shot is not None:
            gr.on(
                [picture.change, tte.change, names.change, page.load],
                zero_shot,
                [picture, tte, names],
                [other, other_line],
                api_name='zero_shot',
                **follow,
            )
    return page


def _line(text: str, name: str) -> 'gr.Textbox':
    return gr.Textbox(
        text,
        label='Time, or what is wrong',
        show_label=False,
        container=False,
        max_lines=8,
        interactive=False,
        elem_id=name,
    )


def main(args: Sequence[str] | None = None, **launch) -> 'gr.Blocks':
    """Serve the page; ``launch`` is for gradio."""
    args = parse_args(args)
    if gr is None:
        raise ImportError("The page needs gradio: pip install 'lift_mm[web]'.")
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    progress.disable_progress_bar = True
    tuned = Tuned(cfg, args.checkpoint, args.device)
    zero_shot, reason = None, ''
    try:
        zero_shot = ZeroShot(cfg, tuned.classes, tuned.device)
    except ValueError as error:
        reason = str(error)
    checkpoint = args.checkpoint or cfg.get('load_from') or 'no checkpoint'
    shown = f'{args.config}, {checkpoint}'
    examples = example_files(cfg)
    page = build_page(tuned, zero_shot, shown, reason, examples)
    # Fonts of the machine: nothing is fetched.
    theme = gr.themes.Default(
        font=['system-ui', 'sans-serif'],
        font_mono=['ui-monospace', 'monospace'],
    )
    page.launch(
        server_name=args.host,
        server_port=args.port,
        share=args.share,
        theme=theme,
        css=CSS,
        footer_links=[],
        allowed_paths=[*map(osp.abspath, examples)],
        ssr_mode=False,
        **launch,
    )
    return page


if __name__ == '__main__':
    main()
