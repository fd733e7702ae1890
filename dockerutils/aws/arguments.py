"""The values of create-dock's options, as types of argparse, and the user's keys."""

from __future__ import annotations

import argparse
import os
import re

from dockerutils.aws.ec2 import RUN
from dockerutils.core.errors import UserError
from dockerutils.docks import records

# The file names of ssh-keygen for the kinds of keys that EC2 accepts.
_PUBLIC_KEYS = ("id_ed25519.pub", "id_rsa.pub")
_LARGEST = 65536  # GB
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
_LONGEST_KEY, _LONGEST_VALUE = 128, 256
_OUR_TAGS = ("Name", "user", "tool", RUN)


def volume(text: str) -> int:
    """Return a size of a disk in GB."""
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) <= _LARGEST:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a disk size; write a number of GB from 1 to {_LARGEST}")


def parameter(text: str) -> tuple[str, str]:
    """Return the key and the value of `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def tag(text: str) -> tuple[str, str]:
    """Return the key and the value of a tag of AWS; those that find our resources cannot be set."""
    key, value = parameter(text)
    if key in _OUR_TAGS or key.lower().startswith("aws:"):
        raise argparse.ArgumentTypeError(f"the tag {key} is reserved; choose another key")
    if len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
        raise argparse.ArgumentTypeError(
            f"{text[:20]!r}… is too long; AWS takes keys of {_LONGEST_KEY} and values of {_LONGEST_VALUE} characters"
        )
    return key, value


def network(text: str) -> str:
    """Return a network in CIDR notation."""
    import ipaddress  # late, for -h

    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; write ADDRESS/32 for one address") from None
    if found.prefixlen == 0:
        raise argparse.ArgumentTypeError(f"{text} admits everybody; name the network that you connect from")
    return str(found)


def keys(args: argparse.Namespace, home: str) -> tuple[str | None, str | None]:
    """Return the file of the public key for EC2, and the identity file for ssh."""
    if args.key_name is not None:
        return None, private_key(args)
    if args.identity is not None:
        raise UserError("--identity needs --key-name; name your public key with --public-key")
    if args.public_key is not None:
        public = _file(args.public_key, "--public-key")
    else:
        candidates = [os.path.join(home, ".ssh", name) for name in _PUBLIC_KEYS]
        public = next(filter(os.path.isfile, candidates), "")
        if not public:
            raise UserError(
                "~/.ssh has no ed25519 or RSA key, which EC2 needs; run: ssh-keygen -t ed25519, or use --public-key"
            )
    with open(public, encoding="utf-8", errors="replace") as file:
        if not re.match(r"ssh-(?:ed25519|rsa) AAAA\S+", file.read(4096)):
            raise UserError(f"{public} is not an ed25519 or RSA public key, which EC2 needs; name another file")
    private = public.removesuffix(".pub")
    # For a private key in an agent, ssh accepts the file of the public key.
    return public, private if private != public and os.path.isfile(private) else public


def private_key(args: argparse.Namespace) -> str | None:
    """Return the file of `--identity`."""
    return None if args.identity is None else _file(args.identity, "--identity")


def text(path: str | None, option: str) -> str:
    """Return the contents of an option's file, nothing without the option; UserError if it cannot be read."""
    if path is None:
        return ""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path}: {reason}; correct {option}") from error


def _file(text: str, option: str) -> str:
    path = os.path.abspath(os.path.expanduser(text))
    if fault := records.fault_in_identity(path):
        raise UserError(fault)
    if not os.path.isfile(path):
        raise UserError(f"{path} is not a file; correct {option}")
    return path
