"""Hydra's loader of configs over the trees of YAML files, without its plug-ins and its own config."""

from __future__ import annotations

import warnings
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.plugins.config_source import ConfigResult

from bptrain.config.preset_file import faults
from bptrain.config.tree import Tree, config_root
from bptrain.errors import Problem, RequestError

MOST = 1_000  # times that a file is asked for, a few for each: a few files that name each other twice ask for millions


class YamlFiles(FileConfigSource):
    """Hydra's source of files, but that those of the user are looked through before they are read."""

    @staticmethod
    def scheme() -> str:
        return "yaml"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if Path(self.path) != config_root() and path.is_file() and (found := faults(path, False)):
            raise RequestError(found)
        return super().load_config(config_path)


class AskedFor(CachingConfigRepository):
    """Hydra's cache of the files that were read, which are asked for so often and no more."""

    times = 0

    def load_config(self, config_path: str) -> ConfigResult | None:
        self.times += 1
        if ".." in config_path.split("/"):
            raise RequestError(Problem(config_path, "is outside of the folder of configs.", "Put the file into it."))
        if self.times > MOST:
            what = "is taken in too often: defaults lists name each other again and again."
            raise RequestError(Problem(config_path, what, "Name each file once."))
        return super().load_config(config_path)


def loader_of(tree: Tree) -> ConfigLoaderImpl:
    """Hydra's loader with all folders of the tree on its search path, in their order.

    `initialize_config_dir` takes one folder, and its way to add others comes too late for the config to
    start from; this is what it does, for several. What it needs is registered by hand, so that no plug-in
    is looked for and none can run. Hydra's own config stays out: nothing reads it, and it takes as long as ours.
    """
    version.setbase("1.3")
    setup_globals()
    for source in (YamlFiles, StructuredConfigSource):
        SourcesRegistry.instance().register(source)
    path = ConfigSearchPathImpl()
    for root in tree.roots:
        path.append("main", f"{YamlFiles.scheme()}://{root}")
    path.append("schema", "structured://")
    return ConfigLoaderImpl(path)


def defaults_list(loader: ConfigLoaderImpl, name: str, words: list[str]) -> tuple[DefaultsList, IConfigRepository]:
    """The files that words choose, in the order in which they are merged, and where they are read from."""
    parsed, files = OverridesParser.create().parse_overrides(words), AskedFor(loader.repository)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that Hydra 1.0 had another order
        return create_defaults_list(files, name, parsed, prepend_hydra=False, skip_missing=False), files
