"""Every check in one table: what its figure is held against, why there, and what to do beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from dwell.health.report import Check, Severity

__all__ = ["MIN_JUDGED", "RULES", "SECTIONS", "Rule", "few", "judged", "section_of", "shown"]

MIN_JUDGED: Final = 50  # below it shares and rates are chance

SECTIONS: Final[Mapping[str, str]] = {
    "buffer": "Buffer",
    "batches": "Last batches",
    "feedback": "Feedback",
    "learning": "Learning",
    "ranking": "Ranking",
    "features": "Features",
}


class Rule(NamedTuple):
    """What one figure is held against.

    Attributes:
        section: Where it is told.
        title: A few plain words.
        unit: As `Check.unit`.
        side: "most" or "least": the limit is the highest or the lowest value that is well; "shown": it is not judged.
        limit: The limit, in the figure's unit; 0 where it is not judged.
        severity: Of what is beyond it.
        remedy: What to do then.
        reason: Why the limit stands where it stands.
    """

    section: str
    title: str
    unit: str
    side: Literal["most", "least", "shown"] = "shown"
    limit: float = 0.0
    severity: Severity = "warning"
    remedy: str = ""
    reason: str = ""


RULES: Final[Mapping[str, Rule]] = {
    # ---- buffer
    "fill_ratio": Rule("buffer", "How full it is", "ratio"),
    "store_bytes": Rule("buffer", "Bytes of the facts", "bytes"),
    "mean_age_hours": Rule("buffer", "Mean age of what is kept", "hours"),
    "oldest_age_hours": Rule("buffer", "Oldest event kept", "hours"),
    "turnovers_per_day": Rule(
        "buffer", "Buffers filled per day", "count", "most", 24.0, "warning",
        "Raise capacity: events leave before late reactions can be learned from.",
        "at more than one an hour events leave within twice the usual attribution window of half an hour; judged only "
        "where the buffer is full, since nothing leaves before",
    ),
    "effective_experiences": Rule(
        "buffer", "Events that learning effectively sees", "count", "least", 50.0, "warning",
        "Lower replay.alpha, or raise replay.half_life_s: a few events make up nearly all draws.",
        "with fewer every rate of a batch is chance; judged from 500 events on, since fewer can not have many",
    ),
    "effective_users": Rule("buffer", "Users, were all equally active", "count"),
    "effective_queries": Rule("buffer", "Queries, were all equally frequent", "count"),
    "effective_segments": Rule("buffer", "Segments, were all equally frequent", "count"),
    "dominant_segment": Rule(
        "buffer", "Largest segment", "ratio", "most", 0.5, "warning",
        'Give quotas (replay.segment_quotas = "equal"), or sample stratified by segment '
        '(replay.strategy = "stratified").',
        "beyond a half one group outweighs all others together; a segment that is promised more by a quota may have it",
    ),
    "dominant_query": Rule(
        "buffer", "Largest query", "ratio", "most", 0.5, "warning",
        "Check for a monitor or a bot that repeats one query.",
        "as for segments",
    ),
    "dominant_user": Rule(
        "buffer", "Largest user", "ratio", "most", 0.5, "warning",
        "Check for a bot; one account should not decide the ranking.",
        "as for segments",
    ),
    "users_unknown": Rule(
        "buffer", "Lists that name a user", "ratio", "least", 1e-12, "warning",
        "Pass user= to rank: distinct users then count, and hold-outs are by user.",
        "with a single known user there is something to count",
    ),
    "dropped": Rule(
        "buffer", "Lists lost to a full queue", "count", "most", 0.0, "critical",
        "The disk is slower than the traffic: check its load, or write less (counted as dropped_impressions).",
        "a list that is not recorded can not be learned from, and nothing else tells",
    ),
    "failed": Rule(
        "buffer", "Lists that the store refused", "count", "most", 0.0, "critical",
        "Check free space, permissions and health of the store's disk or database (counted as failed_impressions).",
        "as for dropped",
    ),
    "archive_failing": Rule(
        "buffer", "Attempts in a row to archive", "count", "most", 0.0, "warning",
        "Check that the archive's disk is mounted, has space and may be written; the log says what it refused.",
        "what can not be archived is not deleted: the store grows, and facts stay past their retention",
    ),
    "archive_erasures_pending": Rule(
        "buffer", "Erased users who are still in an archive", "count", "most", 0.0, "critical",
        "Have the archive reachable: the next call of train or erase finishes it. One that is gone for good: "
        "dwell archive forget.",
        "an erasure is done when every copy is",
    ),
    # ---- batches
    "batch_duplicates_ratio": Rule(
        "batches", "Lists drawn twice into one batch", "ratio", "most", 0.5, "warning",
        "Lower replay.alpha or training.max_batch: a batch repeats what it has.",
        "beyond a half a batch is worth less than half its size; judged from 1,000 events on, since draws from a small "
        "buffer repeat by chance",
    ),
    "batch_effective_users": Rule("batches", "Users in them, were all equally frequent", "count"),
    "batch_effective_queries": Rule("batches", "Queries in them, were all equally frequent", "count"),
    "batch_effective_segments": Rule("batches", "Segments in them, were all equally frequent", "count"),
    "batch_largest_segment_ratio": Rule("batches", "Largest segment in them", "ratio"),
    "batch_mean_age_hours": Rule("batches", "Mean age of what was drawn", "hours"),
    "batch_oldest_age_hours": Rule("batches", "Oldest event drawn", "hours"),
    "batch_versions_behind": Rule("batches", "Versions between the oldest list drawn and the live params", "count"),
    "replay_ratio": Rule("batches", "Lists replayed per list taken in", "count"),
    # ---- feedback
    "no_feedback": Rule(
        "feedback", "Lists with a reward", "ratio", "least", 1e-12, "critical",
        "Send Loop.feedback with the event_id that rank returned.",
        "without any reward there is nothing to learn from",
    ),
    "little_feedback": Rule(
        "feedback", "Enough lists with a reward", "ratio", "least", 0.01, "warning",
        "Log more signals, or check that event ids reach the client.",
        "explicit feedback alone arrives for 2 to 5 % of lists: below 1 % some of it is lost",
    ),
    "coverage_ratio": Rule("feedback", "Newest lists with a signal", "ratio"),
    "default_reward_ratio": Rule("feedback", "Newest lists that got the default reward", "ratio"),
    "agents_alone_ratio": Rule(
        "feedback", "Answered by agents alone", "ratio", "most", 0.5, "warning",
        "Ask people too: most of what is said comes from agents about their own work. It is in no reward: activation "
        "alone learns from it.",
        "beyond a half agents say more than people do",
    ),
    "join_delay_median_s": Rule("feedback", "Median time to a signal", "s"),
    "join_delay_p90_s": Rule(
        "feedback", "Nine of ten signals come within", "s", "most", 1800.0, "warning",
        "Raise attribution_window_s: lists are closed, and judged, before their signals are there.",
        "the loop's attribution window: what comes later counts, but the list was learned from without it",
    ),
    "late_ratio": Rule(
        "feedback", "Signals after the close", "ratio", "most", 0.2, "warning",
        "Raise attribution_window_s, or send signals sooner.",
        "a list is computed again for each; beyond a fifth the window is too short",
    ),
    "orphan_ratio": Rule(
        "feedback", "Signals for unknown lists", "ratio", "most", 0.1, "warning",
        "Send the event_id that rank returned, to the same store and tenant, after the list was recorded.",
        "a few overtake their list and join later; a tenth is another store's or made-up ids",
    ),
    "duplicate_ratio": Rule(
        "feedback", "Signals told again", "ratio", "most", 0.5, "warning",
        "Send each signal once: who retries gives the same idempotency key.",
        "retries are harmless and few; where most are repeated a client sends everything twice",
    ),
    "rejected_ratio": Rule(
        "feedback", "Signals refused", "ratio", "most", 0.05, "warning",
        "Feedback.reason of the answer says why, by code.",
        "a refused signal is lost; single ones come too late, one in twenty is the caller's code",
    ),
    "mean_reward": Rule("feedback", "Mean reward", "reward"),
    "reward_sd": Rule("feedback", "Spread of rewards", "reward"),
    "reward_drift": Rule(
        "feedback", "Change of rewards lately (PSI)", "", "most", 0.1, "warning",
        "See what changed when the timeline falls: a release, a promotion (`dwell history`), lost signals. "
        "`dwell rollback` undoes a promotion.",
        "Siddiqi's first step; fires only where rewards fell and a KS test gives it less than 1 in 10,000 by chance",
    ),
    # ---- learning
    "n_promoted": Rule("learning", "Promotions", "count"),
    "n_held": Rule("learning", "Holds in the ledger", "count"),
    "n_rejected": Rule("learning", "Rejections", "count"),
    "rejected_in_a_row": Rule(
        "learning", "Rejections since anything else", "count", "most", 9.0, "warning",
        "Compare the reasons in `dwell history`: other features, or a larger gate.min_events, may say more.",
        "ten proposals that were all worse: the features at hand say no more than the live params do",
    ),
    "hours_since_promotion": Rule("learning", "Since the last promotion", "hours"),
    "step_norm": Rule("learning", "Length of the last step of the params", ""),
    "step_cosine": Rule(
        "learning", "Direction of successive steps", "", "least", -0.5, "warning",
        "Lower learner.step_size or learner.max_step_norm: the live params go to and fro.",
        "cosine of one step and the next, mean over the last versions: -1 is to and fro, 0 a walk without aim; judged "
        "from four steps on",
    ),
    "step_shrink": Rule("learning", "Last steps over first steps", ""),
    "objective_gain": Rule("learning", "Estimated reward gained in the last learning", "reward"),
    "calibration_off": Rule(
        "learning", "Positions where the predictor is off", "count", "most", 0.0, "warning",
        "See `dwell health` for observed over expected rewards; training.recalibrate = true fits a map over them.",
        "rewards more than three times, or less than a third, of what is expected, beyond a 95 % interval",
    ),
    "examination_rises": Rule(
        "learning", "Lower positions looked at more", "count", "most", 0.0, "warning", "",
        "users look from the top: beyond chance the opposite is a fault of what is logged",
    ),
    # ---- ranking
    "fallback": Rule(
        "ranking", "Calls served the caller's order", "ratio", "most", 0.01, "warning",
        "Served.fallback names the reason of a call; `dwell inspect` lists the newest ones as quarantined.",
        "single bad values happen; beyond one call in a hundred it is the caller's code",
    ),
    "order_tau": Rule(
        "ranking", "Agreement with the caller's order (Kendall)", "", "most", 0.999, "warning",
        "What was learned changes no order: see `dwell params`, and whether the features differ between candidates.",
        "1 is the caller's own order; judged once something was promoted, where lists are served by params",
    ),
    "exploration_cost_sd": Rule(
        "ranking", "Score given up for exploring", "", "most", 1.0, "warning",
        "Lower temperature: users are shown hardly better lists than at random.",
        "in standard deviations of the scores; five of ten candidates at random cost one (benchmarks/health.py)",
    ),
    # ---- features
    # not judged: what is the same for all candidates orders nothing and harms nothing, and the doctor says so
    "constant_features": Rule("features", "Features that never differ within a list", "count"),
    "missing_ratio": Rule("features", "Values that did not exist when a list was served", "ratio"),
    "drifted_features": Rule(
        "features", "Features that changed lately", "count", "most", 0.0, "warning",
        "See what changed upstream: the index, a model, a unit. Weights learned on other values may not fit these.",
        "PSI above 0.25, Siddiqi's large change, where a KS test gives all of them together less than 1 in 10,000",
    ),
    "feature_psi": Rule("features", "Change lately (PSI)", ""),
}  # fmt: skip


def judged(
    name: str,
    value: float | None,
    sentence: str,
    *,
    remedy: str | None = None,
    limit: float | None = None,
    is_chance: bool = False,
) -> Check:
    """Return a check: its value against the limit of its rule, `unknown` without a value.

    Args:
        name: Of the rule; what follows a colon tells checks of one rule apart.
        value: Finite, or None where there is too little to judge by.
        sentence: What is seen.
        remedy: In place of the rule's.
        limit: In place of the rule's, where it depends on settings.
        is_chance: Whether a value beyond the limit may be chance, or is no harm: then it is well.
    """
    rule, _, of = name.partition(":")
    found = RULES[rule]
    at = found.limit if limit is None else limit
    title = f"{found.title}: {of}" if of else found.title
    words = "" if found.side == "shown" else f"at {found.side} {shown(at, found.unit)}"
    if found.side == "least" and 0.0 < at < 1e-9:
        words = "above 0 %"
    if value is None:
        return Check(name, title, None, found.unit, words, "unknown", sentence)
    is_bad = (found.side == "most" and value > at) or (found.side == "least" and value < at)
    if not is_bad or is_chance:
        return Check(name, title, value, found.unit, words, "ok", sentence)
    told = found.remedy if remedy is None else remedy
    return Check(name, title, value, found.unit, words, found.severity, sentence, told)


def section_of(name: str) -> str:
    """Return the section of a check."""
    return RULES[name.partition(":")[0]].section


def few(n: int, needed: int = MIN_JUDGED) -> str:
    """Return in words that there is too little to judge by."""
    return f"{n:,} closed events: too few to tell, {needed:,} are needed"


def shown(value: float, unit: str) -> str:
    """Return a figure in words."""
    if unit == "ratio":
        return f"{100.0 * value:.3g} %"
    if unit == "count":
        return f"{value:,.0f}" if abs(value) >= 100.0 or float(value).is_integer() else f"{value:,.1f}"
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if unit in {"s", "hours"}:
        return _time(value if unit == "s" else 3600.0 * value)
    return f"{value:.3g}"


def _time(seconds: float) -> str:
    """Return a length of time in the unit that makes it a number of one to three digits."""
    for unit, length_s, most in (("s", 1.0, 120.0), ("min", 60.0, 7_200.0), ("h", 3_600.0, 360_000.0)):
        if abs(seconds) < most:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds / 86_400.0:,.0f} days"
