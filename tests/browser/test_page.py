"""What a reader can do with the page: sort, filter, read it in the dark, on a phone, by keyboard, without script."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tailwise.report.ledger import Result
from tests.browser.conftest import CLASSES

#: Relative luminances of what a reader sees, by the definition of WCAG 2.
CONTRASTS = """
() => {
  const channel = v => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || node.closest("svg, script, [hidden]")) continue;
    const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(behind(node))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.tagName + " " + node.className]);
  }
  return found;
}
"""


def column(page: Any, heading: str, table: str = "#class-table") -> list[str]:
    """The texts of a column of a table from top to bottom, without hidden rows."""
    return page.evaluate(
        """([table, heading]) => {
          const found = document.querySelector(table);
          const place = [...found.tHead.rows[0].cells].findIndex(cell => cell.textContent.trim() === heading);
          const rows = [...found.tBodies[0].rows].filter(row => !row.hidden);
          return rows.map(row => row.cells[place].textContent.trim());
        }""",
        [table, heading],
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("\N{MINUS SIGN}", "-").replace(",", "")) for text in texts]


def sort_by(page: Any, heading: str) -> None:
    page.locator("#class-table thead button").get_by_text(heading, exact=True).click()


def state(page: Any, heading: str) -> str | None:
    return page.locator("#class-table th", has_text=re.compile(f"^{re.escape(heading)}$")).get_attribute("aria-sort")


def test_opening_the_page_asks_nobody_for_anything_and_says_nothing(visit: Any) -> None:
    found = visit()
    found.page.wait_for_load_state("networkidle")
    assert (found.requests, found.messages) == ([], [])


def test_a_request_would_be_refused_by_the_page_itself(visit: Any) -> None:
    found = visit()
    with found.page.expect_console_message() as said:
        found.page.evaluate("fetch('http://tailwise.invalid/').catch(() => null)")
    assert "Content Security Policy" in said.value.text
    assert found.requests == []


def test_a_head_sorts_its_numbers_downwards_then_upwards(visit: Any) -> None:
    page = visit().page
    heading = "gain under ldam"
    before = numbers(column(page, heading))
    sort_by(page, heading)
    assert numbers(column(page, heading)) == sorted(before, reverse=True)
    assert (state(page, heading), state(page, "rank")) == ("descending", None)
    sort_by(page, heading)
    assert numbers(column(page, heading)) == sorted(before)
    assert state(page, heading) == "ascending"
    sort_by(page, "rank")
    assert numbers(column(page, "rank")) == list(range(CLASSES, 0, -1))


def test_names_are_sorted_by_the_numbers_in_them_and_rows_stay_whole(visit: Any) -> None:
    page = visit().page
    pairs = dict(zip(column(page, "class"), column(page, "ldam (%)"), strict=True))
    sort_by(page, "class")
    assert column(page, "class") == [f"class {c}" for c in range(CLASSES)]
    assert dict(zip(column(page, "class"), column(page, "ldam (%)"), strict=True)) == pairs


def test_filters_show_what_fits_all_of_them(visit: Any) -> None:
    page = visit().page
    shown = page.locator(".controls output")
    assert shown.inner_text() == f"{CLASSES} of {CLASSES} classes"
    page.get_by_label("group", exact=True).select_option("few")
    few = column(page, "group")
    assert set(few) == {"few"}
    assert 0 < len(few) < CLASSES
    assert shown.inner_text() == f"{len(few)} of {CLASSES} classes"
    page.get_by_label("change", exact=True).select_option(label="gains under balanced-softmax")
    gains = numbers(column(page, "gain under balanced-softmax"))
    assert 0 < len(gains) <= len(few)
    assert min(gains) > 0
    page.get_by_label("class name", exact=True).fill("CLASS 39")
    assert column(page, "class") == ["class 39"]
    sort_by(page, "training images")
    assert column(page, "class") == ["class 39"]
    page.get_by_role("button", name="Show all").click()
    assert len(column(page, "class")) == CLASSES


def test_the_table_holds_the_stored_numbers(visit: Any, groups: dict[str, list[Result]]) -> None:
    page = visit().page
    accuracy = {name: np.mean([result.per_class for result in results], axis=0) for name, results in groups.items()}
    order = [int(name.removeprefix("class ")) for name in column(page, "class")]
    np.testing.assert_allclose(numbers(column(page, "ldam (%)")), accuracy["ldam"][order], atol=0.051)
    gain = (accuracy["ldam"] - accuracy["ce"])[order]
    np.testing.assert_allclose(numbers(column(page, "gain under ldam")), gain, atol=0.051)


def test_every_figure_is_there_with_words_and_every_picture_is_decoded(visit: Any) -> None:
    page = visit().page
    drawings = page.evaluate(
        """() => [...document.querySelectorAll("[role=img]")].map(item => {
          const box = item.querySelector("svg").getBoundingClientRect();
          return [item.getAttribute("aria-label"), box.width, box.height, item.querySelectorAll("path").length];
        })"""
    )
    assert len(drawings) == 9  # groups, classes, gains, flow, three matrices, reliability, curves
    assert all(
        len(label) > 40 and width > 300 and height > 100 and paths > 5 for label, width, height, paths in drawings
    )
    pictures = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.alt])")
    assert len(pictures) == 3 * 3 * 2 * 3  # recipes, classes, images, and each with two maps
    assert all(width == 8 and alt for width, alt in pictures)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_asks_for(visit: Any, scheme: str) -> None:
    page = visit(color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 500
    assert [pair for pair in found if pair[0] < 4.5] == []


def test_the_dark_page_is_dark_and_the_ink_of_its_figures_light(visit: Any) -> None:
    page = visit(color_scheme="dark").page
    brightness = "(([r, g, b]) => r + g + b)(getComputedStyle({}).{}.match(/\\d+/g).map(Number))"
    body = page.evaluate(brightness.format("document.body", "backgroundColor"))
    ink = page.evaluate(brightness.format("document.querySelector('#accuracy svg text')", "fill"))
    assert body < 100
    assert ink > 600


def test_a_phone_scrolls_tables_and_figures_but_never_the_page_sideways(visit: Any) -> None:
    page = visit(viewport={"width": 360, "height": 700}, is_mobile=True, has_touch=True).page
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = page.evaluate(
        """() => [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth + 1)
          .map(box => [box.tabIndex, box.getAttribute("role"), box.getAttribute("aria-label")])"""
    )
    assert len(wide) > 5
    assert all(index == 0 and role == "region" and label for index, role, label in wide)
    size = page.evaluate("document.querySelector('#accuracy svg text').getBoundingClientRect().height")
    assert size > 7  # letters of figures do not shrink with the screen


def test_the_keyboard_reaches_and_works_everything(visit: Any) -> None:
    page = visit().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.locator("#class-table thead button").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "class"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert state(page, "class") == "ascending"
    page.keyboard.press("Space")
    assert state(page, "class") == "descending"
    assert column(page, "class")[0] == f"class {CLASSES - 1}"
    page.locator("#accuracy summary").focus()
    page.keyboard.press("Enter")
    assert page.locator("#accuracy details table").is_visible()


def test_a_screen_reader_gets_a_sound_outline_and_named_tables(visit: Any) -> None:
    page = visit().page
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(head => Number(head.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    tables = page.evaluate(
        """() => [...document.querySelectorAll("table")].map(table => [
          Boolean(table.caption && table.caption.textContent.trim()),
          [...table.querySelectorAll("th")].every(head => ["col", "row"].includes(head.scope))])"""
    )
    assert len(tables) >= 7
    assert all(caption and scopes for caption, scopes in tables)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a, summary")].filter(item =>
          !(item.textContent.trim() || (item.labels && item.labels.length))).length"""
    )
    assert unnamed == 0
    targets = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href').slice(1))")
    assert page.evaluate("ids => ids.every(id => document.getElementById(id))", targets)


def test_without_script_everything_is_there_and_no_control_that_does_nothing(visit: Any) -> None:
    page = visit(java_script_enabled=False).page
    assert page.locator("#class-table tbody tr").count() == CLASSES
    assert page.locator("#class-table tbody tr").last.is_visible()
    assert not page.locator(".controls").is_visible()
    assert page.locator("thead button").count() == 0


def test_a_print_leaves_out_the_controls_and_shows_whole_tables(visit: Any) -> None:
    page = visit(viewport={"width": 700, "height": 1000}).page  # A4 without its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert not page.locator(".controls").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("(box => box.clientHeight >= box.scrollHeight)(document.querySelector('.scroll.tall'))")
    assert page.pdf(format="A4")[:5] == b"%PDF-"
