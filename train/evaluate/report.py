"""The results of an evaluation as plain aligned text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Results = Mapping[str, Any]


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


def _percent(value: Any) -> str:
    """Return a part, or a mean with its interval, in percent: "12.3 [10.1, 14.5]"."""
    if not isinstance(value, Mapping):
        return rounded(100 * value, 1)
    return number({name: 100 * value[name] for name in ("mean", "low", "high")}, 1)


def number(value: Any, digits: int = 3) -> str:
    """Return a mean with its interval: "0.123 [0.101, 0.145]"; a dash for None."""
    if value is None:
        return "-"
    if not isinstance(value, Mapping):
        return rounded(value, digits)
    low, high = rounded(value["low"], digits), rounded(value["high"], digits)
    return f"{rounded(value['mean'], digits)} [{low}, {high}]"


def covered(value: Mapping[str, Any]) -> str:
    """Return a share of the way with its interval: "62 % [51, 74]"."""
    if value["share"] is None:
        return "-"
    share, low, high = (rounded(100 * value[name]) for name in ("share", "low", "high"))
    return f"{share} % [{low}, {high}]"


def report(results: Results) -> str:
    """Return all tables of a run of `evaluate_run.run`."""
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
    pool, settings = results["pool"], results["settings"]
    size = f"{pool['pools']} x {pool['size']} people" if pool["pools"] > 1 else str(pool["size"])
    people = "" if pool["pools"] > 1 else " people"
    return (
        f"{settings['split']} split, {settings['face']}: pool of {size}{people} "
        f"({pool['used']} of {pool['people']} {pool['who']}), {pool['order']}\n"
        f"gallery: {pool['gallery']}; query: {pool['query']}; distance: {settings['distance']}\n"
        f"in brackets: 95 % intervals, people resampled {settings['draws']} times, "
        f"seed {settings['seed']}"
    )


def _ks_of(results: Results) -> list[str]:
    """Return the names of the recalls, "R@1" and so on."""
    return [name for name in results["references"]["random"] if name.startswith("R@")]


def _recall_part(results: Results) -> str:
    """Return recall, with chance and oracles beside it."""
    ks, references = _ks_of(results), results["references"]
    rows: list[list[str]] = []
    rows.append(
        [f"random, K/{results['pool']['size']}"]
        + [_percent(references["random"][k]) for k in ks]
        + ["50.0"]
    )
    if "gender_oracle" in references:
        rows.append(
            ["right gender, random order"]
            + [_percent(references["gender_oracle"][k]) for k in ks]
            + [""]
        )
    for name, found in results["systems"].items():
        rows.append([name] + [_percent(found["recall"][k]) for k in [*ks, "rank"]])
        if name == results["main"]:
            other = found["shuffled"]["recall"]
            rows.append(["  people exchanged"] + [_percent(other[k]) for k in [*ks, "rank"]])
    for name, found in results.get("oracles", {}).items():
        rows.append([name] + [_percent(found[k]) for k in [*ks, "rank"]])
    return "Recall, %\n" + table(["", *ks, "mean rank, %"], rows)


def _within_part(results: Results) -> str:
    """Return recall within one gender."""
    ks = _ks_of(results)
    rows: list[list[str]] = []
    ways = {name: found.get("within") for name, found in results["systems"].items()}
    for name, inside in {**ways, "latent oracle": results.get("latent_within")}.items():
        if inside is None:
            continue
        if not rows:
            low, high = inside["pool"]
            rows.append(
                [f"random, K/{low}" + ("" if low == high else f" to K/{high}")]
                + [_percent(inside["chance"][k]) for k in ks]
                + [""]
            )
        words = [k for k in ks if inside["excludes_chance"][k]]
        rows.append(
            [name] + [_percent(inside["recall"][k]) for k in ks] + [", ".join(words) or "-"]
        )
    header = ["", *ks, "interval above chance"]
    return "Recall within one gender, %\n" + table(header, rows) if rows else ""


def _share_part(results: Results) -> str:
    """Return the shares of the way from sex only to the latent oracle."""
    if "shares" not in results:
        return ""
    ks = _ks_of(results)
    rows = [[name] + [covered(row[k]) for k in ks] for name, row in results["shares"].items()]
    return "Covered of the way from sex only to the latent oracle\n" + table(["", *ks], rows)


def _similarity_part(results: Results) -> str:
    """Return nearness to one's own pictures."""
    names = ("cosine", "degrees", "l1", "l2")
    digits = {"degrees": 2}
    rows = []
    for name, found in results["systems"].items():
        near = found["similarity"]
        rows.append([name] + [number(near[n], digits.get(n, 3)) for n in names])
        if name == results["main"]:
            rows.append(["  people exchanged", number(found["shuffled"]["cosine"]), "", "", ""])
    if results.get("ceiling"):
        near = results["ceiling"]
        rows.append(
            ["two pictures of one person"] + [number(near[n], digits.get(n, 3)) for n in names]
        )
    header = ["", "cosine", "degrees", "L1, unit vectors", "L2, unit vectors"]
    return "Nearness to one's own pictures\n" + table(header, rows)


def _ancestry_part(results: Results) -> str:
    """Return the negative control: ancestry predicted from voices."""
    found = results.get("ancestry")
    if not found:
        return ""
    rows = [
        [
            name,
            _percent({"mean": row["accuracy"], **row}),
            _percent(row["chance"]),
            "yes" if row["at_chance"] else "no",
        ]
        for name, row in found.items()
    ]
    header = ["", "balanced accuracy, %", "chance, %", "interval holds chance"]
    return "Ancestry predicted by ridge regression (a control)\n" + table(header, rows)


def _groups_part(results: Results) -> str:
    """Return recall for each group of people."""
    ks, parts = _ks_of(results), []
    for column, found in results.get("groups", {}).items():
        rows = [
            [kind, str(row["people"])] + [_percent(row[k]) for k in ks] + [number(row["cosine"])]
            for kind, row in found["groups"].items()
        ]
        if found["left_out"]:
            rows.append(["too few or unknown", str(found["left_out"]), *[""] * (len(ks) + 1)])
        parts.append(table([column, "people", *[f"{k}, %" for k in ks], "cosine"], rows))
    title = f"By group ({results['main']}; whole pools)\n"
    return title + "\n\n".join(parts) if parts else ""


def _pictures_part(results: Results) -> str:
    """Return what was measured of decoded pictures."""
    found = results.get("pictures")
    if not found:
        return ""
    parts = []
    ks = _ks_of(results)
    rows = [
        [name, row["network"], str(row["pool"]), *[_percent(row["recall"][k]) for k in ks]]
        for name, row in found["recall"].items()
    ]
    header = ["", "judged by", "pool", *ks]
    parts.append("Recall of decoded pictures, %\n" + table(header, rows))
    if scores := found.get("vggface_score"):
        words = [f"{name} {row['mean']:.2f} +- {row['std']:.2f}" for name, row in scores.items()]
        parts.append(f"VGGFace score ({found['classifier']}): " + ", ".join(words))
    pairs = found["landmarks"]
    rows = [[name, *[number(pairs[name][k]) for k in LANDMARKS]] for name in pairs]
    if rows:
        header = ["", *LANDMARKS.values()]
        parts.append("Landmarks, aligned by the eyes\n" + table(header, rows))
    faces = found["craniofacial"]
    if faces:
        names = list(next(iter(faces.values())))
        rows = [[name, *[correlation(faces[pair][name]) for pair in faces]] for name in names]
        parts.append("Craniofacial correlation, r\n" + table(["", *faces], rows))
    return "\n\n".join(parts)


LANDMARKS = {"r": "mean r", "shuffled": "people exchanged", "distance": "distance, eye distances"}


def correlation(row: Mapping[str, Any]) -> str:
    """Return a correlation with its interval."""
    if row["r"] is None:
        return "-"
    return number({"mean": row["r"], **row}, 2)


def _skipped_part(results: Results) -> str:
    """Return what was left out."""
    lost = results["skipped"]
    lines = [f"Left out: {line}" for line in lost[:5]]
    if len(lost) > 5:
        lines.append(f"Left out: {len(lost) - 5} more, listed in results.json")
    return "\n".join(lines)
