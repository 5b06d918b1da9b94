"""A page in headless Chromium, in a frame of the width under test; without Chromium such tests are skipped."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --allow-file-access-from-files --enable-logging=stderr "
    "--hide-scrollbars --window-size=1440,900 --virtual-time-budget=4000 --dump-dom"
)
# What the script finds in the page is written into the title of the frame's own page.
PROBE = """<body style="margin:0"><iframe src="{page}" style="border:0;width:{width}px;height:900px"></iframe><script>
document.querySelector("iframe").onload = (event) => {{
  const inside = event.target.contentDocument;
  const count = (selector) => inside.querySelectorAll(selector).length;
  const set = (name, value) => {{
    const label = [...inside.querySelectorAll(".controls label")].find((l) => l.textContent.startsWith(name));
    label.querySelector("select").value = value;
    label.querySelector("select").dispatchEvent(new Event("change"));
  }};
  const result = {{}};
  {script}
  document.title = JSON.stringify(result);
}};
</script>"""
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def browse(folder, page, width, script):
    """What `script` put into `result`; it has `inside` (the page's document), `count(selector)`, `set(name, value)`.

    Fails on anything the page says on the console, errors and refused requests among it.
    """
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(page=page.as_uri(), width=width, script=script))
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in done.stderr, done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title, done.stderr[-2000:]
    return json.loads(html.unescape(title[1]))
