"""Results as text: a block for each work, and one table of medians."""

import statistics

OWN = "sluice"
FLOOR = "floor"


def ratio(values, others):
    """The median of the ratios within each round; None without rounds in common."""
    pairs = [a / b for a, b in zip(values or [], others or []) if b]
    return statistics.median(pairs) if pairs else None


def number(value):
    if value is None:
        return "-"
    digits = 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f}"


def times(value):
    return "-" if value is None else f"{value:.2f}"


def block(work, by_metric, problems):
    """Every metric of a work: median, spread and ratios for each proxy."""
    lines = [work.title]
    for metric in work.metrics:
        by_name = by_metric[metric.name]
        floor = None if work.fresh else by_name.get(FLOOR)  # memory and the like have no floor
        lines.append(f"  {metric.unit:<26}{'median':>10}{'lowest':>10}{'highest':>10}{'to floor':>10}"
                     f"{'sluice to it':>14}")
        for name, values in by_name.items():
            lines.append(f"    {name:<24}{number(statistics.median(values)):>10}{number(min(values)):>10}"
                         f"{number(max(values)):>10}{times(ratio(values, floor)):>10}"
                         f"{times(ratio(by_name.get(OWN), values)):>14}")
        verdict = judge(metric, by_name)
        if verdict:
            lines.append(f"    {verdict}")
    lines += [f"  {name}: {why}" for name, why in problems.items()]
    return "\n".join(lines)


def judge(metric, by_name):
    """Which of the metric's bars sluice meets, as a sentence; empty if there is nothing to say."""
    own = by_name.get(OWN)
    if not metric.shown or not own:
        return ""
    said = []
    to_floor = ratio(own, by_name.get(FLOOR))
    if metric.floor_bar and to_floor:
        said.append(f"{times(to_floor)} of the floor, bar {times(metric.floor_bar)}: "
                    + met(to_floor <= metric.floor_bar))
    if metric.bar:
        value = statistics.median(own)
        said.append(f"{number(value)}, bar {number(metric.bar)}: {met(value <= metric.bar)}")
    peers = {name: ratio(own, values) for name, values in by_name.items() if name not in (OWN, FLOOR)}
    if metric.beat_peers and peers:
        above = [name for name, value in peers.items() if value >= 1]
        said.append("below every peer: " + (met(not above) if not above else f"NOT MET, not below {', '.join(above)}"))
    return "; ".join(said)


def met(yes):
    return "met" if yes else "NOT MET"


def summary(works, results, names):
    """All medians as one Markdown table."""
    lines = ["| work | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for work in works:
        for metric in work.metrics:
            if metric.shown:
                by_name = results[work.name][metric.name]
                cells = [number(statistics.median(by_name[name])) if name in by_name else "-" for name in names]
                lines.append(f"| {work.title}: {metric.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
