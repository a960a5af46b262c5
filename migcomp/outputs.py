# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from migcomp.errors import OutputError

STANDARD_OUTPUT = "-"

#: How link says that a file system knows no hard links: EPERM on Linux, though
#: those in user space give others.
_TELLS_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class OutputFile(FileIO):
    """An unbuffered binary file, written under a temporary name beside ``path``.

    Leaving the ``with`` block gives it its name; an exception, Ctrl-C included,
    removes it.  ``-`` is standard output, and devices and pipes are written as
    they are.  An existing file is replaced only with ``force``; of a symbolic link,
    it is the file that it leads to.  It can be read as well, where it is a regular
    file.  Raises OutputError.
    """

    def __init__(self, path: str, *, force: bool = False) -> None:
        self.path = path
        self._force = force
        self._temporary: Path | None = None
        if path == STANDARD_OUTPUT:
            super().__init__(1, "wb", closefd=False)
            return
        target = Path(path)
        try:
            if target.exists() and not target.is_file():
                if target.is_dir():
                    raise OutputError(f"{path} is a directory; name a file in it")
                super().__init__(path, "wb")
                return
            if target.exists() and not force:
                raise OutputError(_exists(path))
            self._target = _led_to(path)
            temporary = _beside(self._target)
            fd = os.open(
                temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error
        self._temporary = temporary
        super().__init__(fd, "rb+")

    @property
    def is_regular(self) -> bool:
        """It can be written at any offset, and read back."""
        return stat.S_ISREG(os.fstat(self.fileno()).st_mode) and (
            self._temporary is not None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._temporary is not None:
                self._appear(self._temporary)
                self._temporary = None
        except OSError as problem:
            raise OutputError(
                f"{self.path} cannot be written: {problem.strerror}"
            ) from problem
        finally:
            if self._temporary is not None:
                with contextlib.suppress(OSError):
                    self._temporary.unlink()
            self.close()

    def _appear(self, temporary: Path) -> None:
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(self.fileno(), 0o666 & ~umask)
        give_name(temporary, self._target, force=self._force)


@contextlib.contextmanager
def written_by_another(path: str, *, force: bool = False) -> Iterator[Path]:
    """As OutputFile, for a file that another program creates and writes.

    Gives the absolute temporary name for it, under which nothing exists; whatever
    begins with that name goes away at the end.  Raises OutputError.
    """
    target = _led_to(path)
    try:
        check_free(path, force=force)
        folder = target.parent.resolve(strict=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{path} cannot be written: {folder} may not be written")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    temporary = _beside(folder / target.name)
    try:
        yield temporary
        try:
            give_name(temporary, target, force=force)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        for left in folder.glob(glob.escape(temporary.name) + "*"):
            with contextlib.suppress(OSError):
                left.unlink()


def _led_to(path: str) -> Path:
    """The file that a symbolic link leads to, whether there is one or not."""
    return Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)


def _beside(target: Path) -> Path:
    """A name that nothing has; ``target``'s own may be as long as names can be."""
    # What tempfile does for us takes 7 ms less than importing it.
    return target.with_name(f".{target.name[:48]}.{os.urandom(8).hex()}.partial")


def check_free(path: str, *, force: bool) -> None:
    """That a regular file may get this name.  Raises OutputError, and OSError."""
    target = Path(path)
    if target.exists() and not target.is_file():
        raise OutputError(f"{path} is no regular file; give another name")
    if target.exists() and not force:
        raise OutputError(_exists(path))


def give_name(temporary: Path, path: Path, *, force: bool) -> None:
    """Lets ``temporary`` appear as ``path``.  Raises OutputError, and OSError."""
    if force:
        temporary.replace(path)
        return
    try:
        # Unlike a rename, a link never replaces what came up meanwhile.
        os.link(temporary, path)
    except FileExistsError:
        raise OutputError(_exists(path)) from None
    except OSError as error:
        if error.errno not in _TELLS_NO_LINKS:
            raise
        _rename_to_new(temporary, path)
        return
    temporary.unlink()


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Where there are no links: takes the name if it is free, then the rename.

    Raises OutputError for a name that is not, and OSError.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    except FileExistsError:
        raise OutputError(_exists(path)) from None
    try:
        temporary.rename(path)
    except BaseException:
        path.unlink()
        raise


def _exists(path: str | Path) -> str:
    return f"{path} exists already; give another name, or --force to replace it"
