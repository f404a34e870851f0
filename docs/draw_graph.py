"""Draw docs/graph.svg: the embedding layer before and after. Run: python docs/draw_graph.py"""

from pathlib import Path

WIDTH, HEIGHT = 1000, 586
INK, SOFT, LINE, GREEN = "#1f2933", "#52606d", "#9aa5b1", "#2f7d53"
DATA, OP, NEW = "#fdf3d7", "#e4ecf7", "#e3f4ea"


def text(
    x: float, y: float, words: str, size: int = 14, weight: str = "400", fill: str = INK
) -> str:
    """Centred words."""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="middle">{words}</text>'
    )


def box(x: float, y: float, w: float, h: float, lines: list[str], fill: str) -> str:
    """A rounded box: the first line is its name."""
    shape = f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{fill}" stroke="{LINE}"/>'
    top = y + h / 2 - 9 * (len(lines) - 1) + 5
    words = [
        text(
            x + w / 2,
            top + 18 * i,
            line,
            14 if i == 0 else 12,
            "600" if i == 0 else "400",
            INK if i == 0 else SOFT,
        )
        for i, line in enumerate(lines)
    ]
    return "".join([shape, *words])


def arrow(*points: tuple[float, float]) -> str:
    """A line through ``points`` that ends in a head."""
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{SOFT}" marker-end="url(#head)"/>'


def before() -> list[str]:
    """The layer as it was."""
    return [
        text(150, 40, "before", 18, "600"),
        box(95, 62, 110, 38, ["input_ids"], OP),
        arrow((150, 100), (150, 268)),
        box(20, 160, 112, 66, ["table", "30,522 x 384", "float32, 46.9 MB"], DATA),
        arrow((76, 226), (76, 293), (99, 293)),
        box(105, 274, 90, 38, ["Gather"], OP),
        arrow((150, 312), (150, 518)),
        box(85, 524, 130, 38, ["the rest"], OP),
    ]


def after() -> list[str]:
    """The layer as it is: 25x, all-MiniLM-L6-v2 (``lighttoken inspect``)."""
    frame = (
        '<rect x="296" y="120" width="684" height="382" rx="12" fill="#ffffff" stroke="#3f9d6b" '
        'stroke-width="1.6" stroke-dasharray="6 4"/>'
    )
    return [
        text(600, 40, "after", 18, "600"),
        box(545, 62, 110, 38, ["input_ids"], OP),
        frame,
        '<g transform="translate(872 246)">',
        text(0, 0, "ai.lighttoken::", 14, "600", GREEN),
        text(0, 18, "CompressedEmbedding", 14, "600", GREEN),
        text(0, 38, "a function of standard", 12, "400", SOFT),
        text(0, 54, "operators, 1.87 MB in all", 12, "400", SOFT),
        "</g>",
        arrow((600, 100), (600, 136)),
        box(510, 140, 180, 50, ["Gather, Add", "position: likeliest rows first"], NEW),
        arrow((600, 190), (600, 206), (414, 206), (414, 220)),
        arrow((600, 206), (650, 206), (650, 220)),
        # every row
        box(314, 224, 200, 62, ["Gather", "45 bytes for every row", "1.33 MB of codes"], NEW),
        box(314, 304, 200, 44, ["Gather: bytes to values", "codebooks of 256, 12 kB"], NEW),
        box(314, 366, 200, 54, ["MatMulInteger, Mul", "int8 decoders, 133 kB"], NEW),
        arrow((414, 286), (414, 300)),
        arrow((414, 348), (414, 362)),
        # frequent rows
        box(
            540,
            224,
            220,
            62,
            [
                "Gather, once a residual stage",
                "48 more bytes for the first",
                "6,580 / 1,120 / 32 rows",
            ],
            NEW,
        ),
        box(540, 304, 220, 44, ["Gather: bytes to values", "371 kB of codes"], NEW),
        box(540, 366, 220, 54, ["Mul: one scale a column", "zero for rows beyond its stage"], NEW),
        arrow((650, 286), (650, 300)),
        arrow((650, 348), (650, 362)),
        box(790, 366, 170, 54, ["mean", "reserved rows share a tail"], NEW),
        arrow((414, 420), (414, 468), (541, 468)),
        arrow((600, 420), (600, 444)),
        arrow((875, 420), (875, 468), (659, 468)),
        box(545, 448, 110, 38, ["Add"], NEW),
        arrow((600, 486), (600, 518)),
        box(535, 524, 130, 38, ["the rest"], OP),
    ]


def main() -> None:
    """Write the picture beside this file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif">'
        f'<defs><marker id="head" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{SOFT}"/></marker>'
        "</defs>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" fill="#ffffff"/>'
    )
    divider = f'<line x1="262" y1="24" x2="262" y2="562" stroke="{LINE}" stroke-dasharray="2 5"/>'
    svg = "\n".join([head, divider, *before(), *after(), "</svg>\n"])
    Path(__file__).with_name("graph.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
