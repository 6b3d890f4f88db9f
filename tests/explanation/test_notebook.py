"""The page in a notebook's cell: apart from the notebook, with a picture for where pages are not shown."""

from __future__ import annotations

import base64
import gzip
import re
import sys
from dataclasses import replace
from html import escape
from pathlib import Path

import nibabel
import numpy as np
import pytest
from page_samples import explanation_of, ramp_of, volume_of

import seriatim
from browser import Tab
from seriatim.explanation.batch import explain_volume
from seriatim.explanation.notebook import Shown
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


def layers_of(shown: Shown) -> list[tuple[np.ndarray, np.ndarray]]:
    """(voxels, affine) of what was given to niivue, the images first, as nibabel reads them."""
    images = [nibabel.Nifti1Image.from_bytes(gzip.decompress(one.data)) for one in shown.viewer.volumes]
    return [(np.asarray(one.dataobj), one.affine) for one in images]


def test_niivue_gets_images_and_heat_on_one_grid(head_ct: Path, tiny_run: Path) -> None:
    pytest.importorskip("ipyniivue", reason="the extra niivue is not installed")
    model = load_model(tiny_run)
    volume = read_volume(find_series(head_ct / "series").series[0])
    explanation = explain_volume(volume, model, top=2)
    shown = seriatim.show(volume, explanation, model=model, viewer="niivue", height=400)
    (images, affine), (heat, own) = layers_of(shown)
    assert volume.affine is not None
    np.testing.assert_array_equal(images.transpose(2, 1, 0), volume.array)
    np.testing.assert_allclose(affine, volume.affine, atol=1e-4)
    np.testing.assert_array_equal(affine, own)
    assert set(np.flatnonzero(heat.any(axis=(0, 1)))) <= set(explanation.top)
    assert shown.viewer.volumes[1].name == "grad_cam.nii.gz"
    window = model.experiment.preprocessing.windows_hu[0]
    assert (shown.viewer.volumes[0].cal_min, shown.viewer.volumes[0].cal_max) == (
        window[0] - window[1] / 2, window[0] + window[1] / 2)
    bundle, _ = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")  # where widgets are not shown
    assert all(volume.series.series_uid not in str(value) for value in (shown.viewer.get_state(), bundle))


def test_niivue_gets_signs_where_there_is_no_map() -> None:
    pytest.importorskip("ipyniivue", reason="the extra niivue is not installed")
    explanation = explanation_of(attributions={"leave_out": np.linspace(-2, 1, 12)}, shown_attribution="leave_out")
    shown = seriatim.show(volume_of(explanation, ramp_of(12)), explanation, viewer="niivue")
    _, (values, _) = layers_of(shown)
    np.testing.assert_allclose(values[0, 0], np.linspace(-2, 1, 12), rtol=1e-6)
    overlay = shown.viewer.volumes[1]
    assert (overlay.cal_max, overlay.cal_min_neg, overlay.colormap_negative) == (2, -2, "winter")


def test_without_niivue_the_page_is_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)  # as where it is not installed
    explanation = explanation_of()
    shown = seriatim.show(volume_of(explanation, ramp_of(12)), explanation, viewer="niivue")
    assert shown.viewer is None
    assert "text/html" in shown._repr_mimebundle_()
    assert 'pip install "seriatim[niivue]"' in caplog.text


def test_a_clip_is_shown_as_a_page() -> None:
    pytest.importorskip("ipyniivue", reason="the extra niivue is not installed")
    clip = explanation_of(axis="time", unit="s", letters=None)
    shown = seriatim.show(volume_of(clip, ramp_of(12), modality="US"), clip, viewer="niivue")
    assert shown.viewer is None
    assert shown.page
