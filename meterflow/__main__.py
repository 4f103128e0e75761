"""`meterflow VERB`: one command for everything that a person starts."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from meterflow.verbs import GROUPS, VERBS, Verb
from service import __version__

_END = """\
meterflow VERB --help shows the options of a verb, meterflow --version the version.

exit codes:
  0    done, or stopped by Ctrl-C or SIGTERM
  1    failed, or a fault found (scan, read, plan, doctor, check)
  2    wrong setting or argument
  130  command interrupted by Ctrl-C
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb, or print help."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if "_ARGCOMPLETE" in os.environ:
        # Imported here because only a shell that completes a word needs it.
        from meterflow.completion import complete

        complete(VERBS)
    match words:
        case [] | ["-h" | "--help" | "help", *_]:
            sys.stdout.write(help_text())
        case ["--version", *_]:
            sys.stdout.write(f"meterflow {__version__}\n")
        case [word, *rest] if word in VERBS:
            run_verb(VERBS[word], rest)
        case _:
            _refuse(words[0])


def run_verb(verb: Verb, arguments: Sequence[str]) -> None:
    """Import the program of a verb and run it."""
    importlib.import_module(verb.module).main([*verb.arguments, *arguments])


def help_text() -> str:
    """Return what `meterflow --help` prints."""
    width = max(map(len, VERBS))
    lines = ["usage: meterflow VERB [...]", ""]
    for title, verbs in GROUPS.items():
        lines += [f"{title}:"]
        lines += [f"  {name:<{width}}  {verb.purpose}" for name, verb in verbs.items()]
        lines += [""]
    return "\n".join(lines) + f"\n{_END}"


def _refuse(word: str) -> NoReturn:
    from service.spelling import did_you_mean

    hint = did_you_mean(word, VERBS) or "; meterflow --help lists the verbs"
    sys.stderr.write(f"meterflow: unknown verb {word!r}{hint}\n")
    sys.exit(2)


if __name__ == "__main__":
    # `python -m meterflow` starts all parts, as `python -m` does with every package.
    main(sys.argv[1:] or ["run"])
