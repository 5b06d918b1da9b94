"""A folder of pictures that are made here: coloured shapes, in nine combinations."""

import numpy as np


def pictures(folder):
    """Pictures of coloured shapes, with the list that says what they show."""
    from PIL import Image, ImageDraw

    (folder / "pictures").mkdir()
    colours, shapes, lines = ("red", "green", "blue"), ("stripes", "dots", "circle"), ["file_name,text,labels"]
    rng = np.random.default_rng(0)
    for i in range(45):
        colour, shape = colours[i % 3], shapes[i // 3 % 3]
        picture = Image.new("RGB", (48, 48), "white")
        pen, (x, y) = ImageDraw.Draw(picture), rng.integers(0, 8, 2).tolist()
        boxes = {
            "stripes": [(0, at, 48, at + 5) for at in range(y, 48, 12)],
            "dots": [(a, b, a + 6, b + 6) for a in range(x, 48, 14) for b in range(y, 48, 14)],
            "circle": [(x + 4, y + 4, x + 36, y + 36)],
        }[shape]
        for box in boxes:
            (pen.rectangle if shape == "stripes" else pen.ellipse)(box, fill=colour)
        picture.save(folder / "pictures" / f"{i:02}.png")
        lines.append(f"{i:02}.png,a {colour} picture of {shape},{colour};{shape}")
    (folder / "pictures" / "metadata.csv").write_text("\n".join(lines) + "\n")
