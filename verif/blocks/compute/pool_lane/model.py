"""Model of a pooling lane."""


class PoolLane:
    """Combinational maxima of this pixel, those before it that count, and the pair above."""

    def __init__(self) -> None:
        self.before: list[int] | None = None

    def step(
        self, *, y: int, above: int, lower: int, alone: int = 0, keep: int = 0, rst: int = 0
    ) -> dict[str, int | None]:
        """One cycle."""
        del rst
        before = [] if alone else self.before
        self.before = [y] if not keep else None if before is None else [y, *before]
        if before is None:
            return {"across": None, "pooled": None}
        across = max(y, *before, 0)
        return {"across": across, "pooled": max(across, above) if lower else across}
