"""Calls to AWS. A call that changes something is printed, before it is made, as the `aws` command that does the same.

Only this module imports boto3, and only when it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from dockerutils.aws.errors import explained
from dockerutils.core import console, shell_words
from dockerutils.core.errors import DockerutilsError
from dockerutils.core.process import Command
from dockerutils.core.shell_words import Word

OR_EMPTY = '||`""`'  # at the end of a query: "" if the answer has no such part, for which aws would print None
_READS = ("describe-", "get-", "list-")  # calls that change nothing


class Contents(NamedTuple):
    """The contents of a file, as a parameter of a call."""

    path: str


class Call(NamedTuple):
    """A call, named as in the aws command (`ec2`, `run-instances`); parameters are named as in the API.

    An empty region means the session's. `query` selects a part of the answer, in JMESPath
    (https://jmespath.org/specification.html).
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    region: str = ""
    query: str = ""


class Session:
    """Access to AWS, configured by the environment and AWS's own files. A dry run makes no calls.

    Every call that fails raises DockerutilsError. With `seconds`, each request is made once and waits that long for a
    connection and for an answer; this also holds for the requests that boto3 makes to get credentials.
    """

    def __init__(self, environ: Mapping[str, str], *, dry_run: bool, seconds: float | None = None) -> None:
        import threading  # late: -h makes no session

        self.dry_run = dry_run
        self._environ = environ
        self._seconds = seconds
        self._printed: set[str] = set()
        self._variables: set[str] = set()
        self._numbers: set[str] = set()
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    @cached_property
    def region(self) -> str:
        """The region of calls that do not name one."""
        # The aws command reads AWS_REGION, boto3 does not.
        region = self._environ.get("AWS_REGION") or self._boto3.region_name
        if not region:
            raise DockerutilsError("no AWS region is configured; set AWS_REGION, or run: aws configure set region NAME")
        return str(region)

    @cached_property
    def account(self) -> str:
        """The number of the caller's account; in a dry run the shell variable that the printed line sets."""
        return str(self.call(Call("sts", "get-caller-identity", {}, query="Account"), variable="account"))

    def call(
        self, call: Call, *, variable: str = "", unless: Call | None = None, given: str = "", echo: bool = True
    ) -> Any:
        """Make a call and return the part of the answer, from all pages, that its query selects.

        The line of a call that changes something is printed, each line once; console.show_commands has the others
        printed too. In a dry run the line of every call is printed only, and the result is a reference to the shell
        variable `variable`, which the line sets; it has no effect where the call `unless` succeeds, or the variable
        `given` is empty.
        Raises Refused, with the error code, when AWS answers with an error.
        """
        if self.dry_run:
            line = self.line(call)
            condition = f"{self.line(unless)} || " if unless else ""
            condition += f'[ -z "{self.variable(given)}" ] || ' if given else ""
            print(condition + (f"{variable}=$({line})" if variable else line), flush=True)
            return self.variable(variable) if variable else ""
        line = self.line(call)
        client, method = self._client(call.service, call.region or self.region), call.operation.replace("-", "_")
        if echo and line not in self._printed:
            self._printed.add(line)
            console.echo(line, reads=call.operation.startswith(_READS))
        parameters = {name: _contents(value) for name, value in call.parameters.items()}
        with explained():
            if client.can_paginate(method):
                answer = client.get_paginator(method).paginate(**parameters).build_full_result()
            else:
                answer = getattr(client, method)(**parameters)
        return _select(call.query, answer)

    def line(self, call: Call) -> str:
        """Return the aws command that makes a call; https://docs.aws.amazon.com/cli/latest/reference/."""
        argv = ["aws", call.service, *call.operation.split(), "--region", call.region or self.region]
        for name, value in call.parameters.items():
            argv += self._option(name, value)
        return str(Command([*argv, *(["--query", call.query, "--output", "text"] if call.query else [])]))

    def variable(self, name: str) -> str:
        """Return a reference to a shell variable that an earlier line of a dry run sets."""
        self._variables.add(name)
        return f"${{{name}}}"

    def number(self, name: str) -> str:
        """Return such a reference to a number."""
        self._numbers.add(name)
        return self.variable(name)

    def found(self, value: Any, message: str) -> str:
        """Return the answer of a call; DockerutilsError with the message if it is empty.

        In a dry run, print the line that checks it.
        """
        if not value:
            raise DockerutilsError(message)
        if self.dry_run:
            message = re.sub(r'([\\"$`}])', r"\\\1", message)
            print(f': "{value[:-1]}:?{message}}}"', flush=True)
        return str(value)

    def _option(self, name: str, value: Any) -> list[str]:
        # The aws command has one option for two parameters, which are equal here.
        if name == "MinCount":
            return []
        option = "--count" if name == "MaxCount" else "--" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
        if value is True:
            return [option]
        if isinstance(value, Contents):
            return [option, f"fileb://{value.path}"]
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return [option, *map(self._word, value)]
        return [option, self._word(value)]

    def _word(self, value: Any) -> str:
        """Return a parameter's value as a word of the aws command, in which the shell expands our variables."""
        if isinstance(value, Word):
            return value
        if isinstance(value, (dict, list)):
            value = _json(value)
            for name in self._numbers:
                value = value.replace(f'"${{{name}}}"', f"${{{name}}}")
        return with_variables(value if isinstance(value, str) else str(value), self._variables)

    @cached_property
    def _boto3(self) -> Any:
        try:
            import boto3  # type: ignore[import-untyped]  # late: it takes longer than all other imports together
        except ImportError as error:
            raise DockerutilsError(f"boto3 cannot be imported: {error}; run: pip install boto3") from error
        with explained():
            import botocore.session  # type: ignore[import-untyped]
            from botocore.config import Config  # type: ignore[import-untyped]

            core = botocore.session.get_session()
            if self._seconds:
                limits = {"connect_timeout": self._seconds, "read_timeout": self._seconds}
                core.set_default_client_config(
                    Config(**limits, retries={"total_max_attempts": 1}, max_pool_connections=1)
                )
            return boto3.session.Session(botocore_session=core)

    def _client(self, service: str, region: str) -> Any:
        # boto3 can use a client in several threads, but not create it in several.
        with self._lock, explained():
            if (service, region) not in self._clients:
                self._clients[service, region] = self._boto3.client(service, region_name=region)
            return self._clients[service, region]


def with_variables(text: str, names: Iterable[str]) -> str:
    """Return `text` as a word in which the shell expands the references `${NAME}` to these variables."""
    references = [reference for name in names if (reference := f"${{{name}}}") in text]
    if not references:
        return text
    template = text.template if isinstance(text, Word) else re.sub(r'([\\"$`])', r"\\\1", text)
    for reference in references:
        template = template.replace(f"\\{reference}", reference)
    return Word(text, template)


def _json(value: Any) -> str:
    """Return a value as JSON, a word if it has words: their references to the environment stay references."""
    import json  # late, for -h

    words: list[Word] = []

    def marked(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: marked(each) for name, each in part.items()}
        if isinstance(part, list):
            return [marked(each) for each in part]
        if isinstance(part, Word):
            words.append(part)
            return f"\0{len(words) - 1}\0"  # a character that no command line has
        return part

    def unmarked(match: re.Match[str]) -> str:
        parts = shell_words.parts(words[int(match[1])])
        return "".join(f"${{{text}}}" if is_name else escape(json.dumps(text)[1:-1]) for is_name, text in parts)

    def escape(text: str) -> str:
        return re.sub(r'([\\"$`])', r"\\\1", text)

    text, template = (json.dumps(each, separators=(",", ":")) for each in (value, marked(value)))
    if not words:
        return text
    return Word(text, re.sub(r"\\\\u0000(\d+)\\\\u0000", unmarked, escape(template)))


def _contents(value: Any) -> Any:
    if not isinstance(value, Contents):
        return value
    with open(value.path, "rb") as file:
        return file.read()


def _select(query: str, answer: Any) -> Any:
    if not query:
        return answer
    import json

    import jmespath  # type: ignore[import-untyped]

    # As in the aws command, a time is text.
    return jmespath.search(query, json.loads(json.dumps(answer, default=lambda time: time.isoformat())))
