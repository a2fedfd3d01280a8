"""A client of the CQL native protocol, version 4, that hides nothing: types, raw bytes, warnings, error codes.

One connection, one request at a time. Written from the protocol's specification; the standard library suffices.
"""

import socket
import struct

ERRORS = {
    0x0000: "ServerError",
    0x000A: "ProtocolError",
    0x0100: "BadCredentials",
    0x1000: "Unavailable",
    0x1001: "Overloaded",
    0x1002: "IsBootstrapping",
    0x1003: "TruncateError",
    0x1100: "WriteTimeout",
    0x1200: "ReadTimeout",
    0x1300: "ReadFailure",
    0x1400: "FunctionFailure",
    0x1500: "WriteFailure",
    0x2000: "SyntaxError",
    0x2100: "Unauthorized",
    0x2200: "Invalid",
    0x2300: "ConfigError",
    0x2400: "AlreadyExists",
    0x2500: "Unprepared",
}

LEVELS = ["ANY", "ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "EACH_QUORUM", "SERIAL", "LOCAL_SERIAL"]
LEVELS += ["LOCAL_ONE"]

SCALARS = {
    0x01: "ascii", 0x02: "bigint", 0x03: "blob", 0x04: "boolean", 0x05: "counter", 0x06: "decimal", 0x07: "double",
    0x08: "float", 0x09: "int", 0x0B: "timestamp", 0x0C: "uuid", 0x0D: "text", 0x0E: "varint", 0x0F: "timeuuid",
    0x10: "inet", 0x11: "date", 0x12: "time", 0x13: "smallint", 0x14: "tinyint", 0x15: "duration",
}

# Types that version 4 sends by the name of their class.
CLASSES = {
    "AsciiType": "ascii", "LongType": "bigint", "BytesType": "blob", "BooleanType": "boolean",
    "CounterColumnType": "counter", "DecimalType": "decimal", "DoubleType": "double", "FloatType": "float",
    "Int32Type": "int", "TimestampType": "timestamp", "UUIDType": "uuid", "UTF8Type": "text",
    "IntegerType": "varint", "TimeUUIDType": "timeuuid", "InetAddressType": "inet", "SimpleDateType": "date",
    "TimeType": "time", "ShortType": "smallint", "ByteType": "tinyint", "DurationType": "duration",
    "EmptyType": "empty",
}

# A bind value that is not set.
UNSET = object()


class CqlError(Exception):
    """An error that the server answered."""

    def __init__(self, code, message, warnings):
        super().__init__(message)
        self.kind = ERRORS.get(code, f"Error{code:#06x}")
        self.message = message
        self.warnings = warnings


class Result:
    """What a statement answered: columns as (name, type) or None, rows of raw bytes, and more."""

    def __init__(self):
        self.columns = None
        self.rows = []
        self.warnings = []
        self.paging_state = None


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        part = self.data[self.at:self.at + count]
        if len(part) != count:
            raise ValueError("the frame is too short")
        self.at += count
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def int(self):
        return self.number(">i")

    def short(self):
        return self.number(">H")

    def string(self):
        return self.take(self.short()).decode()

    def bytes(self):
        length = self.int()
        return None if length < 0 else self.take(length)

    def short_bytes(self):
        return self.take(self.short())

    def string_list(self):
        return [self.string() for _ in range(self.short())]

    def type(self):
        """A type as a tuple: ('int',), ('list', element), ('udt', name, [(field, type)]) and so on."""
        kind = self.short()
        if kind in SCALARS:
            return (SCALARS[kind],)
        if kind == 0x0000:
            return class_type(self.string())
        if kind == 0x20:
            return ("list", self.type())
        if kind == 0x21:
            return ("map", self.type(), self.type())
        if kind == 0x22:
            return ("set", self.type())
        if kind == 0x30:
            self.string()
            name = self.string()
            return ("udt", name, [(self.string(), self.type()) for _ in range(self.short())])
        if kind == 0x31:
            return ("tuple", [self.type() for _ in range(self.short())])
        raise ValueError(f"type {kind:#x} is not known")


def class_type(text):
    """The type that a class name with parameters says."""
    parsed, rest = parse_class(text)
    if rest:
        raise ValueError(f"cannot read the type {text}")
    return parsed


def split_class(text):
    """The class's own name and its parameters' text, and what follows."""
    end = next((index for index, character in enumerate(text) if character in "(),"), len(text))
    name = text[:end].strip().rsplit(".", 1)[-1]
    return name, text[end:]


def parse_class(text):
    name, rest = split_class(text)
    if not rest.startswith("("):
        return ((CLASSES.get(name, f"'{text}'"),), rest)
    rest = rest[1:]
    parts = []
    while not rest.startswith(")"):
        rest = rest.lstrip(", ")
        if name == "VectorType" and parts:
            digits, rest = split_class(rest)
            parts.append(int(digits))
        elif name == "UserType":
            word, rest = split_class(rest)
            if len(parts) < 2:
                parts.append(word)
            else:
                field, _, of = word.partition(":")
                inner, rest = parse_class(of + rest)
                parts.append((bytes.fromhex(field).decode(), inner))
        else:
            inner, rest = parse_class(rest)
            parts.append(inner)
    rest = rest[1:]
    if name in ("FrozenType", "ReversedType"):
        return parts[0], rest
    if name == "VectorType":
        return ("vector", parts[0], parts[1]), rest
    if name in ("ListType", "SetType"):
        return (name[:-4].lower(), parts[0]), rest
    if name == "MapType":
        return ("map", parts[0], parts[1]), rest
    if name == "TupleType":
        return ("tuple", parts), rest
    if name == "UserType":
        return ("udt", bytes.fromhex(parts[1]).decode(), parts[2:]), rest
    return (f"'{name}'",), rest


def packed(value):
    if value is None:
        return struct.pack(">i", -1)
    if value is UNSET:
        return struct.pack(">i", -2)
    return struct.pack(">i", len(value)) + value


def long_string(text):
    data = text.encode()
    return struct.pack(">i", len(data)) + data


class Connection:
    """A connection that has been started up."""

    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
        opcode, _, _ = self.request(0x01, options)
        if opcode != 0x02:
            raise SystemExit(f"the server answered {opcode:#x} to STARTUP")

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the server closed the connection")
            data += part
        return data

    def request(self, opcode, body):
        self.socket.sendall(struct.pack(">BBhBi", 4, 0, 0, opcode, len(body)) + body)
        _, flags, _, opcode, length = struct.unpack(">BBhBi", self.read(9))
        reader = Reader(self.read(length))
        if flags & 0x02:
            reader.take(16)
        warnings = reader.string_list() if flags & 0x08 else []
        if flags & 0x04:
            for _ in range(reader.short()):
                reader.string()
                reader.bytes()
        if opcode == 0x00:
            code = reader.int()
            raise CqlError(code, reader.string(), warnings)
        return opcode, reader, warnings

    def query(self, text, **options):
        """Executes a statement's text."""
        return self.result(self.request(0x07, long_string(text) + self.parameters(None, **options)))

    def prepare(self, text):
        """The id and the types of the markers of a statement."""
        _, reader, warnings = self.request(0x09, long_string(text))
        if reader.int() != 4:
            raise ValueError("not an answer to PREPARE")
        identity = reader.short_bytes()
        flags, count, keys = reader.int(), reader.int(), reader.int()
        reader.take(2 * keys)
        return identity, self.columns(reader, flags, count), warnings

    def execute(self, identity, values, **options):
        """Executes a prepared statement."""
        body = struct.pack(">H", len(identity)) + identity + self.parameters(values, **options)
        return self.result(self.request(0x0A, body))

    @staticmethod
    def parameters(values, consistency="ONE", page=None, paging_state=None, serial=None, timestamp=None):
        flags, rest = 0, b""
        if values is not None:
            flags |= 0x01
            rest += struct.pack(">H", len(values)) + b"".join(packed(value) for value in values)
        if page is not None:
            flags |= 0x04
            rest += struct.pack(">i", page)
        if paging_state is not None:
            flags |= 0x08
            rest += packed(paging_state)
        if serial is not None:
            flags |= 0x10
            rest += struct.pack(">H", LEVELS.index(serial))
        if timestamp is not None:
            flags |= 0x20
            rest += struct.pack(">q", timestamp)
        return struct.pack(">HB", LEVELS.index(consistency), flags) + rest

    @staticmethod
    def columns(reader, flags, count):
        if flags & 0x01:
            reader.string()
            reader.string()
        columns = []
        for _ in range(count):
            if not flags & 0x01:
                reader.string()
                reader.string()
            columns.append((reader.string(), reader.type()))
        return columns

    def result(self, answer):
        _, reader, warnings = answer
        result = Result()
        result.warnings = warnings
        if reader.int() != 2:
            return result
        flags, count = reader.int(), reader.int()
        if flags & 0x02:
            result.paging_state = reader.bytes()
        result.columns = [] if flags & 0x04 else self.columns(reader, flags, count)
        result.rows = [[reader.bytes() for _ in range(count)] for _ in range(reader.int())]
        return result
