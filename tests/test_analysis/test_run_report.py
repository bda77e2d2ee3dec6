"""The report of a run, opened as a reader opens it."""

import base64
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from analysed_run import NAMES
from PIL import Image

pytest.importorskip('plotly', reason='needs the extra `report`')

from lift_mm.analysis.run_report import Facts, page, to_json  # noqa: E402
from lift_mm.analysis.run_report.facts import (  # noqa: E402
    calibration_bins,
    thumbnail,
)
from lift_mm.analysis.run_report.files import (  # noqa: E402
    read_curves,
    run_files,
)
from lift_mm.evaluation import (  # noqa: E402
    calibration_error,
    measures,
    shot_groups,
)
from lift_mm.evaluation.report import class_rows  # noqa: E402

COUNTS = [300, 101, 60, 10, 5]
CURVES = [
    dict(step=10, epoch=1, loss=2.0, lr=0.1),
    dict(step=20, epoch=1, loss=1.0, lr=0.1),
    {'step': 1, 'lt/acc': 40.0, 'lt/acc_many': 50.0},
    dict(step=30, epoch=2, loss=0.5, lr=0.01),
    {'step': 2, 'lt/acc': 60.0, 'lt/acc_many': 70.0},
]


def made_up(name=NAMES[0], curves=CURVES, names=NAMES):
    """Give facts of a test in which the last class has no image."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    hits = rng.random(100) < 0.6
    predictions = np.where(hits, labels, (labels + 1) % 5)
    confidences = rng.uniform(0.2, 1, 100)
    groups = shot_groups(COUNTS)
    rows = class_rows(labels, predictions, groups, names, COUNTS)
    picture = dict(
        data=thumbnail(torch.zeros(3, 20, 30, dtype=torch.uint8), True),
        taken_for=names[1],
    )
    worst = [dict(row, pictures=[picture] * 6) for row in rows[:4]]
    return Facts(
        name=name,
        checkpoint=f'work_dirs/{"long" * 30}/epoch_1.pth',
        metrics=measures(labels, predictions, confidences, groups),
        rows=rows,
        calibration=calibration_bins(confidences, hits),
        worst=worst,
        learned=[
            dict(
                name='backbone.layers.*.adaptformer.up.weight',
                shape='768 × 4',
                tensors=12,
                parameters=36864,
            )
        ],
        base_parameters=86_000_000,
        curves=list(curves),
        config=f'classes = {names!r}\n# {"x" * 500}',
        environment=dict(machine='2 cores', versions=dict(torch='2.9')),
    )


@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip(
        'playwright.sync_api', reason='needs playwright (extra `browser`)'
    )
    chromium = shutil.which('chromium')
    if chromium is None:
        pytest.skip('needs the program `chromium`')
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium, args=['--no-sandbox']
        )
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def reports(tmp_path_factory):
    """Write a report with all, one without curves, and one of many runs."""
    folder = tmp_path_factory.mktemp('reports')
    others = [made_up(name) for name in NAMES[1:]]
    pages = dict(
        whole=page(made_up(), others),
        bare=page(made_up(curves=[])),
    )
    paths = {}
    for name, text in pages.items():
        paths[name] = folder / f'{name}.html'
        paths[name].write_text(text, encoding='utf-8')
    return paths


@pytest.fixture
def opened(browser, reports):
    """Open a report from disk without a network."""
    contexts = []

    def open_report(name, width):
        context = browser.new_context(
            viewport=dict(width=width, height=900), offline=True
        )
        contexts.append(context)
        tab = context.new_page()
        faults, asked = [], []
        tab.on('pageerror', lambda error: faults.append(str(error)))
        tab.on(
            'console',
            lambda line: line.type == 'error' and faults.append(line.text),
        )
        tab.on('request', lambda request: asked.append(request.url))
        tab.goto(reports[name].as_uri())
        tab.wait_for_selector('#calibration .main-svg')
        assert not faults
        assert all(url.startswith(('file:', 'data:')) for url in asked)
        return tab

    yield open_report
    for context in contexts:
        context.close()


@pytest.mark.parametrize('width', [1280, 390])
@pytest.mark.parametrize('name', ['whole', 'bare'])
def test_page_in_a_browser(opened, name, width):
    tab = opened(name, width)
    # One mark for each class that has test images.
    assert tab.locator('#frequency .scatterlayer .point').count() == 4
    wide = 'document.documentElement.scrollWidth'
    assert tab.evaluate(wide) <= width
    assert tab.locator('#curves').count() == (name == 'whole')
    runs = len(NAMES) if name == 'whole' else 1
    assert tab.locator('#groups .barlayer .point').count() == 4 * runs
    legend = tab.locator('#groups .legendtext').all_text_contents()
    assert legend == [*NAMES[1:], NAMES[0]] * (runs > 1)
    assert tab.locator('h1').inner_text() == NAMES[0]
    # No name has become a part of the page.
    assert tab.locator('b', has_text=re.compile('^bold$')).count() == 0
    heads = tab.locator('.classes h3').all_inner_texts()
    assert sorted(heads) == sorted(NAMES[:4])
    assert tab.locator('.pictures img').count() == 24
    loaded = '[...document.images].every(i => i.naturalWidth > 0)'
    assert tab.evaluate(loaded)


def test_hover_shows_the_name(opened):
    tab = opened('whole', 1280)
    tab.evaluate(
        'Plotly.Fx.hover("frequency", [{curveNumber: 0, pointNumber: 0}])'
    )
    text = tab.locator('#frequency .hovertext').first
    assert NAMES[0] in text.text_content()


def test_json():
    report = json.loads(to_json(made_up()))
    assert [row['class_name'] for row in report['rows']] == NAMES
    assert not {'worst', 'curves', 'config'} & report.keys()


def test_calibration_bins_are_those_of_the_error():
    rng = np.random.default_rng(1)
    confidences, correct = rng.random(500), rng.random(500) < 0.5
    bins = calibration_bins(confidences, correct)
    assert sum(b['images'] for b in bins) == 500
    error = sum(
        b['images'] * abs(b['accuracy'] - b['confidence']) for b in bins
    )
    want = calibration_error(confidences, correct)
    assert error / 500 == pytest.approx(want)
    (one,) = calibration_bins(np.array([0.1, 0.05]), np.array([True, False]))
    assert one == pytest.approx(dict(confidence=7.5, accuracy=50, images=2))


def test_curves_of_a_run_that_was_cut(tmp_path):
    """A repeated step counts as it was last; a validation is its own."""
    first = [dict(step=1, loss=3), dict(step=2, loss=2), dict(step=1, acc=5)]
    second = [dict(step=2, loss=1), dict(step=3, loss=0.5)]
    for start, entries in (('1', first), ('2', second)):
        path = tmp_path / start / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, entries)))
    found = read_curves(tmp_path)
    losses = [entry['loss'] for entry in found if 'loss' in entry]
    assert losses == [3, 1, 0.5]
    assert dict(step=1, acc=5) in found and len(found) == 4


def test_files_of_a_run(tmp_path):
    """The config of the last start that trained, the newest checkpoint."""
    for start in '123':
        data = tmp_path / start / 'vis_data'
        data.mkdir(parents=True)
        (data / 'config.py').write_text('')
        if start != '3':  # a test
            (data / 'scalars.json').write_text('')
    for number in (10, 9):
        path = tmp_path / f'epoch_{number}.pth'
        path.write_bytes(b'')
        os.utime(path, (number, number))
    (tmp_path / 'recipe.py').write_text('')
    config, checkpoint = run_files(tmp_path)
    assert config.parts[-3:] == ('2', 'vis_data', 'config.py')
    assert checkpoint.name == 'epoch_10.pth'
    one = tmp_path / 'epoch_9.pth'
    assert run_files(one) == (config, one)


def test_thumbnail_has_the_right_colours():
    image = torch.zeros(3, 200, 300, dtype=torch.uint8)
    image[2] = 255  # the last channel: red in BGR
    for flip, want in ((True, 0), (False, 2)):
        data = base64.b64decode(thumbnail(image, flip).partition(',')[2])
        picture = np.asarray(Image.open(io.BytesIO(data)))
        assert picture.shape == (75, 112, 3)
        assert picture.mean((0, 1)).argmax() == want
