"""Any retriever of LangChain, its documents in the order that a loop gives them."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, run_in_executor
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import override

from dwell.integrations.found import Reading, checked_loop
from dwell.integrations.langchain.documents import Asked, asked_by, ranked
from dwell.records import checks

__all__ = ["DwellRetriever"]


class DwellRetriever(BaseRetriever):
    """A retriever whose documents a loop orders, and remembers under the id of the run.

    Each document comes back as a copy. Its metadata says `event_id`, the served list, equal to the run's own id, and
    under `dwell` the same with the document's id, its position at the wrapped retriever, score, propensity and the
    version of the params; `fallback` with a code where the loop could not rank and the order is the wrapped
    retriever's own. Keys of these two names are overwritten. Where nothing is found, nothing is served or recorded.

    A document is known by the metadata key `reading.id_key`, else by `Document.id`, else by a digest of its text, which
    is another one once the text changes. Two documents of one id in a list: `fallback` is "results_shape".

    Who asks is read from the config: `{"configurable": {"user_id": ...}}`, or its metadata. Asynchronous calls wait for
    the wrapped retriever's own `ainvoke`, and rank in a thread beside the event loop.

    Attributes:
        base: The wrapped retriever, or any runnable from a query to documents; let it find more than `k`.
        loop: A `dwell.Loop` or a `dwell.Client`; it stays the caller's, to close.
        k: Documents to return, >= 1; `invoke(query, k=3)` asks for another number.
        reading: How features and identities are read from a document.
        user_key: The key of the config that says who asks; `invoke(query, user=...)` comes before it.
        segment_key: The key of the config that names a group of queries; `segment=...` comes before it.
        is_strict: Whether what the loop raises comes out, as it should while testing; a loop raises where it is strict.

    Raises:
        pydantic.ValidationError: A field of another name or type, `k` below 1, or a client without `reading.features`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")  # `top_k` would be dropped silently

    base: RetrieverLike
    loop: Annotated[Any, Field(exclude=True, repr=False)]
    k: Annotated[int, Field(ge=1, strict=True)] = 10
    reading: Reading = Reading()
    user_key: str = "user_id"
    segment_key: str = "segment"
    is_strict: bool = False

    @model_validator(mode="after")
    def _check_loop(self) -> DwellRetriever:
        checked_loop(self.loop, self.reading)
        return self

    @override
    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents to show; `k`, `user` and `segment` may be given by name.

        Raises:
            RecordError: `k` is no positive integer.
        """
        return super().invoke(input, config, **self._asked(config, kwargs))

    @override
    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents to show; as `invoke`.

        Raises:
            RecordError: `k` is no positive integer.
        """
        return await super().ainvoke(input, config, **self._asked(config, kwargs))

    def _asked(self, config: RunnableConfig | None, said: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call with what its config says, which is not passed on to what follows."""
        full: dict[str, Any] = dict(ensure_config(config))
        if said.get("k") is not None:
            checks.positive_integer(said["k"], "k")
        return {
            "user": asked_by(full, self.user_key),
            "segment": asked_by(full, self.segment_key),
            "configurable": full.get("configurable"),
        } | said

    @override
    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        user: object = None,
        segment: object = None,
        configurable: dict[str, Any] | None = None,
    ) -> list[Document]:
        config: RunnableConfig = {"callbacks": run_manager.get_child(), "configurable": configurable or {}}
        documents = self.base.invoke(query, config)
        asked = Asked(self.k if k is None else k, user, segment, str(run_manager.run_id))
        return ranked(self.loop, query, documents, asked, reading=self.reading, is_strict=self.is_strict)

    @override
    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        user: object = None,
        segment: object = None,
        configurable: dict[str, Any] | None = None,
    ) -> list[Document]:
        config: RunnableConfig = {"callbacks": run_manager.get_child(), "configurable": configurable or {}}
        documents = await self.base.ainvoke(query, config)
        asked = Asked(self.k if k is None else k, user, segment, str(run_manager.run_id))
        return await run_in_executor(
            None, ranked, self.loop, query, documents, asked, reading=self.reading, is_strict=self.is_strict
        )
