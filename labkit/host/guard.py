"""A small watchman: reads process ids from its standard input, and when that closes ends those that are left.

The launcher starts it first and holds the other end of the pipe. However the launcher goes, even by SIGKILL or a closed
terminal, the pipe closes, and no server and no kernel stays behind.
"""

from __future__ import annotations

import sys

import psutil

PATIENCE = 5.0  # seconds between asking and forcing


def end(roots: list[psutil.Process], patience: float = PATIENCE) -> None:
    """End processes with all their descendants: ask the roots, wait `patience` seconds, then force what is left."""
    family: list[psutil.Process] = []
    for root in roots:
        try:
            family += [root, *root.children(recursive=True)]
            root.terminate()  # Voila and JupyterLab end their kernels themselves when asked
        except psutil.NoSuchProcess:
            pass
    _, left = psutil.wait_procs(family, patience)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(left, patience)


def main() -> None:
    """Watch until standard input closes."""
    roots = []
    for line in sys.stdin:
        try:
            roots.append(psutil.Process(int(line)))
        except psutil.NoSuchProcess:
            pass
    end(roots)


if __name__ == "__main__":
    main()
