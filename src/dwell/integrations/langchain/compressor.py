"""A compressor of documents for LangChain that keeps those which a loop puts first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from langchain_core.callbacks import BaseCallbackManager, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables.config import ensure_config
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from dwell.integrations.found import Reading, checked_loop
from dwell.integrations.langchain.documents import Asked, asked_by, ranked

__all__ = ["DwellCompressor"]


class DwellCompressor(BaseDocumentCompressor):
    """The first `k` documents in the order that a loop gives them, for `ContextualCompressionRetriever` and the like.

    Documents come back as from `DwellRetriever`. The event id is that of the run in which the documents are compressed,
    where the callbacks say so (as `ContextualCompressionRetriever` passes them), else the loop's own: read it from the
    metadata. A second list in the same run can not have that id too: it is not ranked, and `fallback` is "conflict".

    Attributes:
        loop: A `dwell.Loop` or a `dwell.Client`; it stays the caller's, to close.
        k: Documents to return, >= 1.
        reading: How features and identities are read from a document.
        user_key: The key that says who asks, in the metadata of the callbacks or in the current config.
        segment_key: The key that names a group of queries there.
        is_strict: Whether what the loop raises comes out.

    Raises:
        pydantic.ValidationError: As `DwellRetriever`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")  # `top_n` would be dropped silently

    loop: Annotated[Any, Field(exclude=True, repr=False)]
    k: Annotated[int, Field(ge=1, strict=True)] = 10
    reading: Reading = Reading()
    user_key: str = "user_id"
    segment_key: str = "segment"
    is_strict: bool = False

    @model_validator(mode="after")
    def _check_loop(self) -> DwellCompressor:
        checked_loop(self.loop, self.reading)
        return self

    @override
    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the documents to show, in order; `acompress_documents` does so in a thread beside the event loop.

        Args:
            documents: What was found, in the retriever's own order.
            query: The request.
            callbacks: Those of the run in which this is done.
        """
        manager = callbacks if isinstance(callbacks, BaseCallbackManager) else None
        run_id = None if manager is None else manager.parent_run_id
        config: dict[str, Any] = dict(ensure_config())
        if manager is not None:
            config["metadata"] = {**(config.get("metadata") or {}), **manager.metadata}
        asked = Asked(
            self.k,
            asked_by(config, self.user_key),
            asked_by(config, self.segment_key),
            None if run_id is None else str(run_id),
        )
        return ranked(self.loop, query, list(documents), asked, reading=self.reading, is_strict=self.is_strict)
