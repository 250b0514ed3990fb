"""Plots as SVG, with nothing but text: bars side by side, and curves over a logarithmic axis."""

import math
from html import escape

COLORS = {"kafka": "#8a8f98", "moldau": "#1f6feb", "limit": "#d29922"}
NAMES = {"kafka": "Apache Kafka 4.3.0", "moldau": "Moldau", "limit": "the machine's limit"}
WIDTH, LABEL, BAR, GAP = 900, 330, 13, 10


def text(x, y, content, anchor="start", size=12, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
            f'fill="#24292f">{escape(content)}</text>')


def document(height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">\n'
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n")


def legend(kinds, y):
    parts, x = [], LABEL
    for kind in kinds:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{COLORS[kind]}"/>')
        parts.append(text(x + 17, y, NAMES[kind]))
        x += 40 + 7 * len(NAMES[kind])
    return parts


def short(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def bars(title, groups):
    """`groups` are (name, [(kind, value or None)]). Values that are far apart get a logarithmic axis."""
    values = [value for _, series in groups for _, value in series if value]
    high = max(values, default=1)
    low = min(values, default=1)
    is_log = high / low > 50
    room = WIDTH - LABEL - 90

    def length(value):
        if not value:
            return 0
        if is_log:
            floor = math.log10(low) - 0.3
            return room * (math.log10(value) - floor) / (math.log10(high) - floor)
        return room * value / high

    kinds = [kind for kind in COLORS if any(value for _, series in groups for k, value in series if k == kind)]
    parts = [text(20, 28, title + (" (logarithmic)" if is_log else ""), size=16, weight="bold"), *legend(kinds, 52)]
    y = 72
    for name, series in groups:
        series = [(kind, value) for kind, value in series if value]
        parts.append(text(LABEL - 8, y + (BAR * len(series)) / 2 + 4, name, anchor="end"))
        for kind, value in series:
            parts.append(f'<rect x="{LABEL}" y="{y:.1f}" width="{length(value):.1f}" height="{BAR - 2}" fill="{COLORS[kind]}"/>')
            parts.append(text(LABEL + length(value) + 5, y + BAR - 3, short(value), size=10))
            y += BAR
        y += GAP
    return document(y + 10, parts)


def curves(title, steps, series):
    """`series` are (name, kind, one value for each step)."""
    values = [value for _, _, row in series for value in row if value > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, right, top, bottom = 70, WIDTH - 230, 80, 420

    def place(step, value):
        x = left + (right - left) * step / max(len(steps) - 1, 1)
        share = (math.log10(max(value, 10 ** low)) - low) / (high - low)
        return x, bottom - (bottom - top) * share

    parts = [text(20, 28, title + " (logarithmic)", size=16, weight="bold"), *legend([kind for kind in COLORS if any(k == kind for _, k, _ in series)], 52)]
    for power in range(low, high + 1):
        _, y = place(0, 10 ** power)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#d0d7de"/>')
        parts.append(text(left - 8, y + 4, f"{10 ** power:g}", anchor="end", size=11))
    for index, step in enumerate(steps):
        parts.append(text(place(index, 1)[0], bottom + 20, step, anchor="middle", size=11))
    taken = []
    for name, kind, row in series:
        points = [place(index, value) for index, value in enumerate(row)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLORS[kind]}" stroke-width="2"/>')
        y = points[-1][1]
        while any(abs(y - other) < 12 for other in taken):
            y += 4
        taken.append(y)
        parts.append(text(right + 10, y + 4, name, size=10))
    return document(bottom + 50, parts)
