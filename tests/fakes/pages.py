"""How a page of Markdown is read: as a browser does, and as Prefect's own reader splits tables."""

import re

from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

WORDS = ("text", "softbreak", "hardbreak", "text_special", "inline")

HOSTILE = (
    "<script>alert(1)</script>",
    "![x](http://evil/x.png) [x](javascript:alert(1))",
    "&lt;b&gt; <b>|--|</b>",
    "a | b | c\\",
    "a\\| b \\\\| c",
    "```\n# heading\n```",
    "`a` ``b` |",
    "title\n=====\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "reason\n---\n\n    code\n* item",
    "**bold** _it_ ~~no~~ 1. one",
    "https://evil.example www.evil.example a@evil.example",
)

_pieces = st.sampled_from([*"<>|\\`\n*_[])#-=+x1. ", "](", "![", "&lt;", "\n```\n", "**"])
_texts = st.lists(_pieces, min_size=1, max_size=12).map("".join) | st.text(max_size=20)
nasty_text = _texts.filter(str.strip)


def rendered(markdown: str) -> list[Token]:
    """Return all tokens of a page, as a browser's Markdown reader finds them."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [token for block in reader.parse(markdown) for token in (block, *(block.children or ()))]


def shape(markdown: str) -> list[str]:
    """Return what a page is made of: headings, tables, cells, links, HTML; not its words."""
    return [token.type for token in rendered(markdown) if token.type not in WORDS]


def columns(markdown: str) -> list[int]:
    """Return the number of cells of each row as Prefect's page splits it.

    Its reader (marked) takes a pipe for text if an odd number of backslashes precedes it, also
    inside code.
    """
    page = re.sub(r"^```text\n.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    return [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) - 1 for row in rows]


def looks(markdown: str) -> tuple[list[str], list[int]]:
    """Return all of a page that no text from outside may change."""
    return shape(markdown), columns(markdown)


def words(markdown: str) -> list[str]:
    """Return the texts of a page as a person reads them: headings, paragraphs, cells."""
    said = list[str]()
    for token in rendered(markdown):
        if token.type == "inline":
            parts = [child.content for child in token.children or () if child.type in PLAIN]
            said.append("".join(parts))
    return said


PLAIN = ("text", "text_special", "code_inline")


def rows_of(markdown: str) -> dict[str, list[str]]:
    """Return the rows of all tables as a person reads them, by their first cell."""
    rows, in_table = list[list[str]](), False
    for token in rendered(markdown):
        in_table = token.type != "table_close" and (in_table or token.type == "table_open")
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and in_table:
            parts = [child.content for child in token.children or () if child.type in PLAIN]
            rows[-1].append("".join(parts))
    return {row[0]: row[1:] for row in rows}
