"""The feature memory over a frame: how many bytes of each map are still to be read, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from kestrel.sw.estimate.estimate import Estimate
from kestrel.sw.planning.memory import MapUse, memory_use

WIDTH, HEIGHT = 1000, 240
POINTS = 600
"""Times at which the areas are drawn; between two of them the fullest moment counts."""


@dataclass(frozen=True)
class MemoryChart:
    """One part of the feature memory. svg: the drawing, without text; kilobytes: configured, used addresses
    and the most that is in use at once; maps: names with their colours, in the order of the areas."""

    part: int
    svg: str
    configured: float
    used: float
    peak: float
    maps: tuple[tuple[str, str], ...]
    cycles: int


def memory_charts(found: Estimate) -> tuple[MemoryChart, ...]:
    """Both parts."""
    cycles = found.report.cycles
    uses = memory_use(found.plan, cycles.visit_starts, cycles.total)
    colours = {use.name: f"hsl({round(300 * n / max(1, len(uses) - 1))} 55% 52%)"
               for n, use in enumerate(uses)}
    return tuple(_chart(found, part, [use for use in uses if use.part == part], colours) for part in (0, 1))


def _chart(found: Estimate, part: int, uses: Sequence[MapUse], colours: dict[str, str]) -> MemoryChart:
    total = found.report.cycles.total
    size = found.report.memory.features[part]
    heights = _fullest(uses, total) if uses else np.zeros((0, POINTS))
    tops = np.cumsum(heights, axis=0)
    peak = float(heights.sum(axis=0).max())
    scale = HEIGHT / (size.configured * 1.04)
    x = np.linspace(0, WIDTH, POINTS + 1)
    areas, below = [], np.zeros(POINTS)
    for use, above in zip(uses, tops, strict=True):
        outline = [*_steps(x, HEIGHT - above * scale), *reversed(_steps(x, HEIGHT - below * scale))]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in outline)
        areas.append(f'<polygon fill="{colours[use.name]}" points="{path}">'
                     f"<title>{escape(use.name)}</title></polygon>")
        below = above
    lines = [f'<line class="{kind}" x1="0" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>' for kind, y in (
        ("limit", HEIGHT - size.configured * scale), ("used", HEIGHT - size.used * scale))]
    about = (f"Part {part} of the feature memory over a frame of {total:,} cycles: at most "
             f"{peak / 1000:,.1f} kB hold rows that are still to be read, addresses up to "
             f"{size.used / 1000:,.1f} kB are used, "
             f"{size.configured / 1000:,.1f} kB are configured. Maps: {', '.join(u.name for u in uses)}.")
    svg = (f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
           f'aria-label="{escape(about, quote=True)}">{"".join(areas)}{"".join(lines)}</svg>')
    return MemoryChart(part, svg, size.configured / 1000, size.used / 1000, peak / 1000,
                       tuple((use.name, colours[use.name]) for use in uses), total)


def _fullest(uses: Sequence[MapUse], total: int) -> np.ndarray:
    """float64 [maps, POINTS]: the bytes of each map at the fullest moment of each stretch of the frame."""
    edges = np.linspace(0, total, POINTS + 1)
    times = np.unique(np.concatenate([edges[:-1], *(use.cycles for use in uses)]))
    heights = np.stack([
        use.bytes[np.searchsorted(use.cycles, times, side="right") - 1] for use in uses
    ]).astype(float)
    stretches = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, POINTS - 1)
    # Of a stretch's moments, all in a row, the last one in the order of their sums.
    order = np.lexsort((heights.sum(axis=0), stretches))
    last = np.searchsorted(stretches[order], np.arange(POINTS), side="right") - 1
    return heights[:, order[last]]


def _steps(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """A line of steps, one for each stretch, without points that change nothing."""
    points: list[tuple[float, float]] = []
    for left, right, value in zip(x[:-1], x[1:], y, strict=True):
        if points and points[-1][1] == value:
            points[-1] = (float(right), float(value))
        else:
            points += [(float(left), float(value)), (float(right), float(value))]
    return points
