"""Stores as sources of candidates for hybrid search; each module imports its library only when it is used.

| module | source | extra |
|---|---|---|
| `qdrant` | `QdrantSource` | `qdrant` |
| `chroma` | `ChromaSource` | `chroma` |
| `pgvector` | `PgvectorSource` | `postgres` |
| `opensearch` | `text_source`, `vector_source` | `opensearch` |
| `elasticsearch` | `text_source`, `vector_source` | `elasticsearch` |

SQLite's FTS5 and vectors in memory need no library: `dwell.retrieval`.
"""

__all__: list[str] = []
