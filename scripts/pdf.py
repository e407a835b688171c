#!/usr/bin/env python3
"""Makes one printable PDF of the report's pages. scripts/report.sh calls it, in an environment with its two packages.

Each page of markdown is read by markdown-it and written as Typst: pages in the order in which report/README.md links
to them, the cheat sheet last. The PDF has no date, so the same pages give the same bytes.
Usage: pdf.py OUTPUT.pdf
"""
import re
import struct
import sys
from pathlib import Path

import typst
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

REPORT = Path(__file__).resolve().parent.parent / "report"
# The room between the margins of A4, in points.
WIDTH, HEIGHT = 488, 690
# A character of the face for code is this part of its size wide.
MONO = 0.602

SETTINGS = r"""
#set document(title: "peerlab", author: "peerlab", date: none)
#set text(font: "Libertinus Serif", size: 10.5pt, lang: "en")
#set page(paper: "a4", margin: (x: 53.5pt, top: 70pt, bottom: 62pt), numbering: "1", header: context {
  let begun = query(heading.where(level: 1)).filter(it => it.location().page() <= here().page())
  if begun.len() > 0 and begun.last().location().page() < here().page() {
    align(right, text(size: 9pt, fill: luma(90), emph(begun.last().body)))
  }
})
#set par(justify: true, leading: 0.62em, spacing: 0.95em)
#set smartquote(enabled: false)
#set list(indent: 0.4em, spacing: 0.7em)
#set enum(indent: 0.4em, spacing: 0.7em)
#set table(stroke: (x, y) => (bottom: if y == 0 { 0.8pt } else { 0.3pt + luma(170) }), inset: (x: 4pt, y: 3.5pt))
#set image(fit: "contain")
#show link: set text(fill: rgb("#14487f"))
#show raw: set text(font: "DejaVu Sans Mono")
#show raw.where(block: false): set text(size: 0.98em)
#show table: set text(size: 9pt)
#show table: set par(justify: false)
#show table.cell.where(y: 0): strong
#show heading: set block(above: 1.5em, below: 0.8em)
#show heading.where(level: 1): set text(size: 19pt)
#show heading.where(level: 1): set block(above: 0pt, below: 1.2em)
#let code(size, whole, body) = block(fill: luma(246), inset: 5pt, radius: 2pt, width: 100%, breakable: not whole, {
  set text(size: size)
  set par(leading: 0.5em, justify: false)
  body
})
"""


def escaped(text):
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def quoted(text):
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


def name(page, anchor=""):
    """What a heading is called in the PDF, or the first line of a page."""
    return quoted(f"{page}#{anchor}")


def size_of(image):
    """Width and height of an SVG or a PNG, in points."""
    content = image.read_bytes()
    if content.startswith(b"\x89PNG"):
        size = struct.unpack(">II", content[16:24])
    else:
        size = re.search(rb'viewBox="[\d.-]+[ ,]+[\d.-]+[ ,]+([\d.]+)[ ,]+([\d.]+)"', content).groups()
    return [float(side) * 0.75 for side in size]


class Page:
    """A page of markdown, read. `others` are all pages by their names, which links may lead to."""

    def __init__(self, path, others):
        self.path, self.others = path, others
        self.tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(path.read_text()))
        self.anchors = {}
        for heading in (node for node in self.tree.walk() if node.type == "heading"):
            words = "".join(n.content for n in heading.walk() if n.type in ("text", "code_inline"))
            anchor = first = re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-")
            again = 0
            while anchor in self.anchors.values():
                again += 1
                anchor = f"{first}-{again}"
            self.anchors[id(heading)] = anchor

    def links(self):
        return [node.attrs["href"] for node in self.tree.walk() if node.type == "link"]

    def typst(self):
        return f"#metadata(none) #label({name(self.path.name)})\n{self.all(self.tree)}"

    def all(self, node):
        return "".join(getattr(self, child.type)(child) for child in node.children)

    def part(self, function, node):
        return f"#{function}[{self.all(node)}]"

    # Blocks.

    def heading(self, node):
        label = name(self.path.name, self.anchors[id(node)])
        return f"#heading(level: {node.tag[1]})[{self.all(node)}] #label({label})\n\n"

    def paragraph(self, node):
        return self.all(node) + "\n\n"

    def fence(self, node):
        lines = node.content.rstrip("\n").expandtabs(4)
        widest = max(map(len, lines.split("\n")))
        size = min(8, (WIDTH - 12) / MONO / max(widest, 1))
        # What would be too small to read is broken instead.
        size = 8 if size < 5.6 else size
        language = "rust" if node.info == "rust" else "json" if node.info == "json" else "text"
        whole = "true" if lines.count("\n") < 14 else "false"
        return f"#code({size:.2f}pt, {whole}, raw(block: true, lang: {quoted(language)}, {quoted(lines)}))\n\n"

    code_block = fence

    def items(self, function, node, more=""):
        items = "".join(f"[{self.all(item)}]," for item in node.children)
        return f"#{function}({more}{items})\n\n"

    def bullet_list(self, node):
        return self.items("list", node)

    def ordered_list(self, node):
        return self.items("enum", node, f"start: {node.attrs.get('start', 1)},")

    def table(self, node):
        rows = [row for part in node.children for row in part.children]
        cells = [f"[{self.all(cell)}]" for row in rows for cell in row.children]
        # Narrow columns take what they need; the others share the rest by how much they hold.
        shown = ("text", "code_inline", "softbreak")
        lengths = [[sum(len(n.content) for n in cell.walk() if n.type in shown) for cell in column]
                   for column in zip(*(row.children for row in rows))]
        fits = sum(map(max, lengths)) < 95
        columns = ["auto" if fits or max(column) < 16 else f"{sum(column) ** 0.7:.1f}fr" for column in lengths]
        head = f"table.header({','.join(cells[:len(columns)])})"
        return f"#table(columns: ({','.join(columns)},), {','.join([head] + cells[len(columns):])})\n\n"

    def blockquote(self, node):
        return self.part("quote(block: true)", node) + "\n\n"

    def hr(self, _):
        return "#line(length: 100%, stroke: 0.4pt)\n\n"

    def html_block(self, node):
        if re.fullmatch(r"(\s*<!--.*?-->\s*)+", node.content, re.DOTALL):
            return ""
        raise SystemExit(f"pdf.py: {self.path.name}: only comments may be HTML, not: {node.content.strip()}")

    html_inline = html_block

    # What stands in a line.

    def inline(self, node):
        return self.all(node)

    def text(self, node):
        return escaped(node.content)

    def code_inline(self, node):
        content = node.content
        if " " not in content and len(content) > 16:
            # A path or a name may be broken where a reader would break it.
            content = re.sub(r"(::|[/_.,])(?=\w)", "\\1\u200b", content)
        return f"#raw({quoted(content)})"

    def softbreak(self, _):
        return "\n"

    def hardbreak(self, _):
        return "#linebreak()"

    def strong(self, node):
        return self.part("strong", node)

    def em(self, node):
        return self.part("emph", node)

    def link(self, node):
        target = node.attrs["href"]
        if "://" in target:
            return self.part(f"link({quoted(target)})", node)
        page, _, anchor = target.partition("#")
        page = self.others.get(page or self.path.name)
        # A link to the source leads nowhere on paper; its text names the file.
        if not page or anchor and anchor not in page.anchors.values():
            return self.all(node)
        return self.part(f"link(label({name(page.path.name, anchor)}))", node)

    def image(self, node):
        if not (REPORT / node.attrs["src"]).is_file():
            raise SystemExit(f"pdf.py: {self.path.name}: there is no picture {node.attrs['src']}")
        width, height = size_of(REPORT / node.attrs["src"])
        scale = min(1, WIDTH / width, HEIGHT / height)
        alt = quoted(node.content)
        size = f"width: {width * scale:.1f}pt, height: {height * scale:.1f}pt"
        return f"#align(center, image({quoted(node.attrs['src'])}, {size}, alt: {alt}))"


def in_order(pages):
    """The contents' order, then what is not linked there, then the cheat sheet, on a sheet of its own."""
    wanted = ["README.md", *(link.partition("#")[0] for link in pages["README.md"].links()), *sorted(pages)]
    last = "cheatsheet.md"
    order = [page for page in dict.fromkeys(wanted) if page in pages and page != last]
    return order + [last] * (last in pages)


def main():
    pages = {}
    for path in REPORT.glob("*.md"):
        pages[path.name] = Page(path, pages)
    parts = [SETTINGS, '#text(size: 30pt)[*peerlab*]\n\n#columns(2, text(size: 9pt, outline(depth: 2)))\n']
    for page in in_order(pages):
        parts.append('#pagebreak(weak: true, to: "odd")\n' if page == "cheatsheet.md" else "#pagebreak(weak: true)\n")
        parts.append(pages[page].typst())
    # Typst takes a root and reads images below it.
    typst.compile("".join(parts).encode(), output=sys.argv[1], root=REPORT, ignore_system_fonts=True)


if __name__ == "__main__":
    main()
