"""A table in a Parquet file, of any size, as a dataset: `data=parquet data.path=... data.target=...`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from bptrain.config.component import setting
from bptrain.data.dataset import Dataset
from bptrain.data.split import divide
from bptrain.data.streamed import Streamed
from bptrain.data.table import Table


@dataclass(frozen=True, kw_only=True)
class Parquet(Table, Streamed, name="parquet"):
    """The rows of a Parquet file, whose columns are numbers, text or true and false.

    They mean what they would in data=csv, but that a type says what is a number, an integer or text. The table is
    written once, as NPY files under `folder`/cache, and read from there row by row. It is written again when path,
    size or time of the file, or a setting that says what its columns mean, is another one.
    """

    path: str = setting(MISSING, "The Parquet file, relative to the working directory.")
    folder: str = setting("datasets", "The folder with the folder cache, in which the table is kept as NPY files.")

    def load(self, seed: int) -> Dataset:
        from bptrain.data.parquet_cache import cached
        from bptrain.data.parquet_file import ParquetFile

        table = cached(self, ParquetFile(self.path), Path(self.folder, "cache"))
        rows = divide(table.targets, table.classes, self.split, seed)
        return self.dataset(
            self.path,
            table.inputs,
            rows,
            table.targets,
            table.classes,
            self.standardize,
            self.standardize_target,
            table.numeric,
            isinstance(self.target, tuple) and bool(table.classes),
        )
