"""The results of an evaluation as plain aligned text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vox2face.train.evaluate.results import Accuracy, Results
from vox2face.train.metrics.statistics import Correlation, Interval, Share


def rounded(value: float, digits: int = 0) -> str:
    """Format a number with `digits` decimals; never "-0"."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows as text: the first column to the left, all others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percent(value: float | Interval) -> str:
    """Format a part, or a mean with its interval, in percent: "12.3 [10.1, 14.5]"."""
    if isinstance(value, Interval):
        return with_interval(100 * value.mean, 100 * value.low, 100 * value.high, 1)
    return rounded(100 * value, 1)


def number(value: float | Interval, digits: int = 3) -> str:
    """Format a number, or a mean with its interval: "0.123 [0.101, 0.145]"."""
    if isinstance(value, Interval):
        return with_interval(value.mean, value.low, value.high, digits)
    return rounded(value, digits)


def with_interval(mean: float, low: float, high: float, digits: int) -> str:
    """Format a number with its interval in brackets."""
    return f"{rounded(mean, digits)} [{rounded(low, digits)}, {rounded(high, digits)}]"


def headroom(value: Share) -> str:
    """Format a fraction of the headroom: "62 % [51, 74]"; a dash without headroom."""
    if value.share is None or value.low is None or value.high is None:
        return "-"
    share, low, high = (rounded(100 * part) for part in (value.share, value.low, value.high))
    return f"{share} % [{low}, {high}]"


def report(results: Results) -> str:
    """Return all tables of an evaluation as text."""
    parts = [
        heading(results),
        _recall_part(results),
        _within_part(results),
        _share_part(results),
        _similarity_part(results),
        _ancestry_part(results),
        _groups_part(results),
        _pictures_part(results),
        _skipped_part(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(results: Results) -> str:
    """Return the split, pools, gallery, query and settings as text."""
    pool, settings = results.pool, results.settings
    size = f"{pool.pools} x {pool.size} people" if pool.pools > 1 else f"{pool.size} people"
    return (
        f"{settings['split']} split, {settings['face']}: pool of {size} "
        f"({pool.used} of {pool.people} {pool.who}), {pool.order}\n"
        f"gallery: {pool.gallery}; query: {pool.query}; distance: {settings['distance']}\n"
        f"in brackets: 95 % intervals, people resampled {settings['draws']} times, "
        f"seed {settings['seed']}"
    )


def _recall_part(results: Results) -> str:
    """Return the table of recall, with chance and oracles."""
    references = results.references
    ks = list(references.random)
    rows = [[f"random, K/{results.pool.size}", *_percents(references.random), "50.0"]]
    if references.gender_oracle is not None:
        rows.append(["right gender, random order", *_percents(references.gender_oracle), ""])
    tables = {}
    for name, system in results.systems.items():
        tables[name] = system.recall
        if name == results.main:
            tables["  people exchanged"] = system.shuffled.recall
    if results.latents is not None:
        tables.update(results.latents.oracles)
    for name, recall in tables.items():
        rows.append([name, *_percents(recall.at), percent(recall.rank)])
    return "Recall, %\n" + table(["", *ks, "mean rank, %"], rows)


def _percents(recall: Mapping[str, float] | Mapping[str, Interval]) -> list[str]:
    return [percent(value) for value in recall.values()]


def _within_part(results: Results) -> str:
    """Return the table of recall within one gender."""
    ways = {name: system.within for name, system in results.systems.items()}
    if results.latents is not None:
        ways["latent oracle"] = results.latents.latent_within
    with_values = {name: within for name, within in ways.items() if within is not None}
    if not with_values:
        return ""
    first = next(iter(with_values.values()))
    low, high = first.pool
    chance = f"random, K/{low}" + ("" if low == high else f" to K/{high}")
    rows = [[chance, *_percents(first.chance), ""]]
    for name, within in with_values.items():
        above = [k for k, excluded in within.excludes_chance.items() if excluded]
        rows.append([name, *_percents(within.recall.at), ", ".join(above) or "-"])
    header = ["", *first.chance, "interval above chance"]
    return "Recall within one gender, %\n" + table(header, rows)


def _share_part(results: Results) -> str:
    """Return the table of fractions of the way from sex only to the latent oracle."""
    if results.latents is None:
        return ""
    shares = results.latents.shares
    rows = [[name, *(headroom(share) for share in row.values())] for name, row in shares.items()]
    header = ["", *results.references.random]
    return "Covered of the way from sex only to the latent oracle\n" + table(header, rows)


SIMILARITIES = {  # by measure: its heading and decimals
    "cosine": ("cosine", 3),
    "degrees": ("degrees", 2),
    "l1": ("L1, unit vectors", 3),
    "l2": ("L2, unit vectors", 3),
}


def _similarity_part(results: Results) -> str:
    """Return the table of similarity to one's own pictures."""

    def row(name: str, values: Mapping[str, Interval]) -> list[str]:
        return [name, *(number(values[n], digits) for n, (_, digits) in SIMILARITIES.items())]

    rows = []
    for name, system in results.systems.items():
        rows.append(row(name, system.similarity))
        if name == results.main:
            rows.append(["  people exchanged", number(system.shuffled.cosine), "", "", ""])
    if results.ceiling is not None:
        rows.append(row("two pictures of one person", results.ceiling))
    header = ["", *(heading for heading, _ in SIMILARITIES.values())]
    return "Nearness to one's own pictures\n" + table(header, rows)


def _ancestry_part(results: Results) -> str:
    """Return the table of the negative control: ancestry predicted from voices."""
    if results.latents is None or not results.latents.ancestry:
        return ""

    def row(name: str, accuracy: Accuracy) -> list[str]:
        value = percent(Interval(accuracy.accuracy, accuracy.low, accuracy.high))
        return [name, value, percent(accuracy.chance), "yes" if accuracy.at_chance else "no"]

    rows = [row(*item) for item in results.latents.ancestry.items()]
    header = ["", "balanced accuracy, %", "chance, %", "interval holds chance"]
    return "Ancestry predicted by ridge regression (a control)\n" + table(header, rows)


def _groups_part(results: Results) -> str:
    """Return the tables of recall by group of people."""
    ks, parts = list(results.references.random), []
    for column, by_group in (results.groups or {}).items():
        rows = [
            [kind, str(group.people), *_percents(group.at), number(group.cosine)]
            for kind, group in by_group.groups.items()
        ]
        if by_group.left_out:
            rows.append(["too few or unknown", str(by_group.left_out), *[""] * (len(ks) + 1)])
        parts.append(table([column, "people", *[f"{k}, %" for k in ks], "cosine"], rows))
    title = f"By group ({results.main}; whole pools)\n"
    return title + "\n\n".join(parts) if parts else ""


def _pictures_part(results: Results) -> str:
    """Return the tables about decoded pictures."""
    pictures = results.pictures
    if pictures is None:
        return ""
    rows = [
        [name, row.network, str(row.pool), *_percents(row.recall.at)]
        for name, row in pictures.recall.items()
    ]
    header = ["", "judged by", "pool", *results.references.random]
    parts = ["Recall of decoded pictures, %\n" + table(header, rows)]
    if pictures.vggface_score:
        words = [
            f"{name} {s.mean:.2f} +- {s.std:.2f}" for name, s in pictures.vggface_score.items()
        ]
        parts.append(f"VGGFace score ({pictures.classifier}): " + ", ".join(words))
    if pictures.landmarks:
        rows = [
            [name, *(number(value) for value in (pair.r, pair.shuffled, pair.distance))]
            for name, pair in pictures.landmarks.items()
        ]
        header = ["", "mean r", "people exchanged", "distance, eye distances"]
        parts.append("Landmarks, aligned by the eyes\n" + table(header, rows))
    faces = pictures.craniofacial
    if faces:
        names = list(next(iter(faces.values())))
        rows = [[name, *(correlation(faces[pair][name]) for pair in faces)] for name in names]
        parts.append("Craniofacial correlation, r\n" + table(["", *faces], rows))
    return "\n\n".join(parts)


def correlation(r: Correlation) -> str:
    """Format a correlation with its interval; a dash for that of a constant."""
    if r.r is None or r.low is None or r.high is None:
        return "-"
    return with_interval(r.r, r.low, r.high, 2)


def _skipped_part(results: Results) -> str:
    """Return the first lines about clips, pictures and people that were left out."""
    skipped = results.skipped
    lines = [f"Left out: {line}" for line in skipped[:5]]
    if len(skipped) > 5:
        lines.append(f"Left out: {len(skipped) - 5} more, listed in results.json")
    return "\n".join(lines)
