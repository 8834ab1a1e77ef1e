"""JSON Schema as the document of rpc.discover uses it: whether a value fits, and values around the
edges of what fits, each with the place that is at fault if it doesn't."""

import base64
import json
import re

INT_MAX = (1 << 53) - 1
# Beyond this a list can't stand in a line: 65,536 tokens.
MOST_ITEMS = 20000

# What is no value of most types; 1.0 is an integer to JSON Schema, but not to slot/1.
ODD = (None, True, False, 0, -1, INT_MAX, INT_MAX + 1, 1.0, 1.5, "", "a", "a\0b", [], {}, [[]],
       {"surely_not": 1})
TEXTS = ("a", "A1._-", "a b", "a/b", "/a", "/a\0", "é", "=", "A=b", "=b", "a=", "A=b\0", "TERM",
         "TERM\0", "sigterm", "SigHup", "SIGNOPE", "SIG", "unlimited", "YQ", "YQ=", "YQ==", "YR==",
         "YWI=", "YW I=", "YWJj", "_-_-", "null", "stdout")


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


TYPES = {
    "null": lambda v: v is None, "boolean": lambda v: isinstance(v, bool),
    "integer": is_integer, "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list), "object": lambda v: isinstance(v, dict),
}
# Keywords that say nothing of a value; others than these and those below are unknown.
SILENT = {"description", "default", "examples", "contentEncoding"}


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def same(a, b):
    return type(a) is type(b) and a == b


class Schemas:
    """The schemas of one document."""

    def __init__(self, doc):
        self.doc = doc
        self.checks = {
            "type": lambda s, v: TYPES[s](v),
            "enum": lambda s, v: any(same(one, v) for one in s),
            "const": same,
            "minimum": lambda s, v: not is_integer(v) or v >= s,
            "maximum": lambda s, v: not is_integer(v) or v <= s,
            "minLength": lambda s, v: not isinstance(v, str) or len(v) >= s,
            "maxLength": lambda s, v: not isinstance(v, str) or len(v) <= s,
            "x-maxBytes": lambda s, v: not isinstance(v, str) or len(v.encode()) <= s,
            "x-maxJsonBytes": lambda s, v: len(compact(v)) <= s,
            "pattern": lambda s, v: not isinstance(v, str) or re.search(s, v) is not None,
            "minItems": lambda s, v: not isinstance(v, list) or len(v) >= s,
            "maxItems": lambda s, v: not isinstance(v, list) or len(v) <= s,
            "items": lambda s, v: not isinstance(v, list) or all(self.fits(s, i) for i in v),
            "required": lambda s, v: not isinstance(v, dict) or all(n in v for n in s),
            "propertyNames": lambda s, v: not isinstance(v, dict) or all(self.fits(s, n)
                                                                         for n in v),
            "oneOf": lambda s, v: sum(self.fits(one, v) for one in s) == 1,
            "anyOf": lambda s, v: any(self.fits(one, v) for one in s),
            "allOf": lambda s, v: all(self.fits(one, v) for one in s),
            "not": lambda s, v: not self.fits(s, v),
        }

    def resolve(self, node):
        while "$ref" in node:
            found = self.doc
            for part in node["$ref"].lstrip("#/").split("/"):
                found = found[part]
            node = found
        return node

    def fits(self, node, value):
        node = self.resolve(node)
        objects = {"properties", "patternProperties", "additionalProperties"}
        unknown = set(node) - set(self.checks) - SILENT - objects
        assert not unknown, f"{unknown} in a schema: teach slottest/schema.py"
        return all(self.checks[k](s, value) for k, s in node.items() if k in self.checks) \
            and self._members_fit(node, value)

    def _members_fit(self, node, value):
        if not isinstance(value, dict):
            return True
        known, patterns = node.get("properties", {}), node.get("patternProperties", {})
        for name, member in value.items():
            rules = [known[name]] if name in known else []
            rules += [rule for pattern, rule in patterns.items() if re.search(pattern, name)]
            if not rules:
                rule = node.get("additionalProperties", {})
                if rule is False:
                    return False
                rules = [rule]
            if not all(self.fits(rule, member) for rule in rules):
                return False
        return True

    # -- values --------------------------------------------------------------------------

    def branches(self, node):
        """What a value may be, one by one."""
        node = self.resolve(node)
        for key in ("oneOf", "anyOf"):
            if key in node:
                return [leaf for one in node[key] for leaf in self.branches(one)]
        if "allOf" in node:
            # All our restrictions are to one schema that is named.
            return self.branches(node["allOf"][0])
        return [node]

    def sample(self, node):
        """The least that fits."""
        for leaf in self.branches(node):
            if "enum" in leaf:
                return leaf["enum"][0]
            if "const" in leaf:
                return leaf["const"]
            sort = leaf.get("type")
            if sort == "integer":
                return max(leaf["minimum"], min(1, leaf["maximum"]))
            if sort == "string":
                return next(t for t in TEXTS if self.fits(leaf, t))
            if sort == "array":
                return [self.sample(leaf["items"])] * max(1, leaf.get("minItems", 0))
            if sort == "object":
                if leaf is self.doc["components"]["schemas"]["Spec"]:
                    return {"argv": ["true"]}
                return {n: self.sample(leaf["properties"][n]) for n in leaf.get("required", [])}
            if sort == "boolean":
                return False
        return None

    def around(self, node, path):
        """Values in and beside a schema: (place of what is odd in it, value).  A `|` in a place
        stands behind what may be one of several things, and may be refused as a whole."""
        leaves = self.branches(node)
        within = path + "|" if len([x for x in leaves if x.get("type") != "null"]) > 1 else path
        for value in ODD:
            yield path, value
        for value in TEXTS if any(leaf.get("type") != "object" for leaf in leaves) else ():
            yield path, value
        if "x-maxJsonBytes" in self.resolve(node):
            for more in (-2, -1):
                yield path, "é" + "a" * (node["x-maxJsonBytes"] - 2 + more)
        for leaf in leaves:
            for value in leaf.get("enum", [leaf["const"]] if "const" in leaf else []):
                yield path, value
                yield path, value.swapcase()
                yield path, value + "\0"
            yield from getattr(self, "_" + leaf.get("type", "any"))(leaf, within)
        yield from self._mixtures(leaves, path)
        if len(leaves) == 2 and "b64" in leaves[1].get("properties", {}):
            yield from self._encoded(leaves[0], path)

    def _any(self, leaf, path):
        return ()

    _null = _boolean = _any

    def _integer(self, leaf, path):
        least, most = leaf["minimum"], leaf["maximum"]
        for value in (least, least - 1, least + 1, most, most + 1, most - 1, 2 * most):
            yield path, value

    def _string(self, leaf, path):
        most = leaf.get("maxLength")
        if most is None:
            return
        for lead, filler in (("", "a"), ("/", "a"), ("", "é"), ("/", "é")):
            for length in {most - len(lead), most + 1 - len(lead), most // 2, most // 2 + 1}:
                yield path, lead + filler * length

    def _array(self, leaf, path):
        item = self.sample(leaf["items"])
        least, most = leaf.get("minItems", 0), leaf.get("maxItems", 4)
        lengths = {least, least + 1, 3} | ({most, most + 1} if most < MOST_ITEMS else set())
        for length in sorted(lengths | {least - 1} if least else lengths):
            yield path, [item] * length
        before = [item] * max(0, least - 1)
        for place, value in self.around(leaf["items"], f"{path}[{len(before)}]"):
            yield place, before + [value]

    def _object(self, leaf, path):
        sample = self.sample(leaf)
        known = leaf.get("properties", {})
        if "b64" not in known:
            yield path, sample
        for name in leaf.get("required", ()):
            yield f"{path}.{name}", {k: v for k, v in sample.items() if k != name}
        for name in ("vendor.x", "surely_not", "", "A=B"):
            shown = name or '""'
            yield f"{path}.{shown}", {**sample, name: "a"}
        for name, member in known.items():
            for place, value in self.around(member, f"{path}.{name}"):
                # What is well in base64 is _encoded()'s.
                if name != "b64" or not self.fits(member, value):
                    yield place, {**sample, name: value}
        if leaf.get("additionalProperties"):
            for place, value in self.around(leaf["additionalProperties"], f"{path}.A"):
                yield place, {"A": value}

    def _mixtures(self, leaves, path):
        """Two at once of what must be one."""
        objects = [self.sample(leaf) for leaf in leaves if leaf.get("type") == "object"]
        for i, one in enumerate(objects):
            for other in objects[i + 1:]:
                yield path, {**one, **other}

    def _encoded(self, text, path):
        """The same in base64, in which no schema can look."""
        for value in TEXTS + ("a\0b", "") + tuple(v for _, v in self._string(text, path)):
            yield path, Encoded(value, self.fits(text, value))


class Encoded(dict):
    """Bytes in base64, and whether they would do as a string."""

    def __init__(self, text, fine):
        super().__init__(b64=base64.b64encode(text.encode()).decode())
        self.fine = fine


def well_encoded(value):
    """Whether what stands in base64 would also do outside."""
    if isinstance(value, Encoded):
        return value.fine
    if isinstance(value, dict):
        return all(map(well_encoded, value.values()))
    return not isinstance(value, list) or all(map(well_encoded, value))
