"""Model of a pooling lane."""


class PoolLane:
    """Combinational maxima of this pixel, the one before it, and the pair above."""

    def __init__(self) -> None:
        self.before: int | None = None

    def step(self, *, y: int, above: int, lower: int, rst: int = 0) -> dict[str, int | None]:
        """One cycle."""
        del rst
        before, self.before = self.before, y
        if before is None:
            return {"across": None, "pooled": None}
        across = max(y, before)
        return {"across": across, "pooled": max(across, above) if lower else across}
