"""`dwell demo --serve`: a search page over the demo's corpus beside the dashboard, for whoever wants to live in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any, Final

from dwell.config import Config, read_config, settings_of
from dwell.demo.cast import formula, printable
from dwell.demo.corpus import folder, python_documentation
from dwell.demo.documents import Document
from dwell.demo.place import clear_store, kept_pepper, place_pepper
from dwell.demo.simulated import N_SENT, send_after
from dwell.demo.world import START
from dwell.errors import ConfigError
from dwell.records import Params
from dwell.retrieval import Retriever
from dwell.server.page_routes import Setting, Simulated
from dwell.server.running import run_service

__all__ = ["LIVED_IN", "LivingOptions", "serve_demo", "settings_for"]

#: What is not as `dwell serve` has it, because one person with a few dozen clicks wants to see something happen. The
#: gate is not among it. Step and batch: of 20 runs (4 queries x 5 seeds, 30 clicks on the third result) the clicked one
#: rose in all, to second place or first; at the default step of 0.003 in none.
LIVED_IN: Final[Mapping[str, Mapping[str, Any]]] = {
    "store": {"attribution_window_s": 20.0, "holdout": 0.0},
    "learner": {"step_size": 0.2},
    "training": {"min_batch": 4},
    "serve": {"train_every_s": 3_600.0},
}
_WHY: Final[Mapping[str, str]] = {
    "store.attribution_window_s": "so that you need not wait for half an hour",
    "store.holdout": "so that your lists are learned from, whoever you are: nobody's are kept for judging only",
    "learner.step_size": "so that a few dozen clicks move something",
    "training.min_batch": "as above",
    "serve.train_every_s": "so that it learns when you say so, not from your first click alone",
}
_VISITOR: Final = "you"


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingOptions:
    """What may be asked of the demo that one lives in.

    Attributes:
        corpus: A folder of text; None for the documentation of the running Python.
        store: Where the store goes and stays. A store of an earlier demo is replaced, anything else refused.
        seed: Seeds the draws, in [0, 2^32).
        is_kept: Whether the store of an earlier demo is served as it is, instead of a new one.
        port: Where to listen, 0 for any that is free; that of the settings when None.
        config: Settings other than those of this demo; whatever differs from the defaults is printed.

    Raises:
        ConfigError: The seed is out of range.
    """

    corpus: Path | None = None
    store: Path = Path("demo.dwell")
    seed: int = 0
    is_kept: bool = False
    port: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ConfigError(
                f"not a whole number from 0 to {2**32 - 1}", field="seed", value=self.seed, hint="Give another one."
            )


def settings_for(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of this demo with what is given on top, section by section."""
    return {name: {**LIVED_IN.get(name, {}), **given.get(name, {})} for name in {**LIVED_IN, **given}}


def serve_demo(options: LivingOptions, *, say: Callable[[str], None]) -> None:
    """Serve search page and dashboard on this machine, without keys, until SIGINT or SIGTERM; the store stays.

    Args:
        options: What is asked for.
        say: Prints a line.

    Raises:
        ConfigError: The corpus, the store's place or a setting can not be used.
        StorageError: The store could not.
    """
    settings = settings_for(options.config)
    config = read_config(settings, os.environ)
    # what is wrong with the text is said before anything is removed; indexing it takes as long as the service to start
    read = python_documentation(has_links=False) if options.corpus is None else folder(options.corpus, has_links=False)
    pepper = _pepper(options)
    library = _indexing(read.documents)
    for line in _lines(options, settings):
        say(line)

    def tell(address: str) -> None:
        say(f"  search and click   {address}/example")
        say(f"  the dashboard      {address}/")
        say("end it with Ctrl-C; the store stays")

    run_service(
        str(options.store),
        _arguments(options, config, pepper),
        config.serve if options.port is None else replace(config.serve, port=options.port),
        is_open=True,
        say=say,
        advise=say,
        open_library=library.result,
        alerts=config.alerts,
        setting=Setting(
            simulated=Simulated(N_SENT, send_after),
            visitor=_VISITOR,
            subject="Python's documentation" if options.corpus is None else printable(options.corpus.name, 60),
        ),
        tell=tell,
    )


def _indexing(documents: Sequence[Document]) -> Future[Retriever]:
    """Return a future of what is searched, indexed in a thread."""
    found: Future[Retriever] = Future()

    def work() -> None:
        try:
            found.set_result(Retriever.build(documents))
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            found.set_exception(error)

    Thread(target=work, name="dwell-demo-corpus", daemon=True).start()
    return found


def _pepper(options: LivingOptions) -> str:
    if options.is_kept:
        return kept_pepper(options.store)
    clear_store(options.store)
    return place_pepper(options.store, options.seed)


def _arguments(options: LivingOptions, config: Config, pepper: str) -> dict[str, Any]:
    weights = None if options.is_kept else dict(START)
    own = {"pepper": pepper, "seed": options.seed, "features": list(START), "weights": weights}
    return {**config.store.arguments(), "config": config, **own}


def _lines(options: LivingOptions, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is printed before it starts."""
    begins = f"a new store; it begins with {formula(Params(0, START))}, a formula made by hand"
    found = [f"{printable(options.store)}: {'the store that is there' if options.is_kept else begins}"]
    differing = [one for one in settings_of(settings, os.environ) if one.origin != "default"]
    for one in differing:
        section, _, name = one.name.partition(".")
        is_own = one.origin == "file" and LIVED_IN.get(section, {}).get(name) == one.value
        words = _WHY[one.name] if is_own else "environment" if one.origin == "environment" else "given"
        found.append(f"  NOT the default: {one.name} = {printable(one.value)} ({words})")
    if not any(one.name.startswith("gate.") for one in differing):
        found.append("  the gate is as it always is; who overrules it is on record")
    return found
