"""The command `roman`."""

import click

from roman.numerals import roman


@click.command()
@click.argument("numbers", nargs=-1, type=click.IntRange(1, 3999), metavar="NUMBER...")
@click.version_option(package_name="roman", message="%(package)s %(version)s")
def main(numbers: tuple[int, ...]) -> None:
    """Write numbers as Roman numerals, a line each."""
    for number in numbers:
        click.echo(roman(number))
