"""Markdown in which nothing but the page itself is markup: names and commands may come from anywhere, and stay text."""

import re

__all__ = ["code", "item", "link", "table", "text"]


def text(words):
    """Text as it is."""
    words = re.sub(r"[\\`*_\[\]|~#]", r"\\\g<0>", words)
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def item(words):
    """The same where a line begins, and with it perhaps a list, or a line under a heading."""
    return re.sub(r"^(\s*\d*)([-+.)](?=\s|$)|=|-)", r"\1\\\2", text(words))


def code(words):
    """Code in a line, whatever backticks are in it."""
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    space = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{space}{words}{space}{fence}"


def link(name):
    """The name of a file as the target of a link."""
    return "<" + re.sub(r"[\x00-\x1f<>\\&%]", lambda mark: f"%{ord(mark[0]):02X}", name) + ">"


def table(table):
    """A `rtrl.experiments.report.Table`."""
    first, *others = ["| " + " | ".join(map(text, cells)) + " |" for cells in table.cells]
    rule = "|" + "|".join(" --- " if i < table.words else " ---: " for i in range(len(table.cells[0]))) + "|"
    return "\n".join([f"**{text(table.title)}**", "", first, rule, *others])
