"""The results of an evaluation as plain aligned text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vox2face.train.evaluate.results import Accuracy, Results
from vox2face.train.metrics.statistics import Correlation, Interval, Share


def rounded(value: float, digits: int = 0) -> str:
    """Return a number with so many decimals; never "-0"."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text: the first column to the left, all others to the right."""
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
    """Return a part, or a mean with its interval, in percent: "12.3 [10.1, 14.5]"."""
    if isinstance(value, Interval):
        return with_interval(100 * value.mean, 100 * value.low, 100 * value.high, 1)
    return rounded(100 * value, 1)


def number(value: float | Interval, digits: int = 3) -> str:
    """Return a number, or a mean with its interval: "0.123 [0.101, 0.145]"."""
    if isinstance(value, Interval):
        return with_interval(value.mean, value.low, value.high, digits)
    return rounded(value, digits)


def with_interval(middle: float, low: float, high: float, digits: int) -> str:
    """Return a number with its interval in brackets."""
    return f"{rounded(middle, digits)} [{rounded(low, digits)}, {rounded(high, digits)}]"


def covered(value: Share) -> str:
    """Return a share of the way with its interval: "62 % [51, 74]"; a dash without a way."""
    if value.share is None or value.low is None or value.high is None:
        return "-"
    share, low, high = (rounded(100 * part) for part in (value.share, value.low, value.high))
    return f"{share} % [{low}, {high}]"


def report(results: Results) -> str:
    """Return all tables of an evaluation."""
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
    """Return what was measured, in words."""
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
    """Return recall, with chance and oracles beside it."""
    references = results.references
    ks = list(references.random)
    rows = [[f"random, K/{results.pool.size}", *_percents(references.random), "50.0"]]
    if references.gender_oracle is not None:
        rows.append(["right gender, random order", *_percents(references.gender_oracle), ""])
    tables = {}
    for name, found in results.systems.items():
        tables[name] = found.recall
        if name == results.main:
            tables["  people exchanged"] = found.shuffled.recall
    if results.latents is not None:
        tables.update(results.latents.oracles)
    for name, reached in tables.items():
        rows.append([name, *_percents(reached.at), percent(reached.rank)])
    return "Recall, %\n" + table(["", *ks, "mean rank, %"], rows)


def _percents(recall: Mapping[str, float] | Mapping[str, Interval]) -> list[str]:
    return [percent(value) for value in recall.values()]


def _within_part(results: Results) -> str:
    """Return recall within one gender."""
    ways = {name: found.within for name, found in results.systems.items()}
    if results.latents is not None:
        ways["latent oracle"] = results.latents.latent_within
    known = {name: within for name, within in ways.items() if within is not None}
    if not known:
        return ""
    first = next(iter(known.values()))
    low, high = first.pool
    chance = f"random, K/{low}" + ("" if low == high else f" to K/{high}")
    rows = [[chance, *_percents(first.chance), ""]]
    for name, within in known.items():
        above = [k for k, excluded in within.excludes_chance.items() if excluded]
        rows.append([name, *_percents(within.recall.at), ", ".join(above) or "-"])
    header = ["", *first.chance, "interval above chance"]
    return "Recall within one gender, %\n" + table(header, rows)


def _share_part(results: Results) -> str:
    """Return the shares of the way from sex only to the latent oracle."""
    if results.latents is None:
        return ""
    shares = results.latents.shares
    rows = [[name, *(covered(share) for share in row.values())] for name, row in shares.items()]
    header = ["", *results.references.random]
    return "Covered of the way from sex only to the latent oracle\n" + table(header, rows)


SIMILARITIES = {  # by measure: its heading and decimals
    "cosine": ("cosine", 3),
    "degrees": ("degrees", 2),
    "l1": ("L1, unit vectors", 3),
    "l2": ("L2, unit vectors", 3),
}


def _similarity_part(results: Results) -> str:
    """Return nearness to one's own pictures."""

    def row(name: str, near: Mapping[str, Interval]) -> list[str]:
        return [name, *(number(near[n], digits) for n, (_, digits) in SIMILARITIES.items())]

    rows = []
    for name, found in results.systems.items():
        rows.append(row(name, found.similarity))
        if name == results.main:
            rows.append(["  people exchanged", number(found.shuffled.cosine), "", "", ""])
    if results.ceiling is not None:
        rows.append(row("two pictures of one person", results.ceiling))
    header = ["", *(heading for heading, _ in SIMILARITIES.values())]
    return "Nearness to one's own pictures\n" + table(header, rows)


def _ancestry_part(results: Results) -> str:
    """Return the negative control: ancestry predicted from voices."""
    if results.latents is None or not results.latents.ancestry:
        return ""

    def row(name: str, found: Accuracy) -> list[str]:
        value = percent(Interval(found.accuracy, found.low, found.high))
        return [name, value, percent(found.chance), "yes" if found.at_chance else "no"]

    rows = [row(*item) for item in results.latents.ancestry.items()]
    header = ["", "balanced accuracy, %", "chance, %", "interval holds chance"]
    return "Ancestry predicted by ridge regression (a control)\n" + table(header, rows)


def _groups_part(results: Results) -> str:
    """Return recall for each group of people."""
    ks, parts = list(results.references.random), []
    for column, found in (results.groups or {}).items():
        rows = [
            [kind, str(group.people), *_percents(group.at), number(group.cosine)]
            for kind, group in found.groups.items()
        ]
        if found.left_out:
            rows.append(["too few or unknown", str(found.left_out), *[""] * (len(ks) + 1)])
        parts.append(table([column, "people", *[f"{k}, %" for k in ks], "cosine"], rows))
    title = f"By group ({results.main}; whole pools)\n"
    return title + "\n\n".join(parts) if parts else ""


def _pictures_part(results: Results) -> str:
    """Return what was measured of decoded pictures."""
    found = results.pictures
    if found is None:
        return ""
    rows = [
        [name, row.network, str(row.pool), *_percents(row.recall.at)]
        for name, row in found.recall.items()
    ]
    header = ["", "judged by", "pool", *results.references.random]
    parts = ["Recall of decoded pictures, %\n" + table(header, rows)]
    if found.vggface_score:
        words = [f"{name} {s.mean:.2f} +- {s.std:.2f}" for name, s in found.vggface_score.items()]
        parts.append(f"VGGFace score ({found.classifier}): " + ", ".join(words))
    if found.landmarks:
        rows = [
            [name, *(number(value) for value in (pair.r, pair.shuffled, pair.distance))]
            for name, pair in found.landmarks.items()
        ]
        header = ["", "mean r", "people exchanged", "distance, eye distances"]
        parts.append("Landmarks, aligned by the eyes\n" + table(header, rows))
    faces = found.craniofacial
    if faces:
        names = list(next(iter(faces.values())))
        rows = [[name, *(correlation(faces[pair][name]) for pair in faces)] for name in names]
        parts.append("Craniofacial correlation, r\n" + table(["", *faces], rows))
    return "\n\n".join(parts)


def correlation(found: Correlation) -> str:
    """Return a correlation with its interval; a dash for that of a constant."""
    if found.r is None or found.low is None or found.high is None:
        return "-"
    return with_interval(found.r, found.low, found.high, 2)


def _skipped_part(results: Results) -> str:
    """Return what was left out."""
    lost = results.skipped
    lines = [f"Left out: {line}" for line in lost[:5]]
    if len(lost) > 5:
        lines.append(f"Left out: {len(lost) - 5} more, listed in results.json")
    return "\n".join(lines)
