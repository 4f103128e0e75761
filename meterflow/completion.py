"""Completion in the shell: argcomplete uses the parser of a verb to find what may follow."""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import argcomplete
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from meterflow.verbs import Verb

SHELLS = ("bash", "zsh", "fish")
_MORE = """\
bash, zsh:  add to ~/.bashrc or ~/.zshrc:       eval "$(.venv/bin/meterflow completion bash)"
fish:       add to ~/.config/fish/config.fish:  .venv/bin/meterflow completion fish | source
Give the full path of .venv; in zsh, write zsh instead of bash.
"""


def main(arguments: Sequence[str]) -> None:
    """Print the code with which a shell completes the verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="meterflow completion",
        description="Print the code with which a shell completes the verbs and their options.",
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(arguments).shell
    # bash and zsh call the command as it was typed; fish needs a path outside PATH.
    program = str(Path(sys.executable).with_name("meterflow")) if shell == "fish" else None
    code = shellcode(["meterflow"], shell=shell, argcomplete_script=program)
    sys.stdout.write(f"{code}\n")


def complete(verbs: Mapping[str, Verb]) -> None:
    """Answer a shell that completes a word, and exit."""
    *_, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    verb = verbs.get(words[1]) if len(words) > 1 else None
    if verb is None:
        parser = argparse.ArgumentParser("meterflow")
        names = parser.add_subparsers()
        for name, each in verbs.items():
            names.add_parser(name, help=each.purpose)
        argcomplete.autocomplete(parser)
    else:
        # The verb begins as always, and its parser answers the shell instead of parsing.
        os.environ["_ARGCOMPLETE"] = "2"
        argparse.ArgumentParser.parse_args = lambda parser, *_: argcomplete.autocomplete(parser)  # type: ignore[assignment,method-assign]
        importlib.import_module(verb.module).main(list(verb.arguments))
