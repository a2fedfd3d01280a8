"""Values between their wire form and the one canonical text that the corpus is written in.

The text is a CQL literal. `tests/cql/README.md` describes it; the runner writes the same.
"""

import datetime
import decimal
import ipaddress
import re
import struct
import uuid

from native import UNSET

DATE_EPOCH = 1 << 31
INTEGERS = {"tinyint": ">b", "smallint": ">h", "int": ">i", "bigint": ">q", "counter": ">q"}
# The length of an element in a vector; other types have their length before each.
FIXED = {"boolean": 1, "int": 4, "float": 4, "bigint": 8, "double": 8, "timestamp": 8, "uuid": 16, "timeuuid": 16}

decimal.getcontext().prec = 100_000
decimal.getcontext().Emax = decimal.MAX_EMAX
decimal.getcontext().Emin = decimal.MIN_EMIN


def quote_name(name):
    return name if re.fullmatch("[a-z][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'


def type_text(of):
    """The type as CQL writes it, without frozen, which the protocol does not say."""
    kind = of[0]
    if kind == "udt":
        return quote_name(of[1])
    if kind in ("list", "set"):
        return f"{kind}<{type_text(of[1])}>"
    if kind == "map":
        return f"map<{type_text(of[1])}, {type_text(of[2])}>"
    if kind == "tuple":
        return f"tuple<{', '.join(type_text(part) for part in of[1])}>"
    if kind == "vector":
        return f"vector<{type_text(of[1])}, {of[2]}>"
    return kind


def shortest(value, single):
    """The digits that read back as the same float, in the form of Python's repr without `.0`."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if single:
        candidates = (f"{value:.{digits}e}" for digits in range(10))
        value = float(next(text for text in candidates if as_single(float(text)) == value))
    text = repr(value)
    return text.removesuffix(".0")


def as_single(value):
    """The nearest float of 32 bits; infinite beyond their range."""
    try:
        return struct.unpack(">f", struct.pack(">f", value))[0]
    except OverflowError:
        return float("inf")


def civil(days):
    """Year, month and day of days since 1970-01-01, in any year."""
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1


def date_text(days):
    year, month, day = civil(days)
    shown = f"{year:04}" if 0 <= year <= 9999 else f"-{-year:04}" if -9999 <= year < 0 else f"{year:+}"
    return f"{shown}-{month:02}-{day:02}"


def timestamp_text(millis):
    days, within = divmod(millis, 86_400_000)
    if not 1 <= civil(days)[0] <= 9999:
        return f"'{millis}'"
    seconds, fraction = divmod(within, 1000)
    time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:03}"
    return f"'{date_text(days)} {time}+0000'"


def time_text(nanos):
    seconds, fraction = divmod(nanos, 1_000_000_000)
    return f"'{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:09}'"


def inet_text(wire):
    address = ipaddress.ip_address(wire)
    mapped = getattr(address, "ipv4_mapped", None)
    return f"'::ffff:{mapped}'" if mapped else f"'{address}'"


def vint(data, at):
    first = data[at]
    extra = 8 - (first ^ 0xFF).bit_length()
    value = first & (0xFF >> extra)
    for byte in data[at + 1:at + 1 + extra]:
        value = value << 8 | byte
    return value, at + 1 + extra


def duration_text(wire):
    parts, at = [], 0
    for _ in range(3):
        value, at = vint(wire, at)
        parts.append(value >> 1 ^ -(value & 1))
    months, days, nanos = parts
    negative = months < 0 or days < 0 or nanos < 0
    months, days, nanos = abs(months), abs(days), abs(nanos)
    hours, nanos = divmod(nanos, 3_600_000_000_000)
    minutes, nanos = divmod(nanos, 60_000_000_000)
    seconds, nanos = divmod(nanos, 1_000_000_000)
    millis, nanos = divmod(nanos, 1_000_000)
    micros, nanos = divmod(nanos, 1_000)
    units = [(months // 12, "y"), (months % 12, "mo"), (days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    units += [(millis, "ms"), (micros, "us"), (nanos, "ns")]
    text = "".join(f"{count}{unit}" for count, unit in units if count)
    return ("-" if negative else "") + (text or "0s")


def decimal_text(wire):
    scale = struct.unpack(">i", wire[:4])[0]
    unscaled = int.from_bytes(wire[4:], "big", signed=True)
    if not -100_000 < scale < 100_000:
        digits = str(abs(unscaled))
        exponent = len(digits) - 1 - scale
        point = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
        return f"{'-' if unscaled < 0 else ''}{point}E{exponent:+}"
    sign = 1 if unscaled < 0 else 0
    return str(decimal.Decimal((sign, tuple(int(digit) for digit in str(abs(unscaled))), -scale)))


def parts_of(wire, count):
    parts, at = [], 0
    while at < len(wire) and (count is None or len(parts) < count):
        length = struct.unpack(">i", wire[at:at + 4])[0]
        at += 4
        parts.append(None if length < 0 else wire[at:at + length])
        at += max(length, 0)
    return parts


def vector_parts(of, wire):
    length = fixed_length(of[1])
    if length:
        return [wire[index:index + length] for index in range(0, len(wire), length)]
    parts, at = [], 0
    while at < len(wire):
        size, at = vint(wire, at)
        parts.append(wire[at:at + size])
        at += size
    return parts


def fixed_length(of):
    if of[0] == "vector":
        inner = fixed_length(of[1])
        return inner and inner * of[2]
    return FIXED.get(of[0])


def text_of(of, wire):
    """The canonical text of a value; `null`, `empty` for what has no bytes and is not text, and
    `bytes 0x..` for what is no value of the type."""
    if wire is None:
        return "null"
    try:
        return valid_text_of(of, wire)
    except (struct.error, ValueError, IndexError):
        return "bytes 0x" + wire.hex()


def valid_text_of(of, wire):
    kind = of[0]
    if kind in ("text", "ascii"):
        return "'" + wire.decode().replace("'", "''") + "'"
    if kind == "blob":
        return "0x" + wire.hex()
    if not wire and kind not in ("tuple", "udt"):
        return "empty"
    if kind in INTEGERS:
        return str(struct.unpack(INTEGERS[kind], wire)[0])
    if kind == "varint":
        return str(int.from_bytes(wire, "big", signed=True))
    if kind == "boolean":
        return "true" if wire != b"\0" else "false"
    if kind == "float":
        return shortest(struct.unpack(">f", wire)[0], True)
    if kind == "double":
        return shortest(struct.unpack(">d", wire)[0], False)
    if kind == "decimal":
        return decimal_text(wire)
    if kind in ("uuid", "timeuuid"):
        return str(uuid.UUID(bytes=wire))
    if kind == "date":
        return f"'{date_text(struct.unpack('>I', wire)[0] - DATE_EPOCH)}'"
    if kind == "time":
        return time_text(struct.unpack(">q", wire)[0])
    if kind == "timestamp":
        return timestamp_text(struct.unpack(">q", wire)[0])
    if kind == "duration":
        return duration_text(wire)
    if kind == "inet":
        return inet_text(wire)
    return composite_text(of, wire)


def composite_text(of, wire):
    kind = of[0]
    if kind in ("list", "set", "map"):
        parts = parts_of(wire[4:], None)
        if kind == "map":
            pairs = zip(parts[::2], parts[1::2])
            return "{" + ", ".join(f"{text_of(of[1], key)}: {text_of(of[2], value)}" for key, value in pairs) + "}"
        text = ", ".join(text_of(of[1], part) for part in parts)
        return f"[{text}]" if kind == "list" else "{" + text + "}"
    if kind == "vector":
        return "[" + ", ".join(text_of(of[1], part) for part in vector_parts(of, wire)) + "]"
    if kind == "tuple":
        return "(" + ", ".join(text_of(part, value) for part, value in zip(of[1], parts_of(wire, len(of[1])))) + ")"
    if kind == "udt":
        fields = zip(of[2], parts_of(wire, len(of[2])))
        return "{" + ", ".join(f"{quote_name(name)}: {text_of(part, value)}" for (name, part), value in fields) + "}"
    return "0x" + wire.hex()


TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<sign>[\[\](){}:,])|(?P<word>[^\s\[\](){}:,']+))"
)


class Literals:
    """Reads bind values: CQL literals, `null`, `unset`, and `raw 0x..` for bytes as they are."""

    def __init__(self, text):
        self.tokens = []
        at = 0
        while text[at:].strip():
            match = TOKEN.match(text, at)
            if not match:
                raise SystemExit(f"cannot read the values: {text}")
            self.tokens.append((match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        self.at = 0

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else (None, None)

    def next(self):
        token = self.peek()
        self.at += 1
        return token

    def all(self):
        values = []
        while self.at < len(self.tokens):
            values.append(self.value())
            if self.peek() == ("sign", ","):
                self.next()
        return values

    def value(self):
        group, token = self.next()
        if group == "string":
            return ("string", token[1:-1].replace("''", "'"))
        if group == "word" and token == "raw":
            return ("raw", bytes.fromhex(self.next()[1][2:]))
        if group == "word":
            return ("word", token)
        if token == "[" or token == "(":
            return ("sequence", self.parts("]" if token == "[" else ")"))
        if token == "{":
            return ("braces", self.parts("}"))
        raise SystemExit(f"cannot read the value at {token}")

    def parts(self, close):
        parts = []
        while self.peek() != ("sign", close):
            part = self.value()
            if self.peek() == ("sign", ":"):
                self.next()
                part = (part, self.value())
            parts.append(part)
            if self.peek() == ("sign", ","):
                self.next()
        self.next()
        return parts


def wire_of(of, literal):
    """The wire form of a literal as a value of a type; None for null, UNSET for unset."""
    form, content = literal
    if form == "raw":
        return content
    if literal == ("word", "null"):
        return None
    if literal == ("word", "unset"):
        return UNSET
    kind = of[0]
    if kind in ("list", "set"):
        return struct.pack(">i", len(content)) + b"".join(sized(wire_of(of[1], part)) for part in content)
    if kind == "map":
        pairs = [sized(wire_of(of[1], key)) + sized(wire_of(of[2], value)) for key, value in content]
        return struct.pack(">i", len(pairs)) + b"".join(pairs)
    if kind == "tuple":
        return b"".join(sized(wire_of(part, value)) for part, value in zip(of[1], content))
    if kind == "udt":
        named = {name[1]: value for name, value in content}
        return b"".join(sized(wire_of(part, named.get(name, ("word", "null")))) for name, part in of[2])
    if kind == "vector":
        return b"".join(wire_of(of[1], part) for part in content)
    return scalar_wire(kind, content)


def scalar_wire(kind, text):
    if kind in INTEGERS:
        return struct.pack(INTEGERS[kind], int(text))
    if kind in ("text", "ascii"):
        return text.encode()
    if kind == "blob":
        return bytes.fromhex(text[2:])
    if kind == "boolean":
        return b"\1" if text == "true" else b"\0"
    if kind in ("float", "double"):
        return struct.pack(">f" if kind == "float" else ">d", float(text))
    if kind == "varint":
        number = int(text)
        return number.to_bytes((number if number >= 0 else ~number).bit_length() // 8 + 1, "big", signed=True)
    if kind == "decimal":
        sign, digits, exponent = decimal.Decimal(text).as_tuple()
        number = int("".join(map(str, digits))) * (-1 if sign else 1)
        return struct.pack(">i", -exponent) + scalar_wire("varint", str(number))
    if kind in ("uuid", "timeuuid"):
        return uuid.UUID(text).bytes
    if kind == "inet":
        return ipaddress.ip_address(text).packed
    if kind == "date":
        days = int(text) if text.isdigit() else (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days
        return struct.pack(">I", days if text.isdigit() else days + DATE_EPOCH)
    if kind == "time":
        hours, minutes, seconds = text.split(":")
        whole, _, fraction = seconds.partition(".")
        nanos = int(fraction.ljust(9, "0")) if fraction else 0
        return struct.pack(">q", (int(hours) * 3600 + int(minutes) * 60 + int(whole)) * 1_000_000_000 + nanos)
    if kind == "timestamp":
        return struct.pack(">q", int(text))
    raise SystemExit(f"a bind value of type {kind} is written as raw 0x..")


def sized(wire):
    return struct.pack(">i", -1) if wire is None else struct.pack(">i", len(wire)) + wire
