"""Find jobs of AWS Batch by a name, an image, an id, or the beginning of an id."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from dockerutils.aws.errors import Refused
from dockerutils.aws.session import Session
from dockerutils.core import shell_words
from dockerutils.core.errors import DockerutilsError, UserError
from dockerutils.core.suggestions import nearest
from dockerutils.docker import references
from dockerutils.images import indices
from dockerutils.jobs import queues, states, submission
from dockerutils.jobs.states import Job
from dockerutils.project import project as projects

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?::[0-9]+)?"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_SHORT = 8  # characters of an id that tables show


def short(job: Job) -> str:
    """Return the beginning of a job's id, as tables show it."""
    return job.id[:_SHORT]


def queue_names(given: str | None, environ: Mapping[str, str]) -> list[str]:
    """Return the queues to search: that of --queue, else all queues of this project, else that of the variable."""
    named = [] if given else _of_project(environ)
    return named or [queues.name(given, None, environ)]


def _of_project(environ: Mapping[str, str]) -> list[str]:
    try:
        project = projects.find(os.getcwd(), environ)
    except UserError:
        return []  # outside a project
    settings = (project.settings_of(project.config.peek(name), docked=False) for name in project.names())
    return list(dict.fromkeys(filter(None, (each.word("batch_queue") for each in settings))))


def listed(session: Session, names: Sequence[str]) -> list[Job]:
    """Return the jobs of these queues, the newest first; DockerutilsError if one of the queues does not exist."""
    return _in_queues(session, names, partial(states.in_queue, session))


def _in_queues(session: Session, names: Sequence[str], ask: Callable[[str], list[Job]]) -> list[Job]:
    found: list[Job] = []
    for name in names:
        try:
            found += ask(name)
        except Refused as error:
            if error.code == "ClientException":
                queues.find(session, name)  # it explains what is wrong with the queue
            raise
    return sorted(found, key=lambda job: -job.created)


def matching(session: Session, text: str, given: str | None, environ: Mapping[str, str]) -> list[Job]:
    """Return the job with an id, the jobs with a name or of an image, the newest first, or the job whose id begins so.

    `given` is the value of --queue. Raises DockerutilsError if there is none.
    """
    if not text:  # an empty variable of a script, with which every id begins
        raise UserError("the name of the job is empty; write its name or id, which ls-job lists")
    if re.fullmatch(_ID, text):
        return [states.describe(session, text)]
    names = queue_names(given, environ)
    of_image = submission.name(references.tag(projects.login_name(environ)), text)
    found = _named(session, names, text) or _named(session, names, of_image) or [_beginning(session, names, text)]
    described = states.described(session, [job.id for job in found])
    return [described.get(job.id, job) for job in found]


def _named(session: Session, names: Sequence[str], name: str) -> list[Job]:
    """Return the jobs of these queues that have this name."""
    if not re.fullmatch(_NAME, name):
        return []
    return _in_queues(session, names, partial(states.named, session, name=name))


def _beginning(session: Session, names: Sequence[str], text: str) -> Job:
    """Return the job of these queues whose id begins with a text; DockerutilsError unless it is the only one."""
    known = listed(session, names)
    found = [job for job in known if job.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(job.id for job in found)
        raise UserError(f"the ids of {len(found)} jobs begin with {text}: {ids}; write more of one")
    where = f"queue {names[0]} has" if len(names) == 1 else f"queues {', '.join(names)} have"
    near = nearest(text, {job.name for job in known})
    advice = f"did you mean {near}?" if near else "run: ls-job --all"
    raise DockerutilsError(f"{where} no job {shell_words.quote(text)}; {advice}")


def shard(session: Session, job: Job, index: str) -> Job:
    """Return a shard of a job by its number; UserError if the job has none with that number."""
    if job.size is None and not job.numbers:
        raise UserError(f"job {job.name} is not an array; leave out the index {index}")
    numbers = numbers_of(job)
    number = int(index) if re.fullmatch("[0-9]{1,5}", index) else -1
    if number not in numbers:
        raise UserError(f"job {job.name} has no shard {index}; it has {indices.listed(numbers)}")
    return states.describe(session, f"{job.id}:{numbers.index(number)}") if job.size else job


def numbers_of(job: Job) -> Sequence[int]:
    """Return the numbers of the shards of an array, or of a retry."""
    return job.numbers or range(job.size or 0)
