"""KNOWN or UNKNOWN: arrays in, a confidence, a threshold and its promise out.

::

    embeddings, Places ──► self_exam ──► Exam ──► calibrate ──► Calibration
    hits of a query ──► evidence ──► SimilarityRule | CalibratedRule ──► Verdict

The rule everywhere: an answer is KNOWN when its confidence is at least tau, UNKNOWN below it.
"""

from placewise.openset.calibration import DEFAULT_AIM, Calibration, calibrate, percent
from placewise.openset.evidence import EVIDENCE, HITS, background_of, evidence_of
from placewise.openset.exam import SAMPLED_PHOTOS, Check, Exam, Questions, Told, cohort_of, self_exam
from placewise.openset.judge import CalibratedRule, GeometryRule, Rule, SimilarityRule, Verdict
from placewise.openset.places import Places
from placewise.openset.rule import DEFAULT_TAU, SWEEP, Aim, Method, check_rate, check_tau, is_known, sweep
from placewise.openset.stored import calibration_from_json, calibration_to_json
from placewise.openset.unasked import FALLBACK, calibrated_unasked

__all__ = [
    "DEFAULT_AIM",
    "DEFAULT_TAU",
    "EVIDENCE",
    "FALLBACK",
    "HITS",
    "SAMPLED_PHOTOS",
    "SWEEP",
    "Aim",
    "CalibratedRule",
    "Calibration",
    "Check",
    "Exam",
    "GeometryRule",
    "Method",
    "Places",
    "Questions",
    "Rule",
    "SimilarityRule",
    "Told",
    "Verdict",
    "background_of",
    "calibrate",
    "calibrated_unasked",
    "calibration_from_json",
    "calibration_to_json",
    "check_rate",
    "check_tau",
    "cohort_of",
    "evidence_of",
    "is_known",
    "percent",
    "self_exam",
    "sweep",
]
