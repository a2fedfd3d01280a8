"""The corpus's files: parsing, and writing with new expectations. `tests/cql/README.md` has the format.

Invariant: writing a parsed file back with the expectations that it has gives the same bytes.
"""

import re

CASE = re.compile(r"--# ([a-z0-9_]+) \(([0-9., ]+)\)$")
EXPECTED = ("--|", "--!", "--~")


class Step:
    """One statement: its text, what stands before it, what is expected."""

    def __init__(self):
        self.before = []
        self.directives = []
        self.lines = []
        self.expected = []
        # The lines of a deliberate difference.
        self.difference = []

    @property
    def text(self):
        """What is sent: without the semicolon at the end."""
        return "\n".join(self.lines).removesuffix(";")

    def directive(self, name):
        """The text after a directive's name; None when the step has no such directive."""
        for directive in self.directives:
            word, _, rest = directive.partition(" ")
            if word == name:
                return rest.strip()
        return None


class Case:
    def __init__(self, name, rows, line):
        self.name, self.rows, self.line = name, rows, line
        self.steps = []
        self.after = []


class File:
    def __init__(self, path):
        self.path = path
        self.head = []
        self.cases = []
        text = path.read_text()
        self.parse(text)
        if self.text() != text:
            path.with_suffix(".rewritten").write_text(self.text())
            raise SystemExit(f"{path}: does not read back as it was written")

    def parse(self, text):
        before, step = [], None
        for number, line in enumerate(text.splitlines(), 1):
            where = f"{self.path}:{number}"
            match = CASE.match(line)
            if line.startswith("--#") and not match:
                raise SystemExit(f"{where}: a case is written '--# name (1.01, 2.02)'")
            if match:
                step = self.close(before, step, where)
                self.cases.append(Case(match[1], match[2].split(", "), before + [line]))
                before = []
            elif step is not None and not step_ends(step.lines):
                step.lines.append(line)
            elif line.startswith(EXPECTED) and step:
                step.expected.append(line)
            elif line.startswith("--=") and step:
                step.difference.append(line)
            elif not self.cases:
                self.head.append(line) if not line.startswith("--#") else None
            elif line.startswith("--") or not line.strip():
                step = self.close(before, step, where)
                before.append(line)
            else:
                step = Step()
                step.before, before = before, []
                step.directives = [line[3:].strip() for line in step.before if line.startswith("--@")]
                step.lines.append(line)
                self.cases[-1].steps.append(step)
        self.close(before, step, f"{self.path}: at its end")
        if self.cases:
            self.cases[-1].after = before

    @staticmethod
    def close(_, step, where):
        if step is not None and not step_ends(step.lines):
            raise SystemExit(f"{where}: the statement before has no ';' at the end of a line")
        return None

    def text(self):
        lines = list(self.head)
        for case in self.cases:
            lines += case.line
            for step in case.steps:
                lines += step.before + step.lines + step.expected + step.difference
            lines += case.after
        return "\n".join(lines) + "\n"


def step_ends(lines):
    """Whether a statement is complete: a ';' at the end of a line, of a batch the one after APPLY BATCH."""
    last = lines[-1].rstrip()
    if re.match(r"BEGIN\b", lines[0], re.IGNORECASE):
        return bool(re.search(r"APPLY\s+BATCH\s*;$", last, re.IGNORECASE)) or last.endswith(";;")
    return last.endswith(";")


def escaped(text):
    """One line: control characters and backslashes as escapes."""
    out = []
    for character in text:
        if character == "\\":
            out.append("\\\\")
        elif character == "\n":
            out.append("\\n")
        elif character == "\t":
            out.append("\\t")
        elif ord(character) < 32 or 127 <= ord(character) < 160:
            out.append(f"\\u{ord(character):04x}")
        else:
            out.append(character)
    return "".join(out)


def table(columns, rows):
    """The lines of a result: a header of names and types, then the rows; rows of long texts one cell a line."""
    if any("\n" in cell for row in rows for cell in row):
        lines = []
        for index, row in enumerate(rows):
            lines.append(f"--| row {index + 1}")
            for (name, kind), cell in zip(columns, row):
                first, *rest = cell.split("\n")
                lines.append(f"--| {name} {kind} = {escaped(first)}")
                lines += [f"--|     {escaped(line)}" for line in rest]
        return [line.rstrip() for line in lines]
    grid = [[f"{name} {kind}" for name, kind in columns]] + [[escaped(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in grid) for index in range(len(columns))]
    shown = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in grid]
    return [f"--| {line}".rstrip() for line in shown] + ([] if rows else ["--| (no rows)"])
