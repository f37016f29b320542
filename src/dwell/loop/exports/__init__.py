"""What a loop recorded, in the shapes of other tools: each module turns events into the bytes of one format.

`docs/exports.md` has every field, and what each format loses.
"""

__all__: list[str] = []
