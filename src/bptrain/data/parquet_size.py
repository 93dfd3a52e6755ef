"""How large the pages of a Parquet file become, as its footer and the header of each page state it.

Both are structs of Thrift's compact protocol, read here as mappings from a field's number to its value:
https://github.com/apache/parquet-format and https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

TAIL = 8  # bytes: the length of the footer, and PAR1
PAGE = 2**16  # bytes within which the header of a page ends
DEEPEST = 16  # structs and lists within each other
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = (*range(1, 11), 12)
Fields = dict[int, Any]


def unpacked(path: Path) -> int:
    """Bytes of all pages once they are unpacked. ValueError when the file is not as the format has it."""
    size, total, left = path.stat().st_size, 0, path.stat().st_size
    with path.open("rb") as file:
        for group in _footer(file, size).get(4, []):
            for chunk in group.get(1, []):
                if 1 in chunk:
                    raise ValueError("a column lies in another file")
                told = chunk.get(3, {})
                start, length = min(told.get(11) or told[9], told[9]), told[7]
                left -= length
                if not 0 <= start <= start + length <= size or left < 0:
                    raise ValueError("its columns overlap, or are longer than the file")
                total += _pages(file, start, start + length)
    return total


def _pages(file: IO[bytes], at: int, end: int) -> int:
    total = 0
    while at < end:
        file.seek(at)
        page, length = _struct(file.read(min(PAGE, end - at)), 0, 0)
        if page[2] < 0 or page[3] < 0:
            raise ValueError("a page has a negative length")
        total, at = total + page[2], at + length + page[3]
    return total


def _footer(file: IO[bytes], size: int) -> Fields:
    file.seek(max(0, size - TAIL))
    length = int.from_bytes(file.read(4), "little")
    if length + TAIL > size:
        raise ValueError("its footer is longer than the file")
    file.seek(size - TAIL - length)
    return _struct(file.read(length), 0, 0)[0]


def _struct(data: bytes, at: int, depth: int) -> tuple[Fields, int]:
    """The fields of a struct, and where it ends."""
    fields, number = Fields(), 0
    while True:
        if at >= len(data) or depth > DEEPEST:
            raise ValueError("a header does not end")
        head, at = data[at], at + 1
        if not head:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        kind = head & 15
        fields[number], at = (kind == TRUE, at) if kind in (TRUE, FALSE) else _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        return _integer(data, at)
    if kind in (TRUE, FALSE, BYTE):
        return None, at + 1
    if kind == DOUBLE:
        return None, at + 8
    if kind == BINARY:
        length, at = _unsigned(data, at)
        return data[at : at + length], at + length
    if kind == STRUCT:
        return _struct(data, at, depth + 1)
    if kind not in (LIST, SET) or at >= len(data) or depth > DEEPEST:
        raise ValueError("a header is of another kind")
    count, of, at = data[at] >> 4, data[at] & 15, at + 1
    if count == 15:
        count, at = _unsigned(data, at)
    values: list[Any] = []
    while len(values) < count:
        if at >= len(data):
            raise ValueError("a header does not end")
        value, at = _value(data, at, of, depth + 1)
        values.append(value)
    return values, at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a header does not end")
        value, shift, at = value | (data[at] & 127) << shift, shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(data, at)
    return value >> 1 ^ -(value & 1), at
