"""The tables of the built site fit their pages, on a desk and on a phone, as a browser lays them out."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OFFLINE = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OFFLINE += ["--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"]

# A frame has the width that is asked for; a window has not always.
RULER = """
<body><script>
const pages = PAGES, widths = [390, 1280], found = [];
const load = url => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.style = "height: 900px; border: 0";
  frame.onload = () => setTimeout(() => { done(frame); }, 50);
  frame.src = url;
  document.body.append(frame);
});
(async () => {
  let tables = 0;
  for (const page of pages) {
    const frame = await load(page);
    for (const width of widths) {
      frame.style.width = `${width}px`;
      for (const table of frame.contentDocument.querySelectorAll(".md-content table")) {
        const end = table.closest(".md-content__inner").getBoundingClientRect().right;
        const clipped = [table, ...table.querySelectorAll("td")].some(
          box => box.getBoundingClientRect().right > end + 1 || box.scrollWidth > box.clientWidth + 1);
        tables += 1;
        if (clipped) found.push(`${page.split("/").pop()} at ${width}: ${table.innerText.slice(0, 40)}`);
      }
    }
    frame.remove();
  }
  document.body.innerText = JSON.stringify({tables, found});
})();
</script>
"""


def measure(pages, folder):
    """Return how many tables were looked at, and those that are wider than the text around them."""
    ruler = folder / "ruler.html"
    ruler.write_text(RULER.replace("PAGES", json.dumps([page.as_uri() for page in pages])))
    command = [CHROMIUM, *OFFLINE, f"--user-data-dir={folder / 'browser'}", "--window-size=1400,900"]
    command += ["--virtual-time-budget=120000", "--dump-dom", ruler.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    (result,) = re.findall(r"<body>(\{.*\})", unescape(dom), re.DOTALL)
    return json.loads(result.replace("<br>", ""))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_no_table_is_clipped_on_a_desk_or_a_phone(site, tmp_path):
    pages = [page for page in sorted(site.folder.rglob("*.html")) if "<table>" in page.read_text()]
    measured = measure(pages, tmp_path)
    assert measured["tables"] > 100
    assert measured["found"] == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_clipped_table_is_found(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<div class="md-content"><div class="md-content__inner">'
        "<table><tr><td>narrow</td></tr></table>"
        f'<table><tr><td style="white-space: nowrap">{"wide " * 60}</td></tr></table></div></div>'
    )
    measured = measure([page], tmp_path)
    assert measured["tables"] == 4
    assert [line.split(":")[0] for line in measured["found"]] == ["page.html at 390", "page.html at 1280"]
