"""Disks that fail: at one operation, at all after it, when they are full; and one that forgets what was not synced."""

import errno
import os
import random

from bptrain.disk import Disk

OPERATIONS = ("open", "write", "truncate", "fsync", "close", "replace", "mkdir", "unlink", "rmdir")


class Counting(Disk):
    """Calls `before` ahead of each operation, with its name and number."""

    def __init__(self):
        self.count = 0

    def before(self, name, arguments):
        pass


def _counted(name):
    def operation(self, *arguments):
        self.count += 1
        self.before(name, arguments)
        return getattr(Disk, name)(self, *arguments)

    return operation


for _name in OPERATIONS:
    setattr(Counting, _name, _counted(_name))


class Crash(BaseException):
    """The end of the process: nothing that comes after it happens."""


class Crashing(Counting):
    """Ends the process at the `at`-th operation of a name, or of any: nothing happens from there on."""

    def __init__(self, at, name=None):
        super().__init__()
        self.at, self.name, self.seen, self.crashed = at, name, 0, False

    def before(self, name, arguments):
        self.seen += self.name in (None, name)
        if self.crashed or self.seen == self.at:
            self.crashed = True
            raise Crash


class Failing(Counting):
    """Refuses the `at`-th operation with an error, once or from then on; closing always goes through."""

    def __init__(self, at, code, for_ever=False, names=OPERATIONS):
        super().__init__()
        self.at, self.code, self.for_ever, self.names, self.failed = at, code, for_ever, names, 0

    def before(self, name, arguments):
        if name == "close" or name not in self.names:
            self.count -= 1
        elif self.count == self.at or (self.for_ever and self.count > self.at):
            self.failed += 1
            raise OSError(self.code, os.strerror(self.code))


class Short(Disk):
    """Writes a byte or two at a time."""

    def write(self, descriptor, data):
        return os.write(descriptor, memoryview(data)[: 1 + len(data) // 2])


class Full(Disk):
    """Has room for so many bytes to be written; what is removed gives none back."""

    def __init__(self, room):
        self.room = room

    def write(self, descriptor, data):
        if not self.room and len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = os.write(descriptor, memoryview(data)[: self.room])
        self.room -= done
        return done


class Journal(Disk):
    """Notes what is done, with what was written, for `after_power_cut`."""

    def __init__(self):
        self.log, self.files = [], {}  # operations; descriptor -> path it was opened by

    def open(self, path, flags):
        new = bool(flags & os.O_CREAT) and not os.path.exists(path)
        descriptor = super().open(path, flags)
        self.files[descriptor] = str(path)
        if new:
            self.log.append(("create", str(path)))
        if flags & os.O_TRUNC:
            self.log.append(("cut", str(path), 0))
        return descriptor

    def write(self, descriptor, data):
        done = super().write(descriptor, data)
        self.log.append(("write", self.files[descriptor], bytes(memoryview(data)[:done])))
        return done

    def truncate(self, descriptor, length):
        super().truncate(descriptor, length)
        self.log.append(("cut", self.files[descriptor], length))

    def fsync(self, descriptor):
        super().fsync(descriptor)
        self.log.append(("sync", self.files[descriptor]))

    def close(self, descriptor):
        self.files.pop(descriptor, None)
        super().close(descriptor)

    def replace(self, old, new):
        super().replace(old, new)
        self.log.append(("rename", str(old), str(new)))

    def mkdir(self, path):
        super().mkdir(path)
        self.log.append(("mkdir", str(path)))

    def unlink(self, path):
        super().unlink(path)
        self.log.append(("unlink", str(path)))

    def rmdir(self, path):
        super().rmdir(path)
        self.log.append(("rmdir", str(path)))


class _File:
    def __init__(self):
        self.now, self.synced = bytearray(), b""
        self.pending = []  # writes and cuts since the last sync


class _Folder:
    def __init__(self):
        self.now, self.synced = {}, {}  # name -> _File or _Folder
        self.pending = []  # (name, what it names then or None) since the last sync, in their order; a rename is one


def after_power_cut(log, root, seed):
    """Names and bytes that a disk may hold where the power goes after the operations in `log`, below `root`.

    What was synced is there. Of a file's other writes any may be there or not, the last torn or zeroed. Of the other
    names of a directory those are there that came before some moment, since file systems keep the order of these.
    """
    draw, top = random.Random(seed), _Folder()

    def place(path):
        *above, name = path.removeprefix(root).strip("/").split("/")
        folder = top
        for part in above:
            folder = folder.now[part]
        return folder, name

    def at(path):
        if path.rstrip("/") == root:
            return top
        folder, name = place(path)
        return folder.now[name]

    for name, path, *more in log:
        if (path.rstrip("/") == root and name == "mkdir") or not path.startswith(root):
            continue
        if name in ("create", "mkdir"):
            folder, child = place(path)
            made = folder.now[child] = _File() if name == "create" else _Folder()
            folder.pending.append({child: made})
        elif name == "write":
            at(path).now += more[0]
            at(path).pending.append(more[0])
        elif name == "cut":
            found = at(path)
            found.pending.append(more[0])
            del found.now[more[0] :]
        elif name == "sync":
            found = at(path)
            found.synced = dict(found.now) if isinstance(found, _Folder) else bytes(found.now)
            found.pending = []
        elif name == "rename":
            (folder, old), (_, new) = place(path), place(more[0])
            folder.now[new] = folder.now.pop(old)
            folder.pending.append({old: None, new: folder.now[new]})
        elif name in ("unlink", "rmdir"):
            folder, child = place(path)
            del folder.now[child]
            folder.pending.append({child: None})

    held = {}

    def survive(folder, path):
        names = dict(folder.synced)
        for change in folder.pending[: draw.randint(0, len(folder.pending))]:
            names.update(change)
        for name, item in names.items():
            if isinstance(item, _Folder):
                held[f"{path}{name}/"] = None
                survive(item, f"{path}{name}/")
            elif item is not None:
                held[path + name] = _bytes_of(item, draw)

    survive(top, "")
    return held


def _bytes_of(file, draw):
    content, way = bytearray(file.synced), draw.randrange(4)
    for change in file.pending:
        if isinstance(change, int):
            if way:
                del content[change:]
        elif way == 1 or (way == 2 and draw.random() < 0.5):
            content += change
        elif way == 2:
            content += bytes(len(change))  # its blocks are there, and not what was written to them
        elif way == 3:
            content += change[: draw.randint(0, len(change))]
            break
    return bytes(content)
