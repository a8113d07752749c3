"""Hits as one page without anything beside it: no library, no script, no network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from nearfar.edge.hit import Hit
from nearfar.edge.items.thumbnails import thumbnail
from nearfar.embedder import Item

_LIGHT = "--paper:#fff;--card:#f6f8fa;--ink:#1c2430;--faint:#5d6877;--rule:#dde3ea;--badge:#e3ebf5;--badge-ink:#1f4f86"
_DARK = (
    "--paper:#12161c;--card:#1a2028;--ink:#e7ebf0;--faint:#98a5b5;--rule:#2a323d;--badge:#22344a;--badge-ink:#9cc6f5"
)
_CSS = f"""
:root{{{_LIGHT};color-scheme:light dark}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:24px 20px 48px;max-width:1180px;background:var(--paper);color:var(--ink);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}
h1{{display:flex;gap:14px;align-items:center;margin:28px 0 14px;font-size:20px;overflow-wrap:anywhere}}
section:first-child h1{{margin-top:0}}
h1 img{{width:72px;height:72px}}
img{{object-fit:contain;border-radius:6px;background:#fff}}
ol{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr));gap:12px;margin:0;padding:0;list-style:none}}
li{{display:flex;gap:12px;padding:12px;border:1px solid var(--rule);border-radius:10px;background:var(--card);min-width:0}}
li img{{flex:none;width:96px;height:96px}}
li>div{{min-width:0;overflow-wrap:anywhere}}
.score{{white-space:nowrap;color:var(--faint);font-size:13px;font-variant-numeric:tabular-nums}}
.badge{{display:inline-block;margin-right:8px;padding:0 8px;border-radius:9px;background:var(--badge);color:var(--badge-ink);font-size:13px}}
.name{{font-size:14px;font-weight:600}}
.text{{margin:4px 0 0}}
.place{{margin:4px 0 0;color:var(--faint);font-size:13px}}
"""


def hits_page(answers: Sequence[tuple[str, Item | None, Sequence[Hit]]]) -> str:
    """A page with the hits of some queries.

    Args:
        answers: for each query what to call it, the picture that was looked for (a path, bytes or an array; None of anything else), and
            its hits, best first.

    Returns:
        HTML with everything in it.
    """
    title = escape(answers[0][0]) if len(answers) == 1 else "Search"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_CSS}</style>"
    )
    body = "".join(_section(name, picture, hits) for name, picture, hits in answers)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _section(name: str, picture: Item | None, hits: Sequence[Hit]) -> str:
    shown = _image(thumbnail(picture), name) if picture is not None else ""
    found = f"<ol>{''.join(map(_entry, hits))}</ol>" if hits else "<p>Nothing found.</p>"
    return f"<section><h1>{shown}<span>{escape(name)}</span></h1>{found}</section>"


def _entry(hit: Hit) -> str:
    badge = f'<span class="badge">{escape(hit.modality)}</span>' if hit.modality else ""
    under = f"{hit.heading} · " if hit.heading else ""
    place = f"{hit.location}, page {hit.page}" if hit.page is not None else hit.location
    name = hit.title or hit.id
    # A text says more than the id that it was given; that is there to read under the pointer.
    named = f'<div class="name">{escape(name)}</div>' if hit.title or not hit.text else ""
    text = f'<p class="text">{escape(hit.text)}</p>' if hit.text else ""
    return (
        f'<li title="{escape(hit.id)}">{_image(hit.thumbnail, name)}<div>{badge}'
        f'<span class="score">{hit.rank} · {hit.score:.3f}</span>{named}{text}'
        f'<p class="place">{escape(under + place)}</p></div></li>'
    )


def _image(content: bytes, name: str) -> str:
    if not content:
        return ""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{b64encode(content).decode()}">'
