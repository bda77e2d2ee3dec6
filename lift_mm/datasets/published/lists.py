"""Reading a published list, whatever its name, line ends and path style.

Nothing here raises for what a list says: everything wrong is collected as
one line each, so that a user sees all of it at once.
"""

from dataclasses import dataclass, field
from pathlib import Path

from ..paths import leaves
from .facts import Benchmark, PublishedList
from .layouts import Place, place_of, readable, spell


@dataclass
class ImageList:
    """A list as it was read.

    Args:
        facts: What is published about it.
        origin: Where it was read from, for messages.
        places: Where each image belongs.
        labels: The number behind each path.
        lines: Line number of each image.
        notes: Harmless differences from the published file.
        failures: What is wrong, one sentence each.
    """

    facts: PublishedList
    origin: str
    places: list[Place] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def fail(self, fact: str, expected: object, found: object) -> None:
        """Keep a fact that does not hold.

        Args:
            fact: What was compared.
            expected: What is published.
            found: What the list has.
        """
        expected, found = (
            f'{value:,}' if isinstance(value, int) else value
            for value in (expected, found)
        )
        self.failures.append(
            f'{self.facts.file}: {fact}: expected {expected}, found {found}'
        )


def load_list(
    path: Path, facts: PublishedList, benchmark: Benchmark
) -> ImageList:
    """Read a list file.

    Args:
        path: Text in UTF-8, with any line ends.
        facts: What is published about it.
        benchmark: Benchmark that it belongs to.
    """
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        found = ImageList(facts, str(path))
        found.fail('encoding', 'UTF-8', error)
        return found
    return parse_list(text, str(path), facts, benchmark)


def parse_list(
    text: str, origin: str, facts: PublishedList, benchmark: Benchmark
) -> ImageList:
    """Read the text of a list.

    Args:
        text: ``path label`` a line; the label is what stands behind the
            last blank.
        origin: Where it comes from, for messages.
        facts: What is published about it.
        benchmark: Benchmark that it belongs to.

    Returns:
        The list. A line of another form, or a path that leaves the root or
        has no known form, is left out and named in ``failures``.
    """
    found = ImageList(facts, origin)
    plain = normalised(text, found.notes)
    refused = {}
    for number, line in enumerate(plain.split('\n'), start=1):
        if not line.strip():
            continue
        path, *label = line.strip().rsplit(maxsplit=1)
        digits = label[0] if label else ''
        if not (digits.isascii() and digits.isdigit() and len(digits) < 999):
            wanted, place = 'a path, a blank and a whole number', None
        elif leaves(path):
            wanted, place = 'a path inside the root folder', None
        else:
            place = place_of(path.removeprefix('./'), benchmark.images)
            wanted = _known_forms(benchmark)
        if place is None:
            refused.setdefault(wanted, []).append((number, line))
            continue
        found.places.append(place)
        found.labels.append(int(digits))
        found.lines.append(number)
    for wanted, bad in refused.items():
        number, line = bad[0]
        more = f' and {len(bad) - 1:,} more lines like it'
        text = repr(line.strip()) + (more if bad[1:] else '')
        found.fail(f'line {number}', wanted, text)
    return found


def normalised(text: str, notes: list[str] | None = None) -> str:
    """Write a text as published: plain line ends, one at the end, no BOM.

    Args:
        text: What a file holds.
        notes: Gets a note for each difference.
    """
    notes = [] if notes is None else notes
    if text.startswith('\ufeff'):
        notes.append('a byte order mark')
    plain = text.removeprefix('\ufeff')
    if '\r' in plain:
        notes.append('Windows line ends')
        plain = plain.replace('\r\n', '\n').replace('\r', '\n')
    if plain and not plain.endswith('\n'):
        notes.append('no line end at the end')
        plain += '\n'
    return plain


def published_text(
    found: ImageList, benchmark: Benchmark, forms: dict[str, str] | None = None
) -> str:
    """Write a list, with the labels and the order it has.

    Args:
        found: The list, with class folders.
        benchmark: Benchmark that it belongs to.
        forms: Form by name of the part. By default the published ones.
    """
    published = {part.name: part.forms[0] for part in benchmark.images}
    forms = published | (forms or {})
    return ''.join(
        f'{spell(forms[place.part], place.folder, place.name)} {label}\n'
        for place, label in zip(found.places, found.labels)
    )


def _known_forms(benchmark: Benchmark) -> str:
    forms = [
        form
        for part in benchmark.images
        for form in (*part.forms, *part.other)
    ]
    return 'one of ' + ', '.join(map(readable, forms))
