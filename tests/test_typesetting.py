"""What the site does to tables and figures on their way from Markdown to a page."""

import pytest

markdown = pytest.importorskip("markdown", reason="mkdocs is an extra")


def page(text):
    from docs_hooks.typesetting import TypesettingExtension

    return markdown.markdown(text, extensions=["tables", "fenced_code", "def_list", "toc", TypesettingExtension()])


def test_a_spread_is_not_broken_from_its_mean():
    assert "5764\u00a0±\u00a0449" in page("| a |\n|---|\n| 5764 +- 449 |")
    assert "<em>so</em>\u00a0±\u00a03" in page("*so* ± 3")


def test_code_is_printed_as_it_is():
    assert "<code>1 +- 2</code>" in page("`1 +- 2`")
    assert "1 +- 2\n</code>" in page("```text\n1 +- 2\n```")


@pytest.mark.parametrize("figure", ["5764 +- 449", "-1.5", "5931, 5150", "99.97 %", "174 nJ", "0.53 (0.46-0.58)"])
def test_columns_of_figures_are_marked(figure):
    assert page(f"| name | n |\n|---|---|\n| a | {figure} |\n| b | |").count('class="figure"') == 3


@pytest.mark.parametrize("text", ["TD3", "within 1e-6", "5 of 9 tasks", "all", ""])
def test_columns_of_text_are_not(text):
    assert "figure" not in page(f"| name | n |\n|---|---|\n| a | {text} |\n| b | |")


def test_a_card_on_a_phone_names_every_cell_but_those_without_heading():
    assert '<td data-label="what it does">all</td>' in page("| `x` | what it does |\n|---|---|\n| y | all |")
    assert "data-label" not in page("| | |\n|---|---|\n| y | all |")


def test_a_question_of_the_faq_can_be_linked_to_and_takes_no_heading_s_place():
    html = page("## Why?\n\n**Why?**\n:   Because.\n\n**ONNX? NIR?**\n:   Yes.")
    assert '<h2 id="why">' in html
    assert '<dt id="why_1">' in html
    assert '<dt id="onnx-nir"><strong>ONNX? NIR?</strong><a class="headerlink" href="#onnx-nir"' in html
