"""The report, read back as a browser reads it."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.contracts import InvalidInput, RankedPolicy, Ranking
from arena.episodes.encode import write_video
from arena.leaderboard import PolicySummary, Rate
from workers.charts import chart, forest, nice_ticks
from workers.report import ReportData, VideoCell, tile_views, write_report

HOSTILE = '</script><img src=x onerror="alert(1)">'
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes and the text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"unbalanced {tag}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.scripts if self._open[-1:] == ["script"] else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    write_video(path, np.full((4, 32, 48, 3), 90, np.uint8), 5.0)
    return path


@pytest.fixture
def data(film: Path) -> ReportData:
    """Two policies that met and one that did not, whose name is an attack."""
    places = (
        RankedPolicy("good", 1, 1, 1.5, 0.5, math.inf, 12, "never lost"),
        RankedPolicy("bad", 2, 3, -1.5, -3.0, -0.5, 12),
        RankedPolicy(HOSTILE, 1, 3, 0.0, -math.inf, math.inf, 0, "never compared"),
    )
    ranking = Ranking(places, (("good", "bad"), (HOSTILE,)), 12, "latent-progress", ("errors clustered by scene",))
    policies = (
        PolicySummary("good", Rate(11, 12), 93.0, 0, 12, Rate(12, 12)),
        PolicySummary("bad", Rate(1, 10), 20.0, 2, 12, Rate(0, 12)),
        PolicySummary(HOSTILE, Rate(0, 0), None, 0, 2),
    )
    films = (
        VideoCell("good", "../../scene", film, "press", 0.93, 97.0, reason=HOSTILE, true_success=True),
        VideoCell("bad", "../../scene", film, HOSTILE, None, None, abstained=True, true_success=False),
    )
    row = {"episodes": 9, "ssim": {"model": 0.9, "copy": 0.8, "wrong_action": 0.8, "ceiling": 0.99}}
    psnr = {"model": 25.0, "copy": 22.5, "wrong_action": 21.0, "ceiling": 31.0}
    fidelity = [
        {"view": view, "seconds": seconds, **row, "psnr": psnr} for view in ("wrist", "all") for seconds in (1.0, 0.5)
    ]
    made = {"Commands": ["make demo", HOSTILE], "Provenance": {"world": "ab" * 32, "seconds": 1.23456}}
    return ReportData("A title", ranking, policies, films, fidelity, {"accuracy": 0.9}, made, ("a note", HOSTILE))


def test_everything_is_on_the_page(data: ReportData, tmp_path: Path) -> None:
    path = write_report(data, tmp_path)
    assert path == tmp_path / "report.html"
    text = Page(path).text
    for piece in (
        "2 groups of policies never met",
        "never lost",
        "92% 11 of 12",
        "10% 1 of 10",
        "2 abstained",
        "judge abstained",
        "✓ judged 93%",
        "✗ truly failed",
        "25.0 dB",
        "+2.5 dB over copying",
        "+4.0 dB over wrong actions",
        "accuracy 0.9",
        "ab" * 32,
        "a note",
        "errors clustered by scene",
    ):
        assert piece in text, piece
    assert text.index("good") < text.index("bad")


def test_an_abstention_has_no_mark_of_failure(data: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(replace(data, videos=[replace(data.videos[1], true_success=None)]), tmp_path))
    assert "judge abstained" in page.text
    assert "✗" not in page.text


def test_nothing_is_loaded_from_elsewhere(data: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(data, tmp_path))
    assert not re.search(r"https?://|@import|url\(", page.source)
    films = page.attributes("src")
    assert films == ["videos/scene01-policy01.mp4", "videos/scene01-policy02.mp4"]
    assert all((tmp_path / name).read_bytes() == data.videos[0].video.read_bytes() for name in films)
    anchors = [address.removeprefix("#") for address in page.attributes("href")]
    assert anchors == ["leaderboard", "rollouts", "fidelity", "judge", "made"]
    assert set(anchors) <= set(page.attributes("id"))


def test_films_play_by_themselves_in_silence(data: ReportData, tmp_path: Path) -> None:
    films = [attrs for tag, attrs in Page(write_report(data, tmp_path)).tags if tag == "video"]
    assert all({"muted", "autoplay", "loop", "playsinline"} <= set(attrs) for attrs in films)


def test_hostile_text_stays_text(data: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(replace(data, title=HOSTILE, subtitle=HOSTILE), tmp_path))
    assert [tag for tag, _ in page.tags if tag in ("script", "img")] == ["script"]
    assert not page.attributes("onerror")
    assert page.text.count("onerror") >= 5


def test_only_the_pages_own_script_may_run(data: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(data, tmp_path))
    [script] = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_sections_without_data_are_left_out(data: ReportData, tmp_path: Path) -> None:
    page = Page(write_report(ReportData("t", data.ranking, data.policies), tmp_path))
    assert page.attributes("id") == ["leaderboard"]
    assert not (tmp_path / "videos").exists()


def test_writing_again_gives_the_same_page(data: ReportData, tmp_path: Path) -> None:
    first = write_report(data, tmp_path).read_bytes()
    assert write_report(data, tmp_path).read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == [
        "scene01-policy01.mp4",
        "scene01-policy02.mp4",
    ]


def test_a_film_that_is_in_the_folder_is_used_as_it_is(data: ReportData, tmp_path: Path, film: Path) -> None:
    (tmp_path / "videos").mkdir()
    inside = tmp_path / "videos" / "a b#1.mp4"
    shutil.copyfile(film, inside)
    page = Page(write_report(replace(data, videos=[replace(data.videos[0], video=inside)]), tmp_path))
    assert page.attributes("src") == ["videos/a%20b%231.mp4"]


@pytest.mark.parametrize("progress", [None, -5.0, 250.0])
def test_a_meter_stays_inside_its_frame(data: ReportData, tmp_path: Path, progress: float | None) -> None:
    page = Page(write_report(replace(data, videos=[replace(data.videos[0], progress=progress)]), tmp_path))
    [style] = [attrs["style"] for tag, attrs in page.tags if tag == "i"]
    assert re.fullmatch(r"width:(\d+(\.\d+)?)%", str(style))
    assert 0 <= float(str(style)[6:-1]) <= 100


def test_bad_data_is_named(data: ReportData, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="one summary for each ranked policy"):
        write_report(replace(data, policies=data.policies[:2]), tmp_path)
    with pytest.raises(InvalidInput, match=r"the film .*gone\.mp4 is not there"):
        write_report(replace(data, videos=[replace(data.videos[0], video=tmp_path / "gone.mp4")]), tmp_path)
    with pytest.raises(InvalidInput, match="two films of 'good'"):
        write_report(replace(data, videos=[data.videos[0], data.videos[0]]), tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_views_are_tiled_side_by_side() -> None:
    tall, small = np.full((3, 10, 7, 3), 200, np.uint8), np.full((3, 6, 5, 3), 100, np.uint8)
    tiled = tile_views({"tall": tall, "small": small}, scale=3)
    assert tiled.shape == (3, 30, 42, 3)  # 21 + a gap of 6 + 15
    assert (tiled[:, :, :21] == 200).all()
    assert (tiled[:, :, 21:27] == 0).all()
    assert (tiled[:, 6:24, 27:] == 100).all()
    assert (tiled[:, :6, 27:] == 0).all()


def test_tiles_have_even_sides_so_that_they_can_be_encoded(tmp_path: Path) -> None:
    tiled = tile_views({"a": np.zeros((2, 7, 9, 3), np.uint8)}, scale=1)
    assert tiled.shape == (2, 8, 10, 3)
    write_video(tmp_path / "tile.mp4", tiled, 5.0)


@pytest.mark.parametrize("frames", [{}, {"a": np.zeros((2, 4, 4, 3), np.uint8), "b": np.zeros((3, 4, 4, 3), np.uint8)}])
def test_views_of_unequal_length_are_refused(frames: dict[str, np.ndarray]) -> None:
    with pytest.raises(InvalidInput, match="equally many frames"):
        tile_views(frames)


finite = st.floats(-50, 50)


@given(st.lists(st.tuples(finite, st.floats(0, 10), st.floats(0, 10), st.booleans(), st.booleans()), min_size=1))
def test_intervals_are_drawn_in_order_and_inside(rows: list[tuple[float, float, float, bool, bool]]) -> None:
    places = [
        RankedPolicy(str(i), 1, 1, s, -math.inf if lo else s - down, math.inf if hi else s + up, 1)
        for i, (s, down, up, lo, hi) in enumerate(rows)
    ]
    drawn = forest(places)
    for place, bar in zip(places, drawn.bars, strict=True):
        assert 0 <= bar.low <= bar.score <= bar.high <= 100
        assert (bar.open_low, bar.open_high) == (math.isinf(place.low), math.isinf(place.high))
    assert all(0 <= tick.at <= 100 for tick in drawn.ticks)
    order = sorted(zip(places, drawn.bars, strict=True), key=lambda pair: pair[0].score)
    assert [bar.score for _, bar in order] == sorted(bar.score for bar in drawn.bars)


@given(finite, st.floats(1e-3, 1e4))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert 1 <= len(ticks) <= 5
    assert all(low - 1e-9 <= tick <= low + span + 1e-9 for tick in ticks)


def test_a_perfect_copy_has_no_point_and_no_crash() -> None:
    psnr = {"model": 30.0, "copy": math.inf, "wrong_action": None}
    drawn = chart("all", [{"view": "all", "seconds": 1.0, "psnr": psnr, "ssim": {}}])
    assert {line.key: len(line.points) for line in drawn.lines} == {
        "ceiling": 0,
        "model": 1,
        "copy": 0,
        "wrong_action": 0,
    }


@pytest.mark.slow
def test_a_browser_runs_the_page_under_its_own_policy(data: ReportData, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs chromium")
    page = write_report(data, tmp_path / "out")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    options += ["--no-first-run", "--disable-component-update", f"--user-data-dir={tmp_path / 'browser'}"]
    command = [browser, *options, "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    found = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    # The script shows the button, so it was allowed to run.
    assert re.search(r'<button type="button" id="pause">(Pause|Play) all</button>', found.stdout)
