"""The page of ``tools/demo_web.py``, in a browser."""

import json
import os
import shutil
import urllib.error
import urllib.request

import pytest
import torch
from embedded_demo import Demo
from mmpretrain.utils import progress
from test_tools.test_train_test import free_port, load_tool
from test_tuners.tiny_models import model_config

from lift_mm import apis

pytest.importorskip('gradio', reason="needs the extra 'web': gradio")
CHROMIUM = shutil.which('chromium')
MARKUP = '<img src=x onerror=document.title=1>'


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """A model in which the class it sees most has markup for a name."""
    demo = Demo(tmp_path_factory.mktemp('demo'))
    infer = apis.LongTailInferencer(demo.config('lift'), demo.checkpoint)
    label = infer(demo.images[0])[0]['pred_label']
    state = torch.load(demo.checkpoint, weights_only=True)
    demo.classes[label] = MARKUP
    state['meta']['dataset_meta']['classes'] = demo.classes
    torch.save(state, demo.checkpoint)
    return demo


@pytest.fixture(scope='module')
def tool():
    before = progress.disable_progress_bar
    yield load_tool('demo_web')
    progress.disable_progress_bar = before


@pytest.fixture(scope='module')
def address(demo, tool):
    port = free_port()
    words = [demo.folder / 'lift.py', demo.checkpoint, '--port', port]
    page = tool.main(
        [*map(str, words), '--device', 'cpu'],
        prevent_thread_lock=True,
        quiet=True,
    )
    yield f'http://127.0.0.1:{port}'
    page.close()


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip(
        'playwright.sync_api', reason="needs the extra 'browser': playwright"
    )
    if CHROMIUM is None:
        pytest.skip('needs chromium, which the extra `browser` drives')
    with sync_api.sync_playwright() as play:
        options = dict(executable_path=CHROMIUM, args=['--no-sandbox'])
        with play.chromium.launch(**options) as browser:
            yield browser


class Visit:
    """A tab, and what has gone wrong in it."""

    def __init__(self, browser, address: str, width: int) -> None:
        self.tab = browser.new_page(viewport=dict(width=width, height=900))
        self.tab.set_default_timeout(20_000)
        self.wrong: list[str] = []
        self.tab.on('console', self.console)
        self.tab.on('pageerror', lambda error: self.wrong.append(str(error)))
        self.tab.on('request', lambda request: self.request(request, address))
        self.tab.goto(address)
        self.tab.wait_for_selector('#picture input', state='attached')

    def console(self, message) -> None:
        if message.type == 'error' and 'favicon' not in str(message.location):
            self.wrong.append(message.text)

    def request(self, request, address: str) -> None:
        if not request.url.startswith((address, 'data:', 'blob:')):
            self.wrong.append(request.url)

    def upload(self, path) -> None:
        self.tab.set_input_files('#picture input[type=file]', str(path))

    def shows(self, column: str, *texts: str) -> None:
        """Wait until a column of bars has these texts."""
        self.tab.wait_for_function(
            '([id, texts]) => texts.every('
            'text => document.getElementById(id).innerText.includes(text))',
            arg=[column, texts],
        )

    def says(self, line: str, text: str) -> None:
        """Wait until a line has a text."""
        self.tab.wait_for_function(
            '([id, text]) => [...document.querySelectorAll('
            '`#${id} input, #${id} textarea`)].some('
            'box => box.value.includes(text))',
            arg=[line, text],
        )

    def overflow(self) -> int:
        root = 'document.documentElement'
        return self.tab.evaluate(f'{root}.scrollWidth - {root}.clientWidth')


@pytest.fixture(params=[1280, 390])
def visit(browser, address, request):
    visit = Visit(browser, address, request.param)
    yield visit
    folder = os.environ.get('LIFT_MM_SCREENSHOTS')
    if folder:  # to look at them
        name = f'{request.node.name}.png'
        visit.tab.screenshot(path=os.path.join(folder, name), full_page=True)
    visit.tab.close()


def bars(infer, path) -> list[str]:
    """Give the texts of bars, whose per cents are whole numbers."""
    return [
        text
        for name, score in infer(path)[0]['top']
        for text in (name, f'{int(100 * score + 0.5)}%')
    ]


def test_the_page(demo, visit):
    path, config = demo.images[0], demo.config('lift')
    infer, crops = (
        apis.LongTailInferencer(config, demo.checkpoint, 'cpu', tte=tte)
        for tte in (False, True)
    )
    assert bars(infer, path) != bars(crops, path)
    visit.says('model', f'lift.py, {demo.checkpoint}')

    visit.upload(path)
    visit.shows('tuned', *bars(infer, path))
    assert infer(path)[0]['pred_class'] == MARKUP
    assert visit.tab.locator('#tuned img').count() == 0
    visit.says('tuned-line', ' ms')
    visit.says('zero-shot-line', 'img')  # no text tower reads that here

    names = ['sandal', 'bag']
    clip = apis.LongTailInferencer(
        demo.config('zero-shot'), None, 'cpu', classes=names
    )
    visit.tab.fill('#names textarea', 'sandal\n\nbag\n')
    visit.shows('zero-shot', clip(path)[0]['pred_class'], *names)
    visit.says('zero-shot-line', ' ms')
    visit.tab.fill('#names textarea', 'shirt\ncoat\ndress')
    visit.shows('zero-shot', 'shirt', 'coat', 'dress')
    assert 'bag' not in visit.tab.inner_text('#zero-shot')
    visit.shows('tuned', *bars(infer, path))

    visit.tab.check('#tte input')
    visit.shows('tuned', *bars(crops, path))
    visit.tab.uncheck('#tte input')
    visit.shows('tuned', *bars(infer, path))

    assert visit.tab.title() == 'lift_mm'
    assert visit.overflow() == 0
    assert visit.wrong == []


def test_what_is_wrong_and_an_example(visit, tmp_path):
    (tmp_path / 'page.png').write_text(MARKUP)
    visit.upload(tmp_path / 'page.png')
    visit.says('tuned-line', "The image 'page.png' cannot be read")
    assert visit.overflow() == 0
    visit.tab.fill('#names textarea', 'bag')
    visit.tab.locator('.gallery-item').first.click()
    visit.says('tuned-line', ' ms')
    visit.shows('zero-shot', 'bag', '100%')
    visit.tab.fill('#names textarea', '')
    visit.says('zero-shot-line', 'and none is there')
    assert visit.overflow() == 0


def test_files_of_the_server_stay_there(demo, address, tool):
    secret = str(demo.checkpoint)
    file = dict(path=secret, meta=dict(_type='gradio.FileData'))
    call = f'{address}/gradio_api/call/tuned'
    request = urllib.request.Request(
        call,
        json.dumps(dict(data=[file, False])).encode(),
        {'Content-Type': 'application/json'},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        event = json.load(answer)['event_id']
    with urllib.request.urlopen(f'{call}/{event}', timeout=20) as answer:
        assert answer.read().startswith(b'event: error')


def test_without_text_tower(demo, tool):
    config = demo.config('lift')
    config.model = model_config()
    with pytest.raises(ValueError, match='no zero-shot classifier'):
        tool.ZeroShot(config, ['fox', 'owl'], 'cpu')


def test_classes_of_one_name(tool):
    class Infer:
        def __call__(self, path):
            return [dict(top=[('crane', 0.5), ('crane', 0.3), (7, 0.2)])]

    labels, line = tool.answer(Infer(), 'x.png')
    assert labels == {'crane': 0.5, 'crane ': 0.3, '7': 0.2}
    assert line.endswith(' ms for this image')
    assert tool.answer(Infer(), None) == (None, '')


def test_examples(demo, tool, tmp_path, capsys):
    config = demo.config('lift')
    found = tool.example_files(config)
    assert len({os.path.dirname(path) for path in found}) == len(found) == 6
    config.test_dataloader.dataset.data_root = str(tmp_path / 'absent')
    assert tool.example_files(config) == []
    assert 'No examples' in capsys.readouterr().out


def test_only_this_machine_by_default(demo, tool, capsys):
    config = str(demo.folder / 'lift.py')
    assert tool.parse_args([config]).host == '127.0.0.1'
    assert not tool.parse_args([config]).share
    with pytest.raises(SystemExit):
        tool.parse_args([config, 'absent.pth'])
    assert 'no file "absent.pth"' in capsys.readouterr().err
