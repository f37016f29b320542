"""Scores that people and judges gave elsewhere (Langfuse, Phoenix, Opik), as signals of a loop's lists.

`import_scores` takes what a reader reads through the user's own client; nothing of these libraries is imported.
"""

from dwell.integrations.scores.importing import import_scores
from dwell.integrations.scores.langfuse import langfuse_scores, rewards_to_langfuse
from dwell.integrations.scores.meanings import Meaning
from dwell.integrations.scores.opik import opik_scores
from dwell.integrations.scores.phoenix import phoenix_scores
from dwell.integrations.scores.records import Page, Reader, Score, ScoresReport

__all__ = [
    "Meaning",
    "Page",
    "Reader",
    "Score",
    "ScoresReport",
    "import_scores",
    "langfuse_scores",
    "opik_scores",
    "phoenix_scores",
    "rewards_to_langfuse",
]
