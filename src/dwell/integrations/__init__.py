"""Other people's formats and frameworks; each folder imports its library only when it is used."""

__all__: list[str] = []
