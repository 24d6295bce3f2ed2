"""Words of a command line without `=`: the first may be the task, others are answered with a cure.

What is meant by a slip can be told from its looks: `steps 200`, the folder of a run, a recording.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from wmrobot.core.errors import ConfigError

SUBJECTS = ("task", "file")
PLACES = {
    "run": ("a run", "<folder>, which wmrobot train writes"),
    "bundle": ("a bundle", "<folder>, which wmrobot export writes"),
    "replay": ("a recorded drive", ""),  # known by its suffix
}
"""Setting -> what it names, and what to write where the word itself would be wrong."""


def name_subject(verb: str, settings: Collection[str], words: Sequence[str]) -> list[str]:
    """The words, each `key=value`: the first without `=` is the task, or the file of a sweep.

    Args:
        verb: Whose words they are.
        settings: Names of its settings.
        words: Of the command line, without flags.

    Raises:
        ConfigError: More words have no `=`, or the verb takes neither task nor file.
    """
    named = list(words)
    bare = [index for index, word in enumerate(words) if not is_override(word)]
    subject = next((name for name in SUBJECTS if name in settings), None)
    for index in bare:
        first = subject is not None and index == bare[0]
        if index + 1 in bare and _is_key(words[index], words[index + 1], settings, first=first):
            key, value = words[index], words[index + 1]
            raise ConfigError(f"{key} {value}: write {key}={value.lstrip('=')}")
    if bare and subject is not None:
        index = bare.pop(0)
        named[index] = f"{subject}={words[index]}"
    if bare:
        raise ConfigError(_cure(verb, settings, subject, words[bare[0]]))
    return named


def is_override(word: str) -> bool:
    """Whether a word is `key=value`; a path may hold `=` as well, after a `/`."""
    key, equals, _ = word.partition("=")
    return bool(equals) and key.lstrip("+").replace(".", "").replace("_", "").isalnum()


def _is_key(word: str, following: str, settings: Collection[str], *, first: bool) -> bool:
    """Whether two words are a setting and its value; the first word of all may be the task."""
    if re.fullmatch(r"[A-Za-z_][\w.]*", word) is None or word.endswith(".py"):
        return False
    return word.partition(".")[0] in settings or (not first and _is_number(following))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _cure(verb: str, settings: Collection[str], subject: str | None, word: str) -> str:
    """What to write instead of a word that is neither `key=value` nor the subject."""
    refusal = f"expected key=value, got '{word}'"
    if word in settings:
        return f"{refusal}; write {word}=<value>"
    recorded = word.endswith(".mcap")
    named = [name for name in PLACES if name in settings and (name == "replay") == recorded]
    is_place = recorded or "/" in word or Path(word).is_dir()
    if subject is not None and not (named and is_place):
        return f"{refusal}; {verb} takes one {subject}"
    if subject is None:
        refusal = f"{verb} takes no task, got '{word}'"
    if not named:
        return refusal
    what, otherwise = PLACES[named[0]]
    return f"{refusal}; {what} is {named[0]}={word if is_place else otherwise}"
