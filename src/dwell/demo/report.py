"""The report: one page that holds everything it shows, asks for nothing, and runs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from dwell.demo.cast import printable
from dwell.demo.measures import DEPTH
from dwell.demo.place import GENERATOR
from dwell.demo.plots import Band, Frame, Line, Mark, bars, plot
from dwell.demo.story import Measured, Moment, Planted, TasteChanged, Trained
from dwell.demo.telling import Outcome, interval
from dwell.demo.traffic import Plan
from dwell.demo.world import World
from dwell.records import Estimate, GateDecision, Params
from dwell.testing.clock import START_AT

__all__ = ["Account", "report_page"]

_MARGIN: Final = 0.08  # of the values' span, above and below them


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """Everything that the report tells.

    Attributes:
        facts: Who takes part and under which rules, (name, words).
        plan: How the demo was played.
        world: Where.
        moments: What happened, in order.
        ledger: Every decision of the loop, oldest first.
        versions: Params by version.
    """

    facts: Sequence[tuple[str, str]]
    plan: Plan
    world: World
    moments: Sequence[Moment]
    ledger: Sequence[GateDecision]
    versions: Mapping[int, Params]


_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2230;--soft:#5b6475;--paper:#fcfcfd;--card:#fff;--edge:#d9dde5;--live:#1f5fbf;
--start:#8a5a00;--good:#15803d;--bad:#b42318;--turn:#7a3fb0;--grid:#e7eaf0}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#a2abbb;--paper:#12151c;--card:#191d26;--edge:#313846;
--live:#74a7ff;--start:#e0a94a;--good:#4cc27a;--bad:#ff7b70;--turn:#c39bf0;--grid:#272d39}}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:1rem;color:var(--ink);background:var(--paper);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .4rem}p{margin:.4rem 0}
.note{color:var(--soft);font-size:.9rem}.simulated{border:2px solid var(--turn);border-radius:.5rem;padding:.6rem .8rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem;margin:1rem 0}
.tile{background:var(--card);border:1px solid var(--edge);border-radius:.5rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}
dl{display:grid;grid-template-columns:6rem 1fr;gap:.3rem .8rem}dt{color:var(--soft)}
dd{margin:0;min-width:0;overflow-wrap:anywhere}
@media(max-width:30rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
.plot{margin:.6rem 0 1rem}.axis{color:var(--soft);font-size:.8rem;margin:0 0 .5rem 3.2rem}.right{text-align:right;
margin:1.7rem 0 0}.box{position:relative;height:17rem;margin:0 .8rem 0 3.2rem}.short .box{height:11rem}
.box svg{width:100%;height:100%;overflow:visible;display:block}
.box span{position:absolute;color:var(--soft);font-size:.8rem;font-variant-numeric:tabular-nums;line-height:1;
white-space:nowrap}
.y-tick{right:calc(100% + .5rem);transform:translateY(-50%)}.x-tick{top:calc(100% + .5rem);transform:translateX(-50%)}
svg path{fill:none;vector-effect:non-scaling-stroke}.grid{stroke:var(--grid)}.zero{stroke:var(--soft)}
.line{stroke-width:2.25;stroke-linejoin:round}.dot{stroke-linecap:round}.rule{stroke-width:1.5;stroke-dasharray:5 4}
.live{stroke:var(--live)}.start{stroke:var(--start)}.good{stroke:var(--good)}.bad{stroke:var(--bad)}
.turn{stroke:var(--turn)}.band{stroke:none;opacity:.18}path.band.live{fill:var(--live);stroke:none}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;padding:0;margin:.5rem 0;list-style:none;font-size:.9rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:50%;margin-right:.35rem;vertical-align:-.05rem}
.k-live{background:var(--live)}.k-start{background:var(--start)}.k-good{background:var(--good)}
.k-bad{background:var(--bad)}
.k-turn{background:var(--turn)}
.weights{display:grid;grid-template-columns:repeat(auto-fill,minmax(9rem,1fr));gap:.6rem}
.weights div{background:var(--card);border:1px solid var(--edge);border-radius:.5rem;padding:.5rem .6rem}
.weights b{font-size:.85rem}.weights span{float:right;font-size:.85rem;font-variant-numeric:tabular-nums}
.bars{width:100%;height:3.5rem;display:block}rect.up{fill:var(--live)}rect.down{fill:var(--start)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--edge)}
th{color:var(--soft);font-weight:600;white-space:nowrap}td.n{white-space:nowrap}
td.words{min-width:15rem;overflow-wrap:anywhere}
.promote{color:var(--good)}.reject{color:var(--bad)}code{font-size:.9em}summary{cursor:pointer}
"""


_SIMULATED: Final = (
    '<p class="simulated"><strong>The users are simulated.</strong> The text is real, and so is everything that the'
    " loop does; who searches, what they want and what they click on is made up by click models. Nothing here is"
    " evidence about people, or about how much another search would gain.</p>"
)


def report_page(account: Account, outcome: Outcome) -> str:
    """Return the whole page; every text in it is escaped, whoever wrote it."""
    parts = [
        f"<h1>dwell demo</h1>{_SIMULATED}",
        _tiles(outcome),
        _facts(account),
        _quality(account),
        _planted(account),
        _weights(account),
        _ledger(account),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="generator" content="{GENERATOR}">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>dwell demo</title><style>{_STYLE}</style></head><body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _text(value: object) -> str:
    return escape(printable(value, 2_000))


def _tile(value: str, words: str) -> str:
    return f'<div class="tile"><b>{_text(value)}</b><span>{_text(words)}</span></div>'


def _tiles(outcome: Outcome) -> str:
    gain = outcome.end.quality.ndcg_gain
    tiles = [
        _tile(f"{gain.value:+.3f}", f"nDCG@{DEPTH} at the end against the frozen start, 95 % in {_range(gain)}"),
        _tile(f"{outcome.n_promoted} of {outcome.n_judged}", "decided proposals were promoted, on evidence alone"),
        _tile("refused" if outcome.was_mistake_refused else "promoted", "the planted mistake"),
        _tile("exact" if outcome.is_restored else "not exact", "the rollback: the same figures to the last digit"),
    ]
    complaint = f"<p><strong>{_text(outcome.complaint)}</strong></p>" if outcome.complaint else ""
    return f'<div class="tiles">{"".join(tiles)}</div>{complaint}'


def _range(estimate: Estimate) -> str:
    return f"[{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _facts(account: Account) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(words)}</dd>" for name, words in account.facts)
    return f"<h2>Who takes part, under which rules</h2><dl>{rows}</dl>"


# ---------------------------------------------------------------------------------------------------------- quality


def _measured(account: Account) -> list[list[Measured]]:
    """What was measured, in order: one list per taste."""
    tastes: list[list[Measured]] = [[]]
    for moment in account.moments:
        if isinstance(moment, Measured):
            tastes[-1].append(moment)
        elif isinstance(moment, Trained):
            tastes[-1].append(moment.after)
        elif isinstance(moment, TasteChanged):
            tastes.append([moment.after])
    return tastes


def _frame(account: Account, values: Sequence[float], y_words: str) -> Frame:
    low, high = min(values), max(values)
    margin = _MARGIN * max(high - low, 1e-3)
    return Frame((0.0, float(account.plan.n_searches)), (low - margin, high + margin), "searches", y_words)


def _marks(account: Account, heights: Mapping[int, float]) -> list[Mark]:
    """What happened, placed on the curve: `heights` by searches."""
    marks = []
    for moment in account.moments:
        if isinstance(moment, Trained) and moment.decision.verdict in {"promote", "reject"}:
            decision = moment.decision
            name = "good" if decision.verdict == "promote" else "bad"
            words = f"{decision.verdict} version {decision.proposed_version}: {printable(decision.reasons[0])}"
            marks.append(Mark(name, moment.n_searches, heights[moment.n_searches], words))
        elif isinstance(moment, TasteChanged):
            marks.append(Mark("turn", moment.after.n_searches, None, "the visitors' taste changes"))
        elif isinstance(moment, Planted):
            words = "the planted mistake is refused, forced, and rolled back"
            marks.append(Mark("bad", moment.n_searches, None, words))
    return marks


def _quality(account: Account) -> str:
    tastes = [points for points in _measured(account) if points]
    every = [point for points in tastes for point in points]
    level = [e for p in every for e in (p.quality.ndcg.low, p.quality.ndcg.high, p.quality.start_ndcg.value)]
    gains = [e for p in every for e in (p.quality.ndcg_gain.low, p.quality.ndcg_gain.high, 0.0)]
    upper = plot(
        _frame(account, level, f"nDCG@{DEPTH} of what is served"),
        title=f"nDCG@{DEPTH} over searches, with 95 % intervals, and the frozen starting ranker's",
        lines=[
            *(Line("start", [(p.n_searches, p.quality.start_ndcg.value) for p in ps]) for ps in tastes),
            *(Line("live", [(p.n_searches, p.quality.ndcg.value) for p in ps], is_stepped=True) for ps in tastes),
        ],
        bands=[_band(ps, is_gain=False) for ps in tastes],
        marks=_marks(account, {p.n_searches: p.quality.ndcg.value for p in reversed(every)}),
    )
    lower = plot(
        _frame(account, gains, f"nDCG@{DEPTH}, served minus frozen start, paired"),
        title=f"paired difference of nDCG@{DEPTH} to the frozen starting ranker over searches, with 95 % intervals",
        lines=[Line("live", [(p.n_searches, p.quality.ndcg_gain.value) for p in ps], is_stepped=True) for ps in tastes],
        bands=[_band(ps, is_gain=True) for ps in tastes],
        marks=_marks(account, {p.n_searches: p.quality.ndcg_gain.value for p in reversed(every)}),
        has_zero=True,
    )
    legend = "".join(
        f'<li><i class="k-{name}"></i>{words}</li>'
        for name, words in (
            ("live", "served, 95 % interval shaded"),
            ("start", "frozen starting ranker"),
            ("good", "promoted"),
            ("bad", "rejected; dashed: planted, forced, rolled back"),
            ("turn", "the taste changes"),
        )
    )
    return (
        f'<h2>Quality of what is served</h2><ul class="legend">{legend}</ul>{upper}<div class="short">{lower}</div>'
        '<p class="note">Measured on queries that no visitor makes. The change of taste moves both rankers, because '
        "other entries are wanted; what the loop loses and wins back is the difference.</p>" + _figures(every)
    )


def _band(points: Sequence[Measured], *, is_gain: bool) -> Band:
    estimates = [p.quality.ndcg_gain if is_gain else p.quality.ndcg for p in points]
    return Band(
        "live", [(p.n_searches, e.low, e.high) for p, e in zip(points, estimates, strict=True)], is_stepped=True
    )


def _figures(points: Sequence[Measured]) -> str:
    rows = "".join(
        f'<tr><td class="n">{p.n_searches:,}</td><td>{p.version}</td><td class="n">{interval(p.quality.ndcg)}</td>'
        f'<td class="n">{p.quality.start_ndcg.value:.3f}</td>'
        f'<td class="n">{interval(p.quality.ndcg_gain, signed=True)}</td><td class="n">{interval(p.quality.mrr)}</td>'
        f'<td class="n">{p.quality.start_mrr.value:.3f}</td>'
        f'<td class="n">{interval(p.quality.mrr_gain, signed=True)}</td></tr>'
        for p in points
    )
    heads = "".join(
        f"<th>{head}</th>"
        for head in (
            "searches",
            "live",
            f"nDCG@{DEPTH}",
            "start",
            "difference",
            f"MRR@{DEPTH}",
            "start",
            "difference",
        )
    )
    return (
        f'<details><summary>The figures</summary><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


# ------------------------------------------------------------------------------------------- the mistake, the weights


def _planted(account: Account) -> str:
    found = [moment for moment in account.moments if isinstance(moment, Planted)]
    if not found:
        return ""
    planted = found[0]
    rows = "".join(
        f'<tr><td>{words}</td><td class="n">{measured.version}</td><td class="n">{interval(measured.quality.ndcg)}</td>'
        f'<td class="n">{interval(measured.quality.mrr)}</td></tr>'
        for words, measured in (
            ("before", planted.before),
            ("forced by hand" if planted.was_refused else "promoted", planted.forced),
            ("rolled back", planted.rolled_back),
        )
    )
    verdict = planted.decision.verdict
    return (
        "<h2>A planted mistake</h2><p>After "
        f"{planted.n_searches:,} searches somebody asks for the starting formula with one sign wrong. Its weights are "
        f'legal and within every bound. The gate says <strong class="{verdict}">{verdict}</strong>: '
        f"{_text(planted.decision.reasons[0])}.</p>"
        '<div class="scroll"><table><thead><tr><th></th><th>live</th>'
        f"<th>nDCG@{DEPTH}</th><th>MRR@{DEPTH}</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _weights(account: Account) -> str:
    live = [d.proposed_version for d in account.ledger if d.verdict == "promote" and d.kind == "judged"]
    learned = [account.versions[version] for version in live if account.versions[version].transform is not None]
    if not learned:
        return "<h2>Weights</h2><p>No learned version went live.</p>"
    series = {name: [params.weights[name] for params in learned] for name in learned[0].feature_names}
    most = max(abs(value) for values in series.values() for value in values)
    labels = [f"version {version}" for version in live]
    tiles = "".join(
        f"<div><b>{_text(name)}</b><span>{values[-1]:+.2f}</span>"
        f"{bars(values, labels, most, title=f'weight of {name} by version')}</div>"
        for name, values in series.items()
    )
    numbers = ", ".join(str(version) for version in live)
    return (
        '<h2>Weights of the versions that went live</h2><p class="note">One bar per version, oldest first'
        f" ({numbers}), up for a positive weight; the number is the newest. They act on standardised features. Beside"
        f" them every version leans on the starting formula's score, the newest with weight {_leaning(learned)}.</p>"
        f'<div class="weights">{tiles}</div>'
    )


def _leaning(learned: Sequence[Params]) -> str:
    newest = learned[-1].raw_score
    return "0" if newest is None else f"{newest.coefficient:+.2f}"


# ----------------------------------------------------------------------------------------------------------- ledger


def _ledger(account: Account) -> str:
    rows = "".join(_decision_row(i, decision) for i, decision in enumerate(account.ledger, start=1))
    heads = "".join(
        f"<th>{head}</th>" for head in ("", "day", "kind", "verdict", "version", "difference in reward per list", "why")
    )
    return (
        '<h2>The ledger</h2><p class="note">Every decision of the loop, as <code>dwell history</code> shows it, with'
        " the interval that decided. Days are simulated.</p>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _decision_row(number: int, decision: GateDecision) -> str:
    # the first entry has the clock's time, everything else the story's
    day = "" if decision.kind == "initial" else f"{(decision.decided_at - START_AT) / 86_400.0:.0f}"
    difference = decision.difference
    evidence = f"{interval(difference, signed=True)}, {difference.n:,} lists" if difference.n else ""
    return (
        f'<tr><td class="n">{number}</td><td class="n">{day}</td><td>{_text(decision.kind)}</td>'
        f'<td class="{decision.verdict}">{decision.verdict}</td>'
        f'<td class="n">{decision.proposed_version} against {decision.safe_version}</td><td class="n">{evidence}</td>'
        f'<td class="words">{"<br>".join(_text(reason) for reason in decision.reasons)}</td></tr>'
    )
