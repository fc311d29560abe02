"""Line charts as SVG: one panel for each dimension, sizes on a log scale, the
value from zero, every line named at its end."""

import dataclasses
import html
import math

PANEL_WIDTH, PANEL_HEIGHT = 360, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 74, 62, 44  # around the plot of a panel
LABEL_HEIGHT = 13
OTHER_COLOURS = ("#555555", "#94761a", "#16807a", "#6b6fd6")


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    lines: dict  # name -> {size: value}


def ticks(highest):
    """Round steps from zero to at least `highest`."""
    step = 10 ** math.floor(math.log10(highest))
    for divisor in (1, 2, 5, 10):
        if highest / (step / divisor) >= 4:
            step /= divisor
            break
    return [step * i for i in range(math.ceil(highest / step) + 1)]


def spread(wanted):
    """Heights for labels that do not cover each other, near the wanted ones."""
    placed = []
    for name, y in sorted(wanted.items(), key=lambda item: item[1]):
        placed.append((name, max(y, placed[-1][1] + LABEL_HEIGHT) if placed else y))
    return dict(placed)


def text(x, y, content, anchor="start", fill="#333333", size=11, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
            f'font-weight="{weight}">{html.escape(str(content))}</text>')


def draw_panel(panel, left, colours):
    sizes = sorted({size for line in panel.lines.values() for size in line})
    steps = ticks(max(value for line in panel.lines.values() for value in line.values()))
    low, high = math.log10(sizes[0]), math.log10(max(sizes[-1], sizes[0] * 10))

    def x_of(size):
        return left + LEFT + (math.log10(size) - low) / (high - low) * (PANEL_WIDTH - LEFT - RIGHT)

    def y_of(value):
        return PANEL_HEIGHT - BOTTOM - value / steps[-1] * (PANEL_HEIGHT - TOP - BOTTOM)

    parts = [text(left + LEFT, TOP - 12, panel.title, size=12)]
    for step in steps:
        parts.append(f'<line x1="{left + LEFT}" x2="{left + PANEL_WIDTH - RIGHT}" y1="{y_of(step):.1f}" '
                     f'y2="{y_of(step):.1f}" stroke="#e3e3e3"/>')
        parts.append(text(left + LEFT - 6, y_of(step) + 4, f"{step:g}", "end", "#666666"))
    for size in sizes:
        parts.append(text(x_of(size), PANEL_HEIGHT - BOTTOM + 18, f"{size:,}", "middle", "#666666"))
    ends = spread({name: y_of(line[max(line)]) for name, line in panel.lines.items()})
    for name, line in panel.lines.items():
        points = [(x_of(size), y_of(line[size])) for size in sorted(line)]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        width = 2.5 if name == "sluice" else 1.5
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colours[name]}" stroke-width="{width}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colours[name]}"/>' for x, y in points]
        parts.append(text(points[-1][0] + 7, ends[name] + 4, name, fill=colours[name],
                          weight="bold" if name == "sluice" else "normal"))
    return "\n".join(parts)


def draw(title, panels, colours):
    names = dict.fromkeys(name for panel in panels for name in panel.lines)
    unknown = [name for name in names if name not in colours]
    colours = colours | {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(unknown)}
    width = PANEL_WIDTH * len(panels)
    body = "\n".join(draw_panel(panel, PANEL_WIDTH * i, colours) for i, panel in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{PANEL_HEIGHT}" '
            f'viewBox="0 0 {width} {PANEL_HEIGHT}" font-family="system-ui, sans-serif">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
            f'{text(LEFT, 24, title, size=14, weight="bold")}\n{body}\n</svg>\n')
