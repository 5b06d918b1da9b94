"""Draw the guide's pictures again: run the Python blocks of its pages, and keep the figures they show in few colours.

Of all pages, or of those that are named, such as convergence.md.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

GUIDE = Path(__file__).resolve().parent / "guide"
COLOURS = 32  # which lines and drawn shapes need; a picture takes a quarter of the room then
OF_HEAT = 256  # colours of a heat map


def main(pages: list[Path]) -> None:
    for page in pages:
        names = re.findall(r"\]\(pictures/(\S+?)\)", page.read_text())
        if not names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            os.symlink(GUIDE.parent, "experiments")
            for block in Sybil([PythonCodeBlockParser()], str(page.parent), page.name).parse(page).examples():
                block.evaluate()
            for name in names:
                with Image.open(Path("figures", name)) as picture:
                    colours = OF_HEAT if name.startswith("surface") else COLOURS
                    picture.convert("RGB").quantize(colours).save(GUIDE / "pictures" / name, optimize=True)
                print(f"{name}: {(GUIDE / 'pictures' / name).stat().st_size / 1000:.0f} KB")
            os.chdir(GUIDE)


if __name__ == "__main__":
    main([GUIDE / name for name in sys.argv[1:]] or sorted(GUIDE.glob("*.md")))
