"""One evaluation from end to end: networks, baselines, oracles, groups, pictures, and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.core.progress import Bars
from vox2face.core.version import __version__
from vox2face.train.datasets.fingerprint import manifest_digest
from vox2face.train.evaluate import decoded_faces, oracles, protocol
from vox2face.train.evaluate.decoded_faces import DECODED, SPOKEN, Drawn, Gallery, Judge
from vox2face.train.evaluate.embeddings import Voices
from vox2face.train.evaluate.inputs import EvalInputs, System, gather, one_each, systems_of
from vox2face.train.evaluate.options import Options
from vox2face.train.evaluate.protocol import Protocol
from vox2face.train.evaluate.results import (
    Accuracy,
    Groups,
    ManifestFacts,
    Oracles,
    Pool,
    Results,
)
from vox2face.train.evaluate.test_set import Arrays, Corpus
from vox2face.train.metrics import retrieval
from vox2face.train.metrics.similarity import Array, unit
from vox2face.train.metrics.statistics import DRAWS

if TYPE_CHECKING:
    from vox2face.train.corpus.manifest import Manifest

LATENT, GAUSSIAN = "latent oracle", "latent oracle, Gaussian"
COMPUTED = ("draws", "ks")  # settings that are no options


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an evaluation found, and what the sheet of pictures is made of."""

    results: Results
    where: Protocol
    corpus: Corpus
    arrays: Arrays
    main: System | None
    drawn: Mapping[str, Drawn]
    judges: Sequence[Judge] = ()
    real: Gallery | None = None


def run(manifest: Manifest, arrays: Arrays, options: Options, voices: Voices) -> Outcome:
    """Evaluate on a manifest whose pictures are prepared. `arrays` reads what was prepared.

    Raises `UsageError` for options that do not go together, `CorpusError` for a corpus that lacks
    what they need.
    """
    options.checked()
    inputs = gather(manifest, arrays, options, voices)
    where = inputs.where
    systems = list(systems_of(inputs, options))
    main = systems[0] if systems else None
    results = Results(
        **facts(inputs, options, manifest),
        main=main.name if main else None,
        references=protocol.references(where),
        systems={s.name: protocol.evaluate_queries(where, s.queries, s.owners) for s in systems},
        ceiling=protocol.same_person_similarity(where),
        latents=_with_latents(inputs, options, systems) if options.latents else None,
        groups=groups(inputs, main) if main else None,
    )
    if inputs.decoder_and_judges is None:
        return Outcome(results, where, inputs.corpus, arrays, main, {})
    drawn, judges, real = pictures(inputs, arrays, options, main, voices.bars)
    classifier = inputs.decoder_and_judges.classifier
    results = replace(results, pictures=decoded_faces.measure(drawn, real, judges, classifier))
    return Outcome(results, where, inputs.corpus, arrays, main, drawn, judges, real)


def facts(inputs: EvalInputs, options: Options, manifest: Manifest) -> dict[str, Any]:
    """Return what was evaluated, on what, by which versions and with which settings."""
    from vox2face.runtime.pipelines import identity

    where, corpus = inputs.where, inputs.corpus
    who, gallery, query = words(options)
    computed = dict(zip(COMPUTED, (DRAWS, list(where.ks)), strict=True))
    pool = Pool(
        size=len(where.pools[0]),
        pools=len(where.pools),
        used=len(where.people),
        people=len(corpus),
        who=who,
        pictures=len(corpus.pictures),
        clips=len(corpus.clips),
        order="ordered by corpus, then by name",
        gallery=gallery,
        query=query,
        first=[corpus.names[people[0]] for people in where.pools],
    )
    return {
        "vox2face": __version__,
        "numpy": np.__version__,
        "settings": {**options.stated(), **computed},
        "manifest": ManifestFacts(len(manifest), manifest_digest(manifest)),
        "weights": {role: identity(model) for role, model in inputs.networks.items()},
        "pool": pool,
        "skipped": corpus.lost,
    }


def words(options: Options) -> tuple[str, str, str]:
    """Return who is measured, what the gallery holds and what is looked for in it."""
    gallery = "the mean embedding over all pictures of a person"
    if options.decoder:
        gallery += " (face-to-face: without the decoded one)"
    if not options.voiced:
        return "with a face", gallery, "each person's first picture, decoded"
    query = "each clip, its recall averaged over a person's clips"
    if options.fuse:
        query = "one for each person, the mean of all clips' unit embeddings at their mean length"
    return "with voice and face", gallery, query


def _with_latents(inputs: EvalInputs, options: Options, systems: Sequence[System]) -> Oracles:
    """Return the oracles, the shares of the way to them, and the control on ancestry."""
    where, corpus, train = inputs.where, inputs.corpus, inputs.teaching
    file = str(options.latents)
    known = oracles.read_latents(file, corpus.names)
    taught = oracles.read_latents(file, train.names)
    guess, fitted = oracles.latent_predictions(
        taught, train.faces, train.sitters, known, options.seed
    )
    everybody = np.arange(len(corpus))
    latent = where.recall(guess, everybody)
    left = inputs.train_gallery - fitted.predict(taught.basis())
    gaussian = oracles.gaussian_recall(guess, where.gallery, left, where.pools, where.ks)
    recalls = {s.name: where.recall(s.queries, s.owners) for s in systems}
    recalls[GAUSSIAN] = gaussian
    sexes = retrieval.oracle_recall(known.sexes, where.pools, where.ks)
    return Oracles(
        oracles={
            "sex only": sexes.table(where.seed),
            LATENT: latent.table(where.seed),
            GAUSSIAN: gaussian.table(where.seed),
        },
        latent_within=(
            protocol.within_gender_recall(where, guess, everybody)
            if protocol.gendered(where, where.people)
            else None
        ),
        latent_similarity=protocol.similarity_to_own(where, guess, everybody),
        latent_penalty=fitted.penalty,
        shares=protocol.shares(where, recalls, latent, known.sexes),
        ancestry=ancestry(inputs, options, known, taught),
    )


def ancestry(
    inputs: EvalInputs, options: Options, known: oracles.Latents, taught: oracles.Latents
) -> dict[str, Accuracy]:
    """Return how well ancestry is predicted: from voices it must not be, from faces it can be.

    From the voice encoder's own embeddings by regressions on the other people of the split, since
    those of the people it was trained on hold what it learnt of their faces.
    """
    corpus, seed = inputs.corpus, options.seed
    table: dict[str, Accuracy] = {}
    if len(set(known.ancestry)) < 2 or len(set(taught.ancestry)) < 2:
        return table  # nothing to predict

    def judged(name: str, guesses: list[str], names: tuple[str, ...]) -> None:
        table[name] = oracles.balanced_accuracy(guesses, known.ancestry, names, seed)

    def people(values: Array) -> Array:
        return retrieval.by_identity(unit(values), corpus.speakers)[0]

    if "voice" in inputs.heard:
        name = f"from {inputs.encoders['voice'].entry.name}"
        judged(name, *oracles.crossed_classes(people(inputs.heard["voice"]), known.ancestry, seed))
    if "baseline" in inputs.heard and inputs.train_heard is not None:
        train = inputs.teaching
        labels = [taught.ancestry[i] for i in train.speakers]
        fit = (unit(inputs.train_heard), train.speakers, labels)
        name = f"from {inputs.encoders['baseline'].entry.name}, frozen"
        judged(name, *oracles.predicted_classes(fit, people(inputs.heard["baseline"]), seed))
    faces = (inputs.train_gallery, np.arange(len(taught.ancestry)), taught.ancestry)
    judged(
        "from faces: the control of this control",
        *oracles.predicted_classes(faces, inputs.where.gallery, seed),
    )
    return table


def groups(inputs: EvalInputs, main: System) -> dict[str, Groups]:
    """Return the tables by gender, where the metadata has it, and by columns of CSV files."""
    where, names = inputs.where, inputs.corpus.names
    kinds: dict[str, Sequence[str | None]] = {}
    if any(inputs.corpus.genders):
        kinds["gender"] = inputs.corpus.genders
    for column, values in inputs.columns.items():
        kinds[column] = protocol.binned([values.get(name) for name in names])
    return {
        column: protocol.group_table(where, main.queries, main.owners, values)
        for column, values in kinds.items()
    }


def pictures(
    inputs: EvalInputs, arrays: Arrays, options: Options, main: System | None, bars: Bars
) -> tuple[dict[str, Drawn], list[Judge], Gallery]:
    """Return the decoded faces, the networks that judge them, and the real pictures beside them."""
    corpus, where, drawing = inputs.corpus, inputs.where, inputs.decoder_and_judges
    assert drawing is not None
    real = Gallery(where, corpus.sitters, corpus.landmarks, options.pool, options.pools)
    drawn: dict[str, Drawn] = {}
    if main is not None:
        spoken = one_each(main, where.people)
        drawn[SPOKEN] = decoded_faces.draw(drawing.decoder, *spoken, SPOKEN, bars)
    own = corpus.faces[real.first], corpus.sitters[real.first]
    drawn[DECODED] = decoded_faces.draw(drawing.decoder, *own, DECODED, bars)
    judges = [
        Judge(name, encoder, arrays.faces(name)[corpus.rows])
        for name, encoder in drawing.judges.items()
    ]
    return drawn, judges, real
