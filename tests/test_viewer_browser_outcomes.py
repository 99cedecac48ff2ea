"""What the viewer's page says came of a run, in a real Chromium."""

from pathlib import Path

import pytest
from test_viewer_browser import Open, chromium, open_page
from test_viewer_outcomes import deep_answer, extended
from viewer_journals import ERROR, attempts, failed_search, random_search

from armap_agents.viewer import read_document

pytestmark = pytest.mark.browser
__all__ = ["chromium", "open_page"]  # fixtures

FAILED = '#filters button:has-text("failed") .count'


def test_a_failed_search_says_why_and_counts_its_root(open_page: Open, tmp_path: Path) -> None:
    failed_search(tmp_path / "r").reopen(1)
    page = open_page(tmp_path / "r")
    assert page.locator(FAILED).inner_text() == "0"
    assert page.locator("#happened").inner_text().startswith("Failed nodes were opened again")
    assert "No answer is recorded" in page.locator("#notice").inner_text()
    page.locator("#slider").fill("1")
    assert page.locator(FAILED).inner_text() == "1"
    failed_search(tmp_path / "s")
    page = open_page(tmp_path / "s")
    assert page.locator("#notice").inner_text() == f"Every rollout failed: {ERROR}"
    assert page.locator("#about .state").inner_text() == "failed"
    assert page.locator(FAILED).inner_text() == "1"
    page.evaluate("() => armapTrace.select(0)")
    assert page.locator("#pane-node .error").inner_text() == ERROR


def test_no_point_is_drawn_where_there_is_no_best(open_page: Open, tmp_path: Path) -> None:
    page = open_page(random_search(tmp_path / "r", seed=3, rollouts=12))
    page.wait_for_timeout(300)
    dot = page.locator("#best-plot circle")
    assert dot.is_visible()
    page.locator("#slider").fill("0")
    assert dot.is_hidden()
    assert page.locator("#cost-plot circle").is_visible()
    page.locator("#slider").fill("12")
    assert dot.is_visible()


def test_the_star_stands_at_the_end_of_the_answers_path(open_page: Open, tmp_path: Path) -> None:
    deep_answer(tmp_path / "r")
    ids = [node["id"] for node in read_document(tmp_path / "r")["nodes"]]
    page = open_page(tmp_path / "r")
    best = "() => armapTrace.replay.best()"
    assert ids[page.evaluate(best)] == "0.0.1"
    assert sorted(page.evaluate("() => [...armapTrace.tree.picture.best]")) == [
        ids.index(name) for name in ("0", "0.0", "0.0.1")
    ]
    page.locator("#slider").fill("1")
    assert ids[page.evaluate(best)] == "0.0"
    page.get_by_role("button", name="Show it in the tree").click()
    assert ids[page.evaluate("() => armapTrace.selected")] == "0.0.1"


def test_totals_are_the_newest_where_a_run_went_on(open_page: Open, tmp_path: Path) -> None:
    search = extended(tmp_path / "r")
    page = open_page(tmp_path / "r")
    totals = page.locator("#totals").inner_text()
    assert f"{search.spent['completions']:,}" in totals
    assert search.best is not None
    assert f"{search.best['objective']:.3f}".replace("-", "−") in totals
    assert "best so far" in totals
    assert page.locator("#notice").inner_text().startswith("The run goes on beyond its last")


def test_seconds_of_independent_rollouts_are_called_so(open_page: Open, tmp_path: Path) -> None:
    page = open_page(attempts(tmp_path / "r"))
    assert "time in rollouts" in page.locator("#totals").inner_text()
    assert "seconds in rollouts" in page.locator("#cost option").all_inner_texts()
