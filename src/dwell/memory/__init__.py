"""A small durable memory for agents: it finds by words and meaning, and learns from what was of use.

memory = dwell.memory.open("agent.dwell")
memory.add("The user prefers metric units.")
recall = memory.search("which units?")
memory.feedback(recall.event_id, "used", item=recall.items[0].id)

Where to begin: `memory` is the face, `opening` brings its two files in step, `texts` is the file of texts with its
full-text index, `shelf` what is searched, and `recalled` what is answered.
"""

from dwell.memory.memory import Memory
from dwell.memory.opening import STARTING_WEIGHTS, open  # noqa: A004 - the name is public surface
from dwell.memory.recalled import Kept, Recall, Remembered, Standing, Why

__all__ = ["STARTING_WEIGHTS", "Kept", "Memory", "Recall", "Remembered", "Standing", "Why", "open"]
