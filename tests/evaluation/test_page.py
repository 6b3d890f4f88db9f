"""Subgroups, decision curves, and the page that holds an evaluation."""

import csv
import json
import re

import numpy as np
import pytest
import sklearn.metrics
from test_evaluate import CLASSES, label_rows, make_binary, run, score_row, write, write_run
from typer.testing import CliRunner

from seriatim.cli import app
from seriatim.errors import ConfigError
from seriatim.evaluation.decision_curve import net_benefit, net_benefit_of_all

HOSTILE = '<script>alert("x")</script>'


def with_column(rows, name, values):
    return [{**row, name: value} for row, value in zip(rows, values, strict=True)]


def test_each_subgroup_has_the_figures_of_its_own_series(tmp_path):
    scores, labels, values = make_binary(tmp_path / "out", count=60)
    sexes = np.where(np.arange(60) % 3 == 0, "F", "M")
    sexes[-1] = ""
    found = run(tmp_path, scores, with_column(label_rows(labels), "sex", sexes), by=("sex",))["subgroups"]["sex"]
    assert set(found) == {"F", "M", "(empty)"}
    for name in ("F", "M"):
        inside = sexes == name
        area = sklearn.metrics.roc_auc_score(labels[inside], values[inside])
        assert found[name]["auc"]["value"] == pytest.approx(area)
        assert found[name]["auc"]["n"] == inside.sum()
    assert found["(empty)"]["auc"]["value"] is None
    with (tmp_path / "eval" / "subgroups.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "auc"]
    assert [row["group"] for row in rows] == ["(empty)", "F", "M"]


def test_a_column_that_is_not_there_or_has_too_many_values_is_named(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out")
    with pytest.raises(ConfigError, match="no column 'scanner'"):
        run(tmp_path, scores, label_rows(labels), by=("scanner",))
    with pytest.raises(ConfigError, match="40 values, and subgroups are 20 at most"):
        run(tmp_path, scores, label_rows(labels), by=("patient",))


def test_net_benefit_by_hand():
    labels, given = np.array([1, 1, 0, 0]), np.array([0.9, 0.3, 0.6, 0.1])
    assert net_benefit(labels, given, np.array([0.5]))[0] == pytest.approx(1 / 4 - 1 / 4 * 1)
    assert net_benefit(labels, given, np.array([0.2]))[0] == pytest.approx(2 / 4 - 1 / 4 * 0.25)
    assert net_benefit_of_all(labels, np.array([0.5]))[0] == pytest.approx(0)
    assert net_benefit(labels, given, np.array([0.95]))[0] == 0


def test_classes_stand_in_rows_of_their_own_and_decisions_in_a_square(tmp_path):
    random = np.random.default_rng(0)
    values = random.dirichlet(np.ones(3), 30)
    rows = [score_row(f"1.{i}", {f"probability_{c}": repr(float(x)) for c, x in zip(CLASSES, v, strict=True)})
            for i, v in enumerate(values)]
    write_run(tmp_path / "out", target="multiclass", labels=["label"], classes=CLASSES)
    labels = label_rows([CLASSES[one % 3] for one in range(30)], name="label")
    run(tmp_path, write(tmp_path / "out" / "scores.csv", rows), labels)
    page = (tmp_path / "eval" / "evaluation.html").read_text()
    assert "auc_covid" not in page
    assert page.count("<td>covid</td>") == 2  # its figures, and its decisions
    assert "AUC, mean of classes" in page


def test_what_was_decided_of_each_of_several_labels_is_told_with_its_threshold(tmp_path):
    values = np.linspace(0.05, 0.95, 20)
    rows = [score_row(f"1.{i}", {"probability_a": v, "probability_b": 1 - v}) for i, v in enumerate(values)]
    write_run(tmp_path / "out", target="multilabel", labels=["a", "b"], classes=["a", "b"],
              thresholds={"a": 0.25, "b": 0.5})
    labels = [{"series_uid": f"1.{i}", "a": int(i >= 10), "b": int(i >= 10)} for i in range(20)]
    run(tmp_path, write(tmp_path / "out" / "scores.csv", rows), labels)
    page = (tmp_path / "eval" / "evaluation.html").read_text()
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in re.findall(r"<tr>(<td>[ab]</td>.*?)</tr>", page)]
    assert ["a", "0.250", "10", "0", "5", "5"] in cells
    assert ["b", "0.500", "0", "10", "10", "0"] in cells


def test_the_page_stands_alone_and_escapes_what_tables_say(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out")
    groups = [HOSTILE if index % 2 else "b" for index in range(40)]
    rows = with_column(label_rows(labels), "site", groups)
    missing = [{"series_uid": "9.9", "bleed": 1, "patient": "p99", "site": "b"}]
    path = write(tmp_path / "labels.csv", rows + missing)
    command = ["evaluate", str(scores), "--labels", str(path), "--output", str(tmp_path / "eval"), "--by", "site"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "eval" / "evaluation.html").read_text()
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    auc = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["metrics"]["auc"]["value"]
    assert f"AUC {auc:.3f} (95 % interval" in page
    counts = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["decisions"]["bleed"]
    assert sum(counts.values()) == 40
    assert f"{counts['true_positive']} of 20 positive series found, {counts['false_positive']} of 20 negative" in page
    assert "Decided at 0.500 (chosen on validation)" in page
    assert "missing: not in scores.csv" in page
