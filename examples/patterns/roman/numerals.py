"""Roman numerals."""

_SYMBOLS = {
    1000: "M",
    900: "CM",
    500: "D",
    400: "CD",
    100: "C",
    90: "XC",
    50: "L",
    40: "XL",
    10: "X",
    9: "IX",
    5: "V",
    4: "IV",
    1: "I",
}


def roman(number: int) -> str:
    """Return a number from 1 on as a Roman numeral."""
    written = ""
    for value, symbol in _SYMBOLS.items():
        times, number = divmod(number, value)
        written += symbol * times
    return written
