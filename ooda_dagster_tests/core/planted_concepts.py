"""Embeddings around known directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ooda_dagster.core.concept_vectors import Floats, Ints, unit


@dataclass(frozen=True)
class Planted:
    """Unit vectors (n, d), and which direction each was planted around; -1: around none."""

    vectors: Floats
    labels: Ints


def directions(concepts: int, dimensions: int, *, seed: int) -> Floats:
    """Random unit vectors (concepts, dimensions)."""
    return unit(np.random.default_rng(seed).normal(size=(concepts, dimensions)).astype(np.float32))[0]


def plant(centres: Floats, rows: int, *, spread: float = 0.4, noise: float = 0.0, seed: int) -> Planted:
    """Rows around centres of unequal sizes. spread: length of the part of a row that is its own."""
    chance = np.random.default_rng(seed)
    concepts, dimensions = centres.shape
    shares = np.linspace(1, 2, concepts)
    labels = chance.choice(concepts, rows, p=shares / shares.sum())
    own = chance.normal(0, 1 / np.sqrt(dimensions), (rows, dimensions))
    alone = chance.random(rows) < noise
    vectors = np.where(alone[:, None], own, centres[labels] + spread * own).astype(np.float32)
    return Planted(unit(vectors)[0], np.where(alone, -1, labels))


def leaked(vectors: Floats, text: str) -> list[str]:
    """Numbers of vectors that a text holds as they are printed; those of few digits, which others may have, aside.

    One or two are a coincidence: of a vector that came out there would be many.
    """
    telling = [number for number in map(str, vectors.ravel()) if len(number.lstrip("-0.")) >= 8]
    assert len(telling) > vectors.size / 5
    found = [number for number in telling if number in text]
    return found if len(found) > 2 else []
