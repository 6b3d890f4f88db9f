"""The items of CLAIM 2024 and TRIPOD+AI that a model card answers, in our words, and what only people can answer.

Sources: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology:
Artificial Intelligence 2024;6(4):e240300, the table of 44 items; Collins et al., TRIPOD+AI statement, BMJ
2024;385:e078378, table 2 with 27 items. The numbers are theirs, each compared with transcriptions of these tables in
public repositories, not with the published pages themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from seriatim.settings import Settings


class CardAnswers(Settings):
    """What no run folder can prove, from a YAML of these keys."""

    intended_use: str = ""
    """Which question, about which patients, at which point of care should the model answer, and which never?"""
    users: str = ""
    """Who uses the answer, what do they do with it, and what do they need to know?"""
    background: str = ""
    """What is done today, why is a model needed, and which inequalities are known?"""
    objectives: str = ""
    """Is this development, evaluation or both, and which hypothesis was fixed beforehand?"""
    data_source: str = ""
    """Where do the images come from: which institutions, registry or open set, under which licence?"""
    dates: str = ""
    """Prospectively or in retrospect, from when to when were they acquired, and how long were patients followed?"""
    eligibility: str = ""
    """In which setting, who was included and excluded, and why; which treatments had they?"""
    acquisition: str = ""
    """Which scanners and protocols, contrast, kernels?"""
    deidentification: str = ""
    """How were the images stripped of identity?"""
    reference_standard: str = ""
    """What decides what is true, and why this?"""
    annotators: str = ""
    """Who labelled, how trained, knowing what, and how well did they agree?"""
    sample_size: str = ""
    """How was it decided that these are enough?"""
    missing_data: str = ""
    """What was missing, and what was done about it beyond the rows left out?"""
    demographics: str = ""
    """Age, sex, severity and prevalence in each split; how do they differ from where the model will be used?"""
    fairness: str = ""
    """For which groups may it work less well, and what was done about it?"""
    external_test: str = ""
    """Was it tested on patients of another place or time, with which result?"""
    failures: str = ""
    """What do the wrong answers have in common?"""
    interpretation: str = ""
    """What do the results mean beside those of others, and for practice?"""
    next_steps: str = ""
    """What is still to be shown before use?"""
    ethics: str = ""
    """Which board approved it, with or without consent?"""
    funding: str = ""
    """Who paid, in which role, and which interests conflict?"""
    registration: str = ""
    """Where are the protocol and the registration?"""
    availability: str = ""
    """Where are data, code and model, and for whom?"""
    patients_and_public: str = ""
    """How were patients and the public involved?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a checklist: answered by a fact of the run, by people (a key of CardAnswers), or by both."""

    number: str
    asks: str
    fact: str = ""
    question: str = ""


def _items(*rows: tuple[str, str, str, str]) -> tuple[Item, ...]:
    return tuple(Item(number=number, asks=asks, fact=fact, question=question) for number, asks, fact, question in rows)


CLAIM = _items(
    ("1-2", "title and summary name the kind of AI", "method", ""),
    ("3", "background and intended use", "", "background"),
    ("4", "aims and hypotheses", "", "objectives"),
    ("5", "prospective or retrospective", "", "dates"),
    ("6", "goal of the study", "task", "intended_use"),
    ("7", "data sources", "", "data_source"),
    ("8", "who is in, who is out", "left_out", "eligibility"),
    ("9", "preprocessing", "preprocessing", ""),
    ("10", "selection of subsets", "splits", ""),
    ("11", "de-identification", "", "deidentification"),
    ("12", "missing data", "left_out", "missing_data"),
    ("13", "image acquisition", "envelope", "acquisition"),
    ("14-15", "reference standard and why", "", "reference_standard"),
    ("16-18", "annotation, annotators, their agreement", "", "annotators"),
    ("19", "how splits were made", "splits", ""),
    ("20", "at which level they are disjoint", "disjoint", ""),
    ("21", "size of the test set", "evaluated", "sample_size"),
    ("22", "the model", "method", ""),
    ("23", "software", "software", ""),
    ("24", "first weights", "first_weights", ""),
    ("25", "training", "training", ""),
    ("26", "how the model was chosen", "chosen", ""),
    ("27", "ensembling", "ensembling", ""),
    ("28-29", "measures and their uncertainty", "performance", ""),
    ("30", "robustness", "outside", ""),
    ("31", "explainability", "explaining", ""),
    ("32", "evaluation on internal data", "performance", ""),
    ("33", "testing on external data", "", "external_test"),
    ("34", "registration", "", "registration"),
    ("35", "numbers in and out", "counts", ""),
    ("36", "patients in each split", "counts", "demographics"),
    ("37-38", "performance with precision", "performance", ""),
    ("39", "failures", "", "failures"),
    ("40", "limits", "limits", ""),
    ("41", "meaning for practice", "", "interpretation"),
    ("42", "protocol and technical details", "files", "registration"),
    ("43", "availability", "", "availability"),
    ("44", "funding", "", "funding"),
)
TRIPOD = _items(
    ("1-2", "title and abstract", "method", ""),
    ("3a, c", "context and inequalities", "", "background"),
    ("3b", "purpose, and for whom", "", "intended_use"),
    ("4", "objectives", "", "objectives"),
    ("5a", "sources of data", "", "data_source"),
    ("5b", "dates of data", "", "dates"),
    ("6a-c", "setting, eligibility, treatments", "left_out", "eligibility"),
    ("7", "preparation of data", "preprocessing", ""),
    ("8a", "outcome", "task", "reference_standard"),
    ("8b-c", "assessors of the outcome", "", "annotators"),
    ("9a-c", "predictors", "preprocessing", "acquisition"),
    ("10", "sample size", "counts", "sample_size"),
    ("11", "missing data", "left_out", "missing_data"),
    ("12a", "partition of data", "splits", ""),
    ("12b-c", "predictors and model, tuning, internal validation", "training", ""),
    ("12d", "differences between clusters", "subgroups", ""),
    ("12e", "measures of performance", "performance", ""),
    ("12f", "updating after evaluation", "updating", ""),
    ("12g", "how predictions were computed", "software", ""),
    ("13", "class imbalance, and calibration after it", "imbalance", ""),
    ("14", "fairness", "subgroups", "fairness"),
    ("15", "output and thresholds", "thresholds", ""),
    ("16", "development and evaluation data compared", "outside", "demographics"),
    ("17", "ethics", "", "ethics"),
    ("18a-b", "funding and interests", "", "funding"),
    ("18c-d", "protocol and registration", "", "registration"),
    ("18e-f", "data and code", "", "availability"),
    ("19", "patients and public", "", "patients_and_public"),
    ("20a-c", "flow and characteristics", "counts", "demographics"),
    ("21", "participants and events in each analysis", "counts", ""),
    ("22", "the full model", "files", ""),
    ("23a-b", "performance, and between clusters", "performance", ""),
    ("24", "results of updating", "updating", ""),
    ("25", "interpretation", "", "interpretation"),
    ("26", "limits", "limits", ""),
    ("27a", "input of poor quality or missing", "outside", ""),
    ("27b", "users and their expertise", "", "users"),
    ("27c", "next steps", "", "next_steps"),
)
