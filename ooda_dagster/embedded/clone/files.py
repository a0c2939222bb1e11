"""Gives the clone's files the sizes that the planner expects: sparse, with just enough of a btree to have a height.

The planner takes a relation's pages from its file, not from pg_class, and a btree's height from its metapage
(src/backend/access/nbtree/nbtpage.c, page layout in src/include/storage/bufpage.h). All is done to files of a scratch
server without checksums, whose data is never read by a statement.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

from ooda_dagster.core.btree_size import PAGE_BYTES

SEGMENT_PAGES = 131_072  # 1 GiB

_PAGE_HEADER, _SPECIAL = 24, 16
_META, _LEAF, _ROOT = 8, 1, 2  # btpo_flags
_BTREE_MAGIC, _BTREE_VERSION = 0x053162, 4
_LAYOUT_VERSION = 4


def set_size(path: Path, pages: int, head: bytes = b"") -> None:
    """Make a relation's files `pages` long, without using disk, and write `head` at the start."""
    owner = path.stat()
    for segment in range(max(1, math.ceil(pages / SEGMENT_PAGES))):
        file = path if segment == 0 else path.with_name(f"{path.name}.{segment}")
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if segment == 0 and head:
                os.pwrite(descriptor, head, 0)
            wanted = min(SEGMENT_PAGES, pages - segment * SEGMENT_PAGES) * PAGE_BYTES
            if os.fstat(descriptor).st_size < wanted:
                os.ftruncate(descriptor, wanted)
            if segment:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)


def segments(path: Path) -> list[tuple[Path, int]]:
    """A relation's files and their sizes in bytes."""
    found = [path, *sorted(path.parent.glob(f"{path.name}.[0-9]*"))]
    return [(file, file.stat().st_size) for file in found if file.exists()]


def btree_skeleton(height: int) -> bytes:
    """A metapage that tells the height, and a chain of pages with one item each from root to leaf.

    A descent (the planner looks for the ends of an index) finds an empty but sound tree.
    """
    meta = struct.pack(
        "<IIIIIIIId?7x", _BTREE_MAGIC, _BTREE_VERSION, 1, height, 1, height, 0, 0, -1.0, True
    )  # BTMetaPageData: root and fast root are block 1
    pages = [_page(_opaque(0, _META), body=meta, lower=_PAGE_HEADER + 48)]
    for depth, level in enumerate(range(height, -1, -1)):
        flags = (_LEAF if level == 0 else 0) | (_ROOT if depth == 0 else 0)
        if level == 0:
            pages.append(_page(_opaque(0, flags)))
        else:  # one "minus infinity" pivot: it points to the next page and has no key
            pivot = struct.pack("<HHHH", 0, depth + 2, 0, 8 | 0x2000)
            pages.append(_page(_opaque(level, flags), items=[(PAGE_BYTES - _SPECIAL - 8, 8)], data=pivot))
    return b"".join(pages)


def _opaque(level: int, flags: int) -> bytes:
    """BTPageOpaqueData: no siblings."""
    return struct.pack("<IIIHH", 0, 0, level, flags, 0)


def _page(
    special: bytes,
    *,
    body: bytes = b"",
    items: list[tuple[int, int]] | None = None,
    lower: int | None = None,
    data: bytes = b"",
) -> bytes:
    """PageHeaderData, line pointers or a body, tuples, special space."""
    pointers = b"".join(struct.pack("<I", offset | (1 << 15) | (length << 17)) for offset, length in items or ())
    upper = PAGE_BYTES - len(special) - len(data)
    header = struct.pack(
        "<QHHHHHHI",
        0,
        0,
        0,
        lower if lower is not None else _PAGE_HEADER + len(pointers),
        upper,
        PAGE_BYTES - len(special),
        PAGE_BYTES | _LAYOUT_VERSION,
        0,
    )
    return (header + (body or pointers)).ljust(upper, b"\0") + data + special
