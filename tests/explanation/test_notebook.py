"""The page in a notebook's cell: apart from the notebook, with a picture for where pages are not shown."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from page_samples import explanation_of, ramp_of, volume_of

import seriatim
from browser import Tab
from seriatim.explanation.batch import explain_volume
from seriatim.io import find_series, read_volume
from seriatim.trained import load_model

SPY = """setTimeout(() => parent.postMessage([document.getElementById('now').textContent,
getComputedStyle(document.getElementById('picture')).filter, self.origin], '*'), 300)"""


def test_the_page_works_in_a_cell(tmp_path: Path, tab: Tab) -> None:
    explanation = explanation_of()
    shown = seriatim.show(volume_of(explanation, ramp_of(12)), explanation)
    bundle = shown._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["image/png"] in bundle["text/html"]
    assert bundle["text/plain"] == "<explanation of 12 slices>"
    # what is in the frame tells the page around it, which cannot look inside, what it shows
    spy = re.sub(r"<meta http-equiv=[^>]*>", "", shown.page).replace("</body>", f"<script>{SPY}</script></body>")
    cell = bundle["text/html"].replace(escape(shown.page), escape(spy))
    page = tmp_path / "cell.html"
    page.write_text(f"<!doctype html><script>onmessage = (event) => {{ window.said = event.data; }}</script>{cell}")
    tab.open(page)
    said = tab.ask("new Promise((done) => { const wait = () => window.said ? done(window.said) : setTimeout(wait, 20); "
                   "wait(); })")
    assert said[0].startswith("Slice 7 of 12")
    assert said[1].startswith("url(")
    assert said[2] == "null"


def test_a_series_is_read_again_and_must_be_the_one_explained(head_ct: Path, tiny_run: Path) -> None:
    model = load_model(tiny_run)
    found = find_series(head_ct / "series").series[:2]
    explanation = explain_volume(read_volume(found[0]), model, top=2)
    shown = seriatim.show(found[0], explanation, model=model, height=500)
    assert "model 40/80" in shown.page
    assert 'height:500px' in shown._repr_mimebundle_()["text/html"]
    with pytest.raises(ValueError, match="is of series"):
        seriatim.show(found[1], explanation)
    with pytest.raises(ValueError, match="is of series"):
        seriatim.show(found[0], replace(explanation, sop_instance_uids=tuple("x" * len(explanation.positions))))
