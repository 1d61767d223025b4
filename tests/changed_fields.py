"""Keys of caches: each field or argument that can change the answer changes the key.

A field that is added to a record, or a parameter that is added to a function, fails the tests that use this until it is
given another value there.
"""

import dataclasses
import inspect


def fields_of(record) -> dict:
    """The fields of a dataclass or of a named tuple, with their values."""
    if dataclasses.is_dataclass(record):
        return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return record._asdict()


def assert_key_sees_each_field(key_of, record, others, without=()):
    """`key_of(record)` changes with every field. `others` holds another value for each; `without` names those that can't
    change the answer."""
    fields = fields_of(record)
    assert set(others) | set(without) == set(fields), "each field needs another value, or a reason to be left out"
    key = key_of(record)
    assert key_of(type(record)(**fields)) == key, "an equal record has the same key"
    keys = {name: key_of(type(record)(**fields | {name: other})) for name, other in others.items()}
    _assert_all_differ(key, keys)


def assert_key_sees_each_argument(function, arguments, others):
    """The key that `function` returns changes with every parameter."""
    assert set(others) == set(arguments) == set(inspect.signature(function).parameters)
    keys = {name: function(**arguments | {name: other}) for name, other in others.items()}
    _assert_all_differ(function(**arguments), keys)


def _assert_all_differ(key, keys):
    assert [name for name, changed in keys.items() if changed == key] == [], "these do not change the key"
    assert len(set(keys.values())) == len(keys), "different changes have different keys"
