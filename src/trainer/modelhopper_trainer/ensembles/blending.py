"""Stacking: a small regression that learns how much to trust which model for which class. Deterministic, without Keras.

Each class' score is a weighted sum of the members' scores for that class and a constant, and softmax, sigmoid or
nothing makes a prediction of scores. So it is a multinomial (logistic, linear) regression whose weights have a meaning;
with equal weights it is the average of logits, and towards that it is pulled (ridge), the more so the fewer rows
there are. Stacked generalization: Wolpert, Neural Networks 1992.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_STEPS = 500
_TOLERANCE = 1e-9  # of the gradient's largest entry
_MEMORY = 10  # steps that the direction is made of


@dataclass(frozen=True)
class Blend:
    """What stacking has found for one output: column c's score is the sum over m of weights[m, c] * scores[m, c]."""

    weights: npt.NDArray[np.float32]  # shape (members, columns)
    bias: npt.NDArray[np.float32]  # shape (columns,)

    def kernel(self) -> npt.NDArray[np.float32]:
        """Return the weights of a dense layer on all members' scores, one member after the other."""
        return np.concatenate([np.diag(row) for row in self.weights])


def blend(scores: npt.NDArray[Any], targets: npt.NDArray[Any], reading: str) -> Blend:
    """Fit weights and constants to rows.

    `scores`: shape (rows, members, columns): logarithms of probabilities, log odds, or numbers. `targets`: shape (rows,
    columns). `reading`: classes, chances or numbers. The same rows give the same bytes.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(targets, np.float64)
    if reading != "numbers":
        return _fitted(x, y, _softmax if reading == "classes" else _sigmoid)
    # In units of the target's deviation, so that the pull does not depend on the unit that the user measures in.
    mean, deviation = y.mean(axis=0), np.maximum(y.std(axis=0), 1e-12)
    found = _fitted((x - mean) / deviation, (y - mean) / deviation, lambda score: score)
    bias = found.bias * deviation + mean * (1 - found.weights.sum(axis=0, dtype=np.float64))
    return Blend(found.weights, bias.astype(np.float32))


def _fitted(x: Array, y: Array, link: Callable[[Array], Array]) -> Blend:
    rows, members, columns = x.shape
    start = np.full((members, columns), 1 / members)

    def loss_and_gradient(point: Array) -> tuple[float, Array]:
        weights, bias = _split(point, members)
        score = np.einsum("nmc,mc->nc", x, weights) + bias
        error, pull = link(score) - y, weights - start
        # One pseudo-observation's weight to equal trust, as is usual for logistic regression.
        loss = _loss(score, y, link) / rows + 0.5 * float(np.sum(pull**2)) / rows
        slope = np.einsum("nmc,nc->mc", x, error) / rows + pull / rows
        return loss, np.concatenate([slope.ravel(), error.mean(axis=0)])

    found = _minimum(loss_and_gradient, np.concatenate([start.ravel(), np.zeros(columns)]))
    weights, bias = _split(found, members)
    return Blend(weights.astype(np.float32), bias.astype(np.float32))


def _split(point: Array, members: int) -> tuple[Array, Array]:
    table = point.reshape(members + 1, -1)
    return table[:-1], table[-1]


def _loss(score: Array, y: Array, link: Callable[[Array], Array]) -> float:
    """Return the sum over rows of the loss whose derivative by the score is link(score) - y."""
    if link is _softmax:
        top = score.max(axis=-1, keepdims=True)
        partition = np.log(np.exp(score - top).sum(axis=-1)) + top[:, 0]
        return float(np.sum(partition * y.sum(axis=-1)) - np.sum(score * y))
    if link is _sigmoid:
        return float(np.sum(np.logaddexp(0, score) - y * score))
    return 0.5 * float(np.sum((score - y) ** 2))


def _softmax(score: Array) -> Array:
    raised = np.exp(score - score.max(axis=-1, keepdims=True))
    found: Array = raised / raised.sum(axis=-1, keepdims=True)
    return found


def _sigmoid(score: Array) -> Array:
    found: Array = np.exp(-np.logaddexp(0, -score))
    return found


def _minimum(function: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    """Return where a smooth convex function is least, by L-BFGS (Liu and Nocedal 1989) with backtracking."""
    point, (value, gradient) = start, function(start)
    history: list[tuple[Array, Array]] = []
    for _ in range(_STEPS):
        if float(np.max(np.abs(gradient))) <= _TOLERANCE:
            break
        direction = -_scaled(gradient, history)
        slope, length = float(gradient @ direction), 1.0
        while not (found := function(point + length * direction))[0] <= value + 1e-4 * length * slope:
            length /= 2
            if length < 1e-12:  # no step makes it less: this is as exact as numbers are
                return point
        step, change = length * direction, found[1] - gradient
        if float(step @ change) > 0:
            history = [*history, (step, change)][-_MEMORY:]
        point, (value, gradient) = point + step, found
    return point


def _scaled(gradient: Array, history: list[tuple[Array, Array]]) -> Array:
    """Return the gradient times the inverse of the curvature that the last steps have shown."""
    found, factors = gradient.copy(), []
    for step, change in reversed(history):
        factor = float(step @ found) / float(step @ change)
        found -= factor * change
        factors.append(factor)
    if history:
        step, change = history[-1]
        found *= float(step @ change) / float(change @ change)
    for (step, change), factor in zip(history, reversed(factors), strict=True):
        found += (factor - float(change @ found) / float(step @ change)) * step
    return found
