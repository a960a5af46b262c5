# SPDX-License-Identifier: LGPL-2.1-or-later
"""How setuptools builds the extension; no part of the installed package.

MIGCOMP_SANITIZE=address,undefined (or any value of the compiler's -fsanitize)
builds it for the sanitizers.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

NO_COMPILER = (
    "migcomp needs a C compiler to install, and {compiler!r} is not there: "
    "install Debian's package gcc ('apt install gcc libc6-dev') or Fedora's "
    "('dnf install gcc')."
)
NO_HEADERS = (
    "migcomp needs the C headers of {python}, and {header} is not there: "
    "install Debian's package python3-dev ('apt install python3-dev') or "
    "Fedora's python3-devel ('dnf install python3-devel')."
)
NO_LIBC = (
    "migcomp needs the C library's headers, and the compiler does not find "
    "them: install Debian's package libc6-dev ('apt install libc6-dev') or "
    "Fedora's glibc-devel ('dnf install glibc-devel')."
)
NOT_LINUX = "migcomp runs on Linux; its workqueue waits on futexes."


class BuildCore(build_ext):
    """build_ext that says which package is missing."""

    def build_extensions(self) -> None:
        if not sys.platform.startswith("linux"):
            raise PlatformError(NOT_LINUX)
        compiler = str(self.compiler.compiler_so[0])
        if shutil.which(compiler) is None:
            raise PlatformError(NO_COMPILER.format(compiler=compiler))
        header = Path(sysconfig.get_path("include"), "Python.h")
        if not header.exists():
            raise PlatformError(
                NO_HEADERS.format(
                    python=f"Python {sys.version_info[0]}.{sys.version_info[1]}",
                    header=header,
                )
            )
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        sanitize = os.environ.get("MIGCOMP_SANITIZE")
        if sanitize:
            flags = [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g", "-O1"]
            ext.extra_compile_args = [*ext.extra_compile_args, *flags]
            ext.extra_link_args = [*ext.extra_link_args, *flags]
        try:
            super().build_extension(ext)
        except CompileError as error:
            if not self._finds_libc():
                raise PlatformError(NO_LIBC) from error
            raise

    def _finds_libc(self) -> bool:
        probe = Path(self.build_temp, "probe.c")
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("#include <pthread.h>\nint probe;\n")
        try:
            self.compiler.compile([str(probe)], output_dir=self.build_temp)
        except CompileError:
            return False
        return True
