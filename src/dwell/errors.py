"""Every error that dwell raises on purpose, in one tree.

    DwellError(Exception)                      .code  .hint  .field  .value  .retryable
    + ConfigError(ValueError)                  a setting or an argument of a constructor is unknown or out of range
    + RecordError(ValueError)                  a value at an entry point is malformed; names field, value and remedy
    |   + FeatureSchemaError                   feature names differ from the registered ones
    |   + UnknownEventError(LookupError)       no such event in this store
    + ReplayError(ValueError)                  a replay call that can not be answered
    |   + NotEnoughExperienceError             fewer experiences than the call needs
    + LearningError(ValueError)                learning can not go on
    |   + DivergedError                        a step produced a value that is not finite
    + EvaluationError(ValueError)              a policy can not be judged with what was given
    + PromotionError                           the live params stay as they are
    |   + PromotionRefused                     the gate did not say "promote"; carries the decision
    |   + StaleParamsError                     the live params moved since the proposal was made
    |   + AlreadyLiveError                     these params are live already
    |   + NothingToRollBackError               there is no earlier version to return to
    + StorageError                             the store could not do what was asked
    |   + StoreBusyError                       another writer holds the store; trying again is right
    |   + QueueFull                            the writer's queue has no room; the job was not taken
    |   + StoreOwnedError                      another process owns the store
    |   + StoreClosedError                     the store was closed
    |   + LearnerDown                          the learner's process does not answer; it is started anew by itself
    |   + ForkedError                          the handle was inherited through fork
    |   + SchemaVersionError                   the file was written by another version
    |   + CorruptStoreError                    the file is damaged
    |   + RingUnusable                         the column ring can not be used; it is made again from the database
    |   + PepperMismatch                       the pepper is not the one this store was made with
    |   + SnapshotErased                       a snapshot held data that has been erased since
    |   + ArchiveError                         an archive can not be reached, or a part of it is not to be used
    + ServiceError                             a served loop could not be asked, or answered what can not be used
    |   + ServiceUnreachableError              no answer: not reachable, too late, or overloaded; trying again is right
    |   + AuthenticationError                  the key is missing, unknown, or not good for this call
    + ClusterError                             the cluster could not do what was asked; its code says why
    |   + ShardLost                            a shard died and did not come back in time; trying again is right
    + RequestError                             the service does not do what a request asks; its code says why
    |   + TokenInvalid                         an impression token is not good for what it came with
    + MissingDependencyError(ImportError)      an optional package is absent; prints the extra to install

A test holds the drawing against the classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AlreadyLiveError",
    "ArchiveError",
    "AuthenticationError",
    "ClusterError",
    "ConfigError",
    "CorruptStoreError",
    "DivergedError",
    "DwellError",
    "EvaluationError",
    "FeatureSchemaError",
    "ForkedError",
    "LearnerDown",
    "LearningError",
    "MissingDependencyError",
    "NotEnoughExperienceError",
    "NothingToRollBackError",
    "PepperMismatch",
    "PromotionError",
    "PromotionRefused",
    "QueueFull",
    "RecordError",
    "ReplayError",
    "RequestError",
    "RingUnusable",
    "SchemaVersionError",
    "ServiceError",
    "ServiceUnreachableError",
    "ShardLost",
    "SnapshotErased",
    "StaleParamsError",
    "StorageError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreOwnedError",
    "TokenInvalid",
    "UnknownEventError",
]


class DwellError(Exception):
    """What went wrong, with a code for programs and a hint for people.

    Args:
        message: What happened, in one sentence.
        code: Short stable identifier; the class's own when not given.
        hint: What to do about it.
        field: Name or path of the offending value, where there is one.
        value: The offending value itself; shown shortened, never more than 80 characters.
    """

    code: str = "error"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, code: str | None = None, hint: str = "", field: str | None = None, value: object = None
    ) -> None:
        self.message = message
        self.hint = hint
        self.field = field
        self.value = value
        if code is not None:
            self.code = code
        super().__init__(message)

    def __str__(self) -> str:
        """Say what happened, where, with which value, and what to do."""
        text = self.message
        if self.field is not None:
            text += f" (field {self.field!r}, value {_shortened(self.value)})"
        return f"{text}. {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling, keyword-only arguments included."""
        return (_rebuilt, (type(self), self.message, self.__dict__.copy()))


def _rebuilt(cls: type[DwellError], message: str, state: dict[str, Any]) -> DwellError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(state)
    return error


def _shortened(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile __repr__, or an int of 5,000 digits, must not hide the error itself
        text = f"<{type(value).__name__} that can not be shown>"
    return text if len(text) <= 80 else text[:77] + "..."


class ConfigError(DwellError, ValueError):
    """A setting is unknown or out of range."""

    code = "config"


class RecordError(DwellError, ValueError):
    """A value at an entry point is malformed."""

    code = "record"


class FeatureSchemaError(RecordError):
    """Feature names differ from the registered ones."""

    code = "feature_schema"


class UnknownEventError(RecordError, LookupError):
    """No such event in this store."""

    code = "unknown_event"


class ReplayError(DwellError, ValueError):
    """A replay call that can not be answered."""

    code = "replay"


class NotEnoughExperienceError(ReplayError):
    """Fewer experiences than the call needs."""

    code = "not_enough_experience"


class LearningError(DwellError, ValueError):
    """Learning can not go on."""

    code = "learning"


class DivergedError(LearningError):
    """A step produced a value that is not finite."""

    code = "diverged"


class EvaluationError(DwellError, ValueError):
    """A policy can not be judged with what was given."""

    code = "evaluation"


class PromotionError(DwellError):
    """The live params stay as they are."""

    code = "promotion"


class PromotionRefused(PromotionError):  # noqa: N818 - the name is public surface
    """The gate did not say "promote".

    Args:
        message: What happened.
        decision: The `GateDecision`, with its reasons.
        hint: What to do about it.
    """

    code = "promotion_refused"

    def __init__(self, message: str, *, decision: object = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.decision = decision


class StaleParamsError(PromotionError):
    """The live params moved since the proposal was made."""

    code = "stale_params"


class AlreadyLiveError(PromotionError):
    """These params are live already: nothing is judged, and nothing is written."""

    code = "already_live"


class NothingToRollBackError(PromotionError):
    """There is no earlier version to return to."""

    code = "nothing_to_roll_back"


class StorageError(DwellError):
    """The store could not do what was asked."""

    code = "storage"


class StoreBusyError(StorageError):
    """Another writer holds the store; trying again is right."""

    code = "store_busy"
    retryable: ClassVar[bool] = True


class QueueFull(StorageError):  # noqa: N818 - named as `queue.Full` is
    """The writer's queue has no room; the job was not taken."""

    code = "overloaded"
    retryable: ClassVar[bool] = True


class StoreOwnedError(StorageError):
    """Another process owns the store."""

    code = "store_owned"


class StoreClosedError(StorageError):
    """The store was closed."""

    code = "store_closed"


class LearnerDown(StorageError):  # noqa: N818 - it says what is so
    """The learner's process does not answer: it is learning, or it died and is started anew by itself."""

    code = "learner_down"
    retryable = True


class ForkedError(StorageError):
    """The handle was inherited through fork; open the store anew in the child."""

    code = "forked"


class SchemaVersionError(StorageError):
    """The file was written by another version."""

    code = "schema_version"


class CorruptStoreError(StorageError):
    """The file is damaged."""

    code = "corrupt_store"


class RingUnusable(StorageError):  # noqa: N818 - it says what to do: leave it and make another
    """The column ring can not be used; it is made again from the database.

    Its code says why: `ring_missing`, `ring_format` (not a ring, or one of another layout), `ring_schema` (made for
    other columns), `ring_older` (the store changed without it), `ring_dirty` (its process died while it wrote),
    `ring_truncated` or `ring_damaged`.
    """

    code = "ring_unusable"


class PepperMismatch(StorageError):  # noqa: N818 - the name is public surface
    """The pepper is not the one this store was made with."""

    code = "pepper_mismatch"


class SnapshotErased(StorageError):  # noqa: N818 - the name is public surface
    """A snapshot held data that has been erased since."""

    code = "snapshot_erased"


class ArchiveError(StorageError):
    """An archive can not be reached, or a part of it is not to be used.

    Its code says why: `archive_unreachable`, `archive_busy` (another process writes to it), `archive_foreign` (it is
    another store's), `archive_name`, `archive_link`, `archive_digest` (its bytes are not those that were written),
    `archive_schema`, `archive_too_large` or `archive_values`.
    """

    code = "archive"


class ServiceError(DwellError):
    """A served loop could not be asked, or answered what can not be used."""

    code = "service"


class ServiceUnreachableError(ServiceError):
    """A served loop gave no answer: it is not reachable, too late, or overloaded; trying again is right.

    Its code says which: `unreachable`, `timeout`, `overloaded`, `server_error`, or `circuit_open` (not asked, because
    it failed several times in a row a moment ago).

    Attributes:
        may_have_arrived: Whether a request may have taken effect all the same.
    """

    code = "unreachable"
    retryable: ClassVar[bool] = True
    may_have_arrived: bool = False


class AuthenticationError(ServiceError):
    """The key is missing, unknown, or not good for this call; what was sent as a key is never shown."""

    code = "unauthorized"


class ClusterError(DwellError):
    """The cluster could not do what was asked.

    Its code says why: `no_cluster`, `unreachable`, `not_started`, `ray_running`, `ray_imported`, `deadline` (a shard
    gave no answer in time), `moved` (shards were added or removed meanwhile), `not_ready`, `corrupt`.
    """

    code = "cluster"


class ShardLost(ClusterError):  # noqa: N818 - it says what is so
    """A shard died and did not come back in time; trying again is right."""

    code = "shard_lost"
    retryable: ClassVar[bool] = True


class RequestError(DwellError):
    """The service does not do what a request asks.

    Its code says why, in the words of the HTTP API: `unauthorized`, `forbidden`, `not_found`, `conflict`,
    `idempotency_conflict`, `too_large`, `too_many_requests`, `unsupported_media_type`, `malformed_json`, `timeout`,
    `overloaded`.

    Args:
        message: What happened.
        code: One of the above.
        hint: What to do about it.
        field: JSON pointer or name of the parameter, where there is one.
        value: The offending value.
        retry_after_s: When trying again may work, where that is known.
    """

    code = "request"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        field: str | None = None,
        value: object = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint, field=field, value=value)
        self.retry_after_s = retry_after_s


class TokenInvalid(RequestError):  # noqa: N818 - it says what to do: take the token of the list that was shown
    """An impression token is not good for what it came with.

    Its message never says what is wrong: whoever forges tokens learns nothing from it.

    Args:
        message: The same for every reason.
        reason: What is wrong, for the log alone.
    """

    code = "token_invalid"

    def __init__(self, message: str, *, reason: str = "", **given: Any) -> None:  # noqa: ANN401 - as RequestError
        super().__init__(message, **given)
        self.reason = reason


class MissingDependencyError(DwellError, ImportError):
    """An optional package is absent."""

    code = "missing_dependency"
