"""Boosted trees as challengers: LightGBM or XGBoost on the same estimated relevance, frozen into a scorer.

Trees are no weights: they have no distance from the live params, no trust region and no place in `Params`. They
challenge: a scorer orders the documents of events that it never saw, and `dwell.evaluation.judge_event` judges it as it
judges any policy, by the scores that it gives. Missing features stay missing; trees have a branch for them.

Two objectives. "regression" fits the estimated relevance itself: the squared error is linear in the estimates, so that
noise in them averages out and the trees approach expected relevance. "lambdarank" fits grades 0 to 4, the estimates cut
to [0, 1] and rounded: closer to what a ranking is judged by, but neither the cut nor the rounding is unbiased.

Source: Ke et al. 2017 (LightGBM); Chen and Guestrin 2016 (XGBoost); Burges 2010, "From RankNet to LambdaRank to
LambdaMART". Both libraries are optional and imported when they are needed.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, DivergedError, LearningError, MissingDependencyError
from dwell.learning.learner import Lists, check_lists, estimated_relevance
from dwell.learning.predictor import Predictor
from dwell.learning.relevance import exposure_clip
from dwell.records.arrays import Float32Array, FloatArray, IntArray

__all__ = ["TreeKind", "TreeObjective", "TreeRows", "TreeScorer", "TreeSettings", "learn_trees", "tree_rows"]

TreeKind = Literal["lightgbm", "xgboost"]
TreeObjective = Literal["regression", "lambdarank"]

_EXTRAS: Final = {"lightgbm": "trees", "xgboost": "xgboost"}
_MAX_GRADE: Final = 4  # the five-grade scale of the public learning-to-rank sets
_MAGIC: Final = b"dwell trees 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSettings:
    """How a challenger is grown.

    Attributes:
        kind: "lightgbm" or "xgboost".
        objective: "regression" or "lambdarank".
        n_rounds: Trees, 1 to 10,000.
        learning_rate: Share of each tree, in (0, 1].
        n_leaves: Most leaves of a tree, 2 to 1,024.
        min_documents: Fewest documents in a leaf, >= 1: clicks are noise, a small leaf learns it by heart.
        seed: Of the library's own generator, >= 0.
    """

    kind: TreeKind = "lightgbm"
    objective: TreeObjective = "regression"
    n_rounds: int = 100
    learning_rate: float = 0.05  # as benchmarks/study has for full labels
    n_leaves: int = 15
    min_documents: int = 200  # ten times what full labels take there
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("kind", get_args(TreeKind)), ("objective", get_args(TreeObjective))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"unknown {name} of trees",
                    field=f"trees.{name}",
                    value=getattr(self, name),
                    hint=f"Use one of {list(known)}.",
                )
        ranges = {
            "n_rounds": (1, 10_000),
            "n_leaves": (2, 1_024),
            "min_documents": (1, 2**31 - 1),
            "seed": (0, 2**31 - 1),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"no whole number in [{low}, {high}]", field=f"trees.{name}", value=value)
        if not 0.0 < self.learning_rate <= 1.0:
            raise ConfigError("outside (0, 1]", field="trees.learning_rate", value=self.learning_rate)


class TreeRows(NamedTuple):
    """Documents as trees are trained on them, list by list.

    Attributes:
        features: float32 (n, f), raw; NaN where a feature is missing.
        relevance: float64 (n,), doubly robust estimates.
        weights: float64 (n,), sampling weight of the list times what the document stands for.
        groups: int64 (m,), documents of each list; they sum to n.
    """

    features: Float32Array
    relevance: FloatArray
    weights: FloatArray
    groups: IntArray


def tree_rows(
    samples: Iterable[Lists], predictors: tuple[Predictor, Predictor], *, theta: FloatArray, n_events: float
) -> TreeRows:
    """Return the documents of lists with the relevance that every learner is given.

    Args:
        samples: Lists, each once, at least one.
        predictors: The direct method, fitted to queries of fold 0 and of fold 1.
        theta: (k,) examination per position.
        n_events: Effective number of events behind them: sets the clip.

    Raises:
        LearningError: There is no list.
        DivergedError: A reward, an exposure or a weight is not finite, or a feature is infinite.
    """
    clip = exposure_clip(n_events)
    found: list[TreeRows] = []
    for step, lists in enumerate(samples, 1):
        check_lists(lists, step)
        batch = lists.batch
        is_document = batch.is_document
        relevance = estimated_relevance(lists, predictors, theta, clip=clip)[is_document]
        features = batch.features[is_document]
        if not np.isfinite(relevance).all() or np.isinf(features).any():
            raise DivergedError("features are not finite", field="step", value=step, hint="Look for huge features.")
        weights = (lists.weights[:, None] * batch.stand_in)[is_document]
        found.append(TreeRows(features, relevance, weights, is_document.sum(axis=1)))
    if not found:
        raise LearningError("there is no list to learn from", code="no_lists", hint="Pass at least one sample.")
    return TreeRows(*(np.concatenate(column) for column in zip(*found, strict=True)))


@dataclass(frozen=True, slots=True, eq=False)
class TreeScorer:
    """Frozen trees that score documents; a `Scorer`.

    Attributes:
        kind: Library that grew them and reads them.
        feature_names: f names, in the order of the columns.
        model: The library's own text or binary form.
        booster: The same, loaded.
    """

    kind: TreeKind
    feature_names: tuple[str, ...]
    model: bytes
    booster: Any

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the score of each document, float64 (n,), for raw features (n, f); NaN is a missing feature.

        Raises:
            LearningError: There are not f columns, or a feature is infinite.
        """
        x = np.ascontiguousarray(features, dtype=np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.feature_names):
            raise LearningError(
                f"documents have {len(self.feature_names)} features each",
                code="shape",
                field="features",
                value=x.shape,
                hint="Pass the columns named by feature_names, in that order.",
            )
        if np.isinf(x).any():
            raise LearningError("a feature is infinite", code="non_finite", field="features", hint="Leave it out: NaN.")
        if not len(x):
            return np.zeros(0)
        if self.kind == "lightgbm":
            return np.asarray(self.booster.predict(x, num_threads=1), dtype=np.float64)
        return np.asarray(self.booster.inplace_predict(x), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Return the trees as bytes, with a checksum; no code is in them."""
        header = {"kind": self.kind, "feature_names": self.feature_names, "sha256": _digest(self.model)}
        return _MAGIC + msgspec.json.encode(header) + b"\n" + self.model

    @classmethod
    def from_bytes(cls, data: bytes) -> TreeScorer:
        """Return the trees that `to_bytes` wrote; they score the same to the bit.

        Raises:
            LearningError: code "tree_bytes": these are no such bytes, or they are damaged.
            MissingDependencyError: The library is not installed.
        """
        if not data.startswith(_MAGIC):
            raise _no_trees("it does not begin as trees do")
        line, _, model = data[len(_MAGIC) :].partition(b"\n")
        try:
            header = msgspec.json.decode(line, type=_Header)
        except msgspec.MsgspecError as error:
            raise _no_trees("the header can not be read") from error
        if _digest(model) != header.sha256:
            raise _no_trees("the checksum differs")
        return cls(header.kind, header.feature_names, model, _loaded(header.kind, model))


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """What stands before the model."""

    kind: TreeKind
    feature_names: tuple[str, ...]
    sha256: str


def _no_trees(why: str) -> LearningError:
    return LearningError(
        f"these bytes are no trees: {why}", code="tree_bytes", field="data", hint="Pass what TreeScorer.to_bytes wrote."
    )


def _digest(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()


def _library(kind: TreeKind) -> Any:  # noqa: ANN401 - neither library has types
    """Return the module of a library.

    Raises:
        MissingDependencyError: It is not installed; the message has the command.
    """
    try:
        return importlib.import_module(kind)
    except ImportError as error:
        raise MissingDependencyError(
            f"{kind} is not installed", field="trees.kind", value=kind, hint=f'pip install "dwell[{_EXTRAS[kind]}]"'
        ) from error


def _loaded(kind: TreeKind, model: bytes) -> Any:  # noqa: ANN401 - neither library has types
    library = _library(kind)
    if kind == "lightgbm":
        return library.Booster(model_str=model.decode())
    booster = library.Booster({"nthread": 1})
    booster.load_model(bytearray(model))
    return booster


def learn_trees(rows: TreeRows, feature_names: tuple[str, ...], settings: TreeSettings) -> TreeScorer:
    """Return trees grown on estimated relevance; the same for the same rows and settings.

    Args:
        rows: Documents, list by list.
        feature_names: f names of the columns.
        settings: How to grow them.

    Raises:
        LearningError: Names and columns are not equally many.
        MissingDependencyError: The library is not installed; the message has the command.
    """
    if len(feature_names) != rows.features.shape[1]:
        raise LearningError(
            "names and columns are not equally many",
            code="shape",
            field="feature_names",
            value=len(feature_names),
            hint=f"Give {rows.features.shape[1]} names.",
        )
    library = _library(settings.kind)
    label = rows.relevance
    if settings.objective == "lambdarank":
        label = np.rint(np.clip(label, 0.0, 1.0) * _MAX_GRADE)
    grow = _lightgbm if settings.kind == "lightgbm" else _xgboost
    model = grow(library, rows, label, settings)
    # what scores is always what was read back: a scorer and its copy can not differ
    return TreeScorer(settings.kind, feature_names, model, _loaded(settings.kind, model))


def _lightgbm(library: Any, rows: TreeRows, label: FloatArray, settings: TreeSettings) -> bytes:  # noqa: ANN401 - untyped
    is_ranking = settings.objective == "lambdarank"
    options = {
        "objective": settings.objective,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.n_leaves,
        "min_data_in_leaf": settings.min_documents,
        "deterministic": True,
        "force_row_wise": True,  # else it times both ways and takes the faster
        "num_threads": 1,
        "seed": settings.seed,
        "verbosity": -1,
    }
    data = library.Dataset(
        rows.features, label=label, weight=rows.weights, group=rows.groups if is_ranking else None, params=options
    )
    text: str = library.train(options, data, num_boost_round=settings.n_rounds).model_to_string()
    return text.encode()


def _xgboost(library: Any, rows: TreeRows, label: FloatArray, settings: TreeSettings) -> bytes:  # noqa: ANN401 - untyped
    is_ranking = settings.objective == "lambdarank"
    options = {
        "objective": "rank:ndcg" if is_ranking else "reg:squarederror",
        "learning_rate": settings.learning_rate,
        "grow_policy": "lossguide",
        "max_leaves": settings.n_leaves,
        "max_depth": 0,
        "min_child_weight": settings.min_documents if not is_ranking else 1.0,  # of a ranking it is no count
        "tree_method": "hist",
        "nthread": 1,
        "seed": settings.seed,
        "verbosity": 0,
    }
    data = library.DMatrix(rows.features, label=label, nthread=1)
    if is_ranking:
        data.set_group(rows.groups)
        first = np.concatenate([[0], np.cumsum(rows.groups)[:-1]])
        data.set_weight(np.add.reduceat(rows.weights, first) / rows.groups)  # it takes one weight per list
    else:
        data.set_weight(rows.weights)
    return bytes(library.train(options, data, num_boost_round=settings.n_rounds).save_raw("ubj"))
