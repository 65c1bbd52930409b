"""Run an evaluation: networks, baselines, oracles, groups and decoded pictures."""

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
COMPUTED = ("draws", "ks")  # settings that are not options


@dataclass(frozen=True, eq=False)
class Outcome:
    """The results of an evaluation, and the data of its picture sheet."""

    results: Results
    where: Protocol
    corpus: Corpus
    arrays: Arrays
    main: System | None
    drawn: Mapping[str, Drawn]
    judges: Sequence[Judge] = ()
    real: Gallery | None = None


def run(manifest: Manifest, arrays: Arrays, options: Options, voices: Voices) -> Outcome:
    """Evaluate on a manifest whose pictures are prepared; `arrays` reads the prepared corpus.

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
    """Return the fields of `Results` about versions, settings, manifest, weights and pool."""
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
    """Return the descriptions of the people, the gallery and the queries."""
    gallery = "the mean embedding over all pictures of a person"
    if options.decoder:
        gallery += " (face-to-face: without the decoded one)"
    if not options.uses_clips:
        return "with a face", gallery, "each person's first picture, decoded"
    query = "each clip, its recall averaged over a person's clips"
    if options.fuse:
        query = "one for each person, the mean of all clips' unit embeddings at their mean length"
    return "with voice and face", gallery, query


def _with_latents(inputs: EvalInputs, options: Options, systems: Sequence[System]) -> Oracles:
    """Return the oracles, the fractions of the headroom, and the control on ancestry."""
    where, corpus, train = inputs.where, inputs.corpus, inputs.train_split
    file = str(options.latents)
    test_latents = oracles.read_latents(file, corpus.names)
    train_latents = oracles.read_latents(file, train.names)
    predicted, fitted = oracles.latent_predictions(
        train_latents, train.faces, train.sitters, test_latents, options.seed
    )
    people = np.arange(len(corpus))
    latent = where.recall(predicted, people)
    residuals = inputs.train_gallery - fitted.predict(train_latents.basis())
    gaussian = oracles.gaussian_recall(predicted, where.gallery, residuals, where.pools, where.ks)
    recalls = {s.name: where.recall(s.queries, s.owners) for s in systems}
    recalls[GAUSSIAN] = gaussian
    sexes = retrieval.oracle_recall(test_latents.sexes, where.pools, where.ks)
    return Oracles(
        oracles={
            "sex only": sexes.table(where.seed),
            LATENT: latent.table(where.seed),
            GAUSSIAN: gaussian.table(where.seed),
        },
        latent_within=(
            protocol.within_gender_recall(where, predicted, people)
            if protocol.gendered(where, where.people)
            else None
        ),
        latent_similarity=protocol.similarity_to_own(where, predicted, people),
        latent_penalty=fitted.penalty,
        shares=protocol.shares(where, recalls, latent, test_latents.sexes),
        ancestry=ancestry(inputs, options, test_latents, train_latents),
    )


def ancestry(
    inputs: EvalInputs,
    options: Options,
    test_latents: oracles.Latents,
    train_latents: oracles.Latents,
) -> dict[str, Accuracy]:
    """Return the accuracy of predicting ancestry: at chance from voices, above it from faces.

    From the voice encoder's embeddings by regressions on the other people of the split, since
    those of the people it was trained on contain what it learnt of their faces.
    """
    corpus, seed = inputs.corpus, options.seed
    table: dict[str, Accuracy] = {}
    if len(set(test_latents.ancestry)) < 2 or len(set(train_latents.ancestry)) < 2:
        return table  # nothing to predict

    def add(name: str, guesses: list[str], names: tuple[str, ...]) -> None:
        table[name] = oracles.balanced_accuracy(guesses, test_latents.ancestry, names, seed)

    def person_means(values: Array) -> Array:
        return retrieval.by_identity(unit(values), corpus.speakers)[0]

    if "voice" in inputs.embeddings:
        name = f"from {inputs.encoders['voice'].entry.name}"
        add(
            name,
            *oracles.crossed_classes(
                person_means(inputs.embeddings["voice"]), test_latents.ancestry, seed
            ),
        )
    if "baseline" in inputs.embeddings and inputs.train_embeddings is not None:
        train = inputs.train_split
        labels = [train_latents.ancestry[i] for i in train.speakers]
        fit = (unit(inputs.train_embeddings), train.speakers, labels)
        name = f"from {inputs.encoders['baseline'].entry.name}, frozen"
        add(
            name, *oracles.predicted_classes(fit, person_means(inputs.embeddings["baseline"]), seed)
        )
    faces = (inputs.train_gallery, np.arange(len(train_latents.ancestry)), train_latents.ancestry)
    add(
        "from faces: the control of this control",
        *oracles.predicted_classes(faces, inputs.where.gallery, seed),
    )
    return table


def groups(inputs: EvalInputs, main: System) -> dict[str, Groups]:
    """Return the tables by gender, where the metadata has it, and by columns of CSV files."""
    where, names = inputs.where, inputs.corpus.names
    by_column: dict[str, Sequence[str | None]] = {}
    if any(inputs.corpus.genders):
        by_column["gender"] = inputs.corpus.genders
    for column, values in inputs.columns.items():
        by_column[column] = protocol.binned([values.get(name) for name in names])
    return {
        column: protocol.group_table(where, main.queries, main.owners, values)
        for column, values in by_column.items()
    }


def pictures(
    inputs: EvalInputs, arrays: Arrays, options: Options, main: System | None, bars: Bars
) -> tuple[dict[str, Drawn], list[Judge], Gallery]:
    """Return the decoded faces, the networks that judge them, and the real pictures."""
    corpus, where, decoder = inputs.corpus, inputs.where, inputs.decoder_and_judges
    assert decoder is not None
    real = Gallery(where, corpus.sitters, corpus.landmarks, options.pool, options.pools)
    drawn: dict[str, Drawn] = {}
    if main is not None:
        queries = one_each(main, where.people)
        drawn[SPOKEN] = decoded_faces.draw(decoder.decoder, *queries, SPOKEN, bars)
    first_faces = corpus.faces[real.first], corpus.sitters[real.first]
    drawn[DECODED] = decoded_faces.draw(decoder.decoder, *first_faces, DECODED, bars)
    judges = [
        Judge(name, encoder, arrays.faces(name)[corpus.rows])
        for name, encoder in decoder.judges.items()
    ]
    return drawn, judges, real
